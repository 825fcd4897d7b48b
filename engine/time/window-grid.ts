/**
 * Where windows lie: half-open intervals [k · every, k · every + size), aligned to the epoch, cut into slices of
 * `sliceMs` (a divisor of both). Pure arithmetic on doubles, exact for every timestamp that is not subnormal: a sample a fraction of a microsecond
 * before a boundary never lands behind it.
 */
import { SLICES_PER_WINDOW_MAX, type Slicing } from '../contract/plugins.ts'
import { assert } from '../util/assert.ts'

/**
 * Largest k with k · step <= x, for a whole step and products below 2^53. No correction is needed: doubles just below
 * k · step lie so far from it that, divided by step (less than twice a power of two), they stay more than half a spacing
 * below k, so a quotient never rounds up to a whole number it has not reached.
 */
export function floorDiv(x: number, step: number): number {
  return Math.floor(x / step)
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
    const startMs = (floorDiv(watermarkMs - this.sizeMs, this.everyMs) + 1) * this.everyMs
    // A fraction too small to survive the subtraction may have put it one window too far.
    return startMs - this.everyMs + this.sizeMs > watermarkMs ? startMs - this.everyMs : startMs
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
