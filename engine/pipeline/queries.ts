/**
 * Answers the questions of engine/contract/queries.ts from what is committed: the state store, the log's ends, and what
 * the supervisor knows of running pipelines. A query is bounded: it reads at most SCANNED_ROWS_MAX rows, and hands out a
 * cursor where that did not suffice, with the rows it has, be they none. Called by the HTTP server; changes nothing.
 */
import type { Alert } from '../contract/alert.ts'
import { emptyLedger, type Ledger } from '../contract/entries.ts'
import { MillraceError } from '../contract/errors.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { LateBody, ResultBody, SinkFeed, SinkRecord } from '../contract/plugins.ts'
import {
  type AlertHistoryQuery,
  type AlertRow,
  type AlertsQuery,
  type CurrentAlert,
  DEAD_LETTERS_MAX,
  type DeadLetterRow,
  type DeadLettersQuery,
  type ExplainQuery,
  type ExplainRow,
  type IncidentsAnswer,
  type IncidentsQuery,
  type LateQuery,
  type LateRow,
  type NodeStatus,
  type OwnerStatus,
  type Page,
  type PartitionStatus,
  type PipelineStatus,
  QUERY_ROWS_MAX,
  type Queries,
  type ResultRow,
  type ResultsQuery,
  type SilencesQuery,
} from '../contract/queries.ts'
import type { Labels } from '../contract/samples.ts'
import type { SilenceRow } from '../contract/silences.ts'
import { ownerStream, partialStream, resultStreams } from '../contract/streams.ts'
import { encodeSeriesKey, partitionOf } from '../series/series-key.ts'
import type { LogReader } from '../store/log-contract.ts'
import type { PipelineRecord, StateReader } from '../store/state-contract.ts'
import { type Clock, systemClock } from '../util/clock.ts'
import { EntryDecoder } from './entry-decoder.ts'
import { incidentsFrom } from './incidents.ts'
import { entryLabels } from './outbox.ts'
import { decodeCursor, encodeCursor, queryDigest, type RowPosition } from './query-cursor.ts'
import { firstResultSeq, mergeRows, type RowQuery } from './row-merge.ts'
import { silencedBy, silenceRows, silenceState, silenceTest } from './silences.ts'

/** Decoders kept, one a pipeline; beyond it all are made anew. */
const DECODERS_MAX = 256
/** Current alerts in one answer; the oldest come first. */
export const ALERTS_MAX = 10_000

/** What only the running process knows. */
export interface LiveNode {
  pipeline(name: string): Pick<PipelineStatus, 'state' | 'problem' | 'detectors'>
  watermarkMs(pipelineId: number, partition: number): number | null
  status(): Promise<NodeStatus>
}

export interface QuerySources {
  readonly state: Pick<
    StateReader,
    | 'pipelines'
    | 'pipeline'
    | 'progress'
    | 'entries'
    | 'groupKey'
    | 'alerts'
    | 'seqRange'
    | 'deadLetters'
    | 'silences'
    | 'withheld'
  >
  readonly log: Pick<LogReader, 'endOffset' | 'seriesKey' | 'topicOf'>
  readonly live: LiveNode
  /** Answers `explain`; left out: nobody does here. */
  readonly explain?: (query: ExplainQuery) => Promise<readonly ExplainRow[]>
  /** By which silences hold. */
  readonly clock?: Clock
}

export function createQueries(sources: QuerySources): Queries {
  return new StoredQueries(sources)
}

interface KnownPipeline {
  readonly id: number
  readonly plan: PipelinePlan
  readonly decoder: EntryDecoder
}

interface RowsAsked {
  readonly limit: number
  readonly cursor?: string
  readonly fromMs?: number
  readonly toMs?: number
  readonly group?: Labels
}

class StoredQueries implements Queries {
  readonly #sources: QuerySources
  readonly #known = new Map<string, KnownPipeline>()
  /** By the labels object that a decoder hands out for a group again and again. */
  readonly #groupKeys = new WeakMap<Labels, Uint8Array>()

  constructor(sources: QuerySources) {
    this.#sources = sources
  }

  async results(query: ResultsQuery): Promise<Page<ResultRow>> {
    const pipeline = this.#pipeline(query.pipeline)
    const { decoder } = pipeline
    const group = wantedLabels(query.group)
    const page = await this.#page('results', pipeline, query, {
      wants: (partition, entry, row) =>
        group.length === 0 || hasLabels(decoder.groupOf(partition, entry, row), group),
      accepts: ({ body }) => inRange((body as ResultBody).windowEndMs, query),
      eventTimeMs: (record) => (record.body as ResultBody).windowEndMs,
      sortKey: (record) => this.#groupKey((record.body as ResultBody).group),
      endMs: query.toMs ?? Number.POSITIVE_INFINITY,
    })
    return {
      cursor: page.cursor,
      rows: page.records.map(({ id, partition, body }) => ({ id, partition, ...(body as ResultBody) })),
    }
  }

  async alerts(query: AlertsQuery): Promise<readonly CurrentAlert[]> {
    const { state, clock = systemClock } = this.#sources
    const nowMs = clock.nowMs()
    const active = state
      .silences()
      .filter((silence) => silenceState(silence, nowMs) === 'active')
      .map((silence) => ({ silence, holds: silenceTest(silence) }))
    const records = query.pipeline === undefined ? state.pipelines() : [this.#pipeline(query.pipeline)]
    return records
      .flatMap(({ id }) => this.#currentAlerts(id))
      .filter((alert) => query.state === undefined || alert.state === query.state)
      .sort((a, b) => a.sinceMs - b.sinceMs || (a.id < b.id ? -1 : 1))
      .slice(0, ALERTS_MAX)
      .map((alert) => {
        const silence = silencedBy(active, alert)
        return silence === null ? alert : { ...alert, silencedBy: silence }
      })
  }

  async silences(query: SilencesQuery): Promise<readonly SilenceRow[]> {
    const { state, clock = systemClock } = this.#sources
    const rows = silenceRows(state.silences(), clock.nowMs())
    return rows.filter((row) => query.state === undefined || row.state === query.state)
  }

  incidents(query: IncidentsQuery): Promise<IncidentsAnswer> {
    return incidentsFrom(this, query)
  }

  async alertHistory(query: AlertHistoryQuery): Promise<Page<AlertRow>> {
    const group = wantedLabels(query.group)
    const pipeline = this.#pipeline(query.pipeline)
    const page = await this.#page('alerts', pipeline, query, {
      wants: () => true,
      accepts: ({ body }) => {
        const alert = body as Alert
        if (query.state !== undefined && alert.state !== query.state) return false
        return hasLabels(alert.group, group) && inRange(alert.atMs, query)
      },
      eventTimeMs: (record) => (record.body as Alert).atMs,
      sortKey: (record) => encodeSeriesKey((record.body as Alert).group),
      endMs: Number.POSITIVE_INFINITY,
    })
    const silences = this.#withheld(pipeline.id, page.records)
    return {
      cursor: page.cursor,
      rows: page.records.map(({ id, partition, seq, body }) => {
        const by = silences.get(`${partition}/${seq}`)
        const marked = by === undefined ? {} : { silencedBy: by }
        return { ...(body as Alert), entry: id, partition, ...marked }
      }),
    }
  }

  /** `partition/seq` of transitions that were withheld, among these: by which silence. */
  #withheld(pipelineId: number, records: readonly SinkRecord[]): ReadonlyMap<string, number> {
    const ranges = new Map<number, { fromSeq: number; toSeq: number }>()
    for (const { partition, seq } of records) {
      const range = ranges.get(partition) ?? { fromSeq: seq, toSeq: seq + 1 }
      ranges.set(partition, {
        fromSeq: Math.min(range.fromSeq, seq),
        toSeq: Math.max(range.toSeq, seq + 1),
      })
    }
    const silences = new Map<string, number>()
    for (const [partition, { fromSeq, toSeq }] of ranges) {
      for (const { seq, silence } of this.#sources.state.withheld(pipelineId, partition, fromSeq, toSeq))
        silences.set(`${partition}/${seq}`, silence)
    }
    return silences
  }

  async late(query: LateQuery): Promise<Page<LateRow>> {
    const page = await this.#page('late', this.#pipeline(query.pipeline), query, {
      wants: () => true,
      accepts: ({ body }) => inRange((body as LateBody).timestampMs, query),
      eventTimeMs: (record) => (record.body as LateBody).timestampMs,
      sortKey: (record) => encodeSeriesKey((record.body as LateBody).series),
      endMs: Number.POSITIVE_INFINITY,
    })
    return {
      cursor: page.cursor,
      rows: page.records.map(({ id, partition, body }) => ({ id, partition, ...(body as LateBody) })),
    }
  }

  async deadLetters(query: DeadLettersQuery): Promise<readonly DeadLetterRow[]> {
    const { state } = this.#sources
    const wanted = query.pipeline === undefined ? null : this.#pipeline(query.pipeline).id
    const rows: DeadLetterRow[] = []
    for (const record of state.pipelines()) {
      if (wanted !== null && record.id !== wanted) continue
      const { partitions } = this.#knownOf(record).plan.topic
      for (let partition = 0; partition < partitions; partition++) {
        for (const letter of state.deadLetters(record.id, partition)) {
          rows.push({ pipeline: record.name, topic: record.topic, ...letter })
        }
      }
    }
    return rows.slice(0, DEAD_LETTERS_MAX)
  }

  explain(query: ExplainQuery): Promise<readonly ExplainRow[]> {
    const { explain } = this.#sources
    if (explain !== undefined) return explain(query)
    const message = 'Nobody explains detectors here. Ask the node, or write millrace explain.'
    return Promise.reject(new MillraceError('UNAVAILABLE', message))
  }

  async pipelines(): Promise<readonly PipelineStatus[]> {
    return this.#sources.state.pipelines().map((record) => this.#status(record))
  }

  status(): Promise<NodeStatus> {
    return this.#sources.live.status()
  }

  async #page(
    feed: SinkFeed,
    pipeline: KnownPipeline,
    asked: RowsAsked & { readonly state?: string },
    how: Omit<RowQuery, 'state' | 'decoder' | 'pipelineId' | 'feed'>,
  ): Promise<{ records: readonly SinkRecord[]; cursor: string | null }> {
    const { limit, cursor, fromMs, toMs, group, state } = asked
    if (!Number.isInteger(limit) || limit < 1 || limit > QUERY_ROWS_MAX) {
      const message = `A limit of ${limit} rows is not possible. Write a whole number from 1 to ${QUERY_ROWS_MAX}.`
      throw new MillraceError('INPUT_INVALID', message)
    }
    const { id, plan, decoder } = pipeline
    const labels = wantedLabels(group)
    const digest = queryDigest([feed, id, fromMs ?? null, toMs ?? null, state ?? null, labels])
    const partitions = streamsOf(plan, feed, group)
    const starts =
      cursor === undefined
        ? this.#starts(feed, pipeline, partitions, fromMs)
        : decodeCursor(cursor, digest, resultStreams(plan))
    const query: RowQuery = { ...how, state: this.#sources.state, decoder, pipelineId: id, feed }
    const merged = await mergeRows(query, partitions, starts, limit)
    return {
      records: merged.records,
      cursor: merged.positions === null ? null : encodeCursor(digest, merged.positions),
    }
  }

  /** Results are in order of window end and can be searched; alerts (log time) and late samples are not. */
  #starts(
    feed: SinkFeed,
    { id, plan }: KnownPipeline,
    partitions: readonly number[],
    fromMs: number | undefined,
  ): RowPosition[] {
    const starts = Array.from({ length: resultStreams(plan) }, () => ({ seq: 0, row: 0 }))
    if (feed !== 'results' || fromMs === undefined) return starts
    for (const partition of partitions) {
      starts[partition] = { seq: firstResultSeq(this.#sources.state, id, partition, fromMs), row: 0 }
    }
    return starts
  }

  #pipeline(name: string): KnownPipeline {
    const record = this.#sources.state.pipeline(name)
    if (record !== null) return this.#knownOf(record)
    const names = this.#sources.state.pipelines().map((known) => known.name)
    const remedy = names.length === 0 ? 'There are none yet.' : `There are: ${names.join(', ')}.`
    throw new MillraceError('PIPELINE_INVALID', `There is no pipeline ${JSON.stringify(name)}. ${remedy}`)
  }

  #groupKey(group: Labels): Uint8Array {
    const known = this.#groupKeys.get(group)
    if (known !== undefined) return known
    const key = encodeSeriesKey(group)
    this.#groupKeys.set(group, key)
    return key
  }

  #knownOf(record: PipelineRecord): KnownPipeline {
    const key = `${record.id}/${record.planHash}`
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const plan = JSON.parse(record.planJson) as PipelinePlan
    const { state, log } = this.#sources
    const seriesKey = (_topic: string, seriesId: number): Uint8Array | null =>
      log.seriesKey(record.topicId, seriesId)
    const labels = entryLabels(state, seriesKey, { id: record.id, plan })
    const decoder = new EntryDecoder(plan, labels, record.past)
    const made: KnownPipeline = { id: record.id, plan, decoder }
    if (this.#known.size >= DECODERS_MAX) this.#known.clear()
    this.#known.set(key, made)
    return made
  }

  #owners(pipelineId: number, plan: PipelinePlan, buckets: number): OwnerStatus[] {
    const { live, state } = this.#sources
    let sent = 0
    for (let partition = 0; partition < plan.topic.partitions; partition++) {
      sent += state.progress(pipelineId, partialStream(plan, partition))?.nextSeq ?? 0
    }
    return Array.from({ length: buckets }, (_, bucket) => {
      const partition = ownerStream(plan, bucket)
      return {
        partition,
        lag: Math.max(0, sent - (state.progress(pipelineId, partition)?.position ?? 0)),
        watermarkMs: live.watermarkMs(pipelineId, partition),
      }
    })
  }

  #currentAlerts(pipelineId: number): readonly Alert[] {
    return this.#sources.state.alerts(pipelineId).map(({ json }) => JSON.parse(json) as Alert)
  }

  #status(record: PipelineRecord): PipelineStatus {
    const { live, state, log } = this.#sources
    const { plan } = this.#knownOf(record)
    const ledger: Ledger = emptyLedger()
    const partitions: PartitionStatus[] = []
    for (let partition = 0; partition < plan.topic.partitions; partition++) {
      const progress = state.progress(record.id, partition)
      const position = progress?.position ?? 0
      const endOffset = log.endOffset(record.topicId, partition)
      partitions.push({
        partition,
        position,
        endOffset,
        lag: Math.max(0, endOffset - position),
        watermarkMs: live.watermarkMs(record.id, partition),
      })
      if (progress !== null) addLedger(ledger, progress.ledger)
    }
    for (let stream = plan.topic.partitions; stream < resultStreams(plan); stream++) {
      const progress = state.progress(record.id, stream)
      if (progress !== null) addLedger(ledger, progress.ledger)
    }
    const alerts = this.#currentAlerts(record.id)
    const firing = alerts.filter((alert) => alert.state === 'firing').length
    return {
      name: record.name,
      topic: record.topic,
      ...live.pipeline(record.name),
      plan,
      partitions,
      ...(plan.exchange === undefined
        ? {}
        : { owners: this.#owners(record.id, plan, plan.exchange.buckets) }),
      ledger,
      alertsPending: alerts.length - firing,
      alertsFiring: firing,
    }
  }
}

/** All streams that hold records of the feed, or the one that alone can hold groups with these labels. */
export function streamsOf(plan: PipelinePlan, feed: SinkFeed, group: Labels | undefined): readonly number[] {
  const { partitions, partitionBy } = plan.topic
  const { exchange } = plan
  if (exchange !== undefined && feed !== 'late') {
    return Array.from({ length: exchange.buckets }, (_, bucket) => ownerStream(plan, bucket))
  }
  const decided =
    group !== undefined &&
    feed !== 'late' &&
    partitionBy !== null &&
    partitionBy.length > 0 &&
    partitionBy.every((label) => Object.hasOwn(group, label) && group[label] !== '')
  if (decided) return [partitionOf(group, partitionBy, partitions)]
  return Array.from({ length: partitions }, (_, partition) => partition)
}

export type WantedLabels = readonly (readonly [label: string, value: string])[]

export function wantedLabels(group: Labels | undefined): WantedLabels {
  return Object.entries(group ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))
}

/** A label that is absent and one that is empty are the same. */
export function hasLabels(labels: Labels, wanted: WantedLabels): boolean {
  return wanted.every(([label, value]) => (Object.hasOwn(labels, label) ? labels[label] : '') === value)
}

function inRange(timeMs: number, { fromMs, toMs }: RowsAsked | LateQuery): boolean {
  return timeMs >= (fromMs ?? Number.NEGATIVE_INFINITY) && timeMs < (toMs ?? Number.POSITIVE_INFINITY)
}

function addLedger(sum: Ledger, part: Ledger): void {
  sum.in += part.in
  sum.windowed += part.windowed
  sum.filtered += part.filtered
  sum.late += part.late
  sum.nonFinite += part.nonFinite
  sum.dead += part.dead
}
