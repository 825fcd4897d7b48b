import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import { compareBytes } from '../util/bytes.ts'
import {
  decodeSeriesKey,
  encodeSeriesKey,
  groupKey,
  groupKeyBytes,
  labelBytes,
  partitionOf,
  seriesText,
} from './series-key.ts'

const text = fc.string({ unit: 'grapheme', maxLength: 8 })
const labelSets = fc.dictionary(
  text.filter((label) => label !== ''),
  text,
  { maxKeys: 6 },
)

function present(labels: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).filter(([, value]) => value !== ''))
}

describe('series key', () => {
  it('has a known form: name, then 0xFF label 0xFE value in byte order of labels', () => {
    const key = encodeSeriesKey({ b: '2', a: '1', __name__: 'cpu' })
    expect(Buffer.from(key).toString('latin1')).toBe('cpu\xffa\xfe1\xffb\xfe2')
  })

  it('decodes to the labels it was made from; empty values are absent', () => {
    fc.assert(
      fc.property(labelSets, (labels) => {
        expect(decodeSeriesKey(encodeSeriesKey(labels))).toEqual(present(labels))
      }),
    )
  })

  it('is equal exactly for equal label sets, whatever their order', () => {
    fc.assert(
      fc.property(labelSets, labelSets, (a, b) => {
        const reversed = Object.fromEntries(Object.entries(a).reverse())
        expect(compareBytes(encodeSeriesKey(a), encodeSeriesKey(reversed))).toBe(0)
        const same = JSON.stringify(sorted(present(a))) === JSON.stringify(sorted(present(b)))
        expect(compareBytes(encodeSeriesKey(a), encodeSeriesKey(b)) === 0).toBe(same)
      }),
    )
  })

  it('keeps labels whose names and values run into each other apart', () => {
    const sets = [
      { a: 'bc' },
      { ab: 'c' },
      { a: 'b', c: 'd' },
      { a: 'bcd' },
      { __name__: 'a', b: 'c' },
      { __name__: 'ab', c: 'd' },
    ]
    const keys = sets.map((labels) => Buffer.from(encodeSeriesKey(labels)).toString('latin1'))
    expect(new Set(keys).size).toBe(sets.length)
  })
})

describe('group key', () => {
  const labels = { __name__: 'cpu', host: 'a', core: '1' }

  it('holds the labels grouped by that the series has, in any order', () => {
    expect(decodeSeriesKey(groupKey(labels, ['host', 'rack']))).toEqual({ host: 'a' })
    expect(groupKey(labels, ['core', 'host'])).toEqual(groupKey(labels, ['host', 'core']))
    expect(groupKey(labels, ['__name__'])).toEqual(encodeSeriesKey({ __name__: 'cpu' }))
    expect(groupKey(labels, [])).toHaveLength(0)
  })

  it('is the same from the bytes of a series’ key as from its labels', () => {
    const named = fc.tuple(labelSets, fc.boolean(), text).map(([labels, isNamed, name]) => {
      return isNamed ? { ...labels, __name__: name } : labels
    })
    fc.assert(
      fc.property(named, fc.array(text), fc.nat(), (labels, others, mask) => {
        const own = Object.keys(labels).filter((_, i) => (mask & (1 << i)) !== 0)
        for (const groupBy of [own, others, [...others, '__name__', ...own]]) {
          const wanted = Buffer.from(groupKey(labels, groupBy)).toString('hex')
          const key = groupKeyBytes(encodeSeriesKey(labels), labelBytes(groupBy))
          expect(Buffer.from(key).toString('hex')).toBe(wanted)
        }
      }),
    )
    const long = { host: 'x'.repeat(3_000), rack: 'é' }
    const key = groupKeyBytes(encodeSeriesKey(long), labelBytes(['rack', 'host']))
    expect(decodeSeriesKey(key)).toEqual(long)
  })

  it('without a grouping is the series key', () => {
    expect(groupKey(labels, null)).toEqual(encodeSeriesKey(labels))
  })
})

describe('partition', () => {
  it('is within the partitions and the same for equal partition labels', () => {
    fc.assert(
      fc.property(labelSets, fc.integer({ min: 1, max: 64 }), (labels, partitions) => {
        const partition = partitionOf(labels, null, partitions)
        expect(partition).toBeGreaterThanOrEqual(0)
        expect(partition).toBeLessThan(partitions)
        const host = { ...labels, host: 'a' }
        expect(partitionOf(host, ['host'], partitions)).toBe(partitionOf({ host: 'a' }, ['host'], partitions))
      }),
    )
  })

  it('never changes: series of a stored log stay where they are', () => {
    expect(partitionOf({ __name__: 'cpu', host: 'a' }, null, 16)).toBe(8)
  })

  it('spreads near-equal series', () => {
    const counts = new Array<number>(16).fill(0)
    for (let i = 0; i < 16_000; i++) counts[partitionOf({ __name__: 'cpu', host: `web-${i}` }, null, 16)]!++
    for (const count of counts) expect(Math.abs(count - 1_000)).toBeLessThan(150)
  })
})

describe('series text', () => {
  it('is for people', () => {
    expect(seriesText({ __name__: 'cpu', host: 'a"b' })).toBe('cpu{host="a\\"b"}')
    expect(seriesText({ __name__: 'cpu' })).toBe('cpu')
  })
})

function sorted(labels: Record<string, string>): [string, string][] {
  return Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
}

test('labels that JavaScript objects treat as their own affairs are labels like any other', () => {
  const odd = Object.fromEntries([
    ['__name__', 'm'],
    ['__proto__', 'p'],
    ['constructor', 'c'],
    ['\uFEFFbom', '\uFEFFv'],
  ])
  expect(Object.entries(decodeSeriesKey(encodeSeriesKey(odd))).sort()).toEqual(Object.entries(odd).sort())
  expect(
    decodeSeriesKey(groupKey({ __name__: 'm', a: '1' }, ['constructor', '__proto__', 'toString'])),
  ).toEqual({})
  expect(decodeSeriesKey(groupKey(odd, ['__proto__']))).toEqual(Object.fromEntries([['__proto__', 'p']]))
})
