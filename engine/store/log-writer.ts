/**
 * The only writer of the log environment; lives on the log writer thread. Keeps each partition's start, end, log time and
 * bytes in memory, undoes them with the transaction, and stores them with it. What it promises: log-contract.ts.
 * Never assigns ids or offsets by itself: the caller asks for the next and hands it back, and a mismatch is a bug.
 */
import { dirname } from 'node:path'
import { batchFault } from '../batch/batch-encoder.ts'
import * as layout from '../batch/layout.ts'
import { MillraceError } from '../contract/errors.ts'
import type { FeedbackRow } from '../contract/feedback.ts'
import type { TopicSpec } from '../contract/plan.ts'
import { assert } from '../util/assert.ts'
import { killPoint } from '../util/kill-point.ts'
import { Dedupe, type DedupeOptions } from './dedupe/dedupe.ts'
import { KeyBuffer, readU32 } from './keys.ts'
import type {
  LogTopic,
  LogTransaction,
  LogWriter,
  RetentionReport,
  RetentionRequest,
} from './log-contract.ts'
import {
  batchDamaged,
  type LogTables,
  PARTITIONS_MAX,
  partitionAt,
  storedBytes,
  TAIL_APPENDED,
  TAIL_BYTES,
  TAIL_END,
  TAIL_START,
  TAIL_STRIDE,
  TOPICS_MAX,
} from './log-tables.ts'
import {
  planRetention,
  RETENTION_DELETIONS_MAX,
  type RetainedPartition,
  type StoredBatch,
} from './retention.ts'
import { isRetentionHeld } from './retention-hold.ts'
import { damaged, seal, sealJson } from './sealed.ts'
import { topicMismatch } from './topic-mismatch.ts'

/** What the writer knows of one topic; `saved…` is what it knew when the running transaction first touched it. */
interface TopicState {
  readonly topic: LogTopic
  readonly tails: Float64Array
  readonly savedTails: Float64Array
  nextSeriesId: number
  savedNextSeriesId: number
  isTouched: boolean
}

export class LmdbLogWriter implements LogWriter {
  readonly #tables: LogTables
  readonly #states: TopicState[] = []
  readonly #touched: TopicState[] = []
  readonly #transaction: LogTransaction
  #savedTopicCount = 0

  /** `load` it before use. */
  constructor(tables: LogTables) {
    this.#tables = tables
    this.#transaction = {
      createTopic: (spec) => this.#createTopic(spec),
      putSeries: (topicId, seriesId, key) => this.#putSeries(topicId, seriesId, key),
      putBatch: (bytes) => this.#putBatch(bytes),
      putFeedback: (row) => tables.env.put(tables.feedback, tables.feedbackKey(row.id), sealJson(row)),
      deleteBatch: (topicId, partition, baseOffset) => {
        return this.#deleteOldest(topicId, partition, this.#batchAt(topicId, partition, baseOffset))
      },
    }
  }

  /** Reads what the log holds and verifies the newest batch of each partition. */
  load(): this {
    const tables = this.#tables
    tables.env.read(() => {
      for (const topic of tables.readTopics()) {
        const tails = tables.readTails(topic.id)
        if (
          topic.id !== this.#states.length ||
          tails === null ||
          tails.length !== topic.partitions * TAIL_STRIDE
        ) {
          throw damaged(
            `the record of topic ${JSON.stringify(topic.name)} in the log`,
            'out of order or missing',
          )
        }
        this.#states.push(newState(topic, tails, tables.nextSeriesId(topic.id)))
      }
      for (const state of this.#states) this.#verifyEnds(state)
    })
    return this
  }

  transaction<T>(body: (txn: LogTransaction) => T): T {
    this.#savedTopicCount = this.#states.length
    try {
      const result = this.#tables.env.transaction(() => {
        killPoint('log-begun')
        const value = body(this.#transaction)
        this.#putTails()
        killPoint('log-written')
        return value
      })
      killPoint('log-committed')
      for (const state of this.#touched) state.isTouched = false
      return result
    } catch (error) {
      this.#undo()
      throw error
    } finally {
      this.#touched.length = 0
    }
  }

  topics(): readonly LogTopic[] {
    return this.#states.map((state) => state.topic)
  }

  topicOf(name: string): LogTopic | null {
    return this.#states.find((state) => state.topic.name === name)?.topic ?? null
  }

  nextSeriesId(topicId: number): number {
    return this.#state(topicId).nextSeriesId
  }

  startOffset(topicId: number, partition: number): number {
    return this.#tail(topicId, partition, TAIL_START)
  }

  endOffset(topicId: number, partition: number): number {
    return this.#tail(topicId, partition, TAIL_END)
  }

  appendedMs(topicId: number, partition: number): number {
    return this.#tail(topicId, partition, TAIL_APPENDED)
  }

  bytesOf(topicId: number): number {
    return sumOfBytes(this.#state(topicId).tails)
  }

  get bytes(): number {
    let bytes = 0
    for (const state of this.#states) bytes += sumOfBytes(state.tails)
    return bytes
  }

  freeBytes(): number {
    return this.#tables.env.freeBytes()
  }

  seriesOf(topicId: number): readonly Uint8Array[] {
    return this.#tables.env.read(() => this.#tables.readSeries(topicId, 0))
  }

  feedback(): readonly FeedbackRow[] {
    return this.#tables.env.read(() => this.#tables.readFeedback(1))
  }

  retain(request: RetentionRequest): RetentionReport {
    const { nowMs, ageMsMax, bytesMax, lowWater } = request
    const deletionsMax = request.deletionsMax ?? RETENTION_DELETIONS_MAX
    // In this order: see retention-hold.ts.
    const partitions = this.#retainedPartitions(lowWater)
    const plan = this.#tables.env.read(() =>
      planRetention(
        partitions,
        this.bytes,
        { nowMs, ageMsMax, bytesMax, deletionsMax },
        (partition, offset) => this.#batchAt(partition.topicId, partition.partition, offset),
      ),
    )
    const { bytes, more, heldBack } = plan
    if (plan.deletions.length > 0) {
      if (isRetentionHeld(dirname(this.#tables.env.path), nowMs)) {
        return { deleted: [], batches: 0, bytes: 0, more: false, heldBack: false }
      }
      this.transaction(() => {
        for (const { topicId, partition, batch } of plan.deletions) {
          this.#deleteOldest(topicId, partition, batch)
        }
      })
    }
    const deleted = []
    for (const { topicId, partition, startOffset } of partitions) {
      const batches = plan.deletions.filter(
        (deletion) => deletion.topicId === topicId && deletion.partition === partition,
      ).length
      const now = this.startOffset(topicId, partition)
      assert(batches > 0 === now > startOffset, 'a start moves when batches go', topicId, partition)
      if (batches > 0) deleted.push({ topicId, partition, startOffset: now, batches })
    }
    return { deleted, batches: plan.deletions.length, bytes, more, heldBack }
  }

  openDedupe(options: DedupeOptions): Dedupe {
    let logMs = Number.NEGATIVE_INFINITY
    for (const { tails } of this.#states) {
      for (let at = TAIL_APPENDED; at < tails.length; at += TAIL_STRIDE) logMs = Math.max(logMs, tails[at]!)
    }
    return new Dedupe(this.#tables.env, options, logMs)
  }

  close(): Promise<void> {
    return this.#tables.env.close()
  }

  #state(topicId: number): TopicState {
    const state = this.#states[topicId]
    assert(state !== undefined, 'a topic of the log', topicId)
    return state
  }

  #tail(topicId: number, partition: number, field: number): number {
    const { tails } = this.#state(topicId)
    return tails[partitionAt(tails, partition) + field]!
  }

  /** The state, remembered as it was before this transaction. */
  #touch(topicId: number): TopicState {
    const state = this.#state(topicId)
    if (!state.isTouched) {
      state.isTouched = true
      state.savedTails.set(state.tails)
      state.savedNextSeriesId = state.nextSeriesId
      this.#touched.push(state)
    }
    return state
  }

  #undo(): void {
    for (const state of this.#touched) {
      state.tails.set(state.savedTails)
      state.nextSeriesId = state.savedNextSeriesId
      state.isTouched = false
    }
    this.#states.length = this.#savedTopicCount
  }

  #putTails(): void {
    const { env, tails } = this.#tables
    for (const state of this.#touched) {
      env.put(tails, this.#tables.topicKey(state.topic.id), seal(new Uint8Array(state.tails.buffer)))
    }
  }

  #createTopic(spec: TopicSpec): LogTopic {
    const { name, partitions, partitionBy } = spec
    const existing = this.topicOf(name)
    if (existing !== null) {
      const mismatch = topicMismatch(existing, spec)
      if (mismatch !== null) throw mismatch
      return existing
    }
    assert(
      Number.isInteger(partitions) && partitions > 0 && partitions <= PARTITIONS_MAX,
      'a topic has 1 to PARTITIONS_MAX partitions',
      name,
      partitions,
    )
    if (this.#states.length >= TOPICS_MAX) {
      throw new MillraceError(
        'LOG_FULL',
        `the log holds ${TOPICS_MAX} topics, which is its limit; ${JSON.stringify(name)} was not made. ` +
          'Use labels to tell streams apart, or a second data directory.',
      )
    }
    const topic: LogTopic = { id: this.#states.length, name, partitions, partitionBy }
    const tails = new Float64Array(partitions * TAIL_STRIDE)
    for (let i = 0; i < partitions; i++) tails[i * TAIL_STRIDE + TAIL_APPENDED] = Number.NEGATIVE_INFINITY
    this.#states.push(newState(topic, tails, 0))
    this.#touch(topic.id)
    const record = sealJson({ name, partitions, partitionBy })
    this.#tables.env.put(this.#tables.topics, this.#tables.topicKey(topic.id), record)
    return topic
  }

  #putSeries(topicId: number, seriesId: number, key: Uint8Array): void {
    const state = this.#touch(topicId)
    assert(seriesId === state.nextSeriesId, 'series ids are dense', seriesId, state.nextSeriesId)
    this.#tables.env.put(this.#tables.series, this.#tables.seriesKey(topicId, seriesId), seal(key))
    state.nextSeriesId = seriesId + 1
  }

  #putBatch(bytes: Uint8Array): number {
    const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    assert(header.getInt32(layout.MAGIC_AT, true) === layout.MAGIC, 'a batch is sealed')
    const count = header.getInt32(layout.COUNT_AT, true)
    assert(layout.batchBytes(count) === bytes.length, 'a batch has its length', count, bytes.length)
    const topicId = header.getInt32(layout.TOPIC_AT, true)
    const partition = header.getInt32(layout.PARTITION_AT, true)
    const baseOffset = header.getFloat64(layout.BASE_OFFSET_AT, true)
    const appendedMs = header.getFloat64(layout.APPENDED_AT, true)
    const { tails } = this.#touch(topicId)
    const at = partitionAt(tails, partition)
    assert(
      baseOffset === tails[at + TAIL_END],
      'a batch starts at the partition’s end',
      baseOffset,
      tails[at + TAIL_END],
    )
    assert(
      appendedMs >= tails[at + TAIL_APPENDED]! && Number.isFinite(appendedMs),
      'log time never steps back',
      appendedMs,
    )
    this.#tables.env.put(this.#tables.batches, this.#tables.batchKey(topicId, partition, baseOffset), bytes)
    const endOffset = baseOffset + layout.offsetsOf(count)
    tails[at + TAIL_END] = endOffset
    tails[at + TAIL_APPENDED] = appendedMs
    tails[at + TAIL_BYTES]! += storedBytes(bytes.length)
    return endOffset
  }

  #deleteOldest(topicId: number, partition: number, batch: StoredBatch): number {
    const { tails, topic } = this.#touch(topicId)
    const at = partitionAt(tails, partition)
    assert(batch.baseOffset === tails[at + TAIL_START], 'only the oldest batch is deleted', batch.baseOffset)
    assert(batch.endOffset < tails[at + TAIL_END]!, 'the newest batch stays', batch.baseOffset)
    const key = this.#tables.batchKey(topicId, partition, batch.baseOffset)
    const removed = this.#tables.env.remove(this.#tables.batches, key)
    if (!removed) throw batchDamaged(topic.name, partition, batch.baseOffset, 'missing')
    tails[at + TAIL_START] = batch.endOffset
    tails[at + TAIL_BYTES]! -= batch.bytes
    return batch.bytes
  }

  /** Inside `read` or a transaction: what retention needs of the batch that starts at `offset`. */
  #batchAt(topicId: number, partition: number, offset: number): StoredBatch {
    const tables = this.#tables
    const bytes = tables.env.peek(tables.batches, tables.batchKey(topicId, partition, offset))
    const name = this.#state(topicId).topic.name
    if (bytes === null || bytes.length < layout.HEADER_BYTES) {
      throw batchDamaged(name, partition, offset, bytes === null ? 'missing' : 'too short')
    }
    const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    const count = header.getInt32(layout.COUNT_AT, true)
    if (
      layout.batchBytes(count) !== bytes.length ||
      header.getFloat64(layout.BASE_OFFSET_AT, true) !== offset
    ) {
      throw batchDamaged(name, partition, offset, 'wrong length')
    }
    return {
      baseOffset: offset,
      endOffset: offset + layout.offsetsOf(count),
      appendedMs: header.getFloat64(layout.APPENDED_AT, true),
      bytes: storedBytes(bytes.length),
    }
  }

  #retainedPartitions(lowWater: RetentionRequest['lowWater']): RetainedPartition[] {
    const partitions: RetainedPartition[] = []
    for (const { topic } of this.#states) {
      for (let partition = 0; partition < topic.partitions; partition++) {
        partitions.push({
          topicId: topic.id,
          partition,
          startOffset: this.startOffset(topic.id, partition),
          endOffset: this.endOffset(topic.id, partition),
          lowWater: lowWater(topic.id, partition),
        })
      }
    }
    return partitions
  }

  /** The newest batch of each partition is whole and ends where the record of ends says; nothing lies beyond. */
  #verifyEnds(state: TopicState): void {
    const { topic, tails } = state
    const tables = this.#tables
    for (let partition = 0; partition < topic.partitions; partition++) {
      const at = partition * TAIL_STRIDE
      const start = tails[at + TAIL_START]!
      const end = tails[at + TAIL_END]!
      const after = new KeyBuffer().start().u16(topic.id).u16(partition).view()
      const upTo = new KeyBuffer().start().u16(topic.id).u16(partition).last().view()
      const key = tables.env.lastKey(tables.batches, after, upTo)
      if (key === null) {
        if (end > 0) throw batchDamaged(topic.name, partition, end - 1, 'missing')
        continue
      }
      const base = readU32(key, 4) * 0x1_0000_0000 + readU32(key, 8)
      const bytes = tables.env.peek(tables.batches, key)
      if (bytes === null || base < start) throw batchDamaged(topic.name, partition, base, 'missing')
      const fault = batchFault(bytes)
      if (fault !== null) throw batchDamaged(topic.name, partition, base, fault)
      const count = new DataView(bytes.buffer, bytes.byteOffset).getInt32(layout.COUNT_AT, true)
      if (base + layout.offsetsOf(count) !== end)
        throw batchDamaged(topic.name, partition, end - 1, 'missing')
    }
  }
}

function newState(topic: LogTopic, tails: Float64Array, nextSeriesId: number): TopicState {
  return {
    topic,
    tails,
    savedTails: new Float64Array(tails.length),
    nextSeriesId,
    savedNextSeriesId: nextSeriesId,
    isTouched: false,
  }
}

function sumOfBytes(tails: Float64Array): number {
  let bytes = 0
  for (let at = TAIL_BYTES; at < tails.length; at += TAIL_STRIDE) bytes += tails[at]!
  return bytes
}
