/**
 * From the slices of a window to a table of aggregates: rows in byte order of their group keys, slices merged in their
 * order, rows without samples absent. The result does not depend on when or why the window fires.
 */
import type { Slicing } from '../contract/plugins.ts'
import type { ResultTable } from './entry-writer.ts'
import type { RowLayout } from './row-layout.ts'
import { FOLDED_SLICES_MIN, mergeRows, SliceFolds } from './slice-folds.ts'
import type { Slices } from './slices.ts'

/** Rows finished column by column before the next ones: with a million rows in key order, each is fetched once. */
const ROWS_A_CHUNK = 256

export class WindowFiring implements ResultTable {
  readonly #layout: RowLayout
  readonly #slices: Slices
  readonly #slicing: Slicing
  readonly columnCount: number
  capacity = 0
  rowCount = 0
  cells: Float64Array = new Float64Array(0)
  groupIds: Int32Array = new Int32Array(0)
  /** State rows of the table's rows. */
  rows: Int32Array = new Int32Array(0)
  #merged: Float64Array = new Float64Array(0)
  /** Of windows of many slices. */
  readonly #folds: SliceFolds | null

  constructor(layout: RowLayout, slices: Slices, slicing: Slicing, scoreColumns: number) {
    this.#layout = layout
    this.#slices = slices
    this.#slicing = slicing
    this.columnCount = layout.columns.length + scoreColumns
    const span = slicing.sizeMs / slicing.sliceMs
    this.#folds = span < FOLDED_SLICES_MIN ? null : new SliceFolds(layout, slices, span)
  }

  /** Fills the table for the window that starts at `startMs`. `order`: all state rows, by group key. */
  fill(startMs: number, order: Int32Array): void {
    this.#ensure(order.length)
    this.rowCount = 0
    const first = startMs / this.#slicing.sliceMs
    if (this.#folds !== null) {
      this.#folds.fold(first)
      this.#finish(this.#folds.cells, 0, order)
    } else this.#fillSliceBySlice(first, order)
  }

  #fillSliceBySlice(first: number, order: Int32Array): void {
    const slices = this.#slices
    const end = first + this.#slicing.sizeMs / this.#slicing.sliceMs
    let live = 0
    let source = slices.cells.data
    let base = 0
    for (let slice = Math.max(first, slices.floorSlice); slice < end; slice++) {
      if (!slices.isLive(slice)) continue
      const sliceBase = slices.baseOf(slices.slotOf(slice))
      if (live === 0) {
        base = sliceBase
      } else {
        // Only a window of several slices needs a copy to merge into.
        if (live === 1) {
          this.#startMerge(base)
          source = this.#merged
          base = 0
        }
        this.#merge(sliceBase)
      }
      live++
    }
    if (live > 0) this.#finish(source, base, order)
  }

  #startMerge(base: number): void {
    const length = this.#slices.rows * this.#slices.stride
    if (this.#merged.length < length) {
      this.#merged = new Float64Array(this.#slices.rowCapacity * this.#slices.stride)
    }
    this.#merged.set(this.#slices.cells.data.subarray(base, base + length))
  }

  #merge(base: number): void {
    mergeRows(this.#layout, this.#slices.rows, this.#merged, 0, this.#slices.cells.data, base)
  }

  #finish(source: Float64Array, base: number, order: Int32Array): void {
    const { columns, stride } = this.#layout
    const rows = this.rows
    let rowCount = 0
    for (let k = 0; k < order.length; k++) {
      const row = order[k]!
      if (source[base + row * stride] !== 0) rows[rowCount++] = row
    }
    this.rowCount = rowCount
    for (let first = 0; first < rowCount; first += ROWS_A_CHUNK) {
      const end = Math.min(first + ROWS_A_CHUNK, rowCount)
      for (let c = 0; c < columns.length; c++) {
        const { finish, lane } = columns[c]!
        const to = c * this.capacity
        const from = base + lane
        for (let j = first; j < end; j++) this.cells[to + j] = finish(source, from + rows[j]! * stride)
      }
    }
  }

  #ensure(rows: number): void {
    if (rows <= this.capacity) return
    this.capacity = this.#slices.rowCapacity
    this.cells = new Float64Array(this.capacity * this.columnCount)
    this.groupIds = new Int32Array(this.capacity)
    this.rows = new Int32Array(this.capacity)
  }
}
