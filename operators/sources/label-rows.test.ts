import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ID_UNKNOWN, LabelRows } from './label-rows.ts'

/** Finds the row of two labels and gives it an id, as a decoder does. */
function idOf(rows: LabelRows, a: string, b: string, intern: (key: string) => number): number {
  const bytes = new TextEncoder().encode(`#${a}#${b}#`)
  const aTo = 1 + new TextEncoder().encode(a).length
  const row = rows.find(bytes, Int32Array.of(0, 1, aTo + 1), Int32Array.of(0, aTo, bytes.length - 1), 1)
  if (rows.ids[row] === ID_UNKNOWN) rows.ids[row] = intern(JSON.stringify([a, b]))
  return rows.ids[row]!
}

function interner(): (key: string) => number {
  const ids = new Map<string, number>()
  return (key) => {
    if (!ids.has(key)) ids.set(key, ids.size)
    return ids.get(key)!
  }
}

test('equal labels have one id and different ones have different ids, in any order of arrival', () => {
  const label = fc.string({ unit: fc.constantFrom('a', 'b', 'ä', ''), maxLength: 4 })
  fc.assert(
    fc.property(fc.array(fc.tuple(label, label), { maxLength: 200 }), (pairs) => {
      const rows = new LabelRows(2, 1)
      const intern = interner()
      for (const [a, b] of pairs) expect(idOf(rows, a, b, intern)).toBe(intern(JSON.stringify([a, b])))
    }),
    { numRuns: 300 },
  )
})

test('what was forgotten at the limit is learned again, with the same answer', () => {
  const rows = new LabelRows(2, 1, 256)
  const intern = interner()
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 1_000; i++) {
      expect(idOf(rows, `host-${i}`, String(i % 7), intern)).toBe(
        intern(JSON.stringify([`host-${i}`, String(i % 7)])),
      )
    }
  }
})

test('labels grow past any first size', () => {
  const rows = new LabelRows(2, 1)
  const intern = interner()
  const long = 'x'.repeat(5_000)
  for (let i = 0; i < 2_000; i++) expect(idOf(rows, `${long}${i}`, '', intern)).toBe(i)
  for (let i = 0; i < 2_000; i++) expect(idOf(rows, `${long}${i}`, '', intern)).toBe(i)
})
