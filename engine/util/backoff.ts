/** Bounded exponential back-off with jitter, and a sleep that a stop can cut short. Used wherever something is retried. */
import type { Prng } from './prng.ts'

export interface Backoff {
  readonly firstMs: number
  readonly maxMs: number
}

/** The delay before retry number `attempt` (from 0): doubles up to the maximum, then scaled by a factor in [0.5, 1). */
export function backoffMs(backoff: Backoff, attempt: number, prng: Prng): number {
  const fullMs = Math.min(backoff.maxMs, backoff.firstMs * 2 ** Math.min(attempt, 52))
  return fullMs * (0.5 + prng.float() / 2)
}

export type Sleep = (ms: number, signal: AbortSignal) => Promise<void>

/** Resolves after `ms`, or at once when the signal is aborted; never rejects. */
export const sleep: Sleep = (ms, signal) =>
  new Promise((resolve) => {
    if (signal.aborted) {
      resolve()
      return
    }
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
  })

/** Calls back after `ms`; what it returns clears the timer. */
export type SetTimer = (run: () => void, ms: number) => () => void

export const setTimer: SetTimer = (run, ms) => {
  const timer = setTimeout(run, ms)
  return () => clearTimeout(timer)
}
