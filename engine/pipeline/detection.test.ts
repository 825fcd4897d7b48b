import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { DetectorPlan } from '../contract/plan.ts'
import type { Detector, SilenceDetector, Verdict } from '../contract/plugins.ts'
import { Cells } from '../state/cells.ts'
import { type AlertTransition, DetectionStage } from './detection.ts'

/** The score is the value; one cell counts what was learned. Clears at half the edge. */
const valueIsScore: Detector = {
  subject: 'value',
  width: 1,
  score(cells, at, _timeMs, value, verdict) {
    Object.assign(verdict, {
      score: value,
      expected: cells[at]!,
      lower: -1,
      upper: 1,
      direction: value < 0 ? -1 : 1,
    })
    verdict.cleared = value <= 0.5
  },
  learn(cells, at) {
    cells[at] = cells[at]! + 1
  },
  reason: (subject, value, verdict) => `${subject} ${value} ${verdict.score}`,
}

/** Silent after ten ms, once two samples have come; one cell counts arrivals. */
const tenMs: SilenceDetector = {
  ...valueIsScore,
  subject: 'silence',
  score(_cells, _at, _timeMs, value, verdict: Verdict) {
    Object.assign(verdict, {
      score: value / 10,
      expected: 0,
      lower: 0,
      upper: 10,
      direction: 1,
      cleared: value < 10,
    })
  },
  learn: () => undefined,
  silentAfterMs: (cells, at) => (cells[at]! > 0 ? 10 : Infinity),
  arrived(cells, at) {
    cells[at] = cells[at]! + 1
  },
}

const plan = (column: string | null, holdMs: number): DetectorPlan => ({
  name: 'd',
  kind: 'k',
  column,
  options: {},
  holdMs,
})

function stageOf(detector: Detector, holdMs: number, cells = new Cells('d')) {
  const seen: [row: number, transition: AlertTransition][] = []
  const column = detector.subject === 'silence' ? null : 'latency'
  const stage = new DetectionStage({
    plan: plan(column, holdMs),
    detector,
    cells,
    emit: (row, transition) => seen.push([row, transition]),
  })
  const brief = () => seen.map(([row, { state, sinceMs, atMs }]) => `${row} ${state} ${sinceMs} at ${atMs}`)
  return { stage, seen, cells, brief }
}

describe('the life cycle of an alert', () => {
  function run(holdMs: number, values: number[]): string[] {
    const { stage, brief } = stageOf(valueIsScore, holdMs)
    stage.ensureRows(1)
    values.forEach((value, i) => {
      stage.judge(0, i * 10, value)
    })
    return brief()
  }

  test('without hold it fires at once and resolves when cleared, not at the edge', () => {
    expect(run(0, [0, 2, 3, 0.9, 1, 0.5, 0])).toEqual(['0 firing 10 at 10', '0 resolved 10 at 50'])
  })

  test('with hold it is pending first and fires once the condition has lasted', () => {
    expect(run(20, [0, 2, 2, 2, 2, 0])).toEqual([
      '0 pending 10 at 10',
      '0 firing 10 at 30',
      '0 resolved 10 at 50',
    ])
  })

  test('a pending alert ends as soon as the condition breaks, and says so', () => {
    expect(run(20, [2, 1, 2, 0.9])).toEqual([
      '0 pending 0 at 0',
      '0 resolved 0 at 10',
      '0 pending 20 at 20',
      '0 resolved 20 at 30',
    ])
  })

  test('the edge itself is normal', () => {
    expect(run(0, [1, 1, 1])).toEqual([])
  })

  test('a value that is not there changes nothing and scores nothing', () => {
    const { stage, cells, brief } = stageOf(valueIsScore, 0)
    stage.ensureRows(1)
    stage.judge(0, 0, 2)
    const before = cells.data.slice()
    expect(stage.judge(0, 10, Number.NaN)).toMatchObject({
      score: Number.NaN,
      expected: Number.NaN,
      cleared: false,
    })
    expect(cells.data).toEqual(before)
    expect(brief()).toEqual(['0 firing 0 at 0'])
  })

  test('a score of NaN (warming up) neither begins nor ends an alert, but is learned from', () => {
    let warm = true
    const sometimes: Detector = {
      ...valueIsScore,
      score(cells, at, timeMs, value, verdict) {
        valueIsScore.score(cells, at, timeMs, value, verdict)
        if (!warm) verdict.score = NaN
      },
    }
    const { stage, cells, brief } = stageOf(sometimes, 0)
    stage.ensureRows(1)
    stage.judge(0, 0, 2)
    warm = false
    stage.judge(0, 10, 0)
    expect(brief()).toEqual(['0 firing 0 at 0'])
    expect(cells.data[0]).toBe(2)
  })

  test('score first, then learn: the verdict never saw its own value', () => {
    const { stage } = stageOf(valueIsScore, 0)
    stage.ensureRows(1)
    expect(stage.judge(0, 0, 0).expected).toBe(0)
    expect(stage.judge(0, 1, 0).expected).toBe(1)
  })

  test('a transition carries the verdict, the value and why', () => {
    const { stage, seen } = stageOf(valueIsScore, 0)
    stage.ensureRows(3)
    stage.judge(2, 7, 4)
    expect(seen).toEqual([
      [
        2,
        {
          state: 'firing',
          sinceMs: 7,
          atMs: 7,
          value: 4,
          score: 4,
          expected: 0,
          lower: -1,
          upper: 1,
          direction: 'up',
          severity: 'warning',
          isFlapping: false,
          reason: 'latency 4 4',
        },
      ],
    ])
  })

  test('a factor widens the band of its row alone; of a fixed bound there is no band, and it changes nothing', () => {
    const judged = (detector: Detector, factor: number): object => {
      const { stage, brief } = stageOf(detector, 0)
      stage.ensureRows(2)
      stage.setFactor(1, factor)
      expect(stage.judge(0, 0, 3)).toMatchObject({ score: 3 })
      const { score, lower, upper } = stage.judge(1, 0, 3)
      return { score, lower, upper, brief: brief() }
    }
    expect(judged(valueIsScore, 2)).toMatchObject({ score: 1.5, lower: -2, upper: 2 })
    expect(judged(valueIsScore, 4)).toMatchObject({ score: 0.75, brief: ['0 firing 0 at 0'] })
    const fixed: Detector = {
      ...valueIsScore,
      score(_cells, _at, _timeMs, value, verdict) {
        Object.assign(verdict, { score: value, expected: NaN, lower: -Infinity, upper: 1, cleared: false })
      },
    }
    expect(judged(fixed, 4)).toEqual(judged(fixed, 1))
  })

  test('rows do not touch each other, and what was touched is marked for the checkpoint', () => {
    const { stage, cells } = stageOf(valueIsScore, 0)
    stage.ensureRows(1_000)
    cells.dirty.fill(0)
    stage.judge(101, 0, 2)
    // Row 101 has cells 505…509, of page 0; row 103 begins at 515, in page 1.
    expect([...cells.dirty.slice(0, 3)]).toEqual([1, 0, 0])
    stage.judge(103, 0, 2)
    expect([...cells.dirty.slice(0, 3)]).toEqual([1, 1, 0])
    expect([...cells.data].filter((cell) => cell !== 0)).toHaveLength(6)
  })

  test('a row that straddles two pages marks both', () => {
    const wide: Detector = { ...valueIsScore, width: 5 }
    const { stage, cells } = stageOf(wide, 0)
    stage.ensureRows(1_000)
    cells.dirty.fill(0)
    // Row 56 has cells 504…512.
    stage.judge(56, 0, 2)
    expect([...cells.dirty.slice(0, 3)]).toEqual([1, 1, 0])
  })

  test('a stage made anew over copied cells goes on as if nothing had happened', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(0, 0.4, 0.9, 1, 1.1, 5), { maxLength: 30 }),
        fc.nat(30),
        fc.constantFrom(0, 15, 30),
        (values, cut, holdMs) => {
          const whole = stageOf(valueIsScore, holdMs)
          whole.stage.ensureRows(1)
          values.forEach((value, i) => {
            whole.stage.judge(0, i * 10, value)
          })
          const first = stageOf(valueIsScore, holdMs)
          first.stage.ensureRows(1)
          values.slice(0, cut).forEach((value, i) => {
            first.stage.judge(0, i * 10, value)
          })
          const copy = new Cells('copy')
          first.cells.takeDirty((index, page) => copy.restorePage(index, page.slice()))
          const second = stageOf(valueIsScore, holdMs, copy)
          second.stage.ensureRows(1)
          values.slice(cut).forEach((value, i) => {
            second.stage.judge(0, (i + cut) * 10, value)
          })
          expect([...first.seen, ...second.seen]).toEqual(whole.seen)
        },
      ),
    )
  })
})

describe('silence, by log time', () => {
  function warm(holdMs: number) {
    const made = stageOf(tenMs, holdMs)
    made.stage.ensureRows(2)
    made.stage.arrived(0, 100)
    made.stage.arrived(0, 105)
    return made
  }

  test('a group that stops is found by time alone, and only once', () => {
    const { stage, brief } = warm(0)
    expect(stage.scan(114)).toBe(115)
    expect(brief()).toEqual([])
    expect(stage.scan(115)).toBe(Infinity)
    stage.scan(130)
    expect(brief()).toEqual(['0 firing 115 at 115'])
  })

  test('a sample ends it and says how long it was', () => {
    const { stage, seen, brief } = warm(0)
    stage.scan(120)
    stage.arrived(0, 140)
    expect(brief()).toEqual(['0 firing 115 at 120', '0 resolved 115 at 140'])
    expect(seen[1]![1]).toMatchObject({ value: 35, score: 0 })
    expect(stage.scan(150)).toBe(Infinity)
    expect(brief().at(-1)).toBe('0 firing 150 at 150')
  })

  test('hold: pending, then firing, by log time', () => {
    const { stage, brief } = warm(20)
    expect(stage.scan(116)).toBe(135)
    expect(stage.scan(134)).toBe(135)
    stage.scan(135)
    expect(brief()).toEqual(['0 pending 115 at 116', '0 firing 115 at 135'])
  })

  test('time that comes in one leap fires at once', () => {
    const { stage, brief } = warm(20)
    stage.scan(1_000)
    expect(brief()).toEqual(['0 firing 115 at 1000'])
  })

  test('a pending silence that ends says so', () => {
    const { stage, brief } = warm(20)
    stage.scan(116)
    stage.arrived(0, 120)
    expect(brief()).toEqual(['0 pending 115 at 116', '0 resolved 115 at 120'])
  })

  test('groups never seen, or not yet learned, are not silent', () => {
    const { stage, brief } = stageOf(tenMs, 0)
    stage.ensureRows(2)
    stage.arrived(0, 100)
    expect(stage.scan(1_000_000)).toBe(Infinity)
    expect(brief()).toEqual([])
  })

  test('the deadline is known as soon as a row may become silent', () => {
    const { stage } = stageOf(tenMs, 0)
    stage.ensureRows(2)
    expect(stage.deadlineMs).toBe(Infinity)
    stage.arrived(1, 100)
    stage.arrived(1, 102)
    expect(stage.deadlineMs).toBe(112)
  })

  test("downtime is no one's fault: neither silence nor hold counts it, and the identity stays", () => {
    const idle = warm(0)
    idle.stage.shift(1_000)
    expect(idle.stage.scan(1_114)).toBe(1_115)
    expect(idle.brief()).toEqual([])
    const pending = warm(20)
    pending.stage.scan(116)
    pending.stage.shift(1_000)
    pending.stage.scan(1_134)
    expect(pending.brief()).toEqual(['0 pending 115 at 116'])
    pending.stage.scan(1_135)
    expect(pending.brief().at(-1)).toBe('0 firing 115 at 1135')
  })

  test('downtime does not count towards hold when another row is due first', () => {
    const { stage, brief } = warm(20)
    stage.scan(116)
    stage.shift(1_000)
    stage.arrived(1, 1_117)
    stage.arrived(1, 1_118)
    stage.scan(1_134)
    expect(brief()).toEqual(['0 pending 115 at 116', '1 pending 1128 at 1134'])
  })

  test('arrivals during an alert are learned from', () => {
    const { stage, cells } = warm(0)
    stage.scan(120)
    stage.arrived(0, 140)
    expect(cells.data[0]).toBe(2)
  })

  test('a stage made anew over copied cells goes on as if nothing had happened', () => {
    const step = fc.record({ afterMs: fc.nat(15), row: fc.constantFrom(-1, 0, 1) })
    const play = (stage: DetectionStage, steps: readonly { logMs: number; row: number }[]) => {
      for (const { logMs, row } of steps) {
        stage.scan(logMs)
        if (row >= 0) stage.arrived(row, logMs)
      }
    }
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 40 }),
        fc.nat(40),
        fc.constantFrom(0, 7, 20),
        (written, cut, holdMs) => {
          let logMs = 0
          const steps = written.map(({ afterMs, row }) => {
            logMs += afterMs
            return { logMs, row }
          })
          const whole = stageOf(tenMs, holdMs)
          whole.stage.ensureRows(2)
          play(whole.stage, steps)
          const first = stageOf(tenMs, holdMs)
          first.stage.ensureRows(2)
          play(first.stage, steps.slice(0, cut))
          const copy = new Cells('copy')
          first.cells.takeDirty((index, page) => copy.restorePage(index, page.slice()))
          const second = stageOf(tenMs, holdMs, copy)
          second.stage.ensureRows(2)
          play(second.stage, steps.slice(cut))
          expect([...first.seen, ...second.seen]).toEqual(whole.seen)
        },
      ),
    )
  })
})

test('what is explained is the band that it judges by, and looking changes no cell', () => {
  const cells = new Cells('looked at')
  const plan = { name: 'd', kind: 'k', column: 'v', options: {}, holdMs: 0 }
  const stage = new DetectionStage({ plan, detector: valueIsScore, cells, emit: () => {} })
  stage.ensureRows(2)
  for (let i = 1; i <= 5; i++) stage.judge(1, i, i === 5 ? 2 : 0)
  const before = cells.data.slice()
  expect(stage.explain(1, 5)).toMatchObject({
    expected: 5,
    lower: -1,
    upper: 1,
    state: 'firing',
    sinceMs: 5,
    facts: [],
  })
  expect(stage.explain(0, 5)).toMatchObject({ state: 'ok', sinceMs: null })
  expect(cells.data).toEqual(before)
})
