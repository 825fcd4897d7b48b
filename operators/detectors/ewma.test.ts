import { describe, expect, test } from 'vitest'
import type { Verdict } from '../../engine/contract/plugins.ts'
import { Prng } from '../../engine/util/prng.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { judgeSeries, newVerdict, parsed } from '../testing/judge-series.ts'
import { ewmaPlugin } from './ewma.ts'

const SHORT = { history: '10m', warmUp: '30s' }

describeDetector({
  plugin: ewmaPlugin,
  options: [
    SHORT,
    { ...SHORT, direction: 'up' },
    { history: '1m', warmUp: 0, relearn: '20s', minDeviation: 0, minRelativeDeviation: 0, direction: 'down' },
  ],
})

const alarms = (verdicts: readonly Verdict[]): number =>
  verdicts.filter((verdict) => verdict.score > 1).length

function noisy(level: number, spread: number, seed = 1): () => number {
  const prng = new Prng(seed)
  return () => level + spread * prng.normal()
}

describe('ewma', () => {
  test('does not judge before it has seen 20 values and watched for the warm-up', () => {
    const byTime = judgeSeries(ewmaPlugin, { warmUp: '1m' })
    expect(byTime.run(60, () => 5).every((verdict) => Number.isNaN(verdict.score))).toBe(true)
    expect(byTime.next(5).score).toBe(0)
    const byCount = judgeSeries(ewmaPlugin, { warmUp: 0 })
    expect(byCount.run(20, () => 5).every((verdict) => Number.isNaN(verdict.score))).toBe(true)
    expect(byCount.next(5).score).toBe(0)
  })

  test('estimates mean and band of a normal series, and 6 deviations almost never alarm', () => {
    const judge = judgeSeries(ewmaPlugin, { history: '1h' })
    const verdicts = judge.run(20_000, noisy(100, 10))
    const last = verdicts.at(-1)!
    expect(last.expected).toBeCloseTo(100, -0.5)
    expect((last.upper - last.expected) / 6).toBeGreaterThan(9)
    expect((last.upper - last.expected) / 6).toBeLessThan(11)
    expect(alarms(verdicts)).toBe(0)
  })

  test('matches the definition: weights fall by 16 over the history, and the variance is theirs', () => {
    const judge = judgeSeries(ewmaPlugin, {
      history: '2m',
      warmUp: 0,
      minDeviation: 0,
      minRelativeDeviation: 0,
      threshold: 3,
    })
    const source = noisy(0, 1, 7)
    const values: number[] = []
    // No value leaves the band here: clipping is tested elsewhere.
    for (let i = 0; i < 300; i++) values.push(Math.max(-1.5, Math.min(1.5, source())))
    const verdict = judge.run(301, (i) => values[i] ?? 0).at(-1)!
    const weights = values.map((_, i) => 16 ** (-(values.length - 1 - i) / 120))
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    const mean = values.reduce((sum, value, i) => sum + value * weights[i]!, 0) / total
    const variance = values.reduce((sum, value, i) => sum + (value - mean) ** 2 * weights[i]!, 0) / total
    expect(verdict.expected).toBeCloseTo(mean, 10)
    expect((verdict.upper - verdict.expected) / 3).toBeCloseTo(Math.sqrt(variance), 10)
  })

  test('the memory is a duration: twice the rate, the same forgetting', () => {
    const band = (everyMs: number): number => {
      const judge = judgeSeries(ewmaPlugin, { history: '10m', warmUp: 0 }, everyMs)
      judge.run(600_000 / everyMs, () => 10)
      judge.run(60_000 / everyMs, () => 10.4)
      return judge.next(10).expected
    }
    expect(band(500)).toBeCloseTo(band(1_000), 2)
  })

  test('a constant series does not alarm on a tiny change, and does on a large one', () => {
    for (const level of [0, 1e-6, 1, 1e9, -40]) {
      const judge = judgeSeries(ewmaPlugin, SHORT)
      judge.run(100, () => level)
      expect(judge.next(level * 1.01 + 1e-10).score).toBeLessThanOrEqual(1)
      expect(judge.next(level * 1.5 + 1e-3).score).toBeGreaterThan(1)
    }
  })

  test('the floors are what is written', () => {
    const judge = judgeSeries(ewmaPlugin, { ...SHORT, minDeviation: 5, minRelativeDeviation: 0 })
    judge.run(100, () => 100)
    expect(judge.next(105).score).toBe(1)
    const relative = judgeSeries(ewmaPlugin, { ...SHORT, minRelativeDeviation: 0.2 })
    relative.run(100, () => -100)
    expect(relative.next(-119.9).score).toBeLessThan(1)
    expect(relative.next(-121).score).toBeGreaterThan(1)
  })

  test('score convention: 0 at the expected value, 1 at the edge of the band', () => {
    const settled = () => {
      const judge = judgeSeries(ewmaPlugin, SHORT)
      judge.run(200, noisy(50, 2))
      return judge
    }
    const { expected, upper, lower } = settled().next(50)
    expect(settled().next(expected)).toMatchObject({ score: 0, cleared: true })
    expect(settled().next(upper).score).toBeCloseTo(1, 12)
    expect(settled().next(lower)).toMatchObject({ direction: -1 })
    expect(settled().next(upper + (upper - expected)).score).toBeCloseTo(2, 12)
  })

  test.each([
    ['up', 1, 0],
    ['down', 0, 1],
    ['both', 1, 1],
  ])('direction %s', (direction, above, below) => {
    const settled = () => {
      const judge = judgeSeries(ewmaPlugin, { ...SHORT, direction })
      judge.run(200, noisy(50, 1))
      return judge
    }
    expect(alarms([settled().next(90)])).toBe(above)
    expect(alarms([settled().next(10)])).toBe(below)
  })

  test('hysteresis: not cleared between clear and the edge', () => {
    const judge = judgeSeries(ewmaPlugin, { ...SHORT, clear: 0.5, minRelativeDeviation: 0.1 })
    judge.run(100, () => 100)
    expect(judge.next(107)).toMatchObject({ cleared: false })
    expect(judge.next(107).score).toBeLessThan(1)
    expect(judge.next(104)).toMatchObject({ cleared: true })
  })

  test('an anomaly neither widens the band nor drags the mean: a second one is found as well', () => {
    const judge = judgeSeries(ewmaPlugin, { history: '1h', warmUp: '1m' })
    judge.run(1_000, noisy(100, 1))
    const before = judge.next(100)
    expect(alarms(judge.run(60, () => 1_000))).toBe(60)
    const after = judge.next(100)
    expect(Math.abs(after.expected - before.expected)).toBeLessThan(0.5)
    expect(after.upper - after.lower).toBeLessThan(1.2 * (before.upper - before.lower))
    expect(judge.next(1_000).score).toBeGreaterThan(1)
  })

  test('a new level is learned once it has lasted, with its own spread, and the old one is then an anomaly', () => {
    const judge = judgeSeries(ewmaPlugin, { history: '10m', warmUp: '1m', relearn: '2m' })
    judge.run(600, noisy(100, 1))
    const shifted = judge.run(180, noisy(200, 3, 2))
    expect(alarms(shifted.slice(0, 115))).toBe(115)
    expect(alarms(shifted.slice(125))).toBe(0)
    const now = judge.next(200)
    expect(now.expected).toBeCloseTo(200, -0.5)
    expect((now.upper - now.expected) / 6).toBeGreaterThan(1.5)
    expect(judge.next(100).score).toBeGreaterThan(1)
  })

  test('values that come back now and then make no new level', () => {
    const judge = judgeSeries(ewmaPlugin, { history: '10m', warmUp: '1m', relearn: '2m' })
    judge.run(600, noisy(100, 1))
    const mixed = judge.run(600, (i) => (i % 50 === 0 ? 100 : 200))
    expect(alarms(mixed.slice(100))).toBeGreaterThan(450)
  })

  test('a long gap does not make the detector forget its band', () => {
    const judge = judgeSeries(ewmaPlugin, {
      history: '10m',
      warmUp: '1m',
      minDeviation: 0,
      minRelativeDeviation: 0,
    })
    const source = noisy(100, 5)
    judge.run(600, source)
    judge.pause(7 * 86_400_000)
    expect(alarms(judge.run(600, source))).toBe(0)
  })

  test('a history shorter than a few intervals still counts as 20 values', () => {
    const judge = judgeSeries(ewmaPlugin, { history: '1m', warmUp: 0, minRelativeDeviation: 0 }, 60_000)
    expect(alarms(judge.run(5_000, noisy(100, 5)))).toBeLessThan(5)
  })
})

test('is blind once no value could lie outside its band, and says so', () => {
  const detector = ewmaPlugin.create(parsed(ewmaPlugin, { warmUp: 0 }))
  const cells = new Float64Array(detector.width)
  const verdict = newVerdict()
  let timeMs = 1_000_000
  const next = (value: number): void => {
    timeMs += 1_000
    detector.score(cells, 0, timeMs, value, verdict)
    detector.learn(cells, 0, timeMs, value, verdict)
  }
  for (let i = 0; i < 10; i++) next(100 + i)
  expect(detector.health!(cells, 0, timeMs)).toBe('warming')
  for (let i = 0; i < 30; i++) next(100 + i)
  expect(detector.health!(cells, 0, timeMs)).toBe('ok')
  cells.fill(0)
  for (let i = 0; i < 30; i++) next(i % 2 === 0 ? Number.MAX_VALUE : -Number.MAX_VALUE)
  expect(detector.health!(cells, 0, timeMs)).toBe('blind')
  next(Number.MAX_VALUE)
  expect(verdict.score).toBeLessThanOrEqual(1)
})
