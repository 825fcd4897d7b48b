/** What of incidents goes to the live page, and how often it is asked for. */
import { expect, test } from 'vitest'
import type { Incident, IncidentAlert, IncidentsAnswer } from '../engine/contract/queries.ts'
import { ManualClock } from '../engine/util/clock.ts'
import {
  INCIDENT_ALERTS_TOLD_MAX,
  INCIDENTS_TOLD_MAX,
  IncidentWatch,
  toldIncidents,
} from './live-incidents.ts'

function incident(id: string, sinceMs: number, untilMs: number | null, count = 2): Incident {
  const alerts = Array.from(
    { length: count },
    (_, i): IncidentAlert => ({
      id: `${id}/${i}`,
      pipeline: 'p',
      detector: 'd',
      group: { host: String(i) },
      severity: 'warning',
      sinceMs,
      untilMs: i === 0 ? sinceMs + 1 : untilMs,
      reason: 'load 99 is above 90',
    }),
  )
  return { id, severity: 'warning', sinceMs, untilMs, labels: {}, alerts }
}

const told = (rows: readonly Incident[]) => toldIncidents({ rows, isWhole: true })

test('those of several alerts are told, open ones first, then those that ended last', () => {
  const rows = [incident('old', 1, 50), incident('open', 2, null), incident('one', 3, null, 1), incident('new', 4, 60)]
  expect(told([...rows, incident('newest', 9, null)]).incidents.map(({ id }) => id)).toEqual([
    'newest',
    'open',
    'new',
    'old',
  ])
  expect(told(rows)).toMatchObject({ total: 3, isWhole: true })
  expect(told(rows).incidents[0]).toMatchObject({ total: 2, firing: 1 })
})

test('at most so many, with so many of their alerts, and how many there are', () => {
  const rows = Array.from({ length: 50 }, (_, i) => incident(String(i), i, null, 30))
  const { total, incidents } = told(rows)
  expect([total, incidents.length]).toEqual([50, INCIDENTS_TOLD_MAX])
  expect([incidents[0]!.total, incidents[0]!.alerts.length]).toEqual([30, INCIDENT_ALERTS_TOLD_MAX])
})

test('is asked when alerts have moved, one question at a time, and rests for long after one that took long', async () => {
  const clock = new ManualClock(1_000)
  const answers: (() => void)[] = []
  const incidents = (): Promise<IncidentsAnswer> =>
    new Promise((resolve) => answers.push(() => resolve({ rows: [], isWhole: true })))
  const watch = new IncidentWatch({ incidents }, clock)
  expect(watch.isDue).toBe(true)
  const asked = watch.ask()
  watch.moved()
  clock.advance(500)
  expect(watch.isDue).toBe(false)
  answers.pop()!()
  await asked
  clock.advance(9_999)
  expect(watch.isDue).toBe(false)
  clock.advance(1)
  expect(watch.isDue).toBe(true)
  const again = watch.ask()
  answers.pop()!()
  await again
  clock.advance(59_999)
  expect(watch.isDue).toBe(false)
  clock.advance(1)
  expect(watch.isDue).toBe(true)
})
