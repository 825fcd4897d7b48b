/**
 * A view of a series: one kind of deviation, measured against what the series was so far. `measure` changes no cell and
 * leaves the deviation in `measured`, in scales and in units; `learn` takes the value in. Pure over cells, bounded, O(1).
 */
export interface View {
  readonly name: string
  /** What it says when it fires: "far from its level". */
  readonly says: string
  /** What `size` counts where it is not in units of the value, which no least deviation applies to then. */
  readonly unit?: string
  readonly width: number
  measure(cells: Float64Array, at: number, x: number, timeMs: number, measured: Measured): void
  learn(cells: Float64Array, at: number, x: number, timeMs: number): void
}

/** One mutable object for all calls. `stat` is NaN where the view has nothing to compare with. */
export interface Measured {
  /** Deviation in scales of the view's usual deviation. */
  stat: number
  /** The same in units of the value, or in the view's own. */
  size: number
  /** What the view expected; NaN: it expects no value. */
  expected: number
  /** Units a scale, so that a band can be drawn. */
  scale: number
}

/** Scales never fall below this share of the value, plus a hair: a flat series has no scale of its own. */
const FLOOR_SHARE = 1e-3
const FLOOR = 1e-9
/** Deviations beyond so many scales are learned as if they were there. */
export const CLIP = 6
/** Values before clipping, while a scale is being found. */
export const SETTLED = 20

export function floorAt(x: number): number {
  return FLOOR_SHARE * (x < 0 ? -x : x) + FLOOR
}

/** Gain of an average over `values`, plain until there are as many. */
export function gain(count: number, values: number): number {
  return count < values ? 1 / count : 1 / values
}

export function absolute(x: number): number {
  return x < 0 ? -x : x
}
