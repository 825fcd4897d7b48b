import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeSeriesKey } from '../series/series-key.ts'
import { compareBytes } from '../util/bytes.ts'
import { MemoryState, testPlan } from './memory-state.ts'
import { ScoreFeed, STALE_INTERVALS } from './score-feed.ts'

const EVERY_MS = testPlan().window.everyMs
const PARTITIONS = testPlan().topic.partitions

/** Columns: mean, n, then score, expected, lower, upper of mean-ewma. */
function cellsOf(score: number): number[] {
  return [score + 100, 7, score, 1, 2, 3]
}

function setUp(seriesMax: number) {
  const state = new MemoryState(testPlan())
  const feed = new ScoreFeed({
    state,
    log: { seriesKey: () => null },
    pipelines: [{ pipelineId: 1, topicId: 0, plan: state.plan }],
    seriesMax,
  })
  const commit = (partition: number, window: number, scores: Readonly<Record<string, number>>): void => {
    const rows = Object.entries(scores).map(([host, score]) => ({ group: { host }, cells: cellsOf(score) }))
    if (rows.length > 0) state.results(partition, window * EVERY_MS, (window + 1) * EVERY_MS, rows)
  }
  const told = (): string[] =>
    feed.look().rows.map(({ series, score, windowEndMs }) => `${series} ${score} ${windowEndMs / EVERY_MS}`)
  return { state, feed, commit, told }
}

describe('scores for a scrape', () => {
  test('tell value, score and band of a series in its newest window', () => {
    const { feed, commit } = setUp(10)
    commit(0, 1, { a: 0.5 })
    commit(0, 2, { a: 1.5 })
    expect(feed.look()).toEqual({
      rows: [
        {
          pipeline: 'cpu',
          detector: 'mean-ewma',
          series: '{host="a"}',
          windowEndMs: 3 * EVERY_MS,
          value: 101.5,
          score: 1.5,
          expected: 1,
          lower: 2,
          upper: 3,
        },
      ],
      leftOut: 0,
    })
  })

  test('are those with the highest, then by key; what is left out is counted; unjudged ones come last', () => {
    const { feed, commit, told } = setUp(3)
    commit(0, 1, { a: 1, b: NaN, c: 3, d: 1 })
    commit(1, 1, { e: 1, f: 2 })
    expect(told()).toEqual(['{host="c"} 3 2', '{host="f"} 2 2', '{host="a"} 1 2'])
    expect(feed.look().leftOut).toBe(3)
    const all = setUp(10)
    all.commit(0, 1, { a: NaN, b: 0 })
    expect(all.told()).toEqual(['{host="b"} 0 2', '{host="a"} NaN 2'])
  })

  test('are gone with a stream that has stood still for too long', () => {
    const { commit, told } = setUp(10)
    commit(0, 1, { a: 9 })
    commit(1, 1 + STALE_INTERVALS, { b: 1 })
    expect(told()).toEqual(['{host="a"} 9 2', `{host="b"} 1 ${2 + STALE_INTERVALS}`])
    commit(1, 2 + STALE_INTERVALS, { b: 1 })
    expect(told()).toEqual([`{host="b"} 1 ${3 + STALE_INTERVALS}`])
  })

  test('are there though older entries are retired, and for a feed that begins late', () => {
    const { state, commit, told } = setUp(2)
    for (let window = 1; window < 300; window++) commit(0, window, { a: window, b: 1 })
    state.retire(0, 250)
    expect(told()).toEqual(['{host="a"} 299 300', '{host="b"} 1 300'])
  })

  test('whatever was committed and however often it is looked: the same choice as from all rows at once', () => {
    const window = fc.dictionary(
      fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g'),
      fc.oneof(fc.integer({ min: 0, max: 3 }), fc.constant(NaN)),
    )
    const world = fc.array(
      fc.record({ partition: fc.nat(PARTITIONS - 1), scores: window, looks: fc.boolean() }),
      {
        maxLength: 30,
      },
    )
    fc.assert(
      fc.property(world, fc.integer({ min: 1, max: 5 }), (steps, seriesMax) => {
        const { feed, commit, told } = setUp(seriesMax)
        const newest = new Map<number, { host: string; score: number; end: number }[]>()
        steps.forEach(({ partition, scores, looks }, i) => {
          // A group lies in one partition.
          const own = Object.fromEntries(
            Object.entries(scores).map(([host, score]) => [`${host}${partition}`, score]),
          )
          const count = Object.keys(own).length
          commit(partition, i + 1, own)
          if (count > 0) {
            const rows = Object.entries(own).map(([host, score]) => ({ host, score, end: i + 2 }))
            newest.set(partition, rows)
          }
          if (looks) feed.look()
        })
        const rank = (score: number): number => (Number.isNaN(score) ? -1 : score)
        const all = [...newest.values()].flat().sort((a, b) => {
          const order = rank(b.score) - rank(a.score)
          if (order !== 0) return order
          return compareBytes(encodeSeriesKey({ host: a.host }), encodeSeriesKey({ host: b.host }))
        })
        const want = all.slice(0, seriesMax)
        expect(told()).toEqual(want.map(({ host, score, end }) => `{host="${host}"} ${score} ${end}`))
        expect(feed.look().leftOut).toBe(all.length - want.length)
      }),
    )
  })
})
