/**
 * Record batches of one partition as a log holds them: scrape after scrape of the same series, as if all of it had been
 * sent at once, so that by log time nothing is ever idle.
 */
import { sealBatch } from '../../engine/batch/batch-encoder.ts'
import * as layout from '../../engine/batch/layout.ts'
import { RECORD_SAMPLES } from '../../engine/contract/samples.ts'

export interface StoredRecords {
  readonly partition: number
  /** Series ids, in the order of a scrape. */
  readonly series: ArrayLike<number>
  readonly scrapes: number
  readonly startMs: number
  readonly scrapeMs: number
  /** Value of the n-th sample of the partition; asked in order. */
  readonly value: (n: number) => number
}

export function* recordsOf(records: StoredRecords): Generator<Uint8Array> {
  const { partition, series, scrapes, startMs, scrapeMs, value } = records
  const total = series.length * scrapes
  for (let base = 0; base < total; ) {
    const count = Math.min(layout.BATCH_SAMPLES_MAX, total - base)
    const buffer = new ArrayBuffer(layout.batchBytes(count) + 4)
    const bytes = new Uint8Array(buffer, 0, layout.batchBytes(count))
    const times = new Float64Array(buffer, layout.timestampsAt(), count)
    const values = new Float64Array(buffer, layout.valuesAt(count), count)
    const ids = new Int32Array(buffer, layout.seriesIdsAt(count), count)
    for (let i = 0; i < count; i++) {
      times[i] = startMs + Math.floor((base + i) / series.length) * scrapeMs
      values[i] = value(base + i)
      ids[i] = series[(base + i) % series.length]!
    }
    sealBatch(bytes, new DataView(buffer), {
      kind: RECORD_SAMPLES,
      topicId: 0,
      partition,
      baseOffset: base,
      count,
      minTimestampMs: times[0]!,
      maxTimestampMs: times[count - 1]!,
      appendedMs: startMs,
      producerId: 0,
      producerEpoch: 0,
      baseSequence: -1,
    })
    yield bytes
    base += count
  }
}
