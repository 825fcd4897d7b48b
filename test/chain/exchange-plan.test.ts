/** When a pipeline has an exchange, how a person is told, and what it refuses. */
import { expect, test } from 'vitest'
import { planText } from '../../cli/plan-text.ts'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import { ownerStream, partialStream, resultStreams, storedStreams } from '../../engine/contract/streams.ts'
import { pipeline, topic } from '../../engine/pipeline/builder.ts'
import { compilePlan } from '../../engine/pipeline/plan.ts'
import { planDifference, planHash } from '../../engine/pipeline/plan-difference.ts'
import { count, last, mean, rate, sum, tumbling } from '../../index.ts'
import { registry } from '../../operators/registry.ts'

const base = pipeline('p').from(topic('t', { partitions: 4, partitionBy: ['host'] }))

function plan(definition: unknown): PipelinePlan {
  const compiled = compilePlan(definition, registry, '')
  expect(compiled.faults).toEqual([])
  return compiled.plan!
}

const spread = base.groupBy('region').window(tumbling('1m'), { mean: mean(), last: last() })
const covered = base.groupBy('host').window(tumbling('1m'), { mean: mean(), last: last() })

test('groups that the partition key does not cover make an exchange of a fixed number of owners', () => {
  expect(plan(spread).exchange).toEqual({ buckets: 4 })
  const wide = pipeline('p')
    .from(topic('t', { partitions: 64 }))
    .groupBy('region')
  expect(plan(wide.window(tumbling('1m'), { n: count() })).exchange).toEqual({ buckets: 8 })
  expect(plan(base.groupBy().window(tumbling('1m'), { n: count() })).exchange).toEqual({ buckets: 4 })
})

test('covered groups have none, and the plan they always had', () => {
  for (const definition of [covered, base.window(tumbling('1m'), { mean: mean() })]) {
    expect(Object.keys(plan(definition))).not.toContain('exchange')
  }
})

test('streams are numbered: partitions, owners, then what partitions send to owners', () => {
  const { exchange, ...whole } = plan(spread)
  expect(exchange).toBeDefined()
  expect([resultStreams(whole), storedStreams(whole)]).toEqual([4, 4])
  expect([resultStreams(plan(spread)), storedStreams(plan(spread))]).toEqual([8, 12])
  expect([ownerStream(plan(spread), 3), partialStream(plan(spread), 0)]).toEqual([7, 8])
})

test('a change between the two is named, and is one that state does not survive', () => {
  const changes = planDifference(plan(covered), plan(spread))
  expect(changes.map(({ path }) => path)).toEqual(['groupBy', 'exchange.buckets'])
  expect(changes.every(({ affectsState }) => affectsState)).toBe(true)
  expect(changes[1]!.text).toContain('spread over')
  expect(planDifference(plan(spread), plan(covered)).at(-1)!.text).toContain('in one each now')
  expect(planHash(plan(covered))).not.toBe(planHash(plan(spread)))
})

test('an aggregate that needs its samples in order is refused, with what to declare', () => {
  const { faults } = compilePlan(
    base.groupBy('region').window(tumbling('1m'), { r: rate(), total: sum() }),
    registry,
    '',
  )
  expect(faults).toEqual([
    {
      place: 'p.window.r',
      value: 'rate',
      problem:
        'rate needs the samples of a group in order of time, and the groups are spread over partitions: ' +
        'topic "t" is partitioned by host',
      remedy: 'Declare topic("t", { partitionBy: ["region"] }), or leave groupBy out to group by series.',
    },
  ])
  const whole = base.groupBy().window(tumbling('1m'), { r: rate() })
  expect(compilePlan(whole, registry, '').faults[0]!.remedy).toMatch(/partitions: 1/)
})

test('the plan’s text says that there are two phases', () => {
  expect(planText(plan(spread))).toContain(
    '  exchange  groups are spread over partitions: two phases, slices merged by 4 owners\n',
  )
  expect(planText(plan(covered))).not.toContain('exchange')
})
