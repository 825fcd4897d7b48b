/**
 * A shard's owners of groups (engine/pipeline/merger.ts), for pipelines whose groups are spread over partitions. Owners
 * are spread over shards as partitions are. They read what partitions have sent from the state store, committed entries
 * only, once a pipeline and shard, and report to the committer as chains do. Nothing waits for them: what they have not
 * taken is in the store. Built and driven by the shard.
 */
import type { CommitProducer } from '../engine/broker/commit-producer.ts'
import type { Board, BoardPipeline } from '../engine/broker/node-board.ts'
import type { FeedbackSource } from '../engine/contract/feedback.ts'
import { ownerStream, partialStream } from '../engine/contract/streams.ts'
import type { WindowMeter } from '../engine/pipeline/fire-window.ts'
import { Merger, type MergeSource } from '../engine/pipeline/merger.ts'
import type { StateReader } from '../engine/store/state-contract.ts'
import { assert } from '../engine/util/assert.ts'
import type { CheckpointSeat } from './checkpoints.ts'
import { registry } from './plugins.ts'

/** One read of a partition's stream. */
export const READ_LIMITS = { countMax: 256, bytesMax: 1024 * 1024 }
/** Reads of one stream in a turn, so that chains get theirs. */
const READS_A_TURN = 8

export interface MergeSeatsOptions {
  readonly shard: number
  readonly shardCount: number
  readonly pipelines: readonly BoardPipeline[]
  readonly board: Board
  readonly state: StateReader
  readonly commits: CommitProducer
  /** Shared with the shard's chains, as the meter is. */
  readonly feedback?: FeedbackSource
  readonly meter?: WindowMeter
  /** A pipeline's owners have worked for so long. */
  readonly worked?: (row: number, tookMs: number) => void
}

interface OwnerSeat extends CheckpointSeat {
  readonly merger: Merger
  readonly slot: number
  reportedPosition: number
}

export class MergeSeats {
  readonly #options: MergeSeatsOptions
  readonly #feeds: readonly MergeFeed[]
  #hasRead = false

  constructor(options: MergeSeatsOptions) {
    this.#options = options
    const feeds: MergeFeed[] = []
    options.pipelines.forEach((pipeline, row) => {
      const seats: OwnerSeat[] = []
      for (let bucket = 0; bucket < (pipeline.plan.exchange?.buckets ?? 0); bucket++) {
        const stream = ownerStream(pipeline.plan, bucket)
        if ((pipeline.topic.slot + stream) % options.shardCount === options.shard) {
          seats.push(openSeat(options, pipeline, bucket))
        }
      }
      if (seats.length > 0) feeds.push(new MergeFeed(options, pipeline, row, seats))
    })
    this.#feeds = feeds
  }

  get isEmpty(): boolean {
    return this.#feeds.length === 0
  }

  /** Takes what was committed since the last call. False: there is more. */
  poll(): boolean {
    const { meter, worked } = this.#options
    let isCaughtUp = true
    for (const feed of this.#feeds) {
      if (feed.isBehind) this.#hasRead = true
      const beganMs = meter?.nowMs() ?? 0
      isCaughtUp = feed.poll() && isCaughtUp
      if (meter !== undefined) worked?.(feed.row, meter.nowMs() - beganMs)
    }
    return isCaughtUp
  }

  /** True: the lag may have changed since this was last asked. */
  takeRead(): boolean {
    const hasRead = this.#hasRead
    this.#hasRead = false
    return hasRead
  }

  /** Entries sent to the pipeline's owners here, from the first of each partition on that may still bring about something. */
  lag(row: number): number {
    let lag = 0
    for (const feed of this.#feeds) {
      if (feed.row !== row) continue
      for (const { merger } of feed.seats) lag += Math.max(0, feed.sent - merger.settledEntries)
    }
    return lag
  }

  /** Nothing was committed since the last poll. */
  get isCaughtUp(): boolean {
    return this.#feeds.every((feed) => feed.isCaughtUp)
  }

  /** Tells the committer where owners stand. True: one has moved. */
  report(): boolean {
    const { commits, board } = this.#options
    let moved = false
    for (const { pipeline, seats } of this.#feeds) {
      for (const seat of seats) {
        const { merger } = seat
        board.wantedLogMs[seat.slot] = merger.wantedLogMs
        const { position } = merger
        // Told only when the results of it are committed.
        if (position === seat.reportedPosition && board.committed[seat.slot]! >= position) {
          board.processed[seat.slot] = merger.settledEntries
        }
        if (position === seat.reportedPosition) continue
        commits.progress(pipeline.pipelineId, seat.stream, merger)
        seat.reportedPosition = position
        board.watermarkMs[seat.slot] = merger.watermarkMs
        moved = true
      }
    }
    if (moved) board.publish()
    return moved
  }

  /** What checkpoints are made of. */
  get checkpointSeats(): readonly CheckpointSeat[] {
    return this.#feeds.flatMap(({ seats }) => seats)
  }

  /** All of this shard, with the rows of their pipelines. */
  get owners(): readonly { readonly row: number; readonly merger: Merger }[] {
    return this.#feeds.flatMap(({ row, seats }) => seats.map(({ merger }) => ({ row, merger })))
  }

  groupCount(row: number): number {
    return this.#mergers(row).reduce((sum, { groupCount }) => sum + groupCount, 0)
  }

  /** The smallest of the pipeline's owners here; Infinity: none has one. */
  watermarkMs(row: number): number {
    return this.#mergers(row).reduce(
      (least, { watermarkMs }) => (watermarkMs === -Infinity ? least : Math.min(least, watermarkMs)),
      Infinity,
    )
  }

  #mergers(row: number): Merger[] {
    return this.#feeds
      .filter((feed) => feed.row === row)
      .flatMap(({ seats }) => seats.map((seat) => seat.merger))
  }
}

/** One pipeline's partial streams, read once for all owners of this shard. */
class MergeFeed {
  readonly pipeline: BoardPipeline
  readonly row: number
  readonly seats: readonly OwnerSeat[]
  readonly #board: Board
  readonly #state: StateReader
  /** By partition: next entry to read; the committed position when last read to the end, or -1. */
  readonly #nextSeqs: number[] = []
  readonly #seen: number[] = []
  /** By partition: entries committed when last read. */
  readonly #ends: number[] = []

  constructor(options: MergeSeatsOptions, pipeline: BoardPipeline, row: number, seats: readonly OwnerSeat[]) {
    this.pipeline = pipeline
    this.row = row
    this.seats = seats
    this.#board = options.board
    this.#state = options.state
    for (let partition = 0; partition < pipeline.topic.partitions; partition++) {
      this.#nextSeqs.push(Math.min(...seats.map(({ merger }) => merger.cursor(partition))))
      this.#ends.push(this.#nextSeqs[partition]!)
      this.#seen.push(-1)
    }
  }

  /** Entries committed, over all partitions. */
  get sent(): number {
    return this.#ends.reduce((sum, end) => sum + end, 0)
  }

  /** Something was committed since the last poll. */
  get isBehind(): boolean {
    return this.#seen.some((seen, partition) => seen !== this.#committed(partition))
  }

  /** Nothing to read now: what a partition has sent beyond what is wanted waits for other partitions. */
  get isCaughtUp(): boolean {
    return this.#seen.every(
      (seen, partition) => seen === this.#committed(partition) || !this.#wants(partition),
    )
  }

  poll(): boolean {
    let hasRead = false
    for (let partition = 0; partition < this.#seen.length; partition++) {
      const committed = this.#committed(partition)
      if (this.#seen[partition] === committed) continue
      hasRead = true
      // Not to the end: the next turn goes on.
      if (this.#read(partition)) this.#seen[partition] = committed
    }
    if (hasRead) for (const { merger } of this.seats) merger.advance()
    return this.isCaughtUp
  }

  #wants(partition: number): boolean {
    return this.seats.every(({ merger }) => merger.wants(partition))
  }

  /** True: every entry that is committed, and the log time they stand for, was offered. */
  #read(partition: number): boolean {
    const { pipelineId, plan } = this.pipeline
    const stream = partialStream(plan, partition)
    // Before the entries: those that it covers are there when they are read.
    const progress = this.#state.progress(pipelineId, stream)
    if (progress === null) return true
    this.#ends[partition] = progress.nextSeq
    for (let reads = 0; this.#nextSeqs[partition]! < progress.nextSeq; reads++) {
      if (reads === READS_A_TURN || !this.#wants(partition)) return false
      const entries = this.#state.entries(pipelineId, stream, this.#nextSeqs[partition]!, READ_LIMITS)
      assert(entries.length > 0, 'a committed partial can be read', plan.name, partition)
      for (const entry of entries) for (const { merger } of this.seats) merger.offer(partition, entry)
      this.#nextSeqs[partition] = entries.at(-1)!.seq + 1
    }
    if (progress.logMs !== undefined) {
      for (const { merger } of this.seats) merger.frontier(partition, progress.logMs)
    }
    return true
  }

  /** Moves with every commit that tells something new of the partition. */
  #committed(partition: number): number {
    const { plan, slot } = this.pipeline
    return this.#board.committed[slot + partialStream(plan, partition)]!
  }
}

function openSeat(options: MergeSeatsOptions, pipeline: BoardPipeline, bucket: number): OwnerSeat {
  const { state, commits } = options
  const { plan, pipelineId, slot } = pipeline
  const stream = ownerStream(plan, bucket)
  const merger = new Merger({
    plan,
    registry,
    bucket,
    ...(options.meter === undefined ? {} : { meter: options.meter }),
    ...(options.feedback === undefined ? {} : { feedback: heardOf(options.feedback, pipeline, state) }),
    sink: commits.entriesOf(pipelineId, stream),
    source: sentTo({ plan, pipelineId }, state),
  })
  const checkpointed = state.restore(pipelineId, stream, (checkpoint, pages) => {
    merger.restore(checkpoint.meta, pages)
    assert(merger.position === checkpoint.position, 'a checkpoint stands for its position', plan.name, stream)
    return checkpoint.position
  })
  return {
    merger,
    pipelineId,
    stream,
    state: merger,
    slot: slot + stream,
    reportedPosition: -1,
    checkpointedPosition: checkpointed ?? -1,
  }
}

/** What the pipeline's partitions have sent and was committed. */
export function sentTo(
  { plan, pipelineId }: Pick<BoardPipeline, 'plan' | 'pipelineId'>,
  state: Pick<StateReader, 'groupKey' | 'entries'>,
): MergeSource {
  return {
    groupKey: (partition, groupId) => {
      const key = state.groupKey(pipelineId, partition, groupId)
      assert(key !== null, 'a partial uses groups that were committed', plan.name, partition, groupId)
      return key
    },
    entry: (partition, seq) => {
      const [entry] = state.entries(pipelineId, partialStream(plan, partition), seq, { countMax: 1 })
      assert(entry?.seq === seq, 'a partial is kept until its windows have fired', plan.name, partition, seq)
      return entry.bytes
    },
  }
}

/** Without records that became dead letters: no partition tells an owner of them, so that a restore must not either. */
export function heardOf(
  feedback: FeedbackSource,
  { plan, pipelineId }: Pick<BoardPipeline, 'plan' | 'pipelineId'>,
  state: Pick<StateReader, 'deadLetters'>,
): FeedbackSource {
  const dead = new Set<string>()
  for (let partition = 0; partition < plan.topic.partitions; partition++) {
    for (const { baseOffset } of state.deadLetters(pipelineId, partition))
      dead.add(`${partition}/${baseOffset}`)
  }
  if (dead.size === 0) return feedback
  return {
    rows: () => feedback.rows().filter(({ partition, offset }) => !dead.has(`${partition}/${offset}`)),
  }
}
