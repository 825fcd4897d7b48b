import { describe, expect, test } from 'vitest'
import type { Verdict } from '../../engine/contract/plugins.ts'
import { Prng } from '../../engine/util/prng.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { judgeSeries, parsed } from '../testing/judge-series.ts'
import { knnCadPlugin } from './knn-cad.ts'

const SMALL = { neighbours: 2, dimension: 3, reference: 20, calibration: 32 }

describeDetector({
  plugin: knnCadPlugin,
  lead: 262,
  options: [{}, { ...SMALL, dimension: 1, odds: 0.1, minDeviation: 0, minRelativeDeviation: 0 }],
})

const alarms = (verdicts: readonly Verdict[]): number => verdicts.filter(({ score }) => score > 1).length

/** Distances by the definition: every pattern written out, all distances sorted. */
function distanceOf(series: readonly number[], end: number, o: typeof SMALL): number {
  const patternAt = (last: number): number[] => series.slice(last - o.dimension + 1, last + 1)
  const first = Math.max(o.dimension - 1, end - o.calibration - o.reference)
  const distances = Array.from({ length: o.reference }, (_, i) => {
    const other = patternAt(first + i)
    return Math.hypot(...patternAt(end).map((x, j) => x - other[j]!))
  }).sort((a, b) => a - b)
  return distances.slice(0, o.neighbours).reduce((sum, x) => sum + x, 0) / o.neighbours
}

describe('conformal nearest neighbours', () => {
  test('the surprise is the rank of the distance among those of the calibration, by the definition', () => {
    const prng = new Prng(31)
    const series = Array.from({ length: 600 }, () => prng.normal())
    const judge = judgeSeries(knnCadPlugin, { ...SMALL, minRelativeDeviation: 0 })
    const verdicts = judge.run(series.length, (i) => series[i]!)
    const from = SMALL.reference + SMALL.dimension - 1
    const distances = series.map((_, end) => (end < from ? NaN : distanceOf(series, end, SMALL)))
    let ranked = 0
    verdicts.forEach(({ surprise, score }, end) => {
      if (end < from + SMALL.calibration) {
        expect(score).toBeNaN()
        return
      }
      const past = distances.slice(end - SMALL.calibration, end)
      const asFar = past.filter((distance) => distance >= distances[end]!).length
      if (asFar > 0) {
        ranked++
        expect(surprise).toBeCloseTo(-Math.log10((asFar + 1) / (SMALL.calibration + 1)), 9)
      } else expect(surprise).toBeGreaterThan(Math.log10(SMALL.calibration + 1))
    })
    expect(ranked).toBeGreaterThan(400)
  })

  test.each([
    ['normal', (prng: Prng) => prng.normal()],
    ['uniform', (prng: Prng) => prng.float()],
    ['exponential', (prng: Prng) => -Math.log(1 - prng.float())],
  ])('the odds hold for %s noise, within a factor of a few', (_name, noise) => {
    const prng = new Prng(32)
    const judge = judgeSeries(knnCadPlugin, { odds: 1e-2, minRelativeDeviation: 0 })
    const share = alarms(judge.run(8_000, () => noise(prng))) / 8_000
    expect(share).toBeGreaterThan(1e-3)
    expect(share).toBeLessThan(3e-2)
  })

  test('finds a wave that stops inside its usual range, without knowing its period', () => {
    const prng = new Prng(33)
    const judge = judgeSeries(knnCadPlugin, {})
    const wave = (i: number): number => 100 + 40 * Math.sin((2 * Math.PI * i) / 25) + prng.normal()
    expect(alarms(judge.run(1_500, wave))).toBeLessThanOrEqual(2)
    const verdicts = judge.run(12, () => 100)
    expect(alarms(verdicts)).toBeGreaterThan(0)
    expect(judge.reason('requests', 100, verdicts.find(({ score }) => score > 1)!)).toMatch(/unlike the 128/)
  })

  test('a flat series alarms on a jump and not on tiny changes; a second anomaly is found as well', () => {
    const judge = judgeSeries(knnCadPlugin, {})
    expect(alarms(judge.run(600, () => 50))).toBe(0)
    expect(alarms(judge.run(200, (i) => 50 + (i % 2) * 0.5))).toBe(0)
    for (let again = 0; again < 2; again++) {
      expect(judge.next(500).score).toBeGreaterThan(1)
      judge.run(30, () => 50)
    }
  })

  test('a new level is normal once reference and calibration hold it', () => {
    const prng = new Prng(34)
    const judge = judgeSeries(knnCadPlugin, {})
    judge.run(600, () => 100 + prng.normal())
    expect(judge.next(200).score).toBeGreaterThan(1)
    judge.run(300, () => 200 + prng.normal())
    expect(alarms(judge.run(300, () => 200 + prng.normal()))).toBe(0)
  })

  test('explains how far warm-up is, and the distance that alarms', () => {
    const detector = knnCadPlugin.create(parsed(knnCadPlugin, {}))
    const cells = new Float64Array(detector.width)
    const prng = new Prng(35)
    const facts = (): Map<string, string> =>
      new Map(detector.explain!(cells, 0).facts.map(({ name, value }) => [name, value]))
    for (let i = 0; i < 100; i++) detector.learn(cells, 0, i, prng.normal(), {} as Verdict)
    expect([...facts()]).toEqual([['values', '100']])
    for (let i = 0; i < 300; i++) {
      const [value, verdict] = [prng.normal(), {} as Verdict]
      detector.score(cells, 0, i, value, verdict)
      detector.learn(cells, 0, i, value, verdict)
    }
    expect(Number(facts().get('alarms beyond'))).toBeGreaterThan(Number(facts().get('largest distance')))
  })
})
