/**
 * When each commit of a node became durable, seen from a thread beside it that sleeps until the committer wakes it: no poll
 * that would take time from what is measured, and no message through a busy event loop. The committer publishes its
 * positions after its transaction is on the disk, so a time here is that of a committed, readable result, plus the few
 * microseconds that it takes to wake this thread.
 */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { BoardBuffers } from '../../engine/broker/node-board.ts'

export interface CommitTrace {
  /** By slot, when the watch began. */
  readonly startPositions: Float64Array
  /** One a commit and stream that moved, in order of time: shared time, stream's slot, position that is committed. */
  readonly timesMs: Float64Array
  readonly slots: Float64Array
  readonly positions: Float64Array
  readonly commits: number
}

export interface CommitWatchData {
  readonly board: BoardBuffers
  /** Not 0: stop. */
  readonly stop: SharedArrayBuffer
}

export class CommitWatch {
  readonly #worker: Worker
  readonly #stop = new SharedArrayBuffer(4)

  constructor(board: BoardBuffers) {
    const workerData: CommitWatchData = { board, stop: this.#stop }
    this.#worker = new Worker(new URL('./commit-watch-worker.js', import.meta.url), { workerData })
  }

  async started(): Promise<void> {
    await once(this.#worker, 'online')
  }

  async end(): Promise<CommitTrace> {
    const message = once(this.#worker, 'message')
    // publish: stop; partner: the load in the worker's loop, which looks at least every STOP_MS_MAX.
    Atomics.store(new Int32Array(this.#stop), 0, 1)
    const [trace] = (await message) as [CommitTrace]
    return trace
  }
}
