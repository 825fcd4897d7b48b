/**
 * The hashes of all remembered keys in memory, each with where its entry lies: open addressing over one typed array, 8
 * bytes a slot, one look-up for all generations. It keeps 32 of a hash's bits, so it answers "maybe, look there".
 *
 * Slots are in the order of hashes. So a table is replaced piece by piece, a few slots with each `add`: hashes whose slots
 * have been passed are in the new table, the others in the old one, and a look-up asks one of them. That is how the index
 * grows and how it sheds the entries of retired generations, without ever stopping for all of them.
 *
 * Guarantees: `find` visits every entry of a hash whose generation (tag) is live, and no other; an `add` moves a bounded
 * number of slots, but for the rest of a cluster; 10 to 14 bytes an entry, and 24 while a larger table takes over.
 */
import { assert } from '../../util/assert.ts'

/** Generations at once. Each has a tag, which is not given again before all entries of its last owner are gone. */
export const TAGS = 31
const POSITION_BITS = 26
/** Entries of one generation. */
export const POSITIONS = 2 ** POSITION_BITS

const LOAD_MAX = 0.8
/** How many times the live entries fit a new table before the next is begun. */
const ROOM = 1.3
const CAPACITY_MIN = 1_024
/** Slots behind the last home, so that nothing wraps. */
const SLACK_SLOTS = 1_024
const HASHES = 0x1_0000_0000
/** Slots of the old table moved with one `add`. */
const MOVED_WITH_ADD = 16

interface Table {
  /** [slot * 2] hash, [slot * 2 + 1] tag and position plus one, so that zero is an empty slot. */
  cells: Int32Array
  /** Homes; there are more slots. */
  readonly capacity: number
  /** Slots that are not empty. */
  used: number
}

export class KeyIndex {
  #table: Table
  /** Takes over from `#table`; null: nothing moves. */
  #next: Table | null = null
  /** Slots of `#table` before this one have been moved, and are all there is of their homes. */
  #moved = 0
  /** By tag: entries, live or not yet shed. */
  readonly #counts = new Float64Array(TAGS)
  readonly #isLive = new Uint8Array(TAGS)
  /** Tags that are retired and may still be in a table. */
  readonly #isStale = new Uint8Array(TAGS)
  /** Those of them that the move under way sheds. */
  readonly #isShed = new Uint8Array(TAGS)
  /** What the last `find` found. */
  tag = -1
  position = -1

  /** `expected` entries fit without a move. */
  constructor(expected = 0) {
    this.#table = newTable(expected * 1.1)
  }

  get bytes(): number {
    return this.#table.cells.byteLength + (this.#next?.cells.byteLength ?? 0)
  }

  get isMoving(): boolean {
    return this.#next !== null
  }

  /** For a generation that begins. */
  takeTag(): number {
    let tag = this.#freeTag()
    if (tag < 0) {
      // More generations than tags within one move: what is stale is shed now.
      this.#finish()
      this.#begin()
      this.#finish()
      tag = this.#freeTag()
    }
    assert(tag >= 0, 'fewer generations are live than there are tags', TAGS)
    this.#isLive[tag] = 1
    return tag
  }

  /** The generation is forgotten: none of its entries is found from now on. */
  retire(tag: number): void {
    this.#isLive[tag] = 0
    this.#isStale[tag] = 1
    if (this.#next === null && this.#live() < this.#table.used / 2) this.#begin()
  }

  add(hash: number, tag: number, position: number): void {
    assert(position >= 0 && position < POSITIONS, 'a position fits its slot', position)
    if (this.#next !== null) this.move(MOVED_WITH_ADD)
    else if (this.#table.used >= this.#table.capacity * LOAD_MAX) this.#begin()
    const table = this.#tableOf(hash)
    place(table, hash, ((tag << POSITION_BITS) | position) + 1)
    this.#counts[tag]!++
  }

  /**
   * The slot of the first live entry with this hash, or of the next one after `slot`; -1: there is no more. Sets `tag`
   * and `position`. Slots are good until the next `add`, `move` or `retire`.
   */
  find(hash: number, slot = -1): number {
    const { cells, capacity } = this.#tableOf(hash)
    let at = slot
    for (;;) {
      at = search(cells, capacity, hash, at)
      if (at < 0) return -1
      const entry = cells[at * 2 + 1]! - 1
      this.tag = entry >>> POSITION_BITS
      this.position = entry & (POSITIONS - 1)
      if (this.#isLive[this.tag] === 1) return at
    }
  }

  /** Moves so many slots, and on to the end of their cluster. */
  move(slots: number): void {
    const next = this.#next
    if (next === null) return
    const old = this.#table
    this.#moved = moveSlots(old.cells, next, this.#isLive, this.#moved, this.#moved + slots)
    if (this.#moved * 2 < old.cells.length) return
    this.#table = next
    this.#next = null
    for (let tag = 0; tag < TAGS; tag++) {
      if (this.#isShed[tag] === 0) continue
      this.#isShed[tag] = 0
      this.#isStale[tag] = 0
      this.#counts[tag] = 0
    }
  }

  #begin(): void {
    assert(this.#next === null, 'one move at a time')
    // Room for what comes while the old table is passed, too.
    this.#next = newTable(this.#live() * ROOM + this.#table.capacity / MOVED_WITH_ADD)
    this.#moved = 0
    this.#isShed.set(this.#isStale)
  }

  #finish(): void {
    this.move(Number.MAX_SAFE_INTEGER)
  }

  #live(): number {
    let live = 0
    for (let tag = 0; tag < TAGS; tag++) if (this.#isLive[tag] === 1) live += this.#counts[tag]!
    return live
  }

  #freeTag(): number {
    for (let tag = 0; tag < TAGS; tag++) if (this.#isLive[tag] === 0 && this.#isStale[tag] === 0) return tag
    return -1
  }

  #tableOf(hash: number): Table {
    const next = this.#next
    return next !== null && homeOf(hash, this.#table.capacity) < this.#moved ? next : this.#table
  }
}

function newTable(entries: number): Table {
  const capacity = Math.max(CAPACITY_MIN, Math.ceil(entries / LOAD_MAX))
  return { cells: new Int32Array((capacity + SLACK_SLOTS) * 2), capacity, used: 0 }
}

function homeOf(hash: number, capacity: number): number {
  return Math.floor((hash >>> 0) * (capacity / HASHES))
}

/** hot, but for the case that the slack is full, which hashes of keys do not come to. */
function place(table: Table, hash: number, stored: number): void {
  const { cells } = table
  let at = homeOf(hash, table.capacity) * 2
  while (cells[at + 1] !== 0) at += 2
  cells[at] = hash
  cells[at + 1] = stored
  table.used++
  // The last slot stays empty: whoever searches stops there.
  if (at + 2 >= cells.length) lengthen(table)
}

function lengthen(table: Table): void {
  const cells = new Int32Array(table.cells.length * 2)
  cells.set(table.cells)
  table.cells = cells
}

/** hot */
function search(cells: Int32Array, capacity: number, hash: number, after: number): number {
  let at = after < 0 ? homeOf(hash, capacity) * 2 : after * 2 + 2
  while (cells[at + 1] !== 0) {
    if (cells[at] === hash) return at >> 1
    at += 2
  }
  return -1
}

/**
 * hot: moves live entries of slots [from, to) and of those behind them up to an empty one. Returns the slot after that
 * one: every entry whose home is before it has been moved.
 */
function moveSlots(cells: Int32Array, next: Table, isLive: Uint8Array, from: number, to: number): number {
  const end = cells.length
  let at = from * 2
  const until = to * 2
  while (at < end) {
    const stored = cells[at + 1]!
    if (stored === 0) {
      if (at + 2 >= until) return (at >> 1) + 1
    } else if (isLive[(stored - 1) >>> POSITION_BITS] === 1) place(next, cells[at]!, stored)
    at += 2
  }
  return end >> 1
}
