import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { LateBody, ResultBody } from '../contract/plugins.ts'
import { decodeSeriesKey } from '../series/series-key.ts'
import { EntryDecoder, feedOf } from './entry-decoder.ts'
import { MemoryState, testAlert, testPlan } from './memory-state.ts'

function decoderOf(state: MemoryState): EntryDecoder {
  return new EntryDecoder(state.plan, {
    group: (partition, groupId) => decodeSeriesKey(state.groupKey(1, partition, groupId)!),
    series: (seriesId) => decodeSeriesKey(state.seriesKeys[seriesId]!),
  })
}

const cell = fc.double({ noNaN: false })
const rows = fc.uniqueArray(
  fc.record({ host: fc.stringMatching(/^[a-z]{1,4}$/), cells: fc.tuple(cell, cell, cell, cell, cell, cell) }),
  {
    selector: (row) => row.host,
    minLength: 1,
    maxLength: 20,
  },
)

function orNull(value: number): number | null {
  return Number.isFinite(value) ? value : null
}

test('results come back as they were written, in order of group key, and what is not finite is null', () => {
  fc.assert(
    fc.property(rows, fc.nat(2), (written, partition) => {
      const state = new MemoryState(testPlan())
      state.results(
        partition,
        1_000,
        2_000,
        written.map(({ host, cells }) => ({ group: { host }, cells })),
      )
      const entry = state.entries(1, partition, 0)[0]!
      const records = [...decoderOf(state).records(partition, entry)]
      const sorted = [...written].sort((a, b) => (a.host < b.host ? -1 : 1))
      expect(records).toEqual(
        sorted.map(({ host, cells }, row) => ({
          id: `cpu/${partition}/0/${row}`,
          partition,
          seq: 0,
          row,
          body: {
            kind: 'result',
            pipeline: 'cpu',
            group: { host },
            windowStartMs: 1_000,
            windowEndMs: 2_000,
            values: { mean: orNull(cells[0]), n: orNull(cells[1]) },
            scores: {
              'mean-ewma': {
                score: orNull(cells[2]),
                expected: orNull(cells[3]),
                lower: orNull(cells[4]),
                upper: orNull(cells[5]),
              },
            },
          },
        })),
      )
    }),
  )
})

test('decoding starts at any row, and decodes no row that is not taken', () => {
  const state = new MemoryState(testPlan())
  const hosts = ['a', 'b', 'c', 'd']
  state.results(
    1,
    0,
    1_000,
    hosts.map((host, i) => ({ group: { host }, cells: [i, 0, 0, 0, 0, 0] })),
  )
  const looked: number[] = []
  const decoder = new EntryDecoder(state.plan, {
    group: (partition, groupId) => {
      looked.push(groupId)
      return decodeSeriesKey(state.groupKey(1, partition, groupId)!)
    },
    series: () => ({}),
  })
  const records = decoder.records(1, state.entries(1, 1, 0)[0]!, 2)
  const first = records.next().value
  expect(first?.id).toBe('cpu/1/0/2')
  expect(first).toMatchObject({ body: { group: { host: 'c' } } })
  expect(looked).toEqual([2])
})

test('alerts and late samples come back as they were written', () => {
  const state = new MemoryState(testPlan())
  const alert = testAlert({ reason: 'größer als "erwartet"', value: null })
  state.alert(0, alert)
  state.late(0, [
    { series: { __name__: 'cpu', host: 'a' }, timestampMs: 5.25, value: 1.5 },
    { series: { __name__: 'cpu', host: 'b' }, timestampMs: 4, value: Number.NaN },
  ])
  const decoder = decoderOf(state)
  const [first, second] = state.entries(1, 0, 0)
  expect([feedOf(first!), feedOf(second!)]).toEqual(['alerts', 'late'])
  expect([...decoder.records(0, first!)]).toEqual([
    { id: 'cpu/0/0/0', partition: 0, seq: 0, row: 0, body: alert },
  ])
  const late = [...decoder.records(0, second!)]
  expect(late.map(({ id }) => id)).toEqual(['cpu/0/1/0', 'cpu/0/1/1'])
  expect(late.map(({ body }) => body as LateBody)).toEqual([
    {
      kind: 'late',
      pipeline: 'cpu',
      series: { __name__: 'cpu', host: 'a' },
      timestampMs: 5.25,
      value: 1.5,
      offset: 0,
    },
    {
      kind: 'late',
      pipeline: 'cpu',
      series: { __name__: 'cpu', host: 'b' },
      timestampMs: 4,
      value: null,
      offset: 1,
    },
  ])
})

test('an entry that is not what it claims to be is refused by name', () => {
  const state = new MemoryState(testPlan())
  state.results(2, 0, 1_000, [{ group: { host: 'a' }, cells: [1, 2, 3, 4, 5, 6] }])
  state.late(2, [{ series: { host: 'a' }, timestampMs: 1, value: 1 }])
  state.alert(2, testAlert())
  const decoder = decoderOf(state)
  const [results, late, alert] = state.entries(1, 2, 0)
  const cut = (entry: typeof results) => ({ ...entry!, bytes: entry!.bytes.slice(0, -1) })
  for (const damaged of [
    cut(results),
    cut(late),
    cut(alert),
    { ...results!, kind: 9 },
    { ...results!, bytes: new Uint8Array(3) },
  ]) {
    expect(() => [...decoder.records(2, damaged)]).toThrow(/Entry cpu\/2\/\d of the result stream.*backup/)
  }
  const other = new EntryDecoder(testPlan({ aggregates: [] }), { group: () => ({}), series: () => ({}) })
  expect(() => other.rowCount(2, results!)).toThrow(/1 rows of 6 columns .* writes 4 columns/)
})

test('results of before a switch have the scores of the detectors of before, and their place for each of the present', () => {
  const was = testPlan()
  const [ewma] = was.detectors
  const state = new MemoryState(was)
  const other = { ...ewma!, name: 'other' }
  const now = testPlan({ detectors: [other, ewma!] })
  state.results(1, 0, 1_000, [{ group: { host: 'a' }, cells: [1, 2, 3, 4, 5, 6] }])
  state.results(1, 1_000, 2_000, [{ group: { host: 'a' }, cells: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] }])
  const past = [{ planJson: JSON.stringify(was), endSeqs: [0, 1, 0] }]
  const labels = { group: () => ({ host: 'a' }), series: () => ({}) }
  const decoder = new EntryDecoder(now, labels, past)
  const [first, second] = state.entries(1, 1, 0)
  const scores = (entry: typeof first): unknown => (decoder.record(1, entry!, 0).body as ResultBody).scores
  expect([decoder.rowCount(1, first!), decoder.rowCount(1, second!)]).toEqual([1, 1])
  expect(scores(first)).toEqual({ 'mean-ewma': { score: 3, expected: 4, lower: 5, upper: 6 } })
  expect(scores(second)).toEqual({
    other: { score: 3, expected: 4, lower: 5, upper: 6 },
    'mean-ewma': { score: 7, expected: 8, lower: 9, upper: 10 },
  })
  expect([...decoder.columnsOf(1, first!).columns]).toEqual([0, 1, -1, -1, -1, -1, 2, 3, 4, 5])
  expect([...decoder.columnsOf(1, second!).columns]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  // Of another partition no entry is of before: there it is not what it should be.
  expect(() => decoder.rowCount(0, first!)).toThrow(/this pipeline writes 10 columns/)
})
