/** What is said → ring → LogAppender → log: one row and one record in one transaction, decided by the log writer alone. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { BatchView } from '../batch/batch-view.ts'
import { BATCH_BYTES_MAX } from '../batch/layout.ts'
import type { FeedbackOutcome, FeedbackRequest, FeedbackRow } from '../contract/feedback.ts'
import { RECORD_FEEDBACK } from '../contract/samples.ts'
import { createDoorbell, Doorbell } from '../ring/doorbell.ts'
import { createRing, RingConsumer, RingProducer } from '../ring/spsc-ring.ts'
import type { LogWriter } from '../store/log-contract.ts'
import { openLogReader, openLogWriter } from '../store/log-store.ts'
import { openStore, type Store } from '../store/store.ts'
import { ManualClock } from '../util/clock.ts'
import { FeedbackBook } from './feedback-book.ts'
import { FRAME_FEEDBACK, INGEST_RING_BYTES_MIN, readFeedback } from './ingest-frames.ts'
import { LogAppender } from './log-appender.ts'
import { LogInput } from './log-input.ts'
import { layOutTopics } from './node-board.ts'

let dir: string
let store: Store
let writer: LogWriter
let clock: ManualClock

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'millrace-feedback-'))
  clock = new ManualClock(1_000_000)
  store = await openStore({ dir, clock })
  writer = openLogWriter({ dir, fence: store.fence })
  writer.transaction((txn) => txn.createTopic({ name: 't', partitions: 3, partitionBy: null }))
})

afterEach(async () => {
  await writer.close()
  await store.close()
  rmSync(dir, { recursive: true, force: true })
})

function harness() {
  const sab = createRing(INGEST_RING_BYTES_MIN)
  const room = createDoorbell()
  const input = new LogInput(new RingProducer(sab, new Doorbell(createDoorbell()), new Doorbell(room)))
  const ring = new RingConsumer(sab, new Doorbell(room))
  const topics = layOutTopics([{ topicId: 0, name: 't', partitions: 3, partitionBy: null }])
  const appender = new LogAppender({ writer, topics, seriesLimit: 10, clock })
  const commit = (): void => {
    for (let kind = ring.peek(); kind >= 0; kind = ring.peek()) {
      expect(kind).toBe(FRAME_FEEDBACK)
      const { requestId, request } = readFeedback(ring.i32, ring.f64, ring.u8, ring.position)
      appender.feedback(requestId, request)
      ring.release()
    }
    const { acks } = appender.commit()
    appender.recycle()
    for (const ack of acks) input.acknowledge(ack)
  }
  /** All at once, in one transaction. */
  const say = async (...requests: FeedbackRequest[]): Promise<FeedbackOutcome[]> => {
    const asked = requests.map((request) => input.sayFeedback(request))
    commit()
    return (await Promise.all(asked)).map(({ feedback }) => feedback!)
  }
  return { say, appender }
}

function expected(change: Partial<FeedbackRow> = {}): FeedbackRequest {
  const about = { pipeline: 'p', detector: 'd', group: { host: 'a' }, topic: 't', partition: 2 }
  const what = { timeMs: 5_000, alert: 'p/d/2/0/5000', score: 1.4, target: 1.4, note: 'why', by: 'ada' }
  return { says: 'expected', ...about, ...what, ...change } as FeedbackRequest
}

function undo(of: number): FeedbackRequest {
  return { says: 'undo', of, note: null, by: null }
}

function recordAt(partition: number, offset: number): BatchView {
  const reader = openLogReader({ dir })
  const buffer = new ArrayBuffer((BATCH_BYTES_MAX + 7) & ~7)
  expect(reader.read(0, partition, offset, buffer)).toBe(80)
  void reader.close()
  return new BatchView(buffer).point(0)
}

test('a statement is a row, and a control record of the group’s partition that names it', async () => {
  const { say } = harness()
  const [outcome] = await say(expected())
  expect(outcome).toMatchObject({
    kind: 'taken',
    row: { id: 1, partition: 2, offset: 0, before: 1, after: 1.4, note: 'why', by: 'ada', of: null },
  })
  const view = recordAt(2, 0)
  expect([view.kind, view.minTimestampMs, view.count]).toEqual([RECORD_FEEDBACK, 1, 0])
  const [row] = writer.feedback()
  expect(row).toEqual((outcome as { row: FeedbackRow }).row)
  expect([row!.appendedMs, row!.saidMs]).toEqual([view.appendedMs, 1_000_000])
})

test('two who say the same at once say it once, and so does one who says it again after a restart', async () => {
  const { say } = harness()
  const [first, second] = await say(expected({ by: 'ada' }), expected({ by: 'bob' }))
  expect(second).toEqual({ kind: 'repeated', row: (first as { row: FeedbackRow }).row })
  // Another alert of the same group is another statement.
  const [other] = await say(expected({ timeMs: 6_000, alert: 'p/d/2/0/6000', target: 1.7 }))
  expect(other).toMatchObject({ kind: 'taken', row: { id: 2, before: 1.4, after: 1.7 } })
  const again = harness()
  expect(await again.say(expected())).toMatchObject([{ kind: 'repeated', row: { id: 1, by: 'ada' } }])
  // An id that names another group now, since the pipeline was reset: the group decides.
  expect(await again.say(expected({ group: { host: 'b' } }))).toMatchObject([
    { kind: 'taken', row: { id: 3, before: 1, after: 1.4 } },
  ])
  expect(writer.endOffset(0, 2)).toBe(3)
})

test('an undo takes a statement back once, in its partition; then it can be said anew', async () => {
  const { say } = harness()
  await say(expected(), expected({ timeMs: 6_000, target: 1.8 }))
  expect(await say(undo(1))).toMatchObject([
    { kind: 'taken', row: { id: 3, says: 'undo', of: 1, partition: 2, offset: 2, before: 1.8, after: 1.8 } },
  ])
  expect(await say(undo(1))).toMatchObject([{ kind: 'repeated', row: { id: 3 } }])
  expect(await say(undo(2))).toMatchObject([{ kind: 'taken', row: { before: 1.8, after: 1 } }])
  expect(await say(undo(9), undo(3))).toEqual([{ kind: 'unknown' }, { kind: 'no-statement' }])
  expect(await harness().say(expected())).toMatchObject([{ kind: 'taken', row: { id: 5, after: 1.4 } }])
})

test('at the limit nothing is taken, and what was said is still known', () => {
  const row = (id: number, timeMs: number): FeedbackRow => ({
    ...(expected({ timeMs }) as FeedbackRow),
    id,
    of: null,
    saidMs: 0,
    offset: id,
    appendedMs: 0,
    before: 1,
    after: 1,
  })
  const book = new FeedbackBook([row(1, 1), row(2, 2)], 2)
  expect(book.decide(expected({ timeMs: 3 }), 0)).toEqual({ kind: 'full' })
  expect(book.decide(undo(1), 0)).toEqual({ kind: 'full' })
  expect(book.decide(expected({ timeMs: 2 }), 0)).toMatchObject({ kind: 'repeated' })
})

test('a transaction that fails leaves neither the row nor the record', () => {
  const { appender } = harness()
  const { transaction } = writer
  writer.transaction = (body) =>
    transaction.call(writer, (txn) => {
      body(txn)
      throw new Error('the disk is full')
    }) as never
  appender.feedback(1, expected())
  expect(() => appender.commit()).toThrow('the disk is full')
  expect([writer.feedback(), writer.endOffset(0, 2)]).toEqual([[], 0])
})
