import { describeAggregate } from '../testing/describe-aggregate.ts'
import { momentsAccumulator } from './accumulators/moments.ts'
import { maxPlugin } from './max.ts'

describeAggregate({
  plugin: maxPlugin,
  accumulators: [momentsAccumulator],
  options: {},
  expected: (samples) => Math.max(...samples.map(({ value }) => value)),
})
