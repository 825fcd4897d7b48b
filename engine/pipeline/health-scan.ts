/**
 * How many rows of each detector do how: a scan in pieces, between record batches, so that it holds nothing up however many
 * rows there are. A round looks at each row once; rows made meanwhile wait for the next. Reads cells only. Built by the
 * judges (judges.ts), driven by a shard.
 */
import { DETECTOR_HEALTHS, type DetectorHealth } from '../contract/plugins.ts'

/** What is scanned: a detector of the plan. */
export interface HealthSource {
  health(row: number): DetectorHealth
}

export class HealthScan {
  readonly #sources: readonly HealthSource[]
  readonly #counting: Int32Array
  #rows = 0
  #source = 0
  #row = 0
  /** Of the last whole round, by detector in plan order, then by health in the order of DETECTOR_HEALTHS. */
  readonly counts: Int32Array

  constructor(sources: readonly HealthSource[]) {
    this.#sources = sources
    this.#counting = new Int32Array(sources.length * DETECTOR_HEALTHS.length)
    this.counts = new Int32Array(this.#counting.length)
    this.#source = sources.length
  }

  get isDone(): boolean {
    return this.#source >= this.#sources.length
  }

  /** Starts a round over rows [0, rows). One under way is given up. */
  begin(rows: number): void {
    this.#rows = rows
    this.#source = 0
    this.#row = 0
    this.#counting.fill(0)
    if (this.isDone) this.counts.set(this.#counting)
  }

  /** Looks at up to so many rows, a row a detector; returns how many are left of them. */
  advance(rowsMax: number): number {
    let left = rowsMax
    while (left > 0 && !this.isDone) {
      const source = this.#sources[this.#source]!
      const base = this.#source * DETECTOR_HEALTHS.length
      const to = Math.min(this.#rows, this.#row + left)
      left -= to - this.#row
      for (let row = this.#row; row < to; row++) {
        this.#counting[base + DETECTOR_HEALTHS.indexOf(source.health(row))]! += 1
      }
      this.#row = to
      if (to < this.#rows) break
      this.#row = 0
      this.#source++
      if (this.isDone) this.counts.set(this.#counting)
    }
    return left
  }
}
