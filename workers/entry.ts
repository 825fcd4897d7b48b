/**
 * Entry of every thread: one exported function a role, each a life-long task. A task that fails answers with the error
 * in wire form, since postMessage keeps neither class nor code.
 */
import type { WireError } from '../engine/contract/errors.ts'
import { runCommitter } from './committer.ts'
import { type ExplainWiring, runExplain } from './explain-thread.ts'
import { type LockWatchWiring, runLockWatch } from './lock-watch-thread.ts'
import { runLogWriter } from './log-writer.ts'
import { type ReplayWiring, runReplay } from './replay-thread.ts'
import { runShard } from './shard.ts'
import { runSinks } from './sinks.ts'
import { wireOf } from './wire-error.ts'
import type { CommitterWiring, LogWriterWiring, ShardWiring, SinkWiring } from './wiring.ts'

export type TaskEnd = { readonly failure: WireError | null }

async function ending(task: Promise<void>): Promise<TaskEnd> {
  try {
    await task
    return { failure: null }
  } catch (error) {
    return { failure: wireOf(error) }
  }
}

export const logWriter = (wiring: LogWriterWiring): Promise<TaskEnd> => ending(runLogWriter(wiring))
export const shard = (wiring: ShardWiring): Promise<TaskEnd> => ending(runShard(wiring))
export const committer = (wiring: CommitterWiring): Promise<TaskEnd> => ending(runCommitter(wiring))
export const sinks = (wiring: SinkWiring): Promise<TaskEnd> => ending(runSinks(wiring))
export const lockWatch = (wiring: LockWatchWiring): Promise<TaskEnd> => ending(runLockWatch(wiring))
export const explain = (wiring: ExplainWiring): Promise<TaskEnd> => ending(runExplain(wiring))
export const replay = (wiring: ReplayWiring): Promise<TaskEnd> => ending(runReplay(wiring))
