import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { floorDiv, WindowGrid } from './window-grid.ts'

function doubleBelow(x: number): number {
  const bits = new BigUint64Array(Float64Array.of(x).buffer)
  bits[0]!--
  return new Float64Array(bits.buffer)[0]!
}

describe('floorDiv', () => {
  it('is the largest multiple not above x, for times with fractions too, today and before the epoch', () => {
    const step = fc.integer({ min: 1, max: 86_400_000 })
    // Times that underflow when divided are none: half a unit of the last place after 323 zeros.
    const time = fc
      .double({ min: -2e12, max: 2e12, noNaN: true })
      .filter((x) => x === 0 || Math.abs(x) > 1e-290)
    const isFloor = (x: number, step: number): boolean => {
      const k = floorDiv(x, step)
      return k * step <= x && x < (k + 1) * step
    }
    fc.assert(fc.property(time, step, isFloor), {
      numRuns: 1_000,
    })
    // The double just below a boundary, where a quotient that rounded up would show.
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_700_000_000 }), step, (k, step) => {
        const boundary = k * step
        fc.pre(boundary < 2 ** 51)
        return [boundary, doubleBelow(boundary), -boundary, -doubleBelow(boundary)].every((x) =>
          isFloor(x, step),
        )
      }),
      { numRuns: 5_000 },
    )
  })
})

describe('a window grid', () => {
  const grids = fc
    .record({
      slice: fc.integer({ min: 1, max: 500 }),
      size: fc.integer({ min: 1, max: 8 }),
      every: fc.nat(7),
    })
    .map(({ slice, size, every }) => {
      const everyMs = slice * (1 + (every % size))
      return new WindowGrid({ sizeMs: slice * size, everyMs, sliceMs: slice })
    })

  it('knows the first and last window over a slice', () => {
    fc.assert(
      fc.property(grids, fc.integer({ min: -50, max: 50 }), (grid, slice) => {
        const { sizeMs, everyMs, sliceMs } = grid
        const starts: number[] = []
        for (let startMs = -100 * everyMs; startMs <= slice * sliceMs; startMs += everyMs) {
          if (startMs + sizeMs >= (slice + 1) * sliceMs) starts.push(startMs)
        }
        fc.pre(slice * sliceMs - sizeMs > -100 * everyMs)
        expect(grid.firstStartOver(slice)).toBe(starts[0]! + 0)
        expect(grid.lastEndOver(slice)).toBe(starts.at(-1)! + sizeMs)
      }),
    )
  })

  it('opens at the oldest window that ends after the watermark', () => {
    fc.assert(
      fc.property(grids, fc.double({ min: -1e6, max: 1e6, noNaN: true }), (grid, watermarkMs) => {
        const startMs = grid.firstOpenStart(watermarkMs)
        expect(startMs + grid.sizeMs).toBeGreaterThan(watermarkMs)
        expect(startMs - grid.everyMs + grid.sizeMs).toBeLessThanOrEqual(watermarkMs)
      }),
    )
  })
})
