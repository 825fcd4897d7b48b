/**
 * The increase of a counter over the samples seen, aware of resets: a value below the one before it means that the
 * counter started again from 0, so that the whole value is increase. Cells:
 *
 *     0 count   1 first time   2 first value   3 last time   4 last value   5 increase
 *
 * Out of order: a sample older than the first extends the span to the front, exactly. One between first and last, or at
 * the time of either, is counted and otherwise ignored: a counter that only grew in between has the same increase
 * without it, but a reset that only such samples show is missed.
 */
import type { Accumulator } from '../../../engine/contract/plugins.ts'
import type { SampleView } from '../../../engine/contract/samples.ts'

export const RATE = 'rate'
const COUNT = 0
const FIRST_TIME = 1
const FIRST_VALUE = 2
const LAST_TIME = 3
const LAST_VALUE = 4
const INCREASE = 5
/** Cells that the aggregate reads. */
export const RATE_CELLS = { firstTime: FIRST_TIME, lastTime: LAST_TIME, increase: INCREASE }

export const rateAccumulator: Accumulator = { kind: RATE, width: 6, ordered: true, add, merge }

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
    const value = values[valuesAt + i]!
    const count = cells[cell + COUNT]!
    cells[cell + COUNT] = count + 1
    if (count === 0) {
      cells[cell + FIRST_TIME] = timeMs
      cells[cell + FIRST_VALUE] = value
      cells[cell + LAST_TIME] = timeMs
      cells[cell + LAST_VALUE] = value
    } else if (timeMs > cells[cell + LAST_TIME]!) {
      cells[cell + INCREASE]! += increase(cells[cell + LAST_VALUE]!, value)
      cells[cell + LAST_TIME] = timeMs
      cells[cell + LAST_VALUE] = value
    } else if (timeMs < cells[cell + FIRST_TIME]!) {
      cells[cell + INCREASE]! += increase(value, cells[cell + FIRST_VALUE]!)
      cells[cell + FIRST_TIME] = timeMs
      cells[cell + FIRST_VALUE] = value
    }
  }
}

function merge(into: Float64Array, intoAt: number, later: Float64Array, laterAt: number): void {
  into[intoAt + COUNT]! += later[laterAt + COUNT]!
  const between = increase(into[intoAt + LAST_VALUE]!, later[laterAt + FIRST_VALUE]!)
  into[intoAt + INCREASE]! += between + later[laterAt + INCREASE]!
  into[intoAt + LAST_TIME] = later[laterAt + LAST_TIME]!
  into[intoAt + LAST_VALUE] = later[laterAt + LAST_VALUE]!
}

function increase(before: number, after: number): number {
  return after < before ? after : after - before
}
