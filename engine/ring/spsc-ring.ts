/**
 * A ring for one producer thread and one consumer thread over a SharedArrayBuffer. Guarantees: frames arrive whole, once,
 * in order; a frame's bytes are not overwritten before its `release`; nothing is allocated per frame and nobody spins.
 * It never blocks by itself: `claim` answers -1 when full, `peek` -1 when empty; sleeping is the doorbells' affair.
 *
 * One publish a side: the producer writes the frame plainly and stores the tail once; the consumer reads it plainly and
 * stores the head once for many frames: when it has drained all it knows of, at the latest after a quarter of the ring.
 * So a producer that waits for room gets it as long as the consumer goes on consuming: draining ends in a publish, and a
 * consumer sleeps only on an empty ring. Each side keeps the other's index in a field and loads it only when that looks
 * full (or empty), so that the two cache lines change hands once a batch, not once a frame.
 *
 * test/ring/ explores every interleaving of a model of this file; a test holds model and code to the same accesses.
 */
import { assert } from '../util/assert.ts'
import type { Doorbell } from './doorbell.ts'
import type { Ringable } from './held-bell.ts'
import * as layout from './layout.ts'

/** `capacityBytes`: a power of two. The largest payload is half of it less a frame header. */
export function createRing(capacityBytes: number): SharedArrayBuffer {
  assert(
    capacityBytes >= layout.CAPACITY_BYTES_MIN &&
      capacityBytes <= layout.CAPACITY_BYTES_MAX &&
      (capacityBytes & (capacityBytes - 1)) === 0,
    `a ring's capacity is a power of two from ${layout.CAPACITY_BYTES_MIN} to ${layout.CAPACITY_BYTES_MAX}`,
    capacityBytes,
  )
  const sab = new SharedArrayBuffer(layout.FRAMES_AT + capacityBytes)
  const i32 = new Int32Array(sab)
  i32[layout.CAPACITY_INDEX] = capacityBytes
  i32[layout.MAGIC_INDEX] = layout.MAGIC
  return sab
}

function capacityOf(i32: Int32Array): number {
  assert(i32[layout.MAGIC_INDEX] === layout.MAGIC, 'a ring is made by createRing', i32[layout.MAGIC_INDEX])
  const capacity = i32[layout.CAPACITY_INDEX]!
  assert(layout.FRAMES_AT + capacity === i32.byteLength, 'a ring fits its buffer', capacity, i32.byteLength)
  return capacity
}

export class RingProducer {
  /** Views over the whole buffer: index them with the position from `claim`, shifted. */
  readonly i32: Int32Array
  readonly f64: Float64Array
  readonly u8: Uint8Array
  /** The largest payload that can ever be claimed. */
  readonly frameBytesMax: number
  readonly #capacity: number
  readonly #mask: number
  readonly #wakes: Ringable
  readonly #room: Doorbell | null
  #tail: number
  /** The head as last loaded: room there was, maybe more by now. */
  #headCache: number
  /** Bytes that `commit` adds to the tail: padding and frame; 0: nothing is claimed. */
  #claimedBytes = 0
  #claimedAt = 0
  #claimedLength = 0

  /** `wakes`: the consumer's bell. `room`: this producer's own bell, rung by the consumer when it publishes its head. */
  constructor(sab: SharedArrayBuffer, wakes: Ringable, room: Doorbell | null = null) {
    this.i32 = new Int32Array(sab)
    this.f64 = new Float64Array(sab)
    this.u8 = new Uint8Array(sab)
    this.#capacity = capacityOf(this.i32)
    this.#mask = this.#capacity - 1
    this.frameBytesMax = layout.payloadBytesMax(this.#capacity)
    this.#wakes = wakes
    this.#room = room
    // acquire: a predecessor's last commit; partner: the tail store in commit().
    this.#tail = Atomics.load(this.i32, layout.TAIL_INDEX)
    // acquire: freed room; partner: the head store in release().
    this.#headCache = Atomics.load(this.i32, layout.HEAD_INDEX)
  }

  /** hot: byte position of `bytes` of payload in the buffer, or -1: full. `commit` or `abort` before the next claim. */
  claim(bytes: number): number {
    assert(this.#claimedBytes === 0, 'a claim is committed or aborted before the next', this.#claimedLength)
    const tail = this.#tail
    const needed = this.#neededBytes(bytes)
    if (!this.#hasRoom(needed)) return -1
    const frame = layout.frameBytes(bytes)
    const padding = needed - frame
    if (padding > 0) {
      const at = (layout.FRAMES_AT + (tail & this.#mask)) >> 2
      this.i32[at] = padding - layout.FRAME_HEADER_BYTES
      this.i32[at + 1] = layout.PADDING
    }
    const at = layout.FRAMES_AT + ((tail + padding) & this.#mask)
    this.#claimedBytes = needed
    this.#claimedAt = at
    this.#claimedLength = bytes
    return at + layout.FRAME_HEADER_BYTES
  }

  /**
   * hot: publishes the claimed frame and wakes the consumer if it sleeps. `kind`: 0 or more, the caller's. Of many frames in
   * a row all but the last may leave it asleep (`wakes` false): then `wake` follows, or a commit that wakes.
   */
  commit(kind: number, wakes = true): void {
    assert(this.#claimedBytes > 0, 'a commit follows a claim', kind)
    assert(kind >= 0, 'a frame kind is not negative', kind)
    const i32 = this.i32
    const at = this.#claimedAt >> 2
    i32[at] = this.#claimedLength
    i32[at + 1] = kind
    const tail = (this.#tail + this.#claimedBytes) | 0
    this.#tail = tail
    this.#claimedBytes = 0
    // publish: padding, header and payload; partner: the tail load in peek().
    Atomics.store(i32, layout.TAIL_INDEX, tail)
    if (wakes) this.#wakes.ring()
  }

  /** Wakes the consumer, if it sleeps, for frames that were committed without. */
  wake(): void {
    this.#wakes.ring()
  }

  /** Forgets the claim; the consumer never sees it. */
  abort(): void {
    this.#claimedBytes = 0
  }

  /**
   * Blocks the thread until `claim(bytes)` would succeed; false: not within `timeoutMs`. For threads that may block, with
   * a `room` bell; one that also consumes must drain its own rings meanwhile and so uses short timeouts.
   */
  waitForRoom(bytes: number, timeoutMs: number): boolean {
    const needed = this.#neededBytes(bytes)
    const room = this.#roomBell()
    const deadlineMs = performance.now() + timeoutMs
    for (;;) {
      if (this.#hasRoom(needed)) return true
      const ticket = room.prepare()
      const leftMs = deadlineMs - performance.now()
      if (this.#hasRoom(needed) || leftMs <= 0) {
        room.cancel()
        return this.#hasRoom(needed)
      }
      room.wait(ticket, leftMs)
    }
  }

  /** `waitForRoom` for a thread that must keep its event loop. One call at a time, and no claim until it is settled. */
  async whenRoom(bytes: number, timeoutMs: number): Promise<boolean> {
    const needed = this.#neededBytes(bytes)
    const room = this.#roomBell()
    const deadlineMs = performance.now() + timeoutMs
    for (;;) {
      if (this.#hasRoom(needed)) return true
      const ticket = room.prepare()
      const leftMs = deadlineMs - performance.now()
      if (this.#hasRoom(needed) || leftMs <= 0) {
        room.cancel()
        return this.#hasRoom(needed)
      }
      await room.waitAsync(ticket, leftMs)
    }
  }

  /** Bytes that a claim takes at the present tail: the frame, and the padding before it where it would wrap. */
  #neededBytes(bytes: number): number {
    assert(bytes >= 0 && bytes <= this.frameBytesMax, 'a frame fits half the ring', bytes, this.frameBytesMax)
    const frame = layout.frameBytes(bytes)
    const toEnd = this.#capacity - (this.#tail & this.#mask)
    return frame <= toEnd ? frame : toEnd + frame
  }

  #hasRoom(needed: number): boolean {
    const used = (this.#tail - this.#headCache) | 0
    if (needed <= this.#capacity - used) return true
    // acquire: the consumer has read what we may now overwrite; partner: the head store in release().
    this.#headCache = Atomics.load(this.i32, layout.HEAD_INDEX)
    return needed <= this.#capacity - ((this.#tail - this.#headCache) | 0)
  }

  #roomBell(): Doorbell {
    const room = this.#room
    assert(room !== null, 'waiting for room needs a room doorbell on both sides')
    return room
  }
}

export class RingConsumer {
  /** Views over the whole buffer: index them with `position`, shifted. */
  readonly i32: Int32Array
  readonly f64: Float64Array
  readonly u8: Uint8Array
  /** Byte position in the buffer and length of the payload last peeked; valid until `release`. */
  position = 0
  length = 0
  readonly #mask: number
  readonly #publishBytes: number
  readonly #room: Doorbell | null
  #head: number
  #headPublished: number
  /** The tail as last loaded: frames there were, maybe more by now. */
  #tailCache: number
  /** Bytes that `release` adds to the head; 0: nothing is peeked. */
  #peekedBytes = 0

  /** `room`: the producer's bell, where it waits for room. */
  constructor(sab: SharedArrayBuffer, room: Doorbell | null = null) {
    this.i32 = new Int32Array(sab)
    this.f64 = new Float64Array(sab)
    this.u8 = new Uint8Array(sab)
    const capacity = capacityOf(this.i32)
    this.#mask = capacity - 1
    this.#publishBytes = capacity / 4
    this.#room = room
    // acquire: a predecessor's last release; partner: the head store in release().
    this.#head = Atomics.load(this.i32, layout.HEAD_INDEX)
    this.#headPublished = this.#head
    this.#tailCache = this.#head
  }

  /** hot: kind of the oldest frame, or -1: empty. Sets `position` and `length`. Repeatable until `release`. */
  peek(): number {
    const i32 = this.i32
    const head = this.#head
    if (head === this.#tailCache) {
      // acquire: the frames up to it; partner: the tail store in commit().
      this.#tailCache = Atomics.load(i32, layout.TAIL_INDEX)
      if (head === this.#tailCache) return -1
    }
    let at = layout.FRAMES_AT + (head & this.#mask)
    let padding = 0
    if (i32[(at >> 2) + 1] === layout.PADDING) {
      padding = layout.FRAME_HEADER_BYTES + i32[at >> 2]!
      at = layout.FRAMES_AT
    }
    const length = i32[at >> 2]!
    this.position = at + layout.FRAME_HEADER_BYTES
    this.length = length
    this.#peekedBytes = padding + layout.frameBytes(length)
    return i32[(at >> 2) + 1]!
  }

  /** hot: frees the peeked frame: its bytes may be overwritten from now on. */
  release(): void {
    assert(this.#peekedBytes > 0, 'a release follows a peek')
    const head = (this.#head + this.#peekedBytes) | 0
    this.#head = head
    this.#peekedBytes = 0
    if (head !== this.#tailCache && ((head - this.#headPublished) | 0) < this.#publishBytes) return
    this.#headPublished = head
    // publish: everything before it is read; partner: the head load in #hasRoom().
    Atomics.store(this.i32, layout.HEAD_INDEX, head)
    this.#room?.ring()
  }
}
