/**
 * Requests that carry a key or a sequence, from LogInput over the ring to the log: each is in the log once, however often
 * it is sent, whatever is in flight at once, and wherever the writer is killed and opened again.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { BatchView } from '../batch/batch-view.ts'
import { BATCH_BYTES_MAX } from '../batch/layout.ts'
import { SampleBuilder } from '../batch/sample-builder.ts'
import { createDoorbell, Doorbell } from '../ring/doorbell.ts'
import { createRing, RingConsumer, RingProducer } from '../ring/spsc-ring.ts'
import { SeriesTable } from '../series/series-table.ts'
import type { LogWriter } from '../store/log-contract.ts'
import { openLogReader, openLogWriter } from '../store/log-store.ts'
import { openStore, type Store } from '../store/store.ts'
import { ManualClock } from '../util/clock.ts'
import {
  FRAME_DEFINE,
  FRAME_ONCE,
  FRAME_PRODUCER,
  FRAME_SAMPLES_MAX,
  INGEST_RING_BYTES_MIN,
  ONCE_KEY,
  ONCE_SEQUENCE,
  type OnceFrame,
  readDefinitions,
  readOnce,
  readProducer,
} from './ingest-frames.ts'
import { type Acknowledgement, LogAppender } from './log-appender.ts'
import { LogInput } from './log-input.ts'
import { layOutTopics } from './node-board.ts'
import { keyHash } from './request-identity.ts'

const PARTITIONS = 4
const HORIZON_MS = 100_000
let dir: string
let store: Store
let writer: LogWriter
let clock: ManualClock

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'millrace-once-'))
  clock = new ManualClock(1_000_000)
  store = await openStore({ dir, clock })
  writer = openLogWriter({ dir, fence: store.fence })
  writer.transaction((txn) => txn.createTopic({ name: 't', partitions: PARTITIONS, partitionBy: null }))
})

afterEach(async () => {
  await writer.close()
  await store.close()
  rmSync(dir, { recursive: true, force: true })
})

/** As a process that starts: nothing in memory but what the log holds. */
function harness(options: { seriesLimit?: number; keysMax?: number; producersMax?: number } = {}) {
  const { seriesLimit = 1_000, keysMax = 1_000, producersMax = 100 } = options
  const sab = createRing(INGEST_RING_BYTES_MIN)
  const room = createDoorbell()
  const input = new LogInput(new RingProducer(sab, new Doorbell(createDoorbell()), new Doorbell(room)))
  const ring = new RingConsumer(sab, new Doorbell(room))
  const topics = layOutTopics([{ topicId: 0, name: 't', partitions: PARTITIONS, partitionBy: null }])
  const dedupe = writer.openDedupe({ horizonMs: HORIZON_MS, keysMax, producersMax })
  const appender = new LogAppender({ writer, topics, seriesLimit, clock, dedupe })
  const { i32, f64, u8 } = ring
  const drain = (): void => {
    for (let kind = ring.peek(); kind >= 0; kind = ring.peek()) {
      const { position } = ring
      if (kind === FRAME_DEFINE) {
        readDefinitions(i32, u8, position, (topicId, id, key) => appender.define(0, topicId, id, key))
      } else if (kind === FRAME_ONCE) {
        const { requestId, topicId, once } = readOnce(i32, f64, position)
        appender.once(requestId, topicId, once)
      } else if (kind === FRAME_PRODUCER) {
        const { requestId, name } = readProducer(i32, f64, u8, position)
        appender.grant(requestId, name)
      } else appender.samples(0, i32, f64, position)
      ring.release()
    }
  }
  const commit = (): void => {
    drain()
    const { acks } = appender.commit()
    appender.recycle()
    for (const ack of acks) input.acknowledge(ack)
  }
  const table = new SeriesTable({ limit: 10_000 })
  /** One sample for each value, of series `s0`, `s1`, … */
  const send = (once: OnceFrame | null, values: readonly (readonly [series: number, value: number])[]) => {
    const builder = new SampleBuilder(4)
    for (const [series, value] of values) builder.push(table.intern({ __name__: `s${series}` }), value, value)
    return input.append(0, table.takeNew(), builder, once)
  }
  const grant = async (name: string | null) => {
    const asked = input.openProducer(name)
    commit()
    return (await asked).grant
  }
  return { input, appender, drain, commit, send, table, grant }
}

interface StoredSample {
  readonly partition: number
  readonly offset: number
  readonly value: number
  readonly producer: string
}

function readAll(): StoredSample[] {
  const reader = openLogReader({ dir })
  const buffer = new ArrayBuffer(BATCH_BYTES_MAX)
  const view = new BatchView(buffer)
  const stored: StoredSample[] = []
  for (let partition = 0; partition < PARTITIONS; partition++) {
    for (let offset = 0; reader.read(0, partition, offset, buffer) > 0; offset = view.endOffset) {
      view.point(0)
      const producer = `${view.producerId}/${view.producerEpoch}/${view.baseSequence}`
      for (let i = 0; i < view.count; i++) {
        const value = view.values[view.valuesAt + i]!
        stored.push({ partition, offset: view.baseOffset + i, value, producer })
      }
    }
  }
  void reader.close()
  return stored
}

const keyed = (key: string, fingerprint = 1): OnceFrame => ({
  kind: ONCE_KEY,
  hash: keyHash('t', key),
  fingerprint,
  bodyBytes: 10,
})

const numbered = (
  producerId: number,
  sequence: number,
  producerEpoch = 0,
  fingerprint = sequence,
): OnceFrame => ({
  kind: ONCE_SEQUENCE,
  producerId,
  producerEpoch,
  sequence,
  fingerprint,
  bodyBytes: 10,
})

test('requests sent at random, again and again, across kills: each is in the log once, and says where', async () => {
  let run = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          /** 0 to 3: a key of its own; 4, 5: the producer's sequences. */
          what: fc.nat(5),
          size: fc.integer({ min: 1, max: 40 }),
          next: fc.constantFrom('go on', 'go on', 'commit', 'commit', 'kill', 'commit, answers lost, kill'),
        }),
        { maxLength: 40 },
      ),
      async (script) => {
        run++
        let node = harness()
        const { producerId } = (await node.grant(`p${run}`))!
        /** By identity: the values it was first sent with. */
        const bodies = new Map<string, number[]>()
        const places = new Map<string, string>()
        let value = run * 1e6
        let nextSequence = 0
        let answers: { readonly name: string; readonly ack: Promise<Acknowledgement> }[] = []
        const check = async () => {
          for (const { name, ack } of answers) {
            const { once, samples } = await ack
            expect(['stored', 'duplicate']).toContain(once!.verdict)
            const place = JSON.stringify(once!.storedAt)
            expect(places.get(name) ?? place).toBe(place)
            places.set(name, place)
            if (once!.verdict === 'duplicate') expect(samples).toBe(0)
          }
          answers = []
        }
        for (const { what, size, next } of script) {
          const sequence = what === 4 ? nextSequence : Math.max(0, nextSequence - 1)
          const name = what < 4 ? `key-${run}-${what}` : `sequence-${sequence}`
          let body = bodies.get(name)
          if (body === undefined) {
            body = Array.from({ length: size }, () => ++value)
            bodies.set(name, body)
          }
          if (what >= 4) nextSequence = Math.max(nextSequence, sequence + 1)
          const once = what < 4 ? keyed(name) : numbered(producerId, sequence)
          const ack = node.send(
            once,
            body.map((each) => [each % 9, each]),
          )
          answers.push({ name, ack })
          if (next === 'commit') {
            node.commit()
            await check()
          } else if (next !== 'go on') {
            if (next !== 'kill') {
              node.drain()
              node.appender.commit()
            }
            // The client cannot know what was stored: it sends all that was not answered again, in order.
            const unanswered = [...new Set(answers.map((answer) => answer.name))]
            answers = []
            node = harness()
            for (const again of unanswered) {
              const number = /^sequence-(\d+)$/.exec(again)?.[1]
              const first = number === undefined ? keyed(again) : numbered(producerId, Number(number))
              const values = bodies.get(again)!.map((each) => [each % 9, each] as const)
              answers.push({ name: again, ack: node.send(first, values) })
            }
          }
        }
        node.commit()
        await check()
        const mine = readAll().filter((sample) => sample.value > run * 1e6)
        const sent = [...bodies.values()].flat().sort((a, b) => a - b)
        expect(mine.map((sample) => sample.value).sort((a, b) => a - b)).toEqual(sent)
        for (const [name, [first]] of bodies) {
          const { partition, offset } = mine.find((sample) => sample.value === first)!
          expect(places.get(name)).toBe(JSON.stringify({ partition, offset }))
        }
      },
    ),
    { numRuns: 40 },
  )
})

test('two copies in flight at once, in one transaction: one is stored, both are answered with its place', async () => {
  const { send, commit } = harness()
  const first = send(keyed('k'), [[1, 1]])
  const second = send(keyed('k'), [[1, 1]])
  commit()
  const place = (await first).once!.storedAt
  expect(place).not.toBeNull()
  expect((await first).once).toMatchObject({ verdict: 'stored', samples: 1 })
  expect((await second).once).toMatchObject({ verdict: 'duplicate', storedAt: place, samples: 1 })
  expect(readAll()).toHaveLength(1)
})

test('a duplicate larger than the ring leaves nothing behind, and what comes after it is whole', async () => {
  const { send, commit, drain, appender } = harness()
  const count = FRAME_SAMPLES_MAX * 4 + 17
  const values = Array.from({ length: count }, (_, i) => [i % 7, i] as const)
  for (const verdict of ['stored', 'duplicate']) {
    const appended = send(keyed('large'), values)
    do {
      drain()
      await new Promise((resolve) => setTimeout(resolve, 1))
    } while (appender.requestOpen)
    commit()
    expect((await appended).once!.verdict).toBe(verdict)
  }
  const after = send(null, [[1, -1]])
  commit()
  expect(await after).toMatchObject({ samples: 1, once: null })
  expect(readAll()).toHaveLength(count + 1)
})

test('the same key or sequence with another body is refused, and nothing of it is stored, not even a new series', async () => {
  const { send, commit, grant, appender } = harness()
  const { producerId } = (await grant(null))!
  const first = [send(keyed('k'), [[1, 1]]), send(numbered(producerId, 0), [[1, 2]])]
  commit()
  const series = appender.seriesCount(0)
  const places = (await Promise.all(first)).map((ack) => ack.once!.storedAt)
  const others = [send(keyed('k', 2), [[20, 3]]), send(numbered(producerId, 0, 0, 9), [[21, 4]])]
  commit()
  const refused = (await Promise.all(others)).map((ack) => ack.once)
  expect(refused.map((once) => once!.verdict)).toEqual(['reused', 'reused'])
  expect(refused.map((once) => once!.storedAt)).toEqual(places)
  expect(readAll()).toHaveLength(2)
  expect(appender.seriesCount(0)).toBe(series)
  // The series is there for whoever may store it.
  const stored = send(keyed('other'), [[20, 3]])
  commit()
  expect((await stored).samples).toBe(1)
})

test('a key is remembered for the horizon of log time, across restarts, and then free', async () => {
  let node = harness()
  const sendAt = async (ms: number) => {
    clock.advance(ms)
    node = harness()
    const ack = node.send(keyed('k'), [[1, 1]])
    node.commit()
    return (await ack).once!.verdict
  }
  expect(await sendAt(0)).toBe('stored')
  expect(await sendAt(HORIZON_MS - 1)).toBe('duplicate')
  expect(await sendAt(1)).toBe('stored')
  // A clock that steps back does not make log time step back.
  expect(await sendAt(-HORIZON_MS)).toBe('duplicate')
  expect(readAll()).toHaveLength(2)
})

test('gaps, fenced epochs and unknown producers are told apart, and store nothing', async () => {
  const { send, commit, grant } = harness()
  const { producerId } = (await grant('meter'))!
  const once = async (frame: OnceFrame) => {
    const ack = send(frame, [[1, 1]])
    commit()
    return (await ack).once!
  }
  expect((await once(numbered(producerId, 0))).verdict).toBe('stored')
  expect(await once(numbered(producerId, 2))).toMatchObject({ verdict: 'gap', expected: 1 })
  expect((await once(numbered(producerId, 1))).verdict).toBe('stored')
  expect(await grant('meter')).toMatchObject({ producerId, producerEpoch: 1 })
  expect(await once(numbered(producerId, 2))).toMatchObject({ verdict: 'fenced', expected: 1 })
  expect((await once(numbered(producerId, 1, 1))).verdict).toBe('duplicate')
  expect((await once(numbered(producerId, 2, 2))).verdict).toBe('unknown_producer')
  expect((await once(numbered(77, 0))).verdict).toBe('unknown_producer')
  expect((await once(numbered(producerId, 2, 1))).verdict).toBe('stored')
  expect(readAll()).toHaveLength(3)
})

test('of what nothing could be stored a key stays free, and a sequence is used up', async () => {
  const { send, commit, grant } = harness({ seriesLimit: 1 })
  const { producerId } = (await grant(null))!
  const verdicts = async (...acks: Promise<Acknowledgement>[]) => {
    commit()
    return (await Promise.all(acks)).map((ack) => [ack.once!.verdict, ack.once!.storedAt])
  }
  const first = send(null, [[1, 1]])
  commit()
  await first
  expect(await verdicts(send(keyed('k'), [[2, 1]]), send(keyed('k'), [[2, 1]]))).toEqual([
    ['stored', null],
    ['stored', null],
  ])
  const empty = [send(numbered(producerId, 0), []), send(numbered(producerId, 0), [])]
  expect(await verdicts(...empty, send(numbered(producerId, 1), [[2, 1]]))).toEqual([
    ['stored', null],
    ['duplicate', null],
    ['stored', null],
  ])
  expect(readAll()).toHaveLength(1)
})

test('the place is that of the first sample stored, though the series before it are refused', async () => {
  const { send, commit } = harness({ seriesLimit: 2 })
  const first = send(null, [
    [1, 1],
    [2, 2],
  ])
  commit()
  await first
  const ack = send(keyed('k'), [
    [3, 3],
    [4, 4],
    [2, 5],
    [1, 6],
  ])
  commit()
  const { once } = await ack
  expect(once).toMatchObject({ samples: 2, refusedSamples: 2 })
  const { partition, offset } = readAll().find((sample) => sample.value === 5)!
  expect(once!.storedAt).toEqual({ partition, offset })
})

test('beyond the limit of keys a new one is refused and known ones are still known', async () => {
  const { send, commit } = harness({ keysMax: 1 })
  const acks = [send(keyed('a'), [[1, 1]]), send(keyed('b'), [[1, 2]]), send(keyed('a'), [[1, 1]])]
  commit()
  const verdicts = (await Promise.all(acks)).map((ack) => ack.once!.verdict)
  expect(verdicts).toEqual(['stored', 'keys_full', 'duplicate'])
  expect(readAll()).toHaveLength(1)
})

test('a batch names the producer and sequence of its samples, and none where it may hold those of others', async () => {
  const { send, commit, grant } = harness()
  const { producerId } = (await grant(null))!
  void send(numbered(producerId, 0), [[1, 1]])
  commit()
  void send(numbered(producerId, 1), [[1, 2]])
  void send(null, [[1, 3]])
  commit()
  void send(null, [[1, 4]])
  commit()
  expect(readAll().map(({ value, producer }) => [value, producer])).toEqual([
    [1, `${producerId}/0/0`],
    [2, '0/0/-1'],
    [3, '0/0/-1'],
    [4, '0/0/-1'],
  ])
})
