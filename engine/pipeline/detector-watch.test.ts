import { describe, expect, test } from 'vitest'
import type { Detector, DetectorHealth, SilenceDetector } from '../contract/plugins.ts'
import { Cells } from '../state/cells.ts'
import { DetectionStage } from './detection.ts'
import { SATURATED_SHARE, STARVED_INTERVALS } from './detector-watch.ts'

const EVERY_MS = 1_000

/** The score is the value; NaN below 0. */
const valueIsScore: Detector = {
  subject: 'value',
  width: 0,
  score(_cells, _at, _timeMs, value, verdict) {
    verdict.score = value < 0 ? NaN : value
    verdict.cleared = value <= 1
  },
  learn: () => undefined,
  reason: () => 'reason',
}

const tenMs: SilenceDetector = {
  ...valueIsScore,
  subject: 'silence',
  silentAfterMs: () => 10,
  arrived: () => undefined,
}

function stageOf(detector: Detector, cells: Cells = new Cells('d')): DetectionStage {
  const column = detector.subject === 'silence' ? null : 'latency'
  const stage = new DetectionStage({
    plan: { name: 'd', kind: 'k', column, options: {}, holdMs: 0 },
    detector,
    cells,
    emit: () => undefined,
    everyMs: EVERY_MS,
  })
  stage.ensureRows(2)
  return stage
}

function run(stage: DetectionStage, values: readonly number[], fromMs = 0): number {
  let timeMs = fromMs
  for (const value of values) {
    timeMs += EVERY_MS
    stage.judge(0, timeMs, value)
  }
  return timeMs
}

const times = (count: number, value: number): number[] => Array.from({ length: count }, () => value)

describe('a detector that says nothing of its health', () => {
  test('is warming for a row without values, and while it gives no score', () => {
    const stage = stageOf(valueIsScore)
    expect(stage.health(0, 0)).toBe('warming')
    const nowMs = run(stage, [-1, -1])
    expect(stage.health(0, nowMs)).toBe('warming')
    expect(stage.health(0, run(stage, [0.2], nowMs))).toBe('ok')
    expect(stage.health(1, nowMs)).toBe('warming')
  })

  test('is warming again when it falls back to no score', () => {
    const stage = stageOf(valueIsScore)
    expect(stage.health(0, run(stage, [...times(9, 0.2), -1]))).toBe('warming')
  })

  test('is saturated once it fires for most values of late, and no longer when that is over', () => {
    const stage = stageOf(valueIsScore)
    let nowMs = run(stage, times(20, 3))
    expect(stage.health(0, nowMs)).toBe('ok')
    nowMs = run(stage, times(80, 3), nowMs)
    expect(stage.health(0, nowMs)).toBe('saturated')
    nowMs = run(stage, times(80, 0.1), nowMs)
    expect(stage.health(0, nowMs)).toBe('ok')
  })

  test(`is saturated from a share of ${SATURATED_SHARE} on, whichever way the values are mixed`, () => {
    const mixed = (fires: number, of: number): DetectorHealth => {
      const stage = stageOf(valueIsScore)
      const values = Array.from({ length: 600 }, (_, i) => (i % of < fires ? 3 : 0))
      return stage.health(0, run(stage, values))
    }
    expect([mixed(1, 4), mixed(2, 5), mixed(3, 5), mixed(3, 4)]).toEqual([
      'ok',
      'ok',
      'saturated',
      'saturated',
    ])
  })

  test(`is starved after ${STARVED_INTERVALS} intervals without a value, and not before`, () => {
    const stage = stageOf(valueIsScore)
    const nowMs = run(stage, [0.1])
    expect(stage.health(0, nowMs + STARVED_INTERVALS * EVERY_MS)).toBe('ok')
    expect(stage.health(0, nowMs + STARVED_INTERVALS * EVERY_MS + 1)).toBe('starved')
    // NaN is no value.
    stage.judge(0, nowMs + STARVED_INTERVALS * EVERY_MS + 1, NaN)
    expect(stage.health(0, nowMs + STARVED_INTERVALS * EVERY_MS + 1)).toBe('starved')
  })
})

test('what a detector says of itself goes first, but a row without values is warming', () => {
  const stage = stageOf({ ...valueIsScore, health: () => 'blind' })
  expect(stage.health(0, 0)).toBe('warming')
  expect(stage.health(0, run(stage, [0.1]))).toBe('blind')
})

test('a silence detector that most samples end an alert of is saturated; quiet rows are not starved', () => {
  const stage = stageOf(tenMs)
  expect(stage.health(0, 0)).toBe('warming')
  stage.arrived(0, 5)
  expect(stage.health(0, 100_000)).toBe('ok')
  for (let logMs = 100; logMs <= 100 * 100; logMs += 100) {
    stage.scan(logMs)
    stage.arrived(0, logMs)
  }
  expect(stage.health(0, 10_000)).toBe('saturated')
  for (let logMs = 10_001; logMs < 10_200; logMs++) {
    stage.scan(logMs)
    stage.arrived(0, logMs)
  }
  expect(stage.health(0, 10_200)).toBe('ok')
})

test('the watch is in its cells: pages of a checkpoint go on with the same health', () => {
  const [cells, copied] = [new Cells('d'), new Cells('copy')]
  const stage = stageOf(valueIsScore, cells)
  const nowMs = run(stage, times(90, 3))
  const copy = stageOf(valueIsScore, copied)
  cells.takeDirty((index, page) => copied.restorePage(index, page))
  expect(copy.health(0, nowMs)).toBe('saturated')
  const later = run(stage, times(30, 0), nowMs)
  run(copy, times(30, 0), nowMs)
  expect(copied.data).toEqual(cells.data)
  expect(copy.health(0, later)).toBe(stage.health(0, later))
})
