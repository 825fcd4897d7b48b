/**
 * The course of one series in bounded room, for drawing: buckets of neighbouring windows with the lowest and the highest
 * value, the band at its widest and the highest score with what was expected there, so that no spike is lost. When the room is full, each two buckets
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
  /** Where the score is highest. */
  readonly expected: number
}

const WIDTH = 7

export class Trace {
  readonly #cells = new Float64Array(BUCKETS_MAX * WIDTH)
  #count = 0
  /** Windows a bucket takes, and how many the newest has. */
  #each = 1
  #inLast = 0

  push(timeMs: number, value: number, { lower, upper, score, expected }: ScoreBody): void {
    if (this.#inLast === this.#each || this.#count === 0) {
      if (this.#count === BUCKETS_MAX) this.#halve()
      this.#cells.set([timeMs, value, value, NaN, NaN, NaN, NaN], this.#count * WIDTH)
      this.#count++
      this.#inLast = 0
    }
    const band = [lower ?? NaN, upper ?? NaN, score ?? NaN, expected ?? NaN] as const
    this.#join((this.#count - 1) * WIDTH, value, value, ...band)
    this.#inLast++
  }

  /** Windows that a bucket holds; the newest may hold fewer. */
  get windowsEach(): number {
    return this.#each
  }

  buckets(): Bucket[] {
    return Array.from({ length: this.#count }, (_, i) => {
      const cells = this.#cells.subarray(i * WIDTH, (i + 1) * WIDTH)
      const [timeMs, min, max, lower, upper, score, expected] = cells
      return {
        timeMs: timeMs!,
        min: min!,
        max: max!,
        lower: lower!,
        upper: upper!,
        score: score!,
        expected: expected!,
      }
    })
  }

  #halve(): void {
    const cells = this.#cells
    for (let i = 0; i < BUCKETS_MAX / 2; i++) {
      cells.copyWithin(i * WIDTH, 2 * i * WIDTH, (2 * i + 1) * WIDTH)
      const at = (2 * i + 1) * WIDTH
      const [, min, max, lower, upper, score, expected] = cells.subarray(at, at + WIDTH)
      this.#join(i * WIDTH, min!, max!, lower!, upper!, score!, expected!)
    }
    this.#count = BUCKETS_MAX / 2
    this.#each *= 2
  }

  #join(
    at: number,
    min: number,
    max: number,
    lower: number,
    upper: number,
    score: number,
    expected: number,
  ): void {
    const cells = this.#cells
    cells[at + 1] = Math.min(cells[at + 1]!, min)
    cells[at + 2] = Math.max(cells[at + 2]!, max)
    if (!(cells[at + 3]! <= lower) && !Number.isNaN(lower)) cells[at + 3] = lower
    if (!(cells[at + 4]! >= upper) && !Number.isNaN(upper)) cells[at + 4] = upper
    if (Number.isNaN(cells[at + 6]!)) cells[at + 6] = expected
    if (cells[at + 5]! >= score || Number.isNaN(score)) return
    cells[at + 5] = score
    cells[at + 6] = expected
  }
}
