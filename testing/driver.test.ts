import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  count,
  ewma,
  MillraceError,
  mean,
  ndjsonFile,
  pipeline,
  silence,
  sliding,
  sum,
  threshold,
  topic,
  tumbling,
  webhook,
} from '../index.ts'
import { drive, type PipelineDriver, type TestSample } from './index.ts'

const START = Date.UTC(2026, 0, 1)

const perMinute = pipeline('per-minute')
  .from(topic('metrics'))
  .where({ name: 'requests' })
  .disorder('5s')
  .idle('15s')
  .window(tumbling('1m'), { total: sum(), n: count() })

function requests(value: number, host = 'a'): TestSample {
  return { name: 'requests', labels: { host }, value }
}

describe('event time', () => {
  test('a window closes when a sample says that its disorder has passed, and not before', () => {
    const driver = drive(perMinute)
    driver.send([requests(1), requests(2)])
    driver.advanceEventTime('64s').send(requests(10))
    expect(driver.results()).toEqual([])
    driver.advanceEventTime('1s').send(requests(10))
    expect(driver.results()).toMatchObject([
      {
        group: { __name__: 'requests', host: 'a' },
        windowStartMs: START,
        windowEndMs: START + 60_000,
        values: { total: 3, n: 2 },
      },
    ])
    expect(driver.state()).toMatchObject({ nowMs: START, watermarkMs: START + 60_000, groups: 1 })
  })

  test('a sample after its window has closed is late: read, counted, and in no result', () => {
    const driver = drive(perMinute)
    driver.send(requests(1)).advance('2m').send(requests(5))
    driver.send({ ...requests(7), at: START + 30_000 })
    expect(driver.late()).toMatchObject([{ series: { host: 'a' }, timestampMs: START + 30_000, value: 7 }])
    expect(
      driver
        .end()
        .results()
        .map(({ values }) => values.total),
    ).toEqual([1, 5])
    expect(driver.state().ledger).toEqual({ in: 3, windowed: 2, filtered: 0, late: 1, nonFinite: 0, dead: 0 })
  })

  test('times are numbers, dates or text, and everything else is refused by name', () => {
    const driver = drive(perMinute, { start: '2026-03-01T00:00:00Z' })
    expect(driver.nowMs).toBe(Date.UTC(2026, 2, 1))
    for (const at of [Date.UTC(2026, 2, 1, 0, 1), new Date('2026-03-01T00:02:00Z'), '2026-03-01T00:03:00Z']) {
      driver.send({ ...requests(1), at })
    }
    expect(driver.end().results().length).toBe(3)
    expect(() => driver.send({ ...requests(1), at: 'yesterday' })).toThrow(
      /"yesterday" is not a time\. Write/,
    )
  })
})

describe('the wall clock', () => {
  test('the window of a series that pauses closes by idleness, when it is due', () => {
    const driver = drive(perMinute)
    driver.send(requests(1))
    expect(driver.advance('64s').results()).toEqual([])
    expect(driver.advance('1s').results().length).toBe(1)
  })

  const heartbeat = pipeline('alive')
    .from(topic('metrics'))
    .groupBy('host')
    .window(tumbling('10s'), { n: count() })
    .detect(silence({ after: '30s' }))
    .to(webhook({ url: 'http://127.0.0.1:9/' }))

  test('silence is told at its moment, and ends with the next sample', () => {
    const driver = drive(heartbeat).send(requests(1))
    expect(driver.advance('30s').firing()).toEqual([])
    expect(driver.advance('1ms').firing()).toMatchObject([
      { detector: 'silence', group: { host: 'a' }, state: 'firing' },
    ])
    driver.send(requests(1))
    expect(driver.firing()).toEqual([])
    expect(driver.alerts().map(({ state }) => state)).toEqual(['firing', 'resolved'])
    expect(driver.sentTo('webhook')).toEqual(driver.alerts())
  })

  test('the node being down is nobody’s silence', () => {
    const driver = drive(heartbeat).send(requests(1)).advance('10s').restart('1h')
    expect(driver.firing()).toEqual([])
    expect(driver.advance('20s').firing()).toEqual([])
    expect(driver.advance('1ms').firing().length).toBe(1)
  })

  test('what happens on the way does not depend on the steps the clock is moved in', () => {
    const inSteps = (steps: number): unknown => {
      const driver = drive(heartbeat).send([requests(1), requests(1, 'b')])
      for (let i = 0; i < steps; i++) driver.advance(60_000 / steps)
      return [driver.results(), driver.alerts()]
    }
    expect(inSteps(60)).toEqual(inSteps(1))
    expect(inSteps(6_000)).toEqual(inSteps(1))
  })
})

describe('groups that are spread over partitions', () => {
  const byRegion = pipeline('regions')
    .from(topic('metrics', { partitions: 4 }))
    .groupBy('region')
    .disorder(0)
    .window(sliding({ size: '20s', every: '10s' }), { total: sum(), n: count() })
    .detect('total', threshold({ above: 100 }))

  test('are put together, without the clock having to move', () => {
    const driver = drive(byRegion)
    expect(driver.plan.exchange).toBeDefined()
    for (let second = 0; second < 60; second++) {
      const value = second < 30 ? 1 : 10
      for (const host of ['a', 'b', 'c', 'd', 'e']) {
        driver.send({ name: 'load', labels: { region: host < 'd' ? 'eu' : 'us', host }, value })
      }
      driver.advance('1s')
    }
    driver.end()
    const eu = driver.results().filter(({ group }) => group.region === 'eu')
    // Windows end at 10 s, 20 s … 70 s, of which the first and the last are half empty.
    expect(eu.map(({ values }) => values.n)).toEqual([30, 60, 60, 60, 60, 60, 30])
    expect(eu.map(({ values }) => values.total)).toEqual([30, 60, 60, 330, 600, 600, 300])
    expect(
      driver
        .firing()
        .map(({ group }) => group.region)
        .sort(),
    ).toEqual(['eu', 'us'])
    const { ledger } = driver.state()
    expect(ledger).toMatchObject({ in: 300, windowed: 300 })
  })
})

describe('a restart', () => {
  const judged = (partitionBy: readonly string[]): Parameters<typeof drive>[0] =>
    pipeline('judged')
      .from(topic('metrics', { partitions: 3, partitionBy }))
      .groupBy('region')
      .disorder('2s')
      .idle('10250ms')
      .window(sliding({ size: '10s', every: '5s' }), { mean: mean(), n: count() })
      .detect('mean', ewma({ history: '1m', warmUp: '20s' }))
      .detect(silence({ after: '20250ms' }))

  type Step =
    | { readonly kind: 'send'; readonly samples: readonly TestSample[] }
    | { readonly kind: 'advance'; readonly ms: number }
  const sample = fc.record({
    name: fc.constant('m'),
    labels: fc.record({ region: fc.constantFrom('eu', 'us'), host: fc.constantFrom('a', 'b', 'c', 'd') }),
    value: fc.integer({ min: -50, max: 50 }),
    at: fc.integer({ min: -10, max: 120 }).map((n) => START + n * 500 + 250),
  })
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({ kind: fc.constant('send' as const), samples: fc.array(sample, { maxLength: 8 }) }),
    fc.record({
      kind: fc.constant('advance' as const),
      ms: fc.integer({ min: 0, max: 30 }).map((n) => n * 500),
    }),
  )
  const take = (driver: PipelineDriver, one: Step): unknown =>
    one.kind === 'send' ? driver.send(one.samples) : driver.advance(one.ms)

  // A restored chain may ask for its next tick a moment earlier or later. So times are kept away from where a millisecond would
  // decide, and neither the offsets nor the log times that ticks take part in are compared.
  const told = (driver: PipelineDriver): unknown =>
    driver
      .alerts()
      .map((alert) => {
        const { detector, group, state } = alert
        return JSON.stringify(alert.column === null ? { detector, group, state } : alert)
      })
      .sort()
  const lost = (driver: PipelineDriver): unknown =>
    driver
      .late()
      .map(({ offset: _, ...sample }) => JSON.stringify(sample))
      .sort()

  test.each([
    ['whole in a partition', ['region']],
    ['spread', ['host']],
  ])('changes nothing that comes out, between any two calls: groups %s', (_, partitionBy) => {
    const check = fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
      const plain = drive(judged(partitionBy))
      const restarted = drive(judged(partitionBy))
      for (const one of steps) {
        take(plain, one)
        take(restarted.restart(), one)
      }
      plain.end()
      restarted.restart().end()
      expect(restarted.results()).toEqual(plain.results())
      expect(told(restarted)).toEqual(told(plain))
      expect(lost(restarted)).toEqual(lost(plain))
      expect(restarted.state().ledger).toEqual(plain.state().ledger)
      const { in: taken, windowed, filtered, late, nonFinite } = plain.state().ledger
      expect(taken).toBe(windowed + filtered + late + nonFinite)
    })
    fc.assert(check, { numRuns: 40 })
  })
})

describe('what is not right is refused by name', () => {
  test('a pipeline with faults, all of them at once', () => {
    const bad = pipeline('bad').from(topic('metrics')).window(tumbling('1 minute'), { n: count() })
    expect(() => drive(bad)).toThrow(MillraceError)
    expect(() => drive(bad)).toThrow(/bad.*window.*1 minute/)
    expect(() => drive([perMinute] as never)).toThrow(/is not a pipeline/)
  })

  test('a sample without a name, a value that is text, a sink that is not there', () => {
    const driver = drive(perMinute.to(ndjsonFile({ path: 'never-made.ndjson' })))
    expect(() => driver.send({ name: '', value: 1 })).toThrow('samples[0].name')
    expect(() => driver.send([requests(1), { name: 'm', value: '1' as never }])).toThrow('samples[1].value')
    expect(() => driver.send({ name: 'm', labels: { a: 1 as never }, value: 1 })).toThrow(
      'samples[0].labels.a',
    )
    expect(() => driver.sentTo('ndjson')).toThrow('Known: ndjson-file')
    expect(driver.state().ledger.in).toBe(0)
  })
})
