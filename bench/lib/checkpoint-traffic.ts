/**
 * Samples for the bench `checkpoint`, put into a real log as the log writer does: once every series, then epochs in which
 * a part of the series, drawn anew, sends some samples. All from one seed, log times included, so that results depend on
 * nothing else.
 */
import { sealBatch } from '../../engine/batch/batch-encoder.ts'
import * as layout from '../../engine/batch/layout.ts'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import { RECORD_SAMPLES } from '../../engine/contract/samples.ts'
import { encodeSeriesKey, partitionOf } from '../../engine/series/series-key.ts'
import type { LogWriter } from '../../engine/store/log-contract.ts'
import { Prng } from '../../engine/util/prng.ts'

export const PLAN_AGGREGATES = ['count', 'sum', 'standardDeviation', 'min', 'max']
export const WINDOW_MS = 60_000
/** Event time from epoch to epoch: windows fire now and then, as they do between checkpoints of a node. */
export const EPOCH_MS = 5_000
const START_MS = 1_700_000_040_000
const SERIES_A_TRANSACTION = 50_000
const BATCHES_A_TRANSACTION = 64
const SEED = 11

/** A sealed record batch of one partition. */
export interface Batch {
  readonly partition: number
  readonly bytes: Uint8Array
  readonly endOffset: number
}

export function checkpointPlan(partitions: number): PipelinePlan {
  return {
    plan: 1,
    name: 'checkpointed',
    topic: { name: 'metrics', partitions, partitionBy: null },
    where: [],
    groupBy: null,
    disorderMs: 5_000,
    idleMs: 3_600_000,
    window: {
      kind: 'tumbling',
      options: { sizeMs: WINDOW_MS },
      sizeMs: WINDOW_MS,
      everyMs: WINDOW_MS,
      sliceMs: WINDOW_MS,
    },
    aggregates: PLAN_AGGREGATES.map((kind) => ({ name: kind, kind, options: { of: 'population' } })),
    detectors: [],
    sinks: [],
  }
}

export class CheckpointTraffic {
  readonly #writer: LogWriter
  readonly #seriesOf: Int32Array[]
  readonly #ends: Float64Array
  readonly #prng = new Prng(SEED)
  #epoch = 0

  constructor(writer: LogWriter, series: number, partitions: number) {
    this.#writer = writer
    this.#ends = new Float64Array(partitions)
    const placed: number[][] = Array.from({ length: partitions }, () => [])
    for (let id = 0; id < series; ) {
      writer.transaction((txn) => {
        if (id === 0) txn.createTopic(checkpointPlan(partitions).topic)
        for (const end = Math.min(series, id + SERIES_A_TRANSACTION); id < end; id++) {
          const labels = { __name__: 'load', host: `host-${id}` }
          txn.putSeries(0, id, encodeSeriesKey(labels))
          placed[partitionOf(labels, null, partitions)]!.push(id)
        }
      })
    }
    this.#seriesOf = placed.map((ids) => Int32Array.from(ids))
  }

  /** A sample of every series. */
  everySeries(): Batch[] {
    return this.#append(this.#seriesOf, 1)
  }

  /** `share` of the series of each partition, drawn at random, sends `samples` each. */
  epoch(share: number, samples: number): Batch[] {
    const drawn = this.#seriesOf.map((ids) => {
      const count = Math.ceil(ids.length * share)
      for (let i = 0; i < count; i++) {
        const other = i + this.#prng.below(ids.length - i)
        const id = ids[i]!
        ids[i] = ids[other]!
        ids[other] = id
      }
      return ids.subarray(0, count)
    })
    return this.#append(drawn, samples)
  }

  /** Durable, partition after partition in turn. */
  put(batches: readonly Batch[]): void {
    for (let from = 0; from < batches.length; from += BATCHES_A_TRANSACTION) {
      this.#writer.transaction((txn) => {
        for (const { bytes } of batches.slice(from, from + BATCHES_A_TRANSACTION)) txn.putBatch(bytes)
      })
    }
  }

  #append(seriesOf: readonly Int32Array[], samples: number): Batch[] {
    const timeMs = START_MS + this.#epoch++ * EPOCH_MS
    const ofPartition = seriesOf.map((ids, partition) => {
      const batches: Batch[] = []
      for (let pass = 0; pass < samples; pass++) {
        for (let from = 0; from < ids.length; from += layout.BATCH_SAMPLES_MAX) {
          batches.push(this.#batch(partition, ids.subarray(from, from + layout.BATCH_SAMPLES_MAX), timeMs))
        }
      }
      return batches
    })
    const longest = Math.max(...ofPartition.map(({ length }) => length))
    return Array.from({ length: longest }, (_, i) =>
      ofPartition.flatMap((batches) => batches[i] ?? []),
    ).flat()
  }

  #batch(partition: number, ids: Int32Array, timeMs: number): Batch {
    const count = ids.length
    const baseOffset = this.#ends[partition]!
    const buffer = new ArrayBuffer(Math.ceil(layout.batchBytes(count) / 8) * 8)
    const bytes = new Uint8Array(buffer, 0, layout.batchBytes(count))
    new Float64Array(buffer, layout.timestampsAt(), count).fill(timeMs)
    const values = new Float64Array(buffer, layout.valuesAt(count), count)
    for (let i = 0; i < count; i++) values[i] = 100 + 10 * this.#prng.normal()
    new Int32Array(buffer, layout.seriesIdsAt(count), count).set(ids)
    sealBatch(bytes, new DataView(buffer), {
      kind: RECORD_SAMPLES,
      topicId: 0,
      partition,
      baseOffset,
      count,
      minTimestampMs: timeMs,
      maxTimestampMs: timeMs,
      appendedMs: timeMs,
      producerId: 0,
      producerEpoch: 0,
      baseSequence: -1,
    })
    this.#ends[partition] = baseOffset + count
    return { partition, bytes, endOffset: baseOffset + count }
  }
}
