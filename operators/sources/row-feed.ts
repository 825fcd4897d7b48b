/**
 * Whole rows out of chunks that are cut anywhere. `take(bytes, from, to)` consumes every complete row in [from, to) and
 * returns where the first incomplete one starts; what is left is shown to it again, with more behind it. A chunk is
 * parsed where it lies: only the row that a cut goes through is copied. Bounded: `take` must consume something once it
 * is shown more than `rowBytesMax` bytes.
 */
import { assert } from '../../engine/util/assert.ts'

const NEWLINE = 10

export class RowFeed {
  readonly #take: (bytes: Uint8Array, from: number, to: number) => number
  readonly #rowBytesMax: number
  #carry: Uint8Array
  #carried = 0

  constructor(rowBytesMax: number, take: (bytes: Uint8Array, from: number, to: number) => number) {
    this.#rowBytesMax = rowBytesMax
    this.#take = take
    this.#carry = new Uint8Array(4096)
  }

  write(chunk: Uint8Array): void {
    let at = 0
    // The carried row ends at the next newline, or, where newlines are quoted, further on: look twice as far each time.
    let reach = 1
    while (this.#carried > 0 && at < chunk.length) {
      const newline = chunk.indexOf(NEWLINE, Math.min(at + reach - 1, chunk.length - 1))
      const end = Math.min(newline < 0 ? chunk.length : newline + 1, at + this.#rowBytesMax + 1)
      this.#append(chunk, at, end)
      at = end
      this.#drain()
      reach = Math.min(reach * 2, this.#rowBytesMax)
    }
    if (at === chunk.length) return
    const left = this.#take(chunk, at, chunk.length)
    this.#append(chunk, left, chunk.length)
  }

  /** Shows the rest as the last row. */
  end(): void {
    if (this.#carried === 0) return
    this.#append(LINE_END, 0, 1)
    this.#drain()
    assert(this.#carried === 0, 'the last row is consumed', this.#carried)
  }

  #drain(): void {
    const left = this.#take(this.#carry, 0, this.#carried)
    this.#carry.copyWithin(0, left, this.#carried)
    this.#carried -= left
    assert(this.#carried <= this.#rowBytesMax, 'a row is consumed or refused within its limit', this.#carried)
  }

  #append(chunk: Uint8Array, from: number, to: number): void {
    const carried = this.#carried + to - from
    if (carried > this.#carry.length) {
      const grown = new Uint8Array(Math.max(carried, this.#carry.length * 2))
      grown.set(this.#carry.subarray(0, this.#carried))
      this.#carry = grown
    }
    this.#carry.set(chunk.subarray(from, to), this.#carried)
    this.#carried = carried
  }
}

const LINE_END = Uint8Array.of(NEWLINE)
