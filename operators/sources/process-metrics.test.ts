import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { ManualClock } from '../../engine/util/clock.ts'
import type { HostSample } from './host-metrics.ts'
import { coresBetween, openProcessMetrics, parseSchedstat, readDemand } from './process-metrics.ts'

let dir = ''

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'millrace-proc-'))
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
})
afterEach(() => {
  vi.useRealTimers()
  rmSync(dir, { recursive: true, force: true })
})

test('schedstat: time on a core and time waiting for one count both', () => {
  expect(parseSchedstat('3000000 2000000 17\n')).toBe(5)
  for (const text of ['', '1 2', '1 2 3 4', 'x 2 3']) expect(parseSchedstat(text), text).toBeNull()
})

test('cores wanted: old threads by difference, new ones from their start, gone ones not at all', () => {
  const before = new Map([
    ['1', 100],
    ['2', 500],
  ])
  const now = new Map([
    ['1', 350],
    ['3', 125],
  ])
  expect(coresBetween(before, now, 250)).toBe(1.5)
  // A number that is used again for another thread never counts backwards.
  expect(coresBetween(before, new Map([['2', 10]]), 250)).toBe(0)
  expect(coresBetween(before, now, 0)).toBeNull()
})

test('each thread is read by itself; where there is nothing to read, what the process got counts', () => {
  for (const [thread, text] of [
    ['10', '1000000 0 1'],
    ['11', '0 2000000 1'],
    ['12', 'nonsense'],
  ] as const) {
    mkdirSync(join(dir, thread))
    writeFileSync(join(dir, thread, 'schedstat'), text)
  }
  mkdirSync(join(dir, '13'))
  expect(readDemand(dir)).toEqual(
    new Map([
      ['10', 1],
      ['11', 2],
    ]),
  )
  const whole = readDemand(join(dir, 'none')).get('process')!
  expect(whole).toBeGreaterThan(0)
})

test('samples come four times a second, once the start is over, until it is closed', () => {
  const clock = new ManualClock(1_000)
  const samples: HostSample[] = []
  let busyMs = 0
  const read = (): Map<string, number> => {
    busyMs += 500
    return new Map([['1', busyMs]])
  }
  const emit = (some: HostSample[]): unknown => samples.push(...some)
  const metrics = openProcessMetrics({ clock, host: 'h', settleMs: 1_000, emit, read })
  const pass = (times: number): void => {
    for (let i = 0; i < times; i++) {
      clock.advance(250)
      vi.advanceTimersByTime(250)
    }
  }
  pass(3)
  expect(samples).toEqual([])
  pass(4)
  expect(samples.map(({ timestampMs }) => timestampMs)).toEqual([2_000, 2_250, 2_500, 2_750])
  for (const { labels, value } of samples) {
    expect(labels).toEqual({ __name__: 'process_cpu_demand_cores', host: 'h', process: 'millrace' })
    expect(value).toBe(2)
  }
  metrics.close()
  metrics.close()
  pass(3)
  expect(samples).toHaveLength(4)
})
