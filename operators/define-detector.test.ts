import { describe, expect, test } from 'vitest'
import type { Fault } from '../engine/contract/errors.ts'
import { pipeline, topic } from '../engine/pipeline/builder.ts'
import { ownDetectorsOf } from '../engine/pipeline/own-detectors.ts'
import { compilePlan } from '../engine/pipeline/plan.ts'
import { planDifference, planHash } from '../engine/pipeline/plan-difference.ts'
import { mean } from './aggregates/mean.ts'
import { defineDetector, option } from './define-detector.ts'
import { registry } from './registry.ts'
import { tumbling } from './windows/tumbling.ts'

const define = (change: Readonly<Record<string, unknown>> = {}) =>
  defineDetector({
    kind: 'jump',
    version: 1,
    options: { by: { type: option.number({ min: 0 }), meaning: 'largest step' } },
    create: () => ({ width: 1, score() {}, learn() {}, reason: () => 'why' }),
    ...change,
  } as never) as ReturnType<typeof defineDetector>

const withDetector = (detector: unknown) =>
  pipeline('p')
    .from(topic('t'))
    .window(tumbling('1s'), { mean: mean() })
    .detect('mean', detector as never)
const compile = (detector: unknown) => compilePlan(withDetector(detector), registry, '')

describe('a detector of ones own', () => {
  test('is in the plan as plain data: kind, version, options', () => {
    const { plan, faults } = compile(define()({ by: 3 }))
    expect(faults).toEqual([])
    expect(plan!.detectors).toEqual([
      { name: 'mean-jump', kind: 'jump', column: 'mean', options: { by: 3 }, holdMs: 0, version: 1 },
    ])
    expect(JSON.parse(JSON.stringify(plan))).toEqual(plan)
  })

  test('has its options checked like any other', () => {
    expect(compile(define()({ by: -1 })).faults.map(({ place }) => place)).toEqual(['p.detect(mean-jump).by'])
    expect(compile(define()({})).faults.map(({ place }) => place)).toEqual(['p.detect(mean-jump).by'])
  })

  test.each([
    [{ kind: 'ewma' }, 'kind', 'is the kind of a detector that comes with millrace'],
    [{ kind: 'My-Detector' }, 'kind', 'is not a kind'],
    [{ version: 0 }, 'version', 'is not a version'],
    [{ version: '1' }, 'version', 'is not a version'],
  ])('is refused with %j', (change, name, problem) => {
    const { plan, faults } = compile(define(change)({ by: 1 }))
    expect(plan).toBeNull()
    expect(faults).toMatchObject([{ place: expect.stringMatching(new RegExp(`\\.${name}$`)), problem }])
  })

  test('two that share a kind are refused', () => {
    const faults: Fault[] = []
    ownDetectorsOf([withDetector(define()({ by: 1 })), withDetector(define()({ by: 1 }))], 'p.ts', faults)
    expect(faults).toMatchObject([{ place: 'p.ts', value: 'jump', problem: 'names two detectors' }])
  })

  test('one that is used twice is not', () => {
    const jump = define()
    const faults: Fault[] = []
    const found = ownDetectorsOf(
      [withDetector(jump({ by: 1 })), withDetector(jump({ by: 2 }))],
      'p.ts',
      faults,
    )
    expect(faults).toEqual([])
    expect([...found.keys()]).toEqual(['jump'])
  })

  test('a new version makes the old state void; where the module lies does not', () => {
    const plan = compile(define()({ by: 1 })).plan!
    const next = compile(define({ version: 2 })({ by: 1 })).plan!
    expect(planHash(next)).not.toBe(planHash(plan))
    expect(planDifference(plan, next)).toMatchObject([
      { path: 'detectors.mean-jump.version', affectsState: true },
    ])
    expect(planHash({ ...plan, module: '/elsewhere.ts' })).toBe(planHash(plan))
    expect(planDifference(plan, { ...plan, module: '/elsewhere.ts' })).toEqual([])
  })
})
