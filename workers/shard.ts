/**
 * A shard thread: the chains of its partitions. Its ring is a window on the log's tail; a chain's position is the truth:
 * a frame that continues it is processed where it lies, an older one is passed over, and whoever is behind reads the
 * log. It never reads a clock for a decision: log time is in the records.
 *
 * Beside them sit the owners of groups that are spread over partitions (merge-seats.ts), which read what the store holds.
 *
 * Results leave by a ring to the committer; when that is full the shard waits, bounded only by the committer's health:
 * the log absorbs what comes in meanwhile. Checkpoints leave by the same ring, in pieces between record batches, and wait
 * for nothing (checkpoints.ts).
 *
 * It may die at any moment, by a throw, an exit, a lack of memory or the supervisor's hand: what it is doing stands in
 * its ShardActivity, what counts is in the state environment, and its successor starts from there (supervisor.ts).
 */
import { threadId } from 'node:worker_threads'
import { BatchView } from '../engine/batch/batch-view.ts'
import { BATCH_BYTES_MAX } from '../engine/batch/layout.ts'
import { CommitProducer } from '../engine/broker/commit-producer.ts'
import { Board, type BoardPipeline, PHASE_SHARDS_END } from '../engine/broker/node-board.ts'
import { ShardActivity } from '../engine/broker/shard-activity.ts'
import { emptyLedger } from '../engine/contract/entries.ts'
import { RECORD_SAMPLES } from '../engine/contract/samples.ts'
import { partialStream } from '../engine/contract/streams.ts'
import * as catalog from '../engine/metrics/catalog.ts'
import { ThreadMetrics } from '../engine/metrics/thread-metrics.ts'
import type { Chain } from '../engine/pipeline/chain.ts'
import type { WindowMeter } from '../engine/pipeline/fire-window.ts'
import type { Doorbell } from '../engine/ring/doorbell.ts'
import { HeldBell } from '../engine/ring/held-bell.ts'
import { RingConsumer, RingProducer } from '../engine/ring/spsc-ring.ts'
import { FeedbackRows } from '../engine/store/feedback/feedback-rows.ts'
import type { LogReader } from '../engine/store/log-contract.ts'
import { openLogReader } from '../engine/store/log-store.ts'
import type { StateReader } from '../engine/store/state-contract.ts'
import { openStateReader } from '../engine/store/state-store.ts'
import { assert } from '../engine/util/assert.ts'
import { systemClock } from '../engine/util/clock.ts'
import { killPoint } from '../engine/util/kill-point.ts'
import { type CheckpointSeat, Checkpoints, PAGES_A_TURN } from './checkpoints.ts'
import { type FaultHook, faultHook } from './fault-hook.ts'
import { HEALTH_ROWS_A_TURN, HealthRounds } from './health-rounds.ts'
import { MergeSeats } from './merge-seats.ts'
import { loadPlugins, registry } from './plugins.ts'
import { REAL_SURROUNDINGS, type Surroundings } from './surroundings.ts'
import type { ShardWiring } from './wiring.ts'

/** Frames taken from the ring before results are reported and laggards get their turn. */
const FRAMES_A_TURN = 64
/** Batches that a chain which is behind reads from the log in one turn. */
const CATCH_UP_BATCHES_A_TURN = 64
const SLEEP_MS_MAX = 1_000
/** How long a shard that has nothing else to do sleeps before it looks whether the committer has made room for pages. */
const ROOM_SLEEP_MS = 1

interface Seat extends CheckpointSeat {
  /** Row of the pipeline in the metrics. */
  readonly row: number
  readonly chain: Chain
  readonly pipeline: BoardPipeline
  readonly partition: number
  readonly topicSlot: number
  readonly pipelineSlot: number
  reportedPosition: number
  /** A frame came that lies beyond its position: it must read the log. */
  behind: boolean
  /** Base offsets of record batches to skip. */
  readonly dead: ReadonlySet<number>
}

export async function runShard(wiring: ShardWiring): Promise<void> {
  await loadPlugins(wiring.pipelines.map(({ plan }) => plan))
  const log = openLogReader({ dir: wiring.dir })
  try {
    const state = openStateReader({ dir: wiring.dir })
    try {
      new ShardThread(wiring, log, state).run()
    } finally {
      await state.close()
    }
  } finally {
    await log.close()
  }
}

export class ShardThread {
  readonly #board: Board
  readonly #bell: Doorbell
  readonly #ring: RingConsumer
  readonly #commits: CommitProducer
  readonly #log: LogReader
  readonly #feedback: FeedbackRows
  readonly #live: BatchView
  readonly #readBuffer = new ArrayBuffer((BATCH_BYTES_MAX + 7) & ~7)
  readonly #readView = new BatchView(this.#readBuffer)
  readonly #seats: Seat[] = []
  readonly #metrics: ThreadMetrics
  readonly #activity: ShardActivity
  /** Of the batch at hand. */
  readonly #meter: WindowMeter = { nowMs: systemClock.monotonicMs, windowMs: 0, detectMs: 0, emitMs: 0 }
  readonly #faults: FaultHook | null = faultHook()
  readonly #pipelines: readonly BoardPipeline[]
  readonly #merges: MergeSeats
  readonly #checkpoints: Checkpoints
  readonly #health: HealthRounds
  /** Seats by topic id and partition: `topicId * 65536 + partition`. */
  readonly #seatsAt = new Map<number, Seat[]>()
  /** Log ends as they were before the ring was last drained. */
  readonly #endsSeen: Float64Array
  readonly #surroundings: Surroundings
  readonly #framesATurn: number
  readonly #catchUpBatchesATurn: number
  #checkpointEpoch: number

  constructor(
    wiring: ShardWiring,
    log: LogReader,
    state: StateReader,
    surroundings: Surroundings = REAL_SURROUNDINGS,
  ) {
    const { bell, limit } = surroundings
    this.#surroundings = surroundings
    this.#framesATurn = limit(FRAMES_A_TURN)
    this.#catchUpBatchesATurn = limit(CATCH_UP_BATCHES_A_TURN)
    this.#board = new Board(wiring.board)
    this.#metrics = new ThreadMetrics(wiring.metrics)
    this.#pipelines = wiring.pipelines
    this.#bell = bell(wiring.bell)
    this.#ring = new RingConsumer(wiring.ring)
    this.#live = new BatchView(wiring.ring)
    const committerBell = new HeldBell(bell(wiring.committerBell))
    const ring = new RingProducer(wiring.commitRing, committerBell, bell(wiring.commitRoomBell))
    this.#activity = new ShardActivity(wiring.activity)
    this.#activity.restores(threadId)
    this.#commits = new CommitProducer(ring, (forRoom) => this.#activity.awaitsRoom(forRoom), committerBell)
    this.#log = log
    this.#feedback = new FeedbackRows(log)
    this.#endsSeen = new Float64Array(this.#board.logEnd.length)
    this.#checkpointEpoch = this.#board.checkpointEpoch
    for (const pipeline of wiring.pipelines) {
      const { topic } = pipeline
      for (let partition = 0; partition < topic.partitions; partition++) {
        if ((topic.slot + partition) % wiring.shardCount === wiring.shard)
          this.#seat(pipeline, partition, state)
      }
    }
    this.#merges = new MergeSeats({
      shard: wiring.shard,
      shardCount: wiring.shardCount,
      pipelines: wiring.pipelines,
      board: this.#board,
      state,
      commits: this.#commits,
      feedback: this.#feedback,
      meter: this.#meter,
      worked: (row, tookMs) => this.#account(row, tookMs),
    })
    const seats = [...this.#seats, ...this.#merges.checkpointSeats]
    this.#checkpoints = new Checkpoints(this.#commits, seats, limit(PAGES_A_TURN))
    const firstDetectors = firstDetectorsOf(wiring.pipelines)
    this.#health = new HealthRounds(
      [
        ...this.#seats.map(({ row, chain }) => ({ firstDetector: firstDetectors[row]!, state: chain })),
        ...this.#merges.owners.map(({ row, merger }) => ({
          firstDetector: firstDetectors[row]!,
          state: merger,
        })),
      ],
      this.#metrics,
      limit(HEALTH_ROWS_A_TURN),
    )
  }

  run(): void {
    this.start()
    while (this.turn()) {}
  }

  start(): void {
    killPoint('shard-restored')
    this.#activity.started()
    for (const seat of this.#seats) {
      this.#publishSeat(seat)
      if (seat.checkpointedPosition >= 0) continue
      // New on a log that does not begin at 0: its first checkpoint, too, follows its progress.
      this.#commits.progress(seat.pipelineId, seat.partition, seat.chain)
      this.#reportPartials(seat)
    }
    this.#publishDeadlines()
    // Before a new pipeline's first results: where they began must be known, and kept, from then on.
    this.#checkpoints.ask()
    this.#checkpoints.finish()
    this.#commits.endTurn()
  }

  /** Once round the loop; false: it was the last time. Waits in its bell only, and for room in its ring. */
  turn(): boolean {
    const ending = this.#board.phase >= PHASE_SHARDS_END
    this.#activity.beat()
    this.#endsSeen.set(this.#board.logEnd)
    const drained = this.#takeLive()
    const caughtUp = this.#catchUp(drained) && this.#merges.poll()
    this.#report()
    const epoch = this.#board.checkpointEpoch
    if (ending || epoch !== this.#checkpointEpoch) {
      this.#checkpointEpoch = epoch
      this.#checkpoints.ask()
    }
    this.#advanceCheckpoints()
    this.#health.turn(this.#surroundings.clock.monotonicMs())
    if (ending) {
      this.#checkpoints.finish()
      killPoint('shard-ends')
      this.#commits.done()
      return false
    }
    this.#commits.endTurn()
    if (drained && caughtUp) this.#sleep()
    return true
  }

  #seat(pipeline: BoardPipeline, partition: number, state: StateReader): void {
    const { topic, plan, pipelineId } = pipeline
    const sink = this.#commits.entriesOf(pipelineId, partition)
    const chain = this.#surroundings.chain({
      plan,
      registry,
      partition,
      keyOf: (seriesId) => this.#keyOf(topic.topicId, seriesId),
      sink: this.#faults === null ? sink : this.#faults.wrap(sink),
      ...(plan.exchange === undefined
        ? {}
        : { partialSink: this.#commits.entriesOf(pipelineId, partialStream(plan, partition)) }),
      startOffset: this.#log.startOffset(topic.topicId, partition),
      feedback: this.#feedback,
      meter: this.#meter,
    })
    const checkpointed = state.restore(pipelineId, partition, (checkpoint, pages) => {
      killPoint('shard-restoring')
      chain.restore(checkpoint.meta, pages)
      assert(
        chain.position === checkpoint.position,
        'a checkpoint stands for its position',
        plan.name,
        partition,
      )
      return checkpoint.position
    })
    const seat: Seat = {
      row: this.#pipelines.indexOf(pipeline),
      chain,
      pipeline,
      partition,
      pipelineId,
      stream: partition,
      state: chain,
      topicSlot: topic.slot + partition,
      pipelineSlot: pipeline.slot + partition,
      reportedPosition: -1,
      checkpointedPosition: checkpointed ?? -1,
      behind: true,
      dead: new Set(state.deadLetters(pipelineId, partition).map(({ baseOffset }) => baseOffset)),
    }
    this.#seats.push(seat)
    const key = topic.topicId * 65536 + partition
    const there = this.#seatsAt.get(key)
    if (there === undefined) this.#seatsAt.set(key, [seat])
    else there.push(seat)
  }

  #keyOf(topicId: number, seriesId: number): Uint8Array {
    const key = this.#log.seriesKey(topicId, seriesId)
    assert(key !== null, 'a series is stored before its samples are seen', topicId, seriesId)
    return key
  }

  /** True: the ring is empty now. */
  #takeLive(): boolean {
    const ring = this.#ring
    for (let frames = 0; frames < this.#framesATurn; frames++) {
      if (ring.peek() < 0) return true
      const view = this.#live.point(ring.position)
      const seats = this.#seatsAt.get(view.topicId * 65536 + view.partition)
      if (seats !== undefined) {
        for (const seat of seats) {
          const { position } = seat.chain
          if (position === view.baseOffset) this.#process(seat, view)
          else if (position < view.baseOffset) seat.behind = true
        }
      }
      ring.release()
    }
    return ring.peek() < 0
  }

  /** True: nobody is behind what was durable before the ring was drained. */
  #catchUp(drained: boolean): boolean {
    let caughtUp = true
    for (const seat of this.#seats) {
      const endOffset = this.#endsSeen[seat.topicSlot]!
      // While frames are left, one of them may be what the seat wants next; if it fell behind, none is.
      if (!drained && !seat.behind) continue
      let batches = 0
      while (seat.chain.position < endOffset && batches++ < this.#catchUpBatchesATurn) this.#readOne(seat)
      if (seat.chain.position < endOffset) caughtUp = false
      else seat.behind = false
    }
    return caughtUp
  }

  #readOne(seat: Seat): void {
    const { topicId } = seat.pipeline.topic
    const length = this.#log.read(topicId, seat.partition, seat.chain.position, this.#readBuffer)
    assert(length > 0, 'a durable batch can be read', topicId, seat.partition, seat.chain.position)
    this.#metrics.add(catalog.CATCH_UP_READS, 1, seat.row)
    this.#process(seat, this.#readView.point(0))
    killPoint('shard-caught-up')
  }

  #process(seat: Seat, view: BatchView): void {
    const activity = this.#activity
    const { baseOffset } = view
    if (seat.dead.has(baseOffset)) {
      seat.chain.skip(view)
      return
    }
    const samples = view.kind === RECORD_SAMPLES ? view.count : 0
    activity.beginBatch(seat.pipeline.pipelineId, seat.partition, baseOffset, view.endOffset, samples)
    if (this.#faults !== null) this.#faults.batch(seat.pipeline.plan.name, view)
    const beganMs = systemClock.monotonicMs()
    seat.chain.process(view)
    this.#measure(seat.row, systemClock.monotonicMs() - beganMs)
    activity.endBatch()
  }

  #measure(row: number, tookMs: number): void {
    this.#metrics.observe(catalog.SHARD_BATCH_DURATION, tookMs / 1_000)
    this.#account(row, tookMs)
  }

  /** What windows did not take of the time went into placing samples, and into merging what partitions sent. */
  #account(row: number, tookMs: number): void {
    const metrics = this.#metrics
    const meter = this.#meter
    const windowsMs = meter.windowMs + meter.detectMs + meter.emitMs
    metrics.add(catalog.PIPELINE_SECONDS, Math.max(0, tookMs - windowsMs) / 1_000, row, 'aggregate')
    if (windowsMs === 0) return
    metrics.add(catalog.PIPELINE_SECONDS, meter.windowMs / 1_000, row, 'window')
    metrics.add(catalog.PIPELINE_SECONDS, meter.detectMs / 1_000, row, 'detect')
    metrics.add(catalog.PIPELINE_SECONDS, meter.emitMs / 1_000, row, 'emit')
    meter.windowMs = 0
    meter.detectMs = 0
    meter.emitMs = 0
  }

  #report(): void {
    let moved = false
    for (const seat of this.#seats) {
      if (seat.chain.position === seat.reportedPosition) continue
      if (!moved) killPoint('shard-reporting')
      this.#commits.progress(seat.pipeline.pipelineId, seat.partition, seat.chain)
      this.#reportPartials(seat)
      seat.reportedPosition = seat.chain.position
      this.#publishSeat(seat)
      moved = true
    }
    if (this.#merges.report()) moved = true
    // Owners that wait for another partition do not move, and lag all the same.
    if (this.#merges.takeRead()) this.#gaugeOwners()
    this.#metrics.set(catalog.THREAD_HEARTBEAT, systemClock.nowMs() / 1_000)
    if (!moved) return
    killPoint('shard-reported')
    this.#publishDeadlines()
    for (let row = 0; row < this.#pipelines.length; row++) this.#gauge(row)
  }

  /** After the chain's progress: what it sends on is covered up to the same record. */
  #reportPartials({ chain, pipeline, partition }: Seat): void {
    const { plan, pipelineId } = pipeline
    if (plan.exchange === undefined) return
    const sent = { position: chain.position, nextSeq: chain.nextPartialSeq, ledger: NOTHING_COUNTED }
    const logMs = chain.logMs === -Infinity ? NaN : chain.logMs
    this.#commits.progress(pipelineId, partialStream(plan, partition), sent, logMs)
  }

  /** Lag, watermark and groups of one pipeline over this shard's partitions. */
  #gauge(row: number): void {
    let lag = 0
    let watermarkMs = Infinity
    let groups = 0
    for (const seat of this.#seats) {
      if (seat.row !== row) continue
      lag += Math.max(0, this.#board.logEnd[seat.topicSlot]! - seat.chain.position)
      if (seat.chain.watermarkMs > -Infinity) watermarkMs = Math.min(watermarkMs, seat.chain.watermarkMs)
      // Groups that are spread over partitions are counted where they come together.
      if (seat.pipeline.plan.exchange === undefined) groups += seat.chain.groupCount
    }
    groups += this.#merges.groupCount(row)
    watermarkMs = Math.min(watermarkMs, this.#merges.watermarkMs(row))
    this.#metrics.set(catalog.PIPELINE_LAG, lag, row)
    this.#metrics.set(catalog.PIPELINE_GROUPS, groups, row)
    if (watermarkMs < Infinity) this.#metrics.set(catalog.PIPELINE_WATERMARK, watermarkMs / 1_000, row)
  }

  #gaugeOwners(): void {
    this.#pipelines.forEach(({ plan }, row) => {
      if (plan.exchange === undefined) return
      this.#metrics.set(catalog.PIPELINE_OWNER_LAG, this.#merges.lag(row), row)
    })
  }

  #publishSeat(seat: Seat): void {
    this.#board.processed[seat.pipelineSlot] = seat.chain.position
    this.#board.watermarkMs[seat.pipelineSlot] = seat.chain.watermarkMs
  }

  #publishDeadlines(): void {
    for (const seats of this.#seatsAt.values()) {
      let deadlineMs = Infinity
      for (const seat of seats) deadlineMs = Math.min(deadlineMs, seat.chain.deadlineMs)
      this.#board.deadlineMs[seats[0]!.topicSlot] = deadlineMs
    }
    this.#board.publish()
  }

  /** A piece of what is asked for. After the report: a checkpoint follows the progress that it covers. */
  #advanceCheckpoints(): void {
    if (this.#checkpoints.isDone) return
    const { clock } = this.#surroundings
    const startedMs = clock.monotonicMs()
    this.#checkpoints.turn()
    this.#metrics.observe(catalog.CHECKPOINT_PAUSE, (clock.monotonicMs() - startedMs) / 1_000)
  }

  #sleep(): void {
    const ticket = this.#bell.prepare()
    const idle =
      this.#ring.peek() < 0 &&
      this.#board.phase < PHASE_SHARDS_END &&
      this.#board.checkpointEpoch === this.#checkpointEpoch &&
      (this.#checkpoints.isDone || this.#checkpoints.awaitsRoom) &&
      this.#health.isDone &&
      this.#merges.isCaughtUp &&
      this.#seats.every((seat) => seat.chain.position >= this.#board.logEnd[seat.topicSlot]!)
    if (!idle) {
      this.#bell.cancel()
      return
    }
    this.#activity.idle(true)
    this.#bell.wait(ticket, this.#checkpoints.isDone ? SLEEP_MS_MAX : ROOM_SLEEP_MS)
    this.#activity.idle(false)
  }
}

/** Where each pipeline's detectors begin in the metrics. */
function firstDetectorsOf(pipelines: readonly BoardPipeline[]): number[] {
  let next = 0
  return pipelines.map(({ plan }) => {
    const first = next
    next += plan.detectors.length
    return first
  })
}

const NOTHING_COUNTED = emptyLedger()
