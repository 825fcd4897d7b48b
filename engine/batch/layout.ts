/**
 * The record batch: the unit of the log. The same bytes are an LMDB value and a ring frame's payload, so live and
 * catch-up readers share one code path. Little-endian; columns stay 8-byte aligned when the batch is.
 *
 *    0 i32 magic            'MRB1'
 *    4 u32 crc32            over bytes [8, end)
 *    8 u16 version          10 u16 kind (contract/samples.ts RECORD_*)
 *   12 i32 count            samples; 0 for control records, which still take one offset
 *   16 f64 baseOffset
 *   24 f64 producerId       0: none
 *   32 i32 producerEpoch    36 i32 flags (0)
 *   40 f64 baseSequence     -1: none
 *   48 f64 minTimestampMs   control records: RESUMED keeps downFromMs here, FEEDBACK the number of its row
 *   56 f64 maxTimestampMs
 *   64 f64 appendedMs       log time, monotone per partition
 *   72 i32 topicId          76 i32 partition
 *   80 f64[count] timestampMs
 *    … f64[count] value
 *    … i32[count] seriesId
 */
export const MAGIC = 0x3142524d
export const VERSION = 1
export const HEADER_BYTES = 80
export const SAMPLE_BYTES = 20

export const MAGIC_AT = 0
export const CRC_AT = 4
export const CRC_FROM = 8
export const VERSION_AT = 8
export const KIND_AT = 10
export const COUNT_AT = 12
export const BASE_OFFSET_AT = 16
export const PRODUCER_ID_AT = 24
export const PRODUCER_EPOCH_AT = 32
export const FLAGS_AT = 36
export const BASE_SEQUENCE_AT = 40
export const MIN_TIMESTAMP_AT = 48
export const MAX_TIMESTAMP_AT = 56
export const APPENDED_AT = 64
export const TOPIC_AT = 72
export const PARTITION_AT = 76

/** LMDB stores values of n·4096 − 24 bytes without waste (16 pages here). */
export const BATCH_BYTES_MAX = 65_512
export const BATCH_SAMPLES_MAX = Math.floor((BATCH_BYTES_MAX - HEADER_BYTES) / SAMPLE_BYTES)

export function batchBytes(count: number): number {
  return HEADER_BYTES + count * SAMPLE_BYTES
}

/** Offsets that a record takes: its samples, or one for a control record. */
export function offsetsOf(count: number): number {
  return count === 0 ? 1 : count
}

/** Byte positions of the columns, relative to the start of the batch. */
export function timestampsAt(): number {
  return HEADER_BYTES
}
export function valuesAt(count: number): number {
  return HEADER_BYTES + count * 8
}
export function seriesIdsAt(count: number): number {
  return HEADER_BYTES + count * 16
}
