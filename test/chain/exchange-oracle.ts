/**
 * What an exchange gives, worked out plainly from kept samples: records in order of log time, each partition with a
 * watermark of its own, samples kept for every window that neither their partition nor the merged watermark has passed.
 */
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import { RECORD_END, RECORD_SAMPLES } from '../../engine/contract/samples.ts'
import type { LogRecord } from './exchange-run.ts'

export interface MergedRow {
  readonly windowEndMs: number
  readonly group: string
  readonly values: Record<string, number>
}

interface Kept {
  readonly timestampMs: number
  readonly value: number
}

interface PartitionState {
  state: 'unseen' | 'active' | 'idle'
  newestMs: number
  watermarkMs: number
  lastLogMs: number
}

export class ExchangeOracle {
  readonly rows: MergedRow[] = []
  readonly ledger = { in: 0, windowed: 0, filtered: 0, late: 0, nonFinite: 0, dead: 0 }
  readonly #plan: PipelinePlan
  readonly #label: string
  readonly #partitions: PartitionState[]
  readonly #open = new Map<number, Map<string, Kept[]>>()
  #firstLogMs = -Infinity
  #mergedMs = -Infinity

  constructor(plan: PipelinePlan, label: string) {
    this.#plan = plan
    this.#label = label
    this.#partitions = Array.from({ length: plan.topic.partitions }, () => ({
      state: 'unseen',
      newestMs: -Infinity,
      watermarkMs: -Infinity,
      lastLogMs: -Infinity,
    }))
  }

  take(records: readonly LogRecord[]): void {
    const instants = [...new Set(records.map(({ logMs }) => logMs))].sort((a, b) => a - b)
    for (const logMs of instants) {
      for (const record of records) if (record.logMs === logMs) this.#record(record)
      this.#merge(logMs)
    }
  }

  #record({ partition, kind, samples, logMs }: LogRecord): void {
    const { disorderMs, idleMs, window } = this.#plan
    const at = this.#partitions[partition]!
    const quietMs = logMs - at.lastLogMs
    if (at.newestMs > -Infinity && quietMs >= idleMs) {
      at.state = 'idle'
      at.watermarkMs = Math.max(at.watermarkMs, at.newestMs + quietMs - disorderMs)
    }
    if (kind === RECORD_END) {
      at.state = 'idle'
      if (at.newestMs > -Infinity) {
        const slice = Math.floor(at.newestMs / window.sliceMs) * window.sliceMs
        const lastEndMs = Math.floor(slice / window.everyMs) * window.everyMs + window.sizeMs
        at.watermarkMs = Math.max(at.watermarkMs, lastEndMs)
      }
    }
    if (kind !== RECORD_SAMPLES) return
    for (const { labels, timestampMs, value } of samples) {
      this.ledger.in++
      if (!Number.isFinite(value)) {
        this.ledger.nonFinite++
        continue
      }
      at.state = 'active'
      at.lastLogMs = logMs
      if (this.#firstLogMs === -Infinity) this.#firstLogMs = logMs
      at.newestMs = Math.max(at.newestMs, timestampMs)
      at.watermarkMs = Math.max(at.watermarkMs, at.newestMs - disorderMs)
      let windows = 0
      const { sizeMs, everyMs } = window
      const newestStartMs = Math.floor(timestampMs / everyMs) * everyMs
      for (let startMs = newestStartMs; startMs > timestampMs - sizeMs; startMs -= everyMs) {
        const endMs = startMs + sizeMs
        if (endMs <= at.watermarkMs || endMs <= this.#mergedMs) continue
        windows++
        const groups = this.#open.get(startMs) ?? new Map<string, Kept[]>()
        this.#open.set(startMs, groups)
        const group = labels[this.#label] ?? ''
        groups.set(group, [...(groups.get(group) ?? []), { timestampMs, value }])
      }
      if (windows > 0) this.ledger.windowed++
      else this.ledger.late++
    }
  }

  #merge(logMs: number): void {
    const { disorderMs, idleMs, window } = this.#plan
    if (this.#firstLogMs === -Infinity) return
    const unseen = this.#partitions.some(({ state }) => state === 'unseen')
    if (unseen && logMs - this.#firstLogMs < idleMs) return
    const active = this.#partitions.filter(({ state }) => state === 'active')
    const idle = this.#partitions.filter(({ state, newestMs }) => state === 'idle' && newestMs > -Infinity)
    for (const at of idle) {
      if (logMs - at.lastLogMs < idleMs) continue
      at.watermarkMs = Math.max(at.watermarkMs, at.newestMs + (logMs - at.lastLogMs) - disorderMs)
    }
    const watermarkMs =
      active.length > 0
        ? Math.min(...active.map((at) => at.watermarkMs))
        : Math.max(-Infinity, ...idle.map((at) => at.watermarkMs))
    this.#mergedMs = Math.max(this.#mergedMs, watermarkMs)
    for (const startMs of [...this.#open.keys()].sort((a, b) => a - b)) {
      const windowEndMs = startMs + window.sizeMs
      if (windowEndMs > this.#mergedMs) break
      const groups = this.#open.get(startMs)!
      this.#open.delete(startMs)
      for (const group of [...groups.keys()].sort()) {
        this.rows.push({ windowEndMs, group, values: aggregate(groups.get(group)!) })
      }
    }
  }
}

function aggregate(samples: readonly Kept[]): Record<string, number> {
  const values = samples.map(({ value }) => value)
  const count = values.length
  const sum = values.reduce((a, b) => a + b, 0)
  const mean = sum / count
  const variance = values.reduce((a, value) => a + (value - mean) ** 2, 0) / count
  const newest = samples.reduce((a, b) => (b.timestampMs >= a.timestampMs ? b : a))
  return {
    count,
    sum,
    mean,
    min: Math.min(...values),
    max: Math.max(...values),
    standardDeviation: Math.sqrt(variance),
    last: newest.value,
  }
}
