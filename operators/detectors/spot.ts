/**
 * Odds instead of deviations: what is above a high quantile of the distances from a moving mean is fitted by a generalised
 * Pareto distribution, whatever the series' own distribution is, and a value is anomalous when one as far out comes less
 * often than `odds`. For series whose noise has heavy tails, where a number of standard deviations means nothing.
 *
 * Siffer et al., "Anomaly detection in streams with extreme value theory", KDD 2017 (DSPOT: with a moving mean). Excesses
 * are fitted by moments (Hosking and Wallis, Technometrics 29, 1987) instead of Grimshaw's search: a few sums over the last
 * EXCESSES_MAX of them. O(1) a value, 112 cells a group.
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
import { BASELINE_CELLS, baselineDeviation, baselineMean, learnBaseline } from './baseline.ts'
import { valuesFact } from './facts.ts'
import { abstain, bandReason, bounded, clearAt, DIRECTIONS, numberText, SCORE_MAX } from './verdicts.ts'

const options = optionSpec({
  odds: {
    type: number({ above: 0, max: 0.01 }),
    default: 1e-4,
    meaning: 'anomalous is what comes less often than this, as a share of all values',
  },
  history: {
    type: duration({ minMs: 1 }),
    default: '1h',
    meaning: 'how far back the mean looks: a value this old weighs a sixteenth of a new one',
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
  clear: clearAt(0.6),
  direction: { type: oneOf(...DIRECTIONS), default: 'both', meaning: 'which side is anomalous' },
})

type Options = OptionsOf<typeof options>

/** Rarer than the odds that are accepted.
 *
 *     .detect('latency', spot({ odds: 1e-5, direction: 'up' }))
 */
export function spot(written: OptionInputOf<typeof options> = {}): ValueDetector {
  return { [DEFINITION]: { what: 'detector', kind: 'spot', subject: 'value', options: written } }
}

export const spotPlugin: DetectorPlugin<Options> = {
  kind: 'spot',
  summary: 'rarer than the odds that are accepted, by a fit of the tail (extreme value theory)',
  source: 'Siffer et al. 2017 (DSPOT), fit by moments; O(1) a value, 112 cells a group',
  subject: 'value',
  options,
  create: (parsed) => new Spot(parsed),
}

const TAIL = 0.02
const TAIL_SURPRISE = -Math.log10(TAIL)
const EXCESSES_MAX = 100
/** Values before the quantile means something: some hundred, of which a few lie above it. */
const VALUES_MIN = 150
/** Excesses before their spread is believed; until then the tail falls off exponentially. */
const EXCESSES_MIN = 10
/** Of the shape: beyond, moments do not exist or the tail ends at once. */
const SHAPE_MAX = 0.4
const SHAPE_MIN = -0.4
const STEP_MIN = 0.02

const COUNT = BASELINE_CELLS
/** Quantile of the distances, and their mean. */
const QUANTILE = COUNT + 1
const DISTANCE = COUNT + 2
const EXCESS_COUNT = COUNT + 3
/** Sums over the ring: taken anew from it, so that they do not drift. */
const SUM = COUNT + 4
const SQUARES = COUNT + 5
const RING = COUNT + 6

class Spot implements Detector {
  readonly subject = 'value'
  readonly width = RING + EXCESSES_MAX
  readonly #options: Options
  readonly #decayPerMs: number
  /** Minus the decimal logarithm of the odds. */
  readonly #wanted: number
  /** Of the tail that was fitted last, for the row being judged: no state. */
  #scale = 1
  #shape = 0

  constructor(parsed: Options) {
    this.#options = parsed
    this.#decayPerMs = Math.log(16) / parsed.historyMs
    this.#wanted = -Math.log10(parsed.odds)
  }

  score(cells: Float64Array, at: number, _timeMs: number, value: number, verdict: Verdict): void {
    if (cells[at + COUNT]! < VALUES_MIN) {
      abstain(verdict)
      return
    }
    const { direction, clear } = this.#options
    const mean = baselineMean(cells, at)
    const deviation = bounded(value) - mean
    const watched = deviation > 0 ? direction !== 'down' : direction !== 'up'
    const distance = watched ? Math.abs(deviation) : 0
    this.#fit(cells, at)
    const edge = Math.max(this.#distanceAt(cells, at, this.#wanted), this.#floor(mean))
    const surprise = this.#surprise(cells, at, distance)
    verdict.surprise = surprise
    // The edge is where the odds are, or at the floor; on either side the score follows the surprise.
    const ratio = surprise / this.#wanted
    verdict.score = Math.min(
      SCORE_MAX,
      distance > edge ? Math.max(ratio, ABOVE_ONE) : Math.min(ratio, distance / edge),
    )
    verdict.expected = mean
    verdict.lower = direction === 'up' ? -Infinity : mean - edge
    verdict.upper = direction === 'down' ? Infinity : mean + edge
    verdict.cleared = verdict.score <= clear
    verdict.direction = deviation < 0 ? -1 : 1
  }

  learn(cells: Float64Array, at: number, timeMs: number, value: number): void {
    const count = cells[at + COUNT]!
    const mean = baselineMean(cells, at)
    if (count > 0) this.#learnDistance(cells, at, Math.abs(bounded(value) - mean))
    cells[at + COUNT] = count + 1
    const scale = count < VALUES_MIN ? Infinity : baselineDeviation(cells, at, this.#floor(mean), 0)
    learnBaseline(cells, at, timeMs, value, this.#decayPerMs, scale)
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    if (!(verdict.score > 1)) return bandReason(subject, value, verdict)
    return `${bandReason(subject, value, verdict)}; one as far out comes once in ${oneIn(verdict.surprise ?? 0)} values`
  }

  health(cells: Float64Array, at: number): DetectorHealth {
    return cells[at + COUNT]! < VALUES_MIN ? 'warming' : 'ok'
  }

  explain(cells: Float64Array, at: number): Explanation {
    const count = cells[at + COUNT]!
    if (count === 0) return { facts: [] }
    const excesses = Math.min(cells[at + EXCESS_COUNT]!, EXCESSES_MAX)
    return {
      facts: [
        {
          name: 'mean',
          value: numberText(baselineMean(cells, at)),
          meaning: 'from which distances are taken',
        },
        {
          name: 'tail',
          value: `beyond ${numberText(cells[at + QUANTILE]!)}, of ${excesses} values`,
          meaning: `the ${100 * TAIL} % of the distances to which the tail is fitted`,
        },
        valuesFact(count, VALUES_MIN),
      ],
    }
  }

  #floor(mean: number): number {
    const { minDeviation, minRelativeDeviation } = this.#options
    return Math.max(minDeviation, minRelativeDeviation * Math.abs(mean), 1e-150)
  }

  /** Streaming 98 % quantile by stochastic steps in units of the mean distance; what lies beyond goes to the ring. */
  #learnDistance(cells: Float64Array, at: number, distance: number): void {
    const count = cells[at + COUNT]!
    const before = cells[at + DISTANCE]!
    const quantile = cells[at + QUANTILE]!
    const clipped = count < VALUES_MIN ? distance : Math.min(distance, quantile + CLIP * before)
    cells[at + DISTANCE] = before + (clipped - before) / Math.min(count + 1, HISTORY)
    const step = Math.max(STEP_MIN, 2 / Math.sqrt(count + 1)) * cells[at + DISTANCE]!
    cells[at + QUANTILE] = Math.max(0, quantile + step * (clipped > quantile ? 1 - TAIL : -TAIL))
    if (count < VALUES_MIN / 3 || clipped <= quantile) return
    const excesses = cells[at + EXCESS_COUNT]!
    cells[at + RING + (excesses % EXCESSES_MAX)] = clipped - quantile
    cells[at + EXCESS_COUNT] = excesses + 1
    let sum = 0
    let squares = 0
    const taken = Math.min(excesses + 1, EXCESSES_MAX)
    for (let i = 0; i < taken; i++) {
      const excess = cells[at + RING + i]!
      sum += excess
      squares += excess * excess
    }
    cells[at + SUM] = sum
    cells[at + SQUARES] = squares
  }

  /** Scale and shape of the tail by moments, into #scale and #shape: nothing is allocated for a value. */
  #fit(cells: Float64Array, at: number): void {
    const taken = Math.min(cells[at + EXCESS_COUNT]!, EXCESSES_MAX)
    this.#shape = 0
    if (taken === 0) {
      this.#scale = Math.max(cells[at + DISTANCE]! * 0.3, 1e-150)
      return
    }
    const mean = Math.max(cells[at + SUM]! / taken, 1e-150)
    if (taken >= EXCESSES_MIN) {
      const variance = Math.max(cells[at + SQUARES]! / taken - mean * mean, 1e-300)
      const ratio = (mean * mean) / variance
      this.#shape = Math.min(SHAPE_MAX, Math.max(SHAPE_MIN, (1 - ratio) / 2))
    }
    this.#scale = mean * (1 - this.#shape)
  }

  #surprise(cells: Float64Array, at: number, distance: number): number {
    const quantile = cells[at + QUANTILE]!
    if (distance <= quantile) return quantile > 0 ? (TAIL_SURPRISE * distance) / quantile : 0
    const scale = this.#scale
    const shape = this.#shape
    const beyond = (distance - quantile) / scale
    if (Math.abs(shape) < SHAPE_TINY) return TAIL_SURPRISE + beyond * Math.LOG10E
    const inside = 1 + shape * beyond
    // Past the end of a tail that has one.
    if (inside <= 0) return SURPRISE_MAX
    return Math.min(SURPRISE_MAX, TAIL_SURPRISE + Math.log10(inside) / shape)
  }

  /** The other way round. */
  #distanceAt(cells: Float64Array, at: number, surprise: number): number {
    const quantile = cells[at + QUANTILE]!
    const scale = this.#scale
    const shape = this.#shape
    const decades = surprise - TAIL_SURPRISE
    if (Math.abs(shape) < SHAPE_TINY) return quantile + scale * decades * Math.LN10
    return quantile + (scale * (10 ** (shape * decades) - 1)) / shape
  }
}

const ABOVE_ONE = 1 + Number.EPSILON
const SHAPE_TINY = 1e-6
const SURPRISE_MAX = 300
const CLIP = 20
const HISTORY = 2_000

function oneIn(surprise: number): string {
  return surprise > 9 ? 'more than 1e9' : String(Number((10 ** surprise).toPrecision(2)))
}
