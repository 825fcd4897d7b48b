/**
 * The contract of an aggregate, run by each aggregate's own test over every accumulator it can use: what one sample
 * gives, that merging slices equals adding their samples, that cells are all the state there is.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Accumulator, AggregatePlugin } from '../../engine/contract/plugins.ts'
import type { SampleView } from '../../engine/contract/samples.ts'
import { openMergeKernel } from '../../engine/pipeline/merge-kernel.ts'
import { openRowKernel } from '../../engine/pipeline/row-kernel.ts'

export interface Observed {
  readonly timestampMs: number
  readonly value: number
}

export interface AggregateContract<O> {
  readonly plugin: AggregatePlugin<O>
  readonly accumulators: readonly Accumulator[]
  readonly options: O
  /** The value by definition, worked out plainly from samples in order of time. */
  readonly expected: (samples: readonly Observed[]) => number
  /** Allowed difference, given the largest magnitude and the count; default: none. */
  readonly tolerance?: (scale: number, count: number) => number
}

export function viewOf(samples: readonly Observed[]): SampleView {
  return {
    topicId: 0,
    partition: 0,
    baseOffset: 0,
    count: samples.length,
    appendedMs: 0,
    seriesIds: new Int32Array(samples.length),
    seriesIdsAt: 0,
    timestampsMs: Float64Array.from(samples, ({ timestampMs }) => timestampMs),
    timestampsMsAt: 0,
    values: Float64Array.from(samples, ({ value }) => value),
    valuesAt: 0,
  }
}

/** Cells after adding samples to a row that starts at `lane`. */
export function cellsOf(accumulator: Accumulator, samples: readonly Observed[], lane = 0): Float64Array {
  const cells = new Float64Array(lane + accumulator.width)
  const at = new Int32Array(samples.length)
  accumulator.add(cells, lane, at, viewOf(samples), 0, samples.length)
  return cells
}

const slicesArbitrary = fc
  .array(
    fc.array(
      fc.record({
        gapMs: fc.integer({ min: 1, max: 5_000 }),
        value: fc.oneof(
          fc.integer({ min: -100, max: 100 }),
          fc.double({ min: -1e9, max: 1e9, noNaN: true }),
          fc.integer({ min: 999_999_999, max: 1_000_000_001 }),
        ),
      }),
      { minLength: 1, maxLength: 12 },
    ),
    { minLength: 1, maxLength: 5 },
  )
  .map((slices) => {
    let timestampMs = 1_700_000_000_000
    return slices.map((slice) =>
      slice.map(({ gapMs, value }): Observed => {
        timestampMs += gapMs
        return { timestampMs, value }
      }),
    )
  })

export function describeAggregate<O>(contract: AggregateContract<O>): void {
  const { plugin, options, expected } = contract
  const tolerance = contract.tolerance ?? (() => 0)

  const expectClose = (actual: number, wanted: number, samples: readonly Observed[]): void => {
    if (Number.isNaN(wanted)) {
      expect(actual).toBeNaN()
      return
    }
    const scale = Math.max(...samples.map(({ value }) => Math.abs(value)))
    expect(Math.abs(actual - wanted)).toBeLessThanOrEqual(tolerance(scale, samples.length))
  }

  for (const kind of plugin.accumulators) {
    describe(`the contract of an aggregate: ${plugin.kind} over ${kind}`, () => {
      const found = contract.accumulators.find((accumulator) => accumulator.kind === kind)
      if (found === undefined) throw new Error(`the test of ${plugin.kind} lacks its accumulator ${kind}`)
      const accumulator = found
      const finish = plugin.finish(options, kind)
      const merged = (slices: readonly (readonly Observed[])[]): Float64Array => {
        const [first, ...later] = slices.map((slice) => cellsOf(accumulator, slice))
        for (const cells of later) accumulator.merge(first!, 0, cells, 0)
        return first!
      }

      it('gives the value by definition, for one sample and for many', () => {
        fc.assert(
          fc.property(slicesArbitrary, (slices) => {
            const samples = slices.flat()
            expectClose(finish(cellsOf(accumulator, samples), 0), expected(samples), samples)
            expectClose(finish(cellsOf(accumulator, [samples[0]!]), 0), expected([samples[0]!]), samples)
          }),
        )
      })

      it('gives the same whether samples are added to one slice or slices are merged', () => {
        fc.assert(
          fc.property(slicesArbitrary, (slices) => {
            expectClose(finish(merged(slices), 0), expected(slices.flat()), slices.flat())
          }),
        )
      })

      it('merges alike however the slices are bracketed', () => {
        fc.assert(
          fc.property(slicesArbitrary, slicesArbitrary, (left, right) => {
            // The right slices come later in time, as a window's do.
            const shiftMs = left.flat().at(-1)!.timestampMs - right[0]![0]!.timestampMs + 1
            const later = right.map((slice) =>
              slice.map(({ timestampMs, value }) => ({ timestampMs: timestampMs + shiftMs, value })),
            )
            const cells = merged(left)
            accumulator.merge(cells, 0, merged(later), 0)
            const samples = [...left.flat(), ...later.flat()]
            expectClose(finish(cells, 0), expected(samples), samples)
          }),
        )
      })

      it('counts the samples in cell 0, whatever their values', () => {
        const samples = [0, -0, 1, -1e308].map((value, i) => ({ timestampMs: i % 3, value }))
        for (let count = 0; count <= samples.length; count++) {
          expect(cellsOf(accumulator, samples.slice(0, count))[0]).toBe(count)
        }
        const cells = cellsOf(accumulator, samples)
        accumulator.merge(cells, 0, cellsOf(accumulator, [{ timestampMs: 10, value: 1 }]), 0)
        expect(cells[0]).toBe(samples.length + 1)
      })

      it('touches only its own cells of the rows given, and skips samples without a row', () => {
        const samples = [1, 2, 3, 4].map((value) => ({ timestampMs: value * 1_000, value }))
        const lane = 2
        const row = lane + accumulator.width + 1
        const cells = new Float64Array(2 * row).fill(7)
        cells.fill(0, row + lane, row + lane + accumulator.width)
        accumulator.add(cells, lane, Int32Array.of(row, -1, row, -1), viewOf(samples), 0, 4)
        const alone = cellsOf(accumulator, [samples[0]!, samples[2]!], lane)
        expect(cells.slice(row + lane, row + lane + accumulator.width)).toEqual(alone.slice(lane))
        cells.fill(7, row + lane, row + lane + accumulator.width)
        expect(cells.every((cell) => cell === 7)).toBe(true)
      })

      it('reads the samples it is given, from the middle of a batch as well', () => {
        const samples = [5, 6, 7, 8].map((value) => ({ timestampMs: value * 1_000, value }))
        const cells = new Float64Array(accumulator.width)
        accumulator.add(cells, 0, new Int32Array(2), viewOf(samples), 1, 3)
        expect(cells).toEqual(cellsOf(accumulator, samples.slice(1, 3)))
      })

      if (accumulator.addRouted !== undefined) {
        it('gives the same cells in one pass, up to the first sample that is not ordinary', () => {
          fc.assert(
            fc.property(slicesArbitrary, fc.constantFrom(NaN, Infinity, -Infinity), (slices, odd) => {
              const samples = slices.flat()
              const strideShift = 32 - Math.clz32(accumulator.width - 1)
              const stride = 1 << strideShift
              const at = Int32Array.from(samples, (_, i) => (i % 2) * stride)
              const plain = new Float64Array(2 * stride)
              accumulator.add(plain, 0, at, viewOf(samples), 0, samples.length)
              const end = { timestampMs: 0, value: 1 }
              for (const [value, seriesId] of [
                [odd, 0],
                [1, 2],
                [1, 3],
                [1, 4],
              ] as const) {
                const view = viewOf([...samples, { ...end, value }, end])
                samples.forEach((_, i) => {
                  view.seriesIds[i] = i % 2
                })
                view.seriesIds[samples.length] = seriesId
                const cells = new Float64Array(2 * stride)
                const routes = Int32Array.of(1, 2, -1, 0)
                expect(accumulator.addRouted?.(cells, -stride, routes, strideShift, view, 0)).toBe(
                  samples.length,
                )
                expect(cells).toEqual(plain)
              }
            }),
          )
        })
      }

      if (accumulator.instructions !== undefined) {
        const strideShift = 32 - Math.clz32(2 * accumulator.width - 1)
        const stride = 1 << strideShift
        const lanes = [0, accumulator.width]
        const kernel = openRowKernel({ accumulators: [accumulator, accumulator], lanes, stride, columns: [] })
        const routes = kernel?.growRoutes(Int32Array.of(1, 2, -1, 0), 4)

        it('gives the same cells by its instructions, at any lane, up to the first sample that is not ordinary', () => {
          expect(kernel).not.toBeNull()
          expect(routes).toEqual(Int32Array.of(1, 2, -1, 0))
          fc.assert(
            fc.property(
              slicesArbitrary,
              fc.constantFrom(NaN, Infinity, -Infinity),
              fc.boolean(),
              (slices, odd, isPlaced) => {
                const samples = [
                  ...slices.flat(),
                  ...[-0, 5e-324, 0].map((value) => ({ timestampMs: 0, value })),
                ]
                const at = Int32Array.from(samples, (_, i) => (i % 2) * stride)
                const plain = new Float64Array(2 * stride)
                for (const lane of lanes) accumulator.add(plain, lane, at, viewOf(samples), 0, samples.length)
                const end = { timestampMs: 0, value: 1 }
                for (const [value, seriesId] of [
                  [odd, 0],
                  [1, 2],
                  [1, 3],
                  [1, 4],
                  [1, -1],
                ] as const) {
                  const view = viewOf([end, ...samples, { ...end, value }, end])
                  samples.forEach((_, i) => {
                    view.seriesIds[i + 1] = i % 2
                  })
                  view.seriesIds[samples.length + 1] = seriesId
                  const cells = kernel!.growCells(new Float64Array(2 * stride), 2 * stride)
                  expect(kernel!.add(view, 1, -stride, isPlaced ? () => {} : null)).toBe(samples.length + 1)
                  expect(cells).toEqual(plain)
                }
              },
            ),
          )
        })
      }

      if (accumulator.mergeInstructions !== undefined) {
        const stride = 1 << (32 - Math.clz32(2 * accumulator.width - 1))
        const lanes = [0, accumulator.width]
        const kernel = openMergeKernel(
          { accumulators: [accumulator, accumulator], lanes, stride, columns: [] },
          8 * stride,
        )

        it('merges the same cells by its instructions, at any lane, and copies where only the later holds samples', () => {
          expect(kernel).not.toBeNull()
          fc.assert(
            fc.property(
              fc.array(fc.tuple(slicesArbitrary, slicesArbitrary, fc.nat(3)), { maxLength: 4 }),
              (rows) => {
                const cells = kernel!.cells.fill(0)
                const expected = new Float64Array(rows.length * stride)
                rows.forEach(([older, newer, holds], row) => {
                  for (const lane of lanes) {
                    const at = row * stride + lane
                    const into = (holds & 1) === 0 ? cellsOf(accumulator, []) : merged(older)
                    const later = (holds & 2) === 0 ? cellsOf(accumulator, []) : merged(newer)
                    cells.set(into, at)
                    cells.set(later, 4 * stride + at)
                    if (holds === 3) accumulator.merge(into, 0, later, 0)
                    expected.set(holds === 2 ? later : into, at)
                  }
                })
                kernel!.merge(0, 4 * stride, rows.length)
                expect(cells.slice(0, rows.length * stride)).toEqual(expected)
              },
            ),
          )
        })
      }

      if (accumulator.mergeRows !== undefined) {
        it('merges rows as it merges one, and copies where only the later holds samples', () => {
          fc.assert(
            fc.property(fc.array(fc.tuple(slicesArbitrary, fc.nat(3)), { maxLength: 5 }), (rows) => {
              const stride = accumulator.width + 1
              const into = new Float64Array((rows.length + 1) * stride).fill(7)
              const later = new Float64Array((rows.length + 1) * stride).fill(8)
              const expected = into.slice()
              rows.forEach(([slices, holds], row) => {
                const at = (row + 1) * stride
                const older = (holds & 1) === 0 ? cellsOf(accumulator, []) : merged(slices)
                const newer = (holds & 2) === 0 ? cellsOf(accumulator, []) : merged(slices)
                into.set(older, at)
                later.set(newer, at - 1)
                if (holds === 3) accumulator.merge(older, 0, newer, 0)
                expected.set(holds === 2 ? newer : older, at)
              })
              accumulator.mergeRows?.(into, stride, later, stride - 1, rows.length, stride)
              expect(into).toEqual(expected)
            }),
          )
        })
      }

      const { finishRows } = plugin
      if (finishRows !== undefined) {
        it('finishes many rows as it finishes one', () => {
          fc.assert(
            fc.property(
              fc.array(slicesArbitrary, { minLength: 1, maxLength: 6 }),
              fc.nat(1),
              (parts, lane) => {
                const strideShift = 32 - Math.clz32(accumulator.width + lane - 1)
                const cells = new Float64Array((parts.length + 1) << strideShift).fill(7)
                const rows = Int32Array.from(parts, (_, row) => parts.length - row)
                parts.forEach((slices, row) => {
                  cells.set(merged(slices), (rows[row]! << strideShift) + lane)
                })
                const wanted = Array.from(rows, (row) => finish(cells, (row << strideShift) + lane))
                const into = new Float64Array(parts.length + 3).fill(8)
                finishRows(options, kind)(cells, lane, strideShift, rows, 0, 1, into, 2)
                finishRows(options, kind)(cells, lane, strideShift, rows, 1, parts.length, into, 2)
                expect([...into]).toEqual([8, 8, ...wanted, 8])
              },
            ),
          )
        })
      }

      it('keeps nothing outside its cells: copied between any two samples they go on alike', () => {
        fc.assert(
          fc.property(slicesArbitrary, (slices) => {
            const samples = slices.flat()
            let cells = new Float64Array(accumulator.width)
            for (const sample of samples) {
              cells = cells.slice()
              accumulator.add(cells, 0, new Int32Array(1), viewOf([sample]), 0, 1)
            }
            expect(cells).toEqual(cellsOf(accumulator, samples))
          }),
        )
      })
    })
  }
}
