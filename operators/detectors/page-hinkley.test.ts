import { describe, expect, test } from 'vitest'
import type { Verdict } from '../../engine/contract/plugins.ts'
import { Prng } from '../../engine/util/prng.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { judgeSeries } from '../testing/judge-series.ts'
import { pageHinkleyPlugin } from './page-hinkley.ts'

const SHORT = { history: '10m', warmUp: '30s', tolerance: 0.5, limit: 10 }

describeDetector({ plugin: pageHinkleyPlugin, options: [SHORT, { ...SHORT, direction: 'down' }] })

const alarms = (verdicts: readonly Verdict[]): number => verdicts.filter(({ score }) => score > 1).length

describe('page-hinkley', () => {
  test('rises above its minimum by what is beyond the tolerance', () => {
    const judge = judgeSeries(pageHinkleyPlugin, { ...SHORT, history: '1000d', warmUp: '1m' })
    judge.run(1_000, () => 20)
    const scores = judge.run(4, () => 22.5).map(({ score }) => score)
    // 2.5 above the mean, 0.5 of it tolerated: 2 of 10 each, less what the mean follows.
    expect(scores.map((score) => Math.round(score * 10) / 10)).toEqual([0.2, 0.4, 0.6, 0.8])
  })

  test('finds a shift of its size in a noisy series', () => {
    const prng = new Prng(2)
    const judge = judgeSeries(pageHinkleyPlugin, { history: '6h', warmUp: '2m', tolerance: 1, limit: 25 })
    expect(alarms(judge.run(3_000, () => 20 + prng.normal()))).toBe(0)
    expect(alarms(judge.run(60, () => 22.5 + prng.normal()))).toBeGreaterThan(0)
  })

  test('watches only the side that is asked for', () => {
    const judge = judgeSeries(pageHinkleyPlugin, { ...SHORT, direction: 'down' })
    judge.run(200, () => 20)
    expect(alarms(judge.run(50, () => 30))).toBe(0)
    expect(judge.next(20).lower).toBeGreaterThan(-Infinity)
  })
})
