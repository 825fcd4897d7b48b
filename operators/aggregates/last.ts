/** Newest value by event time in a window; of equal times the one that arrived later. */
import { noOptions } from '../../engine/config/options.ts'
import { type Aggregate, DEFINITION } from '../../engine/contract/definition.ts'
import type { AggregatePlugin } from '../../engine/contract/plugins.ts'
import { cellRows } from './accumulators/finish-rows.ts'
import { LAST, LAST_CELLS } from './accumulators/last.ts'

/** Newest value by event time.
 *
 *     .window(tumbling('1m'), { x: last() })
 */
export function last(): Aggregate {
  return { [DEFINITION]: { what: 'aggregate', kind: 'last', options: {} } }
}

export const lastPlugin: AggregatePlugin<Record<never, never>> = {
  kind: 'last',
  summary: 'newest value by event time',
  options: noOptions,
  accumulators: [LAST],
  finish: () => (cells, at) => cells[at + LAST_CELLS.value]!,
  finishRows: () => cellRows(LAST_CELLS.value),
}
