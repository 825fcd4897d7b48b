/**
 * Rows of one feed, merged over the partitions of a pipeline by (event time, group key, partition), with bounded work.
 * Each partition's stream is read in its own order, so that a position per partition is all it takes to go on, and no
 * row comes twice or is passed over. Called by queries; reads only.
 */
import type { SinkFeed, SinkRecord } from '../contract/plugins.ts'
import type { Entry, StateReader } from '../store/state-contract.ts'
import { compareBytes } from '../util/bytes.ts'
import { type EntryDecoder, feedOf } from './entry-decoder.ts'
import type { RowPosition } from './query-cursor.ts'

/** What one query may touch before it must hand out a cursor instead of more rows. */
export const SCANNED_ROWS_MAX = 200_000
export const SCANNED_ENTRIES_MAX = 20_000
const READ_LIMITS = { countMax: 64, bytesMax: 16 * 1024 }
/** Rows and entries looked at between two breaths, so that a long scan does not hold the server's thread. */
const WORK_A_TURN = 2_000

export interface RowQuery {
  readonly state: Pick<StateReader, 'entries'>
  readonly decoder: EntryDecoder
  readonly pipelineId: number
  readonly feed: SinkFeed
  /** Cheap look at a row before it is decoded. */
  readonly wants: (partition: number, entry: Entry, row: number) => boolean
  readonly accepts: (record: SinkRecord) => boolean
  readonly eventTimeMs: (record: SinkRecord) => number
  readonly sortKey: (record: SinkRecord) => Uint8Array
  /** For streams in order of event time: an entry at or beyond ends its stream. Infinity: none does. */
  readonly endMs: number
}

export interface MergedRows {
  readonly records: readonly SinkRecord[]
  /** Where to go on, or null: every stream has ended. */
  readonly positions: readonly RowPosition[] | null
}

interface Budget {
  rows: number
  entries: number
  /** Until the next breath. */
  turn: number
}

export async function mergeRows(
  query: RowQuery,
  partitions: readonly number[],
  starts: readonly RowPosition[],
  limit: number,
): Promise<MergedRows> {
  const budget: Budget = { rows: SCANNED_ROWS_MAX, entries: SCANNED_ENTRIES_MAX, turn: WORK_A_TURN }
  const streams = partitions.map((partition) => new RowStream(query, partition, starts[partition]!))
  const records: SinkRecord[] = []
  const positions = (): RowPosition[] => {
    const all = [...starts]
    for (const stream of streams) all[stream.partition] = stream.position
    return all
  }
  let pending: readonly RowStream[] = streams
  for (;;) {
    for (const stream of pending) {
      while (!stream.seekRow(budget)) {
        if (budget.rows <= 0 || budget.entries <= 0) return { records, positions: positions() }
        await new Promise(setImmediate)
        budget.turn = WORK_A_TURN
      }
    }
    const first = earliest(streams)
    if (first === null) return { records, positions: null }
    if (records.length >= limit) return { records, positions: positions() }
    records.push(first.take())
    pending = [first]
  }
}

function spent(budget: Budget): boolean {
  return budget.rows <= 0 || budget.entries <= 0 || budget.turn-- <= 0
}

function earliest(streams: readonly RowStream[]): RowStream | null {
  let first: RowStream | null = null
  for (const stream of streams) {
    if (stream.record === null) continue
    if (first === null || stream.comesBefore(first)) first = stream
  }
  return first
}

/** One partition's rows that the query wants, one at a time. */
class RowStream {
  readonly partition: number
  record: SinkRecord | null = null
  readonly #query: RowQuery
  #seq: number
  #row: number
  #chunk: readonly Entry[] = []
  #chunkIndex = 0
  #ended = false
  #timeMs = 0
  #key: Uint8Array | null = null

  constructor(query: RowQuery, partition: number, start: RowPosition) {
    this.#query = query
    this.partition = partition
    this.#seq = start.seq
    this.#row = start.row
  }

  /** Of the row held, or of the next to be looked at. */
  get position(): RowPosition {
    return { seq: this.#seq, row: this.#row }
  }

  /** Finds the next row, or the end. False: the turn or the budget ended first; another call goes on from there. */
  seekRow(budget: Budget): boolean {
    const { decoder, feed, wants, accepts, eventTimeMs, endMs } = this.#query
    while (this.record === null && !this.#ended) {
      const entry = this.#entry()
      if (entry === null) {
        this.#ended = true
        return true
      }
      if (feedOf(entry) !== feed) {
        if (spent(budget)) return false
        budget.entries--
        this.#nextEntry(entry)
        continue
      }
      if (entry.eventTimeMs >= endMs) {
        this.#ended = true
        return true
      }
      const rows = decoder.rowCount(this.partition, entry)
      for (; this.#row < rows; this.#row++) {
        if (spent(budget)) return false
        budget.rows--
        if (!wants(this.partition, entry, this.#row)) continue
        const record = decoder.record(this.partition, entry, this.#row)
        if (!accepts(record)) continue
        this.record = record
        this.#timeMs = eventTimeMs(record)
        this.#key = null
        return true
      }
      if (spent(budget)) return false
      budget.entries--
      this.#nextEntry(entry)
    }
    return true
  }

  take(): SinkRecord {
    const record = this.record!
    this.record = null
    this.#row++
    return record
  }

  comesBefore(other: RowStream): boolean {
    if (this.#timeMs !== other.#timeMs) return this.#timeMs < other.#timeMs
    const order = compareBytes(this.#sortKey(), other.#sortKey())
    return order !== 0 ? order < 0 : this.partition < other.partition
  }

  #sortKey(): Uint8Array {
    this.#key ??= this.#query.sortKey(this.record!)
    return this.#key
  }

  #entry(): Entry | null {
    if (this.#chunkIndex >= this.#chunk.length) {
      const { state, pipelineId } = this.#query
      this.#chunk = state.entries(pipelineId, this.partition, this.#seq, READ_LIMITS)
      this.#chunkIndex = 0
    }
    const entry = this.#chunk[this.#chunkIndex]
    if (entry === undefined) return null
    if (entry.seq !== this.#seq) {
      this.#seq = entry.seq
      this.#row = 0
    }
    return entry
  }

  #nextEntry(entry: Entry): void {
    this.#seq = entry.seq + 1
    this.#row = 0
    this.#chunkIndex++
  }
}

/** Entries a search may pass over that are no results; then it stops early, and the reader filters from there. */
const PROBED_ENTRIES_MAX = 4_096

/**
 * A seq at or before the first RESULTS entry whose window ends at or after `timeMs`, by binary search: results come in
 * order of window end, what lies between them does not. O(log n) reads when results are the bulk of the stream.
 */
export function firstResultSeq(
  state: Pick<StateReader, 'entries' | 'seqRange'>,
  pipelineId: number,
  partition: number,
  timeMs: number,
): number {
  const { firstSeq, endSeq } = state.seqRange(pipelineId, partition)
  let low = firstSeq
  let high = endSeq
  let probesLeft = PROBED_ENTRIES_MAX
  while (low < high && probesLeft > 0) {
    const middle = Math.floor((low + high) / 2)
    let found: Entry | null = null
    for (let seq = middle; seq < high && found === null && probesLeft > 0; ) {
      const entry = state.entries(pipelineId, partition, seq, { countMax: 1 })[0]
      if (entry === undefined || entry.seq >= high) break
      if (feedOf(entry) === 'results') found = entry
      seq = entry.seq + 1
      probesLeft--
    }
    if (found === null && probesLeft === 0) break
    // Between the middle and `high` lie no results, or the first of them is not too early: look before the middle.
    if (found === null || found.eventTimeMs >= timeMs) high = middle
    else low = found.seq + 1
  }
  return low
}
