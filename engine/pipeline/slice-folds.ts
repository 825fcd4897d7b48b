/**
 * The merged slices of sliding windows, kept between firings: three merges a row and firing instead of one a slice.
 *
 * Time is cut into blocks of as many slices as a window has, aligned to the epoch. A window spans at most two of them:
 *
 *     block        │ s0 s1 s2 s3 │ s4 s5 s6 s7 │            window of 4 slices that starts at s2
 *     suffixes            s2+s3 ◀┘                          folded from the right, once a block
 *     prefix                      └▶ s4+s5                  folded from the left, one slice more each firing
 *
 * Guarantee: what `fold` gives is a function of the slices' cells and the window's start alone, never of the firings
 * before it: a slice that changed after it was folded is folded again. So nothing here is part of a checkpoint, and a
 * restored chain gives the same bits. Costs as much memory as the slices of one window.
 *
 * The two-stacks queue (Tangwongsan, Hirzel, Schneider, "General Incremental Sliding-Window Aggregation", VLDB 2015)
 * with its flips at fixed places in time instead of at whatever the queue held.
 */
import { assert } from '../util/assert.ts'
import { type MergeKernel, openMergeKernel } from './merge-kernel.ts'
import type { RowLayout } from './row-layout.ts'
import type { Slices } from './slices.ts'

/** Windows of fewer slices are merged slice by slice. */
export const FOLDED_SLICES_MIN = 4
const NONE = Infinity

/** Groups from which on their rows have a kernel. */
const KERNEL_ROWS_MIN = 256

export class SliceFolds {
  readonly #layout: RowLayout
  readonly #slices: Slices
  /** Slices a window. */
  readonly #span: number
  readonly #kernelRowsMin: number
  /** Null: JavaScript merges. */
  #kernel: MergeKernel | null = null
  #rowCapacity = 0
  /**
   * Places of rowCapacity · stride cells each, row r at r · stride:
   *   0 … span − 1   the fold of slices [i, end of block), at i modulo span
   *   span           the prefix: the fold of slices [suffixEnd, prefixEnd)
   *   span + 1       the window asked for
   *   span + 2       a slice that is about to be merged
   */
  cells: Float64Array = new Float64Array(0)
  /** Cell of row 0 of the window asked for. */
  base = 0
  /** Oldest slice that has a suffix, and the end of its block; NONE: there are none. */
  #suffixFrom = NONE
  #suffixEnd = NONE
  #prefixEnd = NONE

  constructor(layout: RowLayout, slices: Slices, span: number, kernelRowsMin = KERNEL_ROWS_MIN) {
    this.#layout = layout
    this.#slices = slices
    this.#span = span
    this.#kernelRowsMin = kernelRowsMin
  }

  /** Leaves the fold of slices [first, first + span) in `cells` from `base` on. */
  fold(first: number): void {
    const slices = this.#slices
    assert(first >= slices.floorSlice, 'windows fire in order', first, slices.floorSlice)
    if (slices.rowCapacity !== this.#rowCapacity) this.#allocate()
    const changedFrom = slices.takeOldestTouched()
    if (changedFrom < this.#suffixEnd || first >= this.#suffixEnd) this.#suffixFrom = NONE
    else if (changedFrom < this.#prefixEnd) this.#clearPrefix()
    if (first < this.#suffixFrom) this.#foldBlock(first)
    this.#extendPrefix(first + this.#span)
    const length = slices.rows * slices.stride
    const from = this.#suffixAt(first)
    this.cells.copyWithin(this.base, from, from + length)
    this.#merge(this.base, this.#placeAt(this.#span))
  }

  #allocate(): void {
    const { rowCapacity } = this.#slices
    this.#rowCapacity = rowCapacity
    const cellCount = this.#placeAt(this.#span + 3)
    this.#kernel = rowCapacity < this.#kernelRowsMin ? null : openMergeKernel(this.#layout, cellCount)
    this.cells = this.#kernel?.cells ?? new Float64Array(cellCount)
    this.base = this.#placeAt(this.#span + 1)
    this.#suffixFrom = NONE
    this.#suffixEnd = NONE
  }

  #placeAt(index: number): number {
    return index * this.#rowCapacity * this.#slices.stride
  }

  #suffixAt(slice: number): number {
    return this.#placeAt(slice - Math.floor(slice / this.#span) * this.#span)
  }

  #merge(into: number, later: number): void {
    const { rows } = this.#slices
    if (this.#kernel !== null) this.#kernel.merge(into, later, rows)
    else mergeRows(this.#layout, rows, this.cells, into, this.cells, later)
  }

  #copySlice(slice: number, to: number): void {
    const slices = this.#slices
    const from = slices.baseOf(slices.slotOf(slice))
    this.cells.set(slices.cells.data.subarray(from, from + slices.rows * slices.stride), to)
  }

  /** Folds the block of `first` from its end down to `first`. */
  #foldBlock(first: number): void {
    const slices = this.#slices
    const length = slices.rows * slices.stride
    const end = (Math.floor(first / this.#span) + 1) * this.#span
    for (let slice = end - 1; slice >= first; slice--) {
      const at = this.#suffixAt(slice)
      if (slices.isLive(slice)) this.#copySlice(slice, at)
      else this.cells.fill(0, at, at + length)
      if (slice + 1 < end) this.#merge(at, this.#suffixAt(slice + 1))
    }
    this.#suffixFrom = first
    this.#suffixEnd = end
    this.#clearPrefix()
  }

  #clearPrefix(): void {
    this.cells.fill(0, this.#placeAt(this.#span), this.#placeAt(this.#span + 1))
    this.#prefixEnd = this.#suffixEnd
  }

  #extendPrefix(end: number): void {
    const slices = this.#slices
    for (let slice = this.#prefixEnd; slice < end; slice++) {
      if (!slices.isLive(slice)) continue
      // A kernel merges what lies in its memory.
      const sliceAt = this.#placeAt(this.#span + 2)
      this.#copySlice(slice, sliceAt)
      this.#merge(this.#placeAt(this.#span), sliceAt)
    }
    if (end > this.#prefixEnd) this.#prefixEnd = end
  }
}

/** hot: merges `rows` rows of `later` into those of `into`, each an older part of the same groups' time. */
export function mergeRows(
  layout: RowLayout,
  rows: number,
  into: Float64Array,
  intoBase: number,
  later: Float64Array,
  laterBase: number,
): void {
  const { accumulators, lanes, stride } = layout
  if (accumulators.length === 1 && accumulators[0]!.mergeRows !== undefined) {
    accumulators[0]!.mergeRows(into, intoBase, later, laterBase, rows, stride)
    return
  }
  const length = rows * stride
  for (let at = 0; at < length; at += stride) {
    const intoAt = intoBase + at
    const laterAt = laterBase + at
    if (later[laterAt] === 0) continue
    if (into[intoAt] === 0) {
      for (let cell = 0; cell < stride; cell++) into[intoAt + cell] = later[laterAt + cell]!
      continue
    }
    for (let k = 0; k < accumulators.length; k++) {
      const lane = lanes[k]!
      accumulators[k]!.merge(into, intoAt + lane, later, laterAt + lane)
    }
  }
}
