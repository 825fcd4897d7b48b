/** LogInput → ring → LogAppender → log, on one thread: what a request promises, against an oracle of plain arrays. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { BatchView } from '../batch/batch-view.ts'
import { BATCH_BYTES_MAX, BATCH_SAMPLES_MAX } from '../batch/layout.ts'
import { SampleBuilder } from '../batch/sample-builder.ts'
import { RECORD_END, RECORD_RESUMED, RECORD_SAMPLES, RECORD_TICK } from '../contract/samples.ts'
import { createDoorbell, Doorbell } from '../ring/doorbell.ts'
import { createRing, RingConsumer, RingProducer } from '../ring/spsc-ring.ts'
import { decodeSeriesKey, partitionOf, seriesText } from '../series/series-key.ts'
import { SeriesTable } from '../series/series-table.ts'
import type { LogWriter } from '../store/log-contract.ts'
import { openLogReader, openLogWriter } from '../store/log-store.ts'
import { openStore, type Store } from '../store/store.ts'
import { ManualClock } from '../util/clock.ts'
import {
  FRAME_DEFINE,
  FRAME_END,
  FRAME_SAMPLES_MAX,
  INGEST_RING_BYTES_MIN,
  readDefinitions,
} from './ingest-frames.ts'
import { LogAppender } from './log-appender.ts'
import { LogInput } from './log-input.ts'
import { layOutTopics } from './node-board.ts'

const PARTITIONS = 4
let dir: string
let store: Store
let writer: LogWriter
let clock: ManualClock

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'millrace-log-path-'))
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

/** The log writer's loop in small: drain, commit, acknowledge. */
function harness(options: { seriesLimit?: number; ringBytes?: number } = {}) {
  const sab = createRing(options.ringBytes ?? INGEST_RING_BYTES_MIN)
  const room = createDoorbell()
  const input = new LogInput(new RingProducer(sab, new Doorbell(createDoorbell()), new Doorbell(room)))
  const ring = new RingConsumer(sab, new Doorbell(room))
  const topics = layOutTopics([{ topicId: 0, name: 't', partitions: PARTITIONS, partitionBy: null }])
  const appender = new LogAppender({ writer, topics, seriesLimit: options.seriesLimit ?? 1_000, clock })
  const drain = (): void => {
    for (let kind = ring.peek(); kind >= 0; kind = ring.peek()) {
      if (kind === FRAME_DEFINE) {
        readDefinitions(ring.i32, ring.u8, ring.position, (topicId, localId, key) =>
          appender.define(0, topicId, localId, key),
        )
      } else if (kind === FRAME_END) appender.end(ring.f64[ring.position >> 3]!, 0)
      else appender.samples(0, ring.i32, ring.f64, ring.position)
      ring.release()
    }
  }
  const commit = (): void => {
    const { acks } = appender.commit()
    appender.recycle()
    for (const ack of acks) input.acknowledge(ack)
  }
  return { input, appender, drain, commit, table: new SeriesTable({ limit: 10_000 }) }
}

interface Stored {
  readonly kind: number
  readonly partition: number
  readonly series: string | null
  readonly timestampMs: number
  readonly value: number
  readonly appendedMs: number
}

function readAll(): Stored[] {
  const reader = openLogReader({ dir })
  const buffer = new ArrayBuffer(BATCH_BYTES_MAX)
  const view = new BatchView(buffer)
  const stored: Stored[] = []
  for (let partition = 0; partition < PARTITIONS; partition++) {
    let offset = 0
    while (reader.read(0, partition, offset, buffer) > 0) {
      view.point(0)
      expect(view.baseOffset).toBe(offset)
      const { kind, appendedMs } = view
      for (let i = 0; i < view.count; i++) {
        const key = reader.seriesKey(0, view.seriesIds[view.seriesIdsAt + i]!)!
        stored.push({
          kind,
          partition,
          series: seriesText(decodeSeriesKey(key)),
          timestampMs: view.timestampsMs[view.timestampsMsAt + i]!,
          value: view.values[view.valuesAt + i]!,
          appendedMs,
        })
      }
      if (view.count === 0)
        stored.push({ kind, partition, series: null, timestampMs: view.minTimestampMs, value: 0, appendedMs })
      offset = view.endOffset
    }
  }
  void reader.close()
  return stored
}

const name = (series: number): string => `s${series}`

test('every acknowledged sample is in the log once, in its series’ partition, in the order it was sent', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(fc.tuple(fc.nat(30), fc.double({ noNaN: true })), { minLength: 1, maxLength: 200 }), {
        minLength: 1,
        maxLength: 6,
      }),
      fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
      async (requests, commits) => {
        const before = readAll().length
        const { input, drain, commit, table } = harness()
        const expected: [string, number][] = []
        const acks = []
        for (const [i, request] of requests.entries()) {
          const builder = new SampleBuilder(4)
          for (const [series, value] of request) {
            builder.push(table.intern({ __name__: name(series) }), i, value)
            expected.push([name(series), value])
          }
          acks.push(input.append(0, table.takeNew(), builder))
          drain()
          if (commits[i]) commit()
        }
        commit()
        const samples = (await Promise.all(acks)).reduce((sum, ack) => sum + ack.samples, 0)
        expect(samples).toBe(expected.length)
        const stored = readAll()
        expect(stored.length - before).toBe(expected.length)
        for (let series = 0; series <= 30; series++) {
          const mine = stored.filter((sample) => sample.series === name(series))
          const sent = expected.filter(([sentName]) => sentName === name(series)).map(([, value]) => value)
          expect(sent.length === 0 ? [] : mine.slice(-sent.length).map(({ value }) => value)).toEqual(sent)
          const home = partitionOf({ __name__: name(series) }, null, PARTITIONS)
          for (const { partition } of mine) expect(partition).toBe(home)
        }
      },
    ),
    { numRuns: 30 },
  )
})

test('a request larger than the ring, its frames and a batch arrives whole, in one transaction', async () => {
  const { input, drain, commit, appender, table } = harness()
  const count = FRAME_SAMPLES_MAX * 5 + 17
  expect(count).toBeGreaterThan(BATCH_SAMPLES_MAX)
  const builder = new SampleBuilder()
  for (let i = 0; i < count; i++) builder.push(table.intern({ __name__: name(i % 7) }), i, i)
  const appended = input.append(0, table.takeNew(), builder)
  builder.clear()
  for (let turn = 0; turn < 100 && (appender.requestOpen || appender.pendingSamples === 0); turn++) {
    drain()
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  expect(readAll()).toEqual([])
  commit()
  expect((await appended).samples).toBe(count)
  const stored = readAll()
  expect(stored).toHaveLength(count)
  expect(stored.map(({ value }) => value).sort((a, b) => a - b)).toEqual(
    Array.from({ length: count }, (_, i) => i),
  )
  expect(input.inFlightBytes).toBe(0)
})

test('the series limit refuses samples of new series, says which, and loses nothing else', async () => {
  const { input, drain, commit, table } = harness({ seriesLimit: 2 })
  const builder = new SampleBuilder()
  for (const series of [1, 2, 3, 1, 4, 3, 2])
    builder.push(table.intern({ __name__: name(series) }), 0, series)
  const appended = input.append(0, table.takeNew(), builder)
  drain()
  commit()
  const ack = await appended
  expect(ack.samples).toBe(4)
  expect(ack.refusedSamples).toBe(3)
  expect(ack.refusedLocalIds.map((id) => table.labelsOf(id).__name__)).toEqual([name(3), name(4)])
  expect(
    readAll()
      .map(({ series }) => series)
      .sort(),
  ).toEqual([name(1), name(1), name(2), name(2)])
})

test('series keep their log ids after a restart, and a lowered limit keeps those that are there', async () => {
  const first = harness()
  const builder = new SampleBuilder()
  for (const series of [1, 2, 3]) builder.push(first.table.intern({ __name__: name(series) }), 0, series)
  void first.input.append(0, first.table.takeNew(), builder)
  first.drain()
  first.commit()
  const second = harness({ seriesLimit: 1 })
  expect(second.appender.seriesCount(0)).toBe(3)
  builder.clear()
  for (const series of [3, 4]) builder.push(second.table.intern({ __name__: name(series) }), 1, series)
  const appended = second.input.append(0, second.table.takeNew(), builder)
  second.drain()
  second.commit()
  expect(await appended).toMatchObject({ samples: 1, refusedSamples: 1 })
})

test('log time never steps back within a partition, and control records stand in order', async () => {
  const { input, drain, commit, appender, table } = harness()
  const builder = new SampleBuilder()
  builder.push(table.intern({ __name__: name(1) }), 5, 1)
  void input.append(0, table.takeNew(), builder)
  drain()
  commit()
  clock.advance(-10_000)
  const home = partitionOf({ __name__: name(1) }, null, PARTITIONS)
  appender.tick(0, home)
  appender.resumed(900_000)
  const ended = input.end(0)
  drain()
  commit()
  await ended
  const mine = readAll().filter(({ partition }) => partition === home)
  expect(mine.map(({ kind }) => kind)).toEqual([RECORD_SAMPLES, RECORD_TICK, RECORD_RESUMED, RECORD_END])
  expect(mine.map(({ appendedMs }) => appendedMs)).toEqual([1_000_000, 1_000_000, 1_000_000, 1_000_000])
  expect(mine[2]!.timestampMs).toBe(900_000)
  const others = readAll().filter(({ partition }) => partition !== home)
  expect(others.map(({ kind }) => kind)).toEqual([RECORD_END, RECORD_END, RECORD_END])
})

test('a time that is no number shows in the extent of its batch, wherever it stands', async () => {
  for (const at of [0, 1, 2]) {
    const { input, drain, commit, table } = harness()
    const builder = new SampleBuilder()
    const times = [5, 6, 7]
    times[at] = Number.NaN
    for (const timestampMs of times) builder.push(table.intern({ __name__: name(1) }), timestampMs, 1)
    const home = partitionOf({ __name__: name(1) }, null, PARTITIONS)
    const offset = writer.endOffset(0, home)
    void input.append(0, table.takeNew(), builder)
    drain()
    commit()
    const reader = openLogReader({ dir })
    const buffer = new ArrayBuffer(BATCH_BYTES_MAX)
    expect(reader.read(0, home, offset, buffer)).toBeGreaterThan(0)
    const view = new BatchView(buffer).point(0)
    expect([view.minTimestampMs, view.maxTimestampMs]).toEqual([Number.NaN, Number.NaN])
    await reader.close()
  }
})

test('a failed log writer rejects what is not acknowledged, and everything after it', async () => {
  const { input, table } = harness()
  const builder = new SampleBuilder()
  builder.push(table.intern({ __name__: name(1) }), 5, 1)
  const appended = input.append(0, table.takeNew(), builder)
  const { MillraceError } = await import('../contract/errors.ts')
  input.fail(new MillraceError('UNAVAILABLE', 'gone'))
  await expect(appended).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  await expect(input.append(0, table.takeNew(), builder)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
})

test('an acknowledgement that was on its way when the node failed is nobody’s any more', async () => {
  const { input, table } = harness()
  const builder = new SampleBuilder()
  builder.push(table.intern({ __name__: name(1) }), 5, 1)
  const appended = input.append(0, table.takeNew(), builder)
  const { MillraceError } = await import('../contract/errors.ts')
  input.fail(new MillraceError('STORE_FENCED', 'another process has taken over'))
  await expect(appended).rejects.toMatchObject({ code: 'STORE_FENCED' })
  input.acknowledge({ requestId: 1, samples: 1, refusedSamples: 0, refusedLocalIds: [], once: null })
})
