/**
 * Bytes of result stream entries (layouts in contract/entries.ts), numbered in order and handed to the sink. One buffer
 * is reused for all. Little-endian, as every layout here.
 */
import type { Alert } from '../contract/alert.ts'
import {
  ARRIVALS_HEADER_BYTES,
  ENTRY_ALERT,
  ENTRY_ARRIVALS,
  ENTRY_FEEDBACK,
  ENTRY_LATE,
  ENTRY_MARK,
  ENTRY_PARTIAL,
  ENTRY_RESULTS,
  type EntrySink,
  FEEDBACK_BYTES,
  LATE_HEADER_BYTES,
  MARK_BYTES,
  PARTIAL_HEADER_BYTES,
  RESULTS_HEADER_BYTES,
} from '../contract/entries.ts'
import type { SampleView } from '../contract/samples.ts'
import type { EventClock } from '../time/event-clock.ts'
import { assert } from '../util/assert.ts'

/** A window with more rows is split into several entries; a sink or a ring never meets a larger one. */
export const ENTRY_BYTES_MAX = 256 * 1024
const CELL_BYTES = 8
const GROUP_ID_BYTES = 4
const LATE_SAMPLE_BYTES = 28

/** A fired window, column by column: cell (column, row) at column · capacity + row. */
export interface ResultTable {
  readonly rowCount: number
  readonly columnCount: number
  readonly capacity: number
  readonly cells: Float64Array
  readonly groupIds: Int32Array
}

/** What one slice holds: the cells of its rows lie `stride` apart from `base` on. */
export interface PartialRows {
  readonly slice: number
  readonly openFromMs: number
  readonly logMs: number
  readonly cells: Float64Array
  readonly base: number
  readonly stride: number
  /** The first of them have samples. */
  readonly rows: Int32Array
  /** Group id + 1 of each row. */
  readonly groupIds: Float64Array
}

/** Rows of a fired window in one entry. */
export function rowsAnEntry(columnCount: number): number {
  const rowBytes = columnCount * CELL_BYTES + GROUP_ID_BYTES
  const rows = Math.floor((ENTRY_BYTES_MAX - RESULTS_HEADER_BYTES) / rowBytes)
  assert(rows > 0, 'a row fits an entry', columnCount)
  return rows
}

export class EntryWriter {
  readonly #sink: EntrySink
  #bytes: Uint8Array = new Uint8Array(0)
  #f64: Float64Array = new Float64Array(0)
  #i32: Int32Array = new Int32Array(0)
  nextSeq = 0

  constructor(sink: EntrySink) {
    this.#sink = sink
  }

  results(table: ResultTable, startMs: number, endMs: number, causeOffset: number): void {
    const rowBytes = table.columnCount * CELL_BYTES + GROUP_ID_BYTES
    const rowsMax = rowsAnEntry(table.columnCount)
    for (let from = 0; from < table.rowCount; from += rowsMax) {
      const rows = Math.min(rowsMax, table.rowCount - from)
      const length = RESULTS_HEADER_BYTES + rows * rowBytes
      this.#ensure(length)
      this.#i32[0] = rows
      this.#i32[1] = table.columnCount
      this.#f64[1] = startMs
      this.#f64[2] = endMs
      let at = RESULTS_HEADER_BYTES / CELL_BYTES
      for (let column = 0; column < table.columnCount; column++) {
        const source = column * table.capacity + from
        this.#f64.set(table.cells.subarray(source, source + rows), at)
        at += rows
      }
      this.#i32.set(table.groupIds.subarray(from, from + rows), at * 2)
      this.#put(ENTRY_RESULTS, causeOffset, endMs, length)
    }
  }

  alert(alert: Alert, causeOffset: number): void {
    const bytes = Buffer.from(JSON.stringify(alert), 'utf8')
    assert(bytes.length <= ENTRY_BYTES_MAX, 'an alert fits an entry', bytes.length)
    this.#ensure(bytes.length)
    this.#bytes.set(bytes)
    this.#put(ENTRY_ALERT, causeOffset, alert.atMs, bytes.length)
  }

  /** Samples of one record batch, by index. Its cause is the record. */
  late(view: SampleView, indices: Int32Array, count: number): void {
    const length = LATE_HEADER_BYTES + count * LATE_SAMPLE_BYTES
    this.#ensure(length)
    this.#i32[0] = count
    this.#i32[1] = 0
    const at = LATE_HEADER_BYTES / CELL_BYTES
    const idsAt = (at + 3 * count) * 2
    let newestMs = -Infinity
    for (let j = 0; j < count; j++) {
      const i = indices[j]!
      const timestampMs = view.timestampsMs[view.timestampsMsAt + i]!
      if (timestampMs > newestMs) newestMs = timestampMs
      this.#f64[at + j] = timestampMs
      this.#f64[at + count + j] = view.values[view.valuesAt + i]!
      this.#f64[at + 2 * count + j] = view.baseOffset + i
      this.#i32[idsAt + j] = view.seriesIds[view.seriesIdsAt + i]!
    }
    this.#put(ENTRY_LATE, view.baseOffset, newestMs, length)
  }

  partial(part: PartialRows, rowCount: number, causeOffset: number): void {
    const { cells, base, stride, rows } = part
    const rowsMax = Math.floor(
      (ENTRY_BYTES_MAX - PARTIAL_HEADER_BYTES) / (stride * CELL_BYTES + GROUP_ID_BYTES),
    )
    assert(rowsMax > 0, 'a row fits an entry', stride)
    for (let from = 0; from < rowCount; from += rowsMax) {
      const count = Math.min(rowsMax, rowCount - from)
      const length = PARTIAL_HEADER_BYTES + count * (stride * CELL_BYTES + GROUP_ID_BYTES)
      this.#ensure(length)
      this.#i32[0] = count
      this.#i32[1] = stride
      this.#f64[1] = part.logMs
      this.#f64[2] = part.slice
      this.#f64[3] = part.openFromMs
      let at = PARTIAL_HEADER_BYTES / CELL_BYTES
      const idsAt = (at + count * stride) * 2
      for (let j = 0; j < count; j++) {
        const row = rows[from + j]!
        const source = base + row * stride
        for (let cell = 0; cell < stride; cell++) this.#f64[at++] = cells[source + cell]!
        this.#i32[idsAt + j] = part.groupIds[row]! - 1
      }
      this.#put(ENTRY_PARTIAL, causeOffset, part.logMs, length)
    }
  }

  mark(state: number, passed: boolean, clock: EventClock, downFromMs: number, causeOffset: number): void {
    this.#ensure(MARK_BYTES)
    this.#i32[0] = state
    this.#i32[1] = passed ? 1 : 0
    this.#f64[1] = clock.logMs
    this.#f64[2] = clock.watermarkMs
    this.#f64[3] = clock.newestMs
    this.#f64[4] = clock.lastSampleLogMs
    this.#f64[5] = downFromMs
    this.#put(ENTRY_MARK, causeOffset, clock.logMs, MARK_BYTES)
  }

  /** `logMs`: of the record in which the groups have samples. */
  arrivals(groupIds: Int32Array, count: number, logMs: number, causeOffset: number): void {
    const idsMax = (ENTRY_BYTES_MAX - ARRIVALS_HEADER_BYTES) / GROUP_ID_BYTES
    for (let from = 0; from < count; from += idsMax) {
      const ids = Math.min(idsMax, count - from)
      const length = ARRIVALS_HEADER_BYTES + ids * GROUP_ID_BYTES
      this.#ensure(length)
      this.#i32[0] = ids
      this.#i32[1] = 0
      this.#f64[1] = logMs
      this.#i32.set(groupIds.subarray(from, from + ids), ARRIVALS_HEADER_BYTES / GROUP_ID_BYTES)
      this.#put(ENTRY_ARRIVALS, causeOffset, logMs, length)
    }
  }

  /** `id`: of the row of feedback. */
  feedback(id: number, logMs: number, causeOffset: number): void {
    this.#ensure(FEEDBACK_BYTES)
    this.#i32[0] = 0
    this.#i32[1] = 0
    this.#f64[1] = logMs
    this.#f64[2] = id
    this.#put(ENTRY_FEEDBACK, causeOffset, logMs, FEEDBACK_BYTES)
  }

  #put(kind: number, causeOffset: number, eventTimeMs: number, length: number): void {
    this.#sink.entry(kind, this.nextSeq, causeOffset, eventTimeMs, this.#bytes, length)
    this.nextSeq++
  }

  #ensure(length: number): void {
    if (length <= this.#bytes.length) return
    let capacity = 4_096
    while (capacity < length) capacity *= 2
    const buffer = new ArrayBuffer(capacity)
    this.#bytes = new Uint8Array(buffer)
    this.#f64 = new Float64Array(buffer)
    this.#i32 = new Int32Array(buffer)
  }
}
