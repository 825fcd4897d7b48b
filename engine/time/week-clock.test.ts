import fc from 'fast-check'
import { expect, test } from 'vitest'
import { wallClock, weekClock } from './week-clock.ts'

test('a clock in Berlin, through both changes of a year', () => {
  const wall = wallClock('Europe/Berlin')
  const shown = (at: string): string => new Date(wall(Date.parse(at))).toISOString().slice(0, 16)
  expect(shown('2026-03-29T00:59:00Z')).toBe('2026-03-29T01:59')
  expect(shown('2026-03-29T01:00:00Z')).toBe('2026-03-29T03:00')
  expect(shown('2026-10-25T00:59:00Z')).toBe('2026-10-25T02:59')
  expect(shown('2026-10-25T01:00:00Z')).toBe('2026-10-25T02:00')
})

test('wall and week agree with what the platform formats, whatever the order of the instants', () => {
  const zones = ['UTC', 'America/New_York', 'Asia/Kathmandu', 'Australia/Lord_Howe', 'Pacific/Kiritimati']
  const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']
  for (const timeZone of zones) {
    const [wall, week] = [wallClock(timeZone), weekClock(timeZone)]
    const format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      weekday: 'long',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    })
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2_000_000_000 }), (seconds) => {
        const ms = seconds * 1_000
        const parts = Object.fromEntries(format.formatToParts(ms).map(({ type, value }) => [type, value]))
        const minute = Number(parts.hour) * 60 + Number(parts.minute)
        expect(week(ms)).toEqual({ day: days.indexOf(parts.weekday!), minute })
        const local = new Date(wall(ms))
        expect([local.getUTCDay(), local.getUTCHours() * 60 + local.getUTCMinutes()]).toEqual([
          days.indexOf(parts.weekday!),
          minute,
        ])
      }),
      { numRuns: 50 },
    )
  }
})
