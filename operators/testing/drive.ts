/**
 * A pipeline without threads, store or clock: samples are built into record batches in memory, a hand-moved log clock
 * stamps them, and a real Chain takes them at once. What it emits is kept and can be read decoded. For tests, and for
 * trying a pipeline on data one has. One partition; nothing here runs later or elsewhere.
 */
import { sealBatch } from '../../engine/batch/batch-encoder.ts'
import { BatchView } from '../../engine/batch/batch-view.ts'
import * as layout from '../../engine/batch/layout.ts'
import type { Alert } from '../../engine/contract/alert.ts'
import { ENTRY_ALERT, ENTRY_LATE, ENTRY_RESULTS } from '../../engine/contract/entries.ts'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import type { LateBody, Registry, ResultBody } from '../../engine/contract/plugins.ts'
import {
  type Labels,
  RECORD_END,
  RECORD_FEEDBACK,
  RECORD_RESUMED,
  RECORD_SAMPLES,
  RECORD_TICK,
} from '../../engine/contract/samples.ts'
import { Chain, type KernelUse, type StatePage } from '../../engine/pipeline/chain.ts'
import { EntryDecoder } from '../../engine/pipeline/entry-decoder.ts'
import { decodeSeriesKey, encodeSeriesKey } from '../../engine/series/series-key.ts'
import { assert } from '../../engine/util/assert.ts'

export interface DrivenSample {
  readonly labels: Labels
  readonly timestampMs: number
  readonly value: number
}

export interface DrivenEntry {
  readonly kind: number
  readonly seq: number
  readonly causeOffset: number
  readonly eventTimeMs: number
  readonly bytes: Uint8Array
}

export interface DriveOptions {
  readonly plan: PipelinePlan
  readonly registry: Registry
  /** Log time of the first record; default 0. */
  readonly logMs?: number
  readonly kernel?: KernelUse
}

const TOPIC_ID = 0
const PARTITION = 0

/** What a shard would store of a chain. */
export interface DrivenCheckpoint {
  readonly meta: string
  readonly pages: readonly StatePage[]
}

export class Drive {
  readonly #plan: PipelinePlan
  readonly #registry: Registry
  readonly #kernel: KernelUse | undefined
  readonly #seriesIds = new Map<string, number>()
  readonly #labels: Labels[] = []
  readonly #pages = new Map<string, StatePage>()
  readonly #decoder: EntryDecoder
  #nextOffset = 0
  #chain: Chain
  /** Log time of the next record. */
  logMs: number
  /** Everything emitted so far, in order. */
  readonly entries: DrivenEntry[] = []
  /** Group keys by group id. */
  readonly groups: Uint8Array[] = []
  /** Every record taken, as it would stand in the log. */
  readonly records: Uint8Array[] = []

  constructor(options: DriveOptions) {
    this.#plan = options.plan
    this.#registry = options.registry
    this.#kernel = options.kernel
    this.logMs = options.logMs ?? 0
    this.#chain = this.#freshChain()
    this.#decoder = new EntryDecoder(options.plan, {
      group: (_partition, groupId) => decodeSeriesKey(this.groups[groupId]!),
      series: (seriesId) => this.#labels[seriesId]!,
    })
  }

  get chain(): Chain {
    return this.#chain
  }

  /** Moves log time on. By itself this tells the chain nothing; a record does. */
  advance(ms: number): this {
    assert(ms >= 0, 'log time does not go back', ms)
    this.logMs += ms
    return this
  }

  /** Samples arrive now: one record batch, or several where they exceed one. */
  send(samples: readonly DrivenSample[]): this {
    for (let from = 0; from < samples.length; from += layout.BATCH_SAMPLES_MAX) {
      this.#append(RECORD_SAMPLES, samples.slice(from, from + layout.BATCH_SAMPLES_MAX))
    }
    return this
  }

  /** Log time, on an otherwise quiet partition. */
  tick(): this {
    return this.#append(RECORD_TICK, [])
  }

  /** Ticks at every deadline of the chain until `logMs`, as the log writer would. */
  tickUntil(logMs: number): this {
    for (;;) {
      const deadlineMs = Math.max(this.logMs, this.#chain.deadlineMs)
      if (deadlineMs > logMs) break
      const before = this.entries.length
      this.logMs = deadlineMs
      this.tick()
      const stuck = this.#chain.deadlineMs <= deadlineMs && this.entries.length === before
      assert(!stuck, 'a tick at the deadline changes something', deadlineMs)
    }
    this.logMs = logMs
    return this.tick()
  }

  /** The node was down from `downFromMs` until now. */
  resume(downFromMs: number): this {
    return this.#append(RECORD_RESUMED, [], downFromMs)
  }

  /** Somebody said something of alerts: the number of the row that says what. */
  feedback(id: number): this {
    return this.#append(RECORD_FEEDBACK, [], id)
  }

  /** The input ended. */
  end(): this {
    return this.#append(RECORD_END, [])
  }

  /** Takes a record as it stands in a log. */
  replay(record: Uint8Array): this {
    this.records.push(record)
    const bytes = new Uint8Array(new ArrayBuffer(Math.ceil(record.length / 8) * 8))
    bytes.set(record)
    const view = new BatchView(bytes.buffer).point(0)
    this.#nextOffset = view.endOffset
    this.#chain.process(view)
    return this
  }

  /** A checkpoint of the chain as it stands. */
  checkpoint(): DrivenCheckpoint {
    const meta = this.#chain.snapshot((region, index, cells) => {
      this.#pages.set(`${region}/${index}`, { region, index, cells: cells.slice() })
    })
    return { meta, pages: [...this.#pages.values()] }
  }

  /** Throws the chain away and goes on with one restored from a checkpoint of the present. */
  crash(): this {
    const { meta, pages } = this.checkpoint()
    this.#chain = this.#freshChain()
    this.#chain.restore(meta, pages)
    return this
  }

  results(): ResultBody[] {
    return this.#decoded(ENTRY_RESULTS) as ResultBody[]
  }

  alerts(): Alert[] {
    return this.#decoded(ENTRY_ALERT) as Alert[]
  }

  late(): LateBody[] {
    return this.#decoded(ENTRY_LATE) as LateBody[]
  }

  #decoded(kind: number): (ResultBody | Alert | LateBody)[] {
    const entries = this.entries.filter((entry) => entry.kind === kind)
    return entries.flatMap((entry) => [...this.#decoder.records(PARTITION, entry)].map(({ body }) => body))
  }

  #freshChain(): Chain {
    return new Chain({
      plan: this.#plan,
      registry: this.#registry,
      partition: PARTITION,
      ...(this.#kernel === undefined ? {} : { kernel: this.#kernel }),
      keyOf: (seriesId) => encodeSeriesKey(this.#labels[seriesId]!),
      sink: {
        group: (groupId, key) => {
          this.groups[groupId] = key.slice()
        },
        entry: (kind, seq, causeOffset, eventTimeMs, bytes, length) => {
          this.entries.push({ kind, seq, causeOffset, eventTimeMs, bytes: bytes.slice(0, length) })
        },
      },
    })
  }

  #append(kind: number, samples: readonly DrivenSample[], downFromMs = 0): this {
    const count = samples.length
    const bytes = new Uint8Array(new ArrayBuffer(Math.ceil(layout.batchBytes(count) / 8) * 8))
    const timestampsMs = new Float64Array(bytes.buffer, layout.timestampsAt(), count)
    const values = new Float64Array(bytes.buffer, layout.valuesAt(count), count)
    const seriesIds = new Int32Array(bytes.buffer, layout.seriesIdsAt(count), count)
    let minTimestampMs = count === 0 ? downFromMs : Infinity
    let maxTimestampMs = count === 0 ? 0 : -Infinity
    samples.forEach(({ labels, timestampMs, value }, i) => {
      timestampsMs[i] = timestampMs
      values[i] = value
      seriesIds[i] = this.#seriesId(labels)
      minTimestampMs = Math.min(minTimestampMs, timestampMs)
      maxTimestampMs = Math.max(maxTimestampMs, timestampMs)
    })
    const length = sealBatch(bytes, new DataView(bytes.buffer), {
      kind,
      topicId: TOPIC_ID,
      partition: PARTITION,
      baseOffset: this.#nextOffset,
      count,
      minTimestampMs,
      maxTimestampMs,
      appendedMs: this.logMs,
      producerId: 0,
      producerEpoch: 0,
      baseSequence: -1,
    })
    return this.replay(bytes.subarray(0, length))
  }

  #seriesId(labels: Labels): number {
    const text = Buffer.from(encodeSeriesKey(labels)).toString('latin1')
    let id = this.#seriesIds.get(text)
    if (id === undefined) {
      id = this.#labels.length
      this.#labels.push(labels)
      this.#seriesIds.set(text, id)
    }
    return id
  }
}
