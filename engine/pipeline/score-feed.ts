/**
 * Score, expected value and band of the newest windows, for /metrics: of each result stream its newest window, and of all
 * of these the series with the highest scores, at most so many. Reads committed results in the store, a bounded amount a
 * look, and nothing between two looks; holds no state but where it has read to. Called at a scrape (workers/node.ts).
 *
 * The choice is a function of the committed windows: by score, then by pipeline, then by the bytes of the group's key.
 */
import { ENTRY_RESULTS, RESULTS_HEADER_BYTES, SCORE_COLUMNS } from '../contract/entries.ts'
import { MillraceError } from '../contract/errors.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import { resultStreams } from '../contract/streams.ts'
import { decodeSeriesKey, seriesText } from '../series/series-key.ts'
import type { LogReader } from '../store/log-contract.ts'
import type { Entry, PastPlan, StateReader } from '../store/state-contract.ts'
import { compareBytes } from '../util/bytes.ts'
import { EntryDecoder } from './entry-decoder.ts'
import { entryLabels } from './outbox.ts'

/** Entries of one stream read in a look; older ones are passed over. A window of more rows than these hold is not seen whole. */
const ENTRIES_A_LOOK = 64
const BYTES_A_LOOK = 16 * 2 ** 20
/** A stream whose newest window is this many intervals behind that of its pipeline's newest has nothing to tell. */
export const STALE_INTERVALS = 30

/** One series under one detector, as of its newest window. Not finite: there is none. */
export interface ScoreRow {
  readonly pipeline: string
  readonly detector: string
  /** `{cluster="a",host="b"}` */
  readonly series: string
  readonly windowEndMs: number
  /** Of the aggregate judged; NaN for several. */
  readonly value: number
  readonly score: number
  readonly expected: number
  readonly lower: number
  readonly upper: number
}

export interface Scores {
  readonly rows: readonly ScoreRow[]
  /** Series of these windows that are not among them. */
  readonly leftOut: number
}

export interface ScoreFeedOptions {
  readonly state: Pick<StateReader, 'entries' | 'groupKey' | 'seqRange'>
  readonly log: Pick<LogReader, 'seriesKey'>
  readonly pipelines: readonly {
    readonly pipelineId: number
    readonly topicId: number
    readonly plan: PipelinePlan
    readonly past?: readonly PastPlan[]
  }[]
  /** Series told at most, with all their detectors. */
  readonly seriesMax: number
}

interface Watched {
  readonly pipelineId: number
  readonly plan: PipelinePlan
  readonly decoder: EntryDecoder
  readonly columns: number
  /** Of the detectors that judge values: their names, where their scores begin, and their own column, or -1. */
  readonly scored: readonly { readonly name: string; readonly scoreAt: number; readonly valueAt: number }[]
}

interface Stream {
  readonly pipeline: Watched
  readonly partition: number
  /** Next entry to read. */
  seq: number
  /** Of the newest window seen. */
  endMs: number
  rows: number
  best: Candidate[]
}

/** A row of a window that may be told. */
interface Candidate {
  readonly rank: number
  readonly groupId: number
  readonly cells: Float64Array
}

interface Chosen {
  readonly stream: Stream
  readonly candidate: Candidate
  readonly key: Uint8Array
}

export class ScoreFeed {
  readonly #options: ScoreFeedOptions
  readonly #streams: Stream[]

  constructor(options: ScoreFeedOptions) {
    this.#options = options
    this.#streams = options.pipelines.flatMap((pipeline) => this.#streamsOf(pipeline))
  }

  /** Reads what was committed since the last look, a bounded part of it. */
  look(): Scores {
    const { seriesMax } = this.#options
    const newest = new Map<Watched, number>()
    for (const stream of this.#streams) {
      this.#read(stream)
      newest.set(stream.pipeline, Math.max(newest.get(stream.pipeline) ?? -Infinity, stream.endMs))
    }
    let seen = 0
    const chosen: Chosen[] = []
    for (const stream of this.#streams) {
      const { pipeline, endMs } = stream
      if (endMs < newest.get(pipeline)! - STALE_INTERVALS * pipeline.plan.window.everyMs) continue
      seen += stream.rows
      for (const candidate of stream.best) {
        const { state } = this.#options
        const key = state.groupKey(pipeline.pipelineId, stream.partition, candidate.groupId)
        if (key !== null) chosen.push({ stream, candidate, key: key.slice() })
      }
    }
    chosen.sort((a, b) => {
      const order = b.candidate.rank - a.candidate.rank
      if (order !== 0) return order
      const [first, second] = [a.stream.pipeline.plan.name, b.stream.pipeline.plan.name]
      if (first !== second) return first < second ? -1 : 1
      return compareBytes(a.key, b.key)
    })
    const told = chosen.slice(0, seriesMax)
    return {
      rows: told.flatMap(rowsOf),
      leftOut: seen - told.length,
    }
  }

  #streamsOf({ pipelineId, topicId, plan, past }: ScoreFeedOptions['pipelines'][number]): Stream[] {
    const { state, log } = this.#options
    const names = plan.detectors.filter(({ column }) => column !== null)
    if (names.length === 0) return []
    const seriesKey = (_topic: string, seriesId: number): Uint8Array | null =>
      log.seriesKey(topicId, seriesId)
    const pipeline: Watched = {
      pipelineId,
      plan,
      decoder: new EntryDecoder(plan, entryLabels(state, seriesKey, { id: pipelineId, plan }), past),
      columns: plan.aggregates.length + SCORE_COLUMNS * names.length,
      scored: names.map(({ name, column }, i) => ({
        name,
        scoreAt: plan.aggregates.length + SCORE_COLUMNS * i,
        valueAt: plan.aggregates.findIndex((aggregate) => aggregate.name === column),
      })),
    }
    return Array.from({ length: resultStreams(plan) }, (_, partition) => ({
      pipeline,
      partition,
      seq: 0,
      endMs: -Infinity,
      rows: 0,
      best: [],
    }))
  }

  #read(stream: Stream): void {
    const { state } = this.#options
    const { pipelineId } = stream.pipeline
    try {
      const { firstSeq, endSeq } = state.seqRange(pipelineId, stream.partition)
      stream.seq = Math.max(stream.seq, firstSeq, endSeq - ENTRIES_A_LOOK)
      while (stream.seq < endSeq) {
        const limits = { countMax: endSeq - stream.seq, bytesMax: BYTES_A_LOOK }
        const entries = state.entries(pipelineId, stream.partition, stream.seq, limits)
        if (entries.length === 0) return
        for (const entry of entries) {
          stream.seq = entry.seq + 1
          if (entry.kind === ENTRY_RESULTS) this.#take(stream, entry)
        }
      }
    } catch (error) {
      // A damaged entry is told by name by `verify` and by sinks; a scrape goes past it.
      if (!(error instanceof MillraceError) || error.code !== 'STORE_DAMAGED') throw error
      stream.seq++
    }
  }

  #take(stream: Stream, entry: Entry): void {
    const { pipeline, partition } = stream
    const { columns, scored } = pipeline
    const rows = pipeline.decoder.rowCount(partition, entry)
    const view = new DataView(entry.bytes.buffer, entry.bytes.byteOffset, entry.bytes.length)
    const endMs = view.getFloat64(16, true)
    if (endMs !== stream.endMs) {
      stream.endMs = endMs
      stream.rows = 0
      stream.best = []
    }
    const layout = pipeline.decoder.columnsOf(partition, entry)
    const idsAt = RESULTS_HEADER_BYTES + rows * layout.columnCount * 8
    const cellAt = (column: number, row: number): number => {
      const there = layout.columns[column]!
      // A detector that a switch has brought did not judge what was before it.
      return there < 0 ? NaN : view.getFloat64(RESULTS_HEADER_BYTES + (there * rows + row) * 8, true)
    }
    for (let row = 0; row < rows; row++) {
      let rank = -1
      for (const { scoreAt } of scored) rank = Math.max(rank, orLowest(cellAt(scoreAt, row)))
      stream.rows++
      const { best } = stream
      // Rows come in the order of their keys: of equal ones, those that came first are kept.
      if (best.length >= this.#options.seriesMax && rank <= best.at(-1)!.rank) continue
      const groupId = view.getInt32(idsAt + row * 4, true)
      const cells = Float64Array.from({ length: columns }, (_, column) => cellAt(column, row))
      insert(best, { rank, groupId, cells }, this.#options.seriesMax)
    }
  }
}

function rowsOf({ stream, candidate, key }: Chosen): ScoreRow[] {
  const { pipeline, endMs } = stream
  const { cells } = candidate
  const series = seriesText(decodeSeriesKey(key))
  return pipeline.scored.map(({ name, scoreAt, valueAt }) => ({
    pipeline: pipeline.plan.name,
    detector: name,
    series,
    windowEndMs: endMs,
    value: valueAt < 0 ? NaN : cells[valueAt]!,
    score: cells[scoreAt]!,
    expected: cells[scoreAt + 1]!,
    lower: cells[scoreAt + 2]!,
    upper: cells[scoreAt + 3]!,
  }))
}

/** A series that no detector can judge yet comes after all others. */
function orLowest(score: number): number {
  return Number.isNaN(score) ? -1 : score
}

/** Keeps the list ordered by rank, equal ones as they came, and no longer than `max`. */
function insert(best: Candidate[], candidate: Candidate, max: number): void {
  let low = 0
  let high = best.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (best[middle]!.rank >= candidate.rank) low = middle + 1
    else high = middle
  }
  best.splice(low, 0, candidate)
  if (best.length > max) best.pop()
}
