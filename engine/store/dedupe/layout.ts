/**
 * Rows of the `log` environment that remember requests. All little-endian; every value is sealed with a CRC (sealed.ts).
 *
 *   keys       u64 generation, u32 block    0 f64 log time of the newest entry, then entries of 40 bytes:
 *                                             0 i32[4] hash of topic and key   16 receipt
 *   producers  u32 producer                 JSON { name, epoch, usedMs }; producer 0: { nextId }
 *   sequences  u32 producer, u16 topic      0 f64 last sequence   8 f64 log time   then receipts of 24 bytes of the
 *                                             newest sequences, oldest first
 *
 * A receipt:  0 i32 fingerprint   4 i32 body bytes   8 u32 offset, low   12 u16 offset, high   14 u16 partition
 *            16 u32 samples      20 u32 refused samples
 * NO_PARTITION: nothing was stored. A generation is named by the log time at which it began, in ms.
 */
import type { Receipt } from '../../contract/idempotency.ts'

export const HASH_BYTES = 16
export const RECEIPT_BYTES = 24
export const ENTRY_BYTES = HASH_BYTES + RECEIPT_BYTES
export const ENTRIES_AT = 8
/** With the 4 bytes of the seal, a whole block fills one page of LMDB (4,072 bytes are usable). */
export const BLOCK_ENTRIES = 101
export const BLOCK_BYTES = ENTRIES_AT + BLOCK_ENTRIES * ENTRY_BYTES
export const SEQUENCE_RECEIPTS_AT = 16

const NO_PARTITION = 0xffff
const U32_RANGE = 0x1_0000_0000
const U32_MAX = 0xffff_ffff

export function writeReceipt(view: DataView, at: number, receipt: Receipt): void {
  const { fingerprint, bodyBytes, storedAt, samples, refusedSamples } = receipt
  const offset = storedAt?.offset ?? 0
  view.setInt32(at, fingerprint, true)
  view.setInt32(at + 4, bodyBytes, true)
  view.setUint32(at + 8, offset % U32_RANGE, true)
  view.setUint16(at + 12, Math.floor(offset / U32_RANGE), true)
  view.setUint16(at + 14, storedAt?.partition ?? NO_PARTITION, true)
  view.setUint32(at + 16, Math.min(samples, U32_MAX), true)
  view.setUint32(at + 20, Math.min(refusedSamples, U32_MAX), true)
}

export function readReceipt(view: DataView, at: number): Receipt {
  const partition = view.getUint16(at + 14, true)
  const offset = view.getUint16(at + 12, true) * U32_RANGE + view.getUint32(at + 8, true)
  return {
    fingerprint: view.getInt32(at, true),
    bodyBytes: view.getInt32(at + 4, true),
    storedAt: partition === NO_PARTITION ? null : { partition, offset },
    samples: view.getUint32(at + 16, true),
    refusedSamples: view.getUint32(at + 20, true),
  }
}
