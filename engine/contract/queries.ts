/**
 * What can be asked of a running node: results, alerts, late samples, pipelines, status. Plain data, ready for JSON
 * (no NaN: a value that is not finite is null). Implemented over the state store and the shared counters, called by the
 * HTTP server. A query reads what is committed and changes nothing.
 */
import type { Alert, AlertState } from './alert.ts'
import type { DeadLetter } from './dead-letter.ts'
import type { Ledger } from './entries.ts'
import type { FeedbackRow } from './feedback.ts'
import type { PipelinePlan, Severity } from './plan.ts'
import type { DetectorHealth, ExplanationFact, LateBody, ResultBody } from './plugins.ts'
import type { Labels } from './samples.ts'
import type { SilenceRow, SilenceState } from './silences.ts'

/** Rows an answer holds when the asker names no limit, and at most. */
export const QUERY_ROWS_DEFAULT = 100
export const QUERY_ROWS_MAX = 10_000

/**
 * Each rejects with MillraceError PIPELINE_INVALID for a pipeline that does not exist, and INPUT_INVALID for a cursor
 * that this query never gave out.
 */
export interface Queries {
  results(query: ResultsQuery): Promise<Page<ResultRow>>
  /** Alerts as they stand now: the newest transition of each that is pending or firing (or as `state` asks). */
  alerts(query: AlertsQuery): Promise<readonly CurrentAlert[]>
  /** Every transition, oldest first. */
  alertHistory(query: AlertHistoryQuery): Promise<Page<AlertRow>>
  /** Alerts that belong together, because they stood at the same time (or nearly) and share labels. */
  incidents(query: IncidentsQuery): Promise<IncidentsAnswer>
  /** Active, to come, and over for as long as they are kept. */
  silences(query: SilencesQuery): Promise<readonly SilenceRow[]>
  late(query: LateQuery): Promise<Page<LateRow>>
  /** Batches that pipelines gave up, by pipeline, partition and offset; at most DEAD_LETTERS_MAX of them. */
  deadLetters(query: DeadLettersQuery): Promise<readonly DeadLetterRow[]>
  /** What detectors decided for some groups, as of the last checkpoint; at most EXPLAINED_GROUPS_MAX groups of a pipeline. */
  explain(query: ExplainQuery): Promise<readonly ExplainRow[]>
  pipelines(): Promise<readonly PipelineStatus[]>
  status(): Promise<NodeStatus>
}

/** Groups of a pipeline that one answer of `explain` tells of. */
export const EXPLAINED_GROUPS_MAX = 20

export interface ExplainQuery {
  /** Left out: all. */
  readonly pipeline?: string
  /** Of that pipeline; left out: all. */
  readonly detector?: string
  /** Only groups that have all of these labels. */
  readonly group: Labels
}

/** One detector and one group. Numbers are null where the detector cannot judge yet, or judges silence. */
export interface ExplainRow {
  readonly pipeline: string
  readonly detector: string
  readonly kind: string
  readonly column: string | null
  readonly group: Labels
  /** Up to here event time was complete; null: no sample so far. */
  readonly asOfMs: number | null
  readonly health: DetectorHealth
  readonly state: 'ok' | 'pending' | 'firing'
  /** Null: nothing is wrong. */
  readonly sinceMs: number | null
  readonly expected: number | null
  readonly lower: number | null
  readonly upper: number | null
  /** Of a silence detector: log time without a sample that counts as silence; null: it is not known yet. */
  readonly silentAfterMs: number | null
  /** What people said multiplies the band by it; it is in `lower` and `upper`. */
  readonly factor: number
  /** What was said last of this detector and group: its factor holds behind its place in the log, which the checkpoint may not have reached. Null: nothing. */
  readonly said: FeedbackRow | null
  /** What the detector has learned, in words. */
  readonly facts: readonly ExplanationFact[]
}

/** Rows, and where to go on. */
export interface Page<T> {
  readonly rows: readonly T[]
  /** Give it back with the same query for the rows that follow; null: these were the last for now. */
  readonly cursor: string | null
}

interface PageQuery {
  readonly pipeline: string
  /** At least 1, at most QUERY_ROWS_MAX. */
  readonly limit: number
  readonly cursor?: string
  /** Event time of the row (window end, alert transition, sample), from inclusive, to exclusive. */
  readonly fromMs?: number
  readonly toMs?: number
}

export interface ResultsQuery extends PageQuery {
  /** Only groups that have all of these labels. */
  readonly group?: Labels
}

export interface AlertHistoryQuery extends PageQuery {
  readonly group?: Labels
  readonly state?: AlertState
}

/** An alert begins at most so long after others have ended, and still belongs to them. */
export const INCIDENT_GAP_MS = 300_000

export interface IncidentOptions {
  /**
   * Alerts with equal values of all of these labels belong together, as with Alertmanager's `group_by`; left out: with any
   * one label in common.
   */
  readonly by?: readonly string[]
  readonly gapMs?: number
}

/** One alert from its beginning to its end, as a part of an incident. */
export interface IncidentAlert {
  readonly id: string
  readonly pipeline: string
  readonly detector: string
  readonly group: Labels
  readonly severity: Severity
  readonly sinceMs: number
  /** Null: it still fires. */
  readonly untilMs: number | null
  /** Of the transition that fired last. */
  readonly reason: string
}

export interface Incident {
  /** That of the alert which began first; of several, of the one whose id comes first. */
  readonly id: string
  readonly severity: Severity
  readonly sinceMs: number
  /** Null: one of its alerts still fires. */
  readonly untilMs: number | null
  /** What all of them have. */
  readonly labels: Labels
  /** In order of their beginning: what moved first comes first. */
  readonly alerts: readonly IncidentAlert[]
}

/** Transitions that one answer is made of. */
export const INCIDENT_TRANSITIONS_MAX = 100_000

export interface IncidentsQuery extends IncidentOptions {
  /** Left out: of all pipelines, together. */
  readonly pipeline?: string
  /** Alerts with a transition since then, and those that fire now whatever their age. */
  readonly fromMs: number
}

/**
 * `isWhole`: false where there were more transitions than INCIDENT_TRANSITIONS_MAX, and the oldest of them were left out:
 * `dropped`, beside those that a later one of the same alert stands for.
 */
export interface IncidentsAnswer {
  readonly rows: readonly Incident[]
  readonly isWhole: boolean
  readonly dropped?: number
}

export interface LateQuery extends PageQuery {}

/** In one answer; each costs several restarts of a thread, so that there are few. */
export const DEAD_LETTERS_MAX = 10_000

export interface DeadLettersQuery {
  readonly pipeline?: string
}

export interface DeadLetterRow extends DeadLetter {
  readonly pipeline: string
  readonly topic: string
}

export interface AlertsQuery {
  readonly pipeline?: string
  readonly state?: AlertState
}

export interface SilencesQuery {
  readonly state?: SilenceState
}

export interface CurrentAlert extends Alert {
  /** The silence that holds for it now: sinks are not told should it become worse. Left out: none. */
  readonly silencedBy?: number
}

interface Placed {
  /** `pipeline/partition/seq/row`, the id that sinks see too. */
  readonly id: string
  readonly partition: number
}

/** A row is what a sink is given, with its place in the result stream. */
export interface ResultRow extends ResultBody, Placed {}
export interface LateRow extends LateBody, Placed {}
/** An alert has its own id, the same for all its transitions; `entry` is this transition's. */
export interface AlertRow extends Alert {
  readonly entry: string
  readonly partition: number
  /** The silence because of which sinks were not told of this transition as it came. Left out: they were. */
  readonly silencedBy?: number
}

/** `recovering`: a thread of the node failed and is being started again; results go on from where they are. */
export type PipelineState = 'starting' | 'running' | 'recovering' | 'stopped' | 'failed'

export interface PipelineStatus {
  readonly name: string
  readonly topic: string
  readonly state: PipelineState
  /** Why it stands in `failed`, `stopped` or `recovering`; null otherwise. */
  readonly problem: string | null
  readonly plan: PipelinePlan
  readonly partitions: readonly PartitionStatus[]
  /** Where the groups are spread over partitions: those who put them together. */
  readonly owners?: readonly OwnerStatus[]
  /** Sum over the partitions, as of the last commit. */
  readonly ledger: Ledger
  readonly alertsPending: number
  readonly alertsFiring: number
  /** In plan order. Only a node that runs tells. */
  readonly detectors?: readonly DetectorStatus[]
}

export interface DetectorStatus {
  readonly name: string
  /** Groups by how the detector does for them, as of some seconds ago; null: not looked at yet. */
  readonly series: Readonly<Record<DetectorHealth, number>> | null
}

export interface PartitionStatus {
  readonly partition: number
  /** Next offset wanted; everything before it is in committed results. */
  readonly position: number
  readonly endOffset: number
  /** Offsets between the two. */
  readonly lag: number
  /** Null until a sample has been seen. */
  readonly watermarkMs: number | null
}

/** The owner of a bucket of groups: its results have its partition, and its own watermark. */
export interface OwnerStatus {
  readonly partition: number
  /** Entries that partitions have sent and it has not taken yet. */
  readonly lag: number
  /** Null until its first window could fire. */
  readonly watermarkMs: number | null
}

export interface NodeStatus {
  readonly version: string
  readonly startedMs: number
  readonly nowMs: number
  readonly uptimeSeconds: number
  readonly dataDirectory: string
  readonly threads: readonly ThreadStatus[]
  readonly disk: DiskStatus
  readonly logBytes: number
  readonly stateBytes: number
  readonly topics: readonly TopicStatus[]
}

export interface ThreadStatus {
  /** `main`, `log-writer`, `shard-0`, `committer`, `sink`. */
  readonly name: string
  /** Log time or wall time of its last sign of life; null: none yet. */
  readonly lastSeenMs: number | null
  /** Times it was started again after a failure, since the process started. */
  readonly restarts: number
  /** Null: never. */
  readonly lastFailureMs: number | null
}

export interface DiskStatus {
  /** Null: not known. */
  readonly freeBytes: number | null
  readonly reserveBytes: number
  /** Nothing is taken in for want of room. */
  readonly isLow: boolean
}

export interface TopicStatus {
  readonly name: string
  readonly partitions: number
  readonly series: number
  readonly seriesLimit: number
  /** Offsets given out, summed over partitions. */
  readonly appended: number
}
