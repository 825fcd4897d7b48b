import { expect, test } from 'vitest'
import { describeDetector } from '../testing/describe-detector.ts'
import { judgeSeries, newVerdict, parsed } from '../testing/judge-series.ts'
import { rateOfChangePlugin } from './rate-of-change.ts'

describeDetector({
  plugin: rateOfChangePlugin,
  options: [{ by: 5 }, { by: 0.1, within: '10s', direction: 'up', clear: 0.5 }],
})

test('a step of more than it allows a minute is anomalous, and the edge is normal', () => {
  const judge = judgeSeries(rateOfChangePlugin, { by: 60, within: '1m' })
  expect(judge.next(10).score).toBeNaN()
  expect(judge.next(11)).toMatchObject({ score: 1, expected: 10, lower: 9, upper: 11 })
  expect(judge.next(13).score).toBe(2)
  expect(judge.next(13).score).toBe(0)
})

test('after a gap as much more is allowed', () => {
  const detector = rateOfChangePlugin.create(parsed(rateOfChangePlugin, { by: 1, within: '1s' }))
  const cells = new Float64Array(detector.width)
  detector.learn(cells, 0, 0, 0, newVerdict())
  const verdict = newVerdict()
  detector.score(cells, 0, 10_000, 9, verdict)
  expect(verdict.score).toBeCloseTo(0.9)
  // Of the same time, or before: there is no rate.
  detector.score(cells, 0, 0, 9, verdict)
  expect(verdict.score).toBeNaN()
})

test('an older value does not take the place of a newer one', () => {
  const detector = rateOfChangePlugin.create(parsed(rateOfChangePlugin, { by: 1, within: '1s' }))
  const cells = new Float64Array(detector.width)
  detector.learn(cells, 0, 5_000, 7, newVerdict())
  const before = cells.slice()
  detector.learn(cells, 0, 4_000, 100, newVerdict())
  expect(cells).toEqual(before)
})
