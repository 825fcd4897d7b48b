/**
 * A set of hashes in memory, each with the position of its entry in the log: open addressing over one typed array, 8
 * bytes a slot. It keeps 32 of a hash's bits, so it answers "maybe, look there". Slots are in order of hash, so growing
 * is one pass over both arrays in order.
 *
 * Guarantees: `find` visits every entry of a hash; memory is at most 16 bytes an entry, growing aside, and 11 when
 * `expected` was right. Never forgets one entry: a whole table is dropped.
 */
import { assert } from '../../util/assert.ts'

const LOAD_MAX = 0.75
const GROWTH = 1.5
const CAPACITY_MIN = 1_024
const HASHES = 0x1_0000_0000
/** Positions are kept plus one, so that zero is an empty slot. */
export const POSITION_MAX = 0x7fff_fffe

export class KeyTable {
  /** [slot * 2] hash, [slot * 2 + 1] position + 1. */
  #cells: Int32Array
  #capacity: number
  #limit: number
  count = 0

  /** `expected` entries fit without growing. */
  constructor(expected = 0) {
    this.#capacity = Math.max(CAPACITY_MIN, Math.ceil(expected / LOAD_MAX) + 1)
    this.#limit = Math.floor(this.#capacity * LOAD_MAX)
    this.#cells = new Int32Array(this.#capacity * 2)
  }

  get bytes(): number {
    return this.#cells.byteLength
  }

  add(hash: number, position: number): void {
    assert(position >= 0 && position <= POSITION_MAX, 'a position fits its slot', position)
    if (this.count >= this.#limit) this.#grow()
    place(this.#cells, this.#capacity, hash, position + 1)
    this.count++
  }

  /** The slot of the first entry with this hash, or of the next one after `slot`; -1: there is no more. */
  find(hash: number, slot = -1): number {
    return search(this.#cells, this.#capacity, hash, slot)
  }

  positionAt(slot: number): number {
    return this.#cells[slot * 2 + 1]! - 1
  }

  #grow(): void {
    const capacity = Math.ceil(this.#capacity * GROWTH)
    const cells = new Int32Array(capacity * 2)
    rehash(this.#cells, cells, capacity)
    this.#cells = cells
    this.#capacity = capacity
    this.#limit = Math.floor(capacity * LOAD_MAX)
  }
}

/** hot */
function place(cells: Int32Array, capacity: number, hash: number, stored: number): void {
  let slot = Math.floor((hash >>> 0) * (capacity / HASHES))
  while (cells[slot * 2 + 1] !== 0) {
    slot++
    if (slot === capacity) slot = 0
  }
  cells[slot * 2] = hash
  cells[slot * 2 + 1] = stored
}

/** hot */
function search(cells: Int32Array, capacity: number, hash: number, after: number): number {
  let slot = after < 0 ? Math.floor((hash >>> 0) * (capacity / HASHES)) : after + 1
  if (slot === capacity) slot = 0
  while (cells[slot * 2 + 1] !== 0) {
    if (cells[slot * 2] === hash) return slot
    slot++
    if (slot === capacity) slot = 0
  }
  return -1
}

/** hot */
function rehash(from: Int32Array, to: Int32Array, capacity: number): void {
  for (let at = 0; at < from.length; at += 2) {
    const stored = from[at + 1]!
    if (stored !== 0) place(to, capacity, from[at]!, stored)
  }
}
