import { describe, expect, it } from 'vitest'
import { EventClock } from './event-clock.ts'

describe('an event clock', () => {
  it('keeps the watermark behind the newest event time by the disorder, and never moves it back', () => {
    const clock = new EventClock(5_000, 60_000)
    clock.observe(20_000)
    expect(clock.watermarkMs).toBe(15_000)
    clock.observe(19_000)
    expect(clock.watermarkMs).toBe(15_000)
  })

  it('follows log time from the idle time on', () => {
    const clock = new EventClock(1_000, 10_000)
    clock.advanceLog(100_000)
    clock.observe(50_000)
    expect(clock.advanceLog(109_999)).toBe(false)
    expect(clock.advanceLog(110_000)).toBe(true)
    expect(clock.watermarkMs).toBe(59_000)
    clock.observe(55_000)
    expect(clock.watermarkMs).toBe(59_000)
  })

  it('does not move by idleness before the first sample', () => {
    const clock = new EventClock(0, 0)
    expect(clock.advanceLog(1e12)).toBe(false)
    expect(clock.watermarkMs).toBe(-Infinity)
    expect(clock.deadlineFor(0)).toBe(Infinity)
  })

  it('names a deadline that reaches its target, with fractions of event time as well', () => {
    for (const fraction of [0, 0.1, 0.25, 0.3, 0.999, 1 / 3]) {
      const clock = new EventClock(5_000, 1)
      clock.advanceLog(1_700_000_000_000)
      clock.observe(1_700_000_000_000 + fraction)
      const targetMs = 1_700_000_060_000
      const deadlineMs = clock.deadlineFor(targetMs)
      clock.advanceLog(deadlineMs)
      expect(clock.watermarkMs).toBeGreaterThanOrEqual(targetMs)
    }
  })

  it('is the same after snapshot and restore, also before the first sample', () => {
    const clock = new EventClock(1, 2)
    const copy = new EventClock(1, 2)
    copy.restore(JSON.parse(JSON.stringify(clock.snapshot())))
    expect(copy).toEqual(clock)
    clock.advanceLog(10)
    clock.observe(3.5)
    copy.restore(JSON.parse(JSON.stringify(clock.snapshot())))
    expect(copy).toEqual(clock)
  })
})
