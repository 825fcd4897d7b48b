/**
 * A region of state made of things that are only ever added and never change (key-pages.ts, route-pages.ts). A cut is a
 * number: what was added since the last one is owed, and nothing need be kept.
 */
import { PAGE_CELLS, type TakePage } from '../state/cells.ts'
import type { RestorableRegion } from './state-regions.ts'

export abstract class GrowingPages implements RestorableRegion {
  protected readonly unitsAPage: number
  readonly #page = new Float64Array(PAGE_CELLS)
  /** Things that checkpoints have, or are owed. */
  #stored = 0
  #next = 0
  #end = 0

  constructor(unitsAPage: number) {
    this.unitsAPage = unitsAPage
  }

  /** Things that the next cut need not hand out, but for those on their last page. */
  protected get stored(): number {
    return this.#stored
  }

  protected abstract count(): number
  /** Things [from, end) to the start of the page. */
  protected abstract copy(page: Float64Array, from: number, end: number): void
  abstract restorePage(index: number, cells: Float64Array): void

  cut(): void {
    this.#end = this.count()
    // The last page may have been handed out half full.
    this.#next = this.#end === this.#stored ? Infinity : Math.floor(this.#stored / this.unitsAPage)
    this.#stored = this.#end
  }

  drain(take: TakePage): boolean {
    const page = this.#page
    for (; this.#next * this.unitsAPage < this.#end; this.#next++) {
      const from = this.#next * this.unitsAPage
      page.fill(0)
      this.copy(page, from, Math.min(from + this.unitsAPage, this.#end))
      if (!take(this.#next, page)) return false
    }
    return true
  }

  /** All there is came from checkpoints. */
  protected restored(): void {
    this.#stored = this.count()
  }
}
