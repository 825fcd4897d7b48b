/** The list of kill points and the code agree, so that a run that covers the list has killed at every place there is. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { KILL_POINTS } from '../../engine/util/kill-point.ts'
import { Prng } from '../../engine/util/prng.ts'
import { PHASES } from './points.ts'
import { Schedule } from './schedule.ts'

const ROOT = join(import.meta.dirname, '../..')

function sources(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .map((file) => readFileSync(join(ROOT, folder, file), 'utf8'))
}

test('each kill point of the list stands at one place in the code, and the code has no other', () => {
  const called = ['engine', 'operators', 'workers', 'cli']
    .flatMap(sources)
    .flatMap((text) => [...text.matchAll(/killPoint\(([^)]*)\)/g)].map(([, name]) => name!))
    // Its definition.
    .filter((name) => !name.startsWith('name:'))
  expect([...called].sort()).toEqual([...KILL_POINTS].map((name) => `'${name}'`).sort())
})

test('each kill point has a phase, and a schedule that is met everywhere leaves none out', () => {
  expect(Object.keys(PHASES).sort()).toEqual([...KILL_POINTS].sort())
  const schedule = new Schedule(new Prng(1), null)
  for (let kills = 0; schedule.met < KILL_POINTS.length; kills++) {
    expect(kills).toBeLessThan(2 * KILL_POINTS.length)
    const kill = schedule.next()
    if (kill.at === 'point') schedule.killed(kill.point)
  }
  expect(schedule.unmet()).toEqual([])
})

test('a point that was not met comes again, by its first hit', () => {
  const schedule = new Schedule(new Prng(2), ['log-written', 'log-shown'])
  const first = schedule.next()
  if (first.at !== 'point') throw new Error('only points were asked for')
  schedule.missed(first.point)
  schedule.next()
  expect(schedule.next()).toEqual({ at: 'point', point: first.point, phase: 'run', hit: 1 })
  expect(schedule.unmet()).toHaveLength(2)
})
