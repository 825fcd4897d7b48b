/**
 * Samples of one topic on their way into batches: columns a partition, the log's ids of its series, and what an ingest thread
 * calls them. Of the log appender alone.
 */
import * as layout from '../batch/layout.ts'
import { decodeSeriesKey, partitionOf } from '../series/series-key.ts'
import { SeriesTable } from '../series/series-table.ts'
import type { LogTransaction, LogWriter } from '../store/log-contract.ts'
import { assert } from '../util/assert.ts'
import type { BoardTopic } from './node-board.ts'

export const REFUSED = -1
/** A local id whose series is interned when a sample of it is stored. */
export const UNRESOLVED = -2

/** What a batch's header says of the one request that it holds. */
interface BatchProducer {
  readonly producerId: number
  readonly producerEpoch: number
  readonly baseSequence: number
}

export const NO_PRODUCER: BatchProducer = { producerId: 0, producerEpoch: 0, baseSequence: -1 }

/** Columns of samples that wait for their batch, for each partition of one topic: [partition][sample]. */
export class TopicStage {
  readonly topic: BoardTopic
  readonly filled: Int32Array
  readonly timestampsMs: Float64Array
  readonly values: Float64Array
  readonly seriesIds: Int32Array
  readonly nextOffset: Float64Array
  readonly appendedMs: Float64Array
  /** Partition by log series id. */
  partitionOfSeries: Int16Array
  /** Its local ids ARE the log's ids: it is filled with the log's series in their order before any other. */
  readonly series: SeriesTable
  /** Requests staged since the last commit, and the producer of the newest. */
  requests = 0
  producer = NO_PRODUCER
  /** Requests that were stored before, since they were last taken. */
  duplicates = 0

  constructor(topic: BoardTopic, writer: LogWriter, seriesLimit: number) {
    const { partitions, topicId } = topic
    const capacity = partitions * layout.BATCH_SAMPLES_MAX
    this.topic = topic
    this.filled = new Int32Array(partitions)
    this.timestampsMs = new Float64Array(capacity)
    this.values = new Float64Array(capacity)
    this.seriesIds = new Int32Array(capacity)
    this.nextOffset = new Float64Array(partitions)
    this.appendedMs = new Float64Array(partitions)
    for (let partition = 0; partition < partitions; partition++) {
      this.nextOffset[partition] = writer.endOffset(topicId, partition)
      this.appendedMs[partition] = writer.appendedMs(topicId, partition)
    }
    const keys = writer.seriesOf(topicId)
    // A limit lowered since refuses new series, not those that are there.
    this.series = new SeriesTable({ limit: Math.max(seriesLimit, keys.length) })
    this.partitionOfSeries = new Int16Array(Math.max(1024, keys.length * 2))
    for (const key of keys) this.intern(key)
    this.series.takeNew()
  }

  /** Log id of the key, new if need be; REFUSED at the limit. */
  intern(key: Uint8Array): number {
    const before = this.series.size
    const id = this.series.internKey(key)
    if (id < 0) return REFUSED
    if (this.series.size > before) this.#place(id, key)
    return id
  }

  /** Series that are new since the last call: of the transaction that first uses them. */
  putNewSeries(txn: LogTransaction): void {
    const added = this.series.takeNew()
    if (added === null) return
    for (let i = 0; i < added.keys.length; i++) {
      txn.putSeries(this.topic.topicId, added.firstId + i, added.keys[i]!)
    }
  }

  #place(id: number, key: Uint8Array): void {
    if (id >= this.partitionOfSeries.length) {
      const grown = new Int16Array(this.partitionOfSeries.length * 2)
      grown.set(this.partitionOfSeries)
      this.partitionOfSeries = grown
    }
    const { partitionBy, partitions } = this.topic
    this.partitionOfSeries[id] = partitionOf(decodeSeriesKey(key), partitionBy, partitions)
  }
}

/** An ingest thread's local ids of one topic → log ids. */
export class LocalIds {
  #logIds = new Int32Array(1024)
  /** Keys of local ids that are not resolved yet. */
  readonly #keys = new Map<number, Uint8Array>()
  count = 0

  get logIds(): Int32Array {
    return this.#logIds
  }

  define(localId: number, key: Uint8Array): void {
    assert(localId === this.count, 'local series ids are defined in order', localId, this.count)
    if (localId === this.#logIds.length) {
      const grown = new Int32Array(localId * 2)
      grown.set(this.#logIds)
      this.#logIds = grown
    }
    this.#logIds[localId] = UNRESOLVED
    this.#keys.set(localId, key)
    this.count = localId + 1
  }

  resolve(localId: number, stage: TopicStage): void {
    const key = this.#keys.get(localId)
    assert(key !== undefined, 'a local id is resolved once', localId)
    this.#keys.delete(localId)
    this.#logIds[localId] = stage.intern(key)
  }
}

/**
 * hot: copies samples [from, count) of a frame to their partitions' columns; stops at, and returns, the first whose
 * partition is full or whose series is refused or not resolved.
 */
export function scatter(
  stage: TopicStage,
  logIds: Int32Array,
  localCount: number,
  i32: Int32Array,
  idsAt: number,
  f64: Float64Array,
  timestampsAt: number,
  count: number,
  from: number,
): number {
  const { filled, timestampsMs, values, seriesIds, partitionOfSeries } = stage
  const capacity = layout.BATCH_SAMPLES_MAX
  const valuesAt = timestampsAt + count
  for (let i = from; i < count; i++) {
    const localId = i32[idsAt + i]!
    if (localId >= localCount) undefinedSeries(localId)
    const logId = logIds[localId]!
    if (logId < 0) return i
    const partition = partitionOfSeries[logId]!
    const fill = filled[partition]!
    if (fill === capacity) return i
    const at = partition * capacity + fill
    timestampsMs[at] = f64[timestampsAt + i]!
    values[at] = f64[valuesAt + i]!
    seriesIds[at] = logId
    filled[partition] = fill + 1
  }
  return count
}

function undefinedSeries(localId: number): never {
  assert(false, 'a series is defined before it is used', localId)
}
