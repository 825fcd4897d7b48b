/**
 * Byte strings to dense numbers 0, 1, 2 … in order of first sight. Guarantees: equal bytes have one number, distinct bytes
 * have two (every byte is compared); a key's bytes never change. About 20 bytes a key beside the key itself, where a Map
 * of strings takes ten times that.
 *
 * The hash is seeded anew in every thread, so that chosen keys cannot make look-ups slow. Numbers do not depend on it:
 * nothing a pipeline computes can show it.
 */
import { randomBytes } from 'node:crypto'
import { assert } from '../util/assert.ts'
import { hashBytes, hashRange } from '../util/hash.ts'

const SEED = randomBytes(4).readInt32LE(0)
const FREE = 0
export const KEY_UNKNOWN = -1

export class KeyTable {
  size = 0
  /** Keys end to end; key i is [#ends[i − 1], #ends[i]). */
  #bytes: Uint8Array = new Uint8Array(1_024)
  #ends: Float64Array = new Float64Array(64)
  #hashes = new Int32Array(64)
  /** Number + 1 by hash, FREE: none. A power of two, at most half full. */
  #slots = new Int32Array(128)

  /** What the table holds, room for more keys not counted. */
  get usedBytes(): number {
    const perKey = this.#ends.BYTES_PER_ELEMENT + this.#hashes.BYTES_PER_ELEMENT
    return this.#startOf(this.size) + this.size * perKey + this.#slots.byteLength
  }

  /** The key's number, or KEY_UNKNOWN. */
  find(key: Uint8Array): number {
    return this.#find(key, hashBytes(key, SEED))
  }

  /** The key's number; a new key's is the size before. Its bytes are copied. */
  intern(key: Uint8Array): number {
    const hash = hashBytes(key, SEED)
    const known = this.#find(key, hash)
    return known === KEY_UNKNOWN ? this.#add(key, hash) : known
  }

  /** Of all keys, end to end. */
  get byteLength(): number {
    return this.#startOf(this.size)
  }

  /** Where a key ends in the bytes of all keys. */
  endOf(id: number): number {
    assert(id >= 0 && id < this.size, 'a number was given out by this table', id, this.size)
    return this.#ends[id]!
  }

  /** Bytes of all keys, from `from` on. */
  copyBytes(from: number, into: Uint8Array): void {
    const to = from + into.length
    assert(to <= this.byteLength, 'bytes lie in keys', from, to, this.byteLength)
    into.set(this.#bytes.subarray(from, to))
  }

  /**
   * On a fresh table: keys 0 to `count`, end to end in `bytes`, each up to its end. Both arrays are the table's from now
   * on; they may be longer. That the keys are distinct is believed.
   */
  restore(count: number, bytes: Uint8Array, ends: Float64Array): void {
    assert(this.size === 0, 'only a fresh table is restored', this.size)
    if (count === 0) return
    this.#bytes = bytes
    this.#ends = ends
    let capacity = this.#slots.length
    while (capacity < count * 2) capacity *= 2
    const slots = new Int32Array(capacity)
    const hashes = new Int32Array(ends.length)
    const mask = capacity - 1
    let from = 0
    for (let id = 0; id < count; id++) {
      const to = ends[id]!
      if (!(to >= from && to <= bytes.length)) assert(false, 'keys lie end to end', id, from, to)
      const hash = hashRange(bytes, from, to, SEED)
      let slot = hash & mask
      while (slots[slot] !== FREE) slot = (slot + 1) & mask
      slots[slot] = id + 1
      hashes[id] = hash
      from = to
    }
    this.#hashes = hashes
    this.#slots = slots
    this.size = count
  }

  /** A view of bytes that never change. */
  keyOf(id: number): Uint8Array {
    assert(id >= 0 && id < this.size, 'a number was given out by this table', id, this.size)
    return this.#bytes.subarray(this.#startOf(id), this.#ends[id]!)
  }

  /** Byte order of two keys: negative, 0 or positive. Allocates nothing. */
  compare(a: number, b: number): number {
    const bytes = this.#bytes
    const aFrom = this.#startOf(a)
    const bFrom = this.#startOf(b)
    const aLength = this.#ends[a]! - aFrom
    const bLength = this.#ends[b]! - bFrom
    const length = Math.min(aLength, bLength)
    for (let i = 0; i < length; i++) {
      const difference = bytes[aFrom + i]! - bytes[bFrom + i]!
      if (difference !== 0) return difference
    }
    return aLength - bLength
  }

  #startOf(id: number): number {
    return id === 0 ? 0 : this.#ends[id - 1]!
  }

  #find(key: Uint8Array, hash: number): number {
    const slots = this.#slots
    const mask = slots.length - 1
    for (let slot = hash & mask; slots[slot] !== FREE; slot = (slot + 1) & mask) {
      const id = slots[slot]! - 1
      if (this.#hashes[id] === hash && this.#holds(id, key)) return id
    }
    return KEY_UNKNOWN
  }

  #holds(id: number, key: Uint8Array): boolean {
    const from = this.#startOf(id)
    if (this.#ends[id]! - from !== key.length) return false
    const bytes = this.#bytes
    for (let i = 0; i < key.length; i++) if (bytes[from + i] !== key[i]) return false
    return true
  }

  #add(key: Uint8Array, hash: number): number {
    const id = this.size
    const from = id === 0 ? 0 : this.#ends[id - 1]!
    const to = from + key.length
    // Views given out keep the old bytes alive, and those are the same.
    if (to > this.#bytes.length) this.#bytes = grown(this.#bytes, Math.max(this.#bytes.length * 2, to))
    if (id === this.#ends.length) {
      this.#ends = grown(this.#ends, id * 2)
      this.#hashes = grown(this.#hashes, id * 2)
    }
    this.#bytes.set(key, from)
    this.#ends[id] = to
    this.#hashes[id] = hash
    this.size = id + 1
    if (this.size * 2 > this.#slots.length) this.#rehash()
    else this.#place(id)
    return id
  }

  #rehash(): void {
    this.#slots = new Int32Array(this.#slots.length * 2)
    for (let id = 0; id < this.size; id++) this.#place(id)
  }

  #place(id: number): void {
    const mask = this.#slots.length - 1
    let slot = this.#hashes[id]! & mask
    while (this.#slots[slot] !== FREE) slot = (slot + 1) & mask
    this.#slots[slot] = id + 1
  }
}

function grown<T extends Uint8Array | Float64Array | Int32Array>(array: T, length: number): T {
  const larger = new (array.constructor as new (length: number) => T)(length)
  larger.set(array)
  return larger
}
