import { describe, expect, test } from 'vitest'
import type { Verdict } from '../../engine/contract/plugins.ts'
import { Prng } from '../../engine/util/prng.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { judgeSeries } from '../testing/judge-series.ts'
import { hourOfWeekPlugin } from './hour-of-week.ts'

describeDetector({
  plugin: hourOfWeekPlugin,
  options: [{}, { timeZone: 'Europe/Berlin', direction: 'up', minRelativeDeviation: 0 }],
})

const alarms = (verdicts: readonly Verdict[]): number => verdicts.filter(({ score }) => score > 1).length
const STEP_MS = 900_000
const A_DAY = 96

/** Office hours of local time: busy from 8 to 18 on working days. */
function office(timeMs: number, timeZone: string, noise: number): number {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    weekday: 'short',
    hour: '2-digit',
    hourCycle: 'h23',
  })
  const parts = Object.fromEntries(format.formatToParts(timeMs).map(({ type, value }) => [type, value]))
  const isOff = parts.weekday === 'Sat' || parts.weekday === 'Sun'
  const isBusy = !isOff && Number(parts.hour) >= 8 && Number(parts.hour) < 18
  return (isBusy ? 500 : 50) + noise
}

describe('hour-of-week', () => {
  test('knows the working week after two of them, and finds a busy Sunday', () => {
    const prng = new Prng(1)
    const judge = judgeSeries(hourOfWeekPlugin, {}, STEP_MS)
    const quarter = (): number => office(judge.nowMs + STEP_MS, 'UTC', prng.normal() * 5)
    const weeks = judge.run(A_DAY * 28, quarter)
    expect(weeks.slice(0, A_DAY * 6).every(({ score }) => Number.isNaN(score))).toBe(true)
    expect(alarms(weeks.slice(A_DAY * 14))).toBe(0)
    // On to the next Sunday, noon.
    while (new Date(judge.nowMs).getUTCDay() !== 0 || new Date(judge.nowMs).getUTCHours() !== 12)
      judge.next(quarter())
    expect(judge.next(500).score).toBeGreaterThan(1)
    expect(judge.next(50).score).toBeLessThanOrEqual(1)
  })

  test('a working day of local time begins at the same hour on either side of a daylight-saving change', () => {
    const zone = 'Europe/Berlin'
    for (const [timeZone, wanted] of [
      [zone, 0],
      ['UTC', 1],
    ] as const) {
      const prng = new Prng(2)
      const judge = judgeSeries(hourOfWeekPlugin, { timeZone }, STEP_MS, Date.UTC(2026, 8, 21))
      const quarter = (): number => office(judge.nowMs + STEP_MS, zone, prng.normal() * 5)
      // Five weeks, then the change on 25 October, and the Monday after it.
      judge.run(A_DAY * 34, quarter)
      const monday = judge.run(A_DAY * 2, quarter)
      expect(Math.min(1, alarms(monday))).toBe(wanted)
    }
  })

  test('an anomaly is not learned: the same in the next week is one again', () => {
    const prng = new Prng(3)
    const judge = judgeSeries(hourOfWeekPlugin, {}, STEP_MS)
    judge.run(A_DAY * 28, () => 100 + prng.normal())
    expect(judge.next(400).score).toBeGreaterThan(1)
    judge.run(A_DAY * 7 - 1, () => 100 + prng.normal())
    expect(judge.next(400).score).toBeGreaterThan(1)
  })
})
