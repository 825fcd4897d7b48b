/** A cut is what the cells held at its moment, however they are written to, grow and are cut again while it is handed out. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Prng } from '../util/prng.ts'
import { Cells, PAGE_CELLS } from './cells.ts'

const PAGES = 6

/** What checkpoints have stored: the newest version of every page. */
class Stored {
  readonly #pages = new Map<number, Float64Array>()

  take(index: number, cells: Float64Array): void {
    this.#pages.set(index, cells.slice())
  }

  state(length: number): Float64Array {
    const copy = new Cells('copy')
    copy.ensure(length)
    for (const [index, cells] of this.#pages) copy.restorePage(index, cells)
    return copy.data
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Float64Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}

describe('cells', () => {
  test('a cut is handed out as it was, page by page, while cells are written to and grow', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const prng = new Prng(seed)
        const cells = new Cells('c')
        const stored = new Stored()
        let cut: Float64Array | null = null
        for (let step = 0; step < 300; step++) {
          const at = prng.below(cells.data.length)
          const end = Math.min(cells.data.length, at + prng.below(3 * PAGE_CELLS))
          const roll = prng.below(10)
          if (roll < 4) {
            cells.mark(at)
            cells.data[at] = step + 1
          } else if (roll === 4) {
            cells.markRange(at, end)
            cells.data.fill(step + 1, at, end)
          } else if (roll === 5 && cells.isDraining) {
            // Rows that are marked otherwise: see slices.ts.
            const rows = Int32Array.from({ length: 4 }, () => prng.below(cells.data.length + 9) - 9)
            cells.keepRows(rows, rows.length)
            for (const row of rows) {
              if (row < 0) continue
              cells.dirty[row >> 9] = 1
              cells.data[row] = step + 1
            }
          } else if (roll === 6 && cells.pageCount < PAGES) cells.ensure(cells.data.length + 1)
          else if (cut === null) {
            cut = cells.data.slice()
            cells.cut()
          } else {
            let left = prng.below(3)
            const isDone = cells.drain((index, page) => {
              if (left-- === 0) return false
              stored.take(index, page)
              return true
            })
            if (!isDone) continue
            const state = stored.state(cut.length).subarray(0, cut.length)
            // As bytes, which is quick; the cells are compared for the message only.
            if (!bytesOf(state).equals(bytesOf(cut))) expect(state, `seed ${seed}`).toEqual(cut)
            cut = null
          }
        }
      }),
      { numRuns: 100 },
    )
  })

  test('a page is handed out by the cut after its change only', () => {
    const cells = new Cells('c')
    cells.ensure(3 * PAGE_CELLS)
    const handedOut = (): number[] => {
      const pages: number[] = []
      cells.takeDirty((index) => pages.push(index))
      return pages
    }
    cells.mark(0)
    cells.mark(2 * PAGE_CELLS)
    expect(handedOut()).toEqual([0, 2])
    expect(handedOut()).toEqual([])
    cells.markRange(PAGE_CELLS - 1, PAGE_CELLS + 1)
    expect(handedOut()).toEqual([0, 1])
    cells.markAll()
    cells.unmarkRange(1, 3 * PAGE_CELLS)
    // A page that lies in there in part only keeps its mark.
    expect(handedOut()).toEqual([0, 3])
  })

  test('a page that is not taken comes again; a cut before the last one was handed out is a programmer error', () => {
    const cells = new Cells('c')
    cells.mark(7)
    cells.cut()
    expect(cells.drain(() => false)).toBe(false)
    expect(cells.isDraining).toBe(true)
    expect(() => cells.cut()).toThrow('handed out before the next')
    expect(cells.drain((index) => index === 0)).toBe(true)
    expect(cells.isDraining).toBe(false)
  })
})
