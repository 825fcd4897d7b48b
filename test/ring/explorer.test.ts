import { describe, expect, test } from 'vitest'
import type { Access, ModelThread, Program } from './access.ts'
import { explore, type Memory } from './explorer.ts'
import { MUTANTS, type Mutant } from './model.ts'
import { SHAPES, scenarioOf } from './scenarios.ts'

const LONG_MS = 300_000

describe('no schedule breaks the ring: frames whole, once, in order; no deadlock, no schedule without end', () => {
  for (const shape of SHAPES) {
    // `unordered` contains every behaviour of `tso`.
    for (const memory of ['unordered', 'races'] as const) {
      test(
        `${shape.name} (${memory})`,
        () => {
          const verdict = explore(scenarioOf(shape, memory, { timeouts: false, mutant: null }))
          expect(verdict).toMatchObject({ violation: null, trace: [] })
          expect(verdict.states).toBeGreaterThan(5_000)
        },
        LONG_MS,
      )
    }
    test(
      `${shape.name} (unordered, and any wait may time out)`,
      () => {
        const verdict = explore(scenarioOf(shape, 'unordered', { timeouts: true, mutant: null }))
        expect(verdict).toMatchObject({ violation: null, trace: [] })
      },
      LONG_MS,
    )
  }
})

/** Slips that no order of stores shows, on these memories: only the memory model forbids them. */
const RACES_ONLY: readonly Mutant[] = [
  'tail loaded plainly',
  'head loaded plainly',
  'announcement looked up plainly',
]

describe('each slip is caught', () => {
  for (const mutant of MUTANTS) {
    const memories: readonly Memory[] = RACES_ONLY.includes(mutant) ? ['races'] : ['tso']
    test(
      mutant,
      () => {
        const violation = firstViolation(mutant, memories)
        expect(violation, 'the mutant survives').not.toBeNull()
      },
      LONG_MS,
    )
  }
})

function firstViolation(mutant: Mutant, memories: readonly Memory[]): string | null {
  for (const shape of SHAPES) {
    for (const memory of memories) {
      const { violation } = explore(scenarioOf(shape, memory, { timeouts: false, mutant }))
      if (violation !== null) return violation
    }
  }
  return null
}

describe('the explorer itself', () => {
  const X = 0
  const Y = 1
  const thread = (name: string, program: (seen: number[]) => Program): ModelThread => ({
    name,
    start() {
      const seen: number[] = []
      return { program: program(seen), fields: () => seen }
    },
  })
  const step = (op: 'load' | 'atomic-load', word: number): Access => ({ op, site: `${op} ${word}`, word })
  const set = (op: 'store' | 'atomic-store', word: number, value: number): Access => {
    return { op, site: `${op} ${word}`, word, value }
  }

  /** Store own word, read the other's: may both read 0? (Dekker; "store buffering") */
  function bothReadZero(op: 'store' | 'atomic-store', memory: Memory): boolean {
    const results = new Map<string, number>()
    const one = (name: string, mine: number, other: number): ModelThread =>
      thread(name, function* (seen) {
        yield set(op, mine, 1)
        seen.push(yield step('atomic-load', other))
        yield set('atomic-store', 2 + mine, seen[0]! + 1)
      })
    const judge = thread('judge', function* (seen) {
      seen.push(yield step('atomic-load', 2))
      seen.push(yield step('atomic-load', 3))
      if (seen[0] === 1 && seen[1] === 1) results.set('both', 1)
    })
    explore({
      threads: [one('a', X, Y), one('b', Y, X), judge],
      words: new Map([0, 1, 2, 3].map((word) => [word, 0])),
      memory,
      timeouts: false,
      statesMax: 100_000,
    })
    return results.has('both')
  }

  test('plain stores wait in a buffer while later loads go ahead; atomic stores do not', () => {
    expect(bothReadZero('store', 'tso')).toBe(true)
    expect(bothReadZero('store', 'unordered')).toBe(true)
    expect(bothReadZero('atomic-store', 'tso')).toBe(false)
    expect(bothReadZero('atomic-store', 'unordered')).toBe(false)
  })

  test('plain stores keep their order under tso only', () => {
    const reordered = (memory: Memory): boolean => {
      let found = false
      const writer = thread('writer', function* () {
        yield set('store', X, 1)
        yield set('store', Y, 1)
      })
      const reader = thread('reader', function* (seen) {
        seen.push(yield step('load', Y))
        seen.push(yield step('load', X))
        if (seen[0] === 1 && seen[1] === 0) found = true
      })
      const words = new Map([X, Y].map((word) => [word, 0]))
      explore({ threads: [writer, reader], words, memory, timeouts: false, statesMax: 1000 })
      return found
    }
    expect(reordered('tso')).toBe(false)
    expect(reordered('unordered')).toBe(true)
  })

  test('a model that keeps state outside its fields is refused', () => {
    const forgetful: ModelThread = {
      name: 'forgetful',
      start() {
        return {
          program: (function* (): Program {
            const first = yield step('atomic-load', X)
            yield step('atomic-load', Y)
            if (first === 1) yield set('atomic-store', Y, 1)
          })(),
          fields: () => [],
        }
      },
    }
    const writer = thread('writer', function* () {
      yield set('atomic-store', X, 1)
    })
    const words = new Map([X, Y].map((word) => [word, 0]))
    const run = () =>
      explore({ threads: [forgetful, writer], words, memory: 'tso', timeouts: false, statesMax: 1000 })
    expect(run).toThrow(/outside its fields/)
  })

  test('the search says so when it is cut', () => {
    const scenario = scenarioOf(SHAPES[0]!, 'tso', { timeouts: false, mutant: null })
    expect(() => explore({ ...scenario, statesMax: 100 })).toThrow(/more than 100 states/)
  })
})
