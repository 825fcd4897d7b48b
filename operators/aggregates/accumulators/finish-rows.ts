/** Loops over many rows for aggregates whose value is a cell, or one cell by another. */
import type { FinishRows } from '../../../engine/contract/plugins.ts'

/** The value is a cell. */
export function cellRows(cell: number): FinishRows {
  return (cells, base, strideShift, rows, from, to, into, intoAt) => {
    copyCells(cells, base + cell, strideShift, rows, from, to, into, intoAt)
  }
}

/** The value is a cell divided by another. */
export function quotientRows(cell: number, by: number): FinishRows {
  return (cells, base, strideShift, rows, from, to, into, intoAt) => {
    divideCells(cells, base + cell, by - cell, strideShift, rows, from, to, into, intoAt)
  }
}

/** hot */
function copyCells(
  cells: Float64Array,
  base: number,
  strideShift: number,
  rows: Int32Array,
  from: number,
  to: number,
  into: Float64Array,
  intoAt: number,
): void {
  for (let j = from; j < to; j++) into[intoAt + j] = cells[base + (rows[j]! << strideShift)]!
}

/** hot */
function divideCells(
  cells: Float64Array,
  base: number,
  byOffset: number,
  strideShift: number,
  rows: Int32Array,
  from: number,
  to: number,
  into: Float64Array,
  intoAt: number,
): void {
  for (let j = from; j < to; j++) {
    const at = base + (rows[j]! << strideShift)
    into[intoAt + j] = cells[at]! / cells[at + byOffset]!
  }
}
