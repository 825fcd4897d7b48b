/** Time comes through here, so that tests and simulation can move it by hand. */
export interface Clock {
  /** Epoch ms; may step. */
  nowMs(): number
  /** Monotonic ms, for durations. */
  monotonicMs(): number
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
}

export class ManualClock implements Clock {
  #nowMs: number

  constructor(nowMs = 0) {
    this.#nowMs = nowMs
  }

  nowMs(): number {
    return this.#nowMs
  }

  monotonicMs(): number {
    return this.#nowMs
  }

  advance(ms: number): void {
    this.#nowMs += ms
  }
}
