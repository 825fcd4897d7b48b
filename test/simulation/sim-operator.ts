/**
 * Somebody who makes silences and ends them, through the node's own door to the committer, one request at a time. Outlives the
 * node: an answer that a crash took away may have been durable or not. In the quiet end of a run all silences are ended, so
 * that what still stands is to be told.
 */
import type { SilenceSpec } from '../../engine/contract/silences.ts'
import type { Clock } from '../../engine/util/clock.ts'
import type { Prng } from '../../engine/util/prng.ts'
import type { ControlAnswer, SilenceChange } from '../../workers/wiring.ts'
import { check } from './checker.ts'
import { pick, type Scenario } from './scenario.ts'

export class SimOperator {
  readonly #scenario: Scenario
  readonly #prng: Prng
  readonly #clock: Clock
  /** Ids up to here may have been given, and from here on this one ends them. */
  #newestId = 0
  #isAsking = false
  #endedUpTo = 0
  made = 0

  constructor(scenario: Scenario, prng: Prng, clock: Clock) {
    this.#scenario = scenario
    this.#prng = prng
    this.#clock = clock
  }

  /** Every silence was ended, and that was answered. */
  get isDone(): boolean {
    return !this.#isAsking && this.#endedUpTo >= this.#newestId
  }

  /** Null: there is nothing to ask now. */
  next(isQuiet: boolean): SilenceChange | null {
    if (this.#isAsking || this.#scenario.oneIn.silence === Infinity) return null
    if (isQuiet) {
      if (this.isDone) return null
      this.#isAsking = true
      return { end: this.#endedUpTo + 1 }
    }
    if (this.#prng.float() >= 1 / this.#scenario.oneIn.silence) return null
    this.#isAsking = true
    const isEnd = this.#newestId > 0 && this.#prng.below(3) === 0
    if (isEnd) return { end: 1 + this.#prng.below(this.#newestId) }
    // Asked for, it may be there whatever is answered.
    this.#newestId++
    return { spec: this.#spec() }
  }

  answered(change: SilenceChange, { refusal, silence }: ControlAnswer): void {
    this.#isAsking = false
    if ('spec' in change) {
      check(silence !== undefined && refusal === null, 'a silence that is right is made', refusal)
      check(silence.id <= this.#newestId, 'silences are numbered as they are made', silence.id)
      this.made++
      return
    }
    // What a crash took away was never made, and cannot be ended.
    const isKnown = silence === undefined || (silence.id === change.end && silence.endedMs !== null)
    check(isKnown, 'a silence that is ended has ended', change.end, refusal)
    if (change.end === this.#endedUpTo + 1) this.#endedUpTo++
  }

  /** The node is gone, and with it the answer. */
  disconnect(): void {
    this.#isAsking = false
    // Others may end in the meantime; those that nobody saw end are ended again.
    this.#endedUpTo = 0
  }

  #spec(): SilenceSpec {
    const nowMs = this.#clock.nowMs()
    const { plans, hosts } = this.#scenario
    const plan = pick(this.#prng, plans)
    const host = `h${this.#prng.below(hosts)}`
    const fromMs = nowMs + pick(this.#prng, [0, 0, 700, 5_000])
    return {
      match: pick(this.#prng, [[], [{ label: 'host', op: '=', value: host } as const]]),
      pipeline: pick(this.#prng, [null, plan.name]),
      detector: plan.detectors.length === 0 ? null : pick(this.#prng, [null, plan.detectors[0]!.name]),
      severity: pick(this.#prng, [null, null, 'warning', 'critical']),
      fromMs,
      untilMs: fromMs + pick(this.#prng, [50, 1_000, 20_000, 3_600_000]),
      comment: 'simulated',
    }
  }
}
