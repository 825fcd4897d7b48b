/**
 * Factors of one chain or owner of groups, as the detection stages hold them: by row, since that is what is judged. What
 * was said of a group that has no row yet waits for it. No state of its own: the factor in force at a place in the log is
 * that of the newest row before it (engine/store/feedback), so a restore asks the rows again.
 */
import type { FeedbackRow, FeedbackSource } from '../contract/feedback.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import { encodeSeriesKey } from '../series/series-key.ts'

/** What is adjusted: the stages of value detectors. */
export interface AdjustedStages {
  readonly rows: number
  /** -1: no row yet, or one beyond `rows`. */
  rowOf(key: Uint8Array): number
  keyOf(row: number): Uint8Array
  setFactor(detector: string, row: number, factor: number): void
}

export class FeedbackFactors {
  readonly #plan: Pick<PipelinePlan, 'name' | 'topic'>
  readonly #source: FeedbackSource
  readonly #stages: AdjustedStages
  /** Of groups without a row: by key, factors by detector. */
  readonly #waiting = new Map<string, Map<string, number>>()
  #rowsSeen = 0

  constructor(plan: Pick<PipelinePlan, 'name' | 'topic'>, source: FeedbackSource, stages: AdjustedStages) {
    this.#plan = plan
    this.#source = source
    this.#stages = stages
  }

  /** What was said of this pipeline and for which `holds`. O(rows). */
  applyAll(holds: (row: FeedbackRow) => boolean): void {
    for (const row of this.#source.rows()) if (holds(row)) this.#apply(row)
  }

  /** The row that a record refers to. True: it is of this pipeline. */
  apply(id: number): boolean {
    const row = this.#source.rows().find((one) => one.id === id)
    return row !== undefined && this.#apply(row)
  }

  /** Rows were added: those whose group was spoken of get their factor. */
  settle(): void {
    const { rows } = this.#stages
    if (this.#waiting.size > 0) {
      for (let row = this.#rowsSeen; row < rows; row++) {
        const key = textOf(this.#stages.keyOf(row))
        const factors = this.#waiting.get(key)
        if (factors === undefined) continue
        this.#waiting.delete(key)
        for (const [detector, factor] of factors) this.#stages.setFactor(detector, row, factor)
      }
    }
    this.#rowsSeen = rows
  }

  #apply({ pipeline, topic, detector, group, after }: FeedbackRow): boolean {
    if (pipeline !== this.#plan.name || topic !== this.#plan.topic.name) return false
    const key = encodeSeriesKey(group)
    const row = this.#stages.rowOf(key)
    if (row >= 0) this.#stages.setFactor(detector, row, after)
    else {
      const text = textOf(key)
      const factors = this.#waiting.get(text) ?? new Map<string, number>()
      this.#waiting.set(text, factors.set(detector, after))
    }
    return true
  }
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key).toString('latin1')
}
