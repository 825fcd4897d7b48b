import fc from 'fast-check'
import { expect, test } from 'vitest'
import { muteTest } from './mute-times.ts'

const EVERY_DAY = [0, 1, 2, 3, 4, 5, 6]
const at = (iso: string): number => Date.parse(iso)

test('a span of dates holds from its start to before its end', () => {
  const test = muteTest([{ fromMs: 100, toMs: 200 }])
  expect([99, 100, 199, 200].map(test)).toEqual([false, true, true, false])
})

test('a span over midnight belongs to the day on which it begins', () => {
  // 2026-11-27 is a Friday.
  const test = muteTest([{ days: [5], fromMinute: 22 * 60, toMinute: 6 * 60, timeZone: 'UTC' }])
  const times = ['27T21:59', '27T22:00', '28T05:59', '28T06:00', '28T22:30', '27T05:00']
  expect(times.map((time) => test(at(`2026-11-${time}:00Z`)))).toEqual([
    false,
    true,
    true,
    false,
    false,
    false,
  ])
})

test('a weekly span follows the clock of its zone over a daylight-saving change', () => {
  const test = muteTest([{ days: EVERY_DAY, fromMinute: 120, toMinute: 180, timeZone: 'Europe/Berlin' }])
  // The day before: 02:00 is 01:00 UTC. On 25 October 2026 it is 02:00 twice; in March it is left out.
  expect(test(at('2026-10-24T00:30:00Z'))).toBe(true)
  expect(test(at('2026-10-25T00:30:00Z'))).toBe(true)
  expect(test(at('2026-10-25T01:30:00Z'))).toBe(true)
  expect(test(at('2026-10-25T02:30:00Z'))).toBe(false)
  expect(test(at('2026-10-26T01:30:00Z'))).toBe(true)
  expect(test(at('2026-03-29T00:30:00Z'))).toBe(false)
  expect(test(at('2026-03-29T01:30:00Z'))).toBe(false)
})

test('UTC is reckoned as any other zone is, before 1970 too', () => {
  const span = { days: [1, 2, 6], fromMinute: 1_000, toMinute: 30 }
  const quick = muteTest([{ ...span, timeZone: 'UTC' }])
  const slow = muteTest([{ ...span, timeZone: 'Etc/UTC' }])
  fc.assert(
    fc.property(fc.integer({ min: -1e12, max: 4e12 }), (timeMs) => {
      expect(quick(timeMs)).toBe(slow(timeMs))
    }),
  )
})
