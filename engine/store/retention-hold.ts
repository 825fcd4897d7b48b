/**
 * A hold on retention: while one is fresh, the log's writer deletes nothing. A backup takes one, because it copies the
 * state before the log, and what the copied state needs must still be in the log that is copied after it. A small file in
 * the data directory, since whoever takes the hold is another process; one that is killed holds nothing up for long.
 *
 * Why that is exact: the writer looks at the low-water marks first and for holds afterwards. If it sees no hold, its marks
 * are older than the hold, hence older than the copied state, hence of checkpoints that the copied state has passed.
 */
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../util/clock.ts'

/** A hold that nobody renews is over after this. */
export const HOLD_MS = 30_000
const RENEW_MS = 5_000
const PREFIX = 'hold.'

export interface RetentionHold {
  /** May be called twice. */
  release(): void
}

export function holdRetention(dir: string, clock: Clock): RetentionHold {
  const path = join(dir, `${PREFIX}${process.pid}`)
  // Replaced as a whole: at no moment is there a hold that cannot be read.
  const renew = (): void => {
    writeFileSync(`${path}.draft`, JSON.stringify({ untilMs: clock.nowMs() + HOLD_MS }))
    renameSync(`${path}.draft`, path)
  }
  // What killed backups left behind.
  for (const name of readdirSync(dir)) {
    if (!isHoldFile(name)) continue
    const untilMs = untilMsOf(join(dir, name))
    if (untilMs > 0 && untilMs <= clock.nowMs()) rmSync(join(dir, name), { force: true })
  }
  renew()
  const timer = setInterval(renew, RENEW_MS)
  timer.unref()
  return {
    release() {
      clearInterval(timer)
      rmSync(path, { force: true })
    },
  }
}

export function isRetentionHeld(dir: string, nowMs: number): boolean {
  for (const name of readdirSync(dir)) {
    if (name.startsWith(PREFIX) && untilMsOf(join(dir, name)) > nowMs) return true
  }
  return false
}

/** Files that a reset of the whole store takes away. */
export function isHoldFile(name: string): boolean {
  return name.startsWith(PREFIX)
}

function untilMsOf(path: string): number {
  try {
    const { untilMs } = JSON.parse(readFileSync(path, 'utf8')) as { untilMs?: unknown }
    return typeof untilMs === 'number' ? untilMs : 0
  } catch {
    // Released just now.
    return 0
  }
}
