/**
 * From a ring to windows, the engine's inner road. `samplesPerSecond`: a producer thread copies record batches of 1,000
 * series into an SPSC ring; a second thread runs the real Chain with a tumbling window of a minute and count, sum,
 * standard deviation, min and max. `chainSamplesPerSecond`: the same chain alone, on one thread. Both emit the same bytes.
 */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { createDoorbell } from '../engine/ring/doorbell.ts'
import { createRing } from '../engine/ring/spsc-ring.ts'
import { assert } from '../engine/util/assert.ts'
import type { BenchModule, Figure } from './lib/bench.ts'
import { median } from './lib/measure.ts'
import { chainAlone, type WindowTally, type WindowTraffic } from './lib/window-traffic.ts'

const WORKER = new URL('./lib/window-worker.js', import.meta.url)
const SERIES = 1_000
const SAMPLES_A_FRAME = 1_000
const CAPACITY_BYTES = 1 << 20
const SIZE_MS = 60_000
const ROUNDS = 7

type Shape = Omit<WindowTraffic, 'ring' | 'wakes' | 'room'>

export const bench: BenchModule = {
  name: 'ring-window',
  figures: ['samplesPerSecond', 'chainSamplesPerSecond'],
  async run({ smoke }): Promise<readonly Figure[]> {
    const samplesARound = smoke ? 600_000 : 60_000_000
    const shape: Shape = {
      rounds: ROUNDS + 1,
      framesARound: samplesARound / SAMPLES_A_FRAME,
      samplesAFrame: SAMPLES_A_FRAME,
      series: SERIES,
      sizeMs: SIZE_MS,
    }
    const across = figure('samplesPerSecond', shape, await acrossRing(shape))
    const alone = figure('chainSamplesPerSecond', shape, chainAlone(shape))
    assert(across.checksum === alone.checksum, 'the same samples give the same entries', across.checksum)
    return [across, alone]
  },
}

async function acrossRing(shape: Shape): Promise<readonly WindowTally[]> {
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

function figure(name: string, shape: Shape, tallies: readonly WindowTally[]): Figure {
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
