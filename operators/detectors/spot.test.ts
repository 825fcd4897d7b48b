import { describe, expect, test } from 'vitest'
import type { Verdict } from '../../engine/contract/plugins.ts'
import { Prng } from '../../engine/util/prng.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { judgeSeries } from '../testing/judge-series.ts'
import { spotPlugin } from './spot.ts'

describeDetector({
  plugin: spotPlugin,
  lead: 200,
  options: [{}, { odds: 0.01, direction: 'up', minDeviation: 0, minRelativeDeviation: 0, history: '1m' }],
})

const alarms = (verdicts: readonly Verdict[]): number => verdicts.filter(({ score }) => score > 1).length

describe('spot', () => {
  test.each([
    ['normal', (prng: Prng) => prng.normal()],
    ['exponential', (prng: Prng) => -Math.log(1 - prng.float())],
    // Heavy tails: a number of deviations would alarm all the time.
    ['Laplace cubed', (prng: Prng) => (prng.below(2) === 0 ? 1 : -1) * (-Math.log(1 - prng.float())) ** 1.5],
  ])('the odds hold for %s noise, within what a short tail can tell', (_name, noise) => {
    const prng = new Prng(11)
    const judge = judgeSeries(spotPlugin, { odds: 1e-3, minRelativeDeviation: 0, history: '6h' })
    const verdicts = judge.run(40_000, () => noise(prng))
    const share = alarms(verdicts.slice(2_000)) / 38_000
    expect(share).toBeGreaterThan(1e-4)
    expect(share).toBeLessThan(5e-3)
  })

  test('finds what is far beyond the tail, and says how rare it is', () => {
    const prng = new Prng(12)
    const judge = judgeSeries(spotPlugin, { odds: 1e-5 })
    judge.run(2_000, () => 100 + 10 * prng.normal())
    const verdict = judge.next(260)
    expect(verdict.score).toBeGreaterThan(1)
    expect(verdict.surprise).toBeGreaterThan(5)
    expect(judge.reason('latency', 260, verdict)).toMatch(/once in .* values/)
  })

  test('a constant series does not alarm on a tiny change, and does on a large one', () => {
    const judge = judgeSeries(spotPlugin, {})
    judge.run(300, () => 50)
    expect(judge.next(51).score).toBeLessThanOrEqual(1)
    expect(judge.next(80).score).toBeGreaterThan(1)
  })

  test('a second anomaly soon after the first is found as well', () => {
    const prng = new Prng(13)
    const judge = judgeSeries(spotPlugin, {})
    judge.run(2_000, () => 100 + prng.normal() * 10)
    expect(judge.next(400).score).toBeGreaterThan(1)
    judge.run(50, () => 100 + prng.normal() * 10)
    expect(judge.next(400).score).toBeGreaterThan(1)
  })
})
