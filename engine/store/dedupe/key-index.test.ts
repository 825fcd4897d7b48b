/** The index against a naive oracle: a list of entries. Hashes are random, near each other, and equal. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Prng } from '../../util/prng.ts'
import { KeyIndex, POSITIONS, TAGS } from './key-index.ts'

/** Where entries of live generations with this hash lie. */
function found(index: KeyIndex, hash: number): string[] {
  const places: string[] = []
  for (let slot = index.find(hash); slot >= 0; slot = index.find(hash, slot)) {
    places.push(`${index.tag}:${index.position}`)
  }
  return places.sort()
}

class Oracle {
  readonly #entries = new Map<number, { tag: number; owner: number; position: number }[]>()
  readonly #liveOwners = new Set<number>()
  #owners = 0

  begin(): number {
    this.#liveOwners.add(this.#owners)
    return this.#owners++
  }

  end(owner: number): void {
    this.#liveOwners.delete(owner)
  }

  add(hash: number, tag: number, owner: number, position: number): void {
    const entries = this.#entries.get(hash) ?? []
    entries.push({ tag, owner, position })
    this.#entries.set(hash, entries)
  }

  found(hash: number): string[] {
    const entries = this.#entries.get(hash) ?? []
    const live = entries.filter(({ owner }) => this.#liveOwners.has(owner))
    return live.map(({ tag, position }) => `${tag}:${position}`).sort()
  }

  get hashes(): Iterable<number> {
    return this.#entries.keys()
  }
}

test('over random hashes, generations that come and go, and moves cut anywhere: what is found is what the oracle says', () => {
  const step = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({ do: fc.constant('add' as const), count: fc.integer({ min: 1, max: 400 }) }),
    },
    { weight: 3, arbitrary: fc.constant({ do: 'begin' as const }) },
    { weight: 2, arbitrary: fc.constant({ do: 'retire' as const }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('move' as const), slots: fc.nat(500) }) },
  )
  const hashes = fc.constantFrom('random', 'near', 'lowest', 'highest')
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), hashes, fc.nat(), (script, kind, seed) => {
      const prng = new Prng(seed)
      const hashOf = (): number => {
        if (kind === 'near') return (0x7000_0000 + prng.below(2_000) * 1_000) | 0
        if (kind === 'lowest') return prng.below(3_000)
        return kind === 'highest' ? -1 - prng.below(3_000) : prng.uint32() | 0
      }
      const index = new KeyIndex(prng.below(2_000))
      const oracle = new Oracle()
      const live: { tag: number; owner: number; count: number }[] = []
      for (const each of script) {
        if (each.do === 'begin' && live.length < TAGS)
          live.push({ tag: index.takeTag(), owner: oracle.begin(), count: 0 })
        else if (each.do === 'retire') {
          const oldest = live.shift()
          if (oldest === undefined) continue
          index.retire(oldest.tag)
          oracle.end(oldest.owner)
        } else if (each.do === 'move') index.move(each.slots)
        else if (each.do === 'add') {
          const newest = live.at(-1)
          if (newest === undefined) continue
          for (let i = 0; i < each.count; i++) {
            const hash = hashOf()
            // As keys are used: looked for, then remembered.
            if (i % 16 === 0) expect(found(index, hash)).toEqual(oracle.found(hash))
            index.add(hash, newest.tag, newest.count)
            oracle.add(hash, newest.tag, newest.owner, newest.count)
            newest.count++
          }
        }
      }
      for (const hash of oracle.hashes) expect(found(index, hash)).toEqual(oracle.found(hash))
      for (let i = 0; i < 50; i++) {
        const hash = hashOf()
        expect(found(index, hash)).toEqual(oracle.found(hash))
      }
    }),
    { numRuns: 60 },
  )
})

test('generations beyond the number of tags: none is taken for another', () => {
  const index = new KeyIndex()
  let last = -1
  for (let generation = 0; generation < TAGS * 3; generation++) {
    const tag = index.takeTag()
    index.add(generation, tag, generation % 7)
    expect(found(index, generation)).toEqual([`${tag}:${generation % 7}`])
    if (last >= 0) {
      expect(found(index, generation - 1)).toEqual([`${last}:${(generation - 1) % 7}`])
      index.retire(last)
      expect(found(index, generation - 1)).toEqual([])
    }
    last = tag
  }
})

test('the largest position and tag fit, and the one beyond is a programmer’s error', () => {
  const index = new KeyIndex()
  let tag = 0
  for (let i = 0; i < TAGS; i++) tag = index.takeTag()
  index.add(-1, tag, POSITIONS - 1)
  expect(found(index, -1)).toEqual([`${TAGS - 1}:${POSITIONS - 1}`])
  expect(() => index.add(1, tag, POSITIONS)).toThrow('a position fits its slot')
  expect(() => index.takeTag()).toThrow('fewer generations are live')
})

test('memory: 24 bytes an entry at most, 14 once nothing moves, and given back when generations go', () => {
  const index = new KeyIndex()
  const prng = new Prng(5)
  const tags = [index.takeTag(), index.takeTag()]
  const each = 100_000
  let count = 0
  let moves = 0
  for (const tag of tags) {
    for (let i = 0; i < each; i++) {
      index.add(prng.uint32() | 0, tag, i)
      count++
      if (index.isMoving) moves++
      if (count > 100_000) expect(index.bytes / count).toBeLessThan(index.isMoving ? 24.5 : 14.5)
    }
  }
  expect(moves).toBeGreaterThan(0)
  while (index.isMoving) index.move(1_000)
  const full = index.bytes
  for (const tag of tags) index.retire(tag)
  while (index.isMoving) index.move(1_000)
  expect(index.bytes).toBeLessThan(full / 5)
})
