import { describe, expect, test } from 'vitest'
import {
  bytes,
  count,
  duration,
  groupKey,
  groupText,
  labels,
  moment,
  number,
  share,
  span,
} from './browser/format.ts'

describe('texts of the page', () => {
  test.each([
    [null, '–'],
    [Number.NaN, '–'],
    [0, '0'],
    [0.000012, '1.2e-5'],
    [0.123456, '0.123'],
    [-12.345, '-12.3'],
    [999.4, '999'],
    [999.9, '1 k'],
    [1_234, '1.23 k'],
    [999_999, '1 M'],
    [5.2e9, '5.2 G'],
  ])('number %j is %j', (value, text) => {
    expect(number(value)).toBe(text)
  })

  test('counts are whole while they are short', () => {
    expect([count(9_876), count(12_345), count(null)]).toEqual(['9,876', '12.3 k', '–'])
  })

  test('sizes, shares and times have their units', () => {
    expect([bytes(999), bytes(18_000), bytes(null)]).toEqual(['999 B', '18 kB', '–'])
    expect([share(0), share(0.00001), share(0.0123), share(1.5), share(null)]).toEqual([
      '0 %',
      '<0.01 %',
      '1.23 %',
      '150 %',
      '–',
    ])
    expect([duration(250), duration(9_940), duration(90_000), duration(600_000), duration(null)]).toEqual([
      '250 ms',
      '9.9 s',
      '90 s',
      '10 min',
      '–',
    ])
    expect([span(250), span(10_000), span(90_000), span(3_600_000), span(86_400_000)]).toEqual([
      '250ms',
      '10s',
      '90s',
      '1h',
      '1d',
    ])
  })

  test('times of another day have their date', () => {
    const at = new Date(2026, 0, 9, 7, 5, 3).getTime()
    expect(moment(at, new Date(2026, 0, 9, 23, 59).getTime())).toBe('07:05:03')
    expect(moment(at, new Date(2026, 0, 10, 0, 1).getTime())).toBe('2026-01-09 07:05:03')
  })

  test('groups are named by metric and labels, those left out left out', () => {
    const group = { __name__: 'cpu', host: 'a', core: '0' }
    expect(groupText(group)).toBe('cpu host=a core=0')
    expect(labels(group, new Set(['host']))).toBe('core=0')
    expect(groupText({})).toBe('all samples')
    expect(groupKey('p', { a: '1', b: '2' })).toBe(groupKey('p', { b: '2', a: '1' }))
    expect(groupKey('p', { a: '1' })).not.toBe(groupKey('q', { a: '1' }))
  })
})
