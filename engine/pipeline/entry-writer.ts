/**
 * Bytes of result stream entries (layouts in contract/entries.ts), numbered in order and handed to the sink. One buffer
 * is reused for all. Little-endian, as every layout here.
 */
import type { Alert } from '../contract/alert.ts'
import {
  ENTRY_ALERT,
  ENTRY_LATE,
  ENTRY_RESULTS,
  type EntrySink,
  LATE_HEADER_BYTES,
  RESULTS_HEADER_BYTES,
} from '../contract/entries.ts'
import type { SampleView } from '../contract/samples.ts'
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
    const rowsMax = Math.floor((ENTRY_BYTES_MAX - RESULTS_HEADER_BYTES) / rowBytes)
    assert(rowsMax > 0, 'a row fits an entry', table.columnCount)
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
