/**
 * How one detector does, row by row, from what it was given and what it said of it: when it last had a value, and which
 * share of the values of late found it firing. A detector that knows more of itself says so (`Detector.health`); this is what
 * the engine sees of any. Two cells at the end of the row's own, so that a value touches no other memory. Called by the
 * stage (detection.ts), which has marked them; changes no entry.
 */
import type { Detector, DetectorHealth } from '../contract/plugins.ts'

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
  readonly width = WATCH_CELLS
  readonly #starvedAfterMs: number

  /** `everyMs`: how often a value may be expected; Infinity: a pause is no hunger. */
  constructor(everyMs: number) {
    this.#starvedAfterMs = STARVED_INTERVALS * everyMs
  }

  /** The row whose watch is at `own` had a value. hot: a call a (row, window). */
  heard(data: Float64Array, own: number, timeMs: number, isJudged: boolean, isFiring: boolean): void {
    data[own + HEARD_MS] = timeMs
    const share = Math.max(0, data[own + STANDING]! - 1)
    data[own + STANDING] = isJudged ? 1 + share + ((isFiring ? 1 : 0) - share) / SHARE_VALUES : UNJUDGED
  }

  /** As of an event time (log time for silence), of the row whose detector's cells are at `at`. O(1). */
  health(data: Float64Array, own: number, timeMs: number, detector: Detector, at: number): DetectorHealth {
    const standing = data[own + STANDING]!
    if (standing === NOTHING) return 'warming'
    const said = detector.health?.(data, at, timeMs) ?? 'ok'
    if (said !== 'ok') return said
    if (timeMs - data[own + HEARD_MS]! > this.#starvedAfterMs) return 'starved'
    if (standing === UNJUDGED) return 'warming'
    return standing - 1 > SATURATED_SHARE ? 'saturated' : 'ok'
  }
}
