import { describeAggregate } from '../testing/describe-aggregate.ts'
import { momentsAccumulator } from './accumulators/moments.ts'
import { tallyAccumulator } from './accumulators/tally.ts'
import { meanPlugin } from './mean.ts'

describeAggregate({
  plugin: meanPlugin,
  accumulators: [tallyAccumulator, momentsAccumulator],
  options: {},
  expected: (samples) => samples.reduce((sum, { value }) => sum + value, 0) / samples.length,
  tolerance: (scale, count) => 1e-15 * count * scale,
})
