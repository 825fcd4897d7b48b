import { describe, expect, test } from 'vitest'
import type { LiveHello, LiveStatus } from '../../engine/contract/live.ts'
import { testAlert, testPlan } from '../../engine/pipeline/memory-state.ts'
import { lensesOf, Model, Points, viewPlan } from './browser/model.ts'

const hello: LiveHello = {
  version: '1',
  startedMs: 0,
  dataDirectory: '/data',
  canDisturb: false,
  pointsMax: 3,
  seriesMax: 10,
  plans: [testPlan()],
  transitions: [],
}

function started(change: Partial<LiveHello> = {}): Model {
  const model = new Model()
  model.start({ ...hello, ...change })
  return model
}

function statusAt(nowMs: number, results: number): LiveStatus {
  const pipeline = {
    name: 'cpu',
    results,
    ledger: { in: 2 * results, windowed: results },
    seconds: {},
    sinks: [],
  }
  return { nowMs, pipelines: [pipeline], topics: [] } as unknown as LiveStatus
}

describe('what the page knows', () => {
  test('a plan is looked at by what is judged first, then by the other aggregates', () => {
    expect(lensesOf(viewPlan(testPlan()))).toEqual([
      { column: 'mean', valueAt: 1, detector: 'mean-ewma', scoreAt: 3 },
      { column: 'n', valueAt: 2, detector: null, scoreAt: -1 },
    ])
  })

  test('points are kept in order, the newest, one a time', () => {
    const points = new Points(2, 3)
    for (const [timeMs, value] of [
      [1, 1],
      [2, 2],
      [2, 3],
      [1, 9],
      [3, 4],
      [4, null],
    ] as const) {
      points.push([timeMs, value], 0)
    }
    expect(points.columns).toEqual([
      [2, 3, 4],
      [3, 4, null],
    ])
    expect([points.length, points.lastMs, points.last(1)]).toEqual([3, 4, null])
  })

  test('what a snapshot and the events after it both tell counts once', () => {
    const model = started()
    model.addSeries({
      id: 7,
      pipeline: 'cpu',
      group: { host: 'a' },
      points: [[1_000, 1, 1, null, null, null, null]],
    })
    model.addPoint([7, 1_000, 1, 1, null, null, null, null])
    model.addPoint([7, 2_000, 2, 1, 0.5, 1, 0, 2])
    const series = model.find('cpu', { host: 'a' })!
    expect(series.points.columns.slice(0, 2)).toEqual([
      [1_000, 2_000],
      [1, 2],
    ])
    model.addSeries({ id: 7, pipeline: 'cpu', group: { host: 'a' }, points: [[3_000, 3, 1, 0, 0, 0, 0]] })
    expect(model.find('cpu', { host: 'a' })!.points.columns[0]).toEqual([3_000])
    expect(model.addPoint([99, 1, 1])).toBeNull()
    expect(model.addSeries({ id: 8, pipeline: 'gone', group: {}, points: [] })).toBeNull()
  })

  test('a series is known by its pipeline and labels, in whatever order they come', () => {
    const model = started()
    model.addSeries({ id: 1, pipeline: 'cpu', group: { a: '1', b: '2' }, points: [] })
    expect(model.find('cpu', { b: '2', a: '1' })?.id).toBe(1)
    expect(model.find('cpu', { a: '1' })).toBeNull()
  })

  test('an alert is a stretch from its beginning to its end, told once', () => {
    const model = started({ transitions: [testAlert({ state: 'pending', atMs: 1_000 })] })
    const key = model.addSeries({ id: 1, pipeline: 'cpu', group: { host: 'a' }, points: [] })!.key
    expect(model.stateOf(key)).toBe('pending')
    expect(model.addTransition(testAlert({ state: 'firing', atMs: 2_000 }))).toBe(true)
    expect(model.addTransition(testAlert({ state: 'firing', atMs: 2_000 }))).toBe(false)
    expect(model.stateOf(key)).toBe('firing')
    model.addTransition(testAlert({ state: 'resolved', atMs: 5_000 }))
    expect(model.stateOf(key)).toBe('ok')
    expect(model.spans(key)).toMatchObject([{ sinceMs: 1_000, endMs: 5_000, hasFired: true }])
    // What is told as standing counts, though its transitions were passed over.
    model.setAlerts({ total: 1, alerts: [testAlert({ id: 'other', state: 'firing' })] })
    expect(model.stateOf(key)).toBe('firing')
  })

  test('rates are differences over the last seconds, and never below zero', () => {
    const model = started()
    expect(model.ratesOf('cpu').results).toBeNull()
    model.setStatus(statusAt(0, 100))
    model.setStatus(statusAt(2_000, 110))
    expect(model.ratesOf('cpu')).toMatchObject({ results: 5, samples: 10 })
    for (let second = 3; second < 20; second++) model.setStatus(statusAt(second * 1_000, 110))
    expect(model.ratesOf('cpu').results).toBe(0)
    model.setStatus(statusAt(20_000, 0))
    expect(model.ratesOf('cpu').results).toBe(0)
  })

  test('time in operators is a rate, of groups that are spread over partitions too', () => {
    const told = (seconds: number): LiveStatus => {
      const parts = { aggregate: seconds, window: seconds, detect: seconds, emit: seconds }
      const pipeline = { name: 'cpu', results: 0, ledger: {}, seconds: parts, sinks: [] }
      return { nowMs: seconds * 1_000, pipelines: [pipeline], topics: [] } as unknown as LiveStatus
    }
    for (const plan of [testPlan(), testPlan({ exchange: { buckets: 4 } })]) {
      const model = started({ plans: [plan] })
      model.setStatus(told(1))
      model.setStatus(told(3))
      expect(model.ratesOf('cpu')).toMatchObject({ aggregate: 1, window: 1, detect: 1, emit: 1 })
    }
  })

  test('a new beginning forgets everything', () => {
    const model = started({ transitions: [testAlert()] })
    model.addSeries({ id: 1, pipeline: 'cpu', group: { host: 'a' }, points: [] })
    model.start(hello)
    expect([model.series.size, model.transitions, model.find('cpu', { host: 'a' })]).toEqual([0, [], null])
  })
})
