/**
 * State is cells: one flat Float64Array that grows by doubling, with a dirty byte per 4 KB page, so that a checkpoint
 * copies pages and not object graphs. Writers mark what they touch; the checkpoint takes and clears the marks.
 * `data` and `dirty` are replaced when the cells grow: hot loops copy them to locals after `ensure`.
 */
import { assert } from '../util/assert.ts'

export const PAGE_CELLS_SHIFT = 9
export const PAGE_CELLS = 1 << PAGE_CELLS_SHIFT
export const PAGE_BYTES = PAGE_CELLS * 8

/** A larger array that starts with the same cells; what is new is zero. */
export type GrowCells = (cells: Float64Array, length: number) => Float64Array

export class Cells {
  readonly name: string
  data: Float64Array = new Float64Array(PAGE_CELLS)
  dirty: Uint8Array = new Uint8Array(1)

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

  mark(at: number): void {
    this.dirty[at >> PAGE_CELLS_SHIFT] = 1
  }

  markRange(from: number, to: number): void {
    if (to > from) this.dirty.fill(1, from >> PAGE_CELLS_SHIFT, ((to - 1) >> PAGE_CELLS_SHIFT) + 1)
  }

  markAll(): void {
    this.dirty.fill(1)
  }

  get pageCount(): number {
    return this.dirty.length
  }

  /** Calls `page` with each dirty page and clears its mark. The cells are valid during the call only. */
  takeDirty(page: (index: number, cells: Float64Array) => void): void {
    const { data, dirty } = this
    for (let index = 0; index < dirty.length; index++) {
      if (dirty[index] === 0) continue
      dirty[index] = 0
      page(index, data.subarray(index << PAGE_CELLS_SHIFT, (index + 1) << PAGE_CELLS_SHIFT))
    }
  }

  restorePage(index: number, cells: Float64Array): void {
    assert(cells.length === PAGE_CELLS, 'a page is whole', this.name, index, cells.length)
    this.ensure((index + 1) << PAGE_CELLS_SHIFT)
    this.data.set(cells, index << PAGE_CELLS_SHIFT)
  }
}

function copyOf(cells: Float64Array, length: number): Float64Array {
  const copy = new Float64Array(length)
  copy.set(cells)
  return copy
}
