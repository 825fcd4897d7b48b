/**
 * Windows the slow way: every sample is kept in a list of every window it belongs to, and a window is worked out from
 * its list when it fires. No slices, no cells, no merging, no skipping.
 */
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import type { Instant } from '../../operators/testing/describe-operator.ts'
import type { DrivenSample } from '../../operators/testing/drive.ts'

export interface OracleRow {
  readonly windowStartMs: number
  readonly windowEndMs: number
  readonly host: string
  readonly values: Record<string, number>
  /** Largest magnitude among the samples, for tolerances. */
  readonly scale: number
}

interface Kept {
  readonly timeMs: number
  readonly value: number
}

export class WindowOracle {
  readonly #plan: PipelinePlan
  readonly #accepts: (sample: DrivenSample) => boolean
  /** Samples of open windows, by start, then host, in order of arrival. */
  readonly #open = new Map<number, Map<string, Kept[]>>()
  #newestMs = -Infinity
  #watermarkMs = -Infinity
  #lastSampleLogMs = -Infinity
  readonly rows: OracleRow[] = []
  readonly late: DrivenSample[] = []
  readonly ledger = { in: 0, windowed: 0, filtered: 0, late: 0, nonFinite: 0, dead: 0 }

  constructor(plan: PipelinePlan, accepts: (sample: DrivenSample) => boolean) {
    this.#plan = plan
    this.#accepts = accepts
  }

  get watermarkMs(): number {
    return this.#watermarkMs
  }

  take(instant: Instant): void {
    const idleMs = instant.logMs - this.#lastSampleLogMs
    if (this.#newestMs > -Infinity && idleMs >= this.#plan.idleMs) this.#moveTo(this.#newestMs + idleMs)
    for (const sample of instant.samples) {
      this.ledger.in++
      if (!this.#accepts(sample)) this.ledger.filtered++
      else if (!Number.isFinite(sample.value)) this.ledger.nonFinite++
      else {
        this.#lastSampleLogMs = instant.logMs
        this.#newestMs = Math.max(this.#newestMs, sample.timestampMs)
        this.#moveTo(this.#newestMs)
        this.#add(sample)
      }
    }
  }

  end(): void {
    for (const startMs of [...this.#open.keys()].sort((a, b) => a - b)) this.#fire(startMs)
  }

  #moveTo(newestMs: number): void {
    this.#watermarkMs = Math.max(this.#watermarkMs, newestMs - this.#plan.disorderMs)
    const due = [...this.#open.keys()].filter((startMs) => this.#hasPassed(startMs))
    for (const startMs of due.sort((a, b) => a - b)) this.#fire(startMs)
  }

  #hasPassed(startMs: number): boolean {
    return startMs + this.#plan.window.sizeMs <= this.#watermarkMs
  }

  #add(sample: DrivenSample): void {
    const { sizeMs, everyMs } = this.#plan.window
    const timeMs = sample.timestampMs
    let windows = 0
    const nearby = Math.floor(timeMs / everyMs) * everyMs
    for (let startMs = nearby + everyMs; startMs > timeMs - sizeMs - everyMs; startMs -= everyMs) {
      if (!(startMs <= timeMs && timeMs < startMs + sizeMs) || this.#hasPassed(startMs)) continue
      windows++
      const groups = this.#open.get(startMs) ?? new Map<string, Kept[]>()
      this.#open.set(startMs, groups)
      const host = sample.labels.host ?? ''
      groups.set(host, [...(groups.get(host) ?? []), { timeMs, value: sample.value }])
    }
    if (windows > 0) this.ledger.windowed++
    else {
      this.ledger.late++
      this.late.push(sample)
    }
  }

  #fire(startMs: number): void {
    const groups = this.#open.get(startMs)!
    this.#open.delete(startMs)
    for (const host of [...groups.keys()].sort()) {
      const samples = groups.get(host)!
      this.rows.push({
        windowStartMs: startMs,
        windowEndMs: startMs + this.#plan.window.sizeMs,
        host,
        values: aggregate(samples, this.#plan.window.sliceMs),
        scale: Math.max(...samples.map(({ value }) => Math.abs(value))),
      })
    }
  }
}

function aggregate(samples: readonly Kept[], sliceMs: number): Record<string, number> {
  const values = samples.map(({ value }) => value)
  const count = values.length
  const sum = values.reduce((a, b) => a + b, 0)
  const mean = sum / count
  const variance = values.reduce((a, value) => a + (value - mean) ** 2, 0) / count
  const newest = samples.reduce((a, b) => (b.timeMs >= a.timeMs ? b : a))
  return {
    count,
    sum,
    mean,
    min: Math.min(...values),
    max: Math.max(...values),
    standardDeviation: Math.sqrt(variance),
    last: newest.value,
    rate: rate(samples, sliceMs),
  }
}

/** A counter's increase over the samples that extended their slice at either end as they arrived, in order of time. */
function rate(samples: readonly Kept[], sliceMs: number): number {
  const spans = new Map<number, Kept[]>()
  for (const sample of samples) {
    const slice = Math.floor(sample.timeMs / sliceMs)
    const span = spans.get(slice) ?? []
    spans.set(slice, span)
    if (span.length === 0 || sample.timeMs > span.at(-1)!.timeMs) span.push(sample)
    else if (sample.timeMs < span[0]!.timeMs) span.unshift(sample)
  }
  const line = [...spans.entries()].sort(([a], [b]) => a - b).flatMap(([, span]) => span)
  let increase = 0
  for (let i = 1; i < line.length; i++) {
    const [before, after] = [line[i - 1]!.value, line[i]!.value]
    increase += after < before ? after : after - before
  }
  const spanMs = line.at(-1)!.timeMs - line[0]!.timeMs
  return spanMs > 0 ? increase / (spanMs / 1000) : NaN
}
