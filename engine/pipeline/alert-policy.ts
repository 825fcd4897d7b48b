/**
 * When anomalies become an alert, and when it may end, where a plan asks for more than an edge: m of n, minimum
 * deviation, mute times, inhibition, refractory time, firing on, flapping, overrides by labels. All that it remembers
 * stands in cells of the row, behind the alert's own, so that a checkpoint of the cells is a checkpoint of this; and it
 * is a function of the values and their times alone. Used by DetectionStage (detection.ts), which has the states.
 */
import type { AlertPlan, Severity } from '../contract/plan.ts'
import type { Verdict } from '../contract/plugins.ts'
import type { Labels } from '../contract/samples.ts'
import { labelTest } from './matchers.ts'
import { muteTest } from './mute-times.ts'

export const SEVERITY_DEFAULT: Severity = 'warning'

export interface AlertPolicyOptions {
  readonly plan: AlertPlan
  /** Of a row's group. */
  readonly labelsOf: (row: number) => Labels
  /** The alert of the detector that inhibits this one fires, for the same row. */
  readonly isInhibited: (row: number) => boolean
}

/** What holds for one row. */
interface RowPolicy {
  readonly mute: boolean
  readonly scale: number
  readonly minDeviation: { readonly absolute: number; readonly relative: number } | null
  readonly severity: AlertPlan['severity']
}

export class AlertPolicy {
  /** Cells a row, zero-filled at first. */
  readonly width: number
  readonly #plan: AlertPlan
  readonly #options: AlertPolicyOptions
  readonly #isMuted: ((timeMs: number) => boolean) | null
  readonly #all: RowPolicy
  readonly #overrides: readonly { readonly fits: (labels: Labels) => boolean; readonly policy: RowPolicy }[]
  /** By row, where there are overrides: labels of a row never change. */
  readonly #rows: RowPolicy[] = []
  // Cells of the row, from the policy's first; -1: not needed.
  /** The last verdicts, newest in bit 0. */
  readonly #lastAt: number
  /** 1 + since when it could end; 0: it could not. */
  readonly #clearAt: number
  /** When the last one ended; and whether one has. */
  readonly #endedAt: number
  /** Rank of the severity that was told. */
  readonly #severityAt: number
  /** Alerts that have fired, whether this one flaps, and when the newest fired, round and round. */
  readonly #flapAt: number

  constructor(options: AlertPolicyOptions) {
    const { plan } = options
    this.#plan = plan
    this.#options = options
    this.#isMuted = plan.muteTimes === undefined ? null : muteTest(plan.muteTimes)
    const { minDeviation = null, severity } = plan
    this.#all = { mute: false, scale: 1, minDeviation, severity }
    this.#overrides = (plan.overrides ?? []).map(({ where, ...override }) => ({
      fits: labelTest(where),
      policy: {
        mute: override.mute ?? false,
        scale: override.scale ?? 1,
        minDeviation: override.minDeviation ?? minDeviation,
        severity: override.severity ?? severity,
      },
    }))
    let width = 0
    const claim = (isNeeded: boolean, cells: number): number => {
      if (!isNeeded) return -1
      width += cells
      return width - cells
    }
    const steps = [plan, ...(plan.overrides ?? [])].some((part) => (part.severity?.length ?? 0) > 1)
    this.#lastAt = claim(plan.atLeast !== undefined, 1)
    this.#clearAt = claim(plan.keepFiringMs !== undefined || plan.flapping !== undefined, 1)
    this.#endedAt = claim(plan.refractoryMs !== undefined, 2)
    this.#severityAt = claim(steps, 1)
    this.#flapAt = claim(plan.flapping !== undefined, 2 + (plan.flapping?.times ?? 0))
    this.width = width
  }

  #rowPolicy(row: number): RowPolicy {
    if (this.#overrides.length === 0) return this.#all
    const known = this.#rows[row]
    if (known !== undefined) return known
    const labels = this.#options.labelsOf(row)
    const policy = this.#overrides.find(({ fits }) => fits(labels))?.policy ?? this.#all
    this.#rows[row] = policy
    return policy
  }

  /** True: verdicts are shown other than the detector gave them. */
  get adjusts(): boolean {
    return this.#all.minDeviation !== null || this.#overrides.length > 0
  }

  /** The band as wide as this row's has to be, and the score in it. `factor`: what people said makes it wider or narrower still. */
  adjust(row: number, value: number, verdict: Verdict, factor: number): void {
    const { scale, minDeviation } = this.#rowPolicy(row)
    const { expected } = verdict
    widen(verdict, scale * factor)
    if (minDeviation === null || !Number.isFinite(expected)) return
    const least = Math.max(minDeviation.absolute, minDeviation.relative * Math.abs(expected))
    verdict.lower = Math.min(verdict.lower, expected - least)
    verdict.upper = Math.max(verdict.upper, expected + least)
    const deviation = Math.abs(value - expected)
    if (deviation >= least) return
    verdict.score = Math.min(verdict.score, deviation / least)
    verdict.cleared = true
  }

  /** Notes one verdict. True: there are enough of them for an alert. */
  enough(data: Float64Array, at: number, isAnomalous: boolean): boolean {
    if (this.#lastAt < 0) return isAnomalous
    const { anomalous, of } = this.#plan.atLeast!
    const cell = at + this.#lastAt
    // Beyond 31 bits, so not by shifts.
    const last = (data[cell]! * 2 + (isAnomalous ? 1 : 0)) % 2 ** of
    data[cell] = last
    return isAnomalous && ones(last) >= anomalous
  }

  /** A pending alert goes on. */
  persists(data: Float64Array, at: number, isAnomalous: boolean): boolean {
    return this.#lastAt < 0 ? isAnomalous : ones(data[at + this.#lastAt]!) >= this.#plan.atLeast!.anomalous
  }

  /** No alert may begin, whatever the value. */
  bars(data: Float64Array, at: number, row: number, timeMs: number, score: number): boolean {
    const { refractoryMs, reArm = Infinity, inhibitedBy } = this.#plan
    if (this.#rowPolicy(row).mute) return true
    if (refractoryMs !== undefined && data[at + this.#endedAt + 1] === 1 && score < reArm) {
      if (timeMs - data[at + this.#endedAt]! < refractoryMs) return true
    }
    if (inhibitedBy !== undefined && this.#options.isInhibited(row)) return true
    return this.#isMuted?.(timeMs) ?? false
  }

  /** The alert that fires may end with this value. */
  mayEnd(data: Float64Array, at: number, timeMs: number, { score, cleared }: Verdict): boolean {
    const { clearBelow, keepFiringMs = 0, flapping } = this.#plan
    const isBelow = clearBelow === undefined ? cleared && !(score > 1) : score <= clearBelow
    // While there are as many as it took to begin, it would begin again.
    const isClear = isBelow && !(this.#lastAt >= 0 && this.persists(data, at, false))
    if (this.#clearAt < 0) return isClear
    const cell = at + this.#clearAt
    if (!isClear) {
      data[cell] = 0
      return false
    }
    if (data[cell] === 0) data[cell] = timeMs + 1
    const neededMs = this.isFlapping(data, at) ? Math.max(keepFiringMs, flapping!.withinMs) : keepFiringMs
    return timeMs - (data[cell]! - 1) >= neededMs
  }

  fired(data: Float64Array, at: number, timeMs: number): void {
    if (this.#clearAt >= 0) data[at + this.#clearAt] = 0
    if (this.#flapAt < 0) return
    const { times, withinMs } = this.#plan.flapping!
    const cell = at + this.#flapAt
    const before = data[cell]!
    // The one that fired `times` - 1 before this.
    const oldest = cell + 2 + ((before + 1) % times)
    data[cell + 2 + (before % times)] = timeMs
    data[cell] = before + 1
    data[cell + 1] = before + 1 >= times && timeMs - data[oldest]! <= withinMs ? 1 : 0
  }

  /** One that only was pending leaves no refractory time behind. */
  ended(data: Float64Array, at: number, timeMs: number, hadFired: boolean): void {
    if (this.#severityAt >= 0) data[at + this.#severityAt] = 0
    if (this.#flapAt >= 0) data[at + this.#flapAt + 1] = 0
    if (this.#endedAt < 0 || !hadFired) return
    data[at + this.#endedAt] = timeMs
    data[at + this.#endedAt + 1] = 1
  }

  isFlapping(data: Float64Array, at: number): boolean {
    return this.#flapAt >= 0 && data[at + this.#flapAt + 1] === 1
  }

  /** By the highest score since the alert began. */
  severity(data: Float64Array, at: number, row: number): Severity {
    const steps = this.#rowPolicy(row).severity
    if (steps === undefined) return SEVERITY_DEFAULT
    const rank = this.#severityAt < 0 ? 0 : data[at + this.#severityAt]!
    return steps[rank]!.severity
  }

  /** Notes a score. True: it makes the alert more severe than it was. */
  escalates(data: Float64Array, at: number, row: number, score: number): boolean {
    if (this.#severityAt < 0) return false
    const steps = this.#rowPolicy(row).severity ?? []
    const rank = steps.findLastIndex(({ from }) => score >= from)
    if (rank <= data[at + this.#severityAt]!) return false
    data[at + this.#severityAt] = rank
    return true
  }
}

/** The band so many times as wide, and the score in it. */
export function widen(verdict: Verdict, scale: number): void {
  if (scale === 1) return
  const { expected } = verdict
  verdict.score /= scale
  if (Number.isFinite(expected)) {
    verdict.lower = expected + (verdict.lower - expected) * scale
    verdict.upper = expected + (verdict.upper - expected) * scale
  }
  verdict.cleared ||= verdict.score <= 1 && scale > 1
}

/** Bits that are set, of up to 52. */
function ones(bits: number): number {
  let count = 0
  let low = bits % 2 ** 26
  let high = Math.floor(bits / 2 ** 26)
  for (; low !== 0; low &= low - 1) count++
  for (; high !== 0; high &= high - 1) count++
  return count
}
