/**
 * The cells of all slices that may still receive samples, slot-major:
 *
 *     cell = slot · rowCapacity · stride + (row << strideShift)          slot = slice modulo slots
 *
 * so that the rows of the slice being filled lie together. Slices in [floor, floor + slots) have a slot of their own;
 * the chain fires windows before the newest slice would leave that range. A slot that holds no live slice is all zero.
 *
 * What a checkpoint takes: of slices that fit the cache, every row of a slot written to; of larger ones (`isSpread`) the
 * pages written to, and all of a slot when another slice gets it, since pages of the one before may be in the store. Who
 * writes rows of a slot it touched calls `willWriteRow` or `willWriteRows` before: the cells tell what that is for.
 */
import { MillraceError } from '../contract/errors.ts'
import { Cells, PAGE_CELLS, PAGE_CELLS_SHIFT, type TakePage } from '../state/cells.ts'
import { assert } from '../util/assert.ts'
import type { RestorableRegion } from './state-regions.ts'

const ROW_CAPACITY_MIN = 64
/** Cells of a slice that the second-level cache does not hold. */
const SPREAD_CELLS_MIN = 65_536
/** 2 GiB a (pipeline, partition). */
export const WINDOW_CELLS_MAX = 2 ** 28
/** Marks a slot without a live slice; no slice has this number, because times are finite. */
const NONE = Infinity

export interface SlicesState {
  readonly rowCapacity: number
  readonly rows: number
  readonly floorSlice: number | null
  readonly live: readonly number[]
}

export class Slices implements RestorableRegion {
  readonly cells: Cells = new Cells('windows')
  /** Cells a row: a power of two, so that hot loops find a row by a shift. */
  readonly stride: number
  readonly strideShift: number
  readonly slots: number
  rowCapacity = ROW_CAPACITY_MIN
  rows = 0
  /** Oldest slice that may receive samples, and its slot. */
  floorSlice = NONE
  floorSlot = 0
  /** Slice number held by a slot, or NONE. */
  readonly held: Float64Array
  /** Slots written to since the last cut: marking per slot instead of per sample keeps the hot loop clean. */
  readonly touched: Uint8Array
  #oldestTouched = NONE

  constructor(slots: number, stride: number) {
    this.slots = slots
    assert(stride > 0 && (stride & (stride - 1)) === 0, 'a row is a power of two wide', stride)
    this.stride = stride
    this.strideShift = 31 - Math.clz32(stride)
    this.held = new Float64Array(slots).fill(NONE)
    this.touched = new Uint8Array(slots)
    this.#allocate(ROW_CAPACITY_MIN)
  }

  /** Makes room for `rows` rows in every slot. Positions computed before are void. */
  ensureRows(rows: number): void {
    if (rows === this.rows) return
    while (rows > this.rowCapacity) this.#double()
    if (!this.isSpread && rows << this.strideShift >= SPREAD_CELLS_MIN) this.markTouched()
    for (let slot = 0; slot < this.slots; slot++) {
      if (this.held[slot] === NONE) continue
      // A restore reads rows up to the new count: where they lie now, an older layout may have left a page behind.
      const base = this.baseOf(slot)
      this.cells.markRange(base + this.rows * this.stride, base + rows * this.stride)
    }
    this.rows = rows
  }

  /** Bytes of the rows in use, in all slots. */
  get usedBytes(): number {
    return this.slots * this.rows * this.stride * this.cells.data.BYTES_PER_ELEMENT
  }

  /** Slices are so large that samples of random rows miss the cache: what is done once a sample costs little there. */
  get isSpread(): boolean {
    return this.rows << this.strideShift >= SPREAD_CELLS_MIN
  }

  /** The slot of a slice in [floorSlice, floorSlice + slots). */
  slotOf(slice: number): number {
    const slot = this.floorSlot + (slice - this.floorSlice)
    return slot >= this.slots ? slot - this.slots : slot
  }

  /** Cell of row 0 in a slot. */
  baseOf(slot: number): number {
    return slot * this.rowCapacity * this.stride
  }

  isLive(slice: number): boolean {
    return this.held[this.slotOf(slice)] === slice
  }

  /** A slice is about to get samples: returns the cell of its row 0. */
  touch(slice: number): number {
    const slot = this.slotOf(slice)
    assert(slot >= 0 && slot < this.slots, 'a slice that gets samples has a slot', slice, this.floorSlice)
    if (!this.isSpread) this.touched[slot] = 1
    else if (this.held[slot] !== slice) this.#markSlot(slot)
    this.held[slot] = slice
    if (slice < this.#oldestTouched) this.#oldestTouched = slice
    return this.baseOf(slot)
  }

  /** A row of a touched slice is about to change. */
  willWriteRow(at: number): void {
    if (this.isSpread) this.cells.markRange(at, at + this.stride)
    else this.cells.keepRange(at, at + this.stride)
  }

  /** As `willWriteRow` for many; those at negative cells are none. */
  willWriteRows(at: Int32Array, count: number): void {
    const { cells } = this
    if (this.stride > PAGE_CELLS) {
      for (let i = 0; i < count; i++) if (at[i]! >= 0) this.willWriteRow(at[i]!)
      return
    }
    if (cells.isDraining) cells.keepRows(at, count)
    if (this.isSpread) markPages(cells.dirty, at, count)
  }

  /** Oldest slice that got samples since this was last asked, or Infinity. */
  takeOldestTouched(): number {
    const slice = this.#oldestTouched
    this.#oldestTouched = NONE
    return slice
  }

  /** Oldest slice with samples, or Infinity. */
  oldest(): number {
    if (this.floorSlice === NONE) return NONE
    for (let i = 0; i < this.slots; i++) {
      if (this.isLive(this.floorSlice + i)) return this.floorSlice + i
    }
    return NONE
  }

  /** Newest slice with samples, or -Infinity. */
  newest(): number {
    let newest = -Infinity
    for (const slice of this.held) if (slice !== NONE && slice > newest) newest = slice
    return newest
  }

  /** A live slice's samples went elsewhere: it is as if it had none. */
  clear(slice: number): void {
    const slot = this.slotOf(slice)
    assert(this.held[slot] === slice, 'a slice that is cleared is live', slice)
    this.#clearSlot(slot)
  }

  /** Slices before `slice` are over: their slots are cleared for newer ones. */
  dropBefore(slice: number): void {
    for (let slot = 0; slot < this.slots; slot++) {
      if (this.held[slot]! >= slice) continue
      this.#clearSlot(slot)
    }
    this.floorSlice = slice
    this.floorSlot = slice - Math.floor(slice / this.slots) * this.slots
  }

  /** Marks the pages of the slots written to, for the checkpoint. */
  markTouched(): void {
    for (let slot = 0; slot < this.slots; slot++) {
      if (this.touched[slot] === 0) continue
      this.touched[slot] = 0
      this.#markSlot(slot)
    }
  }

  cut(): void {
    this.markTouched()
    this.cells.cut()
  }

  drain(take: TakePage): boolean {
    return this.cells.drain(take)
  }

  snapshot(): SlicesState {
    return {
      rowCapacity: this.rowCapacity,
      rows: this.rows,
      floorSlice: this.floorSlice === NONE ? null : this.floorSlice,
      live: [...this.held].filter((slice) => slice !== NONE),
    }
  }

  /** Before the pages are restored. */
  restore(state: SlicesState): void {
    this.#allocate(state.rowCapacity)
    this.rows = state.rows
    if (state.floorSlice !== null) this.dropBefore(state.floorSlice)
    for (const slice of state.live) this.held[this.slotOf(slice)] = slice
  }

  /** Takes what live rows of live slices hold from a page; the rest of it is stale: cleared slots are not marked. */
  restorePage(index: number, page: Float64Array): void {
    const pageAt = index << PAGE_CELLS_SHIFT
    const slotCells = this.rowCapacity * this.stride
    const lastSlot = Math.min(this.slots - 1, Math.floor((pageAt + PAGE_CELLS - 1) / slotCells))
    for (let slot = Math.floor(pageAt / slotCells); slot <= lastSlot; slot++) {
      if (this.held[slot] === NONE) continue
      const from = Math.max(pageAt, this.baseOf(slot))
      const to = Math.min(pageAt + PAGE_CELLS, this.baseOf(slot) + this.rows * this.stride)
      if (from < to) this.cells.data.set(page.subarray(from - pageAt, to - pageAt), from)
    }
  }

  #markSlot(slot: number): void {
    const from = this.baseOf(slot)
    this.cells.markRange(from, from + this.rows * this.stride)
  }

  #clearSlot(slot: number): void {
    const from = this.baseOf(slot)
    const to = from + this.rows * this.stride
    this.held[slot] = NONE
    // No mark: a restore clears every slot that no live slice holds, whatever its pages say.
    this.touched[slot] = 0
    this.cells.unmarkRange(from, to)
    this.cells.keepRange(from, to)
    this.cells.data.fill(0, from, to)
  }

  #allocate(rowCapacity: number): void {
    const cells = this.slots * rowCapacity * this.stride
    if (cells > WINDOW_CELLS_MAX) {
      throw new MillraceError(
        'SERIES_LIMIT',
        `${rowCapacity} groups x ${this.slots} slices x ${this.stride} cells need more than ${WINDOW_CELLS_MAX} cells ` +
          'of window state. Group by fewer labels, or let the window advance in larger steps.',
      )
    }
    this.cells.ensure(cells)
    this.rowCapacity = rowCapacity
  }

  #double(): void {
    const old = this.rowCapacity
    // Everything moves: pages that a cut is owed are kept as they were laid out then.
    this.cells.keepRange(0, this.cells.data.length)
    this.#allocate(old * 2)
    const { data } = this.cells
    const { stride } = this
    // From the last slot down: a slot's new place is at or above its old one, and above the old places of all before.
    for (let slot = this.slots - 1; slot > 0; slot--) {
      if (this.held[slot] === NONE) continue
      const from = slot * old * stride
      data.copyWithin(this.baseOf(slot), from, from + old * stride)
      data.fill(0, from, from + old * stride)
    }
    for (let slot = 0; slot < this.slots; slot++) {
      if (this.held[slot] === NONE) continue
      if (this.isSpread) this.#markSlot(slot)
      else this.touched[slot] = 1
    }
  }
}

/** hot: a row lies in one page. */
function markPages(dirty: Uint8Array, at: Int32Array, count: number): void {
  for (let i = 0; i < count; i++) {
    const cell = at[i]!
    if (cell >= 0) dirty[cell >> PAGE_CELLS_SHIFT] = 1
  }
}
