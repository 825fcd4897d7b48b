/** Number of samples in a window: cell 0 of every accumulator that counts. */
import { noOptions } from '../../engine/config/options.ts'
import { type Aggregate, DEFINITION } from '../../engine/contract/definition.ts'
import type { AggregatePlugin } from '../../engine/contract/plugins.ts'
import { cellRows } from './accumulators/finish-rows.ts'
import { MOMENTS } from './accumulators/moments.ts'
import { RATE } from './accumulators/rate.ts'
import { TALLY } from './accumulators/tally.ts'

/** Number of samples.
 *
 *     .window(tumbling('1m'), { x: count() })
 */
export function count(): Aggregate {
  return { [DEFINITION]: { what: 'aggregate', kind: 'count', options: {} } }
}

export const countPlugin: AggregatePlugin<Record<never, never>> = {
  kind: 'count',
  summary: 'number of samples',
  options: noOptions,
  accumulators: [TALLY, MOMENTS, RATE],
  finish: () => (cells, at) => cells[at]!,
  finishRows: () => cellRows(0),
}
