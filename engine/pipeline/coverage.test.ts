import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { LabelMatcher } from '../contract/plan.ts'
import { groupKey, partitionOf } from '../series/series-key.ts'
import { isCovered } from './coverage.ts'

const pinned = (label: string): LabelMatcher => ({ label, op: '=', value: 'v' })

function covered(
  partitionBy: string[] | null,
  groupBy: string[] | null,
  where: LabelMatcher[] = [],
  partitions = 16,
) {
  return isCovered({ name: 't', partitions, partitionBy }, where, groupBy)
}

describe('groups lie in one partition each', () => {
  test.each([
    [null, null, [], true],
    [null, ['a'], [], false],
    [['a'], ['a'], [], true],
    [['a'], ['b', 'a'], [], true],
    [['a', 'b'], ['a'], [], false],
    [['a', 'b'], ['a'], [pinned('b')], true],
    [['a'], ['b'], [{ label: 'a', op: 'in', value: ['x', 'y'] } as LabelMatcher], false],
    [['a'], [], [pinned('a')], true],
    [['a'], null, [], true],
    [null, [], [pinned('a')], false],
  ])('partitionBy %j, groupBy %j, where %j: %s', (partitionBy, groupBy, where, expected) => {
    expect(covered(partitionBy, groupBy, where)).toBe(expected)
  })

  test('one partition covers everything', () => {
    expect(covered(null, ['a'], [], 1)).toBe(true)
  })

  test('whatever is called covered puts equal groups into equal partitions', () => {
    const label = fc.constantFrom('a', 'b', 'c')
    const labels = fc.uniqueArray(label, { minLength: 1 })
    const series = fc.record({
      __name__: fc.constant('m'),
      a: fc.constantFrom('', 'x', 'y'),
      b: fc.constantFrom('x', 'y'),
      c: fc.constantFrom('x', 'z'),
    })
    fc.assert(
      fc.property(
        labels,
        fc.option(labels),
        fc.option(label),
        fc.array(series, { minLength: 2, maxLength: 20 }),
        (partitionBy, groupBy, pin, all) => {
          const where: LabelMatcher[] = pin === null ? [] : [{ label: pin, op: '=', value: 'x' }]
          if (!covered(partitionBy, groupBy, where)) return
          const kept = all.filter((one) => pin === null || one[pin] === 'x')
          const partitionByGroup = new Map<string, number>()
          for (const one of kept) {
            const key = groupKey(one, groupBy).join()
            const partition = partitionOf(one, partitionBy, 16)
            expect(partitionByGroup.get(key) ?? partition).toBe(partition)
            partitionByGroup.set(key, partition)
          }
        },
      ),
    )
  })
})
