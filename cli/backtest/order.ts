/** Whether samples come in the order of their time, counted series by series. O(1) a sample, 8 bytes a series. */
import { setImmediate as aTurn } from 'node:timers/promises'
import { BatchView } from '../../engine/batch/batch-view.ts'
import { BATCH_BYTES_MAX } from '../../engine/batch/layout.ts'
import { RECORD_SAMPLES } from '../../engine/contract/samples.ts'

export interface Order {
  /** Samples at the time of the newest before them in their series. */
  readonly repeated: number
  /** Samples older than one before them in their series. */
  readonly unordered: number
}

export class OrderCount implements Order {
  /** Time of each series' newest sample so far, by its id. */
  #newestMs: Float64Array = new Float64Array(64).fill(-Infinity)
  #repeated = 0
  #unordered = 0

  get repeated(): number {
    return this.#repeated
  }

  get unordered(): number {
    return this.#unordered
  }

  // hot: a call a sample.
  add(seriesId: number, timestampMs: number): void {
    if (seriesId >= this.#newestMs.length) {
      const wider = new Float64Array(2 * seriesId).fill(-Infinity)
      wider.set(this.#newestMs)
      this.#newestMs = wider
    }
    const newestMs = this.#newestMs[seriesId]!
    if (timestampMs === newestMs) this.#repeated++
    else if (timestampMs < newestMs) this.#unordered++
    else this.#newestMs[seriesId] = timestampMs
  }
}

/** Of a stored topic, which is read through once. A series lies in one partition, so that partitions count apart. */
export async function orderOfTopic(
  store: string,
  topicName: string,
  signal: AbortSignal,
): Promise<OrderCount> {
  const { openLogReader } = await import('../../engine/store/log-store.ts')
  const order = new OrderCount()
  const log = openLogReader({ dir: store })
  try {
    const topic = log.topicOf(topicName)
    if (topic === null) return order
    const buffer = new ArrayBuffer((BATCH_BYTES_MAX + 7) & ~7)
    const view = new BatchView(buffer)
    const count = (): void => {
      const { kind, count: samples, seriesIds, seriesIdsAt, timestampsMs, timestampsMsAt } = view.point(0)
      if (kind !== RECORD_SAMPLES) return
      for (let i = 0; i < samples; i++)
        order.add(seriesIds[seriesIdsAt + i]!, timestampsMs[timestampsMsAt + i]!)
    }
    for (let partition = 0; partition < topic.partitions && !signal.aborted; partition++) {
      const end = log.endOffset(topic.id, partition)
      let offset = log.startOffset(topic.id, partition)
      while (offset < end && !signal.aborted) {
        offset = log.scan(topic.id, partition, offset, end, buffer, count)
        await aTurn()
      }
    }
    return order
  } finally {
    await log.close()
  }
}
