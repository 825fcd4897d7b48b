/**
 * A mean that has moved, in units of the value: deviations from the mean so far, less a tolerance, are added up on either
 * side, and the sum's rise above its own minimum is held against a limit. Nothing is estimated but the mean, so that
 * tolerance and limit mean the same for all series; where the spread of a series should decide, use `cusum`.
 *
 * E. S. Page 1954; D. V. Hinkley, "Inference about the change-point from cumulative sum tests", Biometrika 58, 1971. The rise
 * above the minimum is kept by itself (it is max(0, before + step)). Rises are bounded at twice the limit. O(1) a value,
 * 8 cells a group.
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
import { BASELINE_CELLS, baselineFacts, baselineMean, isBaselineWarm, learnBaseline } from './baseline.ts'
import { sumsFact } from './facts.ts'
import { sumReason, sumVerdict } from './sums.ts'
import { abstain, bounded, clearAt, DIRECTIONS } from './verdicts.ts'

const options = optionSpec({
  limit: { type: number({ above: 0, max: 1e100 }), meaning: 'what may add up, in units of the value' },
  tolerance: {
    type: number({ min: 0, max: 1e100 }),
    meaning: 'of each value, in units of the value: half the shift that is to be found',
  },
  history: {
    type: duration({ minMs: 1 }),
    default: '6h',
    meaning: 'how far back the mean looks: a value this old weighs a sixteenth of a new one',
  },
  warmUp: {
    type: duration(),
    optional: true,
    meaning:
      'judges nothing before it has watched for this long (and 20 values); default a twelfth of history',
  },
  clear: clearAt(0.5),
  direction: { type: oneOf(...DIRECTIONS), default: 'both', meaning: 'which side is anomalous' },
})

type Options = OptionsOf<typeof options>

/** A mean that has moved.
 *
 *     .detect('degrees', pageHinkley({ tolerance: 0.2, limit: 5 }))
 */
export function pageHinkley(written: OptionInputOf<typeof options>): ValueDetector {
  return { [DEFINITION]: { what: 'detector', kind: 'page-hinkley', subject: 'value', options: written } }
}

export const pageHinkleyPlugin: DetectorPlugin<Options> = {
  kind: 'page-hinkley',
  summary: 'a mean that has moved: deviations in units of the value, added up',
  source: 'Page 1954, Hinkley 1971; O(1) a value, 8 cells a group',
  subject: 'value',
  options,
  create: (parsed) => new PageHinkley(parsed),
}

const UP = BASELINE_CELLS
const DOWN = UP + 1
const RISE_SHARE_MAX = 2

class PageHinkley implements Detector {
  readonly subject = 'value'
  readonly width = BASELINE_CELLS + 2
  readonly #options: Options
  readonly #decayPerMs: number
  readonly #warmUpMs: number

  constructor(parsed: Options) {
    this.#options = parsed
    this.#decayPerMs = Math.log(16) / parsed.historyMs
    this.#warmUpMs = parsed.warmUpMs ?? parsed.historyMs / 12
  }

  score(cells: Float64Array, at: number, timeMs: number, value: number, verdict: Verdict): void {
    if (!isBaselineWarm(cells, at, timeMs, this.#warmUpMs)) {
      abstain(verdict)
      return
    }
    const { limit, tolerance, direction, clear } = this.#options
    const mean = baselineMean(cells, at)
    const step = bounded(value) - mean
    const up = direction === 'down' ? 0 : Math.max(0, cells[at + UP]! + step - tolerance)
    const down = direction === 'up' ? 0 : Math.max(0, cells[at + DOWN]! - step - tolerance)
    sumVerdict(verdict, { mean, up, down, limit, clear })
    verdict.upper = direction === 'down' ? Infinity : mean + Math.max(0, limit - cells[at + UP]! + tolerance)
    verdict.lower = direction === 'up' ? -Infinity : mean - Math.max(0, limit - cells[at + DOWN]! + tolerance)
  }

  learn(cells: Float64Array, at: number, timeMs: number, value: number): void {
    const { limit, tolerance } = this.#options
    if (isBaselineWarm(cells, at, timeMs, this.#warmUpMs)) {
      const step = bounded(value) - baselineMean(cells, at)
      const most = RISE_SHARE_MAX * limit
      cells[at + UP] = Math.min(most, Math.max(0, cells[at + UP]! + step - tolerance))
      cells[at + DOWN] = Math.min(most, Math.max(0, cells[at + DOWN]! - step - tolerance))
    }
    learnBaseline(cells, at, timeMs, value, this.#decayPerMs, Infinity)
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    return sumReason(subject, value, verdict)
  }

  health(cells: Float64Array, at: number, timeMs: number): DetectorHealth {
    return isBaselineWarm(cells, at, timeMs, this.#warmUpMs) ? 'ok' : 'warming'
  }

  explain(cells: Float64Array, at: number): Explanation {
    const facts = baselineFacts(cells, at, this.#warmUpMs)
    if (facts.length > 0)
      facts.push(sumsFact(cells[at + UP]!, cells[at + DOWN]!, this.#options.limit, 'units of the value'))
    return { facts }
  }
}
