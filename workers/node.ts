/**
 * A node: the store, the threads and the doors, wired together. Called by the command line and by tests. Fails whole: what
 * was opened before an error is closed again.
 */
import { livePage } from '../dashboards/live/index.ts'
import type { BoardBuffers } from '../engine/broker/node-board.ts'
import type { NodeConfig } from '../engine/config/config.ts'
import { MillraceError } from '../engine/contract/errors.ts'
import type { Refusal } from '../engine/contract/ingest.ts'
import type { Disturbance } from '../engine/contract/live.ts'
import type { Node, NodeInput, RunSummary } from '../engine/contract/node.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import type { PipelineState, Queries } from '../engine/contract/queries.ts'
import type { Readiness } from '../engine/http/probes.ts'
import { createHttpServer, type HttpServer } from '../engine/http/server.ts'
import * as catalog from '../engine/metrics/catalog.ts'
import { createExporter } from '../engine/metrics/exporter.ts'
import { StoredFeedback } from '../engine/pipeline/feedback-door.ts'
import { createQueries } from '../engine/pipeline/queries.ts'
import { ScoreFeed } from '../engine/pipeline/score-feed.ts'
import { FeedbackRows } from '../engine/store/feedback/feedback-rows.ts'
import type { LogReader } from '../engine/store/log-contract.ts'
import { openLogReader } from '../engine/store/log-store.ts'
import type { StateReader } from '../engine/store/state-contract.ts'
import { openStateReader } from '../engine/store/state-store.ts'
import { openStore, type Store } from '../engine/store/store.ts'
import { assert } from '../engine/util/assert.ts'
import { systemClock } from '../engine/util/clock.ts'
import { VERSION } from '../engine/util/version.ts'
import { DiskGuard } from './disk-guard.ts'
import { Disturber } from './disturbance.ts'
import { NodeExplain } from './explain.ts'
import { NodeIngest } from './ingest.ts'
import { LiveNode } from './live.ts'
import { watchingLock } from './lock-watch.ts'
import { NodeThreads } from './node-threads.ts'
import { NodeView } from './node-view.ts'
import { ownersSettled } from './owners-settled.ts'
import { type Prepared, prepareStore } from './prepare.ts'
import { Silences } from './silences.ts'
import { wireOf } from './wire-error.ts'

const HEARTBEAT_MS = 1_000
const START_MS_MAX = 60_000
const POLL_MS = 2

export interface NodeOptions {
  readonly config: NodeConfig
  readonly pipelines: readonly PipelinePlan[]
  /** The node cannot go on: what is stored is safe, the process should end. Called once at most. */
  readonly onFatal: (error: MillraceError) => void
  /** Forgets state and results of these pipelines and reads the log from its beginning. */
  readonly resetState?: boolean
  /** What a person should know, and nothing stops for: a sink that retries. */
  readonly onWarning?: (error: MillraceError) => void
  /** Given the node's board before anything runs: for a thread that watches it from beside, as a benchmark's does. */
  readonly onBoard?: (board: BoardBuffers) => void
  /** `millrace demo`: the page, and this machine, may ask it to burn CPU. */
  readonly demo?: boolean
}

export type RunningNode = Node

export async function startNode(options: NodeOptions): Promise<RunningNode> {
  const { config } = options
  const store = await watchingLock(config.data, () => openStore({ dir: config.data, clock: systemClock }))
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
  readonly #threads: NodeThreads
  readonly #view: NodeView
  readonly #disk: DiskGuard
  readonly #ingest: NodeIngest
  readonly #log: LogReader
  readonly #state: StateReader
  readonly #http: HttpServer
  readonly #usedTopics = new Set<string>()
  readonly #explain: NodeExplain
  readonly #disturber = new Disturber(systemClock)
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
    this.#threads = new NodeThreads({
      config,
      store,
      prepared,
      onFailure: (thread, error) => this.#fail(thread, error),
      onWarning: (error) => options.onWarning?.(error),
      onStuck: () => this.#kill(),
    })
    const { board, blocks, input } = this.#threads
    options.onBoard?.(this.#threads.boardBuffers)
    this.#disk = new DiskGuard({
      dir: store.dir,
      reserveBytes: config.diskReserveBytes,
      onWarning: (error) => options.onWarning?.(error),
    })
    this.#view = new NodeView({
      config,
      prepared,
      board,
      blocks,
      dir: store.dir,
      startedMs: this.#startedMs,
      disk: this.#disk,
    })
    this.#ingest = new NodeIngest({
      topics: prepared.topics,
      input,
      seriesLimit: config.seriesLimit,
      // 0 turns the guard off.
      futureGuardMs: config.futureLimitMs === 0 ? Number.POSITIVE_INFINITY : config.futureLimitMs,
      clock: systemClock,
      refusal: (topic) => (this.#ready ? this.#view.refusal(topic) : STOPPING),
      room: () => this.#disk.room(),
    })
    this.#log = openLogReader({ dir: store.dir })
    this.#state = openStateReader({ dir: store.dir })
    this.#explain = new NodeExplain(store.dir)
    this.queries = createQueries({
      explain: (query) => this.#explain.ask(query),
      state: this.#state,
      log: this.#log,
      live: {
        pipeline: (name) => ({ ...this.#pipelineState(), detectors: this.#view.detectors(name) }),
        watermarkMs: (pipelineId, partition) => this.#view.watermarkMs(pipelineId, partition),
        status: () => Promise.resolve(this.#view.status()),
      },
    })
    this.#http = this.#makeHttp()
  }

  get address(): string {
    return this.#address
  }

  async start(): Promise<void> {
    await this.#disk.start()
    this.#threads.start()
    this.#heartbeat = setInterval(() => void this.#beat(), HEARTBEAT_MS)
    void this.#beat()
    await this.#until(() => this.#threads.areUp, 'the threads to start', START_MS_MAX)
    const { host, port } = this.#options.config
    const { url } = await this.#http.listen(host, port)
    this.#address = url
    this.#ready = true
  }

  input(topic: string): NodeInput {
    this.#usedTopics.add(topic)
    return this.#ingest.input(topic)
  }

  disturb(): Disturbance {
    return this.#disturber.disturb()
  }

  async finish(): Promise<RunSummary> {
    const ended = this.#prepared.topics.filter(({ name }) => this.#usedTopics.has(name))
    await Promise.all(ended.map(({ topicId }) => this.#threads.input.end(topicId)))
    // The log writer publishes the ends before it acknowledges.
    const ends = this.#threads.board.logEnd.slice()
    const isThrough = (): boolean =>
      this.#view.isCommitted(ends) && ownersSettled(this.#state, this.#prepared, this.#threads.board, ends)
    await this.#until(isThrough, 'the pipelines to finish', Number.POSITIVE_INFINITY)
    await this.#threads.sinksDrained()
    return { pipelines: this.#view.summaries(), elapsedMs: systemClock.nowMs() - this.#startedMs }
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  #makeHttp(): HttpServer {
    const { topics, pipelines } = this.#prepared
    const { mainMetrics, blocks } = this.#threads
    const { config } = this.#options
    const sinks = pipelines.flatMap(({ plan }) =>
      plan.sinks.map(({ name }) => ({ pipeline: plan.name, sink: name })),
    )
    const detectors = pipelines.flatMap(({ plan }) =>
      plan.detectors.map(({ name }) => ({ pipeline: plan.name, detector: name })),
    )
    const scores = new ScoreFeed({
      state: this.#state,
      log: this.#log,
      pipelines: pipelines.map(({ topic, ...pipeline }) => ({ ...pipeline, topicId: topic.topicId })),
      seriesMax: config.scoreSeries,
    })
    const exporter = createExporter({
      blocks: () => blocks,
      names: {
        topics: () => topics.map(({ name }) => name),
        pipelines: () => pipelines.map(({ plan }) => plan.name),
        sinks: () => sinks,
        detectors: () => detectors,
      },
      ready: () => this.#ready,
      version: VERSION,
      clock: systemClock,
      ...(config.scoreSeries === 0 ? {} : { scores: () => scores.look() }),
    })
    for (let row = 0; row < topics.length; row++) {
      mainMetrics.set(catalog.LOG_SERIES_LIMIT, config.seriesLimit, row)
    }
    const live = new LiveNode({
      prepared: this.#prepared,
      board: this.#threads.board,
      blocks,
      state: this.#state,
      log: this.#log,
      queries: this.queries,
      readiness: () => this.#readiness(),
      canDisturb: this.#options.demo === true,
      disturbedUntilMs: () => this.#disturber.untilMs,
    })
    return createHttpServer({
      ingest: this.#ingest,
      queries: this.queries,
      metrics: () => {
        mainMetrics.set(catalog.STATE_SIZE, this.#view.stateBytes())
        mainMetrics.set(catalog.DISK_FREE, this.#disk.freeBytes)
        mainMetrics.set(catalog.DISK_RESERVE, this.#disk.reserveBytes)
        mainMetrics.set(catalog.DISK_LOW, this.#disk.isLow ? 1 : 0)
        return exporter.scrape()
      },
      readiness: () => this.#readiness(),
      version: VERSION,
      limits: { bodyBytesMax: config.bodyLimitBytes },
      clock: systemClock,
      counters: mainMetrics,
      assets: livePage(),
      live,
      feedback: new StoredFeedback({
        state: this.#state,
        rows: new FeedbackRows(this.#log),
        say: async (request) => {
          this.#refuseWhileStopping()
          const { feedback } = await this.#threads.input.sayFeedback(request)
          assert(feedback !== undefined, 'what was said is answered', request.says)
          return feedback
        },
      }),
      silences: new Silences({
        pipelines,
        state: this.#state,
        queries: this.queries,
        change: async (change) => {
          this.#refuseWhileStopping()
          const silence = await this.#threads.changeSilences(change)
          live.silencesChanged()
          return silence
        },
        clock: systemClock,
      }),
      ...(this.#options.demo === true ? { demo: this.#disturber } : {}),
    })
  }

  #refuseWhileStopping(): void {
    if (this.#ready) return
    throw new MillraceError('UNAVAILABLE', `${STOPPING.problem}. ${STOPPING.remedy}`, { retryable: true })
  }

  #pipelineState(): { readonly state: PipelineState; readonly problem: string | null } {
    if (this.#failure !== null) return { state: 'failed', problem: this.#failure.message }
    const { downCount, lastFailure } = this.#threads.supervisor
    if (downCount > 0) return { state: 'recovering', problem: lastFailure }
    return { state: this.#ready ? 'running' : 'starting', problem: null }
  }

  /** A shard that is being replaced takes nothing away from who writes or reads: only a full disk does. */
  #readiness(): Readiness {
    if (!this.#ready) return { ready: false, reasons: [this.#failure?.message ?? 'starting or stopping'] }
    const { problem } = this.#disk
    return problem === null ? { ready: true, reasons: [] } : { ready: false, reasons: [problem] }
  }

  async #beat(): Promise<void> {
    try {
      await this.#store.heartbeatAside()
      this.#threads.mainMetrics.set(catalog.THREAD_HEARTBEAT, systemClock.nowMs() / 1_000)
    } catch (error) {
      this.#fail('main', MillraceError.fromWire(wireOf(error)))
    }
  }

  #fail(thread: string, error: MillraceError): void {
    if (this.#failure !== null || this.#closed !== null) return
    this.#ready = false
    const { faults } = error
    this.#failure = new MillraceError(error.code, `${thread}: ${error.message}`, { faults, cause: error })
    this.#threads.input.fail(
      new MillraceError('UNAVAILABLE', 'the node is stopping after a failure', { retryable: true }),
    )
    this.#options.onFatal(this.#failure)
  }

  /** What was acknowledged is stored, and the next start recovers: as after a power failure, and no worse. */
  #kill(): void {
    const reason = this.#failure === null ? '' : ` It ends because of this: ${this.#failure.message}`
    const message = `a thread that writes to ${this.#store.dir} does not end: the process kills itself.${reason}`
    this.#options.onWarning?.(new MillraceError('WORKER_FAILED', message))
    process.kill(process.pid, 'SIGKILL')
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

  async #close(): Promise<void> {
    this.#ready = false
    this.#disk.close()
    await this.#http.close()
    await this.#disturber.close()
    await this.#explain.close()
    // After a failure nothing is in order any more, and nothing needs to be: the next start recovers.
    if (this.#failure === null) await this.#threads.stop()
    if (this.#heartbeat !== null) clearInterval(this.#heartbeat)
    await this.#state.close()
    await this.#log.close()
    await this.#threads.close()
    await this.#store.close()
  }
}

const STOPPING: Refusal = {
  status: 503,
  retryAfterSeconds: 1,
  problem: 'the node is stopping',
  remedy: 'Send again when it is back.',
}
