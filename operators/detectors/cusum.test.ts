import { describe, expect, test } from 'vitest'
import type { Verdict } from '../../engine/contract/plugins.ts'
import { Prng } from '../../engine/util/prng.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { judgeSeries } from '../testing/judge-series.ts'
import { cusumPlugin } from './cusum.ts'

const SHORT = { history: '10m', warmUp: '30s' }

describeDetector({
  plugin: cusumPlugin,
  options: [SHORT, { ...SHORT, limit: 4, allowance: 1, direction: 'up' }],
})

const alarms = (verdicts: readonly Verdict[]): number => verdicts.filter(({ score }) => score > 1).length

describe('cusum', () => {
  test('finds a shift of one and a half deviations that no band would see, and rarely alarms without one', () => {
    let missed = 0
    let wrong = 0
    for (let seed = 1; seed <= 20; seed++) {
      const prng = new Prng(seed)
      const judge = judgeSeries(cusumPlugin, { history: '2h', warmUp: '5m' })
      wrong += alarms(judge.run(2_000, () => 100 + prng.normal() * 5)) > 0 ? 1 : 0
      if (alarms(judge.run(60, () => 107.5 + prng.normal() * 5)) === 0) missed++
    }
    expect(missed).toBe(0)
    expect(wrong).toBeLessThanOrEqual(4)
  })

  test('adds up what is beyond the allowance, as the definition does', () => {
    const judge = judgeSeries(cusumPlugin, { history: '1000d', warmUp: '1m', limit: 8, minDeviation: 1 })
    judge.run(600, (i) => (i % 2 === 0 ? 99.5 : 100.5))
    let sum = 0
    for (let i = 0; i < 6; i++) {
      const verdict = judge.next(101.5)
      sum = Math.max(0, sum + (101.5 - verdict.expected) - 0.5)
      expect(verdict.score).toBeCloseTo(sum / 8, 1)
    }
  })

  test('one outlier is no shift', () => {
    const prng = new Prng(5)
    const judge = judgeSeries(cusumPlugin, SHORT)
    judge.run(600, () => 100 + prng.normal())
    expect(judge.next(1_000).score).toBeLessThanOrEqual(1)
  })

  test('ends soon after the values are back', () => {
    const prng = new Prng(6)
    const judge = judgeSeries(cusumPlugin, { history: '6h', warmUp: '1m' })
    judge.run(600, () => 100 + prng.normal())
    expect(alarms(judge.run(300, () => 104 + prng.normal()))).toBeGreaterThan(200)
    expect(alarms(judge.run(200, () => 100 + prng.normal()).slice(60))).toBe(0)
  })

  test('a constant series does not alarm on a tiny change', () => {
    const judge = judgeSeries(cusumPlugin, SHORT)
    judge.run(200, () => 50)
    expect(alarms(judge.run(100, () => 50.2))).toBe(0)
  })
})
