/**
 * Small shifts that last: deviations from a slow mean, in standard deviations, are added up on either side, less what is
 * allowed for each value. A shift of one deviation shows after ten values that would each pass any band. The sums are
 * bounded at twice the limit, so that an alert ends soon after the values are back, or the mean has come to them.
 *
 * E. S. Page, "Continuous inspection schemes", Biometrika 41, 1954; two-sided, with the usual allowance of half a deviation.
 * O(1) a value, 8 cells a group.
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
import {
  BASELINE_CELLS,
  baselineDeviation,
  baselineFacts,
  baselineMean,
  isBaselineWarm,
  learnBaseline,
} from './baseline.ts'
import { sumsFact } from './facts.ts'
import { sumReason, sumVerdict } from './sums.ts'
import { abstain, bounded, clearAt, DIRECTIONS } from './verdicts.ts'

const options = optionSpec({
  limit: {
    type: number({ min: 1, max: 1_000 }),
    default: 8,
    meaning: 'deviations that may add up, in standard deviations',
  },
  allowance: {
    type: number({ min: 0, max: 10 }),
    default: 0.5,
    meaning: 'of each value, in standard deviations: half the shift that is to be found',
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
  minDeviation: {
    type: number({ min: 0, max: 1e100 }),
    default: 1e-9,
    meaning: 'smallest standard deviation that is believed, in units of the value',
  },
  minRelativeDeviation: {
    type: number({ min: 0, max: 1_000 }),
    default: 0.01,
    meaning: 'smallest standard deviation that is believed, as a share of the mean',
  },
  clear: clearAt(0.5),
  direction: { type: oneOf(...DIRECTIONS), default: 'both', meaning: 'which side is anomalous' },
})

type Options = OptionsOf<typeof options>

/** Small shifts that last.
 *
 *     .detect('yield', cusum({ direction: 'down', history: '1d' }))
 */
export function cusum(written: OptionInputOf<typeof options> = {}): ValueDetector {
  return { [DEFINITION]: { what: 'detector', kind: 'cusum', subject: 'value', options: written } }
}

export const cusumPlugin: DetectorPlugin<Options> = {
  kind: 'cusum',
  summary: 'small shifts that last: deviations from the mean, added up',
  source: 'Page 1954, two-sided; O(1) a value, 8 cells a group',
  subject: 'value',
  options,
  create: (parsed) => new Cusum(parsed),
}

const UP = BASELINE_CELLS
const DOWN = UP + 1
/** What one value may add: an outlier is no shift. */
const STEP_MAX = 4
const SUM_SHARE_MAX = 2

class Cusum implements Detector {
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
    const { limit, allowance, direction, clear } = this.#options
    const mean = baselineMean(cells, at)
    const scale = this.#scale(cells, at)
    const step = stepOf(value, mean, scale)
    const up = direction === 'down' ? 0 : Math.max(0, cells[at + UP]! + step - allowance)
    const down = direction === 'up' ? 0 : Math.max(0, cells[at + DOWN]! - step - allowance)
    sumVerdict(verdict, { mean, up, down, limit, clear })
    verdict.upper =
      direction === 'down' ? Infinity : mean + Math.max(0, limit - cells[at + UP]! + allowance) * scale
    verdict.lower =
      direction === 'up' ? -Infinity : mean - Math.max(0, limit - cells[at + DOWN]! + allowance) * scale
  }

  learn(cells: Float64Array, at: number, timeMs: number, value: number): void {
    const { limit, allowance } = this.#options
    const isWarm = isBaselineWarm(cells, at, timeMs, this.#warmUpMs)
    const scale = this.#scale(cells, at)
    let clip = Infinity
    if (isWarm) {
      // What has added up to an alert draws the mean along slowly, so that going back is not a shift of its own.
      const isOut = Math.max(cells[at + UP]!, cells[at + DOWN]!) > limit
      clip = isOut ? scale / 3 : scale
      const step = stepOf(value, baselineMean(cells, at), scale)
      const most = SUM_SHARE_MAX * limit
      cells[at + UP] = Math.min(most, Math.max(0, cells[at + UP]! + step - allowance))
      cells[at + DOWN] = Math.min(most, Math.max(0, cells[at + DOWN]! - step - allowance))
    }
    learnBaseline(cells, at, timeMs, value, this.#decayPerMs, clip)
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
      facts.push(sumsFact(cells[at + UP]!, cells[at + DOWN]!, this.#options.limit, 'standard deviations'))
    return { facts }
  }

  #scale(cells: Float64Array, at: number): number {
    return baselineDeviation(cells, at, this.#options.minDeviation, this.#options.minRelativeDeviation)
  }
}

function stepOf(value: number, mean: number, scale: number): number {
  const step = (bounded(value) - mean) / scale
  return step > STEP_MAX ? STEP_MAX : Math.max(step, -STEP_MAX)
}
