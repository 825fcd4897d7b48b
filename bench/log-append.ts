/**
 * How fast samples become durable: seal (CRC), put, fdatasync, then return. Batches are of the largest size, spread over 16
 * partitions as the log writer does it; `samplesPerSecond` is reported for several batches a transaction, because that is
 * what group commit buys, and `transactionsPerSecond` for single small batches, which is the disk's own pace.
 * Retention runs between rounds, outside the timing, so that the file does not grow without end. `samplesPerSecondAtLimit` is
 * a log that has reached its size limit and more: what goes is deleted in time, after each transaction, as the log writer does
 * it. The checksum is over ends and bytes of the log.
 */
import { join } from 'node:path'
import { sealBatch } from '../engine/batch/batch-encoder.ts'
import * as layout from '../engine/batch/layout.ts'
import { RECORD_SAMPLES } from '../engine/contract/samples.ts'
import type { LogTransaction, LogWriter } from '../engine/store/log-contract.ts'
import { openLogReader, openLogWriter } from '../engine/store/log-store.ts'
import { BYTES_SLACK, bytesToKeep } from '../engine/store/retention.ts'
import { openStore } from '../engine/store/store.ts'
import { assert } from '../engine/util/assert.ts'
import type { BenchModule, Figure } from './lib/bench.ts'
import { medianOf } from './lib/measure.ts'
import { openScratch } from './lib/scratch.ts'

const PARTITIONS = 16
const SAMPLES_PER_BATCH = layout.BATCH_SAMPLES_MAX
const BATCHES_PER_TRANSACTION = [32, 8, 1]
const SMALL_SAMPLES = 12
const ROUND_SAMPLES = 8_000_000
/** One fdatasync each or more: a slow disk must not make a round last minutes. */
const ROUND_TRANSACTIONS_MAX = 300
const SMALL_TRANSACTIONS = 200
const ROUNDS = 5
/** Of the log that is full; a round writes as much again. */
const LIMIT_BYTES = 64 * 2 ** 20
const LIMIT_BATCHES = 8

export const bench: BenchModule = {
  name: 'log-append',
  figures: ['samplesPerSecond', 'transactionsPerSecond', 'samplesPerSecondAtLimit'],
  async run({ smoke }) {
    const figures: Figure[] = []
    for (const batches of BATCHES_PER_TRANSACTION) {
      const samples = smoke ? SAMPLES_PER_BATCH * batches : ROUND_SAMPLES
      figures.push(await largeBatches(batches, samples, smoke ? 1 : ROUNDS))
    }
    figures.push(await smallBatches(smoke ? 10 : SMALL_TRANSACTIONS, smoke ? 1 : ROUNDS))
    figures.push(await atLimit(smoke ? LIMIT_BYTES / 16 : LIMIT_BYTES, smoke ? 1 : ROUNDS))
    return figures
  },
}

async function largeBatches(batches: number, samples: number, rounds: number): Promise<Figure> {
  return withLog(async (log) => {
    const wanted = Math.ceil(samples / (batches * SAMPLES_PER_BATCH))
    const transactions = Math.min(wanted, ROUND_TRANSACTIONS_MAX)
    const value = await medianOf({ rounds }, () => {
      log.forget()
      const seconds = log.append(transactions, batches, SAMPLES_PER_BATCH)
      return (transactions * batches * SAMPLES_PER_BATCH) / seconds
    })
    const params = {
      batchesPerTransaction: batches,
      samplesPerBatch: SAMPLES_PER_BATCH,
      partitions: PARTITIONS,
    }
    return { figure: 'samplesPerSecond', value, unit: 'samples/s', params, checksum: log.checksum() }
  })
}

async function smallBatches(transactions: number, rounds: number): Promise<Figure> {
  return withLog(async (log) => {
    const value = await medianOf({ rounds }, () => transactions / log.append(transactions, 1, SMALL_SAMPLES))
    const params = { batchesPerTransaction: 1, samplesPerBatch: SMALL_SAMPLES, partitions: PARTITIONS }
    return {
      figure: 'transactionsPerSecond',
      value,
      unit: 'transactions/s',
      params,
      checksum: log.checksum(),
    }
  })
}

async function atLimit(limitBytes: number, rounds: number): Promise<Figure> {
  return withLog(async (log) => {
    const bytesEach = LIMIT_BATCHES * layout.batchBytes(SAMPLES_PER_BATCH)
    const transactions = Math.ceil(limitBytes / bytesEach)
    // Over the limit and its slack, so that retention is at work from the first round on.
    log.append(Math.ceil(transactions * (1 + 2 * BYTES_SLACK)), LIMIT_BATCHES, SAMPLES_PER_BATCH, limitBytes)
    const value = await medianOf({ rounds }, () => {
      const seconds = log.append(transactions, LIMIT_BATCHES, SAMPLES_PER_BATCH, limitBytes)
      return (transactions * LIMIT_BATCHES * SAMPLES_PER_BATCH) / seconds
    })
    assert(log.bytes <= limitBytes * (1 + BYTES_SLACK) + bytesEach, 'the log keeps its limit', log.bytes)
    const params = {
      limitBytes,
      batchesPerTransaction: LIMIT_BATCHES,
      samplesPerBatch: SAMPLES_PER_BATCH,
      partitions: PARTITIONS,
    }
    return { figure: 'samplesPerSecondAtLimit', value, unit: 'samples/s', params, checksum: log.checksum() }
  })
}

async function withLog<T>(work: (log: BenchLog) => Promise<T>): Promise<T> {
  const scratch = openScratch('log-append')
  const dir = join(scratch.path, 'data')
  const store = await openStore({ dir })
  const writer = openLogWriter({ dir, fence: store.fence })
  try {
    return await work(new BenchLog(writer, dir))
  } finally {
    await writer.close()
    await store.close()
    scratch.remove()
  }
}

class BenchLog {
  readonly #writer: LogWriter
  readonly #dir: string
  readonly #buffer = new ArrayBuffer(layout.BATCH_BYTES_MAX)
  readonly #view = new DataView(this.#buffer)
  #batches = 0

  constructor(writer: LogWriter, dir: string) {
    this.#writer = writer
    this.#dir = dir
    writer.transaction((txn) => txn.createTopic({ name: 'bench', partitions: PARTITIONS, partitionBy: null }))
    const values = new Float64Array(this.#buffer)
    for (let i = 0; i < values.length; i++) values[i] = i * 0.5
  }

  /** Seconds for so many durable transactions. */
  append(transactions: number, batches: number, samples: number, limitBytes = Infinity): number {
    const start = performance.now()
    for (let i = 0; i < transactions; i++) {
      this.#writer.transaction((txn) => {
        for (let j = 0; j < batches; j++) this.#put(txn, samples)
      })
      if (limitBytes < Infinity) this.#keep(limitBytes)
    }
    return (performance.now() - start) / 1000
  }

  #put(txn: LogTransaction, count: number): void {
    const partition = this.#batches % PARTITIONS
    this.#batches++
    const bytes = new Uint8Array(this.#buffer, 0, layout.batchBytes(count))
    sealBatch(bytes, this.#view, {
      kind: RECORD_SAMPLES,
      topicId: 0,
      partition,
      baseOffset: this.#writer.endOffset(0, partition),
      count,
      minTimestampMs: 0,
      maxTimestampMs: 0,
      appendedMs: this.#batches,
      producerId: 0,
      producerEpoch: 0,
      baseSequence: -1,
    })
    txn.putBatch(bytes)
  }

  get bytes(): number {
    return this.#writer.bytes
  }

  /** One step of retention, as the log writer takes it after a transaction. */
  #keep(limitBytes: number): void {
    const bytesMax = bytesToKeep(this.#writer.bytes, limitBytes, () => this.#writer.freeBytes())
    if (bytesMax === Infinity) return
    this.#writer.retain({
      nowMs: this.#batches,
      ageMsMax: Number.POSITIVE_INFINITY,
      bytesMax,
      lowWater: () => Number.POSITIVE_INFINITY,
    })
  }

  /** Deletes all but the newest batch of each partition. */
  forget(): void {
    const request = {
      nowMs: this.#batches,
      ageMsMax: Number.POSITIVE_INFINITY,
      bytesMax: 0,
      lowWater: () => Number.POSITIVE_INFINITY,
    }
    while (this.#writer.retain(request).more);
  }

  /** Reads the newest batch of each partition back and checks the ends. */
  checksum(): string {
    const reader = openLogReader({ dir: this.#dir })
    let offsets = 0
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const end = reader.endOffset(0, partition)
      if (end === 0) continue
      assert(reader.read(0, partition, end - 1, this.#buffer) > 0, 'the newest batch reads back', partition)
      offsets += end
    }
    void reader.close()
    return `${this.#batches} batches, ${offsets} samples`
  }
}
