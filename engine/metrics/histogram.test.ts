import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HISTOGRAM_CELLS, observeSeconds, QUANTILE_ERROR, quantileSeconds, summarize } from './histogram.ts'

const MICRO = 1e-6
/** Of `seconds * 1e6`, before it is rounded up to whole microseconds. */
const ROUNDING = 1e-9

/** Durations over the whole range, spread evenly over powers of two. */
const duration = fc.double({ min: -20, max: 11, noNaN: true }).map((log2) => 2 ** log2)

function histogramOf(values: readonly number[]): Float64Array {
  const cells = new Float64Array(HISTOGRAM_CELLS)
  for (const value of values) observeSeconds(cells, 0, value)
  return cells
}

describe('log-linear histogram', () => {
  it('gives quantiles within the stated error of the exact ones', () => {
    fc.assert(
      fc.property(
        fc.array(duration, { minLength: 1, maxLength: 200 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (values, q) => {
          const sorted = Float64Array.from(values).sort()
          const exact = sorted[Math.max(1, Math.ceil(q * values.length)) - 1]!
          const got = quantileSeconds(histogramOf(values), 0, q)
          expect(Math.abs(got - exact)).toBeLessThanOrEqual(exact * QUANTILE_ERROR * (1 + ROUNDING) + MICRO)
        },
      ),
    )
  })

  it('counts by upper bound exactly, bounds included', () => {
    fc.assert(
      fc.property(fc.array(duration, { maxLength: 200 }), (values) => {
        const summary = summarize(histogramOf(values), 0)
        expect(summary.count).toBe(values.length)
        for (const { leSeconds, count } of summary.buckets) {
          expect(count).toBe(
            values.filter((value) => Math.ceil(value * 1e6) <= Math.round(leSeconds * 1e6)).length,
          )
        }
      }),
    )
    const atBound = summarize(histogramOf([64 * MICRO]), 0)
    expect(atBound.buckets.find(({ leSeconds }) => leSeconds === 64 * MICRO)?.count).toBe(1)
    expect(atBound.buckets.find(({ leSeconds }) => leSeconds === 32 * MICRO)?.count).toBe(0)
  })

  it('merges by adding cells', () => {
    fc.assert(
      fc.property(
        fc.array(duration, { maxLength: 50 }),
        fc.array(duration, { maxLength: 50 }),
        (left, right) => {
          const sum = histogramOf(left).map((cell, i) => cell + histogramOf(right)[i]!)
          expect(summarize(sum, 0).buckets).toEqual(summarize(histogramOf([...left, ...right]), 0).buckets)
        },
      ),
    )
  })

  it('keeps zero, negative and endless durations inside its cells', () => {
    const cells = histogramOf([0, -1, 1e9])
    expect(summarize(cells, 0).count).toBe(3)
    expect(quantileSeconds(cells, 0, 0)).toBeLessThanOrEqual(MICRO)
    expect(quantileSeconds(cells, 0, 1)).toBeGreaterThan(2000)
  })

  it('has no quantile without observations', () => {
    expect(quantileSeconds(new Float64Array(HISTOGRAM_CELLS), 0, 0.5)).toBeNaN()
  })
})
