import { describe, expect, test } from 'vitest'
import {
  atOptimum,
  atThreshold,
  bestThreshold,
  heldOut,
  normalized,
  PROFILES,
  scoredFile,
  scoreFile,
  sigma,
} from './scoring.ts'

/** The worked example of the rules: 40 rows, one window. */
const FILE = scoredFile('example.csv', 40, [{ first: 20, last: 24 }])
const SCORES = new Float64Array(40).fill(0.1)
for (const [row, score] of [
  [3, 0.9],
  [10, 0.8],
  [22, 0.7],
  [23, 0.95],
  [26, 0.6],
] as const)
  SCORES[row] = score
const PARTS = [{ file: FILE, scores: SCORES }]

describe("NAB's scoring", () => {
  test('the position function has the published values', () => {
    expect(sigma(-0.9)).toBeCloseTo(0.9780261147, 10)
    expect(sigma(-0.5)).toBeCloseTo(0.84828364, 10)
    expect(sigma(-0.1)).toBeCloseTo(0.2449186624, 10)
    expect(sigma(3.01)).toBe(-1)
  })

  test.each([
    [3, 20, 1],
    [22, 22, 0.9174286804],
    [24, 24, 0.4683868439],
    [0, 10, -1],
    [0, 25, -0.5545997223],
    [0, 28, -0.9866142982],
    [0, 39, -1],
  ])('an alarm in a row is worth what the rules say (%i, row %i)', (_, row, worth) => {
    expect(FILE.worth[row]).toBeCloseTo(worth, 9)
  })

  test.each([
    [1.1, -1, -1, -2, '0/29/0/5'],
    [0.95, 0.771927, 0.771927, 0.771927, '1/29/0/4'],
    [0.8, 0.661927, 0.551927, 0.661927, '1/28/1/4'],
    [0.7, 0.807429, 0.697429, 0.807429, '2/28/1/3'],
    [0.6, 0.714117, 0.510806, 0.714117, '2/27/2/3'],
    [0.1, -2.117195, -5.234391, -2.117195, '5/0/29/0'],
  ])('the worked example at threshold %d', (threshold, standard, lowFp, lowFn, rows) => {
    const [a, b, c] = PROFILES.map((profile) => scoreFile(FILE, SCORES, threshold, profile))
    expect([a!.raw, b!.raw, c!.raw].map((raw) => raw.toFixed(6))).toEqual(
      [standard, lowFp, lowFn].map((raw) => raw.toFixed(6)),
    )
    expect(`${a!.tp}/${a!.tn}/${a!.fp}/${a!.fn}`).toBe(rows)
  })

  test('the best threshold of the worked example, in each profile', () => {
    const optima = PROFILES.map((profile) => bestThreshold(PARTS, profile))
    expect(optima.map(({ threshold }) => threshold)).toEqual([0.7, 0.95, 0.7])
    const scores = optima.map(({ raw }, i) => normalized(raw, 1, PROFILES[i]!).toFixed(6))
    expect(scores).toEqual(['90.371434', '88.596347', '93.580956'])
  })

  test('nothing detected is 0, every window at its first row is 100', () => {
    const first = new Float64Array(40)
    first[20] = 1
    const hundred = { standard: 100, lowFp: 100, lowFn: 100 }
    expect(atOptimum([{ file: FILE, scores: first }])).toEqual(hundred)
    expect(atThreshold([{ file: FILE, scores: first }], 0.5)).toEqual(hundred)
    const nothing = { standard: 0, lowFp: 0, lowFn: 0 }
    expect(atOptimum([{ file: FILE, scores: new Float64Array(40) }])).toEqual(nothing)
  })

  test('what is held out is scored at the threshold of the others', () => {
    const other = new Float64Array(40)
    other[20] = 0.97
    const groups = [PARTS, [{ file: FILE, scores: other }]]
    // The others' threshold is 0.97 for the example (a miss), and 0.7 for the other (a hit at its first row).
    expect(heldOut(groups).standard).toBeCloseTo(50, 12)
  })
})
