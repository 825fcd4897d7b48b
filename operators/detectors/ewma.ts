/**
 * Distance from an exponentially weighted mean, in exponentially weighted standard deviations. Weights fall with time,
 * not with the number of values, so that the memory is a duration whatever the rate and however irregular.
 *
 * Robust in three ways. Floors: a deviation below the absolute or relative floor is normal, so a constant series does not
 * alarm on a tiny change. Clipped learning: a value outside the band is learned as if it were one standard deviation away, so
 * an anomaly neither drags the mean along nor widens the band. Forced re-learn: values outside the band are also followed
 * by a second mean and deviation; once that has gone on for `relearn`, they are the new normal.
 *
 * Incremental weighted mean and variance: D. H. D. West, "Updating mean and variance estimates", CACM 22(9), 1979.
 * O(1) a value, 10 cells a group.
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
  abstain,
  bandReason,
  bounded,
  clearAt,
  DIRECTIONS,
  type Direction,
  judgeBand,
  numberText,
  ROUNDING,
  VALUE_MAX,
} from './verdicts.ts'

const options = optionSpec({
  threshold: {
    type: number({ min: 1, max: 1_000 }),
    default: 6,
    meaning: 'where the band ends, in standard deviations from the mean',
  },
  history: {
    type: duration({ minMs: 1 }),
    default: '1h',
    meaning: 'how far back it looks: a value this old weighs a sixteenth of a new one',
  },
  warmUp: {
    type: duration(),
    optional: true,
    meaning:
      'judges nothing before it has watched for this long (and 20 values); default a quarter of history',
  },
  relearn: {
    type: duration({ minMs: 1 }),
    optional: true,
    meaning: 'values outside the band for this long without a break become the new normal; default history',
  },
  minDeviation: {
    type: number({ min: 0, max: 1e100 }),
    default: 1e-9,
    meaning: 'a deviation up to this is normal, in units of the value',
  },
  minRelativeDeviation: {
    type: number({ min: 0, max: 1_000 }),
    default: 0.05,
    meaning: 'a deviation up to this share of the mean is normal',
  },
  clear: clearAt(0.8),
  direction: { type: oneOf(...DIRECTIONS), default: 'both', meaning: 'which side is anomalous' },
})

type Options = OptionsOf<typeof options>

/** Far from where the series usually is.
 *
 *     .detect('latency', ewma({ threshold: 6, history: '1h' }), { hold: '30s' })
 *     .detect('errors', ewma({ direction: 'up', minDeviation: 5 }))
 */
export function ewma(written: OptionInputOf<typeof options> = {}): ValueDetector {
  return { [DEFINITION]: { what: 'detector', kind: 'ewma', subject: 'value', options: written } }
}

export const ewmaPlugin: DetectorPlugin<Options> = {
  kind: 'ewma',
  summary: 'distance from an exponentially weighted mean in standard deviations',
  source: 'West 1979 (weighted mean and variance); O(1) a value, 10 cells a group',
  subject: 'value',
  options,
  create: (parsed) => new Ewma(parsed),
}

/** Values before the first verdict, and those that the memory never shrinks below, however short it is set. */
const VALUES_MIN = 20
const DECAY_MIN = 1 - 1 / VALUES_MIN
/** Values outside the band that make a new normal, at least. */
const RELEARN_WEIGHT_MIN = VALUES_MIN / 2

const COUNT = 0
const FIRST_MS = 1
const LAST_MS = 2
const WEIGHT = 3
const MEAN = 4
/** Weighted sum of squared deviations. */
const SQUARES = 5
/** Of values outside the band since RUN_SINCE_MS; RUN_WEIGHT 0: the last value was inside. */
const RUN_SINCE_MS = 6
const RUN_WEIGHT = 7
const RUN_MEAN = 8
const RUN_SQUARES = 9
const WIDTH = 10

class Ewma implements Detector {
  readonly subject = 'value'
  readonly width = WIDTH
  readonly #threshold: number
  /** Weight lost a ms, as an exponent. */
  readonly #decayPerMs: number
  readonly #warmUpMs: number
  readonly #relearnMs: number
  readonly #minDeviation: number
  readonly #minRelativeDeviation: number
  readonly #clear: number
  readonly #direction: Direction
  /** The last argument of #decay, and its result. */
  #elapsedMs = NaN
  #decayThen = NaN

  constructor(parsed: Options) {
    this.#threshold = parsed.threshold
    this.#decayPerMs = Math.log(16) / parsed.historyMs
    this.#warmUpMs = parsed.warmUpMs ?? parsed.historyMs / 4
    this.#relearnMs = parsed.relearnMs ?? parsed.historyMs
    this.#minDeviation = parsed.minDeviation
    this.#minRelativeDeviation = Math.max(parsed.minRelativeDeviation, ROUNDING)
    this.#clear = parsed.clear
    this.#direction = parsed.direction
  }

  // hot: a call a (group, window).
  score(cells: Float64Array, at: number, timeMs: number, value: number, verdict: Verdict): void {
    if (!this.#warm(cells, at, timeMs)) abstain(verdict)
    else
      judgeBand(
        verdict,
        bounded(value),
        cells[at + MEAN]!,
        this.#half(cells, at),
        this.#direction,
        this.#clear,
      )
  }

  // hot: a call a (group, window).
  learn(cells: Float64Array, at: number, timeMs: number, value: number, verdict: Verdict): void {
    const x = bounded(value)
    if (cells[at] === 0) {
      cells[at] = 1
      cells[at + FIRST_MS] = timeMs
      cells[at + LAST_MS] = timeMs
      cells[at + WEIGHT] = 1
      cells[at + MEAN] = x
      return
    }
    const elapsedMs = timeMs - cells[at + LAST_MS]!
    const decay = this.#decay(elapsedMs)
    let deviation = x - cells[at + MEAN]!
    if (!Number.isNaN(verdict.score)) {
      const half = verdict.memo!
      if (deviation > half || deviation < -half) {
        if (this.#follow(cells, at, timeMs, x, decay)) return
        deviation = deviation > 0 ? half / this.#threshold : -half / this.#threshold
      } else cells[at + RUN_WEIGHT] = 0
    }
    cells[at + COUNT] = cells[at + COUNT]! + 1
    if (elapsedMs > 0) cells[at + LAST_MS] = timeMs
    update(cells, at + WEIGHT, deviation, decay)
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    return bandReason(subject, value, verdict)
  }

  health(cells: Float64Array, at: number, timeMs: number): DetectorHealth {
    if (!this.#warm(cells, at, timeMs)) return 'warming'
    return this.#half(cells, at) < VALUE_MAX ? 'ok' : 'blind'
  }

  explain(cells: Float64Array, at: number): Explanation {
    if (cells[at] === 0) return { facts: [] }
    const deviation = Math.sqrt(cells[at + SQUARES]! / cells[at + WEIGHT]!)
    const watchedMs = cells[at + LAST_MS]! - cells[at + FIRST_MS]!
    const minutes = (ms: number): string => `${numberText(ms / 60_000)} min`
    const facts = [
      {
        name: 'mean',
        value: numberText(cells[at + MEAN]!),
        meaning: 'of what it has seen, newer values weighing more',
      },
      { name: 'deviation', value: numberText(deviation), meaning: 'standard deviation around the mean' },
      {
        name: 'warm-up',
        value: `${cells[at + COUNT]} of ${VALUES_MIN} values, ${minutes(watchedMs)} of ${minutes(this.#warmUpMs)}`,
        meaning: 'values and time seen, of those that it takes',
      },
    ]
    if (cells[at + RUN_WEIGHT]! > 0) {
      const value = `around ${numberText(cells[at + RUN_MEAN]!)}`
      facts.push({
        name: 'outside',
        value,
        meaning: 'where values outside the band lie; in time they become normal',
      })
    }
    return { facts }
  }

  /** What a weight is worth after this long. Windows end at equal distances, so mostly it was worked out for the value before. */
  #decay(elapsedMs: number): number {
    if (elapsedMs !== this.#elapsedMs) {
      const kept = elapsedMs > 0 ? Math.exp(-elapsedMs * this.#decayPerMs) : 1
      this.#elapsedMs = elapsedMs
      this.#decayThen = Math.max(kept, DECAY_MIN)
    }
    return this.#decayThen
  }

  #warm(cells: Float64Array, at: number, timeMs: number): boolean {
    return cells[at + COUNT]! >= VALUES_MIN && timeMs - cells[at + FIRST_MS]! >= this.#warmUpMs
  }

  /** From the mean to the edge of the band. */
  #half(cells: Float64Array, at: number): number {
    const deviation = Math.sqrt(cells[at + SQUARES]! / cells[at + WEIGHT]!)
    const mean = cells[at + MEAN]!
    let half = this.#threshold * deviation
    const relative = this.#minRelativeDeviation * (mean < 0 ? -mean : mean)
    if (half < relative) half = relative
    return Math.max(half, this.#minDeviation)
  }

  /** Follows values outside the band; true once they have become the new normal. */
  #follow(cells: Float64Array, at: number, timeMs: number, x: number, decay: number): boolean {
    if (cells[at + RUN_WEIGHT] === 0) {
      cells[at + RUN_SINCE_MS] = timeMs
      cells[at + RUN_WEIGHT] = 1
      cells[at + RUN_MEAN] = x
      cells[at + RUN_SQUARES] = 0
      return false
    }
    update(cells, at + RUN_WEIGHT, x - cells[at + RUN_MEAN]!, decay)
    const lastedMs = timeMs - cells[at + RUN_SINCE_MS]!
    if (lastedMs < this.#relearnMs || cells[at + RUN_WEIGHT]! < RELEARN_WEIGHT_MIN) return false
    cells[at + WEIGHT] = cells[at + RUN_WEIGHT]!
    cells[at + MEAN] = cells[at + RUN_MEAN]!
    cells[at + SQUARES] = cells[at + RUN_SQUARES]!
    cells[at + RUN_WEIGHT] = 0
    if (timeMs > cells[at + LAST_MS]!) cells[at + LAST_MS] = timeMs
    return true
  }
}

/** Takes a value `deviation` away from the mean into weight, mean and squares, which lie side by side. */
function update(cells: Float64Array, at: number, deviation: number, decay: number): void {
  const weight = cells[at]! * decay + 1
  const step = deviation / weight
  cells[at] = weight
  cells[at + 1] = cells[at + 1]! + step
  cells[at + 2] = cells[at + 2]! * decay + deviation * (deviation - step)
}
