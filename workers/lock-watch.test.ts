/** What a start says that waits for the lock of a store: who has it, since when, and what to do. */
import { spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { expect, test } from 'vitest'
import { OWNER_SILENT_MS, parseProcStat } from '../engine/store/owner.ts'
import { lockWaitText } from './lock-watch-thread.ts'

const NOW_MS = Date.parse('2026-01-31T12:00:00Z')
const SINCE = '2026-01-31T11:00:00.000Z'

function textOf(pid: number, silentMs: number, host = hostname()): string {
  const heartbeatMs = NOW_MS - silentMs
  return lockWaitText(
    '/data',
    { pid, hostname: host, sinceMs: Date.parse(SINCE), fence: 1, heartbeatMs },
    NOW_MS,
  )
}

test('an owner that works is not to be killed', () => {
  const text = textOf(process.pid, OWNER_SILENT_MS - 1)
  expect(text).toContain(`Its owner since ${SINCE} is process ${process.pid} on ${hostname()}, which works.`)
  expect(text).toContain(`(kill ${process.pid})`)
  expect(text).not.toContain('kill -9')
})

test('one that is silent is to be killed if it hangs, where it is', () => {
  expect(textOf(process.pid, 20_000)).toMatch(
    new RegExp(`of which nothing was heard for 20 s, .* If it hangs, end it: kill -9 ${process.pid}\\. `),
  )
  expect(textOf(7, 20_000, 'elsewhere')).toContain('kill -9 7, on elsewhere.')
})

test('of one that has ended, nothing is to be done', () => {
  const { pid } = spawnSync(process.execPath, ['--version'])
  expect(textOf(pid, 20_000)).toContain('which has ended: this start goes on by itself.')
})

test.runIf(process.platform === 'linux')('one that is stopped may go on, or be killed', async () => {
  const child = spawn('sleep', ['600'])
  try {
    child.kill('SIGSTOP')
    const isStopped = (): boolean => parseProcStat(readFileSync(`/proc/${child.pid}/stat`, 'utf8')) === null
    while (!isStopped()) await new Promise((resolve) => setTimeout(resolve, 5))
    // Also when it was stopped a moment ago.
    expect(textOf(child.pid!, 100)).toContain(
      `which is stopped, in the middle of a transaction. Let it go on (kill -CONT ${child.pid}), or end it: ` +
        `kill -9 ${child.pid}. Nothing acknowledged is lost`,
    )
  } finally {
    child.kill('SIGKILL')
  }
})
