/**
 * Distance from an average, in its own usual distance: over many values it is the level, over few the step from what was
 * just there. Deviations are clipped before they are learned, so that an anomaly neither drags the average along nor
 * widens the scale. 3 cells.
 */
import { absolute, CLIP, floorAt, gain, type Measured, SETTLED, type View } from './view.ts'

const COUNT = 0
const MEAN = 1
/** Where the average lies among the view's cells. */
export const LEVEL_MEAN = MEAN
const SCALE = 2
/** A scale averages over this many values. */
const SCALE_VALUES = 200
/** The average moves by at most so many scales' worth at a time. */
const MOVE_CLIP = 9

export class Level implements View {
  readonly name: string
  readonly says: string
  readonly width = 3
  readonly #values: number

  /** The average looks back over so many values. */
  constructor(name: string, says: string, values: number) {
    this.name = name
    this.says = says
    this.#values = values
  }

  // hot: a call a value.
  measure(cells: Float64Array, at: number, x: number, _timeMs: number, measured: Measured): void {
    const mean = cells[at + MEAN]!
    const scale = cells[at + SCALE]! + floorAt(mean)
    const size = absolute(x - mean)
    measured.stat = cells[at + COUNT] === 0 ? NaN : size / scale
    measured.size = size
    measured.expected = mean
    measured.scale = scale
  }

  // hot: a call a value.
  learn(cells: Float64Array, at: number, x: number): void {
    const count = cells[at + COUNT]! + 1
    cells[at + COUNT] = count
    if (count === 1) {
      cells[at + MEAN] = x
      return
    }
    const mean = cells[at + MEAN]!
    const scale = cells[at + SCALE]!
    const usual = scale + floorAt(mean)
    let move = x - mean
    let size = absolute(move)
    if (count > SETTLED) {
      const most = MOVE_CLIP * usual
      if (move > most) move = most
      else if (move < -most) move = -most
      if (size > CLIP * usual) size = CLIP * usual
    }
    cells[at + MEAN] = mean + move * gain(count, this.#values)
    cells[at + SCALE] = scale + (size - scale) * gain(count, SCALE_VALUES)
  }

  /** The average begins anew at a value, after a gap; how far values usually lie from it stays known. */
  restart(cells: Float64Array, at: number, x: number): void {
    if (cells[at + COUNT]! > 0) cells[at + MEAN] = x
    else this.learn(cells, at, x)
  }
}
