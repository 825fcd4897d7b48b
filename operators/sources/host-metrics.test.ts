import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { seriesText } from '../../engine/series/series-key.ts'
import { ManualClock } from '../../engine/util/clock.ts'
import {
  type HostReading,
  type HostSample,
  HostSampler,
  openHostMetrics,
  readAnyHost,
  readHost,
} from './host-metrics.ts'
import {
  parseDiskstats,
  parseLoad1,
  parseMemoryUsedRatio,
  parseNetDev,
  parseStat,
} from './host-metrics-parse.ts'

describe('/proc', () => {
  test('stat: cores without their sum; waiting for I/O is not busy, guests are not counted twice', () => {
    const text =
      'cpu  300 0 30 600 100 0 10 0 50 0\ncpu0 100 10 20 300 50 5 5 10 50 0\ncpu1 1 2 3 4\ncpu2 x\nintr 5\n'
    expect([...parseStat(text)]).toEqual([
      ['0', { busy: 150, total: 500 }],
      ['1', { busy: 6, total: 10 }],
    ])
  })

  test('loadavg: the first number', () => {
    expect(parseLoad1('6.27 7.93 5.66 6/231 23515\n')).toBe(6.27)
    expect(parseLoad1('')).toBeNull()
  })

  test('meminfo: what is not available is used', () => {
    const text = 'MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    250 kB\n'
    expect(parseMemoryUsedRatio(text)).toBe(0.75)
    expect(parseMemoryUsedRatio('MemTotal: 1000 kB\n')).toBeNull()
  })

  test('diskstats: whole devices in bytes, no partition, loop or RAM disk', () => {
    const line = (name: string, read: number, written: number): string =>
      `   8       0 ${name} 10 0 ${read} 0 10 0 ${written} 0 0 0 0 0 0 0 0\n`
    const text =
      line('sda', 2, 4) +
      line('sda1', 1, 1) +
      line('nvme0n1', 1, 0) +
      line('nvme0n1p2', 1, 0) +
      line('dm-1', 0, 1) +
      line('dm-10', 0, 1) +
      line('loop3', 1, 1) +
      line('zram0', 1, 1) +
      '   8 0 broken\n'
    expect([...parseDiskstats(text)]).toEqual([
      ['sda', { in: 1024, out: 2048 }],
      ['nvme0n1', { in: 512, out: 0 }],
      ['dm-1', { in: 0, out: 512 }],
      ['dm-10', { in: 0, out: 512 }],
    ])
  })

  test('net/dev: real interfaces, also where the number touches the colon', () => {
    const text =
      'Inter-|   Receive                            |  Transmit\n' +
      ' face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n' +
      '    lo: 99 1 0 0 0 0 0 0 99 1 0 0 0 0 0 0\n' +
      '  eth0:257312613 6367 0 0 0 0 0 0 430828 3854 0 0 0 0 0 0\n' +
      'veth12: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n' +
      ' wlan0: 7 1 0 0 0 0 0 0 8 1 0 0 0 0 0 0\n'
    expect([...parseNetDev(text)]).toEqual([
      ['eth0', { in: 257_312_613, out: 430_828 }],
      ['wlan0', { in: 7, out: 8 }],
    ])
  })
})

function reading(ticks: number, bytes: number): HostReading {
  return {
    cores: new Map([['0', { busy: ticks / 4, total: ticks }]]),
    load1: 1.5,
    memoryUsedRatio: 0.5,
    disks: new Map([['sda', { in: bytes, out: 2 * bytes }]]),
    interfaces: new Map([['eth0', { in: 3 * bytes, out: 4 * bytes }]]),
  }
}

const texts = (samples: readonly HostSample[]): unknown[] =>
  samples.map(({ labels, value }) => [seriesText(labels), value])

describe('HostSampler', () => {
  test('levels come at once, ratios and rates from the second reading on', () => {
    const sampler = new HostSampler('h')
    expect(texts(sampler.take(reading(100, 1_000), 5, 0))).toEqual([
      ['host_load1{host="h"}', 1.5],
      ['host_memory_used_ratio{host="h"}', 0.5],
    ])
    const second = sampler.take(reading(200, 3_000), 2_005, 2_000)
    expect(texts(second)).toEqual([
      ['host_load1{host="h"}', 1.5],
      ['host_memory_used_ratio{host="h"}', 0.5],
      ['host_cpu_busy_ratio{host="h",cpu="0"}', 0.25],
      ['host_disk_read_bytes_per_second{host="h",device="sda"}', 1_000],
      ['host_disk_written_bytes_per_second{host="h",device="sda"}', 2_000],
      ['host_network_received_bytes_per_second{host="h",interface="eth0"}', 3_000],
      ['host_network_sent_bytes_per_second{host="h",interface="eth0"}', 4_000],
    ])
    expect(new Set(second.map((sample) => sample.timestampMs))).toEqual(new Set([2_005]))
  })

  test('a counter that went backwards, or stood still for a core, gives no sample', () => {
    const sampler = new HostSampler('h')
    sampler.take(reading(100, 1_000), 0, 0)
    expect(sampler.take(reading(100, 500), 1_000, 1_000)).toHaveLength(2)
  })
})

describe('openHostMetrics', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  test('emits at once and every interval until it is closed', () => {
    const clock = new ManualClock(1_000_000)
    const emitted: HostSample[][] = []
    let ticks = 0
    const metrics = openHostMetrics({
      intervalMs: 1_000,
      clock,
      host: 'h',
      emit: (samples) => emitted.push(samples),
      read: () => reading(++ticks * 100, ticks * 1_000),
    })
    for (let second = 0; second < 3; second++) {
      clock.advance(1_000)
      vi.advanceTimersByTime(1_000)
    }
    metrics.close()
    metrics.close()
    vi.advanceTimersByTime(5_000)
    expect(emitted.map((samples) => samples.length)).toEqual([2, 7, 7, 7])
    expect(emitted[3]![0]!.timestampMs).toBe(1_003_000)
  })
})

describe('this machine', () => {
  test('is seen through node:os wherever node runs', () => {
    const { cores, memoryUsedRatio } = readAnyHost()
    expect(cores.size).toBeGreaterThan(0)
    expect(memoryUsedRatio).toBeGreaterThan(0)
    expect(memoryUsedRatio).toBeLessThan(1)
  })

  test('what /proc does not show is left out', () => {
    const seen = process.platform === 'linux' ? readHost('/nowhere') : null
    if (seen !== null) expect([seen.cores.size, seen.load1, seen.disks.size]).toEqual([0, null, 0])
    expect(readHost().memoryUsedRatio).toBeGreaterThan(0)
  })
})
