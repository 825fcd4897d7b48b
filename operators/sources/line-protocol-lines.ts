/**
 * The hot loop of the line protocol: lines whose keys were seen before, with numbers, strings and times in the form that
 * nearly every sender uses. Guarantee: a line is either decoded whole, as the strict parser (line-protocol-entry.ts)
 * would, or left untouched for it. Called by the decoder for bytes that end in a newline; never makes a series, an alias
 * or a fault.
 *
 * Why it is fast: a key is one comparison, four bytes at a time, with the key that followed the last one before. On a
 * match the position after the key is known without having looked for it. Only a miss looks for the key's end and hashes.
 */
import type { SampleBuilder } from '../../engine/batch/sample-builder.ts'
import {
  type AliasTable,
  ENTRY_SHIFT,
  FOLLOWER,
  findAlias,
  KEY_AT,
  KEY_BYTES,
  PARENT,
  ROOT,
  SERIES_ID,
  WORD_MASKS,
} from '../../engine/series/alias-table.ts'
import {
  type NumberOut,
  POWERS_OF_TEN,
  type PrecisionRule,
  readNumber,
  readTime,
} from './line-protocol-number.ts'

/** What the loop reads, and the counts it adds to. */
export interface LineState {
  readonly aliases: AliasTable
  readonly builder: SampleBuilder
  readonly rule: PrecisionRule
  /** For lines without a time. */
  readonly defaultMs: number
  /** Later times are refused. */
  readonly futureMs: number
  readonly out: NumberOut
  lines: number
  stringFields: number
}

const NEWLINE = 0x0a
const RETURN = 0x0d
const SPACE = 0x20
const QUOTE = 0x22
const COMMA = 0x2c
const MINUS = 0x2d
const POINT = 0x2e
const ZERO = 0x30
const BACKSLASH = 0x5c
const INTEGER = 0x69

const EQUALS = 0x3d
/** Digits whose number is an int32. */
const INT32_DIGITS_MAX = 9
/** First four of 19 digits of nanoseconds: the range check and the rounding are simple in between. */
const NS_DIGITS = 19
const NS_HEAD_MIN = 10
const NS_HEAD_MAX = 9222

/**
 * Decodes lines from `from` until one it leaves to the strict parser, or `limit`. Returns where it stopped, always the
 * start of a line. `limit` follows a newline; `view` covers `bytes`; lines have at most `lineBytesMax` bytes.
 * hot:
 */
export function decodeKnownLines(
  state: LineState,
  bytes: Uint8Array,
  view: DataView,
  from: number,
  limit: number,
  lineBytesMax: number,
): number {
  const aliases = state.aliases
  const entries = aliases.entries
  const words = aliases.words
  const builder = state.builder
  const out = state.out
  const futureMs = state.futureMs
  const nanoseconds = state.rule.fractionDigits === 6
  const wordLimit = view.byteLength - 4
  let seriesIds = builder.seriesIds
  let timestampsMs = builder.timestampsMs
  let values = builder.values
  let count = builder.count
  let last = aliases.last
  let lines = 0
  let stringFields = 0
  let lineFrom = from

  while (lineFrom < limit) {
    const lineCount = count
    let lineStrings = 0
    let at = lineFrom
    let parent = ROOT
    let byte = 0
    let known = false

    for (;;) {
      // The key: predicted, or looked up.
      let entry = entries[(last << ENTRY_SHIFT) + FOLLOWER]!
      let row = entry << ENTRY_SHIFT
      let keyBytes = entries[row + KEY_BYTES]!
      const wholeTo = at + (keyBytes & ~3)
      let matches = entries[row + PARENT] === parent && wholeTo <= wordLimit
      if (matches) {
        let word = entries[row + KEY_AT]!
        let p = at
        while (p < wholeTo && view.getInt32(p, true) === words[word]) {
          p += 4
          word++
        }
        const rest = keyBytes & 3
        matches =
          p === wholeTo && (rest === 0 || ((view.getInt32(p, true) ^ words[word]!) & WORD_MASKS[rest]!) === 0)
      }
      if (!matches) {
        const keyTo = findKeyEnd(bytes, view, at, limit, parent === ROOT)
        if (keyTo < 0) break
        entry = findAlias(aliases, view, at, keyTo, parent)
        if (entry === ROOT) break
        entries[(last << ENTRY_SHIFT) + FOLLOWER] = entry
        row = entry << ENTRY_SHIFT
        keyBytes = keyTo - at
      }
      const valueFrom = at + keyBytes
      at = valueFrom

      // The value: up to nine digits with or without a point here, the rest in readValue.
      byte = bytes[at]!
      const negative = byte === MINUS
      if (negative) byte = bytes[++at]!
      const digitsFrom = at
      let mantissa = 0
      let scale = 0
      while (byte >= ZERO && byte <= 0x39) {
        mantissa = (Math.imul(mantissa, 10) + (byte - ZERO)) | 0
        byte = bytes[++at]!
      }
      let digits = at - digitsFrom
      if (byte === POINT) {
        byte = bytes[++at]!
        const fractionFrom = at
        while (byte >= ZERO && byte <= 0x39) {
          mantissa = (Math.imul(mantissa, 10) + (byte - ZERO)) | 0
          byte = bytes[++at]!
        }
        scale = at - fractionFrom
        digits += scale
      }
      let value = mantissa / POWERS_OF_TEN[scale & 15]!
      if (
        digits === 0 ||
        digits > INT32_DIGITS_MAX ||
        (byte !== SPACE && byte !== COMMA && byte !== NEWLINE && byte !== RETURN)
      ) {
        if (byte === INTEGER && digits > 0 && digits <= INT32_DIGITS_MAX && at - digitsFrom === digits) {
          value = negative ? 0 - mantissa : mantissa
          byte = bytes[++at]!
        } else {
          at = readValue(bytes, valueFrom, limit, out)
          if (at < 0) break
          value = out.value
          byte = bytes[at]!
        }
      } else if (negative) {
        value = -value
      }

      if (!Number.isNaN(value)) {
        const seriesId = entries[row + SERIES_ID]!
        if (seriesId < 0) break
        if (count === seriesIds.length) {
          builder.count = count
          builder.push(seriesId, 0, 0)
          seriesIds = builder.seriesIds
          timestampsMs = builder.timestampsMs
          values = builder.values
        }
        seriesIds[count] = seriesId
        values[count] = value
        count++
      } else {
        lineStrings++
      }
      last = entry
      if (byte !== COMMA) {
        known = true
        break
      }
      parent = entry
      at++
    }

    // The time.
    let timeMs = state.defaultMs
    if (known && byte === SPACE) {
      const timeFrom = at + 1
      at = timeFrom + NS_DIGITS
      const head = nanoseconds && at < limit && bytes[at] === NEWLINE ? digits4(view, timeFrom) : -1
      if (head >= NS_HEAD_MIN && head <= NS_HEAD_MAX) {
        const second = digits4(view, timeFrom + 4)
        const third = digits4(view, timeFrom + 8)
        const fourth = digits4(view, timeFrom + 12)
        const fifth = digits4(view, timeFrom + 15)
        known = (second | third | fourth | fifth) >= 0
        const thousands = (fourth / 1000) | 0
        const wholeMs = head * 1e9 + (second * 1e5 + (third * 10 + thousands))
        timeMs = wholeMs + ((fourth - thousands * 1000) * 1000 + (fifth % 1000)) / 1e6
      } else {
        at = timeFrom
        while ((bytes[at]! >= ZERO && bytes[at]! <= 0x39) || bytes[at] === MINUS) at++
        known = readTime(bytes, timeFrom, at, state.rule, out) === 0
        timeMs = out.value
      }
      byte = bytes[at]!
    }
    if (known && byte === RETURN) byte = bytes[++at]!
    if (!known || byte !== NEWLINE || timeMs > futureMs || at - lineFrom >= lineBytesMax) {
      count = lineCount
      break
    }
    for (let i = lineCount; i < count; i++) timestampsMs[i] = timeMs
    stringFields += lineStrings
    lines++
    lineFrom = at + 1
  }

  builder.count = count
  aliases.last = last
  state.lines += lines
  state.stringFields += stringFields
  return lineFrom
}

/**
 * Where the key at `from` ends, after its `=`; −1: not on this line. A line's first key has the measurement and tags and
 * ends in the first `=` after an unescaped space. A backslash before a space or an equals sign always escapes it.
 * Only bytes that a strict parse accepted are ever found in the alias table, so this need not check anything.
 * hot: one call a field that prediction missed.
 */
function findKeyEnd(
  bytes: Uint8Array,
  view: DataView,
  from: number,
  limit: number,
  hasHead: boolean,
): number {
  let at = from
  if (hasHead) {
    at = indexOfHeadEnd(bytes, view, at, limit)
    if (at < 0) return -1
  }
  for (; at < limit; at++) {
    const byte = bytes[at]!
    if (byte === EQUALS && bytes[at - 1] !== BACKSLASH) return at + 1
    if (byte === NEWLINE) return -1
  }
  return -1
}

/**
 * The first space that no backslash escapes; −1: not on this line.
 * hot: four bytes at a time. `marks` has the high bit of each byte below 0x21; the lowest mark is exact.
 */
function indexOfHeadEnd(bytes: Uint8Array, view: DataView, from: number, limit: number): number {
  const wordLimit = limit - 4
  let at = from
  while (at <= wordLimit) {
    const word = view.getInt32(at, true)
    const marks = (word - 0x21212121) & ~word & 0x80808080
    if (marks === 0) {
      at += 4
      continue
    }
    at += (31 - Math.clz32(marks & -marks)) >> 3
    const byte = bytes[at]!
    if (byte === SPACE && (at === from || bytes[at - 1] !== BACKSLASH)) return at
    if (byte === NEWLINE) return -1
    at++
  }
  // A head this near to the end leaves no room for a field and its value.
  return -1
}

/** The number of four digits, or −1. hot: after D. Lemire's and W. Muła's parsing of digits within a word. */
function digits4(view: DataView, at: number): number {
  const word = view.getInt32(at, true)
  const digits = word - 0x30303030
  if (((digits | (word + 0x46464646)) & 0x80808080) !== 0) return -1
  const pairs = digits * 10 + (digits >>> 8)
  return (pairs & 0xff) * 100 + ((pairs >>> 16) & 0xff)
}

/**
 * Reads any value into `out` and returns the position after it, or −1: for the strict parser. A string gives NaN, which
 * no number is.
 */
function readValue(bytes: Uint8Array, from: number, limit: number, out: NumberOut): number {
  const first = bytes[from]!
  if (first === QUOTE) return readString(bytes, from, limit, out)
  const truth = first | 0x20
  if (truth === 0x74 || truth === 0x66) return readBoolean(bytes, from, out)
  return readNumber(bytes, from, limit, out)
}

/** ASCII strings on one line; others are rare. */
function readString(bytes: Uint8Array, from: number, limit: number, out: NumberOut): number {
  let at = from + 1
  for (; at < limit; at++) {
    const byte = bytes[at]!
    if (byte === QUOTE) break
    if (byte >= 0x80 || byte === NEWLINE) return -1
    if (byte === BACKSLASH && (bytes[at + 1] === QUOTE || bytes[at + 1] === BACKSLASH)) at++
  }
  if (at >= limit) return -1
  out.value = Number.NaN
  return at + 1
}

/** `t`, `T`, `f`, `F`, `true`, `false`; other spellings are rare. */
function readBoolean(bytes: Uint8Array, from: number, out: NumberOut): number {
  const truth = (bytes[from]! | 0x20) === 0x74
  out.value = truth ? 1 : 0
  const second = bytes[from + 1]!
  if (second === COMMA || second === SPACE || second === NEWLINE || second === RETURN) return from + 1
  if (truth && matchesText(bytes, from, TRUE)) return from + TRUE.length
  if (!truth && matchesText(bytes, from, FALSE)) return from + FALSE.length
  return -1
}

const TRUE = Uint8Array.from([0x74, 0x72, 0x75, 0x65])
const FALSE = Uint8Array.from([0x66, 0x61, 0x6c, 0x73, 0x65])

function matchesText(bytes: Uint8Array, from: number, text: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[from + i] !== text[i]) return false
  return true
}
