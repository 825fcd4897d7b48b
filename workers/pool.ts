/**
 * The pool of life-long threads: one Piscina task a thread, run until its phase of the stop comes. A task that fails, or
 * a thread that dies, before that is reported once; the node then ends the process, and the next start recovers.
 */
import { fileURLToPath } from 'node:url'
import type { MessagePort } from 'node:worker_threads'
import { Piscina } from 'piscina'
import { MillraceError } from '../engine/contract/errors.ts'
import { assert } from '../engine/util/assert.ts'
import type { TaskEnd } from './entry.ts'
import { wireOf } from './wire-error.ts'

export type Role = 'logWriter' | 'shard' | 'committer' | 'sinks' | 'replay'

export class ThreadPool {
  readonly #pool: Piscina
  readonly #onFailure: (thread: string, error: MillraceError) => void
  readonly #tasks = new Map<string, Promise<void>>()

  constructor(options: { threads: number; onFailure: (thread: string, error: MillraceError) => void }) {
    const entry = new URL('./entry.js', import.meta.url)
    assert(import.meta.url.endsWith('.js'), 'threads run from the build: npm run build', import.meta.url)
    this.#onFailure = options.onFailure
    this.#pool = new Piscina({
      filename: fileURLToPath(entry),
      minThreads: options.threads,
      maxThreads: options.threads,
      idleTimeout: Number.POSITIVE_INFINITY,
      concurrentTasksPerWorker: 1,
      atomics: 'disabled',
      recordTiming: false,
    })
    this.#pool.on('error', (error: Error) => this.#onFailure('pool', MillraceError.fromWire(wireOf(error))))
  }

  /** Starts a role on a thread of its own. `thread` names it in reports. */
  start(thread: string, role: Role, wiring: unknown, ports: readonly MessagePort[] = []): void {
    const run = this.#pool.run(wiring, { name: role, transferList: [...ports] }) as Promise<TaskEnd>
    const task = run.then(
      ({ failure }) => {
        if (failure !== null) this.#onFailure(thread, MillraceError.fromWire(failure))
      },
      (error: unknown) => this.#onFailure(thread, MillraceError.fromWire(wireOf(error))),
    )
    this.#tasks.set(thread, task)
  }

  /** Resolves when the thread's task has ended, well or not. */
  async ended(thread: string): Promise<void> {
    await this.#tasks.get(thread)
  }

  /** After all tasks ended. */
  async close(): Promise<void> {
    await this.#pool.destroy()
  }
}
