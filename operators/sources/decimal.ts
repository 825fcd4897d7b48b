/**
 * Decimal numbers from bytes, correctly rounded: equal to `Number(text)` for every text it accepts. Digits that fit a
 * float64 exactly, times or over a power of ten that does too, take one operation (Clinger 1990); the rest goes through
 * `Number`. Never throws, never allocates on the fast way. Called by the file decoders, once a value.
 */
const POWERS_OF_TEN = Float64Array.from({ length: 23 }, (_, i) => Number(`1e${i}`))
const SCALE_MAX = POWERS_OF_TEN.length - 1
const MANTISSA_MAX = 2 ** 53
/** That many digits are exact in a float64, and so is their product's split below. */
const DIGITS_EXACT = 15
/** Veltkamp's constant: splits a float64 into halves whose products are exact. */
const SPLIT = 2 ** 27 + 1
/** More than all rounding errors of the quotient's low part, of the quotient (each at most 2 ** -105 of it). */
const DOUBT = 2 ** -98
/** Longer texts are no measurement. */
export const DECIMAL_BYTES_MAX = 400

const TAB = 9
const SPACE = 32
const PLUS = 43
const MINUS = 45
const DOT = 46
const ZERO = 48

/**
 * The number in bytes [from, to): sign, digits, point, exponent, blanks around it; also `inf`, `true` (1) and `false`
 * (0) in any case. NaN for anything else, absent values included (`isAbsent` tells).
 */
// hot:
export function readDecimal(bytes: Uint8Array, from: number, to: number): number {
  let at = from
  let negative = false
  const first = at < to ? bytes[at]! : 0
  if (first === MINUS) {
    negative = true
    at++
  } else if (first === PLUS) {
    at++
  }
  const digitsFrom = at
  let mantissa = 0
  for (; at < to; at++) {
    const digit = bytes[at]! - ZERO
    if (digit < 0 || digit > 9) break
    mantissa = mantissa * 10 + digit
  }
  let digits = at - digitsFrom
  let scale = 0
  if (at < to && bytes[at] === DOT) {
    const fractionFrom = ++at
    for (; at < to; at++) {
      const digit = bytes[at]! - ZERO
      if (digit < 0 || digit > 9) break
      mantissa = mantissa * 10 + digit
    }
    scale = at - fractionFrom
    digits += scale
  }
  if (at !== to || digits === 0 || scale > SCALE_MAX) return readSlowly(bytes, from, to)
  if (mantissa >= MANTISSA_MAX) return readLong(bytes, from, digitsFrom, to, scale, negative)
  const value = scale === 0 ? mantissa : mantissa / POWERS_OF_TEN[scale]!
  return negative ? -value : value
}

/**
 * As many digits as `String(value)` gives, and more: (high·10^j + low) / 10^scale in double-double arithmetic (Dekker
 * 1971), rounded from both ends of its error interval. Where these differ, which is rare, `Number` decides.
 */
function readLong(
  bytes: Uint8Array,
  from: number,
  digitsFrom: number,
  to: number,
  scale: number,
  negative: boolean,
): number {
  let high = 0
  let low = 0
  let significant = 0
  for (let at = digitsFrom; at < to; at++) {
    const byte = bytes[at]!
    if (byte === DOT) continue
    if (significant === 0 && byte === ZERO) continue
    if (++significant <= DIGITS_EXACT) high = high * 10 + (byte - ZERO)
    else low = low * 10 + (byte - ZERO)
  }
  if (significant > 2 * DIGITS_EXACT) return readSlowly(bytes, from, to)
  const power = POWERS_OF_TEN[significant - DIGITS_EXACT]!
  const product = high * power
  const sum = product + low
  const sumLow = product - sum + low + productError(high, power, product)
  const divisor = POWERS_OF_TEN[scale]!
  const quotient = sum / divisor
  const back = quotient * divisor
  const quotientLow = (sum - back - productError(quotient, divisor, back) + sumLow) / divisor
  const doubt = quotient * DOUBT
  const value = quotient + (quotientLow - doubt)
  if (value !== quotient + (quotientLow + doubt)) return readSlowly(bytes, from, to)
  return negative ? -value : value
}

/** a·b − product, exactly. */
function productError(a: number, b: number, product: number): number {
  const aWide = SPLIT * a
  const aHigh = aWide - (aWide - a)
  const aLow = a - aHigh
  const bWide = SPLIT * b
  const bHigh = bWide - (bWide - b)
  const bLow = b - bHigh
  return aHigh * bHigh - product + aHigh * bLow + aLow * bHigh + aLow * bLow
}

const DECIMAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/

function readSlowly(bytes: Uint8Array, from: number, to: number): number {
  const text = trimmedText(bytes, from, to)
  if (DECIMAL.test(text)) return Number(text)
  switch (text.toLowerCase()) {
    case 'true':
      return 1
    case 'false':
      return 0
    case 'inf':
    case '+inf':
    case 'infinity':
    case '+infinity':
      return Number.POSITIVE_INFINITY
    case '-inf':
    case '-infinity':
      return Number.NEGATIVE_INFINITY
    default:
      return Number.NaN
  }
}

/** No value was meant: nothing, blanks, `null`, `NaN`, `NA`, `N/A`, in any case. */
export function isAbsent(bytes: Uint8Array, from: number, to: number): boolean {
  if (from === to) return true
  switch (trimmedText(bytes, from, to).toLowerCase()) {
    case '':
    case 'null':
    case 'nan':
    case 'na':
    case 'n/a':
      return true
    default:
      return false
  }
}

/** Bytes as Latin-1 text without blanks at its ends; too long a text is cut, and so is no number either. */
function trimmedText(bytes: Uint8Array, from: number, to: number): string {
  let start = from
  let end = to
  while (start < end && (bytes[start] === SPACE || bytes[start] === TAB)) start++
  while (end > start && (bytes[end - 1] === SPACE || bytes[end - 1] === TAB)) end--
  if (end - start > DECIMAL_BYTES_MAX) return '…'
  let text = ''
  for (let i = start; i < end; i++) text += String.fromCharCode(bytes[i]!)
  return text
}
