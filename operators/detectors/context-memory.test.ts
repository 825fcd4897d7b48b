import { describe, expect, test } from 'vitest'
import type { Verdict } from '../../engine/contract/plugins.ts'
import { Prng } from '../../engine/util/prng.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { judgeSeries, parsed } from '../testing/judge-series.ts'
import { contextMemoryPlugin } from './context-memory.ts'

describeDetector({ plugin: contextMemoryPlugin, lead: 402, options: [{}, { odds: 0.1, clear: 0.9 }] })

const alarms = (verdicts: readonly Verdict[]): number => verdicts.filter(({ score }) => score > 1).length

describe('context memory', () => {
  test('finds usual values in an order never met', () => {
    const judge = judgeSeries(contextMemoryPlugin, {})
    const cycle = [10, 20, 40, 80, 40, 20]
    expect(alarms(judge.run(3_000, (i) => cycle[i % 6]!))).toBe(0)
    const backwards = [80, 10, 80, 20, 10, 40, 10, 80]
    const verdicts = judge.run(backwards.length, (i) => backwards[i]!)
    expect(alarms(verdicts)).toBeGreaterThan(0)
    expect(judge.reason('state', 10, verdicts.find(({ score }) => score > 1)!)).toMatch(/never met together/)
  })

  test('what lies on both sides of a gap was never a combination', () => {
    const cycle = [10, 20, 40, 80, 40, 20]
    const scoreAfter = (pauseMs: number): number => {
      const judge = judgeSeries(contextMemoryPlugin, {})
      judge.run(3_000, (i) => cycle[i % 6]!)
      judge.pause(pauseMs)
      // In the middle of the cycle.
      return Math.max(...judge.run(6, (i) => cycle[(i + 3) % 6]!).map(({ score }) => score))
    }
    expect(scoreAfter(0)).toBeGreaterThan(1)
    expect(scoreAfter(10_000)).toBe(0)
  })

  test('is silent about a spike that it meets all the time, however tall', () => {
    const prng = new Prng(41)
    const judge = judgeSeries(contextMemoryPlugin, {})
    judge.run(4_000, (i) => (i % 40 === 0 ? 10_000 : 100 + prng.normal()))
    expect(alarms(judge.run(2_000, (i) => (i % 40 === 0 ? 10_000 : 100 + prng.normal())))).toBeLessThan(20)
  })

  test.each([
    ['normal', (prng: Prng) => prng.normal()],
    ['exponential', (prng: Prng) => -Math.log(1 - prng.float())],
  ])('alarms seldom on %s noise', (_name, noise) => {
    const prng = new Prng(42)
    const judge = judgeSeries(contextMemoryPlugin, {})
    expect(alarms(judge.run(10_000, () => 100 + noise(prng))) / 10_000).toBeLessThan(5e-3)
  })

  test('a flat series alarms on a jump and not on tiny changes', () => {
    const judge = judgeSeries(contextMemoryPlugin, {})
    expect(alarms(judge.run(1_000, () => 50))).toBe(0)
    expect(alarms(judge.run(200, (i) => 50 + (i % 2) * 1e-3))).toBe(0)
    expect(alarms(judge.run(10, () => 80))).toBeGreaterThan(0)
  })

  test('explains its symbols and how full the memory is', () => {
    const detector = contextMemoryPlugin.create(parsed(contextMemoryPlugin, {}))
    const cells = new Float64Array(detector.width)
    const prng = new Prng(43)
    const facts = (): Map<string, string> =>
      new Map(detector.explain!(cells, 0).facts.map(({ name, value }) => [name, value]))
    for (let i = 0; i < 100; i++) detector.learn(cells, 0, i, prng.normal(), {} as Verdict)
    expect([...facts()]).toEqual([['values', '100']])
    for (let i = 0; i < 1_000; i++) detector.learn(cells, 0, i, prng.normal(), {} as Verdict)
    expect(facts().get('symbols')).toMatch(/^about .*, in steps from /)
    const full = Number.parseFloat(facts().get('memory')!)
    expect(full).toBeGreaterThan(0)
    expect(full).toBeLessThan(50)
  })
})
