import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SampleBuilder } from './sample-builder.ts'

describe('a sample builder', () => {
  test('holds what was pushed, in order, however often it grew', () => {
    const sample = fc.tuple(fc.nat(0x7fff_ffff), fc.double(), fc.double())
    fc.assert(
      fc.property(
        fc.array(sample, { maxLength: 200 }),
        fc.integer({ min: 1, max: 8 }),
        (samples, capacity) => {
          const builder = new SampleBuilder(capacity)
          for (const [seriesId, timestampMs, value] of samples) builder.push(seriesId, timestampMs, value)
          expect(builder.count).toBe(samples.length)
          const { count } = builder
          expect([...builder.seriesIds.subarray(0, count)]).toEqual(samples.map((row) => row[0]))
          expect([...builder.timestampsMs.subarray(0, count)]).toEqual(samples.map((row) => row[1]))
          expect([...builder.values.subarray(0, count)]).toEqual(samples.map((row) => row[2]))
        },
      ),
    )
  })

  test('starts again after clear, on the same memory', () => {
    const builder = new SampleBuilder(2)
    builder.push(1, 2, 3)
    const { values } = builder
    builder.clear()
    expect(builder.count).toBe(0)
    builder.push(4, 5, 6)
    expect(builder.values).toBe(values)
    expect([builder.seriesIds[0], builder.timestampsMs[0], builder.values[0]]).toEqual([4, 5, 6])
  })
})
