/**
 * The outbox: a cursor per (pipeline, sink) over what the pipeline has committed. Sinks see only committed records, in
 * order within each partition, and go on after a crash from the remembered progress. One sink cannot hold back another,
 * and none can hold back the pipeline. Run by the sink thread, which nudges it after commits and hands the progress of
 * sinks to the committer. A sink that a pipeline did not have before starts at the oldest retained record.
 */
import { MillraceError } from '../contract/errors.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { SinkPlugin, SinkProgress } from '../contract/plugins.ts'
import { resultStreams } from '../contract/streams.ts'
import { decodeSeriesKey } from '../series/series-key.ts'
import type { PastPlan, StateReader } from '../store/state-contract.ts'
import { assert } from '../util/assert.ts'
import { type SetTimer, type Sleep, setTimer, sleep } from '../util/backoff.ts'
import { type Clock, systemClock } from '../util/clock.ts'
import { fnv1a } from '../util/hash.ts'
import { Prng } from '../util/prng.ts'
import { EntryDecoder, type EntryLabels } from './entry-decoder.ts'
import { ResultCursor } from './result-cursor.ts'
import { SinkFeeder, type SinkMetrics, type SinkStatus } from './sink-feeder.ts'

export type { SinkMetrics, SinkStatus } from './sink-feeder.ts'

/** How long a stop waits for sinks that do not answer; what they had in flight comes again at the next start. */
const STOP_MS_MAX = 10_000

export type OutboxReader = Pick<
  StateReader,
  'entries' | 'progress' | 'groupKey' | 'sink' | 'withheld' | 'retold'
> &
  Partial<Pick<StateReader, 'fence' | 'takeover'>>

export interface OutboxPipeline {
  readonly id: number
  readonly plan: PipelinePlan
  readonly past?: readonly PastPlan[]
}

export interface OutboxOptions {
  readonly pipelines: readonly OutboxPipeline[]
  readonly sinks: ReadonlyMap<string, SinkPlugin<never>>
  readonly state: OutboxReader
  /** Canonical key of a series of that topic, for late samples. */
  readonly seriesKey: (topic: string, seriesId: number) => Uint8Array | null
  /** Makes a sink's progress durable. One call at a time for each sink; a rejection stops that sink. */
  readonly remember: (pipelineId: number, sink: string, progress: SinkProgress) => Promise<void>
  /** Retries, dead letters and failures of sinks. */
  readonly warn: (error: MillraceError) => void
  readonly metrics?: SinkMetrics
  readonly clock?: Clock
  readonly sleep?: Sleep
  readonly setTimer?: SetTimer
}

export class OutboxRunner {
  readonly #feeders = new Map<number, readonly SinkFeeder[]>()
  #running: readonly Promise<void>[] | null = null

  constructor(options: OutboxOptions) {
    for (const pipeline of options.pipelines) {
      const labels = entryLabels(options.state, options.seriesKey, pipeline)
      const decoder = new EntryDecoder(pipeline.plan, labels, pipeline.past)
      const feeders = pipeline.plan.sinks.map((_, i) => makeFeeder(options, pipeline, decoder, i))
      this.#feeders.set(pipeline.id, feeders)
    }
  }

  /** Opens all sinks; resolves when each takes records or has failed. Look at `status` for which. */
  async start(): Promise<void> {
    assert(this.#running === null, 'an outbox starts once')
    const feeders = this.#all()
    this.#running = feeders.map((feeder) => feeder.run())
    await Promise.all(feeders.map((feeder) => feeder.opened()))
  }

  /** The pipeline has committed something. Cheap; may be called for pipelines without sinks. */
  committed(pipelineId: number): void {
    for (const feeder of this.#feeders.get(pipelineId) ?? []) feeder.nudge()
  }

  /** Everything committed before the call is in the sinks and remembered; failed sinks are not waited for. */
  async drained(): Promise<void> {
    await Promise.all(this.#all().map((feeder) => feeder.drained()))
  }

  /** Ends what is in flight, remembers progress, closes the sinks. May be called twice. */
  async stop(): Promise<void> {
    for (const feeder of this.#all()) feeder.stop()
    const bound = new AbortController()
    await Promise.race([Promise.all(this.#running ?? []), sleep(STOP_MS_MAX, bound.signal)])
    bound.abort()
  }

  status(): readonly SinkStatus[] {
    return this.#all().map((feeder) => feeder.status())
  }

  #all(): readonly SinkFeeder[] {
    return [...this.#feeders.values()].flat()
  }
}

function makeFeeder(
  options: OutboxOptions,
  { id, plan }: OutboxPipeline,
  decoder: EntryDecoder,
  sinkIndex: number,
): SinkFeeder {
  const { state, sinks, remember, warn, metrics = NO_METRICS } = options
  const sinkPlan = plan.sinks[sinkIndex]
  assert(sinkPlan !== undefined, 'a sink of the plan', sinkIndex)
  const plugin = sinks.get(sinkPlan.kind)
  assert(plugin !== undefined, 'the plan names sinks of the registry', sinkPlan.kind)
  const cursor = new ResultCursor({
    reader: state,
    decoder,
    pipelineId: id,
    partitions: resultStreams(plan),
    feed: sinkPlan.feed,
    wholeEntries: plugin.wholeEntries === true,
    onLost: (partition, fromSeq, toSeq) => feeder.lost(partition, fromSeq, toSeq),
  })
  const name = new TextEncoder().encode(`${plan.name}/${sinkPlan.name}`)
  const feeder = new SinkFeeder({
    pipeline: plan.name,
    plan: sinkPlan,
    plugin,
    remembered: () => readProgress(state.sink(id, sinkPlan.name), plan.name, sinkPlan.name),
    cursor,
    remember: (progress) => remember(id, sinkPlan.name, progress),
    checkOwner: ownerCheck(state),
    takeover: state.takeover?.() ?? 0,
    warn,
    metrics,
    clock: options.clock ?? systemClock,
    sleep: options.sleep ?? sleep,
    setTimer: options.setTimer ?? setTimer,
    prng: new Prng(fnv1a(name, 0, name.length)),
  })
  return feeder
}

/** A successor feeds the same targets: whoever was frozen and wakes up must not go on. */
function ownerCheck(state: OutboxReader): () => void {
  const fence = state.fence?.()
  return () => {
    const present = state.fence?.()
    if (present === fence) return
    throw new MillraceError(
      'STORE_FENCED',
      `another process has taken over the store (its token is ${present}, ours ${fence}); nothing more is sent. This ` +
        'process must exit: look there for what started the other one.',
    )
  }
}

/** Labels of groups from the state store, of series from the log; queries use it too. */
export function entryLabels(
  state: Pick<StateReader, 'groupKey'>,
  seriesKey: OutboxOptions['seriesKey'],
  { id, plan }: OutboxPipeline,
): EntryLabels {
  return {
    group(partition, groupId) {
      const key = state.groupKey(id, partition, groupId)
      if (key === null) throw unknownLabels(`group ${groupId} of ${plan.name}/${partition}`)
      return decodeSeriesKey(key)
    },
    series(seriesId) {
      const key = seriesKey(plan.topic.name, seriesId)
      if (key === null) throw unknownLabels(`series ${seriesId} of topic ${plan.topic.name}`)
      return decodeSeriesKey(key)
    },
  }
}

function unknownLabels(what: string): MillraceError {
  return new MillraceError(
    'STORE_DAMAGED',
    `A result names ${what}, which the store does not know. Restore the data directory from a backup.`,
  )
}

/** The form in which the state store keeps a sink's progress. */
export function progressJson(progress: SinkProgress): string {
  return JSON.stringify({ positions: progress.positions, token: progress.token ?? null })
}

function readProgress(json: string | null, pipeline: string, sink: string): SinkProgress | null {
  if (json === null) return null
  const progress = JSON.parse(json) as Partial<SinkProgress>
  assert(progress.positions !== undefined, 'a remembered progress has positions', pipeline, sink, json)
  return { positions: progress.positions, token: progress.token ?? null }
}

const NO_METRICS: SinkMetrics = {
  delivered() {},
  retried() {},
  deadLetters() {},
  failed() {},
}
