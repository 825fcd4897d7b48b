/** Worker threads of the bench `checkpoint`: the node's own committer, and a shard whose turns are timed. */
import { openSync, readSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { Board } from '../../engine/broker/node-board.ts'
import { Chain, type TakeStatePage } from '../../engine/pipeline/chain.ts'
import { Doorbell } from '../../engine/ring/doorbell.ts'
import { openLogReader } from '../../engine/store/log-store.ts'
import { openStateReader } from '../../engine/store/state-store.ts'
import { systemClock } from '../../engine/util/clock.ts'
import { runCommitter } from '../../workers/committer.ts'
import { ShardThread } from '../../workers/shard.ts'
import type { CommitterWiring, ShardWiring } from '../../workers/wiring.ts'

export type CheckpointRole =
  | { readonly role: 'committer'; readonly wiring: CommitterWiring }
  | { readonly role: 'shard'; readonly wiring: ShardWiring; readonly stop: SharedArrayBuffer }

/** What a shard posts: when it has caught up, and when it was stopped. */
export type ShardReport =
  | {
      readonly type: 'ready'
      readonly restoredMs: number
      readonly caughtUpMs: number
      /** Of `caughtUpMs`: waiting for a processor. */
      readonly queuedMs: number
    }
  | {
      readonly type: 'stopped'
      /** Of each turn with work on a checkpoint: the time in which no record batch could be taken. */
      readonly pausesMs: readonly number[]
      /** The same less what the thread waited for a processor; on a machine of its own they are equal. */
      readonly runningPausesMs: readonly number[]
      /** The longest of each checkpoint. */
      readonly worstMs: readonly number[]
      /** A record batch, while pages of its partition are owed to a checkpoint, and otherwise. */
      readonly drainingBatchMs: readonly number[]
      readonly quietBatchMs: readonly number[]
    }

const { ...thread } = workerData as CheckpointRole
if (thread.role === 'committer') await runCommitter(thread.wiring)
else await runTimedShard(thread.wiring, thread.stop)

async function runTimedShard(wiring: ShardWiring, stop: SharedArrayBuffer): Promise<void> {
  const stopWord = new Int32Array(stop)
  const board = new Board(wiring.board)
  let asleepMs = 0
  let processMs = 0
  let hasCheckpointed = false
  let isRecovering = true
  const drainingBatchMs: number[] = []
  const quietBatchMs: number[] = []

  class TimedBell extends Doorbell {
    override wait(ticket: number, timeoutMs: number): boolean {
      // It sleeps when it has caught up: then the time is to be taken.
      if (isRecovering) {
        this.cancel()
        return false
      }
      const startMs = performance.now()
      const rung = super.wait(ticket, timeoutMs)
      asleepMs += performance.now() - startMs
      return rung
    }
  }

  class TimedChain extends Chain {
    override process(...args: Parameters<Chain['process']>): void {
      const batchMs = this.isDraining ? drainingBatchMs : quietBatchMs
      const startMs = performance.now()
      super.process(...args)
      const tookMs = performance.now() - startMs
      processMs += tookMs
      batchMs.push(tookMs)
    }

    override cut(): string {
      hasCheckpointed = true
      return super.cut()
    }

    override drain(take: TakeStatePage): boolean {
      return super.drain((region, index, cells) => {
        const isTaken = take(region, index, cells)
        // A turn that finds no room is as good as one without a checkpoint.
        if (isTaken) hasCheckpointed = true
        return isTaken
      })
    }
  }

  const queued = queueClock()
  const startedMs = performance.now()
  const startedQueuedMs = queued()
  const log = openLogReader({ dir: wiring.dir })
  const state = openStateReader({ dir: wiring.dir })
  const shard = new ShardThread(wiring, log, state, {
    clock: systemClock,
    bell: (sab) => (sab === wiring.bell ? new TimedBell(sab) : new Doorbell(sab)),
    chain: (options) => new TimedChain(options),
    limit: (declared) => declared,
  })
  shard.start()
  const restoredMs = performance.now() - startedMs
  const [pipeline] = wiring.pipelines
  const isBehind = (): boolean => {
    for (let p = 0; p < pipeline!.topic.partitions; p++) {
      if (board.processed[pipeline!.slot + p]! < board.logEnd[pipeline!.topic.slot + p]!) return true
    }
    return false
  }
  while (isBehind()) shard.turn()
  report({
    type: 'ready',
    restoredMs,
    caughtUpMs: performance.now() - startedMs,
    queuedMs: queued() - startedQueuedMs,
  })
  isRecovering = false
  quietBatchMs.length = 0
  const pausesMs: number[] = []
  const runningPausesMs: number[] = []
  const worst = new Map<number, number>()
  // acquire: the bench wants the thread to end; partner: the store in stopShard().
  while (Atomics.load(stopWord, 0) === 0) {
    asleepMs = 0
    processMs = 0
    hasCheckpointed = false
    const epoch = board.checkpointEpoch
    const turnQueuedMs = queued()
    const turnMs = performance.now()
    shard.turn()
    if (!hasCheckpointed) continue
    const pauseMs = performance.now() - turnMs - asleepMs - processMs
    pausesMs.push(pauseMs)
    runningPausesMs.push(Math.max(0, pauseMs - (queued() - turnQueuedMs)))
    worst.set(epoch, Math.max(worst.get(epoch) ?? 0, pauseMs))
  }
  await state.close()
  await log.close()
  report({
    type: 'stopped',
    pausesMs,
    runningPausesMs,
    worstMs: [...worst.values()],
    drainingBatchMs,
    quietBatchMs,
  })
}

/** For how long this thread has been ready to run without a processor, in ms; 0 where the system does not say. */
function queueClock(): () => number {
  try {
    const file = openSync('/proc/thread-self/schedstat', 'r')
    const bytes = Buffer.alloc(128)
    return () => Number(bytes.toString('latin1', 0, readSync(file, bytes, 0, 128, 0)).split(' ')[1]) / 1e6
  } catch {
    return () => 0
  }
}

function report(message: ShardReport): void {
  parentPort!.postMessage(message)
}
