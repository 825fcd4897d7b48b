/**
 * What the live page is told: the newest results and alerts from the store (engine/pipeline/live-feed.ts), and once a
 * second how the node stands, from shared memory. On the main thread, only while somebody watches. Made by node.ts.
 */
import type { Board } from '../engine/broker/node-board.ts'
import type { LiveAlerts, LiveEvents, LiveHello, LivePipeline, LiveStatus } from '../engine/contract/live.ts'
import type { Queries } from '../engine/contract/queries.ts'
import type { SilenceRow } from '../engine/contract/silences.ts'
import type { LiveEvent, LiveSource } from '../engine/http/live-hub.ts'
import type { Readiness } from '../engine/http/probes.ts'
import * as catalog from '../engine/metrics/catalog.ts'
import type { ThreadBlock } from '../engine/metrics/exporter.ts'
import { readMetric } from '../engine/metrics/merge.ts'
import { LiveFeed } from '../engine/pipeline/live-feed.ts'
import type { LogReader } from '../engine/store/log-contract.ts'
import type { StateReader } from '../engine/store/state-contract.ts'
import { systemClock } from '../engine/util/clock.ts'
import type { Prepared } from './prepare.ts'

const STATUS_EVERY_MS = 1_000
/** Alerts as they stand are asked for when one has changed, and so often at least. */
const ALERTS_EVERY_MS = 5_000
/** In one event; how many there are in all is told too. */
const ALERTS_TOLD_MAX = 200
/** In one event. */
const POINTS_TOLD_MAX = 2_000
const SERIES_TOLD_MAX = 20

export interface LiveNodeOptions {
  readonly prepared: Prepared
  readonly board: Board
  readonly blocks: readonly ThreadBlock[]
  readonly state: StateReader
  readonly log: LogReader
  readonly queries: Queries
  readonly readiness: () => Readiness
  readonly canDisturb: boolean
  readonly disturbedUntilMs: () => number | null
}

export class LiveNode implements LiveSource {
  readonly #options: LiveNodeOptions
  readonly #feed: LiveFeed
  #status: LiveStatus | null = null
  #statusAtMs = 0
  #alerts: LiveAlerts = { total: 0, alerts: [] }
  #silences: readonly SilenceRow[] = []
  #alertsAtMs = 0
  #silencesAtMs = 0
  #version = ''
  #dataDirectory = ''
  #startedMs = 0
  /** Of what is asked for and comes later. */
  #waiting: LiveEvent[] = []
  /** What a question that nobody waited for met with: told at the next poll. */
  #trouble: unknown = null
  /** Answers to questions of an opening before count no more. */
  #opening = 0

  constructor(options: LiveNodeOptions) {
    this.#options = options
    const { prepared, board, state, log } = options
    this.#feed = new LiveFeed({
      state,
      log,
      pipelines: prepared.pipelines.map(({ topic, ...pipeline }) => ({
        ...pipeline,
        topicId: topic.topicId,
      })),
      progress: (pipeline, stream) => board.committed[prepared.pipelines[pipeline]!.slot + stream]!,
    })
  }

  async open(): Promise<void> {
    const opening = ++this.#opening
    const { queries } = this.#options
    const { version, dataDirectory, startedMs } = await queries.status()
    this.#version = version
    this.#dataDirectory = dataDirectory
    this.#startedMs = startedMs
    if (!(await this.#feed.open())) return
    await Promise.all([this.#askStatus(opening), this.#askAlerts(opening), this.#askSilences(opening)])
  }

  poll(): readonly LiveEvent[] {
    if (this.#trouble !== null) throw this.#trouble
    const { series, points, transitions } = this.#feed.look()
    const nowMs = systemClock.monotonicMs()
    const due = nowMs - this.#alertsAtMs >= ALERTS_EVERY_MS
    if (transitions.length > 0 || due) this.#later(this.#askAlerts(this.#opening))
    if (nowMs - this.#silencesAtMs >= ALERTS_EVERY_MS) this.#later(this.#askSilences(this.#opening))
    if (nowMs - this.#statusAtMs >= STATUS_EVERY_MS) this.#later(this.#askStatus(this.#opening))
    return [
      ...cut(series, SERIES_TOLD_MAX).map((part) => event('series', part)),
      ...cut(points, POINTS_TOLD_MAX).map((part) => event('points', part)),
      ...(transitions.length > 0 ? [event('transitions', transitions)] : []),
      ...this.#waiting.splice(0),
    ]
  }

  /** A silence was made or ended here: both are told with the next poll. */
  silencesChanged(): void {
    this.#silencesAtMs = Number.NEGATIVE_INFINITY
    this.#alertsAtMs = Number.NEGATIVE_INFINITY
  }

  *snapshot(): Generator<LiveEvent, void, void> {
    const { prepared, canDisturb } = this.#options
    const { limits, transitions } = this.#feed
    const hello: LiveHello = {
      version: this.#version,
      dataDirectory: this.#dataDirectory,
      startedMs: this.#startedMs,
      canDisturb,
      pointsMax: limits.pointsMax,
      seriesMax: limits.seriesMax,
      plans: prepared.pipelines.map(({ plan }) => plan),
      transitions: transitions.slice(-limits.transitionsMax),
    }
    yield event('hello', hello)
    if (this.#status !== null) yield event('status', this.#status)
    yield event('alerts', this.#alerts)
    yield event('silences', this.#silences)
    for (const part of this.#feed.parts()) yield event('series', part)
  }

  close(): void {
    this.#opening++
    this.#waiting = []
    this.#trouble = null
    this.#feed.close()
  }

  #later(asked: Promise<void>): void {
    const opening = this.#opening
    asked.catch((error: unknown) => {
      if (opening === this.#opening) this.#trouble = error
    })
  }

  async #askAlerts(opening: number): Promise<void> {
    this.#alertsAtMs = systemClock.monotonicMs()
    const alerts = await this.#options.queries.alerts({})
    if (opening !== this.#opening) return
    const told: LiveAlerts = { total: alerts.length, alerts: alerts.slice(0, ALERTS_TOLD_MAX) }
    if (JSON.stringify(told) === JSON.stringify(this.#alerts)) return
    this.#alerts = told
    this.#waiting.push(event('alerts', told))
  }

  async #askSilences(opening: number): Promise<void> {
    this.#silencesAtMs = systemClock.monotonicMs()
    const { queries } = this.#options
    const silences = await queries.silences({})
    const told = silences.filter(({ state }) => state !== 'expired')
    if (opening !== this.#opening || JSON.stringify(told) === JSON.stringify(this.#silences)) return
    this.#silences = told
    this.#waiting.push(event('silences', told))
  }

  async #askStatus(opening: number): Promise<void> {
    this.#statusAtMs = systemClock.monotonicMs()
    const { queries, readiness, disturbedUntilMs } = this.#options
    const [node, pipelines] = await Promise.all([queries.status(), queries.pipelines()])
    if (opening !== this.#opening) return
    const cells = this.#options.blocks.map(({ block }) => new Float64Array(block))
    const sinks = this.#sinkRows()
    const known = new Map(pipelines.map((status) => [status.name, status]))
    this.#status = {
      nowMs: node.nowMs,
      uptimeSeconds: node.uptimeSeconds,
      problems: readiness().reasons,
      logBytes: node.logBytes,
      stateBytes: node.stateBytes,
      disk: node.disk,
      threads: node.threads,
      topics: node.topics.map(({ name, partitions, series, seriesLimit }, row) => {
        return { name, partitions, series, seriesLimit, samples: readMetric(catalog.LOG_SAMPLES, cells, row) }
      }),
      pipelines: this.#options.prepared.pipelines.flatMap(({ plan }, row): LivePipeline[] => {
        const status = known.get(plan.name)
        if (status === undefined) return []
        const seconds = (operator: 'aggregate' | 'window' | 'detect' | 'emit'): number =>
          readMetric(catalog.PIPELINE_SECONDS, cells, row, operator)
        const marks = (status.owners ?? status.partitions).flatMap(({ watermarkMs }) => watermarkMs ?? [])
        return [
          {
            name: plan.name,
            topic: status.topic,
            state: status.state,
            problem: status.problem,
            lag: status.partitions.reduce((sum, { lag }) => sum + lag, 0),
            watermarkMs: marks.length === 0 ? null : Math.min(...marks),
            groups: readMetric(catalog.PIPELINE_GROUPS, cells, row) || 0,
            ledger: status.ledger,
            results: readMetric(catalog.PIPELINE_RESULTS, cells, row),
            firing: status.alertsFiring,
            pending: status.alertsPending,
            seconds: {
              aggregate: seconds('aggregate'),
              window: seconds('window'),
              detect: seconds('detect'),
              emit: seconds('emit'),
            },
            detectors: status.detectors ?? [],
            sinks: plan.sinks.map(({ name }) => {
              const sinkRow = sinks.get(`${plan.name}/${name}`)!
              return {
                name,
                records: readMetric(catalog.SINK_RECORDS, cells, sinkRow),
                lag: readMetric(catalog.SINK_LAG, cells, sinkRow) || 0,
                failures: readMetric(catalog.SINK_FAILURES, cells, sinkRow),
              }
            }),
          },
        ]
      }),
      disturbedUntilMs: disturbedUntilMs(),
    }
    this.#waiting.push(event('status', this.#status))
  }

  #sinkRows(): ReadonlyMap<string, number> {
    const names = this.#options.prepared.pipelines.flatMap(({ plan }) =>
      plan.sinks.map(({ name }) => `${plan.name}/${name}`),
    )
    return new Map(names.map((name, row) => [name, row]))
  }
}

function event<K extends keyof LiveEvents>(name: K, data: LiveEvents[K]): LiveEvent {
  return { event: name, data: JSON.stringify(data) }
}

function cut<T>(all: readonly T[], size: number): (readonly T[])[] {
  const parts: (readonly T[])[] = []
  for (let from = 0; from < all.length; from += size) parts.push(all.slice(from, from + size))
  return parts
}
