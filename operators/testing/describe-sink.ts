/**
 * The contract of sinks, as tests that every sink runs: killed between any two calls and opened again from what was last
 * remembered, a transactional sink's target holds neither gap nor duplicate, an idempotent one every record, and an
 * at-least-once one every record in order, with repeats that are equal by id. A kill throws the sink away, before or
 * after the call it fell into, with the call's answer unseen.
 */
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import type { Alert } from '../../engine/contract/alert.ts'
import type { MillraceError } from '../../engine/contract/errors.ts'
import type {
  LateBody,
  ResultBody,
  Sink,
  SinkContext,
  SinkPositions,
  SinkProgress,
  SinkRecord,
} from '../../engine/contract/plugins.ts'
import { positionAfter, recordJson } from '../sinks/record-json.ts'

export interface Received {
  readonly id: string
  /** The record as the target holds it, in the sink's JSON. */
  readonly text: string
}

/** One target, which outlives the sinks that write to it. */
export interface SinkTarget {
  open(context: SinkContext): Promise<Sink>
  /** In order of arrival. */
  received(): Promise<readonly Received[]>
  dispose(): Promise<void>
}

const PARTITIONS = 3
const RECORDS_A_PARTITION = 5
const BATCH_RECORDS = 4
/** More calls than any life of the stream above takes. */
const CALLS_MAX = 40

export function describeSink(
  name: string,
  guarantee: Sink['guarantee'],
  makeTarget: () => Promise<SinkTarget>,
): void {
  const targets: SinkTarget[] = []
  const target = async (): Promise<SinkTarget> => {
    const made = await makeTarget()
    targets.push(made)
    return made
  }
  afterEach(async () => {
    for (const made of targets.splice(0)) await made.dispose()
  })

  describe(`${name} keeps the contract of ${guarantee} sinks`, () => {
    test('every record arrives once and in order when nothing fails', async () => {
      const to = await target()
      const end = await live(to, START, { calls: CALLS_MAX, lastCounts: true, turn: 0 })
      expect(end.done).toBe(true)
      expectReceived(guarantee, await to.received())
      expect(await to.received()).toHaveLength(PARTITIONS * RECORDS_A_PARTITION)
    })

    test(`killed between any two calls, ${PROMISE[guarantee]}`, async () => {
      for (let calls = 0; calls < CALLS_MAX; calls++) {
        for (const lastCounts of [false, true]) {
          const to = await target()
          const first = await live(to, START, { calls, lastCounts, turn: 0 })
          const second = await live(to, first.remembered, { calls: CALLS_MAX, lastCounts: true, turn: 1 })
          expect(second.done).toBe(true)
          expectReceived(guarantee, await to.received())
          if (first.done) return
        }
      }
      expect.fail('a life took more calls than the test allows')
    })

    test(`killed again and again, ${PROMISE[guarantee]}`, async () => {
      const life = fc.record({
        calls: fc.integer({ min: 0, max: 8 }),
        lastCounts: fc.boolean(),
        turn: fc.nat(PARTITIONS - 1),
      })
      await fc.assert(
        fc.asyncProperty(fc.array(life, { maxLength: 8 }), async (lives) => {
          const to = await target()
          let remembered = START
          for (const each of lives) remembered = (await live(to, remembered, each)).remembered
          const end = await live(to, remembered, { calls: CALLS_MAX, lastCounts: true, turn: 0 })
          expect(end.done).toBe(true)
          expectReceived(guarantee, await to.received())
        }),
        { numRuns: 25 },
      )
    })

    test('it says its guarantee, and may be closed twice', async () => {
      const sink = await (await target()).open(testContext())
      expect(sink.guarantee).toBe(guarantee)
      await sink.close()
      await sink.close()
    })
  })
}

const PROMISE: Readonly<Record<Sink['guarantee'], string>> = {
  transactional: 'the target holds neither gap nor duplicate',
  idempotent: 'the target holds every record as it is',
  'at-least-once': 'the target misses nothing, and repeats are equal by id',
}

/** Records of every kind, as a result stream holds them: seqs that other feeds take are left out, entries have rows. */
export function testStream(partition: number): readonly SinkRecord[] {
  const records: SinkRecord[] = []
  for (let i = 0; i < RECORDS_A_PARTITION; i++) {
    const seq = 3 * Math.floor(i / 2) + partition
    const row = i % 2
    records.push({ id: `pipe/${partition}/${seq}/${row}`, partition, seq, row, body: testBody(partition, i) })
  }
  return records
}

export function testContext(change: Partial<SinkContext> = {}): SinkContext {
  const unexpected = (error: MillraceError): void => {
    throw error
  }
  return {
    pipeline: 'pipe',
    sink: 'sink',
    warn: unexpected,
    deadLetter: (_records, error) => unexpected(error),
    signal: new AbortController().signal,
    ...change,
  }
}

/** The records of the test streams from the positions on, partition by partition. */
export function* expectedFrom(positions: SinkPositions): Generator<SinkRecord, void, void> {
  for (const [partition, { seq, row }] of Object.entries(positions)) {
    for (const record of testStream(Number(partition))) {
      if (record.seq > seq || (record.seq === seq && record.row >= row)) yield record
    }
  }
}

export const START: SinkProgress = {
  positions: Object.fromEntries(
    Array.from({ length: PARTITIONS }, (_, partition) => [partition, { seq: 0, row: 0 }]),
  ),
  token: null,
}

interface Life {
  /** Calls until the kill, opening and remembering among them. */
  readonly calls: number
  /** The kill falls after the last call rather than before it; its answer is unseen either way. */
  readonly lastCounts: boolean
  /** The partition whose records come first. */
  readonly turn: number
}

class Killed extends Error {}

/** What the outbox does, as a list of calls that a kill can cut anywhere. */
async function live(
  target: SinkTarget,
  from: SinkProgress,
  life: Life,
): Promise<{ remembered: SinkProgress; done: boolean }> {
  const stop = new AbortController()
  let remembered = from
  let callsLeft = life.calls
  let thrownAway: Sink | null = null
  const call = async <T>(body: () => Promise<T>): Promise<T> => {
    const last = callsLeft-- <= 1
    if (last && !life.lastCounts) throw new Killed()
    const answer = await body()
    if (last) throw new Killed()
    return answer
  }
  const remember = (progress: SinkProgress): Promise<void> =>
    call(async () => {
      remembered = structuredClone(progress)
    })
  try {
    const sink = await call(async () => {
      thrownAway = await target.open(testContext({ signal: stop.signal }))
      return thrownAway
    })
    let progress = from
    if (sink.guarantee === 'transactional') progress = await call(() => sink.position(from, expectedFrom))
    await remember(progress)
    for (const batch of batches(progress.positions, life.turn)) {
      let token: unknown = null
      if (sink.guarantee === 'transactional') token = await call(() => sink.write(batch))
      else if (sink.guarantee === 'idempotent') await call(() => sink.upsert(batch))
      else await call(() => sink.send(batch))
      const positions: Record<string, SinkPositions[string]> = { ...progress.positions }
      for (const record of batch) positions[record.partition] = positionAfter(record)
      progress = { positions, token }
      await remember(progress)
    }
    return { remembered, done: true }
  } catch (error) {
    if (!(error instanceof Killed)) throw error
    return { remembered, done: false }
  } finally {
    stop.abort()
    await (thrownAway as Sink | null)?.close()
  }
}

/** Partitions in turn; another turn gives other batches, as another timing of commits would. */
function* batches(positions: SinkPositions, turn: number): Generator<readonly SinkRecord[]> {
  const streams = Array.from({ length: PARTITIONS }, (_, i) => {
    const partition = String((i + turn) % PARTITIONS)
    return [...expectedFrom({ [partition]: positions[partition]! })]
  })
  for (;;) {
    const batch: SinkRecord[] = []
    for (const stream of streams) batch.push(...stream.splice(0, 1 + turn))
    if (batch.length === 0) return
    for (let at = 0; at < batch.length; at += BATCH_RECORDS) yield batch.slice(at, at + BATCH_RECORDS)
  }
}

function expectReceived(guarantee: Sink['guarantee'], received: readonly Received[]): void {
  const ids = received.map(({ id }) => id)
  const distinct = [...new Set(ids)]
  if (guarantee === 'transactional') expect(ids).toEqual(distinct)
  const byId = new Map<string, string>()
  for (const { id, text } of received) {
    const repeated = byId.get(id)
    if (repeated !== undefined) expect(text).toBe(repeated)
    byId.set(id, text)
  }
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const wanted = testStream(partition)
    const firstSeen = distinct.filter((id) => id.startsWith(`pipe/${partition}/`))
    const wantedIds = wanted.map(({ id }) => id)
    if (guarantee === 'idempotent') expect(firstSeen.sort()).toEqual(wantedIds.sort())
    else expect(firstSeen).toEqual(wantedIds)
    for (const record of wanted) expect(byId.get(record.id)).toBe(recordJson(record))
  }
  expect(distinct).toHaveLength(PARTITIONS * RECORDS_A_PARTITION)
}

function testBody(partition: number, i: number): ResultBody | Alert | LateBody {
  const group = { host: `h${partition}`, note: 'größer "quoted"\n' }
  if (i % 3 === 0) {
    return {
      kind: 'result',
      pipeline: 'pipe',
      group,
      windowStartMs: i * 1_000,
      windowEndMs: (i + 1) * 1_000,
      values: { mean: i + 0.5, rate: null },
      scores: { ewma: { score: 1.25, expected: 1, lower: 0, upper: 2 } },
    }
  }
  if (i % 3 === 1) {
    return {
      kind: 'late',
      pipeline: 'pipe',
      series: group,
      timestampMs: i + 0.25,
      value: -i,
      offset: i,
    }
  }
  return {
    kind: 'alert',
    id: `pipe/ewma/${partition}/0/${i}`,
    pipeline: 'pipe',
    detector: 'ewma',
    column: 'mean',
    group,
    state: 'firing',
    sinceMs: i,
    atMs: i,
    value: 9,
    score: 3,
    expected: 1,
    lower: 0,
    upper: 2,
    direction: 'up',
    severity: 'warning',
    reason: 'mean 9 is above the band',
  }
}
