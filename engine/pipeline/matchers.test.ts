import { describe, expect, test } from 'vitest'
import type { Fault } from '../contract/errors.ts'
import { not } from './builder.ts'
import { compileMatcher, labelTest } from './matchers.ts'

function keeps(condition: unknown, value: string | undefined): boolean {
  const faults: Fault[] = []
  const matcher = compileMatcher('host', condition, 'p.where.host', faults)
  expect(faults).toEqual([])
  return labelTest([matcher!])(value === undefined ? {} : { host: value })
}

describe('conditions of where', () => {
  test.each([
    ['a', 'a', true],
    ['a', 'b', false],
    ['a', undefined, false],
    ['', undefined, true],
    [not('a'), 'a', false],
    [not('a'), undefined, true],
    [['a', 'b'], 'b', true],
    [['a', 'b'], 'c', false],
    [not(['a.', 'b|c']), 'a.', false],
    [not(['a.', 'b|c']), 'ax', true],
    [not(['a.', 'b|c']), 'b', true],
    [not(['a.', 'b|c']), 'b|c', false],
    [/a|b/, 'b', true],
    [/a|b/, 'bc', false],
    [/a.*/, 'xa', false],
    [not(/a.*/), 'abc', false],
    [/.*/, undefined, true],
    [/.+/, undefined, false],
  ])('%o keeps %j: %s', (condition, value, kept) => {
    expect(keeps(condition, value)).toBe(kept)
  })

  test('every condition must hold', () => {
    const test = labelTest([
      { label: 'a', op: '=', value: 'x' },
      { label: 'b', op: '!=', value: 'y' },
    ])
    expect([test({ a: 'x' }), test({ a: 'x', b: 'y' }), test({ b: 'z' })]).toEqual([true, false, false])
  })

  test.each([[5], [null], [[]], [['a', 5]], [/a/i], [/a/g], [not(not('a') as never)], [{}]])(
    '%o is refused',
    (condition) => {
      const faults: Fault[] = []
      expect(compileMatcher('host', condition, 'p', faults)).toBeNull()
      expect(faults).toHaveLength(1)
    },
  )

  test('a pattern that only compiles with flags is refused, not changed in meaning', () => {
    const faults: Fault[] = []
    compileMatcher('host', /\p{L}+/u, 'p', faults)
    expect(faults[0]?.problem).toBe('has flags, which a plan does not keep')
  })

  test.each([[''], [' a'], ['a\n'], ['a\u0000b'], ['x'.repeat(201)]])('%j is no label', (label) => {
    const faults: Fault[] = []
    expect(compileMatcher(label, 'a', 'p', faults)).toBeNull()
    expect(faults).toHaveLength(1)
  })
})
