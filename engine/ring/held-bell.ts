/**
 * A bell that a producer holds while it pushes frames that belong together: the consumer is woken once, when all are there,
 * and not at all for what can wait until it looks by itself. To wake a sleeping thread costs more than to push a frame.
 *
 * Guarantee: whoever holds it rings by `release` or the consumer looks by itself within a bounded time: that is the
 * holder's agreement with its consumer. It rings by itself after FRAMES_HELD_MAX frames, so that a long push is drained
 * meanwhile. Before its producer waits for room it must be released.
 */
export interface Ringable {
  ring(): void
}

const FRAMES_HELD_MAX = 256

export class HeldBell implements Ringable {
  readonly #bell: Ringable
  #frames = 0

  constructor(bell: Ringable) {
    this.#bell = bell
  }

  /** By the ring, after each frame. */
  ring(): void {
    if (++this.#frames >= FRAMES_HELD_MAX) this.release()
  }

  release(): void {
    this.#frames = 0
    this.#bell.ring()
  }
}
