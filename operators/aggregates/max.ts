/** Largest value in a window. */
import { noOptions } from '../../engine/config/options.ts'
import { type Aggregate, DEFINITION } from '../../engine/contract/definition.ts'
import type { AggregatePlugin } from '../../engine/contract/plugins.ts'
import { cellRows } from './accumulators/finish-rows.ts'
import { MOMENTS, MOMENTS_CELLS } from './accumulators/moments.ts'

/** Largest value.
 *
 *     .window(tumbling('1m'), { x: max() })
 */
export function max(): Aggregate {
  return { [DEFINITION]: { what: 'aggregate', kind: 'max', options: {} } }
}

export const maxPlugin: AggregatePlugin<Record<never, never>> = {
  kind: 'max',
  summary: 'largest value',
  options: noOptions,
  accumulators: [MOMENTS],
  finish: () => (cells, at) => cells[at + MOMENTS_CELLS.max]!,
  finishRows: () => cellRows(MOMENTS_CELLS.max),
}
