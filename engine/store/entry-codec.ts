/**
 * A stored result stream entry: a header with its CRC, then the bytes the chain emitted.
 *
 *    0 u32 crc32 over [4, end)   4 u32 kind   8 f64 seq   16 f64 causeOffset   24 f64 eventTimeMs   32 … bytes
 *
 * The seq repeats the key's, so that a row that LMDB serves under the wrong key is noticed. Encoding copies into a buffer
 * that is reused (from shared memory too): use the result before the next call.
 */
import { crc32 } from 'node:zlib'
import type { Entry } from './state-contract.ts'

export const ENTRY_HEADER_BYTES = 32
const CRC_AT = 0
const CRC_FROM = 4
const KIND_AT = 4
const SEQ_AT = 8
const CAUSE_AT = 16
const TIME_AT = 24
const FIRST_CAPACITY = 64 * 1024

export class EntryEncoder {
  #bytes = Buffer.alloc(FIRST_CAPACITY)

  encode(
    seq: number,
    kind: number,
    causeOffset: number,
    eventTimeMs: number,
    payload: Uint8Array,
  ): Uint8Array {
    const length = ENTRY_HEADER_BYTES + payload.length
    if (this.#bytes.length < length) this.#bytes = Buffer.alloc(length * 2)
    const bytes = this.#bytes
    bytes.writeUInt32LE(kind, KIND_AT)
    bytes.writeDoubleLE(seq, SEQ_AT)
    bytes.writeDoubleLE(causeOffset, CAUSE_AT)
    bytes.writeDoubleLE(eventTimeMs, TIME_AT)
    bytes.set(payload, ENTRY_HEADER_BYTES)
    bytes.writeUInt32LE(crc32(bytes.subarray(CRC_FROM, length)), CRC_AT)
    return bytes.subarray(0, length)
  }
}

/** The entry with bytes of its own, 8-byte aligned; null: damaged, or not the entry numbered `seq`. */
export function decodeEntry(bytes: Uint8Array, seq: number): Entry | null {
  if (bytes.length < ENTRY_HEADER_BYTES) return null
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  if (crc32(bytes.subarray(CRC_FROM)) !== view.getUint32(CRC_AT, true)) return null
  if (view.getFloat64(SEQ_AT, true) !== seq) return null
  const payload = new Uint8Array(bytes.length - ENTRY_HEADER_BYTES)
  payload.set(bytes.subarray(ENTRY_HEADER_BYTES))
  return {
    seq,
    kind: view.getUint32(KIND_AT, true),
    causeOffset: view.getFloat64(CAUSE_AT, true),
    eventTimeMs: view.getFloat64(TIME_AT, true),
    bytes: payload,
  }
}
