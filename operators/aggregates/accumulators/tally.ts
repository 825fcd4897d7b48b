/** Count and sum: the smallest accumulator. Cells: 0 count, 1 sum. */
import type { Accumulator, MergeRegisters, Registers } from '../../../engine/contract/plugins.ts'
import type { SampleView } from '../../../engine/contract/samples.ts'
import { type Code, F64_ADD, f64, get, loadF64, storeF64 } from '../../../engine/util/wasm.ts'

export const TALLY = 'tally'
const COUNT = 0
const SUM = 1

export const tallyAccumulator: Accumulator = {
  kind: TALLY,
  width: 2,
  add,
  addRouted,
  instructions,
  merge,
  mergeInstructions,
  mergeRows,
}

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

/** hot */
function addRouted(
  cells: Float64Array,
  base: number,
  routes: Int32Array,
  strideShift: number,
  view: SampleView,
  from: number,
): number {
  const seriesIds = view.seriesIds
  const idsAt = view.seriesIdsAt
  const values = view.values
  const valuesAt = view.valuesAt
  const known = routes.length
  const to = view.count
  let i = from | 0
  for (; i < to; i++) {
    const id = seriesIds[idsAt + i]!
    const route = id >>> 0 < known ? routes[id]! : 0
    const value = values[valuesAt + i]!
    // Finite less itself is 0; an infinity or NaN gives NaN.
    if (!(route > 0 && value - value === 0)) break
    const cell = (base + (route << strideShift)) | 0
    cells[cell + COUNT]! += 1
    cells[cell + SUM]! += value
  }
  return i
}

function instructions({ cell, offset, value }: Registers): readonly Code[] {
  const count = offset + COUNT * 8
  const sum = offset + SUM * 8
  return [
    [...get(cell), ...get(cell), ...loadF64(count), ...f64(1), ...F64_ADD, ...storeF64(count)],
    [...get(cell), ...get(cell), ...loadF64(sum), ...get(value), ...F64_ADD, ...storeF64(sum)],
  ]
}

function merge(into: Float64Array, intoAt: number, later: Float64Array, laterAt: number): void {
  into[intoAt + COUNT]! += later[laterAt + COUNT]!
  into[intoAt + SUM]! += later[laterAt + SUM]!
}

function mergeInstructions({ into, later, offset }: MergeRegisters): readonly Code[] {
  return [COUNT, SUM].map((cell) => {
    const at = offset + cell * 8
    return [
      ...get(into),
      ...get(into),
      ...loadF64(at),
      ...get(later),
      ...loadF64(at),
      ...F64_ADD,
      ...storeF64(at),
    ]
  })
}

/** hot */
function mergeRows(
  into: Float64Array,
  intoBase: number,
  later: Float64Array,
  laterBase: number,
  rows: number,
  stride: number,
): void {
  let intoAt = intoBase
  let laterAt = laterBase
  for (let row = 0; row < rows; row++) {
    if (later[laterAt + COUNT] !== 0) {
      // A sum of -0 alone stays -0.
      if (into[intoAt + COUNT] === 0) into[intoAt + SUM] = later[laterAt + SUM]!
      else into[intoAt + SUM]! += later[laterAt + SUM]!
      into[intoAt + COUNT]! += later[laterAt + COUNT]!
    }
    intoAt += stride
    laterAt += stride
  }
}
