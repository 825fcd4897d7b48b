/** Producers against a naive oracle: all that was ever stored, kept for ever. Reopened and given up at will. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Receipt } from '../../contract/idempotency.ts'
import type { LogWriter } from '../log-contract.ts'
import { openLogWriter } from '../log-store.ts'
import { openStore, type Store } from '../store.ts'
import type { Dedupe } from './dedupe.ts'
import { PRODUCER_QUIET_MS, SEQUENCES_KEPT } from './producer-store.ts'

let dir: string
let store: Store
let writer: LogWriter

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'millrace-producers-'))
  store = await openStore({ dir })
  writer = openLogWriter({ dir, fence: store.fence })
})

afterEach(async () => {
  await writer.close()
  await store.close()
  rmSync(dir, { recursive: true, force: true })
})

const open = (producersMax = 1_000_000): Dedupe =>
  writer.openDedupe({ horizonMs: 1_000, keysMax: 10, producersMax })

function commit(dedupe: Dedupe): void {
  writer.transaction(() => dedupe.flush())
  dedupe.settle()
}

function receiptOf(sequence: number): Receipt {
  const storedAt = sequence % 5 === 4 ? null : { partition: sequence % 7, offset: sequence * 1_000 }
  return { fingerprint: sequence, bodyBytes: 1, storedAt, samples: sequence, refusedSamples: 0 }
}

interface Known {
  epoch: number
  readonly lasts: Record<number, number>
}

test('over random writes, repeats, jumps, epochs, commits and reopenings: every verdict is the oracle’s', () => {
  const step = fc.oneof(
    { weight: 2, arbitrary: fc.record({ do: fc.constant('grant' as const), name: fc.nat(2) }) },
    {
      weight: 12,
      arbitrary: fc.record({
        do: fc.constant('write' as const),
        name: fc.nat(2),
        topic: fc.nat(1),
        /** Against the next sequence and the newest epoch. */
        jump: fc.integer({ min: -8, max: 2 }),
        epoch: fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, fc.constantFrom(-1, 1)),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({ do: fc.constant('next' as const), name: fc.nat(2), topic: fc.nat(1) }),
    },
    { weight: 3, arbitrary: fc.constant({ do: 'commit' as const }) },
    { weight: 2, arbitrary: fc.constantFrom({ do: 'reopen' as const }, { do: 'discard' as const }) },
  )
  let run = 0
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (script) => {
      const names = [`a${run}`, `b${run}`, null]
      run++
      let dedupe = open()
      let known: Record<string, Known> = {}
      let stored = JSON.stringify(known)
      const ids: (number | undefined)[] = []
      for (const each of script) {
        if (each.do === 'grant') {
          const grant = dedupe.producers.grant(names[each.name]!, 5)!
          const isNew = each.name === 2 || known[grant.producerId] === undefined
          ids[each.name] = grant.producerId
          if (isNew) expect(Object.keys(known)).not.toContain(String(grant.producerId))
          const one = isNew ? { epoch: 0, lasts: {} } : known[grant.producerId]!
          if (!isNew) one.epoch++
          known[grant.producerId] = one
          expect(grant.producerEpoch).toBe(one.epoch)
          const lasts = Object.fromEntries(grant.topics.map((topic) => [topic.topicId, topic.lastSequence]))
          expect(lasts).toEqual(one.lasts)
        } else if (each.do === 'write' || each.do === 'next') {
          const id = ids[each.name] ?? 999_999
          const one = known[id]
          const jump = each.do === 'next' ? 0 : each.jump
          const epoch = (one?.epoch ?? 0) + (each.do === 'next' ? 0 : each.epoch)
          const next = (one?.lasts[each.topic] ?? -1) + 1
          const sequence = next + jump
          if (sequence < 0 || epoch < 0) continue
          const found = dedupe.producers.check(id, epoch, each.topic, sequence)
          if (one === undefined || epoch > one.epoch) expect(found).toEqual({ verdict: 'unknown_producer' })
          else if (epoch < one.epoch) expect(found).toEqual({ verdict: 'fenced', epoch: one.epoch })
          else if (sequence > next) expect(found).toEqual({ verdict: 'gap', expected: next })
          else if (sequence < next) {
            const receipt = next - sequence <= SEQUENCES_KEPT ? receiptOf(sequence) : null
            expect(found).toEqual({ verdict: 'duplicate', receipt })
          } else {
            expect(found).toEqual({ verdict: 'new' })
            dedupe.producers.record(id, each.topic, sequence, receiptOf(sequence), 5)
            one.lasts[each.topic] = sequence
          }
        } else if (each.do === 'commit') {
          commit(dedupe)
          stored = JSON.stringify(known)
        } else {
          if (each.do === 'reopen') dedupe = open()
          else dedupe.discard()
          known = JSON.parse(stored)
        }
      }
    }),
    { numRuns: 60 },
  )
})

test('an id is never given twice, also after its producer has lost its place', () => {
  let dedupe = open(2)
  const first = dedupe.producers.grant('first', 0)!
  dedupe.producers.grant('second', PRODUCER_QUIET_MS)
  dedupe.producers.record(first.producerId, 3, 0, receiptOf(0), 1_000)
  commit(dedupe)
  // Both have been heard of within a week: no place for a third.
  expect(dedupe.producers.grant('third', PRODUCER_QUIET_MS + 999)).toBeNull()
  expect(dedupe.producers.grant(null, PRODUCER_QUIET_MS + 999)).toBeNull()
  const third = dedupe.producers.grant('third', PRODUCER_QUIET_MS + 1_000)!
  expect(third.producerId).toBe(3)
  commit(dedupe)
  for (let turn = 0; turn < 2; turn++) {
    expect(dedupe.producers.count).toBe(2)
    expect(dedupe.producers.check(first.producerId, 0, 3, 0)).toEqual({ verdict: 'unknown_producer' })
    dedupe = open(2)
  }
  const again = dedupe.producers.grant('first', 3 * PRODUCER_QUIET_MS)!
  expect(again).toEqual({ producerId: 4, producerEpoch: 0, topics: [] })
})

test('a producer that asks again by its name learns what was stored last, and fences its predecessor', () => {
  const dedupe = open()
  const { producerId } = dedupe.producers.grant('meter', 0)!
  for (let sequence = 0; sequence < 9; sequence++) {
    dedupe.producers.record(producerId, 1, sequence, receiptOf(sequence), 0)
  }
  commit(dedupe)
  const grant = open().producers.grant('meter', 0)
  const storedAt = { partition: 1, offset: 8_000 }
  expect(grant).toEqual({ producerId, producerEpoch: 1, topics: [{ topicId: 1, lastSequence: 8, storedAt }] })
})
