/**
 * An exchange without threads or store: the logs of several partitions, a real Chain for each, a real Merger for each
 * bucket, and a schedule drawn from a seed that decides who goes next, what is committed when, and who crashes and is
 * restored from an older checkpoint. What is emitted again must be what was committed, byte for byte, or the run fails.
 */
import { expect } from 'vitest'
import { sealBatch } from '../../engine/batch/batch-encoder.ts'
import { BatchView } from '../../engine/batch/batch-view.ts'
import * as layout from '../../engine/batch/layout.ts'
import type { Alert } from '../../engine/contract/alert.ts'
import {
  ENTRY_ALERT,
  ENTRY_LATE,
  ENTRY_RESULTS,
  type EntrySink,
  emptyLedger,
  type Ledger,
} from '../../engine/contract/entries.ts'
import type { FeedbackRow } from '../../engine/contract/feedback.ts'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import type { Registry, ResultBody } from '../../engine/contract/plugins.ts'
import { type Labels, RECORD_SAMPLES } from '../../engine/contract/samples.ts'
import { ownerStream } from '../../engine/contract/streams.ts'
import { Chain } from '../../engine/pipeline/chain.ts'
import { EntryDecoder } from '../../engine/pipeline/entry-decoder.ts'
import { Merger } from '../../engine/pipeline/merger.ts'
import { decodeSeriesKey, encodeSeriesKey } from '../../engine/series/series-key.ts'
import type { Entry } from '../../engine/store/state-contract.ts'
import { assert } from '../../engine/util/assert.ts'
import { Prng } from '../../engine/util/prng.ts'
import type { DrivenSample } from '../../operators/testing/drive.ts'
import { StagedSave, type WholeCheckpoint } from './staged.ts'

export interface LogRecord {
  readonly partition: number
  readonly logMs: number
  readonly kind: number
  readonly samples: readonly DrivenSample[]
  readonly downFromMs?: number
  /** Of a FEEDBACK record. */
  readonly says?: Pick<FeedbackRow, 'pipeline' | 'topic' | 'detector' | 'group' | 'after'>
}

/** The partitions of a topic, as they would stand in the log. */
export class MemoryLog {
  readonly partitions: { readonly records: Uint8Array[]; endOffset: number }[]
  readonly labels: Labels[] = []
  /** Every row there will ever be: a chain or an owner must not hear of one before its place in the log. */
  readonly feedback: FeedbackRow[] = []
  readonly #ids = new Map<string, number>()

  constructor(partitions: number) {
    this.partitions = Array.from({ length: partitions }, () => ({ records: [], endOffset: 0 }))
  }

  append(record: LogRecord): this {
    const { partition, kind, samples } = record
    const there = this.partitions[partition]!
    const count = samples.length
    const bytes = new Uint8Array(new ArrayBuffer(Math.ceil(layout.batchBytes(count) / 8) * 8))
    const timestampsMs = new Float64Array(bytes.buffer, layout.timestampsAt(), count)
    const values = new Float64Array(bytes.buffer, layout.valuesAt(count), count)
    const seriesIds = new Int32Array(bytes.buffer, layout.seriesIdsAt(count), count)
    const rowId = record.says === undefined ? 0 : this.#feedbackId(record, there.endOffset)
    let minTimestampMs = count === 0 ? (record.downFromMs ?? rowId) : Infinity
    let maxTimestampMs = count === 0 ? 0 : -Infinity
    samples.forEach(({ labels, timestampMs, value }, i) => {
      timestampsMs[i] = timestampMs
      values[i] = value
      seriesIds[i] = this.#seriesId(labels)
      minTimestampMs = Math.min(minTimestampMs, timestampMs)
      maxTimestampMs = Math.max(maxTimestampMs, timestampMs)
    })
    sealBatch(bytes, new DataView(bytes.buffer), {
      kind,
      topicId: 0,
      partition,
      baseOffset: there.endOffset,
      count,
      minTimestampMs,
      maxTimestampMs,
      appendedMs: record.logMs,
      producerId: 0,
      producerEpoch: 0,
      baseSequence: -1,
    })
    there.records.push(bytes)
    there.endOffset += layout.offsetsOf(kind === RECORD_SAMPLES ? count : 0)
    return this
  }

  #feedbackId({ says, partition, logMs }: LogRecord, offset: number): number {
    const about = { says: 'expected' as const, of: null, timeMs: 0, alert: null, score: null, target: null }
    const place = { partition, offset, appendedMs: logMs, saidMs: logMs }
    const row = {
      id: this.feedback.length + 1,
      ...about,
      ...place,
      note: null,
      by: null,
      before: 1,
      ...says!,
    }
    return this.feedback.push(row)
  }

  #seriesId(labels: Labels): number {
    const text = Buffer.from(encodeSeriesKey(labels)).toString('latin1')
    let id = this.#ids.get(text)
    if (id === undefined) {
      id = this.labels.push(labels) - 1
      this.#ids.set(text, id)
    }
    return id
  }
}

export interface RunOptions {
  readonly plan: PipelinePlan
  readonly registry: Registry
  readonly log: MemoryLog
  /** Of the schedule. */
  readonly seed: number
  /** Of 100 steps, how many are a crash; default none. */
  readonly crashes?: number
  /** Of owners: as the Merger's. */
  readonly pendingBytesMax?: number
  readonly partsBytesMax?: number
}

/** Pages that a step of a checkpoint takes, at most. */
const PAGES_A_STEP = 5

/** A stream in the store: what was committed, and what retention has left of it. */
class Stream {
  readonly entries: Entry[] = []
  /** Entries before it are gone. */
  keptFrom = 0
  readonly groups: Uint8Array[] = []
  #uncommitted: Entry[] = []
  #nextSeq = 0

  readonly sink: EntrySink = {
    group: (groupId, key) => {
      this.groups[groupId] = key.slice()
    },
    entry: (kind, seq, causeOffset, eventTimeMs, bytes, length) => {
      const entry = { kind, seq, causeOffset, eventTimeMs, bytes: bytes.slice(0, length) }
      const before = this.entries[seq]
      // What comes again after a crash is what was committed.
      if (before !== undefined) expect(entryText(entry)).toBe(entryText(before))
      else if (seq >= this.#nextSeq) {
        assert(seq === this.#nextSeq, 'entries are numbered without a gap', seq, this.#nextSeq)
        this.#uncommitted.push(entry)
        this.#nextSeq = seq + 1
      }
    },
  }

  commit(): void {
    this.entries.push(...this.#uncommitted)
    this.#uncommitted = []
  }

  lose(): void {
    this.#uncommitted = []
    this.#nextSeq = this.entries.length
  }

  at(seq: number): Entry {
    assert(seq >= this.keptFrom, 'what an owner still needs is kept', seq, this.keptFrom)
    return this.entries[seq]!
  }
}

class ChainSeat {
  readonly visible = new Stream()
  readonly partials = new Stream()
  frontierMs = -Infinity
  chain: Chain
  next = 0
  readonly #options: RunOptions
  readonly #partition: number
  readonly #save = new StagedSave()
  /** Of the checkpoint under way, and of the newest that is whole. */
  #cutNext = 0
  #savedNext = 0

  constructor(options: RunOptions, partition: number) {
    this.#options = options
    this.#partition = partition
    this.chain = this.#fresh()
  }

  get isDone(): boolean {
    return this.next === this.#options.log.partitions[this.#partition]!.records.length
  }

  step(): void {
    const record = this.#options.log.partitions[this.#partition]!.records[this.next++]!
    this.chain.process(new BatchView(record.buffer as ArrayBuffer).point(0))
  }

  commit(): void {
    this.visible.commit()
    this.partials.commit()
    this.frontierMs = Math.max(this.frontierMs, this.chain.logMs)
  }

  /** A piece of a checkpoint: records are processed between pieces. */
  save(pages: number): void {
    if (!this.#save.isUnderway) {
      this.commit()
      this.#cutNext = this.next
      this.#save.begin(this.chain)
    }
    if (this.#save.advance(this.chain, pages)) this.#savedNext = this.#cutNext
  }

  crash(): void {
    this.visible.lose()
    this.partials.lose()
    this.chain = this.#fresh()
    this.next = this.#savedNext
    this.#save.forget()
    const { whole } = this.#save
    if (whole === null) return
    this.chain.restore(whole.meta, whole.pages.values())
  }

  #fresh(): Chain {
    const { plan, registry, log } = this.#options
    return new Chain({
      plan,
      registry,
      partition: this.#partition,
      keyOf: (seriesId) => encodeSeriesKey(log.labels[seriesId]!),
      sink: this.visible.sink,
      partialSink: this.partials.sink,
      feedback: { rows: () => log.feedback },
    })
  }
}

class OwnerSeat {
  readonly visible = new Stream()
  merger: Merger
  readonly #options: RunOptions
  readonly #bucket: number
  readonly #chains: readonly ChainSeat[]
  readonly #save = new StagedSave()

  constructor(options: RunOptions, bucket: number, chains: readonly ChainSeat[]) {
    this.#options = options
    this.#bucket = bucket
    this.#chains = chains
    this.merger = this.#fresh()
  }

  /** Oldest entry of a partition that a restore would need. */
  needs(partition: number): number {
    const { whole } = this.#save
    return whole === null ? 0 : (JSON.parse(whole.meta) as { needed: number[] }).needed[partition]!
  }

  poll(partition: number, countMax: number): void {
    const { partials, frontierMs } = this.#chains[partition]!
    const from = this.#offered[partition]!
    const to = Math.min(partials.entries.length, from + countMax)
    for (let seq = from; seq < to && this.merger.wants(partition); seq++) {
      this.merger.offer(partition, partials.at(seq))
      this.#offered[partition] = seq + 1
    }
    if (this.#offered[partition] === partials.entries.length) this.merger.frontier(partition, frontierMs)
    this.merger.advance()
  }

  /** As of a chain. */
  save(pages: number): void {
    if (!this.#save.isUnderway) {
      this.visible.commit()
      this.#save.begin(this.merger)
    }
    this.#save.advance(this.merger, pages)
  }

  crash(): void {
    this.visible.lose()
    this.merger = this.#fresh()
    this.#save.forget()
    const { whole } = this.#save
    if (whole !== null) this.merger.restore(whole.meta, whole.pages.values())
    this.#offered = this.#chains.map((_, partition) => this.merger.cursor(partition))
  }

  /** Its newest checkpoint. */
  get saved(): WholeCheckpoint {
    const { whole } = this.#save
    assert(whole !== null, 'it was saved')
    return whole
  }

  #offered: number[] = []

  #fresh(): Merger {
    const { plan, registry, log } = this.#options
    this.#offered = this.#chains.map(() => 0)
    const { pendingBytesMax, partsBytesMax } = this.#options
    return new Merger({
      ...(pendingBytesMax === undefined ? {} : { pendingBytesMax }),
      ...(partsBytesMax === undefined ? {} : { partsBytesMax }),
      plan,
      registry,
      bucket: this.#bucket,
      feedback: { rows: () => log.feedback },
      sink: this.visible.sink,
      source: {
        groupKey: (partition, groupId) => this.#chains[partition]!.visible.groups[groupId]!,
        entry: (partition, seq) => this.#chains[partition]!.partials.at(seq).bytes.slice(),
      },
    })
  }
}

export class ExchangeRun {
  readonly chains: readonly ChainSeat[]
  readonly owners: readonly OwnerSeat[]
  readonly #options: RunOptions
  readonly #decoder: EntryDecoder

  constructor(options: RunOptions) {
    const { plan, log } = options
    this.#options = options
    this.chains = log.partitions.map((_, partition) => new ChainSeat(options, partition))
    this.owners = Array.from(
      { length: plan.exchange!.buckets },
      (_, bucket) => new OwnerSeat(options, bucket, this.chains),
    )
    this.#decoder = new EntryDecoder(plan, {
      group: (partition, groupId) => {
        const bucket = partition - ownerStream(plan, 0)
        return decodeSeriesKey(this.owners[bucket]!.visible.groups[groupId]!)
      },
      series: (seriesId) => log.labels[seriesId]!,
    })
  }

  /** Until every record is processed, committed and merged as far as it can be. */
  finish(): this {
    const prng = new Prng(this.#options.seed)
    const { crashes = 0 } = this.#options
    while (!this.chains.every((seat) => seat.isDone)) {
      const chain = this.chains[prng.below(this.chains.length)]!
      const owner = this.owners[prng.below(this.owners.length)]!
      const roll = prng.below(100)
      if (roll < crashes) {
        if (prng.below(2) === 0) chain.crash()
        else owner.crash()
      } else if (roll < crashes + 20) {
        if (prng.below(2) === 0) chain.save(prng.below(PAGES_A_STEP))
        else owner.save(prng.below(PAGES_A_STEP))
        this.retire()
      } else if (roll < 60) {
        for (let n = prng.below(4); n >= 0 && !chain.isDone; n--) chain.step()
      } else if (roll < 80) chain.commit()
      else owner.poll(prng.below(this.chains.length), 1 + prng.below(5))
    }
    for (const chain of this.chains) chain.commit()
    this.settle()
    return this
  }

  /** Owners take all that is committed. */
  settle(): void {
    for (const owner of this.owners) {
      for (let before = -1; before < owner.merger.position; ) {
        before = owner.merger.position
        for (let partition = 0; partition < this.chains.length; partition++) owner.poll(partition, Infinity)
      }
      owner.visible.commit()
    }
  }

  /** Deletes what every owner's checkpoint has passed, as the committer does. */
  retire(): void {
    this.chains.forEach(({ partials }, partition) => {
      partials.keptFrom = Math.min(...this.owners.map((owner) => owner.needs(partition)))
    })
  }

  /** Everything that every owner emitted, in order, byte by byte. */
  get entries(): readonly (readonly string[])[] {
    return this.owners.map(({ visible }) => visible.entries.map(entryText))
  }

  get ledger(): Ledger {
    const sum = emptyLedger()
    for (const { ledger } of [
      ...this.chains.map(({ chain }) => chain),
      ...this.owners.map((o) => o.merger),
    ]) {
      for (const fate of Object.keys(sum) as (keyof Ledger)[]) sum[fate] += ledger[fate]
    }
    return sum
  }

  /** In order of window, then of group as it is written. */
  results(): ResultBody[] {
    const rows = this.#decoded(ENTRY_RESULTS) as ResultBody[]
    return rows.sort(
      (a, b) => a.windowEndMs - b.windowEndMs || (JSON.stringify(a.group) < JSON.stringify(b.group) ? -1 : 1),
    )
  }

  alerts(): Alert[] {
    return this.#decoded(ENTRY_ALERT) as Alert[]
  }

  get lateEntries(): number {
    return this.chains.reduce(
      (sum, { visible }) => sum + visible.entries.filter(({ kind }) => kind === ENTRY_LATE).length,
      0,
    )
  }

  #decoded(kind: number): unknown[] {
    return this.owners.flatMap(({ visible }, bucket) =>
      visible.entries
        .filter((entry) => entry.kind === kind)
        .flatMap((entry) => [...this.#decoder.records(ownerStream(this.#options.plan, bucket), entry)])
        .map(({ body }) => body),
    )
  }
}

function entryText({ kind, seq, causeOffset, eventTimeMs, bytes }: Entry): string {
  return `${kind} ${seq} ${causeOffset} ${eventTimeMs} ${Buffer.from(bytes).toString('base64')}`
}
