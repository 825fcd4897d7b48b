import { describe, expect, expectTypeOf, test } from 'vitest'
import { describeFault, type Fault } from '../contract/errors.ts'
import type { OptionSpec } from '../contract/plugins.ts'
import {
  bytes,
  duration,
  flag,
  integer,
  noOptions,
  number,
  type OptionInputOf,
  type OptionsOf,
  oneOf,
  optionSpec,
  text,
  texts,
  url,
} from './options.ts'

const spec = optionSpec(
  {
    threshold: { type: number({ above: 0 }), default: 6, meaning: 'band edge' },
    history: { type: duration({ minMs: 1_000 }), default: '1h', meaning: 'how far back' },
    limit: { type: bytes(), optional: true, meaning: 'at most this much' },
    direction: { type: oneOf('up', 'down', 'both'), default: 'both', meaning: 'which side' },
    count: { type: integer({ min: 1, max: 10 }), meaning: 'how many' },
  },
  (options, place, faults) => {
    if (options.count > options.threshold) {
      faults.push({
        place: `${place}.count`,
        value: options.count,
        problem: 'is too high',
        remedy: 'Lower it.',
      })
    }
  },
)

function parse<O>(of: OptionSpec<O>, input: unknown): { options: O | undefined; faults: Fault[] } {
  const faults: Fault[] = []
  return { options: of.parse(input, 'p.detect', faults), faults }
}

describe('optionSpec', () => {
  test('fills defaults and turns durations into ms under a name that says so', () => {
    expect(parse(spec, { count: 2 })).toEqual({
      options: { threshold: 6, historyMs: 3_600_000, limitBytes: undefined, direction: 'both', count: 2 },
      faults: [],
    })
  })

  test('types what is parsed and what is written', () => {
    expectTypeOf<OptionsOf<typeof spec>>().toEqualTypeOf<{
      readonly threshold: number
      readonly historyMs: number
      readonly limitBytes: number | undefined
      readonly direction: 'up' | 'down' | 'both'
      readonly count: number
    }>()
    expectTypeOf<OptionInputOf<typeof spec>>().toEqualTypeOf<{
      readonly count: number
      readonly threshold?: number | undefined
      readonly history?: string | number | undefined
      readonly limit?: string | number | undefined
      readonly direction?: 'up' | 'down' | 'both' | undefined
    }>()
  })

  test('collects every fault with place, value and remedy', () => {
    const { options, faults } = parse(spec, { treshold: 3, history: '10', direction: 'left', count: 11 })
    expect(options).toBeUndefined()
    expect(faults.map(describeFault)).toEqual([
      'p.detect.treshold: is no known option (got 3). Did you mean "threshold"? Known: count, direction, history, limit, threshold.',
      'p.detect.history: has no unit (got "10"). Write a duration such as "500ms", "5s", "1h30m" or "7d", or a number of milliseconds.',
      'p.detect.direction: is not one of the choices (got "left"). Write one of "up", "down", "both".',
      'p.detect.count: is out of bounds (got 11). Write a whole number from 1 to 10.',
    ])
  })

  test('names a missing option and what it means', () => {
    expect(parse(spec, {}).faults.map(describeFault)).toEqual([
      'p.detect.count: is missing (got nothing). Write a whole number from 1 to 10: how many.',
    ])
  })

  test('checks how options go together only once each is fine', () => {
    expect(parse(spec, { count: 7 }).faults.map((fault) => fault.problem)).toEqual(['is too high'])
    expect(parse(spec, { count: 7, threshold: -1 }).faults.map((fault) => fault.problem)).toEqual([
      'is out of bounds',
    ])
  })

  test.each([[null], [5], ['1h'], [[]]])('refuses %j in place of an object', (input) => {
    expect(parse(spec, input).faults).toHaveLength(1)
  })

  test('a plug-in without options refuses any', () => {
    expect(parse(noOptions, undefined)).toEqual({ options: {}, faults: [] })
    expect(parse(noOptions, { a: 1 }).faults[0]!.remedy).toBe('It takes no options.')
  })

  test('options named like members of Object are unknown, not found by inheritance', () => {
    expect(parse(noOptions, { toString: 1, constructor: 2 }).faults).toHaveLength(2)
  })

  test('help has one line an option, with the default as written', () => {
    expect(spec.help[1]).toEqual({
      name: 'history',
      type: 'duration',
      default: '1h',
      meaning: 'how far back',
    })
    expect(spec.help[4]).toEqual({
      name: 'count',
      type: 'whole number from 1 to 10',
      meaning: 'how many',
    })
  })

  test('a default that its own type refuses is a programmer error', () => {
    expect(() => optionSpec({ a: { type: duration(), default: '1x', meaning: 'x' } })).toThrow(
      /default of an option/,
    )
  })
})

describe('option types', () => {
  const one = optionSpec({
    url: { type: url('http', 'https'), optional: true, meaning: 'target' },
    headers: { type: texts(), optional: true, meaning: 'headers' },
    on: { type: flag(), optional: true, meaning: 'on' },
    name: { type: text(), optional: true, meaning: 'name' },
    number: { type: number(), optional: true, meaning: 'number' },
    ring: { type: bytes({ powerOfTwo: true }), optional: true, meaning: 'ring' },
    short: { type: duration({ maxMs: 1_000 }), optional: true, meaning: 'short' },
  })
  test.each([
    { url: 'http://127.0.0.1:1/x' },
    { headers: { a: 'b' } },
    { on: false },
    { name: 'x' },
    { number: -1.5 },
    { short: '1s' },
    { ring: '16MiB' },
  ])('accepts %j', (input) => {
    expect(parse(one, input).faults).toEqual([])
  })
  test.each([
    { url: 'ftp://x' },
    { url: 'nonsense' },
    { headers: { a: 1 } },
    { on: 'yes' },
    { name: '' },
    { number: Number.NaN },
    { number: Number.POSITIVE_INFINITY },
    { number: '5' },
    { short: '1001ms' },
    { ring: '16MB' },
    { ring: 0 },
  ])('refuses %j with one fault', (input) => {
    expect(parse(one, input).faults).toHaveLength(1)
  })
})
