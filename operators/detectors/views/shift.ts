/**
 * A short average that has left a long one: small changes of level that last. The scale is how far the short average
 * usually lies from the long one. 4 cells.
 */
import { absolute, CLIP, floorAt, gain, type Measured, SETTLED, type View } from './view.ts'

const COUNT = 0
const SHORT = 1
const LONG = 2
const SCALE = 3
const SHORT_VALUES = 40
const LONG_VALUES = 500

export class Shift implements View {
  readonly name = 'shift'
  readonly says = 'its average has moved'
  readonly width = 4

  // hot: a call a value.
  measure(cells: Float64Array, at: number, x: number, _timeMs: number, measured: Measured): void {
    const count = cells[at + COUNT]!
    const long = cells[at + LONG]!
    const short = cells[at + SHORT]!
    const now = short + (x - short) * gain(count + 1, SHORT_VALUES)
    const scale = cells[at + SCALE]! + floorAt(long)
    const size = absolute(now - long)
    measured.stat = count === 0 ? NaN : size / scale
    measured.size = size
    measured.expected = NaN
    measured.scale = scale
  }

  // hot: a call a value.
  learn(cells: Float64Array, at: number, x: number): void {
    const count = cells[at + COUNT]! + 1
    cells[at + COUNT] = count
    if (count === 1) {
      cells[at + SHORT] = x
      cells[at + LONG] = x
      return
    }
    const long = cells[at + LONG]!
    const scale = cells[at + SCALE]!
    const short = cells[at + SHORT]! + (x - cells[at + SHORT]!) * gain(count, SHORT_VALUES)
    cells[at + SHORT] = short
    let size = absolute(short - long)
    const most = CLIP * (scale + floorAt(long))
    if (count > SETTLED && size > most) size = most
    const step = gain(count, LONG_VALUES)
    cells[at + LONG] = long + (x - long) * step
    cells[at + SCALE] = scale + (size - scale) * step
  }
}
