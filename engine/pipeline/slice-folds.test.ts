import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Accumulator } from '../contract/plugins.ts'
import type { RowLayout } from './row-layout.ts'
import { mergeRows, SliceFolds } from './slice-folds.ts'
import { Slices } from './slices.ts'

const STRIDE = 2

/** Cells: 0 count, 1 a word of what was merged in which order, as a sum whose bits depend on the order. */
const ordered: Accumulator = {
  kind: 'ordered',
  width: STRIDE,
  add: () => {},
  merge: (into, intoAt, later, laterAt) => {
    into[intoAt]! += later[laterAt]!
    into[intoAt + 1] = into[intoAt + 1]! / 3 + later[laterAt + 1]!
  },
}
const layout: RowLayout = { accumulators: [ordered], lanes: [0], stride: STRIDE, columns: [] }

type Step =
  | { readonly op: 'add'; readonly ahead: number; readonly row: number; readonly value: number }
  | { readonly op: 'fire'; readonly skip: number }

const stepArbitrary: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('add' as const),
      ahead: fc.nat(11),
      // Rows beyond the first capacity of 64 make the state grow.
      row: fc.oneof({ weight: 9, arbitrary: fc.nat(4) }, { weight: 1, arbitrary: fc.nat(300) }),
      value: fc.double({ min: -1e3, max: 1e3, noNaN: true }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('fire' as const), skip: fc.nat(6) }) },
)

describe('folds of slices', () => {
  it('are those of the slices as they are now, whatever was folded before', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 4, max: 7 }),
        fc.integer({ min: -20, max: 20 }),
        fc.array(stepArbitrary, { minLength: 1, maxLength: 80 }),
        (span, start, steps) => {
          const slices = new Slices(span + 8, STRIDE)
          const kept = new SliceFolds(layout, slices, span)
          let floor = start
          let rows = 1
          slices.dropBefore(floor)
          slices.ensureRows(rows)
          for (const step of steps) {
            if (step.op === 'add') {
              if (step.row >= rows) {
                rows = step.row + 1
                slices.ensureRows(rows)
              }
              const at = slices.touch(floor + (step.ahead % (span + 8))) + step.row * STRIDE
              slices.cells.data[at]! += 1
              slices.cells.data[at + 1]! += step.value
              continue
            }
            floor += step.skip
            slices.dropBefore(floor)
            kept.fold(floor)
            const fresh = new SliceFolds(layout, slices, span)
            fresh.fold(floor)
            const window = kept.cells.slice(kept.base, kept.base + rows * STRIDE)
            expect(window).toEqual(fresh.cells.slice(fresh.base, fresh.base + rows * STRIDE))
            expect(counts(window, rows)).toEqual(counts(sliceBySlice(slices, floor, span), rows))
          }
        },
      ),
      { numRuns: 500 },
    )
  })
})

function sliceBySlice(slices: Slices, first: number, span: number): Float64Array {
  const cells = new Float64Array(slices.rows * STRIDE)
  for (let slice = first; slice < first + span; slice++) {
    if (!slices.isLive(slice)) continue
    mergeRows(layout, slices.rows, cells, 0, slices.cells.data, slices.baseOf(slices.slotOf(slice)))
  }
  return cells
}

function counts(cells: Float64Array, rows: number): number[] {
  return Array.from({ length: rows }, (_, row) => cells[row * STRIDE]!)
}
