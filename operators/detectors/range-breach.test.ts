import { describe, expect, test } from 'vitest'
import type { Verdict } from '../../engine/contract/plugins.ts'
import { Prng } from '../../engine/util/prng.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { judgeSeries } from '../testing/judge-series.ts'
import { rangeBreachPlugin } from './range-breach.ts'

const SHORT = { warmUp: '30s', relearn: '1m' }

describeDetector({
  plugin: rangeBreachPlugin,
  options: [
    SHORT,
    { ...SHORT, direction: 'down' },
    {
      warmUp: 0,
      history: '1m',
      relearn: '5s',
      margin: 0,
      minDeviation: 0,
      minRelativeDeviation: 0,
      direction: 'up',
    },
  ],
})

const alarms = (verdicts: readonly Verdict[]): number =>
  verdicts.filter((verdict) => verdict.score > 1).length
const wave = (i: number): number => 100 + 50 * Math.sin(i / 5)

describe('range breach', () => {
  test('does not judge while warming up, and a periodic series never alarms', () => {
    const verdicts = judgeSeries(rangeBreachPlugin, SHORT).run(1_000, wave)
    expect(verdicts.slice(0, 30).every((verdict) => Number.isNaN(verdict.score))).toBe(true)
    expect(Number.isNaN(verdicts[31]!.score)).toBe(false)
    expect(alarms(verdicts)).toBe(0)
  })

  test('the band is the range seen and a margin of it; 0 in the middle, 1 at the edge', () => {
    const settled = () => {
      const judge = judgeSeries(rangeBreachPlugin, {
        ...SHORT,
        margin: 0.1,
        minRelativeDeviation: 0,
        history: '10000d',
      })
      judge.run(100, (i) => (i % 2) * 10)
      return judge
    }
    const verdict = settled().next(5)
    expect(verdict.score).toBeCloseTo(0, 6)
    expect(verdict.lower).toBeCloseTo(-1, 5)
    expect(verdict.upper).toBeCloseTo(11, 5)
    expect(settled().next(11).score).toBeCloseTo(1, 5)
    expect(settled().next(-1.1).score).toBeGreaterThan(1)
    expect(settled().next(-1.1).direction).toBe(-1)
  })

  test('a constant series does not alarm on a tiny change, and does on a large one', () => {
    for (const level of [0, 1e-6, 1, 1e9, -40]) {
      const judge = judgeSeries(rangeBreachPlugin, SHORT)
      judge.run(100, () => level)
      expect(judge.next(level * 1.01 + 1e-10).score).toBeLessThanOrEqual(1)
      expect(judge.next(level * 1.5 + 1e-3).score).toBeGreaterThan(1)
    }
  })

  test('a spike stays an anomaly while it lasts and is not part of the range afterwards', () => {
    const judge = judgeSeries(rangeBreachPlugin, SHORT)
    judge.run(300, wave)
    expect(alarms(judge.run(30, () => 900))).toBe(30)
    expect(alarms(judge.run(100, wave))).toBe(0)
    expect(judge.next(900).score).toBeGreaterThan(1)
  })

  test('a level that lasts has been seen', () => {
    const judge = judgeSeries(rangeBreachPlugin, SHORT)
    judge.run(300, wave)
    const level = judge.run(100, () => 900)
    expect(alarms(level.slice(0, 60))).toBe(60)
    expect(alarms(level.slice(61))).toBe(0)
    expect(alarms(judge.run(100, wave))).toBe(0)
  })

  test('spikes that come back now and then do not add up to a level', () => {
    const judge = judgeSeries(rangeBreachPlugin, SHORT)
    judge.run(300, wave)
    const spiky = judge.run(400, (i) => (i % 25 === 0 ? 900 : wave(i)))
    expect(alarms(spiky)).toBe(16)
  })

  test('growth by less than the margin is followed without an alarm', () => {
    expect(alarms(judgeSeries(rangeBreachPlugin, SHORT).run(2_000, (i) => 100 + i))).toBe(0)
  })

  test('extremes that are not reached again fade', () => {
    const judge = judgeSeries(rangeBreachPlugin, { ...SHORT, history: '10m', minRelativeDeviation: 0 })
    const prng = new Prng(3)
    judge.run(40, (i) => (i === 5 ? 1_000 : prng.float()))
    const before = judge.next(0.5).upper
    judge.run(600, () => prng.float())
    expect(judge.next(0.5).upper / before).toBeCloseTo(0.5, 1)
  })

  test('a long gap forgets next to nothing', () => {
    const judge = judgeSeries(rangeBreachPlugin, { ...SHORT, history: '10m' })
    judge.run(300, wave)
    const before = judge.next(100).upper
    judge.pause(7 * 86_400_000)
    judge.next(100)
    expect(judge.next(100).upper).toBeGreaterThan(before * 0.98)
  })

  test.each([
    ['up', 1, 0],
    ['down', 0, 1],
    ['both', 1, 1],
  ])('direction %s', (direction, above, below) => {
    const settled = () => {
      const judge = judgeSeries(rangeBreachPlugin, { ...SHORT, direction })
      judge.run(300, wave)
      return judge
    }
    expect(alarms([settled().next(900)])).toBe(above)
    expect(alarms([settled().next(-900)])).toBe(below)
  })
})
