/**
 * Distance from the mean of this hour of the week (UTC), so that nights, weekends and weekly jobs are no news. Says nothing
 * of an hour that it has not seen before; what it foresees of one is as the day before, which excuses and never accuses. 5
 * cells and 2 an hour of the week: 341.
 */
import { absolute, CLIP, floorAt, gain, type Measured, SETTLED, type View } from './view.ts'

const HOUR_MS = 3_600_000
export const HOURS = 168
const HOURS_A_DAY = 24
const COUNT = 0
const SCALE = 1
/** The hour that goes on, as a number since 1970, plus 1; its values so far. They are none of its past. */
const NOW = 2
const NOW_COUNT = 3
const NOW_MEAN = 4
const MEANS = 5
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
    this.#measureBy(cells, at, hourOfWeek(timeMs), x, measured)
  }

  /** Like `measure`, but an hour that was not seen yet is taken to be as the same one of the day before. */
  // hot: a call a value.
  foresee(cells: Float64Array, at: number, x: number, timeMs: number, measured: Measured): void {
    this.#measureBy(cells, at, nearestKnown(cells, at, hourOfWeek(timeMs)), x, measured)
  }

  // hot: a call a value.
  learn(cells: Float64Array, at: number, x: number, timeMs: number): void {
    const visit = Math.floor(timeMs / HOUR_MS) + 1
    if (visit !== cells[at + NOW]!) {
      if (cells[at + NOW_COUNT]! > 0) settle(cells, at)
      cells[at + NOW] = visit
    }
    const known = nearestKnown(cells, at, hourOfWeek(timeMs))
    if (cells[at + COUNTS + known]! > 0) {
      const scale = cells[at + SCALE]!
      const count = cells[at + COUNT]! + 1
      cells[at + COUNT] = count
      const expected = cells[at + MEANS + known]!
      let size = absolute(x - expected)
      const most = CLIP * (scale + floorAt(expected))
      if (count > SETTLED && size > most) size = most
      cells[at + SCALE] = scale + (size - scale) * gain(count, SCALE_VALUES)
    }
    const within = cells[at + NOW_COUNT]! + 1
    cells[at + NOW_COUNT] = within
    cells[at + NOW_MEAN] = cells[at + NOW_MEAN]! + (x - cells[at + NOW_MEAN]!) / within
  }

  #measureBy(cells: Float64Array, at: number, hour: number, x: number, measured: Measured): void {
    const mean = cells[at + MEANS + hour]!
    const scale = cells[at + SCALE]! + floorAt(mean)
    const known = cells[at + COUNTS + hour]! > 0 && cells[at + COUNT]! >= SETTLED
    measured.stat = known ? absolute(x - mean) / scale : NaN
    measured.size = absolute(x - mean)
    measured.expected = mean
    measured.scale = scale
  }
}

/** What the hour that went on was is its past from here on. */
function settle(cells: Float64Array, at: number): void {
  const hour = hourOfWeek((cells[at + NOW]! - 1) * HOUR_MS)
  const added = cells[at + NOW_COUNT]!
  const count = cells[at + COUNTS + hour]! + added
  const mean = cells[at + MEANS + hour]!
  const share = Math.min(1, added / Math.min(count, HOUR_VALUES))
  cells[at + MEANS + hour] = mean + (cells[at + NOW_MEAN]! - mean) * share
  cells[at + COUNTS + hour] = count
  cells[at + NOW_COUNT] = 0
  cells[at + NOW_MEAN] = 0
}

/** The hour, or the same one of the day before if it was not seen yet. */
function nearestKnown(cells: Float64Array, at: number, hour: number): number {
  return cells[at + COUNTS + hour]! > 0 ? hour : (hour + HOURS - HOURS_A_DAY) % HOURS
}

/** Hours of the week that had values. */
export function hoursKnown(cells: Float64Array, at: number): number {
  let known = 0
  for (let hour = 0; hour < HOURS; hour++) if (cells[at + COUNTS + hour]! > 0) known++
  return known
}
