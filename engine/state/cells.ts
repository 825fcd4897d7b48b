/**
 * State is cells: one flat Float64Array that grows by doubling, with a dirty byte per 4 KB page, so that a checkpoint
 * copies pages and not object graphs. `data` and `dirty` are replaced when the cells grow: hot loops copy them to locals
 * after `ensure`, and `dirty` also after a cut.
 *
 * A checkpoint is cut in O(pages) and handed out later, piece by piece, while cells go on changing. Guarantee: what is
 * handed out is what the cells held at the cut. To that end whoever writes says so BEFORE: `mark` and `markRange` keep a
 * copy of a page that is owed to the cut and not handed out yet, once. Who fills cells that a checkpoint need not know
 * of (see slices.ts) still has to `keepRange` first.
 */
import { assert } from '../util/assert.ts'

export const PAGE_CELLS_SHIFT = 9
export const PAGE_CELLS = 1 << PAGE_CELLS_SHIFT
export const PAGE_BYTES = PAGE_CELLS * 8

/** A larger array that starts with the same cells; what is new is zero. */
export type GrowCells = (cells: Float64Array, length: number) => Float64Array

/** Takes a page; the cells are valid during the call only. False: not now, it stays owed. */
export type TakePage = (index: number, cells: Float64Array) => boolean

/** Pages of state that a checkpoint takes: all that changed since the last cut, as they were at this one. */
export interface StateRegion {
  /** Pages that changed since the last cut are owed from now on. Not while some are owed already. */
  cut(): void
  /** Hands out what is owed, until a page is not taken. True: nothing is owed any more. */
  drain(take: TakePage): boolean
}

// What a page is to the cut that is being handed out; from KEPT on: the place of its copy.
const SETTLED = 0
const OWED = 1
const KEPT = 2

export class Cells implements StateRegion {
  readonly name: string
  data: Float64Array = new Float64Array(PAGE_CELLS)
  dirty: Uint8Array = new Uint8Array(1)
  /** By page. Shorter than `dirty` where cells grew after the cut. */
  #owed: Int32Array = new Int32Array(0)
  #owedCount = 0
  /** No page before it is owed. */
  #next = 0
  readonly #copies: Float64Array[] = []

  #grow: GrowCells = copyOf

  constructor(name: string) {
    this.name = name
  }

  /** Cells lie where `grow` says from now on. */
  moveTo(grow: GrowCells): void {
    this.#grow = grow
    this.data = grow(this.data, this.data.length)
  }

  /** Room for `length` cells; what is new is zero. */
  ensure(length: number): void {
    if (length <= this.data.length) return
    let capacity = this.data.length
    while (capacity < length) capacity *= 2
    const data = this.#grow(this.data, capacity)
    const dirty = new Uint8Array(capacity >> PAGE_CELLS_SHIFT)
    dirty.set(this.dirty)
    this.data = data
    this.dirty = dirty
  }

  /** The cell is about to be written to. */
  mark(at: number): void {
    const page = at >> PAGE_CELLS_SHIFT
    this.dirty[page] = 1
    if (this.#owedCount > 0) this.#keep(page)
  }

  markRange(from: number, to: number): void {
    if (to <= from) return
    const first = from >> PAGE_CELLS_SHIFT
    const last = (to - 1) >> PAGE_CELLS_SHIFT
    const { dirty } = this
    // A row lies in one page or two, where a call to `fill` costs several times what the store does.
    dirty[first] = 1
    if (last > first) dirty.fill(1, first + 1, last + 1)
    if (this.#owedCount > 0) this.keepRange(from, to)
  }

  markAll(): void {
    this.markRange(0, this.data.length)
  }

  /** Cells that are about to change, and that no checkpoint need know of: marks of pages that lie in there whole go. */
  unmarkRange(from: number, to: number): void {
    const first = (from + PAGE_CELLS - 1) >> PAGE_CELLS_SHIFT
    const end = to >> PAGE_CELLS_SHIFT
    if (first < end) this.dirty.fill(0, first, end)
  }

  get pageCount(): number {
    return this.dirty.length
  }

  /** Pages are owed: whoever writes without a mark calls `keepRange` or `keepRows` before. */
  get isDraining(): boolean {
    return this.#owedCount > 0
  }

  /** Keeps what the cut wants of these cells. O(1) when nothing is owed. */
  keepRange(from: number, to: number): void {
    if (this.#owedCount === 0) return
    const last = Math.min((to - 1) >> PAGE_CELLS_SHIFT, this.#owed.length - 1)
    for (let page = from >> PAGE_CELLS_SHIFT; page <= last; page++) this.#keep(page)
  }

  /** `keepRange` for many rows, none of which lies in two pages; those at negative cells are none. */
  keepRows(at: Int32Array, count: number): void {
    const owed = this.#owed
    for (let i = 0; i < count && this.#owedCount > 0; i++) {
      const cell = at[i]!
      if (cell >= 0 && owed[cell >> PAGE_CELLS_SHIFT] === OWED) this.#keep(cell >> PAGE_CELLS_SHIFT)
    }
  }

  cut(): void {
    assert(this.#owedCount === 0, 'a cut is handed out before the next', this.name, this.#owedCount)
    const { dirty } = this
    if (this.#owed.length !== dirty.length) this.#owed = new Int32Array(dirty.length)
    const owed = this.#owed
    let count = 0
    let first = dirty.length
    for (let page = dirty.length - 1; page >= 0; page--) {
      if (dirty[page] === 0) continue
      owed[page] = OWED
      first = page
      count++
    }
    dirty.fill(0)
    this.#owedCount = count
    this.#next = first
  }

  drain(take: TakePage): boolean {
    const owed = this.#owed
    while (this.#owedCount > 0) {
      while (owed[this.#next] === SETTLED) this.#next++
      const page = this.#next
      const place = owed[page]!
      const isKept = place >= KEPT
      const cells = isKept ? this.#copies[place - KEPT]! : this.#page(page)
      if (!take(page, cells)) return false
      if (isKept) giveBack(cells)
      owed[page] = SETTLED
      this.#owedCount--
      this.#next++
    }
    this.#copies.length = 0
    return true
  }

  /** Stop-the-world: cut and drained in one. */
  takeDirty(page: (index: number, cells: Float64Array) => void): void {
    this.cut()
    this.drain((index, cells) => {
      page(index, cells)
      return true
    })
  }

  restorePage(index: number, cells: Float64Array): void {
    assert(cells.length === PAGE_CELLS, 'a page is whole', this.name, index, cells.length)
    this.ensure((index + 1) << PAGE_CELLS_SHIFT)
    this.data.set(cells, index << PAGE_CELLS_SHIFT)
  }

  #page(index: number): Float64Array {
    return this.data.subarray(index << PAGE_CELLS_SHIFT, (index + 1) << PAGE_CELLS_SHIFT)
  }

  #keep(page: number): void {
    if (this.#owed[page] !== OWED) return
    const copy = spare.pop() ?? new Float64Array(PAGE_CELLS)
    copy.set(this.#page(page))
    this.#owed[page] = KEPT + this.#copies.length
    this.#copies.push(copy)
  }
}

/** Pages for copies, of this thread, so that a checkpoint does not allocate what the last one gave back. 8 MiB. */
const SPARE_PAGES_MAX = 2_048
const spare: Float64Array[] = []

function giveBack(cells: Float64Array): void {
  if (spare.length < SPARE_PAGES_MAX) spare.push(cells)
}

function copyOf(cells: Float64Array, length: number): Float64Array {
  const copy = new Float64Array(length)
  copy.set(cells)
  return copy
}
