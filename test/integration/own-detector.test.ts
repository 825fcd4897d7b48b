/**
 * A detector that a user's own module defines, on a real node: it judges on the threads, goes on from a checkpoint after a
 * kill as if nothing had been, is refused in another version, and is what `verify` restores once it is named.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { json, launch, ROOT, results, scratch, start, until, write } from './process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const START_MS = 1_700_000_000_000

function writeModule(dir: string, version = 1): string {
  const example = readFileSync('examples/own-detector.ts', 'utf8')
  const file = join(dir, 'own.ts')
  writeFileSync(
    file,
    example
      .replace("'millrace'", JSON.stringify(join(ROOT, 'dist/index.js')))
      .replace('version: 1', `version: ${version}`)
      .replace("topic('metrics')", "topic('metrics', { partitions: 2 })")
      .replace('.to(stdout())', ''),
  )
  return file
}

/** Levels of two tanks, a sample a second; `b` jumps at second 100. */
function levels(from: number, to: number): string {
  const lines: string[] = []
  for (let second = from; second < to; second++) {
    const timeMs = START_MS + second * 1_000
    lines.push(`tank_level,tank=a value=${0.5 + (second % 10) / 1_000} ${timeMs}`)
    lines.push(`tank_level,tank=b value=${second < 100 ? 0.2 : 0.8} ${timeMs}`)
  }
  return lines.join('\n')
}

interface AlertRow {
  readonly group: { readonly tank: string }
  readonly state: string
  readonly reason: string
}

test('it fires on the threads, over a kill and a restart, and only for its own version', {
  timeout: 180_000,
}, async () => {
  const dir = scratch(cleanups)
  const module = writeModule(dir)
  const args = [
    'run',
    module,
    '--data',
    join(dir, 'data'),
    '--checkpoint-every',
    '200ms',
    '--retention-age',
    '30000d',
  ]
  const first = await start(args, cleanups)
  expect((await write(first.url, levels(0, 95))).status).toBe(204)
  await until(async () => ((await results(first.url, 'tank-levels')).length >= 16 ? true : null))
  // A checkpoint holds the cells of the detector by now, or the replay makes them again.
  first.child.kill('SIGKILL')
  await first.exited
  const second = await start(args, cleanups)
  expect((await write(second.url, levels(95, 200))).status).toBe(204)
  const fired = await until(async () => {
    const { rows } = await json<{ rows: AlertRow[] }>(
      `${second.url}/api/v1/alerts/history?pipeline=tank-levels`,
    )
    return rows.length >= 2 ? rows : null
  })
  expect(fired.map(({ group, state }) => `${group.tank} ${state}`).sort()).toEqual(['b firing', 'b resolved'])
  expect(fired.find(({ state }) => state === 'firing')!.reason).toMatch(
    /level 0\.\d+ is \S+ times the normal deviation above the expected 0\.2/,
  )
  second.child.kill('SIGTERM')
  await second.exited

  const verified = launch(['verify', module, '--data', join(dir, 'data'), '--json'], cleanups)
  expect(await verified.exited).toBe(0)
  expect(verified.text()).not.toContain('not restored')
  const without = launch(['verify', '--data', join(dir, 'data')], cleanups)
  expect(await without.exited).toBe(0)
  expect(without.text()).toMatch(/"tank-levels" is not restored, since jump is defined in .*own\.ts/)

  writeModule(dir, 2)
  const changed = launch([...args, '--port', '0'], cleanups)
  expect(await changed.exited).toBe(1)
  expect(changed.text()).toMatch(/detectors\.level-jump\.version was 1, is now 2/)
})
