/**
 * Reads the log from any thread while the writer writes. Each call takes its own snapshot and lets it go, so that a
 * reader never pins pages and always sees what was committed before the call. What it promises: log-contract.ts.
 */
import { batchFault } from '../batch/batch-encoder.ts'
import * as layout from '../batch/layout.ts'
import { MillraceError } from '../contract/errors.ts'
import type { FeedbackRow } from '../contract/feedback.ts'
import { assert } from '../util/assert.ts'
import type { LogReader, LogTopic, PartitionTail } from './log-contract.ts'
import {
  batchDamaged,
  type LogTables,
  partitionAt,
  TAIL_APPENDED,
  TAIL_BYTES,
  TAIL_END,
  TAIL_START,
  TAIL_STRIDE,
} from './log-tables.ts'

/** Read under one snapshot by `scan`: enough to make the snapshot cheap, little enough to let it go soon. */
export const SCAN_BYTES_MAX = 1 << 20

export class LmdbLogReader implements LogReader {
  readonly #tables: LogTables

  constructor(tables: LogTables) {
    this.#tables = tables
  }

  topics(): readonly LogTopic[] {
    return this.#tables.env.read(() => this.#tables.readTopics())
  }

  topicOf(name: string): LogTopic | null {
    return this.topics().find((topic) => topic.name === name) ?? null
  }

  seriesKey(topicId: number, seriesId: number): Uint8Array | null {
    return this.#tables.env.read(() => this.#tables.readSeriesKey(topicId, seriesId))
  }

  seriesOf(topicId: number, fromId = 0): readonly Uint8Array[] {
    return this.#tables.env.read(() => this.#tables.readSeries(topicId, fromId))
  }

  startOffset(topicId: number, partition: number): number {
    return this.#tail(topicId, partition, TAIL_START)
  }

  endOffset(topicId: number, partition: number): number {
    return this.#tail(topicId, partition, TAIL_END)
  }

  tail(topicId: number, partition: number): PartitionTail {
    const tails = this.#tails(topicId)
    const at = partitionAt(tails, partition)
    return { endOffset: tails[at + TAIL_END]!, appendedMs: tails[at + TAIL_APPENDED]! }
  }

  bytesOf(topicId: number): number {
    const tails = this.#tails(topicId)
    let bytes = 0
    for (let at = TAIL_BYTES; at < tails.length; at += TAIL_STRIDE) bytes += tails[at]!
    return bytes
  }

  feedback(fromId = 1): readonly FeedbackRow[] {
    return this.#tables.env.read(() => this.#tables.readFeedback(fromId))
  }

  read(topicId: number, partition: number, offset: number, into: ArrayBuffer): number {
    assert(Number.isSafeInteger(offset) && offset >= 0, 'an offset', offset)
    return this.#tables.env.read(() => {
      const tails = this.#tails(topicId)
      const at = partitionAt(tails, partition)
      if (offset >= tails[at + TAIL_END]!) return 0
      return this.#readAt(topicId, partition, offset, tails[at + TAIL_START]!, into)
    })
  }

  scan(
    topicId: number,
    partition: number,
    offset: number,
    toOffset: number,
    into: ArrayBuffer,
    visit: (bytes: number) => void,
    bytesMax = SCAN_BYTES_MAX,
  ): number {
    assert(Number.isSafeInteger(offset) && offset >= 0, 'an offset', offset)
    return this.#tables.env.read(() => {
      const tails = this.#tails(topicId)
      const at = partitionAt(tails, partition)
      const end = Math.min(toOffset, tails[at + TAIL_END]!)
      const header = new DataView(into, 0, layout.HEADER_BYTES)
      let next = offset
      for (let bytes = 0; next < end && bytes < bytesMax; ) {
        const length = this.#readAt(topicId, partition, next, tails[at + TAIL_START]!, into)
        next =
          header.getFloat64(layout.BASE_OFFSET_AT, true) +
          layout.offsetsOf(header.getInt32(layout.COUNT_AT, true))
        bytes += length
        visit(length)
      }
      return next
    })
  }

  oldest(
    topicId: number,
    partition: number,
  ): { readonly offset: number; readonly appendedMs: number } | null {
    return this.#tables.env.read(() => {
      const tails = this.#tails(topicId)
      const at = partitionAt(tails, partition)
      const offset = tails[at + TAIL_START]!
      if (offset === tails[at + TAIL_END]!) return null
      return { offset, appendedMs: this.#headerAt(topicId, partition, offset).appendedMs }
    })
  }

  offsetAtTime(topicId: number, partition: number, logTimeMs: number): number {
    return this.#tables.env.read(() => {
      const tails = this.#tails(topicId)
      const at = partitionAt(tails, partition)
      const end = tails[at + TAIL_END]!
      if (!(tails[at + TAIL_APPENDED]! >= logTimeMs)) return end
      // Invariant: `low` and `high` are batch boundaries; batches below `low` are older than asked, `high` is not.
      let low = tails[at + TAIL_START]!
      let high = end
      while (low < high) {
        const middle = low + Math.floor((high - low) / 2)
        const base = this.#tables.baseOffsetAt(topicId, partition, middle)
        if (base < low) throw this.#damaged(topicId, partition, middle, 'missing')
        const { endOffset, appendedMs } = this.#headerAt(topicId, partition, base)
        if (appendedMs >= logTimeMs) high = base
        else low = endOffset
      }
      return low
    })
  }

  close(): Promise<void> {
    return this.#tables.env.close()
  }

  /** Inside `read`, for an offset before the end. */
  #readAt(topicId: number, partition: number, offset: number, start: number, into: ArrayBuffer): number {
    if (offset < start) throw this.#gone(topicId, partition, offset, start)
    // Readers walk from batch to batch: `offset` nearly always is a base offset.
    const direct = this.#copyAt(topicId, partition, offset, offset, into)
    if (direct > 0) return direct
    const base = this.#tables.baseOffsetAt(topicId, partition, offset)
    const length = base < 0 ? 0 : this.#copyAt(topicId, partition, base, offset, into)
    if (length === 0) throw this.#damaged(topicId, partition, offset, 'missing')
    return length
  }

  #tail(topicId: number, partition: number, field: number): number {
    const tails = this.#tails(topicId)
    return tails[partitionAt(tails, partition) + field]!
  }

  #tails(topicId: number): Float64Array {
    const tails = this.#tables.env.read(() => this.#tables.readTails(topicId))
    assert(tails !== null, 'a topic of the log', topicId)
    return tails
  }

  /** Copies and verifies the batch at `base`; 0: there is none, or it ends at or before `offset`. */
  #copyAt(topicId: number, partition: number, base: number, offset: number, into: ArrayBuffer): number {
    const tables = this.#tables
    const bytes = tables.env.peek(tables.batches, tables.batchKey(topicId, partition, base))
    if (bytes === null) return 0
    assert(bytes.length <= into.byteLength, 'a batch fits the buffer', bytes.length, into.byteLength)
    const target = new Uint8Array(into, 0, bytes.length)
    target.set(bytes)
    const fault = batchFault(target)
    if (fault !== null) throw this.#damaged(topicId, partition, base, fault)
    const header = new DataView(into, 0, layout.HEADER_BYTES)
    const isOfThisPlace =
      header.getInt32(layout.TOPIC_AT, true) === topicId &&
      header.getInt32(layout.PARTITION_AT, true) === partition &&
      header.getFloat64(layout.BASE_OFFSET_AT, true) === base
    if (!isOfThisPlace) throw this.#damaged(topicId, partition, base, 'header of another place')
    const count = header.getInt32(layout.COUNT_AT, true)
    return offset < base + layout.offsetsOf(count) ? bytes.length : 0
  }

  #headerAt(topicId: number, partition: number, base: number): { endOffset: number; appendedMs: number } {
    const tables = this.#tables
    const bytes = tables.env.peek(tables.batches, tables.batchKey(topicId, partition, base))
    const fault = bytes === null ? 'missing' : batchFault(bytes)
    if (bytes === null || fault !== null) {
      throw this.#damaged(topicId, partition, base, fault ?? 'missing')
    }
    const header = new DataView(bytes.buffer, bytes.byteOffset, layout.HEADER_BYTES)
    const count = header.getInt32(layout.COUNT_AT, true)
    return {
      endOffset: base + layout.offsetsOf(count),
      appendedMs: header.getFloat64(layout.APPENDED_AT, true),
    }
  }

  #topicName(topicId: number): string {
    return this.topics()[topicId]?.name ?? `#${topicId}`
  }

  #damaged(
    topicId: number,
    partition: number,
    offset: number,
    fault: Parameters<typeof batchDamaged>[3],
  ): MillraceError {
    return batchDamaged(this.#topicName(topicId), partition, offset, fault)
  }

  #gone(topicId: number, partition: number, offset: number, start: number): MillraceError {
    const storedAt = new Date(this.#headerAt(topicId, partition, start).appendedMs).toISOString()
    return new MillraceError(
      'OFFSET_GONE',
      `topic ${JSON.stringify(this.#topicName(topicId))}, partition ${partition}: offset ${offset} was deleted by ` +
        `retention; the oldest kept is ${start}, stored at ${storedAt}. Read from there; to keep more, raise the ` +
        "retention's age and size.",
    )
  }
}
