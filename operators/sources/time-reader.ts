/**
 * Times from bytes to epoch ms (float64). ISO 8601 with or without a zone (without: UTC), or a number of seconds, ms, us
 * or ns. `auto` takes the shape of the first time it reads and holds every later one to it: a file that begins in
 * seconds and goes on in milliseconds is faulty, not half a thousand years long. Called by the file decoders, once a row;
 * never throws, no allocation on the fast way.
 */
export const TIME_FORMATS = ['auto', 'iso', 's', 'ms', 'us', 'ns'] as const
export type TimeFormat = (typeof TIME_FORMATS)[number]

const DAY_MS = 86_400_000
const TIME_TEXT_LENGTH_MAX = 64

/** A number below the bound is read as that unit: seconds to the year 5138, ms from 1973 on, and so on. */
const UNIT_BOUNDS: readonly (readonly [TimeFormat, number])[] = [
  ['s', 1e11],
  ['ms', 1e14],
  ['us', 1e17],
  ['ns', Number.POSITIVE_INFINITY],
]
/** Trailing digits below one ms. */
const SUB_MS_DIGITS: Readonly<Record<string, number>> = { us: 3, ns: 6 }
const NAMES: Readonly<Record<string, string>> = {
  iso: 'ISO 8601 text',
  s: 'seconds',
  ms: 'milliseconds',
  us: 'microseconds',
  ns: 'nanoseconds',
}

const SPACE = 32
const TAB = 9
const PLUS = 43
const COMMA = 44
const MINUS = 45
const DOT = 46
const ZERO = 48
const NINE = 57
const COLON = 58

export class TimeReader {
  readonly #declared: TimeFormat
  #format: TimeFormat
  /** Why the last `read` gave NaN. */
  problem = ''
  #dayKey = -1
  #dayMs = 0

  constructor(format: TimeFormat = 'auto') {
    this.#declared = format
    this.#format = format
  }

  /** What times are read as; `auto` until the first one. */
  get format(): TimeFormat {
    return this.#format
  }

  /** Epoch ms of the time in bytes [from, to), or NaN with `problem` set. */
  // hot:
  read(bytes: Uint8Array, from: number, to: number): number {
    let start = from
    let end = to
    while (start < end && (bytes[start] === SPACE || bytes[start] === TAB)) start++
    while (end > start && (bytes[end - 1] === SPACE || bytes[end - 1] === TAB)) end--
    if (this.#format === 'auto') this.#decide(bytes, start, end)
    const ms = this.#format === 'iso' ? this.#readIso(bytes, start, end) : this.#readEpoch(bytes, start, end)
    if (Number.isNaN(ms)) this.#explain(bytes, start, end)
    return ms
  }

  #decide(bytes: Uint8Array, from: number, to: number): void {
    const epoch = epochNumber(bytes, from, to)
    if (!Number.isNaN(epoch)) {
      this.#format = unitOf(epoch)
      return
    }
    const ms = this.#readIso(bytes, from, to)
    if (!Number.isNaN(ms)) this.#format = 'iso'
  }

  #readEpoch(bytes: Uint8Array, from: number, to: number): number {
    const format = this.#format
    if (format === 'auto') return Number.NaN
    const subMsDigits = SUB_MS_DIGITS[format] ?? 0
    let at = from
    let negative = false
    if (at < to && bytes[at] === MINUS) {
      negative = true
      at++
    }
    const digitsFrom = at
    let whole = 0
    let part = 0
    // Digits below one ms are kept apart: 19 digits of nanoseconds are more than a float64 holds.
    const digitsEnd = digitsTo(bytes, at, to)
    if (digitsEnd === digitsFrom) return Number.NaN
    const wholeEnd = Math.max(digitsFrom, digitsEnd - subMsDigits)
    while (at < wholeEnd) whole = whole * 10 + (bytes[at++]! - ZERO)
    while (at < digitsEnd) part = part * 10 + (bytes[at++]! - ZERO)
    let ms = subMsDigits === 0 ? whole : whole + part / (subMsDigits === 3 ? 1e3 : 1e6)
    if (format === 's') ms *= 1_000
    if (at < to) {
      if (bytes[at] !== DOT || digitsTo(bytes, at + 1, to) !== to) return this.#readFloat(bytes, from, to)
      const fraction = thousandths(bytes, at + 1, to)
      if (format === 's') ms += fraction
      else if (format === 'ms') ms += fraction / 1_000
    }
    if (this.#declared === 'auto' && !this.#fits(bytes, digitsFrom, digitsEnd)) return Number.NaN
    return negative ? -ms : ms
  }

  /** Numbers with an exponent. */
  #readFloat(bytes: Uint8Array, from: number, to: number): number {
    const epoch = epochNumber(bytes, from, to)
    if (Number.isNaN(epoch)) return epoch
    if (this.#declared === 'auto' && unitOf(epoch) !== this.#format) return Number.NaN
    switch (this.#format) {
      case 's':
        return epoch * 1e3
      case 'us':
        return epoch / 1e3
      case 'ns':
        return epoch / 1e6
      default:
        return epoch
    }
  }

  /** Whether a number of these digits is in the range of the unit that the first one chose. */
  #fits(bytes: Uint8Array, from: number, to: number): boolean {
    let at = from
    while (at < to - 1 && bytes[at] === ZERO) at++
    const digits = to - at
    switch (this.#format) {
      case 's':
        return digits <= 11
      case 'ms':
        return digits >= 12 && digits <= 14
      case 'us':
        return digits >= 15 && digits <= 17
      default:
        return digits >= 18
    }
  }

  #readIso(bytes: Uint8Array, from: number, to: number): number {
    if (to - from < 10) return Number.NaN
    const year = twoDigits(bytes, from) * 100 + twoDigits(bytes, from + 2)
    const month = twoDigits(bytes, from + 5)
    const day = twoDigits(bytes, from + 8)
    if (bytes[from + 4] !== MINUS || bytes[from + 7] !== MINUS) return Number.NaN
    const dayKey = year * 10_000 + month * 100 + day
    if (dayKey !== this.#dayKey) {
      const dayMs = dayStartMs(year, month, day)
      if (Number.isNaN(dayMs)) return dayMs
      this.#dayKey = dayKey
      this.#dayMs = dayMs
    }
    if (to - from === 10) return this.#dayMs
    const separator = bytes[from + 10]! | 0x20 // T, t or a blank
    if (separator !== 0x74 && separator !== SPACE) return Number.NaN
    let at = from + 16
    if (at > to || bytes[from + 13] !== COLON) return Number.NaN
    const hour = twoDigits(bytes, from + 11)
    const minute = twoDigits(bytes, from + 14)
    let second = 0
    let fractionMs = 0
    if (at < to && bytes[at] === COLON) {
      if (at + 3 > to) return Number.NaN
      second = twoDigits(bytes, at + 1)
      at += 3
      if (at < to && (bytes[at] === DOT || bytes[at] === COMMA)) {
        const fractionEnd = digitsTo(bytes, at + 1, to)
        if (fractionEnd === at + 1) return Number.NaN
        fractionMs = thousandths(bytes, at + 1, fractionEnd)
        at = fractionEnd
      }
    }
    // NaN of a bad digit fails these too.
    if (!(hour <= 23 && minute <= 59 && second <= 59)) return Number.NaN
    const localMs = this.#dayMs + hour * 3_600_000 + minute * 60_000 + second * 1_000
    if (at === to) return localMs + fractionMs
    return localMs - zoneMs(bytes, at, to) + fractionMs
  }

  /** What a time on its own looks like. */
  static #shapeOf(bytes: Uint8Array, from: number, to: number): TimeFormat | null {
    const alone = new TimeReader()
    alone.#decide(bytes, from, to)
    return alone.#format === 'auto' ? null : alone.#format
  }

  #explain(bytes: Uint8Array, from: number, to: number): void {
    if (from === to) {
      this.problem = 'there is no time'
      return
    }
    let text = ''
    const end = Math.min(to, from + TIME_TEXT_LENGTH_MAX)
    for (let i = from; i < end; i++) text += String.fromCharCode(bytes[i]!)
    const found = TimeReader.#shapeOf(bytes, from, to)
    const expected = this.#format
    const shown = JSON.stringify(text)
    if (expected === 'auto' || found === null) {
      this.problem = `${shown} is not a time${expected === 'auto' ? '' : ` in ${NAMES[expected]}`}`
    } else if (found !== expected && this.#declared === 'auto') {
      this.problem = `time ${shown} looks like ${NAMES[found]}, but the first time was in ${NAMES[expected]}`
    } else {
      this.problem = `time ${shown} is not ${NAMES[expected]}`
    }
  }
}

function unitOf(epoch: number): TimeFormat {
  const magnitude = Math.abs(epoch)
  for (const [unit, below] of UNIT_BOUNDS) if (magnitude < below) return unit
  return 'ns'
}

const EPOCH = /^-?\d+(?:\.\d*)?(?:[eE][+-]?\d{1,3})?$/

function epochNumber(bytes: Uint8Array, from: number, to: number): number {
  if (to - from > TIME_TEXT_LENGTH_MAX) return Number.NaN
  let text = ''
  for (let i = from; i < to; i++) text += String.fromCharCode(bytes[i]!)
  return EPOCH.test(text) ? Number(text) : Number.NaN
}

/** End of the run of digits that starts at `from`. */
function digitsTo(bytes: Uint8Array, from: number, to: number): number {
  let at = from
  while (at < to && bytes[at]! >= ZERO && bytes[at]! <= NINE) at++
  return at
}

/** The digits after a point, times 1,000; those beyond the ninth are cut. */
function thousandths(bytes: Uint8Array, from: number, to: number): number {
  let billionths = 0
  let weight = 1e8
  for (let at = from; at < to && weight > 0; at++) {
    billionths += (bytes[at]! - ZERO) * weight
    weight = weight >= 10 ? weight / 10 : 0
  }
  return billionths / 1e6
}

/** `Z`, `+02`, `+02:00`, `+0200`, `UTC`, `GMT`, a blank before it or not; NaN for anything else. */
function zoneMs(bytes: Uint8Array, from: number, to: number): number {
  const at = bytes[from] === SPACE ? from + 1 : from
  const length = to - at
  const first = bytes[at]!
  if (length === 1) return (first | 0x20) === 0x7a ? 0 : Number.NaN
  if (first === PLUS || first === MINUS) {
    const colon = length === 6 && bytes[at + 3] === COLON
    if (length !== 3 && length !== 5 && !colon) return Number.NaN
    const hours = twoDigits(bytes, at + 1)
    const minutes = length === 3 ? 0 : twoDigits(bytes, colon ? at + 4 : at + 3)
    if (!(hours <= 23 && minutes <= 59)) return Number.NaN
    const ms = (hours * 60 + minutes) * 60_000
    return first === PLUS ? ms : -ms
  }
  if (length !== 3) return Number.NaN
  const word = String.fromCharCode(first, bytes[at + 1]!, bytes[at + 2]!).toUpperCase()
  return word === 'UTC' || word === 'GMT' ? 0 : Number.NaN
}

/** NaN unless both are digits. */
function twoDigits(bytes: Uint8Array, at: number): number {
  const tens = bytes[at]! - ZERO
  const ones = bytes[at + 1]! - ZERO
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : Number.NaN
}

function daysInMonth(year: number, month: number): number {
  if (month !== 2) return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28
}

/** Days from civil (Hinnant, "chrono-compatible low-level date algorithms"), in ms; NaN for no such day. */
function dayStartMs(year: number, month: number, day: number): number {
  if (!(month >= 1 && month <= 12 && day >= 1 && day <= daysInMonth(year, month))) return Number.NaN
  const shifted = month <= 2 ? year - 1 : year
  const era = Math.floor(shifted / 400)
  const yearOfEra = shifted - era * 400
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear
  return (era * 146_097 + dayOfEra - 719_468) * DAY_MS
}
