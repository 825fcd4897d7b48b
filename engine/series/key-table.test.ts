import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compareBytes } from '../util/bytes.ts'
import { KEY_UNKNOWN, KeyTable } from './key-table.ts'

const keyArbitrary = fc.oneof(
  fc.uint8Array({ maxLength: 4 }),
  fc.uint8Array({ maxLength: 40 }),
  fc.nat(500).map((n) => new TextEncoder().encode(`load\u{7f}host-${n}`)),
)

describe('a table of keys', () => {
  it('agrees with a map of strings, as it grows', () => {
    fc.assert(
      fc.property(fc.array(keyArbitrary, { maxLength: 600 }), (keys) => {
        const table = new KeyTable()
        const map = new Map<string, number>()
        for (const key of keys) {
          const text = key.join()
          expect(table.find(key)).toBe(map.get(text) ?? KEY_UNKNOWN)
          if (!map.has(text)) map.set(text, map.size)
          expect(table.intern(key)).toBe(map.get(text))
          expect(table.size).toBe(map.size)
        }
        for (const key of keys) expect(table.keyOf(table.find(key))).toEqual(key)
      }),
    )
  })

  it('is restored from its bytes, and goes on', () => {
    fc.assert(
      fc.property(fc.array(keyArbitrary, { maxLength: 300 }), fc.nat(300), (keys, after) => {
        const table = new KeyTable()
        const before = keys.slice(0, after)
        for (const key of before) table.intern(key)
        const bytes = new Uint8Array(table.byteLength + 10)
        table.copyBytes(0, bytes.subarray(0, table.byteLength))
        const ends = new Float64Array(table.size + 3)
        for (let id = 0; id < table.size; id++) ends[id] = table.endOf(id)
        const restored = new KeyTable()
        restored.restore(table.size, bytes, ends)
        expect([restored.size, restored.byteLength]).toEqual([table.size, table.byteLength])
        for (const key of keys) expect(restored.find(key)).toBe(table.find(key))
        for (const key of keys) expect(restored.intern(key)).toBe(table.intern(key))
        for (const key of keys) expect(restored.keyOf(restored.find(key))).toEqual(key)
      }),
    )
  })

  it('compares keys by their bytes', () => {
    fc.assert(
      fc.property(keyArbitrary, keyArbitrary, (a, b) => {
        const table = new KeyTable()
        const order = table.compare(table.intern(a), table.intern(b))
        expect(Math.sign(order)).toBe(Math.sign(compareBytes(a, b)))
      }),
    )
  })

  it('keeps the bytes and not the array it was given', () => {
    const table = new KeyTable()
    const key = Uint8Array.of(1, 2, 3)
    const id = table.intern(key)
    key.fill(9)
    expect(table.keyOf(id)).toEqual(Uint8Array.of(1, 2, 3))
    expect(table.find(key)).toBe(KEY_UNKNOWN)
  })
})
