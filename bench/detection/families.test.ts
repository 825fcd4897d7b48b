import { describe, expect, test } from 'vitest'
import { FAMILIES } from './families.ts'

describe('made-up families', () => {
  test.each(FAMILIES.map((family) => ({ family, name: family.name })))('$name', ({ family }) => {
    const made = family.make(1)
    expect(family.make(1)).toEqual(made)
    expect(family.name === 'constant' || family.name === 'on and off').toBe(
      JSON.stringify([...family.make(2).values]) === JSON.stringify([...made.values]),
    )
    expect(made.values).toHaveLength(made.timesMs.length)
    expect(made.values.every(Number.isFinite)).toBe(true)
    expect(made.timesMs.every((timeMs, i) => i === 0 || timeMs > made.timesMs[i - 1]!)).toBe(true)
    expect(made.events.length === 0).toBe(family.clean)
    for (const [i, { first, last }] of made.events.entries()) {
      expect(first).toBeGreaterThan(made.events[i - 1]?.last ?? 0)
      expect(last).toBeGreaterThanOrEqual(first)
      expect(last).toBeLessThan(made.values.length)
    }
  })
})
