import type { Severity } from './plan.ts'
import type { Labels } from './samples.ts'

export type AlertState = 'pending' | 'firing' | 'resolved'

/** One transition of an alert's life cycle; an alert that becomes more severe fires once more. Identity is (pipeline, detector, group, start); it never changes. */
export interface Alert {
  readonly kind: 'alert'
  /** `pipeline/detector/partition/groupId/sinceMs`. */
  readonly id: string
  readonly pipeline: string
  readonly detector: string
  /** The aggregate judged, or null for silence. */
  readonly column: string | null
  readonly group: Labels
  readonly state: AlertState
  /** Event time (log time for silence) at which the condition began. */
  readonly sinceMs: number
  /** Event time (log time for silence) of this transition. */
  readonly atMs: number
  readonly value: number | null
  readonly score: number | null
  readonly expected: number | null
  readonly lower: number | null
  readonly upper: number | null
  readonly direction: 'up' | 'down'
  /** As the pipeline says, by the highest score since the alert began. */
  readonly severity: Severity
  /** Only where true: it has begun and ended so often of late that it stays until all has been quiet for a while. */
  readonly flapping?: true
  /** Why, for a person. */
  readonly reason: string
}
