/**
 * This machine's own metrics, a sample of each a second: CPU per core, load, memory, disks, network. From /proc on
 * Linux; elsewhere from node:os, which knows CPU, load and memory. What cannot be read is left out, never invented:
 * rates need two readings, and a counter that went backwards (a device replaced) gives none. Used by `millrace demo`.
 */
import { readFileSync } from 'node:fs'
import { cpus, freemem, hostname, loadavg, platform, totalmem } from 'node:os'
import { join } from 'node:path'
import { type Labels, NAME_LABEL } from '../../engine/contract/samples.ts'
import type { Clock } from '../../engine/util/clock.ts'
import {
  type ByteCounters,
  type CpuTimes,
  parseDiskstats,
  parseLoad1,
  parseMemoryUsedRatio,
  parseNetDev,
  parseStat,
} from './host-metrics-parse.ts'

export interface HostSample {
  readonly labels: Labels
  readonly timestampMs: number
  readonly value: number
}

/** What one look at the machine saw; null or empty where it cannot be seen. */
export interface HostReading {
  readonly cores: ReadonlyMap<string, CpuTimes>
  readonly load1: number | null
  readonly memoryUsedRatio: number | null
  readonly disks: ReadonlyMap<string, ByteCounters>
  readonly interfaces: ReadonlyMap<string, ByteCounters>
}

export interface HostMetricsOptions {
  /** Default 1,000. */
  readonly intervalMs?: number
  readonly clock: Clock
  readonly emit: (samples: HostSample[]) => void
  /** The `host` label; default: the machine's name. */
  readonly host?: string
  readonly read?: () => HostReading
}

export interface HostMetrics {
  /** Nothing is emitted afterwards; may be called twice. */
  close(): void
}

export function openHostMetrics(options: HostMetricsOptions): HostMetrics {
  const { clock, emit, intervalMs = 1_000, host = hostname(), read = readHost } = options
  const sampler = new HostSampler(host)
  const tick = (): void => {
    const samples = sampler.take(read(), clock.nowMs(), clock.monotonicMs())
    if (samples.length > 0) emit(samples)
  }
  const timer = setInterval(tick, intervalMs)
  tick()
  return { close: () => clearInterval(timer) }
}

/** Readings to samples: differences of counters become ratios and rates. */
export class HostSampler {
  readonly #host: string
  #before: HostReading | null = null
  #beforeMs = 0

  constructor(host: string) {
    this.#host = host
  }

  take(reading: HostReading, nowMs: number, monotonicMs: number): HostSample[] {
    const samples: HostSample[] = []
    const add = (name: string, value: number | null, labels: Labels = {}): void => {
      if (value === null) return
      samples.push({
        labels: { [NAME_LABEL]: name, host: this.#host, ...labels },
        timestampMs: nowMs,
        value,
      })
    }
    add('host_load1', reading.load1)
    add('host_memory_used_ratio', reading.memoryUsedRatio)
    const before = this.#before
    const seconds = (monotonicMs - this.#beforeMs) / 1_000
    this.#before = reading
    this.#beforeMs = monotonicMs
    if (before === null || seconds <= 0) return samples
    for (const [cpu, now] of reading.cores) {
      add('host_cpu_busy_ratio', busyRatio(before.cores.get(cpu), now), { cpu })
    }
    for (const [device, now] of reading.disks) {
      const last = before.disks.get(device)
      add('host_disk_read_bytes_per_second', rate(last?.in, now.in, seconds), { device })
      add('host_disk_written_bytes_per_second', rate(last?.out, now.out, seconds), { device })
    }
    for (const [name, now] of reading.interfaces) {
      const last = before.interfaces.get(name)
      add('host_network_received_bytes_per_second', rate(last?.in, now.in, seconds), { interface: name })
      add('host_network_sent_bytes_per_second', rate(last?.out, now.out, seconds), { interface: name })
    }
    return samples
  }
}

function rate(before: number | undefined, now: number, seconds: number): number | null {
  return before === undefined || now < before ? null : (now - before) / seconds
}

function busyRatio(before: CpuTimes | undefined, now: CpuTimes): number | null {
  if (before === undefined) return null
  const total = now.total - before.total
  const busy = now.busy - before.busy
  // iowait may go backwards (proc.rst), and with it busy may pass total.
  return total <= 0 ? null : Math.min(1, Math.max(0, busy / total))
}

/** One look at the machine. A file that cannot be read leaves its part out. */
export function readHost(proc = '/proc'): HostReading {
  if (platform() !== 'linux') return readAnyHost()
  const text = (name: string): string => {
    try {
      return readFileSync(join(proc, name), 'utf8')
    } catch {
      return '' // hidden in some containers
    }
  }
  return {
    cores: parseStat(text('stat')),
    load1: parseLoad1(text('loadavg')),
    memoryUsedRatio: parseMemoryUsedRatio(text('meminfo')),
    disks: parseDiskstats(text('diskstats')),
    interfaces: parseNetDev(text('net/dev')),
  }
}

/** What node:os knows on every system. */
export function readAnyHost(): HostReading {
  const cores = new Map<string, CpuTimes>()
  for (const [index, { times }] of cpus().entries()) {
    const total = times.user + times.nice + times.sys + times.idle + times.irq
    cores.set(String(index), { busy: total - times.idle, total })
  }
  const memoryBytes = totalmem()
  return {
    cores,
    // Windows has no load average and says 0.
    load1: platform() === 'win32' ? null : (loadavg()[0] ?? null),
    memoryUsedRatio: memoryBytes > 0 ? 1 - freemem() / memoryBytes : null,
    disks: new Map(),
    interfaces: new Map(),
  }
}
