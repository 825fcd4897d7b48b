/**
 * CSV to samples: RFC 4180 (quoted fields, doubled quotes, newlines inside quotes, CRLF), any one-byte delimiter, a byte
 * order mark, chunks cut anywhere. The answer does not depend on the cuts. Columns that the header lacks are ONE error
 * that lists those it has; a bad row is a fault with its line number and never loses a good one: reading goes on at the
 * line after the one that the bad row began on. Empty lines are skipped. One pass over the bytes; no strings but for
 * series seen for the first time, rows with quotes, and faults.
 */
import { MillraceError } from '../../engine/contract/errors.ts'
import {
  COLUMNS_MAX,
  type ColumnDecoder,
  type ColumnDecoderOptions,
  type ColumnReport,
  ColumnRows,
  columnsMissing,
  ROW_BYTES_MAX,
} from './columns.ts'
import { RowFeed } from './row-feed.ts'

export interface CsvOptions extends ColumnDecoderOptions {
  /** One ASCII character; default a comma. */
  readonly delimiter?: string
  /** Names of the columns where the input has no header row. */
  readonly header?: readonly string[]
}

const NEWLINE = 10
const RETURN = 13
const QUOTE = 34
const BOM = [0xef, 0xbb, 0xbf]

// What `scan` returns instead of the position of the row's newline.
const CUT = -1
const QUOTED = -2
const UNCLOSED = -3
const AFTER_QUOTE = -4

export function csvDecoder(options: CsvOptions): ColumnDecoder {
  return new CsvDecoder(options)
}

class CsvDecoder implements ColumnDecoder {
  readonly #rows: ColumnRows
  readonly #feed: RowFeed
  readonly #place: string
  readonly #delimiter: number
  /** Column of each wanted field, and how many columns a row has; null until the header was read. */
  #columns: Int32Array | null = null
  #width = 0
  /** bounds[0]: fields of the row; bounds[1 + k]: end of field k. */
  #bounds: Int32Array
  readonly #unquoted = new Uint8Array(ROW_BYTES_MAX + 1)
  /** Lines before the row at hand. */
  #lines = 0
  #ending = false
  /** Inside a line that is too long: everything up to its newline is dropped. */
  #skipping = false
  #bomLeft = BOM.length
  #report: ColumnReport | null = null

  constructor(options: CsvOptions) {
    const { delimiter = ',' } = options
    this.#place = options.place
    this.#delimiter = delimiterByte(delimiter, options.place)
    this.#rows = new ColumnRows(options)
    this.#bounds = new Int32Array(COLUMNS_MAX + 1)
    this.#feed = new RowFeed(ROW_BYTES_MAX, (bytes, from, to) => this.#take(bytes, from, to))
    if (options.header !== undefined) this.#useHeader(options.header)
  }

  write(chunk: Uint8Array): void {
    let from = 0
    // The mark is not held back: three bytes, one at a time, wherever the cuts are.
    while (this.#bomLeft > 0 && from < chunk.length) {
      if (chunk[from] !== BOM[BOM.length - this.#bomLeft]) {
        this.#bomLeft = 0
        break
      }
      from++
      this.#bomLeft--
    }
    this.#feed.write(from === 0 ? chunk : chunk.subarray(from))
  }

  end(): ColumnReport {
    if (this.#report !== null) return this.#report
    this.#ending = true
    this.#feed.end()
    if (this.#skipping) this.#lines++
    if (this.#columns === null) {
      throw new MillraceError('INPUT_INVALID', `${this.#place}: is empty, not even a header row is there`)
    }
    this.#report = this.#rows.report(this.#lines, [])
    return this.#report
  }

  // hot:
  #take(bytes: Uint8Array, start: number, to: number): number {
    const bounds = this.#bounds
    const delimiter = this.#delimiter
    let from = start
    while (from < to) {
      if (this.#skipping) {
        const newline = bytes.indexOf(NEWLINE, from)
        if (newline < 0 || newline >= to) return to
        this.#skipping = false
        this.#lines++
        from = newline + 1
        continue
      }
      const limit = Math.min(to, from + ROW_BYTES_MAX + 1)
      const newline = scanPlain(bytes, from, limit, delimiter, bounds)
      if (newline < 0) {
        const next = this.#takeOther(newline, bytes, from, limit, to)
        if (next < 0) return from
        from = next
        continue
      }
      if (this.#columns === null) this.#readHeader(bytes, from, newline)
      else if (bounds[0] !== 1 || bounds[1] !== from) this.#takeFields(bytes, from, from, newline)
      this.#lines++
      from = newline + 1
    }
    return from
  }

  /** One row without quotes, or one whose quotes are gone; `from` to `to` is the row as it stands, for faults. */
  #takeFields(fields: Uint8Array, first: number, from: number, to: number, raw: Uint8Array = fields): void {
    const rows = this.#rows
    const columns = this.#columns!
    const bounds = this.#bounds
    let problem: string | null
    if (bounds[0] !== this.#width) {
      problem = `has ${bounds[0]} ${bounds[0] === 1 ? 'field' : 'fields'}, the header has ${this.#width}`
    } else {
      const starts = rows.starts
      const ends = rows.ends
      for (let i = 0; i < columns.length; i++) {
        const column = columns[i]!
        starts[i] = column === 0 ? first : bounds[column]! + 1
        ends[i] = bounds[column + 1]!
      }
      problem = rows.take(fields)
    }
    if (problem !== null) rows.fault(this.#lines + 1, problem, raw, from, to)
  }

  /** What is not a plain whole row: quotes, a cut, a line too long. Returns where to go on, or -1 to wait for more. */
  #takeOther(found: number, bytes: Uint8Array, from: number, limit: number, to: number): number {
    let end = found
    if (found === QUOTED) end = scanQuoted(bytes, from, limit, this.#delimiter, this.#bounds, this.#unquoted)
    if (end >= 0) {
      if (this.#columns === null) this.#readHeader(this.#unquoted, 0, end)
      else this.#takeFields(this.#unquoted, 0, from, end, bytes)
      this.#lines += newlinesIn(bytes, from, end) + 1
      return end + 1
    }
    const whole = limit - from > ROW_BYTES_MAX
    const newline = bytes.indexOf(NEWLINE, from)
    const cut = newline < 0 || newline >= to
    if (!whole && !this.#ending && (end !== AFTER_QUOTE || cut)) return -1
    let problem = `is longer than ${ROW_BYTES_MAX} bytes`
    if (end === AFTER_QUOTE) problem = 'has text after a closing quote'
    else if (end === UNCLOSED)
      problem = whole ? `${problem}; is a quote left open?` : 'a quote is never closed'
    if (this.#columns === null) {
      throw new MillraceError('INPUT_INVALID', `${this.#place}: the header row ${problem}`)
    }
    this.#rows.fault(this.#lines + 1, problem, bytes, from, cut ? limit : newline)
    if (cut) this.#skipping = true
    else this.#lines++
    return cut ? to : newline + 1
  }

  #readHeader(bytes: Uint8Array, first: number, newline: number): void {
    const bounds = this.#bounds
    const count = bounds[0]!
    if (count === 1 && newline === first) return // an empty line before the header
    if (count > COLUMNS_MAX) {
      throw new MillraceError('INPUT_INVALID', `${this.#place}: more than ${COLUMNS_MAX} columns`)
    }
    const names: string[] = []
    let from = first
    for (let i = 0; i < count; i++) {
      names.push(new TextDecoder().decode(bytes.subarray(from, bounds[i + 1]!)).trim())
      from = bounds[i + 1]! + 1
    }
    this.#useHeader(names)
  }

  #useHeader(names: readonly string[]): void {
    const wanted = this.#rows.wanted
    const missing = [...new Set(wanted)].filter((column) => !names.includes(column))
    if (missing.length > 0) {
      throw columnsMissing(this.#place, missing, names, delimiterHint(names, this.#delimiter))
    }
    const doubled = wanted.find((column) => names.indexOf(column) !== names.lastIndexOf(column))
    if (doubled !== undefined) {
      const problem = `the header has the column ${JSON.stringify(doubled)} more than once`
      throw new MillraceError('INPUT_INVALID', `${this.#place}: ${problem}. Rename one of them.`)
    }
    this.#columns = Int32Array.from(wanted, (column) => names.indexOf(column))
    this.#width = names.length
  }
}

/**
 * Fields of the row at `from`: position of its newline, QUOTED when a field starts with a quote, CUT when there is no
 * newline before `limit`.
 */
// hot:
function scanPlain(
  bytes: Uint8Array,
  from: number,
  limit: number,
  delimiter: number,
  bounds: Int32Array,
): number {
  if (from < limit && bytes[from] === QUOTE) return QUOTED
  let fields = 0
  for (let at = from; at < limit; at++) {
    const byte = bytes[at]!
    if (byte === delimiter) {
      if (++fields <= COLUMNS_MAX) bounds[fields] = at
      if (at + 1 < limit && bytes[at + 1] === QUOTE) return QUOTED
    } else if (byte === NEWLINE) {
      if (++fields <= COLUMNS_MAX) bounds[fields] = at > from && bytes[at - 1] === RETURN ? at - 1 : at
      bounds[0] = fields
      return at
    }
  }
  return CUT
}

/** As `scanPlain`, with the fields copied to `into` without their quotes, one byte apart, from position 0. */
function scanQuoted(
  bytes: Uint8Array,
  from: number,
  limit: number,
  delimiter: number,
  bounds: Int32Array,
  into: Uint8Array,
): number {
  let at = from
  let out = 0
  let fields = 0
  while (at < limit) {
    let quoted = bytes[at] === QUOTE
    if (quoted) {
      at++
      for (;;) {
        if (at >= limit) return UNCLOSED
        const byte = bytes[at++]!
        if (byte !== QUOTE) into[out++] = byte
        else if (at < limit && bytes[at] === QUOTE) into[out++] = bytes[at++]!
        else break
      }
    }
    let ended = false
    while (at < limit && !ended) {
      const byte = bytes[at]!
      if (byte === delimiter || byte === NEWLINE) {
        ended = true
      } else if (byte === RETURN && at + 1 < limit && bytes[at + 1] === NEWLINE) {
        at++
      } else if (byte === RETURN && at + 1 === limit) {
        return CUT
      } else {
        if (quoted) return AFTER_QUOTE
        into[out++] = byte
        at++
      }
    }
    if (!ended) return CUT
    if (++fields <= COLUMNS_MAX) bounds[fields] = out
    out++
    quoted = false
    if (bytes[at++] === NEWLINE) {
      bounds[0] = fields
      return at - 1
    }
  }
  return CUT
}

function newlinesIn(bytes: Uint8Array, from: number, to: number): number {
  let count = 0
  for (let at = bytes.indexOf(NEWLINE, from); at >= 0 && at < to; at = bytes.indexOf(NEWLINE, at + 1)) count++
  return count
}

function delimiterByte(delimiter: string, place: string): number {
  const byte = delimiter.charCodeAt(0)
  if (delimiter.length === 1 && byte < 0x80 && byte !== QUOTE && byte !== NEWLINE && byte !== RETURN)
    return byte
  throw MillraceError.ofFaults('INPUT_INVALID', place, [
    {
      place: `${place}.delimiter`,
      value: delimiter,
      problem: 'is not one ASCII character',
      remedy: 'Write one such as "," ";" "|" or a tab.',
    },
  ])
}

function delimiterHint(names: readonly string[], delimiter: number): string {
  if (names.length !== 1) return ''
  const other = [';', '\t', '|', ','].find(
    (one) => one.charCodeAt(0) !== delimiter && names[0]!.includes(one),
  )
  return other === undefined ? '' : ` The header is one column: is the delimiter ${JSON.stringify(other)}?`
}
