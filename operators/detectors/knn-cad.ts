/**
 * How unlike anything of late the last few values are, in their order: the mean distance of this pattern from its nearest
 * neighbours among patterns of a reference, ranked among the same distances of the values since. The rank is a
 * probability whatever the distribution is, as long as the series goes on as it did (a conformal p-value). Finds odd shapes
 * and orders of usual values, and what breaks a wave whose period nobody stated.
 *
 * Burnaev and Ishimtsev, "Conformalized density- and distance-based anomaly detection in time-series data", 2016,
 * https://arxiv.org/abs/1608.04585 (k nearest neighbours, lazy drifting conformal detector): the reference ends where the
 * calibration begins, and both move on. Distances are Euclidean. A rank among n says no less than 1 / (n + 1); beyond the
 * largest distance, probabilities fall off exponentially with the mean excess of the largest tenth.
 *
 * O(reference · dimension) a value; 2 cells, one for each pattern of the reference, two for each distance of the
 * calibration and one for each dimension: at most 1554 cells a group.
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
import { abstain, bandReason, bounded, clearAt, numberText, ROUNDING, SCORE_MAX } from './verdicts.ts'

const options = optionSpec({
  neighbours: {
    type: integer({ min: 1, max: 16 }),
    default: 4,
    meaning: 'how many of the nearest patterns the distance is a mean over',
  },
  dimension: {
    type: integer({ min: 1, max: 16 }),
    default: 6,
    meaning: 'how many values in a row make a pattern',
  },
  reference: {
    type: integer({ min: 16, max: 512 }),
    default: 128,
    meaning: 'how many patterns to compare with',
  },
  calibration: {
    type: integer({ min: 32, max: 512 }),
    default: 128,
    meaning: 'among how many of the last distances one is ranked',
  },
  odds: {
    type: number({ above: 0, max: 0.1 }),
    default: 1e-4,
    meaning: 'anomalous is a distance that comes less often than this, as a share of all values',
  },
  minDeviation: {
    type: number({ min: 0, max: 1e100 }),
    default: 1e-9,
    meaning: 'distances up to this are alike, in units of the value',
  },
  minRelativeDeviation: {
    type: number({ min: 0, max: 1_000 }),
    default: 0.05,
    meaning: 'distances up to this share of the value expected are alike',
  },
  clear: clearAt(0.6),
})

type Options = OptionsOf<typeof options>

/** A pattern of values unlike those of late.
 *
 *     .detect('requests', knnCad({ dimension: 12, reference: 288 }))
 */
export function knnCad(written: OptionInputOf<typeof options> = {}): ValueDetector {
  return { [DEFINITION]: { what: 'detector', kind: 'knn-cad', subject: 'value', options: written } }
}

export const knnCadPlugin: DetectorPlugin<Options> = {
  kind: 'knn-cad',
  summary: 'patterns of values unlike those of late, by conformal distance from the nearest neighbours',
  source: 'Burnaev and Ishimtsev 2016; O(reference · dimension) a value, at most 1554 cells a group',
  subject: 'value',
  options,
  create: (parsed) => new KnnCad(parsed),
}

/** Values so far, and distances so far. */
const COUNT = 0
const DISTANCE_COUNT = 1
/** The last values; then the last distances. */
const RING = 2

/** Distances above this share of the others make the fit of what lies beyond them. */
const TAIL = 0.1
/** A distance this many mean excesses beyond the largest is ranked as if it were there: the next one is found as well. */
const CLIP = 10
const SURPRISE_MAX = 300
const SCALE_MIN = 1e-150

class KnnCad implements Detector {
  readonly subject = 'value'
  readonly width: number
  readonly #options: Options
  /** Minus the decimal logarithm of the odds. */
  readonly #wanted: number
  readonly #ringSize: number
  readonly #distances: number
  // Scratch of one call, never state.
  readonly #stretch: Float64Array
  readonly #pattern: Float64Array
  /** Squares of the distances of the nearest, ascending. */
  readonly #nearest: Float64Array
  /** The largest distances of the calibration, descending. */
  readonly #largest: Float64Array
  #expected = 0
  #floor = 0
  /** Mean excess of the largest distances. */
  #excess = 0

  constructor(parsed: Options) {
    const { dimension, reference, calibration, neighbours } = parsed
    this.#options = parsed
    this.#wanted = -Math.log10(parsed.odds)
    this.#ringSize = reference + calibration + dimension
    this.#distances = RING + this.#ringSize
    this.width = this.#distances + calibration
    this.#stretch = new Float64Array(reference + dimension - 1)
    this.#pattern = new Float64Array(dimension)
    this.#nearest = new Float64Array(neighbours)
    this.#largest = new Float64Array(Math.ceil(calibration * TAIL) + 1)
  }

  // hot: a call a (group, window).
  score(cells: Float64Array, at: number, _timeMs: number, value: number, verdict: Verdict): void {
    const { calibration, clear } = this.#options
    if (cells[at + DISTANCE_COUNT]! < calibration) {
      abstain(verdict)
      return
    }
    const x = bounded(value)
    const distance = this.#distance(cells, at, x)
    this.#fit(cells, at)
    verdict.memo = Math.min(distance, this.#largest[0]! + CLIP * this.#excess)
    const surprise = this.#surprise(cells, at, distance)
    verdict.surprise = surprise
    verdict.score = Math.min(SCORE_MAX, surprise / this.#wanted)
    const half = Math.max(this.#distanceAt(this.#wanted), this.#floor)
    verdict.expected = this.#expected
    verdict.lower = this.#expected - half
    verdict.upper = this.#expected + half
    verdict.cleared = verdict.score <= clear
    verdict.direction = x < this.#expected ? -1 : 1
  }

  // hot: a call a (group, window).
  learn(cells: Float64Array, at: number, _timeMs: number, value: number, verdict: Verdict): void {
    const { reference, calibration, dimension } = this.#options
    const count = cells[at + COUNT]!
    const x = bounded(value)
    if (count >= reference + dimension - 1) {
      const distances = cells[at + DISTANCE_COUNT]!
      // Once it judges, the verdict of this value brings its distance, clipped.
      const distance = distances >= calibration ? verdict.memo! : this.#distance(cells, at, x)
      cells[at + this.#distances + (distances % calibration)] = distance
      cells[at + DISTANCE_COUNT] = distances + 1
    }
    cells[at + RING + (count % this.#ringSize)] = x
    cells[at + COUNT] = count + 1
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    if (!(verdict.score > 1)) return bandReason(subject, value, verdict)
    const { dimension, reference } = this.#options
    return `${subject} ${numberText(value)} ends a pattern of ${dimension} values unlike the ${reference} it is compared with: odds of 1 in 10^${numberText(verdict.surprise ?? 0)}; the nearest ends with ${numberText(verdict.expected)}`
  }

  health(cells: Float64Array, at: number): DetectorHealth {
    return cells[at + DISTANCE_COUNT]! < this.#options.calibration ? 'warming' : 'ok'
  }

  explain(cells: Float64Array, at: number): Explanation {
    const { reference, calibration, dimension } = this.#options
    const needed = reference + calibration + dimension - 1
    const facts = [
      {
        name: 'values',
        value: String(cells[at + COUNT]!),
        meaning: `seen so far; it judges once there are ${needed}`,
      },
    ]
    if (cells[at + DISTANCE_COUNT]! >= calibration) {
      this.#fit(cells, at)
      facts.push(
        {
          name: 'largest distance',
          value: numberText(this.#largest[0]!),
          meaning: `among the last ${calibration}, in units of the value`,
        },
        {
          name: 'alarms beyond',
          value: numberText(this.#distanceAt(this.#wanted)),
          meaning:
            'mean distance from the nearest patterns at which the odds are reached, in units of the value',
        },
      )
    }
    return { facts }
  }

  /** Mean distance from the nearest of the pattern that `x` ends, no less than the floor. */
  #distance(cells: Float64Array, at: number, x: number): number {
    const { dimension, reference, calibration, minDeviation, minRelativeDeviation } = this.#options
    const { neighbours } = this.#options
    const ringSize = this.#ringSize
    const count = cells[at + COUNT]!
    const stretch = this.#stretch
    const pattern = this.#pattern
    const nearest = this.#nearest
    // The reference stays the first one until there are more values than it and the calibration hold.
    let place = Math.max(0, count - calibration - reference - dimension + 1) % ringSize
    for (let i = 0; i < stretch.length; i++) {
      stretch[i] = cells[at + RING + place]!
      place = place + 1 === ringSize ? 0 : place + 1
    }
    for (let j = 0; j < dimension - 1; j++) {
      pattern[j] = cells[at + RING + ((count - dimension + 1 + j) % ringSize)]!
    }
    pattern[dimension - 1] = x
    nearest.fill(Infinity)
    const last = neighbours - 1
    for (let i = 0; i < reference; i++) {
      let square = 0
      for (let j = dimension - 1; j >= 0; j--) {
        const difference = stretch[i + j]! - pattern[j]!
        square += difference * difference
        if (square >= nearest[last]!) break
      }
      if (square >= nearest[last]!) continue
      if (square < nearest[0]!) this.#expected = stretch[i + dimension - 1]!
      let k = last
      while (k > 0 && nearest[k - 1]! > square) {
        nearest[k] = nearest[k - 1]!
        k--
      }
      nearest[k] = square
    }
    let sum = 0
    for (let k = 0; k < neighbours; k++) sum += Math.sqrt(nearest[k]!)
    const relative = Math.max(minRelativeDeviation, ROUNDING) * Math.abs(this.#expected)
    this.#floor = Math.max(minDeviation, relative, SCALE_MIN)
    return Math.max(sum / neighbours, this.#floor)
  }

  /** The largest distances of the calibration, and their mean excess over the least of them. */
  #fit(cells: Float64Array, at: number): void {
    const largest = this.#largest
    const last = largest.length - 1
    const from = at + this.#distances
    const to = from + this.#options.calibration
    largest.fill(0)
    for (let i = from; i < to; i++) {
      const distance = cells[i]!
      if (distance <= largest[last]!) continue
      let k = last
      while (k > 0 && largest[k - 1]! < distance) {
        largest[k] = largest[k - 1]!
        k--
      }
      largest[k] = distance
    }
    let sum = 0
    for (let k = 0; k < last; k++) sum += largest[k]! - largest[last]!
    // Where distances are all alike, so much more is one excess.
    this.#excess = Math.max(sum / last, EXCESS_SHARE * largest[0]!)
  }

  #surprise(cells: Float64Array, at: number, distance: number): number {
    const { calibration } = this.#options
    const most = this.#largest[0]!
    const rank = Math.log10(calibration + 1)
    if (distance > most)
      return Math.min(SURPRISE_MAX, rank + ((distance - most) / this.#excess) * Math.LOG10E)
    const from = at + this.#distances
    let asFar = 1
    for (let i = 0; i < calibration; i++) if (cells[from + i]! >= distance) asFar++
    return rank - Math.log10(asFar)
  }

  /** The other way round; for surprises that no rank has. */
  #distanceAt(surprise: number): number {
    const beyond = Math.max(0, surprise - Math.log10(this.#options.calibration + 1))
    return this.#largest[0]! + beyond * Math.LN10 * this.#excess
  }
}

/** A mean excess is no less than this share of the largest distance. */
const EXCESS_SHARE = 0.1
