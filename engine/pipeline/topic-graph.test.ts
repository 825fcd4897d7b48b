import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { cycleText, type TopicEdge, topicCycles } from './topic-graph.ts'

const edges = (...pairs: string[]): TopicEdge[] =>
  pairs.map((pair, i) => ({ from: pair[0]!, to: pair[1]!, via: `p${i}` }))

/** Naive: some node reaches itself, by repeated squaring of the relation. */
function reachesItself(list: readonly TopicEdge[]): boolean {
  const pairs = new Set(list.map((edge) => `${edge.from}${edge.to}`))
  for (let grown = true; grown; ) {
    grown = false
    for (const a of [...pairs]) {
      for (const b of [...pairs]) {
        if (a[1] !== b[0] || pairs.has(`${a[0]}${b[1]}`)) continue
        pairs.add(`${a[0]}${b[1]}`)
        grown = true
      }
    }
  }
  return [...pairs].some((pair) => pair[0] === pair[1])
}

describe('cycles of topics', () => {
  test.each([
    [[], []],
    [['ab', 'bc', 'ac'], []],
    [['aa'], ['a → (p0) → a']],
    [['ab', 'bc', 'ca'], ['a → (p0) → b → (p1) → c → (p2) → a']],
    [
      ['xa', 'ab', 'ba', 'cd', 'dc'],
      ['a → (p1) → b → (p2) → a', 'c → (p3) → d → (p4) → c'],
    ],
    [['ab', 'ac', 'bd', 'cd'], []],
    [['ab', 'ba', 'ca'], ['a → (p0) → b → (p1) → a']],
  ])('%j: %j', (pairs, cycles) => {
    expect(topicCycles(edges(...pairs)).map(cycleText)).toEqual(cycles)
  })

  test('there is a cycle exactly where a topic reaches itself, and each is one', () => {
    const edge = fc
      .tuple(fc.constantFrom(...'abcdef'), fc.constantFrom(...'abcdef'))
      .map((pair) => pair.join(''))
    fc.assert(
      fc.property(fc.array(edge, { maxLength: 12 }), (pairs) => {
        const list = edges(...pairs)
        const cycles = topicCycles(list)
        expect(cycles.length > 0).toBe(reachesItself(list))
        for (const cycle of cycles) {
          for (let i = 0; i < cycle.length; i++)
            expect(cycle[i]!.to).toBe(cycle[(i + 1) % cycle.length]!.from)
        }
      }),
    )
  })
})
