/**
 * How often the same value came in a row, in series that hardly ever repeat one: a sensor that is stuck, a job that sends what it
 * read last. Says nothing of series that do: counts, states, whatever is rounded. 4 cells.
 */
import { gain, type Measured, SETTLED, type View } from './view.ts'

const COUNT = 0
const LAST = 1
/** Times that LAST came in a row. */
const RUN = 2
/** Of the values that are not within a run already: the share that repeats the value before. */
const REPEATS = 3
const REPEATS_VALUES = 500
/** Up to this share, a value that comes again is unusual. */
const REPEATS_MAX = 0.05

export class Stuck implements View {
  readonly name = 'stuck'
  readonly says = 'stuck at one value'
  readonly unit = 'values'
  readonly width = 4

  // hot: a call a value.
  measure(cells: Float64Array, at: number, x: number, _timeMs: number, measured: Measured): void {
    const run = this.#run(cells, at, x)
    const counts = cells[at + COUNT]! >= SETTLED && cells[at + REPEATS]! <= REPEATS_MAX
    measured.stat = counts ? run : NaN
    measured.size = run
    measured.expected = NaN
    measured.scale = 1
  }

  // hot: a call a value.
  learn(cells: Float64Array, at: number, x: number): void {
    const run = this.#run(cells, at, x)
    // A run says once that values repeat, however long it is: what is stuck does not become usual.
    if (run <= 2) {
      const count = cells[at + COUNT]! + 1
      cells[at + COUNT] = count
      cells[at + REPEATS] =
        cells[at + REPEATS]! + (run - 1 - cells[at + REPEATS]!) * gain(count, REPEATS_VALUES)
    }
    cells[at + RUN] = run
    cells[at + LAST] = x
  }

  #run(cells: Float64Array, at: number, x: number): number {
    return cells[at + RUN]! > 0 && x === cells[at + LAST]! ? cells[at + RUN]! + 1 : 1
  }
}
