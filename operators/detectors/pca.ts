/**
 * Columns that no longer move together. Each value is standardised by its own weighted mean and deviation; the main
 * directions in which the columns vary together are followed one value at a time; judged is what is left of a value beside
 * these directions: its distance from their plane, the residual. So a column that is where it often is, but not while the
 * others are where they are now, is found, and what moves all of them in the way they always do is not. What a single column
 * does is the affair of its own detector.
 *
 * Directions: J. Weng, Y. Zhang, W.-S. Hwang, "Candid covariance-free incremental principal component analysis", IEEE PAMI
 * 25(8), 2003, with weights that fall with time. Limit of the squared residual (Q, SPE): J. E. Jackson, G. S. Mudholkar,
 * "Control procedures for residuals associated with principal component analysis", Technometrics 21(3), 1979, in G. E. P.
 * Box's approximation by a scaled chi-squared variable with the same mean and variance (Annals of Mathematical Statistics
 * 25(2), 1954), whose quantile is that of E. B. Wilson and M. M. Hilferty (PNAS 17(12), 1931).
 *
 * Robust as `ewma` is: floors, so that columns in lock-step do not alarm on rounding; clipped learning, so that an anomaly
 * moves neither directions nor limit; and values outside for `relearn` without a break make it begin anew.
 * O(columns x components) a value, 10 + (2 + components) x columns cells a group.
 */
import {
  duration,
  integer,
  number,
  type OptionInputOf,
  type OptionsOf,
  optionSpec,
} from '../../engine/config/options.ts'
import { DEFINITION, type VectorDetectorChoice } from '../../engine/contract/definition.ts'
import {
  type DetectorHealth,
  type DetectorPlugin,
  type Explanation,
  VECTOR_COLUMNS_MAX,
  type VectorDetector,
  type Verdict,
} from '../../engine/contract/plugins.ts'
import { warmUpFact } from './facts.ts'
import { abstain, bounded, clearAt, numberText, SCORE_MAX } from './verdicts.ts'

const options = optionSpec({
  components: {
    type: integer({ min: 1, max: VECTOR_COLUMNS_MAX - 1 }),
    optional: true,
    meaning: 'directions that count as usual, fewer than columns; default half the columns',
  },
  threshold: {
    type: number({ min: 1, max: 1_000 }),
    default: 6,
    meaning: 'where the band ends, in standard deviations of the residual',
  },
  history: {
    type: duration({ minMs: 1 }),
    default: '6h',
    meaning: 'how far back it looks: a value this old weighs a sixteenth of a new one',
  },
  warmUp: {
    type: duration(),
    optional: true,
    meaning:
      'judges nothing before it has watched for this long (and 60 values); default a quarter of history',
  },
  relearn: {
    type: duration({ minMs: 1 }),
    optional: true,
    meaning: 'outside the band for this long without a break, it begins anew; default history',
  },
  minResidual: {
    type: number({ min: 0, max: 1_000 }),
    default: 1,
    meaning: 'a residual up to this many standard deviations of the columns is normal',
  },
  minRelativeDeviation: {
    type: number({ min: 0, max: 1_000 }),
    default: 0.01,
    meaning: 'a column’s standard deviation is at least this share of its mean',
  },
  clear: clearAt(0.8),
})

type Options = OptionsOf<typeof options>

/** Columns that no longer move together.
 *
 *     .window(tumbling('1m'), { cpu: mean(), memory: max(), io: mean() })
 *     .detect(['cpu', 'memory', 'io'], pca({ history: '6h' }))
 */
export function pca(written: OptionInputOf<typeof options> = {}): VectorDetectorChoice {
  return { [DEFINITION]: { what: 'detector', kind: 'pca', subject: 'vector', options: written } }
}

export const pcaPlugin: DetectorPlugin<Options> = {
  kind: 'pca',
  summary: 'columns that no longer move together',
  source:
    'Weng et al. 2003 (incremental principal components), Jackson and Mudholkar 1979 (residual); O(columns x components) a value, 10 + (2 + components) x columns cells a group',
  subject: 'vector',
  options,
  create: (parsed, columns = []) => new Pca(parsed, columns),
}

/** Values before columns are standardised, before directions count, and before the first verdict. */
const STANDARD_FROM = 10
const RESIDUALS_FROM = 30
const VALUES_MIN = 60
const DECAY_MIN = 1 - 1 / VALUES_MIN
/** Standardised values stop here: judged, and learned from. */
const JUDGED_MAX = 1e6
const LEARNED_MAX = 6
/** Values outside the band that make it begin anew, at least. */
const RELEARN_VALUES = VALUES_MIN / 2
/** A direction along which less than this share of one column's variance lies is none: constants, or what came once. */
const VARIANCE_MIN = 0.1
const SHORTEST = 1e-12
const NAMED_MAX = 3

const COUNT = 0
const FIRST_MS = 1
const LAST_MS = 2
const WEIGHT = 3
/** Of the squared residual. */
const Q_WEIGHT = 4
const Q_MEAN = 5
const Q_SQUARES = 6
/** Values outside the band without a break, and since when. */
const RUN = 7
const RUN_SINCE_MS = 8
const DIRECTIONS_WEIGHT = 9
const COLUMNS = 10

class Pca implements VectorDetector {
  readonly subject = 'vector'
  readonly width: number
  readonly values: Float64Array
  readonly #names: readonly string[]
  readonly #components: number
  readonly #threshold: number
  readonly #decayPerMs: number
  readonly #warmUpMs: number
  readonly #relearnMs: number
  readonly #minResidual: number
  readonly #minRelativeDeviation: number
  readonly #clear: number
  // Scratch of one call, never state.
  readonly #standard: Float64Array
  readonly #left: Float64Array
  readonly #parts: Float64Array

  constructor(parsed: Options, columns: readonly string[]) {
    const count = columns.length
    this.#names = columns
    this.#components = Math.min(parsed.components ?? Math.max(1, count >>> 1), Math.max(1, count - 1))
    this.width = COLUMNS + (2 + this.#components) * count
    this.values = new Float64Array(count)
    this.#standard = new Float64Array(count)
    this.#left = new Float64Array(count)
    this.#parts = new Float64Array(count)
    this.#threshold = parsed.threshold
    this.#decayPerMs = Math.log(16) / parsed.historyMs
    this.#warmUpMs = parsed.warmUpMs ?? parsed.historyMs / 4
    this.#relearnMs = parsed.relearnMs ?? parsed.historyMs
    this.#minResidual = parsed.minResidual
    this.#minRelativeDeviation = parsed.minRelativeDeviation
    this.#clear = parsed.clear
  }

  /** The residual, in standard deviations of the columns; 0 before there is any. */
  statistic(cells: Float64Array, at: number): number {
    const { values } = this
    for (let j = 0; j < values.length; j++) if (Number.isNaN(values[j])) return NaN
    return this.#residual(cells, at)
  }

  // hot: a call a (group, window).
  score(cells: Float64Array, at: number, timeMs: number, value: number, verdict: Verdict): void {
    if (!this.#warm(cells, at, timeMs)) {
      abstain(verdict)
      return
    }
    const expected = Math.sqrt(cells[at + Q_MEAN]!)
    const limit = this.#limit(cells, at)
    const ratio = (value - expected) / (limit - expected)
    const score = ratio > 0 ? Math.min(ratio, SCORE_MAX) : 0
    verdict.score = score
    verdict.expected = expected
    verdict.lower = 0
    verdict.upper = limit
    verdict.cleared = score <= this.#clear
    verdict.direction = 1
    this.#residual(cells, at)
    this.#share()
    verdict.parts = this.#parts
  }

  // hot: a call a (group, window).
  learn(cells: Float64Array, at: number, timeMs: number, value: number, verdict: Verdict): void {
    const count = this.values.length
    if (cells[at + COUNT] === 0) {
      this.#begin(cells, at, timeMs)
      return
    }
    const residual = this.#residual(cells, at)
    const isOutside = verdict.score > 1 && value > verdict.upper
    if (isOutside) {
      if (cells[at + RUN] === 0) cells[at + RUN_SINCE_MS] = timeMs
      cells[at + RUN] = cells[at + RUN]! + 1
      const lastedMs = timeMs - cells[at + RUN_SINCE_MS]!
      if (lastedMs >= this.#relearnMs && cells[at + RUN]! >= RELEARN_VALUES) {
        cells.fill(0, at, at + this.width)
        this.#begin(cells, at, timeMs)
        return
      }
    } else cells[at + RUN] = 0
    // An anomaly is learned as if its residual were the usual one.
    const kept = isOutside ? verdict.expected / residual : 1
    const standard = this.#standard
    const left = this.#left
    for (let j = 0; j < count; j++) {
      const learned = standard[j]! - left[j]! * (1 - kept)
      standard[j] = learned > LEARNED_MAX ? LEARNED_MAX : Math.max(learned, -LEARNED_MAX)
    }
    const elapsedMs = timeMs - cells[at + LAST_MS]!
    const decay = Math.max(elapsedMs > 0 ? Math.exp(-elapsedMs * this.#decayPerMs) : 1, DECAY_MIN)
    const values = cells[at + COUNT]!
    if (values >= RESIDUALS_FROM) {
      const usual = isOutside ? verdict.expected : Math.min(residual, LEARNED_MAX * Math.sqrt(count))
      this.#learnResidual(cells, at, usual * usual, decay)
    }
    if (values >= STANDARD_FROM) this.#learnDirections(cells, at, decay)
    this.#learnColumns(cells, at, decay, values < STANDARD_FROM)
    cells[at + COUNT] = values + 1
    if (elapsedMs > 0) cells[at + LAST_MS] = timeMs
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    const names = this.#names.length > 0 ? this.#names.join(', ') : subject
    const far = `${numberText(value)} standard deviations from what their usual directions allow, normal up to ${numberText(verdict.upper)}`
    if (!(verdict.score > 1)) return `${names} move together as usual again (${far})`
    return `${names} do not move together as usual: ${far}; ${this.#blamed(verdict)}`
  }

  health(cells: Float64Array, at: number, timeMs: number): DetectorHealth {
    if (!this.#warm(cells, at, timeMs)) return 'warming'
    return this.#limit(cells, at) < JUDGED_MAX ? 'ok' : 'blind'
  }

  explain(cells: Float64Array, at: number): Explanation {
    const count = cells[at + COUNT]!
    if (count === 0) return { facts: [] }
    const facts = [
      {
        name: 'directions',
        value: String(this.#components),
        meaning: `in which its ${this.values.length} columns move together`,
      },
      warmUpFact(count, VALUES_MIN, cells[at + LAST_MS]! - cells[at + FIRST_MS]!, this.#warmUpMs),
    ]
    if (cells[at + Q_WEIGHT]! > 0) {
      facts.push({
        name: 'residual',
        value: `${numberText(Math.sqrt(cells[at + Q_MEAN]!))}, normal up to ${numberText(this.#limit(cells, at))}`,
        meaning: 'what the directions usually leave over, in standard deviations of the columns',
      })
    }
    return { facts }
  }

  #warm(cells: Float64Array, at: number, timeMs: number): boolean {
    return cells[at + COUNT]! >= VALUES_MIN && timeMs - cells[at + FIRST_MS]! >= this.#warmUpMs
  }

  #begin(cells: Float64Array, at: number, timeMs: number): void {
    cells[at + COUNT] = 1
    cells[at + FIRST_MS] = timeMs
    cells[at + LAST_MS] = timeMs
    cells[at + WEIGHT] = 1
    for (let j = 0; j < this.values.length; j++) cells[at + COLUMNS + j] = bounded(this.values[j]!)
  }

  #deviation(cells: Float64Array, at: number, column: number): number {
    const mean = cells[at + COLUMNS + column]!
    const squares = cells[at + COLUMNS + this.values.length + column]!
    const relative = this.#minRelativeDeviation * (mean < 0 ? -mean : mean)
    return Math.max(Math.sqrt(squares / cells[at + WEIGHT]!), relative, 1e-9)
  }

  /** Standardises the values and takes what lies along the directions off; leaves both in scratch. */
  #residual(cells: Float64Array, at: number): number {
    const count = this.values.length
    const standard = this.#standard
    const left = this.#left
    if (cells[at + COUNT]! < STANDARD_FROM) {
      standard.fill(0)
      left.fill(0)
      return 0
    }
    for (let j = 0; j < count; j++) {
      const deviations = (bounded(this.values[j]!) - cells[at + COLUMNS + j]!) / this.#deviation(cells, at, j)
      const judged = deviations > JUDGED_MAX ? JUDGED_MAX : Math.max(deviations, -JUDGED_MAX)
      standard[j] = judged
      left[j] = judged
    }
    for (let i = 0; i < this.#components; i++) {
      const direction = this.#directionAt(at, i)
      const length = lengthOf(cells, direction, count)
      if (length < VARIANCE_MIN) break
      takeOff(left, cells, direction, length)
    }
    return lengthOf(left, 0, count)
  }

  /** Where the residual counts as anomalous. */
  #limit(cells: Float64Array, at: number): number {
    const mean = cells[at + Q_MEAN]!
    const variance = cells[at + Q_SQUARES]! / cells[at + Q_WEIGHT]!
    let limit = 0
    if (mean > 0) {
      // 2 / (9 h), h the degrees of freedom of the scaled chi-squared variable. Beyond its peak the approximation falls again.
      const share = Math.min(variance / (9 * mean * mean), (this.#threshold * this.#threshold) / 4)
      const root = 1 - share + this.#threshold * Math.sqrt(share)
      limit = Math.sqrt(mean * root * root * root)
    }
    return Math.max(limit, Math.sqrt(mean) + this.#minResidual, Number.MIN_VALUE)
  }

  #learnResidual(cells: Float64Array, at: number, square: number, decay: number): void {
    const weight = cells[at + Q_WEIGHT]! * decay + 1
    const deviation = square - cells[at + Q_MEAN]!
    const step = deviation / weight
    cells[at + Q_WEIGHT] = weight
    cells[at + Q_MEAN] = cells[at + Q_MEAN]! + step
    cells[at + Q_SQUARES] = cells[at + Q_SQUARES]! * decay + deviation * (deviation - step)
  }

  /** From the standardised values in scratch, which it uses up. */
  #learnDirections(cells: Float64Array, at: number, decay: number): void {
    const count = this.values.length
    const rest = this.#left
    rest.set(this.#standard)
    const weight = cells[at + DIRECTIONS_WEIGHT]! * decay + 1
    cells[at + DIRECTIONS_WEIGHT] = weight
    for (let i = 0; i < this.#components; i++) {
      const direction = this.#directionAt(at, i)
      let length = lengthOf(cells, direction, count)
      if (length < SHORTEST) {
        // What is beside all directions so far is where the next one begins; its length is the variance along it.
        const own = lengthOf(rest, 0, count)
        for (let j = 0; j < count; j++) cells[direction + j] = (rest[j]! * own) / weight
        return
      }
      let along = 0
      for (let j = 0; j < count; j++) along += rest[j]! * cells[direction + j]!
      along /= length
      for (let j = 0; j < count; j++) {
        const was = cells[direction + j]!
        cells[direction + j] = was + (along * rest[j]! - was) / weight
      }
      length = lengthOf(cells, direction, count)
      if (length < SHORTEST) {
        cells.fill(0, direction, direction + count)
        return
      }
      takeOff(rest, cells, direction, length)
    }
  }

  /** From the standardised values in scratch, or, before there are any, from the values. */
  #learnColumns(cells: Float64Array, at: number, decay: number, isFirst: boolean): void {
    const count = this.values.length
    const weight = cells[at + WEIGHT]! * decay + 1
    for (let j = 0; j < count; j++) {
      const mean = cells[at + COLUMNS + j]!
      const deviation = isFirst
        ? bounded(this.values[j]!) - mean
        : this.#standard[j]! * this.#deviation(cells, at, j)
      const step = deviation / weight
      const squaresAt = at + COLUMNS + count + j
      cells[at + COLUMNS + j] = bounded(mean + step)
      cells[squaresAt] = cells[squaresAt]! * decay + deviation * (deviation - step)
    }
    cells[at + WEIGHT] = weight
  }

  #directionAt(at: number, component: number): number {
    return at + COLUMNS + (2 + component) * this.values.length
  }

  /** Of the squared residual in scratch. */
  #share(): void {
    const left = this.#left
    let sum = 0
    for (let j = 0; j < left.length; j++) sum += left[j]! * left[j]!
    for (let j = 0; j < left.length; j++) this.#parts[j] = sum > 0 ? (left[j]! * left[j]!) / sum : 0
  }

  #blamed({ parts }: Verdict): string {
    const shares = this.#names
      .map((name, j) => ({ name, share: parts?.[j] ?? 0 }))
      .sort((a, b) => b.share - a.share)
      .slice(0, NAMED_MAX)
      .filter(({ share }) => share >= 0.1)
    return `most of it from ${shares.map(({ name, share }) => `${name} (${Math.round(100 * share)} %)`).join(', ')}`
  }
}

function lengthOf(cells: Float64Array, at: number, count: number): number {
  let sum = 0
  for (let j = 0; j < count; j++) sum += cells[at + j]! * cells[at + j]!
  return Math.sqrt(sum)
}

/** Takes what lies along a direction off a vector. */
function takeOff(from: Float64Array, cells: Float64Array, direction: number, length: number): void {
  let along = 0
  for (let j = 0; j < from.length; j++) along += from[j]! * cells[direction + j]!
  along /= length * length
  for (let j = 0; j < from.length; j++) from[j] = from[j]! - along * cells[direction + j]!
}
