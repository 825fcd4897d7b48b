import { describe, expect, it } from 'vitest'
import { cellsOf, describeAggregate, viewOf } from '../testing/describe-aggregate.ts'
import { lastAccumulator } from './accumulators/last.ts'
import { lastPlugin } from './last.ts'

describeAggregate({
  plugin: lastPlugin,
  accumulators: [lastAccumulator],
  options: {},
  expected: (samples) => samples.at(-1)!.value,
})

describe('last', () => {
  const { finish } = lastPlugin
  const last = finish({}, 'last')

  it('goes by event time, and of equal times the later arrival wins', () => {
    const cells = new Float64Array(lastAccumulator.width)
    const times = [5, 9, 7, 9, 8]
    const view = viewOf(times.map((timestampMs, i) => ({ timestampMs, value: i })))
    lastAccumulator.add(cells, 0, new Int32Array(5), view, 0, 5)
    expect(last(cells, 0)).toBe(3)
  })

  it('takes a value at or before the epoch', () => {
    expect(last(cellsOf(lastAccumulator, [{ timestampMs: -5, value: 4 }]), 0)).toBe(4)
    expect(last(cellsOf(lastAccumulator, [{ timestampMs: 0, value: 6 }]), 0)).toBe(6)
  })
})
