/**
 * What the log promises to the threads that use it. One writer (the log writer thread), any number of readers on any
 * thread. Everything is synchronous; a transaction is on the disk (fdatasync) when `transaction` returns.
 * Built in log-writer.ts and log-reader.ts; log-store.ts is the door.
 */
import type { FeedbackRow } from '../contract/feedback.ts'
import type { TopicSpec } from '../contract/plan.ts'
import type { Dedupe, DedupeOptions } from './dedupe/dedupe.ts'

export interface LogTopic extends TopicSpec {
  /** Dense from 0, in order of creation. */
  readonly id: number
}

/** The end of one partition. `appendedMs` is that of the newest batch, -Infinity on an empty partition. */
export interface PartitionTail {
  readonly endOffset: number
  readonly appendedMs: number
}

/**
 * What may be done inside `LogWriter.transaction`. Values are copied before each call returns: the caller may reuse its
 * buffers at once. A throw anywhere in the body undoes the whole transaction, in the store and in the writer's memory.
 */
export interface LogTransaction {
  /** Makes the topic, or gives the existing one. TOPIC_MISMATCH where it was declared differently. */
  createTopic(spec: TopicSpec): LogTopic
  /** `seriesId` must be `nextSeriesId(topicId)`: ids are dense and never reused. The key is copied, shared memory or not. */
  putSeries(topicId: number, seriesId: number, key: Uint8Array): void
  /**
   * Appends one sealed record batch (batch/batch-encoder.ts). Topic, partition and base offset are read from its header;
   * the base offset must be the partition's end and `appendedMs` must not step back. Not over shared memory.
   * Returns the partition's new end offset.
   */
  putBatch(bytes: Uint8Array): number
  /** The row that a FEEDBACK record of this transaction refers to. */
  putFeedback(row: FeedbackRow): void
  /** Deletes a partition's OLDEST batch, which must start at `baseOffset` and must not be its newest. Returns bytes freed. */
  deleteBatch(topicId: number, partition: number, baseOffset: number): number
}

export interface RetentionRequest {
  /** The clock's time; batches with appendedMs < nowMs - ageMsMax are deleted. */
  readonly nowMs: number
  /** Infinity: forever. */
  readonly ageMsMax: number
  /** Bytes of all topics together; Infinity: no bound. */
  readonly bytesMax: number
  /** The lowest offset that somebody still needs; nothing at or above it is deleted. Infinity: nobody. */
  readonly lowWater: (topicId: number, partition: number) => number
  /** At most so many batches in this call (default RETENTION_DELETIONS_MAX): call again while `more`. */
  readonly deletionsMax?: number
}

export interface RetentionReport {
  /** New start offset of every partition that lost batches. */
  readonly deleted: readonly {
    readonly topicId: number
    readonly partition: number
    readonly startOffset: number
    readonly batches: number
  }[]
  readonly batches: number
  readonly bytes: number
  /** The bound on deletions was met first: there is more to delete now. */
  readonly more: boolean
  /** Bytes are over the bound, but the low-water marks or the newest batches hold what is left: the log is full. */
  readonly heldBack: boolean
}

export interface LogWriter {
  /** Durable when it returns. STORE_FENCED: a successor owns the store; STORE_IO: the disk failed, exit. Do not nest. */
  transaction<T>(body: (txn: LogTransaction) => T): T
  topics(): readonly LogTopic[]
  topicOf(name: string): LogTopic | null
  /** Ids given so far are [0, nextSeriesId). Kept in memory: O(1), as all of the following. */
  nextSeriesId(topicId: number): number
  startOffset(topicId: number, partition: number): number
  endOffset(topicId: number, partition: number): number
  /** Of the partition's newest batch; -Infinity: none. */
  appendedMs(topicId: number, partition: number): number
  /** Bytes on the disk that the batches of a topic take (whole pages for large ones). */
  bytesOf(topicId: number): number
  /** Of all topics. */
  readonly bytes: number
  /** Of the file, that hold nothing now. Not O(1), but a few microseconds. */
  freeBytes(): number
  /** One transaction (none if nothing is due). */
  retain(request: RetentionRequest): RetentionReport
  /** Canonical keys of the topic's series by id; for building the writer's own tables at start. */
  seriesOf(topicId: number): readonly Uint8Array[]
  /** All rows of feedback, by number. */
  feedback(): readonly FeedbackRow[]
  /**
   * Keys and producers that the log remembers; once, by the thread that appends. It reads all of them (about a second
   * for ten million keys); what it is told later must be flushed inside `transaction`.
   */
  openDedupe(options: DedupeOptions): Dedupe
  close(): Promise<void>
}

/** Every call sees what was committed before it began, and pins nothing after it returned. */
export interface LogReader {
  topics(): readonly LogTopic[]
  topicOf(name: string): LogTopic | null
  /** Canonical key bytes, or null: no such series (yet). */
  seriesKey(topicId: number, seriesId: number): Uint8Array | null
  /** Keys by id, from `fromId` on (default 0): result[i] is the key of series fromId + i. */
  seriesOf(topicId: number, fromId?: number): readonly Uint8Array[]
  startOffset(topicId: number, partition: number): number
  endOffset(topicId: number, partition: number): number
  tail(topicId: number, partition: number): PartitionTail
  /**
   * Copies the batch that holds `offset` to byte 0 of `into` (at least BATCH_BYTES_MAX) and returns its length;
   * 0: `offset` is at or beyond the end. Its CRC and header are checked. OFFSET_GONE: retention has deleted it;
   * STORE_DAMAGED names topic, partition and offset.
   */
  read(topicId: number, partition: number, offset: number, into: ArrayBuffer): number
  /**
   * Hands batches to `visit` as `read` would, one after another: from the one that holds `offset` on, while they begin before
   * `toOffset` and about `bytesMax` have not been read (default SCAN_BYTES_MAX; at least one). Each lies at byte 0 of `into`
   * during its call. One snapshot for all, which `visit` prolongs: it must return soon. Returns the next offset wanted.
   */
  scan(
    topicId: number,
    partition: number,
    offset: number,
    toOffset: number,
    into: ArrayBuffer,
    visit: (bytes: number) => void,
    bytesMax?: number,
  ): number
  /** The oldest batch kept; null: the partition is empty. */
  oldest(topicId: number, partition: number): { readonly offset: number; readonly appendedMs: number } | null
  /** First offset whose batch was appended at or after `logTimeMs`; the end offset if there is none. O(log n). */
  offsetAtTime(topicId: number, partition: number, logTimeMs: number): number
  bytesOf(topicId: number): number
  /** Rows of feedback by number, from `fromId` on (default 1). */
  feedback(fromId?: number): readonly FeedbackRow[]
  close(): Promise<void>
}
