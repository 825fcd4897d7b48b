/**
 * Texts of Linux's /proc to numbers, purely. Layouts: proc(5); kernel documentation, filesystems/proc.rst and
 * admin-guide/iostats.rst. A line that does not look as described there is skipped, so a kernel with more columns or
 * devices changes nothing. Called by host-metrics.ts once an interval.
 */

export interface CpuTimes {
  readonly busy: number
  readonly total: number
}

/** Bytes since boot: read and written, or received and sent. */
export interface ByteCounters {
  readonly in: number
  readonly out: number
}

/** Always 512, whatever the device's own sectors are (iostats.rst). */
const SECTOR_BYTES = 512
const PSEUDO_DISK = /^(loop|ram|zram|sr|fd|nbd)\d+$/
const PSEUDO_INTERFACE =
  /^(lo$|ifb\d|dummy\d|veth|docker\d|br-|virbr|cni|cali|flannel|tunl\d|sit\d|gre|ip6tnl|ip6_vti|ip_vti|teql|nlmon)/

/** /proc/stat: time of each core, in ticks; waiting for I/O is not busy. */
export function parseStat(text: string): Map<string, CpuTimes> {
  const cores = new Map<string, CpuTimes>()
  for (const line of text.split('\n')) {
    const match = /^cpu(\d+)\s+(.*)$/.exec(line)
    if (match === null) continue
    // user nice system idle iowait irq softirq steal; guest times are in user and nice already.
    const ticks = match[2]!.trim().split(/\s+/).slice(0, 8).map(Number)
    if (ticks.length < 4 || ticks.some((tick) => !Number.isFinite(tick))) continue
    const total = ticks.reduce((sum, tick) => sum + tick, 0)
    cores.set(match[1]!, { busy: total - ticks[3]! - (ticks[4] ?? 0), total })
  }
  return cores
}

/** /proc/loadavg: the first number, or null. */
export function parseLoad1(text: string): number | null {
  const load = Number.parseFloat(text)
  return Number.isFinite(load) ? load : null
}

/** /proc/meminfo: the share of memory that could not be given to a program now, or null before Linux 3.14. */
export function parseMemoryUsedRatio(text: string): number | null {
  const total = kilobytes(text, 'MemTotal')
  const available = kilobytes(text, 'MemAvailable')
  return total === null || available === null || total === 0 ? null : 1 - available / total
}

function kilobytes(text: string, name: string): number | null {
  const match = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)
  return match === null ? null : Number(match[1])
}

/** /proc/diskstats: whole devices only; partitions and memory disguised as disks are left out. */
export function parseDiskstats(text: string): Map<string, ByteCounters> {
  const disks = new Map<string, ByteCounters>()
  for (const line of text.split('\n')) {
    const fields = line.trim().split(/\s+/)
    const name = fields[2]
    const read = Number(fields[5])
    const written = Number(fields[9])
    if (name === undefined || !Number.isFinite(read) || !Number.isFinite(written)) continue
    if (PSEUDO_DISK.test(name)) continue
    disks.set(name, { in: read * SECTOR_BYTES, out: written * SECTOR_BYTES })
  }
  for (const name of [...disks.keys()]) {
    // sda1 of sda, nvme0n1p2 of nvme0n1.
    const whole = /^(.*\d)p\d+$/.exec(name)?.[1] ?? /^(.*\D)\d+$/.exec(name)?.[1]
    if (whole !== undefined && disks.has(whole)) disks.delete(name)
  }
  return disks
}

/** /proc/net/dev: real interfaces only. */
export function parseNetDev(text: string): Map<string, ByteCounters> {
  const interfaces = new Map<string, ByteCounters>()
  for (const line of text.split('\n')) {
    const match = /^\s*([^\s:]+):\s*(.*)$/.exec(line)
    if (match === null || PSEUDO_INTERFACE.test(match[1]!)) continue
    const fields = match[2]!.trim().split(/\s+/).map(Number)
    const received = fields[0]
    const sent = fields[8]
    if (received === undefined || sent === undefined || !Number.isFinite(received + sent)) continue
    interfaces.set(match[1]!, { in: received, out: sent })
  }
  return interfaces
}
