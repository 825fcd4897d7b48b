import { describeAggregate } from '../testing/describe-aggregate.ts'
import { momentsAccumulator } from './accumulators/moments.ts'
import { minPlugin } from './min.ts'

describeAggregate({
  plugin: minPlugin,
  accumulators: [momentsAccumulator],
  options: {},
  expected: (samples) => Math.min(...samples.map(({ value }) => value)),
})
