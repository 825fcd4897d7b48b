/**
 * A new level or a new spread: the probability that a change happened among the last values, over all places where it may
 * have. Each hypothesis is a run of values since its change, with the mean and spread of that run; a value makes those more
 * probable that foresaw it.
 *
 * Adams and MacKay, "Bayesian online changepoint detection", 2007 (https://arxiv.org/abs/0710.3742), with values normal about
 * a mean and a variance that are both unknown (normal-inverse-gamma; the value foreseen has a Student t distribution). Three
 * things beside the paper. A value may be an outlier of any size with probability OUTLIER, which a run then does not learn
 * from: one spike is no change (contaminated normal; Fearnhead and Rigaill, "Changepoint detection in the presence of
 * outliers", JASA 2019). A run looks back over RUN_VALUES values: what drifts slowly does not change. And of all hypotheses
 * the `hypotheses` most probable are kept; one that gives way leaves its weight to the run that began next to it.
 *
 * O(hypotheses) a value; at most 1289 cells a group.
 */
import {
  integer,
  number,
  type OptionInputOf,
  type OptionsOf,
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
import { abstain, bandText, bounded, clearAt, numberText, ROUNDING, SCORE_MAX } from './verdicts.ts'
import { gain } from './views/view.ts'

const options = optionSpec({
  every: {
    type: integer({ min: 10, max: 1_000_000 }),
    default: 250,
    meaning:
      'how many values lie between two changes, as a guess: a change is that improbable before values speak',
  },
  recent: {
    type: integer({ min: 5, max: 1_000 }),
    default: 60,
    meaning: 'a change among so many last values alarms; the alert ends when it is older',
  },
  odds: {
    type: number({ above: 0, max: 0.1 }),
    default: 1e-4,
    meaning: 'alarms when the probability that nothing changed is below this',
  },
  hypotheses: {
    type: integer({ min: 16, max: 256 }),
    default: 64,
    meaning: 'how many places of the last change are weighed against each other',
  },
  minDeviation: {
    type: number({ min: 0, max: 1e100 }),
    default: 1e-9,
    meaning: 'no spread is taken to be smaller, in units of the value',
  },
  minRelativeDeviation: {
    type: number({ min: 0, max: 1_000 }),
    default: 0.01,
    meaning: 'no spread is taken to be smaller, as a share of the mean',
  },
  clear: clearAt(0.6),
})

type Options = OptionsOf<typeof options>

/** A new level, or a new spread about it.
 *
 *     .detect('latency', changePoint())
 *     .detect('yield', changePoint({ every: 2_000, odds: 1e-6 }))
 */
export function changePoint(written: OptionInputOf<typeof options> = {}): ValueDetector {
  return { [DEFINITION]: { what: 'detector', kind: 'change-point', subject: 'value', options: written } }
}

export const changePointPlugin: DetectorPlugin<Options> = {
  kind: 'change-point',
  summary: 'a new level or spread, by the probability of a change among the last values',
  source: 'Adams and MacKay 2007 (BOCPD), with outliers; O(hypotheses) a value, at most 1289 cells a group',
  subject: 'value',
  options,
  create: (parsed) => new ChangePoint(parsed),
}

/** Values before the first verdict: mean and spread of the first run. */
const WARM_UP = 30
/** A run's mean and spread look back over so many values. */
export const RUN_VALUES = 1_000
/** Of a run that begins: what it is foreseen to be, as good as this share of a value, and its spread as one value. */
export const PRIOR_VALUES = 0.01
export const PRIOR_SHAPE = 1
/** Share of values that are none of a run's, and over how many spreads they lie anywhere. */
export const OUTLIER = 0.01
export const OUTLIER_SPREADS = 100
/** Level and spread of all values look back over so many: what a new run is foreseen by. */
const LEVEL_VALUES = 1_000
/** Where the band ends, in spreads: about where a value is more likely an outlier. */
const BAND_SPREADS = 4
/** A run of so many values is told as what was before. */
const BEFORE_VALUES = 10
const SPREAD_MIN = 1e-150
const SURPRISE_MAX = 300

const COUNT = 0
const LEVEL = 1
const VARIANCE = 2
/** Hypotheses there are. */
const RUNS = 3
/** Of the most probable run: number of its first value, its mean, its spread; and mean and spread of the one before it. */
const BEGAN_AT = 4
const MEAN_NOW = 5
const SPREAD_NOW = 6
const MEAN_BEFORE = 7
const SPREAD_BEFORE = 8
const HYPOTHESES = 9
// Cells of a hypothesis: values since the change, its probability; values learned from, their mean, and beta of the inverse gamma.
const RUN = 0
const WEIGHT = 1
const LEARNED = 2
const MEAN = 3
const BETA = 4
const RUN_CELLS = 5

class ChangePoint implements Detector {
  readonly subject = 'value'
  readonly width: number
  readonly #options: Options
  /** Minus the decimal logarithm of the odds. */
  readonly #wanted: number
  readonly #hazard: number
  // Scratch of one call, never state: weights after the value, by hypothesis, then that of a change with it; and how much of
  // the value each learns.
  readonly #weights: Float64Array
  readonly #shares: Float64Array
  /** Of the weights in scratch; a verdict that was made of them has it as its memo. */
  #weighed = 0
  /** Share of the value that #densityOf took for the run's own. */
  #share = 0

  constructor(parsed: Options) {
    this.#options = parsed
    this.#wanted = -Math.log10(parsed.odds)
    this.#hazard = 1 / parsed.every
    this.width = HYPOTHESES + RUN_CELLS * parsed.hypotheses
    this.#weights = new Float64Array(parsed.hypotheses + 1)
    this.#shares = new Float64Array(parsed.hypotheses + 1)
  }

  // hot: a call a (group, window).
  score(cells: Float64Array, at: number, _timeMs: number, value: number, verdict: Verdict): void {
    const count = cells[at + COUNT]!
    if (count < WARM_UP) {
      abstain(verdict)
      return
    }
    const x = bounded(value)
    this.#weigh(cells, at, x)
    const runs = cells[at + RUNS]!
    const { recent, clear } = this.#options
    // The first run begins where the series does, which is no change.
    let unchanged = 0
    for (let i = 0; i < runs; i++) {
      const run = cells[at + HYPOTHESES + RUN_CELLS * i + RUN]!
      if (run >= recent || run >= count) unchanged += this.#weights[i]!
    }
    const surprise = Math.min(-Math.log10(unchanged), SURPRISE_MAX)
    const mean = cells[at + MEAN_NOW]!
    const half = BAND_SPREADS * cells[at + SPREAD_NOW]!
    const score = Math.max(surprise, 0) / this.#wanted
    verdict.surprise = surprise
    verdict.score = Math.min(score, SCORE_MAX)
    verdict.expected = mean
    verdict.lower = mean - half
    verdict.upper = mean + half
    verdict.cleared = score <= clear
    // Against what was before, once the new run is the most probable one.
    const isKnown = count - cells[at + BEGAN_AT]! < recent && cells[at + BEGAN_AT]! > 0
    verdict.direction = (isKnown ? mean < cells[at + MEAN_BEFORE]! : x < mean) ? -1 : 1
    verdict.memo = this.#weighed
  }

  // hot: a call a (group, window).
  learn(cells: Float64Array, at: number, _timeMs: number, value: number, verdict: Verdict): void {
    const x = bounded(value)
    const count = cells[at + COUNT]!
    if (count >= WARM_UP) {
      if (Number.isNaN(verdict.score) || verdict.memo !== this.#weighed) this.#weigh(cells, at, x)
      this.#grow(cells, at, x)
      this.#settle(cells, at, count + 1)
    }
    const step = gain(count + 1, LEVEL_VALUES)
    const far = x - cells[at + LEVEL]!
    // Clipped, so that one spike is not what the next run is foreseen by.
    const most = count < WARM_UP ? Infinity : OUTLIER_SPREADS * this.#spread(cells, at)
    const move = far > most ? most : Math.max(far, -most)
    cells[at + LEVEL] = bounded(cells[at + LEVEL]! + move * step)
    cells[at + VARIANCE] = (1 - step) * (cells[at + VARIANCE]! + step * move * move)
    cells[at + COUNT] = count + 1
    if (count + 1 === WARM_UP) this.#begin(cells, at)
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    const shown = `${subject} ${numberText(value)}`
    const about = `about ${numberText(verdict.expected)} (band ${bandText(verdict)})`
    if (!(verdict.score > 1)) return `${shown}: the last change is some time ago, values lie ${about}`
    const odds = numberText(10 ** Math.min(verdict.surprise ?? 0, ODDS_MAX))
    const way = verdict.direction < 0 ? 'down' : 'up'
    return `${shown}: a change ${way} among the last ${this.#options.recent} values, odds of ${odds} to 1; values lie ${about}`
  }

  health(cells: Float64Array, at: number): DetectorHealth {
    return cells[at + COUNT]! < WARM_UP ? 'warming' : 'ok'
  }

  explain(cells: Float64Array, at: number): Explanation {
    const count = cells[at + COUNT]!
    const facts = [
      {
        name: 'values',
        value: String(count),
        meaning: `seen so far; it judges once there are ${WARM_UP}`,
      },
    ]
    if (count < WARM_UP) return { facts }
    const about = (mean: number, spread: number): string => `${numberText(mean)} ± ${numberText(spread)}`
    const began = cells[at + BEGAN_AT]!
    facts.push(
      {
        name: 'run',
        value: `${count - began} values about ${about(cells[at + MEAN_NOW]!, cells[at + SPREAD_NOW]!)}`,
        meaning: 'the most probable since the last change, with its standard deviation',
      },
      {
        name: 'hypotheses',
        value: String(cells[at + RUNS]!),
        meaning: 'places of the last change that are weighed against each other',
      },
    )
    if (began > 0) {
      facts.push({
        name: 'before',
        value: about(cells[at + MEAN_BEFORE]!, cells[at + SPREAD_BEFORE]!),
        meaning: 'before that change',
      })
    }
    return { facts }
  }

  /** Standard deviation of all values, no less than what counts as none. */
  #spread(cells: Float64Array, at: number): number {
    const deviation = Math.sqrt(cells[at + VARIANCE]!)
    return Math.max(deviation, this.#least(cells[at + LEVEL]!))
  }

  #least(mean: number): number {
    const { minDeviation, minRelativeDeviation } = this.#options
    return Math.max(minDeviation, Math.max(minRelativeDeviation, ROUNDING) * Math.abs(mean), SPREAD_MIN)
  }

  /** The first run: as long as the warm-up, and certain. */
  #begin(cells: Float64Array, at: number): void {
    const first = at + HYPOTHESES
    const variance = this.#spread(cells, at) ** 2
    cells[at + RUNS] = 1
    cells[first + RUN] = WARM_UP
    cells[first + WEIGHT] = 1
    cells[first + LEARNED] = WARM_UP
    cells[first + MEAN] = cells[at + LEVEL]!
    cells[first + BETA] = variance * (PRIOR_SHAPE + WARM_UP / 2)
    this.#settle(cells, at, WARM_UP)
  }

  /** Into scratch: how probable each hypothesis is once `x` has come, and that `x` begins a new run. */
  #weigh(cells: Float64Array, at: number, x: number): void {
    const runs = cells[at + RUNS]!
    const weights = this.#weights
    const spread = this.#spread(cells, at)
    const outlier = OUTLIER / (OUTLIER_SPREADS * spread)
    let sum = 0
    for (let i = 0; i < runs; i++) {
      const run = at + HYPOTHESES + RUN_CELLS * i
      const density = this.#densityOf(
        x,
        cells[run + LEARNED]!,
        cells[run + MEAN]!,
        cells[run + BETA]!,
        outlier,
      )
      this.#shares[i] = this.#share
      weights[i] = cells[run + WEIGHT]! * (1 - this.#hazard) * density
      sum += weights[i]!
    }
    const fresh = this.#densityOf(x, 0, cells[at + LEVEL]!, PRIOR_SHAPE * spread * spread, outlier)
    this.#shares[runs] = this.#share
    weights[runs] = this.#hazard * fresh
    sum += weights[runs]!
    for (let i = 0; i <= runs; i++) weights[i] = weights[i]! / sum
    this.#weighed++
  }

  /** Of `x` in a run that learned from so many values; leaves in #share how much of `x` is the run's own. */
  #densityOf(x: number, learned: number, mean: number, beta: number, outlier: number): number {
    const values = PRIOR_VALUES + learned
    const shape = PRIOR_SHAPE + learned / 2
    const least = this.#least(mean)
    const variance = Math.max((beta * (values + 1)) / (shape * values), least * least)
    const own = (1 - OUTLIER) * studentT(x - mean, shape, variance)
    this.#share = own / (own + outlier)
    return own + outlier
  }

  /** Takes the value into every run, and adds the one that begins with it; the least probable gives way. */
  #grow(cells: Float64Array, at: number, x: number): void {
    const runs = cells[at + RUNS]!
    const weights = this.#weights
    for (let i = 0; i < runs; i++) {
      const run = at + HYPOTHESES + RUN_CELLS * i
      cells[run + RUN] = cells[run + RUN]! + 1
      cells[run + WEIGHT] = weights[i]!
      learnInto(cells, run, x, this.#shares[i]!)
    }
    const { hypotheses } = this.#options
    let place = runs
    if (runs === hypotheses) {
      place = 0
      for (let i = 1; i < runs; i++) if (weights[i]! < weights[place]!) place = i
      // Its probability is that of a change about there: the run that began next to it has it from now on.
      const gone = at + HYPOTHESES + RUN_CELLS * place
      let heir = -1
      let nearest = Infinity
      for (let i = 0; i < runs; i++) {
        const apart = Math.abs(cells[at + HYPOTHESES + RUN_CELLS * i + RUN]! - cells[gone + RUN]!)
        if (i === place || apart >= nearest) continue
        nearest = apart
        heir = at + HYPOTHESES + RUN_CELLS * i
      }
      cells[heir + WEIGHT] = cells[heir + WEIGHT]! + weights[place]!
    } else cells[at + RUNS] = runs + 1
    const spread = this.#spread(cells, at)
    const run = at + HYPOTHESES + RUN_CELLS * place
    cells[run + RUN] = 1
    cells[run + WEIGHT] = weights[runs]!
    cells[run + LEARNED] = 0
    cells[run + MEAN] = cells[at + LEVEL]!
    cells[run + BETA] = PRIOR_SHAPE * spread * spread
    learnInto(cells, run, x, this.#shares[runs]!)
    const kept = cells[at + RUNS]!
    let sum = 0
    for (let i = 0; i < kept; i++) sum += cells[at + HYPOTHESES + RUN_CELLS * i + WEIGHT]!
    for (let i = 0; i < kept; i++) {
      const weight = at + HYPOTHESES + RUN_CELLS * i + WEIGHT
      cells[weight] = cells[weight]! / sum
    }
  }

  /** Notes the most probable run, of `count` values so far. */
  #settle(cells: Float64Array, at: number, count: number): void {
    const runs = cells[at + RUNS]!
    let best = at + HYPOTHESES
    for (let i = 1; i < runs; i++) {
      const run = at + HYPOTHESES + RUN_CELLS * i
      if (cells[run + WEIGHT]! > cells[best + WEIGHT]!) best = run
    }
    const began = count - cells[best + RUN]!
    const lasted = count - 1 - cells[at + BEGAN_AT]!
    if (began !== cells[at + BEGAN_AT]! && lasted >= BEFORE_VALUES) {
      cells[at + MEAN_BEFORE] = cells[at + MEAN_NOW]!
      cells[at + SPREAD_BEFORE] = cells[at + SPREAD_NOW]!
    }
    const learned = cells[best + LEARNED]!
    const deviation = Math.sqrt(cells[best + BETA]! / (PRIOR_SHAPE + learned / 2))
    cells[at + BEGAN_AT] = began
    cells[at + MEAN_NOW] = cells[best + MEAN]!
    cells[at + SPREAD_NOW] = Math.max(deviation, this.#least(cells[best + MEAN]!))
  }
}

const ODDS_MAX = 15

/** Normal-inverse-gamma update by a value that is the run's own by so much. */
function learnInto(cells: Float64Array, run: number, x: number, share: number): void {
  const learned = cells[run + LEARNED]!
  const values = PRIOR_VALUES + learned
  const mean = cells[run + MEAN]!
  const far = x - mean
  cells[run + MEAN] = bounded(mean + (far * share) / (values + share))
  const beta = cells[run + BETA]! + (share * values * far * far) / (2 * (values + share))
  if (learned + share <= RUN_VALUES) {
    cells[run + LEARNED] = learned + share
    cells[run + BETA] = beta
  } else {
    // As many are forgotten as are learned.
    const shape = PRIOR_SHAPE + learned / 2
    cells[run + BETA] = (beta * shape) / (shape + share / 2)
  }
}

/**
 * Density of Student's t distribution with 2 · shape degrees of freedom and this squared scale, `far` from its middle. The
 * ratio of gamma functions by its asymptotic series (Abramowitz and Stegun 6.1.47): right to a thousandth from two degrees on.
 */
export function studentT(far: number, shape: number, variance: number): number {
  const ratio = 1 / (8 * shape) - 1 / (192 * shape ** 3)
  const beyond = Math.log1p((far * far) / (2 * shape * variance))
  return Math.exp(-ratio - (shape + 0.5) * beyond) / Math.sqrt(2 * Math.PI * variance)
}
