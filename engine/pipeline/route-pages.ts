/**
 * What was decided about series (routing.ts) as pages of state, in the order of decision: series id and route, two int32 a
 * cell. With it a restored chain looks no series up again that was seen before: the key of each would have to be read from
 * the log and hashed, one by one. Only what checkpoints do not have yet is held here.
 */
import { PAGE_CELLS, type TakePage } from '../state/cells.ts'
import { assert } from '../util/assert.ts'
import { GrowingPages } from './growing-pages.ts'

const PAIRS_MIN = PAGE_CELLS

export class RoutePages extends GrowingPages {
  /** All routes by series id; 0: not decided. */
  readonly #routes: () => Int32Array
  #pairs: Int32Array = new Int32Array(0)
  /** Number of the first pair held, at the start of a page; of the next one. */
  #first = 0
  #count = 0
  /** False before the first cut: who never makes one need not hold anything. */
  #isFollowing = false

  constructor(routes: () => Int32Array) {
    super(PAGE_CELLS)
    this.#routes = routes
  }

  get pairCount(): number {
    return this.#count
  }

  decided(seriesId: number, route: number): void {
    if (this.#isFollowing) this.#add(seriesId, route)
  }

  override cut(): void {
    if (!this.#isFollowing) {
      this.#isFollowing = true
      const routes = this.#routes()
      for (let id = 0; id < routes.length; id++) if (routes[id] !== 0) this.#add(id, routes[id]!)
    }
    super.cut()
  }

  override drain(take: TakePage): boolean {
    if (!super.drain(take)) return false
    // The next cut begins with the page that is not full yet.
    const first = Math.floor(this.stored / this.unitsAPage) * this.unitsAPage
    if (first > this.#first) {
      this.#pairs = this.#pairs.slice(2 * (first - this.#first), 2 * (this.#count - this.#first))
      this.#first = first
    }
    return true
  }

  protected count(): number {
    return this.#count
  }

  protected copy(page: Float64Array, from: number, end: number): void {
    const pairs = this.#pairs.subarray(2 * (from - this.#first), 2 * (end - this.#first))
    new Int32Array(page.buffer).set(pairs)
  }

  restorePage(index: number, cells: Float64Array): void {
    const end = (index + 1) * PAGE_CELLS * 2
    if (end > this.#pairs.length) this.#grow(Math.max(end, this.#pairs.length * 2))
    this.#pairs.set(new Int32Array(cells.buffer, cells.byteOffset, PAGE_CELLS * 2), index * PAGE_CELLS * 2)
  }

  /** After the pages: calls `decided` with the first `count` decisions. */
  restore(count: number, decided: (seriesId: number, route: number) => void): void {
    const pairs = this.#pairs
    assert(count * 2 <= pairs.length || count === 0, 'every decision is among the pages', count, pairs.length)
    for (let i = 0; i < count; i++) decided(pairs[2 * i]!, pairs[2 * i + 1]!)
    this.#first = Math.floor(count / PAGE_CELLS) * PAGE_CELLS
    this.#pairs = pairs.slice(2 * this.#first, 2 * count)
    this.#count = count
    this.#isFollowing = true
    this.restored()
  }

  #add(seriesId: number, route: number): void {
    const at = 2 * (this.#count - this.#first)
    if (at === this.#pairs.length) this.#grow(Math.max(2 * PAIRS_MIN, at * 2))
    this.#pairs[at] = seriesId
    this.#pairs[at + 1] = route
    this.#count++
  }

  #grow(length: number): void {
    const pairs = new Int32Array(length)
    pairs.set(this.#pairs)
    this.#pairs = pairs
  }
}
