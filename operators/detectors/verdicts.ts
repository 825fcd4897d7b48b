/** What the detectors share: bounds that keep cells finite, and words for people. Pure. */
import { number } from '../../engine/config/options.ts'
import type { Verdict } from '../../engine/contract/plugins.ts'

/** Scores stop here: beyond it a number says no more. */
export const SCORE_MAX = 1e6

/**
 * Values are judged and learned within these bounds, so that squares and their weighted sums stay finite. No metric
 * comes near; one that is broken must not poison the cells.
 */
export const VALUE_MAX = 1e145

export function bounded(value: number): number {
  if (value > VALUE_MAX) return VALUE_MAX
  if (value < -VALUE_MAX) return -VALUE_MAX
  return value
}

/** Differences below this share of the value are rounding of sums, not news. */
export const ROUNDING = 1e-12

export const DIRECTIONS = ['up', 'down', 'both'] as const
export type Direction = (typeof DIRECTIONS)[number]

/** The option `clear`, as most detectors have it. */
export function clearAt<const S extends number>(score: S) {
  return {
    type: number({ min: 0, max: 1 }),
    default: score,
    meaning: 'an alert ends once the score is down to this',
  } as const
}

/** Not able to judge yet. */
export function abstain(verdict: Verdict): void {
  verdict.score = NaN
  verdict.expected = NaN
  verdict.lower = NaN
  verdict.upper = NaN
  verdict.cleared = false
  verdict.direction = 1
}

/**
 * Distance from `expected` over `half`, the distance to the band's edge, on the sides watched; an unwatched side has no bound.
 * The memo is `half`, which the edges do not give back to the last bit.
 */
export function judgeBand(
  verdict: Verdict,
  value: number,
  expected: number,
  half: number,
  direction: Direction,
  clear: number,
): void {
  const deviation = value - expected
  const watched = deviation > 0 ? direction !== 'down' : direction !== 'up'
  let score = 0
  if (watched && deviation !== 0) {
    score = (deviation < 0 ? -deviation : deviation) / half
    if (score > SCORE_MAX) score = SCORE_MAX
  }
  verdict.score = score
  verdict.expected = expected
  verdict.lower = direction === 'up' ? -Infinity : expected - half
  verdict.upper = direction === 'down' ? Infinity : expected + half
  verdict.cleared = score <= clear
  verdict.direction = deviation < 0 ? -1 : 1
  verdict.memo = half
}

/** Four digits are enough for a person. */
export function numberText(value: number): string {
  return String(Number(value.toPrecision(4)))
}

/** Below this share of its band, what is expected is nothing: 2e-9 of something that is counted says less than 0. */
const NOTHING = 1e-6

export function expectedText({ expected, lower, upper }: Verdict): string {
  const width = upper - lower
  return numberText(width < Infinity && Math.abs(expected) < NOTHING * width ? 0 : expected)
}

export function bandText(verdict: Verdict): string {
  if (verdict.lower === -Infinity) return `at most ${numberText(verdict.upper)}`
  if (verdict.upper === Infinity) return `at least ${numberText(verdict.lower)}`
  return `${numberText(verdict.lower)} … ${numberText(verdict.upper)}`
}

export function bandReason(subject: string, value: number, verdict: Verdict): string {
  const shown = `${subject} ${numberText(value)}`
  if (!(verdict.score > 1)) return `${shown} is back within the band (${bandText(verdict)})`
  const side = verdict.direction < 0 ? 'below' : 'above'
  const times = numberText(verdict.score)
  return `${shown} is ${times} times the normal deviation ${side} the expected ${expectedText(verdict)} (band ${bandText(verdict)})`
}
