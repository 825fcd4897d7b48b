/**
 * The one pass over samples that knows about routes, lateness and slices: it turns each sample into the position of its
 * row of cells, and stops where something has to happen between two samples. Everything after it is arithmetic.
 *
 * Order of judgement, per sample: filtered, then non-finite (as if it had never come, but for the ledger), then does it
 * reach the firing time (then it stops before the sample), then late (its slice lies before the floor), else placed.
 */
import type { SampleView } from '../contract/samples.ts'
import { floorDiv } from '../time/window-grid.ts'
import { assert } from '../util/assert.ts'
import { ROUTE_UNKNOWN } from './routing.ts'
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
 * No allocation, closure or throw: where event times jump between slices, this is a loop over samples, too.
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
  assert(view.timestampsMs === view.values, 'a record batch is one buffer')
  const at = placement.at
  const stride = slices.stride
  let nonFinite = 0
  let stop = STOP_END
  // The slice of the sample before: [loMs, hiMs), and its row 0 less one row, because routes count rows from 1.
  let loMs = Infinity
  let hiMs = -Infinity
  let base = 0
  placement.newestMs = -Infinity
  placement.filteredCount = 0
  let i = from
  for (;;) {
    i = placeRun(placement, routes, stride, loMs, hiMs, base, view, from, i, to)
    if (i === to) break
    const id = view.seriesIds[view.seriesIdsAt + i]!
    const route = id >>> 0 < routes.length ? routes[id]! : ROUTE_UNKNOWN
    if (route === ROUTE_UNKNOWN) {
      stop = STOP_UNKNOWN
      break
    }
    at[i - from] = -1
    const timeMs = view.timestampsMs[view.timestampsMsAt + i]!
    if (!isUsable(view, i)) {
      nonFinite++
    } else if (timeMs >= fireAtMs) {
      stop = STOP_FIRE
      break
    } else {
      if (timeMs > placement.newestMs) placement.newestMs = timeMs
      const slice = floorDiv(timeMs, sliceMs)
      if (slice < slices.floorSlice) {
        placement.lateIndices[placement.lateCount++] = i
      } else {
        loMs = slice * sliceMs
        hiMs = Math.min(loMs + sliceMs, fireAtMs)
        // An int32 for V8 as well: a position that may be a double would be converted for every sample of the run.
        base = (slices.touch(slice) - stride) | 0
        at[i - from] = base + route * stride
      }
    }
    i++
  }
  placement.stoppedAt = i
  placement.nonFiniteCount = nonFinite
  placement.routedCount = i - from - placement.filteredCount - nonFinite
  return stop
}

/**
 * The run of ordinary samples from `start` on: filtered, or of a known series, a number and in [loMs, hiMs). Returns
 * where it ends. A function of its own and not an inner loop, and times and values through one array: both halve what
 * V8 has to keep in registers (docs/decisions/windows.md).
 * hot: no allocation, closure or throw.
 */
function placeRun(
  placement: Placement,
  routes: Int32Array,
  stride: number,
  loMs: number,
  hiMs: number,
  base: number,
  view: SampleView,
  from: number,
  start: number,
  to: number,
): number {
  const at = placement.at
  const seriesIds = view.seriesIds
  const f64 = view.values
  const idsAt = view.seriesIdsAt
  const timesAt = view.timestampsMsAt
  const valuesAt = view.valuesAt
  const known = routes.length
  let newestMs = placement.newestMs
  let filtered = 0
  let i = start | 0
  for (; i < to; i++) {
    const id = seriesIds[idsAt + i]!
    const route = id >>> 0 < known ? routes[id]! : 0
    const timeMs = f64[timesAt + i]!
    const value = f64[valuesAt + i]!
    // Finite less itself is 0; an infinity or NaN gives NaN.
    if (route > 0 && timeMs >= loMs && timeMs < hiMs && value - value === 0) {
      if (timeMs > newestMs) newestMs = timeMs
      at[i - from] = (base + Math.imul(route, stride)) | 0
    } else if (route < 0) {
      at[i - from] = -1
      filtered++
    } else break
  }
  placement.newestMs = newestMs
  placement.filteredCount += filtered
  return i
}

/** Whether a sample is a number at a time: what is not counted as non-finite. */
export function isUsable(view: SampleView, i: number): boolean {
  const value = view.values[view.valuesAt + i]!
  return value - value === 0 && Math.abs(view.timestampsMs[view.timestampsMsAt + i]!) <= EVENT_TIME_MS_MAX
}
