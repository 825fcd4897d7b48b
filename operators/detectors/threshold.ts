/**
 * Fixed bounds: anomalous above one, below another, or outside both. With hysteresis, the alert ends at `clear`, not at
 * the bound. No state: 0 cells, O(1). The score is 1 at the bound; with two bounds it is 0 in the middle between them,
 * with one it falls to 0 at `clear`, or one bound's own size away from it.
 */
import { number, type OptionInputOf, type OptionsOf, optionSpec } from '../../engine/config/options.ts'
import { DEFINITION, type ValueDetector } from '../../engine/contract/definition.ts'
import type { Detector, DetectorPlugin, Explanation, Verdict } from '../../engine/contract/plugins.ts'
import { bandText, bounded, numberText, SCORE_MAX } from './verdicts.ts'

const BOUND = number({ min: -1e100, max: 1e100 })

const options = optionSpec(
  {
    above: { type: BOUND, optional: true, meaning: 'anomalous above this' },
    below: { type: BOUND, optional: true, meaning: 'anomalous below this' },
    clear: {
      type: BOUND,
      optional: true,
      meaning: 'with one bound: the alert ends here, on its normal side',
    },
  },
  ({ above, below, clear }, place, faults) => {
    const fault = (name: string, value: unknown, problem: string, remedy: string): void => {
      faults.push({ place: `${place}.${name}`, value, problem, remedy })
    }
    if (above === undefined && below === undefined) {
      fault(
        'above',
        undefined,
        'is missing, and so is below',
        'Write at least one bound, such as { above: 90 }.',
      )
    } else if (above !== undefined && below !== undefined) {
      if (below >= above)
        fault('below', below, `is not less than above, ${above}`, 'Write the lower bound as below.')
      const remedy = 'Use two detectors, each with its own bound and clear.'
      if (clear !== undefined) fault('clear', clear, 'belongs to one bound, and there are two', remedy)
    } else if (clear !== undefined && above !== undefined && clear > above) {
      fault('clear', clear, `is beyond above, ${above}`, 'Write a value of at most above.')
    } else if (clear !== undefined && below !== undefined && clear < below) {
      fault('clear', clear, `is beyond below, ${below}`, 'Write a value of at least below.')
    }
  },
)

type Options = OptionsOf<typeof options>

/** Fixed bounds, with hysteresis.
 *
 *     .detect('busy', threshold({ above: 0.95, clear: 0.8 }), { hold: '1m' })
 *     .detect('degrees', threshold({ below: 2, above: 8 }))
 */
export function threshold(written: OptionInputOf<typeof options>): ValueDetector {
  return { [DEFINITION]: { what: 'detector', kind: 'threshold', subject: 'value', options: written } }
}

export const thresholdPlugin: DetectorPlugin<Options> = {
  kind: 'threshold',
  summary: 'fixed bounds above, below or both, with hysteresis',
  source: 'fixed bounds; O(1) a value, 0 cells a group',
  subject: 'value',
  options,
  create({ above, below, clear }): Detector {
    if (above !== undefined && below !== undefined) return new TwoBounds(below, above)
    return above === undefined
      ? new OneBound(below!, -1, clear ?? below!)
      : new OneBound(above, 1, clear ?? above)
  },
}

class TwoBounds implements Detector {
  readonly subject = 'value'
  readonly width = 0
  readonly #below: number
  readonly #above: number

  constructor(below: number, above: number) {
    this.#below = below
    this.#above = above
  }

  score(_cells: Float64Array, _at: number, _timeMs: number, value: number, verdict: Verdict): void {
    const middle = this.#below / 2 + this.#above / 2
    const distance = Math.abs(bounded(value) - middle)
    const inside = value >= this.#below && value <= this.#above
    verdict.score = sided(distance / (this.#above / 2 - this.#below / 2), !inside)
    verdict.expected = middle
    verdict.lower = this.#below
    verdict.upper = this.#above
    verdict.direction = value < middle ? -1 : 1
    verdict.cleared = inside
  }

  learn(): void {
    // Bounds are fixed.
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    return boundReason(subject, value, verdict)
  }

  explain(): Explanation {
    return boundsFact(`from ${numberText(this.#below)} to ${numberText(this.#above)}`)
  }
}

class OneBound implements Detector {
  readonly subject = 'value'
  readonly width = 0
  readonly #bound: number
  /** 1: anomalous above the bound; -1: below. */
  readonly #side: number
  readonly #clear: number
  /** From score 0 to score 1. */
  readonly #scale: number

  constructor(bound: number, side: number, clear: number) {
    this.#bound = bound
    this.#side = side
    this.#clear = clear
    this.#scale = Math.abs(bound - clear) || Math.abs(bound) || 1
  }

  score(_cells: Float64Array, _at: number, _timeMs: number, value: number, verdict: Verdict): void {
    const beyond = (bounded(value) - this.#bound) * this.#side
    verdict.score = sided(1 + beyond / this.#scale, beyond > 0)
    verdict.expected = NaN
    verdict.lower = this.#side > 0 ? -Infinity : this.#bound
    verdict.upper = this.#side > 0 ? this.#bound : Infinity
    verdict.cleared = (value - this.#clear) * this.#side <= 0
    verdict.direction = beyond > 0 ? this.#side : -this.#side
  }

  learn(): void {
    // Bounds are fixed.
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    return boundReason(subject, value, verdict)
  }

  explain(): Explanation {
    const side = this.#side > 0 ? 'at most' : 'at least'
    return boundsFact(`${side} ${numberText(this.#bound)}`)
  }
}

function boundsFact(value: string): Explanation {
  return { facts: [{ name: 'normal', value, meaning: 'as the pipeline says; nothing is learned' }] }
}

const ABOVE_ONE = 1 + Number.EPSILON

/** The bound itself is normal and the next number is not, whatever rounding made of the score. */
function sided(score: number, outside: boolean): number {
  if (outside) return score < ABOVE_ONE ? ABOVE_ONE : Math.min(score, SCORE_MAX)
  return score < 0 ? 0 : Math.min(score, 1)
}

function boundReason(subject: string, value: number, verdict: Verdict): string {
  const shown = `${subject} ${numberText(value)}`
  if (!(verdict.score > 1)) return `${shown} is back in bounds (${bandText(verdict)})`
  return verdict.direction < 0
    ? `${shown} is below ${numberText(verdict.lower)}`
    : `${shown} is above ${numberText(verdict.upper)}`
}
