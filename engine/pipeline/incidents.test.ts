import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Alert } from '../contract/alert.ts'
import { SEVERITIES } from '../contract/plan.ts'
import {
  type AlertHistoryQuery,
  type AlertRow,
  type AlertsQuery,
  INCIDENT_TRANSITIONS_MAX,
  type Page,
  type PipelineStatus,
  QUERY_ROWS_MAX,
} from '../contract/queries.ts'
import type { Labels } from '../contract/samples.ts'
import { incidentsFrom, incidentsOf } from './incidents.ts'
import { testAlert } from './memory-state.ts'

interface Life {
  readonly group: Labels
  readonly sinceMs: number
  /** Null: it fires on. */
  readonly untilMs: number | null
}

let next = 0
function transitions({ group, sinceMs, untilMs }: Life): Alert[] {
  const id = `p/d/0/${String(next++).padStart(4, '0')}/${sinceMs}`
  const fired = testAlert({ id, group, sinceMs, atMs: sinceMs })
  return untilMs === null ? [fired] : [fired, { ...fired, state: 'resolved', atMs: untilMs, reason: 'back' }]
}

const hosts = (incidents: ReturnType<typeof incidentsOf>): string[][] =>
  incidents.map(({ alerts }) => alerts.map(({ group }) => `${group.host}/${group.service}`))

describe('incidents', () => {
  const lives: Life[] = [
    { group: { host: 'a', service: 'db' }, sinceMs: 1_000, untilMs: 5_000 },
    { group: { host: 'a', service: 'web' }, sinceMs: 2_000, untilMs: null },
    { group: { host: 'b', service: 'web' }, sinceMs: 4_000, untilMs: 6_000 },
    { group: { host: 'c', service: 'mail' }, sinceMs: 4_500, untilMs: 4_600 },
    { group: { host: 'c', service: 'mail' }, sinceMs: 9_000, untilMs: 9_500 },
  ]
  const all = lives.flatMap(transitions)

  test('are alerts at one time with a label in common, also by way of others; what moved first comes first', () => {
    expect(hosts(incidentsOf(all, { gapMs: 1_000 }))).toEqual([
      ['a/db', 'a/web', 'b/web'],
      ['c/mail'],
      ['c/mail'],
    ])
  })

  test('by labels: equal in all of them; without any of them each is its own', () => {
    expect(hosts(incidentsOf(all, { by: ['host'], gapMs: 10_000 }))).toEqual([
      ['a/db', 'a/web'],
      ['b/web'],
      ['c/mail', 'c/mail'],
    ])
    expect(incidentsOf(all, { by: ['rack'] })).toHaveLength(5)
  })

  test('tell what all share, from when to when, and the highest severity', () => {
    const severe = all.map((alert) =>
      alert.group.host === 'b' ? { ...alert, severity: 'critical' as const } : alert,
    )
    const [first, second] = incidentsOf(severe, { gapMs: 1_000 })
    expect(first).toMatchObject({
      id: all[0]!.id,
      labels: {},
      severity: 'critical',
      sinceMs: 1_000,
      untilMs: null,
      alerts: [{ reason: all[0]!.reason, untilMs: 5_000 }, { untilMs: null }, { severity: 'critical' }],
    })
    expect(second).toMatchObject({ labels: { host: 'c', service: 'mail' }, sinceMs: 4_500, untilMs: 4_600 })
  })

  test('hold an alert that became more severe once, and none that only was pending', () => {
    const [fired] = transitions({ group: { host: 'x' }, sinceMs: 1_000, untilMs: null })
    const worse = { ...fired!, atMs: 2_000, severity: 'critical' as const, reason: 'worse' }
    const waits = testAlert({ id: 'w', state: 'pending', group: { host: 'x' }, sinceMs: 1_500, atMs: 1_500 })
    const calm = { ...waits, state: 'resolved' as const, atMs: 1_600 }
    expect(incidentsOf([worse, waits, calm, fired!])).toMatchObject([
      { severity: 'critical', alerts: [{ id: fired!.id, reason: 'worse', severity: 'critical' }] },
    ])
  })

  test('agree with a naive oracle, whatever the order of the transitions and however often each is there', () => {
    const life = fc
      .record({
        host: fc.constantFrom('a', 'b', 'c', 'd'),
        service: fc.constantFrom('x', 'y', 'z'),
        sinceMs: fc.nat(200),
        lasts: fc.option(fc.nat(30), { freq: 6 }),
      })
      .map(({ host, service, sinceMs, lasts }) => ({
        group: { host, service },
        sinceMs,
        untilMs: lasts === null ? null : sinceMs + lasts,
      }))
    const by = fc.constantFrom(undefined, ['host'], ['host', 'service'])
    fc.assert(
      fc.property(
        fc.array(life, { maxLength: 20 }),
        by,
        fc.nat(20),
        fc.nat(),
        (lives, labels, gapMs, turn) => {
          const told = lives.flatMap(transitions)
          const mixed = told.map((_, i) => told[(i * 7 + turn) % told.length]!).concat(told.slice(turn % 3))
          const whole = mixed.concat(told)
          const found = incidentsOf(whole, { ...(labels === undefined ? {} : { by: labels }), gapMs })
          expect(found.map(({ alerts }) => alerts.map(({ id }) => id).sort())).toEqual(
            naive(told, labels, gapMs),
          )
          for (const { severity } of found) expect(SEVERITIES).toContain(severity)
        },
      ),
    )
  })
})

/** Each alert, as it begins, looks at every alert of every incident that is open then. */
function naive(told: readonly Alert[], by: readonly string[] | undefined, gapMs: number): string[][] {
  const spans = [...new Set(told.map(({ id }) => id))].map((id) => {
    const of = told.filter((alert) => alert.id === id)
    const to = of.find(({ state }) => state === 'resolved')?.atMs ?? Infinity
    return { id, group: of[0]!.group, from: of[0]!.sinceMs, to }
  })
  type Span = (typeof spans)[number]
  const share = (a: Span, b: Span): boolean =>
    by === undefined
      ? Object.keys(a.group).some((name) => a.group[name] === b.group[name])
      : by.every((name) => a.group[name] === b.group[name])
  let sets: Span[][] = []
  for (const span of spans.sort((a, b) => a.from - b.from || (a.id < b.id ? -1 : 1))) {
    const joins = (set: Span[]): boolean =>
      set.some((other) => share(span, other)) && set.some(({ to }) => to + gapMs >= span.from)
    sets = [...sets.filter((set) => !joins(set)), [...sets.filter(joins).flat(), span]]
  }
  const begun = (set: Span[]): Span => [...set].sort((a, b) => a.from - b.from || (a.id < b.id ? -1 : 1))[0]!
  return sets
    .sort((a, b) => begun(a).from - begun(b).from || (begun(a).id < begun(b).id ? -1 : 1))
    .map((set) => set.map(({ id }) => id).sort())
}

describe('the question for incidents', () => {
  const fired = (pipeline: string, host: string, sinceMs: number) => ({
    ...testAlert({ id: `${pipeline}/${host}`, pipeline, group: { host, rack: '7' }, sinceMs, atMs: sinceMs }),
    entry: `${pipeline}/0/1/0`,
    partition: 0,
  })
  const page = (rows: AlertRow[], cursor: string | null): Page<AlertRow> => ({ rows, cursor })

  test('takes what fires now and every page of the history; of one pipeline where one is named', async () => {
    const asked: AlertHistoryQuery[] = []
    const pages: Record<string, Page<AlertRow>[]> = {
      p: [
        page([fired('p', 'a', 900_000)], 'next'),
        page([fired('p', 'c', 910_000)], 'last'),
        page([], 'last'),
      ],
      q: [page([fired('q', 'd', 920_000)], null)],
    }
    const queries = {
      pipelines: async () => [{ name: 'p' }, { name: 'q' }] as PipelineStatus[],
      alerts: async ({ pipeline }: AlertsQuery) => (pipeline === 'p' ? [fired('p', 'b', 950_000)] : []),
      alertHistory: async (query: AlertHistoryQuery) => {
        asked.push(query)
        return pages[query.pipeline]!.shift()!
      },
    }
    const { rows, isWhole } = await incidentsFrom(queries, { fromMs: 800_000, gapMs: 60_000, by: ['rack'] })
    expect(isWhole).toBe(true)
    expect(rows.map(({ alerts }) => alerts.map(({ id }) => id))).toEqual([['p/a', 'p/c', 'q/d', 'p/b']])
    const of = (pipeline: string) => ({ pipeline, limit: QUERY_ROWS_MAX, fromMs: 800_000 })
    expect(asked).toEqual([of('p'), { ...of('p'), cursor: 'next' }, { ...of('p'), cursor: 'last' }, of('q')])

    pages.q = [page([fired('q', 'd', 920_000)], null)]
    const one = await incidentsFrom(queries, { pipeline: 'q', fromMs: 0 })
    expect(one.rows.map(({ id }) => id)).toEqual(['q/d'])
  })

  test('where there is more than it takes the newest stay, and what fires now; the others are counted', async () => {
    const pagesMost = INCIDENT_TRANSITIONS_MAX / QUERY_ROWS_MAX + 2
    let pages = 0
    const queries = {
      pipelines: async () => [],
      alerts: async () => [fired('p', 'now', 5)],
      alertHistory: async () => {
        const from = pages++ * QUERY_ROWS_MAX
        const rows = Array.from({ length: QUERY_ROWS_MAX }, (_, i) =>
          fired('p', String(from + i), 1_000 + from + i),
        )
        return page(rows, pages < pagesMost ? 'next' : null)
      },
    }
    const answer = await incidentsFrom(queries, { pipeline: 'p', fromMs: 0 })
    expect([answer.isWhole, answer.dropped, pages]).toEqual([false, 2 * QUERY_ROWS_MAX, pagesMost])
    const ids = answer.rows.flatMap(({ alerts }) => alerts.map(({ id }) => id))
    expect(ids.length).toBe(INCIDENT_TRANSITIONS_MAX + 1)
    expect(ids).toEqual(expect.arrayContaining(['p/now', `p/${pagesMost * QUERY_ROWS_MAX - 1}`]))
    expect(ids).not.toContain(`p/${2 * QUERY_ROWS_MAX - 1}`)
  })

  test('many transitions of one alert count as its last ones', async () => {
    let pages = 0
    const queries = {
      pipelines: async () => [],
      alerts: async () => [],
      alertHistory: async () => {
        const from = pages++ * QUERY_ROWS_MAX
        const rows = Array.from({ length: QUERY_ROWS_MAX }, (_, i) => fired('p', 'a', from + i))
        return page(rows, pages <= (2 * INCIDENT_TRANSITIONS_MAX) / QUERY_ROWS_MAX ? 'next' : null)
      },
    }
    const answer = await incidentsFrom(queries, { pipeline: 'p', fromMs: 0 })
    expect(answer.isWhole).toBe(true)
    expect(answer.rows.map(({ alerts }) => alerts.length)).toEqual([1])
  })
})
