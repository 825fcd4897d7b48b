/**
 * Standard deviation of the values in a window. By default of the population (divided by the count, as Prometheus'
 * stddev_over_time); `of: 'sample'` divides by the count less one and is NaN for a single sample.
 */
import { type OptionInputOf, type OptionsOf, oneOf, optionSpec } from '../../engine/config/options.ts'
import { type Aggregate, DEFINITION } from '../../engine/contract/definition.ts'
import type { AggregatePlugin, FinishRows } from '../../engine/contract/plugins.ts'
import { MOMENTS, MOMENTS_CELLS, squaredDeviations } from './accumulators/moments.ts'

const options = optionSpec({
  of: {
    type: oneOf('population', 'sample'),
    default: 'population',
    meaning: 'whether to divide by the count, or by the count less one',
  },
})

/** Standard deviation of the values.
 *
 *     .window(tumbling('1m'), { spread: standardDeviation() })
 *     .window(tumbling('1m'), { spread: standardDeviation({ of: 'sample' }) })
 */
export function standardDeviation(written: OptionInputOf<typeof options> = {}): Aggregate {
  return { [DEFINITION]: { what: 'aggregate', kind: 'standardDeviation', options: written } }
}

export const standardDeviationPlugin: AggregatePlugin<OptionsOf<typeof options>> = {
  kind: 'standardDeviation',
  summary: 'standard deviation of the values, of the population or of a sample',
  options,
  accumulators: [MOMENTS],
  finish: ({ of }) => (of === 'sample' ? ofSample : ofPopulation),
  finishRows: ({ of }) => (of === 'sample' ? ofSampleRows : ofPopulationRows),
}

function ofPopulation(cells: Float64Array, at: number): number {
  return Math.sqrt(squaredDeviations(cells, at) / cells[at + MOMENTS_CELLS.count]!)
}

function ofSample(cells: Float64Array, at: number): number {
  const count = cells[at + MOMENTS_CELLS.count]!
  return count < 2 ? NaN : Math.sqrt(squaredDeviations(cells, at) / (count - 1))
}

/** hot */
const ofPopulationRows: FinishRows = (cells, base, strideShift, rows, from, to, into, intoAt) => {
  for (let j = from; j < to; j++) into[intoAt + j] = ofPopulation(cells, base + (rows[j]! << strideShift))
}

/** hot */
const ofSampleRows: FinishRows = (cells, base, strideShift, rows, from, to, into, intoAt) => {
  for (let j = from; j < to; j++) into[intoAt + j] = ofSample(cells, base + (rows[j]! << strideShift))
}
