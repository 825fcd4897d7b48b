/** Sum of the values in a window. Beyond 1.8e308 it is infinite. */
import { noOptions } from '../../engine/config/options.ts'
import { type Aggregate, DEFINITION } from '../../engine/contract/definition.ts'
import type { AggregatePlugin } from '../../engine/contract/plugins.ts'
import { cellRows } from './accumulators/finish-rows.ts'
import { MOMENTS, MOMENTS_CELLS } from './accumulators/moments.ts'
import { TALLY } from './accumulators/tally.ts'

/** Sum of the values.
 *
 *     .window(tumbling('1m'), { x: sum() })
 */
export function sum(): Aggregate {
  return { [DEFINITION]: { what: 'aggregate', kind: 'sum', options: {} } }
}

export const sumPlugin: AggregatePlugin<Record<never, never>> = {
  kind: 'sum',
  summary: 'sum of the values',
  options: noOptions,
  accumulators: [TALLY, MOMENTS],
  finish: () => (cells, at) => cells[at + MOMENTS_CELLS.sum]!,
  finishRows: () => cellRows(MOMENTS_CELLS.sum),
}
