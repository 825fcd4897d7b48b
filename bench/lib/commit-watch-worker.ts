/** Worker thread of commit-watch.ts: notes what each commit moved, and when; posts the trace when told to stop. */
import { parentPort, workerData } from 'node:worker_threads'
import { Board } from '../../engine/broker/node-board.ts'
import type { CommitTrace, CommitWatchData } from './commit-watch.ts'
import { sharedMs } from './shared-time.ts'

const STOP_MS_MAX = 100

function watch({ board: buffers, stop }: CommitWatchData): CommitTrace {
  const board = new Board(buffers)
  const stopWord = new Int32Array(stop)
  const startPositions = board.committed.slice()
  const seenPositions = startPositions.slice()
  const timesMs: number[] = []
  const slots: number[] = []
  const positions: number[] = []
  let commits = 0
  let seen = board.awaitCommit(0, 0)
  // acquire: stop; partner: CommitWatch.end().
  while (Atomics.load(stopWord, 0) === 0) {
    const newest = board.awaitCommit(seen, STOP_MS_MAX)
    if (newest === seen) continue
    const nowMs = sharedMs()
    commits += newest - seen
    seen = newest
    const { committed } = board
    for (let slot = 0; slot < committed.length; slot++) {
      const position = committed[slot]!
      if (position === seenPositions[slot]) continue
      seenPositions[slot] = position
      timesMs.push(nowMs)
      slots.push(slot)
      positions.push(position)
    }
  }
  return {
    startPositions,
    timesMs: Float64Array.from(timesMs),
    slots: Float64Array.from(slots),
    positions: Float64Array.from(positions),
    commits,
  }
}

parentPort?.postMessage(watch(workerData as CommitWatchData))
