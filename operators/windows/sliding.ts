/**
 * Sliding windows: `size` long, one every `every`, aligned to the epoch. They share slices of the largest duration that
 * divides both, so that a sample is added once however many windows hold it.
 */
import { duration, type OptionInputOf, type OptionsOf, optionSpec } from '../../engine/config/options.ts'
import { DEFINITION, type Window } from '../../engine/contract/definition.ts'
import { SLICES_PER_WINDOW_MAX, type WindowPlugin } from '../../engine/contract/plugins.ts'

const options = optionSpec({
  size: { type: duration({ minMs: 1 }), meaning: 'how long each window is' },
  every: {
    type: duration({ minMs: 1 }),
    meaning: 'how far each window starts after the one before; at most the size',
  },
})

/** Windows that overlap: the last `size`, seen anew every `every`.
 *
 *     .window(sliding({ size: '1m', every: '5s' }), { latency: mean() })
 */
export function sliding(written: OptionInputOf<typeof options>): Window {
  return { [DEFINITION]: { what: 'window', kind: 'sliding', options: written } }
}

export const slidingPlugin: WindowPlugin<OptionsOf<typeof options>> = {
  kind: 'sliding',
  summary: 'overlapping windows, one every so often',
  options,
  slicing({ sizeMs, everyMs }, place, faults) {
    if (everyMs > sizeMs) {
      const remedy = 'Write an `every` of at most the size: samples between two windows would belong to none.'
      faults.push({ place: `${place}.every`, value: everyMs, problem: 'is longer than the size', remedy })
      return undefined
    }
    const sliceMs = greatestCommonDivisor(sizeMs, everyMs)
    if (sizeMs / sliceMs > SLICES_PER_WINDOW_MAX) {
      const problem = `cuts the window into ${sizeMs / sliceMs} slices of ${sliceMs} ms; the limit is ${SLICES_PER_WINDOW_MAX}`
      const remedy = 'Write an `every` that divides the size, and a larger one.'
      faults.push({ place: `${place}.every`, value: everyMs, problem, remedy })
      return undefined
    }
    return { sizeMs, everyMs, sliceMs }
  },
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}
