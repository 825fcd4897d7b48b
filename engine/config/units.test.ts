import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { nearest } from './did-you-mean.ts'
import { DURATION_MS_MAX, durationMs, durationText, readBytes, readDurationMs } from './units.ts'

describe('durations', () => {
  test.each([
    ['500ms', 500],
    ['5s', 5_000],
    ['1h30m', 5_400_000],
    ['7d', 604_800_000],
    ['1w', 604_800_000],
    ['1.5h', 5_400_000],
    ['1.1s', 1_100],
    [' 1m ', 60_000],
    ['0', 0],
    ['0s', 0],
    [250, 250],
  ])('%j is %d ms', (value, ms) => {
    expect(readDurationMs(value)).toEqual({ value: ms })
  })

  test.each([
    ['', 'is not a duration'],
    ['abc', 'is not a duration'],
    ['-5s', 'is not a duration'],
    ['5 s', 'is not a duration'],
    ['5S', 'is not a duration'],
    ['1e3s', 'is not a duration'],
    ['100', 'has no unit'],
    ['1m1h', 'does not go from large units to small ones'],
    ['1h1h', 'does not go from large units to small ones'],
    ['0.5ms', 'is not a whole number of milliseconds'],
    [-1, 'is negative'],
    [0.25, 'is not a whole number of milliseconds'],
    [Number.NaN, 'is not finite'],
    ['40000d', 'is longer than a century'],
    [null, 'is not a duration'],
    [true, 'is not a duration'],
  ])('%j %s', (value, problem) => {
    expect(readDurationMs(value)).toEqual({ problem })
  })

  test('what is written is what is read', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: DURATION_MS_MAX }), (ms) => {
        expect(readDurationMs(durationText(ms))).toEqual({ value: ms })
      }),
    )
  })

  test('durationMs throws one error that names place, value and what is allowed', () => {
    expect(() => durationMs('soon', '--linger')).toThrow(
      /--linger: is not a duration \(got "soon"\)\. Write a duration such as "500ms"/,
    )
  })
})

describe('sizes', () => {
  test.each([
    ['10GB', 1e10],
    ['64MiB', 67_108_864],
    ['1.5 kB', 1_500],
    ['100B', 100],
    [4_096, 4_096],
  ])('%j is %d bytes', (value, size) => {
    expect(readBytes(value)).toEqual({ value: size })
  })
  test.each([['10'], ['10 XB'], ['GB'], [-1], [1.5], [Number.NaN], [null], ['99999999TB']])(
    '%j is refused',
    (value) => {
      expect(readBytes(value)).toHaveProperty('problem')
    },
  )
})

describe('did you mean', () => {
  test.each([
    ['treshold', 'threshold'],
    ['HISTORY', 'history'],
    ['hsitory', 'history'],
    ['zzz', null],
  ])('%s: %s', (word, meant) => {
    expect(nearest(word, ['history', 'threshold', 'url'])).toBe(meant)
  })
})
