/** The newest sample by event time; of equal times the one that arrived later. Cells: 0 count, 1 time, 2 value. */
import type { Accumulator } from '../../../engine/contract/plugins.ts'
import type { SampleView } from '../../../engine/contract/samples.ts'

export const LAST = 'last'
const COUNT = 0
const TIME = 1
const VALUE = 2
/** Cells that the aggregate reads. */
export const LAST_CELLS = { value: VALUE }

export const lastAccumulator: Accumulator = { kind: LAST, width: 3, add, merge }

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
  const timestampsMs = view.timestampsMs
  const timesAt = view.timestampsMsAt
  for (let i = from; i < to; i++) {
    const position = at[i - from]!
    if (position < 0) continue
    const cell = position + lane
    const timeMs = timestampsMs[timesAt + i]!
    const count = cells[cell + COUNT]!
    cells[cell + COUNT] = count + 1
    if (count !== 0 && timeMs < cells[cell + TIME]!) continue
    cells[cell + TIME] = timeMs
    cells[cell + VALUE] = values[valuesAt + i]!
  }
}

function merge(into: Float64Array, intoAt: number, later: Float64Array, laterAt: number): void {
  into[intoAt + COUNT]! += later[laterAt + COUNT]!
  if (later[laterAt + TIME]! < into[intoAt + TIME]!) return
  into[intoAt + TIME] = later[laterAt + TIME]!
  into[intoAt + VALUE] = later[laterAt + VALUE]!
}
