import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  defaultTimeMs,
  NOT_A_TIME,
  numberProblem,
  type Precision,
  precisionRule,
  readNumber,
  readTime,
  TIME_OUT_OF_RANGE,
} from './line-protocol-number.ts'

/** The value's bits, or null: refused. */
function read(text: string): bigint | null {
  const bytes = new TextEncoder().encode(`${text}\n`)
  const out = { value: 0.5 }
  const end = readNumber(bytes, 0, bytes.length, out)
  if (end < 0) return null
  expect(end).toBe(text.length)
  return bits(out.value)
}

function bits(value: number): bigint {
  return new BigUint64Array(Float64Array.of(value).buffer)[0]!
}

const digits = (min: number, max: number) =>
  fc.array(fc.integer({ min: 0, max: 9 }), { minLength: min, maxLength: max }).map((array) => array.join(''))

const floatTexts = fc
  .tuple(
    fc.constantFrom('', '-'),
    digits(0, 24),
    fc.constantFrom('', '.'),
    digits(0, 24),
    fc.option(
      fc.tuple(fc.constantFrom('e', 'E'), fc.constantFrom('', '+', '-'), fc.integer({ min: 0, max: 340 })),
    ),
  )
  .filter(([, whole, point, fraction]) => (point === '' ? whole !== '' : whole + fraction !== ''))
  .map(([sign, whole, point, fraction, exponent]) => {
    const tail = exponent === null ? '' : exponent.join('')
    return `${sign}${whole}${point}${point === '' ? '' : fraction}${tail}`
  })

describe('floats', () => {
  it('are bit-equal to Number(text), whatever their form', () => {
    fc.assert(
      fc.property(floatTexts, (text) => {
        const expected = Number(text)
        expect(read(text)).toBe(Number.isFinite(expected) ? bits(expected) : null)
      }),
      { numRuns: 20_000 },
    )
  })

  it('are read back from their shortest text', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(read(Object.is(value, -0) ? '-0' : String(value))).toBe(bits(value))
      }),
      { numRuns: 20_000 },
    )
  })

  it('of 16 to 19 digits are exact, at and beside the middle of two float64, too', () => {
    const mantissa = fc.bigInt({ min: 10n ** 15n, max: 10n ** 19n - 1n })
    const spread = fc.tuple(mantissa, fc.integer({ min: 1, max: 24 })).map(([digits, scale]) => {
      const text = String(digits).padStart(scale + 1, '0')
      return `${text.slice(0, -scale)}.${text.slice(-scale)}`
    })
    // The exact middle above a float64 of 2 ** 53 … 2 ** 62 over a power of two, cut to 19 digits, give or take one.
    const middles = fc
      .tuple(
        fc.bigInt({ min: 2n ** 52n, max: 2n ** 53n - 1n }),
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: -1, max: 1 }),
      )
      .map(([significand, shift, off]) => {
        const scaled = ((2n * significand + 1n) * 10n ** 19n) >> BigInt(shift + 1)
        const text = String(scaled)
        const kept = BigInt(text.slice(0, 19)) + BigInt(off)
        const scale = 19 - (text.length - 19)
        return scale > 0
          ? `${String(kept)
              .padStart(scale + 1, '0')
              .slice(0, -scale)}.${String(kept)
              .padStart(scale + 1, '0')
              .slice(-scale)}`
          : `${kept}`
      })
    fc.assert(
      fc.property(fc.oneof(spread, middles), (text) => {
        expect(read(text), text).toBe(bits(Number(text)))
      }),
      { numRuns: 30_000 },
    )
  })

  it('keep hard cases exact: halfway points, subnormals, many digits', () => {
    for (const text of [
      '9007199254740993',
      '9007199254740992.5',
      '0.1',
      '0.30000000000000004',
      '2.2250738585072011e-308',
      '5e-324',
      '2.4703282292062327e-324',
      '1.7976931348623157e308',
      '179769313486231580793728971405301e276',
      '123456789012345e22',
      '123456789012345e-22',
      '1e23',
      '-0',
      '-0.',
      '-.5',
      '0000000000000000000000000001.5',
      '0.00000000000000000000000000000000000000015',
    ]) {
      expect(read(text), text).toBe(bits(Number(text)))
    }
  })

  it('beyond the range are refused, not infinite', () => {
    for (const text of ['1.8e308', '-1e309', '1e99999999999', `${'9'.repeat(310)}`]) {
      expect(read(text), text).toBeNull()
      expect(numberProblem(text)).toBe('out of range')
    }
  })

  it('have no other spelling', () => {
    for (const text of [
      '.',
      '-',
      '-.',
      '1e',
      '1e+',
      '1.1.1',
      '1_000',
      '0x10',
      '--1',
      '1-',
      '+1',
      'NaN',
      'Inf',
      '1f',
    ]) {
      expect(read(text), text).toBeNull()
      expect(numberProblem(text), text).toBe('not a number')
    }
  })
})

describe('integers', () => {
  it('are bit-equal to Number(text) within int64 and uint64, and have no negative zero', () => {
    const integer = fc.oneof(
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value) => `${value}i`),
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((value) => `${value}u`),
      fc.integer().map((value) => `${value}i`),
    )
    fc.assert(
      fc.property(integer, (text) => {
        expect(read(text)).toBe(bits(Number(text.slice(0, -1)) + 0))
      }),
      { numRuns: 5_000 },
    )
    expect(read('-0i')).toBe(bits(0))
    expect(read('-0000i')).toBe(bits(0))
  })

  it('are refused one beyond the range, whatever their leading zeros', () => {
    expect(read('9223372036854775807i')).toBe(bits(2 ** 63))
    expect(read('-9223372036854775808i')).toBe(bits(-(2 ** 63)))
    expect(read('0018446744073709551615u')).toBe(bits(2 ** 64))
    for (const text of [
      '9223372036854775808i',
      '-9223372036854775809i',
      '18446744073709551616u',
      '00018446744073709551616u',
    ]) {
      expect(read(text), text).toBeNull()
      expect(numberProblem(text), text).toBe('out of range')
    }
  })

  it('have no other spelling', () => {
    for (const text of ['1.0i', '-1u', '1ii', '1iu', 'i', '-i', '.i', '1e3i', '1.u']) {
      expect(read(text), text).toBeNull()
      expect(numberProblem(text), text).toBe('not a number')
    }
  })
})

const NS_PER_UNIT: Readonly<Record<Precision, bigint>> = {
  ns: 1n,
  us: 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
}
const INT64_MAX = 2n ** 63n - 1n

function time(text: string, precision: Precision): number | 'syntax' | 'range' {
  const bytes = new TextEncoder().encode(text)
  const out = { value: 0.5 }
  const result = readTime(bytes, 0, bytes.length, precisionRule(precision), out)
  if (result === NOT_A_TIME) return 'syntax'
  if (result === TIME_OUT_OF_RANGE) return 'range'
  return out.value
}

/** Number() of the exact decimal is the nearest float64. */
function nearestMs(nanoseconds: bigint): number {
  const magnitude = nanoseconds < 0n ? -nanoseconds : nanoseconds
  const value = Number(`${magnitude / 1_000_000n}.${String(magnitude % 1_000_000n).padStart(6, '0')}`)
  return nanoseconds < 0n ? 0 - value : value
}

describe.each(Object.keys(NS_PER_UNIT) as Precision[])('times in %s', (precision) => {
  const unit = NS_PER_UNIT[precision]
  const max = INT64_MAX / unit
  const min = -(2n ** 63n) / unit

  it('are the float64 nearest to the exact millisecond, over the whole range', () => {
    const anyUnits = fc.oneof(
      fc.bigInt({ min, max }),
      fc.bigInt({ min: -(max < 10n ** 6n ? max : 10n ** 6n), max: max < 10n ** 6n ? max : 10n ** 6n }),
      fc.bigInt({ min: 1_600_000_000_000_000_000n / unit, max: 1_800_000_000_000_000_000n / unit }),
      // About where a sum takes over from a division, and near ties of the sum.
      fc
        .bigInt({ min: 0n, max: 40_000n })
        .map((offset) => (2n ** 53n - 20_000n + offset < max ? 2n ** 53n - 20_000n + offset : offset)),
      fc
        .tuple(
          fc.bigInt({ min: 0n, max: 9_223_372_036_853n }),
          fc.integer({ min: 0, max: 63 }),
          fc.integer({ min: -1, max: 1 }),
        )
        .map(([ms, k, off]) => (ms * 1_000_000n + BigInt(k) * 15_625n + BigInt(off)) / unit),
    )
    fc.assert(
      fc.property(anyUnits, (units) => {
        expect(time(String(units), precision)).toBe(nearestMs(units * unit))
      }),
      { numRuns: 5_000 },
    )
  })

  it('are refused one beyond the nanoseconds of an int64', () => {
    expect(time(String(max), precision)).toBe(nearestMs(max * unit))
    expect(time(String(min), precision)).toBe(nearestMs(min * unit))
    expect(time(`-000${-min}`, precision)).toBe(nearestMs(min * unit))
    expect(time(String(max + 1n), precision)).toBe('range')
    expect(time(String(min - 1n), precision)).toBe('range')
    expect(time('9'.repeat(40), precision)).toBe('range')
  })

  it('are integers only', () => {
    for (const text of ['-', '1-', '--1', '1-1']) expect(time(text, precision), text).toBe('syntax')
    expect(time('-0', precision)).toBe(0)
  })

  it('default to the clock, cut to the precision', () => {
    const nowMs = 1_700_000_003_723.25
    const cut = defaultTimeMs(nowMs, precision)
    expect(cut).toBeLessThanOrEqual(nowMs)
    expect(nowMs - cut).toBeLessThan(Math.max(Number(unit) / 1e6, 0.001))
    if (unit >= 1_000_000n) expect(cut % (Number(unit) / 1e6)).toBe(0)
  })
})
