import { describe, expect, it } from 'vitest'
import { definitionOf } from '../../engine/contract/definition.ts'
import type { Fault } from '../../engine/contract/errors.ts'
import type { Slicing } from '../../engine/contract/plugins.ts'
import { planOf, registry } from '../../test/chain/fixtures.ts'
import { describeOperator } from '../testing/describe-operator.ts'
import { sliding, slidingPlugin } from './sliding.ts'
import { tumbling, tumblingPlugin } from './tumbling.ts'

function slide(size: string, every: string): { slicing: Slicing | undefined; faults: Fault[] } {
  const faults: Fault[] = []
  const options = slidingPlugin.options.parse({ size, every }, 'p.window', faults)
  return { slicing: options && slidingPlugin.slicing(options, 'p.window', faults), faults }
}

describe('windows', () => {
  it('tumble in one slice each', () => {
    const faults: Fault[] = []
    const options = tumblingPlugin.options.parse({ size: '1m' }, 'p.window', faults)!
    expect(tumblingPlugin.slicing(options, 'p.window', faults)).toEqual({
      sizeMs: 60_000,
      everyMs: 60_000,
      sliceMs: 60_000,
    })
  })

  it('slide over slices of the largest duration that divides size and step', () => {
    expect(slide('1m', '5s').slicing).toEqual({ sizeMs: 60_000, everyMs: 5_000, sliceMs: 5_000 })
    expect(slide('10s', '4s').slicing).toEqual({ sizeMs: 10_000, everyMs: 4_000, sliceMs: 2_000 })
  })

  it('refuse a step longer than the size, because samples would fall between windows', () => {
    const { slicing, faults } = slide('5s', '6s')
    expect(slicing).toBeUndefined()
    expect(faults.map(({ place }) => place)).toEqual(['p.window.every'])
  })

  it('refuse more slices than the limit and accept exactly the limit', () => {
    expect(slide('4096ms', '1ms').slicing).toBeDefined()
    const { slicing, faults } = slide('4097ms', '1ms')
    expect(slicing).toBeUndefined()
    expect(faults[0]!.problem).toContain('4097 slices')
  })

  it('refuse a window without length', () => {
    expect(slide('0', '0').faults.map(({ place }) => place)).toEqual(['p.window.size', 'p.window.every'])
  })

  it('are written as plain definitions', () => {
    expect(definitionOf(tumbling('1m'), 'window')).toEqual({
      what: 'window',
      kind: 'tumbling',
      options: { size: '1m' },
    })
    expect(definitionOf(sliding({ size: '1m', every: '5s' }), 'window')?.kind).toBe('sliding')
  })
})

for (const [name, sizeMs, everyMs] of [
  ['tumbling windows', 5_000, 5_000],
  ['sliding windows', 6_000, 2_000],
  ['sliding windows whose step does not divide the size', 10_000, 4_000],
] as const) {
  describeOperator({ name, plan: planOf({ sizeMs, everyMs, disorderMs: 1_000, idleMs: 5_000 }), registry })
}
