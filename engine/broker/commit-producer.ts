/**
 * A shard's side of the ring to the committer (frames: commit-frames.ts). A push blocks the thread while the ring is
 * full: that is the backpressure from the disk to the shards, and the log absorbs the rest. Called by one shard only.
 *
 * A checkpoint that is sent piece by piece (`CheckpointSender`) never blocks: its pages and its mark go into a ring that is
 * at most half full, so that entries and progress find room while the committer is busy writing pages.
 *
 * With a held bell the committer is woken by `endTurn`, once, and only for what somebody waits for; mere progress lies in
 * the ring until it looks by itself (workers/committer.ts: PROGRESS_MS_MIN).
 */
import type { EntrySink, Ledger } from '../contract/entries.ts'
import type { HeldBell } from '../ring/held-bell.ts'
import type { RingProducer } from '../ring/spsc-ring.ts'
import { PAGE_BYTES } from '../state/cells.ts'
import { assert } from '../util/assert.ts'
import { killPoint } from '../util/kill-point.ts'
import * as frames from './commit-frames.ts'

/** A committer that takes nothing for this long is dead; the shard stops rather than hang for ever. */
const ROOM_TIMEOUT_MS = 60_000

/** What a shard reports of a stream: of a chain, of what the chain sends on, of an owner of groups. */
export interface StreamProgress {
  readonly position: number
  readonly nextSeq: number
  readonly ledger: Ledger
}

export interface StreamState extends StreamProgress {
  /** Pages that changed since the last cut are owed from now on; everything else is returned. */
  cut(): string
  /** Hands out owed pages, as they were at the cut, until one is not taken. True: all were. */
  drain(take: (region: number, index: number, cells: Float64Array) => boolean): boolean
}

const encoder = new TextEncoder()

export class CommitProducer {
  readonly #ring: RingProducer
  readonly #waiting: (forRoom: boolean) => void
  /** The one that the ring rings; null: it wakes the committer by itself. */
  readonly #bell: HeldBell | null
  #isNews = false

  /** `waiting` is told when the thread begins to wait for room, and when it goes on. */
  constructor(
    ring: RingProducer,
    waiting: (forRoom: boolean) => void = () => {},
    bell: HeldBell | null = null,
  ) {
    this.#ring = ring
    this.#waiting = waiting
    this.#bell = bell
  }

  /** Everything that belongs together is pushed. */
  endTurn(): void {
    if (!this.#isNews) return
    this.#isNews = false
    this.#bell?.release()
  }

  entriesOf(pipelineId: number, partition: number): EntrySink {
    return {
      group: (groupId, key) => this.#group(pipelineId, partition, groupId, key),
      entry: (kind, seq, causeOffset, eventTimeMs, bytes, length) => {
        const ring = this.#ring
        const at = this.#claim(frames.ENTRY_HEADER_BYTES + length, pipelineId, partition)
        ring.i32[(at + 8) >> 2] = kind
        ring.i32[(at + 12) >> 2] = length
        ring.f64[(at + 16) >> 3] = seq
        ring.f64[(at + 24) >> 3] = causeOffset
        ring.f64[(at + 32) >> 3] = eventTimeMs
        ring.u8.set(
          length === bytes.length ? bytes : bytes.subarray(0, length),
          at + frames.ENTRY_HEADER_BYTES,
        )
        ring.commit(frames.FRAME_ENTRY)
        this.#isNews = true
      },
    }
  }

  /** `logMs`: of a partial stream only. */
  progress(pipelineId: number, partition: number, stream: StreamProgress, logMs = NaN): void {
    const ring = this.#ring
    const at = this.#claim(frames.PROGRESS_BYTES, pipelineId, partition)
    const f64At = at >> 3
    const { ledger } = stream
    ring.f64[f64At + 1] = stream.position
    ring.f64[f64At + 2] = stream.nextSeq
    ring.f64[f64At + 3] = ledger.in
    ring.f64[f64At + 4] = ledger.windowed
    ring.f64[f64At + 5] = ledger.filtered
    ring.f64[f64At + 6] = ledger.late
    ring.f64[f64At + 7] = ledger.nonFinite
    ring.f64[f64At + 8] = ledger.dead
    ring.f64[f64At + 9] = logMs
    ring.commit(frames.FRAME_PROGRESS)
    // Owners of groups wait for it.
    if (!Number.isNaN(logMs)) this.#isNews = true
  }

  /** A checkpoint of a stream as it stands, all at once. */
  checkpoint(pipelineId: number, partition: number, stream: StreamState): void {
    const sender = this.cut(pipelineId, partition, stream)
    for (sender.send(Infinity); !sender.isSent; sender.send(Infinity)) this.awaitPageRoom()
  }

  /** Cuts a checkpoint of a stream as it stands, to be sent piece by piece. Its progress was sent before. */
  cut(pipelineId: number, partition: number, stream: StreamState): CheckpointSender {
    return new CheckpointSender(this, pipelineId, partition, stream)
  }

  /** False: no room for it beside what else the shard has to say. Wakes nobody: `wakeCommitter` does, after the last. */
  tryPage(
    pipelineId: number,
    partition: number,
    region: number,
    index: number,
    cells: Float64Array,
  ): boolean {
    if (!this.#hasSpareRoom()) return false
    const ring = this.#ring
    const at = this.#claim(frames.PAGE_HEADER_BYTES + PAGE_BYTES, pipelineId, partition)
    ring.i32[(at + 8) >> 2] = region
    ring.i32[(at + 12) >> 2] = index
    ring.f64.set(cells, (at + frames.PAGE_HEADER_BYTES) >> 3)
    ring.commit(frames.FRAME_PAGE, false)
    return true
  }

  /** The checkpoint is whole. False: no room. */
  tryMark(
    pipelineId: number,
    partition: number,
    position: number,
    nextSeq: number,
    meta: Uint8Array,
  ): boolean {
    if (!this.#hasSpareRoom()) return false
    const ring = this.#ring
    const at = this.#claim(frames.CHECKPOINT_HEADER_BYTES + meta.length, pipelineId, partition)
    ring.f64[(at + 8) >> 3] = position
    ring.f64[(at + 16) >> 3] = nextSeq
    ring.i32[(at + 24) >> 2] = meta.length
    ring.u8.set(meta, at + frames.CHECKPOINT_HEADER_BYTES)
    ring.commit(frames.FRAME_CHECKPOINT)
    this.#isNews = true
    return true
  }

  /** At the end of the turn. */
  wakeCommitter(): void {
    this.#ring.wake()
    this.#isNews = true
  }

  /** Blocks until a page would be taken. */
  awaitPageRoom(): void {
    if (this.#hasSpareRoom()) return
    this.#awaitRoom(this.#ring.frameBytesMax)
  }

  done(): void {
    this.#claim(8, -1, -1)
    this.#ring.commit(frames.FRAME_DONE)
    this.#isNews = true
    this.endTurn()
  }

  #group(pipelineId: number, partition: number, groupId: number, key: Uint8Array): void {
    const ring = this.#ring
    const at = this.#claim(frames.GROUP_HEADER_BYTES + key.length, pipelineId, partition)
    ring.i32[(at + 8) >> 2] = groupId
    ring.i32[(at + 12) >> 2] = key.length
    ring.u8.set(key, at + frames.GROUP_HEADER_BYTES)
    ring.commit(frames.FRAME_GROUP)
  }

  #claim(bytes: number, pipelineId: number, partition: number): number {
    const ring = this.#ring
    let at = ring.claim(bytes)
    if (at < 0) {
      this.#awaitRoom(bytes)
      at = ring.claim(bytes)
    }
    ring.i32[at >> 2] = pipelineId
    ring.i32[(at + 4) >> 2] = partition
    return at
  }

  #awaitRoom(bytes: number): void {
    this.#waiting(true)
    this.#bell?.release()
    assert(this.#ring.waitForRoom(bytes, ROOM_TIMEOUT_MS), 'the committer takes what shards send', bytes)
    this.#waiting(false)
  }

  /** The largest frame of all would fit, which is half the ring. */
  #hasSpareRoom(): boolean {
    const ring = this.#ring
    if (ring.claim(ring.frameBytesMax) < 0) return false
    ring.abort()
    return true
  }
}

/** One checkpoint of one stream, under way. What a checkpoint stands for is fixed when this is made. */
export class CheckpointSender {
  readonly position: number
  readonly #producer: CommitProducer
  readonly #pipelineId: number
  readonly #partition: number
  readonly #stream: StreamState
  readonly #nextSeq: number
  readonly #meta: Uint8Array
  #isPaged = false
  #isSent = false

  constructor(producer: CommitProducer, pipelineId: number, partition: number, stream: StreamState) {
    this.#producer = producer
    this.#pipelineId = pipelineId
    this.#partition = partition
    this.#stream = stream
    this.position = stream.position
    this.#nextSeq = stream.nextSeq
    this.#meta = encoder.encode(stream.cut())
    killPoint('checkpoint-cut')
  }

  /** All of it is in the ring. */
  get isSent(): boolean {
    return this.#isSent
  }

  /** Sends at most `pagesMax` pages, and the mark after the last. Returns how many: less than that for lack of room. */
  send(pagesMax: number): number {
    const pages = this.#isPaged ? 0 : this.#sendPages(pagesMax)
    // Once for all of them: to wake a thread for each takes longer than to copy it.
    if (pages > 0) this.#producer.wakeCommitter()
    if (!this.#isPaged) return pages
    this.#isSent = this.#producer.tryMark(
      this.#pipelineId,
      this.#partition,
      this.position,
      this.#nextSeq,
      this.#meta,
    )
    if (this.#isSent) killPoint('checkpoint-marked')
    return pages
  }

  #sendPages(pagesMax: number): number {
    let pages = 0
    this.#isPaged = this.#stream.drain((region, index, cells) => {
      if (pages === pagesMax) return false
      if (!this.#producer.tryPage(this.#pipelineId, this.#partition, region, index, cells)) return false
      pages++
      killPoint('checkpoint-page')
      return true
    })
    if (this.#isPaged) killPoint('checkpoint-paged')
    return pages
  }
}
