/**
 * From a ring to windows, the engine's inner road. `samplesPerSecond`: a producer thread copies record batches of 1,000
 * series into an SPSC ring; a second thread runs the real Chain with a tumbling window of a minute and count, sum,
 * standard deviation, min and max. `chainSamplesPerSecond`: the same chain alone, on one thread. Both emit the same bytes.
 */
import type { BenchModule } from './lib/bench.ts'
import { windowFigures } from './lib/window-run.ts'

const ROUNDS = 7
const SAMPLES_A_FRAME = 1_000

export const bench: BenchModule = {
  name: 'ring-window',
  figures: ['samplesPerSecond', 'chainSamplesPerSecond'],
  run({ smoke }) {
    return windowFigures({
      rounds: ROUNDS + 1,
      framesARound: (smoke ? 600_000 : 60_000_000) / SAMPLES_A_FRAME,
      samplesAFrame: SAMPLES_A_FRAME,
      series: 1_000,
      sizeMs: 60_000,
      everyMs: 60_000,
      aggregates: ['count', 'sum', 'standardDeviation', 'min', 'max'],
    })
  },
}
