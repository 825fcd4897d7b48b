/**
 * Opens a store while a thread watches (lock-watch-thread.ts): a process that is frozen inside a transaction keeps LMDB's lock,
 * and whoever opens the store after it waits in a system call that nothing can interrupt, without a word. There is no
 * thread where nobody can be in the way, which is the rule: after a stop, and after a crash.
 */
import { hostname } from 'node:os'
import { MessageChannel } from 'node:worker_threads'
import { MillraceError } from '../engine/contract/errors.ts'
import { type Heartbeat, processStartOf, readHeartbeat } from '../engine/store/owner.ts'
import { systemClock } from '../engine/util/clock.ts'
import { LOCK_WAIT_TOLD_MS, type LockWatchWiring } from './lock-watch-thread.ts'
import { ThreadPool } from './pool.ts'

const THREAD = 'lock-watch'
/** Looks at an owner that may be going, and the time between two of them. */
const DYING_TRIES_MAX = 20
const DYING_LOOK_MS = 100

/** Opens a store in `dir` by `open`, watched if somebody may be in the way. */
export async function watchingLock<T>(dir: string, open: () => Promise<T>): Promise<T> {
  const heartbeat = readHeartbeat(dir)
  if (heartbeat === null || !mayHoldLock(heartbeat)) return await open()
  const over = new SharedArrayBuffer(4)
  const { port1, port2 } = new MessageChannel()
  // A watch that cannot be kept holds nobody up.
  const began = new Promise<void>((resolve) => {
    port1.once('message', resolve)
    port1.once('close', () => resolve())
  })
  const pool = new ThreadPool({
    threads: 1,
    onFailure: () => port1.close(),
    onIdleFailure: () => port1.close(),
  })
  const wiring: LockWatchWiring = { dir, over, port: port2 }
  pool.start(THREAD, 'lockWatch', wiring, [port2])
  try {
    await began
    return await openAfterWait(open)
  } finally {
    const word = new Int32Array(over)
    // publish: the store is open, or will not be; partner: runLockWatch.
    Atomics.store(word, 0, 1)
    Atomics.notify(word, 0)
    await pool.ended(THREAD)
    port1.close()
    await pool.close()
  }
}

/**
 * A process that is killed lets go of its locks a moment before it is gone, and counts as the owner that moment: whoever
 * has waited for the lock looks again before it gives up.
 */
async function openAfterWait<T>(open: () => Promise<T>): Promise<T> {
  const startedMs = systemClock.monotonicMs()
  for (let tries = DYING_TRIES_MAX; ; tries--) {
    try {
      return await open()
    } catch (error) {
      const isOwned = error instanceof MillraceError && error.code === 'STORE_LOCKED'
      const hasWaited = systemClock.monotonicMs() - startedMs >= LOCK_WAIT_TOLD_MS
      if (!isOwned || !hasWaited || tries === 0) throw error
      await new Promise((resolve) => setTimeout(resolve, DYING_LOOK_MS))
    }
  }
}

/** Not this process, and not one that is known to have ended: its lock ended with it. */
function mayHoldLock(heartbeat: Heartbeat): boolean {
  if (heartbeat.hostname !== hostname()) return true
  return heartbeat.pid !== process.pid && processStartOf(heartbeat.pid) !== undefined
}
