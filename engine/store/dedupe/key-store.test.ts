/** Idempotency keys against a naive oracle: a list of what was added when. Over a real environment, reopened at will. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { KeyHash, Receipt } from '../../contract/idempotency.ts'
import { openEnv } from '../env.ts'
import { KeyBuffer } from '../keys.ts'
import type { LogWriter } from '../log-contract.ts'
import { LOG_FOLDER, openLogWriter } from '../log-store.ts'
import { openStore, type Store } from '../store.ts'
import type { Dedupe, DedupeOptions } from './dedupe.ts'
import { GENERATIONS } from './key-store.ts'
import { BLOCK_ENTRIES } from './layout.ts'

const HORIZON_MS = 4_000
const OPTIONS: DedupeOptions = { horizonMs: HORIZON_MS, keysMax: 1_000_000, producersMax: 10 }

let dir: string
let store: Store
let writer: LogWriter

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'millrace-keys-'))
  store = await openStore({ dir })
  writer = openLogWriter({ dir, fence: store.fence })
})

afterEach(async () => {
  await writer.close()
  await store.close()
  rmSync(dir, { recursive: true, force: true })
})

/** Few values for each word, so that keys share 32, 64 and 96 of their bits. */
function hashOf(key: number): KeyHash {
  return { a: Math.imul(key % 5, 0x3333_3333), b: key % 3, c: key % 7, d: key }
}

function receiptOf(key: number): Receipt {
  const storedAt = key % 11 === 0 ? null : { partition: key % 1_024, offset: key * 2 ** 24 }
  return { fingerprint: ~key, bodyBytes: key, storedAt, samples: key + 1, refusedSamples: key % 3 }
}

function commit(dedupe: Dedupe): void {
  writer.transaction(() => dedupe.flush())
  dedupe.settle()
}

const steps = fc.array(
  fc.oneof(
    { weight: 12, arbitrary: fc.record({ do: fc.constant('key' as const), key: fc.nat(60) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(1_500) }) },
    { weight: 4, arbitrary: fc.constant({ do: 'commit' as const }) },
    { weight: 2, arbitrary: fc.constant({ do: 'reopen' as const }) },
    { weight: 1, arbitrary: fc.constant({ do: 'discard' as const }) },
    { weight: 2, arbitrary: fc.constant({ do: 'collect' as const }) },
  ),
  { maxLength: 120 },
)

/**
 * A key is remembered while its generation is: generations begin with the first key after a quarter of the horizon,
 * and end when their newest key is a horizon old.
 */
class Oracle {
  #generations: { startMs: number; newestMs: number; keys: { key: number; atMs: number }[] }[] = []
  #stored = ''

  constructor() {
    this.commit()
  }

  find(key: number): number | null {
    for (const { keys } of this.#generations) {
      const found = keys.find((each) => each.key === key)
      if (found !== undefined) return found.atMs
    }
    return null
  }

  add(key: number, atMs: number): void {
    const newest = this.#generations.at(-1)
    if (newest !== undefined && atMs - newest.startMs < HORIZON_MS / GENERATIONS) {
      newest.keys.push({ key, atMs })
      newest.newestMs = atMs
    } else this.#generations.push({ startMs: atMs, newestMs: atMs, keys: [{ key, atMs }] })
  }

  advance(nowMs: number): void {
    this.#generations = this.#generations.filter(({ newestMs }) => newestMs + HORIZON_MS > nowMs)
  }

  commit(): void {
    this.#stored = JSON.stringify(this.#generations)
  }

  reopen(): void {
    this.#generations = JSON.parse(this.#stored)
  }

  get count(): number {
    return this.#generations.reduce((sum, { keys }) => sum + keys.length, 0)
  }
}

test('over random keys, times, commits and reopenings: what is remembered is what the oracle says', () => {
  let epochMs = 1_700_000_000_000
  fc.assert(
    fc.property(steps, (script) => {
      // A run begins when everything of the run before has expired.
      epochMs += 1_000_000
      let nowMs = epochMs
      let dedupe = writer.openDedupe(OPTIONS)
      const oracle = new Oracle()
      dedupe.keys.advance(nowMs)
      expect(dedupe.keys.count).toBe(0)
      for (const step of script) {
        if (step.do === 'key') {
          dedupe.keys.advance(nowMs)
          oracle.advance(nowMs)
          const known = oracle.find(step.key)
          const found = dedupe.keys.find(hashOf(step.key))
          expect(found).toEqual(known === null ? null : receiptOf(step.key))
          if (known !== null) expect(nowMs - known).toBeLessThan(HORIZON_MS + HORIZON_MS / GENERATIONS)
          if (known === null) {
            dedupe.keys.add(hashOf(step.key), receiptOf(step.key))
            oracle.add(step.key, nowMs)
          }
        } else if (step.do === 'wait') nowMs += step.ms
        else if (step.do === 'commit') {
          commit(dedupe)
          oracle.commit()
        } else if (step.do === 'collect') {
          while (dedupe.collect(nowMs));
          oracle.advance(nowMs)
        } else {
          if (step.do === 'reopen') dedupe = writer.openDedupe(OPTIONS)
          else dedupe.discard()
          oracle.reopen()
        }
        dedupe.keys.advance(nowMs)
        oracle.advance(nowMs)
        expect(dedupe.keys.count).toBe(oracle.count)
      }
      // The horizon from one side and the other, for every key.
      for (let key = 0; key <= 60; key++) {
        expect(dedupe.keys.find(hashOf(key)) !== null).toBe(oracle.find(key) !== null)
      }
    }),
    { numRuns: 80 },
  )
})

test('a key is remembered for the whole horizon of log time, and no longer than a quarter more', () => {
  const dedupe = writer.openDedupe(OPTIONS)
  const { keys } = dedupe
  keys.advance(10_000)
  keys.add(hashOf(1), receiptOf(1))
  // Another key of the same generation keeps it.
  keys.advance(10_000 + HORIZON_MS / GENERATIONS - 1)
  keys.add(hashOf(2), receiptOf(2))
  keys.advance(10_000 + HORIZON_MS - 1)
  expect(keys.find(hashOf(1))).toEqual(receiptOf(1))
  keys.advance(10_000 + HORIZON_MS + HORIZON_MS / GENERATIONS - 1)
  expect(keys.find(hashOf(1))).toBeNull()
  expect(keys.count).toBe(0)
})

test('time that steps back brings nothing back, and forgets nothing', () => {
  const { keys } = writer.openDedupe(OPTIONS)
  keys.advance(10_000)
  keys.add(hashOf(1), receiptOf(1))
  keys.advance(5_000)
  keys.add(hashOf(2), receiptOf(2))
  expect(keys.find(hashOf(1))).toEqual(receiptOf(1))
  keys.advance(10_000 + HORIZON_MS)
  keys.advance(10_000)
  expect(keys.find(hashOf(1))).toBeNull()
  expect(keys.find(hashOf(2))).toBeNull()
})

test('many keys, in blocks and tables that fill and grow, all come back after reopening; expired rows are deleted', () => {
  const count = BLOCK_ENTRIES * 120 + 7
  let dedupe = writer.openDedupe(OPTIONS)
  const of = (key: number): KeyHash => ({ a: Math.imul(key, 0x9e3779b1), b: key, c: 0, d: 0 })
  for (let key = 0; key < count; key++) {
    dedupe.keys.advance(20_000 + Math.floor(key / 4_000) * 1_001)
    dedupe.keys.add(of(key), receiptOf(key))
    if (key % 333 === 0) commit(dedupe)
  }
  commit(dedupe)
  for (let turn = 0; turn < 2; turn++) {
    expect(dedupe.keys.count).toBe(count)
    for (let key = 0; key < count; key += 17) expect(dedupe.keys.find(of(key))).toEqual(receiptOf(key))
    expect(dedupe.keys.find(of(count))).toBeNull()
    dedupe = writer.openDedupe(OPTIONS)
  }
  const size = (): number => writer.openDedupe({ ...OPTIONS, horizonMs: 1e9 }).keys.count
  expect(size()).toBe(count)
  while (dedupe.collect(1_000_000));
  expect(size()).toBe(0)
})

test('what is forgotten stays forgotten after reopening, though only a part of its rows is deleted', () => {
  const dedupe = writer.openDedupe(OPTIONS)
  for (let key = 0; key < 300 * BLOCK_ENTRIES; key++) {
    dedupe.keys.advance(10_000)
    dedupe.keys.add({ a: key, b: 0, c: 0, d: 0 }, receiptOf(1))
  }
  commit(dedupe)
  expect(dedupe.collect(10_000 + HORIZON_MS)).toBe(true)
  // The log itself is not that far: nothing was appended.
  const again = writer.openDedupe(OPTIONS)
  expect(again.keys.count).toBe(0)
  expect(again.keys.find({ a: 299 * BLOCK_ENTRIES, b: 0, c: 0, d: 0 })).toBeNull()
  expect(again.collect(0)).toBe(false)
})

test('at the limit the store says so, until keys have expired', () => {
  const { keys } = writer.openDedupe({ ...OPTIONS, keysMax: 2 })
  keys.advance(10_000)
  keys.add(hashOf(1), receiptOf(1))
  expect(keys.isFull).toBe(false)
  keys.add(hashOf(2), receiptOf(2))
  expect(keys.isFull).toBe(true)
  keys.advance(10_000 + HORIZON_MS)
  expect(keys.isFull).toBe(false)
})

test('a transaction that throws leaves nothing, and what was remembered in it can be given up', () => {
  const dedupe = writer.openDedupe(OPTIONS)
  dedupe.keys.advance(10_000)
  dedupe.keys.add(hashOf(1), receiptOf(1))
  commit(dedupe)
  dedupe.keys.add(hashOf(2), receiptOf(2))
  const failing = (): void =>
    writer.transaction(() => {
      dedupe.flush()
      throw new Error('no')
    })
  expect(failing).toThrow('no')
  // Not given up: still to be written.
  expect(dedupe.keys.find(hashOf(2))).toEqual(receiptOf(2))
  dedupe.discard()
  expect(dedupe.keys.find(hashOf(2))).toBeNull()
  expect(dedupe.keys.find(hashOf(1))).toEqual(receiptOf(1))
  expect(writer.openDedupe(OPTIONS).keys.count).toBe(1)
})

test('a damaged or missing block is a refusal that names it, not a key forgotten', async () => {
  const dedupe = writer.openDedupe(OPTIONS)
  dedupe.keys.advance(10_000)
  for (let key = 0; key < 3 * BLOCK_ENTRIES; key++)
    dedupe.keys.add({ a: key, b: 0, c: 0, d: 0 }, receiptOf(key))
  commit(dedupe)
  const env = openEnv(join(dir, LOG_FOLDER), store.fence)
  const table = env.table('keys')
  const row = new KeyBuffer().start().u64(10_000).u32(1).copy()
  const good = env.get(table, row)!
  const bad = good.slice()
  bad[2_000]! ^= 1
  env.transaction(() => env.put(table, row, bad))
  const named = /block 1 of the idempotency keys of generation 10000 in the log is damaged/
  expect(() => writer.openDedupe(OPTIONS)).toThrow(named)
  expect(() => dedupe.keys.find({ a: BLOCK_ENTRIES, b: 0, c: 0, d: 0 })).toThrow(named)
  env.transaction(() => {
    env.remove(table, row)
  })
  expect(() => writer.openDedupe(OPTIONS)).toThrow(named)
  env.transaction(() => env.put(table, row, good))
  expect(writer.openDedupe(OPTIONS).keys.count).toBe(3 * BLOCK_ENTRIES)
  await env.close()
})
