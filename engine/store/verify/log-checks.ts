/**
 * What must be true of the log: topics and series are dense and whole; each partition is one chain of batches from its
 * start to its end, every byte under a CRC, log time never stepping back, every sample of a known series in the partition
 * that its key chooses.
 */
import { batchFault } from '../../batch/batch-encoder.ts'
import * as layout from '../../batch/layout.ts'
import type { FeedbackRow } from '../../contract/feedback.ts'
import { RECORD_FEEDBACK, RECORD_SAMPLES } from '../../contract/samples.ts'
import { decodeSeriesKey, encodeSeriesKey, partitionOf } from '../../series/series-key.ts'
import { KeyBuffer, readU16, readU32, readU64 } from '../keys.ts'
import type { LogTopic } from '../log-contract.ts'
import {
  type LogTables,
  storedBytes,
  TAIL_APPENDED,
  TAIL_BYTES,
  TAIL_END,
  TAIL_START,
  TAIL_STRIDE,
} from '../log-tables.ts'
import { unseal, unsealJson } from '../sealed.ts'
import {
  CHUNK_BYTES,
  CHUNK_ROWS,
  type Check,
  type CheckContext,
  eachRow,
  guarded,
  type SeriesKnown,
} from './context.ts'

const FIRST = new Uint8Array([0])
const PAST_LAST = new Uint8Array(16).fill(0xff)
const OFFSET_AT = 4

export const topicsCheck: Check = {
  name: 'topics',
  *run(context) {
    const { log } = context
    yield* eachRow(context, log.env, log.topics, FIRST, PAST_LAST, topicPlace, () => {})
    guarded(context, 'log: topics', () => {
      log.env.read(() => {
        const names = new Set<string>()
        for (const [i, topic] of log.readTopics().entries()) {
          const place = `log: topic ${JSON.stringify(topic.name)}`
          if (topic.id !== i)
            context.damage(place, `its id is ${topic.id}; ids are dense, so ${i} is missing`)
          if (names.has(topic.name)) context.damage(place, 'two topics have this name')
          names.add(topic.name)
          const tails = log.readTails(topic.id)
          if (tails === null) context.damage(place, 'the record of its partition ends is missing')
          else if (tails.length !== topic.partitions * TAIL_STRIDE) {
            const found = tails.length / TAIL_STRIDE
            context.damage(
              place,
              `it has ${topic.partitions} partitions, but the record of ends tells of ${found}`,
            )
          }
        }
      })
    })
    yield
  },
}

export const seriesCheck: Check = {
  name: 'series',
  *run(context) {
    for (const topic of topicsOf(context)) {
      for (;;) {
        let more = false
        const ok = guarded(context, `log: series of topic ${JSON.stringify(topic.name)}`, () => {
          context.log.env.read(() => {
            more = readSeries(context, topic)
          })
        })
        yield
        if (!ok || !more) break
      }
    }
  },
}

export const batchesCheck: Check = {
  name: 'batches',
  *run(context) {
    const topics = topicsOf(context)
    for (const topic of topics) {
      for (let partition = 0; partition < topic.partitions; partition++) {
        yield* new PartitionCheck(context, topic, partition).run()
      }
    }
    yield* strays(context)
  },
}

/** Every row is whole, in its place, and has its record where retention has not deleted it. */
export const feedbackCheck: Check = {
  name: 'feedback',
  *run(context) {
    const { log } = context
    let next = 1
    yield* eachRow(context, log.env, log.feedback, FIRST, PAST_LAST, feedbackPlace, (key, sealed) => {
      const id = readU32(key, 0)
      const place = feedbackPlace(key)
      if (id !== next) context.damage(place, `statements are numbered without a gap, so ${next} is missing`)
      next = id + 1
      guarded(context, place, () => {
        const row = unsealJson<FeedbackRow>(sealed, () => 'its row')
        if (row.id !== id) context.damage(place, `it says that it is statement ${row.id}`)
        const problem = recordProblem(log, row)
        if (problem !== null) context.damage(place, problem)
      })
    })
  },
}

/** Inside `read`. */
function recordProblem(log: LogTables, { id, topic: name, partition, offset }: FeedbackRow): string | null {
  const topic = log.readTopics().find((one) => one.name === name)
  const tails = topic === undefined ? null : log.readTails(topic.id)
  const at = partition * TAIL_STRIDE
  if (topic === undefined || tails === null || at + TAIL_BYTES >= tails.length) {
    return `its record is in partition ${partition} of topic ${JSON.stringify(name)}, which is not there`
  }
  if (offset < tails[at + TAIL_START]!) return null
  const bytes = log.env.peek(log.batches, log.batchKey(topic.id, partition, offset))
  if (bytes === null || bytes.length < layout.HEADER_BYTES) return `it has no record at offset ${offset}`
  const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const isIts =
    header.getUint16(layout.KIND_AT, true) === RECORD_FEEDBACK &&
    header.getFloat64(layout.MIN_TIMESTAMP_AT, true) === id
  return isIts ? null : `the record at offset ${offset} is not its own`
}

function feedbackPlace(key: Uint8Array): string {
  return key.length < 4 ? 'log: feedback' : `log: statement ${readU32(key, 0)} of feedback`
}

function topicsOf({ log }: CheckContext): readonly LogTopic[] {
  try {
    return log.env.read(() => log.readTopics())
  } catch {
    // topicsCheck has named it.
    return []
  }
}

/** Inside `read`: the next few series of a topic; true: there are more. */
function readSeries(context: CheckContext, topic: LogTopic): boolean {
  const { log } = context
  const known = knownSeries(context, topic.id)
  const end = log.nextSeriesId(topic.id)
  const upTo = Math.min(end, known.count + CHUNK_ROWS * 16)
  if (upTo > known.partitions.length) {
    const grown = new Uint16Array(Math.max(upTo, known.partitions.length * 2))
    grown.set(known.partitions)
    known.partitions = grown
  }
  let bytes = 0
  const from = known.count
  for (let id = from; id < upTo; id++) {
    const place = `log: series ${id} of topic ${JSON.stringify(topic.name)}`
    const sealed = log.env.peek(log.series, log.seriesKey(topic.id, id))
    known.count = id + 1
    if (sealed === null) {
      context.damage(place, `it is missing; ids up to ${end - 1} are in use`)
      continue
    }
    bytes += sealed.length
    guarded(context, place, () => {
      const key = unseal(sealed, () => 'its key').slice()
      const labels = decodeSeriesKey(key)
      if (Buffer.compare(encodeSeriesKey(labels), key) !== 0) {
        context.damage(place, `its key ${JSON.stringify(labels)} is not written the canonical way`)
      }
      known.partitions[id] = partitionOf(labels, topic.partitionBy, topic.partitions)
    })
  }
  context.read(upTo - from, bytes)
  return upTo < end
}

function knownSeries(context: CheckContext, topicId: number): SeriesKnown {
  let known = context.series.get(topicId)
  if (known === undefined) {
    known = { partitions: new Uint16Array(CHUNK_ROWS), count: 0 }
    context.series.set(topicId, known)
  }
  return known
}

/**
 * Walks one partition. In each chunk's snapshot the tails say where the partition starts and ends just then, so a batch
 * that was appended or deleted since the chunk before is never taken for one too many or too few.
 */
class PartitionCheck {
  readonly #context: CheckContext
  readonly #topic: LogTopic
  readonly #partition: number
  readonly #known: SeriesKnown
  #next = -1
  #appendedMs = Number.NEGATIVE_INFINITY
  #bytes = 0
  #startOfWalk = 0
  /** A batch could not be read: what it would have said is not missed a second time. */
  #isHoley = false

  constructor(context: CheckContext, topic: LogTopic, partition: number) {
    this.#context = context
    this.#topic = topic
    this.#partition = partition
    this.#known = knownSeries(context, topic.id)
  }

  *run(): Generator<void, void, void> {
    let more = true
    while (more) {
      const ok = guarded(this.#context, this.#place(Math.max(0, this.#next)), () => {
        more = this.#context.log.env.read(() => this.#chunk())
      })
      yield
      if (!ok) return
    }
  }

  #chunk(): boolean {
    const { log } = this.#context
    const tails = log.readTails(this.#topic.id)
    const at = this.#partition * TAIL_STRIDE
    // topicsCheck has named it.
    if (tails === null || at + TAIL_BYTES >= tails.length) return false
    const start = tails[at + TAIL_START]!
    const end = tails[at + TAIL_END]!
    if (this.#next < 0) {
      this.#startOfWalk = start
      this.#next = start
    }
    // Retention has passed by since the last chunk: what it deleted is nobody's loss.
    if (start > this.#next) this.#next = start
    while (readSeries(this.#context, this.#topic));
    let rows = 0
    let bytes = 0
    for (const key of log.batches.getKeys({
      start: log.batchKey(this.#topic.id, this.#partition, this.#next).slice(),
      end: new KeyBuffer().start().u16(this.#topic.id).u16(this.#partition).last().view(),
      limit: CHUNK_ROWS,
    })) {
      bytes += this.#batch(key, end)
      rows++
      if (bytes >= CHUNK_BYTES) break
    }
    this.#context.read(rows, bytes)
    if (rows === CHUNK_ROWS || bytes >= CHUNK_BYTES) return true
    this.#end(tails, at)
    return false
  }

  /** One batch where the walk stands; returns its bytes. */
  #batch(key: Uint8Array, end: number): number {
    const context = this.#context
    const { log } = context
    const base = readU64(key, OFFSET_AT)
    if (base !== this.#next) {
      context.damage(
        this.#place(this.#next),
        base > this.#next
          ? `offsets ${this.#next} to ${base - 1} are missing: the next batch begins at ${base}`
          : `a batch begins at ${base}, inside the one before it`,
      )
    }
    if (base >= end) {
      context.damage(this.#place(base), `a batch lies beyond the partition's end, which is ${end}`)
    }
    const bytes = log.env.peek(log.batches, key)
    if (bytes === null) {
      this.#isHoley = true
      context.damage(this.#place(base), 'the batch is listed, but not found by its key')
      this.#next = base + 1
      return 0
    }
    const fault = batchFault(bytes)
    if (fault !== null) {
      this.#isHoley = true
      context.damage(this.#place(base), `the batch has a ${fault} (${bytes.length} bytes)`)
      // Its length tells how many samples it held, if anything does.
      const count = Math.max(0, Math.floor((bytes.length - layout.HEADER_BYTES) / layout.SAMPLE_BYTES))
      this.#next = Math.max(this.#next, base + layout.offsetsOf(count))
      return bytes.length
    }
    this.#header(bytes, base)
    return bytes.length
  }

  #header(bytes: Uint8Array, base: number): void {
    const context = this.#context
    const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    const count = header.getInt32(layout.COUNT_AT, true)
    const topicId = header.getInt32(layout.TOPIC_AT, true)
    const partition = header.getInt32(layout.PARTITION_AT, true)
    const written = header.getFloat64(layout.BASE_OFFSET_AT, true)
    if (topicId !== this.#topic.id || partition !== this.#partition || written !== base) {
      context.damage(
        this.#place(base),
        `the batch says that it is of topic ${topicId}, partition ${partition}, offset ${written}`,
      )
    }
    const appendedMs = header.getFloat64(layout.APPENDED_AT, true)
    if (!(appendedMs >= this.#appendedMs)) {
      context.damage(this.#place(base), `log time steps back from ${this.#appendedMs} to ${appendedMs}`)
    }
    this.#appendedMs = appendedMs
    this.#next = base + layout.offsetsOf(count)
    this.#bytes += storedBytes(bytes.length)
    if (header.getUint16(layout.KIND_AT, true) === RECORD_SAMPLES) this.#samples(bytes, header, base, count)
  }

  #samples(bytes: Uint8Array, header: DataView, base: number, count: number): void {
    const context = this.#context
    if (count === 0) {
      context.damage(this.#place(base), 'a batch of samples holds none')
      return
    }
    // Columns of a copy: LMDB's bytes need not be aligned.
    const copy = bytes.slice().buffer
    const times = new Float64Array(copy, layout.timestampsAt(), count)
    const ids = new Int32Array(copy, layout.seriesIdsAt(count), count)
    const minMs = header.getFloat64(layout.MIN_TIMESTAMP_AT, true)
    const maxMs = header.getFloat64(layout.MAX_TIMESTAMP_AT, true)
    const outside = firstOutside(times, minMs, maxMs)
    if (outside >= 0) {
      context.damage(
        this.#place(base + outside),
        `a sample of time ${times[outside]} lies outside its batch's range ${minMs} to ${maxMs}`,
      )
    }
    const { partitions, count: series } = this.#known
    const stranger = firstStranger(ids, series, partitions, this.#partition)
    if (stranger >= 0) {
      const id = ids[stranger]!
      const problem =
        id < 0 || id >= series
          ? `a sample is of series ${id}; the topic has ${series}`
          : `a sample is of series ${id}, which belongs to partition ${partitions[id]}`
      context.damage(this.#place(base + stranger), problem)
    }
  }

  #end(tails: Float64Array, at: number): void {
    const context = this.#context
    const end = tails[at + TAIL_END]!
    if (this.#next !== end) {
      context.damage(
        this.#place(this.#next),
        `the partition ends at ${end} by the record of ends, but its last batch ends at ${this.#next}`,
      )
    }
    if (this.#isHoley) return
    // An empty partition has no log time yet.
    if (end > 0 && tails[at + TAIL_APPENDED] !== this.#appendedMs) {
      context.damage(
        this.#place(end),
        `its log time is ${tails[at + TAIL_APPENDED]} by the record of ends, ${this.#appendedMs} by its last batch`,
      )
    }
    // What retention deleted during the walk was counted here, and no longer is there.
    if (tails[at + TAIL_START] === this.#startOfWalk && tails[at + TAIL_BYTES] !== this.#bytes) {
      context.damage(
        this.#place(end),
        `the record of ends counts ${tails[at + TAIL_BYTES]} bytes, its batches take ${this.#bytes}`,
      )
    }
  }

  #place(offset: number): string {
    return `log: topic ${JSON.stringify(this.#topic.name)}, partition ${this.#partition}, offset ${offset}`
  }
}

/** hot: index of the first time outside [minMs, maxMs], or -1. */
function firstOutside(times: Float64Array, minMs: number, maxMs: number): number {
  for (let i = 0; i < times.length; i++) {
    const time = times[i]!
    if (!(time >= minMs && time <= maxMs)) return i
  }
  return -1
}

/** hot: index of the first sample of an unknown series or of one that belongs elsewhere, or -1. */
function firstStranger(ids: Int32Array, series: number, partitions: Uint16Array, partition: number): number {
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!
    if (id < 0 || id >= series || partitions[id] !== partition) return i
  }
  return -1
}

/** Rows of topics and partitions that there are not, by one snapshot. */
function* strays(context: CheckContext): Generator<void, void, void> {
  const { log } = context
  guarded(context, 'log: rows of no topic', () => {
    log.env.read(() => {
      const topics = log.readTopics()
      for (const table of [log.series, log.tails, log.batches]) {
        const from = new KeyBuffer().start().u16(topics.length).view()
        const key = log.env.firstKey(table, from, PAST_LAST)
        if (key !== null) context.damage(`log: topic ${readU16(key, 0)}`, 'it has rows, but no record')
      }
      for (const { id, name, partitions } of topics) {
        const from = new KeyBuffer().start().u16(id).u16(partitions).view()
        const to = new KeyBuffer().start().u16(id).last().view()
        const key = log.env.firstKey(log.batches, from, to)
        if (key === null) continue
        const place = `log: topic ${JSON.stringify(name)}, partition ${readU16(key, 2)}`
        context.damage(place, `it has batches, but the topic has ${partitions} partitions`)
      }
    })
  })
  yield
}

function topicPlace(key: Uint8Array): string {
  return key.length < 2 ? 'log: topics' : `log: topic ${readU16(key, 0)}`
}
