/**
 * Samples of very many series for the benchmarks: prepared record batches, stamped again for each round as the log writer
 * does, and fed to a Chain.
 */
import { sealBatch } from '../../engine/batch/batch-encoder.ts'
import { BatchView } from '../../engine/batch/batch-view.ts'
import * as batch from '../../engine/batch/layout.ts'
import { RECORD_SAMPLES } from '../../engine/contract/samples.ts'
import type { Chain } from '../../engine/pipeline/chain.ts'
import { Prng } from '../../engine/util/prng.ts'

const SAMPLES_A_BATCH = 2_500

/** Stamps prepared batches with the next offsets, and event and log times that go from `fromMs` on, `spanMs` over all of them. */
export class Feed {
  readonly #chain: Chain
  #offset = 0

  constructor(chain: Chain) {
    this.#chain = chain
  }

  window(prepared: readonly Uint8Array[], fromMs: number, spanMs = 0): void {
    for (let i = 0; i < prepared.length; i++) {
      const bytes = prepared[i]!
      const timeMs = fromMs + Math.floor((i / prepared.length) * spanMs)
      const view = new BatchView(bytes.buffer as ArrayBuffer)
      const f64 = new Float64Array(bytes.buffer)
      f64[batch.BASE_OFFSET_AT >> 3] = this.#offset
      f64[batch.MIN_TIMESTAMP_AT >> 3] = timeMs
      f64[batch.MAX_TIMESTAMP_AT >> 3] = timeMs
      f64[batch.APPENDED_AT >> 3] = timeMs
      const at = batch.timestampsAt() >> 3
      f64.fill(timeMs, at, at + SAMPLES_A_BATCH)
      this.#chain.process(view.point(0))
      this.#offset += SAMPLES_A_BATCH
    }
  }
}

/** `count` samples in batches, each of the series that `idOf` says, the same for each seed. */
export function samplesOf(
  count: number,
  seed: number,
  idOf: (prng: Prng) => number,
  valueFrom: (prng: Prng) => number = usual,
): readonly Uint8Array[] {
  const prng = new Prng(seed)
  return Array.from({ length: Math.ceil(count / SAMPLES_A_BATCH) }, () => {
    const bytes = new Uint8Array(batch.batchBytes(SAMPLES_A_BATCH))
    const values = new Float64Array(bytes.buffer, batch.valuesAt(SAMPLES_A_BATCH), SAMPLES_A_BATCH)
    const ids = new Int32Array(bytes.buffer, batch.seriesIdsAt(SAMPLES_A_BATCH), SAMPLES_A_BATCH)
    for (let i = 0; i < SAMPLES_A_BATCH; i++) {
      values[i] = valueFrom(prng)
      ids[i] = idOf(prng)
    }
    sealBatch(bytes, new DataView(bytes.buffer), {
      kind: RECORD_SAMPLES,
      topicId: 0,
      partition: 0,
      baseOffset: 0,
      count: SAMPLES_A_BATCH,
      minTimestampMs: 0,
      maxTimestampMs: 0,
      appendedMs: 0,
      producerId: 0,
      producerEpoch: 0,
      baseSequence: -1,
    })
    return bytes
  })
}

/** Around 100, for the most part within 30. */
export function usual(prng: Prng): number {
  return 100 + 10 * prng.normal()
}
