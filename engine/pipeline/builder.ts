/**
 * The builder: what a person writes. Immutable (every call returns a new pipeline), fully typed (`detect` knows the
 * aggregates' names), and silent: nothing throws or judges while a pipeline is written. It yields a definition, plain
 * data that `compilePlan` turns into a plan or into all its faults at once.
 */
import {
  type Aggregate,
  type Branded,
  DEFINITION,
  type NotDefinition,
  type PipelineDefinition,
  type SilenceDetectorChoice,
  type SinkChoice,
  type Topic,
  type ValueDetector,
  type VectorDetectorChoice,
  type Window,
} from '../contract/definition.ts'
import type { SinkFeed } from '../contract/plugins.ts'
import type { AlertOptions } from './alert-options.ts'

export type LabelValue = string | readonly string[] | RegExp
export type LabelCondition = LabelValue | Branded<NotDefinition>

export interface TopicOptions {
  /** Fixed when the topic is first made; default 16. */
  readonly partitions?: number
  /** Labels whose values choose a series' partition; default: the whole series. Group by these, or by more. */
  readonly partitionBy?: readonly string[]
}

export interface DetectOptions extends AlertOptions {
  /** Unique in the pipeline; default `column-kind`, or the kind for silence. */
  readonly name?: string
  /** How long the condition must last before the alert fires; default: not at all. */
  readonly hold?: string | number
}

export interface ToOptions {
  /** What the sink gets; default: alerts, or results where the pipeline has no detector. */
  readonly of?: SinkFeed
  /** Unique in the pipeline; default: the sink's kind. */
  readonly name?: string
}

export class Pipeline<Columns extends string = never> implements Branded<PipelineDefinition> {
  readonly [DEFINITION]: PipelineDefinition

  constructor(definition: PipelineDefinition) {
    this[DEFINITION] = Object.freeze(definition)
  }

  /** The topic to read.
   *
   *     pipeline('cpu').from(topic('metrics'))
   */
  from(topic: Topic): Pipeline<Columns> {
    return this.#with({ topics: [...this[DEFINITION].topics, topic] })
  }

  /** Keeps the series whose labels fulfil every condition. `name` is the metric's name. A list means "one of", a
   * regular expression must match the whole value, `not(…)` reverses any of them.
   *
   *     .where({ name: 'http_requests', job: ['web', 'api'], path: /v1-[a-z]+/, instance: not('canary') })
   */
  where(conditions: Readonly<Record<string, LabelCondition>>): Pipeline<Columns> {
    return this.#with({ where: [...this[DEFINITION].where, ...Object.entries(conditions)] })
  }

  /** One group for each combination of these labels' values; without it, every series is its own group.
   *
   *     .groupBy('instance')
   */
  groupBy(...labels: readonly string[]): Pipeline<Columns> {
    return this.#with({ groupBy: labels })
  }

  /** How far out of order samples may come before they are late; default 5s. Results wait this long. */
  disorder(duration: string | number): Pipeline<Columns> {
    return this.#with({ disorder: duration })
  }

  /** After this long without a sample, time moves on by the log's clock; default 15s. */
  idle(duration: string | number): Pipeline<Columns> {
    return this.#with({ idle: duration })
  }

  /** Windows of event time, and what to work out for each group in each of them, by name.
   *
   *     .window(sliding({ size: '1m', every: '5s' }), { latency: mean(), n: count() })
   */
  window<A extends Readonly<Record<string, Aggregate>>>(
    window: Window,
    aggregates: A,
  ): Pipeline<keyof A & string> {
    return this.#with({ windows: [...this[DEFINITION].windows, { window, aggregates }] })
  }

  /** Judges an aggregate of every window, or (`silence`) whether samples come at all.
   *
   *     .detect('latency', ewma({ threshold: 6, history: '1h' }), { hold: '30s' })
   *     .detect(['cpu', 'memory', 'io'], pca())
   *     .detect('cpu', peers({ by: ['cluster'] }))
   *     .detect(silence({ after: '1m' }))
   */
  detect(column: Columns, detector: ValueDetector, options?: DetectOptions): Pipeline<Columns>
  detect(
    columns: readonly Columns[],
    detector: VectorDetectorChoice,
    options?: DetectOptions,
  ): Pipeline<Columns>
  detect(detector: SilenceDetectorChoice, options?: DetectOptions): Pipeline<Columns>
  detect(
    first: Columns | readonly Columns[] | SilenceDetectorChoice,
    second?: ValueDetector | VectorDetectorChoice | DetectOptions,
    third?: DetectOptions,
  ): Pipeline<Columns> {
    const column =
      typeof first === 'string' || Array.isArray(first) ? (first as Columns | readonly Columns[]) : null
    const detector = column === null ? first : second
    const options = (column === null ? (second as DetectOptions | undefined) : third) ?? {}
    const { name, hold, ...alert } = options
    const judged = { column, detector, name, hold, alert }
    return this.#with({ detectors: [...this[DEFINITION].detectors, judged] })
  }

  /** Sends alerts (or results, or late samples) on.
   *
   *     .to(webhook({ url: 'http://127.0.0.1:9999/alerts' }))
   *     .to(ndjsonFile({ path: 'results.ndjson' }), { of: 'results' })
   */
  to(sink: SinkChoice, options: ToOptions = {}): Pipeline<Columns> {
    const fed = { sink, of: options.of, name: options.name }
    return this.#with({ sinks: [...this[DEFINITION].sinks, fed] })
  }

  #with<C extends string>(change: Partial<PipelineDefinition>): Pipeline<C> {
    return new Pipeline<C>({ ...this[DEFINITION], ...change })
  }
}

/** Starts a pipeline. The name identifies its state and results; keep it when the pipeline changes.
 *
 *     export default pipeline('checkout-latency').from(topic('metrics'))…
 */
export function pipeline(name: string): Pipeline {
  return new Pipeline({
    what: 'pipeline',
    definition: 1,
    name,
    topics: [],
    where: [],
    groupBy: null,
    disorder: undefined,
    idle: undefined,
    windows: [],
    detectors: [],
    sinks: [],
  })
}

/** Names a topic, and how it is made if it does not exist yet.
 *
 *     topic('metrics')
 *     topic('requests', { partitions: 32, partitionBy: ['instance'] })
 */
export function topic(name: string, options: TopicOptions = {}): Topic {
  const { partitions, partitionBy } = options
  return { [DEFINITION]: Object.freeze({ what: 'topic', name, partitions, partitionBy }) }
}

/** Reverses a condition of `where`.
 *
 *     .where({ instance: not(/canary-[0-9]+/) })
 */
export function not(value: LabelValue): Branded<NotDefinition> {
  return { [DEFINITION]: Object.freeze({ what: 'not', value }) }
}
