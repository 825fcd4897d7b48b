import { beforeEach, describe, expect, test } from 'vitest'
import { FeedbackBook } from '../broker/feedback-book.ts'
import type { Alert } from '../contract/alert.ts'
import { type FeedbackOutcome, type FeedbackRow, NOTE_LENGTH_MAX } from '../contract/feedback.ts'
import { listFeedback, StoredFeedback } from './feedback-door.ts'
import { MemoryState, testAlert, testPlan } from './memory-state.ts'

const GROUP = { host: 'a', zone: 'x' }
const ID = 'cpu/full/0/0/10000'
const plan = testPlan({
  name: 'cpu',
  detectors: [
    { name: 'full', kind: 'ewma', column: 'mean', options: {}, holdMs: 0 },
    { name: 'quiet', kind: 'silence', column: null, options: {}, holdMs: 0 },
  ],
})

let state: MemoryState
let rows: FeedbackRow[]
let book: FeedbackBook
let door: StoredFeedback

beforeEach(() => {
  state = new MemoryState(plan)
  rows = []
  book = new FeedbackBook([])
  door = new StoredFeedback({
    state,
    rows: { rows: () => rows },
    // As the log writer: what is new lies at the end of the log.
    say: async (request): Promise<FeedbackOutcome> => {
      const decided = book.decide(request, 77)
      if ('kind' in decided) return decided
      const row = { ...decided, offset: 1_000 + rows.length, appendedMs: 1_000 + rows.length }
      book.add(row)
      rows.push(row)
      return { kind: 'taken', row }
    },
  })
})

/** One window of a group; its score, expected, lower, upper follow its aggregates. */
function window(endMs: number, score: number, group: Record<string, string> = GROUP, expected = 10): void {
  const cells = [...plan.aggregates.map(() => 1), score, expected, expected - 5, expected + 5]
  state.results(0, endMs - 1_000, endMs, [{ group, cells }])
}

function alert(change: Partial<Alert> = {}): void {
  const band = { expected: 10, lower: 5, upper: 15 }
  const what = { id: ID, pipeline: 'cpu', detector: 'full', group: GROUP, sinceMs: 10_000, atMs: 10_000 }
  state.alert(0, testAlert({ ...what, ...band, ...change }))
}

async function refusal(asked: Promise<unknown>): Promise<string> {
  return asked.then(
    () => 'taken',
    (error: Error) => error.message.replace(/^nothing was changed: 1 fault\n\s*/, ''),
  )
}

describe('an expected alert', () => {
  test('asks for as much as its furthest value needs, however long it is over', async () => {
    window(10_000, 1.3)
    alert({ state: 'firing', score: 1.3 })
    alert({ state: 'firing', severity: 'critical', score: 1.62, atMs: 11_000 })
    alert({ state: 'resolved', score: 0.2, atMs: 12_000 })
    for (let i = 0; i < 50; i++) window(13_000 + i * 1_000, 0.1)
    const { statement, meaning, isRepeated } = await door.expected({ alert: ID, note: 'why', by: 'ada' })
    expect(statement).toMatchObject({
      score: 1.62,
      target: 1.65,
      before: 1,
      after: 1.65,
      timeMs: 10_000,
      alert: ID,
    })
    expect(statement).toMatchObject({ note: 'why', by: 'ada', saidMs: 77, undoneBy: null, group: GROUP })
    expect([isRepeated, meaning]).toEqual([
      false,
      'The band of cpu/full {host="a",zone="x"} is 1.65 times as wide as learned from now on, and was as wide as learned. A deviation such as this one does not alert.',
    ])
  })

  test('counts the windows in which it went on, of its own group, up to its end', async () => {
    window(10_000, 1.3)
    alert({ state: 'firing', score: 1.3 })
    window(11_000, 1.7)
    window(12_000, 9, { host: 'b', zone: 'x' })
    window(13_000, 1.2)
    alert({ state: 'resolved', score: 0.2, atMs: 14_000 })
    window(15_000, 8)
    expect((await door.expected({ alert: ID })).statement).toMatchObject({ score: 1.7, target: 1.75 })
  })

  test('one that a switch has ended was as far as it was told, not further than anything', async () => {
    window(10_000, 1.3)
    alert({ state: 'firing', score: 1.3 })
    alert({ state: 'resolved', score: null, value: null, atMs: 12_000 })
    expect((await door.expected({ alert: ID })).statement).toMatchObject({ score: 1.3, target: 1.35 })
  })

  test('said twice changes nothing more, and says what holds now; undone it can be said anew', async () => {
    window(10_000, 1.3)
    alert({ state: 'firing', score: 1.3 })
    await door.expected({ alert: ID })
    const twice = await door.expected({ alert: ID })
    expect([twice.isRepeated, twice.statement.id, rows.length]).toEqual([true, 1, 1])
    expect(twice.meaning).toContain('was said before (statement 1)')
    expect(twice.meaning).toContain('1.35 times as wide')
    expect(await door.undo({ id: 1 })).toMatchObject({
      meaning: 'Statement 1 is taken back: the band of cpu/full {host="a",zone="x"} is as wide as learned.',
    })
    expect(listFeedback(rows, { limit: 9 }).map(({ id, undoneBy }) => [id, undoneBy])).toEqual([
      [2, null],
      [1, 2],
    ])
    expect(await door.expected({ alert: ID })).toMatchObject({ isRepeated: false, statement: { id: 3 } })
  })

  test('doubles at the most, and says so where that does not suffice', async () => {
    window(10_000, 7)
    alert({ state: 'firing', score: 7 })
    const { statement, meaning } = await door.expected({ alert: ID })
    expect(statement).toMatchObject({ target: 7.05, after: 2 })
    expect(meaning).toContain('would still alert: say so of the next one too')
  })

  test('of a score told under a factor, the factor counts: it was further away than it looks', async () => {
    window(10_000, 1.1)
    const told = { says: 'expected', of: null, pipeline: 'cpu', detector: 'full', group: GROUP, id: 1 }
    const at = {
      topic: plan.topic.name,
      partition: 0,
      offset: -1,
      appendedMs: 0,
      timeMs: 1,
      target: 2,
      saidMs: 0,
    }
    const row = {
      ...told,
      ...at,
      alert: null,
      score: 2,
      note: null,
      by: null,
      before: 1,
      after: 2,
    } as FeedbackRow
    rows.push(row)
    book.add(row)
    alert({ state: 'firing', score: 1.1 })
    const { statement } = await door.expected({ alert: ID })
    expect(statement).toMatchObject({ target: 2.25, before: 2, after: 2.25 })
  })

  test('is refused by name: unknown ids, other pipelines and detectors, silence, fixed bounds, long notes', async () => {
    window(10_000, 1.3)
    alert({ state: 'firing', score: 1.3 })
    alert({ id: 'cpu/full/0/0/20000', expected: null, lower: null, upper: 90, sinceMs: 20_000, score: 2 })
    const of = (id: string): Promise<string> => refusal(door.expected({ alert: id }))
    expect(await of('nonsense')).toMatch(/^alert: is not the id of an alert .*Pipelines: cpu\./)
    expect(await of('memory/full/0/0/10000')).toMatch(/^alert: is not the id/)
    expect(await of('cpu/empty/0/0/10000')).toMatch(/^alert: is not the id/)
    expect(await of('cpu/full/0/0/10001')).toMatch(/^alert: is no alert that is kept .*history/)
    expect(await of('cpu/full/99/0/10000')).toMatch(/^alert: is no alert that is kept/)
    expect(await of('cpu/quiet/0/0/10000')).toMatch(/^detector: watches silence, .*overrides/)
    expect(await of('cpu/full/0/0/20000')).toMatch(/^detector: has one fixed bound/)
    expect(await refusal(door.expected({ alert: ID, note: 'x'.repeat(NOTE_LENGTH_MAX + 1) }))).toMatch(
      /^note: has 501/,
    )
    expect(rows).toEqual([])
  })
})

describe('a missed alert', () => {
  const missed = (change: object = {}) =>
    door.missed({ pipeline: 'cpu', detector: 'full', series: { host: 'a' }, atMs: 10_500, ...change })

  test('asks for as little as the value of that window needs, at most for half', async () => {
    window(10_000, 0.2)
    window(11_000, 0.82)
    const { statement, meaning } = await missed()
    expect(statement).toMatchObject({
      timeMs: 11_000,
      score: 0.82,
      target: 0.8,
      before: 1,
      after: 0.8,
      alert: null,
    })
    expect(meaning).toContain('0.8 times as wide as learned from now on')
    expect(meaning).toContain('A value such as this one alerts.')
    // The end of a window is not in it, its start is.
    expect((await missed({ atMs: 9_999 })).statement).toMatchObject({ timeMs: 10_000, after: 0.4 })
    expect((await missed({ atMs: 9_000 })).isRepeated).toBe(true)
    expect((await missed({ atMs: 10_000 })).isRepeated).toBe(true)
  })

  test('stops at the least there is, and says so', async () => {
    for (let i = 0; i < 4; i++) window(11_000 + i * 1_000, 0)
    for (let i = 0; i < 3; i++) await missed({ atMs: 10_500 + i * 1_000 })
    const { statement, meaning } = await missed({ atMs: 13_500 })
    expect(statement).toMatchObject({ before: 0.25, after: 0.25 })
    expect(meaning).toContain('stays 0.25 times as wide')
    expect(meaning).toContain('the least that feedback does')
  })

  test('is refused by name: what is unknown, unclear, not judged, or was anomalous already', async () => {
    window(11_000, 0.5)
    window(11_000, 0.5, { host: 'a', zone: 'y' })
    window(12_000, NaN)
    window(13_000, 1.4)
    expect(await refusal(missed())).toMatch(/^series: fits several groups .*zone="x".*zone="y"/)
    const series = GROUP
    expect(await refusal(missed({ series: { host: 'b' } }))).toMatch(/^series: has no result that is kept/)
    expect(await refusal(missed({ series, atMs: 99_000 }))).toMatch(/^series: has no result that is kept/)
    expect(await refusal(missed({ series, atMs: 11_500 }))).toMatch(
      /^at: is a time at which the detector could not/,
    )
    expect(await refusal(missed({ series, atMs: 12_500 }))).toMatch(
      /^at: .*anomalous already, by a score of 1\.4/,
    )
    expect(await refusal(missed({ pipeline: 'cup' }))).toMatch(/^pipeline: .*Did you mean "cpu"\?/)
    expect(await refusal(missed({ detector: 'ful' }))).toMatch(/^detector: .*Did you mean "full"\?/)
    expect(await refusal(missed({ detector: 'quiet' }))).toMatch(/^detector: watches silence/)
    expect(rows).toEqual([])
  })
})

test('an undo of nothing, or of an undo, is refused by name', async () => {
  window(10_000, 1.3)
  alert({ state: 'firing', score: 1.3 })
  await door.expected({ alert: ID })
  await door.undo({ id: 1 })
  expect(await refusal(door.undo({ id: 9 }))).toMatch(/^id: is no statement/)
  expect(await refusal(door.undo({ id: 2 }))).toMatch(/^id: takes a statement back itself/)
  expect((await door.undo({ id: 1 })).isRepeated).toBe(true)
})
