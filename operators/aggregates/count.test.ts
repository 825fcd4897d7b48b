import { describeAggregate } from '../testing/describe-aggregate.ts'
import { momentsAccumulator } from './accumulators/moments.ts'
import { rateAccumulator } from './accumulators/rate.ts'
import { tallyAccumulator } from './accumulators/tally.ts'
import { countPlugin } from './count.ts'

describeAggregate({
  plugin: countPlugin,
  accumulators: [tallyAccumulator, momentsAccumulator, rateAccumulator],
  options: {},
  expected: (samples) => samples.length,
})
