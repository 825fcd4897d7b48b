/** A checkpoint that is made piece by piece, and the checkpoints before it, as a store would hold them. */
import type { StatePage, TakeStatePage } from '../../engine/pipeline/chain.ts'
import { assert } from '../../engine/util/assert.ts'

export interface StagedState {
  readonly isDraining: boolean
  cut(): string
  drain(take: TakeStatePage): boolean
}

export interface WholeCheckpoint {
  readonly meta: string
  /** Of this checkpoint alone, by region and index. */
  readonly changed: ReadonlyMap<string, StatePage>
  /** The newest of each page. */
  readonly pages: ReadonlyMap<string, StatePage>
}

export class StagedSave {
  /** The newest that is whole. */
  whole: WholeCheckpoint | null = null
  #meta = ''
  #staged: Map<string, StatePage> | null = null

  /** A cut was made whose pages were not all taken yet. */
  get isUnderway(): boolean {
    return this.#staged !== null
  }

  begin(state: StagedState): void {
    assert(!this.isUnderway, 'one checkpoint at a time')
    this.#meta = state.cut()
    this.#staged = new Map()
  }

  /** Takes at most `pages`. True: the checkpoint is whole now. */
  advance(state: StagedState, pages: number): boolean {
    const staged = this.#staged
    assert(staged !== null, 'a checkpoint is under way')
    let left = pages
    const isWhole = state.drain((region, index, cells) => {
      if (left-- <= 0) return false
      staged.set(`${region}/${index}`, { region, index, cells: cells.slice() })
      return true
    })
    if (!isWhole) return false
    this.whole = {
      meta: this.#meta,
      changed: staged,
      pages: new Map([...(this.whole?.pages ?? []), ...staged]),
    }
    this.#staged = null
    return true
  }

  /** Its maker is gone: what was not whole never was. */
  forget(): void {
    this.#staged = null
  }
}
