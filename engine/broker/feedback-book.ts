/**
 * Decides what comes of a statement: whether it is new, and what factor is in force behind it. Lives on the log writer
 * thread, which is the only one to number statements, so two people who say the same at once say it once.
 */
import {
  FEEDBACK_ROWS_MAX,
  type FeedbackOutcome,
  type FeedbackRequest,
  type FeedbackRow,
} from '../contract/feedback.ts'
import { encodeSeriesKey } from '../series/series-key.ts'
import { factorOf } from '../store/feedback/factor.ts'
import { assert } from '../util/assert.ts'

/** All of a row but where its record lies, which is known when the record is made. */
export type FeedbackDraft = Omit<FeedbackRow, 'offset' | 'appendedMs'>

export class FeedbackBook {
  readonly #rows: FeedbackRow[] = []
  readonly #rowsMax: number
  /** What was said of one detector for one group. */
  readonly #bySeries = new Map<string, FeedbackRow[]>()
  /** Statements that count, by what they say of what. */
  readonly #standing = new Map<string, FeedbackRow>()
  /** By the statement taken back. */
  readonly #undos = new Map<number, FeedbackRow>()

  constructor(rows: readonly FeedbackRow[], rowsMax: number = FEEDBACK_ROWS_MAX) {
    this.#rowsMax = rowsMax
    for (const row of rows) this.add(row)
  }

  /** What it comes to; a draft: it is new, and `add` is to follow with where its record lies. */
  decide(request: FeedbackRequest, nowMs: number): FeedbackDraft | FeedbackOutcome {
    const { note, by } = request
    const id = this.#rows.length + 1
    if (request.says !== 'undo') {
      const known = this.#standing.get(subjectOf(request))
      if (known !== undefined) return { kind: 'repeated', row: known }
      if (id > this.#rowsMax) return { kind: 'full' }
      const said = this.#bySeries.get(seriesOf(request)) ?? []
      const { says, pipeline, detector, group, topic, partition, timeMs, alert, score, target } = request
      const subject = { pipeline, detector, group, topic, partition, timeMs, alert, score, target }
      const after = factorOf([...said, { id, says, of: null, target }])
      return { id, says, of: null, ...subject, note, by, saidMs: nowMs, before: factorOf(said), after }
    }
    const { of } = request
    const known = this.#undos.get(of)
    if (known !== undefined) return { kind: 'repeated', row: known }
    const undone = this.#rows[of - 1]
    if (undone === undefined) return { kind: 'unknown' }
    if (undone.says === 'undo') return { kind: 'no-statement' }
    if (id > this.#rowsMax) return { kind: 'full' }
    const said = this.#bySeries.get(seriesOf(undone))!
    const after = factorOf([...said, { id, says: 'undo', of, target: null }])
    return { ...undone, id, says: 'undo', of, note, by, saidMs: nowMs, before: factorOf(said), after }
  }

  add(row: FeedbackRow): void {
    assert(row.id === this.#rows.length + 1, 'statements are numbered without a gap', row.id)
    this.#rows.push(row)
    const series = seriesOf(row)
    const said = this.#bySeries.get(series)
    if (said === undefined) this.#bySeries.set(series, [row])
    else said.push(row)
    if (row.says !== 'undo') {
      this.#standing.set(subjectOf(row), row)
      return
    }
    const undone = this.#rows[row.of! - 1]!
    this.#undos.set(undone.id, row)
    this.#standing.delete(subjectOf(undone))
  }
}

type Of = Pick<FeedbackRow, 'pipeline' | 'detector' | 'group'>

function seriesOf({ pipeline, detector, group }: Of): string {
  return JSON.stringify([pipeline, detector, Buffer.from(encodeSeriesKey(group)).toString('latin1')])
}

/** An alert of a pipeline that was reset may have another group under an old id: the group and the time decide. */
function subjectOf(row: Of & Pick<FeedbackRow, 'says' | 'timeMs'>): string {
  return `${row.says} ${row.timeMs} ${seriesOf(row)}`
}
