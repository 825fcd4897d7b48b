/**
 * A user's pipeline without threads, store or clock: the Chains and Mergers that a node runs, fed by hand and at once. The
 * caller moves two clocks: the wall clock, which stamps records as the log writer does, and the event clock, which is the
 * time of samples that name none. Guarantee: the same calls give the same results, alerts and late samples, and they are
 * those that a node commits for the same samples at the same times. Sinks are never opened; what they would get is read.
 */
import { sealBatch } from '../engine/batch/batch-encoder.ts'
import { BatchView } from '../engine/batch/batch-view.ts'
import * as layout from '../engine/batch/layout.ts'
import { readTimeMs, TIME_ALLOWED } from '../engine/config/times.ts'
import { durationMs } from '../engine/config/units.ts'
import type { Alert } from '../engine/contract/alert.ts'
import type { Branded, PipelineDefinition } from '../engine/contract/definition.ts'
import { emptyLedger, type Ledger } from '../engine/contract/entries.ts'
import { describeValue, MillraceError } from '../engine/contract/errors.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import type { LateBody, ResultBody, SinkFeed } from '../engine/contract/plugins.ts'
import {
  type Labels,
  NAME_LABEL,
  RECORD_END,
  RECORD_RESUMED,
  RECORD_SAMPLES,
  RECORD_TICK,
} from '../engine/contract/samples.ts'
import { ownerStream } from '../engine/contract/streams.ts'
import { EntryDecoder, feedOf } from '../engine/pipeline/entry-decoder.ts'
import { compilePlan, PARTITIONS_DEFAULT } from '../engine/pipeline/plan.ts'
import {
  decodeSeriesKey,
  encodeSeriesKey,
  partitionOf,
  SERIES_KEY_BYTES_MAX,
} from '../engine/series/series-key.ts'
import { assert } from '../engine/util/assert.ts'
import { registry } from '../operators/registry.ts'
import { ChainSeat, OwnerSeat, type Seat } from './seats.ts'

/** Epoch milliseconds, a Date, or text: `2026-01-31T12:00:00Z`, and `-15m` before the wall clock. */
export type TimeInput = number | string | Date

/** Milliseconds, or text such as `500ms`, `5s`, `1h30m`. */
export type DurationInput = number | string

export interface TestSample {
  /** The metric's name. */
  readonly name: string
  readonly labels?: Labels
  readonly value: number
  /** Event time; by default what the event clock shows. */
  readonly at?: TimeInput
}

export interface DriverOptions {
  /** Where both clocks begin; by default 2026-01-01T00:00:00Z. */
  readonly start?: TimeInput
  /** Of a topic that names no number itself; by default 16, as in a node. */
  readonly partitions?: number
}

export interface DriverState {
  readonly nowMs: number
  readonly eventTimeMs: number
  /** Up to here event time is complete; null: no sample so far. Where partitions differ, the lowest. */
  readonly watermarkMs: number | null
  /** Groups that hold state. */
  readonly groups: number
  /** Where every sample went: in = windowed + filtered + late + nonFinite + dead. */
  readonly ledger: Ledger
  /** Alerts as they stand: pending or firing. */
  readonly alerts: readonly Alert[]
}

const START_MS = Date.UTC(2026, 0, 1)
const TOPIC_ID = 0
/** A tick may make another one due. Far more than any plan needs; a loop that does not end is a fault of the engine. */
const TICK_ROUNDS_MAX = 100_000

/** Takes one pipeline, as a module exports it. Throws PIPELINE_INVALID with every fault. */
export function drive(pipeline: Branded<PipelineDefinition>, options: DriverOptions = {}): PipelineDriver {
  const { partitions = PARTITIONS_DEFAULT } = options
  const { plan, faults } = compilePlan(pipeline, registry, '', { partitions })
  if (plan === null) throw MillraceError.ofFaults('PIPELINE_INVALID', 'the pipeline cannot be driven', faults)
  return new PipelineDriver(plan, options.start === undefined ? START_MS : timeMs(options.start, START_MS))
}

export class PipelineDriver {
  /** What the pipeline was compiled to: plain data. */
  readonly plan: PipelinePlan
  readonly #labels: Labels[] = []
  readonly #seriesIds = new Map<string, number>()
  readonly #chains: readonly ChainSeat[]
  readonly #owners: readonly OwnerSeat[]
  readonly #decoder: EntryDecoder
  #nowMs: number
  #eventTimeMs: number

  constructor(plan: PipelinePlan, startMs: number) {
    this.plan = plan
    this.#nowMs = startMs
    this.#eventTimeMs = startMs
    const keyOf = (seriesId: number): Uint8Array => encodeSeriesKey(this.#labels[seriesId]!)
    this.#chains = Array.from(
      { length: plan.topic.partitions },
      (_, partition) => new ChainSeat({ plan, registry, partition, keyOf }),
    )
    this.#owners = Array.from(
      { length: plan.exchange?.buckets ?? 0 },
      (_, bucket) => new OwnerSeat({ plan, registry, bucket, chains: this.#chains }),
    )
    this.#decoder = new EntryDecoder(plan, {
      group: (stream, groupId) => decodeSeriesKey(this.#seat(stream).groups[groupId]!),
      series: (seriesId) => this.#labels[seriesId]!,
    })
  }

  /** The wall clock, epoch ms: when samples arrive, and what silence and idleness are judged by. */
  get nowMs(): number {
    return this.#nowMs
  }

  /** The event clock, epoch ms: the time of samples that name none. */
  get eventTimeMs(): number {
    return this.#eventTimeMs
  }

  /** Samples arrive now, in this order. They move the watermark by their own times. */
  send(samples: TestSample | Iterable<TestSample>): this {
    const list = isIterable(samples) ? [...samples] : [samples]
    const rows = list.map((sample, i) => this.#row(sample, i))
    const byPartition = new Map<number, Row[]>()
    const { partitionBy } = this.plan.topic
    for (const row of rows) {
      const partition = partitionOf(row.labels, partitionBy, this.#chains.length)
      const there = byPartition.get(partition)
      if (there === undefined) byPartition.set(partition, [row])
      else there.push(row)
    }
    for (const [partition, there] of [...byPartition].sort(([a], [b]) => a - b)) {
      for (let from = 0; from < there.length; from += layout.BATCH_SAMPLES_MAX) {
        this.#append(partition, RECORD_SAMPLES, there.slice(from, from + layout.BATCH_SAMPLES_MAX))
      }
    }
    return this.#settle()
  }

  /** Both clocks move on. What is due on the way happens when it is due: windows of idle series close, silence is told. */
  advance(duration: DurationInput): this {
    const ms = durationMs(duration)
    this.#eventTimeMs += ms
    return this.#advanceClockTo(this.#nowMs + ms)
  }

  /** Only the wall clock moves: samples are then late to arrive. */
  advanceClock(duration: DurationInput): this {
    return this.#advanceClockTo(this.#nowMs + durationMs(duration))
  }

  /** Only the event clock moves. Nothing happens until a sample says so: a source cannot be seen to be ahead. */
  advanceEventTime(duration: DurationInput): this {
    this.#eventTimeMs += durationMs(duration)
    return this
  }

  /** The input ends, as that of a run over files: all windows close. */
  end(): this {
    for (let partition = 0; partition < this.#chains.length; partition++) {
      this.#append(partition, RECORD_END, [])
    }
    return this.#settle()
  }

  /**
   * The node dies and starts again after `down`, from a checkpoint. Nothing that was sent is lost, no result comes twice. When
   * quiet partitions are told the time may change by a moment, as in a node.
   */
  restart(down: DurationInput = 0): this {
    const downFromMs = this.#nowMs
    const ms = durationMs(down)
    for (const seat of [...this.#chains, ...this.#owners]) seat.restart()
    this.#nowMs += ms
    this.#eventTimeMs += ms
    // No time passed: there is nothing that the log would have to say.
    if (ms === 0) return this
    this.#chains.forEach(({ chain }, partition) => {
      if (chain.position > 0) this.#append(partition, RECORD_RESUMED, [], downFromMs)
    })
    return this.#settle()
  }

  /** Every result so far, by the end of its window and then by group. */
  results(): ResultBody[] {
    const found = this.#decoded('results') as ResultBody[]
    const keyed = found.map((body) => ({ body, key: JSON.stringify(body.group) }))
    keyed.sort(
      (a, b) => a.body.windowEndMs - b.body.windowEndMs || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0),
    )
    return keyed.map(({ body }) => body)
  }

  /** Every transition so far, by time: pending, firing, resolved. */
  alerts(): Alert[] {
    return (this.#decoded('alerts') as Alert[]).sort((a, b) => a.atMs - b.atMs)
  }

  /** Alerts that fire now. */
  firing(): Alert[] {
    return this.#current().filter(({ state }) => state === 'firing')
  }

  /** Samples that came after every window they belong to had closed. */
  late(): LateBody[] {
    return (this.#decoded('late') as LateBody[]).sort((a, b) => a.timestampMs - b.timestampMs)
  }

  /** What the pipeline's sink of that name was to be sent so far. A sink's name is its kind, unless `to` names it. */
  sentTo(sink: string): (ResultBody | Alert | LateBody)[] {
    const found = this.plan.sinks.find(({ name }) => name === sink)
    if (found === undefined) {
      const names = this.plan.sinks.map(({ name }) => name)
      throw new MillraceError(
        'INPUT_INVALID',
        `pipeline ${this.plan.name} has no sink ${describeValue(sink)}. ${names.length === 0 ? 'It has none.' : `Known: ${names.join(', ')}.`}`,
      )
    }
    if (found.feed === 'results') return this.results()
    return found.feed === 'alerts' ? this.alerts() : this.late()
  }

  state(): DriverState {
    const watermarks = this.#chains.map(({ chain }) => chain.watermarkMs).filter((ms) => ms !== -Infinity)
    const seats = this.plan.exchange === undefined ? this.#chains : this.#owners
    return {
      nowMs: this.#nowMs,
      eventTimeMs: this.#eventTimeMs,
      watermarkMs: watermarks.length === 0 ? null : Math.min(...watermarks),
      groups: seats.reduce((sum, { groupCount }) => sum + groupCount, 0),
      ledger: this.#ledger(),
      alerts: this.#current(),
    }
  }

  #ledger(): Ledger {
    const sum = emptyLedger()
    for (const { ledger } of [...this.#chains, ...this.#owners]) {
      for (const fate of Object.keys(sum) as (keyof Ledger)[]) sum[fate] += ledger[fate]
    }
    return sum
  }

  #current(): Alert[] {
    const newest = new Map<string, Alert>()
    for (const alert of this.alerts()) newest.set(alert.id, alert)
    return [...newest.values()].filter(({ state }) => state !== 'resolved')
  }

  #seat(stream: number): Seat {
    const owner = stream - ownerStream(this.plan, 0)
    return owner < 0 ? this.#chains[stream]! : this.#owners[owner]!
  }

  #decoded(feed: SinkFeed): (ResultBody | Alert | LateBody)[] {
    const found: (ResultBody | Alert | LateBody)[] = []
    const streams = this.#chains.length + this.#owners.length
    for (let stream = 0; stream < streams; stream++) {
      for (const entry of this.#seat(stream).entries) {
        if (feedOf(entry) !== feed) continue
        for (const { body } of this.#decoder.records(stream, entry)) found.push(body)
      }
    }
    return found
  }

  #advanceClockTo(toMs: number): this {
    for (let round = 0; ; round++) {
      assert(round < TICK_ROUNDS_MAX, 'ticks bring time on', this.plan.name, this.#nowMs, toMs)
      const dueMs = this.#dueMs()
      if (dueMs > toMs) break
      this.#nowMs = Math.max(this.#nowMs, dueMs)
      this.#tick(dueMs)
      this.#settle()
    }
    this.#nowMs = toMs
    return this
  }

  /** Wall clock at which a quiet partition must be told the time; Infinity: never. */
  #dueMs(): number {
    let dueMs = Infinity
    for (const { chain } of this.#chains) {
      if (chain.logMs < chain.deadlineMs) dueMs = Math.min(dueMs, chain.deadlineMs)
    }
    for (const { merger } of this.#owners) {
      const wantedMs = merger.wantedLogMs
      if (this.#chains.some(({ chain }) => chain.logMs < wantedMs)) dueMs = Math.min(dueMs, wantedMs)
    }
    return dueMs
  }

  #tick(dueMs: number): void {
    this.#chains.forEach(({ chain }, partition) => {
      if (chain.deadlineMs <= dueMs && chain.logMs < chain.deadlineMs)
        this.#append(partition, RECORD_TICK, [])
    })
  }

  /** Owners take what partitions have sent. What they still wait for is the moment after the newest record. */
  #settle(): this {
    for (let round = 0; this.#owners.length > 0; round++) {
      assert(round < TICK_ROUNDS_MAX, 'owners come to rest', this.plan.name, this.#nowMs)
      for (const owner of this.#owners) owner.poll()
      const newestMs = Math.max(this.#nowMs, ...this.#chains.map(({ chain }) => chain.logMs))
      let wantedMs = -Infinity
      for (const { merger } of this.#owners) {
        if (merger.wantedLogMs <= newestMs + 1) wantedMs = Math.max(wantedMs, merger.wantedLogMs)
      }
      const behind = this.#chains.flatMap(({ chain }, partition) =>
        chain.logMs < wantedMs ? [partition] : [],
      )
      if (behind.length === 0) break
      for (const partition of behind) this.#append(partition, RECORD_TICK, [], 0, wantedMs)
    }
    return this
  }

  #row(sample: TestSample, i: number): Row {
    const { name, labels = {}, value, at } = sample
    const fault = (place: string, found: unknown, problem: string, remedy: string): MillraceError =>
      MillraceError.ofFaults('INPUT_INVALID', 'samples cannot be sent', [
        { place: `samples[${i}].${place}`, value: found, problem, remedy },
      ])
    if (typeof name !== 'string' || name === '')
      throw fault('name', name, 'is no metric name', 'Write a text.')
    if (typeof value !== 'number') throw fault('value', value, 'is not a number', 'Write a number.')
    for (const [label, text] of Object.entries(labels)) {
      if (typeof text !== 'string') throw fault(`labels.${label}`, text, 'is not a text', 'Write a text.')
    }
    const whole = { ...labels, [NAME_LABEL]: name }
    const key = encodeSeriesKey(whole)
    if (key.length > SERIES_KEY_BYTES_MAX) {
      const remedy = `Name and labels together have at most ${SERIES_KEY_BYTES_MAX} bytes.`
      throw fault('labels', key.length, 'are too long', remedy)
    }
    const timestampMs = at === undefined ? this.#eventTimeMs : timeMs(at, this.#nowMs)
    const text = Buffer.from(key).toString('latin1')
    let seriesId = this.#seriesIds.get(text)
    if (seriesId === undefined) {
      seriesId = this.#labels.push(decodeSeriesKey(key)) - 1
      this.#seriesIds.set(text, seriesId)
    }
    return { seriesId, labels: this.#labels[seriesId]!, timestampMs, value }
  }

  #append(partition: number, kind: number, rows: readonly Row[], downFromMs = 0, atLeastMs = 0): void {
    const { chain } = this.#chains[partition]!
    const count = rows.length
    const bytes = new Uint8Array(new ArrayBuffer(Math.ceil(layout.batchBytes(count) / 8) * 8))
    const timestampsMs = new Float64Array(bytes.buffer, layout.timestampsAt(), count)
    const values = new Float64Array(bytes.buffer, layout.valuesAt(count), count)
    const seriesIds = new Int32Array(bytes.buffer, layout.seriesIdsAt(count), count)
    let minTimestampMs = count === 0 ? downFromMs : Infinity
    let maxTimestampMs = count === 0 ? 0 : -Infinity
    rows.forEach(({ seriesId, timestampMs, value }, i) => {
      timestampsMs[i] = timestampMs
      values[i] = value
      seriesIds[i] = seriesId
      minTimestampMs = Math.min(minTimestampMs, timestampMs)
      maxTimestampMs = Math.max(maxTimestampMs, timestampMs)
    })
    sealBatch(bytes, new DataView(bytes.buffer), {
      kind,
      topicId: TOPIC_ID,
      partition,
      baseOffset: chain.position,
      count,
      minTimestampMs,
      maxTimestampMs,
      // Monotone in each partition, as the log writer clamps it.
      appendedMs: Math.max(this.#nowMs, atLeastMs, chain.logMs),
      producerId: 0,
      producerEpoch: 0,
      baseSequence: -1,
    })
    chain.process(new BatchView(bytes.buffer).point(0))
  }
}

interface Row {
  readonly seriesId: number
  readonly labels: Labels
  readonly timestampMs: number
  readonly value: number
}

function isIterable(value: TestSample | Iterable<TestSample>): value is Iterable<TestSample> {
  return Symbol.iterator in value
}

function timeMs(written: TimeInput, nowMs: number): number {
  const ms =
    typeof written === 'number'
      ? written
      : written instanceof Date
        ? written.getTime()
        : readTimeMs(written, nowMs)
  if (ms !== null && Number.isFinite(ms)) return ms
  throw new MillraceError(
    'INPUT_INVALID',
    `${describeValue(written)} is not a time. Write ${TIME_ALLOWED}, or a Date.`,
  )
}
