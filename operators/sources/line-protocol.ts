/**
 * InfluxDB line protocol, from bytes in chunks cut anywhere, into a SampleBuilder. Field `f` of measurement `m` becomes a
 * sample of the series `m_f` (`m` if `f` is `value`) with the line's tags as labels; integers become float64, booleans
 * 0 and 1, strings are counted and not kept.
 *
 * Guarantees: the result depends on the bytes alone, never on how they were cut. A line is stored whole or becomes a
 * fault with its number; a bad line never loses another. Memory is bounded by LINE_BYTES_MAX beside the series table.
 * Called by the HTTP routes and the file reader. It never does I/O and never reads a clock: `nowMs` is given.
 *
 * Lines of known keys take the hot loop (line-protocol-lines.ts); all else takes the strict parser
 * (line-protocol-entry.ts), which teaches the hot loop.
 */
import type { SampleBuilder } from '../../engine/batch/sample-builder.ts'
import {
  type DecodeReport,
  type Decoder,
  LINE_FAULTS_KEPT_MAX,
  type LineFault,
} from '../../engine/contract/plugins.ts'
import { type Labels, NAME_LABEL } from '../../engine/contract/samples.ts'
import {
  ALIAS_KEY_BYTES_MAX,
  type AliasTable,
  ENTRY_SHIFT,
  FOLLOWER,
  findAlias,
  NO_SERIES,
  ROOT,
  SERIES_ID,
} from '../../engine/series/alias-table.ts'
import { encodeSeriesKey, SERIES_KEY_BYTES_MAX } from '../../engine/series/series-key.ts'
import {
  SERIES_KEY_TOO_LONG,
  SERIES_OVER_LIMIT,
  SERIES_UNKNOWN,
  type SeriesTable,
} from '../../engine/series/series-table.ts'
import { assert } from '../../engine/util/assert.ts'
import { type EntryField, FAULT, INCOMPLETE, LineProtocolEntry, POINT } from './line-protocol-entry.ts'
import { decodeKnownLines, type LineState } from './line-protocol-lines.ts'
import {
  defaultTimeMs,
  NOT_A_TIME,
  type NumberOut,
  PRECISIONS,
  type PrecisionName,
  type PrecisionRule,
  precisionRule,
  readTime,
} from './line-protocol-number.ts'

export { PRECISIONS, type PrecisionName } from './line-protocol-number.ts'

/** A longer line, newline included, is a fault: memory stays bounded, and no sender means it. */
export const LINE_BYTES_MAX = 256 * 1024
/** A fault shows this many bytes of its line. */
export const FAULT_TEXT_BYTES_MAX = 120
const TAIL_BYTES_MIN = 1024
const NEWLINE = 0x0a
const RETURN = 0x0d

export interface LineProtocolOptions {
  readonly table: SeriesTable
  readonly builder: SampleBuilder
  readonly precision: PrecisionName
  /** The time of lines without one, and what `futureLimitMs` counts from. */
  readonly nowMs: number
  /** How far ahead of `nowMs` a time may be; Infinity: any. */
  readonly futureLimitMs: number
  /** Makes a fault of a line without a time: of a file, it says when it was read and not when it was measured. Default: false. */
  readonly timeRequired?: boolean
}

export interface LineProtocolReport extends DecodeReport {
  /** Lines refused because of the series limit (also line faults). */
  readonly seriesLimitLines: number
}

export interface LineProtocolDecoder extends Decoder {
  end(): LineProtocolReport
}

export function lineProtocolDecoder(options: LineProtocolOptions): LineProtocolDecoder {
  return new ByteDecoder(options)
}

class ByteDecoder implements LineProtocolDecoder, LineState {
  readonly aliases: AliasTable
  readonly builder: SampleBuilder
  readonly rule: PrecisionRule
  readonly defaultMs: number
  readonly futureMs: number
  readonly out: NumberOut = { value: 0.5 }
  lines = 0
  stringFields = 0
  readonly #table: SeriesTable
  readonly #futureLimitMs: number
  readonly #timeRequired: boolean
  readonly #startCount: number
  #futureSamples = 0
  #seriesLimitLines = 0
  #faultCount = 0
  readonly #faults: LineFault[] = []
  readonly #entry = new LineProtocolEntry()
  /** The start of an entry that no chunk has completed yet; less than LINE_BYTES_MAX. */
  #tail = new Uint8Array(0)
  #tailLength = 0
  /** The tail's length when a parse found it incomplete in spite of a newline; 0: not tried. */
  #tailTried = 0
  /** Inside a refused line, of which nothing is kept: everything up to the next newline goes. */
  #skipping = false
  #ended = false

  constructor(options: LineProtocolOptions) {
    const precision = PRECISIONS[options.precision]
    assert(precision !== undefined, 'a precision is one of PRECISIONS', options.precision)
    assert(options.futureLimitMs >= 0, 'a future limit is not negative', options.futureLimitMs)
    this.#table = options.table
    this.aliases = options.table.aliases
    this.builder = options.builder
    this.#startCount = options.builder.count
    this.rule = precisionRule(precision)
    this.#timeRequired = options.timeRequired === true
    this.#futureLimitMs = options.futureLimitMs
    const futureMs = options.nowMs + options.futureLimitMs
    // Where a time is required, a line without one is later than any: the hot loop leaves it to the strict parser.
    this.defaultMs = this.#timeRequired ? Infinity : defaultTimeMs(options.nowMs, precision)
    this.futureMs = this.#timeRequired ? Math.min(futureMs, Number.MAX_VALUE) : futureMs
  }

  write(chunk: Uint8Array): void {
    assert(!this.#ended, 'nothing is written after the end')
    let from = 0
    while (from < chunk.length) {
      if (this.#skipping) {
        from = this.#skipLine(chunk, from)
      } else if (this.#tailLength > 0) {
        from = this.#extendTail(chunk, from)
      } else {
        from = this.#decode(chunk, from, chunk.length, false)
        if (from < chunk.length) {
          this.#keepTail(chunk.subarray(from))
          return
        }
      }
    }
  }

  end(): LineProtocolReport {
    assert(!this.#ended, 'a decoder ends once')
    this.#ended = true
    if (this.#skipping) this.lines++
    if (this.#tailLength > 0) this.#decode(this.#tail, 0, this.#tailLength, true)
    return {
      lines: this.lines,
      samples: this.builder.count - this.#startCount,
      stringFields: this.stringFields,
      futureSamples: this.#futureSamples,
      seriesLimitLines: this.#seriesLimitLines,
      faultCount: this.#faultCount,
      faults: this.#faults,
    }
  }

  #skipLine(chunk: Uint8Array, from: number): number {
    const newlineAt = chunk.indexOf(NEWLINE, from)
    if (newlineAt < 0) return chunk.length
    this.#skipping = false
    this.lines++
    return newlineAt + 1
  }

  /** Decodes entries and returns where the first incomplete one starts. `final`: none is. */
  #decode(bytes: Uint8Array, from: number, end: number, final: boolean): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    const limit = bytes.lastIndexOf(NEWLINE, end - 1) + 1
    let at = from
    while (at < end) {
      if (at < limit) {
        at = decodeKnownLines(this, bytes, view, at, limit, LINE_BYTES_MAX)
        if (at === end) break
      }
      if (at >= limit && !final && end - at < LINE_BYTES_MAX) break
      const next = this.#decodeEntry(bytes, view, at, end, final)
      if (next < 0) break
      at = next
    }
    return at
  }

  /** One entry by the strict parser. Returns the position after it; −1: incomplete. */
  #decodeEntry(bytes: Uint8Array, view: DataView, from: number, end: number, final: boolean): number {
    const entry = this.#entry
    // The parser sees the same bytes of a long line however they were cut.
    const tooLong = end - from >= LINE_BYTES_MAX
    const outcome = entry.parse(bytes, from, tooLong ? from + LINE_BYTES_MAX : end, final && !tooLong)
    if (outcome === INCOMPLETE) {
      if (!tooLong) return -1
      return this.#refuse(`a line is longer than ${LINE_BYTES_MAX} bytes`, bytes, from, from, end)
    }
    if (outcome === FAULT) {
      // Bytes inside a closed string are never taken for lines. A string that closes nowhere was none.
      const resumeFrom = entry.stringOpen ? from : entry.at
      if (!final && !tooLong && indexOfNewline(bytes, resumeFrom, end) < 0) return -1
      return this.#refuse(entry.problem, bytes, from, resumeFrom, end)
    }
    const problem = outcome === POINT ? this.#store(bytes, view) : null
    if (problem !== null) this.#fault(problem, bytes, from, entry.at)
    this.#countLines(bytes, from, entry.at)
    return entry.at
  }

  /** A fault; goes on after the first newline from `resumeFrom`. */
  #refuse(problem: string, bytes: Uint8Array, from: number, resumeFrom: number, end: number): number {
    this.#fault(problem, bytes, from, end)
    const newlineAt = indexOfNewline(bytes, resumeFrom, end)
    if (newlineAt < 0 && !this.#ended) {
      this.#skipping = true
      this.lines += newlinesIn(bytes, from, end)
      return end
    }
    const next = newlineAt < 0 ? end : newlineAt + 1
    this.#countLines(bytes, from, next)
    return next
  }

  /** Stores a valid entry, whole or not at all: then the answer is why. */
  #store(bytes: Uint8Array, view: DataView): string | null {
    const entry = this.#entry
    let timeMs = this.defaultMs
    if (entry.timeTo > entry.timeFrom) {
      const result = readTime(bytes, entry.timeFrom, entry.timeTo, this.rule, this.out)
      if (result !== 0) {
        return result === NOT_A_TIME
          ? 'the timestamp is not an integer'
          : 'the timestamp is out of the range of 64-bit nanoseconds'
      }
      timeMs = this.out.value
    } else if (this.#timeRequired) return 'the line has no timestamp'
    // The last value of a repeated field holds, as in InfluxDB.
    const fields = new Map<string, EntryField>()
    for (const field of entry.fields) fields.set(field.name, field)
    let samples = 0
    for (const field of fields.values()) if (field.value !== null) samples++
    if (timeMs > this.futureMs) {
      this.#futureSamples += samples
      return `the timestamp is more than ${this.#futureLimitMs} ms in the future`
    }
    const ids = new Map<string, number>()
    const problem = this.#intern(fields.values(), ids)
    if (problem !== null) return problem
    for (const field of fields.values()) {
      if (field.value === null) this.stringFields++
      else this.builder.push(ids.get(field.name)!, timeMs, field.value)
    }
    // A path with a repeated field would push two samples, so the hot loop does not learn it.
    if (fields.size === entry.fields.length) this.#learn(bytes, view, ids)
    return null
  }

  /** Local ids by field name, all or none. */
  #intern(fields: Iterable<EntryField>, ids: Map<string, number>): string | null {
    const { measurement, tags } = this.#entry
    if (tags.has(NAME_LABEL)) return `the tag key ${NAME_LABEL} is reserved for the name of the series`
    const keys = new Map<string, Uint8Array>()
    let unknown = 0
    for (const field of fields) {
      if (field.value === null) continue
      const key = encodeSeriesKey(seriesLabels(measurement, tags, field.name))
      const id = this.#table.find(key)
      if (id === SERIES_KEY_TOO_LONG) {
        return `measurement, field and tags have ${key.length} bytes together; the limit is ${SERIES_KEY_BYTES_MAX}`
      }
      if (id === SERIES_UNKNOWN) unknown++
      if (id === SERIES_OVER_LIMIT) return this.#overLimit()
      keys.set(field.name, key)
    }
    if (unknown > 0 && this.#table.size + unknown > this.#table.limit) return this.#overLimit()
    for (const [name, key] of keys) {
      const id = this.#table.internKey(key)
      assert(id >= 0, 'a series within the limit is interned', id)
      ids.set(name, id)
    }
    return null
  }

  #overLimit(): string {
    this.#seriesLimitLines++
    return `a new series would pass the series limit of ${this.#table.limit}`
  }

  /** Teaches the hot loop the raw keys of the entry just stored. */
  #learn(bytes: Uint8Array, view: DataView, ids: ReadonlyMap<string, number>): void {
    const { fields, measurementFrom } = this.#entry
    const keyTo = fields.at(-1)!.keyTo
    // Keys are compared by whole words, which may look past the key. The next time it will not be at the end.
    if (keyTo + 4 > bytes.length) return
    const aliases = this.aliases
    if (!aliases.reserve(fields.length, keyTo - measurementFrom)) return
    let parent = ROOT
    let from = measurementFrom
    for (const [index, field] of fields.entries()) {
      if (index > 0) from = field.keyFrom
      if (field.keyTo - from > ALIAS_KEY_BYTES_MAX) return
      const id = ids.get(field.name) ?? NO_SERIES
      let entry = findAlias(aliases, view, from, field.keyTo, parent)
      if (entry === ROOT) entry = aliases.add(bytes, from, field.keyTo, parent, id)
      else if (aliases.entries[(entry << ENTRY_SHIFT) + SERIES_ID] === NO_SERIES) aliases.setSeries(entry, id)
      if (entry === ROOT) return
      aliases.entries[(aliases.last << ENTRY_SHIFT) + FOLLOWER] = entry
      aliases.last = entry
      parent = entry
    }
  }

  #fault(problem: string, bytes: Uint8Array, from: number, end: number): void {
    this.#faultCount++
    if (this.#faults.length === LINE_FAULTS_KEPT_MAX) return
    this.#faults.push({ line: this.lines + 1, problem, text: faultText(bytes, from, end) })
  }

  #countLines(bytes: Uint8Array, from: number, to: number): void {
    this.lines += newlinesIn(bytes, from, to)
    if (to > from && bytes[to - 1] !== NEWLINE) this.lines++
  }

  /**
   * Adds bytes of the chunk to the tail and decodes it once it may be whole. Returns the position in the chunk to go on
   * from. An entry without a newline is not looked at; one that a newline did not complete (it is in a string) only
   * when it has doubled: so the work is linear in the bytes however they arrive.
   */
  #extendTail(chunk: Uint8Array, from: number): number {
    const newlineAt = chunk.indexOf(NEWLINE, from)
    let to = newlineAt < 0 ? chunk.length : newlineAt + 1
    if (this.#tailTried > 0) to = Math.min(chunk.length, Math.max(to, from + this.#tailTried))
    to = Math.min(to, from + LINE_BYTES_MAX - this.#tailLength)
    this.#appendTail(chunk, from, to)
    const length = this.#tailLength
    if (length < LINE_BYTES_MAX) {
      const mayBeWhole = this.#tailTried > 0 ? length >= 2 * this.#tailTried : newlineAt >= 0
      if (!mayBeWhole) return to
    }
    const rest = length - this.#decode(this.#tail, 0, length, false)
    if (rest <= to - from) {
      this.#tailLength = 0
      this.#tailTried = 0
      return to - rest
    }
    this.#tail.copyWithin(0, length - rest, length)
    this.#tailLength = rest
    this.#tailTried = this.#tail.subarray(0, rest).includes(NEWLINE) ? rest : 0
    return to
  }

  #keepTail(rest: Uint8Array): void {
    this.#tailLength = 0
    this.#appendTail(rest, 0, rest.length)
    this.#tailTried = rest.includes(NEWLINE) ? rest.length : 0
  }

  #appendTail(chunk: Uint8Array, from: number, to: number): void {
    const length = this.#tailLength + to - from
    assert(length <= LINE_BYTES_MAX, 'the tail is bounded', length)
    if (length > this.#tail.length) {
      let capacity = Math.max(TAIL_BYTES_MIN, this.#tail.length)
      while (capacity < length) capacity *= 2
      const larger = new Uint8Array(capacity)
      larger.set(this.#tail.subarray(0, this.#tailLength))
      this.#tail = larger
    }
    this.#tail.set(chunk.subarray(from, to), this.#tailLength)
    this.#tailLength = length
  }
}

function seriesLabels(measurement: string, tags: ReadonlyMap<string, string>, field: string): Labels {
  const name = field === 'value' ? measurement : `${measurement}_${field}`
  return Object.fromEntries([...tags, [NAME_LABEL, name]])
}

function indexOfNewline(bytes: Uint8Array, from: number, end: number): number {
  const at = bytes.subarray(from, end).indexOf(NEWLINE)
  return at < 0 ? -1 : from + at
}

function newlinesIn(bytes: Uint8Array, from: number, to: number): number {
  let count = 0
  for (let at = from; at < to; at++) if (bytes[at] === NEWLINE) count++
  return count
}

const lenient = new TextDecoder('utf-8', { ignoreBOM: true })

/** The first of the entry's lines, cut. */
function faultText(bytes: Uint8Array, from: number, end: number): string {
  const text = bytes.subarray(from, Math.min(end, from + FAULT_TEXT_BYTES_MAX))
  const newlineAt = text.indexOf(NEWLINE)
  let to = newlineAt < 0 ? text.length : newlineAt
  if (to > 0 && newlineAt >= 0 && text[to - 1] === RETURN) to--
  return lenient.decode(text.subarray(0, to))
}
