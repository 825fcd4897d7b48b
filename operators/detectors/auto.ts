/**
 * The default: no tuning needed. Several views of a series (its level, its last step, the mean of its recent values, the
 * hour of the week, how much it moves, whether it is stuck, its range) each say how surprising a value is, as a
 * probability that they learn from the series itself; a bounded memory of which values occurred together says how new what
 * happens is. The largest surprise of the views and what the memory adds make the score: either alone must be strong, both
 * together need not be.
 *
 * Strictly causal: a verdict depends on earlier values alone. All state is in the cells. Anomalies are learned clipped, so
 * that they neither become normal at once nor hide the next one; what comes again and again becomes known. After an alert
 * began, it stays open for a while (`rest`): an anomaly that flickers is one alert.
 *
 * Sources: views/*.ts, each of which names its own. O(1) a value.
 */
import {
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
import { timeZoneSchema, wallClock } from '../../engine/time/week-clock.ts'
import { autoExplanation } from './auto-facts.ts'
import {
  abstain,
  bandText,
  bounded,
  DIRECTIONS,
  type Direction,
  expectedText,
  numberText,
  SCORE_MAX,
} from './verdicts.ts'
import { Activity } from './views/activity.ts'
import { CODES, CONTEXT_WIDTH, LEARNING, learnContext, measureContext } from './views/context.ts'
import { INTERVAL_WIDTH, isAfterGap, latestMs, learnInterval, usualIntervalMs } from './views/interval.ts'
import { LEVEL_MEAN, Level } from './views/level.ts'
import { hoursKnown, Season } from './views/season.ts'
import { Shift } from './views/shift.ts'
import { Stuck } from './views/stuck.ts'
import { type Habits, learnTail, statAt, surpriseOf, tailWidth } from './views/tail.ts'
import { absolute, type Measured, type View } from './views/view.ts'

const options = optionSpec({
  sensitivity: {
    type: number({ min: 0.1, max: 10 }),
    default: 1,
    meaning: 'above 1: alarms on less; below: on more only. It divides the surprise that an alarm takes',
  },
  minDeviation: {
    type: number({ min: 0, max: 1e100 }),
    default: 1e-9,
    meaning: 'a deviation up to this is normal, in units of the value',
  },
  minRelativeDeviation: {
    type: number({ min: 0, max: 1_000 }),
    default: 0.01,
    meaning: 'a deviation up to this share of the level is normal',
  },
  clear: {
    type: number({ min: 0, max: 1 }),
    default: 0.8,
    meaning: 'an alert ends once the score is down to this, and its rest is over',
  },
  rest: {
    type: number({ min: 0, max: 100_000 }),
    default: 120,
    meaning: 'an alert stays open for at least so many values, or 15 % of those seen if that is less',
  },
  direction: { type: oneOf(...DIRECTIONS), default: 'both', meaning: 'which side is anomalous' },
  timeZone: {
    type: shape('time zone', 'an IANA name such as "Europe/Berlin"', timeZoneSchema),
    default: 'UTC',
    meaning: 'whose hours of the week are learned, through daylight saving',
  },
})

type Options = OptionsOf<typeof options>

/** Whatever is unusual for this series, with nothing to set.
 *
 *     .detect('latency', auto())
 *     .detect('errors', auto({ direction: 'up', minDeviation: 5 }))
 */
export function auto(written: OptionInputOf<typeof options> = {}): ValueDetector {
  return { [DEFINITION]: { what: 'detector', kind: 'auto', subject: 'value', options: written } }
}

/** Surprise that makes an alarm: odds of one in 10 ** 2.4, about 250, once the corrections of views/tail.ts are made. */
const ALARM = 2.4
/** What the memory adds to the views: a mean over its codes counts four thirds. */
const CONTEXT_WEIGHT = 4 / 3
/** A surprise is held while it halves every three values, so that views that see it a little apart still agree. */
const HELD = 0.5 ** (1 / 3)
/** While little was seen, surprises count less: nothing at so many values, seven eighths at twice as many. */
const DOUBT_VALUES = 200
const DOUBT_POWER = 3
/** Odds are meant for values five minutes apart; more values a day have as many more chances, and need more: half as much
 * again, since what lies close together in time is also alike. Fewer have as many fewer, and need less: down to a value every
 * half hour, since beyond that too little surprise would be left to need. */
const USUAL_INTERVAL_MS = 300_000
const LONGEST_INTERVAL_MS = 1_800_000
const CHANCES_WEIGHT = 1.5
/** Outside the range seen: what a breach says, and what each share of the range by which it is outside adds. */
const BREACH = 1
const BREACH_SHARE = 25
/**
 * Within so many scales of what its hour of the week foretells, and no further from that than this share of its distance from
 * the level, a value is foreseen: the jump on Monday morning is no news. Unless the value before was further than that from its
 * own hour: then something has come back.
 */
const FORESEEN = 5
const FORESEEN_NEARER = 0.25
/** A breach smaller than so many usual steps is a record of noise; after another one lately, of a trend. */
const BREACH_STEPS = 1
const BREACH_STEPS_AGAIN = 4
const BREACH_LATELY = 2_000
/** What lies within so many values of a breach is the same breach. */
const BREACH_SAME = 20
/** An alert rests for at most this share of the values seen. */
const REST_SHARE = 0.15
/** What was before lessens a surprise (views/tail.ts); of the memory's codes, the record alone. */
const HABITS: Habits = {
  peaks: 32,
  episode: 10,
  near: 0.65,
  margin: 8,
  values: 3_000,
  power: 0.9,
  recordHalved: 8_000,
}
const CODE_HABITS: Habits = { ...HABITS, peaks: 1 }

/** The season counts where its scale is at most this share of the level's; else the series has no season to speak of. */
const SEASONAL = 0.8
const LEVEL = 0
const STEP = 1
const SEASON = 3
const ACTIVITY = 4
/** Scales (mean absolute deviations) below which a view is silent, whatever the tail says: six are 4.8 standard
 * deviations of normal noise. A mean that moves does so by less than values do; steps of the usual size are no activity; what
 * is stuck is so for twelve values at least. */
const STAT_MIN: readonly number[] = [6, 6, 3, 6, 1, 12]
const season = new Season()
const step = new Level('step', 'far from what was just there', 5)
const VIEWS: readonly View[] = [
  new Level('level', 'far from its level', 200),
  step,
  new Shift(),
  season,
  new Activity(),
  new Stuck(),
]
/** Views whose sizes are in units of the value, so that a least deviation applies. */
const IN_UNITS: readonly boolean[] = VIEWS.map(({ unit }) => unit === undefined)
/** Bits of `views` in a verdict, after those of VIEWS. */
const RANGE_BIT = 1 << VIEWS.length
const CONTEXT_BIT = RANGE_BIT << 1

const COUNT = 0
const INTERVAL = 1
const LOW = INTERVAL + INTERVAL_WIDTH
const HIGH = LOW + 1
const HELD_VIEWS = 5
/** Count of values at which the rest is over. */
const REST_UNTIL = 6
/** Count of values at the last breach of the range. */
const BREACHED_AT = 7
/** 1: the last value was near what its hour foretold. */
const NEAR_HOUR = 8
const HELD_CODES = 9
const CODE_TAILS = HELD_CODES + CODES.length
const CONTEXT = CODE_TAILS + CODES.length * tailWidth(CODE_HABITS)
const FIRST_VIEW = CONTEXT + CONTEXT_WIDTH
/** Where each view's cells begin; its tail follows them. */
const VIEW_AT: readonly number[] = VIEWS.map((_, i) =>
  VIEWS.slice(0, i).reduce((at, view) => at + view.width + tailWidth(HABITS), FIRST_VIEW),
)
const LAST_VIEW = VIEWS.length - 1
const WIDTH = VIEW_AT[LAST_VIEW]! + VIEWS[LAST_VIEW]!.width + tailWidth(HABITS)

export const autoPlugin: DetectorPlugin<Options> = {
  kind: 'auto',
  summary: 'whatever is unusual for the series, with nothing to set',
  source: `views with learned tails and a memory of combinations (views/*.ts); O(1) a value, ${WIDTH} cells a group`,
  subject: 'value',
  cellsVersion: 3,
  options,
  create: (parsed) => new Auto(parsed),
}

class Auto implements Detector {
  readonly subject = 'value'
  readonly width = WIDTH
  readonly #alarm: number
  readonly #minDeviation: number
  readonly #minRelativeDeviation: number
  readonly #clear: number
  readonly #rest: number
  readonly #direction: Direction
  /** What views and memory take for the time, since they only look at its hour. */
  readonly #wallMs: (timeMs: number) => number
  // Scratch of one call, never state.
  readonly #measured: Measured = { stat: NaN, size: 0, expected: NaN, scale: 0 }
  readonly #shares = new Float64Array(CODES.length)
  readonly #surprises = new Float64Array(CODES.length)
  readonly #stats = new Float64Array(VIEWS.length)
  readonly #sizes = new Float64Array(VIEWS.length)
  #viewSurprise = 0
  #fired = 0
  #isNearHour = false
  #expected = 0
  #half = 0

  constructor(parsed: Options) {
    this.#alarm = ALARM / parsed.sensitivity
    this.#minDeviation = parsed.minDeviation
    this.#minRelativeDeviation = parsed.minRelativeDeviation
    this.#clear = parsed.clear
    this.#rest = parsed.rest
    this.#direction = parsed.direction
    this.#wallMs = wallClock(parsed.timeZone)
  }

  // hot: a call a (group, window).
  score(cells: Float64Array, at: number, timeMs: number, value: number, verdict: Verdict): void {
    if (cells[at + COUNT]! <= DOUBT_VALUES) {
      abstain(verdict)
      return
    }
    const x = bounded(value)
    const wallMs = this.#wallMs(timeMs)
    const isGap = isAfterGap(cells, at + INTERVAL, timeMs)
    measureContext(cells, at + CONTEXT, x, wallMs, isGap, this.#shares)
    const surprise = this.#surprise(cells, at, x, wallMs, isGap)
    const deviation = x - this.#expected
    const watched = deviation >= 0 ? this.#direction !== 'down' : this.#direction !== 'up'
    // The reason tells the odds as they are; how many are enough depends on how often values come.
    const enough = this.#alarm * enoughOf(usualIntervalMs(cells, at + INTERVAL))
    const score = watched ? surprise / enough : 0
    verdict.score = Math.min(score, SCORE_MAX)
    verdict.expected = this.#expected
    verdict.lower = this.#direction === 'up' ? -Infinity : this.#expected - this.#half
    verdict.upper = this.#direction === 'down' ? Infinity : this.#expected + this.#half
    verdict.cleared = score <= this.#clear && cells[at + COUNT]! >= cells[at + REST_UNTIL]!
    verdict.direction = deviation < 0 ? -1 : 1
    verdict.surprise = surprise
    verdict.views = this.#fired
  }

  // hot: a call a (group, window).
  learn(cells: Float64Array, at: number, timeMs: number, value: number, verdict: Verdict): void {
    const x = bounded(value)
    const count = cells[at + COUNT]!
    const wallMs = this.#wallMs(timeMs)
    const isGap = isAfterGap(cells, at + INTERVAL, timeMs)
    learnContext(cells, at + CONTEXT, x, wallMs, isGap, this.#shares)
    this.#surprise(cells, at, x, wallMs, isGap)
    if (count >= LEARNING) {
      cells[at + HELD_VIEWS] = this.#viewSurprise
      for (let i = 0; i < CODES.length; i++) {
        cells[at + HELD_CODES + i] = this.#surprises[i]!
        const share = this.#shares[i]!
        learnTail(cells, at + CODE_TAILS + i * tailWidth(CODE_HABITS), CODE_HABITS, share, share)
      }
      if (verdict.score > 1 && count >= cells[at + REST_UNTIL]!) {
        cells[at + REST_UNTIL] = count + Math.min(this.#rest, Math.floor(REST_SHARE * count))
      }
    }
    for (let i = 0; i < VIEWS.length; i++) {
      const view = VIEWS[i]!
      const viewAt = at + VIEW_AT[i]!
      const stat = this.#stats[i]!
      if (count >= TAILS_FROM && stat >= 0)
        learnTail(cells, viewAt + view.width, HABITS, stat, this.#sizes[i]!)
      if (view === step && isGap) step.restart(cells, viewAt, x)
      else view.learn(cells, viewAt, x, wallMs)
    }
    if (count >= LEARNING && (x < cells[at + LOW]! || x > cells[at + HIGH]!)) cells[at + BREACHED_AT] = count
    if (count === 0 || x < cells[at + LOW]!) cells[at + LOW] = x
    if (count === 0 || x > cells[at + HIGH]!) cells[at + HIGH] = x
    cells[at + NEAR_HOUR] = this.#isNearHour ? 1 : 0
    learnInterval(cells, at + INTERVAL, count, timeMs)
    cells[at + COUNT] = count + 1
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    const shown = `${subject} ${numberText(value)}`
    const band = `expected ${expectedText(verdict)} (band ${bandText(verdict)})`
    if (!(verdict.score > 1)) return `${shown} is as usual again, ${band}`
    const fired = viewsOf(verdict.views ?? 0)
    const odds = numberText(10 ** Math.min(verdict.surprise ?? 0, ODDS_MAX))
    return `${shown} is a surprise of one in ${odds}: ${fired.join(', ')}; ${band}`
  }

  health(cells: Float64Array, at: number): DetectorHealth {
    return cells[at + COUNT]! <= DOUBT_VALUES ? 'warming' : 'ok'
  }

  explain(cells: Float64Array, at: number): Explanation {
    const count = cells[at + COUNT]!
    const lastMs = this.#wallMs(latestMs(cells, at + INTERVAL))
    const chances = chancesOf(usualIntervalMs(cells, at + INTERVAL))
    const enough = this.#alarm * enoughOf(usualIntervalMs(cells, at + INTERVAL))
    const alarm = Math.min((enough + chances) / believedOf(count), ODDS_MAX)
    // Of the value that was expected: scales do not depend on the value, but for what an average of it would be.
    const measured: Measured = { stat: NaN, size: 0, expected: NaN, scale: 0 }
    const measure = (i: number): Measured => {
      VIEWS[i]!.measure(cells, at + VIEW_AT[i]!, cells[at + VIEW_AT[LEVEL]! + LEVEL_MEAN]!, lastMs, measured)
      return { ...measured }
    }
    const level = measure(LEVEL)
    const season = measure(SEASON)
    const floor = Math.max(this.#minDeviation, this.#minRelativeDeviation * absolute(level.expected))
    return autoExplanation({
      count,
      learning: DOUBT_VALUES + 1,
      doubt: Math.ceil(DOUBT_VALUES * 2 ** (1 / DOUBT_POWER)),
      intervalMs: usualIntervalMs(cells, at + INTERVAL),
      level: { mean: level.expected, scale: level.scale },
      season: {
        hoursKnown: hoursKnown(cells, at + VIEW_AT[SEASON]!),
        scale: season.scale,
        counts: season.stat >= 0 && season.scale <= SEASONAL * level.scale,
      },
      low: cells[at + LOW]!,
      high: cells[at + HIGH]!,
      alarm,
      views: VIEWS.map((view, i) => {
        const { stat, scale } = measure(i)
        const takes = Math.max(statAt(cells, at + VIEW_AT[i]! + view.width, alarm), STAT_MIN[i]!)
        const { name, says, unit = null } = view
        const size = unit === null ? Math.max(takes * scale, floor) : Math.ceil(takes * scale)
        return { name, says, size: stat >= 0 ? size : NaN, unit }
      }),
      rest: Math.max(0, cells[at + REST_UNTIL]! - count),
    })
  }

  /** Surprise of a value, from the cells as they are and the shares in scratch; leaves its parts in scratch. */
  #surprise(cells: Float64Array, at: number, x: number, wallMs: number, isGap: boolean): number {
    const measured = this.#measured
    const count = cells[at + COUNT]!
    let floor = this.#minDeviation
    let largest = 0
    let fired = 0
    let apart = 0
    let levelScale = 0
    let usualStep = 0
    const isForeseen = this.#isForeseen(cells, at, x, wallMs)
    for (let i = 0; i < VIEWS.length; i++) {
      const view = VIEWS[i]!
      const viewAt = at + VIEW_AT[i]!
      view.measure(cells, viewAt, x, wallMs, measured)
      const tailAt = viewAt + view.width
      const { stat, size } = measured
      this.#stats[i] = stat
      this.#sizes[i] = size
      if (i === LEVEL) {
        const relative = this.#minRelativeDeviation * absolute(measured.expected)
        if (relative > floor) floor = relative
        apart = size
        levelScale = measured.scale
        this.#expect(measured, statAt(cells, tailAt, this.#alarm), floor)
      } else if (i === STEP) {
        usualStep = measured.scale
      } else if (i === SEASON) {
        if (!(stat >= 0) || measured.scale > SEASONAL * levelScale) continue
        this.#expect(measured, statAt(cells, tailAt, this.#alarm), floor)
      }
      if ((IN_UNITS[i]! && !(size > floor)) || !(stat >= STAT_MIN[i]!)) continue
      if (isGap && (i === STEP || i === ACTIVITY)) continue
      if (isForeseen && (i === LEVEL || i === STEP)) continue
      const surprise = surpriseOf(cells, tailAt, HABITS, stat, size)
      if (surprise > FIRED) fired |= 1 << i
      if (surprise > largest) largest = surprise
    }
    const low = cells[at + LOW]!
    const high = cells[at + HIGH]!
    const outside = x > high ? x - high : low - x
    const breachedAgo = count - cells[at + BREACHED_AT]!
    const again = cells[at + BREACHED_AT]! > 0 && breachedAgo > BREACH_SAME && breachedAgo < BREACH_LATELY
    if (outside > floor && outside > (again ? BREACH_STEPS_AGAIN : BREACH_STEPS) * usualStep) {
      const breach = BREACH + (BREACH_SHARE * outside) / (high - low + floor)
      const surprise = Math.min(breach, BREACH_MAX)
      if (surprise > FIRED) fired |= RANGE_BIT
      if (surprise > largest) largest = surprise
    }
    const heldViews = cells[at + HELD_VIEWS]! * HELD
    this.#viewSurprise = Math.max(largest, heldViews)

    // A combination is new as well where a value comes at its hour for the second time.
    const isNews = apart > floor && !isForeseen
    let sum = 0
    for (let i = 0; i < CODES.length; i++) {
      const share = this.#shares[i]!
      const tailAt = at + CODE_TAILS + i * tailWidth(CODE_HABITS)
      let surprise = isNews ? surpriseOf(cells, tailAt, CODE_HABITS, share, share) : 0
      const held = cells[at + HELD_CODES + i]! * HELD
      if (held > surprise) surprise = held
      this.#surprises[i] = surprise
      sum += surprise
    }
    const context = (CONTEXT_WEIGHT * sum) / CODES.length
    if (context > 1) fired |= CONTEXT_BIT
    this.#fired = fired
    const chances = chancesOf(usualIntervalMs(cells, at + INTERVAL))
    const surprise = (this.#viewSurprise + context) * believedOf(count) - chances
    return Math.max(surprise, 0)
  }

  /**
   * About what its hour of the week foretells, which it is far nearer to than to the level; and so was the value before: where
   * that was not, it has come back.
   */
  #isForeseen(cells: Float64Array, at: number, x: number, wallMs: number): boolean {
    const measured = this.#measured
    season.foresee(cells, at + VIEW_AT[SEASON]!, x, wallMs, measured)
    this.#isNearHour = measured.stat <= FORESEEN
    if (!this.#isNearHour || cells[at + NEAR_HOUR] !== 1) return false
    const fromHour = measured.size
    VIEWS[LEVEL]!.measure(cells, at + VIEW_AT[LEVEL]!, x, wallMs, measured)
    return fromHour <= FORESEEN_NEARER * measured.size
  }

  #expect(measured: Measured, stat: number, floor: number): void {
    const half = stat * measured.scale
    this.#expected = measured.expected
    this.#half = Math.max(half, floor)
  }
}

/** How much of a surprise counts, of 1. */
function believedOf(count: number): number {
  return Math.max(0, 1 - (DOUBT_VALUES / count) ** DOUBT_POWER)
}

/** Decades more that an alarm takes where values come closer together than usual. */
function chancesOf(intervalMs: number): number {
  if (!(intervalMs > 0) || intervalMs >= USUAL_INTERVAL_MS) return 0
  return CHANCES_WEIGHT * Math.log10(USUAL_INTERVAL_MS / intervalMs)
}

/**
 * Share of the usual decades that is enough where values are further apart than usual. A share, not decades: where there is no
 * surprise there is none to spare, whatever the sensitivity.
 */
function enoughOf(intervalMs: number): number {
  if (!(intervalMs > USUAL_INTERVAL_MS)) return 1
  return 1 - Math.log10(Math.min(intervalMs, LONGEST_INTERVAL_MS) / USUAL_INTERVAL_MS) / ALARM
}

/** Tails learn from here on, when views have something to compare with. */
const TAILS_FROM = 30
/** A view that says this much is named in the reason. */
const FIRED = 1.5
const BREACH_MAX = 30
const ODDS_MAX = 12

function viewsOf(views: number): string[] {
  const said = VIEWS.filter((_, i) => (views & (1 << i)) !== 0).map(({ says }) => says)
  if ((views & RANGE_BIT) !== 0) said.push('outside everything seen')
  if ((views & CONTEXT_BIT) !== 0) said.push('a combination not seen before')
  return said.length > 0 ? said : ['several small ones together']
}
