/** How time passes for an exchange: who holds results back, for how long, and what is too late. */
import { describe, expect, it } from 'vitest'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import { RECORD_END, RECORD_RESUMED, RECORD_SAMPLES, RECORD_TICK } from '../../engine/contract/samples.ts'
import type { DrivenSample } from '../../operators/testing/drive.ts'
import { ExchangeRun, MemoryLog } from './exchange-run.ts'
import { type PlanWishes, planOf, registry } from './fixtures.ts'

const T = 100_000

/** A topic whose log is written as the log writer does: samples by hand, ticks where somebody waits for log time. */
class Node {
  readonly run: ExchangeRun
  readonly log: MemoryLog
  readonly appendedMs: number[]
  ticks = 0
  nowMs = T

  constructor(wishes: PlanWishes, partitions: number, buckets = 1) {
    const plan: PipelinePlan = {
      ...planOf({ aggregates: ['count', 'sum'], ...wishes, groupBy: ['region'] }),
      topic: { name: 'metrics', partitions, partitionBy: ['host'] },
      exchange: { buckets },
    }
    this.log = new MemoryLog(partitions)
    this.appendedMs = this.log.partitions.map(() => -Infinity)
    this.run = new ExchangeRun({ plan, registry, log: this.log, seed: 1 })
  }

  append(partition: number, kind: number, samples: readonly DrivenSample[] = [], downFromMs = 0): this {
    const logMs = Math.max(this.nowMs, this.appendedMs[partition]!)
    this.appendedMs[partition] = logMs
    this.log.append({ partition, logMs, kind, samples, downFromMs })
    return this.take()
  }

  send(partition: number, ...timesMs: number[]): this {
    return this.append(
      partition,
      RECORD_SAMPLES,
      timesMs.map((timestampMs) => sample(timestampMs)),
    )
  }

  /** Time passes in steps, and whoever waits for log time gets a tick. */
  pass(ms: number, stepMs = 100): this {
    const untilMs = this.nowMs + ms
    while (this.nowMs < untilMs) {
      this.nowMs = Math.min(untilMs, this.nowMs + stepMs)
      this.tick()
    }
    return this
  }

  tick(): this {
    for (let round = 0; ; round++) {
      // Ticks make marks; marks must not ask for ticks for ever.
      expect(round).toBeLessThan(10)
      const before = this.ticks
      const topicMs = Math.max(this.nowMs, ...this.appendedMs)
      const wanted = this.run.owners.map(({ merger }) => merger.wantedLogMs).filter((ms) => ms <= topicMs + 1)
      this.run.chains.forEach(({ chain }, partition) => {
        const due = [...wanted, ...(chain.deadlineMs <= this.nowMs ? [chain.deadlineMs] : [])]
        const wantedMs = Math.max(-Infinity, ...due)
        if (this.appendedMs[partition]! >= wantedMs) return
        this.ticks++
        this.appendedMs[partition] = Math.max(this.nowMs, wantedMs, this.appendedMs[partition]!)
        const logMs = this.appendedMs[partition]!
        this.log.append({ partition, logMs, kind: RECORD_TICK, samples: [] })
      })
      this.take()
      if (this.ticks === before) return this
      expect(this.ticks - before).toBeLessThanOrEqual(this.appendedMs.length)
    }
  }

  take(): this {
    for (const seat of this.run.chains) {
      while (!seat.isDone) seat.step()
      seat.commit()
    }
    this.run.settle()
    return this
  }

  /** [end of the window, samples in it], less T. */
  get windows(): [number, number | null][] {
    return this.run.results().map(({ windowEndMs, values }) => [windowEndMs - T, values.count ?? null])
  }
}

function sample(timestampMs: number, region = 'r'): DrivenSample {
  return { labels: { __name__: 'm', host: 'h', region }, timestampMs, value: 1 }
}

describe('time in an exchange', () => {
  it('fires a window when the slowest active partition has passed its end, and lets no clock decide', () => {
    const node = new Node({ sizeMs: 1_000, idleMs: 60_000 }, 3)
    node.send(0, T + 10, T + 5_000).send(1, T + 20, T + 1_000)
    node.send(2, T + 30).pass(10_000)
    expect(node.windows).toEqual([])
    node.send(2, T + 1_500).pass(200)
    expect(node.windows).toEqual([[1_000, 3]])
    node
      .send(1, T + 3_000)
      .send(2, T + 2_999)
      .pass(200)
    expect(node.windows.at(-1)).toEqual([2_000, 2])
  })

  it('waits for a partition that never had a sample for the idle time of the first, then no more', () => {
    const node = new Node({ sizeMs: 1_000, idleMs: 4_000 }, 2)
    node.send(0, T + 10, T + 1_000).pass(3_900)
    expect(node.windows).toEqual([])
    node.send(0, T + 2_000)
    node.pass(300)
    expect(node.windows).toEqual([
      [1_000, 1],
      [2_000, 1],
    ])
    node.send(0, T + 3_000).pass(200)
    expect(node.windows.at(-1)).toEqual([3_000, 1])
  })

  it('takes what an idle partition had open, and closes the last windows when all are idle', () => {
    const node = new Node({ sizeMs: 1_000, disorderMs: 500, idleMs: 2_000 }, 2)
    node.send(0, T + 10, T + 900).send(1, T + 20)
    node.pass(1_000).send(0, T + 1_700)
    node.pass(1_200)
    // Partition 1 is idle, partition 0 is not.
    expect(node.windows).toEqual([[1_000, 3]])
    node.pass(1_000)
    expect(node.windows.at(-1)).toEqual([2_000, 1])
    const { ticks } = node
    node.pass(60_000)
    expect(node.ticks).toBe(ticks)
    expect(node.run.owners[0]!.merger.wantedLogMs).toBe(Infinity)
  })

  it('loses nothing of a window that an idle partition’s own watermark has not passed', () => {
    const node = new Node({ sizeMs: 1_000, disorderMs: 2_500, idleMs: 2_000 }, 2)
    node
      .send(0, T + 10)
      .send(1, T + 900)
      .pass(2_000)
    node
      .pass(100)
      .send(0, T + 4_000)
      .pass(200)
    expect(node.run.chains[1]!.chain.watermarkMs).toBeLessThan(T + 1_000)
    expect(node.windows).toEqual([[1_000, 2]])
    expect(node.run.ledger.late).toBe(0)
  })

  it('asks for a tick a partition and window, not more, while others are quiet', () => {
    const node = new Node({ sizeMs: 1_000, idleMs: 2_000 }, 4)
    for (let second = 0; second < 30; second++) node.send(0, T + second * 1_000).pass(1_000)
    expect(node.windows.length).toBeGreaterThan(25)
    expect(node.ticks).toBeLessThan(4 * 45)
  })

  it('goes on when the clock is set back', () => {
    const node = new Node({ sizeMs: 1_000, idleMs: 60_000 }, 2)
    node.send(1, T + 10)
    node.nowMs += 30_000
    node.send(0, T + 10, T + 1_000)
    node.nowMs -= 30_000
    node.send(1, T + 1_000).tick()
    expect(node.windows).toEqual([[1_000, 2]])
  })

  it('counts late what comes for windows that fired while its partition was idle, and loses none', () => {
    const node = new Node({ sizeMs: 1_000, everyMs: 500, idleMs: 2_000 }, 2)
    node
      .send(0, T + 100)
      .send(1, T + 100)
      .pass(2_500)
    node.send(0, T + 4_200).pass(100)
    // By its own watermark neither is late. The owner has fired what ends by 4 s: all that holds the first, and half of
    // what holds the second.
    node.send(1, T + 3_100, T + 3_900).pass(100)
    expect(node.run.ledger).toEqual({ in: 5, windowed: 4, filtered: 0, late: 1, nonFinite: 0, dead: 0 })
    node
      .send(1, T + 5_000)
      .send(0, T + 6_000)
      .pass(100)
    expect(node.run.ledger).toEqual({ in: 7, windowed: 6, filtered: 0, late: 1, nonFinite: 0, dead: 0 })
    expect(node.windows.filter(([endMs]) => endMs > 3_000)).toEqual([
      [4_500, 2],
      [5_000, 1],
    ])
  })

  it('does not count downtime as idleness', () => {
    const node = new Node({ sizeMs: 1_000, idleMs: 5_000 }, 2)
    node
      .send(0, T + 10, T + 1_000)
      .send(1, T + 10)
      .pass(1_000)
    const downFromMs = node.nowMs
    node.nowMs += 3_600_000
    node.append(0, RECORD_RESUMED, [], downFromMs).append(1, RECORD_RESUMED, [], downFromMs)
    node.send(0, T + 2_000).pass(3_500)
    expect(node.windows).toEqual([])
    node.send(0, T + 2_001).pass(1_000)
    expect(node.windows).toEqual([
      [1_000, 2],
      [2_000, 1],
    ])
  })

  it('finds silence by log time where no partition has a sample, and a sample anywhere ends it', () => {
    const node = new Node({ sizeMs: 1_000, quiet: true, idleMs: 60_000 }, 3, 2)
    node.send(0, T + 10).send(2, T + 10)
    node
      .pass(3_000)
      .send(1, T + 3_000)
      .pass(3_800)
    expect(node.run.alerts()).toEqual([])
    node.pass(2_000)
    expect(node.run.alerts()).toEqual([])
    node.pass(400)
    expect(node.run.alerts()).toMatchObject([{ state: 'firing', group: { region: 'r' }, sinceMs: T + 9_000 }])
    const firedAtMs = node.run.alerts()[0]!.atMs
    expect(firedAtMs - T).toBeLessThan(9_600)
    node.send(2, T + 10_000).pass(700)
    expect(node.run.alerts().map(({ state }) => state)).toEqual(['firing', 'resolved'])
  })

  it('raises no silence for the time the node was down', () => {
    const node = new Node({ sizeMs: 1_000, quiet: true, idleMs: 60_000 }, 2)
    node.send(0, T + 10).pass(1_000)
    const downFromMs = node.nowMs
    node.nowMs += 3_600_000
    node.append(0, RECORD_RESUMED, [], downFromMs).pass(2_500)
    expect(node.run.alerts()).toEqual([])
    node.pass(1_500)
    expect(node.run.alerts()).toMatchObject([{ state: 'firing' }])
  })

  it('closes every window at the end of an input', () => {
    const node = new Node({ sizeMs: 10_000, everyMs: 5_000, disorderMs: 60_000, idleMs: 1_000_000 }, 3)
    node.send(0, T + 12_000).send(1, T + 22_000)
    for (const partition of [0, 1, 2]) node.append(partition, RECORD_END)
    node.tick()
    expect(node.windows).toEqual([
      [15_000, 1],
      [20_000, 1],
      [25_000, 1],
      [30_000, 1],
    ])
  })
})
