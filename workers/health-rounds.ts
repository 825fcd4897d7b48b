/**
 * How the detectors of a shard do, as gauges: every now and then a round over all rows of its streams, in pieces between
 * record batches. A round that is under way is finished before the next begins, so that millions of rows make rounds rarer
 * and hold nothing up. Reads cells and writes gauges; changes no entry. Built and driven by the shard.
 */
import { DETECTOR_HEALTHS } from '../engine/contract/plugins.ts'
import { DETECTOR_SERIES } from '../engine/metrics/catalog.ts'
import type { ThreadMetrics } from '../engine/metrics/thread-metrics.ts'
import type { HealthScan } from '../engine/pipeline/health-scan.ts'

/** From the beginning of a round to that of the next, at least. */
export const HEALTH_EVERY_MS = 5_000
/** Looked at in a turn: some tenths of a millisecond. */
export const HEALTH_ROWS_A_TURN = 2_048

/** A chain or an owner of groups. */
export interface HealthSeat {
  /** Row of its pipeline's first detector in the metrics. */
  readonly firstDetector: number
  readonly state: { beginHealthScan(): void; readonly healthScan: HealthScan }
}

export class HealthRounds {
  readonly #seats: readonly HealthSeat[]
  readonly #metrics: ThreadMetrics
  readonly #rowsATurn: number
  /** Seat that is looked at; the number of seats: there is no round. */
  #next: number
  #beganMs = -Infinity

  constructor(seats: readonly HealthSeat[], metrics: ThreadMetrics, rowsATurn = HEALTH_ROWS_A_TURN) {
    this.#seats = seats.filter(({ state }) => state.healthScan.counts.length > 0)
    this.#metrics = metrics
    this.#rowsATurn = rowsATurn
    this.#next = this.#seats.length
  }

  /** No round is under way. */
  get isDone(): boolean {
    return this.#next === this.#seats.length
  }

  /** One bounded piece of the work, if there is any. */
  turn(nowMs: number): void {
    if (this.isDone) {
      if (this.#seats.length === 0 || nowMs - this.#beganMs < HEALTH_EVERY_MS) return
      this.#beganMs = nowMs
      this.#next = 0
      this.#seats[0]!.state.beginHealthScan()
    }
    let left = this.#rowsATurn
    while (!this.isDone) {
      const { healthScan } = this.#seats[this.#next]!.state
      left = healthScan.advance(left)
      if (!healthScan.isDone) return
      this.#next++
      if (!this.isDone) this.#seats[this.#next]!.state.beginHealthScan()
    }
    this.#publish()
  }

  #publish(): void {
    const sums = new Map<number, number[]>()
    for (const { firstDetector, state } of this.#seats) {
      const { counts } = state.healthScan
      for (let i = 0; i < counts.length; i++) {
        const row = firstDetector + Math.floor(i / DETECTOR_HEALTHS.length)
        const sum = sums.get(row) ?? DETECTOR_HEALTHS.map(() => 0)
        sum[i % DETECTOR_HEALTHS.length]! += counts[i]!
        sums.set(row, sum)
      }
    }
    for (const [row, sum] of sums) {
      DETECTOR_HEALTHS.forEach((health, i) => {
        this.#metrics.set(DETECTOR_SERIES, sum[i]!, row, health)
      })
    }
  }
}
