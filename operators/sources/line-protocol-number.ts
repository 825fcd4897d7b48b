/**
 * Numbers and times of the line protocol, from bytes. Guarantees: a value is bit-equal to Number(text); a time is the
 * float64 nearest to its exact epoch milliseconds. Positions, not strings: nothing is allocated unless a number has more
 * than 19 digits (integers: 15) or a large exponent.
 *
 * Syntax and ranges follow the grammar of github.com/influxdata/line-protocol (v2, line-protocol.ebnf): no NaN, no
 * infinities, int64 and uint64 ranges for `i` and `u`, int64 nanoseconds for times.
 */

export type Precision = 'ns' | 'us' | 'ms' | 's' | 'm' | 'h'

/** Names that InfluxDB's v1 and v2 clients send. */
export const PRECISIONS = {
  n: 'ns',
  ns: 'ns',
  u: 'us',
  us: 'us',
  ms: 'ms',
  s: 's',
  m: 'm',
  h: 'h',
} as const satisfies Readonly<Record<string, Precision>>
export type PrecisionName = keyof typeof PRECISIONS

export interface PrecisionRule {
  /** Digits right of the millisecond. */
  readonly fractionDigits: number
  /** 10 ** fractionDigits */
  readonly unitsPerMs: number
  /** For units of a millisecond and more. */
  readonly msPerUnit: number
  /** Largest magnitude that is an int64 of nanoseconds: whole part (of ms, or of units), then fraction. */
  readonly wholeMax: number
  readonly fractionMax: number
  readonly fractionMaxNegative: number
}

const NO_FRACTION = { fractionDigits: 0, unitsPerMs: 1, fractionMax: 0, fractionMaxNegative: 0 }
// 2 ** 63 ns = 9,223,372,036,854.775808 ms
const RULES: Readonly<Record<Precision, PrecisionRule>> = {
  ns: {
    fractionDigits: 6,
    unitsPerMs: 1e6,
    msPerUnit: 1,
    wholeMax: 9_223_372_036_854,
    fractionMax: 775_807,
    fractionMaxNegative: 775_808,
  },
  us: {
    fractionDigits: 3,
    unitsPerMs: 1e3,
    msPerUnit: 1,
    wholeMax: 9_223_372_036_854,
    fractionMax: 775,
    fractionMaxNegative: 775,
  },
  ms: { ...NO_FRACTION, msPerUnit: 1, wholeMax: 9_223_372_036_854 },
  s: { ...NO_FRACTION, msPerUnit: 1e3, wholeMax: 9_223_372_036 },
  m: { ...NO_FRACTION, msPerUnit: 6e4, wholeMax: 153_722_867 },
  h: { ...NO_FRACTION, msPerUnit: 36e5, wholeMax: 2_562_047 },
}

export function precisionRule(precision: Precision): PrecisionRule {
  return RULES[precision]
}

/** The receiver's clock for a line without a time, cut to the precision as InfluxDB cuts it. */
export function defaultTimeMs(nowMs: number, precision: Precision): number {
  const { unitsPerMs, msPerUnit } = RULES[precision]
  if (precision === 'ns') return nowMs
  return unitsPerMs > 1
    ? Math.floor(nowMs * unitsPerMs) / unitsPerMs
    : Math.floor(nowMs / msPerUnit) * msPerUnit
}

/** Results of the readers below: they return a position. */
export interface NumberOut {
  value: number
}

export const NOT_A_TIME = -1
export const TIME_OUT_OF_RANGE = -2

/**
 * Reads `-?digits` in [from, to) whole into `out`, as epoch ms. Returns 0, NOT_A_TIME or TIME_OUT_OF_RANGE.
 * hot: one call a line whose time is not nanoseconds of 19 digits.
 *
 * Rounding: below 2 ** 53 units the time is one correctly rounded division. Above, the whole milliseconds are exact, the
 * fraction is within 2 ** −54 of its value, and no fraction of 3 or 6 digits that is not a tie itself lies that near to
 * a tie of their sum, whose last place is then at least 2 ** −19: the sum rounds as the exact number would.
 */
export function readTime(
  bytes: Uint8Array,
  from: number,
  to: number,
  rule: PrecisionRule,
  out: NumberOut,
): number {
  let at = from
  const negative = at < to && bytes[at] === 0x2d
  if (negative) at++
  if (at === to) return NOT_A_TIME
  while (at < to && bytes[at] === 0x30) at++
  const wholeTo = to - rule.fractionDigits
  let whole = 0
  let fraction = 0
  const tooLong = to - at > 19
  for (; at < to; at++) {
    const digit = bytes[at]! - 0x30
    if (digit < 0 || digit > 9) return NOT_A_TIME
    if (at < wholeTo) whole = whole * 10 + digit
    else fraction = fraction * 10 + digit
  }
  if (tooLong || whole > rule.wholeMax) return TIME_OUT_OF_RANGE
  if (whole === rule.wholeMax && fraction > (negative ? rule.fractionMaxNegative : rule.fractionMax)) {
    return TIME_OUT_OF_RANGE
  }
  const units = whole * rule.unitsPerMs + fraction
  const ms =
    units <= Number.MAX_SAFE_INTEGER
      ? (units / rule.unitsPerMs) * rule.msPerUnit
      : whole * rule.msPerUnit + fraction / rule.unitsPerMs
  out.value = negative ? 0 - ms : ms
  return 0
}

export const NOT_A_NUMBER = 'not a number'
export const OUT_OF_RANGE = 'out of range'

/** 10 ** 0 … 10 ** 22, the powers that a float64 holds exactly. */
export const POWERS_OF_TEN = Float64Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`))
const EXPONENT_MAX = 22
const DIGITS_MAX = 15
const REST_DIGITS_MAX = 4
/** Splits a float64 into halves whose products are exact. */
const SPLITTER = 2 ** 27 + 1
const CORRECTION_MARGIN = 2 ** -90

/**
 * Reads the number at `from` that ends before the first of `,` ` ` CR LF; `to` must hold such an end. Returns the end's
 * position, or −1: not a number of the grammar, or out of range (numberProblem says which).
 * hot: one call for values with more than 9 digits or an exponent.
 *
 * A mantissa below 2 ** 53 and a power of ten up to 10 ** 22 are exact, so one multiplication or division rounds once,
 * correctly (W. D. Clinger, How to Read Floating Point Numbers Accurately, 1990). Up to 19 digits see longQuotient; the
 * rest is Number(text).
 */
export function readNumber(bytes: Uint8Array, from: number, to: number, out: NumberOut): number {
  let at = from
  const negative = bytes[at] === 0x2d
  if (negative) at++
  let mantissa = 0
  let rest = 0
  let digits = 0
  let leading = true
  let scale = 0
  const wholeFrom = at
  let digit = bytes[at]! - 0x30
  while (digit >= 0 && digit <= 9) {
    if (digit !== 0) leading = false
    if (!leading) {
      if (digits < DIGITS_MAX) mantissa = mantissa * 10 + digit
      else rest = rest * 10 + digit
      digits++
    }
    digit = bytes[++at]! - 0x30
  }
  let seen = at - wholeFrom
  const suffix = bytes[at]!
  if (suffix === 0x69 || suffix === 0x75) {
    const end = at + 1
    if (seen === 0 || (suffix === 0x75 && negative) || !endsValue(bytes[end]!)) return -1
    if (digits > DIGITS_MAX) return readLongInteger(bytes, from, end, out)
    // An integer has no negative zero.
    out.value = negative ? 0 - mantissa : mantissa
    return end
  }
  if (suffix === 0x2e) {
    const fractionFrom = at + 1
    digit = bytes[++at]! - 0x30
    while (digit >= 0 && digit <= 9) {
      if (digit !== 0) leading = false
      if (!leading) {
        if (digits < DIGITS_MAX) mantissa = mantissa * 10 + digit
        else rest = rest * 10 + digit
        digits++
      }
      digit = bytes[++at]! - 0x30
    }
    scale = fractionFrom - at
    seen += at - fractionFrom
  }
  if (seen === 0) return -1
  if (bytes[at] === 0x65 || bytes[at] === 0x45) {
    at++
    const sign = bytes[at]
    if (sign === 0x2d || sign === 0x2b) at++
    const exponentFrom = at
    let exponent = 0
    digit = bytes[at]! - 0x30
    while (digit >= 0 && digit <= 9) {
      if (exponent < 10_000) exponent = exponent * 10 + digit
      digit = bytes[++at]! - 0x30
    }
    if (at === exponentFrom) return -1
    scale += sign === 0x2d ? -exponent : exponent
  }
  if (at >= to || !endsValue(bytes[at]!)) return -1
  if (digits > DIGITS_MAX || scale > EXPONENT_MAX || scale < -EXPONENT_MAX) {
    const restDigits = digits - DIGITS_MAX
    if (restDigits > 0 && restDigits <= REST_DIGITS_MAX && scale <= -restDigits && scale >= -EXPONENT_MAX) {
      const value = longQuotient(mantissa, rest, restDigits, -scale)
      if (value > 0) {
        out.value = negative ? -value : value
        return at
      }
    }
    return readLong(bytes, from, at, out)
  }
  const value = scale < 0 ? mantissa / POWERS_OF_TEN[-scale]! : mantissa * POWERS_OF_TEN[scale]!
  out.value = negative ? -value : value
  return at
}

/**
 * (mantissa · 10 ** restDigits + rest) / 10 ** scale, correctly rounded, or 0: too near to a tie to say. For numbers of
 * 16 to 19 digits, the usual length of a float's shortest text: 4 times as fast as a string and Number().
 *
 * The quotient of the first 15 digits has an exact remainder (T. J. Dekker, A floating-point technique for extending the
 * available precision, 1971). What that and the rest add is below 2 ** −45 of it and known to 2 ** −50 of itself; so the
 * sum is certain if it rounds to one float64 when moved by 2 ** −90 either way.
 */
function longQuotient(mantissa: number, rest: number, restDigits: number, scale: number): number {
  const power = POWERS_OF_TEN[scale - restDigits]!
  const quotient = mantissa / power
  const product = quotient * power
  let shifted = quotient * SPLITTER
  const quotientHigh = shifted - (shifted - quotient)
  const quotientLow = quotient - quotientHigh
  shifted = power * SPLITTER
  const powerHigh = shifted - (shifted - power)
  const powerLow = power - powerHigh
  const productRest =
    quotientHigh * powerHigh -
    product +
    quotientHigh * powerLow +
    quotientLow * powerHigh +
    quotientLow * powerLow
  const remainder = mantissa - product - productRest
  const correction = remainder / power + rest / POWERS_OF_TEN[scale]!
  const margin = quotient * CORRECTION_MARGIN
  const low = quotient + (correction - margin)
  return low === quotient + (correction + margin) ? low : 0
}

function endsValue(byte: number): boolean {
  return byte === 0x20 || byte === 0x2c || byte === 0x0a || byte === 0x0d
}

function readLong(bytes: Uint8Array, from: number, end: number, out: NumberOut): number {
  const value = Number(latin1(bytes, from, end))
  if (!Number.isFinite(value)) return -1
  out.value = value
  return end
}

function readLongInteger(bytes: Uint8Array, from: number, end: number, out: NumberOut): number {
  const text = latin1(bytes, from, end)
  if (text.length >= INTEGER_TEXT_LENGTH && numberProblem(text) !== null) return -1
  out.value = Number(text.slice(0, -1))
  return end
}

/** Shorter ones, suffix included, are in range. */
const INTEGER_TEXT_LENGTH = 20
const INTEGER = /^-?[0-9]+i$/
const UNSIGNED = /^[0-9]+u$/
const FLOAT = /^-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$/

/** Why a value that starts like a number is none; null: it is one. */
export function numberProblem(text: string): typeof NOT_A_NUMBER | typeof OUT_OF_RANGE | null {
  if (INTEGER.test(text)) {
    const negative = text.startsWith('-')
    const digits = text.slice(negative ? 1 : 0, -1).replace(/^0+/, '')
    return integerWithin(digits, negative ? '9223372036854775808' : '9223372036854775807')
  }
  if (UNSIGNED.test(text)) {
    return integerWithin(text.slice(0, -1).replace(/^0+/, ''), '18446744073709551615')
  }
  if (!FLOAT.test(text)) return NOT_A_NUMBER
  return Number.isFinite(Number(text)) ? null : OUT_OF_RANGE
}

function integerWithin(digits: string, limit: string): typeof OUT_OF_RANGE | null {
  if (digits.length !== limit.length) return digits.length < limit.length ? null : OUT_OF_RANGE
  return digits <= limit ? null : OUT_OF_RANGE
}

export function latin1(bytes: Uint8Array, from: number, to: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + from, to - from).toString('latin1')
}
