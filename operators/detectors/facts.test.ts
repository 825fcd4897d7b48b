/** What detectors tell of themselves is what they were given: a known series, and the numbers worked out by hand. */
import { describe, expect, test } from 'vitest'
import type {
  Detector,
  PeersDetector,
  SilenceDetector,
  VectorDetector,
} from '../../engine/contract/plugins.ts'
import { registry } from '../registry.ts'
import { newVerdict, parsed } from '../testing/judge-series.ts'

const START_MS = Date.UTC(2026, 0, 5)
const MINUTE_MS = 60_000

const created = (kind: string, options: unknown, columns: readonly string[] = ['v']): Detector => {
  const plugin = registry.detectors.get(kind)!
  return plugin.create(parsed(plugin, options) as never, columns)
}

function told(detector: Detector, cells: Float64Array): Record<string, string> {
  const facts = detector.explain?.(cells, 0).facts ?? []
  return Object.fromEntries(facts.map(({ name, value }) => [name, value]))
}

/** A value a minute. */
function factsOf(
  kind: string,
  options: unknown,
  values: readonly number[],
  everyMs = MINUTE_MS,
): Record<string, string> {
  const detector = created(kind, options)
  const cells = new Float64Array(detector.width)
  values.forEach((value, i) => {
    const verdict = newVerdict()
    detector.score(cells, 0, START_MS + i * everyMs, value, verdict)
    detector.learn(cells, 0, START_MS + i * everyMs, value, verdict)
  })
  return told(detector, cells)
}

const alternating = (count: number): number[] =>
  Array.from({ length: count }, (_, i) => (i % 2 === 0 ? 9 : 11))

describe('a detector explains itself', () => {
  test('every one of the registry does', () => {
    const silent = [...registry.detectors.keys()].filter((kind) => {
      const options =
        kind === 'threshold'
          ? { above: 1 }
          : kind === 'rate-of-change'
            ? { by: 1, within: '1m' }
            : kind === 'page-hinkley'
              ? { tolerance: 1, limit: 10 }
              : kind === 'peers'
                ? { by: [] }
                : {}
      return created(kind, options, ['a', 'b']).explain === undefined
    })
    expect(silent).toEqual([])
  })

  test('threshold: its bounds', () => {
    expect(factsOf('threshold', { above: 90 }, [])).toEqual({ normal: 'at most 90' })
    expect(factsOf('threshold', { below: 10 }, [])).toEqual({ normal: 'at least 10' })
    expect(factsOf('threshold', { below: 10, above: 90 }, [])).toEqual({ normal: 'from 10 to 90' })
  })

  test('rate of change: from where, and how much', () => {
    expect(factsOf('rate-of-change', { by: 5, within: '2m' }, [7, 8])).toEqual({
      'last value': '8',
      change: '5 within 2 min',
    })
  })

  test('range breach: the range, and what lies outside of late', () => {
    const options = { warmUp: '10m', history: '1000d', relearn: '1h' }
    expect(factsOf('range-breach', options, alternating(30))).toMatchObject({
      range: expect.stringMatching(/^from 9(\.0\d+)? to 1[01](\.\d+)?$/),
      'warm-up': '30 of 20 values, 29 min of 10 min',
    })
    expect(factsOf('range-breach', options, [...alternating(30), 50, 60]).outside).toBe('from 50 to 60')
  })

  test('mad: the median and the median distance from it', () => {
    expect(factsOf('mad', { values: 9 }, [1, 2, 3, 4, 100])).toEqual({
      median: '3',
      deviation: '1',
      values: '5',
    })
  })

  test.each([
    ['cusum', {}],
    ['page-hinkley', { tolerance: 0.5, limit: 10 }],
  ])('%s: mean, deviation, and what has added up', (kind, options) => {
    const facts = factsOf(kind, { history: '100d', warmUp: '10m', ...options }, [...alternating(200), 12, 12])
    expect(Number(facts.mean)).toBeCloseTo(10, 0)
    expect(Number(facts.deviation)).toBeCloseTo(1, 0)
    const [, up, down] = /^([\d.e-]+) upwards, ([\d.e-]+) downwards, of [\d.]+$/.exec(facts['added up']!)!
    expect(Number(up)).toBeGreaterThan(2)
    expect(Number(down)).toBe(0)
    expect(facts['warm-up']).toBe('202 of 20 values, 201 min of 10 min')
  })

  test('spot: the tail to which it is fitted', () => {
    const facts = factsOf('spot', {}, alternating(400))
    expect(Number(facts.mean)).toBeCloseTo(10, 0)
    expect(facts.tail).toMatch(/^beyond [\d.]+, of \d+ values$/)
    expect(facts.values).toBe('400')
  })

  test('holt-winters: level and season', () => {
    const values = Array.from({ length: 600 }, (_, i) => 100 + (i % 60 < 30 ? 0 : 40))
    const facts = factsOf('holt-winters', { season: '1h', slots: 2 }, values)
    const [, low, high] = /^from (-[\d.]+) to ([\d.]+), in 2 parts$/.exec(facts.season!)!
    expect(Number(high) - Number(low)).toBeGreaterThan(30)
    expect(Number(high) - Number(low)).toBeLessThan(45)
    expect(facts['warm-up']).toMatch(/^600 of \d+ values, 599 min of 60 min$/)
  })

  test('hour of the week: hours seen, the lowest and the highest', () => {
    const values = Array.from({ length: 5 * 12 }, (_, i) => Math.floor(i / 12))
    expect(factsOf('hour-of-week', {}, values, 5 * MINUTE_MS)).toMatchObject({
      hours: '5 of 168',
      means: 'from 0 to 4',
    })
  })

  test('pca: directions and what they leave over', () => {
    const detector = created('pca', { warmUp: '10m' }, ['a', 'b']) as VectorDetector
    const cells = new Float64Array(detector.width)
    for (let i = 0; i < 200; i++) {
      detector.values.set([i % 7, 2 * (i % 7) + (i % 3)])
      const timeMs = START_MS + i * MINUTE_MS
      const verdict = newVerdict()
      const value = detector.statistic(cells, 0, timeMs)
      detector.score(cells, 0, timeMs, value, verdict)
      detector.learn(cells, 0, timeMs, value, verdict)
    }
    const facts = told(detector, cells)
    expect(facts.directions).toBe('1')
    expect(facts.residual).toMatch(/^0\.\d+, normal up to [\d.]+$/)
  })

  test('peers: how many there were', () => {
    const detector = created('peers', { by: [], minPeers: 3 }) as PeersDetector
    const cells = new Float64Array(detector.width)
    detector.peers = Float64Array.of(1, 2, 3, 4)
    const verdict = newVerdict()
    detector.score(cells, 0, START_MS, 2, verdict)
    detector.learn(cells, 0, START_MS, 2, verdict)
    expect(told(detector, cells)).toEqual({ peers: '3' })
  })

  test('silence: the longest usual interval, and how far it is', () => {
    const facts = (options: unknown): Record<string, string> => {
      const detector = created('silence', options) as SilenceDetector
      const cells = new Float64Array(detector.width)
      for (const gapMs of [1_000, 3_000, 2_000]) detector.arrived(cells, 0, gapMs)
      return told(detector, cells)
    }
    expect(facts({ history: '1000d' })).toEqual({ longest: '3s', 'warm-up': '3 of 3 intervals, 6s of 2m' })
    expect(facts({ after: '1m' })).toEqual({ longest: expect.any(String) })
  })
})
