/**
 * Level, trend and season, smoothed exponentially (additive Holt-Winters): a value is held against what they foretell, in
 * standard deviations of the residuals so far. The season is a duration, divided into slots; a value belongs to the slot of
 * its time in UTC. What is outside the band is learned as if it were at one standard deviation, and moves no trend.
 *
 * P. R. Winters, "Forecasting sales by exponentially weighted moving averages", Management Science 6(3), 1960, with time in
 * place of steps: weights fall with the time between values. O(1) a value; 7 cells and 1 for each slot: at most 519 cells a group.
 */
import {
  duration,
  durationText,
  integer,
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
import { deviationFact, warmUpFact } from './facts.ts'
import {
  abstain,
  bandReason,
  bounded,
  clearAt,
  DIRECTIONS,
  judgeBand,
  numberText,
  ROUNDING,
} from './verdicts.ts'

/** Memory of a season; a longer one takes wider slots. */
export const SLOTS_MAX = 512

const options = optionSpec(
  {
    season: { type: duration({ minMs: 2 }), default: '1d', meaning: 'after which the pattern comes again' },
    slots: {
      type: integer({ min: 2, max: SLOTS_MAX }),
      default: 96,
      meaning: 'parts of the season with a mean of their own; 96 of a day are a quarter of an hour each',
    },
    threshold: {
      type: number({ min: 1, max: 1_000 }),
      default: 5,
      meaning: 'where the band ends, in standard deviations of the residuals',
    },
    history: {
      type: duration({ minMs: 1 }),
      optional: true,
      meaning:
        'how far back level and spread look (a sixteenth of the weight is left then); default one season',
    },
    seasons: {
      type: integer({ min: 1, max: 100 }),
      default: 4,
      meaning: 'how many seasons a slot looks back on, about',
    },
    minDeviation: {
      type: number({ min: 0, max: 1e100 }),
      default: 1e-9,
      meaning: 'a deviation up to this is normal, in units of the value',
    },
    minRelativeDeviation: {
      type: number({ min: 0, max: 1_000 }),
      default: 0.05,
      meaning: 'a deviation up to this share of the level is normal',
    },
    clear: clearAt(0.8),
    direction: { type: oneOf(...DIRECTIONS), default: 'both', meaning: 'which side is anomalous' },
  },
  ({ seasonMs, slots }, place, faults) => {
    if (seasonMs >= slots) return
    faults.push({
      place: `${place}.slots`,
      value: slots,
      problem: `are more than the season, ${durationText(seasonMs)}, has milliseconds`,
      remedy: 'Write fewer slots, or a longer season.',
    })
  },
)

type Options = OptionsOf<typeof options>

/** Not what level, trend and season foretell.
 *
 *     .detect('requests', holtWinters({ season: '1d', slots: 96 }))
 */
export function holtWinters(written: OptionInputOf<typeof options> = {}): ValueDetector {
  return { [DEFINITION]: { what: 'detector', kind: 'holt-winters', subject: 'value', options: written } }
}

export const holtWintersPlugin: DetectorPlugin<Options> = {
  kind: 'holt-winters',
  summary: 'distance from what level, trend and season foretell, in standard deviations of the residuals',
  source: 'Winters 1960, additive; O(1) a value, at most 519 cells a group',
  subject: 'value',
  options,
  create: (parsed) => new HoltWinters(parsed),
}

const COUNT = 0
const FIRST_MS = 1
const LAST_MS = 2
const LEVEL = 3
/** Change of the level, a ms. */
const TREND = 4
/** Exponentially weighted mean of squared residuals. */
const SQUARES = 5
/** Values outside the band in a row: a new level, when there are many. */
const OUTSIDE = 6
const SLOTS = 7

const VALUES_MIN = 20
const TREND_SHARE = 0.1
const FIRST_SEASON = 1.4
/** After so many values outside the band the level follows them, whatever they are. */
const FOLLOW_AFTER = 60

class HoltWinters implements Detector {
  readonly subject = 'value'
  readonly width: number
  readonly #options: Options
  readonly #slotMs: number
  readonly #decayPerMs: number

  constructor(parsed: Options) {
    this.#options = parsed
    this.width = SLOTS + parsed.slots
    this.#slotMs = parsed.seasonMs / parsed.slots
    this.#decayPerMs = Math.log(16) / (parsed.historyMs ?? parsed.seasonMs)
  }

  score(cells: Float64Array, at: number, timeMs: number, value: number, verdict: Verdict): void {
    if (!this.#isWarm(cells, at, timeMs)) {
      abstain(verdict)
      return
    }
    const { direction, clear } = this.#options
    const expected = this.#expected(cells, at, timeMs)
    judgeBand(verdict, bounded(value), expected, this.#half(cells, at, expected), direction, clear)
  }

  learn(cells: Float64Array, at: number, timeMs: number, value: number): void {
    const x = bounded(value)
    if (cells[at + COUNT] === 0) {
      cells[at + COUNT] = 1
      cells[at + FIRST_MS] = timeMs
      cells[at + LAST_MS] = timeMs
      cells[at + LEVEL] = x
      return
    }
    const expected = this.#expected(cells, at, timeMs)
    const elapsedMs = Math.max(0, timeMs - cells[at + LAST_MS]!)
    const isWarm = this.#isWarm(cells, at, timeMs)
    let residual = bounded(x - expected)
    let isOutside = false
    if (isWarm) {
      const half = this.#half(cells, at, expected)
      isOutside = Math.abs(residual) > half
      cells[at + OUTSIDE] = isOutside ? Math.min(cells[at + OUTSIDE]! + 1, FOLLOW_AFTER) : 0
      if (isOutside && cells[at + OUTSIDE]! < FOLLOW_AFTER) {
        residual = (Math.sign(residual) * half) / this.#options.threshold
      }
    }
    const count = Math.min(cells[at + COUNT]! + 1, Number.MAX_SAFE_INTEGER)
    cells[at + COUNT] = count
    // Each value weighs the same at first, and what time has not taken away later.
    const gain = Math.max(1 / count, Math.min(0.5, 1 - Math.exp(-elapsedMs * this.#decayPerMs)))
    const slot = at + SLOTS + this.#slotOf(timeMs)
    const season = this.#seasonGain(cells, at, timeMs, elapsedMs)
    cells[at + LEVEL] = bounded(cells[at + LEVEL]! + cells[at + TREND]! * elapsedMs + gain * residual)
    if (isWarm && !isOutside && elapsedMs > 0) {
      cells[at + TREND] = bounded(cells[at + TREND]! + (TREND_SHARE * gain * gain * residual) / elapsedMs)
    }
    cells[slot] = bounded(cells[slot]! + season * residual * (1 - gain))
    const squares = cells[at + SQUARES]!
    cells[at + SQUARES] = squares + gain * (residual * residual - squares)
    if (elapsedMs > 0) cells[at + LAST_MS] = timeMs
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    return bandReason(subject, value, verdict)
  }

  health(cells: Float64Array, at: number, timeMs: number): DetectorHealth {
    return this.#isWarm(cells, at, timeMs) ? 'ok' : 'warming'
  }

  explain(cells: Float64Array, at: number): Explanation {
    const count = cells[at + COUNT]!
    if (count === 0) return { facts: [] }
    const { seasonMs, slots } = this.#options
    let low = Infinity
    let high = -Infinity
    for (let slot = 0; slot < slots; slot++) {
      low = Math.min(low, cells[at + SLOTS + slot]!)
      high = Math.max(high, cells[at + SLOTS + slot]!)
    }
    return {
      facts: [
        { name: 'level', value: numberText(cells[at + LEVEL]!), meaning: 'without trend and season' },
        {
          name: 'trend',
          value: `${numberText(cells[at + TREND]! * seasonMs)} a season`,
          meaning: 'by which the level rises or falls',
        },
        {
          name: 'season',
          value: `from ${numberText(low)} to ${numberText(high)}, in ${slots} parts`,
          meaning: 'what its parts add to the level',
        },
        deviationFact(Math.sqrt(cells[at + SQUARES]!)),
        warmUpFact(count, VALUES_MIN, cells[at + LAST_MS]! - cells[at + FIRST_MS]!, seasonMs),
      ],
    }
  }

  /** A whole season was seen. */
  #isWarm(cells: Float64Array, at: number, timeMs: number): boolean {
    return cells[at + COUNT]! >= VALUES_MIN && timeMs - cells[at + FIRST_MS]! >= this.#options.seasonMs
  }

  #slotOf(timeMs: number): number {
    const { seasonMs, slots } = this.#options
    const phaseMs = timeMs - Math.floor(timeMs / seasonMs) * seasonMs
    return Math.min(slots - 1, Math.floor(phaseMs / this.#slotMs))
  }

  #expected(cells: Float64Array, at: number, timeMs: number): number {
    const elapsedMs = Math.max(0, timeMs - cells[at + LAST_MS]!)
    // A trend is not believed for longer than a season.
    const aheadMs = Math.min(elapsedMs, this.#options.seasonMs)
    return bounded(
      cells[at + LEVEL]! + cells[at + TREND]! * aheadMs + cells[at + SLOTS + this.#slotOf(timeMs)]!,
    )
  }

  #half(cells: Float64Array, at: number, expected: number): number {
    const { threshold, minDeviation, minRelativeDeviation } = this.#options
    const share = Math.max(minRelativeDeviation, ROUNDING) * Math.abs(expected)
    return Math.max(threshold * Math.sqrt(cells[at + SQUARES]!), share, minDeviation, 1e-150)
  }

  /** A slot's share of one season, over as many values as fall into it; in the first season most of what it sees. */
  #seasonGain(cells: Float64Array, at: number, timeMs: number, elapsedMs: number): number {
    const { seasonMs, seasons } = this.#options
    const seen = Math.floor((timeMs - cells[at + FIRST_MS]!) / seasonMs) + 1
    const kept = 1 - 1 / Math.max(FIRST_SEASON, Math.min(seasons, seen))
    return 1 - kept ** Math.min(1, elapsedMs / this.#slotMs)
  }
}
