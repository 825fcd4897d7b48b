/**
 * History through the chain and the detection stage that run live, in memory, as fast as it can be read. Log time is event
 * time: silence and idleness are judged as if every sample had come when it says. One partition holds everything, so that the
 * files' own order is the log's. Guarantee: the same samples and plans give the same observations. Reads files or a store;
 * writes nothing.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sealBatch } from '../../engine/batch/batch-encoder.ts'
import { BatchView } from '../../engine/batch/batch-view.ts'
import * as layout from '../../engine/batch/layout.ts'
import type { SampleBuilder } from '../../engine/batch/sample-builder.ts'
import type { Alert } from '../../engine/contract/alert.ts'
import type { AppendResult, NodeInput } from '../../engine/contract/node.ts'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import type { Registry, ResultBody } from '../../engine/contract/plugins.ts'
import { NAME_LABEL, RECORD_END, RECORD_SAMPLES, RECORD_TICK } from '../../engine/contract/samples.ts'
import { Chain } from '../../engine/pipeline/chain.ts'
import { EntryDecoder, feedOf } from '../../engine/pipeline/entry-decoder.ts'
import { decodeSeriesKey, encodeSeriesKey } from '../../engine/series/series-key.ts'
import { SERIES_LIMIT_MAX, SeriesTable } from '../../engine/series/series-table.ts'
import { assert } from '../../engine/util/assert.ts'
import { type Order, OrderCount } from './order.ts'

/** What a backtest looks at, in the order of the results. */
export interface Observer {
  result(body: ResultBody): void
  alert(alert: Alert): void
}

/** A tick may make another one due. Far more than any plan needs; a loop that does not end is a fault of the engine. */
const TICK_ROUNDS_MAX = 10_000_000
/** Where silence is watched, a record holds no more of log time than this. */
const RECORD_SPAN_MS = 1_000

/**
 * All groups lie in the one partition, so there is nothing to exchange. No source is idle, for log time is the newest event
 * time: a pause brings the watermark nowhere that the next sample would not. The log time of a record is its last sample's,
 * and after a pause its first ones would be late.
 */
function onePartition(plan: PipelinePlan): PipelinePlan {
  const { exchange: _, ...rest } = plan
  return { ...rest, idleMs: Infinity, topic: { ...plan.topic, partitions: 1, partitionBy: null } }
}

class HistoryChain {
  readonly #chain: Chain
  readonly #decoder: EntryDecoder
  readonly #watchesSilence: boolean

  constructor(plan: PipelinePlan, registry: Registry, table: SeriesTable, observer: Observer) {
    const groups: Uint8Array[] = []
    const alone = onePartition(plan)
    this.#watchesSilence = plan.detectors.some(({ column }) => column === null)
    this.#decoder = new EntryDecoder(alone, {
      group: (_, groupId) => decodeSeriesKey(groups[groupId]!),
      series: (seriesId) => table.labelsOf(seriesId),
    })
    this.#chain = new Chain({
      plan: alone,
      registry,
      partition: 0,
      keyOf: (seriesId) => encodeSeriesKey(table.labelsOf(seriesId)),
      sink: {
        group: (groupId, key) => {
          groups[groupId] = key.slice()
        },
        entry: (kind, seq, causeOffset, eventTimeMs, bytes, length) => {
          const entry = { kind, seq, causeOffset, eventTimeMs, bytes: bytes.slice(0, length) }
          const feed = feedOf(entry)
          if (feed === 'late') return
          for (const { body } of this.#decoder.records(0, entry)) {
            if (body.kind === 'result') observer.result(body)
            else if (body.kind === 'alert') observer.alert(body)
          }
        },
      },
    })
  }

  get late(): number {
    return this.#chain.ledger.late
  }

  get windowed(): number {
    return this.#chain.ledger.windowed
  }

  take(builder: SampleBuilder): void {
    const { timestampsMs, count } = builder
    let from = 0
    while (from < count) {
      const startMs = timestampsMs[from]!
      let to = from + 1
      let newestMs = startMs
      while (to < count && to - from < layout.BATCH_SAMPLES_MAX) {
        if (this.#watchesSilence && timestampsMs[to]! - startMs >= RECORD_SPAN_MS) break
        newestMs = Math.max(newestMs, timestampsMs[to]!)
        to++
      }
      if (this.#watchesSilence) this.#tickUpTo(newestMs)
      this.#record(RECORD_SAMPLES, builder, from, to, newestMs)
      from = to
    }
  }

  end(): void {
    this.#record(RECORD_END, null, 0, 0, this.#chain.logMs)
  }

  /** What is due before the next record happens when it is due: silence is told, windows of idle series close. */
  #tickUpTo(nextMs: number): void {
    const chain = this.#chain
    for (let round = 0; chain.logMs < chain.deadlineMs && chain.deadlineMs < nextMs; round++) {
      assert(round < TICK_ROUNDS_MAX, 'ticks bring time on', chain.logMs, chain.deadlineMs)
      this.#record(RECORD_TICK, null, 0, 0, chain.deadlineMs)
    }
  }

  #record(kind: number, from: SampleBuilder | null, first: number, end: number, logMs: number): void {
    const count = end - first
    const bytes = new Uint8Array(new ArrayBuffer((layout.batchBytes(count) + 7) & ~7))
    let minTimestampMs = count === 0 ? 0 : Infinity
    let maxTimestampMs = count === 0 ? 0 : -Infinity
    if (from !== null) {
      const timesMs = new Float64Array(bytes.buffer, layout.timestampsAt(), count)
      timesMs.set(from.timestampsMs.subarray(first, end))
      new Float64Array(bytes.buffer, layout.valuesAt(count), count).set(from.values.subarray(first, end))
      new Int32Array(bytes.buffer, layout.seriesIdsAt(count), count).set(from.seriesIds.subarray(first, end))
      for (let i = 0; i < count; i++) {
        minTimestampMs = Math.min(minTimestampMs, timesMs[i]!)
        maxTimestampMs = Math.max(maxTimestampMs, timesMs[i]!)
      }
    }
    const chain = this.#chain
    sealBatch(bytes, new DataView(bytes.buffer), {
      kind,
      topicId: 0,
      partition: 0,
      baseOffset: chain.position,
      count,
      minTimestampMs,
      maxTimestampMs,
      appendedMs: Math.max(logMs, Number.isFinite(chain.logMs) ? chain.logMs : 0),
      producerId: 0,
      producerEpoch: 0,
      baseSequence: -1,
    })
    chain.process(new BatchView(bytes.buffer).point(0))
  }
}

/** Takes what decoders of files read, and runs each plan over it. */
export class HistoryInput implements NodeInput {
  readonly table: SeriesTable = new SeriesTable({ limit: SERIES_LIMIT_MAX })
  readonly #chains: readonly HistoryChain[]
  #firstMs = Infinity
  #lastMs = -Infinity
  readonly #order = new OrderCount()

  constructor(plans: readonly { plan: PipelinePlan; observer: Observer }[], registry: Registry) {
    this.#chains = plans.map(({ plan, observer }) => new HistoryChain(plan, registry, this.table, observer))
  }

  append(builder: SampleBuilder): Promise<AppendResult> {
    for (let i = 0; i < builder.count; i++) {
      this.#firstMs = Math.min(this.#firstMs, builder.timestampsMs[i]!)
      this.#lastMs = Math.max(this.#lastMs, builder.timestampsMs[i]!)
      this.#order.add(builder.seriesIds[i]!, builder.timestampsMs[i]!)
    }
    for (const chain of this.#chains) chain.take(builder)
    return Promise.resolve({ samples: builder.count, refusedSamples: 0, durable: false })
  }

  get order(): Order {
    return this.#order
  }

  end(): void {
    for (const chain of this.#chains) chain.end()
  }

  /** Event time of the data: [first, last], or null without a sample. */
  get span(): readonly [number, number] | null {
    return this.#firstMs <= this.#lastMs ? [this.#firstMs, this.#lastMs] : null
  }

  /** Of the metrics read, one for each series. */
  names(): string[] {
    return Array.from({ length: this.table.size }, (_, id) => this.table.labelsOf(id)[NAME_LABEL] ?? '')
  }

  counts(): readonly { readonly late: number; readonly windowed: number }[] {
    return this.#chains.map(({ late, windowed }) => ({ late, windowed }))
  }
}

/** A folder of its own for what a replay of the stored log writes; it goes with the end of `use`. */
export async function withScratch<T>(use: (dir: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), 'millrace-backtest-'))
  try {
    return await use(dir)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** The lines of a replay's files, as they were observed. */
export async function observeFiles(dir: string, observer: Observer): Promise<void> {
  for (const feed of ['results', 'alerts']) {
    const file = await open(join(dir, `${feed}.ndjson`), 'r')
    try {
      for await (const line of file.readLines()) {
        if (line === '') continue
        const body = JSON.parse(line) as ResultBody | Alert
        if (body.kind === 'result') observer.result(body)
        else observer.alert(body)
      }
    } finally {
      await file.close()
    }
  }
}
