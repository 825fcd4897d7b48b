/**
 * The demo's disturbance: threads of their own burn CPU for some seconds. One at a time; it ends by its deadline whatever
 * happens to who asked, and at once when the node closes. Threads are made for it and gone afterwards.
 */
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'
import type { Disturbance } from '../engine/contract/live.ts'
import { assert } from '../engine/util/assert.ts'
import type { Clock } from '../engine/util/clock.ts'

const SECONDS = 8
/** More than the cores of a small machine, so that it shows where others work too; few on a large one. */
const THREADS_MIN = 8
const THREADS_MAX = 16

export interface BurnTask {
  readonly seconds: number
  readonly stop: SharedArrayBuffer
}

export class Disturber {
  readonly #clock: Clock
  #pool: Piscina | null = null
  #stop: Int32Array = new Int32Array(new SharedArrayBuffer(4))
  #ended: Promise<unknown> = Promise.resolve()
  #untilMs = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Null: nothing is disturbed. */
  get untilMs(): number | null {
    return this.#pool === null ? null : this.#untilMs
  }

  disturb(): Disturbance {
    const threads = Math.min(THREADS_MAX, Math.max(THREADS_MIN, 2 * availableParallelism()))
    const started = this.#pool === null
    if (started) this.#start(threads)
    return { seconds: SECONDS, threads, untilMs: this.#untilMs, started }
  }

  /** May be called twice. */
  async close(): Promise<void> {
    // publish: stop now; partner: the load in burn.ts.
    Atomics.store(this.#stop, 0, 1)
    await this.#ended
  }

  #start(threads: number): void {
    assert(import.meta.url.endsWith('.js'), 'threads run from the build: npm run build', import.meta.url)
    this.#untilMs = this.#clock.nowMs() + SECONDS * 1_000
    const stop = new SharedArrayBuffer(4)
    this.#stop = new Int32Array(stop)
    const pool = new Piscina({
      filename: fileURLToPath(new URL('./burn.js', import.meta.url)),
      minThreads: threads,
      maxThreads: threads,
      concurrentTasksPerWorker: 1,
      atomics: 'disabled',
      recordTiming: false,
    })
    this.#pool = pool
    const task: BurnTask = { seconds: SECONDS, stop }
    const burning = Array.from({ length: threads }, () => pool.run(task))
    // A thread that could not burn takes nothing from anyone: it was for show.
    this.#ended = Promise.allSettled(burning)
      .then(() => pool.destroy())
      .finally(() => {
        this.#pool = null
      })
  }
}
