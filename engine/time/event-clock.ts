/**
 * Event time of one partition. The watermark is the newest event time less the disorder; it never goes back. After
 * `idleMs` of log time without a sample it follows log time, so that the last windows of a source that pauses close.
 * Log time is the `appendedMs` of records, never a clock of this machine: a replay repeats every decision.
 */
import { assert } from '../util/assert.ts'

export interface EventClockState {
  readonly newestMs: number | null
  readonly watermarkMs: number | null
  readonly logMs: number | null
  readonly lastSampleLogMs: number | null
}

export class EventClock {
  readonly disorderMs: number
  readonly idleMs: number
  /** Newest event time seen; -Infinity before the first sample. */
  newestMs = -Infinity
  /** No sample before this is expected any more. */
  watermarkMs = -Infinity
  logMs = -Infinity
  lastSampleLogMs = -Infinity

  constructor(disorderMs: number, idleMs: number) {
    assert(Number.isSafeInteger(disorderMs) && disorderMs >= 0, 'disorder is whole ms', disorderMs)
    assert(idleMs >= 0, 'idleness is a duration', idleMs)
    this.disorderMs = disorderMs
    this.idleMs = idleMs
  }

  /** Samples arrived, the newest of event time `newestMs`. */
  observe(newestMs: number): void {
    this.lastSampleLogMs = this.logMs
    if (newestMs <= this.newestMs) return
    this.newestMs = newestMs
    this.watermarkMs = Math.max(this.watermarkMs, newestMs - this.disorderMs)
  }

  /** Log time passed. Returns true when idleness moved the watermark. */
  advanceLog(logMs: number): boolean {
    // The log clamps it monotone; a record that says otherwise changes nothing.
    if (logMs > this.logMs) this.logMs = logMs
    if (!this.isIdle) return false
    const watermarkMs = this.#idleWatermarkMs(this.logMs)
    if (watermarkMs <= this.watermarkMs) return false
    this.watermarkMs = watermarkMs
    return true
  }

  /** Samples have come, and none for `idleMs` of log time. */
  get isIdle(): boolean {
    return this.newestMs !== -Infinity && this.logMs - this.lastSampleLogMs >= this.idleMs
  }

  /** Log time from which on it is idle if nothing comes; Infinity before the first sample. */
  get idleFromMs(): number {
    return this.newestMs === -Infinity ? Infinity : Math.ceil(this.lastSampleLogMs + this.idleMs)
  }

  /** The node was down: idleness is counted as if these ms of log time had not passed. */
  forgive(downMs: number): void {
    if (this.lastSampleLogMs !== -Infinity && downMs > 0) this.lastSampleLogMs += downMs
  }

  /** A bounded input ended at `endMs`. */
  close(endMs: number): void {
    this.watermarkMs = Math.max(this.watermarkMs, endMs)
  }

  /** Log time at which idleness alone brings the watermark to `targetMs`. */
  deadlineFor(targetMs: number): number {
    if (this.newestMs === -Infinity) return Infinity
    const waitMs = Math.max(this.idleMs, targetMs + this.disorderMs - this.newestMs)
    const deadlineMs = Math.ceil(this.lastSampleLogMs + waitMs)
    // Fractions of event time round: a tick that came a hair too early would be asked for again at once, for ever.
    return this.#idleWatermarkMs(deadlineMs) < targetMs ? deadlineMs + 1 : deadlineMs
  }

  #idleWatermarkMs(logMs: number): number {
    return this.newestMs + (logMs - this.lastSampleLogMs) - this.disorderMs
  }

  snapshot(): EventClockState {
    return {
      newestMs: finiteOrNull(this.newestMs),
      watermarkMs: finiteOrNull(this.watermarkMs),
      logMs: finiteOrNull(this.logMs),
      lastSampleLogMs: finiteOrNull(this.lastSampleLogMs),
    }
  }

  restore(state: EventClockState): void {
    this.newestMs = state.newestMs ?? -Infinity
    this.watermarkMs = state.watermarkMs ?? -Infinity
    this.logMs = state.logMs ?? -Infinity
    this.lastSampleLogMs = state.lastSampleLogMs ?? -Infinity
  }
}

/** JSON has no infinity. */
function finiteOrNull(value: number): number | null {
  return Number.isFinite(value) ? value : null
}
