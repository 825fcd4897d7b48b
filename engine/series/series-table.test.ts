import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeSeriesKey, SERIES_KEY_BYTES_MAX } from './series-key.ts'
import { SERIES_KEY_TOO_LONG, SERIES_OVER_LIMIT, SERIES_UNKNOWN, SeriesTable } from './series-table.ts'

const named = (name: string, labels: Record<string, string> = {}) => ({ __name__: name, ...labels })

describe('SeriesTable', () => {
  it('gives dense ids in order of first sight, one for equal label sets whatever their order', () => {
    const table = new SeriesTable({ limit: 10 })
    expect(table.intern(named('a', { x: '1', y: '2' }))).toBe(0)
    expect(table.intern(named('a', { x: '1', y: '3' }))).toBe(1)
    expect(table.intern({ y: '2', x: '1', __name__: 'a' })).toBe(0)
    expect(table.size).toBe(2)
    expect(table.labelsOf(1)).toEqual(named('a', { x: '1', y: '3' }))
  })

  it('agrees with a map over canonical keys, for any label sets', () => {
    const labels = fc.dictionary(
      fc.constantFrom('a', 'b', 'é', 'ab'),
      fc.constantFrom('', '1', 'b', '\u{1f600}', '12'),
    )
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom('m', 'mm'), labels), { maxLength: 60 }), (sets) => {
        const table = new SeriesTable({ limit: 1_000 })
        const naive = new Map<string, number>()
        for (const [name, set] of sets) {
          const key = encodeSeriesKey(named(name, set)).join()
          if (!naive.has(key)) naive.set(key, naive.size)
          const id = table.intern(named(name, set))
          expect(id).toBe(naive.get(key))
          expect(table.keyOf(id).join()).toBe(key)
        }
      }),
    )
  })

  it('refuses a series over the limit and keeps the others', () => {
    const table = new SeriesTable({ limit: 2 })
    table.intern(named('a'))
    table.intern(named('b'))
    expect(table.intern(named('c'))).toBe(SERIES_OVER_LIMIT)
    expect(table.find(encodeSeriesKey(named('c')))).toBe(SERIES_UNKNOWN)
    expect(table.intern(named('b'))).toBe(1)
    expect(table.size).toBe(2)
  })

  it('refuses a key longer than the store keeps, and takes one that just fits', () => {
    const table = new SeriesTable({ limit: 2 })
    expect(table.intern(named('m'.repeat(SERIES_KEY_BYTES_MAX + 1)))).toBe(SERIES_KEY_TOO_LONG)
    expect(table.intern(named('m'.repeat(SERIES_KEY_BYTES_MAX)))).toBe(0)
  })

  it('hands each new series over once, in order of ids', () => {
    const table = new SeriesTable({ limit: 10_000 })
    expect(table.takeNew()).toBeNull()
    table.intern(named('a'))
    table.intern(named('b'))
    expect(table.takeNew()).toEqual({
      firstId: 0,
      keys: [encodeSeriesKey(named('a')), encodeSeriesKey(named('b'))],
    })
    expect(table.takeNew()).toBeNull()
    table.intern(named('a'))
    expect(table.takeNew()).toBeNull()
    for (let i = 0; i < 5_000; i++) table.intern(named(`series ${i}`))
    const taken = table.takeNew()!
    expect(taken.firstId).toBe(2)
    expect(taken.keys.map((key) => Buffer.from(key).toString())).toEqual(
      Array.from({ length: 5_000 }, (_, i) => `series ${i}`),
    )
  })

  it('keys handed over stay as they were while the table grows', () => {
    const table = new SeriesTable({ limit: 100_000 })
    table.intern(named('first', { label: 'value' }))
    const [key] = table.takeNew()!.keys
    for (let i = 0; i < 10_000; i++) table.intern(named(`series ${i}`))
    expect(key).toEqual(encodeSeriesKey(named('first', { label: 'value' })))
  })

  it('a refused series is refused from then on, its id is not reused, its aliases are gone', () => {
    const table = new SeriesTable({ limit: 10 })
    const id = table.intern(named('a'))
    table.aliases.reserve(1, 4)
    table.aliases.add(Buffer.from('a f='), 0, 4, 0, id)
    table.refuse(id)
    expect(table.aliases.size).toBe(0)
    expect(table.intern(named('a'))).toBe(SERIES_OVER_LIMIT)
    expect(table.find(encodeSeriesKey(named('a')))).toBe(SERIES_OVER_LIMIT)
    expect(table.intern(named('b'))).toBe(1)
  })
})
