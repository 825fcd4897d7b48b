/**
 * The log environment's tables and what their rows mean; shared by writer and reader.
 *
 *   topics    u16 topic                             JSON { name, partitions, partitionBy }
 *   series    u16 topic, u32 series                 canonical key
 *   tails     u16 topic                             f64[4] a partition: start, end, appendedMs, bytes
 *   batches   u16 topic, u16 partition, u64 offset  a record batch (batch/layout.ts; it has a CRC of its own)
 *   feedback  u32 number                            JSON of a FeedbackRow; kept when retention deletes its record
 *
 * `tails` repeats what the batches say, so that ends, log time and bytes cost one small read instead of a batch, and so
 * that opening can compare the two: a batch that is missing shows.
 */
import type { BatchFault } from '../batch/batch-encoder.ts'
import { MillraceError } from '../contract/errors.ts'
import type { FeedbackRow } from '../contract/feedback.ts'
import type { TopicSpec } from '../contract/plan.ts'
import { assert } from '../util/assert.ts'
import { DAMAGE_REMEDY, type StoreEnv, type Table } from './env.ts'
import { KeyBuffer, readU16, readU32 } from './keys.ts'
import type { LogTopic } from './log-contract.ts'
import { unseal, unsealJson } from './sealed.ts'

export const PARTITIONS_MAX = 1_024
export const TOPICS_MAX = 1_024

export const TAIL_START = 0
export const TAIL_END = 1
export const TAIL_APPENDED = 2
export const TAIL_BYTES = 3
export const TAIL_STRIDE = 4

const FROM_FIRST = new Uint8Array([0])
const PAST_LAST = new Uint8Array(16).fill(0xff)

export class LogTables {
  readonly env: StoreEnv
  readonly topics: Table
  readonly series: Table
  readonly tails: Table
  readonly batches: Table
  readonly feedback: Table
  readonly #key = new KeyBuffer()

  constructor(env: StoreEnv) {
    this.env = env
    this.topics = env.table('topics')
    this.series = env.table('series')
    this.tails = env.table('tails')
    // A batch says in its header where it belongs.
    this.batches = env.table('batches', { isBound: false })
    this.feedback = env.table('feedback')
  }

  topicKey(topicId: number): Uint8Array {
    return this.#key.start().u16(topicId).view()
  }

  seriesKey(topicId: number, seriesId: number): Uint8Array {
    return this.#key.start().u16(topicId).u32(seriesId).view()
  }

  batchKey(topicId: number, partition: number, offset: number): Uint8Array {
    return this.#key.start().u16(topicId).u16(partition).u64(offset).view()
  }

  feedbackKey(id: number): Uint8Array {
    return this.#key.start().u32(id).view()
  }

  readTopics(): LogTopic[] {
    const topics: LogTopic[] = []
    for (const { key, value } of this.env.rows(this.topics, FROM_FIRST, PAST_LAST)) {
      const id = readU16(key, 0)
      topics.push({ id, ...unsealJson<TopicSpec>(value, () => `the record of topic ${id} in the log`) })
    }
    return topics
  }

  readTails(topicId: number): Float64Array | null {
    const bytes = this.env.peek(this.tails, this.topicKey(topicId))
    if (bytes === null) return null
    const payload = unseal(bytes, () => `the record of partition ends of topic ${topicId} in the log`)
    return new Float64Array(payload.slice().buffer)
  }

  readSeriesKey(topicId: number, seriesId: number): Uint8Array | null {
    const bytes = this.env.peek(this.series, this.seriesKey(topicId, seriesId))
    return bytes === null ? null : unseal(bytes, () => seriesName(topicId, seriesId)).slice()
  }

  readSeries(topicId: number, fromId: number): Uint8Array[] {
    const keys: Uint8Array[] = []
    const from = new KeyBuffer().start().u16(topicId).u32(fromId).view()
    const to = new KeyBuffer().start().u16(topicId).last().view()
    for (const { key, value } of this.env.rows(this.series, from, to)) {
      const id = readU32(key, 2)
      if (id !== fromId + keys.length) {
        throw new MillraceError(
          'STORE_DAMAGED',
          `${seriesName(topicId, fromId + keys.length)} is missing. ${DAMAGE_REMEDY}`,
        )
      }
      keys.push(unseal(value, () => seriesName(topicId, id)))
    }
    return keys
  }

  /** From row `fromId` on; they are numbered from 1 without a gap. */
  readFeedback(fromId: number): FeedbackRow[] {
    const rows: FeedbackRow[] = []
    for (const { key, value } of this.env.rows(this.feedback, this.feedbackKey(fromId).slice(), PAST_LAST)) {
      const id = readU32(key, 0)
      const name = `statement ${id} of the log's feedback`
      if (id !== fromId + rows.length) {
        throw new MillraceError('STORE_DAMAGED', `a statement before ${name} is missing. ${DAMAGE_REMEDY}`)
      }
      rows.push(unsealJson<FeedbackRow>(value, () => name))
    }
    return rows
  }

  nextSeriesId(topicId: number): number {
    const after = new KeyBuffer().start().u16(topicId).view()
    const upTo = new KeyBuffer().start().u16(topicId).last().view()
    const key = this.env.lastKey(this.series, after, upTo)
    return key === null ? 0 : readU32(key, 2) + 1
  }

  /** Base offset of the batch that holds `offset`: the last that starts at or before it. -1: none. */
  baseOffsetAt(topicId: number, partition: number, offset: number): number {
    const after = new KeyBuffer().start().u16(topicId).u16(partition).view()
    const key = this.env.lastKey(this.batches, after, this.batchKey(topicId, partition, offset))
    return key === null ? -1 : readU32(key, 4) * 0x1_0000_0000 + readU32(key, 8)
  }
}

export function partitionAt(tails: Float64Array, partition: number): number {
  assert(partition >= 0 && partition * TAIL_STRIDE < tails.length, 'a partition of the topic', partition)
  return partition * TAIL_STRIDE
}

export function batchDamaged(
  topic: string,
  partition: number,
  offset: number,
  fault: BatchFault | 'missing' | 'header of another place' | 'appended out of order',
): MillraceError {
  return new MillraceError(
    'STORE_DAMAGED',
    `the batch at topic ${JSON.stringify(topic)}, partition ${partition}, offset ${offset} is damaged (${fault}). ` +
      DAMAGE_REMEDY,
  )
}

/**
 * Bytes on the disk of one batch value. LMDB keeps a value beside its key when both fit half a page, else in whole pages
 * of its own (LMDB 0.9.90 page header 24 bytes, node header 8, batch key 12; leaf slack is not counted).
 */
export function storedBytes(length: number): number {
  const node = NODE_HEADER_BYTES + BATCH_KEY_BYTES + length
  if (node <= NODE_BYTES_MAX) return node
  return Math.ceil((length + PAGE_HEADER_BYTES) / PAGE_BYTES) * PAGE_BYTES
}

const PAGE_BYTES = 4_096
const PAGE_HEADER_BYTES = 24
const NODE_HEADER_BYTES = 8
const BATCH_KEY_BYTES = 12
const NODE_BYTES_MAX = 2_034

function seriesName(topicId: number, seriesId: number): string {
  return `the key of series ${seriesId} of topic ${topicId} in the log`
}
