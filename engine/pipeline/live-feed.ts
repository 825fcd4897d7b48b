/**
 * The newest committed results and alerts of a node's pipelines, for whoever watches them live: the last points of each
 * series, and what came since the last look. Reads the result streams in the store, after the commit and never before
 * it, a bounded amount a call; where more has come than a look can take, it passes over the older part, which is
 * in the results for those who ask. Holds nothing until it is opened. Called by the live page's source (workers/live.ts).
 */
import type { Alert } from '../contract/alert.ts'
import { ENTRY_ALERT, ENTRY_RESULTS, RESULTS_HEADER_BYTES, SCORE_COLUMNS } from '../contract/entries.ts'
import { MillraceError } from '../contract/errors.ts'
import { LIVE_DIGITS, type LivePoint, type LiveSeries } from '../contract/live.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { Labels } from '../contract/samples.ts'
import { resultStreams } from '../contract/streams.ts'
import type { LogReader } from '../store/log-contract.ts'
import type { Entry, PastPlan, StateReader } from '../store/state-contract.ts'
import { EntryDecoder } from './entry-decoder.ts'
import { entryLabels } from './outbox.ts'

export interface LiveFeedLimits {
  /** Series told, first come, first told; those with an alert may go beyond by `alertSeriesMax`. */
  readonly seriesMax: number
  readonly alertSeriesMax: number
  /** Points kept a series; the oldest go first. */
  readonly pointsMax: number
  /** Numbers kept in all: a plan of many columns has fewer series. */
  readonly cellsMax: number
  /** Transitions of alerts kept; the oldest go first. */
  readonly transitionsMax: number
  /** Bytes of entries read at the opening, over all streams, and in one look. */
  readonly openBytesMax: number
  readonly lookBytesMax: number
  /** Entries of one stream read in one look; a stream further ahead than twice of it is jumped to its end. */
  readonly lookEntriesMax: number
}

export const LIVE_FEED_LIMITS: LiveFeedLimits = {
  seriesMax: 500,
  alertSeriesMax: 100,
  pointsMax: 300,
  cellsMax: 6_000_000,
  transitionsMax: 200,
  openBytesMax: 64 * 2 ** 20,
  lookBytesMax: 8 * 2 ** 20,
  lookEntriesMax: 300,
}

export interface LiveFeedOptions {
  readonly state: Pick<StateReader, 'entries' | 'groupKey' | 'seqRange'>
  readonly log: Pick<LogReader, 'seriesKey'>
  readonly pipelines: readonly {
    readonly pipelineId: number
    readonly topicId: number
    readonly plan: PipelinePlan
    readonly past?: readonly PastPlan[]
  }[]
  /** A number that changes whenever the stream may have got entries: what has not changed is not read. */
  readonly progress: (pipeline: number, stream: number) => number
  readonly limits?: Partial<LiveFeedLimits>
}

export interface LiveNews {
  /** Not told before; with all their points, those in `points` of this look not among them. */
  readonly series: readonly LiveSeries[]
  readonly points: readonly LivePoint[]
  readonly transitions: readonly Alert[]
}

interface Stream {
  readonly pipeline: Watched
  readonly partition: number
  /** Next entry to read. */
  seq: number
  /** Progress as of the last look. */
  seen: number
  /** Groups told, by id. */
  readonly series: Map<number, SeriesPoints>
  /** Groups with an alert, by id, at most `alertSeriesMax`: told when they come, even beyond `seriesMax`. */
  readonly alerted: Set<number>
  /** Read no more: an entry is damaged, which `verify` and sinks tell by name. */
  broken: boolean
}

interface Watched {
  readonly index: number
  readonly pipelineId: number
  readonly plan: PipelinePlan
  readonly decoder: EntryDecoder
  /** Numbers a point: its time, aggregates, scores. */
  readonly stride: number
}

/** Entries read between two breaths at the opening. */
const ENTRIES_A_BREATH = 64
const SERIES_A_PART = 20

export class LiveFeed {
  readonly #options: LiveFeedOptions
  readonly #limits: LiveFeedLimits
  #streams: Stream[] = []
  #series: SeriesPoints[] = []
  #transitions: Alert[] = []
  #cells = 0
  #firstStream = 0

  constructor(options: LiveFeedOptions) {
    this.#options = options
    this.#limits = { ...LIVE_FEED_LIMITS, ...options.limits }
  }

  get transitions(): readonly Alert[] {
    return this.#transitions
  }

  get limits(): LiveFeedLimits {
    return this.#limits
  }

  /** Reads the newest of each stream. Gives the thread free in between. False: it was closed meanwhile. */
  async open(): Promise<boolean> {
    const streams = this.#options.pipelines.flatMap((pipeline, index) => this.#streamsOf(pipeline, index))
    this.#streams = streams
    const bytesMax = this.#limits.openBytesMax / Math.max(1, streams.length)
    for (const stream of streams) {
      this.#rewind(stream, bytesMax)
      for (;;) {
        const read = this.#read(stream, ENTRIES_A_BREATH, this.#limits.lookBytesMax, null)
        if (read.entries < ENTRIES_A_BREATH && read.bytes < this.#limits.lookBytesMax) break
        await new Promise(setImmediate)
        if (this.#streams !== streams) return false
      }
    }
    this.#transitions.sort((a, b) => a.atMs - b.atMs)
    for (const series of this.#series) series.told = true
    return true
  }

  /** What was committed since the last call, a bounded part of it. */
  look(): LiveNews {
    const news = { points: [] as LivePoint[], transitions: [] as Alert[] }
    const told = this.#series.length
    let bytesLeft = this.#limits.lookBytesMax
    const count = this.#streams.length
    // Whoever comes first would starve the others where the bytes do not suffice: each is first in turn.
    for (let i = 0; i < count && bytesLeft > 0; i++) {
      const stream = this.#streams[(this.#firstStream + i) % count]!
      const progress = this.#options.progress(stream.pipeline.index, stream.partition)
      if (progress === stream.seen) continue
      const { lookEntriesMax } = this.#limits
      this.#jumpIfFarBehind(stream)
      const read = this.#read(stream, lookEntriesMax, bytesLeft, news)
      bytesLeft -= read.bytes
      // With some left, it is read on at the next look.
      if (read.entries < lookEntriesMax && bytesLeft > 0) stream.seen = progress
    }
    this.#firstStream = count === 0 ? 0 : (this.#firstStream + 1) % count
    const series = this.#series.slice(told).map((added) => added.toWire())
    for (const added of this.#series.slice(told)) added.told = true
    return { series, ...news }
  }

  /** All series with their points, some at a time; one that is added meanwhile may be among them or not. */
  *parts(): Generator<readonly LiveSeries[], void, void> {
    for (let from = 0; from < this.#series.length; from += SERIES_A_PART) {
      yield this.#series.slice(from, from + SERIES_A_PART).map((series) => series.toWire())
    }
  }

  close(): void {
    this.#streams = []
    this.#series = []
    this.#transitions = []
    this.#cells = 0
  }

  #streamsOf(watched: LiveFeedOptions['pipelines'][number], index: number): Stream[] {
    const { pipelineId, topicId, plan, past } = watched
    const { state, log } = this.#options
    const seriesKey = (_topic: string, seriesId: number): Uint8Array | null =>
      log.seriesKey(topicId, seriesId)
    const scored = plan.detectors.filter(({ column }) => column !== null).length
    const pipeline: Watched = {
      index,
      pipelineId,
      plan,
      decoder: new EntryDecoder(plan, entryLabels(state, seriesKey, { id: pipelineId, plan }), past),
      stride: 1 + plan.aggregates.length + SCORE_COLUMNS * scored,
    }
    return Array.from({ length: resultStreams(plan) }, (_, partition) => ({
      pipeline,
      partition,
      seq: 0,
      seen: Number.NaN,
      series: new Map<number, SeriesPoints>(),
      alerted: new Set<number>(),
      broken: false,
    }))
  }

  /** To where the newest entries begin that are worth reading. */
  #rewind(stream: Stream, bytesMax: number): void {
    const { pipelineId } = stream.pipeline
    const { firstSeq, endSeq } = this.#options.state.seqRange(pipelineId, stream.partition)
    const newest = this.#entries(stream, endSeq - 1, 1, 1)[0]
    const entries = newest === undefined ? 0 : Math.ceil(bytesMax / newest.bytes.length)
    stream.seq = Math.max(firstSeq, endSeq - Math.min(entries, this.#limits.pointsMax))
  }

  #jumpIfFarBehind(stream: Stream): void {
    const { endSeq } = this.#options.state.seqRange(stream.pipeline.pipelineId, stream.partition)
    const { lookEntriesMax } = this.#limits
    if (endSeq - stream.seq > 2 * lookEntriesMax) stream.seq = endSeq - lookEntriesMax
  }

  #entries(stream: Stream, seq: number, countMax: number, bytesMax: number): readonly Entry[] {
    if (stream.broken || seq < 0) return []
    try {
      return this.#options.state.entries(stream.pipeline.pipelineId, stream.partition, seq, {
        countMax,
        bytesMax,
      })
    } catch (error) {
      this.#give(stream, error)
      return []
    }
  }

  #give(stream: Stream, error: unknown): void {
    if (!(error instanceof MillraceError) || error.code !== 'STORE_DAMAGED') throw error
    stream.broken = true
  }

  #read(
    stream: Stream,
    countMax: number,
    bytesMax: number,
    news: { readonly points: LivePoint[]; readonly transitions: Alert[] } | null,
  ): { readonly entries: number; readonly bytes: number } {
    let bytes = 0
    const entries = this.#entries(stream, stream.seq, countMax, bytesMax)
    try {
      for (const entry of entries) {
        bytes += entry.bytes.length
        stream.seq = entry.seq + 1
        if (entry.kind === ENTRY_RESULTS) this.#takeResults(stream, entry, news?.points ?? null)
        else if (entry.kind === ENTRY_ALERT) this.#takeAlert(stream, entry, news?.transitions ?? null)
      }
    } catch (error) {
      this.#give(stream, error)
    }
    return { entries: entries.length, bytes }
  }

  #takeResults(stream: Stream, entry: Entry, points: LivePoint[] | null): void {
    const { pipeline, partition } = stream
    const rows = pipeline.decoder.rowCount(partition, entry)
    const view = new DataView(entry.bytes.buffer, entry.bytes.byteOffset, entry.bytes.length)
    const { columnCount, columns } = pipeline.decoder.columnsOf(partition, entry)
    const idsAt = RESULTS_HEADER_BYTES + rows * columnCount * 8
    const endMs = view.getFloat64(16, true)
    for (let row = 0; row < rows; row++) {
      const groupId = view.getInt32(idsAt + row * 4, true)
      const series = stream.series.get(groupId) ?? this.#admit(stream, entry, row, groupId)
      if (series === null) continue
      const at = series.push(endMs)
      const from = RESULTS_HEADER_BYTES + row * 8
      for (let column = 1; column < pipeline.stride; column++) {
        const there = columns[column - 1]!
        // A detector that a switch has brought did not judge what was before it.
        series.cells[at + column] = there < 0 ? NaN : view.getFloat64(from + there * rows * 8, true)
      }
      if (points !== null && series.told) points.push([series.id, ...series.pointAt(at)])
    }
  }

  /** The series of a group seen for the first time, or null: there are too many. */
  #admit(stream: Stream, entry: Entry, row: number, groupId: number): SeriesPoints | null {
    const { seriesMax, alertSeriesMax, pointsMax, cellsMax } = this.#limits
    const { pipeline, partition } = stream
    const { length } = this.#series
    if (length >= seriesMax && (length >= seriesMax + alertSeriesMax || !stream.alerted.has(groupId)))
      return null
    if (this.#cells + pointsMax * pipeline.stride > cellsMax) return null
    const group = pipeline.decoder.groupOf(partition, entry, row)
    const series = new SeriesPoints(length, pipeline.plan.name, group, pipeline.stride, pointsMax)
    this.#cells += series.cells.length
    this.#series.push(series)
    stream.series.set(groupId, series)
    return series
  }

  #takeAlert(stream: Stream, entry: Entry, transitions: Alert[] | null): void {
    const { decoder } = stream.pipeline
    decoder.rowCount(stream.partition, entry)
    const alert = decoder.record(stream.partition, entry, 0).body as Alert
    // `pipeline/detector/partition/groupId/sinceMs`.
    const groupId = Number(alert.id.split('/').at(-2))
    if (alert.state === 'resolved') stream.alerted.delete(groupId)
    else if (stream.alerted.size < this.#limits.alertSeriesMax) stream.alerted.add(groupId)
    this.#transitions.push(alert)
    // Now and then rather than each time: shifting one by one would cost the length of the list.
    if (this.#transitions.length > 2 * this.#limits.transitionsMax) {
      this.#transitions.splice(0, this.#transitions.length - this.#limits.transitionsMax)
    }
    transitions?.push(alert)
  }
}

/** The newest points of one series: a ring of rows. */
class SeriesPoints {
  readonly id: number
  readonly cells: Float64Array
  told = false
  readonly #pipeline: string
  readonly #group: Labels
  readonly #stride: number
  #first = 0
  #count = 0

  constructor(id: number, pipeline: string, group: Labels, stride: number, pointsMax: number) {
    this.id = id
    this.#pipeline = pipeline
    this.#group = group
    this.#stride = stride
    this.cells = new Float64Array(stride * pointsMax)
  }

  /** Where the columns of a new point lie; its time is set. */
  push(timeMs: number): number {
    const { length } = this.cells
    const at = (this.#first + this.#count * this.#stride) % length
    if (this.#count * this.#stride === length) this.#first = (this.#first + this.#stride) % length
    else this.#count++
    this.cells[at] = timeMs
    return at
  }

  pointAt(at: number): (number | null)[] {
    const point: (number | null)[] = [this.cells[at]!]
    for (let column = 1; column < this.#stride; column++) point.push(short(this.cells[at + column]!))
    return point
  }

  toWire(): LiveSeries {
    const points = Array.from({ length: this.#count }, (_, i) =>
      this.pointAt((this.#first + i * this.#stride) % this.cells.length),
    )
    return { id: this.id, pipeline: this.#pipeline, group: this.#group, points }
  }
}

/** A pixel shows less; the results have every digit. */
function short(value: number): number | null {
  return Number.isFinite(value) ? Number(value.toPrecision(LIVE_DIGITS)) : null
}
