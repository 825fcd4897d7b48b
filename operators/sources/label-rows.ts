/**
 * Raw label bytes of a row to the local series ids they stand for, without decoding text: a file names the same series
 * again and again, mostly in the same order. So the row that followed this one last time is tried first (one
 * comparison), then a hash table. Bounded by rows and by bytes: beyond either it forgets everything and starts again,
 * which costs time and never changes an answer.
 */
import { fnv1a, mix32 } from '../../engine/util/hash.ts'

export const LABEL_ROWS_MAX = 1 << 20
export const LABEL_BYTES_MAX = 1 << 28
/** An id not asked for yet. */
export const ID_UNKNOWN = -3

const ROWS_MIN = 256
const SLOTS_PER_ROW = 4

export class LabelRows {
  readonly #labels: number
  readonly #width: number
  /** `width` ids a row; ID_UNKNOWN until the caller stores one. */
  ids: Int32Array
  #rows = 0
  #capacity = ROWS_MIN
  #arena: Uint8Array
  #used = 0
  /** End in the arena of each label of each row; a row's first label starts where the row before ended. */
  #ends: Int32Array
  #hashes: Int32Array
  #following: Int32Array
  #slots: Int32Array
  #last = 0

  readonly #rowsMax: number

  /** `labels`: label columns of a row; `width`: ids a row; `rowsMax`: at least 256, for tests. */
  constructor(labels: number, width: number, rowsMax = LABEL_ROWS_MAX) {
    this.#rowsMax = rowsMax
    this.#labels = labels
    this.#width = width
    this.#arena = new Uint8Array(1 << 14)
    this.ids = new Int32Array(ROWS_MIN * width).fill(ID_UNKNOWN)
    this.#ends = new Int32Array(ROWS_MIN * labels)
    this.#hashes = new Int32Array(ROWS_MIN)
    this.#following = new Int32Array(ROWS_MIN)
    this.#slots = new Int32Array(ROWS_MIN * SLOTS_PER_ROW).fill(-1)
  }

  /** The row of the labels in fields [first, first + labels): valid until the next call. */
  // hot:
  find(bytes: Uint8Array, starts: Int32Array, ends: Int32Array, first: number): number {
    const guess = this.#following[this.#last]!
    if (guess < this.#rows && this.#is(guess, bytes, starts, ends, first)) {
      this.#last = guess
      return guess
    }
    let hash = 0
    for (let label = 0; label < this.#labels; label++) {
      const from = starts[first + label]!
      const to = ends[first + label]!
      hash = mix32((hash ^ fnv1a(bytes, from, to)) + to - from)
    }
    const mask = this.#slots.length - 1
    let slot = hash & mask
    let row = this.#slots[slot]!
    while (row >= 0) {
      if (this.#hashes[row] === hash && this.#is(row, bytes, starts, ends, first)) break
      slot = (slot + 1) & mask
      row = this.#slots[slot]!
    }
    if (row < 0) row = this.#add(hash, bytes, starts, ends, first)
    this.#following[this.#last] = row
    this.#last = row
    return row
  }

  #is(row: number, bytes: Uint8Array, starts: Int32Array, ends: Int32Array, first: number): boolean {
    const labels = this.#labels
    const arena = this.#arena
    const arenaEnds = this.#ends
    const base = row * labels
    let at = base === 0 ? 0 : arenaEnds[base - 1]!
    for (let label = 0; label < labels; label++) {
      const from = starts[first + label]!
      const length = ends[first + label]! - from
      if (arenaEnds[base + label]! - at !== length) return false
      for (let i = 0; i < length; i++) if (arena[at + i] !== bytes[from + i]) return false
      at += length
    }
    return true
  }

  #add(hash: number, bytes: Uint8Array, starts: Int32Array, ends: Int32Array, first: number): number {
    const labels = this.#labels
    let length = 0
    for (let label = 0; label < labels; label++) length += ends[first + label]! - starts[first + label]!
    if (this.#rows === this.#rowsMax || this.#used + length > LABEL_BYTES_MAX) this.#forget()
    if (this.#rows === this.#capacity) this.#grow()
    if (this.#used + length > this.#arena.length) {
      const arena = new Uint8Array(Math.max(this.#arena.length * 2, this.#used + length))
      arena.set(this.#arena)
      this.#arena = arena
    }
    const row = this.#rows++
    for (let label = 0; label < labels; label++) {
      const from = starts[first + label]!
      const to = ends[first + label]!
      this.#arena.set(bytes.subarray(from, to), this.#used)
      this.#used += to - from
      this.#ends[row * labels + label] = this.#used
    }
    this.#hashes[row] = hash
    this.#following[row] = 0
    this.#place(row)
    return row
  }

  #place(row: number): void {
    const mask = this.#slots.length - 1
    let slot = this.#hashes[row]! & mask
    while (this.#slots[slot]! >= 0) slot = (slot + 1) & mask
    this.#slots[slot] = row
  }

  #forget(): void {
    this.#rows = 0
    this.#used = 0
    this.#last = 0
    this.#following[0] = 0
    this.#slots.fill(-1)
    this.ids.fill(ID_UNKNOWN)
  }

  #grow(): void {
    const rows = this.#capacity
    this.#capacity = rows * 2
    this.ids = grown(this.ids, this.#capacity * this.#width, ID_UNKNOWN)
    this.#ends = grown(this.#ends, this.#capacity * this.#labels, 0)
    this.#hashes = grown(this.#hashes, this.#capacity, 0)
    this.#following = grown(this.#following, this.#capacity, 0)
    this.#slots = new Int32Array(this.#capacity * SLOTS_PER_ROW).fill(-1)
    for (let row = 0; row < rows; row++) this.#place(row)
  }
}

function grown(column: Int32Array, length: number, fill: number): Int32Array {
  const wider = new Int32Array(length)
  wider.set(column)
  if (fill !== 0) wider.fill(fill, column.length)
  return wider
}
