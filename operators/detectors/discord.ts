/**
 * A stretch of values whose shape no earlier stretch has, whatever their level and scale: the distance of the last `length`
 * values from the stretch before them that is most like them, both standardised, against how large it usually is. It is the
 * left matrix profile, and a discord is where that is large.
 *
 * Yeh et al., "Matrix profile I: all pairs similarity joins for time series", ICDM 2016; discords: Keogh, Lin and Fu, "HOT SAX",
 * ICDM 2005; past neighbours only, in a bounded stream: Lu et al., "Matrix profile XXIV: scaling time series anomaly detection to
 * trillions of datapoints and ultra-fast arriving data streams" (DAMP), KDD 2022. Stretches do not overlap. The dot products of
 * the last stretch with each earlier one follow from those of the value before, as in the STOMP algorithm; they are worked out
 * anew, about a new middle, once every `history` values, which bounds what rounding adds up to. What a value far out leaves
 * behind in a sum as it goes would be rounding of its own size: such a sum is worked out anew at once. How large the distance usually is
 * is a tail learned from the series (views/tail.ts).
 *
 * O(history) a value, and once in a history O(history · length); one cell for each value of the history and one for each place
 * a stretch can be: at most 1691 cells a group.
 */
import { integer, type OptionInputOf, type OptionsOf, optionSpec } from '../../engine/config/options.ts'
import { DEFINITION, type ValueDetector } from '../../engine/contract/definition.ts'
import type {
  Detector,
  DetectorHealth,
  DetectorPlugin,
  Explanation,
  Verdict,
} from '../../engine/contract/plugins.ts'
import {
  judgeNovelty,
  learnNovelty,
  NOVELTY_CELLS,
  noveltyCount,
  noveltyFloor,
  noveltyOptions,
  noveltyReason,
  TAIL_VALUES,
} from './novelty.ts'
import { abstain, bounded, numberText } from './verdicts.ts'

const options = optionSpec({
  length: {
    type: integer({ min: 4, max: 128 }),
    default: 24,
    meaning: 'how many values in a row make a stretch',
  },
  history: {
    type: integer({ min: 64, max: 768 }),
    default: 512,
    meaning: 'how many values back the stretches begin that one is compared with',
  },
  ...noveltyOptions,
})

type Options = OptionsOf<typeof options>

/** A shape that was not there before.
 *
 *     .detect('pressure', discord({ length: 48 }))
 */
export function discord(written: OptionInputOf<typeof options> = {}): ValueDetector {
  return { [DEFINITION]: { what: 'detector', kind: 'discord', subject: 'value', options: written } }
}

export const discordPlugin: DetectorPlugin<Options> = {
  kind: 'discord',
  summary: 'a shape that no stretch of late has, by the left matrix profile',
  source: 'Yeh et al. 2016, Lu et al. 2022; O(history) a value, at most 1691 cells a group',
  subject: 'value',
  options,
  create: (parsed) => new Discord(parsed),
}

/** What dot products are taken about. */
const MIDDLE = NOVELTY_CELLS
/** By lag: of the last stretch with the one so many values earlier. */
const PRODUCTS = MIDDLE + 1
/** What leaves a sum and is so many times what is left of it has taken six digits or more of it along. */
const OUTWEIGHS = 1e6

class Discord implements Detector {
  readonly subject = 'value'
  readonly width: number
  readonly #options: Options
  readonly #ring: number
  readonly #ringSize: number
  /** The last values about the middle, newest first; scratch of one call, never state. */
  readonly #back: Float64Array
  /** Scratch as well. */
  readonly #sorted: Float64Array

  constructor(parsed: Options) {
    this.#options = parsed
    const { length, history } = parsed
    this.#ring = PRODUCTS + history + 1
    this.#ringSize = history + length
    this.width = this.#ring + this.#ringSize
    this.#back = new Float64Array(history + length + 1)
    this.#sorted = new Float64Array(this.#ringSize)
  }

  // hot: a call a (group, window).
  score(cells: Float64Array, at: number, _timeMs: number, value: number, verdict: Verdict): void {
    if (noveltyCount(cells, at) < this.#warmUp) {
      abstain(verdict)
      return
    }
    const x = bounded(value)
    this.#lookBack(cells, at, x)
    const distance = this.#nearest(cells, at)
    judgeNovelty(cells, at, x, distance, this.#options, verdict)
    verdict.memo = distance
  }

  // hot: a call a (group, window).
  learn(cells: Float64Array, at: number, _timeMs: number, value: number, verdict: Verdict): void {
    const { history } = this.#options
    const x = bounded(value)
    const count = noveltyCount(cells, at)
    if (count === 0) cells[at + MIDDLE] = x
    this.#lookBack(cells, at, x)
    let distance = NaN
    if (count >= this.#warmUp) distance = verdict.memo!
    else if (count >= this.#full) distance = this.#nearest(cells, at)
    learnNovelty(cells, at, x, distance)
    this.#advance(cells, at)
    cells[at + this.#ring + (count % this.#ringSize)] = x
    if ((count + 1) % history === 0) this.#anew(cells, at)
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    const { length, history } = this.#options
    return noveltyReason(
      subject,
      value,
      verdict,
      `the end of ${length} values of a shape that the ${history} before do not have`,
    )
  }

  health(cells: Float64Array, at: number): DetectorHealth {
    return noveltyCount(cells, at) < this.#warmUp ? 'warming' : 'ok'
  }

  explain(cells: Float64Array, at: number): Explanation {
    const count = noveltyCount(cells, at)
    const facts = [
      {
        name: 'values',
        value: String(count),
        meaning: `seen so far; it judges once there are ${this.#warmUp}`,
      },
    ]
    if (count >= this.#full) {
      facts.push({
        name: 'flat below',
        value: numberText(noveltyFloor(cells, at, this.#options)),
        meaning: 'standard deviation of a stretch up to which it has no shape, in units of the value',
      })
    }
    return { facts }
  }

  get #full(): number {
    return this.#options.history + this.#options.length
  }

  get #warmUp(): number {
    return this.#full + TAIL_VALUES
  }

  /** The last values into scratch, newest first, `x` ahead of them; those before the first are as the middle. */
  #lookBack(cells: Float64Array, at: number, x: number): void {
    const count = noveltyCount(cells, at)
    const middle = cells[at + MIDDLE]!
    const back = this.#back
    back[0] = x - middle
    const known = Math.min(count, this.#ringSize)
    let place = count % this.#ringSize
    for (let k = 1; k <= known; k++) {
      place = place === 0 ? this.#ringSize - 1 : place - 1
      back[k] = cells[at + this.#ring + place]! - middle
    }
    back.fill(0, known + 1)
  }

  /** hot: distance of the last stretch, standardised, from the one before it that is nearest. */
  #nearest(cells: Float64Array, at: number): number {
    const { length, history } = this.#options
    const back = this.#back
    const floor = noveltyFloor(cells, at, this.#options)
    let sum = 0
    let squares = 0
    for (let k = 0; k < length; k++) {
      sum += back[k]!
      squares += back[k]! * back[k]!
    }
    const mean = sum / length
    const own = Math.sqrt(Math.max(0, squares / length - mean * mean))
    const ownScale = Math.max(own, floor)
    const newest = back[0]!
    const gone = back[length]!
    sum = 0
    squares = 0
    for (let k = length; k < 2 * length; k++) {
      sum += back[k]!
      squares += back[k]! * back[k]!
    }
    let most = -1
    for (let lag = length; ; lag++) {
      const leaving = gone * back[lag + length]!
      let product = cells[at + PRODUCTS + lag]! + newest * back[lag]! - leaving
      if (Math.abs(leaving) > OUTWEIGHS * Math.abs(product)) product = this.#product(lag)
      const other = sum / length
      const deviation = Math.sqrt(Math.max(0, squares / length - other * other))
      // Neither has a shape: alike.
      if (own < floor && deviation < floor) return 0
      const likeness = (product / length - mean * other) / (ownScale * Math.max(deviation, floor))
      if (likeness > most) most = likeness
      if (lag === history) break
      const left = back[lag]!
      const entered = back[lag + length]!
      sum += entered - left
      squares += entered * entered - left * left
      if (left * left > OUTWEIGHS * squares) {
        sum = 0
        squares = 0
        for (let k = lag + 1; k <= lag + length; k++) {
          sum += back[k]!
          squares += back[k]! * back[k]!
        }
      }
    }
    return Math.sqrt(2 * length * (1 - Math.min(most, 1)))
  }

  /** Dot products of the stretch that ends with the value in front. */
  #advance(cells: Float64Array, at: number): void {
    const { length, history } = this.#options
    const back = this.#back
    const newest = back[0]!
    const gone = back[length]!
    for (let lag = length; lag <= history; lag++) {
      const cell = at + PRODUCTS + lag
      const leaving = gone * back[lag + length]!
      const product = cells[cell]! + newest * back[lag]! - leaving
      cells[cell] = Math.abs(leaving) > OUTWEIGHS * Math.abs(product) ? this.#product(lag) : product
    }
  }

  /** By its definition. */
  #product(lag: number): number {
    const { length } = this.#options
    const back = this.#back
    let product = 0
    for (let k = 0; k < length; k++) product += back[k]! * back[k + lag]!
    return product
  }

  /** The same by their definition, about the median of the history, which no value far out moves. */
  #anew(cells: Float64Array, at: number): void {
    const { length, history } = this.#options
    const count = noveltyCount(cells, at)
    const known = Math.min(count, this.#ringSize)
    const sorted = this.#sorted.subarray(0, known)
    sorted.set(cells.subarray(at + this.#ring, at + this.#ring + known))
    sorted.sort()
    cells[at + MIDDLE] = sorted[known >> 1]!
    this.#lookBack(cells, at, 0)
    const back = this.#back
    for (let lag = length; lag <= history; lag++) {
      let product = 0
      for (let k = 1; k <= length; k++) product += back[k]! * (back[k + lag] ?? 0)
      cells[at + PRODUCTS + lag] = product
    }
  }
}
