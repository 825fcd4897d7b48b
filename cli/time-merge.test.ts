import fc from 'fast-check'
import { expect, test } from 'vitest'
import { SampleBuilder } from '../engine/batch/sample-builder.ts'
import { MERGE_SAMPLES, type MergeInput, mergeByTime } from './time-merge.ts'

/** An input that gives its times in chunks of these sizes; a sample's value is its number, its series the input's. */
function inputOf(series: number, times: readonly number[], sizes: readonly number[]): MergeInput {
  const builder = new SampleBuilder(4)
  let given = 0
  let chunk = 0
  return {
    builder,
    fill() {
      if (given === times.length) return Promise.resolve(false)
      const size = sizes.length === 0 ? times.length : sizes[chunk++ % sizes.length]!
      for (let i = 0; i < size && given < times.length; i++) builder.push(series, times[given]!, given++)
      return Promise.resolve(true)
    },
  }
}

async function merged(inputs: readonly MergeInput[]): Promise<[number, number, number][]> {
  const out: [number, number, number][] = []
  const into = new SampleBuilder()
  await mergeByTime(inputs, into, () => {
    expect(into.count).toBeLessThanOrEqual(MERGE_SAMPLES)
    for (let i = 0; i < into.count; i++) {
      out.push([into.timestampsMs[i]!, into.seriesIds[i]!, into.values[i]!])
    }
    into.clear()
    return Promise.resolve()
  })
  return out
}

test('sorted inputs come out sorted, ties by input, whatever their chunks', async () => {
  const input = fc.tuple(
    fc.array(fc.integer({ min: 0, max: 50 }), { maxLength: 40 }).map((times) => times.sort((a, b) => a - b)),
    // A chunk may decode to nothing at all.
    fc
      .array(fc.nat(7), { maxLength: 5 })
      .filter((sizes) => sizes.length === 0 || sizes.some((size) => size > 0)),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(input, { maxLength: 5 }), async (inputs) => {
      const expected = inputs
        .flatMap(([times], series) => times.map((time, i): [number, number, number] => [time, series, i]))
        .sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2])
      expect(await merged(inputs.map(([times, sizes], series) => inputOf(series, times, sizes)))).toEqual(
        expected,
      )
    }),
    { numRuns: 500 },
  )
})

test('an unsorted input keeps its own order, and nothing is lost', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(fc.nat(9)), { maxLength: 4 }), async (inputs) => {
      const out = await merged(inputs.map((times, series) => inputOf(series, times, [3])))
      for (const [series, times] of inputs.entries()) {
        expect(out.filter((sample) => sample[1] === series).map((sample) => sample[0])).toEqual(times)
      }
    }),
    { numRuns: 300 },
  )
})

test('more samples than are handed on at once come through', async () => {
  const many = Array.from({ length: MERGE_SAMPLES + 10 }, (_, i) => i)
  const out = await merged([inputOf(0, many, []), inputOf(1, [5], [])])
  expect(out).toHaveLength(MERGE_SAMPLES + 11)
})
