/**
 * NDJSON to samples: one JSON object a line, columns by key, nested ones by a path with dots; chunks cut anywhere. Flat
 * objects with plain strings are read byte by byte; a line with anything else (nesting, escapes, text beyond ASCII, a
 * fault) goes through JSON.parse, with the same answer. Numbers and booleans are values, and so are numbers in quotes;
 * null and missing values are counted and make no sample. A bad line is a fault with its number and loses no other.
 */
import {
  type ColumnDecoder,
  type ColumnDecoderOptions,
  type ColumnReport,
  ColumnRows,
  columnsMissing,
  ROW_BYTES_MAX,
} from './columns.ts'
import { RowFeed } from './row-feed.ts'

/** By then every column that is really there has been seen; a file without its time or any value is refused. */
export const HEAD_LINES = 1_000
/** Lines whose keys are remembered for that refusal. */
const SAMPLE_LINES = 20
const SEEN_MAX = 200
const DEPTH_MAX = 8

const TAB = 9
const NEWLINE = 10
const RETURN = 13
const SPACE = 32
const QUOTE = 34
const COMMA = 44
const MINUS = 45
const DOT = 46
const ZERO = 48
const NINE = 57
const COLON = 58
const BACKSLASH = 92
const OPEN = 123
const CLOSE = 125
const BOM = [0xef, 0xbb, 0xbf]

export function ndjsonDecoder(options: ColumnDecoderOptions): ColumnDecoder {
  return new LineDecoder(options)
}

class LineDecoder implements ColumnDecoder {
  readonly #rows: ColumnRows
  readonly #feed: RowFeed
  readonly #place: string
  readonly #valueCount: number
  readonly #keys: readonly Uint8Array[]
  readonly #paths: readonly (readonly string[])[]
  /** 1 for each wanted column that some line had. */
  readonly #found: Uint8Array
  readonly #seen = new Set<string>()
  #objects = 0
  #lines = 0
  #skipping = false
  #bomLeft = BOM.length
  #report: ColumnReport | null = null

  constructor(options: ColumnDecoderOptions) {
    this.#place = options.place
    this.#rows = new ColumnRows(options)
    const { wanted } = this.#rows
    this.#valueCount = wanted.length - 1 - (options.columns.labels?.length ?? 0)
    this.#keys = wanted.map((column) => new TextEncoder().encode(column))
    this.#paths = wanted.map((column) => column.split('.'))
    this.#found = new Uint8Array(wanted.length)
    this.#feed = new RowFeed(ROW_BYTES_MAX, (bytes, from, to) => this.#take(bytes, from, to))
  }

  write(chunk: Uint8Array): void {
    let from = 0
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
    this.#feed.end()
    if (this.#skipping) this.#lines++
    if (this.#objects > 0 && this.#objects < HEAD_LINES) this.#checkHead()
    const unseen = this.#objects === 0 ? [] : this.#rows.wanted.filter((_, i) => this.#found[i] === 0)
    this.#report = this.#rows.report(this.#lines, unseen)
    return this.#report
  }

  #take(bytes: Uint8Array, start: number, to: number): number {
    let from = start
    while (from < to) {
      const found = bytes.indexOf(NEWLINE, from)
      const newline = found < to ? found : -1
      if (this.#skipping) {
        if (newline < 0) return to
        this.#skipping = false
      } else if (newline < 0 && to - from <= ROW_BYTES_MAX) {
        return from
      } else if (newline < 0 || newline - from > ROW_BYTES_MAX) {
        this.#rows.fault(this.#lines + 1, `is longer than ${ROW_BYTES_MAX} bytes`, bytes, from, to)
        this.#skipping = newline < 0
        if (newline < 0) return to
      } else {
        this.#takeLine(bytes, from, newline)
      }
      this.#lines++
      from = newline + 1
    }
    return from
  }

  #takeLine(bytes: Uint8Array, from: number, to: number): void {
    const rows = this.#rows
    rows.starts.fill(0)
    rows.ends.fill(0)
    const flat = scanFlat(bytes, from, to, this.#keys, this.#valueCount, rows.starts, rows.ends, this.#found)
    let problem: string | null = null
    if (flat === FLAT) {
      problem = rows.take(bytes)
    } else if (flat === BLANK) {
      return
    } else {
      problem = this.#takeParsed(bytes, from, to)
    }
    if (problem !== null) rows.fault(this.#lines + 1, problem, bytes, from, to)
    if (this.#objects < HEAD_LINES) this.#head(bytes, from, to)
  }

  #takeParsed(bytes: Uint8Array, from: number, to: number): string | null {
    const parsed = parseObject(bytes, from, to)
    if (typeof parsed === 'string') return parsed
    const rows = this.#rows
    const parts: Uint8Array[] = []
    let length = 0
    for (let i = 0; i < this.#paths.length; i++) {
      const column = rows.wanted[i]!
      const value = lookUp(parsed, column, this.#paths[i]!)
      rows.starts[i] = length
      if (value !== undefined) this.#found[i] = 1
      if (typeof value === 'object' && value !== null) {
        return `${column} is ${Array.isArray(value) ? 'a list' : 'an object'}`
      }
      if (value !== undefined && value !== null) {
        const part = encoder.encode(String(value))
        parts.push(part)
        length += part.length
      }
      rows.ends[i] = length
    }
    return rows.take(Buffer.concat(parts, length))
  }

  /** Remembers what columns there are, and refuses an input that has not those asked for. */
  #head(bytes: Uint8Array, from: number, to: number): void {
    if (this.#objects < SAMPLE_LINES) {
      const parsed = parseObject(bytes, from, to)
      if (typeof parsed === 'string') return
      collectPaths(parsed, '', 0, this.#seen)
    }
    this.#objects++
    if (this.#objects === HEAD_LINES) this.#checkHead()
  }

  #checkHead(): void {
    const { wanted } = this.#rows
    const missing = this.#found[0] === 0 ? [wanted[0]!] : []
    const values = wanted.slice(1, 1 + this.#valueCount)
    if (!values.some((_, i) => this.#found[i + 1] === 1)) missing.push(...values)
    if (missing.length > 0) throw columnsMissing(this.#place, missing, [...this.#seen])
  }
}

const encoder = new TextEncoder()
const utf8 = new TextDecoder()

/** The line's object, or why it is none. */
function parseObject(bytes: Uint8Array, from: number, to: number): Record<string, unknown> | string {
  try {
    const parsed: unknown = JSON.parse(utf8.decode(bytes.subarray(from, to)))
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) {
      return parsed as Record<string, unknown>
    }
    return 'is JSON, but not an object'
  } catch (error) {
    return `is not JSON: ${(error as Error).message}`
  }
}

/** A key that is the whole path wins over nesting. */
function lookUp(object: Record<string, unknown>, column: string, path: readonly string[]): unknown {
  if (Object.hasOwn(object, column)) return object[column]
  let at: unknown = object
  for (const key of path) {
    if (typeof at !== 'object' || at === null || Array.isArray(at) || !Object.hasOwn(at, key))
      return undefined
    at = (at as Record<string, unknown>)[key]
  }
  return at
}

function collectPaths(object: object, prefix: string, depth: number, into: Set<string>): void {
  for (const [key, value] of Object.entries(object)) {
    if (into.size >= SEEN_MAX) return
    if (typeof value === 'object' && value !== null && !Array.isArray(value) && depth < DEPTH_MAX) {
      collectPaths(value, `${prefix}${key}.`, depth + 1, into)
    } else {
      into.add(prefix + key)
    }
  }
}

const FLAT = 0
const BLANK = 1
const OTHER = 2

/**
 * Reads a flat object in [from, to) and puts the wanted values' positions into `starts` and `ends` (of a repeated key,
 * the last, as JSON.parse has it). OTHER: anything it is not sure of. Strict: what it takes, JSON.parse takes.
 */
// hot:
function scanFlat(
  bytes: Uint8Array,
  from: number,
  to: number,
  keys: readonly Uint8Array[],
  valueCount: number,
  starts: Int32Array,
  ends: Int32Array,
  found: Uint8Array,
): number {
  let at = skipBlanks(bytes, from, to)
  if (at === to) return BLANK
  if (bytes[at] !== OPEN) return OTHER
  at = skipBlanks(bytes, at + 1, to)
  for (;;) {
    if (at >= to || bytes[at] !== QUOTE) return OTHER // an empty object too
    const keyFrom = at + 1
    const keyTo = plainStringEnd(bytes, keyFrom, to)
    if (keyTo < 0) return OTHER
    at = keyTo + 1
    if (at < to && bytes[at] !== COLON) at = skipBlanks(bytes, at, to)
    if (at >= to || bytes[at] !== COLON) return OTHER
    at++
    if (at < to && bytes[at]! <= SPACE) at = skipBlanks(bytes, at, to)
    if (at >= to) return OTHER
    const first = bytes[at]!
    let valueFrom = at
    let valueTo = 0
    let plain = true
    if (first === QUOTE) {
      valueFrom = at + 1
      valueTo = plainStringEnd(bytes, valueFrom, to)
      if (valueTo < 0) return OTHER
      at = valueTo + 1
    } else if (first === MINUS || (first >= ZERO && first <= NINE)) {
      at = numberEnd(bytes, at, to)
      if (at < 0) return OTHER
      valueTo = at
      plain = false
    } else {
      const length = wordLength(bytes, at, to)
      if (length === 0) return OTHER
      at += length
      valueTo = first === 0x6e ? valueFrom : at // null is no value
    }
    const keyLength = keyTo - keyFrom
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i]!
      if (key.length !== keyLength || !sameBytes(key, bytes, keyFrom)) continue
      // A label's number has JSON.parse's text for it, and plain whole numbers are that already.
      if (!plain && i > valueCount && !isPlainInteger(bytes, valueFrom, valueTo)) return OTHER
      starts[i] = valueFrom
      ends[i] = valueTo
      found[i] = 1
    }
    if (at < to && bytes[at]! <= SPACE) at = skipBlanks(bytes, at, to)
    if (at >= to) return OTHER
    const next = bytes[at++]!
    if (next === CLOSE) break
    if (next !== COMMA) return OTHER
    if (at < to && bytes[at]! <= SPACE) at = skipBlanks(bytes, at, to)
  }
  if (at < to && skipBlanks(bytes, at, to) !== to) return OTHER
  // Nothing was nested, so a column that is not there is not there as a path either.
  return FLAT
}

function skipBlanks(bytes: Uint8Array, from: number, to: number): number {
  let at = from
  while (at < to) {
    const byte = bytes[at]!
    if (byte !== SPACE && byte !== TAB && byte !== RETURN) break
    at++
  }
  return at
}

/** Position of the closing quote of printable ASCII without escapes, or -1. */
function plainStringEnd(bytes: Uint8Array, from: number, to: number): number {
  for (let at = from; at < to; at++) {
    const byte = bytes[at]!
    if (byte === QUOTE) return at
    if (byte === BACKSLASH || byte < SPACE || byte >= 0x80) return -1
  }
  return -1
}

/** End of a number by JSON's grammar, or -1. */
function numberEnd(bytes: Uint8Array, from: number, to: number): number {
  let at = bytes[from] === MINUS ? from + 1 : from
  let digitsFrom = at
  at = digitsEnd(bytes, at, to)
  if (at === digitsFrom || (bytes[digitsFrom] === ZERO && at > digitsFrom + 1)) return -1
  if (at < to && bytes[at] === DOT) {
    digitsFrom = at + 1
    at = digitsEnd(bytes, digitsFrom, to)
    if (at === digitsFrom) return -1
  }
  if (at < to && (bytes[at]! | 0x20) === 0x65) {
    digitsFrom = at + 1
    if (digitsFrom < to && (bytes[digitsFrom] === MINUS || bytes[digitsFrom] === 43)) digitsFrom++
    at = digitsEnd(bytes, digitsFrom, to)
    if (at === digitsFrom) return -1
  }
  return at
}

function digitsEnd(bytes: Uint8Array, from: number, to: number): number {
  let at = from
  while (at < to && bytes[at]! >= ZERO && bytes[at]! <= NINE) at++
  return at
}

const WORDS = ['true', 'false', 'null'].map((word) => new TextEncoder().encode(word))

/** Length of `true`, `false` or `null` at that position, or 0. */
function wordLength(bytes: Uint8Array, at: number, to: number): number {
  for (const word of WORDS) if (at + word.length <= to && sameBytes(word, bytes, at)) return word.length
  return 0
}

/** Up to 15 digits, no sign, no leading zero: `String(Number(text)) === text`. */
function isPlainInteger(bytes: Uint8Array, from: number, to: number): boolean {
  return to - from <= 15 && bytes[from] !== MINUS && digitsEnd(bytes, from, to) === to
}

function sameBytes(key: Uint8Array, bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < key.length; i++) if (key[i] !== bytes[at + i]) return false
  return true
}
