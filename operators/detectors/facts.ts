/** Facts that several detectors tell of themselves (Detector.explain), in the same words. Pure. */
import type { ExplanationFact } from '../../engine/contract/plugins.ts'
import { numberText } from './verdicts.ts'

const MINUTE_MS = 60_000

export function minutesText(ms: number): string {
  return `${numberText(ms / MINUTE_MS)} min`
}

/** How far a detector is that waits for values and for time. */
export function warmUpFact(
  values: number,
  valuesMin: number,
  watchedMs: number,
  warmUpMs: number,
): ExplanationFact {
  return {
    name: 'warm-up',
    value: `${values} of ${valuesMin} values, ${minutesText(watchedMs)} of ${minutesText(warmUpMs)}`,
    meaning: 'values and time seen, of those that it takes',
  }
}

export function valuesFact(values: number, valuesMin: number): ExplanationFact {
  return { name: 'values', value: String(values), meaning: `seen so far; it judges from ${valuesMin} on` }
}

export function deviationFact(deviation: number): ExplanationFact {
  return {
    name: 'deviation',
    value: numberText(deviation),
    meaning: 'standard deviation of values around what was expected of them',
  }
}

/** Of detectors that add up deviations to either side. */
export function sumsFact(up: number, down: number, limit: number, unit: string): ExplanationFact {
  return {
    name: 'added up',
    value: `${numberText(up)} upwards, ${numberText(down)} downwards, of ${numberText(limit)}`,
    meaning: `what deviations have come to, in ${unit}; beyond the limit is an anomaly`,
  }
}
