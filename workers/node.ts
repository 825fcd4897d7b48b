/**
 * A node: the store, the threads, the doors, wired together; and how they stop, in the direction in which data flows.
 * Called by the command line and by tests. Fails whole: what was opened before an error is closed again.
 */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { livePage } from '../dashboards/live/index.ts'
import { LogInput } from '../engine/broker/log-input.ts'
import {
  Board,
  type BoardBuffers,
  type BoardTopic,
  createBoard,
  GAUGE_LOG_BYTES,
  GAUGE_LOG_HELD_BACK,
  PHASE_COMMITTER_ENDS,
  PHASE_SHARDS_END,
  PHASE_WRITER_ENDS,
  slotCount,
} from '../engine/broker/node-board.ts'
import type { NodeConfig } from '../engine/config/config.ts'
import { MillraceError } from '../engine/contract/errors.ts'
import type { Refusal } from '../engine/contract/ingest.ts'
import type { Node, NodeInput, PipelineSummary, RunSummary } from '../engine/contract/node.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import type { NodeStatus, Queries } from '../engine/contract/queries.ts'
import { createHttpServer, type HttpServer } from '../engine/http/server.ts'
import * as catalog from '../engine/metrics/catalog.ts'
import { createExporter, type ThreadBlock } from '../engine/metrics/exporter.ts'
import { readMetric } from '../engine/metrics/merge.ts'
import { createMetricsBlock, ThreadMetrics } from '../engine/metrics/thread-metrics.ts'
import { createQueries } from '../engine/pipeline/queries.ts'
import { createDoorbell, Doorbell } from '../engine/ring/doorbell.ts'
import { createRing, RingProducer } from '../engine/ring/spsc-ring.ts'
import type { LogReader } from '../engine/store/log-contract.ts'
import { openLogReader } from '../engine/store/log-store.ts'
import type { StateReader } from '../engine/store/state-contract.ts'
import { openStateReader } from '../engine/store/state-store.ts'
import { openStore, type Store } from '../engine/store/store.ts'
import { systemClock } from '../engine/util/clock.ts'
import { VERSION } from '../engine/util/version.ts'
import { NodeIngest } from './ingest.ts'
import { ThreadPool } from './pool.ts'
import { type Prepared, prepareStore } from './prepare.ts'
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

const HEARTBEAT_MS = 1_000
const START_MS_MAX = 60_000
const POLL_MS = 2
const DRAIN_MS_MAX = 30_000
const LOG_FULL_RETRY_SECONDS = 5
const LAG_RETRY_SECONDS = 1

export interface NodeOptions {
  readonly config: NodeConfig
  readonly pipelines: readonly PipelinePlan[]
  /** The node cannot go on: what is stored is safe, the process should end. Called once at most. */
  readonly onFatal: (error: MillraceError) => void
  /** Forgets state and results of these pipelines and reads the log from its beginning. */
  readonly resetState?: boolean
  /** What a person should know, and nothing stops for: a sink that retries. */
  readonly onWarning?: (error: MillraceError) => void
}

export interface RunningNode extends Node {
  readonly queries: Queries
}

export async function startNode(options: NodeOptions): Promise<RunningNode> {
  const { config } = options
  const store = await openStore({ dir: config.data, clock: systemClock })
  let node: LocalNode | null = null
  try {
    const prepared = await prepareStore({
      dir: store.dir,
      fence: store.fence,
      plans: options.pipelines,
      defaultPartitions: config.partitions,
      resetState: options.resetState ?? false,
    })
    node = new LocalNode(options, store, prepared)
    await node.start()
    return node
  } catch (error) {
    if (node === null) await store.close()
    else await node.close()
    throw error
  }
}

class LocalNode implements RunningNode {
  readonly queries: Queries
  readonly #options: NodeOptions
  readonly #store: Store
  readonly #prepared: Prepared
  readonly #startedMs = systemClock.nowMs()
  readonly #boardBuffers: BoardBuffers
  readonly #board: Board
  readonly #blocks: ThreadBlock[] = []
  readonly #mainMetrics: ThreadMetrics
  readonly #pool: ThreadPool
  readonly #bells: Record<'writer' | 'committer', SharedArrayBuffer>
  readonly #shardBells: readonly SharedArrayBuffer[]
  readonly #input: LogInput
  readonly #ingest: NodeIngest
  readonly #ingestRing: SharedArrayBuffer
  readonly #ingestRoomBell: SharedArrayBuffer
  readonly #log: LogReader
  readonly #state: StateReader
  readonly #http: HttpServer
  readonly #sinkControl: MessagePort
  readonly #sinkRemote: MessagePort
  readonly #drains = new Map<number, () => void>()
  readonly #usedTopics = new Set<string>()
  #nextDrain = 1
  #heartbeat: NodeJS.Timeout | null = null
  #address = ''
  #ready = false
  #failure: MillraceError | null = null
  #closed: Promise<void> | null = null

  constructor(options: NodeOptions, store: Store, prepared: Prepared) {
    this.#options = options
    this.#store = store
    this.#prepared = prepared
    const { config } = options
    const { topics, pipelines } = prepared
    this.#boardBuffers = createBoard(
      slotCount(topics),
      slotCount(pipelines.map(({ slot, topic }) => ({ slot, partitions: topic.partitions }))),
    )
    this.#board = new Board(this.#boardBuffers)
    this.#mainMetrics = new ThreadMetrics(this.#block('main'))
    this.#bells = { writer: createDoorbell(), committer: createDoorbell() }
    this.#shardBells = Array.from({ length: config.shards }, () => createDoorbell())
    this.#ingestRing = createRing(config.ingestRingBytes)
    this.#ingestRoomBell = createDoorbell()
    this.#input = new LogInput(
      new RingProducer(
        this.#ingestRing,
        new Doorbell(this.#bells.writer),
        new Doorbell(this.#ingestRoomBell),
      ),
    )
    this.#ingest = new NodeIngest({
      topics,
      input: this.#input,
      seriesLimit: config.seriesLimit,
      // 0 turns the guard off.
      futureGuardMs: config.futureLimitMs === 0 ? Number.POSITIVE_INFINITY : config.futureLimitMs,
      clock: systemClock,
      refusal: (topic) => this.#refusal(topic),
    })
    this.#log = openLogReader({ dir: store.dir })
    this.#state = openStateReader({ dir: store.dir })
    this.queries = createQueries({
      state: this.#state,
      log: this.#log,
      live: {
        pipeline: () => ({
          state: this.#failure !== null ? 'failed' : this.#ready ? 'running' : 'starting',
          problem: this.#failure?.message ?? null,
        }),
        watermarkMs: (pipelineId, partition) => this.#watermarkMs(pipelineId, partition),
        status: () => Promise.resolve(this.#status()),
      },
    })
    const control = new MessageChannel()
    this.#sinkControl = control.port1
    this.#sinkRemote = control.port2
    // The writer, the committer and the sinks beside the shards.
    this.#pool = new ThreadPool({
      threads: config.shards + 3,
      onFailure: (thread, error) => this.#fail(thread, error),
    })
    this.#http = this.#makeHttp()
  }

  get address(): string {
    return this.#address
  }

  async start(): Promise<void> {
    this.#startThreads()
    this.#heartbeat = setInterval(() => this.#beat(), HEARTBEAT_MS)
    this.#beat()
    await this.#threadsUp()
    const { host, port } = this.#options.config
    const { url } = await this.#http.listen(host, port)
    this.#address = url
    this.#ready = true
  }

  input(topic: string): NodeInput {
    this.#usedTopics.add(topic)
    return this.#ingest.input(topic)
  }

  async finish(): Promise<RunSummary> {
    const ended = this.#prepared.topics.filter(({ name }) => this.#usedTopics.has(name))
    await Promise.all(ended.map(({ topicId }) => this.#input.end(topicId)))
    // The log writer publishes the ends before it acknowledges.
    const ends = this.#board.logEnd.slice()
    await this.#until(() => this.#isCommitted(ends), 'the pipelines to finish', Number.POSITIVE_INFINITY)
    await this.#sinksDrained()
    return {
      pipelines: this.#prepared.pipelines.map((_, row) => this.#summary(row)),
      elapsedMs: systemClock.nowMs() - this.#startedMs,
    }
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  // ---- starting ------------------------------------------------------------------------------------------------

  #startThreads(): void {
    const { config } = this.#options
    const { pipelines } = this.#prepared
    const shardRings = this.#shardBells.map(() => createRing(config.shardRingBytes))
    const commitRings = this.#shardBells.map(() => createRing(config.commitRingBytes))
    const commitRoomBells = this.#shardBells.map(() => createDoorbell())
    const acks = new MessageChannel()
    const cursors = new MessageChannel()

    const logWriter: LogWriterWiring = {
      ...this.#shared('log-writer'),
      ingestRings: [this.#ingestRing],
      ingestRoomBells: [this.#ingestRoomBell],
      bell: this.#bells.writer,
      shardRings,
      shardBells: this.#shardBells,
      port: acks.port2,
      seriesLimit: config.seriesLimit,
      retentionAgeMs: config.retentionAgeMs,
      retentionBytes: config.retentionSizeBytes,
      downFromMs: this.#store.resumed?.downFromMs ?? null,
    }
    acks.port1.on('message', (message: AckMessage) => {
      for (const ack of message.acks)
        this.#input.acknowledge({ ...ack, refusedLocalIds: [...ack.refusedLocalIds] })
    })
    // Requests that wait keep the process alive by their sockets; the port itself must not.
    acks.port1.unref()
    this.#pool.start('log-writer', 'logWriter', logWriter, [acks.port2])

    for (let shard = 0; shard < config.shards; shard++) {
      const wiring: ShardWiring = {
        ...this.#shared(`shard-${shard}`),
        shard,
        shardCount: config.shards,
        ring: shardRings[shard]!,
        bell: this.#shardBells[shard]!,
        commitRing: commitRings[shard]!,
        commitRoomBell: commitRoomBells[shard]!,
        committerBell: this.#bells.committer,
      }
      this.#pool.start(`shard-${shard}`, 'shard', wiring)
    }

    const committer: CommitterWiring = {
      ...this.#shared('committer'),
      rings: commitRings,
      roomBells: commitRoomBells,
      bell: this.#bells.committer,
      shardBells: this.#shardBells,
      port: cursors.port1,
      commitMs: config.commitEveryMs,
      checkpointMs: config.checkpointEveryMs,
      retentionAgeMs: config.retentionAgeMs,
    }
    this.#pool.start('committer', 'committer', committer, [cursors.port1])

    const sinks: SinkWiring = {
      ...this.#shared('sinks'),
      port: cursors.port2,
      committerBell: this.#bells.committer,
      control: this.#sinkRemote,
    }
    this.#sinkControl.on('message', (report: SinkReport) => {
      if (report.type === 'warning') this.#options.onWarning?.(MillraceError.fromWire(report.error))
      else {
        this.#drains.get(report.request)?.()
        this.#drains.delete(report.request)
      }
    })
    this.#sinkControl.unref()
    this.#pool.start('sinks', 'sinks', sinks, [cursors.port2, this.#sinkRemote])
    for (let row = 0; row < pipelines.length; row++) this.#mainMetrics.add(catalog.PIPELINE_RESULTS, 0, row)
  }

  #shared(thread: string): SharedWiring {
    return {
      dir: this.#store.dir,
      fence: this.#store.fence,
      board: this.#boardBuffers,
      topics: this.#prepared.topics,
      pipelines: this.#prepared.pipelines,
      metrics: this.#block(thread),
    }
  }

  #block(thread: string): SharedArrayBuffer {
    const block = createMetricsBlock()
    this.#blocks.push({ thread, block })
    return block
  }

  #threadsUp(): Promise<void> {
    return this.#until(
      () =>
        this.#blocks.every(
          ({ block }) => readMetric(catalog.THREAD_HEARTBEAT, [new Float64Array(block)]) > 0,
        ),
      'the threads to start',
      START_MS_MAX,
    )
  }

  #makeHttp(): HttpServer {
    const { topics, pipelines } = this.#prepared
    const sinks = pipelines.flatMap(({ plan }) =>
      plan.sinks.map(({ name }) => ({ pipeline: plan.name, sink: name })),
    )
    const exporter = createExporter({
      blocks: () => this.#blocks,
      names: {
        topics: () => topics.map(({ name }) => name),
        pipelines: () => pipelines.map(({ plan }) => plan.name),
        sinks: () => sinks,
      },
      ready: () => this.#ready,
      version: VERSION,
      clock: systemClock,
    })
    for (let row = 0; row < topics.length; row++) {
      this.#mainMetrics.set(catalog.LOG_SERIES_LIMIT, this.#options.config.seriesLimit, row)
    }
    return createHttpServer({
      ingest: this.#ingest,
      queries: this.queries,
      metrics: () => {
        this.#mainMetrics.set(catalog.STATE_SIZE, this.#stateBytes())
        return exporter.scrape()
      },
      readiness: () => ({
        ready: this.#ready,
        reasons: this.#ready ? [] : [this.#failure?.message ?? 'starting'],
      }),
      version: VERSION,
      limits: { bodyBytesMax: this.#options.config.bodyLimitBytes },
      clock: systemClock,
      counters: this.#mainMetrics,
      assets: livePage,
    })
  }

  // ---- running -------------------------------------------------------------------------------------------------

  #beat(): void {
    try {
      this.#store.heartbeat()
      this.#mainMetrics.set(catalog.THREAD_HEARTBEAT, systemClock.nowMs() / 1_000)
    } catch (error) {
      this.#fail(
        'main',
        error instanceof MillraceError ? error : new MillraceError('STORE_IO', String(error)),
      )
    }
  }

  #fail(thread: string, error: MillraceError): void {
    if (this.#failure !== null || this.#closed !== null) return
    this.#ready = false
    this.#failure = new MillraceError(error.code, `${thread}: ${error.message}`, {
      faults: error.faults,
      cause: error,
    })
    this.#input.fail(
      new MillraceError('UNAVAILABLE', 'the node is stopping after a failure', { retryable: true }),
    )
    this.#options.onFatal(this.#failure)
  }

  #refusal(topic: BoardTopic): Refusal | null {
    if (!this.#ready)
      return { status: 503, retryAfterSeconds: 1, problem: 'the node is stopping', remedy: 'Send again.' }
    const { retentionSizeBytes, lagLimit } = this.#options.config
    if (this.#board.gauges[GAUGE_LOG_HELD_BACK] === 1) {
      return {
        status: 429,
        retryAfterSeconds: LOG_FULL_RETRY_SECONDS,
        problem: `the log holds ${this.#board.gauges[GAUGE_LOG_BYTES]} bytes, its bound is ${retentionSizeBytes}, and pipelines still need what is in it`,
        remedy: 'Send again later; if it stays so, raise --retention-size or find out why pipelines lag.',
      }
    }
    const lag = this.#lag(topic)
    if (lag <= lagLimit) return null
    return {
      status: 429,
      retryAfterSeconds: LAG_RETRY_SECONDS,
      problem: `a pipeline on topic "${topic.name}" is ${lag} offsets behind; the bound is ${lagLimit}`,
      remedy: 'Send again later; if it stays so, add shards or raise --lag-limit.',
    }
  }

  /** Offsets that the slowest pipeline of the topic is behind. */
  #lag(topic: BoardTopic): number {
    let worst = 0
    for (const pipeline of this.#prepared.pipelines) {
      if (pipeline.topic.topicId !== topic.topicId) continue
      let lag = 0
      for (let partition = 0; partition < topic.partitions; partition++) {
        const end = this.#board.logEnd[topic.slot + partition]!
        lag += Math.max(0, end - this.#board.processed[pipeline.slot + partition]!)
      }
      worst = Math.max(worst, lag)
    }
    return worst
  }

  #isCommitted(ends: Float64Array): boolean {
    return this.#prepared.pipelines.every(({ topic, slot }) => {
      for (let partition = 0; partition < topic.partitions; partition++) {
        if (this.#board.committed[slot + partition]! < ends[topic.slot + partition]!) return false
      }
      return true
    })
  }

  #sinksDrained(): Promise<void> {
    const request = this.#nextDrain++
    return new Promise((resolve) => {
      // A target that is down must not keep a finished run for ever: what it lacks is in the outbox, for the next start.
      const bound = setTimeout(() => {
        this.#drains.delete(request)
        const message = `a sink did not take everything within ${DRAIN_MS_MAX} ms; the next start goes on from there`
        this.#options.onWarning?.(new MillraceError('SINK_FAILED', message, { retryable: true }))
        resolve()
      }, DRAIN_MS_MAX)
      this.#drains.set(request, () => {
        clearTimeout(bound)
        resolve()
      })
      const message: SinkControl = { type: 'drain', request }
      this.#sinkControl.ref()
      this.#sinkControl.postMessage(message)
    })
  }

  async #until(condition: () => boolean, what: string, timeoutMs: number): Promise<void> {
    const deadlineMs = systemClock.monotonicMs() + timeoutMs
    while (!condition()) {
      if (this.#failure !== null) throw this.#failure
      if (systemClock.monotonicMs() > deadlineMs) {
        throw new MillraceError(
          'UNAVAILABLE',
          `waited ${timeoutMs} ms for ${what}; the machine may be overloaded`,
        )
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    }
  }

  #summary(row: number): PipelineSummary {
    const blocks = this.#blocks.map(({ block }) => new Float64Array(block))
    const fate = (value: 'windowed' | 'filtered' | 'late' | 'non_finite'): number =>
      readMetric(catalog.PIPELINE_SAMPLES, blocks, row, value)
    return {
      name: this.#prepared.pipelines[row]!.plan.name,
      samples: readMetric(catalog.PIPELINE_SAMPLES_IN, blocks, row),
      windowed: fate('windowed'),
      filtered: fate('filtered'),
      late: fate('late'),
      nonFinite: fate('non_finite'),
      results: readMetric(catalog.PIPELINE_RESULTS, blocks, row),
      alertsFiring: readMetric(catalog.PIPELINE_ALERTS, blocks, row, 'firing'),
      alertsResolved: readMetric(catalog.PIPELINE_ALERTS, blocks, row, 'resolved'),
    }
  }

  #watermarkMs(pipelineId: number, partition: number): number | null {
    const pipeline = this.#prepared.pipelines.find((candidate) => candidate.pipelineId === pipelineId)
    if (pipeline === undefined) return null
    const watermarkMs = this.#board.watermarkMs[pipeline.slot + partition]!
    // 0: the shard has not published yet.
    return Number.isFinite(watermarkMs) && watermarkMs !== 0 ? watermarkMs : null
  }

  #status(): NodeStatus {
    const nowMs = systemClock.nowMs()
    const blocks = this.#blocks.map(({ block }) => new Float64Array(block))
    return {
      version: VERSION,
      startedMs: this.#startedMs,
      nowMs,
      uptimeSeconds: (nowMs - this.#startedMs) / 1_000,
      dataDirectory: this.#store.dir,
      threads: this.#blocks.map(({ thread, block }) => {
        const seenSeconds = readMetric(catalog.THREAD_HEARTBEAT, [new Float64Array(block)])
        return { name: thread, lastSeenMs: Number.isNaN(seenSeconds) ? null : seenSeconds * 1_000 }
      }),
      logBytes: this.#board.gauges[GAUGE_LOG_BYTES]!,
      stateBytes: this.#stateBytes(),
      topics: this.#prepared.topics.map((topic, row) => ({
        name: topic.name,
        partitions: topic.partitions,
        series: readMetric(catalog.LOG_SERIES, blocks, row) || 0,
        seriesLimit: this.#options.config.seriesLimit,
        appended: this.#board.logEnd
          .subarray(topic.slot, topic.slot + topic.partitions)
          .reduce((sum, end) => sum + end, 0),
      })),
    }
  }

  #stateBytes(): number {
    return statSync(join(this.#store.dir, 'state', 'data.mdb'), { throwIfNoEntry: false })?.size ?? 0
  }

  // ---- stopping ------------------------------------------------------------------------------------------------

  async #close(): Promise<void> {
    this.#ready = false
    await this.#http.close()
    // After a failure nothing is in order any more, and nothing needs to be: the next start recovers.
    if (this.#failure === null) await this.#stopThreads()
    if (this.#heartbeat !== null) clearInterval(this.#heartbeat)
    this.#sinkControl.close()
    await this.#state.close()
    await this.#log.close()
    await this.#pool.close()
    await this.#store.close()
  }

  async #stopThreads(): Promise<void> {
    this.#board.enter(PHASE_WRITER_ENDS)
    new Doorbell(this.#bells.writer).ring()
    await this.#pool.ended('log-writer')
    this.#board.enter(PHASE_SHARDS_END)
    for (const bell of this.#shardBells) new Doorbell(bell).ring()
    for (let shard = 0; shard < this.#shardBells.length; shard++) await this.#pool.ended(`shard-${shard}`)
    this.#sinkControl.ref()
    const stop: SinkControl = { type: 'stop' }
    this.#sinkControl.postMessage(stop)
    await this.#pool.ended('sinks')
    this.#board.enter(PHASE_COMMITTER_ENDS)
    new Doorbell(this.#bells.committer).ring()
    await this.#pool.ended('committer')
  }
}
