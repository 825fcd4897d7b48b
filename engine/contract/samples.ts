/**
 * The columnar view of samples that every operator loop reads. A view is a window on somebody else's memory (a ring
 * slot or a read buffer): valid during the call it was passed to, never kept. `…At` is the position of the first
 * sample in its column, so that one long-lived typed array over a whole ring serves every batch without allocation.
 */
export interface SampleView {
  readonly topicId: number
  readonly partition: number
  /** Offset of the first sample; sample i has offset baseOffset + i. */
  readonly baseOffset: number
  readonly count: number
  /** Log time of the append, epoch ms, monotone per partition: the only processing time there is. */
  readonly appendedMs: number
  readonly seriesIds: Int32Array
  readonly seriesIdsAt: number
  /** Event time, epoch ms; float64, so exact to below a microsecond. */
  readonly timestampsMs: Float64Array
  readonly timestampsMsAt: number
  readonly values: Float64Array
  readonly valuesAt: number
}

/** What a record in the log is. Control records take one offset and carry no samples. */
export const RECORD_SAMPLES = 1
/** Log time passed on a partition that was otherwise quiet. */
export const RECORD_TICK = 2
/** The node was down from `downFromMs` to `appendedMs`: silence in between is no one's fault. */
export const RECORD_RESUMED = 3
/** A bounded input ended: close the open windows. */
export const RECORD_END = 4
/** Somebody said something of alerts: a row of the log's `feedback` (contract/feedback.ts), whose number stands in `minTimestampMs`. */
export const RECORD_FEEDBACK = 5

/** Labels of a series: the metric name under `__name__`, then its label set. */
export type Labels = Readonly<Record<string, string>>
export const NAME_LABEL = '__name__'
