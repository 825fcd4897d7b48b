/**
 * How one detector does, row by row, from what it was given and what it said of it: when it last had a value, and which
 * share of the values of late found it firing. A detector that knows more of itself says so (`Detector.health`); this is what
 * the engine sees of any. Two cells a row, in a region of their own, so that a checkpoint of the cells is a checkpoint of
 * the watch. Called by the stage (detection.ts); changes no entry.
 */
import type { Detector, DetectorHealth } from '../contract/plugins.ts'
import { Cells } from '../state/cells.ts'

// Cells of a row.
const HEARD_MS = 0
/** NOTHING, UNJUDGED while it says nothing of its values, or 1 and the share of the values of late that found it firing. */
const STANDING = 1
const WATCH_CELLS = 2
const NOTHING = 0
const UNJUDGED = -1

/** The share follows about this many values. */
const SHARE_VALUES = 64
/** Firing for more than this share of the values is no news to anybody. */
export const SATURATED_SHARE = 0.5
/** Starved: no value for this many intervals at which windows end. */
export const STARVED_INTERVALS = 30

export class DetectorWatch {
  readonly cells: Cells
  readonly #starvedAfterMs: number

  /** `everyMs`: how often a value may be expected; Infinity: a pause is no hunger. */
  constructor(name: string, everyMs: number) {
    this.cells = new Cells(name)
    this.#starvedAfterMs = STARVED_INTERVALS * everyMs
  }

  ensureRows(rows: number): void {
    this.cells.ensure(rows * WATCH_CELLS)
  }

  /** The row had a value. hot: a call a (row, window). */
  heard(row: number, timeMs: number, isJudged: boolean, isFiring: boolean): void {
    const at = row * WATCH_CELLS
    this.cells.markRange(at, at + WATCH_CELLS)
    const { data } = this.cells
    data[at + HEARD_MS] = timeMs
    const share = Math.max(0, data[at + STANDING]! - 1)
    data[at + STANDING] = isJudged ? 1 + share + ((isFiring ? 1 : 0) - share) / SHARE_VALUES : UNJUDGED
  }

  forget(): void {
    this.cells.markAll()
    this.cells.data.fill(0)
  }

  /** What another watch knows of one of its rows. */
  take(row: number, other: DetectorWatch, from: number): void {
    const at = row * WATCH_CELLS
    this.cells.markRange(at, at + WATCH_CELLS)
    this.cells.data.set(other.cells.data.subarray(from * WATCH_CELLS, (from + 1) * WATCH_CELLS), at)
  }

  /** As of an event time (log time for silence). `at` is the row's place in the detector's own `cells`. O(1). */
  health(row: number, timeMs: number, detector: Detector, cells: Float64Array, at: number): DetectorHealth {
    const { data } = this.cells
    const own = row * WATCH_CELLS
    const standing = data[own + STANDING]!
    if (standing === NOTHING) return 'warming'
    const said = detector.health?.(cells, at, timeMs) ?? 'ok'
    if (said !== 'ok') return said
    if (timeMs - data[own + HEARD_MS]! > this.#starvedAfterMs) return 'starved'
    if (standing === UNJUDGED) return 'warming'
    return standing - 1 > SATURATED_SHARE ? 'saturated' : 'ok'
  }
}
