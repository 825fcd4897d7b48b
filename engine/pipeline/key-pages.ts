/**
 * The keys of a table as pages of state: their bytes end to end, and where each ends. Keys are only ever added, and what
 * was added never changes: a cut is two numbers, and no page need be kept. A restore reads pages instead of a row a key.
 */
import type { KeyTable } from '../series/key-table.ts'
import { PAGE_BYTES, PAGE_CELLS } from '../state/cells.ts'
import { assert } from '../util/assert.ts'
import { GrowingPages } from './growing-pages.ts'
import type { RestorableRegion } from './state-regions.ts'

const EMPTY = new Uint8Array(0)

class KeyBytePages extends GrowingPages {
  readonly #keys: KeyTable
  bytes = EMPTY

  constructor(keys: KeyTable) {
    super(PAGE_BYTES)
    this.#keys = keys
  }

  protected count(): number {
    return this.#keys.byteLength
  }

  protected copy(page: Float64Array, from: number, end: number): void {
    this.#keys.copyBytes(from, new Uint8Array(page.buffer, 0, end - from))
  }

  restorePage(index: number, cells: Float64Array): void {
    const end = (index + 1) * PAGE_BYTES
    if (end > this.bytes.length)
      this.bytes = grown(this.bytes, new Uint8Array(Math.max(end, this.bytes.length * 2)))
    this.bytes.set(new Uint8Array(cells.buffer, cells.byteOffset, PAGE_BYTES), index * PAGE_BYTES)
  }

  done(): void {
    this.bytes = EMPTY
    this.restored()
  }
}

class KeyEndPages extends GrowingPages {
  readonly #keys: KeyTable
  ends = new Float64Array(0)

  constructor(keys: KeyTable) {
    super(PAGE_CELLS)
    this.#keys = keys
  }

  protected count(): number {
    return this.#keys.size
  }

  protected copy(page: Float64Array, from: number, end: number): void {
    for (let id = from; id < end; id++) page[id - from] = this.#keys.endOf(id)
  }

  restorePage(index: number, cells: Float64Array): void {
    const end = (index + 1) * PAGE_CELLS
    if (end > this.ends.length)
      this.ends = grown(this.ends, new Float64Array(Math.max(end, this.ends.length * 2)))
    this.ends.set(cells, index * PAGE_CELLS)
  }

  done(): void {
    this.ends = new Float64Array(0)
    this.restored()
  }
}

export class KeyPages {
  readonly #keys: KeyTable
  readonly #bytes: KeyBytePages
  readonly #ends: KeyEndPages

  constructor(keys: KeyTable) {
    this.#keys = keys
    this.#bytes = new KeyBytePages(keys)
    this.#ends = new KeyEndPages(keys)
  }

  get byteRegion(): RestorableRegion {
    return this.#bytes
  }

  get endRegion(): RestorableRegion {
    return this.#ends
  }

  /** After the pages of both regions: the table holds the first `count` keys again. */
  restore(count: number): void {
    const { ends } = this.#ends
    assert(count <= ends.length, 'every key has its end among the pages', count, ends.length)
    const byteLength = count === 0 ? 0 : ends[count - 1]!
    assert(byteLength <= this.#bytes.bytes.length, 'every key has its bytes among the pages', byteLength)
    this.#keys.restore(count, this.#bytes.bytes, ends)
    this.#bytes.done()
    this.#ends.done()
  }
}

function grown<T extends Uint8Array | Float64Array>(from: T, into: T): T {
  into.set(from)
  return into
}
