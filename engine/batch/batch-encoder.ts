/**
 * Writes record batches into a buffer of its own (never shared memory: LMDB must not read from that) and seals them
 * with their CRC. Columns are written in place by the caller through the typed views.
 */
import { crc32 } from 'node:zlib'
import { assert } from '../util/assert.ts'
import * as layout from './layout.ts'

export interface BatchHeader {
  readonly kind: number
  readonly topicId: number
  readonly partition: number
  readonly baseOffset: number
  readonly count: number
  readonly minTimestampMs: number
  readonly maxTimestampMs: number
  readonly appendedMs: number
  readonly producerId: number
  readonly producerEpoch: number
  readonly baseSequence: number
}

/** Writes the header at byte 0 of `bytes` and the CRC over the rest; the columns must already stand. */
export function sealBatch(bytes: Uint8Array, view: DataView, header: BatchHeader): number {
  const length = layout.batchBytes(header.count)
  assert(length <= bytes.length, 'a batch fits its buffer', length, bytes.length)
  view.setInt32(layout.MAGIC_AT, layout.MAGIC, true)
  view.setUint16(layout.VERSION_AT, layout.VERSION, true)
  view.setUint16(layout.KIND_AT, header.kind, true)
  view.setInt32(layout.COUNT_AT, header.count, true)
  view.setFloat64(layout.BASE_OFFSET_AT, header.baseOffset, true)
  view.setFloat64(layout.PRODUCER_ID_AT, header.producerId, true)
  view.setInt32(layout.PRODUCER_EPOCH_AT, header.producerEpoch, true)
  view.setInt32(layout.FLAGS_AT, 0, true)
  view.setFloat64(layout.BASE_SEQUENCE_AT, header.baseSequence, true)
  view.setFloat64(layout.MIN_TIMESTAMP_AT, header.minTimestampMs, true)
  view.setFloat64(layout.MAX_TIMESTAMP_AT, header.maxTimestampMs, true)
  view.setFloat64(layout.APPENDED_AT, header.appendedMs, true)
  view.setInt32(layout.TOPIC_AT, header.topicId, true)
  view.setInt32(layout.PARTITION_AT, header.partition, true)
  view.setUint32(layout.CRC_AT, crc32(bytes.subarray(layout.CRC_FROM, length)), true)
  return length
}

export type BatchFault = 'too short' | 'wrong magic' | 'unknown version' | 'wrong length' | 'wrong CRC'

/** What is wrong with these bytes as a record batch, or null. Reads every byte. */
export function batchFault(bytes: Uint8Array): BatchFault | null {
  if (bytes.length < layout.HEADER_BYTES) return 'too short'
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  if (view.getInt32(layout.MAGIC_AT, true) !== layout.MAGIC) return 'wrong magic'
  if (view.getUint16(layout.VERSION_AT, true) !== layout.VERSION) return 'unknown version'
  const count = view.getInt32(layout.COUNT_AT, true)
  if (count < 0 || layout.batchBytes(count) !== bytes.length) return 'wrong length'
  if (crc32(bytes.subarray(layout.CRC_FROM)) !== view.getUint32(layout.CRC_AT, true)) return 'wrong CRC'
  return null
}
