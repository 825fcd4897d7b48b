/**
 * A registry for the engine's own tests, which know no operators: a window, two aggregates, a detector of each subject,
 * and two sinks, one of which writes a topic. Everything that only runs is absent.
 */
import { duration, noOptions, number, type OptionsOf, optionSpec, text } from '../config/options.ts'
import {
  type Aggregate,
  DEFINITION,
  type SilenceDetectorChoice,
  type SinkChoice,
  type ValueDetector,
  type Window,
} from '../contract/definition.ts'
import type {
  AggregatePlugin,
  Detector,
  DetectorPlugin,
  Registry,
  SinkPlugin,
  WindowPlugin,
} from '../contract/plugins.ts'

const windowOptions = optionSpec({ size: { type: duration({ minMs: 1 }), meaning: 'how long' } })
const boundOptions = optionSpec({ above: { type: number(), meaning: 'bound' } })
const afterOptions = optionSpec({ after: { type: duration({ minMs: 1 }), meaning: 'how long' } })
const topicOptions = optionSpec({ topic: { type: text(), meaning: 'where to' } })

const tumblingPlugin: WindowPlugin<OptionsOf<typeof windowOptions>> = {
  kind: 'tumbling',
  summary: '',
  options: windowOptions,
  slicing: ({ sizeMs }) => ({ sizeMs, everyMs: sizeMs, sliceMs: sizeMs }),
}

function aggregatePlugin(kind: string): AggregatePlugin<Record<never, never>> {
  return { kind, summary: '', options: noOptions, accumulators: ['moments'], finish: () => () => 0 }
}

function unused(): Detector {
  throw new Error('the test registry does not run')
}

const boundPlugin: DetectorPlugin<OptionsOf<typeof boundOptions>> = {
  kind: 'bound',
  summary: '',
  source: '',
  subject: 'value',
  options: boundOptions,
  create: unused,
}

const quietPlugin: DetectorPlugin<OptionsOf<typeof afterOptions>> = {
  kind: 'quiet',
  summary: '',
  source: '',
  subject: 'silence',
  options: afterOptions,
  create: unused,
}

const printPlugin: SinkPlugin<Record<never, never>> = {
  kind: 'print',
  summary: '',
  guarantee: 'at-least-once',
  options: noOptions,
  open: () => Promise.reject(new Error('the test registry does not run')),
}

const topicPlugin: SinkPlugin<OptionsOf<typeof topicOptions>> = {
  ...printPlugin,
  kind: 'topic',
  options: topicOptions,
  writesTopic: (options) => options.topic,
  open: () => Promise.reject(new Error('the test registry does not run')),
}

function byKind(plugins: readonly { readonly kind: string }[]): ReadonlyMap<string, never> {
  return new Map(plugins.map((plugin) => [plugin.kind, plugin as never]))
}

export const testRegistry: Registry = {
  windows: byKind([tumblingPlugin]),
  accumulators: new Map(),
  aggregates: byKind([aggregatePlugin('mean'), aggregatePlugin('count')]),
  detectors: byKind([boundPlugin, quietPlugin]),
  sinks: byKind([printPlugin, topicPlugin]),
}

export const tumbling = (size: unknown): Window => ({
  [DEFINITION]: { what: 'window', kind: 'tumbling', options: { size } },
})
export const aggregate = (kind: string): Aggregate => ({
  [DEFINITION]: { what: 'aggregate', kind, options: undefined },
})
export const bound = (options: unknown): ValueDetector => ({
  [DEFINITION]: { what: 'detector', kind: 'bound', subject: 'value', options },
})
export const quiet = (options: unknown): SilenceDetectorChoice => ({
  [DEFINITION]: { what: 'detector', kind: 'quiet', subject: 'silence', options },
})
export const sink = (kind: string, options?: unknown): SinkChoice => ({
  [DEFINITION]: { what: 'sink', kind, options },
})
