import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { AlertState } from '../contract/alert.ts'
import { QUERY_ROWS_MAX, type Queries, type ResultRow, type ResultsQuery } from '../contract/queries.ts'
import { encodeSeriesKey, partitionOf } from '../series/series-key.ts'
import { compareBytes } from '../util/bytes.ts'
import { ManualClock } from '../util/clock.ts'
import { MemoryState, testAlert, testPlan } from './memory-state.ts'
import { createQueries, type QuerySources } from './queries.ts'
import { decodeCursor, encodeCursor } from './query-cursor.ts'
import { firstResultSeq, SCANNED_ENTRIES_MAX } from './row-merge.ts'

const PARTITIONS = 3

function sourcesOver(state: MemoryState): QuerySources {
  return {
    state,
    log: {
      endOffset: (_topicId, partition) => 100 + partition,
      seriesKey: (_topicId, id) => state.seriesKeys[id] ?? null,
      topicOf: () => null,
    },
    live: {
      pipeline: () => ({ state: 'running', problem: null }),
      watermarkMs: (_id, partition) => (partition === 0 ? 5_000 : null),
      status: () => Promise.reject(new Error('not asked here')),
    },
  }
}

function queriesOver(state: MemoryState): Queries {
  return createQueries(sourcesOver(state))
}

function commitWindow(state: MemoryState, partition: number, endMs: number, hosts: readonly string[]): void {
  const rows = hosts.map((host) => ({
    group: { host, zone: host < 'c' ? 'x' : 'y' },
    cells: [1, 2, 3, 4, 5, 6],
  }))
  state.results(partition, endMs - 1_000, endMs, rows)
}

async function allPages(queries: Queries, query: ResultsQuery): Promise<ResultRow[]> {
  const rows: ResultRow[] = []
  let page = await queries.results(query)
  for (let pages = 0; pages < 1_000; pages++) {
    rows.push(...page.rows)
    if (page.cursor === null) return rows
    page = await queries.results({ ...query, cursor: page.cursor })
  }
  throw new Error('a query does not end')
}

const windows = fc.array(
  fc.record({
    partition: fc.nat(PARTITIONS - 1),
    aheadMs: fc.constantFrom(0, 1_000, 2_000),
    hosts: fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { minLength: 1 }),
    lateMs: fc.option(fc.nat(20_000)),
  }),
  { maxLength: 30 },
)

describe('results', () => {
  test('agree with a naive oracle for every range, group and page size, with other entries in between', async () => {
    await fc.assert(
      fc.asyncProperty(
        windows,
        fc.integer({ min: 1, max: 7 }),
        fc.option(fc.integer({ min: 0, max: 12_000 }), { nil: undefined }),
        fc.option(fc.integer({ min: 0, max: 15_000 }), { nil: undefined }),
        fc.option(fc.constantFrom({ zone: 'x' }, { host: 'd' }, { host: 'a', zone: 'x' }, { none: '' }), {
          nil: undefined,
        }),
        async (fired, limit, fromMs, toMs, group) => {
          const state = new MemoryState(
            testPlan({ topic: { name: 'm', partitions: PARTITIONS, partitionBy: null } }),
          )
          const ends = [1_000, 1_000, 1_000]
          const all: { endMs: number; host: string; partition: number; id: string; key: Uint8Array }[] = []
          for (const { partition, aheadMs, hosts, lateMs } of fired) {
            const endMs = ends[partition]! + aheadMs
            ends[partition] = endMs
            if (lateMs !== null)
              state.late(partition, [{ series: { host: 'l' }, timestampMs: lateMs, value: 1 }])
            const seq = state.progress(1, partition)?.nextSeq ?? 0
            commitWindow(state, partition, endMs, hosts)
            ;[...hosts].sort().forEach((host, row) => {
              const key = encodeSeriesKey({ host, zone: host < 'c' ? 'x' : 'y' })
              all.push({ endMs, host, partition, id: `cpu/${partition}/${seq}/${row}`, key })
            })
          }
          const wanted = all
            .filter(({ endMs }) => endMs >= (fromMs ?? 0) && endMs < (toMs ?? 1e9))
            .filter(({ host }) => {
              const labels: Record<string, string> = { host, zone: host < 'c' ? 'x' : 'y' }
              return Object.entries(group ?? {}).every(([label, value]) => (labels[label] ?? '') === value)
            })
            .sort((a, b) => a.endMs - b.endMs || compareBytes(a.key, b.key) || a.partition - b.partition)
          const query: ResultsQuery = {
            pipeline: 'cpu',
            limit,
            ...(fromMs === undefined ? {} : { fromMs }),
            ...(toMs === undefined ? {} : { toMs }),
            ...(group === undefined ? {} : { group }),
          }
          const rows = await allPages(queriesOver(state), query)
          const places = (list: readonly { id: string }[]): string[] => list.map(({ id }) => id)
          // Windows of one end and group may come twice in a partition here; their order is that of the stream.
          expect(places(rows).sort()).toEqual(places(wanted).sort())
          expect(rows.map(({ windowEndMs }) => windowEndMs)).toEqual(wanted.map(({ endMs }) => endMs))
        },
      ),
    )
  })

  test('of one window end come in order of group key across partitions', async () => {
    const state = new MemoryState(testPlan())
    commitWindow(state, 0, 1_000, ['b', 'e'])
    commitWindow(state, 1, 1_000, ['a', 'd'])
    commitWindow(state, 2, 1_000, ['c'])
    commitWindow(state, 2, 2_000, ['c'])
    const rows = await allPages(queriesOver(state), { pipeline: 'cpu', limit: 2 })
    expect(rows.map(({ group, windowEndMs }) => `${windowEndMs} ${group.host}`)).toEqual([
      '1000 a',
      '1000 b',
      '1000 c',
      '1000 d',
      '1000 e',
      '2000 c',
    ])
    expect(rows[0]).toMatchObject({
      id: 'cpu/1/0/0',
      partition: 1,
      kind: 'result',
      values: { mean: 1, n: 2 },
    })
  })

  test('with the labels that choose the partition read that partition only', async () => {
    const state = new MemoryState(testPlan())
    const home = partitionOf({ host: 'a' }, ['host'], PARTITIONS)
    commitWindow(state, home, 1_000, ['a', 'b'])
    const sources = sourcesOver(state)
    const read = new Set<number>()
    const entries: QuerySources['state']['entries'] = (id, partition, fromSeq, limits) => {
      read.add(partition)
      return state.entries(id, partition, fromSeq, limits)
    }
    const queries = createQueries({ ...sources, state: overlay(state, { entries }) })
    const page = await queries.results({ pipeline: 'cpu', limit: 10, group: { host: 'a' } })
    expect(page.rows.map(({ group }) => group.host)).toEqual(['a'])
    expect([...read]).toEqual([home])
  })

  test('a query that must look at too much answers what it has, with a cursor that goes on there', async () => {
    const state = new MemoryState(testPlan())
    for (let i = 0; i < SCANNED_ENTRIES_MAX + 100; i++) commitWindow(state, 1, 1_000 + i, ['a'])
    commitWindow(state, 1, 1e6, ['needle'])
    const queries = queriesOver(state)
    const query = { pipeline: 'cpu', limit: 10, group: { zone: 'y' } }
    const first = await queries.results(query)
    expect(first.rows).toEqual([])
    expect(first.cursor).not.toBeNull()
    const second = await queries.results({ ...query, cursor: first.cursor! })
    expect(second.rows.map(({ group }) => group.host)).toEqual(['needle'])
    expect(second.cursor).toBeNull()
  })

  test('rows committed between two pages are met, and none twice', async () => {
    const state = new MemoryState(testPlan())
    commitWindow(state, 0, 1_000, ['a', 'b', 'c'])
    const queries = queriesOver(state)
    const first = await queries.results({ pipeline: 'cpu', limit: 2 })
    commitWindow(state, 0, 2_000, ['a'])
    const second = await queries.results({ pipeline: 'cpu', limit: 10, cursor: first.cursor! })
    const hosts = [...first.rows, ...second.rows].map(({ group }) => group.host)
    expect(hosts).toEqual(['a', 'b', 'c', 'a'])
  })
})

describe('the start of a range is found by search', () => {
  test('at or before the first window that counts, however results and other entries are mixed', () => {
    const kinds = fc.array(fc.record({ result: fc.boolean(), aheadMs: fc.nat(3) }), { maxLength: 60 })
    fc.assert(
      fc.property(kinds, fc.nat(100), (entries, timeMs) => {
        const state = new MemoryState(testPlan())
        let endMs = 0
        for (const { result, aheadMs } of entries) {
          endMs += aheadMs
          if (result) commitWindow(state, 0, endMs, ['a'])
          else state.late(0, [{ series: {}, timestampMs: 1e6 * (aheadMs - 1), value: 1 }])
        }
        const found = firstResultSeq(state, 1, 0, timeMs)
        const results = state.entries(1, 0, 0).filter(({ kind }) => kind === 1)
        const wanted = results.find(({ eventTimeMs }) => eventTimeMs >= timeMs)
        const before = results.filter(({ eventTimeMs }) => eventTimeMs < timeMs).at(-1)
        if (wanted !== undefined) expect(found).toBeLessThanOrEqual(wanted.seq)
        if (before !== undefined) expect(found).toBeGreaterThan(before.seq)
      }),
    )
  })
})

describe('alerts', () => {
  function withAlerts(): MemoryState {
    const state = new MemoryState(testPlan())
    const put = (partition: number, name: string, host: string, state_: AlertState, atMs: number): void => {
      const id = `cpu/ewma/${partition}/${name}/1`
      state.alert(partition, testAlert({ id, group: { host }, state: state_, sinceMs: 100 - atMs, atMs }))
    }
    put(0, '0', 'a', 'pending', 1)
    put(0, '0', 'a', 'firing', 3)
    put(1, '0', 'b', 'firing', 2)
    put(1, '1', 'c', 'pending', 4)
    put(1, '0', 'b', 'resolved', 5)
    return state
  }

  test('now: the newest transition of each that has not been resolved, the longest lasting first', async () => {
    const queries = queriesOver(withAlerts())
    const all = await queries.alerts({})
    expect(all.map(({ group, state }) => `${group.host} ${state}`)).toEqual(['c pending', 'a firing'])
    expect(
      (await queries.alerts({ pipeline: 'cpu', state: 'firing' })).map(({ group }) => group.host),
    ).toEqual(['a'])
  })

  test('history: every transition, oldest first, by state, group and time', async () => {
    const queries = queriesOver(withAlerts())
    const all = await queries.alertHistory({ pipeline: 'cpu', limit: 10 })
    expect(all.rows.map(({ atMs }) => atMs)).toEqual([1, 2, 3, 4, 5])
    expect(all.rows[1]).toMatchObject({ entry: 'cpu/1/0/0', id: 'cpu/ewma/1/0/1', partition: 1 })
    const some = async (query: object): Promise<number[]> =>
      (await queries.alertHistory({ pipeline: 'cpu', limit: 10, ...query })).rows.map(({ atMs }) => atMs)
    expect(await some({ state: 'firing' })).toEqual([2, 3])
    expect(await some({ group: { host: 'b' } })).toEqual([2, 5])
    expect(await some({ fromMs: 2, toMs: 5 })).toEqual([2, 3, 4])
  })
})

test('late samples come with their series, by time range', async () => {
  const state = new MemoryState(testPlan())
  state.late(0, [
    { series: { __name__: 'cpu', host: 'a' }, timestampMs: 10, value: 1 },
    { series: { __name__: 'cpu', host: 'b' }, timestampMs: 30, value: Number.NaN },
  ])
  state.late(1, [{ series: { __name__: 'cpu', host: 'c' }, timestampMs: 20, value: 3 }])
  const queries = queriesOver(state)
  const all = await queries.late({ pipeline: 'cpu', limit: 10 })
  expect(all.rows.map(({ series, value }) => [series.host, value])).toEqual([
    ['a', 1],
    ['c', 3],
    ['b', null],
  ])
  const some = await queries.late({ pipeline: 'cpu', limit: 10, fromMs: 20, toMs: 30 })
  expect(some.rows.map(({ id }) => id)).toEqual(['cpu/1/0/0'])
})

test('dead letters come with their pipeline, of one pipeline or of all', async () => {
  const state = new MemoryState(testPlan())
  const letter = { baseOffset: 7, endOffset: 9, samples: 2, reason: 'boom', tries: 3, atMs: 1 }
  state.letters.push({ partition: 2, ...letter }, { partition: 0, ...letter })
  const row = { pipeline: 'cpu', topic: 'metrics', ...letter }
  const rows = [
    { ...row, partition: 0 },
    { ...row, partition: 2 },
  ]
  expect(await queriesOver(state).deadLetters({})).toEqual(rows)
  expect(await queriesOver(state).deadLetters({ pipeline: 'cpu' })).toEqual(rows)
  await expect(queriesOver(state).deadLetters({ pipeline: 'gpu' })).rejects.toMatchObject({
    code: 'PIPELINE_INVALID',
  })
})

test('pipelines tell their lag, ledger and alerts', async () => {
  const state = new MemoryState(testPlan())
  commitWindow(state, 0, 1_000, ['a'])
  state.late(0, [{ series: {}, timestampMs: 1, value: 1 }])
  state.alert(1, testAlert({ state: 'pending' }))
  state.ledger = { in: 10, windowed: 5, filtered: 2, late: 2, nonFinite: 1, dead: 0 }
  const [status] = await queriesOver(state).pipelines()
  expect(status).toMatchObject({ name: 'cpu', state: 'running', alertsPending: 1, alertsFiring: 0 })
  expect(status?.ledger).toEqual({ in: 20, windowed: 10, filtered: 4, late: 4, nonFinite: 2, dead: 0 })
  expect(status?.partitions).toEqual([
    { partition: 0, position: 1, endOffset: 100, lag: 99, watermarkMs: 5_000 },
    { partition: 1, position: 0, endOffset: 101, lag: 101, watermarkMs: null },
    { partition: 2, position: 0, endOffset: 102, lag: 102, watermarkMs: null },
  ])
})

describe('what cannot be answered is refused', () => {
  test('a pipeline that does not exist: by name, with those that do', async () => {
    const asked = queriesOver(new MemoryState(testPlan())).results({ pipeline: 'cpo', limit: 1 })
    await expect(asked).rejects.toMatchObject({ code: 'PIPELINE_INVALID' })
    await expect(asked).rejects.toThrow('There is no pipeline "cpo". There are: cpu.')
  })

  test('a limit that is none', async () => {
    const queries = queriesOver(new MemoryState(testPlan()))
    for (const limit of [0, 1.5, QUERY_ROWS_MAX + 1, Number.NaN]) {
      await expect(queries.results({ pipeline: 'cpu', limit })).rejects.toMatchObject({
        code: 'INPUT_INVALID',
      })
    }
  })

  test('a cursor of another query, or one that was changed', async () => {
    const state = new MemoryState(testPlan())
    commitWindow(state, 0, 1_000, ['a', 'b'])
    const queries = queriesOver(state)
    const { cursor } = await queries.results({ pipeline: 'cpu', limit: 1 })
    const refused = { code: 'INPUT_INVALID' }
    const asked = { pipeline: 'cpu', limit: 1, cursor: cursor! }
    await expect(queries.results({ ...asked, fromMs: 1 })).rejects.toMatchObject(refused)
    await expect(queries.late(asked)).rejects.toMatchObject(refused)
    for (let i = 0; i < cursor!.length; i++) {
      const changed = `${cursor!.slice(0, i)}${cursor![i] === 'A' ? 'Q' : 'A'}${cursor!.slice(i + 1)}`
      if (Buffer.from(changed, 'base64url').equals(Buffer.from(cursor!, 'base64url'))) continue
      await expect(queries.results({ ...asked, cursor: changed })).rejects.toMatchObject(refused)
    }
    for (const junk of ['', 'x', 'null', '_'.repeat(200)]) {
      await expect(queries.results({ ...asked, cursor: junk })).rejects.toMatchObject(refused)
    }
  })
})

test('a cursor keeps every position', () => {
  const position = fc.record({ seq: fc.integer({ min: 0, max: 2 ** 50 }), row: fc.nat() })
  fc.assert(
    fc.property(fc.array(position, { maxLength: 40 }), fc.nat(), (positions, digest) => {
      expect(decodeCursor(encodeCursor(digest, positions), digest, positions.length)).toEqual(positions)
    }),
  )
})

/** The store with some methods replaced. */
test('alerts say which silence holds for them now, transitions which one kept them from sinks', async () => {
  const state = new MemoryState(testPlan())
  state.alert(0, testAlert())
  state.alert(0, testAlert({ id: 'cpu/mean-ewma/0/1/1000', group: { host: 'b' } }))
  state.withheldRows = [{ seq: 1, silence: 8 }]
  const silence = {
    id: 9,
    match: [{ label: 'host', op: '=' as const, value: 'a' }],
    pipeline: null,
    detector: null,
    severity: null,
    fromMs: 1_000,
    untilMs: 2_000,
    comment: 'a test',
    madeMs: 1_000,
    endedMs: null,
  }
  state.silenced = [silence, { ...silence, id: 10, fromMs: 5_000, untilMs: 6_000 }]
  const clock = new ManualClock(1_500)
  const queries = createQueries({ ...sourcesOver(state), clock })
  const marks = async () => (await queries.alerts({})).map(({ silencedBy }) => silencedBy)
  expect(await marks()).toEqual([9, undefined])
  expect((await queries.silences({})).map(({ id, state: at }) => [id, at])).toEqual([
    [9, 'active'],
    [10, 'pending'],
  ])
  expect(await queries.silences({ state: 'expired' })).toEqual([])
  const { rows } = await queries.alertHistory({ pipeline: 'cpu', limit: 10 })
  expect(rows.map(({ silencedBy }) => silencedBy)).toEqual([undefined, 8])
  clock.advance(500)
  expect(await marks()).toEqual([undefined, undefined])
})

function overlay(state: MemoryState, change: Partial<QuerySources['state']>): QuerySources['state'] {
  return {
    pipelines: () => state.pipelines(),
    pipeline: (name) => state.pipeline(name),
    progress: (id, partition) => state.progress(id, partition),
    entries: (id, partition, fromSeq, limits) => state.entries(id, partition, fromSeq, limits),
    groupKey: (id, partition, groupId) => state.groupKey(id, partition, groupId),
    alerts: () => state.alerts(),
    seqRange: (id, partition) => state.seqRange(id, partition),
    deadLetters: (id, partition) => state.deadLetters(id, partition),
    silences: () => state.silences(),
    withheld: (id, partition, fromSeq, toSeq) => state.withheld(id, partition, fromSeq, toSeq),
    ...change,
  }
}
