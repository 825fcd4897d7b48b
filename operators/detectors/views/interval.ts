/** How long after each other values usually come, and so which of them come after a gap. Pure over 2 cells. O(1) a value. */
import { gain } from './view.ts'

const LAST_MS = 0
const USUAL_MS = 1
export const INTERVAL_WIDTH = 2
/** The usual interval averages over so many. */
const INTERVALS = 50
/** After so many usual intervals without a value, the last ones say nothing of the next. */
const GAP_INTERVALS = 3

/** Time of the latest value. */
export function latestMs(cells: Float64Array, at: number): number {
  return cells[at + LAST_MS]!
}

/** 0: not known yet. */
export function usualIntervalMs(cells: Float64Array, at: number): number {
  return cells[at + USUAL_MS]!
}

/** So long after the value before that it says nothing of this one. */
export function isAfterGap(cells: Float64Array, at: number, timeMs: number): boolean {
  const usualMs = cells[at + USUAL_MS]!
  return usualMs > 0 && timeMs - cells[at + LAST_MS]! > GAP_INTERVALS * usualMs
}

/** `count`: values before this one. */
export function learnInterval(cells: Float64Array, at: number, count: number, timeMs: number): void {
  const elapsedMs = timeMs - cells[at + LAST_MS]!
  if (count > 0 && elapsedMs > 0) {
    const usualMs = cells[at + USUAL_MS]!
    // A gap is no interval: values after an outage are as close together as before it.
    const clippedMs = usualMs > 0 ? Math.min(elapsedMs, GAP_INTERVALS * usualMs) : elapsedMs
    cells[at + USUAL_MS] = usualMs + (clippedMs - usualMs) * gain(count, INTERVALS)
  }
  if (count === 0 || elapsedMs > 0) cells[at + LAST_MS] = timeMs
}
