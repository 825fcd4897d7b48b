/**
 * What a pipeline module exports before anything is checked: plain data under one registered symbol, so that a user's
 * own installed copy of the package speaks the same language as the engine that runs it. Making one never throws and
 * never judges; `compilePlan` (engine/pipeline/plan.ts) does.
 */
import type { DetectorSubject } from './plugins.ts'

export const DEFINITION: unique symbol = Symbol.for('millrace.definition') as never

export interface Branded<D> {
  readonly [DEFINITION]: D
}

export interface TopicDefinition {
  readonly what: 'topic'
  readonly name: string
  readonly partitions: number | undefined
  readonly partitionBy: readonly string[] | null | undefined
}

/** A plug-in chosen by kind, with its options as written. */
export interface ChoiceDefinition<W extends 'window' | 'aggregate' | 'sink'> {
  readonly what: W
  readonly kind: string
  readonly options: unknown
}

export interface DetectorDefinition<S extends DetectorSubject = DetectorSubject> {
  readonly what: 'detector'
  readonly kind: string
  readonly subject: S
  readonly options: unknown
  /** The plug-in itself, where a pipeline module brings it along: nothing that has to do with plain data. */
  readonly plugin?: unknown
}

export interface NotDefinition {
  readonly what: 'not'
  readonly value: unknown
}

export interface PipelineDefinition {
  readonly what: 'pipeline'
  /** Version of this shape. */
  readonly definition: 1
  readonly name: string
  readonly topics: readonly unknown[]
  readonly where: readonly (readonly [label: string, value: unknown])[]
  readonly groupBy: readonly string[] | null
  readonly disorder: unknown
  readonly idle: unknown
  readonly windows: readonly { readonly window: unknown; readonly aggregates: unknown }[]
  readonly detectors: readonly {
    /** Several: judged together. Null: whether samples come. */
    readonly column: string | readonly string[] | null
    readonly detector: unknown
    readonly name: unknown
    readonly hold: unknown
    readonly alert: unknown
  }[]
  readonly sinks: readonly { readonly sink: unknown; readonly of: unknown; readonly name: unknown }[]
}

export type Definition =
  | TopicDefinition
  | ChoiceDefinition<'window'>
  | ChoiceDefinition<'aggregate'>
  | ChoiceDefinition<'sink'>
  | DetectorDefinition
  | NotDefinition
  | PipelineDefinition

export type Topic = Branded<TopicDefinition>
export type Window = Branded<ChoiceDefinition<'window'>>
export type Aggregate = Branded<ChoiceDefinition<'aggregate'>>
export type SinkChoice = Branded<ChoiceDefinition<'sink'>>
/** Of one column, by itself or against other groups. */
export type ValueDetector = Branded<DetectorDefinition<'value'>> | Branded<DetectorDefinition<'peers'>>
export type VectorDetectorChoice = Branded<DetectorDefinition<'vector'>>
export type SilenceDetectorChoice = Branded<DetectorDefinition<'silence'>>

/** The definition of that sort behind a value, or null for anything else. */
export function definitionOf<W extends Definition['what']>(
  value: unknown,
  what: W,
): Extract<Definition, { what: W }> | null {
  if (typeof value !== 'object' || value === null || !(DEFINITION in value)) return null
  const definition = value[DEFINITION] as Definition | null
  if (typeof definition !== 'object' || definition?.what !== what) return null
  return definition as Extract<Definition, { what: W }>
}
