import { describe, expect, test } from 'vitest'
import { Prng } from '../../../engine/util/prng.ts'
import { CLOSE, type Habits, learnTail, surpriseOf, tailWidth } from './tail.ts'

/** After normal values, a record of 100, and so many normal values more: the surprise of something of `size`. */
function surpriseAfter(habits: Habits, values: number, size: number): number {
  const cells = new Float64Array(tailWidth(habits))
  const prng = new Prng(3)
  const learn = (times: number): void => {
    for (let i = 0; i < times; i++) {
      const x = Math.abs(prng.normal())
      learnTail(cells, 0, habits, x, x)
    }
  }
  learn(3_000)
  learnTail(cells, 0, habits, 100, 100)
  learn(values)
  return surpriseOf(cells, 0, habits, size, size)
}

describe('tail', () => {
  const own: Habits = { ...CLOSE, power: 1, recordHalved: 4_000 }

  test('what is below the record is less of a surprise, by its share of it', () => {
    expect(surpriseAfter(own, 50, 40) / surpriseAfter({ ...own, power: 0 }, 50, 40)).toBeCloseTo(0.4, 1)
  })

  test('a record with a cell of its own loses half in as many values as it is told', () => {
    const share = (values: number): number =>
      surpriseAfter(own, values, 40) / surpriseAfter({ ...own, power: 0 }, values, 40)
    expect(share(4_000)).toBeCloseTo(0.8, 1)
    expect(share(8_000)).toBe(1)
    // The largest peak loses a quarter meanwhile.
    const shared: Habits = { ...own, recordHalved: null }
    const ratio = surpriseAfter(shared, 8_000, 40) / surpriseAfter({ ...shared, power: 0 }, 8_000, 40)
    expect(ratio).toBeCloseTo(0.4 / 0.5 ** (8 / 20), 1)
  })

  test('a record that fades does not make what was reached a first time: peaks are remembered apart from it', () => {
    const atMost = Math.log10(own.values / own.margin)
    expect(surpriseAfter(own, 8_000, 80)).toBeLessThanOrEqual(atMost)
    expect(surpriseAfter({ ...own, peaks: 1 }, 8_000, 80)).toBeLessThanOrEqual(atMost)
  })
})
