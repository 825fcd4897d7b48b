/**
 * Turns what ingest threads send into record batches of one log transaction: local series ids become log ids, samples
 * are scattered to their partitions, batches are sealed with offsets, log time and CRC. Used by the log writer thread
 * only; holds no clock of its own beyond the one it is given, does no I/O but through the LogWriter it is given.
 *
 * Guarantees: a request's samples are in one transaction; a series is stored in the transaction that first uses it; an
 * acknowledgement is handed out only after that transaction returned. Samples of a series that the topic's limit
 * refuses are left out and counted in the acknowledgement; nothing else is lost with them. A request that carries a key
 * or a sequence (once-gate.ts) is stored once: what was stored before, or is refused, leaves nothing behind.
 */
import { type BatchHeader, sealBatch } from '../batch/batch-encoder.ts'
import * as layout from '../batch/layout.ts'
import type { FeedbackOutcome, FeedbackRequest, FeedbackRow } from '../contract/feedback.ts'
import type { OnceVerdict, ProducerGrant } from '../contract/idempotency.ts'
import {
  RECORD_END,
  RECORD_FEEDBACK,
  RECORD_RESUMED,
  RECORD_SAMPLES,
  RECORD_TICK,
} from '../contract/samples.ts'
import type { Dedupe } from '../store/dedupe/dedupe.ts'
import type { LogWriter } from '../store/log-contract.ts'
import { assert } from '../util/assert.ts'
import type { Clock } from '../util/clock.ts'
import { killPoint } from '../util/kill-point.ts'
import { FeedbackBook } from './feedback-book.ts'
import { ONCE_SEQUENCE, type OnceFrame, SAMPLES_HEADER_BYTES } from './ingest-frames.ts'
import type { BoardTopic } from './node-board.ts'
import { OnceGate } from './once-gate.ts'
import { LocalIds, NO_PRODUCER, REFUSED, scatter, TopicStage, UNRESOLVED } from './topic-stage.ts'

/** Refused series that one acknowledgement names; the others are named when they are sent again. */
export const REFUSED_IDS_MAX = 1_000
/** Sealed buffers kept for the next transaction; more are left to the garbage collector. */
const BUFFERS_KEPT_MAX = 128

export interface Acknowledgement {
  readonly requestId: number
  readonly samples: number
  readonly refusedSamples: number
  /** Local ids of refused series, so that the decoder refuses their next lines by name. */
  readonly refusedLocalIds: readonly number[]
  /** Of a request that carries a key or a sequence. */
  readonly once: OnceVerdict | null
  /** Answer to who asked to be a producer; null there: the limit of producers is reached. Absent otherwise. */
  readonly grant?: ProducerGrant | null
  /** Answer to who said something of alerts. Absent otherwise. */
  readonly feedback?: FeedbackOutcome
}

/** An acknowledgement while its request is being staged. */
interface OpenRequest {
  readonly requestId: number
  samples: number
  refusedSamples: number
  readonly refusedLocalIds: number[]
  once: OnceVerdict | null
}

/** The key or sequence of the request that is being staged. */
interface OpenOnce {
  readonly topicId: number
  readonly frame: OnceFrame
  /** Not to be stored: its frames are passed over. */
  readonly isPassed: boolean
  /** Of its first stored sample; -1: none yet. */
  partition: number
  offset: number
}

export interface SealedBatch {
  readonly topic: BoardTopic
  readonly partition: number
  readonly bytes: Uint8Array
  readonly length: number
  /** Samples; 0: a control record. */
  readonly count: number
}

interface BatchBuffer {
  readonly bytes: Uint8Array
  readonly view: DataView
  readonly f64: Float64Array
  readonly i32: Int32Array
}

function makeBatchBuffer(): BatchBuffer {
  const memory = new ArrayBuffer(layout.BATCH_BYTES_MAX)
  return {
    bytes: new Uint8Array(memory),
    view: new DataView(memory),
    f64: new Float64Array(memory),
    i32: new Int32Array(memory),
  }
}

export class LogAppender {
  readonly #writer: LogWriter
  readonly #clock: Clock
  readonly #dedupe: Dedupe | null
  readonly #gate: OnceGate | null
  readonly #stages = new Map<number, TopicStage>()
  /** By `source * 65536 + topicId`. */
  readonly #localIds = new Map<number, LocalIds>()
  #free: BatchBuffer[] = []
  #used: BatchBuffer[] = []
  #sealed: SealedBatch[] = []
  #acks: Acknowledgement[] = []
  readonly #feedback: FeedbackBook
  /** Of records that wait for the transaction. */
  #feedbackRows: FeedbackRow[] = []
  #open: OpenRequest | null = null
  #once: OpenOnce | null = null
  /** The open request has been counted by its topic's stage. */
  #isStaged = false
  #nowMs = 0
  /** Samples staged or sealed since the last commit. */
  pendingSamples = 0

  constructor(options: {
    writer: LogWriter
    topics: readonly BoardTopic[]
    seriesLimit: number
    clock: Clock
    /** Without it no request may carry a key or a sequence. */
    dedupe?: Dedupe
  }) {
    this.#writer = options.writer
    this.#clock = options.clock
    this.#dedupe = options.dedupe ?? null
    this.#feedback = new FeedbackBook(options.writer.feedback())
    this.#gate = options.dedupe === undefined ? null : new OnceGate(options.dedupe)
    for (const topic of options.topics) {
      this.#stages.set(topic.topicId, new TopicStage(topic, options.writer, options.seriesLimit))
    }
  }

  /** A request has begun and not ended: no commit may come between its frames. */
  get requestOpen(): boolean {
    return this.#open !== null
  }

  get hasPending(): boolean {
    return this.#acks.length > 0 || this.#sealed.length > 0
  }

  seriesCount(topicId: number): number {
    return this.#stage(topicId).series.size
  }

  define(source: number, topicId: number, localId: number, key: Uint8Array): void {
    this.#localIdsOf(source, topicId).define(localId, key)
  }

  /** Opens a request that carries a key or a sequence. Whether it is new is decided here, before any of it is staged. */
  once(requestId: number, topicId: number, frame: OnceFrame): void {
    assert(this.#gate !== null, 'a log that remembers requests', requestId)
    assert(this.#open === null, 'a request begins when the last one has ended', requestId)
    const ack = this.#ackFor(requestId)
    this.#begin()
    ack.once = this.#gate.decide(topicId, frame, this.#nowMs)
    if (ack.once?.verdict === 'duplicate') this.#stage(topicId).duplicates++
    this.#once = { topicId, frame, isPassed: ack.once !== null, partition: -1, offset: -1 }
  }

  /** Somebody asks to be a producer. */
  grant(requestId: number, name: string | null): void {
    assert(this.#dedupe !== null, 'a log that remembers requests', requestId)
    assert(this.#open === null, 'a request begins when the last one has ended', requestId)
    this.#begin()
    const grant = this.#dedupe.producers.grant(name, this.#nowMs)
    const nothing = { samples: 0, refusedSamples: 0, refusedLocalIds: [], once: null }
    this.#acks.push({ requestId, ...nothing, grant })
  }

  /**
   * Somebody says something of alerts. What is new gets a record in its partition's log, and a row with the offset of it in
   * the same transaction; the factor that comes of it is decided here.
   */
  feedback(requestId: number, request: FeedbackRequest): void {
    assert(this.#open === null, 'a request begins when the last one has ended', requestId)
    this.#begin()
    const nothing = { samples: 0, refusedSamples: 0, refusedLocalIds: [], once: null }
    const decided = this.#feedback.decide(request, this.#nowMs)
    if ('kind' in decided) {
      this.#acks.push({ requestId, ...nothing, feedback: decided })
      return
    }
    const stage = this.#stageNamed(decided.topic)
    const { baseOffset, appendedMs } = this.#control(stage, decided.partition, RECORD_FEEDBACK, decided.id)
    const row = { ...decided, offset: baseOffset, appendedMs }
    this.#feedback.add(row)
    this.#feedbackRows.push(row)
    this.#acks.push({ requestId, ...nothing, feedback: { kind: 'taken', row } })
  }

  /** Newest log time that was given to records or requests. */
  get logMs(): number {
    return this.#nowMs
  }

  /** Stages a SAMPLES frame (broker/ingest-frames.ts) at `position` of the ring's views. */
  samples(source: number, i32: Int32Array, f64: Float64Array, position: number): void {
    const requestId = f64[position >> 3]!
    const topicId = i32[(position + 8) >> 2]!
    const count = i32[(position + 12) >> 2]!
    const last = i32[(position + 16) >> 2] === 1
    const timestampsAt = (position + SAMPLES_HEADER_BYTES) >> 3
    const idsAt = (timestampsAt + 2 * count) * 2
    const ack = this.#ackFor(requestId)
    if (this.#once?.isPassed) {
      if (last) this.#close()
      return
    }
    const stage = this.#stage(topicId)
    const local = this.#localIdsOf(source, topicId)
    const { logIds, count: localCount } = local
    this.#begin()
    this.#count(stage)
    let from = 0
    let refused = 0
    while (from < count) {
      if (this.#once !== null && this.#once.partition < 0) {
        this.#locate(this.#once, stage, local, i32[idsAt + from]!)
      }
      const to = scatter(stage, logIds, localCount, i32, idsAt, f64, timestampsAt, count, from)
      const logId = to < count ? logIds[i32[idsAt + to]!]! : 0
      if (logId === UNRESOLVED) {
        local.resolve(i32[idsAt + to]!, stage)
        from = to
      } else if (logId === REFUSED) {
        refused++
        this.#refuse(ack, i32[idsAt + to]!)
        from = to + 1
      } else {
        // A partition's batch is full: seal it, go on with the same sample.
        if (to < count) this.#seal(stage, stage.partitionOfSeries[logIds[i32[idsAt + to]!]!]!)
        from = to
      }
    }
    ack.samples += count - refused
    ack.refusedSamples += refused
    this.pendingSamples += count
    if (last) this.#close()
  }

  /** A bounded input ended: every partition of the topic gets an END record. */
  end(requestId: number, topicId: number): void {
    this.#ackFor(requestId)
    this.#begin()
    const stage = this.#stage(topicId)
    for (let partition = 0; partition < stage.topic.partitions; partition++) {
      this.#control(stage, partition, RECORD_END, 0)
    }
    this.#close()
  }

  /** `atLeastMs`: log time that the partition reaches by it, where the clock is behind other partitions. */
  tick(topicId: number, partition: number, atLeastMs = 0): void {
    this.#begin()
    const stage = this.#stage(topicId)
    // Samples staged before it keep the clock's time.
    if (stage.filled[partition]! > 0) this.#seal(stage, partition)
    stage.appendedMs[partition] = Math.max(stage.appendedMs[partition]!, atLeastMs)
    this.#control(stage, partition, RECORD_TICK, 0)
  }

  /** Every partition that has records is told that the node was down, so that silence then is no one's fault. */
  resumed(downFromMs: number): void {
    this.#begin()
    for (const stage of this.#stages.values()) {
      for (let partition = 0; partition < stage.topic.partitions; partition++) {
        if (stage.nextOffset[partition]! > 0) this.#control(stage, partition, RECORD_RESUMED, downFromMs)
      }
    }
  }

  /** Requests of the topic that were stored before, since the last call. */
  takeDuplicates(topicId: number): number {
    const stage = this.#stage(topicId)
    const { duplicates } = stage
    stage.duplicates = 0
    return duplicates
  }

  /** Log time of the partition's newest record; -Infinity: none. */
  appendedMs(topicId: number, partition: number): number {
    return this.#stage(topicId).appendedMs[partition]!
  }

  endOffset(topicId: number, partition: number): number {
    return this.#stage(topicId).nextOffset[partition]!
  }

  /**
   * One durable transaction with everything pending. The batches' bytes stay valid until `recycle`, which the caller
   * calls when it has shown them to the shards.
   */
  commit(): { readonly batches: readonly SealedBatch[]; readonly acks: readonly Acknowledgement[] } {
    assert(this.#open === null, 'a request is committed whole', this.#open?.requestId)
    for (const stage of this.#stages.values()) this.#sealAll(stage)
    const batches = this.#sealed
    killPoint('log-staged')
    this.#writer.transaction((txn) => {
      for (const stage of this.#stages.values()) stage.putNewSeries(txn)
      for (const batch of batches) txn.putBatch(batch.bytes.subarray(0, batch.length))
      for (const row of this.#feedbackRows) txn.putFeedback(row)
      this.#dedupe?.flush()
    })
    this.#dedupe?.settle()
    for (const stage of this.#stages.values()) {
      stage.requests = 0
      stage.producer = NO_PRODUCER
    }
    const acks = this.#acks
    this.#sealed = []
    this.#acks = []
    this.#feedbackRows = []
    this.pendingSamples = 0
    return { batches, acks }
  }

  recycle(): void {
    for (const buffer of this.#used) if (this.#free.length < BUFFERS_KEPT_MAX) this.#free.push(buffer)
    this.#used = []
  }

  #begin(): void {
    if (!this.hasPending || this.pendingSamples === 0) this.#nowMs = this.#clock.nowMs()
  }

  #close(): void {
    const open = this.#open
    assert(open !== null, 'a request ends once')
    const once = this.#once
    if (once !== null && !once.isPassed) {
      const { partition, offset, frame, topicId } = once
      const storedAt = partition < 0 ? null : { partition, offset }
      open.once = this.#gate!.remember(topicId, frame, storedAt, open, this.#nowMs)
    }
    this.#acks.push(open)
    this.#open = null
    this.#once = null
    this.#isStaged = false
  }

  /** Where the request's first sample will lie, unless its series is refused. */
  #locate(once: OpenOnce, stage: TopicStage, local: LocalIds, localId: number): void {
    if (local.logIds[localId] === UNRESOLVED) local.resolve(localId, stage)
    const logId = local.logIds[localId]!
    if (logId === REFUSED) return
    const partition = stage.partitionOfSeries[logId]!
    once.partition = partition
    once.offset = stage.nextOffset[partition]! + stage.filled[partition]!
  }

  #count(stage: TopicStage): void {
    if (this.#isStaged) return
    this.#isStaged = true
    stage.requests++
    const frame = this.#once?.frame
    stage.producer =
      frame?.kind === ONCE_SEQUENCE
        ? {
            producerId: frame.producerId,
            producerEpoch: frame.producerEpoch,
            baseSequence: frame.sequence,
          }
        : NO_PRODUCER
  }

  #ackFor(requestId: number): OpenRequest {
    this.#open ??= { requestId, samples: 0, refusedSamples: 0, refusedLocalIds: [], once: null }
    assert(this.#open.requestId === requestId, 'frames of one request follow each other', requestId)
    return this.#open
  }

  #refuse(ack: OpenRequest, localId: number): void {
    if (!ack.refusedLocalIds.includes(localId) && ack.refusedLocalIds.length < REFUSED_IDS_MAX) {
      ack.refusedLocalIds.push(localId)
    }
  }

  #stage(topicId: number): TopicStage {
    const stage = this.#stages.get(topicId)
    assert(stage !== undefined, 'a frame names a topic of this node', topicId)
    return stage
  }

  #stageNamed(name: string): TopicStage {
    for (const stage of this.#stages.values()) if (stage.topic.name === name) return stage
    return assert(false, 'what is said is of a topic of this node', name) as never
  }

  #localIdsOf(source: number, topicId: number): LocalIds {
    const key = source * 65536 + topicId
    let ids = this.#localIds.get(key)
    if (ids === undefined) {
      ids = new LocalIds()
      this.#localIds.set(key, ids)
    }
    return ids
  }

  #sealAll(stage: TopicStage): void {
    for (let partition = 0; partition < stage.topic.partitions; partition++) {
      if (stage.filled[partition]! > 0) this.#seal(stage, partition)
    }
  }

  #seal(stage: TopicStage, partition: number): void {
    const count = stage.filled[partition]!
    const start = partition * layout.BATCH_SAMPLES_MAX
    const timestampsMs = stage.timestampsMs.subarray(start, start + count)
    const buffer = this.#takeBuffer()
    buffer.f64.set(timestampsMs, layout.timestampsAt() >> 3)
    buffer.f64.set(stage.values.subarray(start, start + count), layout.valuesAt(count) >> 3)
    buffer.i32.set(stage.seriesIds.subarray(start, start + count), layout.seriesIdsAt(count) >> 2)
    stage.filled[partition] = 0
    const { minMs, maxMs } = extent(timestampsMs)
    this.#push(stage, partition, buffer, RECORD_SAMPLES, count, minMs, maxMs)
  }

  /** `says`: what stands in its `minTimestampMs` (batch/layout.ts). */
  #control(stage: TopicStage, partition: number, kind: number, says: number): BatchHeader {
    // Samples staged before it come before it.
    if (stage.filled[partition]! > 0) this.#seal(stage, partition)
    return this.#push(stage, partition, this.#takeBuffer(), kind, 0, says, 0)
  }

  #push(
    stage: TopicStage,
    partition: number,
    buffer: BatchBuffer,
    kind: number,
    count: number,
    minTimestampMs: number,
    maxTimestampMs: number,
  ): BatchHeader {
    const appendedMs = Math.max(this.#nowMs, stage.appendedMs[partition]!)
    // Requests share batches; a header names a producer only where the batch can hold nobody else's samples.
    const { producerId, producerEpoch, baseSequence } =
      stage.requests === 1 && kind === RECORD_SAMPLES ? stage.producer : NO_PRODUCER
    const header: BatchHeader = {
      kind,
      topicId: stage.topic.topicId,
      partition,
      baseOffset: stage.nextOffset[partition]!,
      count,
      minTimestampMs,
      maxTimestampMs,
      appendedMs,
      producerId,
      producerEpoch,
      baseSequence,
    }
    const length = sealBatch(buffer.bytes, buffer.view, header)
    stage.nextOffset[partition] = header.baseOffset + layout.offsetsOf(count)
    stage.appendedMs[partition] = appendedMs
    this.#sealed.push({ topic: stage.topic, partition, bytes: buffer.bytes, length, count })
    return header
  }

  #takeBuffer(): BatchBuffer {
    const buffer = this.#free.pop() ?? makeBatchBuffer()
    this.#used.push(buffer)
    return buffer
  }
}

/**
 * hot: least and greatest of a non-empty column; NaN where one of its values is, since chains take a batch whose extent
 * lies in one slice without a look at each time.
 */
function extent(column: Float64Array): { minMs: number; maxMs: number } {
  let minMs = column[0]!
  let maxMs = minMs
  for (let i = 1; i < column.length; i++) {
    const value = column[i]!
    if (value < minMs) minMs = value
    else if (value > maxMs) maxMs = value
    else if (Number.isNaN(value)) return { minMs: value, maxMs: value }
  }
  return { minMs, maxMs }
}
