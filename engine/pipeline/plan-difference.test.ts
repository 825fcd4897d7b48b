import { describe, expect, test } from 'vitest'
import type { PipelinePlan } from '../contract/plan.ts'
import { pipeline, topic } from './builder.ts'
import { compilePlan } from './plan.ts'
import { planDifference, planHash } from './plan-difference.ts'
import { aggregate, bound, sink, testRegistry, tumbling } from './test-registry.ts'

const start = pipeline('p').from(topic('t'))
const base = start
  .window(tumbling('1m'), { mean: aggregate('mean') })
  .detect('mean', bound({ above: 1 }), { name: 'd' })

function plan(definition: unknown): PipelinePlan {
  const { plan, faults } = compilePlan(definition, testRegistry, '')
  expect(faults).toEqual([])
  return plan!
}

describe('a changed plan', () => {
  test('nothing changed', () => {
    expect(planDifference(plan(base), plan(base))).toEqual([])
    expect(planHash(plan(base))).toBe(planHash(JSON.parse(JSON.stringify(plan(base)))))
  })

  test('sinks and their names do not matter for state', () => {
    const before = plan(base.to(sink('print')))
    const after = plan(base.to(sink('print'), { name: 'other', of: 'results' }))
    expect(planHash(before)).toBe(planHash(after))
    const changes = planDifference(before, after)
    expect(changes.length).toBeGreaterThan(0)
    expect(changes.every((change) => !change.affectsState)).toBe(true)
  })

  test.each([
    ['where', base.where({ a: 'b' }), 'where'],
    [
      'the topic',
      pipeline('p')
        .from(topic('u'))
        .window(tumbling('1m'), { mean: aggregate('mean') })
        .detect('mean', bound({ above: 1 }), { name: 'd' }),
      'topic.name',
    ],
    ['disorder', base.disorder('6s'), 'disorderMs'],
    ['idle', base.idle('16s'), 'idleMs'],
    [
      'an option of a detector',
      start
        .window(tumbling('1m'), { mean: aggregate('mean') })
        .detect('mean', bound({ above: 2 }), { name: 'd' }),
      'detectors.d.options.above',
    ],
    [
      'hold',
      start
        .window(tumbling('1m'), { mean: aggregate('mean') })
        .detect('mean', bound({ above: 1 }), { name: 'd', hold: 1 }),
      'detectors.d.holdMs',
    ],
    [
      'an aggregate',
      start
        .window(tumbling('1m'), { mean: aggregate('count') })
        .detect('mean', bound({ above: 1 }), { name: 'd' }),
      'aggregates.mean.kind',
    ],
  ])('%s matters for state and is named', (_, changed, path) => {
    const changes = planDifference(plan(base), plan(changed))
    expect(changes.map((change) => change.path)).toContain(path)
    expect(changes.every((change) => change.affectsState)).toBe(true)
    expect(planHash(plan(base))).not.toBe(planHash(plan(changed)))
  })

  test('the order of columns matters', () => {
    const one = start.window(tumbling('1m'), { a: aggregate('mean'), b: aggregate('mean') })
    const two = start.window(tumbling('1m'), { b: aggregate('mean'), a: aggregate('mean') })
    expect(planDifference(plan(one), plan(two)).map((change) => change.text)).toEqual([
      'aggregates was ["a","b"], is now ["b","a"]',
    ])
    expect(planHash(plan(one))).not.toBe(planHash(plan(two)))
  })

  test('detectors that remember in another way are named, whatever else is as it was', () => {
    const detecting = plan(
      start
        .window(tumbling('1m'), { mean: aggregate('mean') })
        .detect('mean', bound({ above: 1 }), { name: 'd' }),
    )
    const detectors = detecting.detectors.map((detector) => ({ ...detector, cellsVersion: 2 }))
    const [change, ...others] = planDifference(detecting, { ...detecting, detectors })
    expect(others).toEqual([])
    expect(change).toMatchObject({ path: 'detectors.d.cellsVersion', affectsState: true })
    expect(change!.text).toBe(
      'd: another version of millrace remembers series in another way (state 1, now 2)',
    )
    // Where it is another detector altogether, that is said, and not this.
    const other = detectors.map((detector) => ({ ...detector, kind: 'other' }))
    expect(planDifference(detecting, { ...detecting, detectors: other }).map(({ path }) => path)).toEqual([
      'detectors.d.kind',
    ])
  })

  test('says in words what was, what is, what is new and what is gone', () => {
    const longer = start.window(tumbling('2m'), { mean: aggregate('mean') })
    const texts = planDifference(plan(base), plan(longer)).map((change) => change.text)
    expect(texts).toContain('window.sizeMs was 60000, is now 120000')
    expect(texts).toContain('detectors.d.kind is gone; it was "bound"')
    expect(planDifference(plan(longer), plan(base)).map((change) => change.text)).toContain(
      'detectors.d.kind is new: "bound"',
    )
  })
})
