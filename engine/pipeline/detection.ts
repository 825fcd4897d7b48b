/**
 * One detector of one chain, over rows: score, life cycle of the alert, then learn. A row's cells are the detector's
 * own, then the alert's, then those of the watch over both; all state is in them, so that a checkpoint of the cells is a
 * checkpoint of the stage.
 *
 *     ok ──score > 1──▶ pending ──held for `hold`──▶ firing ──cleared──▶ ok (emits resolved)
 *                          └──────score <= 1───────▶ ok (emits resolved)
 *
 * Every edge emits one transition; with `hold` 0 there is no pending. A plan may ask for more before an edge is taken
 * (alert-policy.ts); an alert that becomes more severe fires once more, under its own identity. Time is event time for value detectors and log
 * time for silence; it is handed in, never read. Called by the chain (judges.ts), in the order of the log.
 */
import type { AlertState } from '../contract/alert.ts'
import type { DetectorPlan, Severity } from '../contract/plan.ts'
import type { Detector, DetectorHealth, Explanation, SilenceDetector, Verdict } from '../contract/plugins.ts'
import type { Labels } from '../contract/samples.ts'
import type { Cells } from '../state/cells.ts'
import { assert } from '../util/assert.ts'
import { AlertPolicy, SEVERITY_DEFAULT, widen } from './alert-policy.ts'
import { DetectorWatch } from './detector-watch.ts'

export interface AlertTransition {
  readonly state: AlertState
  /** When the condition began: with the detector and the group, the alert's identity. */
  readonly sinceMs: number
  readonly atMs: number
  /** The value judged; for silence, ms of log time without a sample. */
  readonly value: number
  readonly score: number
  readonly expected: number
  readonly lower: number
  readonly upper: number
  readonly direction: 'up' | 'down'
  readonly severity: Severity
  /** It has begun and ended so often of late that it stays. */
  readonly isFlapping: boolean
  readonly reason: string
}

/** Of one row. Numbers are NaN where the detector cannot judge yet, or judges silence. */
export interface StageExplanation extends Explanation {
  readonly health: DetectorHealth
  readonly state: 'ok' | 'pending' | 'firing'
  /** Null: nothing is wrong. */
  readonly sinceMs: number | null
  readonly expected: number
  readonly lower: number
  readonly upper: number
  /** What people said multiplies the band by it; it is in `lower` and `upper`. */
  readonly factor: number
  /** Of a silence detector: log time without a sample that counts as silence. */
  readonly silentAfterMs: number | null
}

export interface DetectionStageOptions {
  readonly plan: DetectorPlan
  readonly detector: Detector
  /** Of this stage alone. */
  readonly cells: Cells
  readonly emit: (row: number, transition: AlertTransition) => void
  /** How often a row may be expected to have a value; left out, a pause says nothing of the detector's health. */
  readonly everyMs?: number
  /** Of a row's group; for plans with overrides. */
  readonly labelsOf?: (row: number) => Labels
  /** The stage that the plan names as inhibiting this one. */
  readonly inhibitor?: DetectionStage | undefined
}

// Cells of the alert, after the detector's own.
const STATE = 0
const SINCE_MS = 1
const ALERT_CELLS = 2
/** Silence only: when a pending alert fires; apart from `since`, because downtime moves this and never the identity. */
const DUE_MS = 2
const SEEN = 3
const LAST_MS = 4
const SILENCE_CELLS = 5

/** Rows whose cells are loaded before they are judged: few enough to be there still, many enough to be loaded together. */
export const ROWS_FETCHED = 32
/** Cells beyond the nearer caches: loading rows ahead pays from here on. 512 KB. */
const SPREAD_CELLS_MIN = 65_536
const CACHE_LINE_CELLS = 8

/** 16 KB: a row's pages are copied whenever one of its cells changed. */
const ROW_CELLS_MAX = 2_048

const OK = 0
const PENDING = 1
const FIRING = 2

export class DetectionStage {
  readonly #watch: DetectorWatch
  readonly #detector: Detector
  readonly #silence: SilenceDetector | null
  readonly #cells: Cells
  readonly #emit: (row: number, transition: AlertTransition) => void
  readonly #holdMs: number
  readonly #subject: string
  readonly #width: number
  /** Null: an alert begins and ends at the edge. */
  readonly #policy: AlertPolicy | null
  /** From the alert's first cell to the policy's. */
  readonly #policyOffset: number
  /** From the row's first cell to the watch's. */
  readonly #watchOffset: number
  readonly #stride: number
  readonly #verdict: Verdict = {
    score: NaN,
    expected: NaN,
    lower: NaN,
    upper: NaN,
    cleared: false,
    direction: 1,
    memo: NaN,
  }
  /** The verdict as it is told, where the policy changes it: the detector learns from its own. */
  readonly #told: Verdict = { ...this.#verdict }
  /** Of `fetch`, whose loads must not be optimised away. */
  fetched = 0
  /**
   * By row, what people said multiplies the band by; null: nobody said anything. No state: it follows from the log
   * (feedback-factors.ts), so that who never uses it has neither cells nor a page in a checkpoint for it.
   */
  #factors: Map<number, number> | null = null
  #rows = 0
  /** NaN: not worked out yet, since the cells may have been restored behind the stage's back. */
  #deadlineMs = NaN

  constructor(options: DetectionStageOptions) {
    const { plan, detector, cells } = options
    this.#detector = detector
    this.#silence = isSilence(detector) ? detector : null
    this.#cells = cells
    this.#emit = options.emit
    this.#holdMs = plan.holdMs
    this.#subject = plan.column ?? 'samples'
    this.#width = detector.width
    const everyMs = this.#silence === null ? (options.everyMs ?? Infinity) : Infinity
    this.#watch = new DetectorWatch(everyMs)
    const { labelsOf = () => ({}), inhibitor } = options
    const isInhibited = (row: number): boolean => inhibitor?.isFiring(row) ?? false
    this.#policy =
      plan.alert === undefined ? null : new AlertPolicy({ plan: plan.alert, labelsOf, isInhibited })
    this.#policyOffset = this.#silence === null ? ALERT_CELLS : SILENCE_CELLS
    this.#watchOffset = detector.width + this.#policyOffset + (this.#policy?.width ?? 0)
    this.#stride = this.#watchOffset + this.#watch.width
    assert(this.#stride <= ROW_CELLS_MAX, 'a row of a detector is bounded', plan.name, this.#stride)
  }

  /** Rows [0, rows) exist from now on. */
  ensureRows(rows: number): void {
    if (rows <= this.#rows) return
    this.#rows = rows
    this.#cells.ensure(rows * this.#stride)
  }

  get cellsARow(): number {
    return this.#stride
  }

  /** Where the row's cells begin: the detector's own come first. */
  cellsAt(row: number): number {
    return row * this.#stride
  }

  /**
   * Loads the cells of the rows at [from, to) of `rows`, negative ones left out, so that their cache misses overlap: a loop that judges row by row
   * waits for each in turn. Changes nothing. With a million groups in the order of their keys, judging takes half as long.
   */
  // hot: a call some rows.
  fetch(rows: Int32Array, from: number, to: number): void {
    const { data } = this.#cells
    if (this.#rows * this.#stride < SPREAD_CELLS_MIN) return
    const stride = this.#stride
    let sum = 0
    for (let j = from; j < to; j++) {
      const at = rows[j]! * stride
      if (at < 0) continue
      for (let cell = at; cell < at + stride; cell += CACHE_LINE_CELLS) sum += data[cell]!
      sum += data[at + stride - 1]!
    }
    this.fetched = sum
  }

  /** Judges one value of a row, at the window's end. NaN is skipped. The verdict is valid until the next call. */
  judge(row: number, timeMs: number, value: number): Verdict {
    const verdict = this.#verdict
    // hot: a call a (row, window).
    if (Number.isNaN(value)) return unknown(verdict)
    const { data } = this.#cells
    const at = row * this.#stride
    this.#mark(at)
    this.#detector.score(data, at, timeMs, value, verdict)
    const policy = this.#policy
    const factor = this.#factors === null ? 1 : this.factorOf(row)
    const told = policy?.adjusts === true || factor !== 1 ? this.#adjusted(row, value, factor) : verdict
    if (!Number.isNaN(verdict.score)) {
      const alertAt = at + this.#width
      if (policy === null) this.#step(row, alertAt, timeMs, value, told)
      else this.#stepBy(policy, row, alertAt, timeMs, value, told)
    }
    this.#detector.learn(data, at, timeMs, value, verdict)
    const isFiring = data[at + this.#width + STATE] === FIRING
    this.#watch.heard(data, at + this.#watchOffset, timeMs, !Number.isNaN(verdict.score), isFiring)
    return told
  }

  /**
   * Judges the first `count` of `rows`, whose values are at `valueAt` of `table`, and puts score, expected value and edges
   * of the band at `scoreAt`, in columns of `capacity`. hot: a call an entry.
   */
  judgeRows(
    rows: Int32Array,
    count: number,
    timeMs: number,
    table: Float64Array,
    valueAt: number,
    scoreAt: number,
    capacity: number,
  ): void {
    for (let first = 0; first < count; first += ROWS_FETCHED) {
      const end = Math.min(first + ROWS_FETCHED, count)
      this.fetch(rows, first, end)
      for (let j = first; j < end; j++) {
        putVerdict(this.judge(rows[j]!, timeMs, table[valueAt + j]!), table, scoreAt + j, capacity)
      }
    }
  }

  #adjusted(row: number, value: number, factor: number): Verdict {
    const told = Object.assign(this.#told, this.#verdict)
    this.#adjust(row, value, told, factor)
    return told
  }

  #adjust(row: number, value: number, verdict: Verdict, factor: number): void {
    // Of a detector that was switched to a fixed bound there is no band left to widen.
    const isFixed =
      Number.isNaN(verdict.expected) && (Number.isFinite(verdict.lower) || Number.isFinite(verdict.upper))
    const said = isFixed ? 1 : factor
    if (this.#policy === null) widen(verdict, said)
    else this.#policy.adjust(row, value, verdict, said)
  }

  /** From the next value on the band of a row is so many times as wide; what the detector learns does not change. */
  setFactor(row: number, factor: number): void {
    assert(this.#silence === null && row < this.#rows, 'a row with a band', this.#subject, row)
    this.#factors ??= new Map()
    if (factor === 1) this.#factors.delete(row)
    else this.#factors.set(row, factor)
    if (this.#factors.size === 0) this.#factors = null
  }

  factorOf(row: number): number {
    return this.#factors?.get(row) ?? 1
  }

  /** How the detector does for a row, as of an event time (log time for silence). Changes nothing; O(1). */
  health(row: number, timeMs: number): DetectorHealth {
    const at = row * this.#stride
    return this.#watch.health(this.#cells.data, at + this.#watchOffset, timeMs, this.#detector, at)
  }

  /** What the detector decided for a row, as of an event time (log time for silence). Changes nothing. */
  explain(row: number, timeMs: number): StageExplanation {
    const { data } = this.#cells
    const at = row * this.#stride
    const state = data[at + this.#width + STATE]!
    const verdict = unknown({ ...this.#verdict })
    if (this.#silence === null) {
      // The band of most detectors does not depend on the value; of those where it does, it is that of the expected one.
      this.#detector.score(data, at, timeMs, 0, verdict)
      if (!Number.isNaN(verdict.expected)) this.#detector.score(data, at, timeMs, verdict.expected, verdict)
      this.#adjust(row, verdict.expected, verdict, this.factorOf(row))
    }
    return {
      health: this.health(row, timeMs),
      state: state === FIRING ? 'firing' : state === PENDING ? 'pending' : 'ok',
      sinceMs: state === OK ? null : data[at + this.#width + SINCE_MS]!,
      expected: verdict.expected,
      lower: verdict.lower,
      upper: verdict.upper,
      factor: this.factorOf(row),
      silentAfterMs: this.#silence === null ? null : this.#silence.silentAfterMs(data, at),
      facts: this.#detector.explain?.(data, at).facts ?? [],
    }
  }

  /** Moves the alert of a row on, given a score. */
  #step(row: number, alertAt: number, timeMs: number, value: number, verdict: Verdict): void {
    const { data } = this.#cells
    const state = data[alertAt + STATE]!
    const anomalous = verdict.score > 1
    if (state === OK) {
      if (anomalous) this.#begin(row, alertAt, timeMs, timeMs, value, verdict)
    } else if (state === PENDING) {
      if (!anomalous) this.#end(row, alertAt, timeMs, value, verdict)
      else if (timeMs >= this.#dueOf(alertAt)) this.#fire(row, alertAt, timeMs, value, verdict)
    } else if (verdict.cleared && !anomalous) this.#end(row, alertAt, timeMs, value, verdict)
  }

  /** The same edges, where the plan asks for more. */
  #stepBy(
    policy: AlertPolicy,
    row: number,
    alertAt: number,
    timeMs: number,
    value: number,
    verdict: Verdict,
  ): void {
    const { data } = this.#cells
    const at = alertAt + this.#policyOffset
    const { score } = verdict
    const isEnough = policy.enough(data, at, score > 1)
    const state = data[alertAt + STATE]!
    if (state === OK) {
      if (isEnough && !policy.bars(data, at, row, timeMs, score)) {
        policy.escalates(data, at, row, score)
        this.#begin(row, alertAt, timeMs, timeMs, value, verdict)
      }
    } else if (state === PENDING) {
      if (!policy.persists(data, at, score > 1)) this.#end(row, alertAt, timeMs, value, verdict)
      else {
        policy.escalates(data, at, row, score)
        if (timeMs >= this.#dueOf(alertAt)) this.#fire(row, alertAt, timeMs, value, verdict)
      }
    } else if (policy.mayEnd(data, at, timeMs, verdict)) this.#end(row, alertAt, timeMs, value, verdict)
    else if (policy.escalates(data, at, row, score)) {
      this.#transition(row, 'firing', data[alertAt + SINCE_MS]!, timeMs, value, verdict)
    }
  }

  /** The alert of a row fires. */
  isFiring(row: number): boolean {
    return row < this.#rows && this.#cells.data[row * this.#stride + this.#width + STATE] === FIRING
  }

  /** When a pending alert fires. */
  #dueOf(alertAt: number): number {
    const { data } = this.#cells
    return this.#silence === null ? data[alertAt + SINCE_MS]! + this.#holdMs : data[alertAt + DUE_MS]!
  }

  #begin(row: number, alertAt: number, sinceMs: number, atMs: number, value: number, verdict: Verdict): void {
    const { data } = this.#cells
    data[alertAt + SINCE_MS] = sinceMs
    if (this.#silence !== null) data[alertAt + DUE_MS] = sinceMs + this.#holdMs
    if (atMs >= sinceMs + this.#holdMs) this.#fire(row, alertAt, atMs, value, verdict)
    else {
      data[alertAt + STATE] = PENDING
      this.#transition(row, 'pending', sinceMs, atMs, value, verdict)
    }
  }

  #fire(row: number, alertAt: number, atMs: number, value: number, verdict: Verdict): void {
    const { data } = this.#cells
    data[alertAt + STATE] = FIRING
    this.#policy?.fired(data, alertAt + this.#policyOffset, atMs)
    this.#transition(row, 'firing', data[alertAt + SINCE_MS]!, atMs, value, verdict)
  }

  #end(row: number, alertAt: number, atMs: number, value: number, verdict: Verdict): void {
    const { data } = this.#cells
    const hadFired = data[alertAt + STATE] === FIRING
    data[alertAt + STATE] = OK
    this.#transition(row, 'resolved', data[alertAt + SINCE_MS]!, atMs, value, verdict)
    this.#policy?.ended(data, alertAt + this.#policyOffset, atMs, hadFired)
  }

  #transition(
    row: number,
    state: AlertState,
    sinceMs: number,
    atMs: number,
    value: number,
    verdict: Verdict,
  ): void {
    const { score, expected, lower, upper, direction } = verdict
    const policy = this.#policy
    const { data } = this.#cells
    const at = row * this.#stride + this.#width + this.#policyOffset
    this.#emit(row, {
      state,
      sinceMs,
      atMs,
      value,
      score,
      expected,
      lower,
      upper,
      direction: direction < 0 ? 'down' : 'up',
      severity: policy?.severity(data, at, row) ?? SEVERITY_DEFAULT,
      isFlapping: policy?.isFlapping(data, at) ?? false,
      reason: this.#detector.reason(this.#subject, value, verdict),
    })
  }

  /** What another stage of the same plan knows of its rows, and nothing else; `rows`: by row of the other, the row here. */
  take(other: DetectionStage, rows: Int32Array): void {
    assert(other.#stride === this.#stride, 'stages of one plan have rows alike', other.#stride, this.#stride)
    const stride = this.#stride
    this.#mark(0, this.#rows)
    this.#cells.data.fill(0)
    rows.forEach((row, from) => {
      this.#cells.data.set(other.#cells.data.subarray(from * stride, (from + 1) * stride), row * stride)
    })
    this.#deadlineMs = NaN
  }

  /** The alert of a row, which is pending or fires, has another beginning, and fires if that one did. */
  keepAlert(row: number, sinceMs: number, fires: boolean): void {
    const { data } = this.#cells
    const at = row * this.#stride
    const alertAt = at + this.#width
    assert(data[alertAt + STATE] !== OK, 'an alert that is kept stands', row)
    this.#mark(at)
    data[alertAt + SINCE_MS] = sinceMs
    if (this.#silence !== null) {
      data[alertAt + DUE_MS] = Math.min(data[alertAt + DUE_MS]!, sinceMs + this.#holdMs)
    }
    if (fires) data[alertAt + STATE] = FIRING
    this.#deadlineMs = NaN
  }

  /** Before the row is written to: see state/cells.ts. */
  #mark(at: number, rows = 1): void {
    this.#cells.markRange(at, at + rows * this.#stride)
  }

  // ---- silence, by log time ------------------------------------------------------------------------------------

  /** A sample of the row arrived at this log time. Ends its silence. */
  arrived(row: number, logMs: number): void {
    const silence = this.#silence
    assert(silence !== null, 'arrivals matter to silence detectors only', this.#subject)
    const { data } = this.#cells
    const at = row * this.#stride
    const alertAt = at + this.#width
    // Samples of one log time are one arrival.
    if (data[alertAt + LAST_MS] === logMs && data[alertAt + SEEN] !== 0 && data[alertAt + STATE] === OK)
      return
    this.#mark(at)
    const isWatching = silence.silentAfterMs(data, at) < Infinity
    this.#watch.heard(data, at + this.#watchOffset, logMs, isWatching, data[alertAt + STATE] !== OK)
    if (data[alertAt + SEEN] !== 0) {
      const gapMs = Math.max(0, logMs - data[alertAt + LAST_MS]!)
      if (data[alertAt + STATE] !== OK) {
        silence.score(data, at, logMs, 0, this.#verdict)
        this.#end(row, alertAt, logMs, gapMs, this.#verdict)
      }
      silence.arrived(data, at, gapMs)
    }
    data[alertAt + SEEN] = 1
    data[alertAt + LAST_MS] = logMs
    this.#deadlineMs = Math.min(this.#deadlineMs, this.#dueMs(row))
  }

  /** Log time before which no row can become silent; Infinity: none will. Arrivals only ever make it too early. */
  get deadlineMs(): number {
    if (Number.isNaN(this.#deadlineMs)) this.#deadlineMs = this.#earliestMs()
    return this.#deadlineMs
  }

  /** Log time has come this far: rows that were silent for too long become pending or fire. O(1) before `deadlineMs`,
   * else O(rows). Returns the next one. */
  scan(logMs: number): number {
    if (logMs < this.deadlineMs) return this.#deadlineMs
    for (let row = 0; row < this.#rows; row++) if (this.#dueMs(row) <= logMs) this.#silent(row, logMs)
    this.#deadlineMs = this.#earliestMs()
    return this.#deadlineMs
  }

  #earliestMs(): number {
    let earliestMs = Infinity
    for (let row = 0; row < this.#rows; row++) earliestMs = Math.min(earliestMs, this.#dueMs(row))
    return earliestMs
  }

  /** Log time at which the row's alert moves on if no sample comes. */
  #dueMs(row: number): number {
    const { data } = this.#cells
    const at = row * this.#stride
    const alertAt = at + this.#width
    const state = data[alertAt + STATE]!
    if (this.#silence === null || data[alertAt + SEEN] === 0 || state === FIRING) return Infinity
    if (state === PENDING) return data[alertAt + DUE_MS]!
    return data[alertAt + LAST_MS]! + this.#silence.silentAfterMs(data, at)
  }

  #silent(row: number, logMs: number): void {
    const { data } = this.#cells
    const at = row * this.#stride
    const alertAt = at + this.#width
    const silentMs = logMs - data[alertAt + LAST_MS]!
    const sinceMs = this.#dueMs(row)
    this.#mark(at)
    this.#detector.score(data, at, logMs, silentMs, this.#verdict)
    if (data[alertAt + STATE] === OK) this.#begin(row, alertAt, sinceMs, logMs, silentMs, this.#verdict)
    else this.#fire(row, alertAt, logMs, silentMs, this.#verdict)
  }

  /** The node was down for so long: no row was silent for that time. What is firing stays so. */
  shift(ms: number): void {
    const { data } = this.#cells
    for (let row = 0; row < this.#rows; row++) {
      const at = row * this.#stride
      const alertAt = at + this.#width
      if (data[alertAt + SEEN] === 0) continue
      this.#mark(at)
      data[alertAt + LAST_MS] = data[alertAt + LAST_MS]! + ms
      if (data[alertAt + STATE] === PENDING) data[alertAt + DUE_MS] = data[alertAt + DUE_MS]! + ms
    }
    this.#deadlineMs += ms
  }
}

/** hot: into columns of `capacity`. */
export function putVerdict(verdict: Verdict, table: Float64Array, at: number, capacity: number): void {
  table[at] = verdict.score
  table[at + capacity] = verdict.expected
  table[at + 2 * capacity] = verdict.lower
  table[at + 3 * capacity] = verdict.upper
}

function isSilence(detector: Detector): detector is SilenceDetector {
  return detector.subject === 'silence'
}

function unknown(verdict: Verdict): Verdict {
  verdict.score = NaN
  verdict.expected = NaN
  verdict.lower = NaN
  verdict.upper = NaN
  verdict.cleared = false
  return verdict
}
