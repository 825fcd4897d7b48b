import { describe, expect, test } from 'vitest'
import type { Fault } from '../contract/errors.ts'
import type { AlertPlan } from '../contract/plan.ts'
import { compileAlert } from './alert-options.ts'

function compiled(written: unknown, subject: 'value' | 'silence' = 'value') {
  const faults: Fault[] = []
  const plan = compileAlert(written, { place: 'd', faults, above: ['surge'], subject })
  return { plan, faults }
}

test('nothing that was not asked for is in the plan', () => {
  expect(compiled({}).plan).toBeUndefined()
  expect(compiled({ atLeast: undefined }).plan).toBeUndefined()
})

test('what a person writes becomes numbers in base units', () => {
  const { plan, faults } = compiled({
    atLeast: '3 of 5',
    clearBelow: 0.7,
    keepFiring: '5m',
    refractory: '1h',
    reArm: 3,
    minDeviation: { absolute: 5, relative: '10%' },
    severity: { critical: 3, warning: 1 },
    muteTimes: [
      { days: ['sun', 'sat'] },
      { from: '22:00', to: '06:00', timeZone: 'Europe/Berlin' },
      { from: '2026-12-24T00:00:00Z', to: '2026-12-27T00:00:00+01:00' },
    ],
    inhibitedBy: 'surge',
    flapping: { times: 4, within: '1h' },
    overrides: [
      { where: { host: 'db1' }, mute: true },
      { where: { host: /db./ }, scale: 2, severity: 'critical' },
    ],
  })
  expect(faults).toEqual([])
  expect(plan).toEqual({
    atLeast: { anomalous: 3, of: 5 },
    clearBelow: 0.7,
    keepFiringMs: 300_000,
    refractoryMs: 3_600_000,
    reArm: 3,
    minDeviation: { absolute: 5, relative: 0.1 },
    severity: [
      { from: 1, severity: 'warning' },
      { from: 3, severity: 'critical' },
    ],
    muteTimes: [
      { days: [0, 6], fromMinute: 0, toMinute: 1_440, timeZone: 'UTC' },
      { days: [0, 1, 2, 3, 4, 5, 6], fromMinute: 1_320, toMinute: 360, timeZone: 'Europe/Berlin' },
      { fromMs: Date.UTC(2026, 11, 24), toMs: Date.UTC(2026, 11, 26, 23) },
    ],
    inhibitedBy: 'surge',
    flapping: { times: 4, withinMs: 3_600_000 },
    overrides: [
      { where: [{ label: 'host', op: '=', value: 'db1' }], mute: true },
      {
        where: [{ label: 'host', op: '=~', value: 'db.' }],
        scale: 2,
        severity: [{ from: 0, severity: 'critical' }],
      },
    ],
  } satisfies AlertPlan)
})

test.each([
  [5, { absolute: 5, relative: 0 }],
  ['12.5%', { absolute: 0, relative: 0.125 }],
])('a minimum deviation of %s', (written, expected) => {
  expect(compiled({ minDeviation: written }).plan?.minDeviation).toEqual(expected)
})

describe('a fault has place, value, problem and remedy:', () => {
  test.each([
    [{ atLeast: '6 of 5' }, 'd.atLeast'],
    [{ atLeast: '3 of 51' }, 'd.atLeast'],
    [{ atLeast: 3 }, 'd.atLeast'],
    [{ clearBelow: 1.5 }, 'd.clearBelow'],
    [{ keepFiring: 'long' }, 'd.keepFiring'],
    [{ reArm: 3 }, 'd.reArm'],
    [{ minDeviation: '10' }, 'd.minDeviation'],
    [{ minDeviation: { share: 1 } }, 'd.minDeviation.share'],
    [{ severity: 'bad' }, 'd.severity'],
    [{ severity: { critical: 1, warning: 3 } }, 'd.severity'],
    [{ severity: {} }, 'd.severity'],
    [{ muteTimes: { days: ['someday'] } }, 'd.muteTimes[0].days'],
    [{ muteTimes: { from: '25:00' } }, 'd.muteTimes[0]'],
    [{ muteTimes: { from: '2026-12-24', to: '2026-12-27' } }, 'd.muteTimes[0]'],
    [{ muteTimes: { from: '2026-12-27T00:00Z', to: '2026-12-24T00:00Z' } }, 'd.muteTimes[0]'],
    [{ muteTimes: { timeZone: 'Mars' } }, 'd.muteTimes[0].timeZone'],
    [{ muteTimes: { hours: 3 } }, 'd.muteTimes[0].hours'],
    [{ muteTimes: [] }, 'd.muteTimes'],
    [{ inhibitedBy: 'surges' }, 'd.inhibitedBy'],
    [{ flapping: { times: 1, within: '1h' } }, 'd.flapping.times'],
    [{ flapping: { times: 3 } }, 'd.flapping.within'],
    [{ overrides: [{ mute: true }] }, 'd.overrides[0].where'],
    [{ overrides: [{ where: { host: 'a' }, hold: '1m' }] }, 'd.overrides[0].hold'],
    [{ overrides: { host: 'a' } }, 'd.overrides'],
    [{ keepFireing: '1m' }, 'd.keepFireing'],
  ])('%j', (written, place) => {
    const { faults } = compiled(written)
    expect(faults.map((fault) => fault.place)).toEqual([place])
    expect(faults[0]!.problem).not.toBe('')
    expect(faults[0]!.remedy).toMatch(/\w/)
  })

  test('silence has no values', () => {
    expect(compiled({ minDeviation: 5 }, 'silence').faults[0]).toMatchObject({ place: 'd.minDeviation' })
    expect(compiled({ severity: 'critical' }, 'silence').plan).toEqual({
      severity: [{ from: 0, severity: 'critical' }],
    })
  })
})
