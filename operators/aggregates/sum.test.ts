import { describeAggregate } from '../testing/describe-aggregate.ts'
import { momentsAccumulator } from './accumulators/moments.ts'
import { tallyAccumulator } from './accumulators/tally.ts'
import { sumPlugin } from './sum.ts'

describeAggregate({
  plugin: sumPlugin,
  accumulators: [tallyAccumulator, momentsAccumulator],
  options: {},
  expected: (samples) => samples.reduce((sum, { value }) => sum + value, 0),
  tolerance: (scale, count) => 1e-15 * count * count * scale,
})
