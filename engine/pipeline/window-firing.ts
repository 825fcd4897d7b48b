/**
 * From the slices of a window to a table of aggregates: rows in byte order of their group keys, slices merged in their
 * order, rows without samples absent. The result does not depend on when or why the window fires. The table holds as many rows as one
 * entry does, so that a million groups take no table of a million rows.
 */
import type { Slicing } from '../contract/plugins.ts'
import { type ResultTable, rowsAnEntry } from './entry-writer.ts'
import type { RowLayout } from './row-layout.ts'
import { FOLDED_SLICES_MIN, mergeRows, SliceFolds } from './slice-folds.ts'
import type { Slices } from './slices.ts'

/** Rows found and finished column by column before the next ones: with a million rows in key order, each is fetched once. */
const ROWS_A_CHUNK = 256

/** One fired window, an entry's worth of rows at a time: `begin`, then `next` until it says no. */
export class WindowFiring implements ResultTable {
  readonly #layout: RowLayout
  readonly #slices: Slices
  readonly #slicing: Slicing
  readonly #capacityMax: number
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
  /** The window's merged rows. */
  #source: Float64Array = new Float64Array(0)
  #base = 0
  /** All state rows by group key, and how many of them were looked at. */
  #order: Int32Array = new Int32Array(0)
  #seen = 0

  constructor(
    layout: RowLayout,
    slices: Slices,
    slicing: Slicing,
    scoreColumns: number,
    kernelRowsMin?: number,
  ) {
    this.#layout = layout
    this.#slices = slices
    this.#slicing = slicing
    this.columnCount = layout.columns.length + scoreColumns
    this.#capacityMax = rowsAnEntry(this.columnCount)
    const span = slicing.sizeMs / slicing.sliceMs
    this.#folds = span < FOLDED_SLICES_MIN ? null : new SliceFolds(layout, slices, span, kernelRowsMin)
  }

  /** The window that starts at `startMs` fires. `order`: all state rows, by group key. Nothing may change until it is through. */
  begin(startMs: number, order: Int32Array): void {
    this.#ensure(order.length)
    this.#order = order
    this.#seen = 0
    const first = startMs / this.#slicing.sliceMs
    if (this.#folds !== null) {
      this.#folds.fold(first)
      this.#source = this.#folds.cells
      this.#base = this.#folds.base
    } else if (!this.#mergeSlices(first)) this.#seen = order.length
  }

  /** Fills the table with the window's next rows; false: there are none. `groupIds`: group id + 1 of each state row. */
  next(groupIds: Float64Array): boolean {
    const { columns } = this.#layout
    const { strideShift } = this.#slices
    const { rows, cells, capacity } = this
    const source = this.#source
    const base = this.#base
    let count = 0
    while (this.#seen < this.#order.length && count < capacity) {
      const first = count
      count = this.#findRows(first, Math.min(first + ROWS_A_CHUNK, capacity))
      for (let c = 0; c < columns.length; c++) {
        const { finishRows, lane } = columns[c]!
        finishRows(source, base + lane, strideShift, rows, first, count, cells, c * capacity)
      }
      idsOf(groupIds, rows, first, count, this.groupIds)
    }
    this.rowCount = count
    return count > 0
  }

  /** hot: puts the next rows with samples at [from, to) of `rows`; returns where they end. */
  #findRows(from: number, to: number): number {
    const rows = this.rows
    const order = this.#order
    const source = this.#source
    const base = this.#base
    const { strideShift } = this.#slices
    const end = order.length
    let count = from
    let k = this.#seen
    for (; k < end && count < to; k++) {
      const row = order[k]!
      if (source[base + (row << strideShift)] !== 0) rows[count++] = row
    }
    this.#seen = k
    return count
  }

  /** False: no slice of the window has samples. */
  #mergeSlices(first: number): boolean {
    const slices = this.#slices
    const end = first + this.#slicing.sizeMs / this.#slicing.sliceMs
    let live = 0
    this.#source = slices.cells.data
    for (let slice = Math.max(first, slices.floorSlice); slice < end; slice++) {
      if (!slices.isLive(slice)) continue
      const sliceBase = slices.baseOf(slices.slotOf(slice))
      if (live === 0) {
        this.#base = sliceBase
      } else {
        // Only a window of several slices needs a copy to merge into.
        if (live === 1) {
          this.#startMerge(this.#base)
          this.#source = this.#merged
          this.#base = 0
        }
        this.#merge(sliceBase)
      }
      live++
    }
    return live > 0
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

  #ensure(rows: number): void {
    if (this.capacity === this.#capacityMax || rows <= this.capacity) return
    this.capacity = Math.min(this.#slices.rowCapacity, this.#capacityMax)
    this.cells = new Float64Array(this.capacity * this.columnCount)
    this.groupIds = new Int32Array(this.capacity)
    this.rows = new Int32Array(this.capacity)
  }
}

/** hot */
function idsOf(groupIds: Float64Array, rows: Int32Array, from: number, to: number, into: Int32Array): void {
  for (let j = from; j < to; j++) into[j] = groupIds[rows[j]!]! - 1
}
