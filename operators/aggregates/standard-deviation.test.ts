import { describe, expect, it } from 'vitest'
import { cellsOf, describeAggregate, type Observed } from '../testing/describe-aggregate.ts'
import { momentsAccumulator } from './accumulators/moments.ts'
import { standardDeviationPlugin } from './standard-deviation.ts'

for (const of of ['population', 'sample'] as const) {
  describeAggregate({
    plugin: standardDeviationPlugin,
    accumulators: [momentsAccumulator],
    options: { of },
    expected: (samples) => twoPass(samples, of === 'sample' ? 1 : 0),
    // Squares of values below 1e-154 lose their digits near the smallest number there is.
    tolerance: (scale, count) => 1e-13 * scale * Math.sqrt(count) + 1e-160,
  })
}

function twoPass(samples: readonly Observed[], less: number): number {
  const mean = samples.reduce((sum, { value }) => sum + value, 0) / samples.length
  const squares = samples.reduce((sum, { value }) => sum + (value - mean) ** 2, 0)
  return samples.length - less <= 0 ? NaN : Math.sqrt(squares / (samples.length - less))
}

describe('standard deviation', () => {
  const deviation = standardDeviationPlugin.finish({ of: 'population' }, 'moments')
  const samplesOf = (values: readonly number[]): Observed[] =>
    values.map((value, i) => ({ timestampMs: i, value }))

  it('of a billion plus and minus one is one', () => {
    const values = Array.from({ length: 10_000 }, (_, i) => 1e9 + (i % 2 === 0 ? 1 : -1))
    expect(deviation(cellsOf(momentsAccumulator, samplesOf(values)), 0)).toBeCloseTo(1, 12)
  })

  it('of a billion plus and minus one is one over merged slices as well', () => {
    const slice = samplesOf(Array.from({ length: 60 }, (_, i) => 1e9 + (i % 2 === 0 ? 1 : -1)))
    const cells = cellsOf(momentsAccumulator, slice)
    for (let i = 0; i < 1_000; i++) momentsAccumulator.merge(cells, 0, cellsOf(momentsAccumulator, slice), 0)
    expect(deviation(cells, 0)).toBeCloseTo(1, 12)
  })

  it('keeps eight digits when the first of ten thousand values is far from all others', () => {
    const values = [0, ...Array.from({ length: 9_999 }, (_, i) => 1e9 + (i % 2 === 0 ? 1 : -1))]
    const wanted = twoPass(samplesOf(values), 0)
    const actual = deviation(cellsOf(momentsAccumulator, samplesOf(values)), 0)
    expect(Math.abs(actual / wanted - 1)).toBeLessThan(1e-8)
  })

  it('of a constant is exactly 0, merged or not', () => {
    const cells = cellsOf(momentsAccumulator, samplesOf([0.1, 0.1, 0.1]))
    momentsAccumulator.merge(cells, 0, cellsOf(momentsAccumulator, samplesOf([0.1, 0.1])), 0)
    expect(deviation(cells, 0)).toBe(0)
  })

  it('of a single sample is 0 as a population and unknown as a sample', () => {
    const cells = cellsOf(momentsAccumulator, samplesOf([5]))
    expect(deviation(cells, 0)).toBe(0)
    expect(standardDeviationPlugin.finish({ of: 'sample' }, 'moments')(cells, 0)).toBeNaN()
  })
})
