import { describe, expect, it } from 'vitest'
import { BatchView } from '../../engine/batch/batch-view.ts'
import { BATCH_SAMPLES_MAX } from '../../engine/batch/layout.ts'
import { ENTRY_ALERT, ENTRY_LATE, ENTRY_RESULTS } from '../../engine/contract/entries.ts'
import { ENTRY_BYTES_MAX } from '../../engine/pipeline/entry-writer.ts'
import { compareBytes } from '../../engine/util/bytes.ts'
import { Drive, type DrivenSample } from '../../operators/testing/drive.ts'
import { type PlanWishes, planOf, registry } from './fixtures.ts'

function drive(wishes: PlanWishes): Drive {
  return new Drive({ plan: planOf(wishes), registry })
}

function viewOf(record: Uint8Array): BatchView {
  const bytes = new Uint8Array(new ArrayBuffer(Math.ceil(record.length / 8) * 8))
  bytes.set(record)
  return new BatchView(bytes.buffer).point(0)
}

function sample(timestampMs: number, value = 1, host = 'a'): DrivenSample {
  return { labels: { __name__: 'load', host }, timestampMs, value }
}

function windows(driven: Drive): [number, number, number | null][] {
  return driven
    .results()
    .map(({ windowStartMs, windowEndMs, values }) => [windowStartMs, windowEndMs, values.count ?? null])
}

describe('a chain', () => {
  it('fires a window when the newest event time less the disorder reaches its end, not before', () => {
    const driven = drive({ sizeMs: 10_000, disorderMs: 2_000 })
    driven.send([sample(3_000), sample(11_999.75)])
    expect(windows(driven)).toEqual([])
    driven.send([sample(12_000)])
    expect(windows(driven)).toEqual([[0, 10_000, 1]])
    expect(driven.chain.watermarkMs).toBe(10_000)
  })

  it('still takes samples of an open window that come out of order', () => {
    const driven = drive({ sizeMs: 10_000, disorderMs: 2_000 })
    driven.send([sample(3_000), sample(11_000), sample(9_999), sample(12_000)])
    expect(windows(driven)).toEqual([[0, 10_000, 2]])
    expect(driven.chain.ledger.late).toBe(0)
  })

  it('counts and emits late samples, once a record batch, and adds them to nothing', () => {
    const driven = drive({ sizeMs: 10_000 })
    driven.send([sample(3_000), sample(10_000), sample(9_999, 7), sample(12_000), sample(1, 8, 'b')])
    expect(driven.entries.map(({ kind }) => kind)).toEqual([ENTRY_RESULTS, ENTRY_LATE])
    expect(driven.late()).toMatchObject([
      { timestampMs: 9_999, value: 7, offset: 2, series: { host: 'a' } },
      { timestampMs: 1, value: 8, offset: 4, series: { host: 'b' } },
    ])
    driven.end()
    expect(windows(driven)).toEqual([
      [0, 10_000, 1],
      [10_000, 20_000, 2],
    ])
    expect(driven.chain.ledger).toEqual({ in: 5, windowed: 3, filtered: 0, late: 2, nonFinite: 0, dead: 0 })
  })

  it('adds a sample to the windows still open when the older ones that hold it have fired', () => {
    const driven = drive({ sizeMs: 10_000, everyMs: 5_000 })
    driven.send([sample(3_000), sample(10_000), sample(7_000)]).end()
    expect(windows(driven)).toEqual([
      [-5_000, 5_000, 1],
      [0, 10_000, 1],
      [5_000, 15_000, 2],
      [10_000, 20_000, 1],
    ])
    expect(driven.chain.ledger.late).toBe(0)
  })

  it('counts filtered and non-finite samples, which move nothing', () => {
    const driven = drive({ sizeMs: 10_000, where: [{ label: 'host', op: '=~', value: 'a|b' }] })
    driven.send([sample(1), sample(90_000, NaN), sample(90_000, -Infinity, 'b'), sample(90_000, 1, 'c')])
    driven.send([sample(NaN), sample(1e300)])
    expect(driven.chain.watermarkMs).toBe(1)
    expect(driven.chain.ledger).toEqual({ in: 6, windowed: 1, filtered: 1, late: 0, nonFinite: 4, dead: 0 })
    expect(driven.entries).toEqual([])
  })

  it('skips a record whole: its samples are dead, time stands still, and what follows is as if it held none', () => {
    const driven = drive({ sizeMs: 10_000 })
    driven.send([sample(1_000), sample(3_000)])
    const other = drive({ sizeMs: 10_000 }).send([sample(1_000), sample(3_000)])
    const skipped = viewOf(other.send([sample(95_000), sample(4_000, NaN)]).records[1]!)
    driven.chain.skip(skipped)
    expect(driven.chain.position).toBe(4)
    expect([driven.chain.watermarkMs, driven.entries]).toEqual([3_000, []])
    expect(driven.chain.ledger).toEqual({ in: 4, windowed: 2, filtered: 0, late: 0, nonFinite: 0, dead: 2 })
    expect(() => driven.chain.skip(skipped)).toThrow(/without a gap/)
  })

  it('orders rows by group key bytes, whatever order groups came in, and leaves out those without samples', () => {
    const hosts = ['b', 'ü', 'a', 'ab', '~', 'B', '']
    const driven = drive({ sizeMs: 10_000 })
    driven.send(hosts.map((host) => sample(1, 1, host)))
    driven.send([sample(10_001, 1, 'zz'), sample(10_002, 1, 'a'), sample(20_000, 1, 'b')])
    const keys = driven.groups
    const groupsOf = (startMs: number): string[] =>
      driven
        .results()
        .filter((row) => row.windowStartMs === startMs)
        .map(({ group }) => group.host ?? '')
    const wanted = [...hosts].sort((x, y) => compareBytes(Buffer.from(x), Buffer.from(y)))
    expect(groupsOf(0)).toEqual(wanted)
    expect(groupsOf(10_000)).toEqual(['a', 'zz'])
    expect(keys.length).toBe(8)
  })

  it('groups by series where no labels are named', () => {
    const driven = drive({ sizeMs: 10_000, groupBy: null })
    driven.send([sample(1), { labels: { __name__: 'heat', host: 'a' }, timestampMs: 2, value: 5 }]).end()
    expect(driven.results().map(({ group }) => group)).toEqual([
      { __name__: 'heat', host: 'a' },
      { __name__: 'load', host: 'a' },
    ])
  })

  it('passes over a gap of years of empty windows at once', () => {
    const driven = drive({ sizeMs: 1_000, everyMs: 1_000 })
    driven.send([sample(500), sample(1e14), sample(1e14 + 1_000)])
    expect(windows(driven)).toEqual([
      [0, 1_000, 1],
      [1e14, 1e14 + 1_000, 1],
    ])
  })

  it('lets the watermark follow log time once no sample has come for the idle time', () => {
    const driven = drive({ sizeMs: 10_000, disorderMs: 1_000, idleMs: 5_000 })
    driven.send([sample(8_000)])
    expect(driven.chain.deadlineMs).toBe(5_000)
    driven.advance(4_999).tick()
    expect(windows(driven)).toEqual([])
    driven.advance(1).tick()
    expect(windows(driven)).toEqual([[0, 10_000, 1]])
    expect(driven.chain.deadlineMs).toBe(Infinity)
  })

  it('does not count downtime as idleness', () => {
    const driven = drive({ sizeMs: 10_000, disorderMs: 1_000, idleMs: 5_000 })
    driven.send([sample(8_000)])
    driven.advance(1_000).tick()
    driven.advance(3_600_000).resume(1_000)
    driven.advance(3_999).tick()
    expect(windows(driven)).toEqual([])
    driven.advance(1).tick()
    expect(windows(driven)).toEqual([[0, 10_000, 1]])
  })

  it('closes every open window at the end of an input', () => {
    const driven = drive({ sizeMs: 10_000, everyMs: 5_000, disorderMs: 60_000 })
    driven.send([sample(12_000), sample(22_000)]).end()
    expect(windows(driven)).toEqual([
      [5_000, 15_000, 1],
      [10_000, 20_000, 1],
      [15_000, 25_000, 1],
      [20_000, 30_000, 1],
    ])
    driven.send([sample(24_000)])
    expect(driven.chain.ledger.late).toBe(1)
  })

  it('splits a window with many groups into numbered entries below the limit', () => {
    const groups = 10_000
    const driven = drive({ sizeMs: 10_000, disorderMs: 0 })
    const samples = Array.from({ length: groups }, (_, i) => sample(i / 10_000, i, `host-${i}`))
    driven.send(samples).end()
    const lengths = driven.entries.map(({ bytes }) => bytes.length)
    expect(lengths.length).toBeGreaterThan(2)
    expect(Math.max(...lengths)).toBeLessThanOrEqual(ENTRY_BYTES_MAX)
    expect(driven.entries.map(({ seq }) => seq)).toEqual(lengths.map((_, i) => i))
    expect(driven.results().map(({ values }) => values.sum)).toEqual(
      driven.results().map(({ group }) => Number(group.host!.slice(5))),
    )
    expect(driven.results().length).toBe(groups)
  })

  it('gives the alerts of a window that is split by detector, then by group, after all its rows', () => {
    const plan = planOf({ sizeMs: 10_000, aggregates: ['sum', 'max'] })
    const surge = { kind: 'surge', options: {}, holdMs: 0 }
    const detectors = ['sum', 'max'].map((column) => ({ ...surge, name: `${column}-surge`, column }))
    const driven = new Drive({ plan: { ...plan, detectors }, registry })
    const hosts = Array.from({ length: 4_000 }, (_, i) => `host-${String(i).padStart(4, '0')}`)
    const odd = [0, 1_000, 3_999]
    driven.send(hosts.map((host) => sample(0, 1, host)))
    driven.send(hosts.map((host, i) => sample(10_000, odd.includes(i) ? 99 : 1, host)))
    driven.end()
    const kinds = driven.entries.map(({ kind }) => kind)
    expect(kinds).toEqual([...Array(4).fill(ENTRY_RESULTS), ...Array(6).fill(ENTRY_ALERT)])
    expect(driven.alerts().map(({ detector, group }) => [detector, group.host])).toEqual(
      detectors.flatMap(({ name }) => odd.map((i) => [name, hosts[i]])),
    )
  })

  it('keeps what open slices hold when groups outgrow their room, across a restore as well', () => {
    const plan = { sizeMs: 10_000, everyMs: 2_000, disorderMs: 4_000 }
    const plain = drive(plan)
    const crashing = drive(plan)
    for (let second = 0; second < 14; second++) {
      const groups = 30 * (second + 1)
      const samples = Array.from({ length: groups }, (_, i) => sample(second * 1_000, i, `h${i % groups}`))
      plain.send(samples)
      crashing.send(samples).crash()
    }
    plain.end()
    crashing.end()
    expect(crashing.entries).toEqual(plain.entries)
    // Every group that has a sample in seconds 0 to 9 has one in each second since it began.
    const rows = plain.results().filter(({ windowStartMs }) => windowStartMs === 0)
    expect(rows.length).toBe(300)
    for (const { group, values } of rows) {
      expect(values.count).toBe(10 - Math.floor(Number(group.host!.slice(1)) / 30))
    }
  })

  it('puts alerts after the results of the window they judge', () => {
    const driven = drive({ sizeMs: 10_000, surge: 'mean' })
    driven.send([sample(1, 5), sample(10_001, 6), sample(20_001, 600), sample(30_001, 5), sample(40_001, 5)])
    expect(driven.entries.map(({ kind, eventTimeMs }) => [kind, eventTimeMs])).toEqual([
      [ENTRY_RESULTS, 10_000],
      [ENTRY_RESULTS, 20_000],
      [ENTRY_RESULTS, 30_000],
      [ENTRY_ALERT, 30_000],
      [ENTRY_RESULTS, 40_000],
      [ENTRY_ALERT, 40_000],
    ])
    expect(driven.alerts()).toMatchObject([
      { id: 'p/surge/0/0/30000', state: 'firing', value: 600, group: { host: 'a' }, direction: 'up' },
      { id: 'p/surge/0/0/30000', state: 'resolved', value: 5 },
    ])
    const scores = driven.results().map(({ scores }) => scores.surge!.score)
    expect(scores[0]).toBeNull()
    expect(scores[2]).toBeGreaterThan(1)
  })

  it('finds silence by log time, at the deadline it names', () => {
    const driven = drive({ sizeMs: 10_000, quiet: true, idleMs: 60_000 })
    driven.send([sample(1), sample(1, 1, 'b')])
    expect(driven.chain.deadlineMs).toBe(4_000)
    driven.advance(3_000).send([sample(3_001, 1, 'b')])
    expect(driven.chain.deadlineMs).toBe(4_000)
    driven.tickUntil(4_000)
    expect(driven.alerts()).toMatchObject([{ state: 'firing', group: { host: 'a' }, column: null }])
    driven.advance(2_000).send([sample(6_001)])
    expect(driven.alerts().at(-1)).toMatchObject({ state: 'resolved', group: { host: 'a' }, atMs: 6_000 })
  })

  it('raises no silence for the time the node was down', () => {
    const driven = drive({ sizeMs: 10_000, quiet: true })
    driven.send([sample(1)])
    driven.advance(1_000).tick()
    driven.advance(3_600_000).resume(1_000)
    driven.advance(2_999).tick()
    expect(driven.alerts()).toEqual([])
    driven.advance(1).tick()
    expect(driven.alerts()).toMatchObject([{ state: 'firing' }])
  })

  it('takes the largest record batch, and refuses one that does not follow', () => {
    const driven = drive({ sizeMs: 10_000 })
    driven.send(Array.from({ length: BATCH_SAMPLES_MAX }, () => sample(5)))
    expect(driven.chain.position).toBe(BATCH_SAMPLES_MAX)
    expect(() => driven.replay(driven.records[0]!)).toThrow('records come without a gap')
  })

  it('refuses the state of a plan that lays it out differently', () => {
    const { meta, pages } = drive({ sizeMs: 10_000 })
      .send([sample(5)])
      .checkpoint()
    const other = drive({ sizeMs: 10_000, aggregates: ['count'] })
    expect(() => other.chain.restore(meta, pages)).toThrow('layout of this plan')
  })
})
