/**
 * Where windows lie: half-open intervals [k · every, k · every + size), aligned to the epoch, cut into slices of
 * `sliceMs` (a divisor of both). Pure arithmetic on doubles, exact for every timestamp: a rounded quotient is corrected,
 * so a sample a fraction of a microsecond before a boundary never lands behind it.
 */
import { SLICES_PER_WINDOW_MAX, type Slicing } from '../contract/plugins.ts'
import { assert } from '../util/assert.ts'

/** Largest k with k · step <= x. */
export function floorDiv(x: number, step: number): number {
  const k = Math.floor(x / step)
  // The quotient is rounded to nearest: it may have become the next whole number.
  return k * step > x ? k - 1 : k
}

export class WindowGrid {
  readonly sizeMs: number
  readonly everyMs: number
  readonly sliceMs: number

  constructor(slicing: Slicing) {
    const { sizeMs, everyMs, sliceMs } = slicing
    assert(Number.isSafeInteger(sizeMs) && sizeMs > 0, 'a window has a size in whole ms', sizeMs)
    assert(Number.isSafeInteger(everyMs) && everyMs > 0 && everyMs <= sizeMs, 'windows leave no gap', everyMs)
    assert(Number.isSafeInteger(sliceMs) && sliceMs > 0, 'a slice is whole ms', sliceMs)
    assert(sizeMs % sliceMs === 0 && everyMs % sliceMs === 0, 'slices cut windows evenly', sliceMs)
    assert(sizeMs / sliceMs <= SLICES_PER_WINDOW_MAX, 'slices of a window are bounded', sizeMs / sliceMs)
    this.sizeMs = sizeMs
    this.everyMs = everyMs
    this.sliceMs = sliceMs
  }

  /** Number of the slice that holds a time. */
  sliceOf(timeMs: number): number {
    return floorDiv(timeMs, this.sliceMs)
  }

  /** Start of the oldest window that ends after `watermarkMs`, so has not fired. */
  firstOpenStart(watermarkMs: number): number {
    return (floorDiv(watermarkMs - this.sizeMs, this.everyMs) + 1) * this.everyMs
  }

  /** Start of the oldest window that holds a slice. */
  firstStartOver(slice: number): number {
    const endMs = (slice + 1) * this.sliceMs
    // Subtracted from 0 and not negated: -0 would be other bytes in an entry than 0.
    return 0 - floorDiv(this.sizeMs - endMs, this.everyMs) * this.everyMs
  }

  /** End of the newest window that holds a slice: when the watermark reaches it, the slice's samples are late. */
  lastEndOver(slice: number): number {
    return floorDiv(slice * this.sliceMs, this.everyMs) * this.everyMs + this.sizeMs
  }
}
