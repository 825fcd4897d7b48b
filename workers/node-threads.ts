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
  PHASE_ABANDONED,
  PHASE_COMMITTER_ENDS,
  PHASE_SHARDS_END,
  PHASE_WRITER_ENDS,
  slotCount,
} from '../engine/broker/node-board.ts'
import { type BatchPlace, createShardActivity, ShardActivity } from '../engine/broker/shard-activity.ts'
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
import { sleep } from '../engine/util/backoff.ts'
import { systemClock } from '../engine/util/clock.ts'
import { Prng } from '../engine/util/prng.ts'
import { ThreadPool } from './pool.ts'
import type { Prepared } from './prepare.ts'
import { nameOf, type ShardHost, Supervisor } from './supervisor.ts'
import type {
  AckMessage,
  CommitterControl,
  CommitterWiring,
  ControlAnswer,
  LogWriterControl,
  LogWriterWiring,
  ShardWiring,
  SharedWiring,
  SinkControl,
  SinkReport,
  SinkWiring,
} from './wiring.ts'

const DRAIN_MS_MAX = 30_000
/** A writer that has not come to the end of its transaction by then waits for a disk, or a lock, that does not answer. */
const WRITER_END_MS_MAX = 10_000
/** The log writer, the committer and the sinks, beside the shards. */
const THREADS_BESIDE_SHARDS = 3

export interface NodeThreadsOptions {
  readonly config: NodeConfig
  readonly store: Store
  readonly prepared: Prepared
  readonly onFailure: (thread: string, error: MillraceError) => void
  readonly onWarning: (error: MillraceError) => void
  /** A writer does not end: the process cannot end in order. */
  readonly onStuck: () => void
}

export class NodeThreads {
  readonly board: Board
  readonly input: LogInput
  /** One a thread, this one's first. */
  readonly blocks: ThreadBlock[] = []
  readonly mainMetrics: ThreadMetrics
  readonly #options: NodeThreadsOptions
  readonly boardBuffers: BoardBuffers
  readonly supervisor: Supervisor
  readonly #pool: ThreadPool
  readonly #shardPool: ThreadPool
  /** What each shard was given last. */
  readonly #seats: ShardSeat[]
  readonly #writerControl = new MessageChannel()
  readonly #committerControl = new MessageChannel()
  readonly #answers = new Map<number, (refusal: string | null) => void>()
  #nextRequest = 1
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
    this.boardBuffers = createBoard(slotCount(prepared.topics), slotCount(pipelineRows))
    this.board = new Board(this.boardBuffers)
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
    // Writers hold what is stored in their hands; a failure of one ends the process, and the next start recovers.
    this.#pool = new ThreadPool({
      threads: THREADS_BESIDE_SHARDS,
      onFailure: (thread, { error }) => options.onFailure(thread, error),
      onIdleFailure: (error) => options.onFailure('pool', error),
    })
    this.#shardPool = new ThreadPool({
      threads: config.shards,
      heapBytesMax: config.shardHeapBytes,
      onFailure: (thread, failure) =>
        this.supervisor.failed(
          this.#seats.findIndex(({ thread: name }) => name === thread),
          failure,
        ),
      onIdleFailure: options.onWarning,
    })
    this.#seats = this.#shardBells.map((_, shard) => ({
      thread: nameOf(shard),
      metrics: this.#block(nameOf(shard)),
      ring: createRing(config.shardRingBytes),
      commitRing: createRing(config.commitRingBytes),
      commitRoomBell: createDoorbell(),
      activity: createShardActivity(),
    }))
    for (const { port1 } of [this.#writerControl, this.#committerControl]) {
      port1.on('message', ({ request, refusal }: ControlAnswer) => {
        this.#answers.get(request)?.(refusal)
        this.#answers.delete(request)
      })
      port1.unref()
    }
    this.supervisor = this.#makeSupervisor()
  }

  start(): void {
    const cursors = new MessageChannel()
    this.#startLogWriter()
    this.supervisor.start()
    this.#startCommitter(cursors.port1)
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
    // A writer that failed meanwhile answers no more; then there is nothing to wait for.
    await Promise.race([
      this.supervisor.stop(),
      this.#pool.ended('log-writer'),
      this.#pool.ended('committer'),
    ])
    this.board.enter(PHASE_WRITER_ENDS)
    new Doorbell(this.#writerBell).ring()
    await this.#pool.ended('log-writer')
    this.board.enter(PHASE_SHARDS_END)
    for (const bell of this.#shardBells) new Doorbell(bell).ring()
    for (let shard = 0; shard < this.#shardBells.length; shard++) await this.#shardPool.ended(nameOf(shard))
    this.#tellSinks({ type: 'stop' })
    await this.#pool.ended('sinks')
    this.board.enter(PHASE_COMMITTER_ENDS)
    new Doorbell(this.#committerBell).ring()
    await this.#pool.ended('committer')
  }

  /** After `stop`, or instead of it when a thread has failed and nothing is in order any more. */
  async close(): Promise<void> {
    this.supervisor.close()
    this.#sinkControl.close()
    this.#writerControl.port1.close()
    this.#committerControl.port1.close()
    await this.#shardPool.close()
    await this.#abandonWriters()
    await this.#pool.close()
  }

  /**
   * A writer must not be ended inside a transaction: lmdb's clean-up of the thread then waits for a mutex that the thread
   * itself holds, for ever, and with it the write lock of the store, which every successor waits for. So writers end by
   * themselves, between two transactions; if one cannot, the process is killed: the kernel gives back what it held.
   */
  async #abandonWriters(): Promise<void> {
    this.board.enter(PHASE_ABANDONED)
    for (const bell of [this.#writerBell, this.#committerBell]) new Doorbell(bell).ring()
    const writers = Promise.all([this.#pool.ended('log-writer'), this.#pool.ended('committer')])
    let bound: NodeJS.Timeout | undefined
    const isLate = await Promise.race([
      writers.then(() => false),
      new Promise<boolean>((resolve) => {
        bound = setTimeout(() => resolve(true), WRITER_END_MS_MAX)
      }),
    ])
    clearTimeout(bound)
    if (isLate) this.#options.onStuck()
  }

  #makeSupervisor(): Supervisor {
    const { config, onWarning, onFailure } = this.#options
    const metrics = this.#seats.map((seat) => new ThreadMetrics(seat.metrics))
    return new Supervisor({
      shards: config.shards,
      limits: {
        restartLimit: config.restartLimit,
        windowMs: config.restartWindowMs,
        poisonTries: config.poisonTries,
      },
      hangMs: config.hangAfterMs,
      host: this.#shardHost(),
      clock: systemClock,
      // Pauses must differ between runs; nothing that is stored depends on them.
      prng: new Prng(systemClock.nowMs()),
      sleep,
      onWarning,
      onFailure: (shard) => metrics[shard]!.set(catalog.THREAD_LAST_FAILURE, systemClock.nowMs() / 1_000),
      onRestart: (shard) => metrics[shard]!.add(catalog.THREAD_RESTARTS, 1),
      onGiveUp: (shard, error) => onFailure(nameOf(shard), error),
    })
  }

  #shardHost(): ShardHost {
    const seat = (shard: number): ShardSeat => this.#seats[shard]!
    return {
      start: (shard) => this.#startShard(shard),
      end: (shard, reason) =>
        this.#shardPool.end(nameOf(shard), new ShardActivity(seat(shard).activity).threadId, reason),
      activity: (shard) => new ShardActivity(seat(shard).activity),
      renewRings: (shard) => this.#renewRings(shard),
      retire: (shard) => {
        void this.#tellCommitter({ type: 'ring', shard, ring: null })
      },
      giveUpBatch: ({ pipelineId, partition, baseOffset, endOffset, samples }, reason, tries) => {
        const letter = { partition, baseOffset, endOffset, samples, reason, tries, atMs: systemClock.nowMs() }
        return this.#tellCommitter({ type: 'dead-letter', pipelineId, letter })
      },
      placeOf: (batch) => this.#placeOf(batch),
    }
  }

  async #renewRings(shard: number): Promise<void> {
    const { config } = this.#options
    const seat = this.#seats[shard]!
    seat.ring = createRing(config.shardRingBytes)
    seat.commitRing = createRing(config.commitRingBytes)
    await Promise.all([
      this.#tellLogWriter(shard, seat.ring),
      this.#tellCommitter({ type: 'ring', shard, ring: seat.commitRing }),
    ])
  }

  #tellLogWriter(shard: number, ring: SharedArrayBuffer): Promise<string | null> {
    return this.#asked((request) => {
      const message: LogWriterControl = { request, shard, ring }
      this.#writerControl.port1.postMessage(message)
      new Doorbell(this.#writerBell).ring()
    })
  }

  #tellCommitter(message: WithoutRequest<CommitterControl>): Promise<string | null> {
    return this.#asked((request) => {
      this.#committerControl.port1.postMessage({ ...message, request } satisfies CommitterControl)
      new Doorbell(this.#committerBell).ring()
    })
  }

  /** A thread that never answers has failed, and then the process ends. */
  #asked(ask: (request: number) => void): Promise<string | null> {
    const request = this.#nextRequest++
    return new Promise((resolve) => {
      this.#answers.set(request, resolve)
      ask(request)
    })
  }

  #placeOf({ pipelineId, partition, baseOffset }: BatchPlace): string {
    const pipeline = this.#options.prepared.pipelines.find((candidate) => candidate.pipelineId === pipelineId)
    return `pipeline "${pipeline?.plan.name ?? pipelineId}", partition ${partition}, offset ${baseOffset}`
  }

  #startLogWriter(): void {
    const { config, store } = this.#options
    const acks = new MessageChannel()
    const wiring: LogWriterWiring = {
      ...this.#shared(this.#block('log-writer')),
      ingestRings: [this.#ingestRing],
      ingestRoomBells: [this.#ingestRoomBell],
      bell: this.#writerBell,
      shardRings: this.#seats.map(({ ring }) => ring),
      shardBells: this.#shardBells,
      port: acks.port2,
      control: this.#writerControl.port2,
      seriesLimit: config.seriesLimit,
      dedupe: {
        horizonMs: config.idempotencyHorizonMs,
        keysMax: config.idempotencyKeys,
        producersMax: config.producerLimit,
      },
      retentionAgeMs: config.retentionAgeMs,
      retentionBytes: config.retentionSizeBytes,
      downFromMs: store.resumed?.downFromMs ?? null,
    }
    acks.port1.on('message', (message: AckMessage) => {
      for (const ack of message.acks) this.input.acknowledge(ack)
    })
    // Requests that wait keep the process alive by their sockets; the port itself must not.
    acks.port1.unref()
    this.#pool.start('log-writer', 'logWriter', wiring, [acks.port2, this.#writerControl.port2])
  }

  #startShard(shard: number): void {
    const seat = this.#seats[shard]!
    seat.activity = createShardActivity()
    const wiring: ShardWiring = {
      ...this.#shared(seat.metrics),
      shard,
      shardCount: this.#seats.length,
      ring: seat.ring,
      bell: this.#shardBells[shard]!,
      commitRing: seat.commitRing,
      commitRoomBell: seat.commitRoomBell,
      committerBell: this.#committerBell,
      activity: seat.activity,
    }
    this.#shardPool.start(seat.thread, 'shard', wiring)
  }

  #startCommitter(port: MessagePort): void {
    const { config } = this.#options
    const wiring: CommitterWiring = {
      ...this.#shared(this.#block('committer')),
      rings: this.#seats.map(({ commitRing }) => commitRing),
      roomBells: this.#seats.map(({ commitRoomBell }) => commitRoomBell),
      bell: this.#committerBell,
      shardBells: this.#shardBells,
      port,
      control: this.#committerControl.port2,
      commitMs: config.commitEveryMs,
      checkpointMs: config.checkpointEveryMs,
      retentionAgeMs: config.retentionAgeMs,
    }
    this.#pool.start('committer', 'committer', wiring, [port, this.#committerControl.port2])
  }

  #startSinks(port: MessagePort): void {
    const wiring: SinkWiring = {
      ...this.#shared(this.#block('sinks')),
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

  #shared(metrics: SharedArrayBuffer): SharedWiring {
    const { store, prepared } = this.#options
    return {
      dir: store.dir,
      fence: store.fence,
      board: this.boardBuffers,
      topics: prepared.topics,
      pipelines: prepared.pipelines,
      metrics,
    }
  }

  #block(thread: string): SharedArrayBuffer {
    const block = createMetricsBlock()
    this.blocks.push({ thread, block })
    return block
  }
}

/** What one shard thread is given; a successor gets new rings and the same counters. */
interface ShardSeat {
  readonly thread: string
  readonly metrics: SharedArrayBuffer
  ring: SharedArrayBuffer
  commitRing: SharedArrayBuffer
  readonly commitRoomBell: SharedArrayBuffer
  activity: SharedArrayBuffer
}

type WithoutRequest<T> = T extends { readonly request: number } ? Omit<T, 'request'> : never
