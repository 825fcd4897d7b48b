/**
 * Parts of slices that wait at an owner of groups (merger.ts) for the first window in which they count. Their bytes are
 * held up to a bound; beyond it a part is only named, and its bytes are read again when it is due. In which order parts
 * came does not show: what is due is given in order of partition, then of number.
 */
import type { WindowGrid } from '../time/window-grid.ts'

export interface Part {
  readonly partition: number
  readonly seq: number
  readonly slice: number
  /** Start of the oldest window in which it counts. */
  readonly openFromMs: number
  /** Null: to be read again. */
  bytes: Uint8Array | null
}

export class Parts {
  readonly #bytesMax: number
  /** By slice; within one in no order. */
  readonly #bySlice = new Map<number, Part[]>()
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** Slice by slice. */
  values(): IterableIterator<readonly Part[]> {
    return this.#bySlice.values()
  }

  keep(part: Part): void {
    if (part.bytes !== null) {
      if (this.#bytes + part.bytes.length > this.#bytesMax) part.bytes = null
      else this.#bytes += part.bytes.length
    }
    const list = this.#bySlice.get(part.slice)
    if (list === undefined) this.#bySlice.set(part.slice, [part])
    else list.push(part)
  }

  /** Takes out the slice's parts that count in windows from `startMs` on. */
  takeDue(slice: number, startMs: number): readonly Part[] {
    const list = this.#bySlice.get(slice)
    if (list === undefined) return []
    const due = list.filter(({ openFromMs }) => openFromMs <= startMs)
    if (due.length === 0) return []
    if (due.length === list.length) this.#bySlice.delete(slice)
    else
      this.#bySlice.set(
        slice,
        list.filter(({ openFromMs }) => openFromMs > startMs),
      )
    for (const { bytes } of due) if (bytes !== null) this.#bytes -= bytes.length
    return due.sort((a, b) => a.partition - b.partition || a.seq - b.seq)
  }

  /** Start of the oldest window in which one of them counts, or Infinity. */
  oldestStartMs(grid: WindowGrid): number {
    let oldestMs = Infinity
    for (const [slice, list] of this.#bySlice) {
      const firstMs = grid.firstStartOver(slice)
      for (const { openFromMs } of list) oldestMs = Math.min(oldestMs, Math.max(firstMs, openFromMs))
    }
    return oldestMs
  }
}
