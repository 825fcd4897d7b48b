import { describe, expect, test } from 'vitest'
import type { Fault } from '../../engine/contract/errors.ts'
import type { Verdict } from '../../engine/contract/plugins.ts'
import { Prng } from '../../engine/util/prng.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { judgeSeries } from '../testing/judge-series.ts'
import { holtWintersPlugin } from './holt-winters.ts'

const SHORT = { season: '1m', slots: 12, history: '2m' }

describeDetector({
  plugin: holtWintersPlugin,
  lead: 90,
  options: [SHORT, { ...SHORT, direction: 'up', minRelativeDeviation: 0, threshold: 3 }],
})

const alarms = (verdicts: readonly Verdict[]): number => verdicts.filter(({ score }) => score > 1).length
const HOUR_MS = 3_600_000

/** A day's wave about a level that rises slowly, an hourly value. */
function wave(seed: number): (i: number) => number {
  const prng = new Prng(seed)
  return (i) => 200 + 0.02 * i + 60 * Math.sin((2 * Math.PI * i) / 24) + prng.normal() * 3
}

describe('holt-winters', () => {
  test('foretells a season and a trend, and finds what is unusual for its hour only', () => {
    const judge = judgeSeries(holtWintersPlugin, { season: '1d', slots: 24, threshold: 5 }, HOUR_MS)
    const source = wave(1)
    const weeks = judge.run(24 * 28, source)
    expect(alarms(weeks.slice(24 * 7))).toBeLessThanOrEqual(3)
    const errors = weeks
      .slice(24 * 21)
      .map(
        ({ expected }, i) => expected - (200 + 0.02 * (i + 24 * 21) + 60 * Math.sin((2 * Math.PI * i) / 24)),
      )
    const rms = Math.sqrt(errors.reduce((sum, error) => sum + error * error, 0) / errors.length)
    expect(rms).toBeLessThan(6)
    // The height of noon, at midnight: inside everything seen.
    judge.run(18, (i) => source(24 * 28 + i))
    expect(judge.next(258).score).toBeGreaterThan(1)
  })

  test('judges nothing before a whole season was seen', () => {
    const judge = judgeSeries(holtWintersPlugin, { season: '1d', slots: 24 }, HOUR_MS)
    expect(judge.run(24, wave(2)).every(({ score }) => Number.isNaN(score))).toBe(true)
    expect(judge.next(200).score).not.toBeNaN()
  })

  test('an anomaly is not learned as the season, and a second one is found as well', () => {
    const judge = judgeSeries(holtWintersPlugin, { season: '1d', slots: 24 }, HOUR_MS)
    const source = wave(3)
    judge.run(24 * 14, source)
    expect(alarms(judge.run(5, () => 900))).toBe(5)
    judge.run(19, (i) => source(24 * 14 + 5 + i))
    expect(alarms(judge.run(5, () => 900))).toBe(5)
  })

  test('a new level is followed after some sixty values', () => {
    const judge = judgeSeries(holtWintersPlugin, { season: '1d', slots: 24 }, HOUR_MS)
    const source = wave(4)
    judge.run(24 * 14, source)
    const after = judge.run(24 * 21, (i) => 400 + source(24 * 14 + i))
    expect(alarms(after.slice(0, 20))).toBe(20)
    expect(alarms(after.slice(24 * 14))).toBeLessThan(24)
  })

  test('more slots than there is memory for are refused, and say what there is', () => {
    const faults: Fault[] = []
    holtWintersPlugin.options.parse({ season: '7d', slots: 10_080 }, 'p', faults)
    expect(faults).toMatchObject([
      { place: 'p.slots', value: 10_080, remedy: expect.stringContaining('512') },
    ])
    faults.length = 0
    holtWintersPlugin.options.parse({ season: '20ms', slots: 96 }, 'p', faults)
    expect(faults).toMatchObject([{ place: 'p.slots' }])
  })
})
