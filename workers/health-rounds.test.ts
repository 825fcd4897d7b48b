import { describe, expect, test } from 'vitest'
import { DETECTOR_HEALTHS, type DetectorHealth } from '../engine/contract/plugins.ts'
import { DETECTOR_SERIES } from '../engine/metrics/catalog.ts'
import { readMetric } from '../engine/metrics/merge.ts'
import { createMetricsBlock, ThreadMetrics } from '../engine/metrics/thread-metrics.ts'
import { HealthScan } from '../engine/pipeline/health-scan.ts'
import { HEALTH_EVERY_MS, HealthRounds, type HealthSeat } from './health-rounds.ts'

function fixture(rowsATurn: number, healths: DetectorHealth[][][]) {
  const block = createMetricsBlock()
  let asked = 0
  const seats: HealthSeat[] = healths.map((detectors, i) => {
    const scan = new HealthScan(
      detectors.map((rows) => ({
        health: (row: number) => {
          asked++
          return rows[row]!
        },
      })),
    )
    return {
      firstDetector: i < 2 ? 0 : 2,
      state: { healthScan: scan, beginHealthScan: () => scan.begin(detectors[0]!.length) },
    }
  })
  const rounds = new HealthRounds(seats, new ThreadMetrics(block), rowsATurn)
  const read = (row: number): number[] =>
    DETECTOR_HEALTHS.map((health) => readMetric(DETECTOR_SERIES, [new Float64Array(block)], row, health))
  return { rounds, read, asked: () => asked }
}

// Two partitions of a pipeline with two detectors, and one of another with one.
const HEALTHS: DetectorHealth[][][] = [
  [
    ['ok', 'ok', 'blind'],
    ['warming', 'ok', 'ok'],
  ],
  [
    ['ok', 'saturated'],
    ['starved', 'ok'],
  ],
  [['ok', 'ok', 'ok', 'ok']],
]

describe('rounds over the detectors of a shard', () => {
  test.each([1, 2, 3, 7, 100])('add up streams of a pipeline, %i rows a turn', (rowsATurn) => {
    const { rounds, read, asked } = fixture(rowsATurn, HEALTHS)
    expect(read(0)).toEqual(DETECTOR_HEALTHS.map(() => NaN))
    let turns = 0
    do {
      const before = asked()
      rounds.turn(0)
      expect(asked() - before).toBeLessThanOrEqual(rowsATurn)
      turns++
    } while (!rounds.isDone)
    expect(turns).toBeLessThanOrEqual(Math.ceil(14 / rowsATurn) + 3)
    expect([read(0), read(1), read(2), read(3)]).toEqual([
      [3, 0, 0, 1, 1],
      [3, 1, 1, 0, 0],
      [4, 0, 0, 0, 0],
      DETECTOR_HEALTHS.map(() => NaN),
    ])
  })

  test('begin again when it is time, and not before', () => {
    const { rounds, asked } = fixture(1_000, HEALTHS)
    rounds.turn(0)
    const once = asked()
    rounds.turn(HEALTH_EVERY_MS - 1)
    expect(asked()).toBe(once)
    rounds.turn(HEALTH_EVERY_MS)
    expect(asked()).toBe(2 * once)
  })

  test('a shard without detectors has none', () => {
    const rounds = new HealthRounds([], new ThreadMetrics(createMetricsBlock()))
    rounds.turn(0)
    expect(rounds.isDone).toBe(true)
  })
})
