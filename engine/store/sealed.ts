/**
 * Small values carry a CRC-32 of the rest in their first 4 bytes, because LMDB does not notice a damaged page. Sealing
 * copies (from shared memory too) into a buffer that is reused: use the result before the next seal.
 */
import { crc32 } from 'node:zlib'
import { MillraceError } from '../contract/errors.ts'
import { DAMAGE_REMEDY } from './env.ts'

export const SEAL_BYTES = 4
const FIRST_CAPACITY = 8 * 1024

let scratch = Buffer.alloc(FIRST_CAPACITY)

export function seal(payload: Uint8Array): Uint8Array {
  const length = SEAL_BYTES + payload.length
  if (scratch.length < length) scratch = Buffer.alloc(length * 2)
  scratch.set(payload, SEAL_BYTES)
  scratch.writeUInt32LE(crc32(scratch.subarray(SEAL_BYTES, length)), 0)
  return scratch.subarray(0, length)
}

export function sealJson(value: unknown): Uint8Array {
  return seal(Buffer.from(JSON.stringify(value)))
}

/** The payload, over the same memory. `what` names the value for the refusal. */
export function unseal(bytes: Uint8Array, what: () => string): Uint8Array {
  if (bytes.length >= SEAL_BYTES) {
    // A plain array, even of a Buffer: its `slice` copies.
    const payload = new Uint8Array(bytes.buffer, bytes.byteOffset + SEAL_BYTES, bytes.length - SEAL_BYTES)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    if (crc32(payload) === view.getUint32(0, true)) return payload
  }
  throw damaged(what())
}

export function unsealJson<T>(bytes: Uint8Array, what: () => string): T {
  return JSON.parse(Buffer.from(unseal(bytes, what)).toString()) as T
}

export function damaged(what: string, fault = 'wrong CRC'): MillraceError {
  return new MillraceError('STORE_DAMAGED', `${what} is damaged (${fault}). ${DAMAGE_REMEDY}`)
}
