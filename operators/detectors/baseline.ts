/**
 * A slow mean and standard deviation to hold values against, shared by detectors that add up deviations. Weights fall with
 * time; before there is enough, all values weigh the same; what is far out is learned as if it were CLIP deviations away.
 * Pure over cells: BASELINE_CELLS of them, side by side. West 1979 (see ewma.ts).
 */
import type { ExplanationFact } from '../../engine/contract/plugins.ts'
import { deviationFact, warmUpFact } from './facts.ts'
import { bounded, numberText, ROUNDING } from './verdicts.ts'

export const BASELINE_CELLS = 6

const COUNT = 0
const FIRST_MS = 1
const LAST_MS = 2
const WEIGHT = 3
const MEAN = 4
const SQUARES = 5
const CLIP = 3
/** Values before the first verdict. */
export const BASELINE_VALUES_MIN = 20
const KEPT_MIN = 1 - 1 / BASELINE_VALUES_MIN

export function baselineMean(cells: Float64Array, at: number): number {
  return cells[at + MEAN]!
}

/** Never 0: of a constant series it is a share of the level, or `least`. */
export function baselineDeviation(
  cells: Float64Array,
  at: number,
  least: number,
  leastShare: number,
): number {
  const weight = cells[at + WEIGHT]!
  const deviation = weight > 0 ? Math.sqrt(cells[at + SQUARES]! / weight) : 0
  const share = Math.max(leastShare, ROUNDING) * Math.abs(cells[at + MEAN]!)
  return Math.max(deviation, share, least, 1e-150)
}

export function isBaselineWarm(cells: Float64Array, at: number, timeMs: number, warmUpMs: number): boolean {
  return cells[at + COUNT]! >= BASELINE_VALUES_MIN && timeMs - cells[at + FIRST_MS]! >= warmUpMs
}

/** `decayPerMs`: weight lost a ms, as an exponent. `deviation`: as of before this value, or Infinity: nothing is clipped. */
export function learnBaseline(
  cells: Float64Array,
  at: number,
  timeMs: number,
  value: number,
  decayPerMs: number,
  deviation: number,
): void {
  const x = bounded(value)
  if (cells[at + COUNT] === 0) {
    cells[at + COUNT] = 1
    cells[at + FIRST_MS] = timeMs
    cells[at + LAST_MS] = timeMs
    cells[at + WEIGHT] = 1
    cells[at + MEAN] = x
    return
  }
  const elapsedMs = timeMs - cells[at + LAST_MS]!
  const kept = elapsedMs > 0 ? Math.exp(-elapsedMs * decayPerMs) : 1
  const decay = Math.max(kept, KEPT_MIN)
  if (elapsedMs > 0) cells[at + LAST_MS] = timeMs
  const most = CLIP * deviation
  const far = x - cells[at + MEAN]!
  const clipped = far > most ? most : Math.max(far, -most)
  const weight = cells[at + WEIGHT]! * decay + 1
  const step = clipped / weight
  cells[at + WEIGHT] = weight
  cells[at + MEAN] = bounded(cells[at + MEAN]! + step)
  cells[at + SQUARES] = cells[at + SQUARES]! * decay + clipped * (clipped - step)
  cells[at + COUNT] = cells[at + COUNT]! + 1
}

/** What it has learned; nothing before the first value. */
export function baselineFacts(cells: Float64Array, at: number, warmUpMs: number): ExplanationFact[] {
  const count = cells[at + COUNT]!
  if (count === 0) return []
  const weight = cells[at + WEIGHT]!
  return [
    {
      name: 'mean',
      value: numberText(cells[at + MEAN]!),
      meaning: 'of what it has seen, newer values weighing more',
    },
    deviationFact(Math.sqrt(cells[at + SQUARES]! / weight)),
    warmUpFact(count, BASELINE_VALUES_MIN, cells[at + LAST_MS]! - cells[at + FIRST_MS]!, warmUpMs),
  ]
}
