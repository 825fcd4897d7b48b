/**
 * Reads the blocks of all threads as one: the numbers behind /metrics and the status page. Reads only; never waits for
 * a thread.
 */
import { HISTOGRAM_CELLS, quantileSeconds } from './histogram.ts'
import { cellAt, type Metric } from './metric.ts'

/** One counter or gauge over all threads; NaN for a gauge that none has set. */
export function readMetric<V extends string>(
  metric: Metric<V>,
  blocks: readonly Float64Array[],
  row = 0,
  value?: V,
): number {
  const at = cellAt(metric, row, value === undefined ? 0 : metric.valueIndex[value])
  let merged = Number.NaN
  for (const cells of blocks) merged = mergeTwo(metric.merge, merged, cells[at]!)
  return metric.type === 'counter' && Number.isNaN(merged) ? 0 : merged
}

function mergeTwo(merge: Metric['merge'], a: number, b: number): number {
  if (Number.isNaN(a)) return b
  if (Number.isNaN(b)) return a
  if (merge === 'sum') return a + b
  return merge === 'min' ? Math.min(a, b) : Math.max(a, b)
}

/** The histogram cells of all threads added up. */
export function readHistogram<V extends string>(
  metric: Metric<V, 'histogram'>,
  blocks: readonly Float64Array[],
  row = 0,
  value?: V,
): Float64Array {
  const at = cellAt(metric, row, value === undefined ? 0 : metric.valueIndex[value])
  const merged = new Float64Array(HISTOGRAM_CELLS)
  for (const cells of blocks) {
    for (let i = 0; i < HISTOGRAM_CELLS; i++) merged[i]! += cells[at + i]!
  }
  return merged
}

/** A quantile over all threads, in seconds; NaN when nothing was observed. */
export function readQuantile<V extends string>(
  metric: Metric<V, 'histogram'>,
  blocks: readonly Float64Array[],
  q: number,
  row = 0,
  value?: V,
): number {
  return quantileSeconds(readHistogram(metric, blocks, row, value), 0, q)
}
