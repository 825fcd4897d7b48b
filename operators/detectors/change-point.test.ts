import { describe, expect, test } from 'vitest'
import type { Verdict } from '../../engine/contract/plugins.ts'
import { Prng } from '../../engine/util/prng.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { judgeSeries, parsed } from '../testing/judge-series.ts'
import {
  changePointPlugin,
  OUTLIER,
  OUTLIER_SPREADS,
  PRIOR_SHAPE,
  PRIOR_VALUES,
  studentT,
} from './change-point.ts'

describeDetector({
  plugin: changePointPlugin,
  lead: 31,
  options: [
    {},
    { every: 20, recent: 5, hypotheses: 16, odds: 0.1, minDeviation: 0, minRelativeDeviation: 0 },
  ],
})

const alarms = (verdicts: readonly Verdict[]): number => verdicts.filter(({ score }) => score > 1).length

/** Lanczos' approximation (g = 7, n = 9), for the density by its definition. */
function logGamma(z: number): number {
  const c = [
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
  ]
  const x = z - 1
  const t = x + 7.5
  const sum = c.reduce((all, k, i) => all + (i === 0 ? k : k / (x + i)), 0)
  return 0.5 * Math.log(2 * Math.PI) + (x + 0.5) * Math.log(t) - t + Math.log(sum)
}

function studentTByDefinition(far: number, shape: number, variance: number): number {
  const degrees = 2 * shape
  const front =
    logGamma((degrees + 1) / 2) - logGamma(degrees / 2) - 0.5 * Math.log(degrees * Math.PI * variance)
  return Math.exp(front - ((degrees + 1) / 2) * Math.log(1 + far ** 2 / (degrees * variance)))
}

interface Run {
  readonly from: number
  readonly weight: number
  /** Values with how much of each is the run's own. */
  readonly own: readonly (readonly [number, number])[]
  readonly level: number
  readonly variance: number
}

/** Sums over the run's values, as textbooks have them. */
function posterior({ own, level, variance }: Run): {
  mean: number
  values: number
  shape: number
  beta: number
} {
  const mass = own.reduce((sum, [, share]) => sum + share, 0)
  const values = PRIOR_VALUES + mass
  const mean = (PRIOR_VALUES * level + own.reduce((sum, [x, share]) => sum + share * x, 0)) / values
  const squares = own.reduce((sum, [x, share]) => sum + share * x * x, 0)
  const beta = PRIOR_SHAPE * variance + 0.5 * (squares + PRIOR_VALUES * level ** 2 - values * mean ** 2)
  return { mean, values, shape: PRIOR_SHAPE + mass / 2, beta }
}

/** Probabilities that nothing changed of late, with every hypothesis kept and every run's values summed anew. */
function unchangedOf(series: readonly number[], warmUp: number, every: number, recent: number): number[] {
  const meanOf = (xs: readonly number[]): number => xs.reduce((sum, x) => sum + x, 0) / xs.length
  const first = series.slice(0, warmUp)
  const varianceOf = (xs: readonly number[]): number => meanOf(xs.map((x) => (x - meanOf(xs)) ** 2))
  let runs: Run[] = [
    { from: 0, weight: 1, own: first.map((x) => [x, 1]), level: meanOf(first), variance: varianceOf(first) },
  ]
  return series.slice(warmUp).map((x, i) => {
    const count = warmUp + i
    const before = series.slice(0, count)
    const spread = Math.sqrt(varianceOf(before))
    const outlier = OUTLIER / (OUTLIER_SPREADS * spread)
    const fresh: Run = { from: count, weight: 1, own: [], level: meanOf(before), variance: spread ** 2 }
    const grown = [
      ...runs.map((run) => ({ run, prior: run.weight * (1 - 1 / every) })),
      { run: fresh, prior: 1 / every },
    ]
    const next = grown.map(({ run, prior }) => {
      const { mean, values, shape, beta } = posterior(run)
      const own =
        (1 - OUTLIER) * studentTByDefinition(x - mean, shape, (beta * (values + 1)) / (shape * values))
      const share = own / (own + outlier)
      return { ...run, weight: prior * (own + outlier), own: [...run.own, [x, share] as const] }
    })
    const sum = next.reduce((all, { weight }) => all + weight, 0)
    runs = next.map((run) => ({ ...run, weight: run.weight / sum }))
    return runs
      .filter(({ from }) => count - from >= recent || from === 0)
      .reduce((all, { weight }) => all + weight, 0)
  })
}

describe('change points', () => {
  test("Student's density is that of its definition, to a thousandth", () => {
    for (const shape of [1, 1.5, 3, 20, 500])
      for (const far of [0, 0.3, 2, 9])
        expect(Math.abs(studentT(far, shape, 2.5) / studentTByDefinition(far, shape, 2.5) - 1)).toBeLessThan(
          1.1e-3,
        )
  })

  test.each([
    ['a new level', (i: number) => (i > 90 ? 6 : 0)],
    ['a spike', (i: number) => (i === 90 ? 30 : 0)],
    ['two spikes in a row', (i: number) => (i === 90 || i === 91 ? 30 : 0)],
    ['nothing', () => 0],
  ])('the probability that nothing changed is that of all hypotheses summed up: %s', (_name, shift) => {
    const prng = new Prng(71)
    const series = Array.from({ length: 160 }, (_, i) => 50 + prng.normal() + shift(i))
    const exact = unchangedOf(series, 30, 100, 20)
    const surprises = (hypotheses: number): number[] =>
      judgeSeries(changePointPlugin, { every: 100, recent: 20, hypotheses, minRelativeDeviation: 0 })
        .run(series.length, (i) => series[i]!)
        .slice(30)
        .map(({ surprise }) => surprise!)
    // All are kept; then the more probable quarter of them.
    for (const [i, surprise] of surprises(256).entries())
      expect(surprise).toBeCloseTo(-Math.log10(exact[i]!), 2)
    const decided = exact.map((odds, i) => [odds < 1e-3, surprises(32)[i]! > 3] as const)
    expect(decided.filter(([one, other]) => one !== other).length).toBeLessThanOrEqual(2)
  })

  test.each([
    ['up by four deviations', 4, 6],
    ['down by two', -2, 25],
  ])('finds a level %s, soon, and once', (_name, shift, within) => {
    const prng = new Prng(72)
    const judge = judgeSeries(changePointPlugin, {})
    expect(alarms(judge.run(500, () => 100 + 5 * prng.normal()))).toBe(0)
    const verdicts = judge.run(400, () => 100 + 5 * shift + 5 * prng.normal())
    const first = verdicts.findIndex(({ score }) => score > 1)
    expect(first).toBeGreaterThanOrEqual(0)
    expect(first).toBeLessThan(within)
    expect(verdicts[first + 3]!.direction).toBe(Math.sign(shift))
    expect(judge.reason('load', 100, verdicts[first]!)).toMatch(/a change (up|down) among the last 60 values/)
    // It ends when the change is no longer recent, and does not come back.
    expect(alarms(verdicts.slice(first + 100))).toBe(0)
    expect(verdicts.at(-1)!.expected).toBeGreaterThan(100 + 5 * shift - 5)
    expect(verdicts.at(-1)!.expected).toBeLessThan(100 + 5 * shift + 5)
  })

  test('finds a spread that grows, and one that shrinks', () => {
    for (const factor of [4, 0.25]) {
      const prng = new Prng(73)
      const judge = judgeSeries(changePointPlugin, { minRelativeDeviation: 0 })
      judge.run(500, () => 100 + 5 * prng.normal())
      expect(alarms(judge.run(60, () => 100 + 5 * factor * prng.normal()))).toBeGreaterThan(0)
    }
  })

  test('a spike is no change, nor are many of them', () => {
    const prng = new Prng(74)
    const judge = judgeSeries(changePointPlugin, {})
    expect(alarms(judge.run(3_000, (i) => (i % 97 === 96 ? 1_000 : 100 + 5 * prng.normal())))).toBe(0)
  })

  test('normal noise changes less often than the odds say; a slow drift is no change', () => {
    const prng = new Prng(75)
    const judge = judgeSeries(changePointPlugin, { odds: 1e-3 })
    expect(alarms(judge.run(20_000, () => 100 + 5 * prng.normal())) / 20_000).toBeLessThan(1e-3)
    expect(alarms(judge.run(20_000, (i) => 100 + i * 5e-4 + 5 * prng.normal())) / 20_000).toBeLessThan(2e-3)
  })

  test('a flat series alarms on a new level and not on tiny changes', () => {
    const judge = judgeSeries(changePointPlugin, {})
    expect(alarms(judge.run(300, () => 50))).toBe(0)
    expect(alarms(judge.run(200, (i) => 50 + (i % 2) * 0.2))).toBe(0)
    expect(alarms(judge.run(5, () => 80))).toBeGreaterThan(0)
  })

  test('explains the run, and what was before', () => {
    const detector = changePointPlugin.create(parsed(changePointPlugin, {}))
    const cells = new Float64Array(detector.width)
    const prng = new Prng(76)
    const facts = (): Map<string, string> =>
      new Map(detector.explain!(cells, 0).facts.map(({ name, value }) => [name, value]))
    const judging = { score: NaN } as Verdict
    for (let i = 0; i < 10; i++) detector.learn(cells, 0, i, 100 + prng.normal(), judging)
    expect([...facts()]).toEqual([['values', '10']])
    for (let i = 0; i < 200; i++) detector.learn(cells, 0, i, 100 + prng.normal(), judging)
    for (let i = 0; i < 40; i++) detector.learn(cells, 0, i, 140 + prng.normal(), judging)
    expect(facts().get('run')).toMatch(/^4\d values about 1(39|40)\.?\d* ± /)
    expect(facts().get('before')).toMatch(/^(99|100)\.?\d* ± /)
  })
})

test.each([2, 3, 4])(
  'with few hypotheses the probability of no change is nearly that with many (seed %d)',
  (seed) => {
    const prng = new Prng(seed)
    const series = Array.from({ length: 1_500 }, (_, i) => prng.normal() + (Math.floor(i / 300) % 2) * 2)
    const unchanged = (hypotheses: number): number[] =>
      judgeSeries(changePointPlugin, { hypotheses })
        .run(series.length, (i) => series[i]!)
        .filter(({ score }) => !Number.isNaN(score))
        .map(({ surprise }) => 10 ** -surprise!)
    const many = unchanged(256)
    const apart = unchanged(16).map((p, i) => Math.abs(p - many[i]!))
    // What gives way is dropped: 0.0025 to 0.0044.
    expect(apart.reduce((sum, x) => sum + x, 0) / apart.length).toBeLessThan(0.002)
  },
)
