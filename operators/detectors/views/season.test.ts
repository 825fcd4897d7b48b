import { describe, expect, test } from 'vitest'
import { Season } from './season.ts'
import type { Measured } from './view.ts'

const HOUR_MS = 3_600_000
const QUARTER_MS = HOUR_MS / 4

describe('season', () => {
  const season = new Season()
  /** A value every quarter of an hour: the hour of the day, or what `of` says. */
  const learned = (hours: number, of = (hour: number): number => 10 * (hour % 24)): Float64Array => {
    const cells = new Float64Array(season.width)
    for (let i = 0; i < 4 * hours; i++) season.learn(cells, 0, of(Math.floor(i / 4)), i * QUARTER_MS)
    return cells
  }
  const asked = (what: 'measure' | 'foresee', cells: Float64Array, x: number, timeMs: number): Measured => {
    const measured: Measured = { stat: NaN, size: 0, expected: NaN, scale: 0 }
    season[what](cells, 0, x, timeMs, measured)
    return measured
  }

  test('an hour of the week that was not seen is no reason to accuse, and foreseen as the day before', () => {
    const cells = learned(3 * 24)
    const third = 3 * 24 * HOUR_MS
    expect(asked('measure', cells, 80, third + 8 * HOUR_MS).stat).toBeNaN()
    expect(asked('foresee', cells, 80, third + 8 * HOUR_MS)).toMatchObject({ expected: 80, stat: 0 })
    expect(asked('foresee', cells, 0, third + 8 * HOUR_MS).stat).toBeGreaterThan(5)
  })

  test('nothing is foreseen of an hour that was not seen the day before either', () => {
    const cells = learned(20)
    expect(asked('foresee', cells, 80, 22 * HOUR_MS).stat).toBeNaN()
  })

  test('an hour that was seen is what it was in its week, whatever the day before was', () => {
    // The seventh day is another one.
    const cells = learned(2 * 168, (hour) => (hour % 168 >= 144 ? 500 : 10 * (hour % 24)))
    const eighth = 2 * 168 * HOUR_MS
    expect(asked('foresee', cells, 30, eighth + 3 * HOUR_MS)).toMatchObject({ expected: 30, stat: 0 })
    expect(asked('measure', cells, 30, eighth + 3 * HOUR_MS)).toMatchObject({ expected: 30, stat: 0 })
  })

  test('an hour is compared with its past, not with its own values: what drifts is far from it', () => {
    const cells = learned(2 * 168, (hour) => 100 * hour)
    const { expected, scale } = asked('measure', cells, 0, 2 * 168 * HOUR_MS)
    // As a mean of the two hours before it, of four values each.
    expect(expected).toBeCloseTo(100 * 84, 0)
    expect(scale).toBeGreaterThan(100 * 84)
  })

  test('days that are alike teach how far values lie from their hour within the first week', () => {
    let quarter = 0
    const cells = learned(4 * 24, (hour) => 1_000 * (hour % 24) + (quarter++ % 2 === 0 ? 3 : -3))
    const { expected, scale } = asked('foresee', cells, 0, (4 * 24 + 1) * HOUR_MS)
    expect(expected).toBeCloseTo(1_000, 6)
    // A flat hour's share of its mean is 1.
    expect(scale - 1).toBeGreaterThan(3)
    expect(scale - 1).toBeLessThan(6)
  })
})
