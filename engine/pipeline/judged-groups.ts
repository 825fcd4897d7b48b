/**
 * Groups, the rows of their windows and the detectors that judge them, of a chain or of an owner of spread groups: what a
 * switch of detectors does to either (switch-partition.ts, switch-spread.ts). Holds nothing of its own. Between records or
 * instants only.
 */
import type { Alert } from '../contract/alert.ts'
import type { EntryWriter } from './entry-writer.ts'
import type { Judges, Warming } from './judges.ts'
import type { Router } from './routing.ts'
import type { Slices } from './slices.ts'

export class JudgedGroups {
  readonly #router: Router
  readonly #slices: Slices
  readonly #judges: Judges
  readonly #writer: EntryWriter

  constructor(router: Router, slices: Slices, judges: Judges, writer: EntryWriter) {
    this.#router = router
    this.#slices = slices
    this.#judges = judges
    this.#writer = writer
  }

  /**
   * State of these detectors, of groups that another of the same plan has seen, in place of what there is; and, by row of the
   * other, its row here. Windows stay as they are. All state of detectors is then owed to the next checkpoint.
   */
  takeDetectors(from: JudgedGroups, names: ReadonlySet<string>): Int32Array {
    const rows = new Int32Array(from.#router.rows)
    for (let row = 0; row < rows.length; row++) rows[row] = this.#router.rowOf(from.#router.keyOfRow(row))
    this.#slices.ensureRows(this.#router.rows)
    this.#judges.ensureRows(this.#router.rows)
    this.#judges.take(from.#judges, names, rows)
    return rows
  }

  /** What was emitted so far counts for nothing: the next entry has this number. */
  countFrom(seq: number): void {
    this.#writer.nextSeq = seq
  }

  /** An alert that stands: when it began, and whether it fires; it keeps that name, and is told by nobody. */
  keepAlert(detector: string, row: number, sinceMs: number, fires: boolean): void {
    this.#judges.keepAlert(detector, row, sinceMs, fires)
  }

  /** Transitions become entries, of this cause. */
  tell(alerts: readonly Alert[], cause: number): void {
    for (const alert of alerts) this.#writer.alert(alert, cause)
  }

  /** Groups that each detector cannot judge yet, in plan order: how many, and some of them. O(groups). */
  warming(eventMs: number, logMs: number, groupsMax: number): Warming[] {
    return this.#judges.warming(eventMs, logMs, groupsMax)
  }
}
