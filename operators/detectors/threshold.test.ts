import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Fault } from '../../engine/contract/errors.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { newVerdict, parsed } from '../testing/judge-series.ts'
import { thresholdPlugin } from './threshold.ts'

describeDetector({
  plugin: thresholdPlugin,
  options: [
    { above: 90 },
    { above: 90, clear: 80 },
    { below: -5 },
    { below: 0, clear: 1 },
    { above: 8, below: 2 },
  ],
})

function judge(written: unknown, value: number) {
  const verdict = newVerdict()
  thresholdPlugin.create(parsed(thresholdPlugin, written)).score(new Float64Array(0), 0, 0, value, verdict)
  return verdict
}

describe('threshold', () => {
  test.each([
    [{ above: 90 }, 90, 1],
    [{ above: 90 }, 180, 2],
    [{ above: 90 }, 0, 0],
    [{ above: 90 }, -50, 0],
    [{ above: 90, clear: 80 }, 80, 0],
    [{ above: 90, clear: 80 }, 85, 0.5],
    [{ above: 90, clear: 80 }, 95, 1.5],
    [{ above: 0 }, 1, 2],
    [{ above: -5 }, -5, 1],
    [{ above: -5 }, 0, 2],
    [{ below: 10 }, 10, 1],
    [{ below: 10 }, 5, 1.5],
    [{ below: 10 }, 20, 0],
    [{ below: 2, above: 8 }, 5, 0],
    [{ below: 2, above: 8 }, 8, 1],
    [{ below: 2, above: 8 }, 2, 1],
    [{ below: 2, above: 8 }, -1, 2],
  ])('%j scores %d as %d', (written, value, score) => {
    expect(judge(written, value).score).toBeCloseTo(score, 12)
  })

  test('hysteresis: cleared on the normal side of clear only', () => {
    const written = { above: 90, clear: 80 }
    expect([95, 90, 85, 80.001, 80, 70].map((value) => judge(written, value).cleared)).toEqual([
      false,
      false,
      false,
      false,
      true,
      true,
    ])
    expect(judge({ below: 10, clear: 12 }, 11).cleared).toBe(false)
    expect(judge({ below: 10, clear: 12 }, 12).cleared).toBe(true)
    expect(judge({ above: 90 }, 90).cleared).toBe(true)
  })

  test('anomalous exactly beyond the bound, however small the difference', () => {
    const bound = fc.double({ min: -1e6, max: 1e6, noNaN: true })
    fc.assert(
      fc.property(bound, bound, fc.double({ noNaN: true }), (a, b, other) => {
        const [below, above] = a < b ? [a, b] : [b, a]
        for (const value of [below, above, other, above * (1 + 1e-15), below * (1 - 1e-15)]) {
          expect(judge({ above }, value).score > 1).toBe(value > above)
          expect(judge({ below }, value).score > 1).toBe(value < below)
          if (below < above)
            expect(judge({ above, below }, value).score > 1).toBe(value > above || value < below)
        }
      }),
    )
  })

  test('says which bound was broken', () => {
    const detector = thresholdPlugin.create(parsed(thresholdPlugin, { below: 2, above: 8 }))
    const verdict = newVerdict()
    const reason = (value: number): string => {
      detector.score(new Float64Array(0), 0, 0, value, verdict)
      return detector.reason('degrees', value, verdict)
    }
    expect(reason(9.5)).toBe('degrees 9.5 is above 8')
    expect(reason(1)).toBe('degrees 1 is below 2')
    expect(reason(5)).toBe('degrees 5 is back in bounds (2 … 8)')
    expect(judge({ below: 2, above: 8 }, 1).direction).toBe(-1)
    expect(judge({ below: 2 }, 1).direction).toBe(-1)
    expect(judge({ above: 2 }, 3).direction).toBe(1)
  })

  test.each([
    [{}, 'above'],
    [{ above: 1, below: 1 }, 'below'],
    [{ above: 1, below: 0, clear: 0.5 }, 'clear'],
    [{ above: 1, clear: 2 }, 'clear'],
    [{ below: 1, clear: 0 }, 'clear'],
  ])('%j is refused at %s', (written, name) => {
    const faults: Fault[] = []
    expect(thresholdPlugin.options.parse(written, 'p', faults)).toBeUndefined()
    expect(faults.map((fault) => fault.place)).toEqual([`p.${name}`])
  })
})
