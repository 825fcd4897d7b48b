import { describe, expect, test } from 'vitest'
import type { VectorDetector, Verdict } from '../../engine/contract/plugins.ts'
import { Prng } from '../../engine/util/prng.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { newVerdict, parsed } from '../testing/judge-series.ts'
import { pcaPlugin } from './pca.ts'

const SHORT = { history: '10m', warmUp: '30s' }

describeDetector({
  plugin: pcaPlugin,
  columns: ['cpu', 'memory', 'io'],
  lead: 80,
  options: [SHORT, { ...SHORT, components: 2, threshold: 3, minResidual: 0 }, { ...SHORT, relearn: '10s' }],
})

const COLUMNS = ['cpu', 'memory', 'io', 'net'] as const

/** Judges and learns rows a minute apart. */
function judgeRows(options: object, columns: readonly string[] = COLUMNS) {
  const detector = pcaPlugin.create(parsed(pcaPlugin, options), columns) as VectorDetector
  const cells = new Float64Array(detector.width)
  let timeMs = 1_700_000_000_000
  let value = NaN
  const next = (row: readonly number[]): Verdict => {
    timeMs += 60_000
    detector.values.set(row)
    value = detector.statistic(cells, 0, timeMs)
    const verdict = newVerdict()
    detector.score(cells, 0, timeMs, value, verdict)
    detector.learn(cells, 0, timeMs, value, verdict)
    return verdict
  }
  return { detector, cells, next, value: () => value, nowMs: () => timeMs }
}

/** Load drives cpu, memory and net; io is by itself. */
function traffic(seed: number) {
  const prng = new Prng(seed)
  const noise = (): number => prng.float() + prng.float() + prng.float() - 1.5
  let minute = 0
  return (): [number, number, number, number] => {
    const load = 50 + 30 * Math.sin((2 * Math.PI * minute++) / 240) + 5 * noise()
    return [load + noise(), 2 * load + 1_000 + 2 * noise(), 10 + 3 * noise(), 5 * load + 5 * noise()]
  }
}

const OPTIONS = { history: '6h', warmUp: '2h', components: 2 }

describe('columns that move together', () => {
  test('are normal for days, through highs and lows that no column alone could tell from an anomaly', () => {
    for (const seed of [1, 2, 3]) {
      const { next } = judgeRows(OPTIONS)
      const row = traffic(seed)
      const scores = Array.from({ length: 4_000 }, () => next(row()).score).filter(
        (score) => !Number.isNaN(score),
      )
      expect(scores.length).toBeGreaterThan(3_800)
      expect(scores.filter((score) => score > 1).length).toBe(0)
    }
  })

  test('that no longer do fire at once, though each value is an ordinary one, and the column is named', () => {
    const { next, detector, value } = judgeRows(OPTIONS)
    const row = traffic(7)
    for (let i = 0; i < 1_000; i++) next(row())
    const [cpu, memory, io] = row()
    // What net is at the top of the day, while the others are where they are now.
    const verdict = next([cpu, memory, io, cpu > 50 ? 100 : 400])
    expect(verdict.score).toBeGreaterThan(1)
    const reason = detector.reason('cpu+memory+io+net', value(), verdict)
    expect(reason).toMatch(/^cpu, memory, io, net do not move together as usual: /)
    expect(reason).toMatch(/most of it from net \(\d+ %\)/)
    expect(next(row()).score).toBeLessThan(1)
  })

  test('are not taught the anomaly, however long it lasts short of relearn; then it is the new normal', () => {
    const { next } = judgeRows({ ...OPTIONS, relearn: '4h' })
    const row = traffic(11)
    for (let i = 0; i < 1_000; i++) next(row())
    const broken = (): Verdict => {
      const [cpu, memory, io, net] = row()
      return next([cpu, memory, io, net + 400])
    }
    let fired = 0
    for (let i = 0; i < 200; i++) if (broken().score > 1) fired++
    expect(fired).toBeGreaterThan(150)
    for (let i = 0; i < 900; i++) broken()
    let later = 0
    for (let i = 0; i < 200; i++) if (broken().score > 1) later++
    expect(later).toBe(0)
  })

  test('in perfect lock-step do not alarm on rounding', () => {
    const { next } = judgeRows({ ...OPTIONS, components: 1 }, ['a', 'b'])
    const prng = new Prng(3)
    for (let i = 0; i < 2_000; i++) {
      const load = prng.float()
      const { score } = next([load * 0.1, load * 0.3 + (i === 1_500 ? 1e-9 : 0)])
      if (!Number.isNaN(score)) expect(score).toBeLessThan(1)
    }
    expect(next([0.02, 0.29]).score).toBeGreaterThan(1)
  })

  test('of constants: the first that moves is found, from the floor on', () => {
    const { next } = judgeRows(OPTIONS, ['a', 'b', 'c'])
    for (let i = 0; i < 500; i++) next([5, 100, 0])
    expect(next([5, 100.5, 0]).score).toBeLessThan(1)
    expect(next([5, 130, 0]).score).toBeGreaterThan(1)
  })
})

test('the directions are those of a decomposition of the covariance', () => {
  // x and y with correlation 0.8, z by itself: the first direction is (1, 1, 0) / sqrt 2.
  const { next, cells, detector } = judgeRows({ history: '1000h', warmUp: 0, components: 1 }, ['x', 'y', 'z'])
  const prng = new Prng(5)
  const noise = (): number => Array.from({ length: 12 }, () => prng.float()).reduce((a, b) => a + b, -6)
  for (let i = 0; i < 20_000; i++) {
    const common = Math.sqrt(0.8) * noise()
    next([common + Math.sqrt(0.2) * noise(), 7 + 3 * (common + Math.sqrt(0.2) * noise()), noise()])
  }
  const direction = cells.slice(detector.width - 3)
  const length = Math.hypot(...direction)
  // The first eigenvalue of the correlations is 1.8.
  expect(length).toBeCloseTo(1.8, 1)
  expect(Math.abs(direction[0]! / length)).toBeCloseTo(Math.SQRT1_2, 1)
  expect(direction[1]! / direction[0]!).toBeCloseTo(1, 1)
  expect(direction[2]! / length).toBeCloseTo(0, 1)
})

test('cells grow with columns and components as told', () => {
  for (const columns of [2, 3, 8, 16]) {
    for (const components of [1, columns - 1]) {
      const names = Array.from({ length: columns }, (_, i) => `c${i}`)
      const { width } = pcaPlugin.create(parsed(pcaPlugin, { components }), names)
      expect(width).toBe(10 + (2 + components) * columns)
    }
  }
})

test('a column without a value leaves the row unjudged', () => {
  const { detector, cells } = judgeRows(OPTIONS, ['a', 'b'])
  detector.values.set([1, NaN])
  expect(detector.statistic(cells, 0, 0)).toBeNaN()
})
