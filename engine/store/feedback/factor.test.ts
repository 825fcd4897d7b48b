import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FACTOR_MAX, FACTOR_MIN, FACTOR_STEP_MAX, FACTOR_STEPS } from '../../contract/feedback.ts'
import { factorOf, type Statement, targetOfExpected, targetOfMissed } from './factor.ts'

const score = fc.oneof(
  fc.double({ min: 1, max: 10, noNaN: true }),
  fc.double({ min: 1e-300, max: 1e300, noNaN: true }),
)
const factor = fc.integer({ min: 5, max: 160 }).map((steps) => steps / FACTOR_STEPS)

describe('what a statement asks for', () => {
  test('of an expected deviation: the smallest step at which it does not alert', () => {
    fc.assert(
      fc.property(score, factor, (told, under) => {
        const target = targetOfExpected(told, under)!
        const raw = told * under
        expect(raw / target).toBeLessThanOrEqual(1)
        if (raw < 1e6) expect(raw / (target - 1 / FACTOR_STEPS)).toBeGreaterThan(1 - 1e-6)
      }),
    )
    expect(targetOfExpected(1.125, 1)).toBe(1.15)
    // A score on a step that was rounded when it was told: a step more rather than an alert.
    expect(targetOfExpected(1.5, 1)).toBe(1.55)
    expect(targetOfExpected(null, 1)).toBeNull()
    expect(targetOfExpected(Infinity, 1)).toBeNull()
  })

  test('of a missed value: the largest step at which it alerts', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true }), factor, (told, under) => {
        const target = targetOfMissed(told, under)
        const raw = told * under
        if (target > 0) expect(raw / target).toBeGreaterThan(1)
        expect(raw / (target + 1 / FACTOR_STEPS)).toBeLessThanOrEqual(1 + 1e-6)
      }),
    )
    expect(targetOfMissed(1, 1)).toBe(0.95)
    expect(targetOfMissed(0.74, 1)).toBe(0.7)
    expect(targetOfMissed(0, 1)).toBe(0)
  })
})

type Wish = { says: 'expected' | 'missed'; target: number | null } | { says: 'undo'; which: number }

const wish: fc.Arbitrary<Wish> = fc.oneof(
  fc.record({
    says: fc.constantFrom('expected' as const, 'missed' as const),
    target: fc.oneof(fc.constant(null), factor, fc.constantFrom(0, 0.05, 40)),
  }),
  fc.record({ says: fc.constant('undo' as const), which: fc.nat(20) }),
)

function statementsOf(wishes: readonly Wish[]): Statement[] {
  const statements: Statement[] = []
  for (const one of wishes) {
    const id = statements.length + 1
    if (one.says !== 'undo') statements.push({ id, says: one.says, of: null, target: one.target })
    else {
      const said = statements.filter(({ says }) => says !== 'undo')
      const undone = said[one.which % Math.max(1, said.length)]
      if (undone !== undefined) statements.push({ id, says: 'undo', of: undone.id, target: null })
    }
  }
  return statements
}

/** The rules, one after another, over what is left when all that was undone is crossed out. */
function oracle(statements: readonly Statement[]): number {
  const left = statements.filter(
    (one) => one.says !== 'undo' && !statements.some(({ says, of }) => says === 'undo' && of === one.id),
  )
  let now = 1
  for (const { says, target } of left) {
    if (says === 'expected') {
      const wanted = target === null ? 2 * now : target
      if (wanted > now) now = Math.min(wanted, 2 * now)
      if (now > 8) now = 8
    } else {
      const wanted = target === null ? 0 : target
      if (wanted < now) now = Math.max(wanted, now / 2)
      if (now < 0.25) now = 0.25
    }
  }
  return now
}

describe('the factor that comes of statements', () => {
  test('is that of the rules, whatever was said and taken back', () => {
    fc.assert(
      fc.property(fc.array(wish, { maxLength: 20 }), (wishes) => {
        const statements = statementsOf(wishes)
        expect(factorOf(statements)).toBe(oracle(statements))
      }),
      { numRuns: 500 },
    )
  })

  test('stays in its bounds, and a statement moves it one way, by at most a step', () => {
    fc.assert(
      fc.property(fc.array(wish, { maxLength: 20 }), (wishes) => {
        const statements = statementsOf(wishes)
        let before = 1
        statements.forEach(({ says }, i) => {
          const after = factorOf(statements.slice(0, i + 1))
          expect(after).toBeGreaterThanOrEqual(FACTOR_MIN)
          expect(after).toBeLessThanOrEqual(FACTOR_MAX)
          if (says === 'expected') {
            expect(after).toBeGreaterThanOrEqual(before)
            expect(after).toBeLessThanOrEqual(before * FACTOR_STEP_MAX)
          } else if (says === 'missed') {
            expect(after).toBeLessThanOrEqual(before)
            expect(after).toBeGreaterThanOrEqual(before / FACTOR_STEP_MAX)
          }
          before = after
        })
      }),
    )
  })

  test('an undo gives what would hold had the statement never been made', () => {
    const expected = (id: number, target: number): Statement => ({ id, says: 'expected', of: null, target })
    const undo = (id: number, of: number): Statement => ({ id, says: 'undo', of, target: null })
    expect(factorOf([expected(1, 1.5), expected(2, 1.8)])).toBe(1.8)
    expect(factorOf([expected(1, 1.5), expected(2, 1.8), undo(3, 1)])).toBe(1.8)
    expect(factorOf([expected(1, 1.5), expected(2, 1.8), undo(3, 2)])).toBe(1.5)
    // Without the first, the second is at most a doubling.
    expect(factorOf([expected(1, 2), expected(2, 3)])).toBe(3)
    expect(factorOf([expected(1, 2), expected(2, 3), undo(3, 1)])).toBe(2)
    expect(factorOf([expected(1, 2), undo(2, 1)])).toBe(1)
  })
})
