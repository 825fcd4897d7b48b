/**
 * The log writer thread: the only writer of the log environment. It drains the ingest rings, commits many requests in
 * one durable transaction, shows the batches to the shards, and acknowledges. It never waits for a shard: where a
 * shard's ring has no room the batch is skipped, and the shard reads it from the log. It blocks in its bell only, for a
 * bounded time, since ticks and retention go by the clock.
 */
import { receiveMessageOnPort } from 'node:worker_threads'
import {
  FRAME_DEFINE,
  FRAME_END,
  FRAME_FEEDBACK,
  FRAME_ONCE,
  FRAME_PRODUCER,
  FRAME_SAMPLES,
  readDefinitions,
  readFeedback,
  readOnce,
  readProducer,
} from '../engine/broker/ingest-frames.ts'
import { LogAppender, type SealedBatch } from '../engine/broker/log-appender.ts'
import {
  Board,
  type BoardTopic,
  GAUGE_LOG_BYTES,
  GAUGE_LOG_HELD_BACK,
  PHASE_ABANDONED,
  PHASE_RUNNING,
} from '../engine/broker/node-board.ts'
import { ownerStream } from '../engine/contract/streams.ts'
import * as catalog from '../engine/metrics/catalog.ts'
import { ThreadMetrics } from '../engine/metrics/thread-metrics.ts'
import type { Doorbell } from '../engine/ring/doorbell.ts'
import { RingConsumer, RingProducer } from '../engine/ring/spsc-ring.ts'
import type { Dedupe } from '../engine/store/dedupe/dedupe.ts'
import type { LogWriter } from '../engine/store/log-contract.ts'
import { openLogWriter } from '../engine/store/log-store.ts'
import { bytesToKeep } from '../engine/store/retention.ts'
import { assert } from '../engine/util/assert.ts'
import type { Clock } from '../engine/util/clock.ts'
import { killPoint } from '../engine/util/kill-point.ts'
import { RetentionTurns } from './retention-turns.ts'
import { REAL_SURROUNDINGS, type Surroundings } from './surroundings.ts'
import type { AckMessage, ControlAnswer, LogWriterControl, LogWriterWiring } from './wiring.ts'

/** Samples after which a transaction is closed though more are waiting: about 5 MB. */
const TRANSACTION_SAMPLES_MAX = 262_144
/** Ticks are late by at most this; an idle writer wakes this often and does nothing. */
const SLEEP_MS_MAX = 25
/** A partition gets no more ticks for owners of groups than one in so long. */
const OWNER_TICK_MS = 50

export async function runLogWriter(wiring: LogWriterWiring): Promise<void> {
  const writer = openLogWriter({ dir: wiring.dir, fence: wiring.fence })
  const thread = new LogWriterThread(wiring, writer)
  thread.run()
  killPoint('writer-ends')
  await writer.close()
  wiring.port.close()
  wiring.control.close()
}

export class LogWriterThread {
  readonly #wiring: LogWriterWiring
  readonly #writer: LogWriter
  readonly #appender: LogAppender
  readonly #dedupe: Dedupe
  readonly #board: Board
  readonly #bell: Doorbell
  readonly #rings: readonly RingConsumer[]
  readonly #shards: RingProducer[]
  readonly #shardBells: readonly Doorbell[]
  readonly #metrics: ThreadMetrics
  /** Shards whose ring was full when last tried. */
  readonly #skipping: boolean[]
  readonly #clock: Clock
  readonly #transactionSamplesMax: number
  readonly #retention = new RetentionTurns()
  /** By topic slot: when it last got a tick for an owner of groups. */
  readonly #ownerTickAtMs: Float64Array

  constructor(wiring: LogWriterWiring, writer: LogWriter, surroundings: Surroundings = REAL_SURROUNDINGS) {
    const { bell, clock, limit } = surroundings
    this.#clock = clock
    this.#transactionSamplesMax = limit(TRANSACTION_SAMPLES_MAX)
    this.#wiring = wiring
    this.#writer = writer
    this.#board = new Board(wiring.board)
    this.#dedupe = writer.openDedupe(wiring.dedupe)
    this.#appender = new LogAppender({
      writer,
      topics: wiring.topics,
      seriesLimit: wiring.seriesLimit,
      clock,
      dedupe: this.#dedupe,
    })
    this.#metrics = new ThreadMetrics(wiring.metrics)
    this.#bell = bell(wiring.bell)
    this.#rings = wiring.ingestRings.map(
      (ring, i) => new RingConsumer(ring, bell(wiring.ingestRoomBells[i]!)),
    )
    this.#shardBells = wiring.shardBells.map((sab) => bell(sab))
    this.#shards = wiring.shardRings.map((ring, i) => new RingProducer(ring, this.#shardBells[i]!))
    this.#skipping = this.#shards.map(() => false)
    this.#ownerTickAtMs = new Float64Array(this.#board.logEnd.length).fill(Number.NEGATIVE_INFINITY)
  }

  run(): void {
    this.start()
    while (this.turn()) {}
  }

  start(): void {
    if (this.#wiring.downFromMs !== null) this.#appender.resumed(this.#wiring.downFromMs)
    this.#commit()
  }

  /** Once round the loop; false: it was the last time. Waits in its bell only. */
  turn(): boolean {
    if (this.#board.phase === PHASE_ABANDONED) return false
    const ending = this.#board.phase !== PHASE_RUNNING
    this.#metrics.set(catalog.THREAD_HEARTBEAT, this.#clock.nowMs() / 1_000)
    this.#obey()
    this.#drain()
    this.#tick()
    this.#tickForOwners()
    if (this.#appender.hasPending || this.#appender.pendingSamples > 0) this.#commit()
    else if (ending) return false
    else this.#sleep()
    this.#retain()
    return true
  }

  /** A shard that was replaced has a new ring; what the old one held, the successor reads from the log. */
  #obey(): void {
    for (;;) {
      const received = receiveMessageOnPort(this.#wiring.control)
      if (received === undefined) return
      const { request, shard, ring } = received.message as LogWriterControl
      this.#shards[shard] = new RingProducer(ring, this.#shardBells[shard]!)
      this.#skipping[shard] = false
      const answer: ControlAnswer = { request, refusal: null }
      this.#wiring.control.postMessage(answer)
    }
  }

  /** Stages what is in the rings, ring by ring, whole requests only. */
  #drain(): void {
    for (let source = 0; source < this.#rings.length; source++) {
      const ring = this.#rings[source]!
      while (this.#appender.pendingSamples < this.#transactionSamplesMax || this.#appender.requestOpen) {
        const kind = ring.peek()
        if (kind < 0) {
          if (!this.#appender.requestOpen || this.#board.phase === PHASE_ABANDONED) break
          this.#awaitFrame(ring)
          continue
        }
        this.#take(source, ring, kind)
        ring.release()
      }
    }
  }

  #take(source: number, ring: RingConsumer, kind: number): void {
    const appender = this.#appender
    if (kind === FRAME_SAMPLES) appender.samples(source, ring.i32, ring.f64, ring.position)
    else if (kind === FRAME_DEFINE) {
      readDefinitions(ring.i32, ring.u8, ring.position, (topicId, localId, key) => {
        appender.define(source, topicId, localId, key)
      })
    } else if (kind === FRAME_ONCE) {
      const { requestId, topicId, once } = readOnce(ring.i32, ring.f64, ring.position)
      appender.once(requestId, topicId, once)
    } else if (kind === FRAME_PRODUCER) {
      const { requestId, name } = readProducer(ring.i32, ring.f64, ring.u8, ring.position)
      appender.grant(requestId, name)
    } else if (kind === FRAME_FEEDBACK) {
      const { requestId, request } = readFeedback(ring.i32, ring.f64, ring.u8, ring.position)
      appender.feedback(requestId, request)
    } else {
      assert(kind === FRAME_END, 'an ingest frame has a known kind', kind)
      appender.end(ring.f64[ring.position >> 3]!, ring.i32[(ring.position + 8) >> 2]!)
    }
  }

  /** The rest of an open request is on its way: its sender pushes it without waiting for anything but room. */
  #awaitFrame(ring: RingConsumer): void {
    const ticket = this.#bell.prepare()
    if (ring.peek() >= 0) this.#bell.cancel()
    else this.#bell.wait(ticket, SLEEP_MS_MAX)
  }

  /** Quiet partitions whose shard waits for log time get a tick. */
  #tick(): void {
    const nowMs = this.#clock.nowMs()
    const { deadlineMs } = this.#board
    for (const topic of this.#wiring.topics) {
      for (let partition = 0; partition < topic.partitions; partition++) {
        const dueMs = deadlineMs[topic.slot + partition]!
        if (dueMs <= nowMs && this.#appender.appendedMs(topic.topicId, partition) < dueMs) {
          this.#appender.tick(topic.topicId, partition)
        }
      }
    }
  }

  /** Partitions that lie behind the log time that an owner of groups waits for get a tick. */
  #tickForOwners(): void {
    for (const { plan, topic, slot } of this.#wiring.pipelines) {
      const buckets = plan.exchange?.buckets ?? 0
      for (let bucket = 0; bucket < buckets; bucket++) {
        const wantedMs = this.#board.wantedLogMs[slot + ownerStream(plan, bucket)]!
        if (wantedMs !== Infinity) this.#bringTo(topic, wantedMs)
      }
    }
  }

  #bringTo(topic: BoardTopic, wantedMs: number): void {
    const appender = this.#appender
    let topicMs = this.#clock.nowMs()
    for (let partition = 0; partition < topic.partitions; partition++) {
      topicMs = Math.max(topicMs, appender.appendedMs(topic.topicId, partition))
    }
    // What one partition has seen is past for all: a clock that was set back does not hold owners up.
    if (wantedMs > topicMs + 1) return
    const nowMs = this.#clock.monotonicMs()
    for (let partition = 0; partition < topic.partitions; partition++) {
      const at = topic.slot + partition
      if (appender.appendedMs(topic.topicId, partition) >= wantedMs) continue
      if (nowMs - this.#ownerTickAtMs[at]! < OWNER_TICK_MS) continue
      this.#ownerTickAtMs[at] = nowMs
      appender.tick(topic.topicId, partition, wantedMs)
    }
  }

  #commit(): void {
    const startedMs = this.#clock.monotonicMs()
    const { batches, acks } = this.#appender.commit()
    const metrics = this.#metrics
    metrics.observe(catalog.LOG_COMMIT_DURATION, (this.#clock.monotonicMs() - startedMs) / 1_000)
    metrics.add(catalog.LOG_TRANSACTION_REQUESTS, acks.length)
    for (const batch of batches) {
      const row = this.#topicRow(batch)
      metrics.add(catalog.LOG_SAMPLES, batch.count, row)
      metrics.add(catalog.LOG_BATCHES, 1, row)
      metrics.add(catalog.LOG_BYTES, batch.length)
      this.#show(batch)
    }
    killPoint('log-shown')
    this.#publishEnds()
    killPoint('log-ends-published')
    this.#appender.recycle()
    metrics.set(catalog.IDEMPOTENCY_KEYS, this.#dedupe.keys.count)
    metrics.set(catalog.PRODUCERS, this.#dedupe.producers.count)
    if (acks.length > 0) {
      const message: AckMessage = { acks }
      this.#wiring.port.postMessage(message)
      killPoint('log-acknowledged')
    }
  }

  #topicRow({ topic }: SealedBatch): number {
    return this.#wiring.topics.indexOf(topic)
  }

  #show({ topic, partition, bytes, length }: SealedBatch): void {
    const shard = (topic.slot + partition) % this.#shards.length
    const ring = this.#shards[shard]!
    const at = ring.claim(length)
    // No room: the shard sees the gap in offsets and reads the log.
    if (at < 0) {
      if (!this.#skipping[shard]) this.#metrics.add(catalog.RING_SKIPS, 1)
      this.#skipping[shard] = true
      this.#metrics.add(catalog.RING_SKIPPED_BATCHES, 1)
      return
    }
    this.#skipping[shard] = false
    ring.u8.set(bytes.subarray(0, length), at)
    ring.commit(0)
  }

  /** After the batches were shown: a shard that sees the end and not the batch knows that it was skipped. */
  #publishEnds(): void {
    const { logEnd, gauges } = this.#board
    for (const [row, topic] of this.#wiring.topics.entries()) {
      this.#metrics.set(catalog.LOG_SERIES, this.#appender.seriesCount(topic.topicId), row)
      this.#metrics.add(catalog.LOG_DUPLICATES, this.#appender.takeDuplicates(topic.topicId), row)
      for (let partition = 0; partition < topic.partitions; partition++) {
        logEnd[topic.slot + partition] = this.#appender.endOffset(topic.topicId, partition)
      }
    }
    gauges[GAUGE_LOG_BYTES] = this.#writer.bytes
    this.#metrics.set(catalog.LOG_SIZE, this.#writer.bytes)
    this.#board.publish()
    for (const bell of this.#shardBells) bell.ring()
  }

  #sleep(): void {
    const ticket = this.#bell.prepare()
    if (this.#board.phase !== PHASE_RUNNING || this.#rings.some((ring) => ring.peek() >= 0)) {
      this.#bell.cancel()
      return
    }
    this.#bell.wait(ticket, SLEEP_MS_MAX)
  }

  #retain(): void {
    const nowMs = this.#clock.nowMs()
    const bytesMax = bytesToKeep(this.#writer.bytes, this.#wiring.retentionBytes, () =>
      this.#writer.freeBytes(),
    )
    if (!this.#retention.isDue(nowMs, bytesMax)) return
    const isCollecting = this.#dedupe.collect(this.#appender.logMs)
    const { lowWater, gauges } = this.#board
    const slotOf = new Map(this.#wiring.topics.map((topic) => [topic.topicId, topic.slot]))
    const report = this.#writer.retain({
      nowMs,
      ageMsMax: this.#wiring.retentionAgeMs,
      bytesMax,
      // A topic that no pipeline of this node reads is bound by age and size only.
      lowWater: (topicId, partition) => {
        const slot = slotOf.get(topicId)
        return slot === undefined ? Infinity : lowWater[slot + partition]!
      },
    })
    this.#retention.took(nowMs, bytesMax, report.batches, report.more || isCollecting)
    gauges[GAUGE_LOG_BYTES] = this.#writer.bytes
    gauges[GAUGE_LOG_HELD_BACK] = report.heldBack ? 1 : 0
    for (const { topicId, batches } of report.deleted) {
      const row = this.#wiring.topics.findIndex((topic) => topic.topicId === topicId)
      if (row >= 0) this.#metrics.add(catalog.LOG_RETIRED_BATCHES, batches, row)
    }
  }
}
