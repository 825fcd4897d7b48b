/** What Alertmanager makes of what it is sent, against a model of it (its API's words on labels, startsAt and endsAt). */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import type { Alert } from '../../engine/contract/alert.ts'
import type { Fault } from '../../engine/contract/errors.ts'
import { SEVERITIES } from '../../engine/contract/plan.ts'
import type { SinkRecord } from '../../engine/contract/plugins.ts'
import { pipeline, topic } from '../../engine/pipeline/builder.ts'
import { compilePipelines } from '../../engine/pipeline/plan.ts'
import { ManualClock } from '../../engine/util/clock.ts'
import { count } from '../aggregates/count.ts'
import { registry } from '../registry.ts'
import { testContext, testStream } from '../testing/describe-sink.ts'
import { tumbling } from '../windows/tumbling.ts'
import {
  alertmanager,
  alertmanagerPlugin,
  openAlertmanager,
  type PostedAlert,
  postedAlerts,
} from './alertmanager.ts'
import type { HttpTools } from './http-sink.ts'

const NOW = Date.UTC(2026, 0, 31, 12)
const HOUR = 3_600_000
const DAY = 24 * HOUR

const ALERT: Alert = {
  kind: 'alert',
  id: 'pumps/overload/3/7/1769860800000',
  pipeline: 'pumps',
  detector: 'overload',
  column: 'load',
  group: { pump: 'a' },
  state: 'firing',
  sinceMs: NOW - HOUR,
  atMs: NOW - HOUR / 2,
  value: 99,
  score: 1.1,
  expected: null,
  lower: null,
  upper: 90,
  direction: 'up',
  severity: 'warning',
  reason: 'load 99 is above 90',
}

const iso = (ms: number): string => new Date(ms).toISOString()

describe('a transition', () => {
  test('that fires is an alert whose labels stay, until it ends or is heard of no more', () => {
    expect(postedAlerts(ALERT, NOW, DAY, 'http://127.0.0.1:8428/')).toEqual([
      expect.objectContaining({
        labels: expect.objectContaining({ severity: 'info' }),
        endsAt: iso(ALERT.atMs),
      }),
      {
        labels: { alertname: 'overload', pipeline: 'pumps', severity: 'warning', column: 'load', pump: 'a' },
        annotations: {
          summary: 'load 99 is above 90',
          id: ALERT.id,
          direction: 'up',
          value: '99',
          upper: '90',
          score: '1.1',
        },
        startsAt: iso(ALERT.sinceMs),
        endsAt: iso(NOW + DAY),
        generatorURL: 'http://127.0.0.1:8428/',
      },
    ])
  })

  test('that is pending is nothing to tell', () => {
    expect(postedAlerts({ ...ALERT, state: 'pending' }, NOW, DAY)).toEqual([])
  })

  test('that resolves ends then, and not ahead of the clock, where Alertmanager would let it go on', () => {
    const ends = (atMs: number): string =>
      postedAlerts({ ...ALERT, state: 'resolved', atMs }, NOW, DAY).at(-1)!.endsAt
    expect(ends(NOW - 5)).toBe(iso(NOW - 5))
    expect(ends(NOW + HOUR)).toBe(iso(NOW))
  })

  test('never ends before it began, whatever the clocks say', () => {
    for (const state of ['firing', 'resolved'] as const) {
      const ahead = postedAlerts({ ...ALERT, state, sinceMs: NOW + HOUR, atMs: NOW + 2 * HOUR }, NOW, DAY)
      for (const { startsAt, endsAt } of ahead)
        expect(Date.parse(endsAt)).toBeGreaterThanOrEqual(Date.parse(startsAt))
    }
  })

  test('has label names that Alertmanager takes, and its own where the group has the same', () => {
    const group = { __name__: 'cpu', 'host.name': 'h', '9lives': 'y', severity: 'mine', pipeline: 'oil' }
    const silence = { ...ALERT, column: null, group }
    expect(postedAlerts(silence, NOW, DAY).at(-1)!.labels).toEqual({
      alertname: 'overload',
      pipeline: 'pumps',
      severity: 'warning',
      metric: 'cpu',
      host_name: 'h',
      _9lives: 'y',
      exported_severity: 'mine',
      exported_pipeline: 'oil',
    })
  })
})

/** What its documentation says: alerts are known by their labels, the newest word counts, and one ends at its `endsAt`. */
class Alertmanager {
  readonly #alerts = new Map<string, PostedAlert>()

  take(posted: readonly PostedAlert[]): void {
    for (const alert of posted) this.#alerts.set(JSON.stringify(Object.entries(alert.labels).sort()), alert)
  }

  firing(nowMs: number): string[] {
    const firing = [...this.#alerts.values()].filter(({ endsAt }) => Date.parse(endsAt) > nowMs)
    return firing.map(({ labels }) => `${labels.pump} ${labels.severity}`).sort()
  }
}

test('whatever alerts did, and however often their last transitions came again, it holds those that fire, once each', () => {
  const life = fc.record({
    pump: fc.constantFrom('a', 'b', 'c'),
    severities: fc.uniqueArray(fc.nat(SEVERITIES.length - 1), { minLength: 1 }).map((ranks) => ranks.sort()),
    ends: fc.boolean(),
    repeated: fc.nat(3),
  })
  fc.assert(
    fc.property(fc.array(life, { maxLength: 12 }), (lives) => {
      const target = new Alertmanager()
      const expected = new Map<string, string>()
      let nowMs = NOW
      for (const { pump, severities, ends, repeated } of lives) {
        if (expected.has(pump)) continue
        const sinceMs = nowMs
        const told: Alert[] = severities.map((rank) => {
          nowMs += 1_000
          return { ...ALERT, group: { pump }, sinceMs, atMs: nowMs, severity: SEVERITIES[rank]! }
        })
        const last = told.at(-1)!
        if (ends) told.push({ ...last, state: 'resolved', atMs: nowMs + 1_000 })
        else expected.set(pump, `${pump} ${last.severity}`)
        nowMs += 2_000
        for (const alert of [...told, ...told.slice(-repeated)]) target.take(postedAlerts(alert, nowMs, DAY))
      }
      expect(target.firing(nowMs)).toEqual([...expected.values()].sort())
    }),
  )
})

describe('the sink', () => {
  const servers: Server[] = []
  afterEach(() => {
    for (const server of servers.splice(0)) server.close()
  })

  test('posts the alerts of a batch in one request to the API, and nothing where there is none', async () => {
    const requests: { path: string; body: PostedAlert[] }[] = []
    const server = createServer((request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        requests.push({ path: request.url!, body: JSON.parse(Buffer.concat(chunks).toString()) })
        response.end()
      })
    })
    servers.push(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const tools: HttpTools = { sleep: async () => undefined, clock: new ManualClock(NOW) }
    const records = testStream(0)
    const alerts = records.filter(({ body }) => body.kind === 'alert')
    const others: readonly SinkRecord[] = records.filter(({ body }) => body.kind !== 'alert')
    for (const [path, arrives] of [
      ['', '/api/v2/alerts'],
      ['/proxied/', '/proxied/api/v2/alerts'],
      ['/api/v2/alerts', '/api/v2/alerts'],
    ]) {
      const sink = openAlertmanager(parsed({ url: `http://127.0.0.1:${port}${path}` }), testContext(), tools)
      await sink.send(records)
      await sink.send(others)
      await sink.close()
      expect(requests.splice(0)).toEqual([
        { path: arrives, body: alerts.flatMap(({ body }) => postedAlerts(body as Alert, NOW, DAY)) },
      ])
    }
  })

  test('takes alerts only, and a url of http', () => {
    expect(alertmanagerPlugin.feeds).toEqual(['alerts'])
    const faults: Fault[] = []
    alertmanagerPlugin.options.parse({ url: 'alertmanager:9093', keepFor: '1s', page: 'x' }, 'a', faults)
    expect(faults.map(({ place }) => place).sort()).toEqual(['a.keepFor', 'a.page', 'a.url'])
    const fed = pipeline('p')
      .from(topic('t'))
      .window(tumbling('1m'), { n: count() })
      .to(alertmanager({ url: 'http://127.0.0.1:9093' }))
    expect(compilePipelines(fed, registry, 'x.ts').faults).toMatchObject([
      {
        value: 'results',
        problem: 'is nothing that alertmanager takes',
        remedy: expect.stringMatching(/^Give it { of: 'alerts' }/),
      },
    ])
  })
})

function parsed(written: Record<string, unknown>) {
  const faults: Fault[] = []
  const options = alertmanagerPlugin.options.parse(written, 'a', faults)
  expect(faults).toEqual([])
  return options!
}
