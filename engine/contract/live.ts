/**
 * What `GET /api/v1/live` streams, as server-sent events: the name of each event and the JSON of its data. Written by the
 * node, read by the page (dashboards/live/browser) and by anyone else. A connection begins with `hello`, then `series` for
 * what is there, then `ready`; or, resumed by Last-Event-ID within what is kept, with what was missed and nothing else.
 * A `hello` in between means: forget what you have, it starts again. Only committed data is told.
 */
import type { Alert } from './alert.ts'
import type { Ledger } from './entries.ts'
import type { PipelinePlan } from './plan.ts'
import type { CurrentAlert, DetectorStatus, DiskStatus, PipelineState, ThreadStatus } from './queries.ts'
import type { Labels } from './samples.ts'
import type { SilenceRow } from './silences.ts'

export interface LiveEvents {
  hello: LiveHello
  series: readonly LiveSeries[]
  ready: Record<string, never>
  points: readonly LivePoint[]
  transitions: readonly Alert[]
  alerts: LiveAlerts
  /** Active ones and those to come. */
  silences: readonly SilenceRow[]
  status: LiveStatus
  /** The stream ends: why. Come back later. */
  problem: { readonly code: string; readonly error: string }
}

export interface LiveHello {
  readonly version: string
  readonly startedMs: number
  readonly dataDirectory: string
  /** `POST /api/v1/demo/disturb` is there. */
  readonly canDisturb: boolean
  /** Points kept a series, and series streamed; beyond, the newest and those with alerts. */
  readonly pointsMax: number
  readonly seriesMax: number
  readonly plans: readonly PipelinePlan[]
  /** Newest last; at most as many as are kept. */
  readonly transitions: readonly Alert[]
}

export interface LiveSeries {
  readonly id: number
  readonly pipeline: string
  readonly group: Labels
  /** As in `points`, without the id, oldest first. */
  readonly points: readonly (readonly (number | null)[])[]
}

/**
 * id of the series, window end in ms, then a value an aggregate in plan order, then score, expected, lower, upper of each
 * detector that judges an aggregate, in plan order. Rounded to LIVE_DIGITS; null: no number.
 */
export type LivePoint = readonly (number | null)[]

export const LIVE_DIGITS = 7

/** As they stand: the oldest first, and how many there are in all. Told when they change. */
export interface LiveAlerts {
  readonly total: number
  readonly alerts: readonly CurrentAlert[]
}

export interface LiveStatus {
  readonly nowMs: number
  readonly uptimeSeconds: number
  /** Why the node is not ready; empty: it is. */
  readonly problems: readonly string[]
  readonly logBytes: number
  readonly stateBytes: number
  readonly disk: DiskStatus
  readonly threads: readonly ThreadStatus[]
  readonly topics: readonly LiveTopic[]
  readonly pipelines: readonly LivePipeline[]
  /** Until when the disturbance goes on; null: there is none. */
  readonly disturbedUntilMs: number | null
}

export interface LiveTopic {
  readonly name: string
  readonly partitions: number
  readonly series: number
  readonly seriesLimit: number
  /** Samples appended since the process started. */
  readonly samples: number
}

/** Counts and seconds are since the process started, and grow; rates are differences. */
export interface LivePipeline {
  readonly name: string
  readonly topic: string
  readonly state: PipelineState
  readonly problem: string | null
  /** Offsets between the log's end and the committed position, over all partitions. */
  readonly lag: number
  /** The smallest of the partitions that have seen samples. */
  readonly watermarkMs: number | null
  readonly groups: number
  readonly ledger: Ledger
  readonly results: number
  readonly firing: number
  readonly pending: number
  readonly seconds: LiveSeconds
  readonly sinks: readonly LiveSink[]
  /** In plan order. */
  readonly detectors: readonly DetectorStatus[]
}

/** Time that shards have spent in each part of the pipeline. */
export interface LiveSeconds {
  readonly aggregate: number
  readonly window: number
  readonly detect: number
  readonly emit: number
}

export interface LiveSink {
  readonly name: string
  readonly records: number
  readonly lag: number
  readonly failures: number
}

/** Answer to `POST /api/v1/demo/disturb`. */
export interface Disturbance {
  readonly seconds: number
  readonly threads: number
  readonly untilMs: number
  /** False: one was under way already, and goes on. */
  readonly started: boolean
}
