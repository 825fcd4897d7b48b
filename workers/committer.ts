/**
 * The committer thread: the only writer of the state environment. Short epochs: everything the shards have finished goes
 * into one durable transaction every `commitMs`; it asks the shards for a checkpoint every `checkpointMs` and keeps the
 * sinks' cursors. It waits for nobody but its bell, so shards that wait for room in its rings always get it.
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { CommitCollector, type Committed } from '../engine/broker/commit-collector.ts'
import { Board, PHASE_COMMITTER_ENDS, PHASE_RUNNING } from '../engine/broker/node-board.ts'
import { PartialRetention } from '../engine/broker/partial-retention.ts'
import * as catalog from '../engine/metrics/catalog.ts'
import { ThreadMetrics } from '../engine/metrics/thread-metrics.ts'
import { Doorbell } from '../engine/ring/doorbell.ts'
import { RingConsumer } from '../engine/ring/spsc-ring.ts'
import type { StateWriter } from '../engine/store/state-contract.ts'
import { openStateWriter } from '../engine/store/state-store.ts'
import { systemClock } from '../engine/util/clock.ts'
import type { CommittedMessage, CommitterWiring, RememberMessage } from './wiring.ts'

/** Bytes collected that are committed without waiting for the interval. */
const PENDING_BYTES_MAX = 8 << 20
const RETENTION_EVERY_MS = 60_000

export async function runCommitter(wiring: CommitterWiring): Promise<void> {
  const writer = openStateWriter({ dir: wiring.dir, fence: wiring.fence })
  new CommitterThread(wiring, writer).run()
  await writer.close()
  wiring.port.close()
}

class CommitterThread {
  readonly #wiring: CommitterWiring
  readonly #writer: StateWriter
  readonly #board: Board
  readonly #bell: Doorbell
  readonly #rings: readonly RingConsumer[]
  readonly #shardBells: readonly Doorbell[]
  readonly #port: MessagePort
  readonly #collector: CommitCollector
  readonly #partials: PartialRetention
  #partialsDue = false
  readonly #remember: RememberMessage[] = []
  /** Lowest seq some sink still wants: `pipelineId/partition` → sink → seq. */
  readonly #wanted = new Map<string, Map<string, number>>()
  readonly #metrics: ThreadMetrics
  readonly #rowOf: ReadonlyMap<number, number>
  #committedAtMs: number
  #checkpointedAtMs: number
  #retainedAtMs: number

  constructor(wiring: CommitterWiring, writer: StateWriter) {
    this.#wiring = wiring
    this.#writer = writer
    this.#board = new Board(wiring.board)
    this.#bell = new Doorbell(wiring.bell)
    this.#rings = wiring.rings.map((ring, i) => new RingConsumer(ring, new Doorbell(wiring.roomBells[i]!)))
    this.#shardBells = wiring.shardBells.map((bell) => new Doorbell(bell))
    this.#port = wiring.port
    this.#metrics = new ThreadMetrics(wiring.metrics)
    this.#rowOf = new Map(wiring.pipelines.map(({ pipelineId }, row) => [pipelineId, row]))
    this.#collector = new CommitCollector(wiring.rings.length, wiring.pipelines, writer)
    this.#partials = new PartialRetention(wiring.pipelines)
    const nowMs = systemClock.monotonicMs()
    this.#committedAtMs = nowMs
    this.#checkpointedAtMs = nowMs
    this.#retainedAtMs = nowMs
  }

  run(): void {
    this.#publishMarks()
    for (;;) {
      this.#drain()
      this.#receive()
      this.#metrics.set(catalog.THREAD_HEARTBEAT, systemClock.nowMs() / 1_000)
      const ending = this.#board.phase >= PHASE_COMMITTER_ENDS
      const nowMs = systemClock.monotonicMs()
      const hurried = this.#board.phase !== PHASE_RUNNING || this.#collector.pendingBytes >= PENDING_BYTES_MAX
      const due = hurried || nowMs - this.#committedAtMs >= this.#wiring.commitMs
      if (due && this.#hasWork()) this.#commit()
      else if (ending && this.#collector.doneCount === this.#rings.length && !this.#ringsHold()) return
      else this.#sleep(nowMs)
      this.#askCheckpoint()
      this.#retain()
    }
  }

  #hasWork(): boolean {
    return this.#collector.hasCommittable || this.#remember.length > 0
  }

  #drain(): void {
    for (let source = 0; source < this.#rings.length; source++) {
      const ring = this.#rings[source]!
      while (this.#collector.pendingBytes < PENDING_BYTES_MAX || !this.#collector.hasCommittable) {
        const kind = ring.peek()
        if (kind < 0) break
        this.#collector.take(source, kind, ring.i32, ring.f64, ring.u8, ring.position)
        ring.release()
      }
    }
  }

  #receive(): void {
    for (;;) {
      const received = receiveMessageOnPort(this.#port)
      if (received === undefined) return
      this.#remember.push(received.message as RememberMessage)
    }
  }

  #commit(): void {
    const startedMs = systemClock.monotonicMs()
    const remembered = this.#remember.splice(0)
    const committed = this.#writer.transaction((txn) => {
      const result = this.#collector.apply(txn)
      for (const { pipelineId, sink, json } of remembered) txn.putSink(pipelineId, sink, json)
      return result
    })
    this.#collector.settle((stream) => {
      this.#board.committed[stream.slot] = stream.position
    })
    for (const message of remembered) this.#noteWanted(message)
    if (committed.checkpoints > 0) {
      this.#publishMarks()
      this.#partialsDue = this.#partials.isNeeded
    }
    this.#board.publish()
    // Owners of groups read what was committed.
    if (this.#partials.isNeeded) for (const bell of this.#shardBells) bell.ring()
    this.#committedAtMs = systemClock.monotonicMs()
    this.#measure(committed, (this.#committedAtMs - startedMs) / 1_000)
    if (committed.entries > 0 || remembered.length > 0) {
      const message: CommittedMessage = {
        committed: true,
        remembered: remembered.map(({ request }) => request),
      }
      this.#port.postMessage(message)
    }
  }

  #measure(committed: Committed, seconds: number): void {
    const metrics = this.#metrics
    metrics.observe(catalog.COMMIT_DURATION, seconds)
    for (const [pipelineId, rows] of committed.resultRows) {
      metrics.add(catalog.PIPELINE_RESULTS, rows, this.#rowOf.get(pipelineId)!)
    }
    for (const { pipelineId, state } of committed.alerts) {
      metrics.add(catalog.PIPELINE_ALERTS, 1, this.#rowOf.get(pipelineId)!, state)
    }
    for (const { pipelineId } of this.#wiring.pipelines) {
      metrics.set(
        catalog.PIPELINE_ALERTS_FIRING,
        this.#collector.firing(pipelineId),
        this.#rowOf.get(pipelineId)!,
      )
    }
    if (committed.checkpoints === 0) return
    metrics.observe(catalog.CHECKPOINT_DURATION, seconds)
    metrics.add(catalog.CHECKPOINT_BYTES, committed.checkpointBytes)
    for (const row of this.#rowOf.values())
      metrics.set(catalog.CHECKPOINT_TIME, systemClock.nowMs() / 1_000, row)
  }

  #noteWanted({ pipelineId, sink, wanted }: RememberMessage): void {
    for (const [partition, seq] of Object.entries(wanted)) {
      const key = `${pipelineId}/${partition}`
      const bySink = this.#wanted.get(key) ?? new Map<string, number>()
      bySink.set(sink, seq)
      this.#wanted.set(key, bySink)
    }
  }

  /** Committed positions, and what retention of the log must leave: the oldest checkpoint of each topic partition. */
  #publishMarks(): void {
    const { lowWater, committed } = this.#board
    lowWater.fill(Infinity)
    for (const stream of this.#collector.streams()) {
      committed[stream.slot] = stream.position
      if (stream.topicSlot < 0) continue
      lowWater[stream.topicSlot] = Math.min(lowWater[stream.topicSlot]!, stream.checkpointPosition)
    }
    this.#board.publish()
  }

  #askCheckpoint(): void {
    const nowMs = systemClock.monotonicMs()
    if (nowMs - this.#checkpointedAtMs < this.#wiring.checkpointMs) return
    this.#checkpointedAtMs = nowMs
    this.#board.askCheckpoint()
    for (const bell of this.#shardBells) bell.ring()
  }

  #retain(): void {
    if (this.#partialsDue) this.#partialsDue = this.#partials.retire(this.#writer)
    const nowMs = systemClock.monotonicMs()
    if (nowMs - this.#retainedAtMs < RETENTION_EVERY_MS) return
    let more = this.#writer.collect()
    const beforeMs = systemClock.nowMs() - this.#wiring.retentionAgeMs
    const sinksOf = new Map(
      this.#wiring.pipelines.map(({ pipelineId, plan }) => [pipelineId, plan.sinks.length]),
    )
    for (const { pipelineId, partition, isInternal } of this.#collector.streams()) {
      if (isInternal) continue
      const wanted = [...(this.#wanted.get(`${pipelineId}/${partition}`)?.values() ?? [])]
      // A sink that has not spoken since the start may want anything.
      const lowWaterSeq = wanted.length < sinksOf.get(pipelineId)! ? 0 : Math.min(Infinity, ...wanted)
      more =
        this.#writer.retainEntries({ pipelineId, partition, beforeMs, countMax: Infinity, lowWaterSeq })
          .more || more
    }
    this.#retainedAtMs = more ? 0 : nowMs
  }

  #ringsHold(): boolean {
    return this.#rings.some((ring) => ring.peek() >= 0)
  }

  #sleep(nowMs: number): void {
    const ticket = this.#bell.prepare()
    if (this.#ringsHold() && this.#collector.pendingBytes < PENDING_BYTES_MAX) {
      this.#bell.cancel()
      return
    }
    const dueMs = Math.min(
      this.#hasWork() ? this.#committedAtMs + this.#wiring.commitMs : Infinity,
      this.#checkpointedAtMs + this.#wiring.checkpointMs,
    )
    // Sinks ring after they post; phases are entered with a ring.
    this.#bell.wait(ticket, Math.max(1, Math.min(1_000, dueMs - nowMs)))
  }
}
