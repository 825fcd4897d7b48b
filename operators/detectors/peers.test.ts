import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { describeDetector } from '../testing/describe-detector.ts'
import { newVerdict, parsed } from '../testing/judge-series.ts'
import { peersPlugin } from './peers.ts'

describeDetector({
  plugin: peersPlugin,
  options: [
    {},
    { by: ['cluster'], threshold: 3, minPeers: 3, direction: 'down' },
    { minRelativeDeviation: 0 },
  ],
})

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const half = sorted.length >>> 1
  return sorted.length % 2 === 1 ? sorted[half]! : sorted[half - 1]! / 2 + sorted[half]! / 2
}

function judge(values: readonly number[], own: number, options: object = {}) {
  const detector = peersPlugin.create(parsed(peersPlugin, options)) as ReturnType<
    typeof peersPlugin.create
  > & { peers: Float64Array }
  detector.peers = new Float64Array(values).sort()
  const verdict = newVerdict()
  const cells = new Float64Array(1)
  detector.score(cells, 0, 0, values[own]!, verdict)
  detector.learn(cells, 0, 0, values[own]!, verdict)
  return { verdict, detector, cells }
}

test('is the distance from the others’ median in their median absolute deviations, whatever the values', () => {
  const value = fc.oneof(
    { weight: 4, arbitrary: fc.integer({ min: -5, max: 5 }) },
    { weight: 4, arbitrary: fc.double({ min: -1e3, max: 1e3, noNaN: true }) },
    { weight: 1, arbitrary: fc.constantFrom(1e12, -1e12, 0) },
  )
  fc.assert(
    fc.property(fc.array(value, { minLength: 5, maxLength: 40 }), fc.nat(), (values, pick) => {
      const own = pick % values.length
      const others = values.filter((_, i) => i !== own)
      const middle = median(others)
      const deviation = median(others.map((other) => Math.abs(other - middle)))
      const half = Math.max(6 * 1.4826 * deviation, 0.1 * Math.abs(middle), 1e-9)
      const { verdict } = judge(values, own)
      expect(verdict.peers).toBe(others.length)
      // Either zero.
      expect(verdict.expected + 0).toBe(middle + 0)
      expect(verdict.upper).toBeCloseTo(middle + half, 6)
      expect(verdict.score).toBe(Math.min(Math.abs(values[own]! - middle) / half, 1e6))
    }),
    { numRuns: 2_000 },
  )
})

describe('one group among others', () => {
  const cluster = [40, 41, 39, 42, 40.5, 38.7]

  test('that stands out fires, with a reason that names median, band and peers', () => {
    const { verdict, detector } = judge([...cluster, 91], 6)
    expect(verdict.score).toBeGreaterThan(1)
    expect(detector.reason('cpu', 91, verdict)).toBe(
      'cpu 91 is 5.705 times the normal deviation above the median 40.25 of its 6 peers (band 31.35 … 49.15)',
    )
  })

  test('is not judged with too few of them, and says that it starves', () => {
    const few = judge([40, 41, 39, 91], 3)
    expect(few.verdict.score).toBeNaN()
    expect(few.detector.health!(few.cells, 0, 0)).toBe('starved')
    const enough = judge([40, 41, 39, 40, 91], 4)
    expect(enough.verdict.score).toBeGreaterThan(1)
    expect(enough.detector.health!(enough.cells, 0, 0)).toBe('ok')
  })

  test('is normal when all of them move; who stays behind is not', () => {
    const all = cluster.map((value) => value + 300)
    for (let own = 0; own < all.length; own++) expect(judge(all, own).verdict.score).toBeLessThan(1)
    const nearly = [...all, 40]
    expect(judge(nearly, 6).verdict).toMatchObject({ direction: -1 })
    expect(judge(nearly, 6).verdict.score).toBeGreaterThan(1)
  })

  test('of equal ones is held to the floors', () => {
    expect(judge([50, 50, 50, 50, 50, 54], 5).verdict.score).toBeLessThan(1)
    expect(judge([50, 50, 50, 50, 50, 56], 5).verdict.score).toBeGreaterThan(1)
    expect(judge([50, 50, 50, 50, 50, 51], 5, { minRelativeDeviation: 0 }).verdict.score).toBeGreaterThan(1)
  })
})
