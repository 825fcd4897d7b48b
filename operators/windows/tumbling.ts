/** Tumbling windows: one after the other without gap or overlap, aligned to the epoch. One slice each. */
import { duration, type OptionsOf, optionSpec } from '../../engine/config/options.ts'
import { DEFINITION, type Window } from '../../engine/contract/definition.ts'
import type { WindowPlugin } from '../../engine/contract/plugins.ts'

const options = optionSpec({
  size: { type: duration({ minMs: 1 }), meaning: 'how long each window is' },
})

/** Windows one after the other, aligned to the epoch: of an hour, of a minute, …
 *
 *     .window(tumbling('1m'), { latency: mean() })
 */
export function tumbling(size: string | number): Window {
  return { [DEFINITION]: { what: 'window', kind: 'tumbling', options: { size } } }
}

export const tumblingPlugin: WindowPlugin<OptionsOf<typeof options>> = {
  kind: 'tumbling',
  summary: 'one after the other, without gap or overlap',
  options,
  slicing: ({ sizeMs }) => ({ sizeMs, everyMs: sizeMs, sliceMs: sizeMs }),
}
