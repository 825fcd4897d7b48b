/**
 * A running node, as the command line sees it: where samples go in, how a bounded input ends, how it stops. Pure types;
 * `workers/node.ts` builds one, `cli/` drives it, tests stand in for it.
 */
import type { SampleBuilder } from '../batch/sample-builder.ts'
import type { SeriesTable } from '../series/series-table.ts'
import type { Disturbance } from './live.ts'
import type { Queries } from './queries.ts'

export interface AppendResult {
  readonly samples: number
  /** Samples of series that the log writer refused (series limit of the topic). */
  readonly refusedSamples: number
  /** False for a topic declared without durability: accepted in memory only. */
  readonly durable: boolean
}

/** The door of one topic for one decoder thread. */
export interface NodeInput {
  readonly table: SeriesTable
  /**
   * Resolves when the samples are durable; the builder is copied before it returns, so it may be cleared and filled
   * again at once. Await it (or keep few in flight): that is the backpressure.
   */
  append(builder: SampleBuilder): Promise<AppendResult>
}

export interface PipelineSummary {
  readonly name: string
  /** Samples that reached the pipeline. */
  readonly samples: number
  readonly windowed: number
  readonly filtered: number
  readonly late: number
  readonly nonFinite: number
  /** In batches that were given up: see Queries.deadLetters. */
  readonly dead: number
  /** Result rows committed: one a (window, group). */
  readonly results: number
  readonly alertsFiring: number
  readonly alertsResolved: number
}

export interface RunSummary {
  readonly pipelines: readonly PipelineSummary[]
  readonly elapsedMs: number
}

export interface Node {
  /** `http://127.0.0.1:8428` */
  readonly address: string
  readonly queries: Queries
  input(topic: string): NodeInput
  /** Burns CPU for some seconds, for the demo. */
  disturb(): Disturbance
  /** End of a bounded input: closes windows, resolves when everything is committed and sinks are drained. */
  finish(): Promise<RunSummary>
  /** Stops cleanly; may be called twice. */
  close(): Promise<void>
}
