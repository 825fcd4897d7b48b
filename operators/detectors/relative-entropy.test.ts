import { describe, expect, test } from 'vitest'
import type { Fault } from '../../engine/contract/errors.ts'
import type { Verdict } from '../../engine/contract/plugins.ts'
import { Prng } from '../../engine/util/prng.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { judgeSeries, parsed } from '../testing/judge-series.ts'
import { chiSquaredSurprise } from './chi-squared.ts'
import { relativeEntropyPlugin } from './relative-entropy.ts'

describeDetector({
  plugin: relativeEntropyPlugin,
  lead: 260,
  options: [{}, { values: 16, bins: 4, odds: 0.01, times: 1, minDeviation: 0, minRelativeDeviation: 0 }],
})

const alarms = (verdicts: readonly Verdict[]): number => verdicts.filter(({ score }) => score > 1).length

describe('relative entropy', () => {
  test.each([
    ['normal', 1e-5, (prng: Prng) => prng.normal()],
    ['uniform', 1e-5, (prng: Prng) => prng.float()],
    ['exponential', 1e-5, (prng: Prng) => -Math.log(1 - prng.float())],
    // Of eight bins it fills two: seven degrees of freedom are more than it has, which makes it calm.
    ['two-level', 0, (prng: Prng) => prng.below(2) * 10 + prng.float()],
  ])('the odds hold for %s noise', (_name, least, noise) => {
    const prng = new Prng(21)
    const judge = judgeSeries(relativeEntropyPlugin, { odds: 1e-2 })
    const verdicts = judge.run(40_000, () => noise(prng))
    const share = alarms(verdicts.slice(2_000)) / 38_000
    expect(share).toBeGreaterThanOrEqual(least)
    expect(share).toBeLessThan(3e-2)
  })

  test('the surprise is that of 2 W N / (W + N) times the relative entropy, by counts of the definition', () => {
    const values = 32
    const judge = judgeSeries(relativeEntropyPlugin, { values, bins: 4, minRelativeDeviation: 0 })
    const prng = new Prng(22)
    const usual = Array.from({ length: 8 * values }, () => prng.float())
    const verdicts = judge.run(usual.length, (i) => usual[i]!)
    // Bins as they are documented: nine tenths of the first window in half of them, its median in the middle of one.
    const sorted = usual.slice(0, values).sort((a, b) => a - b)
    const size = (sorted[values - 2]! - sorted[1]!) / 2
    const low = sorted[values / 2]! - 2.5 * size
    const histogram = (of: readonly number[]): number[] => {
      const counts = [0, 0, 0, 0]
      for (const x of of) counts[Math.min(3, Math.max(0, Math.floor((x - low) / size)))]!++
      return counts
    }
    // All windows are of one kind, so all that ended are one hypothesis.
    for (let end = 4 * values; end < usual.length; end++) {
      const past = usual.slice(0, Math.floor(end / values) * values)
      const known = histogram(past).map((count) => (count + 0.5) / (past.length + 2))
      const window = histogram(usual.slice(end + 1 - values, end + 1)).map((count) => count / values)
      const entropy = window.reduce((sum, p, j) => sum + (p > 0 ? p * Math.log(p / known[j]!) : 0), 0)
      const weight = (values * past.length) / (values + past.length)
      expect(verdicts[end]!.surprise).toBeCloseTo(chiSquaredSurprise(2 * weight * entropy, 3), 8)
    }
  })

  test('finds a wider spread about the same mean, and a narrower one', () => {
    for (const spread of [4, 0.1]) {
      const prng = new Prng(23)
      const judge = judgeSeries(relativeEntropyPlugin, {})
      expect(alarms(judge.run(2_000, () => 100 + 10 * prng.normal()))).toBe(0)
      const verdicts = judge.run(64, () => 100 + 10 * spread * prng.normal())
      expect(alarms(verdicts)).toBeGreaterThan(16)
      expect(judge.reason('latency', 100, verdicts.at(-1)!)).toMatch(/never did.*odds of 1 in 10\^/)
    }
  })

  test('one outlier, however far, is not a distribution', () => {
    const prng = new Prng(24)
    const judge = judgeSeries(relativeEntropyPlugin, {})
    judge.run(2_000, () => 100 + prng.normal())
    expect(judge.next(1e9).score).toBeLessThanOrEqual(1)
    expect(alarms(judge.run(500, () => 100 + prng.normal()))).toBe(0)
  })

  test('a flat series alarms on a new level and not on tiny changes', () => {
    const judge = judgeSeries(relativeEntropyPlugin, {})
    judge.run(1_000, () => 50)
    expect(alarms(judge.run(200, (i) => 50 + (i % 2) * 0.1))).toBe(0)
    expect(alarms(judge.run(64, () => 60))).toBeGreaterThan(40)
  })

  test('a new level alarms, is normal once it filled its windows, and the old one is still known', () => {
    for (const level of [1_000, -1_000, 1e12, -1e12]) {
      const prng = new Prng(25)
      const judge = judgeSeries(relativeEntropyPlugin, {})
      judge.run(2_048, () => 100 + prng.normal())
      expect(alarms(judge.run(64, () => level + prng.normal()))).toBeGreaterThan(40)
      judge.run(64 * 2, () => level + prng.normal())
      expect(alarms(judge.run(64 * 4, () => level + prng.normal()))).toBe(0)
      judge.run(64, () => 100 + prng.normal())
      expect(alarms(judge.run(64, () => 100 + prng.normal()))).toBe(0)
    }
  })

  test('bins are found anew for a series that became far narrower than one, and it warms up again', () => {
    const prng = new Prng(26)
    const judge = judgeSeries(relativeEntropyPlugin, { minRelativeDeviation: 0 })
    judge.run(1_024, () => 1_000 * prng.normal())
    const verdicts = judge.run(64 * 14, () => prng.normal())
    expect(verdicts.at(64 * 8)!.score).toBeNaN()
    expect(verdicts.at(-1)!.score).toBeLessThanOrEqual(1)
    expect(alarms(judge.run(64, () => 5 * prng.normal()))).toBeGreaterThan(0)
  })

  test('an odd number of bins is refused with a remedy', () => {
    const faults: Fault[] = []
    expect(relativeEntropyPlugin.options.parse({ bins: 5 }, 'detect', faults)).toBeUndefined()
    expect(faults).toEqual([
      expect.objectContaining({ place: 'detect.bins', value: 5, remedy: 'Write 4 or 6.' }),
    ])
  })

  test('explains its bins and the distributions it knows', () => {
    const detector = relativeEntropyPlugin.create(parsed(relativeEntropyPlugin, {}))
    const cells = new Float64Array(detector.width)
    const prng = new Prng(27)
    for (let i = 0; i < 640; i++) {
      detector.learn(cells, 0, i, i < 320 ? prng.normal() : 100 + prng.normal(), {} as Verdict)
    }
    const facts = new Map(detector.explain!(cells, 0).facts.map(({ name, value }) => [name, value]))
    expect(facts.get('windows')).toBe('10')
    expect(facts.get('bins')).toMatch(/^8 of .* from .* to /)
    expect(facts.get('distributions')).toBe('2 known of 2 met')
  })
})
