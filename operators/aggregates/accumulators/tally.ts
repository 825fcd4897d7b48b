/** Count and sum: the smallest accumulator. Cells: 0 count, 1 sum. */
import type { Accumulator } from '../../../engine/contract/plugins.ts'
import type { SampleView } from '../../../engine/contract/samples.ts'

export const TALLY = 'tally'
const COUNT = 0
const SUM = 1

export const tallyAccumulator: Accumulator = { kind: TALLY, width: 2, add, merge }

/** hot */
function add(
  cells: Float64Array,
  lane: number,
  at: Int32Array,
  view: SampleView,
  from: number,
  to: number,
): void {
  const values = view.values
  const valuesAt = view.valuesAt
  for (let i = from; i < to; i++) {
    const position = at[i - from]!
    if (position < 0) continue
    const cell = position + lane
    cells[cell + COUNT]! += 1
    cells[cell + SUM]! += values[valuesAt + i]!
  }
}

function merge(into: Float64Array, intoAt: number, later: Float64Array, laterAt: number): void {
  into[intoAt + COUNT]! += later[laterAt + COUNT]!
  into[intoAt + SUM]! += later[laterAt + SUM]!
}
