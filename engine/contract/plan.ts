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
  /** Of a detector that the pipeline's own module defines: a new version makes the state of the old one void. */
  readonly version?: number
}

export interface SinkPlan {
  /** Unique in the pipeline. */
  readonly name: string
  readonly kind: string
  readonly options: unknown
  readonly feed: 'alerts' | 'results' | 'late'
}
