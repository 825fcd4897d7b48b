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
import type { RowLayout } from './row-layout.ts'
import type { Slices } from './slices.ts'

/** Windows of fewer slices are merged slice by slice. */
export const FOLDED_SLICES_MIN = 4
const NONE = Infinity

export class SliceFolds {
  readonly #layout: RowLayout
  readonly #slices: Slices
  /** Slices a window. */
  readonly #span: number
  #rowCapacity = 0
  /** Cell of row r of the fold of slices [i, end of block): (i modulo span) · rowCapacity · stride + r · stride. */
  #suffixes: Float64Array = new Float64Array(0)
  /** Oldest slice that has a suffix, and the end of its block; NONE: there are none. */
  #suffixFrom = NONE
  #suffixEnd = NONE
  /** Fold of slices [suffixEnd, prefixEnd). */
  #prefix: Float64Array = new Float64Array(0)
  #prefixEnd = NONE
  /** The window asked for. */
  cells: Float64Array = new Float64Array(0)

  constructor(layout: RowLayout, slices: Slices, span: number) {
    this.#layout = layout
    this.#slices = slices
    this.#span = span
  }

  /** Leaves the fold of slices [first, first + span) in `cells`, row r at r · stride. */
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
    this.cells.set(this.#suffixes.subarray(from, from + length))
    mergeRows(this.#layout, slices.rows, this.cells, 0, this.#prefix, 0)
  }

  #allocate(): void {
    const { rowCapacity, stride } = this.#slices
    this.#rowCapacity = rowCapacity
    this.#suffixes = new Float64Array(this.#span * rowCapacity * stride)
    this.#prefix = new Float64Array(rowCapacity * stride)
    this.cells = new Float64Array(rowCapacity * stride)
    this.#suffixFrom = NONE
    this.#suffixEnd = NONE
  }

  #suffixAt(slice: number): number {
    const index = slice - Math.floor(slice / this.#span) * this.#span
    return index * this.#rowCapacity * this.#slices.stride
  }

  /** Folds the block of `first` from its end down to `first`. */
  #foldBlock(first: number): void {
    const slices = this.#slices
    const length = slices.rows * slices.stride
    const end = (Math.floor(first / this.#span) + 1) * this.#span
    for (let slice = end - 1; slice >= first; slice--) {
      const at = this.#suffixAt(slice)
      if (slices.isLive(slice)) {
        const from = slices.baseOf(slices.slotOf(slice))
        this.#suffixes.set(slices.cells.data.subarray(from, from + length), at)
      } else this.#suffixes.fill(0, at, at + length)
      if (slice + 1 < end) {
        mergeRows(this.#layout, slices.rows, this.#suffixes, at, this.#suffixes, this.#suffixAt(slice + 1))
      }
    }
    this.#suffixFrom = first
    this.#suffixEnd = end
    this.#clearPrefix()
  }

  #clearPrefix(): void {
    this.#prefix.fill(0)
    this.#prefixEnd = this.#suffixEnd
  }

  #extendPrefix(end: number): void {
    const slices = this.#slices
    for (let slice = this.#prefixEnd; slice < end; slice++) {
      if (!slices.isLive(slice)) continue
      const from = slices.baseOf(slices.slotOf(slice))
      mergeRows(this.#layout, slices.rows, this.#prefix, 0, slices.cells.data, from)
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
