/**
 * The committer thread: the only writer of the state environment. Short epochs: what somebody waits for (results, alerts,
 * checkpoints, sinks' cursors) goes into one durable transaction at once, or `commitMs` after the last; that samples were
 * worked through without a result is written along, or by itself every PROGRESS_MS_MIN (docs/decisions/latency.md). It asks the shards for a checkpoint every `checkpointMs` and keeps the
 * sinks' cursors. It waits for nobody but its bell, so shards that wait for room in its rings always get it.
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { CommitCollector, type Committed } from '../engine/broker/commit-collector.ts'
import { DEAD_LETTERS_BYTES_MAX, retainDeadLetters } from '../engine/broker/dead-letter-retention.ts'
import { Board, PHASE_ABANDONED, PHASE_COMMITTER_ENDS, PHASE_RUNNING } from '../engine/broker/node-board.ts'
import { PartialRetention } from '../engine/broker/partial-retention.ts'
import { SilenceKeeper } from '../engine/broker/silence-keeper.ts'
import type { DeadLetter } from '../engine/contract/dead-letter.ts'
import type { Silence, SilenceSpec } from '../engine/contract/silences.ts'
import * as catalog from '../engine/metrics/catalog.ts'
import { ThreadMetrics } from '../engine/metrics/thread-metrics.ts'
import type { Doorbell } from '../engine/ring/doorbell.ts'
import { RingConsumer } from '../engine/ring/spsc-ring.ts'
import type { StateWriter } from '../engine/store/state-contract.ts'
import { openStateWriter } from '../engine/store/state-store.ts'
import type { Clock } from '../engine/util/clock.ts'
import { killPoint } from '../engine/util/kill-point.ts'
import { REAL_SURROUNDINGS, type Surroundings } from './surroundings.ts'
import type {
  CommittedMessage,
  CommitterControl,
  CommitterWiring,
  ControlAnswer,
  RememberMessage,
} from './wiring.ts'

/** Bytes collected that are committed without waiting for the interval. */
const PENDING_BYTES_MAX = 8 << 20
const RETENTION_EVERY_MS = 60_000
/** Progress alone is committed no more often than this, nor than every `commitMs`. */
const PROGRESS_MS_MIN = 100
/** Results of one request come from many partitions, and turns, of shards: so long their commit waits for the last of them. */
const LINGER_MS = 1

export async function runCommitter(wiring: CommitterWiring): Promise<void> {
  const writer = openStateWriter({ dir: wiring.dir, fence: wiring.fence })
  const thread = new CommitterThread(wiring, writer)
  thread.run()
  killPoint('committer-ends')
  await writer.close()
  thread.close()
  wiring.control.close()
}

export class CommitterThread {
  readonly #wiring: CommitterWiring
  readonly #writer: StateWriter
  readonly #board: Board
  readonly #bell: Doorbell
  readonly #rings: RingConsumer[]
  readonly #shardBells: readonly Doorbell[]
  #port: MessagePort
  readonly #collector: CommitCollector
  readonly #silences: SilenceKeeper
  readonly #partials: PartialRetention
  #partialsDue = false
  readonly #remember: RememberMessage[] = []
  /** Lowest seq some sink still wants: `pipelineId/partition` → sink → seq. */
  readonly #wanted = new Map<string, Map<string, number>>()
  readonly #metrics: ThreadMetrics
  readonly #rowOf: ReadonlyMap<number, number>
  /** By pipeline row: windowed samples that an owner has found to be late and no counter has given back yet. */
  readonly #windowedDebt: Float64Array
  #committedAtMs: number
  /** When what is waited for now was first seen; Infinity: nothing is. */
  #waitedSinceMs = Infinity
  /** When something that was waited for was committed last. */
  #hurriedAtMs: number
  #checkpointedAtMs: number
  #retainedAtMs: number
  readonly #surroundings: Surroundings
  readonly #clock: Clock
  readonly #pendingBytesMax: number

  constructor(wiring: CommitterWiring, writer: StateWriter, surroundings: Surroundings = REAL_SURROUNDINGS) {
    const { bell, clock, limit } = surroundings
    this.#surroundings = surroundings
    this.#clock = clock
    this.#pendingBytesMax = limit(PENDING_BYTES_MAX)
    this.#wiring = wiring
    this.#writer = writer
    this.#board = new Board(wiring.board)
    this.#bell = bell(wiring.bell)
    this.#rings = wiring.rings.map((ring, i) => new RingConsumer(ring, bell(wiring.roomBells[i]!)))
    this.#shardBells = wiring.shardBells.map((sab) => bell(sab))
    this.#port = wiring.port
    this.#metrics = new ThreadMetrics(wiring.metrics)
    this.#rowOf = new Map(wiring.pipelines.map(({ pipelineId }, row) => [pipelineId, row]))
    this.#windowedDebt = new Float64Array(wiring.pipelines.length)
    this.#collector = new CommitCollector(wiring.rings.length, wiring.pipelines, writer)
    this.#silences = new SilenceKeeper(this.#rowOf.keys(), writer)
    this.#partials = new PartialRetention(wiring.pipelines)
    const nowMs = clock.monotonicMs()
    this.#committedAtMs = nowMs
    this.#hurriedAtMs = nowMs
    this.#checkpointedAtMs = nowMs
    this.#retainedAtMs = nowMs
  }

  run(): void {
    this.start()
    while (this.turn()) {}
  }

  start(): void {
    this.#publishMarks()
  }

  /** After its last turn. */
  close(): void {
    this.#port.close()
  }

  /** Once round the loop; false: it was the last time. Waits in its bell only. */
  turn(): boolean {
    if (this.#board.phase === PHASE_ABANDONED) return false
    this.#drain()
    this.#receive()
    this.#obey()
    this.#metrics.set(catalog.THREAD_HEARTBEAT, this.#clock.nowMs() / 1_000)
    const ending = this.#board.phase >= PHASE_COMMITTER_ENDS
    const nowMs = this.#clock.monotonicMs()
    const hurried =
      this.#board.phase !== PHASE_RUNNING || this.#collector.pendingBytes >= this.#pendingBytesMax
    if (this.#waitedSinceMs === Infinity && this.#isWaitedFor) this.#waitedSinceMs = nowMs
    if (this.#hasWork() && (hurried || nowMs >= this.#commitDueMs())) this.#commit()
    else if (ending && this.#collector.allDone && !this.#ringsHold()) return false
    else this.#sleep(nowMs)
    this.#askCheckpoint()
    this.#retain()
    return true
  }

  /** When what is committable now is to be committed. */
  #commitDueMs(): number {
    const { commitMs } = this.#wiring
    return this.#isWaitedFor
      ? Math.max(this.#hurriedAtMs + commitMs, this.#waitedSinceMs + LINGER_MS)
      : this.#committedAtMs + Math.max(commitMs, PROGRESS_MS_MIN)
  }

  get #isWaitedFor(): boolean {
    return this.#collector.isUrgent || this.#remember.length > 0 || this.#silences.isDue(this.#clock.nowMs())
  }

  #hasWork(): boolean {
    return (
      this.#collector.hasCommittable || this.#remember.length > 0 || this.#silences.isDue(this.#clock.nowMs())
    )
  }

  #drain(): void {
    for (let source = 0; source < this.#rings.length; source++) {
      const ring = this.#rings[source]!
      while (this.#collector.pendingBytes < this.#pendingBytesMax || !this.#collector.hasCommittable) {
        if (!this.#takeFrame(source, ring)) break
      }
    }
  }

  /** False: the ring is empty. */
  #takeFrame(source: number, ring: RingConsumer): boolean {
    const kind = ring.peek()
    if (kind < 0) return false
    this.#collector.take(source, kind, ring.i32, ring.f64, ring.u8, ring.position)
    ring.release()
    return true
  }

  /** True: the supervisor has said something. */
  #obey(): boolean {
    for (let obeyed = false; ; obeyed = true) {
      const received = receiveMessageOnPort(this.#wiring.control)
      if (received === undefined) return obeyed
      const message = received.message as CommitterControl
      this.#wiring.control.postMessage({ request: message.request, ...this.#carryOut(message) })
    }
  }

  #carryOut(message: CommitterControl): Omit<ControlAnswer, 'request'> {
    switch (message.type) {
      case 'ring':
        return { refusal: this.#replaceRing(message.shard, message.ring) }
      case 'dead-letter':
        return { refusal: this.#putDeadLetter(message.pipelineId, message.letter) }
      case 'sinks':
        return { refusal: this.#replaceSinks(message.port) }
      case 'silence':
        return this.#changeSilences(message)
    }
  }

  /** Durable when it returns. What is committable goes first: a silence holds for what is committed after it was made. */
  #changeSilences(
    change: { readonly spec: SilenceSpec } | { readonly end: number },
  ): Omit<ControlAnswer, 'request'> {
    this.#commit()
    const nowMs = this.#clock.nowMs()
    const silence = this.#writer.transaction((txn): Silence | string =>
      'spec' in change
        ? this.#silences.make(txn, change.spec, nowMs)
        : this.#silences.end(txn, change.end, nowMs),
    )
    if (typeof silence === 'string') return { refusal: silence }
    // It is active, or what it held back is told, when it is answered.
    this.#commit()
    return { refusal: null, silence }
  }

  /** The sink thread is gone. What it said it had delivered is durable when this returns: its successor goes on from there. */
  #replaceSinks(port: MessagePort): null {
    this.#receive()
    if (this.#hasWork()) this.#commit()
    this.#port.close()
    this.#port = port
    return null
  }

  /** The shard is gone. Every frame it published is whole; what they complete is committed, the rest comes again. */
  #replaceRing(shard: number, ring: SharedArrayBuffer | null): null {
    const old = this.#rings[shard]!
    while (this.#takeFrame(shard, old)) {
      if (this.#collector.pendingBytes >= this.#pendingBytesMax && this.#collector.hasCommittable)
        this.#commit()
    }
    if (this.#collector.hasCommittable) this.#commit()
    this.#collector.abandon(shard, ring === null)
    if (ring !== null) {
      this.#rings[shard] = new RingConsumer(ring, this.#surroundings.bell(this.#wiring.roomBells[shard]!))
    }
    return null
  }

  /** Durable when this returns: no shard goes past the batch before. */
  #putDeadLetter(pipelineId: number, letter: DeadLetter): string | null {
    const position = this.#collector.position(pipelineId, letter.partition)
    // It was processed once, and what came of it cannot be taken back: results would depend on how often it failed.
    if (letter.baseOffset < position) return `results up to offset ${position} are committed`
    this.#writer.transaction((txn) => txn.putDeadLetter(pipelineId, letter))
    this.#metrics.add(catalog.PIPELINE_DEAD_LETTERS, 1, this.#rowOf.get(pipelineId)!)
    return null
  }

  #receive(): void {
    for (;;) {
      const received = receiveMessageOnPort(this.#port)
      if (received === undefined) return
      this.#remember.push(received.message as RememberMessage)
    }
  }

  #commit(): void {
    const startedMs = this.#clock.monotonicMs()
    const isWaitedFor = this.#isWaitedFor
    const remembered = this.#remember.splice(0)
    killPoint('commit-taken')
    let retold = 0
    const committed = this.#writer.transaction((txn) => {
      const nowMs = this.#clock.nowMs()
      if (this.#silences.isDue(nowMs)) {
        const nextSeqOf = (pipelineId: number, partition: number): number =>
          this.#collector.nextSeq(pipelineId, partition)
        retold = this.#silences.advance(txn, nowMs, nextSeqOf)
      }
      const result = this.#collector.apply(txn, this.#silences)
      for (const { pipelineId, sink, json } of remembered) txn.putSink(pipelineId, sink, json)
      return result
    })
    // Before the positions are shown: whoever waits for them reads the counters then.
    this.#countSamples(committed)
    this.#collector.settle((stream) => {
      this.#board.committed[stream.slot] = stream.position
    })
    killPoint('commit-settled')
    for (const message of remembered) this.#noteWanted(message)
    if (committed.checkpoints > 0) {
      this.#publishMarks()
      this.#partialsDue = this.#partials.isNeeded
    }
    this.#board.publishCommit()
    // Owners of groups read what was committed.
    if (this.#partials.isNeeded) for (const bell of this.#shardBells) bell.ring()
    this.#committedAtMs = this.#clock.monotonicMs()
    if (isWaitedFor) this.#hurriedAtMs = this.#committedAtMs
    this.#waitedSinceMs = Infinity
    this.#measure(committed, (this.#committedAtMs - startedMs) / 1_000)
    if (committed.entries > 0 || retold > 0 || remembered.length > 0) {
      const message: CommittedMessage = {
        committed: true,
        remembered: remembered.map(({ request }) => request),
      }
      killPoint('commit-untold')
      this.#port.postMessage(message)
      killPoint('commit-told')
    }
  }

  #countSamples({ samples }: Committed): void {
    const metrics = this.#metrics
    for (const [pipelineId, ledger] of samples) {
      const row = this.#rowOf.get(pipelineId)!
      metrics.add(catalog.PIPELINE_SAMPLES_IN, ledger.in, row)
      // A counter never goes back: what an owner of groups takes off, as late, is set against what comes next.
      const windowed = ledger.windowed - this.#windowedDebt[row]!
      this.#windowedDebt[row] = Math.max(0, -windowed)
      metrics.add(catalog.PIPELINE_SAMPLES, Math.max(0, windowed), row, 'windowed')
      metrics.add(catalog.PIPELINE_SAMPLES, ledger.filtered, row, 'filtered')
      metrics.add(catalog.PIPELINE_SAMPLES, ledger.late, row, 'late')
      metrics.add(catalog.PIPELINE_SAMPLES, ledger.nonFinite, row, 'non_finite')
      metrics.add(catalog.PIPELINE_SAMPLES, ledger.dead, row, 'dead')
    }
  }

  #measure(committed: Committed, seconds: number): void {
    const metrics = this.#metrics
    metrics.observe(catalog.COMMIT_DURATION, seconds)
    metrics.set(catalog.SILENCES_ACTIVE, this.#silences.activeCount)
    metrics.set(catalog.ALERTS_WITHHELD, this.#silences.unheardCount)
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
      metrics.set(catalog.CHECKPOINT_TIME, this.#clock.nowMs() / 1_000, row)
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
    const nowMs = this.#clock.monotonicMs()
    if (nowMs - this.#checkpointedAtMs < this.#wiring.checkpointMs) return
    this.#checkpointedAtMs = nowMs
    this.#board.askCheckpoint()
    for (const bell of this.#shardBells) bell.ring()
  }

  #retain(): void {
    if (this.#partialsDue) this.#partialsDue = this.#partials.retire(this.#writer)
    const nowMs = this.#clock.monotonicMs()
    if (nowMs - this.#retainedAtMs < RETENTION_EVERY_MS) return
    let more = this.#writer.collect()
    const beforeMs = this.#clock.nowMs() - this.#wiring.retentionAgeMs
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
    const bytesMax = Math.min(this.#wiring.retentionBytes, DEAD_LETTERS_BYTES_MAX)
    more = retainDeadLetters(this.#writer, this.#collector.streams(), { beforeMs, bytesMax }) || more
    this.#retainedAtMs = more ? 0 : nowMs
  }

  #ringsHold(): boolean {
    return this.#rings.some((ring) => ring.peek() >= 0)
  }

  #sleep(nowMs: number): void {
    const ticket = this.#bell.prepare()
    if (this.#obey() || (this.#ringsHold() && this.#collector.pendingBytes < this.#pendingBytesMax)) {
      this.#bell.cancel()
      return
    }
    const dueMs = Math.min(
      this.#hasWork() ? this.#commitDueMs() : Infinity,
      this.#checkpointedAtMs + this.#wiring.checkpointMs,
    )
    // Sinks ring after they post; phases are entered with a ring.
    // Shards push mere progress without a ring.
    this.#bell.wait(ticket, Math.max(1, Math.min(PROGRESS_MS_MIN, dueMs - nowMs)))
  }
}
