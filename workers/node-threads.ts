/**
 * The threads of a node: their rings, bells, ports and counters, how they start, and how they stop in the direction in
 * which data flows. Built by node.ts; knows nothing of HTTP, queries or topics' meaning.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { LogInput } from '../engine/broker/log-input.ts'
import {
  Board,
  type BoardBuffers,
  createBoard,
  PHASE_COMMITTER_ENDS,
  PHASE_SHARDS_END,
  PHASE_WRITER_ENDS,
  slotCount,
} from '../engine/broker/node-board.ts'
import type { NodeConfig } from '../engine/config/config.ts'
import { MillraceError } from '../engine/contract/errors.ts'
import { storedStreams } from '../engine/contract/streams.ts'
import * as catalog from '../engine/metrics/catalog.ts'
import type { ThreadBlock } from '../engine/metrics/exporter.ts'
import { readMetric } from '../engine/metrics/merge.ts'
import { createMetricsBlock, ThreadMetrics } from '../engine/metrics/thread-metrics.ts'
import { createDoorbell, Doorbell } from '../engine/ring/doorbell.ts'
import { createRing, RingProducer } from '../engine/ring/spsc-ring.ts'
import type { Store } from '../engine/store/store.ts'
import { ThreadPool } from './pool.ts'
import type { Prepared } from './prepare.ts'
import type {
  AckMessage,
  CommitterWiring,
  LogWriterWiring,
  ShardWiring,
  SharedWiring,
  SinkControl,
  SinkReport,
  SinkWiring,
} from './wiring.ts'

const DRAIN_MS_MAX = 30_000
/** The log writer, the committer and the sinks, beside the shards. */
const THREADS_BESIDE_SHARDS = 3

export interface NodeThreadsOptions {
  readonly config: NodeConfig
  readonly store: Store
  readonly prepared: Prepared
  readonly onFailure: (thread: string, error: MillraceError) => void
  readonly onWarning: (error: MillraceError) => void
}

export class NodeThreads {
  readonly board: Board
  readonly input: LogInput
  /** One a thread, this one's first. */
  readonly blocks: ThreadBlock[] = []
  readonly mainMetrics: ThreadMetrics
  readonly #options: NodeThreadsOptions
  readonly #boardBuffers: BoardBuffers
  readonly #pool: ThreadPool
  readonly #writerBell = createDoorbell()
  readonly #committerBell = createDoorbell()
  readonly #shardBells: readonly SharedArrayBuffer[]
  readonly #ingestRing: SharedArrayBuffer
  readonly #ingestRoomBell = createDoorbell()
  readonly #sinkControl: MessagePort
  readonly #sinkRemote: MessagePort
  readonly #drains = new Map<number, () => void>()
  #nextDrain = 1

  constructor(options: NodeThreadsOptions) {
    this.#options = options
    const { config, prepared } = options
    const pipelineRows = prepared.pipelines.map(({ slot, plan }) => ({
      slot,
      partitions: storedStreams(plan),
    }))
    this.#boardBuffers = createBoard(slotCount(prepared.topics), slotCount(pipelineRows))
    this.board = new Board(this.#boardBuffers)
    this.mainMetrics = new ThreadMetrics(this.#block('main'))
    this.#shardBells = Array.from({ length: config.shards }, () => createDoorbell())
    this.#ingestRing = createRing(config.ingestRingBytes)
    const producer = new RingProducer(
      this.#ingestRing,
      new Doorbell(this.#writerBell),
      new Doorbell(this.#ingestRoomBell),
    )
    this.input = new LogInput(producer)
    const control = new MessageChannel()
    this.#sinkControl = control.port1
    this.#sinkRemote = control.port2
    this.#pool = new ThreadPool({
      threads: config.shards + THREADS_BESIDE_SHARDS,
      onFailure: options.onFailure,
    })
  }

  start(): void {
    const shardRings = this.#shardBells.map(() => createRing(this.#options.config.shardRingBytes))
    const commitRings = this.#shardBells.map(() => createRing(this.#options.config.commitRingBytes))
    const commitRoomBells = this.#shardBells.map(() => createDoorbell())
    const cursors = new MessageChannel()
    this.#startLogWriter(shardRings)
    this.#startShards(shardRings, commitRings, commitRoomBells)
    this.#startCommitter(commitRings, commitRoomBells, cursors.port1)
    this.#startSinks(cursors.port2)
  }

  /** Every thread has gone round its loop. */
  get areUp(): boolean {
    return this.blocks.every(
      ({ block }) => readMetric(catalog.THREAD_HEARTBEAT, [new Float64Array(block)]) > 0,
    )
  }

  /** Resolves when the sinks have everything committed so far, or after DRAIN_MS_MAX with a warning. */
  sinksDrained(): Promise<void> {
    const request = this.#nextDrain++
    return new Promise((resolve) => {
      // A target that is down must not keep a finished run for ever: what it lacks is in the outbox, for the next start.
      const bound = setTimeout(() => {
        this.#drains.delete(request)
        const message = `a sink did not take everything within ${DRAIN_MS_MAX} ms; the next start goes on from there`
        this.#options.onWarning(new MillraceError('SINK_FAILED', message, { retryable: true }))
        resolve()
      }, DRAIN_MS_MAX)
      this.#drains.set(request, () => {
        clearTimeout(bound)
        resolve()
      })
      this.#tellSinks({ type: 'drain', request })
    })
  }

  /** In order: each kind of thread ends when everything that comes to it has come. */
  async stop(): Promise<void> {
    this.board.enter(PHASE_WRITER_ENDS)
    new Doorbell(this.#writerBell).ring()
    await this.#pool.ended('log-writer')
    this.board.enter(PHASE_SHARDS_END)
    for (const bell of this.#shardBells) new Doorbell(bell).ring()
    for (let shard = 0; shard < this.#shardBells.length; shard++) await this.#pool.ended(shardName(shard))
    this.#tellSinks({ type: 'stop' })
    await this.#pool.ended('sinks')
    this.board.enter(PHASE_COMMITTER_ENDS)
    new Doorbell(this.#committerBell).ring()
    await this.#pool.ended('committer')
  }

  /** After `stop`, or instead of it when a thread has failed and nothing is in order any more. */
  async close(): Promise<void> {
    this.#sinkControl.close()
    await this.#pool.close()
  }

  #startLogWriter(shardRings: readonly SharedArrayBuffer[]): void {
    const { config, store } = this.#options
    const acks = new MessageChannel()
    const wiring: LogWriterWiring = {
      ...this.#shared('log-writer'),
      ingestRings: [this.#ingestRing],
      ingestRoomBells: [this.#ingestRoomBell],
      bell: this.#writerBell,
      shardRings,
      shardBells: this.#shardBells,
      port: acks.port2,
      seriesLimit: config.seriesLimit,
      retentionAgeMs: config.retentionAgeMs,
      retentionBytes: config.retentionSizeBytes,
      downFromMs: store.resumed?.downFromMs ?? null,
    }
    acks.port1.on('message', (message: AckMessage) => {
      for (const ack of message.acks) this.input.acknowledge(ack)
    })
    // Requests that wait keep the process alive by their sockets; the port itself must not.
    acks.port1.unref()
    this.#pool.start('log-writer', 'logWriter', wiring, [acks.port2])
  }

  #startShards(
    rings: readonly SharedArrayBuffer[],
    commitRings: readonly SharedArrayBuffer[],
    commitRoomBells: readonly SharedArrayBuffer[],
  ): void {
    const shardCount = this.#shardBells.length
    for (let shard = 0; shard < shardCount; shard++) {
      const wiring: ShardWiring = {
        ...this.#shared(shardName(shard)),
        shard,
        shardCount,
        ring: rings[shard]!,
        bell: this.#shardBells[shard]!,
        commitRing: commitRings[shard]!,
        commitRoomBell: commitRoomBells[shard]!,
        committerBell: this.#committerBell,
      }
      this.#pool.start(shardName(shard), 'shard', wiring)
    }
  }

  #startCommitter(
    rings: readonly SharedArrayBuffer[],
    roomBells: readonly SharedArrayBuffer[],
    port: MessagePort,
  ): void {
    const { config } = this.#options
    const wiring: CommitterWiring = {
      ...this.#shared('committer'),
      rings,
      roomBells,
      bell: this.#committerBell,
      shardBells: this.#shardBells,
      port,
      commitMs: config.commitEveryMs,
      checkpointMs: config.checkpointEveryMs,
      retentionAgeMs: config.retentionAgeMs,
    }
    this.#pool.start('committer', 'committer', wiring, [port])
  }

  #startSinks(port: MessagePort): void {
    const wiring: SinkWiring = {
      ...this.#shared('sinks'),
      port,
      committerBell: this.#committerBell,
      control: this.#sinkRemote,
    }
    this.#sinkControl.on('message', (report: SinkReport) => {
      if (report.type === 'warning') {
        this.#options.onWarning(MillraceError.fromWire(report.error))
        return
      }
      this.#drains.get(report.request)?.()
      this.#drains.delete(report.request)
    })
    this.#sinkControl.unref()
    this.#pool.start('sinks', 'sinks', wiring, [port, this.#sinkRemote])
  }

  #tellSinks(message: SinkControl): void {
    this.#sinkControl.ref()
    this.#sinkControl.postMessage(message)
  }

  #shared(thread: string): SharedWiring {
    const { store, prepared } = this.#options
    return {
      dir: store.dir,
      fence: store.fence,
      board: this.#boardBuffers,
      topics: prepared.topics,
      pipelines: prepared.pipelines,
      metrics: this.#block(thread),
    }
  }

  #block(thread: string): SharedArrayBuffer {
    const block = createMetricsBlock()
    this.blocks.push({ thread, block })
    return block
  }
}

function shardName(shard: number): string {
  return `shard-${shard}`
}
