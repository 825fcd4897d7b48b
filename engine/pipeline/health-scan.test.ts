import fc from 'fast-check'
import { expect, test } from 'vitest'
import { DETECTOR_HEALTHS, type DetectorHealth } from '../contract/plugins.ts'
import { HealthScan } from './health-scan.ts'

const healths = fc.constantFrom<DetectorHealth>(...DETECTOR_HEALTHS)

function naive(rows: readonly (readonly DetectorHealth[])[], detectors: number): number[] {
  return Array.from({ length: detectors }, (_, detector) =>
    DETECTOR_HEALTHS.map((health) => rows.filter((row) => row[detector] === health).length),
  ).flat()
}

test('in pieces of any size, a round counts what looking at all rows at once would', () => {
  const world = fc
    .nat(4)
    .chain((detectors) =>
      fc.tuple(
        fc.constant(detectors),
        fc.array(fc.array(healths, { minLength: detectors, maxLength: detectors }), { maxLength: 40 }),
        fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 5 }),
      ),
    )
  fc.assert(
    fc.property(world, ([detectors, rows, pieces]) => {
      const sources = Array.from({ length: detectors }, (_, i) => ({
        health: (row: number) => rows[row]![i]!,
      }))
      const scan = new HealthScan(sources)
      expect(scan.isDone).toBe(true)
      // A second round must not add to the first.
      for (let round = 0; round < 2; round++) {
        scan.begin(rows.length)
        for (let turn = 0; !scan.isDone; turn++) {
          const piece = pieces[turn % pieces.length]!
          const left = scan.advance(piece)
          expect(left).toBeGreaterThanOrEqual(0)
          if (!scan.isDone) expect(left).toBe(0)
          expect(turn).toBeLessThan(2 * detectors * (rows.length + 1))
        }
        expect([...scan.counts]).toEqual(naive(rows, detectors))
      }
    }),
  )
})

test('counts are those of the last whole round while the next is under way', () => {
  let health: DetectorHealth = 'ok'
  const scan = new HealthScan([{ health: () => health }])
  scan.begin(3)
  scan.advance(10)
  health = 'blind'
  scan.begin(3)
  scan.advance(2)
  expect([...scan.counts]).toEqual([3, 0, 0, 0, 0])
  scan.advance(2)
  expect([...scan.counts]).toEqual([0, 0, 0, 0, 3])
})
