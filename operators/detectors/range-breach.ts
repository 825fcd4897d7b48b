/**
 * Outside everything seen, by a margin that is a share of the range seen. Extremes that are not reached again fade
 * slowly. A value outside the band is not taken into the range at once, or an anomaly would be normal from its second
 * value on; but values that stay outside for `relearn` without a break count as seen.
 *
 * Running extremes with a relative margin; O(1) a value, 9 cells a group.
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
import { warmUpFact } from './facts.ts'
import {
  abstain,
  bandText,
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
  margin: {
    type: number({ min: 0, max: 1_000 }),
    default: 0.05,
    meaning: 'how far outside is still normal, as a share of the range seen',
  },
  history: {
    type: duration({ minMs: 1 }),
    default: '30d',
    meaning: 'extremes fade: half of what sticks out is forgotten in this long',
  },
  warmUp: {
    type: duration(),
    default: '15m',
    meaning: 'judges nothing before it has watched for this long (and 20 values)',
  },
  relearn: {
    type: duration({ minMs: 1 }),
    default: '1h',
    meaning: 'values outside for this long without a break count as seen',
  },
  minDeviation: {
    type: number({ min: 0, max: 1e100 }),
    default: 1e-9,
    meaning: 'this far outside is normal, in units of the value',
  },
  minRelativeDeviation: {
    type: number({ min: 0, max: 1_000 }),
    default: 0.05,
    meaning: 'this far outside is normal, as a share of the larger extreme',
  },
  clear: clearAt(1),
  direction: { type: oneOf(...DIRECTIONS), default: 'both', meaning: 'which side is anomalous' },
})

type Options = OptionsOf<typeof options>

/** Outside everything seen so far.
 *
 *     .detect('temperature', rangeBreach({ margin: 0.1 }))
 */
export function rangeBreach(written: OptionInputOf<typeof options> = {}): ValueDetector {
  return { [DEFINITION]: { what: 'detector', kind: 'range-breach', subject: 'value', options: written } }
}

export const rangeBreachPlugin: DetectorPlugin<Options> = {
  kind: 'range-breach',
  summary: 'outside everything seen, by a margin relative to the range',
  source: 'running extremes with a relative margin; O(1) a value, 9 cells a group',
  subject: 'value',
  options,
  create: (parsed) => new RangeBreach(parsed),
}

const VALUES_MIN = 20
/** One value, after however long a gap, makes the extremes forget at most this share. */
const FADE_MAX = 0.01

const COUNT = 0
const FIRST_MS = 1
const LAST_MS = 2
const MIN = 3
const MAX = 4
/** Of values outside the band since RUN_SINCE_MS, while RUN is 1. */
const RUN = 5
const RUN_SINCE_MS = 6
const RUN_MIN = 7
const RUN_MAX = 8
const WIDTH = 9

class RangeBreach implements Detector {
  readonly subject = 'value'
  readonly width = WIDTH
  readonly #margin: number
  readonly #fadePerMs: number
  readonly #warmUpMs: number
  readonly #relearnMs: number
  readonly #minDeviation: number
  readonly #minRelativeDeviation: number
  readonly #clear: number
  readonly #direction: Direction
  /** The last argument of #fade, and its result. */
  #elapsedMs = NaN
  #fadeThen = NaN

  constructor(parsed: Options) {
    this.#margin = parsed.margin
    this.#fadePerMs = Math.LN2 / parsed.historyMs
    this.#warmUpMs = parsed.warmUpMs
    this.#relearnMs = parsed.relearnMs
    this.#minDeviation = parsed.minDeviation
    this.#minRelativeDeviation = Math.max(parsed.minRelativeDeviation, ROUNDING)
    this.#clear = parsed.clear
    this.#direction = parsed.direction
  }

  // hot: a call a (group, window).
  score(cells: Float64Array, at: number, timeMs: number, value: number, verdict: Verdict): void {
    if (!this.#warm(cells, at, timeMs)) {
      abstain(verdict)
      return
    }
    const middle = (cells[at + MIN]! + cells[at + MAX]!) / 2
    judgeBand(verdict, bounded(value), middle, this.#half(cells, at), this.#direction, this.#clear)
  }

  // hot: a call a (group, window).
  learn(cells: Float64Array, at: number, timeMs: number, value: number, verdict: Verdict): void {
    const x = bounded(value)
    if (cells[at] === 0) {
      cells[at] = 1
      cells[at + FIRST_MS] = timeMs
      cells[at + LAST_MS] = timeMs
      cells[at + MIN] = x
      cells[at + MAX] = x
      return
    }
    if (!Number.isNaN(verdict.score)) {
      const deviation = x - verdict.expected
      const half = verdict.memo!
      if (deviation > half || deviation < -half) {
        this.#follow(cells, at, timeMs, x)
        return
      }
    }
    cells[at + RUN] = 0
    const elapsedMs = timeMs - cells[at + LAST_MS]!
    let min = cells[at + MIN]!
    let max = cells[at + MAX]!
    if (elapsedMs > 0) {
      const fade = this.#fade(elapsedMs)
      cells[at + LAST_MS] = timeMs
      if (x > min) min += (x - min) * fade
      if (x < max) max -= (max - x) * fade
    }
    cells[at + COUNT] = cells[at + COUNT]! + 1
    if (x < min) min = x
    if (x > max) max = x
    cells[at + MIN] = min
    cells[at + MAX] = max
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    const shown = `${subject} ${numberText(value)}`
    if (!(verdict.score > 1)) return `${shown} is back within what was seen (${bandText(verdict)})`
    const side = verdict.direction < 0 ? 'below' : 'above'
    return `${shown} is ${side} everything seen (with margin, ${bandText(verdict)})`
  }

  health(cells: Float64Array, at: number, timeMs: number): DetectorHealth {
    if (!this.#warm(cells, at, timeMs)) return 'warming'
    return this.#half(cells, at) < VALUE_MAX ? 'ok' : 'blind'
  }

  /** The share forgotten after this long. Windows end at equal distances, so mostly it was worked out for the value before. */
  #fade(elapsedMs: number): number {
    if (elapsedMs !== this.#elapsedMs) {
      const faded = 1 - Math.exp(-elapsedMs * this.#fadePerMs)
      this.#elapsedMs = elapsedMs
      this.#fadeThen = Math.min(faded, FADE_MAX)
    }
    return this.#fadeThen
  }

  explain(cells: Float64Array, at: number): Explanation {
    const count = cells[at + COUNT]!
    if (count === 0) return { facts: [] }
    const watchedMs = cells[at + LAST_MS]! - cells[at + FIRST_MS]!
    const facts = [
      {
        name: 'range',
        value: `from ${numberText(cells[at + MIN]!)} to ${numberText(cells[at + MAX]!)}`,
        meaning: 'of what was seen; it narrows slowly where nothing comes near its ends',
      },
      warmUpFact(count, VALUES_MIN, watchedMs, this.#warmUpMs),
    ]
    if (cells[at + RUN] !== 0) {
      facts.push({
        name: 'outside',
        value: `from ${numberText(cells[at + RUN_MIN]!)} to ${numberText(cells[at + RUN_MAX]!)}`,
        meaning: 'values beyond the band of late; once they have lasted they have been seen',
      })
    }
    return { facts }
  }

  #warm(cells: Float64Array, at: number, timeMs: number): boolean {
    return cells[at + COUNT]! >= VALUES_MIN && timeMs - cells[at + FIRST_MS]! >= this.#warmUpMs
  }

  /** From the middle of the range to the edge of the band. */
  #half(cells: Float64Array, at: number): number {
    const min = cells[at + MIN]!
    const max = cells[at + MAX]!
    const largest = Math.max(max, -min)
    let margin = this.#margin * (max - min)
    if (margin < this.#minRelativeDeviation * largest) margin = this.#minRelativeDeviation * largest
    if (margin < this.#minDeviation) margin = this.#minDeviation
    return (max - min) / 2 + margin
  }

  /** Follows values outside the band; once they have lasted, they have been seen. */
  #follow(cells: Float64Array, at: number, timeMs: number, x: number): void {
    if (timeMs > cells[at + LAST_MS]!) cells[at + LAST_MS] = timeMs
    if (cells[at + RUN] === 0) {
      cells[at + RUN] = 1
      cells[at + RUN_SINCE_MS] = timeMs
      cells[at + RUN_MIN] = x
      cells[at + RUN_MAX] = x
      return
    }
    if (x < cells[at + RUN_MIN]!) cells[at + RUN_MIN] = x
    if (x > cells[at + RUN_MAX]!) cells[at + RUN_MAX] = x
    if (timeMs - cells[at + RUN_SINCE_MS]! < this.#relearnMs) return
    if (cells[at + RUN_MIN]! < cells[at + MIN]!) cells[at + MIN] = cells[at + RUN_MIN]!
    if (cells[at + RUN_MAX]! > cells[at + MAX]!) cells[at + MAX] = cells[at + RUN_MAX]!
    cells[at + RUN] = 0
  }
}
