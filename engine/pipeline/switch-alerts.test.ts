import { describe, expect, test } from 'vitest'
import type { Alert } from '../contract/alert.ts'
import { testAlert } from './memory-state.ts'
import { type StandingAlert, switchAlerts } from './switch-alerts.ts'

const NOW = 9_000
const LOG_NOW = 20_000

function standing(change: Partial<Alert> & { readonly row?: number }): StandingAlert {
  const { row = 3, ...rest } = change
  const { detector = 'd', sinceMs = 1_000 } = rest
  const id = `p/${detector}/0/${row}/${sinceMs}`
  return {
    row,
    alert: testAlert({ state: 'firing', severity: 'warning', column: 'v', ...rest, id, detector, sinceMs }),
  }
}

function switched(before: readonly StandingAlert[], after: readonly StandingAlert[], detectors = ['d']) {
  return switchAlerts({
    before,
    after,
    idOf: ({ alert, row }, sinceMs) => `p/${alert.detector}/0/${row}/${sinceMs}`,
    eventMs: NOW,
    logMs: LOG_NOW,
    detectors: new Set(detectors),
  })
}

describe('what becomes of alerts when detectors are switched', () => {
  test('both fire: it goes on under its id and beginning, and nothing is told', () => {
    const { told, kept, goesOn } = switched([standing({})], [standing({ sinceMs: 4_000 })])
    expect({ told, kept, goesOn }).toEqual({
      told: [],
      kept: [{ detector: 'd', row: 3, sinceMs: 1_000, fires: true }],
      goesOn: 1,
    })
  })

  test.each([
    ['pending', 'firing', ['firing'], true],
    ['firing', 'pending', [], true],
    ['pending', 'pending', [], false],
  ] as const)('%s, and %s by the new detector', (was, is, states, fires) => {
    const { told, kept } = switched([standing({ state: was })], [standing({ state: is, sinceMs: 4_000 })])
    expect(told.map(({ state }) => state)).toEqual(states)
    expect(kept).toEqual([{ detector: 'd', row: 3, sinceMs: 1_000, fires }])
    for (const alert of told) expect(alert).toMatchObject({ id: 'p/d/0/3/1000', sinceMs: 1_000, atMs: NOW })
  })

  test('more severe: it fires once more under its id', () => {
    const { told } = switched([standing({})], [standing({ severity: 'critical', sinceMs: 4_000 })])
    expect(told).toMatchObject([
      { id: 'p/d/0/3/1000', state: 'firing', severity: 'critical', sinceMs: 1_000 },
    ])
  })

  test('less severe: it ends as severe as it was told, and another begins under an id of its own', () => {
    for (const sinceMs of [1_000, 4_000]) {
      const { told, kept, ended, begun } = switched(
        [standing({ severity: 'critical' })],
        [standing({ severity: 'info', sinceMs })],
      )
      const fromMs = sinceMs === 1_000 ? 1_001 : sinceMs
      expect(told).toMatchObject([
        { id: 'p/d/0/3/1000', state: 'resolved', severity: 'critical' },
        { id: `p/d/0/3/${fromMs}`, state: 'firing', severity: 'info', sinceMs: fromMs },
      ])
      expect(kept).toEqual([{ detector: 'd', row: 3, sinceMs: fromMs, fires: true }])
      expect([ended, begun]).toEqual([1, 1])
    }
  })

  test('only the old one: it ends, with a reason that tells a changed detector from one that is gone', () => {
    const { told, ended } = switched([standing({}), standing({ detector: 'e' })], [])
    expect(told).toMatchObject([
      {
        state: 'resolved',
        atMs: NOW,
        value: null,
        score: null,
        reason: 'ended by a switch of detectors: d: as it is now it finds nothing wrong',
      },
      {
        state: 'resolved',
        atMs: NOW,
        reason: 'ended by a switch of detectors: e: the pipeline has it no more',
      },
    ])
    expect(ended).toBe(2)
  })

  test('only the new one: it is told as of now, by the clock that it goes by', () => {
    const { told, begun } = switched([], [standing({ row: 5 }), standing({ row: 4, column: null })])
    expect(told).toMatchObject([
      { id: 'p/d/0/4/1000', state: 'firing', sinceMs: 1_000, atMs: LOG_NOW },
      {
        id: 'p/d/0/5/1000',
        state: 'firing',
        sinceMs: 1_000,
        atMs: NOW,
        reason: expect.stringContaining('switch of detectors'),
      },
    ])
    expect(begun).toBe(2)
  })

  test('another group, another detector: another alert', () => {
    const { goesOn, ended, begun } = switched(
      [standing({ row: 1 }), standing({ row: 2 })],
      [standing({ row: 1, detector: 'e' }), standing({ row: 3 })],
      ['d', 'e'],
    )
    expect([goesOn, ended, begun]).toEqual([0, 2, 2])
  })
})
