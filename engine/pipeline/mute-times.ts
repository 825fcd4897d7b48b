/**
 * Times in which no alert begins: maintenance and holidays. A pure function of event time, so that a replay mutes what the
 * live run muted. Weekly spans follow the clock of their time zone, through daylight saving too; the rules of zones are
 * those of the running node.js (ICU), so an old log that is replayed after a country changed its clocks may differ there.
 */
import type { MuteTimePlan } from '../contract/plan.ts'

const MINUTES_A_DAY = 1_440
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']

/** Asked where an alert would begin, so it may take some µs. */
export function muteTest(times: readonly MuteTimePlan[]): (timeMs: number) => boolean {
  const tests = times.map(testOf)
  return (timeMs) => tests.some((test) => test(timeMs))
}

function testOf(time: MuteTimePlan): (timeMs: number) => boolean {
  if ('fromMs' in time) return (timeMs) => timeMs >= time.fromMs && timeMs < time.toMs
  const { fromMinute, toMinute, timeZone } = time
  const days = new Set(time.days)
  const clock = zoneClock(timeZone)
  return (timeMs) => {
    const { day, minute } = clock(timeMs)
    if (fromMinute < toMinute) return days.has(day) && minute >= fromMinute && minute < toMinute
    // Over midnight, or the whole day where both are the same.
    return minute >= fromMinute ? days.has(day) : minute < toMinute && days.has((day + 6) % 7)
  }
}

function zoneClock(timeZone: string): (timeMs: number) => { day: number; minute: number } {
  if (timeZone === 'UTC') {
    return (timeMs) => {
      const minutes = Math.floor(timeMs / 60_000)
      // 1 January 1970 was a Thursday.
      const day = (((Math.floor(minutes / MINUTES_A_DAY) + 4) % 7) + 7) % 7
      return { day, minute: ((minutes % MINUTES_A_DAY) + MINUTES_A_DAY) % MINUTES_A_DAY }
    }
  }
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  })
  return (timeMs) => {
    const parts = Object.fromEntries(format.formatToParts(timeMs).map(({ type, value }) => [type, value]))
    return { day: DAYS.indexOf(parts.weekday!), minute: Number(parts.hour) * 60 + Number(parts.minute) }
  }
}
