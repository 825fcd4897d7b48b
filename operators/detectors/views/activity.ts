/** Steps from value to value that have become larger than they usually are: noise, ringing, spikes close together. 4 cells. */
import { absolute, floorAt, gain, type Measured, SETTLED, type View } from './view.ts'

const COUNT = 0
const LAST = 1
const SHORT = 2
const LONG = 3
const SHORT_VALUES = 36
const LONG_VALUES = 500
/** One step counts as at most so many usual ones: a single jump is not activity. */
const SHORT_CLIP = 8
const LONG_CLIP = 6

export class Activity implements View {
  readonly name = 'activity'
  readonly says = 'it moves more than usual'
  readonly width = 4

  // hot: a call a value.
  measure(cells: Float64Array, at: number, x: number, _timeMs: number, measured: Measured): void {
    const count = cells[at + COUNT]!
    const size = this.#short(cells, at, x, count + 1)
    const scale = cells[at + LONG]! + floorAt(x)
    measured.stat = count < 2 ? NaN : size / scale
    measured.size = size
    measured.expected = NaN
    measured.scale = scale
  }

  // hot: a call a value.
  learn(cells: Float64Array, at: number, x: number): void {
    const count = cells[at + COUNT]! + 1
    if (count > 1) {
      const short = this.#short(cells, at, x, count)
      const long = cells[at + LONG]!
      let step = absolute(x - cells[at + LAST]!)
      const most = LONG_CLIP * long + 1e-9
      if (count > SETTLED && step > most) step = most
      cells[at + SHORT] = short
      cells[at + LONG] = long + (step - long) * gain(count - 1, LONG_VALUES)
    }
    cells[at + COUNT] = count
    cells[at + LAST] = x
  }

  #short(cells: Float64Array, at: number, x: number, count: number): number {
    if (count < 2) return 0
    let step = absolute(x - cells[at + LAST]!)
    const most = SHORT_CLIP * cells[at + LONG]! + 1e-9
    if (count > SETTLED && step > most) step = most
    return cells[at + SHORT]! + (step - cells[at + SHORT]!) * gain(count - 1, SHORT_VALUES)
  }
}
