/**
 * Lets one thread sleep until another has something for it: an eventcount in one shared word. Guarantee: a `ring` after
 * the sleeper's last look is never lost; a `ring` that finds nobody asleep costs one load; one sleep costs its ringers
 * one notify together. Any number of threads ring; exactly one sleeps.
 *
 * The sleeper:   ticket = prepare();  look again at everything;  wait(ticket, timeoutMs)  or  cancel()
 * The ringer:    publish, with Atomics;  ring()
 *
 * The word is a count with the lowest bit as the announcement: odd says "I am about to sleep". Announcing and looking on
 * one side, publishing and loading the word on the other are a Dekker pair: Atomics are sequentially consistent, so either
 * the sleeper's second look sees what was published, or the ringer sees the announcement. To ring is to add one to an odd
 * word: that withdraws the announcement and invalidates the ticket in one step, so there is no moment at which a ringer
 * that dies or is descheduled holds back the others. A failed compare-and-swap needs no retry: whoever changed the word
 * either woke the sleeper or was the sleeper, awake, who looks again after our publish.
 */
import { assert } from '../util/assert.ts'

const WORD = 0
const ANNOUNCED = 1
/** A line of its own, so that ringing does not disturb what the allocator puts beside it. */
const DOORBELL_BYTES = 128

export function createDoorbell(): SharedArrayBuffer {
  return new SharedArrayBuffer(DOORBELL_BYTES)
}

export class Doorbell {
  readonly #word: Int32Array

  constructor(sab: SharedArrayBuffer) {
    assert(sab.byteLength === DOORBELL_BYTES, 'a doorbell is made by createDoorbell', sab.byteLength)
    this.#word = new Int32Array(sab)
  }

  /** Sleeper: announces the intent. Look at everything again before `wait`. */
  prepare(): number {
    // publish: the announcement; partner: the load in ring(), after the ringer's own publish.
    return Atomics.or(this.#word, WORD, ANNOUNCED) | ANNOUNCED
  }

  /** Sleeper: sleeps unless rung since `prepare`. True: rung. Withdraws the announcement either way. */
  wait(ticket: number, timeoutMs: number): boolean {
    // acquire: what the ringer published; partner: the compareExchange in ring().
    if (Atomics.wait(this.#word, WORD, ticket, timeoutMs) !== 'timed-out') return true
    // acquire: the same, where the ring came between the timeout and this line; partner: ring().
    return Atomics.and(this.#word, WORD, ~ANNOUNCED) !== ticket
  }

  /**
   * `wait` for a thread that must keep its event loop. The promise does not keep the process alive.
   */
  async waitAsync(ticket: number, timeoutMs: number): Promise<boolean> {
    // acquire: what the ringer published; partner: the compareExchange in ring().
    const sleep = Atomics.waitAsync(this.#word, WORD, ticket, timeoutMs)
    if ((sleep.async ? await sleep.value : sleep.value) !== 'timed-out') return true
    // acquire: the same, where the ring came between the timeout and this line; partner: ring().
    return Atomics.and(this.#word, WORD, ~ANNOUNCED) !== ticket
  }

  /** Sleeper: there was something after all. */
  cancel(): void {
    // publish: nobody sleeps; partner: the load in ring(), which saves its notify. Late is only slow, never wrong.
    Atomics.and(this.#word, WORD, ~ANNOUNCED)
  }

  /** Ringer: call after the Atomics.store that published. */
  ring(): void {
    const word = this.#word
    // acquire: the announcement; partner: prepare().
    const seen = Atomics.load(word, WORD)
    if ((seen & ANNOUNCED) === 0) return
    // publish: rung, not announced; partner: wait(), whose ticket is `seen`.
    if (Atomics.compareExchange(word, WORD, seen, (seen + 1) | 0) === seen) Atomics.notify(word, WORD, 1)
  }
}
