/**
 * What `.detect(…, { … })` says of alerts, beyond name and hold: read into an AlertPlan, every fault with place, value and
 * remedy. Pure. What was not asked for is left out of the plan, so that plans of before keep their hash.
 */
import {
  duration,
  integer,
  number,
  type OptionType,
  oneOf,
  parseValue,
  type Unit,
} from '../config/options.ts'
import type { Fault } from '../contract/errors.ts'
import {
  type AlertOverridePlan,
  type AlertPlan,
  type MuteTimePlan,
  SEVERITIES,
  type Severity,
} from '../contract/plan.ts'
import { zoneExists } from '../time/week-clock.ts'
import type { LabelCondition } from './builder.ts'
import { compileMatcher } from './matchers.ts'

/** Bits of one cell. */
export const OF_LAST_MAX = 50
export const FLAPPING_TIMES_MAX = 16
export const MUTE_TIMES_MAX = 100
export const OVERRIDES_MAX = 100

/** A number (in the unit of the value), a share such as "10%" of the expected value, or both: nearer is not anomalous. */
export type MinDeviation = number | string | { readonly absolute?: number; readonly relative?: string }
/** One for all, or the score from which each holds: `{ warning: 1, critical: 3 }`. */
export type SeverityOption = Severity | { readonly [S in Severity]?: number }

/** A span of time, or one of every week. */
export type MuteTime =
  | { readonly from: string; readonly to: string }
  | {
      /** `mon`, `tue` …; default: every day. */
      readonly days?: readonly string[]
      /** `22:00`; over midnight a span belongs to the day on which it begins. Default: the whole day. */
      readonly from?: string
      readonly to?: string
      /** IANA name such as `Europe/Berlin`; default `UTC`. */
      readonly timeZone?: string
    }

export interface AlertOverride {
  readonly where: Readonly<Record<string, LabelCondition>>
  readonly mute?: boolean
  readonly scale?: number
  readonly minDeviation?: MinDeviation
  readonly severity?: SeverityOption
}

export interface AlertOptions {
  /** `"3 of 5"`: an alert begins when so many of the last values were anomalous, the newest among them. */
  readonly atLeast?: string
  /** An alert may end at a score of at most this, above 0 and at most 1; default: what the detector says. */
  readonly clearBelow?: number
  /** An alert ends when it could have for so long; default: at once. Prometheus: `keep_firing_for`. */
  readonly keepFiring?: string | number
  /** No other alert of the same group begins for so long after one has ended. */
  readonly refractory?: string | number
  /** With `refractory`: a score of at least this begins one all the same. */
  readonly reArm?: number
  readonly minDeviation?: MinDeviation
  /** Default: `warning`. */
  readonly severity?: SeverityOption
  /** Maintenance and holidays, in event time: no alert begins in them. One that fires goes on. */
  readonly muteTimes?: MuteTime | readonly MuteTime[]
  /** Name of a detector above: while its alert of the same group fires, none begins here. */
  readonly inhibitedBy?: string
  /** The alert that fires as the `times`-th within `within` stays until it could have ended for as long. */
  readonly flapping?: { readonly times: number; readonly within: string | number }
  /** For some groups, by their labels; the first that fits holds. */
  readonly overrides?: readonly AlertOverride[]
}

const CLEAR_BELOW = number({ above: 0, max: 1 })
const SCORE = number({ min: 1, max: 1e6 })
const SPAN = duration({ minMs: 1 })
const ABSOLUTE = number({ min: 0, max: 1e100 })
const SCALE = number({ min: 1e-3, max: 1e3 })
const TIMES = integer({ min: 2, max: FLAPPING_TIMES_MAX })
const SEVERITY = oneOf(...SEVERITIES)
const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']
const TIME = /^([01]\d|2[0-4]):([0-5]\d)$/
const MUTE_REMEDY =
  'Write { from: "2026-12-24T00:00:00Z", to: "2026-12-27T00:00:00Z" }, or { days: ["sat", "sun"], from: "22:00", to: "06:00", timeZone: "Europe/Berlin" }.'

const OF_VALUES = new Set([
  'atLeast',
  'clearBelow',
  'keepFiring',
  'refractory',
  'reArm',
  'minDeviation',
  'muteTimes',
  'inhibitedBy',
  'flapping',
  'overrides',
])
const ALL = [...OF_VALUES, 'severity']

export interface AlertPlace {
  readonly place: string
  readonly faults: Fault[]
  /** Detectors of values and of silence that stand above this one. */
  readonly above: readonly string[]
  readonly subject: 'value' | 'silence'
}

/** Undefined: nothing was asked for, or nothing of it can be read. */
export function compileAlert(written: unknown, where: AlertPlace): AlertPlan | undefined {
  const given = Object.entries((written ?? {}) as Record<string, unknown>).filter(
    ([, value]) => value !== undefined,
  )
  if (given.length === 0) return
  const reader = new AlertReader(where)
  let plan: AlertPlan = {}
  for (const [name, value] of given) plan = { ...plan, ...reader.option(name, value) }
  if (plan.reArm !== undefined && plan.refractoryMs === undefined) {
    reader.fault(
      'reArm',
      plan.reArm,
      'belongs to a refractory time, and there is none',
      'Write refractory too.',
    )
  }
  return Object.keys(plan).length === 0 ? undefined : plan
}

class AlertReader {
  readonly #where: AlertPlace

  constructor(where: AlertPlace) {
    this.#where = where
  }

  fault(path: string, value: unknown, problem: string, remedy: string): undefined {
    this.#where.faults.push({ place: `${this.#where.place}.${path}`, value, problem, remedy })
  }

  option(name: string, value: unknown): AlertPlan {
    if (!ALL.includes(name)) {
      this.fault(name, value, 'is no option of an alert', `Write one of name, hold, ${ALL.join(', ')}.`)
      return {}
    }
    if (this.#where.subject === 'silence' && OF_VALUES.has(name)) {
      const problem = 'is about values, and silence has none'
      this.fault(name, value, problem, 'Leave it out; hold and severity are for silence too.')
      return {}
    }
    switch (name) {
      case 'atLeast':
        return some('atLeast', this.#atLeast(value))
      case 'clearBelow':
        return some('clearBelow', this.#value(CLEAR_BELOW, value, name))
      case 'keepFiring':
        return some('keepFiringMs', this.#value(SPAN, value, name))
      case 'refractory':
        return some('refractoryMs', this.#value(SPAN, value, name))
      case 'reArm':
        return some('reArm', this.#value(SCORE, value, name))
      case 'minDeviation':
        return some('minDeviation', this.#minDeviation(value, name))
      case 'severity':
        return some('severity', this.#severity(value, name))
      case 'muteTimes':
        return some('muteTimes', this.#muteTimes(value))
      case 'inhibitedBy':
        return some('inhibitedBy', this.#inhibitedBy(value))
      case 'flapping':
        return some('flapping', this.#flapping(value))
      default:
        return some('overrides', this.#overrides(value))
    }
  }

  #value<T>(type: OptionType<unknown, T, Unit>, value: unknown, path: string): T | undefined {
    return parseValue(type, value, `${this.#where.place}.${path}`, this.#where.faults)
  }

  #atLeast(value: unknown): AlertPlan['atLeast'] {
    const [, m, n] = /^(\d{1,3}) of (\d{1,3})$/.exec(String(value)) ?? []
    const [anomalous, of] = [Number(m), Number(n)]
    if (anomalous >= 1 && of >= anomalous && of <= OF_LAST_MAX) return { anomalous, of }
    return this.fault(
      'atLeast',
      value,
      `is not "M of N" with M from 1 to N and N at most ${OF_LAST_MAX}`,
      'Write "3 of 5".',
    )
  }

  #minDeviation(value: unknown, path: string): AlertPlan['minDeviation'] {
    const { faults } = this.#where
    const before = faults.length
    const parts: Record<string, unknown> =
      typeof value === 'number'
        ? { absolute: value }
        : typeof value === 'string'
          ? { relative: value }
          : { ...(value as object | null) }
    for (const name of Object.keys(parts)) {
      if (name !== 'absolute' && name !== 'relative')
        this.fault(`${path}.${name}`, parts[name], 'is not known', 'Write absolute, relative, or both.')
    }
    const absolute = parts.absolute === undefined ? 0 : this.#value(ABSOLUTE, parts.absolute, path)
    const share = parts.relative === undefined ? '0%' : parts.relative
    const percent = /^(\d+(?:\.\d+)?)%$/.exec(String(share))?.[1]
    if (percent === undefined) {
      this.fault(
        path,
        value,
        'is neither a number nor a share',
        'Write 5, "10%" or { absolute: 5, relative: "10%" }.',
      )
    }
    if (faults.length > before || absolute === undefined) return undefined
    return { absolute, relative: Number(percent) / 100 }
  }

  #severity(value: unknown, path: string): AlertPlan['severity'] {
    if (typeof value === 'string') {
      const severity = this.#value(SEVERITY, value, path) as Severity | undefined
      return severity === undefined ? undefined : [{ from: 0, severity }]
    }
    if (typeof value !== 'object' || value === null) {
      return this.fault(path, value, 'is no severity', 'Write "critical", or { warning: 1, critical: 3 }.')
    }
    const { faults } = this.#where
    const before = faults.length
    const steps = Object.entries(value).map(([severity, score]) => ({
      from: (this.#value(SCORE, score, `${path}.${severity}`) as number | undefined) ?? 1,
      severity: this.#value(SEVERITY, severity, path) as Severity,
    }))
    if (faults.length > before) return undefined
    steps.sort((a, b) => a.from - b.from)
    const rising = steps.every(
      ({ from, severity }, i) =>
        i === 0 ||
        (from > steps[i - 1]!.from &&
          SEVERITIES.indexOf(severity) > SEVERITIES.indexOf(steps[i - 1]!.severity)),
    )
    if (steps.length === 0 || !rising) {
      const remedy = 'Write a higher score for each more severe one: { warning: 1, critical: 3 }.'
      return this.fault(path, value, 'does not rise with the score', remedy)
    }
    return steps
  }

  #muteTimes(value: unknown): AlertPlan['muteTimes'] {
    const list: readonly unknown[] = Array.isArray(value) ? value : [value]
    if (list.length === 0 || list.length > MUTE_TIMES_MAX) {
      return this.fault('muteTimes', list.length, `are not 1 to ${MUTE_TIMES_MAX} spans`, MUTE_REMEDY)
    }
    const times = list.map((time, i) => this.#muteTime(time, `muteTimes[${i}]`))
    return times.every((time) => time !== undefined) ? times : undefined
  }

  #muteTime(value: unknown, path: string): MuteTimePlan | undefined {
    const time = (typeof value === 'object' && value !== null ? value : { unknown: value }) as Record<
      string,
      unknown
    >
    const foreign = Object.keys(time).find((name) => !['days', 'from', 'to', 'timeZone'].includes(name))
    if (foreign !== undefined)
      return this.fault(`${path}.${foreign}`, time[foreign], 'is not known', MUTE_REMEDY)
    const isOfDay = (at: unknown): boolean => at === undefined || TIME.test(String(at))
    if (!isOfDay(time.from) || !isOfDay(time.to)) return this.#span(time, path)
    const days: unknown[] =
      time.days === undefined ? DAYS : Array.isArray(time.days) ? time.days : [time.days]
    const bad = days.find((day) => !DAYS.includes(String(day)))
    if (bad !== undefined || days.length === 0) {
      return this.fault(
        `${path}.days`,
        bad ?? time.days,
        'is no day of the week',
        `Write some of ${DAYS.join(', ')}.`,
      )
    }
    const timeZone = time.timeZone ?? 'UTC'
    if (typeof timeZone !== 'string' || !zoneExists(timeZone)) {
      return this.fault(
        `${path}.timeZone`,
        timeZone,
        'is no time zone',
        'Write an IANA name such as "Europe/Berlin".',
      )
    }
    return {
      days: days.map((day) => DAYS.indexOf(String(day))).sort((a, b) => a - b),
      fromMinute: minuteOf(time.from ?? '00:00'),
      toMinute: minuteOf(time.to ?? '24:00'),
      timeZone,
    }
  }

  #span({ from, to, days, timeZone }: Record<string, unknown>, path: string): MuteTimePlan | undefined {
    if (days !== undefined || timeZone !== undefined) {
      const problem = 'mixes a span of dates with days of the week'
      return this.fault(path, days ?? timeZone, problem, MUTE_REMEDY)
    }
    const fromMs = instantOf(from)
    const toMs = instantOf(to)
    if (fromMs === null || toMs === null) {
      return this.fault(path, fromMs === null ? from : to, 'is no time with a zone', MUTE_REMEDY)
    }
    if (toMs <= fromMs) return this.fault(path, to, 'is not after from', 'Write the end of the span as to.')
    return { fromMs, toMs }
  }

  #inhibitedBy(value: unknown): string | undefined {
    const { above } = this.#where
    if (typeof value === 'string' && above.includes(value)) return value
    const names = above.length === 0 ? 'There is none above.' : `Write one of ${above.join(', ')}.`
    return this.fault('inhibitedBy', value, 'is no detector above this one', names)
  }

  #flapping(value: unknown): AlertPlan['flapping'] {
    const { times, within } = (value ?? {}) as Record<string, unknown>
    const read = {
      times: this.#value(TIMES, times, 'flapping.times') as number | undefined,
      withinMs: this.#value(SPAN, within, 'flapping.within') as number | undefined,
    }
    if (read.times === undefined || read.withinMs === undefined) return undefined
    return { times: read.times, withinMs: read.withinMs }
  }

  #overrides(value: unknown): AlertPlan['overrides'] {
    if (!Array.isArray(value) || value.length === 0 || value.length > OVERRIDES_MAX) {
      const remedy = 'Write [{ where: { host: "db1" }, severity: "critical" }].'
      return this.fault('overrides', value, `is no list of 1 to ${OVERRIDES_MAX}`, remedy)
    }
    const overrides = value.map((override: unknown, i) => this.#override(override, `overrides[${i}]`))
    return overrides.every((override) => override !== undefined) ? overrides : undefined
  }

  #override(value: unknown, path: string): AlertOverridePlan | undefined {
    const { faults, place } = this.#where
    const before = faults.length
    const { where, mute, scale, minDeviation, severity, ...foreign } = (value ?? {}) as Record<
      string,
      unknown
    >
    for (const name of Object.keys(foreign)) {
      this.fault(
        `${path}.${name}`,
        foreign[name],
        'is not known',
        'Write where, mute, scale, minDeviation, severity.',
      )
    }
    if (mute !== undefined && typeof mute !== 'boolean') {
      this.fault(`${path}.mute`, mute, 'is neither true nor false', 'Write true.')
    }
    const conditions = Object.entries((typeof where === 'object' ? where : null) ?? {})
    if (conditions.length === 0) {
      this.fault(
        `${path}.where`,
        where,
        'names no label',
        'Write { host: "db1" }; options for all stand beside overrides.',
      )
    }
    const matchers = conditions.map(([label, condition]) =>
      compileMatcher(label, condition, `${place}.${path}.where.${label}`, faults),
    )
    const override: AlertOverridePlan = {
      where: matchers.filter((matcher) => matcher !== null),
      ...(mute === true ? { mute } : {}),
      ...some('scale', scale === undefined ? undefined : this.#value(SCALE, scale, `${path}.scale`)),
      ...some(
        'minDeviation',
        minDeviation === undefined ? undefined : this.#minDeviation(minDeviation, `${path}.minDeviation`),
      ),
      ...some('severity', severity === undefined ? undefined : this.#severity(severity, `${path}.severity`)),
    }
    return faults.length > before ? undefined : override
  }
}

function some<K extends string, T>(name: K, value: T | undefined): { readonly [N in K]?: T } {
  return (value === undefined ? {} : { [name]: value }) as { readonly [N in K]?: T }
}

function minuteOf(time: unknown): number {
  const [, hour, minute] = TIME.exec(String(time))!
  return Math.min(1_440, Number(hour) * 60 + Number(minute))
}

/** With a zone, so that it means the same everywhere. */
function instantOf(value: unknown): number | null {
  if (!/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})$/.test(String(value))) return null
  const ms = Date.parse(String(value))
  return Number.isNaN(ms) ? null : ms
}
