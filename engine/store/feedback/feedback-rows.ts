/**
 * The rows of feedback as one thread has read them: what was said is never changed, so each row is read once. Called by
 * shards, replays and the main thread, each with one of its own.
 */
import type { FeedbackRow, FeedbackSource } from '../../contract/feedback.ts'
import type { LogReader } from '../log-contract.ts'

export class FeedbackRows implements FeedbackSource {
  readonly #log: Pick<LogReader, 'feedback'>
  readonly #rows: FeedbackRow[] = []

  constructor(log: Pick<LogReader, 'feedback'>) {
    this.#log = log
  }

  /** All that was committed before the call. O(new rows). */
  rows(): readonly FeedbackRow[] {
    for (const row of this.#log.feedback(this.#rows.length + 1)) this.#rows.push(row)
    return this.#rows
  }
}
