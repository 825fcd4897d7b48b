import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  BYTES_SLACK,
  bytesToKeep,
  FREE_BYTES_HIGH,
  FREE_BYTES_LOW,
  planRetention,
  type RetainedPartition,
  type StoredBatch,
} from './retention.ts'

/** What a case is made of: partitions as lists of batches, oldest first. */
interface Case {
  readonly partitions: readonly (readonly StoredBatch[])[]
  readonly lowWater: readonly number[]
  readonly nowMs: number
  readonly ageMsMax: number
  readonly bytesMax: number
  readonly deletionsMax: number
}

const batchShape = fc.record({
  count: fc.integer({ min: 1, max: 5 }),
  stepMs: fc.nat(20),
  bytes: fc.integer({ min: 1, max: 100 }),
})

const caseShape: fc.Arbitrary<Case> = fc
  .record({
    shapes: fc.array(fc.array(batchShape, { maxLength: 8 }), { minLength: 1, maxLength: 4 }),
    lowWaterShares: fc.array(fc.double({ min: 0, max: 1.2, noNaN: true }), { minLength: 4, maxLength: 4 }),
    nowMs: fc.nat(200),
    ageMsMax: fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.nat(150)),
    bytesMax: fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.nat(800)),
    deletionsMax: fc.integer({ min: 0, max: 20 }),
  })
  .map(({ shapes, lowWaterShares, ...rest }) => {
    const partitions = shapes.map((shape) => {
      let offset = 0
      let appendedMs = 0
      return shape.map(({ count, stepMs, bytes }): StoredBatch => {
        const baseOffset = offset
        offset += count
        appendedMs += stepMs
        return { baseOffset, endOffset: offset, appendedMs, bytes }
      })
    })
    const lowWater = partitions.map((batches, i) =>
      Math.floor((batches.at(-1)?.endOffset ?? 0) * lowWaterShares[i]!),
    )
    return { partitions, lowWater, ...rest }
  })

/** Naive: look at everything that is left, delete the oldest that may go and is due, again and again. */
function naive({ partitions, lowWater, nowMs, ageMsMax, bytesMax, deletionsMax }: Case): string[] {
  const left = partitions.map((batches) => [...batches])
  const deleted: string[] = []
  for (;;) {
    const total = left.flat().reduce((sum, batch) => sum + batch.bytes, 0)
    const candidates = left
      .map((batches, partition) => ({ partition, batch: batches[0], count: batches.length }))
      .filter(({ batch, count, partition }) => {
        return batch !== undefined && count > 1 && batch.endOffset <= lowWater[partition]!
      })
      .sort((a, b) => a.batch!.appendedMs - b.batch!.appendedMs || a.partition - b.partition)
    const oldest = candidates[0]
    if (oldest === undefined) return deleted
    const isDue = total > bytesMax || nowMs - oldest.batch!.appendedMs > ageMsMax
    if (!isDue || deleted.length === deletionsMax) return deleted
    left[oldest.partition]!.shift()
    deleted.push(`${oldest.partition}:${oldest.batch!.baseOffset}`)
  }
}

function plan(input: Case) {
  const partitions = input.partitions.map((batches, partition): RetainedPartition => {
    const endOffset = batches.at(-1)?.endOffset ?? 0
    return { topicId: 0, partition, startOffset: 0, endOffset, lowWater: input.lowWater[partition]! }
  })
  const total = input.partitions.flat().reduce((sum, batch) => sum + batch.bytes, 0)
  return planRetention(partitions, total, input, ({ partition }, offset) => {
    const batch = input.partitions[partition]!.find((candidate) => candidate.baseOffset === offset)
    if (batch === undefined) throw new Error(`asked for ${partition}:${offset}, which is no batch`)
    return batch
  })
}

describe('retention', () => {
  test('deletes exactly what the naive model deletes, in the same order', () => {
    fc.assert(
      fc.property(caseShape, (input) => {
        const names = plan(input).deletions.map(({ partition, batch }) => `${partition}:${batch.baseOffset}`)
        expect(names).toEqual(naive(input))
      }),
      { numRuns: 500 },
    )
  })

  test('never passes a low-water offset, never takes a newest batch, never exceeds its bound', () => {
    fc.assert(
      fc.property(caseShape, (input) => {
        const { deletions, bytes } = plan(input)
        expect(deletions.length).toBeLessThanOrEqual(input.deletionsMax)
        expect(bytes).toBe(deletions.reduce((sum, { batch }) => sum + batch.bytes, 0))
        for (const { partition, batch } of deletions) {
          expect(batch.endOffset).toBeLessThanOrEqual(input.lowWater[partition]!)
          expect(batch).not.toBe(input.partitions[partition]!.at(-1))
        }
      }),
    )
  })

  test('calls bounded at one deletion reach the same state as one unbounded call', () => {
    fc.assert(
      fc.property(caseShape, (input) => {
        const all = plan({ ...input, deletionsMax: 1_000 })
        const first = plan({ ...input, deletionsMax: 1 })
        expect(first.more).toBe(all.deletions.length > 1)
        expect(first.deletions).toEqual(all.deletions.slice(0, 1))
      }),
    )
  })
})

describe('how much of the log is kept', () => {
  const MAX = 100 * FREE_BYTES_HIGH
  const never = (): number => {
    throw new Error('not asked')
  }

  test('all of it below the limit, and above it while the file has room, without asking where it does not matter', () => {
    expect(bytesToKeep(MAX, MAX, never)).toBe(Infinity)
    expect(bytesToKeep(MAX + 1, MAX, () => FREE_BYTES_LOW)).toBe(Infinity)
    expect(bytesToKeep(MAX * (1 + BYTES_SLACK) + 1, MAX, never)).toBeLessThan(MAX * (1 + BYTES_SLACK))
  })

  test('else what makes room for what comes next, never less than the limit, never more than a tenth above it', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 2, noNaN: true }), fc.nat(2 * FREE_BYTES_HIGH), (share, free) => {
        const bytes = MAX * share
        const kept = bytesToKeep(bytes, MAX, () => free)
        expect(kept).toBeGreaterThanOrEqual(MAX)
        if (bytes > MAX * (1 + BYTES_SLACK)) expect(kept).toBeLessThan(bytes)
        if (kept < Infinity && bytes <= MAX * (1 + BYTES_SLACK) && kept > MAX) {
          expect(free + bytes - kept).toBeCloseTo(FREE_BYTES_HIGH, 3)
        }
      }),
    )
  })
})
