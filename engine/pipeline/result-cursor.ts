/**
 * A cursor over one pipeline's result streams, for one sink: all partitions in turn, each in order, every record once.
 * Reads committed entries only. Of alerts it passes over what a silence withheld, and hands out what is told late before the
 * entry that it is stored with: both were decided with a transaction that no later one changes. What was read counts as done when it is settled, not before; an entry of a feed the
 * sink does not want is passed over. Called by the outbox; knows no sink.
 */
import type { SinkFeed, SinkPositions, SinkRecord } from '../contract/plugins.ts'
import type { Retold } from '../contract/silences.ts'
import type { Entry, StateReader } from '../store/state-contract.ts'
import { type EntryDecoder, feedOf } from './entry-decoder.ts'

/** One read of the store; an entry is at most as large itself. */
const READ_ENTRIES_MAX = 256
const READ_BYTES_MAX = 256 * 1024
/** Entries passed over in one `read`, so that a rare feed in a busy stream cannot hold the thread. */
const SCANNED_ENTRIES_MAX = 4_096

export type EntryReader = Pick<StateReader, 'entries' | 'progress' | 'withheld' | 'retold'>

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
  readonly #rowsAt: Float64Array
  readonly #settledSeqs: Float64Array
  readonly #settledRows: Float64Array
  #turn = 0

  constructor(options: CursorOptions) {
    this.#options = options
    this.#seqs = new Float64Array(options.partitions)
    this.#rowsAt = new Float64Array(options.partitions)
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
      this.#rowsAt[Number(partition)] = row
    }
    this.settle()
  }

  /** Everything read so far is in the sink. */
  settle(): void {
    this.#settledSeqs.set(this.#seqs)
    this.#settledRows.set(this.#rowsAt)
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
    const { reader, pipelineId } = this.#options
    for (const [name, position] of Object.entries(positions)) {
      const partition = Number(name)
      let { seq, row } = position
      for (;;) {
        const entries = reader.entries(pipelineId, partition, seq, READ_LIMITS)
        const told = this.#told(partition, seq, entries)
        if (entries.length === 0) {
          yield* this.#rows(partition, told, seq, null, row)
          break
        }
        for (const entry of entries) {
          yield* this.#rows(partition, told, entry.seq, entry, entry.seq === seq ? row : 0)
          seq = entry.seq + 1
          row = 0
        }
      }
    }
  }

  /** What silences have done to entries that were just read, or to the end of the stream. Read after them: see `Told`. */
  #told(partition: number, fromSeq: number, entries: readonly Entry[]): Told {
    const { reader, pipelineId, feed } = this.#options
    if (feed !== 'alerts') return ALL_TOLD
    const toSeq = (entries.at(-1)?.seq ?? fromSeq) + 1
    const withheld = new Set(reader.withheld(pipelineId, partition, fromSeq, toSeq).map(({ seq }) => seq))
    const late = new Map<number, Retold[]>()
    for (const one of reader.retold(pipelineId, partition, fromSeq, toSeq)) {
      const known = late.get(one.beforeSeq)
      if (known === undefined) late.set(one.beforeSeq, [one])
      else known.push(one)
    }
    return { withheld, late }
  }

  #rowCount(partition: number, { withheld, late }: Told, seq: number, entry: Entry | null): number {
    const { decoder, feed } = this.#options
    const isTold = entry !== null && feedOf(entry) === feed && !withheld.has(seq)
    return (late.get(seq)?.length ?? 0) + (isTold ? decoder.rowCount(partition, entry) : 0)
  }

  #record(partition: number, { late }: Told, seq: number, entry: Entry | null, row: number): SinkRecord {
    const { decoder } = this.#options
    const before = late.get(seq) ?? NONE_LATE
    if (row < before.length) return decoder.retold(partition, before[row]!, row)
    const record = decoder.record(partition, entry!, row - before.length)
    // Its id is the one it has without what comes before it; its position is not.
    return before.length === 0 ? record : { ...record, row }
  }

  *#rows(
    partition: number,
    told: Told,
    seq: number,
    entry: Entry | null,
    fromRow: number,
  ): Generator<SinkRecord, void, void> {
    const rows = this.#rowCount(partition, told, seq, entry)
    for (let row = fromRow; row < rows; row++) yield this.#record(partition, told, seq, entry, row)
  }

  /** Takes records until `records` is `end` long, `scanMax` entries were read or the stream ends; returns entries read. */
  #readPartition(partition: number, records: SinkRecord[], end: number, scanMax: number): number {
    const { reader, pipelineId, onLost } = this.#options
    let scanned = 0
    while (scanned < scanMax && records.length < end) {
      const fromSeq = this.#seqs[partition]!
      const entries = reader.entries(pipelineId, partition, fromSeq, READ_LIMITS)
      const told = this.#told(partition, fromSeq, entries)
      if (entries.length === 0) {
        const fromRow = this.#rowsAt[partition]!
        const row = this.#take(partition, told, fromSeq, null, records, end)
        return row > fromRow ? scanned + 1 : scanned
      }
      for (const entry of entries) {
        const wantedSeq = this.#seqs[partition]!
        if (entry.seq > wantedSeq) {
          onLost(partition, wantedSeq, entry.seq)
          this.#rowsAt[partition] = 0
        }
        this.#seqs[partition] = entry.seq
        const row = this.#take(partition, told, entry.seq, entry, records, end)
        scanned++
        if (row < this.#rowCount(partition, told, entry.seq, entry)) return scanned
        this.#seqs[partition] = entry.seq + 1
        this.#rowsAt[partition] = 0
        if (records.length >= end) return scanned
      }
    }
    return scanned
  }

  /** Hands out rows from where the cursor stands within `seq`; returns the row it stands at then. */
  #take(
    partition: number,
    told: Told,
    seq: number,
    entry: Entry | null,
    records: SinkRecord[],
    end: number,
  ): number {
    const { wholeEntries = false } = this.#options
    const rows = this.#rowCount(partition, told, seq, entry)
    let row = this.#rowsAt[partition]!
    for (; row < rows && (wholeEntries || records.length < end); row++) {
      records.push(this.#record(partition, told, seq, entry, row))
    }
    this.#rowsAt[partition] = row
    return row
  }
}

/**
 * Read after the entries that it is about. What is told late before an entry was stored before that entry was committed, and
 * what is withheld with it, so that whoever has seen the entry sees all of both.
 */
interface Told {
  readonly withheld: ReadonlySet<number>
  readonly late: ReadonlyMap<number, readonly Retold[]>
}

const NONE_LATE: readonly Retold[] = []
const ALL_TOLD: Told = { withheld: new Set(), late: new Map() }
const READ_LIMITS = { countMax: READ_ENTRIES_MAX, bytesMax: READ_BYTES_MAX }
