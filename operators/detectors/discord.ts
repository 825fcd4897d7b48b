/**
 * A stretch of values whose shape no earlier stretch has, whatever their level and scale: the distance of the last `length`
 * values from the stretch before them that is most like them, both standardised, against how large it usually is. It is the
 * left matrix profile, and a discord is where that is large.
 *
 * Yeh et al., "Matrix profile I: all pairs similarity joins for time series", ICDM 2016; discords: Keogh, Lin and Fu, "HOT SAX",
 * ICDM 2005; past neighbours only, in a bounded stream: Lu et al., "Matrix profile XXIV: scaling time series anomaly detection to
 * trillions of datapoints and ultra-fast arriving data streams" (DAMP), KDD 2022. Stretches do not overlap. The dot products of
 * the last stretch with each earlier one follow from those of the value before, as in the STOMP algorithm; they are worked out
 * anew, about a new middle, once every `history` values, which bounds what rounding adds up to. How large the distance usually is
 * is a tail learned from the series (views/tail.ts).
 *
 * O(history) a value, and once in a history O(history · length); one cell for each value of the history and one for each place
 * a stretch can be: at most 1693 cells a group.
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
import { absolute, gain, SETTLED } from './views/view.ts'

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
  source: 'Yeh et al. 2016, Lu et al. 2022; O(history) a value, at most 1693 cells a group',
  subject: 'value',
  cellsVersion: 2,
  options,
  create: (parsed) => new Discord(parsed),
}

/** What dot products are taken about. */
const MIDDLE = NOVELTY_CELLS
/** By lag: of the last stretch with the one so many values earlier. */
const PRODUCTS = MIDDLE + 3
/** Mean distance of values from the middle. */
const SCALE = MIDDLE + 1
const SCALE_VALUES = 200
/** One value widens it by at most so much. */
const SCALE_CLIP = 10
const TINY = 1e-300
/**
 * A value further from the middle than so many times the mean distance dwarfs the others: rolling sums that it leaves have lost
 * their digits. Until the count below, while it is among the last values, they are taken by their definition.
 */
const FAR = 1e3
const FAR_UNTIL = MIDDLE + 2

class Discord implements Detector {
  readonly subject = 'value'
  readonly width: number
  readonly #options: Options
  readonly #ring: number
  readonly #ringSize: number
  /** The last values about the middle, newest first; scratch of one call, never state. */
  readonly #back: Float64Array
  /** By lag, by their definition; scratch of a call that needs them. */
  readonly #exact: {
    readonly products: Float64Array
    readonly sums: Float64Array
    readonly squares: Float64Array
  }
  readonly #sorted: Float64Array

  constructor(parsed: Options) {
    this.#options = parsed
    const { length, history } = parsed
    this.#ring = PRODUCTS + history + 1
    this.#ringSize = history + length
    this.width = this.#ring + this.#ringSize
    this.#back = new Float64Array(history + length + 1)
    const lags = history + 1
    this.#exact = {
      products: new Float64Array(lags),
      sums: new Float64Array(lags),
      squares: new Float64Array(lags),
    }
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
    const distance = this.#nearest(cells, at, this.#takeExactly(cells, at))
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
    const isExact = this.#takeExactly(cells, at)
    if (count >= this.#warmUp) distance = verdict.memo!
    else if (count >= this.#full) distance = this.#nearest(cells, at, isExact)
    this.#advance(cells, at, isExact)
    this.#learnScale(cells, at, count)
    learnNovelty(cells, at, x, distance)
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
  #nearest(cells: Float64Array, at: number, isExact: boolean): number {
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
    const { products, sums, squares: allSquares } = this.#exact
    let most = -1
    for (let lag = length; ; lag++) {
      let product = cells[at + PRODUCTS + lag]! + newest * back[lag]! - gone * back[lag + length]!
      if (isExact) {
        product = products[lag]!
        sum = sums[lag]!
        squares = allSquares[lag]!
      }
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
    }
    return Math.sqrt(2 * length * (1 - Math.min(most, 1)))
  }

  /** Dot products of the stretch that ends with the value in front. */
  #advance(cells: Float64Array, at: number, isExact: boolean): void {
    const { length, history } = this.#options
    const { products } = this.#exact
    const back = this.#back
    const newest = back[0]!
    const gone = back[length]!
    for (let lag = length; lag <= history; lag++) {
      const cell = at + PRODUCTS + lag
      const rolled = cells[cell]! + newest * back[lag]! - gone * back[lag + length]!
      cells[cell] = isExact ? products[lag]! : rolled
    }
  }

  /** Where one of the last values dwarfs the others: sums by their definition, into scratch. O(history × length). */
  #takeExactly(cells: Float64Array, at: number): boolean {
    const { length, history } = this.#options
    const back = this.#back
    const isFar = absolute(back[0]!) > FAR * this.#scale(cells, at)
    if (!isFar && noveltyCount(cells, at) >= cells[at + FAR_UNTIL]!) return false
    const { products, sums, squares } = this.#exact
    for (let lag = length; lag <= history; lag++) {
      let product = 0
      let sum = 0
      let square = 0
      for (let k = 0; k < length; k++) {
        const other = back[k + lag]!
        product += back[k]! * other
        sum += other
        square += other * other
      }
      products[lag] = product
      sums[lag] = sum
      squares[lag] = square
    }
    return true
  }

  #scale(cells: Float64Array, at: number): number {
    return Math.max(cells[at + SCALE]!, noveltyFloor(cells, at, this.#options), TINY)
  }

  /** `count`: of the values before this one. */
  #learnScale(cells: Float64Array, at: number, count: number): void {
    const scale = this.#scale(cells, at)
    const size = absolute(this.#back[0]!)
    if (size > FAR * scale) cells[at + FAR_UNTIL] = count + this.#ringSize + 1
    const clipped = count < SETTLED ? size : Math.min(size, SCALE_CLIP * scale)
    cells[at + SCALE] = cells[at + SCALE]! + (clipped - cells[at + SCALE]!) * gain(count + 1, SCALE_VALUES)
  }

  /** The same by their definition, about the median of the history: one value that dwarfs the others would move a mean away from them all. */
  #anew(cells: Float64Array, at: number): void {
    const { length, history } = this.#options
    const count = noveltyCount(cells, at)
    const known = Math.min(count, this.#ringSize)
    const sorted = this.#sorted.subarray(0, known)
    sorted.set(cells.subarray(at + this.#ring, at + this.#ring + known))
    cells[at + MIDDLE] = sorted.sort()[known >> 1]!
    this.#lookBack(cells, at, 0)
    const back = this.#back
    for (let lag = length; lag <= history; lag++) {
      let product = 0
      for (let k = 1; k <= length; k++) product += back[k]! * (back[k + lag] ?? 0)
      cells[at + PRODUCTS + lag] = product
    }
  }
}
