/**
 * What a shard is doing, in shared memory, so that the supervisor can tell a shard that is stuck from one that waits, and
 * knows which record batch a shard died over, however it died: no message, no handler, no last words are needed. Written
 * by the shard alone; each thread that is started gets a new one.
 *
 *    0 i32 state   4 i32 beat    8 i32 threadId   12 i32 0
 *   16 f64 pipelineId   24 f64 partition   32 f64 baseOffset   40 f64 endOffset   48 f64 samples
 */
const STATE_AT = 0
const BEAT_AT = 1
const THREAD_AT = 2
const PIPELINE_AT = 2
const PARTITION_AT = 3
const BASE_OFFSET_AT = 4
const END_OFFSET_AT = 5
const SAMPLES_AT = 6
const ACTIVITY_BYTES = 64

/** The thread has been asked for and has not gone round its loop yet. */
export const SHARD_STARTING = 0
/** Between batches: reading, reporting, checkpointing. */
export const SHARD_WORKING = 1
/** A pipeline has a batch in its hands. */
export const SHARD_IN_BATCH = 2
/** Asleep in its bell: there is nothing to do. */
export const SHARD_IDLE = 3
/** The committer has yet to take what it sent. */
export const SHARD_AWAITS_ROOM = 4

export interface BatchPlace {
  readonly pipelineId: number
  readonly partition: number
  readonly baseOffset: number
  readonly endOffset: number
  readonly samples: number
}

export function createShardActivity(): SharedArrayBuffer {
  return new SharedArrayBuffer(ACTIVITY_BYTES)
}

export class ShardActivity {
  readonly #i32: Int32Array
  readonly #f64: Float64Array
  #before = SHARD_WORKING

  constructor(sab: SharedArrayBuffer) {
    this.#i32 = new Int32Array(sab)
    this.#f64 = new Float64Array(sab)
  }

  /** Shard: its code runs, and restores state. */
  restores(threadId: number): void {
    // publish: whom to end when it is stuck; partner: threadId.
    Atomics.store(this.#i32, THREAD_AT, threadId)
  }

  /** Its loop begins. */
  started(): void {
    this.#enter(SHARD_WORKING)
  }

  /** Once a turn of its loop. */
  beat(): void {
    // publish: it moves; partner: beats.
    Atomics.add(this.#i32, BEAT_AT, 1)
  }

  idle(isIdle: boolean): void {
    this.#enter(isIdle ? SHARD_IDLE : SHARD_WORKING)
  }

  /** Back to what it did before when it is over. */
  awaitsRoom(waiting: boolean): void {
    if (waiting) {
      this.#before = this.state
      this.#enter(SHARD_AWAITS_ROOM)
    } else this.#enter(this.#before)
  }

  /** hot: called for every record batch of every pipeline. */
  beginBatch(
    pipelineId: number,
    partition: number,
    baseOffset: number,
    endOffset: number,
    samples: number,
  ): void {
    const f64 = this.#f64
    f64[PIPELINE_AT] = pipelineId
    f64[PARTITION_AT] = partition
    f64[BASE_OFFSET_AT] = baseOffset
    f64[END_OFFSET_AT] = endOffset
    f64[SAMPLES_AT] = samples
    this.#enter(SHARD_IN_BATCH)
  }

  endBatch(): void {
    this.#enter(SHARD_WORKING)
  }

  get state(): number {
    // acquire: the place of the batch; partner: #enter().
    return Atomics.load(this.#i32, STATE_AT)
  }

  get beats(): number {
    // acquire: it moves; partner: beat().
    return Atomics.load(this.#i32, BEAT_AT)
  }

  /** 0: no thread has started yet. */
  get threadId(): number {
    // acquire: which thread it is; partner: restores().
    return Atomics.load(this.#i32, THREAD_AT)
  }

  /** The batch that the shard is over, or was when it died; null: none. */
  get batch(): BatchPlace | null {
    if (this.state !== SHARD_IN_BATCH) return null
    const f64 = this.#f64
    return {
      pipelineId: f64[PIPELINE_AT]!,
      partition: f64[PARTITION_AT]!,
      baseOffset: f64[BASE_OFFSET_AT]!,
      endOffset: f64[END_OFFSET_AT]!,
      samples: f64[SAMPLES_AT]!,
    }
  }

  #enter(state: number): void {
    // publish: the place of the batch, and that something moved; partner: state.
    Atomics.store(this.#i32, STATE_AT, state)
    Atomics.add(this.#i32, BEAT_AT, 1)
  }
}
