/** Arithmetic mean of the values in a window: the sum by the count. */
import { noOptions } from '../../engine/config/options.ts'
import { type Aggregate, DEFINITION } from '../../engine/contract/definition.ts'
import type { AggregatePlugin } from '../../engine/contract/plugins.ts'
import { quotientRows } from './accumulators/finish-rows.ts'
import { MOMENTS, MOMENTS_CELLS } from './accumulators/moments.ts'
import { TALLY } from './accumulators/tally.ts'

/** Arithmetic mean of the values.
 *
 *     .window(tumbling('1m'), { x: mean() })
 */
export function mean(): Aggregate {
  return { [DEFINITION]: { what: 'aggregate', kind: 'mean', options: {} } }
}

export const meanPlugin: AggregatePlugin<Record<never, never>> = {
  kind: 'mean',
  summary: 'arithmetic mean of the values',
  options: noOptions,
  accumulators: [TALLY, MOMENTS],
  finish: () => (cells, at) => cells[at + MOMENTS_CELLS.sum]! / cells[at + MOMENTS_CELLS.count]!,
  finishRows: () => quotientRows(MOMENTS_CELLS.sum, MOMENTS_CELLS.count),
}
