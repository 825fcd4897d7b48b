/**
 * The threads of a node: their rings, bells, ports and counters, how they start, and how they stop in the direction in
 * which data flows. Built by node.ts; knows nothing of HTTP, queries or topics' meaning.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
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
import type { Silence } from '../engine/contract/silences.ts'
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
import { type ThreadFailure, ThreadPool } from './pool.ts'
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
  SilenceChange,
  SinkControl,
  SinkReport,
  SinkWiring,
} from './wiring.ts'

const DRAIN_MS_MAX = 30_000
const SINKS = 'sinks'
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
  readonly #answers = new Map<number, (answer: ControlAnswer) => void>()
  #nextRequest = 1
  readonly #writerBell = createDoorbell()
  readonly #committerBell = createDoorbell()
  readonly #shardBells: readonly SharedArrayBuffer[]
  readonly #ingestRing: SharedArrayBuffer
  readonly #ingestRoomBell = createDoorbell()
  readonly #sinkSupervisor: Supervisor
  readonly #sinkSeat: SinkSeat
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
    this.#sinkSeat = {
      metrics: this.#block(SINKS),
      control: new MessageChannel(),
      cursors: new MessageChannel(),
      activity: createShardActivity(),
      lastWords: null,
    }
    // Writers hold what is stored in their hands; a failure of one ends the process, and the next start recovers.
    this.#pool = new ThreadPool({
      threads: THREADS_BESIDE_SHARDS,
      onFailure: (thread, failure) =>
        thread === SINKS ? this.#sinksFailed(failure) : options.onFailure(thread, failure.error),
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
      port1.on('message', (answer: ControlAnswer) => {
        this.#answers.get(answer.request)?.(answer)
        this.#answers.delete(answer.request)
      })
      port1.unref()
    }
    this.supervisor = this.#makeSupervisor()
    this.#sinkSupervisor = this.#makeSinkSupervisor()
  }

  start(): void {
    this.#startLogWriter()
    this.supervisor.start()
    this.#startCommitter(this.#sinkSeat.cursors.port1)
    this.#sinkSupervisor.start()
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
    await Promise.race([this.#sinkSupervisor.stop(), this.#pool.ended('committer')])
    this.#tellSinks({ type: 'stop' })
    await this.#pool.ended(SINKS)
    this.board.enter(PHASE_COMMITTER_ENDS)
    new Doorbell(this.#committerBell).ring()
    await this.#pool.ended('committer')
  }

  /** After `stop`, or instead of it when a thread has failed and nothing is in order any more. */
  async close(): Promise<void> {
    this.supervisor.close()
    this.#sinkSupervisor.close()
    this.#sinkSeat.control.port1.close()
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

  /** Resolves with how it is stored then; rejects with INPUT_INVALID where it is not possible. */
  async changeSilences(change: SilenceChange): Promise<Silence> {
    const { refusal, silence } = await this.#askCommitter({ type: 'silence', ...change })
    if (silence === undefined) throw new MillraceError('INPUT_INVALID', refusal ?? 'no silence was changed')
    return silence
  }

  async #tellLogWriter(shard: number, ring: SharedArrayBuffer): Promise<string | null> {
    const { refusal } = await this.#asked((request) => {
      const message: LogWriterControl = { request, shard, ring }
      this.#writerControl.port1.postMessage(message)
      new Doorbell(this.#writerBell).ring()
    })
    return refusal
  }

  async #tellCommitter(
    message: WithoutRequest<CommitterControl>,
    ports: readonly MessagePort[] = [],
  ): Promise<string | null> {
    return (await this.#askCommitter(message, ports)).refusal
  }

  #askCommitter(
    message: WithoutRequest<CommitterControl>,
    ports: readonly MessagePort[] = [],
  ): Promise<ControlAnswer> {
    return this.#asked((request) => {
      this.#committerControl.port1.postMessage({ ...message, request } as CommitterControl, [...ports])
      new Doorbell(this.#committerBell).ring()
    })
  }

  /** A thread that never answers has failed, and then the process ends. */
  #asked(ask: (request: number) => void): Promise<ControlAnswer> {
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
      retentionBytes: config.retentionSizeBytes,
    }
    this.#pool.start('committer', 'committer', wiring, [port, this.#committerControl.port2])
  }

  /** The thread of the sinks is one shard without batches, whose rings are its ports. */
  #makeSinkSupervisor(): Supervisor {
    const { config, onWarning, onFailure } = this.#options
    const seat = this.#sinkSeat
    const metrics = new ThreadMetrics(seat.metrics)
    return new Supervisor({
      shards: 1,
      nameOf: () => SINKS,
      goesOnFrom: 'what each sink has remembered',
      limits: { restartLimit: config.restartLimit, windowMs: config.restartWindowMs, poisonTries: Infinity },
      hangMs: config.hangAfterMs,
      host: {
        start: () => this.#startSinks(),
        end: (_, reason) => this.#pool.end(SINKS, new ShardActivity(seat.activity).threadId, reason),
        activity: () => new ShardActivity(seat.activity),
        renewRings: async () => {
          seat.control.port1.close()
          seat.control = new MessageChannel()
          seat.cursors = new MessageChannel()
          const { port1 } = seat.cursors
          await this.#tellCommitter({ type: 'sinks', port: port1 }, [port1])
        },
        retire: () => {},
        giveUpBatch: () => Promise.resolve('a sink has no batches'),
        placeOf: () => SINKS,
      },
      clock: systemClock,
      prng: new Prng(systemClock.nowMs() + 1),
      sleep,
      onWarning,
      onFailure: () => metrics.set(catalog.THREAD_LAST_FAILURE, systemClock.nowMs() / 1_000),
      onRestart: () => metrics.add(catalog.THREAD_RESTARTS, 1),
      onGiveUp: (_, error) => onFailure(SINKS, error),
    })
  }

  /** Its last words say more than how its thread ended. */
  #sinksFailed({ error, hasEnded }: ThreadFailure): void {
    const { control } = this.#sinkSeat
    for (let received = receiveMessageOnPort(control.port1); received !== undefined; ) {
      this.#heard(received.message as SinkReport)
      received = receiveMessageOnPort(control.port1)
    }
    const said = this.#sinkSeat.lastWords
    this.#sinkSeat.lastWords = null
    this.#sinkSupervisor.failed(0, { error: said ?? error, hasEnded })
  }

  #heard(report: SinkReport): void {
    if (report.type === 'warning') this.#options.onWarning(MillraceError.fromWire(report.error))
    else if (report.type === 'failed') this.#sinkSeat.lastWords = MillraceError.fromWire(report.error)
    else {
      this.#drains.get(report.request)?.()
      this.#drains.delete(report.request)
    }
  }

  #startSinks(): void {
    const seat = this.#sinkSeat
    seat.activity = createShardActivity()
    const { port1, port2 } = seat.control
    const cursors = seat.cursors.port2
    const wiring: SinkWiring = {
      ...this.#shared(seat.metrics),
      port: cursors,
      committerBell: this.#committerBell,
      control: port2,
      activity: seat.activity,
    }
    port1.on('message', (report: SinkReport) => this.#heard(report))
    port1.unref()
    this.#pool.start(SINKS, 'sinks', wiring, [cursors, port2])
    // Asked of its predecessor.
    for (const request of this.#drains.keys()) this.#tellSinks({ type: 'drain', request })
  }

  #tellSinks(message: SinkControl): void {
    const { port1 } = this.#sinkSeat.control
    port1.ref()
    port1.postMessage(message)
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

/** What the thread of the sinks is given; a successor gets new channels and the same counters. */
interface SinkSeat {
  readonly metrics: SharedArrayBuffer
  /** Its end here is port1. */
  control: MessageChannel
  /** The committer's end is port1. */
  cursors: MessageChannel
  activity: SharedArrayBuffer
  lastWords: MillraceError | null
}

type WithoutRequest<T> = T extends { readonly request: number } ? Omit<T, 'request'> : never
