import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  ALIAS_KEY_BYTES_MAX,
  ALIASES_PER_SERIES,
  AliasTable,
  ENTRY_SHIFT,
  findAlias,
  ROOT,
  SERIES_ID,
} from './alias-table.ts'

const PADDING = 4

/** Bytes with room behind them for whole-word reads. */
function padded(text: string): { bytes: Uint8Array; view: DataView; length: number } {
  const key = new TextEncoder().encode(text)
  const bytes = new Uint8Array(key.length + PADDING).fill(0xaa)
  bytes.set(key)
  return { bytes, view: new DataView(bytes.buffer), length: key.length }
}

function add(table: AliasTable, text: string, parent: number, id: number): number {
  const { bytes, length } = padded(text)
  expect(table.reserve(1, length)).toBe(true)
  return table.add(bytes, 0, length, parent, id)
}

function find(table: AliasTable, text: string, parent: number): number {
  const { view, length } = padded(text)
  return findAlias(table, view, 0, length, parent)
}

describe('AliasTable', () => {
  it('finds exactly what was added, for keys that differ in one byte, in length or in the parent', () => {
    const key = fc
      .array(fc.constantFrom('a', 'b', '=', ' '), { minLength: 1, maxLength: 10 })
      .map((parts) => parts.join(''))
    fc.assert(
      fc.property(fc.array(fc.tuple(key, fc.nat({ max: 5 })), { maxLength: 80 }), (keys) => {
        const table = new AliasTable({ seriesLimit: 100 })
        const naive = new Map<string, number>()
        for (const [text, parentChoice] of keys) {
          const parent = Math.min(parentChoice, table.size)
          const known = naive.get(`${parent} ${text}`)
          expect(find(table, text, parent)).toBe(known ?? ROOT)
          if (known === undefined) naive.set(`${parent} ${text}`, add(table, text, parent, naive.size))
        }
        for (const [name, entry] of naive) {
          const [parent, text] = [Number(name.split(' ', 1)[0]), name.slice(name.indexOf(' ') + 1)]
          expect(find(table, text, parent)).toBe(entry)
        }
      }),
    )
  })

  it('keeps every entry while it grows', () => {
    const table = new AliasTable({ seriesLimit: 10_000 })
    for (let i = 0; i < 10_000; i++) add(table, `cpu,host=${i} usage=`, ROOT, i)
    for (let i = 0; i < 10_000; i++) {
      const entry = find(table, `cpu,host=${i} usage=`, ROOT)
      expect(table.entries[(entry << ENTRY_SHIFT) + SERIES_ID]).toBe(i)
    }
    expect(find(table, 'cpu,host=10000 usage=', ROOT)).toBe(ROOT)
    expect(table.clears).toBe(0)
  })

  it('over its limit forgets everything and starts again', () => {
    const table = new AliasTable({ seriesLimit: 1_000 })
    const limit = 1_000 * ALIASES_PER_SERIES
    for (let i = 0; i < limit; i++) add(table, `key ${i}`, ROOT, i)
    expect([table.size, table.clears]).toEqual([limit, 0])
    add(table, 'one more', ROOT, 7)
    expect([table.size, table.clears, table.last]).toEqual([1, 1, ROOT])
    expect(find(table, 'key 0', ROOT)).toBe(ROOT)
    expect(find(table, 'one more', ROOT)).not.toBe(ROOT)
  })

  it('bounds the bytes of its keys, too', () => {
    const table = new AliasTable({ seriesLimit: 1 })
    const long = 'x'.repeat(ALIAS_KEY_BYTES_MAX - 10)
    for (let i = 0; i < 1_000; i++) add(table, `${long}${i}`, ROOT, i)
    expect(table.clears).toBeGreaterThan(0)
    expect(table.words.byteLength).toBeLessThanOrEqual(2 * 1_024 * 1_024)
    expect(table.reserve(1, 2 ** 31 - 1)).toBe(false)
  })
})
