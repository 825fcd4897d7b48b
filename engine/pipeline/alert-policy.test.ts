/** The life cycle with everything a plan may ask for, against a model that keeps lists instead of cells. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { AlertPlan } from '../contract/plan.ts'
import type { Detector } from '../contract/plugins.ts'
import { Cells } from '../state/cells.ts'
import { type AlertTransition, DetectionStage } from './detection.ts'

const STEP_MS = 10

/** The score is the value's distance from 0; it clears at half the edge. */
const valueIsScore: Detector = {
  subject: 'value',
  width: 1,
  score(_cells, _at, _timeMs, value, verdict) {
    verdict.score = Math.abs(value)
    verdict.expected = 0
    verdict.lower = -1
    verdict.upper = 1
    verdict.direction = value < 0 ? -1 : 1
    verdict.cleared = Math.abs(value) <= 0.5
  },
  learn(cells, at, _timeMs, _value, verdict) {
    // It learns from its own verdict, whatever was told.
    cells[at] = cells[at]! + verdict.score
  },
  reason: () => '',
}

interface Made {
  readonly alert: AlertPlan
  readonly holdMs?: number
  readonly labels?: (row: number) => Record<string, string>
  readonly inhibitor?: DetectionStage
  readonly cells?: Cells
}

function stageOf({ alert, holdMs = 0, labels, inhibitor, cells = new Cells('d') }: Made) {
  const seen: (AlertTransition & { row: number })[] = []
  const stage = new DetectionStage({
    plan: { name: 'd', kind: 'k', column: 'x', options: {}, holdMs, alert },
    detector: valueIsScore,
    cells,
    emit: (row, transition) => seen.push({ row, ...transition }),
    ...(labels === undefined ? {} : { labelsOf: labels }),
    inhibitor,
  })
  stage.ensureRows(2)
  return { stage, seen, cells }
}

function brief(seen: readonly AlertTransition[]): string[] {
  return seen.map(({ state, sinceMs, atMs, severity, isFlapping }) =>
    [state, sinceMs, 'at', atMs, severity, ...(isFlapping ? ['flapping'] : [])].join(' '),
  )
}

function run(alert: AlertPlan, values: readonly number[], holdMs = 0): string[] {
  const { stage, seen } = stageOf({ alert, holdMs })
  values.forEach((value, i) => {
    stage.judge(0, i * STEP_MS, value)
  })
  return brief(seen)
}

/** Straight from the words of AlertPlan, over the whole past each time. */
function model(alert: AlertPlan, values: readonly number[], holdMs: number): string[] {
  const out: string[] = []
  const anomalies: boolean[] = []
  const fires: number[] = []
  let ends: number[] = []
  let open: {
    sinceMs: number
    fired: boolean
    flaps: boolean
    scores: number[]
    clearSince: number | null
  } | null = null
  const say = (state: string, atMs: number): void => {
    const steps = alert.severity ?? [{ from: 0, severity: 'warning' }]
    const top = Math.max(...open!.scores)
    const severity = steps.filter(({ from }, i) => i === 0 || top >= from).at(-1)!.severity
    out.push([state, open!.sinceMs, 'at', atMs, severity, ...(open!.flaps ? ['flapping'] : [])].join(' '))
  }
  const fire = (atMs: number): void => {
    fires.push(atMs)
    open!.fired = true
    const { times = Infinity, withinMs = 0 } = alert.flapping ?? {}
    open!.flaps = fires.length >= times && atMs - fires.at(-times)! <= withinMs
    say('firing', atMs)
  }
  const severityOf = (scores: readonly number[]): string =>
    (alert.severity ?? []).filter(({ from }, i) => i === 0 || Math.max(...scores) >= from).at(-1)?.severity ??
    'warning'
  values.forEach((value, i) => {
    const atMs = i * STEP_MS
    const score = Math.abs(value)
    anomalies.push(score > 1)
    const { anomalous, of } = alert.atLeast ?? { anomalous: 1, of: 1 }
    const enough = anomalies.slice(-of).filter((is) => is).length >= anomalous
    if (open === null) {
      const resting =
        ends.length > 0 &&
        atMs - ends.at(-1)! < (alert.refractoryMs ?? 0) &&
        score < (alert.reArm ?? Infinity)
      if (!(score > 1) || !enough || resting) return
      open = { sinceMs: atMs, fired: false, flaps: false, scores: [score], clearSince: null }
      if (holdMs === 0) fire(atMs)
      else say('pending', atMs)
      return
    }
    if (!open.fired) {
      if (!enough) {
        say('resolved', atMs)
        open = null
        return
      }
      open.scores.push(score)
      if (atMs >= open.sinceMs + holdMs) fire(atMs)
      return
    }
    const isBelow = alert.clearBelow === undefined ? score <= 0.5 : score <= alert.clearBelow
    const isClear = isBelow && !(alert.atLeast !== undefined && enough)
    open.clearSince = isClear ? (open.clearSince ?? atMs) : null
    const neededMs = Math.max(alert.keepFiringMs ?? 0, open.flaps ? alert.flapping!.withinMs : 0)
    if (open.clearSince !== null && atMs - open.clearSince >= neededMs) {
      say('resolved', atMs)
      ends = [...ends, atMs]
      open = null
      return
    }
    const before = severityOf(open.scores)
    open.scores.push(score)
    if (severityOf(open.scores) !== before) say('firing', atMs)
  })
  return out
}

const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })
const spans = fc.integer({ min: 1, max: 8 }).map((steps) => steps * STEP_MS)

const alerts: fc.Arbitrary<AlertPlan> = fc
  .record({
    atLeast: optional(
      fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 0, max: 10 })).map(([anomalous, more]) => ({
        anomalous: Math.min(anomalous, 4 + (anomalous % 30)),
        of: Math.min(50, anomalous + more),
      })),
    ),
    clearBelow: optional(fc.constantFrom(0.2, 0.7, 1)),
    keepFiringMs: optional(spans),
    refractoryMs: optional(spans),
    reArm: optional(fc.constantFrom(2, 4)),
    flapping: optional(fc.record({ times: fc.integer({ min: 2, max: 4 }), withinMs: spans })),
    severity: optional(
      fc.constantFrom<AlertPlan['severity']>(
        [{ from: 0, severity: 'critical' }],
        [
          { from: 1, severity: 'info' },
          { from: 2, severity: 'warning' },
          { from: 4, severity: 'critical' },
        ],
      ),
    ),
  })
  .map(
    (plan) =>
      Object.fromEntries(Object.entries(plan).filter(([, value]) => value !== undefined)) as AlertPlan,
  )

const values = fc.array(fc.constantFrom(0, 0, 0.3, 0.6, 0.9, 1, 1.5, 1.5, 2, 3, 5, -2), { maxLength: 120 })

test('every option, alone and together, does what a list of all that was says', () => {
  fc.assert(
    fc.property(alerts, values, fc.constantFrom(0, 0, 20, 50), (alert, list, holdMs) => {
      expect(run(alert, list, holdMs)).toEqual(model(alert, list, holdMs))
    }),
    { numRuns: 2_000 },
  )
})

test('a stage that is made again over the cells goes on as if it had never ended', () => {
  fc.assert(
    fc.property(alerts, values, fc.nat({ max: 119 }), (alert, list, cut) => {
      const first = stageOf({ alert, holdMs: 20 })
      list.slice(0, cut).forEach((value, i) => {
        first.stage.judge(1, i * STEP_MS, value)
      })
      const cells = new Cells('d')
      cells.ensure(first.cells.data.length)
      cells.data.set(first.cells.data)
      const second = stageOf({ alert, holdMs: 20, cells })
      list.slice(cut).forEach((value, i) => {
        second.stage.judge(1, (cut + i) * STEP_MS, value)
      })
      const whole = stageOf({ alert, holdMs: 20 })
      list.forEach((value, i) => {
        whole.stage.judge(1, i * STEP_MS, value)
      })
      expect([...first.seen, ...second.seen]).toEqual(whole.seen)
    }),
  )
})

describe('an alert', () => {
  test('begins at 3 of 5, with the value that makes them three, and stays while they are', () => {
    const plan: AlertPlan = { atLeast: { anomalous: 3, of: 5 } }
    expect(run(plan, [0, 2, 0, 2, 2, 0, 2, 0, 0, 0])).toEqual([
      'firing 40 at 40 warning',
      // Of the last five, fewer than three.
      'resolved 40 at 80 warning',
    ])
  })

  test('keeps firing until all has been quiet for so long', () => {
    expect(run({ keepFiringMs: 20 }, [2, 0, 2, 0, 0, 0])).toEqual([
      'firing 0 at 0 warning',
      'resolved 0 at 50 warning',
    ])
  })

  test('rests after its end, unless something much worse comes', () => {
    const rest: AlertPlan = { refractoryMs: 100 }
    expect(run(rest, [2, 0, 2, 0, 9])).toHaveLength(2)
    expect(run({ ...rest, reArm: 5 }, [2, 0, 2, 0, 9]).at(-1)).toBe('firing 40 at 40 warning')
  })

  test('that becomes more severe says so once, under the same identity', () => {
    const severity: AlertPlan['severity'] = [
      { from: 1, severity: 'warning' },
      { from: 3, severity: 'critical' },
    ]
    expect(run({ severity }, [2, 2, 4, 2, 4, 0])).toEqual([
      'firing 0 at 0 warning',
      'firing 0 at 20 critical',
      'resolved 0 at 50 critical',
    ])
  })

  test('that flaps stays, marked, until it has been quiet for as long', () => {
    const plan: AlertPlan = { flapping: { times: 3, withinMs: 60 } }
    expect(run(plan, [2, 0, 2, 0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0])).toEqual([
      'firing 0 at 0 warning',
      'resolved 0 at 10 warning',
      'firing 20 at 20 warning',
      'resolved 20 at 30 warning',
      'firing 40 at 40 warning flapping',
      'resolved 40 at 130 warning flapping',
    ])
  })

  test('does not begin in a mute time, and begins after it if it still has to', () => {
    const muteTimes = [{ fromMs: 0, toMs: 25 }]
    expect(run({ muteTimes }, [2, 2, 2, 2])).toEqual(['firing 30 at 30 warning'])
    expect(run({ muteTimes: [{ fromMs: 10, toMs: 25 }] }, [2, 2, 0])).toHaveLength(2)
  })

  test('does not begin while the one that inhibits it fires', () => {
    const parent = stageOf({ alert: {} })
    const child = stageOf({ alert: { inhibitedBy: 'parent' }, inhibitor: parent.stage })
    for (const [i, [above, below]] of [
      [2, 2],
      [2, 2],
      [0, 2],
    ].entries()) {
      parent.stage.judge(0, i * STEP_MS, above!)
      child.stage.judge(0, i * STEP_MS, below!)
    }
    expect(brief(child.seen)).toEqual(['firing 20 at 20 warning'])
  })
})

describe('what is told of a value', () => {
  test('is normal within the minimum deviation, absolute or relative, and the band is as wide', () => {
    const { stage, seen, cells } = stageOf({ alert: { minDeviation: { absolute: 4, relative: 0 } } })
    expect(stage.judge(0, 0, 3)).toMatchObject({ score: 0.75, lower: -4, upper: 4, cleared: true })
    // The detector learned what it saw itself.
    expect(cells.data[0]).toBe(3)
    expect(stage.judge(0, 10, 5)).toMatchObject({ score: 5 })
    expect(brief(seen)).toEqual(['firing 10 at 10 warning'])
  })

  test('follows the override that fits the labels first', () => {
    const { stage, seen } = stageOf({
      alert: {
        overrides: [
          {
            where: [{ label: 'host', op: '=', value: 'h1' }],
            scale: 3,
            severity: [{ from: 0, severity: 'critical' }],
          },
          { where: [{ label: 'host', op: '=~', value: 'h.' }], mute: true },
        ],
      },
      labels: (row) => ({ host: `h${row}` }),
    })
    stage.judge(0, 0, 9)
    expect(stage.judge(1, 0, 2)).toMatchObject({ lower: -3, upper: 3 })
    stage.judge(1, 10, 6)
    expect(seen.map(({ row, score, severity }) => [row, score, severity])).toEqual([[1, 2, 'critical']])
  })
})
