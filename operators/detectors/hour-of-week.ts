/**
 * What is usual at this hour of the week: a mean and a spread for each of the 168 hours, of local time where a zone is named,
 * so that a working day begins at the same hour in summer and in winter. An hour is judged once it was seen in two weeks;
 * its band is never narrower than that of all hours together says, so that a few quiet weeks make no cliff.
 *
 * A seasonal profile with exponential forgetting over weeks; a value outside the band is learned clipped. Zone rules are
 * those of the running node.js (ICU). O(1) a value, 508 cells a group.
 */
import {
  integer,
  number,
  type OptionInputOf,
  type OptionsOf,
  oneOf,
  optionSpec,
  shape,
} from '../../engine/config/options.ts'
import { DEFINITION, type ValueDetector } from '../../engine/contract/definition.ts'
import type {
  Detector,
  DetectorHealth,
  DetectorPlugin,
  Explanation,
  Verdict,
} from '../../engine/contract/plugins.ts'
import { timeZoneSchema, weekClock } from '../../engine/time/week-clock.ts'
import { deviationFact } from './facts.ts'
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

const options = optionSpec({
  timeZone: {
    type: shape('time zone', 'an IANA name such as "Europe/Berlin"', timeZoneSchema),
    default: 'UTC',
    meaning: 'whose hours: an IANA name such as "Europe/Berlin"',
  },
  threshold: {
    type: number({ min: 1, max: 1_000 }),
    default: 5,
    meaning: 'where the band ends, in standard deviations of the hour',
  },
  weeks: {
    type: integer({ min: 2, max: 52 }),
    default: 6,
    meaning: 'how many weeks an hour looks back on, about',
  },
  minDeviation: {
    type: number({ min: 0, max: 1e100 }),
    default: 1e-9,
    meaning: 'a deviation up to this is normal, in units of the value',
  },
  minRelativeDeviation: {
    type: number({ min: 0, max: 1_000 }),
    default: 0.1,
    meaning: 'a deviation up to this share of what is usual is normal',
  },
  clear: clearAt(0.8),
  direction: { type: oneOf(...DIRECTIONS), default: 'both', meaning: 'which side is anomalous' },
})

type Options = OptionsOf<typeof options>

/** Unusual for this hour of the week.
 *
 *     .detect('requests', hourOfWeek({ timeZone: 'Europe/Berlin' }))
 */
export function hourOfWeek(written: OptionInputOf<typeof options> = {}): ValueDetector {
  return { [DEFINITION]: { what: 'detector', kind: 'hour-of-week', subject: 'value', options: written } }
}

export const hourOfWeekPlugin: DetectorPlugin<Options> = {
  kind: 'hour-of-week',
  summary: 'distance from what is usual at this hour of the week, in standard deviations of the hour',
  source: 'seasonal profile of means and spreads; O(1) a value, 508 cells a group',
  subject: 'value',
  options,
  create: (parsed) => new HourOfWeek(parsed),
}

const HOURS = 168
const WEEK_MS = 604_800_000
const SEEN = 0
const FIRST_MS = 1
/** Of all hours: weight, and weighted squares of residuals. */
const WEIGHT = 2
const SQUARES = 3
const HOUR_CELLS = 3
const FIRST_HOUR = 4
// Of an hour: weight, mean, weighted squares.
const MEAN = 1
const HOUR_SQUARES = 2
/** A spread of a few values says little: the one of all hours weighs as much as so many. */
const PRIOR_WEIGHT = 8
const CLIP = 3

class HourOfWeek implements Detector {
  readonly subject = 'value'
  readonly width = FIRST_HOUR + HOURS * HOUR_CELLS
  readonly #options: Options
  readonly #clock: (timeMs: number) => { readonly day: number; readonly minute: number }

  constructor(parsed: Options) {
    this.#options = parsed
    this.#clock = weekClock(parsed.timeZone)
  }

  score(cells: Float64Array, at: number, timeMs: number, value: number, verdict: Verdict): void {
    const hour = this.#hourAt(at, timeMs)
    if (!this.#isWarm(cells, at, hour, timeMs)) {
      abstain(verdict)
      return
    }
    const { direction, clear } = this.#options
    const mean = cells[hour + MEAN]!
    judgeBand(verdict, bounded(value), mean, this.#half(cells, at, hour), direction, clear)
  }

  learn(cells: Float64Array, at: number, timeMs: number, value: number): void {
    const x = bounded(value)
    const hour = this.#hourAt(at, timeMs)
    if (cells[at + SEEN] === 0) {
      cells[at + SEEN] = 1
      cells[at + FIRST_MS] = timeMs
    }
    const weight = cells[hour]!
    let deviation = bounded(x - cells[hour + MEAN]!)
    if (this.#isWarm(cells, at, hour, timeMs)) {
      const most = (CLIP * this.#half(cells, at, hour)) / this.#options.threshold
      deviation = deviation > most ? most : Math.max(deviation, -most)
    }
    // Values of one hour share its weight of about `weeks` weeks, however many come: see #kept.
    const kept = this.#kept(weight)
    const next = weight * kept + 1
    const step = deviation / next
    cells[hour] = next
    cells[hour + MEAN] = bounded(cells[hour + MEAN]! + step)
    cells[hour + HOUR_SQUARES] = cells[hour + HOUR_SQUARES]! * kept + deviation * (deviation - step)
    if (weight === 0) return
    const all = cells[at + WEIGHT]!
    const keptOfAll = this.#kept(all / HOURS)
    cells[at + WEIGHT] = all * keptOfAll + 1
    cells[at + SQUARES] = cells[at + SQUARES]! * keptOfAll + deviation * (deviation - step)
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    return `${bandReason(subject, value, verdict)}, for this hour of the week`
  }

  health(cells: Float64Array, at: number, timeMs: number): DetectorHealth {
    return this.#isWarm(cells, at, this.#hourAt(at, timeMs), timeMs) ? 'ok' : 'warming'
  }

  explain(cells: Float64Array, at: number): Explanation {
    let seen = 0
    let low = Infinity
    let high = -Infinity
    for (let hour = 0; hour < HOURS; hour++) {
      const from = at + FIRST_HOUR + hour * HOUR_CELLS
      if (cells[from] === 0) continue
      seen++
      low = Math.min(low, cells[from + MEAN]!)
      high = Math.max(high, cells[from + MEAN]!)
    }
    if (seen === 0) return { facts: [] }
    const facts = [
      {
        name: 'hours',
        value: `${seen} of ${HOURS}`,
        meaning: 'of the week that it has seen; it judges each of them a week after its first value',
      },
      {
        name: 'means',
        value: `from ${numberText(low)} to ${numberText(high)}`,
        meaning: 'of the hour with the lowest and that with the highest',
      },
    ]
    const weight = cells[at + WEIGHT]!
    if (weight > 0) facts.push(deviationFact(Math.sqrt(Math.max(0, cells[at + SQUARES]! / weight))))
    return { facts }
  }

  #hourAt(at: number, timeMs: number): number {
    const { day, minute } = this.#clock(timeMs)
    return at + FIRST_HOUR + (day * 24 + Math.floor(minute / 60)) * HOUR_CELLS
  }

  /** A whole week has passed since the first value, and the hour was seen in it. */
  #isWarm(cells: Float64Array, at: number, hour: number, timeMs: number): boolean {
    return cells[hour]! > 0 && timeMs - cells[at + FIRST_MS]! >= WEEK_MS
  }

  #half(cells: Float64Array, at: number, hour: number): number {
    const { threshold, minDeviation, minRelativeDeviation } = this.#options
    const all = cells[at + WEIGHT]! > 0 ? cells[at + SQUARES]! / cells[at + WEIGHT]! : 0
    const variance = (cells[hour + HOUR_SQUARES]! + PRIOR_WEIGHT * all) / (cells[hour]! + PRIOR_WEIGHT)
    const share = Math.max(minRelativeDeviation, ROUNDING) * Math.abs(cells[hour + MEAN]!)
    return Math.max(threshold * Math.sqrt(Math.max(0, variance)), share, minDeviation, 1e-150)
  }

  /** Forgets so that an hour's weight stays at about `weeks` times what one week brings, once it is there. */
  #kept(weight: number): number {
    const most = this.#options.weeks * VALUES_AN_HOUR
    return weight < most ? 1 : 1 - 1 / most
  }
}

/** At a value a minute; at fewer an hour looks back further, at more less far. */
const VALUES_AN_HOUR = 60
