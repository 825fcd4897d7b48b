/**
 * Pools of life-long threads: one Piscina task a thread, run until its phase of the stop comes. A task that fails, a
 * thread that dies, and one that was ended from here are reported once, when no code of the task runs any more; what
 * then happens is the supervisor's business. Imports piscina, as only disturbance.ts does beside it.
 *
 * minThreads is maxThreads: a thread that died is replaced at once, and the next task finds a fresh one.
 */
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { MessagePort, Worker } from 'node:worker_threads'
import { Piscina } from 'piscina'
import { MillraceError } from '../engine/contract/errors.ts'
import { assert } from '../engine/util/assert.ts'
import type { TaskEnd } from './entry.ts'
import { wireOf } from './wire-error.ts'

export type Role = 'logWriter' | 'shard' | 'committer' | 'sinks' | 'replay' | 'lockWatch' | 'explain'

/** A thread that is told to end and has not for this long hangs in a system call: nothing can be done about it from here. */
const END_MS_MAX = 10_000

export interface ThreadFailure {
  readonly error: MillraceError
  /** False: the thread was told to end and goes on, so nothing it uses may be touched. */
  readonly hasEnded: boolean
}

export interface ThreadPoolOptions {
  readonly threads: number
  /** Of the JavaScript heap, each thread; buffers are not in it. Undefined: node's own bound. */
  readonly heapBytesMax?: number
  readonly onFailure: (thread: string, failure: ThreadFailure) => void
  /** A thread died between two tasks. */
  readonly onIdleFailure: (error: MillraceError) => void
}

interface Task {
  readonly ended: Promise<void>
  readonly abort: AbortController
  /** Resolves when the thread that was told to end has; false: it has not in time. */
  exited: Promise<boolean>
}

export class ThreadPool {
  readonly #pool: Piscina
  readonly #options: ThreadPoolOptions
  readonly #tasks = new Map<string, Task>()

  constructor(options: ThreadPoolOptions) {
    const entry = new URL('./entry.js', import.meta.url)
    assert(import.meta.url.endsWith('.js'), 'threads run from the build: npm run build', import.meta.url)
    this.#options = options
    const { threads, heapBytesMax } = options
    this.#pool = new Piscina({
      filename: fileURLToPath(entry),
      minThreads: threads,
      maxThreads: threads,
      idleTimeout: Number.POSITIVE_INFINITY,
      concurrentTasksPerWorker: 1,
      atomics: 'disabled',
      recordTiming: false,
      ...(heapBytesMax === undefined
        ? {}
        : { resourceLimits: { maxOldGenerationSizeMb: Math.ceil(heapBytesMax / 2 ** 20) } }),
    })
    this.#pool.on('error', (error: Error) => options.onIdleFailure(failureOf(error)))
  }

  /** Starts a role on a thread of its own. `thread` names it in reports; a name is used again after its task has ended. */
  start(thread: string, role: Role, wiring: unknown, ports: readonly MessagePort[] = []): void {
    const abort = new AbortController()
    const run = this.#pool.run(wiring, {
      name: role,
      transferList: [...ports],
      signal: abort.signal,
    }) as Promise<TaskEnd>
    const task: Task = {
      abort,
      exited: Promise.resolve(true),
      ended: run.then(
        ({ failure }) => {
          if (failure === null) return
          this.#options.onFailure(thread, { error: MillraceError.fromWire(failure), hasEnded: true })
        },
        async (error: unknown) => {
          const reason: unknown = abort.signal.aborted ? abort.signal.reason : error
          const hasEnded = await task.exited
          this.#options.onFailure(thread, { error: failureOf(reason), hasEnded })
        },
      ),
    }
    this.#tasks.set(thread, task)
  }

  /** Ends a thread that does not by itself; reported as a failure with this reason. `threadId` 0: it runs no code yet. */
  end(thread: string, threadId: number, reason: MillraceError): void {
    const task = this.#tasks.get(thread)
    assert(task !== undefined, 'a thread that is ended was started', thread)
    const worker = this.#pool.threads.find((candidate) => candidate.threadId === threadId)
    if (worker !== undefined) task.exited = exitOf(worker)
    task.abort.abort(reason)
  }

  /** Resolves when the thread's task has ended, well or not. */
  async ended(thread: string): Promise<void> {
    await this.#tasks.get(thread)?.ended
  }

  /** After all tasks ended. */
  async close(): Promise<void> {
    await this.#pool.destroy()
  }
}

function exitOf(worker: Worker): Promise<boolean> {
  return new Promise((resolve) => {
    const bound = setTimeout(() => resolve(false), END_MS_MAX)
    once(worker, 'exit').then(
      () => {
        clearTimeout(bound)
        resolve(true)
      },
      // It ended by an error of its own: ended all the same.
      () => {
        clearTimeout(bound)
        resolve(true)
      },
    )
  })
}

/** Piscina tells how a thread died in errors of its own, whose stacks lead nowhere. */
function failureOf(error: unknown): MillraceError {
  if (error instanceof MillraceError) return error
  const code = error instanceof Error && 'code' in error ? error.code : null
  if (code === 'ERR_WORKER_OUT_OF_MEMORY') {
    return new MillraceError('WORKER_FAILED', 'out of memory: it needed more than its heap (--shard-heap)')
  }
  const exit = error instanceof Error ? /^worker exited with code: (\d+)$/.exec(error.message) : null
  if (exit !== null) return new MillraceError('WORKER_FAILED', `its thread exited with code ${exit[1]}`)
  return MillraceError.fromWire(wireOf(error))
}
