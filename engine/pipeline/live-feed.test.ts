import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { LivePoint, LiveSeries } from '../contract/live.ts'
import { LiveFeed, type LiveFeedLimits, type LiveNews } from './live-feed.ts'
import { MemoryState, testAlert, testPlan } from './memory-state.ts'

const PARTITIONS = 2

function setUp(limits: Partial<LiveFeedLimits> = {}) {
  const state = new MemoryState(testPlan())
  const feed = new LiveFeed({
    state,
    log: { seriesKey: () => null },
    pipelines: [{ pipelineId: 1, topicId: 0, plan: state.plan }],
    progress: (_pipeline, stream) => state.seqRange(1, stream).endSeq,
    limits,
  })
  let endMs = 0
  const commit = (partition: number, hosts: readonly string[], value = 1): number => {
    endMs += 1_000
    const rows = hosts.map((host) => ({ group: { host }, cells: [value, 2, 3, 4, 5, 6] }))
    state.results(partition, endMs - 1_000, endMs, rows)
    return endMs
  }
  return { state, feed, commit }
}

/** What a page knows that was told these. */
class Page {
  readonly points = new Map<string, Map<number, LivePoint>>()
  readonly #names = new Map<number, string>()

  series(all: readonly LiveSeries[]): void {
    for (const { id, group, points } of all) {
      const name = group.host!
      this.#names.set(id, name)
      this.points.set(name, new Map(points.map((point) => [point[0]!, point.slice(1)])))
    }
  }

  news({ series, points }: LiveNews): void {
    this.series(series)
    for (const [id, timeMs, ...rest] of points) this.points.get(this.#names.get(id!)!)!.set(timeMs!, rest)
  }
}

function parts(feed: LiveFeed): LiveSeries[] {
  return [...feed.parts()].flat()
}

describe('live feed', () => {
  test('tells the newest points of each series at the opening, then each new one once', async () => {
    const { feed, commit } = setUp()
    commit(0, ['a'], 1)
    commit(0, ['a', 'b'], 2)
    expect(await feed.open()).toBe(true)
    expect(parts(feed)).toEqual([
      {
        id: 0,
        pipeline: 'cpu',
        group: { host: 'a' },
        points: [
          [1_000, 1, 2, 3, 4, 5, 6],
          [2_000, 2, 2, 3, 4, 5, 6],
        ],
      },
      { id: 1, pipeline: 'cpu', group: { host: 'b' }, points: [[2_000, 2, 2, 3, 4, 5, 6]] },
    ])
    expect(feed.look()).toEqual({ series: [], points: [], transitions: [] })
    const endMs = commit(0, ['b'], 3)
    expect(feed.look().points).toEqual([[1, endMs, 3, 2, 3, 4, 5, 6]])
    expect(feed.look().points).toEqual([])
  })

  test('tells a series that comes later whole, and its points of that look not a second time', async () => {
    const { feed, commit } = setUp()
    await feed.open()
    const first = commit(1, ['new'])
    const second = commit(1, ['new'])
    const { series, points } = feed.look()
    expect(series.map(({ points: all }) => all.map(([timeMs]) => timeMs))).toEqual([[first, second]])
    expect(points).toEqual([])
  })

  test('whoever is told the snapshot and what follows knows the committed results, whatever the order', async () => {
    const hosts = ['a', 'b', 'c', 'd', 'e']
    const step = fc.record({
      partition: fc.nat(PARTITIONS - 1),
      hosts: fc.uniqueArray(fc.constantFrom(...hosts), { minLength: 1 }),
      after: fc.constantFrom('commit', 'look', 'join'),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.nat(10), async (steps, before) => {
        const { feed, commit } = setUp()
        const expected = new Map<string, number[]>()
        const put = (partition: number, names: readonly string[]): void => {
          // A group lives in one partition.
          const mine = names.map((name) => `${name}${partition}`)
          const endMs = commit(partition, mine)
          for (const name of mine) expected.set(name, [...(expected.get(name) ?? []), endMs])
        }
        for (const one of steps.slice(0, before)) put(one.partition, one.hosts)
        await feed.open()
        const pages: Page[] = []
        const join = (): void => {
          const page = new Page()
          page.series(parts(feed))
          pages.push(page)
        }
        const look = (): void => {
          const news = feed.look()
          for (const page of pages) page.news(news)
        }
        join()
        for (const one of steps.slice(before)) {
          put(one.partition, one.hosts)
          if (one.after === 'look') look()
          if (one.after === 'join') {
            look()
            join()
          }
        }
        look()
        for (const page of pages) {
          const known = [...page.points].map(([name, points]) => [name, [...points.keys()]] as const)
          expect(new Map(known)).toEqual(expected)
        }
      }),
      { numRuns: 50 },
    )
  })

  test('keeps so many points a series, the newest', async () => {
    const { feed, commit } = setUp({ pointsMax: 3 })
    await feed.open()
    for (let i = 0; i < 5; i++) {
      commit(0, ['a'])
      feed.look()
    }
    expect(parts(feed)[0]!.points.map(([timeMs]) => timeMs)).toEqual([3_000, 4_000, 5_000])
  })

  test('tells so many series, and beyond them those that have an alert', async () => {
    const { state, feed, commit } = setUp({ seriesMax: 2, alertSeriesMax: 1 })
    await feed.open()
    commit(0, ['a', 'b', 'c', 'd', 'e'])
    expect(feed.look().series.map(({ group }) => group.host)).toEqual(['a', 'b'])
    state.alert(0, testAlert({ id: 'cpu/mean-ewma/0/3/5000', group: { host: 'd' }, state: 'firing' }))
    state.alert(0, testAlert({ id: 'cpu/mean-ewma/0/4/5000', group: { host: 'e' }, state: 'firing' }))
    commit(0, ['a', 'b', 'c', 'd', 'e'])
    const news = feed.look()
    expect(news.transitions.map(({ group }) => group.host)).toEqual(['d', 'e'])
    expect(news.series.map(({ group }) => group.host)).toEqual(['d'])
  })

  test('keeps no more numbers than it may', async () => {
    const { feed, commit } = setUp({ pointsMax: 10, cellsMax: 10 * 7 * 2 })
    await feed.open()
    commit(0, ['a', 'b', 'c'])
    expect(feed.look().series).toHaveLength(2)
  })

  test('keeps the newest transitions, and tells each once', async () => {
    const { state, feed } = setUp({ transitionsMax: 2 })
    state.alert(0, testAlert({ state: 'pending', atMs: 1 }))
    await feed.open()
    for (let atMs = 2; atMs < 9; atMs++) {
      state.alert(0, testAlert({ state: atMs % 2 === 0 ? 'firing' : 'resolved', atMs }))
      expect(feed.look().transitions.map((alert) => alert.atMs)).toEqual([atMs])
    }
    expect(feed.transitions.length).toBeLessThanOrEqual(4)
    expect(feed.transitions.at(-1)!.atMs).toBe(8)
  })

  test('takes a bounded part in one look, and goes on where it was', async () => {
    const { feed, commit } = setUp({ lookEntriesMax: 3 })
    commit(0, ['a'])
    await feed.open()
    const times = Array.from({ length: 6 }, () => commit(0, ['a']))
    expect(feed.look().points.map(([, timeMs]) => timeMs)).toEqual(times.slice(0, 3))
    expect(feed.look().points.map(([, timeMs]) => timeMs)).toEqual(times.slice(3))
    expect(feed.look().points).toEqual([])
  })

  test('passes over what it cannot catch up with, and is at the newest', async () => {
    const { feed, commit } = setUp({ lookEntriesMax: 3 })
    commit(0, ['a'])
    await feed.open()
    const times = Array.from({ length: 100 }, () => commit(0, ['a']))
    expect(feed.look().points.map(([, timeMs]) => timeMs)).toEqual(times.slice(-3))
  })

  test('at the opening reads so many bytes at most, of the newest', async () => {
    const { feed, commit } = setUp({ openBytesMax: 2 * 200 })
    const times = Array.from({ length: 50 }, () => commit(0, ['a']))
    await feed.open()
    const told = parts(feed)[0]!.points.map(([timeMs]) => timeMs)
    expect(told.length).toBeLessThan(10)
    expect(told).toEqual(times.slice(-told.length))
  })

  test('a stream with a damaged entry is left alone, and the others go on', async () => {
    const { state, feed, commit } = setUp()
    await feed.open()
    commit(0, ['a'])
    const entry = state.entries(1, 0, 0)[0]!
    state.replace(0, { ...entry, bytes: entry.bytes.slice(0, 30) })
    commit(1, ['b'])
    expect(feed.look().series.map(({ group }) => group.host)).toEqual(['b'])
    commit(0, ['a'])
    commit(1, ['b'])
    expect(feed.look().points.map(([id]) => id)).toEqual([0])
  })

  test('holds nothing when it is closed, and may be opened again', async () => {
    const { feed, commit } = setUp()
    commit(0, ['a'])
    await feed.open()
    feed.close()
    expect([parts(feed), feed.look().points, feed.transitions]).toEqual([[], [], []])
    await feed.open()
    expect(parts(feed)).toHaveLength(1)
  })

  test('says what is no number as null, and rounds to what a pixel shows', async () => {
    const { state, feed } = setUp()
    state.results(0, 0, 1_000, [
      { group: { host: 'a' }, cells: [1 / 3, Number.NaN, Number.NaN, 1, -Infinity, Infinity] },
    ])
    await feed.open()
    expect(parts(feed)[0]!.points).toEqual([[1_000, 0.3333333, null, null, 1, null, null]])
  })
})
