/**
 * Rows with named columns to samples: what the CSV and the NDJSON decoder share. A decoder finds the fields of a row
 * (time, values, labels, in the order of `wanted`) and this turns them into samples, all of the row or none of it.
 * Knows nothing of quoting or JSON; works on bytes; allocates only for series seen for the first time and for faults.
 */
import type { SampleBuilder } from '../../engine/batch/sample-builder.ts'
import { nearest } from '../../engine/config/did-you-mean.ts'
import { type Fault, MillraceError } from '../../engine/contract/errors.ts'
import {
  type DecodeReport,
  type Decoder,
  LINE_FAULTS_KEPT_MAX,
  type LineFault,
} from '../../engine/contract/plugins.ts'
import { NAME_LABEL } from '../../engine/contract/samples.ts'
import { SERIES_KEY_BYTES_MAX } from '../../engine/series/series-key.ts'
import { SERIES_KEY_TOO_LONG, type SeriesTable } from '../../engine/series/series-table.ts'
import { isAbsent, readDecimal } from './decimal.ts'
import { ID_UNKNOWN, LabelRows } from './label-rows.ts'
import { type TimeFormat, TimeReader } from './time-reader.ts'

export const NO_SUCH_COLUMN = 'there is no such column'

/** Longer rows are faults: most likely a quote that nobody closed, or no text at all. */
export const ROW_BYTES_MAX = 262_144
/** Columns of one row. */
export const COLUMNS_MAX = 4_096
const FAULT_TEXT_LENGTH_MAX = 120
const COLUMNS_NAMED_MAX = 40

export interface ColumnOptions {
  readonly time: string
  /** One series for each: `<name>_<column>`, or `<name>` for a column called `value`. */
  readonly value: string | readonly string[]
  readonly labels?: readonly string[]
  /** The metric's name; the file's stem, as a rule. */
  readonly name: string
  /** Default `auto`: as the first row's looks, then fixed. */
  readonly timeFormat?: TimeFormat
}

export interface ColumnDecoderOptions {
  readonly table: SeriesTable
  readonly builder: SampleBuilder
  readonly columns: ColumnOptions
  /** What to call the input in errors: `data.csv`. */
  readonly place: string
  /** Rows later than this are faults; default: none is. */
  readonly latestMs?: number
}

export interface ColumnReport extends DecodeReport {
  /** Values that were empty or missing: no sample, no fault. */
  readonly emptyValues: number
  /** Columns asked for that no row had (NDJSON), with those seen instead. */
  readonly unseen: readonly string[]
}

export interface ColumnDecoder extends Decoder {
  end(): ColumnReport
}

export class ColumnRows {
  /** Time, values, labels: the decoder fills `starts` and `ends` in this order. */
  readonly wanted: readonly string[]
  readonly starts: Int32Array
  readonly ends: Int32Array
  readonly #values: readonly string[]
  readonly #labels: readonly string[]
  readonly #names: readonly string[]
  readonly #table: SeriesTable
  readonly #builder: SampleBuilder
  readonly #latestMs: number
  readonly #time: TimeReader
  readonly #rows: LabelRows
  readonly #scratch: Float64Array
  readonly #faults: LineFault[] = []
  #faultCount = 0
  #samples = 0
  #futureSamples = 0
  #emptyValues = 0

  constructor(options: ColumnDecoderOptions) {
    const { time, value, labels = [], name, timeFormat = 'auto' } = options.columns
    this.#values = typeof value === 'string' ? [value] : value
    this.#labels = labels
    this.wanted = [time, ...this.#values, ...labels]
    refuseDoubles(options.place, this.#values, labels)
    this.#names = this.#values.map((column) => (column === 'value' ? name : `${name}_${column}`))
    this.#table = options.table
    this.#builder = options.builder
    this.#latestMs = options.latestMs ?? Number.POSITIVE_INFINITY
    this.#time = new TimeReader(timeFormat)
    this.starts = new Int32Array(this.wanted.length)
    this.ends = new Int32Array(this.wanted.length)
    this.#rows = new LabelRows(labels.length, this.#values.length)
    this.#scratch = new Float64Array(this.#values.length)
  }

  /** Adds the row's samples and returns null, or adds none and says why. */
  // hot:
  take(bytes: Uint8Array): string | null {
    const starts = this.starts
    const ends = this.ends
    const scratch = this.#scratch
    const width = scratch.length
    const timeMs = this.#time.read(bytes, starts[0]!, ends[0]!)
    if (Number.isNaN(timeMs)) return this.#time.problem
    let empty = 0
    for (let column = 0; column < width; column++) {
      const value = readDecimal(bytes, starts[column + 1]!, ends[column + 1]!)
      if (Number.isNaN(value)) {
        if (!isAbsent(bytes, starts[column + 1]!, ends[column + 1]!)) return this.#badValue(bytes, column)
        empty++
      }
      scratch[column] = value
    }
    if (timeMs > this.#latestMs) return this.#tooLate(timeMs, width - empty)
    const base = this.#rows.find(bytes, starts, ends, width + 1) * width
    const ids = this.#rows.ids
    for (let column = 0; column < width; column++) {
      if (ids[base + column]! >= 0 || Number.isNaN(scratch[column])) continue
      const problem = this.#learn(bytes, base, column)
      if (problem !== null) return problem
    }
    const builder = this.#builder
    for (let column = 0; column < width; column++) {
      const value = scratch[column]!
      if (!Number.isNaN(value)) builder.push(ids[base + column]!, timeMs, value)
    }
    this.#samples += width - empty
    this.#emptyValues += empty
    return null
  }

  fault(line: number, problem: string, bytes: Uint8Array, from: number, to: number): void {
    this.#faultCount++
    if (this.#faults.length < LINE_FAULTS_KEPT_MAX) {
      this.#faults.push({ line, problem, text: shownText(bytes, from, to) })
    }
  }

  report(lines: number, unseen: readonly string[]): ColumnReport {
    return {
      lines,
      samples: this.#samples,
      stringFields: 0,
      futureSamples: this.#futureSamples,
      faultCount: this.#faultCount,
      faults: this.#faults,
      emptyValues: this.#emptyValues,
      unseen,
    }
  }

  /** Gives the series its id, or says why it has none; a refusal is for good, as the table's is. */
  #learn(bytes: Uint8Array, base: number, column: number): string | null {
    const ids = this.#rows.ids
    if (ids[base + column] === ID_UNKNOWN)
      ids[base + column] = this.#table.intern(this.#labelsOf(bytes, column))
    const id = ids[base + column]!
    if (id >= 0) return null
    return id === SERIES_KEY_TOO_LONG
      ? `name and labels are longer than ${SERIES_KEY_BYTES_MAX} bytes`
      : 'one series too many: the series limit of the topic is reached'
  }

  #labelsOf(bytes: Uint8Array, column: number): Record<string, string> {
    const labels: Record<string, string> = { [NAME_LABEL]: this.#names[column]! }
    for (let i = 0; i < this.#labels.length; i++) {
      const field = this.#values.length + 1 + i
      labels[this.#labels[i]!] = utf8.decode(bytes.subarray(this.starts[field]!, this.ends[field]!))
    }
    return labels
  }

  #badValue(bytes: Uint8Array, column: number): string {
    const text = shownText(bytes, this.starts[column + 1]!, this.ends[column + 1]!)
    return `${this.#values[column]} ${JSON.stringify(text)} is not a number`
  }

  #tooLate(timeMs: number, samples: number): string {
    this.#futureSamples += samples
    const limit = new Date(this.#latestMs).toISOString()
    return `time ${timeMs} ms is in the future: nothing after ${limit} is taken`
  }
}

const utf8 = new TextDecoder()

function shownText(bytes: Uint8Array, from: number, to: number): string {
  // At most four bytes a character, so that the cut does not split one that is shown.
  const text = utf8.decode(bytes.subarray(from, Math.min(to, from + FAULT_TEXT_LENGTH_MAX * 4)))
  return text.length > FAULT_TEXT_LENGTH_MAX ? `${text.slice(0, FAULT_TEXT_LENGTH_MAX)}…` : text
}

function refuseDoubles(place: string, values: readonly string[], labels: readonly string[]): void {
  const faults: Fault[] = []
  const add = (value: unknown, problem: string, remedy: string): void => {
    faults.push({ place, value, problem, remedy })
  }
  if (values.length === 0) add(values, 'no value column is named', 'Name at least one.')
  for (const column of values) {
    if (values.indexOf(column) !== values.lastIndexOf(column)) {
      add(column, 'the value column is named twice', 'Name it once.')
    }
  }
  for (const column of labels) {
    if (labels.indexOf(column) !== labels.lastIndexOf(column)) {
      add(column, 'the label column is named twice', 'Name it once.')
    }
    if (column === NAME_LABEL || column === '') {
      add(column, 'is no label', 'The metric is named by the name option and the value column.')
    }
  }
  if (faults.length > 0) throw MillraceError.ofFaults('INPUT_INVALID', 'columns', faults)
}

/** ONE error for all columns that were asked for and are not there. */
export function columnsMissing(
  place: string,
  missing: readonly string[],
  seen: readonly string[],
  hint = '',
): MillraceError {
  const listed = seen.slice(0, COLUMNS_NAMED_MAX).join(', ')
  const more = seen.length > COLUMNS_NAMED_MAX ? ` and ${seen.length - COLUMNS_NAMED_MAX} more` : ''
  const faults = missing.map((column) => {
    const near = nearest(column, seen)
    const guess = near === null ? '' : `Did you mean "${near}"? `
    return {
      place,
      value: column,
      problem: NO_SUCH_COLUMN,
      remedy: `${guess}Columns seen: ${listed}${more}.${hint}`,
    }
  })
  return MillraceError.ofFaults('INPUT_INVALID', place, faults)
}
