/**
 * The sending half of an exchange, one a chain whose groups are spread over partitions. Where the chain would fire a
 * window it sends what the window's slices hold that was not sent before, and forgets it; the owners of the groups
 * (merger.ts) put the parts of all partitions together. A function of the partition's records alone, like the chain.
 *
 * A part says from which window on its samples count: what comes after a window was fired here is not in it, however
 * late the owner gets to it. So an owner's windows hold what each partition's own watermark decided.
 *
 * At the end of a record a MARK tells where the clocks stand, if that can matter to an owner: a window's end was passed,
 * the partition fell idle or woke, a control record said that log time passed, or nothing was said for a while.
 */
import { type EntrySink, PARTITION_ACTIVE, PARTITION_IDLE, PARTITION_UNSEEN } from '../contract/entries.ts'
import { RECORD_SAMPLES } from '../contract/samples.ts'
import type { EventClock } from '../time/event-clock.ts'
import { EntryWriter } from './entry-writer.ts'
import type { Router } from './routing.ts'
import type { Slices } from './slices.ts'

/** Log time after which a partition with records says where it stands, so that owners notice that time passes. */
export const MARK_EVERY_MS = 500

export interface PartialsState {
  readonly nextSeq: number
  readonly state: number
  readonly saidMs: number | null
}

export class Partials {
  readonly #writer: EntryWriter
  readonly #slices: Slices
  readonly #router: Router
  readonly #clock: EventClock
  #state = PARTITION_UNSEEN
  /** Log time of the newest entry. */
  #saidMs = -Infinity
  /** Since the last mark: the watermark passed the end of a window. */
  #passed = false
  #sampled = false
  #rows: Int32Array = new Int32Array(0)
  /** Rows with samples in this record; by row whether it is among them. */
  #arrived: Int32Array = new Int32Array(0)
  #arrivedCount = 0
  #hasArrived: Uint8Array = new Uint8Array(0)

  constructor(sink: EntrySink, slices: Slices, router: Router, clock: EventClock) {
    this.#writer = new EntryWriter(sink)
    this.#slices = slices
    this.#router = router
    this.#clock = clock
  }

  get nextSeq(): number {
    return this.#writer.nextSeq
  }

  /** A sample was expected and has come within the idle time: somebody should look again when that is over. */
  get isActive(): boolean {
    return this.#state === PARTITION_ACTIVE
  }

  /** Samples moved the clock: the partition is no longer idle once this record is through. */
  sampled(): void {
    this.#sampled = true
  }

  passedWindowEnd(): void {
    this.#passed = true
  }

  arrived(row: number): void {
    if (row >= this.#hasArrived.length) this.#growArrivals(row + 1)
    if (this.#hasArrived[row] !== 0) return
    this.#hasArrived[row] = 1
    this.#arrived[this.#arrivedCount++] = row
  }

  /** Sends what slices [from, end) hold; it counts in windows that start at `openFromMs` or later. */
  send(from: number, end: number, openFromMs: number, causeOffset: number): void {
    const slices = this.#slices
    for (let slice = Math.max(from, slices.floorSlice); slice < end; slice++) {
      if (slices.isLive(slice)) this.#sendSlice(slice, openFromMs, causeOffset)
    }
  }

  /** No sample for the idle time, or the input ended: what is open is sent, since nothing holds the owners back now. */
  fallIdle(openFromMs: number, causeOffset: number): void {
    const newest = this.#slices.newest()
    if (newest > -Infinity) this.send(this.#slices.floorSlice, newest + 1, openFromMs, causeOffset)
    this.#state = PARTITION_IDLE
    this.#passed = true
  }

  /** Somebody said something of a group of this pipeline: its owner is to hear of it. */
  sendFeedback(id: number, causeOffset: number): void {
    this.#writer.feedback(id, this.#clock.logMs, causeOffset)
  }

  /** The record is through. `downFromMs`: of a RESUMED record, else NaN. */
  endRecord(recordKind: number, causeOffset: number, downFromMs: number): void {
    const { logMs } = this.#clock
    if (this.#arrivedCount > 0) this.#sendArrivals(causeOffset)
    if (this.#sampled && this.#state !== PARTITION_ACTIVE) {
      this.#state = PARTITION_ACTIVE
      this.#passed = true
    }
    this.#sampled = false
    const isDue = logMs - this.#saidMs >= MARK_EVERY_MS
    if (!this.#passed && !isDue && recordKind === RECORD_SAMPLES) return
    this.#writer.mark(this.#state, this.#passed, this.#clock, downFromMs, causeOffset)
    this.#passed = false
    this.#saidMs = logMs
  }

  snapshot(): PartialsState {
    return {
      nextSeq: this.nextSeq,
      state: this.#state,
      saidMs: this.#saidMs === -Infinity ? null : this.#saidMs,
    }
  }

  restore(state: PartialsState): void {
    this.#writer.nextSeq = state.nextSeq
    this.#state = state.state
    this.#saidMs = state.saidMs ?? -Infinity
  }

  #sendSlice(slice: number, openFromMs: number, causeOffset: number): void {
    const slices = this.#slices
    const { stride } = slices
    const { data } = slices.cells
    const base = slices.baseOf(slices.slotOf(slice))
    const order = this.#router.order()
    if (this.#rows.length < order.length) this.#rows = new Int32Array(slices.rowCapacity)
    const rows = this.#rows
    let count = 0
    for (let k = 0; k < order.length; k++) {
      const row = order[k]!
      if (data[base + row * stride] !== 0) rows[count++] = row
    }
    const { logMs } = this.#clock
    this.#writer.partial(
      { slice, openFromMs, logMs, cells: data, base, stride, rows, groupIds: this.#router.groupIds.data },
      count,
      causeOffset,
    )
    slices.clear(slice)
  }

  #sendArrivals(causeOffset: number): void {
    const arrived = this.#arrived
    const count = this.#arrivedCount
    for (let j = 0; j < count; j++) {
      this.#hasArrived[arrived[j]!] = 0
      arrived[j] = this.#router.groupIdOf(arrived[j]!)
    }
    this.#arrivedCount = 0
    this.#writer.arrivals(arrived, count, this.#clock.logMs, causeOffset)
    // Who watches silence is told with every record, which is more often than any mark.
    this.#saidMs = this.#clock.logMs
  }

  #growArrivals(rows: number): void {
    const length = Math.max(64, rows * 2)
    const arrived = new Int32Array(length)
    arrived.set(this.#arrived)
    const has = new Uint8Array(length)
    has.set(this.#hasArrived)
    this.#arrived = arrived
    this.#hasArrived = has
  }
}
