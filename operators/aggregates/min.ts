/** Smallest value in a window. */
import { noOptions } from '../../engine/config/options.ts'
import { type Aggregate, DEFINITION } from '../../engine/contract/definition.ts'
import type { AggregatePlugin } from '../../engine/contract/plugins.ts'
import { cellRows } from './accumulators/finish-rows.ts'
import { MOMENTS, MOMENTS_CELLS } from './accumulators/moments.ts'

/** Smallest value.
 *
 *     .window(tumbling('1m'), { x: min() })
 */
export function min(): Aggregate {
  return { [DEFINITION]: { what: 'aggregate', kind: 'min', options: {} } }
}

export const minPlugin: AggregatePlugin<Record<never, never>> = {
  kind: 'min',
  summary: 'smallest value',
  options: noOptions,
  accumulators: [MOMENTS],
  finish: () => (cells, at) => cells[at + MOMENTS_CELLS.min]!,
  finishRows: () => cellRows(MOMENTS_CELLS.min),
}
