/**
 * Distance from the mean of this hour of the week (UTC), so that nights, weekends and weekly jobs are no news. Says nothing
 * of an hour that it has not seen before. 2 cells and 2 an hour of the week: 338.
 */
import { absolute, CLIP, floorAt, gain, type Measured, SETTLED, type View } from './view.ts'

const HOUR_MS = 3_600_000
export const HOURS = 168
const COUNT = 0
const SCALE = 1
const MEANS = 2
const COUNTS = MEANS + HOURS
const SCALE_VALUES = 200
/** An hour's mean looks back over so many of its values. */
const HOUR_VALUES = 50

export function hourOfWeek(timeMs: number): number {
  const hour = Math.floor(timeMs / HOUR_MS) % HOURS
  return hour < 0 ? hour + HOURS : hour
}

export class Season implements View {
  readonly name = 'season'
  readonly says = 'unusual for this hour of the week'
  readonly width = COUNTS + HOURS

  // hot: a call a value.
  measure(cells: Float64Array, at: number, x: number, timeMs: number, measured: Measured): void {
    const hour = hourOfWeek(timeMs)
    const mean = cells[at + MEANS + hour]!
    const scale = cells[at + SCALE]! + floorAt(mean)
    const known = cells[at + COUNTS + hour]! > 0
    measured.stat = known && cells[at + COUNT]! >= SETTLED ? absolute(x - mean) / scale : NaN
    measured.size = absolute(x - mean)
    measured.expected = mean
    measured.scale = scale
  }

  // hot: a call a value.
  learn(cells: Float64Array, at: number, x: number, timeMs: number): void {
    const hour = hourOfWeek(timeMs)
    const visits = cells[at + COUNTS + hour]!
    const mean = cells[at + MEANS + hour]!
    if (visits > 0) {
      const scale = cells[at + SCALE]!
      const count = cells[at + COUNT]! + 1
      cells[at + COUNT] = count
      let size = absolute(x - mean)
      const most = CLIP * (scale + floorAt(mean))
      if (count > SETTLED && size > most) size = most
      cells[at + SCALE] = scale + (size - scale) * gain(count, SCALE_VALUES)
    }
    cells[at + COUNTS + hour] = visits + 1
    cells[at + MEANS + hour] = mean + (x - mean) * gain(visits + 1, HOUR_VALUES)
  }
}

/** Hours of the week that had values. */
export function hoursKnown(cells: Float64Array, at: number): number {
  let known = 0
  for (let hour = 0; hour < HOURS; hour++) if (cells[at + COUNTS + hour]! > 0) known++
  return known
}
