/**
 * The state of a chain or of an owner of groups as checkpoints see it: numbered regions of pages. A cut is O(pages); its
 * pages are handed out afterwards, bit by bit, while the state goes on changing (state/cells.ts says how). Guarantee: they
 * are those of the moment of the cut, and with all pages handed out before they make up the state of that moment.
 */
import type { StateRegion } from '../state/cells.ts'
import { assert } from '../util/assert.ts'

export interface StatePage {
  readonly region: number
  readonly index: number
  readonly cells: Float64Array
}

/** A page of state: the cells are valid during the call only. */
export type PageSink = (region: number, index: number, cells: Float64Array) => void

/** As a PageSink. False: it is not taken, and comes again. */
export type TakeStatePage = (region: number, index: number, cells: Float64Array) => boolean

export interface RestorableRegion extends StateRegion {
  restorePage(index: number, cells: Float64Array): void
}

export class StateRegions {
  readonly #regions: ReadonlyMap<number, RestorableRegion>
  /** Those that may be owed pages. */
  #left: [number, RestorableRegion][] = []

  constructor(regions: readonly (readonly [number, RestorableRegion])[]) {
    this.#regions = new Map(regions)
    assert(this.#regions.size === regions.length, 'regions have numbers of their own')
  }

  /** Pages of a cut wait to be handed out. */
  get isDraining(): boolean {
    return this.#left.length > 0
  }

  cut(): void {
    assert(!this.isDraining, 'a cut is handed out before the next')
    for (const region of this.#regions.values()) region.cut()
    this.#left = [...this.#regions]
  }

  /** Until a page is not taken; true: all were. */
  drain(take: TakeStatePage): boolean {
    for (;;) {
      const next = this.#left[0]
      if (next === undefined) return true
      const [number, region] = next
      if (!region.drain((index, cells) => take(number, index, cells))) return false
      this.#left.shift()
    }
  }

  restorePages(pages: Iterable<StatePage>): void {
    for (const { region, index, cells } of pages) {
      const there = this.#regions.get(region)
      assert(there !== undefined, 'a page belongs to a region of the plan', region)
      there.restorePage(index, cells)
    }
  }
}

/** Hands out all that is owed. */
export function drainInto(state: { drain(take: TakeStatePage): boolean }, page: PageSink): void {
  const isDrained = state.drain((region, index, cells) => {
    page(region, index, cells)
    return true
  })
  assert(isDrained, 'every page was taken')
}
