import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Verdict } from '../../engine/contract/plugins.ts'
import { Prng } from '../../engine/util/prng.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { judgeSeries, parsed } from '../testing/judge-series.ts'
import { drawAt } from './novelty.ts'
import { randomCutForestPlugin } from './random-cut-forest.ts'

const SMALL = { dimension: 2, trees: 3, sample: 8, seed: 5, minDeviation: 0, minRelativeDeviation: 0 }

describeDetector({
  plugin: randomCutForestPlugin,
  lead: 124,
  options: [SMALL, { ...SMALL, dimension: 1, sample: 8, trees: 1, odds: 0.1 }],
})

const alarms = (verdicts: readonly Verdict[]): number => verdicts.filter(({ score }) => score > 1).length

type Point = readonly number[]
interface Leaf {
  readonly point: Point
  readonly copies: number
}
interface Cut {
  readonly d: number
  readonly at: number
  readonly left: Tree
  readonly right: Tree
}
type Tree = Leaf | Cut

const isLeaf = (tree: Tree): tree is Leaf => 'point' in tree
const pointsOf = (tree: Tree): readonly Point[] =>
  isLeaf(tree)
    ? Array.from({ length: tree.copies }, () => tree.point)
    : [...pointsOf(tree.left), ...pointsOf(tree.right)]
const massOf = (tree: Tree): number => pointsOf(tree).length
const boxOf = (points: readonly Point[]): readonly (readonly [number, number])[] =>
  points[0]!.map((_, d) => [Math.min(...points.map((p) => p[d]!)), Math.max(...points.map((p) => p[d]!))])

/** The paper's InsertPoint, over whole trees: algorithm 2 there. `draw` gives the next random number. */
function inserted(tree: Tree | null, point: Point, draw: () => number): Tree {
  if (tree === null) return { point, copies: 1 }
  const box = boxOf(pointsOf(tree))
  const wider = boxOf([...pointsOf(tree), point])
  const lengths = wider.map(([low, high]) => high - low)
  const total = lengths.reduce((sum, length) => sum + length, 0)
  if (total === 0) return { point, copies: massOf(tree) + 1 }
  let left = draw() * total
  let d = 0
  while (d < lengths.length - 1 && left >= lengths[d]!) left -= lengths[d++]!
  while (!(lengths[d]! > 0)) {
    d = (d + lengths.length - 1) % lengths.length
    left = 0
  }
  let at = wider[d]![0] + left
  if (!(at < wider[d]![1])) at = wider[d]![0]
  const leaf = { point, copies: 1 }
  if (at < box[d]![0]) return { d, at, left: leaf, right: tree }
  if (at >= box[d]![1]) return { d, at, left: tree, right: leaf }
  const cut = tree as Cut
  return point[cut.d]! > cut.at
    ? { ...cut, right: inserted(cut.right, point, draw) }
    : { ...cut, left: inserted(cut.left, point, draw) }
}

/** ForgetPoint: algorithm 1 there. */
function without(tree: Tree, point: Point): Tree | null {
  if (isLeaf(tree)) return tree.copies > 1 ? { ...tree, copies: tree.copies - 1 } : null
  const side = point[tree.d]! > tree.at ? 'right' : 'left'
  const rest = without(tree[side], point)
  return rest === null ? tree[side === 'right' ? 'left' : 'right'] : { ...tree, [side]: rest }
}

/** Collusive displacement by a point, for each way that cuts can fall, by its probability. */
function displacement(tree: Tree, point: Point, above = 0): number {
  const points = pointsOf(tree)
  const sum = (box: ReturnType<typeof boxOf>): number => box.reduce((all, [low, high]) => all + high - low, 0)
  const total = sum(boxOf([...points, point]))
  const cutOff = total === 0 ? 0 : (total - sum(boxOf(points))) / total
  const now = cutOff * Math.max(above, points.length)
  if (isLeaf(tree)) return now + (1 - cutOff) * above
  const [into, beside] = point[tree.d]! > tree.at ? [tree.right, tree.left] : [tree.left, tree.right]
  return now + (1 - cutOff) * displacement(into, point, Math.max(above, massOf(beside) / (massOf(into) + 1)))
}

/** What each value displaces before it is taken in, or null where trees are not full. */
function displacements(series: readonly number[], o: typeof SMALL): readonly (number | null)[] {
  const forest: (Tree | null)[] = Array.from({ length: o.trees }, () => null)
  const turnOf = (round: number): number => Math.floor(drawAt(o.seed, round, 0) * o.trees)
  const pointAt = (count: number): Point => series.slice(count - o.dimension + 1, count + 1)
  return series.map((_, count) => {
    const isFull = count >= o.trees * o.sample + o.dimension - 1
    const point = pointAt(count)
    const found = isFull ? forest.reduce((sum, tree) => sum + displacement(tree!, point), 0) / o.trees : null
    const round = Math.floor(count / o.trees)
    const tree = (count + turnOf(round)) % o.trees
    const gone = (round - o.sample) * o.trees + ((tree - turnOf(round - o.sample) + o.trees) % o.trees)
    if (gone >= o.dimension - 1) forest[tree] = without(forest[tree]!, pointAt(gone))
    let draws = 1
    if (count >= o.dimension - 1) {
      forest[tree] = inserted(forest[tree]!, point, () => drawAt(o.seed, count, draws++))
    }
    return found
  })
}

describe('a random cut forest', () => {
  test('displaces as trees do that are written out, whatever comes, however often the same', () => {
    const valueArbitrary = fc.oneof(
      fc.integer({ min: -3, max: 3 }),
      fc.integer({ min: -800, max: 800 }).map((x) => x / 16),
    )
    let compared = 0
    fc.assert(
      fc.property(
        fc.array(valueArbitrary, { minLength: 140, maxLength: 190 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 4 }),
        (series, dimension, trees) => {
          const o = { ...SMALL, dimension, trees }
          const expected = displacements(series, o)
          const verdicts = judgeSeries(randomCutForestPlugin, o).run(series.length, (i) => series[i]!)
          verdicts.forEach(({ memo, score }, i) => {
            if (Number.isNaN(score)) return
            // All of the point at the mean itself is nothing to tell.
            if (memo !== 0) expect(memo).toBeCloseTo(expected[i]!, 4)
            compared++
          })
        },
      ),
      { numRuns: 40 },
    )
    expect(compared).toBeGreaterThan(500)
  })

  test('a tree that points came to and left is distributed as one that they never were in', () => {
    // The first cut of {0, 1, 4} parts off 4 three times out of four: by insertion alone, and with 2 and 9 in between.
    const partsOff = (insert: readonly number[], forget: readonly number[], seed: number): boolean => {
      const prng = new Prng(seed)
      let tree: Tree | null = null
      for (const x of insert) tree = inserted(tree, [x], () => prng.float())
      for (const x of forget) tree = without(tree!, [x])
      return (tree as Cut).at >= 1
    }
    const share = (insert: readonly number[], forget: readonly number[]): number => {
      const runs = 4_000
      return Array.from({ length: runs }, (_, i) => partsOff(insert, forget, i)).filter(Boolean).length / runs
    }
    expect(share([0, 1, 4], [])).toBeCloseTo(0.75, 1)
    expect(share([2, 4, 0, 9, 1], [2, 9])).toBeCloseTo(0.75, 1)
    expect(share([9, 4, 1, 2, 0], [9, 2])).toBeCloseTo(0.75, 1)
  })

  test.each([
    ['normal', (prng: Prng) => prng.normal()],
    ['uniform', (prng: Prng) => prng.float()],
    ['exponential', (prng: Prng) => -Math.log(1 - prng.float())],
  ])('alarms seldom on %s noise', (_name, noise) => {
    const prng = new Prng(62)
    const judge = judgeSeries(randomCutForestPlugin, {})
    expect(alarms(judge.run(6_000, () => 100 + 10 * noise(prng))) / 6_000).toBeLessThan(5e-3)
  })

  test('finds usual values that never followed each other like this', () => {
    const prng = new Prng(63)
    const judge = judgeSeries(randomCutForestPlugin, {})
    const wave = (i: number): number => 100 + 40 * Math.sin((2 * Math.PI * i) / 50) + prng.normal()
    expect(alarms(judge.run(3_000, wave))).toBeLessThanOrEqual(2)
    const verdicts = [60, 140, 60, 140].map((x) => judge.next(x))
    expect(alarms(verdicts)).toBeGreaterThan(0)
    expect(judge.reason('load', 60, verdicts.find(({ score }) => score > 1)!)).toMatch(/all of the last 480/)
  })

  test('a flat series alarms on a jump and not on tiny changes; a second anomaly is found as well', () => {
    const judge = judgeSeries(randomCutForestPlugin, {})
    expect(alarms(judge.run(1_500, () => 50))).toBe(0)
    expect(alarms(judge.run(200, (i) => 50 + (i % 2) * 0.2))).toBe(0)
    for (let again = 0; again < 2; again++) {
      expect(alarms(judge.run(3, () => 500))).toBeGreaterThan(0)
      // Once no tree holds it any more.
      judge.run(600, () => 50)
    }
  })

  test('a new level is normal once the trees hold it', () => {
    const prng = new Prng(64)
    const judge = judgeSeries(randomCutForestPlugin, {})
    judge.run(1_500, () => 100 + prng.normal())
    expect(alarms(judge.run(3, () => 200 + prng.normal()))).toBeGreaterThan(0)
    judge.run(600, () => 200 + prng.normal())
    expect(alarms(judge.run(500, () => 200 + prng.normal()))).toBeLessThanOrEqual(2)
  })

  test('explains how far warm-up is, and how many points its trees hold', () => {
    const detector = randomCutForestPlugin.create(parsed(randomCutForestPlugin, SMALL))
    const cells = new Float64Array(detector.width)
    const facts = (): Map<string, string> =>
      new Map(detector.explain!(cells, 0).facts.map(({ name, value }) => [name, value]))
    const judging = { score: NaN } as Verdict
    for (let i = 0; i < 10; i++) detector.learn(cells, 0, i, i % 7, judging)
    expect([...facts()]).toEqual([
      ['values', '10'],
      ['points', '9'],
    ])
    for (let i = 0; i < 100; i++) detector.learn(cells, 0, i, i % 7, judging)
    expect(facts().get('points')).toBe('24')
  })
})
