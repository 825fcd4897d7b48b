/**
 * Count, sum, minimum, maximum and variance in one cache line. Cells:
 *
 *     0 count   1 sum   2 reference   3 Σ(v − reference)   4 Σ(v − reference)²   5 min   6 max
 *
 * Squares are taken of deviations from a reference, never of raw values (1e9 ± 1 would give 0). The reference is the
 * slice's first value, and that is enough: it is a member of the sample, so (mean − reference)² is at most the sum of
 * squared deviations, and taking the mean's share off afterwards has a condition number of at most the count, wherever
 * the first value lies; near the others, as it nearly always is, of about 1. A running mean (Welford) is better
 * conditioned and costs a division a sample.
 * Slices merge by Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances"
 * (1979), after which the reference is the mean.
 */
import type { Accumulator, MergeRegisters, Registers } from '../../../engine/contract/plugins.ts'
import type { SampleView } from '../../../engine/contract/samples.ts'
import * as wasm from '../../../engine/util/wasm.ts'

export const MOMENTS = 'moments'
// Not exported: V8 folds a module's own constants into a loop, exported ones it loads from a cell for every sample.
const COUNT = 0
const SUM = 1
const REFERENCE = 2
const DEVIATIONS = 3
const SQUARES = 4
const MIN = 5
const MAX = 6
/** Cells that aggregates read. */
export const MOMENTS_CELLS = { count: COUNT, sum: SUM, min: MIN, max: MAX }

export const momentsAccumulator: Accumulator = {
  kind: MOMENTS,
  width: 7,
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
    if (position >= 0) update(cells, position + lane, values[valuesAt + i]!)
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
    update(cells, (base + (route << strideShift)) | 0, value)
  }
  return i
}

/** hot: small enough that both loops inline it. */
function update(cells: Float64Array, cell: number, value: number): void {
  const count = cells[cell + COUNT]!
  cells[cell + COUNT] = count + 1
  if (count === 0) {
    cells[cell + SUM] = value
    cells[cell + REFERENCE] = value
    cells[cell + MIN] = value
    cells[cell + MAX] = value
    return
  }
  cells[cell + SUM]! += value
  const deviation = value - cells[cell + REFERENCE]!
  cells[cell + DEVIATIONS]! += deviation
  cells[cell + SQUARES]! += deviation * deviation
  if (value < cells[cell + MIN]!) cells[cell + MIN] = value
  if (value > cells[cell + MAX]!) cells[cell + MAX] = value
}

/** `update`, line by line. */
function instructions({ cell, offset, value, scratch }: Registers): readonly wasm.Code[] {
  const [count, deviation] = scratch
  const load = (index: number): wasm.Code => [...wasm.get(cell), ...wasm.loadF64(offset + index * 8)]
  const store = (index: number, ...computed: readonly wasm.Code[]): wasm.Code => {
    return [...wasm.get(cell), ...computed.flat(), ...wasm.storeF64(offset + index * 8)]
  }
  const valueBeyond = (index: number, compare: wasm.Code): wasm.Code => {
    return [...wasm.get(value), ...load(index), ...compare, ...wasm.when([store(index, wasm.get(value))])]
  }
  const isFirst = [...wasm.get(count), ...wasm.f64(0), ...wasm.F64_EQUAL]
  return [
    [...load(COUNT), ...wasm.set(count)],
    store(COUNT, wasm.get(count), wasm.f64(1), wasm.F64_ADD),
    isFirst,
    wasm.when(
      [SUM, REFERENCE, MIN, MAX].map((index) => store(index, wasm.get(value))),
      [
        store(SUM, load(SUM), wasm.get(value), wasm.F64_ADD),
        [...wasm.get(value), ...load(REFERENCE), ...wasm.F64_SUBTRACT, ...wasm.set(deviation)],
        store(DEVIATIONS, load(DEVIATIONS), wasm.get(deviation), wasm.F64_ADD),
        store(
          SQUARES,
          load(SQUARES),
          wasm.get(deviation),
          wasm.get(deviation),
          wasm.F64_MULTIPLY,
          wasm.F64_ADD,
        ),
        valueBeyond(MIN, wasm.F64_LESS),
        valueBeyond(MAX, wasm.F64_GREATER),
      ],
    ),
  ]
}

function merge(into: Float64Array, intoAt: number, later: Float64Array, laterAt: number): void {
  const countA = into[intoAt + COUNT]!
  const countB = later[laterAt + COUNT]!
  const count = countA + countB
  const deviationsA = into[intoAt + DEVIATIONS]!
  const deviationsB = later[laterAt + DEVIATIONS]!
  const meanDeviationA = deviationsA / countA
  const meanDeviationB = deviationsB / countB
  const shareB = countB / count
  const referenceA = into[intoAt + REFERENCE]!
  // References first: they are near each other, so their difference is exact where it matters.
  const delta = later[laterAt + REFERENCE]! - referenceA + (meanDeviationB - meanDeviationA)
  const squares =
    Math.max(0, into[intoAt + SQUARES]! - deviationsA * meanDeviationA) +
    Math.max(0, later[laterAt + SQUARES]! - deviationsB * meanDeviationB) +
    delta * delta * (countA * shareB)
  into[intoAt + COUNT] = count
  into[intoAt + SUM]! += later[laterAt + SUM]!
  into[intoAt + REFERENCE] = referenceA + meanDeviationA + delta * shareB
  into[intoAt + DEVIATIONS] = 0
  into[intoAt + SQUARES] = squares
  if (later[laterAt + MIN]! < into[intoAt + MIN]!) into[intoAt + MIN] = later[laterAt + MIN]!
  if (later[laterAt + MAX]! > into[intoAt + MAX]!) into[intoAt + MAX] = later[laterAt + MAX]!
}

/** `merge`, line by line. */
function mergeInstructions({ into, later, offset, scratch }: MergeRegisters): readonly wasm.Code[] {
  const [countA, countB, deviationsA, deviationsB, meanDeviationA, meanDeviationB, shareB, delta] = scratch
  const { get, set, F64_ADD, F64_SUBTRACT, F64_MULTIPLY, F64_DIVIDE, F64_MAX } = wasm
  const load = (row: number, index: number): wasm.Code => [...get(row), ...wasm.loadF64(offset + index * 8)]
  const store = (index: number, ...computed: readonly wasm.Code[]): wasm.Code => {
    return [...get(into), ...computed.flat(), ...wasm.storeF64(offset + index * 8)]
  }
  const squaresOf = (row: number, deviations: number, mean: number): wasm.Code => {
    const share = [...get(deviations), ...get(mean), ...F64_MULTIPLY]
    return [...wasm.f64(0), ...load(row, SQUARES), ...share, ...F64_SUBTRACT, ...F64_MAX]
  }
  const laterBeyond = (index: number, compare: wasm.Code): wasm.Code => {
    return [
      ...load(later, index),
      ...load(into, index),
      ...compare,
      ...wasm.when([store(index, load(later, index))]),
    ]
  }
  return [
    [...load(into, COUNT), ...set(countA), ...load(later, COUNT), ...set(countB)],
    [...load(into, DEVIATIONS), ...set(deviationsA), ...load(later, DEVIATIONS), ...set(deviationsB)],
    [...get(deviationsA), ...get(countA), ...F64_DIVIDE, ...set(meanDeviationA)],
    [...get(deviationsB), ...get(countB), ...F64_DIVIDE, ...set(meanDeviationB)],
    [...get(countB), ...get(countA), ...get(countB), ...F64_ADD, ...F64_DIVIDE, ...set(shareB)],
    [...load(later, REFERENCE), ...load(into, REFERENCE), ...F64_SUBTRACT],
    [...get(meanDeviationB), ...get(meanDeviationA), ...F64_SUBTRACT, ...F64_ADD, ...set(delta)],
    store(
      SQUARES,
      squaresOf(into, deviationsA, meanDeviationA),
      squaresOf(later, deviationsB, meanDeviationB),
      F64_ADD,
      [...get(delta), ...get(delta), ...F64_MULTIPLY],
      [...get(countA), ...get(shareB), ...F64_MULTIPLY, ...F64_MULTIPLY, ...F64_ADD],
    ),
    store(COUNT, get(countA), get(countB), F64_ADD),
    store(SUM, load(into, SUM), load(later, SUM), F64_ADD),
    store(
      REFERENCE,
      [...load(into, REFERENCE), ...get(meanDeviationA), ...F64_ADD],
      [...get(delta), ...get(shareB), ...F64_MULTIPLY, ...F64_ADD],
    ),
    store(DEVIATIONS, wasm.f64(0)),
    laterBeyond(MIN, wasm.F64_LESS),
    laterBeyond(MAX, wasm.F64_GREATER),
  ]
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
      if (into[intoAt + COUNT] !== 0) merge(into, intoAt, later, laterAt)
      else for (let cell = COUNT; cell <= MAX; cell++) into[intoAt + cell] = later[laterAt + cell]!
    }
    intoAt += stride
    laterAt += stride
  }
}

/** Sum of squared deviations from the mean; never negative. */
export function squaredDeviations(cells: Float64Array, at: number): number {
  const deviations = cells[at + DEVIATIONS]!
  return Math.max(0, cells[at + SQUARES]! - deviations * (deviations / cells[at + COUNT]!))
}
