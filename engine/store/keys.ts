/**
 * Keys are big-endian, so that byte order is number order. One writer a shape; a key is filled, used and forgotten
 * within one call, so each kind of caller keeps one buffer (`KeyBuffer`) and nothing is allocated per key.
 */
import { assert } from '../util/assert.ts'

const U16_MAX = 0xffff
const U32_MAX = 0xffff_ffff
const U32_RANGE = 0x1_0000_0000

export class KeyBuffer {
  readonly #bytes: Buffer
  #length = 0

  constructor(capacity = 64) {
    this.#bytes = Buffer.alloc(capacity)
  }

  start(): this {
    this.#length = 0
    return this
  }

  u16(value: number): this {
    assert(Number.isInteger(value) && value >= 0 && value <= U16_MAX, 'a key field is a u16', value)
    this.#length = this.#bytes.writeUInt16BE(value, this.#length)
    return this
  }

  u32(value: number): this {
    assert(Number.isInteger(value) && value >= 0 && value <= U32_MAX, 'a key field is a u32', value)
    this.#length = this.#bytes.writeUInt32BE(value, this.#length)
    return this
  }

  /** Up to 2^53. */
  u64(value: number): this {
    assert(Number.isSafeInteger(value) && value >= 0, 'a key field is a u64 below 2^53', value)
    this.#bytes.writeUInt32BE(Math.floor(value / U32_RANGE), this.#length)
    this.#length = this.#bytes.writeUInt32BE(value % U32_RANGE, this.#length + 4)
    return this
  }

  /** The largest u64: past every key with the same prefix. */
  last(): this {
    this.#bytes.fill(0xff, this.#length, this.#length + 8)
    this.#length += 8
    return this
  }

  text(value: string): this {
    const length = Buffer.byteLength(value)
    assert(this.#length + length <= this.#bytes.length, 'a key fits its buffer', value)
    this.#length += this.#bytes.write(value, this.#length)
    return this
  }

  /** Over this object's memory: use it before the next `start`. */
  view(): Uint8Array {
    return new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset, this.#length)
  }

  copy(): Uint8Array {
    return this.view().slice()
  }
}

export function readU16(key: Uint8Array, at: number): number {
  return key[at]! * 0x100 + key[at + 1]!
}

export function readU32(key: Uint8Array, at: number): number {
  return readU16(key, at) * 0x1_0000 + readU16(key, at + 2)
}

export function readU64(key: Uint8Array, at: number): number {
  return readU32(key, at) * U32_RANGE + readU32(key, at + 4)
}
