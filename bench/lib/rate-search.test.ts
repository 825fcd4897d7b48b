import fc from 'fast-check'
import { expect, test } from 'vitest'
import { confirmedRate, LATE_MS_MAX, sustainedRate } from './rate-search.ts'

/** A server of a fixed rate, which is late by what it could not take in `seconds`. */
function server(capacity: number, seconds: number) {
  return async (rate: number): Promise<number> => Math.max(0, rate / capacity - 1) * seconds * 1_000
}

test('comes near to what a server takes, from either side, and never says more than it keeps', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.double({ min: 0.3, max: 1.5, noNaN: true }),
      fc.integer({ min: 5, max: 10 }),
      async (first, seconds) => {
        const found = await sustainedRate(1_000_000 * first, 12, server(1_000_000, seconds))
        const slack = LATE_MS_MAX / 1_000 / seconds
        expect(found).toBeLessThanOrEqual(1_000_000 * (1 + slack) * 1.000_001)
        expect(found).toBeGreaterThan(1_000_000 * 0.99)
      },
    ),
  )
})

test('says 0 where nothing is kept', async () => {
  expect(await sustainedRate(100, 3, async () => Number.POSITIVE_INFINITY)).toBe(0)
})

test('a longer trial takes back what a short one lived on credit for, by at most a step too much', async () => {
  const credit = (seconds: number) => async (rate: number) =>
    Math.max(0, rate - 1_000_000 - 1_500_000 / seconds) * (seconds / 1_000)
  const short = await sustainedRate(900_000, 12, credit(5))
  expect(short).toBeGreaterThan(1_250_000)
  const long = await confirmedRate(short, credit(30))
  expect(long).toBeLessThan(1_060_000)
  expect(long).toBeGreaterThan(1_050_000 * 0.94)
  expect(await confirmedRate(100, async () => Number.POSITIVE_INFINITY)).toBe(0)
})
