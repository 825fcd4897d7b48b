import { describe, expect, test } from 'vitest'
import type { Verdict } from '../../engine/contract/plugins.ts'
import { Prng } from '../../engine/util/prng.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { judgeSeries, parsed } from '../testing/judge-series.ts'
import { halfSpaceTreesPlugin } from './half-space-trees.ts'
import { drawAt } from './novelty.ts'

const SMALL = { dimension: 2, values: 32, trees: 4, depth: 5, seed: 9 }

describeDetector({
  plugin: halfSpaceTreesPlugin,
  lead: 362,
  options: [{}, { ...SMALL, odds: 0.1, minDeviation: 0, minRelativeDeviation: 0 }],
})

const alarms = (verdicts: readonly Verdict[]): number => verdicts.filter(({ score }) => score > 1).length

/** A box of a tree with the points that lie in it, cut in halves all the way down. */
interface Box {
  readonly points: readonly (readonly number[])[]
  readonly cut: { readonly d: number; readonly at: number; readonly halves: readonly [Box, Box] } | null
}

/** The paper's trees, written out: boxes that hold their points. */
function forestOf(points: readonly (readonly number[])[], o: typeof SMALL): readonly Box[] {
  return Array.from({ length: o.trees }, (_, tree) => {
    let draws = 0
    const draw = (): number => drawAt(o.seed, tree, draws++)
    const ranges = Array.from({ length: o.dimension }, () => {
      const middle = draw()
      const reach = 2 * Math.max(middle, 1 - middle)
      return [middle - reach, middle + reach] as const
    })
    const grow = (inside: Box['points'], bounds: typeof ranges, level: number): Box => {
      if (level === o.depth) return { points: inside, cut: null }
      const d = Math.floor(draw() * o.dimension)
      const [low, high] = bounds[d]!
      const at = (low + high) / 2
      const below = grow(
        inside.filter((point) => point[d]! < at),
        bounds.map((range, i) => (i === d ? [low, at] : range)),
        level + 1,
      )
      const above = grow(
        inside.filter((point) => point[d]! >= at),
        bounds.map((range, i) => (i === d ? [at, high] : range)),
        level + 1,
      )
      return { points: inside, cut: { d, at, halves: [below, above] } }
    }
    return grow(points, ranges, 0)
  })
}

function sparsityAt(forest: readonly Box[], point: readonly number[], o: typeof SMALL): number {
  const densities = forest.map((tree) => {
    let box = tree
    let size = 1
    while (box.cut !== null && box.points.length > 0.1 * o.values) {
      box = box.cut.halves[point[box.cut.d]! < box.cut.at ? 0 : 1]
      size *= 2
    }
    return ((box.points.length || 0.5) * size) / o.values
  })
  return o.depth - densities.reduce((sum, density) => sum + Math.log2(density), 0) / o.trees
}

describe('half-space trees', () => {
  test('the sparsity is that of boxes that hold the points of the last full window', () => {
    const prng = new Prng(51)
    const series = Array.from({ length: 300 }, (_, i) => 20 + prng.normal() + (i > 150 ? 7 : 0))
    series[200] = 90
    const judge = judgeSeries(halfSpaceTreesPlugin, { ...SMALL, minRelativeDeviation: 0 })
    const pointAt = (end: number): readonly number[] => series.slice(end - SMALL.dimension + 1, end + 1)
    let compared = 0
    series.forEach((value, end) => {
      const { memo, score } = judge.next(value)
      if (Number.isNaN(score)) return
      // Windows end where there are a multiple of `values` points.
      const full = end - ((end - SMALL.dimension + 1) % SMALL.values) - 1
      const window = Array.from({ length: SMALL.values }, (_, i) => pointAt(full - i))
      const low = Math.min(...window.flat())
      const span = Math.max(...window.flat()) - low
      const scaled = (point: readonly number[]): readonly number[] => point.map((x) => (x - low) / span)
      expect(memo).toBeCloseTo(
        sparsityAt(forestOf(window.map(scaled), SMALL), scaled(pointAt(end)), SMALL),
        9,
      )
      compared++
    })
    expect(compared).toBeGreaterThan(150)
  })

  test.each([
    ['normal', (prng: Prng) => prng.normal()],
    ['uniform', (prng: Prng) => prng.float()],
    ['exponential', (prng: Prng) => -Math.log(1 - prng.float())],
  ])('alarms seldom on %s noise', (_name, noise) => {
    const prng = new Prng(52)
    const judge = judgeSeries(halfSpaceTreesPlugin, {})
    expect(alarms(judge.run(10_000, () => 100 + 10 * noise(prng))) / 10_000).toBeLessThan(5e-3)
  })

  test('finds usual values that never followed each other like this', () => {
    const prng = new Prng(53)
    const judge = judgeSeries(halfSpaceTreesPlugin, {})
    const wave = (i: number): number => 100 + 40 * Math.sin((2 * Math.PI * i) / 50) + prng.normal()
    expect(alarms(judge.run(3_000, wave))).toBeLessThanOrEqual(2)
    const verdicts = [60, 140, 60, 140, 60].map((x) => judge.next(x))
    expect(alarms(verdicts)).toBeGreaterThan(0)
    expect(judge.reason('load', 60, verdicts.find(({ score }) => score > 1)!)).toMatch(/few of the last 256/)
  })

  test('a flat series alarms on a jump and not on tiny changes; a second anomaly is found as well', () => {
    const judge = judgeSeries(halfSpaceTreesPlugin, {})
    expect(alarms(judge.run(1_500, () => 50))).toBe(0)
    expect(alarms(judge.run(200, (i) => 50 + (i % 2) * 0.2))).toBe(0)
    for (let again = 0; again < 2; again++) {
      expect(alarms(judge.run(3, () => 500))).toBeGreaterThan(0)
      judge.run(100, () => 50)
    }
  })

  test('a new level is normal once a window holds it', () => {
    const prng = new Prng(54)
    const judge = judgeSeries(halfSpaceTreesPlugin, {})
    judge.run(800, () => 100 + prng.normal())
    expect(alarms(judge.run(3, () => 200 + prng.normal()))).toBeGreaterThan(0)
    judge.run(512, () => 200 + prng.normal())
    expect(alarms(judge.run(500, () => 200 + prng.normal()))).toBeLessThanOrEqual(1)
  })

  test('explains how far warm-up is, and the range it compares with', () => {
    const detector = halfSpaceTreesPlugin.create(parsed(halfSpaceTreesPlugin, {}))
    const cells = new Float64Array(detector.width)
    const judging = { score: NaN } as Verdict
    const facts = (): Map<string, string> =>
      new Map(detector.explain!(cells, 0).facts.map(({ name, value }) => [name, value]))
    for (let i = 0; i < 100; i++) detector.learn(cells, 0, i, i % 10, judging)
    expect([...facts()]).toEqual([['values', '100']])
    for (let i = 0; i < 300; i++) detector.learn(cells, 0, i, i % 10, judging)
    expect(facts().get('range')).toBe('0 … 9')
  })
})
