/**
 * The one loop over samples that knows about routes, lateness and slices: it turns each sample into the position of its
 * row of cells, and stops where something has to happen between two samples. Everything after it is arithmetic.
 *
 * Order of judgement, per sample: filtered, then non-finite (as if it had never come, but for the ledger), then does it
 * reach the firing time (then it stops before the sample), then late (its slice lies before the floor), else placed.
 */
import type { SampleView } from '../contract/samples.ts'
import { floorDiv } from '../time/window-grid.ts'
import type { Slices } from './slices.ts'

/** What a Date can hold. Beyond it, arithmetic on windows would round; such a time counts as not a number. */
export const EVENT_TIME_MS_MAX = 8.64e15

export const STOP_END = 0
/** The series of sample `stoppedAt` has no route yet. */
export const STOP_UNKNOWN = 1
/** Sample `stoppedAt` moves the watermark to a window's end or beyond. */
export const STOP_FIRE = 2

export class Placement {
  /** Cell of the row of sample `from + i`; -1: not placed. */
  at: Int32Array = new Int32Array(0)
  /** Samples of the record that were late, by index; the first `lateCount`. */
  lateIndices: Int32Array = new Int32Array(0)
  lateCount = 0
  stoppedAt = 0
  /** Newest event time among the routed samples of the segment. */
  newestMs = -Infinity
  /** Routed, finite samples, late ones included. */
  routedCount = 0
  filteredCount = 0
  nonFiniteCount = 0

  /** A record batch of `count` samples follows. */
  begin(count: number): void {
    this.lateCount = 0
    if (count <= this.at.length) return
    this.at = new Int32Array(count)
    this.lateIndices = new Int32Array(count)
  }
}

/**
 * Places samples [from, to) until it must stop; returns why. Event times at or beyond `fireAtMs` stop it.
 * hot: no allocation, closure or throw.
 */
export function placeSamples(
  placement: Placement,
  slices: Slices,
  routes: Int32Array,
  sliceMs: number,
  fireAtMs: number,
  view: SampleView,
  from: number,
  to: number,
): number {
  const at = placement.at
  const seriesIds = view.seriesIds
  const timestampsMs = view.timestampsMs
  const values = view.values
  const idsAt = view.seriesIdsAt
  const timesAt = view.timestampsMsAt
  const valuesAt = view.valuesAt
  const known = routes.length
  const stride = slices.stride
  const floorSlice = slices.floorSlice
  let newestMs = -Infinity
  let filtered = 0
  let nonFinite = 0
  let lateCount = placement.lateCount
  let stop = STOP_END
  // The slice of the sample before: [loMs, hiMs), and its row 0 less one row, because routes count rows from 1.
  let loMs = Infinity
  let hiMs = -Infinity
  let base = 0
  let i = from
  for (; i < to; i++) {
    const id = seriesIds[idsAt + i]!
    const route = id >>> 0 < known ? routes[id]! : 0
    const timeMs = timestampsMs[timesAt + i]!
    const value = values[valuesAt + i]!
    // Finite less itself is 0; an infinity or NaN gives NaN.
    if (route > 0 && timeMs >= loMs && timeMs < hiMs && value - value === 0) {
      at[i - from] = base + route * stride
      if (timeMs > newestMs) newestMs = timeMs
      continue
    }
    if (route === 0) {
      stop = STOP_UNKNOWN
      break
    }
    at[i - from] = -1
    if (route < 0) {
      filtered++
      continue
    }
    if (value - value !== 0 || !(timeMs >= -EVENT_TIME_MS_MAX && timeMs <= EVENT_TIME_MS_MAX)) {
      nonFinite++
      continue
    }
    if (timeMs >= fireAtMs) {
      stop = STOP_FIRE
      break
    }
    if (timeMs > newestMs) newestMs = timeMs
    const slice = floorDiv(timeMs, sliceMs)
    if (slice < floorSlice) {
      placement.lateIndices[lateCount++] = i
      continue
    }
    loMs = slice * sliceMs
    hiMs = Math.min(loMs + sliceMs, fireAtMs)
    base = slices.touch(slice) - stride
    at[i - from] = base + route * stride
  }
  placement.stoppedAt = i
  placement.newestMs = newestMs
  placement.lateCount = lateCount
  placement.filteredCount = filtered
  placement.nonFiniteCount = nonFinite
  placement.routedCount = i - from - filtered - nonFinite
  return stop
}

/** Whether a sample is a number at a time: what the loop above counts as finite. */
export function isUsable(view: SampleView, i: number): boolean {
  const value = view.values[view.valuesAt + i]!
  return value - value === 0 && Math.abs(view.timestampsMs[view.timestampsMsAt + i]!) <= EVENT_TIME_MS_MAX
}
