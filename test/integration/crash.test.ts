/**
 * The crash test can fail: engines that break one promise each are found, by the fault that they make. The engine itself
 * is killed 30 times by .ci/run, at all points by .ci/long, and as often as you like by `npm run crashtest`.
 */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { KillPoint } from '../../engine/util/kill-point.ts'
import type { Mutant } from '../crash/mutant-names.ts'
import { DIST } from '../crash/places.ts'

const SEED = Number(process.env.MILLRACE_SEED ?? 20_250_104)
const RUN_MS_MAX = 600_000
const KILLS = 3

interface Outcome {
  readonly code: number
  readonly lost: number
  readonly duplicated: number
  readonly differing: number
  readonly said: string
}

function crashtest(kills: number, points: readonly KillPoint[], mutant: Mutant | null): Promise<Outcome> {
  // The directory of a run that found a fault stays, for whoever looks into it; here nobody does.
  const place = mkdtempSync(join(tmpdir(), 'millrace-mutant-'))
  const args = ['--kills', String(kills), '--seed', String(SEED), '--points', points.join(','), '--json']
  if (mutant !== null) args.push('--mutant', mutant)
  return new Promise((resolve, reject) => {
    const script = join(DIST, 'test/crash/run.js')
    const options = { env: { ...process.env, TMPDIR: place }, timeout: RUN_MS_MAX }
    const child = execFile(process.execPath, [script, ...args], options, (_error, stdout, stderr) => {
      rmSync(place, { recursive: true, force: true })
      const last = stdout.trimEnd().split('\n').at(-1)!
      try {
        resolve({ ...JSON.parse(last), code: child.exitCode ?? -1, said: `${stdout}${stderr}` })
      } catch (error) {
        reject(new Error(`no result: ${stdout}${stderr}`, { cause: error }))
      }
    })
  })
}

const MUTANTS: readonly [Mutant, 'lost' | 'duplicated' | 'differing' | RegExp, readonly KillPoint[]][] = [
  // The offset is committed apart from what it stands for.
  ['offset-apart', /after a kill, .* has results up to \d+, but its progress says \d+/, ['commit-told']],
  // Acknowledged before it is on the disk.
  ['ack-early', 'lost', ['log-written']],
  // Sent before it is committed: a file or a receiver has what no result stands for.
  ['sent-early', /after a kill, .* records of .* from beyond/, ['commit-entry']],
  // What comes again on replay is not suppressed.
  ['not-suppressed', 'duplicated', ['commit-told']],
]

describe.concurrent(`a broken engine (seed ${SEED})`, () => {
  test.for(MUTANTS)(
    '%s: the crash test fails (%s)',
    { timeout: RUN_MS_MAX },
    async ([mutant, count, points]) => {
      const outcome = await crashtest(KILLS, points, mutant)
      expect(outcome.code, outcome.said).toBe(1)
      if (count instanceof RegExp) expect(outcome.said).toMatch(count)
      else expect(outcome[count], outcome.said).toBeGreaterThan(0)
    },
  )

  test('the engine as it is, killed at the same points, has no fault', { timeout: RUN_MS_MAX }, async () => {
    const outcome = await crashtest(KILLS, [...new Set(MUTANTS.flatMap(([, , points]) => points))], null)
    expect(outcome.code, outcome.said).toBe(0)
    expect(outcome).toMatchObject({ lost: 0, duplicated: 0, differing: 0 })
  })
})
