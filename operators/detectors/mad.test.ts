import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Prng } from '../../engine/util/prng.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { judgeSeries } from '../testing/judge-series.ts'
import { madPlugin } from './mad.ts'

describeDetector({
  plugin: madPlugin,
  lead: 60,
  options: [
    {},
    { values: 8, threshold: 3, minDeviation: 0, minRelativeDeviation: 0 },
    { values: 33, direction: 'down' },
  ],
})

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

test('median and deviation are those of the last values, sorted anew each time', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 8, max: 40 }),
      fc.array(fc.integer({ min: -20, max: 20 }), { maxLength: 120 }),
      (values, list) => {
        const floors = { minDeviation: 0, minRelativeDeviation: 0 }
        const judge = judgeSeries(madPlugin, { values, threshold: 2, ...floors })
        list.forEach((value, i) => {
          const window = list.slice(Math.max(0, i - values), i)
          const verdict = judge.next(value)
          if (2 * window.length < values) {
            expect(verdict.score).toBeNaN()
            return
          }
          const middle = median(window)
          const deviation = median(window.map((other) => Math.abs(other - middle)))
          expect(verdict.expected).toBeCloseTo(middle, 12)
          expect(verdict.upper - verdict.expected).toBeCloseTo(2 * 1.4826 * deviation, 9)
        })
      },
    ),
  )
})

test('up to half of the values may be anything at all', () => {
  const prng = new Prng(3)
  const judge = judgeSeries(madPlugin, { values: 60 })
  const last = judge.run(300, (i) => (i % 3 === 0 ? 1e6 : 100 + prng.normal())).at(-2)!
  expect(last.expected).toBeCloseTo(100, -0.5)
  expect(last.score).toBeLessThanOrEqual(1)
})

test('a constant series does not alarm on a tiny change', () => {
  const judge = judgeSeries(madPlugin, {})
  judge.run(100, () => 50)
  expect(judge.next(51).score).toBeLessThan(1)
  expect(judge.next(60).score).toBeGreaterThan(1)
})

test('a new level is normal once it fills half of the window', () => {
  const judge = judgeSeries(madPlugin, { values: 40 })
  judge.run(100, (i) => 10 + (i % 3))
  const shifted = judge.run(60, (i) => 90 + (i % 3))
  expect(shifted[10]!.score).toBeGreaterThan(1)
  expect(shifted.at(-1)!.score).toBeLessThanOrEqual(1)
})
