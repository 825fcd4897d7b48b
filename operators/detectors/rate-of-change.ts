/**
 * A value that moves faster than it can or may: the step from the value before, against a bound that grows with the time
 * between them. After a gap more is allowed, so that what came back is not blamed for what nobody saw. A value of the same
 * time as the one before, or older, is not judged. O(1) a value, 3 cells a group.
 */
import {
  duration,
  number,
  type OptionInputOf,
  type OptionsOf,
  oneOf,
  optionSpec,
} from '../../engine/config/options.ts'
import { DEFINITION, type ValueDetector } from '../../engine/contract/definition.ts'
import type {
  Detector,
  DetectorHealth,
  DetectorPlugin,
  Explanation,
  Verdict,
} from '../../engine/contract/plugins.ts'
import { minutesText } from './facts.ts'
import { abstain, bandReason, bounded, clearAt, DIRECTIONS, judgeBand, numberText } from './verdicts.ts'

const options = optionSpec({
  by: {
    type: number({ above: 0, max: 1e100 }),
    meaning: 'largest change that is normal, in units of the value',
  },
  within: { type: duration({ minMs: 1 }), default: '1m', meaning: 'in this time' },
  clear: clearAt(1),
  direction: { type: oneOf(...DIRECTIONS), default: 'both', meaning: 'which way is anomalous' },
})

type Options = OptionsOf<typeof options>

/** Moves faster than it may.
 *
 *     .detect('degrees', rateOfChange({ by: 2, within: '1m' }))
 */
export function rateOfChange(written: OptionInputOf<typeof options>): ValueDetector {
  return { [DEFINITION]: { what: 'detector', kind: 'rate-of-change', subject: 'value', options: written } }
}

export const rateOfChangePlugin: DetectorPlugin<Options> = {
  kind: 'rate-of-change',
  summary: 'a step from value to value that is larger than the time between them allows',
  source: 'fixed bound on the slope; O(1) a value, 3 cells a group',
  subject: 'value',
  options,
  create: (parsed) => new RateOfChange(parsed),
}

const SEEN = 0
const LAST_MS = 1
const LAST = 2

class RateOfChange implements Detector {
  readonly subject = 'value'
  readonly width = 3
  readonly #options: Options
  readonly #perMs: number

  constructor(parsed: Options) {
    this.#options = parsed
    this.#perMs = parsed.by / parsed.withinMs
  }

  score(cells: Float64Array, at: number, timeMs: number, value: number, verdict: Verdict): void {
    const elapsedMs = timeMs - cells[at + LAST_MS]!
    if (cells[at + SEEN] === 0 || elapsedMs <= 0) {
      abstain(verdict)
      return
    }
    const { direction, clear } = this.#options
    judgeBand(verdict, bounded(value), cells[at + LAST]!, this.#perMs * elapsedMs, direction, clear)
  }

  learn(cells: Float64Array, at: number, timeMs: number, value: number): void {
    if (cells[at + SEEN] !== 0 && timeMs < cells[at + LAST_MS]!) return
    cells[at + SEEN] = 1
    cells[at + LAST_MS] = timeMs
    cells[at + LAST] = bounded(value)
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    return bandReason(subject, value, verdict)
  }

  health(cells: Float64Array, at: number): DetectorHealth {
    return cells[at + SEEN] === 0 ? 'warming' : 'ok'
  }

  explain(cells: Float64Array, at: number): Explanation {
    if (cells[at + SEEN] === 0) return { facts: [] }
    const { by, withinMs } = this.#options
    return {
      facts: [
        {
          name: 'last value',
          value: numberText(cells[at + LAST]!),
          meaning: 'from which the next one is counted',
        },
        {
          name: 'change',
          value: `${numberText(by)} within ${minutesText(withinMs)}`,
          meaning: 'that is allowed, and as much less as less time has passed',
        },
      ],
    }
  }
}
