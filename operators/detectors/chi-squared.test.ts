import { describe, expect, test } from 'vitest'
import { chiSquaredSurprise, SURPRISE_MAX } from './chi-squared.ts'

describe('the tail of the chi-squared distribution', () => {
  // Percentage points, Abramowitz and Stegun, table 26.8.
  test.each([
    [1, 0.05, 3.84146],
    [1, 0.001, 10.828],
    [2, 0.01, 9.21034],
    [3, 0.05, 7.81473],
    [4, 0.005, 14.8603],
    [7, 0.05, 14.0671],
    [7, 0.001, 24.322],
    [10, 0.1, 15.9871],
    [15, 0.01, 30.5779],
  ])('%i degrees: %f of all are above %f', (freedom, probability, statistic) => {
    expect(10 ** -chiSquaredSurprise(statistic, freedom)).toBeCloseTo(probability, 5)
  })

  test.each([1, 3, 7, 15, 2, 6])('%i degrees: agrees with the density integrated', (freedom) => {
    // Simpson's rule over s = t², which has no pole at 0.
    const integral = (from: number, to: number): number => {
      const steps = 20_000
      const width = (to - from) / steps
      let sum = 0
      for (let i = 0; i <= steps; i++) {
        const t = from + i * width
        sum +=
          (i === 0 || i === steps ? 1 : i % 2 === 1 ? 4 : 2) * t ** (freedom - 1) * Math.exp((-t * t) / 2)
      }
      return (sum * width) / 3
    }
    const whole = integral(0, 40)
    for (const statistic of [0.01, 0.5, 2, 7.9, 8.1, 30, 90]) {
      const wanted = -Math.log10(integral(Math.sqrt(statistic), 40) / whole)
      expect(chiSquaredSurprise(statistic, freedom)).toBeCloseTo(wanted, 6)
    }
  })

  test('is 0 at 0, rises, and ends at its limit', () => {
    expect(chiSquaredSurprise(0, 7)).toBe(0)
    expect(chiSquaredSurprise(1e9, 7)).toBe(SURPRISE_MAX)
    let before = 0
    for (let statistic = 0.1; statistic < 1_000; statistic *= 1.05) {
      const surprise = chiSquaredSurprise(statistic, 7)
      expect(surprise).toBeGreaterThan(before)
      before = surprise
    }
  })
})
