/**
 * Detectors that look at more than one value: several columns of a group, and groups held against each other. The same
 * verdicts however the groups are spread over partitions and owners, and after any crash.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { RECORD_END, RECORD_SAMPLES } from '../../engine/contract/samples.ts'
import { pipeline, topic } from '../../engine/pipeline/builder.ts'
import { compilePlan } from '../../engine/pipeline/plan.ts'
import { Prng } from '../../engine/util/prng.ts'
import { count, max, mean, pca, peers, rate, sum, tumbling } from '../../index.ts'
import { registry } from '../../operators/registry.ts'
import { drive } from '../../testing/index.ts'
import { ExchangeRun, type LogRecord, MemoryLog } from './exchange-run.ts'

const ZONES = ['a', 'b', 'c']
const HOSTS = 9

function watched(name: string, from: ReturnType<typeof topic>) {
  return pipeline(name)
    .from(from)
    .groupBy('zone', 'host')
    .disorder('1s')
    .window(tumbling('10s'), { cpu: mean(), top: max(), n: count() })
    .detect('cpu', peers({ by: ['zone'], minPeers: 3 }))
    .detect(['cpu', 'top'], pca({ history: '10m', warmUp: '1m', components: 1 }))
}

interface Step {
  readonly zone: string
  readonly host: string
  readonly value: number
}

/** Rounds of samples, ten seconds apart. In zone b, host 4 stands out at the end; zone c as a whole jumps. */
function rounds(seed: number, count: number): Step[][] {
  const prng = new Prng(seed)
  return Array.from({ length: count }, (_, round) =>
    ZONES.flatMap((zone, z) =>
      Array.from({ length: HOSTS }, (_, host) => {
        const isApart = zone === 'b' && host === 4 && round > count - 6
        const jump = zone === 'c' && round > count - 6 ? 500 : 0
        const value = 100 * (z + 1) + 5 * prng.float() + jump + (isApart ? 400 : 0)
        return { zone, host: `h${host}`, value }
      }),
    ),
  )
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const half = sorted.length >>> 1
  return sorted.length % 2 === 1 ? sorted[half]! : sorted[half - 1]! / 2 + sorted[half]! / 2
}

describe('groups held against each other', () => {
  const COUNT = 40

  function verdicts(from: ReturnType<typeof topic>, seed: number) {
    const driver = drive(watched('p', from))
    for (const round of rounds(seed, COUNT)) {
      for (const { zone, host, value } of round) {
        driver.send([
          { name: 'cpu', labels: { zone, host }, value },
          { name: 'cpu', labels: { zone, host, core: '1' }, value: value + 1 },
        ])
      }
      driver.advance('10s').advanceEventTime('0s')
    }
    const results = driver.end().results()
    const sorted = results
      .map(({ windowEndMs, group, values, scores }) => ({ windowEndMs, group, values, scores }))
      .sort(
        (a, b) =>
          a.windowEndMs - b.windowEndMs || (JSON.stringify(a.group) < JSON.stringify(b.group) ? -1 : 1),
      )
    const alerts = driver.alerts().map(({ detector, group, state, sinceMs }) => {
      return `${detector} ${group.zone}/${group.host} ${state} ${sinceMs}`
    })
    return { plan: driver.plan, results: sorted, alerts: alerts.sort() }
  }

  test('are judged against all others of their zone in the window, by the naive median and deviation', () => {
    const { results } = verdicts(topic('m', { partitions: 4 }), 1)
    expect(results.length).toBe(COUNT * ZONES.length * HOSTS)
    for (const { windowEndMs, group, values, scores } of results) {
      const others = results
        .filter((row) => row.windowEndMs === windowEndMs && row.group.zone === group.zone)
        .filter((row) => row.group.host !== group.host)
        .map((row) => row.values.cpu!)
      expect(others.length).toBe(HOSTS - 1)
      const middle = median(others)
      const half = Math.max(
        6 * 1.4826 * median(others.map((value) => Math.abs(value - middle))),
        0.1 * Math.abs(middle),
        1e-9,
      )
      const { score, expected, upper } = scores['cpu-peers']!
      expect(expected).toBe(middle)
      expect(upper).toBeCloseTo(middle + half, 9)
      expect(score).toBeCloseTo(Math.abs(values.cpu! - middle) / half, 9)
    }
  })

  test('who stands out fires alone; a zone that moves as a whole does not', () => {
    const { alerts } = verdicts(topic('m', { partitions: 1 }), 2)
    const ofPeers = alerts.filter((alert) => alert.startsWith('cpu-peers'))
    expect(ofPeers.length).toBeGreaterThan(0)
    expect(ofPeers.every((alert) => alert.startsWith('cpu-peers b/h4 '))).toBe(true)
  })

  test('get the same verdicts in one partition, in several, and partitioned by their zone', () => {
    const one = verdicts(topic('m', { partitions: 1 }), 3)
    const spread = verdicts(topic('m', { partitions: 4 }), 3)
    const zoned = verdicts(topic('m', { partitions: 4, partitionBy: ['zone'] }), 3)
    const hosts = verdicts(topic('m', { partitions: 4, partitionBy: ['host'] }), 3)
    expect([one, spread, zoned, hosts].map(({ plan }) => plan.exchange)).toEqual([
      undefined,
      { buckets: 4, by: ['zone'] },
      undefined,
      { buckets: 4, by: ['zone'] },
    ])
    for (const { results, alerts } of [spread, zoned, hosts]) {
      expect(alerts).toEqual(one.alerts)
      expect(results.map(({ scores }) => scores['cpu-peers'])).toEqual(
        one.results.map(({ scores }) => scores['cpu-peers']),
      )
    }
  })
})

describe('the plan sees to it that peers have one owner', () => {
  const faultsOf = (definition: unknown): string[] =>
    compilePlan(definition, registry, '').faults.map(({ place, problem }) => `${place}: ${problem}`)
  const spread = pipeline('p').from(topic('m', { partitions: 4 }))
  const windowed = spread.groupBy('zone', 'host').window(tumbling('10s'), { cpu: mean() })

  test('of several detectors, by the labels that all of them share', () => {
    const both = windowed
      .detect('cpu', peers({ by: ['host', 'zone'] }))
      .detect('cpu', peers({ by: ['zone'] }), { name: 'wide' })
    expect(compilePlan(both, registry, '').plan!.exchange).toEqual({ buckets: 4, by: ['zone'] })
    const all = both.detect('cpu', peers(), { name: 'all' })
    expect(compilePlan(all, registry, '').plan!.exchange).toEqual({ buckets: 4, by: [] })
  })

  test('or says why it cannot', () => {
    expect(faultsOf(windowed.detect('cpu', peers({ by: ['rack'] })))).toEqual([
      'p.detect(cpu-peers).by: is no label that groups have',
    ])
    const bySeries = spread.window(tumbling('10s'), { cpu: mean() }).detect('cpu', peers({ by: ['zone'] }))
    expect(faultsOf(bySeries)).toEqual([
      'p.detect(cpu-peers).by: series that are peers lie in several partitions of topic "m", each by itself',
    ])
    const ordered = spread
      .groupBy('zone', 'host')
      .window(tumbling('10s'), { cpu: rate() })
      .detect('cpu', peers({ by: ['zone'] }))
    expect(faultsOf(ordered)[0]).toMatch(/rate needs the samples of a group in order of time/)
  })

  test('several columns go to a detector of several, and one to one of one', () => {
    const columns = spread.groupBy('host').window(tumbling('10s'), { a: mean(), b: max(), c: sum() })
    const loose = columns as unknown as { detect(column: unknown, detector: unknown): unknown }
    expect(faultsOf(loose.detect('a', pca()))).toEqual([
      'p.detect(a-pca): pca judges several columns together',
    ])
    expect(faultsOf(loose.detect(['a'], pca()))).toEqual(['p.detect(a-pca): are fewer than two columns'])
    expect(faultsOf(loose.detect(['a', 'a'], pca()))).toEqual(['p.detect(a-a-pca): is named twice'])
    expect(faultsOf(loose.detect(['a', 'x'], pca()))).toEqual([
      'p.detect(a-x-pca): is not an aggregate of the window',
    ])
    expect(faultsOf(loose.detect(['a', 'b'], peers({ by: [] })))).toEqual([
      'p.detect(a-b-peers): are several columns; peers judges one',
    ])
    expect(faultsOf(columns.detect(['a', 'b', 'c'], pca()))).toEqual([])
  })
})

test('bytes depend on the logs alone: whoever crashes, whoever goes first, with several owners', () => {
  const { plan, faults } = compilePlan(watched('p', topic('m', { partitions: 3 })), registry, '')
  expect(faults).toEqual([])
  expect(plan!.exchange).toEqual({ buckets: 3, by: ['zone'] })
  const records: LogRecord[] = []
  rounds(5, 70).forEach((round, i) => {
    const at = 1_000_000 + 10_000 * i
    for (let partition = 0; partition < 3; partition++) {
      const samples = round
        .filter((_, host) => host % 3 === partition)
        .map(({ zone, host, value }) => ({ labels: { zone, host }, timestampMs: at, value }))
      records.push({ partition, logMs: at + partition, kind: RECORD_SAMPLES, samples })
    }
  })
  for (let partition = 0; partition < 3; partition++) {
    records.push({ partition, logMs: 2_000_000, kind: RECORD_END, samples: [] })
  }
  // The last ticks say that the instant before them is complete.
  for (let partition = 0; partition < 3; partition++) {
    records.push({ partition, logMs: 2_000_001, kind: RECORD_END, samples: [] })
  }
  const log = records.reduce((into, record) => into.append(record), new MemoryLog(3))
  const calm = new ExchangeRun({ plan: plan!, registry, log, seed: 1 }).finish()
  expect(calm.results().length).toBe(70 * ZONES.length * HOSTS)
  expect(calm.results().some(({ scores }) => scores['cpu-peers']!.score! > 1)).toBe(true)
  expect(calm.results().some(({ scores }) => scores['cpu-top-pca']!.score !== null)).toBe(true)
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10_000 }), fc.nat(20), (seed, crashes) => {
      const other = new ExchangeRun({ plan: plan!, registry, log, seed, crashes }).finish()
      expect(other.entries).toEqual(calm.entries)
    }),
    { numRuns: 15 },
  )
})
