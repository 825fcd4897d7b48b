/**
 * Times in which no alert begins: maintenance and holidays. A pure function of event time, so that a replay mutes what the
 * live run muted. Weekly spans follow the clock of their time zone, through daylight saving too; the rules of zones are
 * those of the running node.js (ICU), so an old log that is replayed after a country changed its clocks may differ there.
 */
import type { MuteTimePlan } from '../contract/plan.ts'
import { weekClock } from '../time/week-clock.ts'

/** Asked where an alert would begin, so it may take some µs. */
export function muteTest(times: readonly MuteTimePlan[]): (timeMs: number) => boolean {
  const tests = times.map(testOf)
  return (timeMs) => tests.some((test) => test(timeMs))
}

function testOf(time: MuteTimePlan): (timeMs: number) => boolean {
  if ('fromMs' in time) return (timeMs) => timeMs >= time.fromMs && timeMs < time.toMs
  const { fromMinute, toMinute, timeZone } = time
  const days = new Set(time.days)
  const clock = weekClock(timeZone)
  return (timeMs) => {
    const { day, minute } = clock(timeMs)
    if (fromMinute < toMinute) return days.has(day) && minute >= fromMinute && minute < toMinute
    // Over midnight, or the whole day where both are the same.
    return minute >= fromMinute ? days.has(day) : minute < toMinute && days.has((day + 6) % 7)
  }
}
