/** Verdicts of detectors that add deviations up. Pure. */
import type { Verdict } from '../../engine/contract/plugins.ts'
import { numberText, SCORE_MAX } from './verdicts.ts'

export interface Sums {
  readonly mean: number
  /** What has added up above the mean, and below it, with this value. */
  readonly up: number
  readonly down: number
  readonly limit: number
  readonly clear: number
}

export function sumVerdict(verdict: Verdict, { mean, up, down, limit, clear }: Sums): void {
  const score = Math.max(up, down) / limit
  verdict.score = Math.min(score, SCORE_MAX)
  verdict.expected = mean
  verdict.cleared = verdict.score <= clear
  verdict.direction = down > up ? -1 : 1
}

export function sumReason(subject: string, value: number, { score, expected, direction }: Verdict): string {
  const mean = `the expected ${numberText(expected)}`
  if (!(score > 1)) return `${subject} ${numberText(value)}: its deviations from ${mean} no longer add up`
  const side = direction < 0 ? 'below' : 'above'
  return `${subject} has been ${side} ${mean} for too long: now ${numberText(value)}, deviations add up to ${numberText(score)} times the limit`
}
