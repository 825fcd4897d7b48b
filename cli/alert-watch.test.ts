import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Alert } from '../engine/contract/alert.ts'
import { watchAlerts } from './alert-watch.ts'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

const alert = (id: string): Alert => ({
  kind: 'alert',
  id,
  pipeline: 'host-usage',
  detector: 'full',
  column: 'mean',
  group: { __name__: 'cpu', core: id },
  state: 'firing',
  sinceMs: Date.parse('2026-01-01T12:00:05Z'),
  atMs: 0,
  value: 1,
  score: 2,
  expected: null,
  lower: null,
  upper: 0.95,
  direction: 'up',
  severity: 'warning',
  reason: 'mean 1 is above 0.95',
})

test('an alert is said once when it fires and once when it resolves, and a failed look is made up for', async () => {
  const lines: string[] = []
  let answer: () => Promise<readonly Alert[]> = () => Promise.resolve([alert('0')])
  const watch = watchAlerts({ alerts: () => answer() }, (line) => lines.push(line))
  await vi.advanceTimersByTimeAsync(2_000)
  answer = () => Promise.reject(new Error('busy'))
  await vi.advanceTimersByTimeAsync(1_000)
  answer = () => Promise.resolve([alert('1')])
  await vi.advanceTimersByTimeAsync(2_000)
  watch.close()
  answer = () => Promise.resolve([])
  await vi.advanceTimersByTimeAsync(2_000)
  expect(lines).toEqual([
    'firing    host-usage/full cpu{core="0"} since 12:00:05 UTC: mean 1 is above 0.95',
    'firing    host-usage/full cpu{core="1"} since 12:00:05 UTC: mean 1 is above 0.95',
    'resolved  host-usage/full cpu{core="0"} since 12:00:05 UTC: mean 1 is above 0.95',
  ])
})
