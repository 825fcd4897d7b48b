import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type TimeFormat, TimeReader } from './time-reader.ts'

const readWith = (reader: TimeReader, text: string): number => {
  const bytes = new TextEncoder().encode(`#${text}#`)
  return reader.read(bytes, 1, bytes.length - 1)
}
const read = (text: string, format: TimeFormat = 'auto'): number => readWith(new TimeReader(format), text)

describe('ISO 8601', () => {
  test('equals Date for every ms of the years 0 to 9999', () => {
    const reader = new TimeReader('iso')
    const date = fc.date({
      min: new Date('0000-01-01T00:00:00Z'),
      max: new Date('9999-12-31T23:59:59.999Z'),
      noInvalidDate: true,
    })
    fc.assert(
      fc.property(date, (at) => {
        expect(readWith(reader, at.toISOString())).toBe(at.getTime())
      }),
      { numRuns: 2_000 },
    )
  })

  test.each([
    ['2014-04-01 00:00:00', '2014-04-01T00:00:00Z'],
    ['2014-04-01T00:00', '2014-04-01T00:00:00Z'],
    ['2014-04-01', '2014-04-01T00:00:00Z'],
    ['2014-04-01t01:02:03z', '2014-04-01T01:02:03Z'],
    ['2014-04-01 01:02:03,25', '2014-04-01T01:02:03.250Z'],
    ['2014-04-01T02:00:00+02:00', '2014-04-01T00:00:00Z'],
    ['2014-04-01T02:00:00+0200', '2014-04-01T00:00:00Z'],
    ['2014-04-01T02:00:00.5+02', '2014-04-01T00:00:00.500Z'],
    ['2014-03-31T20:30:00-03:30', '2014-04-01T00:00:00Z'],
    ['2014-04-01 00:00:00 UTC', '2014-04-01T00:00:00Z'],
    ['2014-04-01 00:00:00 +00:00', '2014-04-01T00:00:00Z'],
    [' 2014-04-01 ', '2014-04-01T00:00:00Z'],
    ['2016-02-29T00:00:00Z', '2016-02-29T00:00:00Z'],
  ])('%j is %s', (text, iso) => {
    expect(read(text)).toBe(Date.parse(iso))
  })

  test('keeps what is below a millisecond', () => {
    expect(read('1970-01-01T00:00:00.000001500Z')).toBe(0.0015)
  })

  test.each([
    '2015-02-29',
    '2014-13-01',
    '2014-00-10',
    '2014-04-31',
    '2014-04-01T24:00:00',
    '2014-04-01T00:60:00',
    '2014-04-01T00:00:60',
    '2014-04-01T00:00:00.',
    '2014-04-01T00:00:0',
    '2014-04-01T00:00:00+2',
    '2014-04-01T00:00:00 CET',
    '2014-04-01T00:00:00Zx',
    '2014-04-01T',
    '2014-04-01x00:00:00',
    '2014-4-1',
    '01/04/2014',
    'yesterday',
    '',
  ])('%j is no time', (text) => {
    expect(read(text)).toBeNaN()
  })
})

describe('epoch numbers', () => {
  test.each([
    ['1400000000', 's', 1_400_000_000_000],
    ['1400000000.125', 's', 1_400_000_000_125],
    ['1400000000123', 'ms', 1_400_000_000_123],
    ['1400000000123.5', 'ms', 1_400_000_000_123.5],
    ['1400000000123456', 'us', 1_400_000_000_123.456],
    ['1400000000123456789', 'ns', 1_400_000_000_123.4568],
    ['1.4e9', 's', 1_400_000_000_000],
    ['-1', 's', -1_000],
    ['0', 's', 0],
  ])('%s is taken for %s', (text, format, ms) => {
    const reader = new TimeReader()
    expect(readWith(reader, text)).toBeCloseTo(ms, 3)
    expect(reader.format).toBe(format)
  })

  test('a declared unit is believed whatever the magnitude', () => {
    expect(read('5', 'ms')).toBe(5)
    expect(read('5', 'us')).toBe(0.005)
    expect(read('5', 'ns')).toBe(0.000005)
    expect(read('1400000000000', 's')).toBe(1_400_000_000_000_000)
  })
})

describe('the first time decides for all', () => {
  test.each([
    ['1400000000', '1400000000000', 'looks like milliseconds, but the first time was in seconds'],
    ['1400000000000', '1400000000', 'looks like seconds, but the first time was in milliseconds'],
    ['1400000000', '2014-04-01', 'looks like ISO 8601 text, but the first time was in seconds'],
    ['2014-04-01', '1400000000', 'looks like seconds, but the first time was in ISO 8601 text'],
    ['2014-04-01', 'soon', 'is not a time in ISO 8601 text'],
    ['soon', 'later', '"later" is not a time'],
  ])('%s then %s', (first, second, problem) => {
    const reader = new TimeReader()
    readWith(reader, first)
    expect(readWith(reader, second)).toBeNaN()
    expect(reader.problem).toContain(problem)
  })

  test('a first time that is none decides nothing', () => {
    const reader = new TimeReader()
    expect(readWith(reader, 'n/a')).toBeNaN()
    expect(readWith(reader, '2014-04-01')).toBe(Date.parse('2014-04-01'))
  })

  test('a declared format is named when it does not fit', () => {
    const reader = new TimeReader('ms')
    expect(readWith(reader, '2014-04-01')).toBeNaN()
    expect(reader.problem).toBe('time "2014-04-01" is not milliseconds')
  })
})
