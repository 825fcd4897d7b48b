/**
 * The thread that watches a start which may have to wait for the store's lock (lock-watch.ts). After LOCK_WAIT_TOLD_MS it
 * writes to standard error who owns the store, since when, and what to do. It knows that by files outside LMDB alone
 * (owner.json, /proc), and changes nothing.
 */
import { writeSync } from 'node:fs'
import { hostname } from 'node:os'
import type { MessagePort } from 'node:worker_threads'
import { type Heartbeat, OWNER_SILENT_MS, processStartOf, readHeartbeat } from '../engine/store/owner.ts'
import { systemClock } from '../engine/util/clock.ts'

/** A lock is free within milliseconds as long as nobody is frozen, or has a disk that hangs. */
export const LOCK_WAIT_TOLD_MS = 5_000
const STDERR = 2

export interface LockWatchWiring {
  readonly dir: string
  /** One word: 1 ends the watch. */
  readonly over: SharedArrayBuffer
  /** Told once, when the watch has begun. */
  readonly port: MessagePort
}

export function runLockWatch({ dir, over, port }: LockWatchWiring): Promise<void> {
  const word = new Int32Array(over)
  port.postMessage('began')
  // acquire: the store is open, or will not be; partner: watchingLock.
  const woken = Atomics.wait(word, 0, 0, LOCK_WAIT_TOLD_MS)
  if (woken === 'timed-out') {
    // Newer than what was read before the wait, if the owner lives.
    const heartbeat = readHeartbeat(dir)
    // Not through the main thread, which waits.
    if (heartbeat !== null)
      writeSync(STDERR, `millrace: ${lockWaitText(dir, heartbeat, systemClock.nowMs())}\n`)
  }
  return Promise.resolve()
}

/** What a person needs to know of a start that waits. */
export function lockWaitText(dir: string, heartbeat: Heartbeat, nowMs: number): string {
  const { pid, sinceMs, heartbeatMs } = heartbeat
  const isHere = heartbeat.hostname === hostname()
  const start = isHere ? processStartOf(pid) : null
  const waited = `waiting for the lock of ${dir} for ${LOCK_WAIT_TOLD_MS / 1_000} s. `
  const since = new Date(sinceMs).toISOString()
  const owner = `Its owner since ${since} is process ${pid} on ${heartbeat.hostname}`
  if (isHere && start === undefined)
    return `${waited}${owner}, which has ended: this start goes on by itself.`
  const isStopped = isHere && process.platform === 'linux' && start === null
  const silentMs = nowMs - heartbeatMs
  if (!isStopped && silentMs < OWNER_SILENT_MS) {
    return `${waited}${owner}, which works. This start ends by itself; to take its place, stop that one first (kill ${pid}).`
  }
  const where = isHere ? '' : `, on ${heartbeat.hostname}`
  const fate = isStopped
    ? 'which is stopped'
    : `of which nothing was heard for ${Math.round(silentMs / 1_000)} s`
  const resume = isStopped ? `Let it go on (kill -CONT ${pid}), or end it: ` : 'If it hangs, end it: '
  return `${waited}${owner}, ${fate}, in the middle of a transaction. ${resume}kill -9 ${pid}${where}. Nothing acknowledged is lost by that, and this start then goes on by itself.`
}
