/**
 * What the detectors of unusual patterns share: the last values as one point, how unlike others it is as a surprise by a tail
 * that is learned from the series itself (views/tail.ts), and a verdict without a band, since any value may be usual or not
 * beside the ones before it. Pure over cells.
 *
 * Cells, side by side: number of values, their mean of late, the tail. The detector's own follow.
 */
import { number } from '../../engine/config/options.ts'
import type { Verdict } from '../../engine/contract/plugins.ts'
import { bounded, clearAt, numberText, SCORE_MAX } from './verdicts.ts'
import { CLOSE, learnTail, surpriseOf, tailWidth } from './views/tail.ts'
import { absolute, gain } from './views/view.ts'

/** The mean looks back over so many values. */
const MEAN_VALUES = 200
/** Unlikenesses learned before the first is judged. */
export const TAIL_VALUES = 100

const COUNT = 0
const MEAN = 1
const TAIL = 2
export const NOVELTY_CELLS = TAIL + tailWidth(CLOSE)

/** Options that are alike in all of them. */
export const noveltyOptions = {
  odds: {
    type: number({ above: 0, max: 0.1 }),
    default: 0.01,
    meaning: 'anomalous is what is so unlike the others less often than this, as a share of all values',
  },
  minDeviation: {
    type: number({ min: 0, max: 1e100 }),
    default: 1e-9,
    meaning: 'values this near their mean are normal, in units of the value',
  },
  minRelativeDeviation: {
    type: number({ min: 0, max: 1_000 }),
    default: 0.01,
    meaning: 'values this near their mean are normal, as a share of it',
  },
  clear: clearAt(0.6),
} as const

export interface NoveltyOptions {
  readonly odds: number
  readonly minDeviation: number
  readonly minRelativeDeviation: number
  readonly clear: number
}

/** Values seen. */
export function noveltyCount(cells: Float64Array, at: number): number {
  return cells[at + COUNT]!
}

/** How far from the mean of late is still normal. */
export function noveltyFloor(cells: Float64Array, at: number, options: NoveltyOptions): number {
  return Math.max(options.minDeviation, options.minRelativeDeviation * absolute(cells[at + MEAN]!))
}

/** Some value of the point is further from the mean of late than is normal anyway. */
export function isApart(
  cells: Float64Array,
  at: number,
  point: Float64Array,
  options: NoveltyOptions,
): boolean {
  const mean = cells[at + MEAN]!
  const floor = noveltyFloor(cells, at, options)
  for (let i = 0; i < point.length; i++) if (absolute(point[i]! - mean) > floor) return true
  return false
}

/** The verdict on a point that is so unlike the others; 0 and less: not unlike. */
export function judgeNovelty(
  cells: Float64Array,
  at: number,
  value: number,
  unlike: number,
  options: NoveltyOptions,
  verdict: Verdict,
): void {
  const surprise = unlike > 0 ? surpriseOf(cells, at + TAIL, CLOSE, unlike, unlike) : 0
  const score = surprise / -Math.log10(options.odds)
  const mean = cells[at + MEAN]!
  verdict.surprise = surprise
  verdict.score = Math.min(score, SCORE_MAX)
  verdict.expected = mean
  verdict.lower = -Infinity
  verdict.upper = Infinity
  verdict.cleared = score <= options.clear
  verdict.direction = value < mean ? -1 : 1
}

/** Takes a value in; `unlike` is NaN while there was nothing to compare with. */
export function learnNovelty(cells: Float64Array, at: number, value: number, unlike: number): void {
  const count = cells[at + COUNT]! + 1
  const mean = cells[at + MEAN]!
  cells[at + COUNT] = count
  cells[at + MEAN] = bounded(mean + (value - mean) * gain(count, MEAN_VALUES))
  if (unlike >= 0) learnTail(cells, at + TAIL, CLOSE, unlike, unlike)
}

/** "latency 812 is unlike …: odds of 1 in 10^5.2; the average of late is 120". */
export function noveltyReason(subject: string, value: number, verdict: Verdict, unlikeWhat: string): string {
  const shown = `${subject} ${numberText(value)}`
  const lately = `the average of late is ${numberText(verdict.expected)}`
  if (!(verdict.score > 1)) return `${shown}, with the values before it, is as usual again; ${lately}`
  return `${shown}, with the values before it, is ${unlikeWhat}: odds of 1 in 10^${numberText(verdict.surprise ?? 0)}; ${lately}`
}

/** A pseudo-random number in [0, 1) for a place: the same for the same three numbers, so that it needs no state. SplitMix32's mixing. */
export function drawAt(seed: number, place: number, draw: number): number {
  let z =
    (Math.imul(seed + 1, 0x9e3779b9) ^ Math.imul(place + 1, 0x85ebca6b) ^ Math.imul(draw + 1, 0xc2b2ae35)) | 0
  // Places beyond 32 bits differ in their upper half as well.
  z = Math.imul(z ^ (z >>> 16), 0x21f0aaad) + Math.floor(place / 0x1_0000_0000)
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
  return ((z ^ (z >>> 15)) >>> 0) / 0x1_0000_0000
}
