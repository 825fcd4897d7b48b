/**
 * A shard's side of the ring to the committer (frames: commit-frames.ts). A push blocks the thread while the ring is
 * full: that is the backpressure from the disk to the shards, and the log absorbs the rest. Called by one shard only.
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
  /** Dirty pages to `page`, everything else returned. */
  snapshot(page: (region: number, index: number, cells: Float64Array) => void): string
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

  checkpoint(pipelineId: number, partition: number, stream: StreamState): void {
    const ring = this.#ring
    const meta = encoder.encode(
      stream.snapshot((region, index, cells) => {
        const at = this.#claim(frames.PAGE_HEADER_BYTES + PAGE_BYTES, pipelineId, partition)
        ring.i32[(at + 8) >> 2] = region
        ring.i32[(at + 12) >> 2] = index
        ring.f64.set(cells, (at + frames.PAGE_HEADER_BYTES) >> 3)
        ring.commit(frames.FRAME_PAGE)
        killPoint('checkpoint-page')
      }),
    )
    killPoint('checkpoint-paged')
    const at = this.#claim(frames.CHECKPOINT_HEADER_BYTES + meta.length, pipelineId, partition)
    ring.f64[(at + 8) >> 3] = stream.position
    ring.f64[(at + 16) >> 3] = stream.nextSeq
    ring.i32[(at + 24) >> 2] = meta.length
    ring.u8.set(meta, at + frames.CHECKPOINT_HEADER_BYTES)
    ring.commit(frames.FRAME_CHECKPOINT)
    this.#isNews = true
    killPoint('checkpoint-marked')
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
      this.#waiting(true)
      this.#bell?.release()
      assert(ring.waitForRoom(bytes, ROOM_TIMEOUT_MS), 'the committer takes what shards send', bytes)
      this.#waiting(false)
      at = ring.claim(bytes)
    }
    ring.i32[at >> 2] = pipelineId
    ring.i32[(at + 4) >> 2] = partition
    return at
  }
}
