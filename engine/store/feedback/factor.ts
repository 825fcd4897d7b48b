/**
 * What statements make of the threshold of a series: the factor that its band is multiplied by. A fold over what was said
 * and not taken back, in the order of saying; so an undo gives the factor that would be in force had the statement never
 * been made. Pure.
 *
 *     expected   raises it to where the very deviation would not have alerted, at most to twice what it was
 *     missed     lowers it to where the very value would have alerted, at most to half of what it was
 *
 * Neither moves it the other way: who says "expected" of a deviation that would not alert any more changes nothing.
 */
import {
  FACTOR_MAX,
  FACTOR_MIN,
  FACTOR_STEP_MAX,
  FACTOR_STEPS,
  type FeedbackRow,
} from '../../contract/feedback.ts'

export type Statement = Pick<FeedbackRow, 'id' | 'says' | 'of' | 'target'>

/** So that a score that was rounded when it was told does not end beyond the edge again. */
const ROUNDING = 1e-9

/** Smallest step at which a deviation of that score, told under `factor`, has a score of at most 1; null: none. */
export function targetOfExpected(score: number | null, factor: number): number | null {
  if (score === null || !Number.isFinite(score)) return null
  return Math.ceil(score * factor * (1 + ROUNDING) * FACTOR_STEPS) / FACTOR_STEPS
}

/** Largest step at which a value of that score, told under `factor`, has a score above 1; 0: none. */
export function targetOfMissed(score: number, factor: number): number {
  const steps = score * factor * (1 - ROUNDING) * FACTOR_STEPS
  return Math.max(0, Math.ceil(steps) - 1) / FACTOR_STEPS
}

/** O(statements). */
export function factorOf(statements: readonly Statement[]): number {
  const undone = new Set<number>()
  for (const { says, of } of statements) if (says === 'undo') undone.add(of!)
  let factor = 1
  for (const { id, says, target } of statements) {
    if (says !== 'undo' && !undone.has(id)) factor = next(factor, says === 'expected', target)
  }
  return factor
}

function next(factor: number, isExpected: boolean, target: number | null): number {
  if (isExpected) {
    const wanted = Math.min(target ?? Infinity, factor * FACTOR_STEP_MAX)
    return Math.min(FACTOR_MAX, Math.max(factor, wanted))
  }
  const wanted = Math.max(target ?? 0, factor / FACTOR_STEP_MAX)
  return Math.max(FACTOR_MIN, Math.min(factor, wanted))
}
