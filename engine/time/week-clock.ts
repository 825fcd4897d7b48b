/**
 * Day of the week and minute of the day in a time zone: a pure function of the instant, by the zone rules of the running
 * node.js (ICU). Other zones than UTC are worked out once a quarter of an hour (no zone's offset changes in between) and
 * then remembered, so that a call costs some ns.
 */
import * as v from 'valibot'

export interface WeekTime {
  /** 0: Sunday. */
  readonly day: number
  /** Of the day. */
  readonly minute: number
}

const MINUTE_MS = 60_000
const MINUTES_A_DAY = 1_440
const QUARTER_MS = 15 * MINUTE_MS
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']

export function weekClock(timeZone: string): (timeMs: number) => WeekTime {
  const offset = offsetClock(timeZone)
  return (timeMs) => weekTime(timeMs, offset(timeMs))
}

/** What a clock on the wall shows, in ms as if it were UTC: in autumn an hour comes twice, in spring one is left out. */
export function wallClock(timeZone: string): (timeMs: number) => number {
  if (timeZone === 'UTC') return (timeMs) => timeMs
  const offset = offsetClock(timeZone)
  return (timeMs) => timeMs + offset(timeMs) * MINUTE_MS
}

/** Minutes to add to UTC. */
function offsetClock(timeZone: string): (timeMs: number) => number {
  if (timeZone === 'UTC') return () => 0
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  })
  let quarter = NaN
  let offsetMinutes = 0
  return (timeMs) => {
    const now = Math.floor(timeMs / QUARTER_MS)
    if (now !== quarter) {
      quarter = now
      offsetMinutes = offsetAt(format, now * QUARTER_MS)
    }
    return offsetMinutes
  }
}

export function zoneExists(timeZone: string): boolean {
  try {
    new Intl.DateTimeFormat('en-US', { timeZone })
    return true
  } catch {
    return false
  }
}

/** For options that name a zone. */
export const timeZoneSchema = v.pipe(v.string('is not a text'), v.check(zoneExists, 'is no time zone'))

function weekTime(timeMs: number, offsetMinutes: number): WeekTime {
  const minutes = Math.floor(timeMs / MINUTE_MS) + offsetMinutes
  const days = Math.floor(minutes / MINUTES_A_DAY)
  // 1 January 1970 was a Thursday.
  return { day: (((days + 4) % 7) + 7) % 7, minute: minutes - days * MINUTES_A_DAY }
}

/** Minutes to add to UTC, within half a week: what the format says, less what UTC says. */
function offsetAt(format: Intl.DateTimeFormat, timeMs: number): number {
  const parts = Object.fromEntries(format.formatToParts(timeMs).map(({ type, value }) => [type, value]))
  const local = DAYS.indexOf(parts.weekday!) * MINUTES_A_DAY + Number(parts.hour) * 60 + Number(parts.minute)
  const utc = weekTime(timeMs, 0)
  const week = 7 * MINUTES_A_DAY
  const ahead = local - (utc.day * MINUTES_A_DAY + utc.minute)
  return ((((ahead + week / 2) % week) + week) % week) - week / 2
}
