import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { sealBatch } from '../batch/batch-encoder.ts'
import { BatchView } from '../batch/batch-view.ts'
import * as layout from '../batch/layout.ts'
import { RECORD_SAMPLES, RECORD_TICK } from '../contract/samples.ts'
import type { LogWriter } from './log-contract.ts'
import { openLogReader, openLogWriter } from './log-store.ts'
import { openStore, type Store } from './store.ts'

const SPEC = { name: 'metrics', partitions: 3, partitionBy: null }

let dir: string
let store: Store
let writer: LogWriter

beforeEach(async () => {
  dir = join(mkdtempSync(join(tmpdir(), 'millrace-log-')), 'data')
  store = await openStore({ dir })
  writer = openLogWriter({ dir, fence: store.fence })
})

afterEach(async () => {
  await writer.close()
  await store.close()
  rmSync(join(dir, '..'), { recursive: true, force: true })
})

interface BatchRequest {
  readonly topicId?: number
  readonly partition?: number
  readonly baseOffset: number
  readonly count: number
  readonly appendedMs: number
}

function batch({ topicId = 0, partition = 0, baseOffset, count, appendedMs }: BatchRequest): Uint8Array {
  const buffer = new ArrayBuffer(layout.batchBytes(count))
  const bytes = new Uint8Array(buffer)
  const times = new Float64Array(buffer, layout.timestampsAt(), count)
  const values = new Float64Array(buffer, layout.valuesAt(count), count)
  for (let i = 0; i < count; i++) {
    times[i] = appendedMs + i
    values[i] = baseOffset + i
  }
  sealBatch(bytes, new DataView(buffer), {
    kind: count === 0 ? RECORD_TICK : RECORD_SAMPLES,
    topicId,
    partition,
    baseOffset,
    count,
    minTimestampMs: appendedMs,
    maxTimestampMs: appendedMs,
    appendedMs,
    producerId: 0,
    producerEpoch: 0,
    baseSequence: -1,
  })
  return bytes
}

/** Appends `counts.length` batches to partition `partition`; the i-th is appended at log time 1000 + 10 i. */
function append(counts: readonly number[], partition = 0): void {
  writer.transaction((txn) => {
    txn.createTopic(SPEC)
    counts.forEach((count, i) => {
      const baseOffset = writer.endOffset(0, partition)
      txn.putBatch(batch({ partition, baseOffset, count, appendedMs: 1_000 + 10 * i }))
    })
  })
}

describe('append and read', () => {
  test('a batch reads back byte for byte from its base offset and from any offset it holds', async () => {
    append([5, 0, 100])
    const reader = openLogReader({ dir })
    const into = new ArrayBuffer(layout.BATCH_BYTES_MAX)
    const view = new BatchView(into)
    const want = batch({ baseOffset: 6, count: 100, appendedMs: 1_020 })
    for (const offset of [6, 7, 105]) {
      const length = reader.read(0, 0, offset, into)
      expect(Buffer.from(into, 0, length).equals(want)).toBe(true)
      expect(view.point(0).baseOffset).toBe(6)
    }
    expect(reader.read(0, 0, 5, into)).toBe(layout.batchBytes(0))
    expect(view.point(0).kind).toBe(RECORD_TICK)
    expect(reader.read(0, 0, 106, into)).toBe(0)
    expect(reader.tail(0, 0)).toEqual({ endOffset: 106, appendedMs: 1_020 })
    expect(reader.tail(0, 1)).toEqual({ endOffset: 0, appendedMs: Number.NEGATIVE_INFINITY })
    await reader.close()
  })

  test('reading from the beginning visits every batch once, largest batches included', async () => {
    append([layout.BATCH_SAMPLES_MAX, 1, layout.BATCH_SAMPLES_MAX, 0])
    const reader = openLogReader({ dir })
    const into = new ArrayBuffer(layout.BATCH_BYTES_MAX)
    const view = new BatchView(into)
    const bases: number[] = []
    let offset = reader.startOffset(0, 0)
    while (reader.read(0, 0, offset, into) > 0) {
      bases.push(view.point(0).baseOffset)
      offset = view.endOffset
    }
    const full = layout.BATCH_SAMPLES_MAX
    expect(bases).toEqual([0, full, full + 1, 2 * full + 1])
    expect(offset).toBe(reader.endOffset(0, 0))
    await reader.close()
  })

  test('offsets beyond 32 bits keep their order', async () => {
    append([1])
    const { endOffset } = { endOffset: writer.endOffset(0, 0) }
    expect(endOffset).toBe(1)
    const { KeyBuffer, readU64 } = await import('./keys.ts')
    const low = new KeyBuffer()
      .start()
      .u64(2 ** 32 - 1)
      .copy()
    const high = new KeyBuffer()
      .start()
      .u64(2 ** 32)
      .copy()
    expect(Buffer.compare(low, high)).toBe(-1)
    expect(readU64(new KeyBuffer().start().u64(Number.MAX_SAFE_INTEGER).copy(), 0)).toBe(
      Number.MAX_SAFE_INTEGER,
    )
  })

  test('offsetAtTime gives the first batch appended at or after a log time', async () => {
    append([4, 4, 4, 4])
    const reader = openLogReader({ dir })
    const found = [0, 1_000, 1_001, 1_010, 1_029, 1_030, 1_031].map((ms) => reader.offsetAtTime(0, 0, ms))
    expect(found).toEqual([0, 0, 4, 4, 12, 12, 16])
    expect(reader.offsetAtTime(0, 1, 0)).toBe(0)
    await reader.close()
  })

  test('offsetAtTime agrees with a linear search, ties included', async () => {
    writer.transaction((txn) => txn.createTopic({ ...SPEC, partitions: 1 }))
    const times: { base: number; ms: number }[] = []
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 5 }), fc.nat(3)), { maxLength: 8 }),
        (steps) => {
          writer.transaction((txn) => {
            for (const [count, stepMs] of steps) {
              const baseOffset = writer.endOffset(0, 0)
              const ms = (times.at(-1)?.ms ?? 0) + stepMs
              txn.putBatch(batch({ baseOffset, count, appendedMs: ms }))
              times.push({ base: baseOffset, ms })
            }
          })
          const reader = openLogReader({ dir })
          for (let ms = 0; ms <= (times.at(-1)?.ms ?? 0) + 1; ms++) {
            const want = times.find((time) => time.ms >= ms)?.base ?? writer.endOffset(0, 0)
            expect(reader.offsetAtTime(0, 0, ms)).toBe(want)
          }
          return reader.close().then(() => true) instanceof Promise
        },
      ),
      { numRuns: 15 },
    )
  })

  test('values may be reused at once after they were put', async () => {
    const bytes = batch({ baseOffset: 0, count: 3, appendedMs: 1 })
    const key = new Uint8Array([1, 2, 3])
    writer.transaction((txn) => {
      txn.createTopic(SPEC)
      txn.putSeries(0, 0, key)
      key.fill(9)
      txn.putBatch(bytes)
      bytes.fill(0)
    })
    const reader = openLogReader({ dir })
    expect(reader.read(0, 0, 0, new ArrayBuffer(layout.BATCH_BYTES_MAX))).toBe(layout.batchBytes(3))
    expect(reader.seriesKey(0, 0)).toEqual(new Uint8Array([1, 2, 3]))
    await reader.close()
  })

  test('a reader on another thread sees each commit as soon as it has returned', async () => {
    append([2])
    const code = `
      const { workerData, parentPort } = require('node:worker_threads')
      const { open } = require('lmdb')
      const options = { encoding: 'binary', keyEncoding: 'binary', cache: false }
      const root = open({ path: workerData, overlappingSync: false, maxReaders: 512, maxDbs: 16, ...options })
      const batches = root.openDB({ name: 'batches', ...options })
      parentPort.on('message', () => { root.resetReadTxn(); parentPort.postMessage(batches.getKeysCount()) })
      parentPort.postMessage('ready')`
    const worker = new Worker(code, { eval: true, workerData: join(dir, 'log') })
    const next = (): Promise<unknown> => new Promise((resolve) => worker.once('message', resolve))
    await next()
    const reader = openLogReader({ dir })
    for (let round = 1; round <= 20; round++) {
      append([1])
      worker.postMessage('count')
      expect(await next()).toBe(round + 1)
      expect(reader.endOffset(0, 0)).toBe(2 + round)
    }
    await worker.terminate()
    await reader.close()
  })
})

describe('topics and series', () => {
  test('a topic declared again with the same shape is the same topic', () => {
    const ids = writer.transaction((txn) => [txn.createTopic(SPEC).id, txn.createTopic({ ...SPEC }).id])
    expect(ids).toEqual([0, 0])
  })

  test('a topic declared differently is refused with what differs and what to write', () => {
    append([1])
    const redeclare = (): unknown =>
      writer.transaction((txn) => txn.createTopic({ name: 'metrics', partitions: 4, partitionBy: ['host'] }))
    expect(redeclare).toThrow(/partitions: the topic was made with 3 \(got 4\). Write partitions: 3/)
    expect(redeclare).toThrow(/partitionBy: .*whole series key/)
    expect(redeclare).toThrow(expect.objectContaining({ code: 'TOPIC_MISMATCH' }))
  })

  test('series ids are dense: another id than the next is a bug and stores nothing', () => {
    writer.transaction((txn) => {
      txn.createTopic(SPEC)
      txn.putSeries(0, 0, new Uint8Array([1]))
    })
    expect(() => writer.transaction((txn) => txn.putSeries(0, 2, new Uint8Array([1])))).toThrow(/dense/)
    expect(writer.nextSeriesId(0)).toBe(1)
  })

  test('topics, series and ends are there again after reopening', async () => {
    append([3])
    append([2], 2)
    writer.transaction((txn) => {
      txn.createTopic({ name: 'other', partitions: 1, partitionBy: ['host'] })
      txn.putSeries(0, 0, new Uint8Array([1]))
      txn.putSeries(0, 1, new Uint8Array([2]))
      txn.putSeries(1, 0, new Uint8Array([3]))
    })
    const bytes = writer.bytes
    await writer.close()
    writer = openLogWriter({ dir, fence: store.fence })
    expect(writer.topics().map(({ id, name }) => [id, name])).toEqual([
      [0, 'metrics'],
      [1, 'other'],
    ])
    expect(writer.topicOf('other')?.partitionBy).toEqual(['host'])
    expect([writer.nextSeriesId(0), writer.nextSeriesId(1)]).toEqual([2, 1])
    expect(writer.seriesOf(0).map((key) => key[0])).toEqual([1, 2])
    expect([0, 1, 2].map((partition) => writer.endOffset(0, partition))).toEqual([3, 0, 2])
    expect(writer.bytes).toBe(bytes)
    const reader = openLogReader({ dir })
    expect(reader.seriesOf(0, 1).map((key) => key[0])).toEqual([2])
    expect(reader.seriesKey(0, 7)).toBeNull()
    await reader.close()
  })
})

describe('transactions', () => {
  test('a throw in the body undoes the store and the writer’s memory', async () => {
    append([3])
    const bytes = writer.bytes
    const fail = (): void =>
      writer.transaction((txn) => {
        txn.createTopic({ name: 'second', partitions: 1, partitionBy: null })
        txn.putSeries(0, 0, new Uint8Array([1]))
        txn.putBatch(batch({ baseOffset: 3, count: 5, appendedMs: 2_000 }))
        throw new Error('no')
      })
    expect(fail).toThrow('no')
    expect([writer.endOffset(0, 0), writer.nextSeriesId(0), writer.bytes]).toEqual([3, 0, bytes])
    expect(writer.topicOf('second')).toBeNull()
    const reader = openLogReader({ dir })
    expect([reader.endOffset(0, 0), reader.topics().length, reader.seriesKey(0, 0)]).toEqual([3, 1, null])
    await reader.close()
    append([1])
    expect(writer.endOffset(0, 0)).toBe(4)
  })

  test('a batch that is not the next, steps back in log time or lies in shared memory is a bug', () => {
    append([3])
    const put = (bytes: Uint8Array) => () => writer.transaction((txn) => txn.putBatch(bytes))
    expect(put(batch({ baseOffset: 4, count: 1, appendedMs: 2_000 }))).toThrow(/partition’s end/)
    expect(put(batch({ baseOffset: 3, count: 1, appendedMs: 999 }))).toThrow(/never steps back/)
    const bytes = batch({ baseOffset: 3, count: 1, appendedMs: 2_000 })
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length))
    shared.set(bytes)
    expect(put(shared)).toThrow(/shared memory/)
    expect(writer.endOffset(0, 0)).toBe(3)
  })

  test('a writer with an older token is fenced and stores nothing', async () => {
    append([3])
    await store.close()
    store = await openStore({ dir })
    expect(() => append([1])).toThrow(expect.objectContaining({ code: 'STORE_FENCED' }))
    expect(writer.endOffset(0, 0)).toBe(3)
    const reader = openLogReader({ dir })
    expect(reader.endOffset(0, 0)).toBe(3)
    await reader.close()
  })
})

describe('damage', () => {
  /** Flips one bit of the first place in the log's file that holds `bytes`. */
  async function flipBitOf(bytes: Uint8Array, at: number): Promise<void> {
    await writer.close()
    await store.close()
    const path = join(dir, 'log', 'data.mdb')
    const file = readFileSync(path)
    const found = file.indexOf(bytes)
    expect(found).toBeGreaterThan(0)
    file[found + at]! ^= 0x10
    writeFileSync(path, file)
  }

  test('a flipped bit in an older batch is a refusal that names topic, partition and offset', async () => {
    append([200, 300, 200])
    await flipBitOf(batch({ baseOffset: 200, count: 300, appendedMs: 1_010 }), 2_000)
    store = await openStore({ dir })
    writer = openLogWriter({ dir, fence: store.fence })
    const reader = openLogReader({ dir })
    const into = new ArrayBuffer(layout.BATCH_BYTES_MAX)
    expect(reader.read(0, 0, 0, into)).toBeGreaterThan(0)
    const read = (): number => reader.read(0, 0, 250, into)
    expect(read).toThrow(/topic "metrics", partition 0, offset 200 is damaged \(wrong CRC\)/)
    expect(read).toThrow(expect.objectContaining({ code: 'STORE_DAMAGED', retryable: false }))
    expect(reader.read(0, 0, 500, into)).toBeGreaterThan(0)
    await reader.close()
  })

  test('opening for writing refuses a damaged newest batch by name', async () => {
    append([200, 300])
    await flipBitOf(batch({ baseOffset: 200, count: 300, appendedMs: 1_010 }), 100)
    store = await openStore({ dir })
    expect(() => openLogWriter({ dir, fence: store.fence })).toThrow(
      /topic "metrics", partition 0, offset 200 is damaged/,
    )
  })
})

describe('retention', () => {
  const forever = { nowMs: 0, ageMsMax: Number.POSITIVE_INFINITY, bytesMax: Number.POSITIVE_INFINITY }
  const nobody = (): number => Number.POSITIVE_INFINITY

  test('by age: whole batches older than the bound go, and reading them says so', async () => {
    append([4, 4, 4])
    const report = writer.retain({ ...forever, nowMs: 1_115, ageMsMax: 100, lowWater: nobody })
    expect(report).toMatchObject({
      deleted: [{ topicId: 0, partition: 0, startOffset: 8, batches: 2 }],
      batches: 2,
      more: false,
      heldBack: false,
    })
    const reader = openLogReader({ dir })
    expect(reader.startOffset(0, 0)).toBe(8)
    const read = (): number => reader.read(0, 0, 7, new ArrayBuffer(layout.BATCH_BYTES_MAX))
    expect(read).toThrow(/offset 7 was deleted by retention; the oldest kept is 8/)
    expect(read).toThrow(expect.objectContaining({ code: 'OFFSET_GONE' }))
    expect(reader.offsetAtTime(0, 0, 0)).toBe(8)
    expect(reader.bytesOf(0)).toBe(writer.bytesOf(0))
    await reader.close()
  })

  test('the newest batch stays, and what a consumer still needs is held back and reported', () => {
    append([4, 4, 4])
    const lowWater = (): number => 4
    const report = writer.retain({ ...forever, bytesMax: 0, lowWater })
    expect([report.batches, report.heldBack, writer.startOffset(0, 0)]).toEqual([1, true, 4])
    writer.retain({ ...forever, bytesMax: 0, lowWater: nobody })
    expect(writer.startOffset(0, 0)).toBe(8)
    expect(writer.endOffset(0, 0)).toBe(12)
  })

  test('a call deletes no more than it was allowed', () => {
    append([1, 1, 1, 1, 1])
    const request = { ...forever, bytesMax: 0, lowWater: nobody, deletionsMax: 2 }
    expect(writer.retain(request)).toMatchObject({ batches: 2, more: true })
    expect(writer.retain(request)).toMatchObject({ batches: 2, more: false })
  })

  test('the bytes of the file that hold nothing grow by what is deleted, and shrink by what is appended', () => {
    for (let i = 0; i < 40; i++) append([2_000])
    const before = writer.freeBytes()
    expect(before).toBeLessThan(20 * 4_096)
    const bytes = writer.bytes
    const { bytes: deleted } = writer.retain({ ...forever, bytesMax: bytes / 2, lowWater: nobody })
    expect(deleted).toBeGreaterThan(bytes / 3)
    const freed = writer.freeBytes()
    expect(Math.abs(freed - before - deleted)).toBeLessThan(20 * 4_096)
    for (let i = 0; i < 10; i++) append([2_000])
    expect(writer.freeBytes()).toBeLessThan(freed - deleted / 4)
  })

  test('bytes are accounted exactly: what is left is what reopening counts', async () => {
    append([1, 3_000, 100, 2_000])
    writer.retain({ ...forever, bytesMax: 50_000, lowWater: nobody })
    const { storedBytes } = await import('./log-tables.ts')
    const left = writer.startOffset(0, 0) === 3_101 ? [2_000] : [100, 2_000]
    const want = left.reduce((sum, count) => sum + storedBytes(layout.batchBytes(count)), 0)
    expect(writer.bytes).toBe(want)
  })
})
