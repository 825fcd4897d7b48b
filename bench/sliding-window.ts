/**
 * Sliding windows, 1 minute every 5 seconds, over 1,000 series of one sample a second: each sample lies in 12 windows, and
 * every 5,000 samples a window of 1,000 groups fires. As ring-window: across a ring, and the chain alone.
 * `samplesPerSecond`: mean and count, as in the README's example; `…Five`: count, sum, standard deviation, min, max.
 */
import type { BenchModule } from './lib/bench.ts'
import { windowFigures } from './lib/window-run.ts'

const ROUNDS = 5
const SAMPLES_A_FRAME = 1_000

export const bench: BenchModule = {
  name: 'sliding-window',
  figures: ['samplesPerSecond', 'chainSamplesPerSecond', 'samplesPerSecondFive', 'chainSamplesPerSecondFive'],
  async run({ smoke }) {
    const shape = {
      rounds: ROUNDS + 1,
      framesARound: (smoke ? 300_000 : 30_000_000) / SAMPLES_A_FRAME,
      samplesAFrame: SAMPLES_A_FRAME,
      series: 1_000,
      sizeMs: 60_000,
      everyMs: 5_000,
    }
    return [
      ...(await windowFigures({ ...shape, aggregates: ['mean', 'count'] })),
      ...(await windowFigures(
        { ...shape, aggregates: ['count', 'sum', 'standardDeviation', 'min', 'max'] },
        'Five',
      )),
    ]
  },
}
