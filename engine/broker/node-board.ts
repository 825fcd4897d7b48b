/**
 * The board: what threads of a node tell each other outside the rings, as numbers in shared memory. Each row has ONE
 * writer thread; readers may see a value late, never torn (aligned 64-bit stores are single on every platform node
 * supports). A bell rung after a write makes it visible to whoever wakes by that bell.
 *
 * Slots are (topic, partition) pairs, numbered topic by topic in the order the node was started with, and
 * (pipeline, partition) pairs likewise; a pipeline with an exchange has a slot a stream (contract/streams.ts).
 */
import type { PipelinePlan, TopicSpec } from '../contract/plan.ts'
import { storedStreams } from '../contract/streams.ts'
import type { PastPlan } from '../store/state-contract.ts'
import { assert } from '../util/assert.ts'

export interface BoardTopic extends TopicSpec {
  readonly topicId: number
  /** First slot of its partitions. */
  readonly slot: number
}

export interface BoardPipeline {
  readonly plan: PipelinePlan
  readonly pipelineId: number
  readonly topic: BoardTopic
  /** First slot of its streams; the first of these are the topic's partitions. */
  readonly slot: number
  /** Plans before switches of detectors, under which entries may still be kept. */
  readonly past?: readonly PastPlan[]
}

const CONTROL_WORDS = 4
const PHASE_AT = 0
const CHECKPOINT_EPOCH_AT = 1
const PUBLISHED_AT = 2
const COMMITS_AT = 3

/** How a node stops: each phase ends one kind of thread, in the direction in which data flows. */
export const PHASE_RUNNING = 0
/** Nothing more comes in: the log writer commits what is in its rings and ends. */
export const PHASE_WRITER_ENDS = 1
/** Shards write their last checkpoint and end. */
export const PHASE_SHARDS_END = 2
/** The committer commits what is left and ends. */
export const PHASE_COMMITTER_ENDS = 3
/** Something has failed: both writers end between two transactions, and leave what they hold to the next start. */
export const PHASE_ABANDONED = 4

export interface BoardBuffers {
  readonly control: SharedArrayBuffer
  readonly topicRows: SharedArrayBuffer
  readonly pipelineRows: SharedArrayBuffer
  readonly gauges: SharedArrayBuffer
  readonly topicSlots: number
  readonly pipelineSlots: number
}

export function createBoard(topicSlots: number, pipelineSlots: number): BoardBuffers {
  const topicRows = new SharedArrayBuffer(3 * 8 * Math.max(1, topicSlots))
  // No shard has asked for a tick yet, and a topic without pipelines never does.
  new Float64Array(topicRows, 8 * topicSlots, topicSlots).fill(Number.POSITIVE_INFINITY)
  const pipelineRows = new SharedArrayBuffer(4 * 8 * Math.max(1, pipelineSlots))
  new Float64Array(pipelineRows, 16 * pipelineSlots, pipelineSlots).fill(Number.NaN)
  new Float64Array(pipelineRows, 24 * pipelineSlots, pipelineSlots).fill(Number.POSITIVE_INFINITY)
  return {
    control: new SharedArrayBuffer(CONTROL_WORDS * 4),
    topicRows,
    pipelineRows,
    gauges: new SharedArrayBuffer(8 * 8),
    topicSlots,
    pipelineSlots,
  }
}

export class Board {
  /** By topic slot; written by the log writer: next offset, all below it is durable. */
  readonly logEnd: Float64Array
  /** By topic slot; written by the shard that owns the partition: log time at which it wants a tick. */
  readonly deadlineMs: Float64Array
  /** By topic slot; written by the committer: no pipeline needs an offset below it again. */
  readonly lowWater: Float64Array
  /** By pipeline slot; written by the committer: everything before it is in committed results. */
  readonly committed: Float64Array
  /**
   * By pipeline slot; written by the shard: offset it has processed up to; of an owner of groups: entries of partitions
   * that will bring about nothing more, what they brought about being committed.
   */
  readonly processed: Float64Array
  /** By pipeline slot; written by the shard: watermark, NaN before the first sample. */
  readonly watermarkMs: Float64Array
  /** By pipeline slot; written by the shard: log time that an owner of groups wants every partition to reach. */
  readonly wantedLogMs: Float64Array
  /** 0: bytes of the log; written by the log writer. */
  readonly gauges: Float64Array
  readonly #control: Int32Array

  constructor(buffers: BoardBuffers) {
    const { topicSlots, pipelineSlots } = buffers
    this.#control = new Int32Array(buffers.control)
    this.logEnd = new Float64Array(buffers.topicRows, 0, topicSlots)
    this.deadlineMs = new Float64Array(buffers.topicRows, 8 * topicSlots, topicSlots)
    this.lowWater = new Float64Array(buffers.topicRows, 16 * topicSlots, topicSlots)
    this.committed = new Float64Array(buffers.pipelineRows, 0, pipelineSlots)
    this.processed = new Float64Array(buffers.pipelineRows, 8 * pipelineSlots, pipelineSlots)
    this.watermarkMs = new Float64Array(buffers.pipelineRows, 16 * pipelineSlots, pipelineSlots)
    this.wantedLogMs = new Float64Array(buffers.pipelineRows, 24 * pipelineSlots, pipelineSlots)
    this.gauges = new Float64Array(buffers.gauges)
  }

  get phase(): number {
    // acquire: a request to stop; partner: enter().
    return Atomics.load(this.#control, PHASE_AT)
  }

  /** Ring the bells of whom it concerns afterwards. */
  enter(phase: number): void {
    // publish: the request to stop; partner: phase.
    Atomics.store(this.#control, PHASE_AT, phase)
  }

  /** Call between plain writes to rows and the ring of a bell: bells publish nothing themselves. */
  publish(): void {
    // publish: rows written so far; partner: the bell's own acquire on the waking side.
    Atomics.add(this.#control, PUBLISHED_AT, 1)
  }

  /** By the committer after a commit: `publish` for its rows, and it wakes who sleeps in `awaitCommit`. */
  publishCommit(): void {
    // publish: rows written so far; partner: awaitCommit().
    Atomics.add(this.#control, COMMITS_AT, 1)
    Atomics.notify(this.#control, COMMITS_AT)
  }

  /**
   * Sleeps until a commit after the one numbered `seen`, or the time is up; gives the number of the newest. For a thread
   * without an event loop that watches a node from beside, and costs it nothing: no poll, no message.
   */
  awaitCommit(seen: number, timeoutMs: number): number {
    Atomics.wait(this.#control, COMMITS_AT, seen, timeoutMs)
    // acquire: the rows of that commit; partner: publishCommit().
    return Atomics.load(this.#control, COMMITS_AT)
  }

  get checkpointEpoch(): number {
    // acquire: which checkpoint is asked for; partner: askCheckpoint().
    return Atomics.load(this.#control, CHECKPOINT_EPOCH_AT)
  }

  askCheckpoint(): number {
    // publish: the next checkpoint is due; partner: checkpointEpoch.
    return Atomics.add(this.#control, CHECKPOINT_EPOCH_AT, 1) + 1
  }
}

export const GAUGE_LOG_BYTES = 0
/** 1: the log is over its bound and what is left is still needed: producers must wait. Written by the log writer. */
export const GAUGE_LOG_HELD_BACK = 1

/** Numbers the slots of topics and pipelines, in the order given. */
export function layOutTopics(topics: readonly (TopicSpec & { readonly topicId: number })[]): BoardTopic[] {
  let slot = 0
  return topics.map((topic) => {
    const placed = { ...topic, slot }
    slot += topic.partitions
    return placed
  })
}

export function layOutPipelines(
  plans: readonly Pick<BoardPipeline, 'plan' | 'pipelineId' | 'past'>[],
  topics: readonly BoardTopic[],
): BoardPipeline[] {
  let slot = 0
  return plans.map(({ plan, pipelineId, past }) => {
    const topic = topics.find((candidate) => candidate.name === plan.topic.name)
    assert(topic !== undefined, "a pipeline's topic exists before its threads do", plan.name, plan.topic.name)
    const placed = { plan, pipelineId, topic, slot, ...(past === undefined ? {} : { past }) }
    slot += storedStreams(plan)
    return placed
  })
}

export function slotCount(rows: readonly { readonly slot: number; readonly partitions: number }[]): number {
  return rows.reduce((sum, row) => Math.max(sum, row.slot + row.partitions), 0)
}
