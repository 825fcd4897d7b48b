import { describe, expect, it } from 'vitest'
import { cellsOf, describeAggregate, type Observed } from '../testing/describe-aggregate.ts'
import { rateAccumulator } from './accumulators/rate.ts'
import { ratePlugin } from './rate.ts'

describeAggregate({
  plugin: ratePlugin,
  accumulators: [rateAccumulator],
  options: {},
  expected: perSecond,
  tolerance: (scale, count) => 1e-12 * count * scale,
})

function perSecond(samples: readonly Observed[]): number {
  let increase = 0
  for (let i = 1; i < samples.length; i++) {
    const [before, after] = [samples[i - 1]!.value, samples[i]!.value]
    increase += after < before ? after : after - before
  }
  const spanMs = samples.at(-1)!.timestampMs - samples[0]!.timestampMs
  return spanMs > 0 ? increase / (spanMs / 1000) : NaN
}

describe('rate', () => {
  const rate = ratePlugin.finish({}, 'rate')
  const of = (...pairs: readonly (readonly [seconds: number, value: number])[]): number =>
    rate(
      cellsOf(
        rateAccumulator,
        pairs.map(([seconds, value]) => ({ timestampMs: seconds * 1_000, value })),
      ),
      0,
    )

  it('counts what a counter gained before and after it was reset', () => {
    expect(of([0, 100], [10, 160], [20, 20], [30, 50])).toBe((60 + 20 + 30) / 30)
  })

  it('is not a number for a single sample, nor for several at one time', () => {
    expect(of([0, 100])).toBeNaN()
    expect(of([5, 100], [5, 130])).toBeNaN()
  })

  it('takes a sample that comes late but is the oldest', () => {
    expect(of([10, 160], [20, 200], [0, 100])).toBe(5)
  })

  it('is the same with and without a late sample of a counter that only grew', () => {
    expect(of([0, 100], [20, 200], [10, 160])).toBe(of([0, 100], [20, 200]))
  })

  it('ignores a second value at a time that has one', () => {
    expect(of([0, 100], [10, 150], [10, 120], [0, 90])).toBe(5)
  })
})
