import { expect, test } from 'vitest'
import { backoffMs, sleep } from './backoff.ts'
import { Prng } from './prng.ts'

test('delays double from the first to the maximum, each within its half of jitter, and repeat from the seed', () => {
  const delays = (seed: number): number[] => {
    const prng = new Prng(seed)
    return Array.from({ length: 80 }, (_, attempt) =>
      backoffMs({ firstMs: 100, maxMs: 3_000 }, attempt, prng),
    )
  }
  delays(7).forEach((delayMs, attempt) => {
    const fullMs = Math.min(3_000, 100 * 2 ** attempt)
    expect(delayMs).toBeGreaterThanOrEqual(fullMs / 2)
    expect(delayMs).toBeLessThan(fullMs)
  })
  expect(delays(7)).toEqual(delays(7))
  expect(delays(7)).not.toEqual(delays(8))
})

test('a sleep ends when its signal is aborted, before or during', async () => {
  const stop = new AbortController()
  const sleeping = sleep(60_000, stop.signal)
  stop.abort()
  await sleeping
  await sleep(60_000, stop.signal)
  await sleep(1, new AbortController().signal)
})
