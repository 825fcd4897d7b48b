/**
 * What the ring itself carries, from one thread to another. `samplesPerSecond`: record batches of 1,024 samples are copied
 * in and summed at the other end. `samplesPerSecondVerified`: the litmus run, 1e8 samples, every number compared with what
 * its index says. `framesPerSecond`: frames of 64 bytes, where the ring's own cost is nearly all there is.
 */
import type { BenchModule, Figure } from './lib/bench.ts'
import { median } from './lib/measure.ts'
import { type RingRun, runRing } from './lib/ring-run.ts'

const WORKER = new URL('./lib/ring-worker.js', import.meta.url)
const CAPACITY_BYTES = 1 << 20
const SAMPLES_A_FRAME = 1024
const ROUNDS = 5

export const bench: BenchModule = {
  name: 'ring-transfer',
  figures: ['samplesPerSecond', 'samplesPerSecondVerified', 'framesPerSecond'],
  async run({ smoke }): Promise<readonly Figure[]> {
    const samples = smoke ? 1e6 : 1e8
    const shape = { capacityBytes: CAPACITY_BYTES, rounds: ROUNDS, samplesAFrame: SAMPLES_A_FRAME }
    const framesARound = Math.ceil(samples / ROUNDS / SAMPLES_A_FRAME)
    return [
      await figure('samplesPerSecond', 'samples/s', SAMPLES_A_FRAME, {
        ...shape,
        traffic: 'copy',
        framesARound,
      }),
      await figure('samplesPerSecondVerified', 'samples/s', SAMPLES_A_FRAME, {
        ...shape,
        traffic: 'verify',
        framesARound,
      }),
      await figure('framesPerSecond', 'frames/s', 1, {
        ...shape,
        traffic: 'small',
        framesARound: smoke ? 20_000 : 4e6,
      }),
    ]
  },
}

async function figure(name: string, unit: string, unitsAFrame: number, run: RingRun): Promise<Figure> {
  const tallies = await runRing(WORKER, run)
  const units = run.framesARound * unitsAFrame
  return {
    figure: name,
    value: Math.round(median(tallies.map((tally) => units / tally.seconds))),
    unit,
    params: { ...run },
    checksum: `${tallies.length * units}:${tallies.reduce((sum, tally) => sum + tally.sum, 0)}`,
  }
}
