import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ManualClock } from '../engine/util/clock.ts'
import { countText, progressText, rateText, secondsText, showProgress } from './progress.ts'

describe('progressText', () => {
  test('knows how much is left when the size is known', () => {
    expect(progressText({ bytesRead: 25e6, bytesTotal: 100e6, samples: 2_000_000 }, 1_000)).toBe(
      '25% · 2,000,000 samples · 2.0 M samples/s · 3.0 s left',
    )
  })

  test('says bytes where there is no known end', () => {
    expect(progressText({ bytesRead: 2.5e6, bytesTotal: Number.NaN, samples: 5 }, 1_000)).toBe(
      '2.5 MB · 5 samples · 5 samples/s',
    )
  })

  test('is fine before anything was read', () => {
    expect(progressText({ bytesRead: 0, bytesTotal: 10, samples: 0 }, 0)).toBe('0% · 0 samples · 0 samples/s')
  })

  test.each([
    [countText(1_234_567), '1,234,567'],
    [countText(999), '999'],
    [rateText(12_345), '12 k'],
    [secondsText(75), '75 s'],
    [secondsText(150), '2 min 30 s'],
  ])('%s', (text, expected) => {
    expect(text).toBe(expected)
  })
})

describe('showProgress', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  const state = { bytesRead: 1, bytesTotal: 2, samples: 1 }
  function shown(errIsTerminal: boolean, ms: number): string[] {
    const written: string[] = []
    const shell = { err: (text: string) => written.push(text), errIsTerminal, clock: new ManualClock() }
    const progress = showProgress(shell, state)
    vi.advanceTimersByTime(ms)
    progress.stop()
    progress.stop()
    vi.advanceTimersByTime(60_000)
    return written
  }

  test('writes one line over on a terminal, and removes it', () => {
    const written = shown(true, 450)
    expect(written).toHaveLength(3)
    expect(written.every((text) => text.startsWith('\r') && !text.includes('\n'))).toBe(true)
    expect(written[2]!.trim()).toBe('')
  })

  test('writes whole lines now and then where it is no terminal', () => {
    const written = shown(false, 11_000)
    expect(written).toHaveLength(2)
    expect(written.every((text) => /^50% .* left\n$/.test(text))).toBe(true)
  })
})
