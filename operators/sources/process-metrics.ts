/**
 * How much CPU this process wants, four times a second: cores that its threads ran on or waited for. What it gets depends
 * on who else is there; what it wants does not. From /proc on Linux; elsewhere, what it got. Begins when the start is
 * over, so that what is learned as normal is not the start. Used by `millrace demo`.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { type Labels, NAME_LABEL } from '../../engine/contract/samples.ts'
import type { Clock } from '../../engine/util/clock.ts'
import type { HostMetrics, HostSample } from './host-metrics.ts'

export const CPU_DEMAND = 'process_cpu_demand_cores'

const INTERVAL_MS = 250
/** Compiling and opening, which happen once. */
const SETTLE_MS = 2_500
const NS_A_MS = 1e6

export interface ProcessMetricsOptions {
  readonly clock: Clock
  readonly emit: (samples: HostSample[]) => void
  /** The `host` label; default: the machine's name. */
  readonly host?: string
  readonly settleMs?: number
  readonly read?: () => DemandReading
}

/** Time that each thread has run and waited so far. */
export type DemandReading = ReadonlyMap<string, number>

export function openProcessMetrics(options: ProcessMetricsOptions): HostMetrics {
  const { clock, emit, host = hostname(), settleMs = SETTLE_MS, read = readDemand } = options
  const labels: Labels = { [NAME_LABEL]: CPU_DEMAND, host, process: 'millrace' }
  let before = read()
  let beforeMs = clock.monotonicMs()
  const openedMs = beforeMs
  const timer = setInterval(() => {
    const now = read()
    const nowMs = clock.monotonicMs()
    const cores = coresBetween(before, now, nowMs - beforeMs)
    before = now
    beforeMs = nowMs
    if (cores === null || nowMs - openedMs < settleMs) return
    emit([{ labels, timestampMs: clock.nowMs(), value: cores }])
  }, INTERVAL_MS)
  return { close: () => clearInterval(timer) }
}

/** Null: no time has passed. A thread that is gone takes what it did last with it; a new one counts from its start. */
export function coresBetween(before: DemandReading, now: DemandReading, elapsedMs: number): number | null {
  if (!(elapsedMs > 0)) return null
  let demandMs = 0
  for (const [thread, ms] of now) demandMs += Math.max(0, ms - (before.get(thread) ?? 0))
  return demandMs / elapsedMs
}

/** One look at this process. */
export function readDemand(tasks = '/proc/self/task'): DemandReading {
  const reading = new Map<string, number>()
  try {
    for (const thread of readdirSync(tasks)) {
      const ms = parseSchedstat(textOf(join(tasks, thread, 'schedstat')))
      if (ms !== null) reading.set(thread, ms)
    }
  } catch {
    // Not Linux, or hidden: what it got stands below.
  }
  if (reading.size > 0) return reading
  const { user, system } = process.cpuUsage()
  return new Map([['process', (user + system) / 1_000]])
}

/** /proc/PID/schedstat: ns on a core, ns waiting for one, times. Null: it is not that. */
export function parseSchedstat(text: string): number | null {
  const match = /^(\d+) (\d+) \d+\s*$/.exec(text)
  return match === null ? null : (Number(match[1]) + Number(match[2])) / NS_A_MS
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // it has just ended
  }
}
