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
  /** Keeps the loads that fetch rows ahead from being optimised away; nobody reads it. */
  fetched = 0

  /** A record batch of `count` samples follows. */
  begin(count: number): void {
    this.lateCount = 0
    if (count <= this.at.length) return
    this.at = new Int32Array(count)
    this.lateIndices = new Int32Array(count)
  }
}

/** A record batch knows the extent of its times: the writer of the log works it out, the CRC covers it. */
export interface BoundedSampleView extends SampleView {
  readonly minTimestampMs: number
  readonly maxTimestampMs: number
}

/** Where samples may go, between two firings. */
export interface PlacementGround {
  readonly slices: Slices
  readonly routes: Int32Array
  readonly sliceMs: number
  /** Event times at or beyond it stop the placement. */
  readonly fireAtMs: number
}

/** Places samples from `from` to the end of the batch or until it must stop; returns why. */
export function placeSamples(
  placement: Placement,
  ground: PlacementGround,
  view: BoundedSampleView,
  from: number,
): number {
  assert(view.timestampsMs === view.values, 'a record batch is one buffer')
  placement.newestMs = -Infinity
  placement.filteredCount = 0
  placement.nonFiniteCount = 0
  const slice = sliceOfBatch(ground, view)
  const stop = Number.isNaN(slice)
    ? placeOneByOne(placement, ground, view, from)
    : placeInSlice(placement, ground, view, from, slice)
  placement.routedCount = placement.stoppedAt - from - placement.filteredCount - placement.nonFiniteCount
  return stop
}

/** The open slice that holds every time of the batch, where nothing fires; NaN: there is none. */
export function sliceOfBatch(ground: PlacementGround, view: BoundedSampleView): number {
  const slice = floorDiv(view.minTimestampMs, ground.sliceMs)
  const endMs = Math.min((slice + 1) * ground.sliceMs, ground.fireAtMs)
  return slice >= ground.slices.floorSlice && view.maxTimestampMs < endMs ? slice : NaN
}

/** All times of the batch lie in one open slice, as they nearly always do live: they need not be read. */
function placeInSlice(
  placement: Placement,
  ground: PlacementGround,
  view: BoundedSampleView,
  from: number,
  slice: number,
): number {
  const { slices, routes } = ground
  const base = (slices.baseOf(slices.slotOf(slice)) - slices.stride) | 0
  let stop = STOP_END
  let i = from
  for (;;) {
    i = placeNumbers(placement, routes, slices.strideShift, base, view, from, i)
    if (i === view.count) break
    if (routeOf(routes, view, i) === ROUTE_UNKNOWN) {
      stop = STOP_UNKNOWN
      break
    }
    placement.at[i - from] = -1
    placement.nonFiniteCount++
    i++
  }
  placement.stoppedAt = i
  const skipped = placement.filteredCount + placement.nonFiniteCount
  if (skipped === i - from) return stop
  slices.touch(slice)
  placement.newestMs =
    skipped === 0 && i - from === view.count ? view.maxTimestampMs : newestPlaced(placement.at, view, from, i)
  return stop
}

/** Judges each sample's time. Where times jump between slices this is a loop over samples, too: it allocates nothing. */
function placeOneByOne(
  placement: Placement,
  ground: PlacementGround,
  view: BoundedSampleView,
  from: number,
): number {
  const { slices, routes, sliceMs, fireAtMs } = ground
  const { at } = placement
  const { stride, strideShift } = slices
  let stop = STOP_END
  // The slice of the sample before: [loMs, hiMs), and its row 0 less one row, because routes count rows from 1.
  let loMs = Infinity
  let hiMs = -Infinity
  let base = 0
  let i = from
  for (;;) {
    i = placeRun(placement, routes, strideShift, loMs, hiMs, base, view, from, i)
    if (i === view.count) break
    const route = routeOf(routes, view, i)
    if (route === ROUTE_UNKNOWN) {
      stop = STOP_UNKNOWN
      break
    }
    at[i - from] = -1
    const timeMs = view.timestampsMs[view.timestampsMsAt + i]!
    if (!isUsable(view, i)) {
      placement.nonFiniteCount++
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
        at[i - from] = base + (route << strideShift)
      }
    }
    i++
  }
  placement.stoppedAt = i
  return stop
}

function routeOf(routes: Int32Array, view: SampleView, i: number): number {
  const id = view.seriesIds[view.seriesIdsAt + i]!
  return id >>> 0 < routes.length ? routes[id]! : ROUTE_UNKNOWN
}

/** hot: newest event time among the samples [from, to), none of them skipped. */
export function newestOf(view: BoundedSampleView, from: number, to: number): number {
  if (to - from === view.count) return view.maxTimestampMs
  const timestampsMs = view.timestampsMs
  const timesAt = view.timestampsMsAt
  let newestMs = -Infinity
  for (let i = from; i < to; i++) {
    const timeMs = timestampsMs[timesAt + i]!
    if (timeMs > newestMs) newestMs = timeMs
  }
  return newestMs
}

/** hot: newest event time among the samples [from, to) that were placed. */
function newestPlaced(at: Int32Array, view: SampleView, from: number, to: number): number {
  const timestampsMs = view.timestampsMs
  const timesAt = view.timestampsMsAt
  let newestMs = -Infinity
  for (let i = from; i < to; i++) {
    const timeMs = timestampsMs[timesAt + i]!
    if (at[i - from]! >= 0 && timeMs > newestMs) newestMs = timeMs
  }
  return newestMs
}

/**
 * The run of samples from `start` on that are filtered, or of a known series and a number; their times are known to be
 * good. Returns where it ends.
 * hot: no allocation, closure or throw.
 */
function placeNumbers(
  placement: Placement,
  routes: Int32Array,
  strideShift: number,
  base: number,
  view: SampleView,
  from: number,
  start: number,
): number {
  const at = placement.at
  const seriesIds = view.seriesIds
  const values = view.values
  const idsAt = view.seriesIdsAt
  const valuesAt = view.valuesAt
  const known = routes.length
  const to = view.count
  let filtered = 0
  let i = start | 0
  for (; i < to; i++) {
    const id = seriesIds[idsAt + i]!
    const route = id >>> 0 < known ? routes[id]! : 0
    const value = values[valuesAt + i]!
    // Finite less itself is 0; an infinity or NaN gives NaN.
    if (route > 0 && value - value === 0) {
      at[i - from] = (base + (route << strideShift)) | 0
    } else if (route < 0) {
      at[i - from] = -1
      filtered++
    } else break
  }
  placement.filteredCount += filtered
  return i
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
  strideShift: number,
  loMs: number,
  hiMs: number,
  base: number,
  view: SampleView,
  from: number,
  start: number,
): number {
  const at = placement.at
  const seriesIds = view.seriesIds
  const f64 = view.values
  const idsAt = view.seriesIdsAt
  const timesAt = view.timestampsMsAt
  const valuesAt = view.valuesAt
  const known = routes.length
  const to = view.count
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
      at[i - from] = (base + (route << strideShift)) | 0
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
