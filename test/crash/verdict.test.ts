/** The judge of the crash test: what counts as lost, doubled and changed. */
import { describe, expect, test } from 'vitest'
import { bodyOf, makeBody } from './feed.ts'
import {
  byStream,
  compareBodies,
  compareStream,
  countBeyond,
  isClean,
  newVerdict,
  withoutRepeats,
} from './verdict.ts'

function counts(expected: string[], actual: string[]) {
  const verdict = newVerdict()
  compareStream(verdict, 'stream', expected, actual)
  const { lost, duplicated, differing, faults } = verdict
  expect(faults).toHaveLength(lost + duplicated + differing === 0 ? 0 : 1)
  return { lost, duplicated, differing }
}

describe('a stream', () => {
  test('that is what it should be has no fault', () => {
    expect(counts(['a', 'b'], ['a', 'b'])).toEqual({ lost: 0, duplicated: 0, differing: 0 })
  })
  test('that misses items has lost them, wherever they were', () => {
    expect(counts(['a', 'b', 'c', 'd'], ['b', 'd'])).toEqual({ lost: 2, duplicated: 0, differing: 0 })
    expect(counts(['a', 'b'], [])).toEqual({ lost: 2, duplicated: 0, differing: 0 })
  })
  test('with an item once too often has doubled it', () => {
    expect(counts(['a', 'b'], ['a', 'b', 'a'])).toEqual({ lost: 0, duplicated: 1, differing: 0 })
  })
  test('with something else in an item’s stead differs, and has not lost it too', () => {
    expect(counts(['a', 'b'], ['a', 'x'])).toEqual({ lost: 0, duplicated: 0, differing: 1 })
    expect(counts(['a'], ['a', 'x'])).toEqual({ lost: 0, duplicated: 0, differing: 1 })
    expect(counts(['a', 'b', 'c'], ['a', 'x'])).toEqual({ lost: 1, duplicated: 0, differing: 1 })
  })
  test('in another order differs', () => {
    expect(counts(['a', 'b', 'c'], ['b', 'a', 'c'])).toEqual({ lost: 0, duplicated: 0, differing: 2 })
  })
})

describe('records by id', () => {
  const record = (id: string, more = '') => `{"id":"${id}","more":"${more}"}`

  test('repeats are dropped and counted; with other bytes they differ', () => {
    const verdict = newVerdict()
    const all = [record('p/0/0/0'), record('p/0/1/0'), record('p/0/0/0'), record('p/0/1/0', 'x')]
    const { items, repeats } = withoutRepeats(verdict, 'posts', all)
    expect(items).toEqual(all.slice(0, 2))
    expect(repeats).toBe(2)
    expect(verdict.differing).toBe(1)
  })
  test('fall into streams in their order, and what has no id is a stranger', () => {
    const lines = [record('p/0/0/0'), record('p/1/0/0'), record('p/0/1/0'), 'torn']
    const streams = byStream(lines)
    expect(streams.get('p/0')).toEqual([lines[0], lines[2]])
    expect([...streams.keys()]).toEqual(['p/0', 'p/1', '? torn'])
  })
  test('that lie beyond what is committed are counted, of their stream only', () => {
    const lines = [record('p/0/4/0'), record('p/0/5/0'), record('p/0/5/1'), record('p/1/9/0')]
    expect(countBeyond(lines, 'p/0', 5)).toBe(2)
  })
})

test('a body is in the log once for each acknowledgement, and at most once for each send', () => {
  const of = (sends: number, acks: number, copies: number) => {
    const verdict = newVerdict()
    compareBodies(verdict, [{ sends, acks, copies, samples: 10 }])
    return [verdict.lost, verdict.duplicated, isClean(verdict)]
  }
  expect(of(1, 1, 1)).toEqual([0, 0, true])
  expect(of(3, 1, 2)).toEqual([0, 0, true])
  expect(of(1, 0, 0)).toEqual([0, 0, true])
  expect(of(1, 1, 0)).toEqual([10, 0, false])
  expect(of(3, 2, 1)).toEqual([10, 0, false])
  expect(of(1, 1, 2)).toEqual([0, 10, false])
})

test('every sample tells its body, also after its value went through text', () => {
  for (const index of [0, 1, 7, 4_096, 99_999, 2 ** 20 - 1]) {
    const { samples, text } = makeBody(5, index)
    const values = text.split('\n').map((line) => Number(/value=(\S+)/.exec(line)![1]))
    expect(values).toEqual(samples.map(({ value }) => value))
    expect(values.map(bodyOf)).toEqual(values.map(() => index))
    const names = samples.map(({ host, timestampMs }) => `${host} ${timestampMs}`)
    expect(new Set(names).size).toBe(names.length)
  }
})
