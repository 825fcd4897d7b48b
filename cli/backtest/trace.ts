/**
 * The course of one series in bounded room, for drawing: buckets of neighbouring windows with the lowest and the highest
 * value, the band at its widest and the highest score, so that no spike is lost. When the room is full, each two buckets
 * become one. O(1) a window, amortised.
 */
import type { ScoreBody } from '../../engine/contract/plugins.ts'

/** Even; more than a wide screen has columns. */
export const BUCKETS_MAX = 1_024

export interface Bucket {
  readonly timeMs: number
  readonly min: number
  readonly max: number
  /** NaN: none. */
  readonly lower: number
  readonly upper: number
  readonly score: number
}

const WIDTH = 6

export class Trace {
  readonly #cells = new Float64Array(BUCKETS_MAX * WIDTH)
  #count = 0
  /** Windows a bucket takes, and how many the newest has. */
  #each = 1
  #inLast = 0

  push(timeMs: number, value: number, { lower, upper, score }: ScoreBody): void {
    if (this.#inLast === this.#each || this.#count === 0) {
      if (this.#count === BUCKETS_MAX) this.#halve()
      this.#cells.set([timeMs, value, value, NaN, NaN, NaN], this.#count * WIDTH)
      this.#count++
      this.#inLast = 0
    }
    this.#join((this.#count - 1) * WIDTH, value, value, lower ?? NaN, upper ?? NaN, score ?? NaN)
    this.#inLast++
  }

  buckets(): Bucket[] {
    return Array.from({ length: this.#count }, (_, i) => {
      const [timeMs, min, max, lower, upper, score] = this.#cells.subarray(i * WIDTH, (i + 1) * WIDTH)
      return { timeMs: timeMs!, min: min!, max: max!, lower: lower!, upper: upper!, score: score! }
    })
  }

  #halve(): void {
    const cells = this.#cells
    for (let i = 0; i < BUCKETS_MAX / 2; i++) {
      cells.copyWithin(i * WIDTH, 2 * i * WIDTH, (2 * i + 1) * WIDTH)
      const at = (2 * i + 1) * WIDTH
      this.#join(i * WIDTH, cells[at + 1]!, cells[at + 2]!, cells[at + 3]!, cells[at + 4]!, cells[at + 5]!)
    }
    this.#count = BUCKETS_MAX / 2
    this.#each *= 2
  }

  #join(at: number, min: number, max: number, lower: number, upper: number, score: number): void {
    const cells = this.#cells
    cells[at + 1] = Math.min(cells[at + 1]!, min)
    cells[at + 2] = Math.max(cells[at + 2]!, max)
    if (!(cells[at + 3]! <= lower) && !Number.isNaN(lower)) cells[at + 3] = lower
    if (!(cells[at + 4]! >= upper) && !Number.isNaN(upper)) cells[at + 4] = upper
    if (!(cells[at + 5]! >= score) && !Number.isNaN(score)) cells[at + 5] = score
  }
}
