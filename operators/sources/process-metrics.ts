/**
 * What this process itself takes of the CPU, four times a second: cores, over all its threads. Begins when the start is
 * over, so that what is learned as normal is not the start. Used by `millrace demo`.
 */
import { hostname } from 'node:os'
import { type Labels, NAME_LABEL } from '../../engine/contract/samples.ts'
import type { Clock } from '../../engine/util/clock.ts'
import type { HostMetrics, HostSample } from './host-metrics.ts'

const INTERVAL_MS = 250
/** Compiling and opening, which happen once. */
const SETTLE_MS = 2_500

export interface ProcessMetricsOptions {
  readonly clock: Clock
  readonly emit: (samples: HostSample[]) => void
  /** The `host` label; default: the machine's name. */
  readonly host?: string
  readonly settleMs?: number
}

export function openProcessMetrics(options: ProcessMetricsOptions): HostMetrics {
  const { clock, emit, host = hostname(), settleMs = SETTLE_MS } = options
  let before = { cpuMs: cpuMs(), atMs: clock.monotonicMs() }
  const openedMs = before.atMs
  const labels: Labels = { [NAME_LABEL]: 'process_cpu_cores', host, process: 'millrace' }
  const timer = setInterval(() => {
    const now = { cpuMs: cpuMs(), atMs: clock.monotonicMs() }
    const cores = coresBetween(before, now)
    before = now
    if (cores === null || now.atMs - openedMs < settleMs) return
    emit([{ labels, timestampMs: clock.nowMs(), value: cores }])
  }, INTERVAL_MS)
  return { close: () => clearInterval(timer) }
}

interface CpuReading {
  readonly cpuMs: number
  readonly atMs: number
}

/** Null: no time has passed. */
export function coresBetween(before: CpuReading, now: CpuReading): number | null {
  const elapsedMs = now.atMs - before.atMs
  return elapsedMs > 0 ? Math.max(0, now.cpuMs - before.cpuMs) / elapsedMs : null
}

/** Of all threads. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1_000
}
