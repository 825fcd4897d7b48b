import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isAbsent, readDecimal } from './decimal.ts'

const read = (text: string): number => {
  const bytes = new TextEncoder().encode(`#${text}#`)
  return readDecimal(bytes, 1, bytes.length - 1)
}

describe('readDecimal', () => {
  test('equals Number for every finite double as JavaScript prints it', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(read(String(value))).toBe(Number(String(value)))
      }),
      { numRuns: 2_000 },
    )
  })

  test('equals Number for any digits, point and exponent', () => {
    const digits = fc.string({ unit: fc.constantFrom(...'0123456789'), maxLength: 25 })
    fc.assert(
      fc.property(
        fc.constantFrom('', '-', '+'),
        digits,
        fc.option(digits),
        fc.option(fc.integer({ min: -330, max: 330 })),
        (sign, whole, fraction, exponent) => {
          if (whole === '' && (fraction ?? '') === '') return
          const text = `${sign}${whole}${fraction === null ? '' : `.${fraction}`}${exponent === null ? '' : `e${exponent}`}`
          expect(read(text)).toBe(Number(text))
        },
      ),
      { numRuns: 5_000 },
    )
  })

  test('equals Number for the digits that measurements have, and at the middle between two doubles', () => {
    const middle = fc.integer({ min: 2 ** 52, max: 2 ** 53 - 1 }).map((n) => `${n}.5`)
    const plain = fc.double({ min: 1e-5, max: 1e15, noNaN: true }).map((value) => value.toFixed(12))
    const whole = fc.bigInt({ min: 0n, max: 10n ** 30n }).map(String)
    fc.assert(
      fc.property(fc.oneof(middle, plain, whole), fc.integer({ min: 0, max: 12 }), (text, point) => {
        const moved =
          text.includes('.') || point === 0 ? text : `${text.slice(0, point)}.${text.slice(point)}`
        expect(read(moved)).toBe(Number(moved))
      }),
      { numRuns: 20_000 },
    )
  })

  test.each([
    [' 1.5\t', 1.5],
    ['true', 1],
    ['FALSE', 0],
    ['inf', Number.POSITIVE_INFINITY],
    ['-Infinity', Number.NEGATIVE_INFINITY],
    ['.5', 0.5],
    ['5.', 5],
    ['-0', -0],
    ['18.324918539200002', 18.324918539200002],
    ['9007199254740993', 9007199254740992],
  ])('reads %j', (text, value) => {
    expect(read(text)).toBe(value)
  })

  test.each(['', '-', '.', '+.', 'e5', '1e', '0x10', '1_000', '1,5', '1 2', 'OK', '--1', 'NaN', 'null'])(
    'takes %j for no number',
    (text) => {
      expect(read(text)).toBeNaN()
    },
  )

  test.each([
    ['', true],
    [' ', true],
    ['null', true],
    ['NaN', true],
    ['NA', true],
    ['n/a', true],
    ['none', false],
    ['0', false],
  ])('%j is absent: %j', (text, absent) => {
    const bytes = new TextEncoder().encode(text)
    expect(isAbsent(bytes, 0, bytes.length)).toBe(absent)
  })
})
