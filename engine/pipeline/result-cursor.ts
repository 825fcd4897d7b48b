/**
 * A cursor over one pipeline's result streams, for one sink: all partitions in turn, each in order, every record once.
 * Reads committed entries only. What was read counts as done when it is settled, not before; an entry of a feed the
 * sink does not want is passed over. Called by the outbox; knows no sink.
 */
import type { SinkFeed, SinkPositions, SinkRecord } from '../contract/plugins.ts'
import type { StateReader } from '../store/state-contract.ts'
import { type EntryDecoder, feedOf } from './entry-decoder.ts'

/** One read of the store; an entry is at most as large itself. */
const READ_ENTRIES_MAX = 256
const READ_BYTES_MAX = 256 * 1024
/** Entries passed over in one `read`, so that a rare feed in a busy stream cannot hold the thread. */
const SCANNED_ENTRIES_MAX = 4_096

export type EntryReader = Pick<StateReader, 'entries' | 'progress'>

export interface CursorOptions {
  readonly reader: EntryReader
  readonly decoder: EntryDecoder
  readonly pipelineId: number
  readonly partitions: number
  readonly feed: SinkFeed
  /** No entry is cut: a read may give more records than asked for. */
  readonly wholeEntries?: boolean
  /** Entries that retention deleted before this sink had them. */
  readonly onLost: (partition: number, fromSeq: number, toSeq: number) => void
}

export interface CursorRead {
  readonly records: readonly SinkRecord[]
  /** There may be more at once; false: the end of every stream was met. */
  readonly more: boolean
}

export class ResultCursor {
  readonly #options: CursorOptions
  readonly #seqs: Float64Array
  readonly #rows: Float64Array
  readonly #settledSeqs: Float64Array
  readonly #settledRows: Float64Array
  #turn = 0

  constructor(options: CursorOptions) {
    this.#options = options
    this.#seqs = new Float64Array(options.partitions)
    this.#rows = new Float64Array(options.partitions)
    this.#settledSeqs = new Float64Array(options.partitions)
    this.#settledRows = new Float64Array(options.partitions)
  }

  /** The oldest retained record of every partition. */
  oldest(): SinkPositions {
    const { reader, pipelineId, partitions } = this.#options
    const positions: Record<string, SinkPositions[string]> = {}
    for (let partition = 0; partition < partitions; partition++) {
      const first = reader.entries(pipelineId, partition, 0, { countMax: 1 })[0]
      const seq = first?.seq ?? reader.progress(pipelineId, partition)?.nextSeq ?? 0
      positions[partition] = { seq, row: 0 }
    }
    return positions
  }

  seek(positions: SinkPositions): void {
    for (const [partition, { seq, row }] of Object.entries(positions)) {
      if (Number(partition) >= this.#options.partitions) continue
      this.#seqs[Number(partition)] = seq
      this.#rows[Number(partition)] = row
    }
    this.settle()
  }

  /** Everything read so far is in the sink. */
  settle(): void {
    this.#settledSeqs.set(this.#seqs)
    this.#settledRows.set(this.#rows)
  }

  /** Up to where records were settled: what may be remembered. */
  positions(): SinkPositions {
    const positions: Record<string, SinkPositions[string]> = {}
    for (let partition = 0; partition < this.#seqs.length; partition++) {
      positions[partition] = { seq: this.#settledSeqs[partition]!, row: this.#settledRows[partition]! }
    }
    return positions
  }

  /** Entries committed and not yet settled, over all partitions. */
  lagEntries(): number {
    const { reader, pipelineId } = this.#options
    let lag = 0
    for (let partition = 0; partition < this.#seqs.length; partition++) {
      const nextSeq = reader.progress(pipelineId, partition)?.nextSeq ?? 0
      lag += Math.max(0, nextSeq - this.#settledSeqs[partition]!)
    }
    return lag
  }

  /** The next records, at most `recordsMax`, and the rest of an entry that is not to be cut. Each read begins with another partition: a busy one starves no other. */
  read(recordsMax: number): CursorRead {
    const records: SinkRecord[] = []
    const { partitions } = this.#options
    let scanned = 0
    for (let turn = 0; turn < partitions; turn++) {
      const partition = this.#turn
      this.#turn = (partition + 1) % partitions
      scanned += this.#readPartition(partition, records, recordsMax, SCANNED_ENTRIES_MAX - scanned)
      if (records.length >= recordsMax || scanned >= SCANNED_ENTRIES_MAX) break
    }
    return { records, more: scanned > 0 }
  }

  /** Records from the positions on, partition by partition, of the partitions named; moves nothing. */
  *from(positions: SinkPositions): Generator<SinkRecord, void, void> {
    const { reader, decoder, pipelineId, feed } = this.#options
    for (const [name, position] of Object.entries(positions)) {
      const partition = Number(name)
      let { seq, row } = position
      for (;;) {
        const entries = reader.entries(pipelineId, partition, seq, READ_LIMITS)
        if (entries.length === 0) break
        for (const entry of entries) {
          const fromRow = entry.seq === seq ? row : 0
          if (feedOf(entry) === feed) yield* decoder.records(partition, entry, fromRow)
          seq = entry.seq + 1
          row = 0
        }
      }
    }
  }

  /** Takes records until `records` is `end` long, `scanMax` entries were read or the stream ends; returns entries read. */
  #readPartition(partition: number, records: SinkRecord[], end: number, scanMax: number): number {
    const { reader, decoder, pipelineId, feed, onLost, wholeEntries = false } = this.#options
    let scanned = 0
    while (scanned < scanMax && records.length < end) {
      const entries = reader.entries(pipelineId, partition, this.#seqs[partition]!, READ_LIMITS)
      if (entries.length === 0) return scanned
      for (const entry of entries) {
        const wantedSeq = this.#seqs[partition]!
        if (entry.seq > wantedSeq) {
          onLost(partition, wantedSeq, entry.seq)
          this.#rows[partition] = 0
        }
        this.#seqs[partition] = entry.seq
        const rows = feedOf(entry) === feed ? decoder.rowCount(partition, entry) : 0
        let row = this.#rows[partition]!
        for (; row < rows && (wholeEntries || records.length < end); row++) {
          records.push(decoder.record(partition, entry, row))
        }
        scanned++
        if (row < rows) {
          this.#rows[partition] = row
          return scanned
        }
        this.#seqs[partition] = entry.seq + 1
        this.#rows[partition] = 0
        if (records.length >= end) return scanned
      }
    }
    return scanned
  }
}

const READ_LIMITS = { countMax: READ_ENTRIES_MAX, bytesMax: READ_BYTES_MAX }
