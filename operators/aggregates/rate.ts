/**
 * Increase per second of a counter, averaged over the time from the first to the last sample in a window: not
 * extrapolated to its edges, so that it does not depend on where the samples lie. Group by series: counters of several
 * series in one group would look like resets.
 */
import { noOptions } from '../../engine/config/options.ts'
import { type Aggregate, DEFINITION } from '../../engine/contract/definition.ts'
import type { AggregatePlugin } from '../../engine/contract/plugins.ts'
import { RATE, RATE_CELLS } from './accumulators/rate.ts'

/** Increase per second of a counter, aware of resets; NaN with samples of fewer than two times.
 *
 *     .window(tumbling('1m'), { x: rate() })
 */
export function rate(): Aggregate {
  return { [DEFINITION]: { what: 'aggregate', kind: 'rate', options: {} } }
}

export const ratePlugin: AggregatePlugin<Record<never, never>> = {
  kind: 'rate',
  summary: 'increase per second of a counter, aware of resets; NaN with samples of fewer than two times',
  options: noOptions,
  accumulators: [RATE],
  finish: () => perSecond,
}

function perSecond(cells: Float64Array, at: number): number {
  const spanMs = cells[at + RATE_CELLS.lastTime]! - cells[at + RATE_CELLS.firstTime]!
  return spanMs > 0 ? cells[at + RATE_CELLS.increase]! / (spanMs / 1000) : NaN
}
