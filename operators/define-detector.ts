/**
 * Detectors of one's own. A detector is pure: it sees the time, the value and its cells, and nothing else; then it is
 * right after a crash, in a replay and in a test alike, without a line of its own for any of them.
 */
import {
  duration,
  flag,
  integer,
  number,
  type OptionFields,
  oneOf,
  optionSpec,
  type Parsed,
  type Written,
} from '../engine/config/options.ts'
import { DEFINITION, type ValueDetector } from '../engine/contract/definition.ts'
import type { Detector, OwnDetectorPlugin } from '../engine/contract/plugins.ts'

/** What options of a detector may be: `option.number({ min: 0 })`, `option.duration()`, `option.oneOf('up', 'down')`. */
export const option = { number, integer, duration, oneOf, flag } as const

export interface DetectorDefinitionOf<F extends OptionFields> {
  /** Unique among all detectors: small letters, dashes between words. */
  readonly kind: string
  /** 1 at first. One more whenever the cells mean something else: state of the old version is refused then, by name. */
  readonly version: number
  /** One line, for `millrace check`. */
  readonly summary?: string
  readonly options: F
  /** Called once a pipeline and partition, on its thread. State belongs into the cells, never into the object. */
  create(options: Parsed<F>): Omit<Detector, 'subject'>
}

/** Defines a detector; the function that it returns is used in `.detect()`.
 *
 *     const jump = defineDetector({
 *       kind: 'jump',
 *       version: 1,
 *       options: { by: { type: option.number({ min: 0 }), meaning: 'largest normal step' } },
 *       create: ({ by }) => ({ width: 2, score(…) {…}, learn(…) {…}, reason(…) {…} }),
 *     })
 *     pipeline('p')….detect('mean', jump({ by: 10 }))
 */
export function defineDetector<const F extends OptionFields>(
  definition: DetectorDefinitionOf<F>,
): (options: Written<F>) => ValueDetector {
  const { kind, version, summary = 'a detector of its own', create } = definition
  const options = optionSpec(definition.options)
  const plugin: OwnDetectorPlugin = {
    kind,
    version,
    summary,
    source: "the pipeline's own module",
    subject: 'value',
    options: options as never,
    // Spread would lose the methods of a class.
    create: (parsed: Parsed<F>) => Object.assign(create(parsed), { subject: 'value' as const }) as Detector,
  }
  return (written) => ({
    [DEFINITION]: { what: 'detector', kind, subject: 'value', options: written, plugin },
  })
}
