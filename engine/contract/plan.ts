/**
 * A plan is plain data: printed, drawn, hashed, compared and sent to threads. Durations are ms. Options are what each
 * plug-in's own spec made of them.
 */
export interface PipelinePlan {
  readonly plan: 1
  readonly name: string
  readonly topic: TopicSpec
  readonly where: readonly LabelMatcher[]
  /** Label names; null groups by series. */
  readonly groupBy: readonly string[] | null
  /** How far the watermark stays behind the newest event time. */
  readonly disorderMs: number
  /** Log time without a sample after which the watermark follows log time. */
  readonly idleMs: number
  readonly window: WindowPlan
  readonly aggregates: readonly AggregatePlan[]
  readonly detectors: readonly DetectorPlan[]
  readonly sinks: readonly SinkPlan[]
  /**
   * Absolute path of the module that defines detectors of its own; every thread that runs the plan imports it. Where it
   * lies is no part of what the pipeline means.
   */
  readonly module?: string
  /** Only where groups are spread over partitions: slices of each partition are merged at the groups' owners. */
  readonly exchange?: ExchangePlan
}

export interface ExchangePlan {
  /** Owners: a group belongs to the bucket that its key's hash names. Fixed, so that state needs no migration. */
  readonly buckets: number
  /** Group labels that choose the bucket, so that peers have one owner; left out: the whole group key. */
  readonly by?: readonly string[]
}

export interface TopicSpec {
  readonly name: string
  /** Fixed when the topic is made. */
  readonly partitions: number
  /** Labels whose values choose the partition; null: the whole series key. */
  readonly partitionBy: readonly string[] | null
}

export type MatchOp = '=' | '!=' | '=~' | '!~' | 'in'

export interface LabelMatcher {
  readonly label: string
  readonly op: MatchOp
  /** A value, a regular expression's source (anchored at both ends), or the values of `in`. */
  readonly value: string | readonly string[]
}

export interface WindowPlan {
  readonly kind: string
  readonly options: unknown
  readonly sizeMs: number
  readonly everyMs: number
  readonly sliceMs: number
}

export interface AggregatePlan {
  /** The column's name in results. */
  readonly name: string
  readonly kind: string
  readonly options: unknown
}

export interface DetectorPlan {
  /** Unique in the pipeline. */
  readonly name: string
  readonly kind: string
  /** The aggregate judged; null for silence. Of several, their names with "+" between, which no aggregate is called. */
  readonly column: string | null
  /** Of a detector that judges several aggregates together: their names. */
  readonly columns?: readonly string[]
  readonly options: unknown
  readonly holdMs: number
  /** When anomalies become an alert, beyond `holdMs`; left out where nothing of it was asked for. */
  readonly alert?: AlertPlan
  /** Of a detector that the pipeline's own module defines: a new version makes the state of the old one void. */
  readonly version?: number
  /** Of a shipped detector, the same; left out: the first. */
  readonly cellsVersion?: number
}

export const SEVERITIES = ['info', 'warning', 'critical'] as const
export type Severity = (typeof SEVERITIES)[number]

/** The life cycle of a detector's alerts. What is left out costs neither cells nor time. */
export interface AlertPlan {
  /** An alert begins when so many `of` the last values were anomalous, the newest among them; it stays while as many are. */
  readonly atLeast?: { readonly anomalous: number; readonly of: number }
  /** An alert may end at a score of at most this, in place of the detector's own hysteresis. */
  readonly clearBelow?: number
  /** It ends when it could have for so long. */
  readonly keepFiringMs?: number
  /** No other begins for so long after its end, but one with a score of at least `reArm`. */
  readonly refractoryMs?: number
  readonly reArm?: number
  /** Nothing is anomalous that is nearer to the expected value than this, and than this share of it. */
  readonly minDeviation?: { readonly absolute: number; readonly relative: number }
  /** By score from which it holds, ascending; the first holds from the beginning. */
  readonly severity?: readonly { readonly from: number; readonly severity: Severity }[]
  /** No alert begins in them. */
  readonly muteTimes?: readonly MuteTimePlan[]
  /** Name of another detector: while its alert of the same group fires, none begins here. */
  readonly inhibitedBy?: string
  /** The alert that fires as the `times`-th within `withinMs` stays until it could have ended for as long. */
  readonly flapping?: { readonly times: number; readonly withinMs: number }
  /** The first that fits a group's labels holds. */
  readonly overrides?: readonly AlertOverridePlan[]
}

/** A span of event time, or one of every week: both in terms that need no clock. */
export type MuteTimePlan =
  | { readonly fromMs: number; readonly toMs: number }
  | {
      /** 0: Sunday. */
      readonly days: readonly number[]
      /** Minutes of the day, `to` excluded; a span over midnight belongs to the day on which it begins. */
      readonly fromMinute: number
      readonly toMinute: number
      /** IANA name. */
      readonly timeZone: string
    }

export interface AlertOverridePlan {
  readonly where: readonly LabelMatcher[]
  /** No alert of these groups begins. */
  readonly mute?: true
  /** The band is so many times as wide. */
  readonly scale?: number
  readonly minDeviation?: { readonly absolute: number; readonly relative: number }
  readonly severity?: AlertPlan['severity']
}

export interface SinkPlan {
  /** Unique in the pipeline. */
  readonly name: string
  readonly kind: string
  readonly options: unknown
  readonly feed: 'alerts' | 'results' | 'late'
}
