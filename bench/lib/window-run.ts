/** Runs the traffic of window-traffic.ts: across a ring between two threads, or the chain alone. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { createDoorbell } from '../../engine/ring/doorbell.ts'
import { createRing } from '../../engine/ring/spsc-ring.ts'
import { assert } from '../../engine/util/assert.ts'
import type { Figure } from './bench.ts'
import { median } from './measure.ts'
import { chainAlone, type WindowShape, type WindowTally, type WindowTraffic } from './window-traffic.ts'

const WORKER = new URL('./window-worker.js', import.meta.url)
const CAPACITY_BYTES = 1 << 20

/** Both figures of one shape; the same samples must give the same entries. */
export async function windowFigures(shape: WindowShape, suffix = ''): Promise<readonly Figure[]> {
  const across = figure(`samplesPerSecond${suffix}`, shape, await acrossRing(shape))
  const alone = figure(`chainSamplesPerSecond${suffix}`, shape, chainAlone(shape))
  assert(across.checksum === alone.checksum, 'the same samples give the same entries', across.checksum)
  return [across, alone]
}

async function acrossRing(shape: WindowShape): Promise<readonly WindowTally[]> {
  const traffic: WindowTraffic = {
    ...shape,
    ring: createRing(CAPACITY_BYTES),
    wakes: createDoorbell(),
    room: createDoorbell(),
  }
  const consumer = new Worker(WORKER, { workerData: { end: 'consumer', traffic } })
  const producer = new Worker(WORKER, { workerData: { end: 'producer', traffic } })
  try {
    const [[tallies]] = (await Promise.all([once(consumer, 'message'), once(producer, 'message')])) as [
      [WindowTally[]],
      unknown,
    ]
    return tallies
  } finally {
    await Promise.all([consumer.terminate(), producer.terminate()])
  }
}

function figure(name: string, shape: WindowShape, tallies: readonly WindowTally[]): Figure {
  const samples = shape.framesARound * shape.samplesAFrame
  const entries = tallies.reduce((sum, tally) => sum + tally.entries, 0)
  const checksum = tallies.reduce((sum, tally) => (Math.imul(sum, 31) + tally.checksum) | 0, 0)
  return {
    figure: name,
    // The first round warms up.
    value: Math.round(median(tallies.slice(1).map((tally) => samples / tally.seconds))),
    unit: 'samples/s',
    params: { ...shape, samplesARound: samples },
    checksum: `${entries}:${(checksum >>> 0).toString(16)}`,
  }
}
