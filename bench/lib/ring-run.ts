/**
 * Starts both ends of a ring on worker threads and checks what arrived. Throws if any number is wrong: a fast ring that
 * loses a sample has no figure. `worker` is the JavaScript that starts a thread (dist under bench, a shim in tests).
 */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { createDoorbell } from '../../engine/ring/doorbell.ts'
import { createRing } from '../../engine/ring/spsc-ring.ts'
import { assert } from '../../engine/util/assert.ts'
import { expectedCopySum, type RingTraffic, type RoundTally, type Traffic } from './ring-traffic.ts'

export interface RingRun {
  traffic: Traffic
  capacityBytes: number
  rounds: number
  framesARound: number
  samplesAFrame: number
}

/** Tallies of the measured rounds (the first of `rounds + 1` warms up). */
export async function runRing(worker: URL, run: RingRun): Promise<readonly RoundTally[]> {
  const traffic: RingTraffic = {
    traffic: run.traffic,
    ring: createRing(run.capacityBytes),
    wakes: createDoorbell(),
    room: createDoorbell(),
    rounds: run.rounds + 1,
    framesARound: run.framesARound,
    samplesAFrame: run.samplesAFrame,
  }
  const consumer = new Worker(worker, { workerData: { end: 'consumer', traffic } })
  const producer = new Worker(worker, { workerData: { end: 'producer', traffic } })
  try {
    const [[tallies]] = (await Promise.all([once(consumer, 'message'), once(producer, 'message')])) as [
      [RoundTally[]],
      unknown,
    ]
    for (const [round, tally] of tallies.entries()) {
      assert(tally.frames === run.framesARound, 'every frame arrives once', tally.frames, run.framesARound)
      assert(tally.wrong === 0, 'every sample arrives whole and in order', tally.wrong)
      if (run.traffic === 'copy') {
        const expected = expectedCopySum(traffic, round)
        assert(tally.sum === expected, 'the sums of both ends agree', tally.sum, expected)
      }
    }
    return tallies.slice(1)
  } finally {
    await Promise.all([consumer.terminate(), producer.terminate()])
  }
}
