/**
 * Simulated time, and waiting in it: the clock moves when the scheduler says so, a bell that is waited in gives the turn
 * back to the scheduler, and one that is rung is a place where others may run in between.
 */
import { Doorbell } from '../../engine/ring/doorbell.ts'
import type { Clock } from '../../engine/util/clock.ts'

/** What a bell needs of the scheduler. */
export interface BellWorld {
  waitIn(bell: SimBell, ticket: number, timeoutMs: number): boolean
  pass(place: string): void
}

export class SimClock implements Clock {
  #monotonicMs = 0
  #wallOffsetMs = 1_700_000_000_000

  nowMs(): number {
    return this.#monotonicMs + this.#wallOffsetMs
  }

  monotonicMs(): number {
    return this.#monotonicMs
  }

  advance(ms: number): void {
    this.#monotonicMs += ms
  }

  /** Somebody sets the clock. */
  step(ms: number): void {
    this.#wallOffsetMs += ms
  }
}

/** Waits by letting the scheduler run others; a ring is a place where it may do so too. */
export class SimBell extends Doorbell {
  readonly #word: Int32Array
  readonly #world: BellWorld
  /** A producer waits in it for room, in the middle of its turn. */
  readonly isForRoom: boolean

  constructor(sab: SharedArrayBuffer, world: BellWorld, isForRoom: boolean) {
    super(sab)
    this.#word = new Int32Array(sab)
    this.#world = world
    this.isForRoom = isForRoom
  }

  isRungSince(ticket: number): boolean {
    // acquire: as Doorbell.wait; partner: ring().
    return Atomics.load(this.#word, 0) !== ticket
  }

  override wait(ticket: number, timeoutMs: number): boolean {
    return this.#world.waitIn(this, ticket, timeoutMs)
  }

  override ring(): void {
    super.ring()
    this.#world.pass('bell')
  }
}
