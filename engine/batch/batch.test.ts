import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { RECORD_RESUMED, RECORD_SAMPLES } from '../contract/samples.ts'
import { type BatchHeader, batchFault, sealBatch } from './batch-encoder.ts'
import { BatchView } from './batch-view.ts'
import * as layout from './layout.ts'

interface Sample {
  readonly seriesId: number
  readonly timestampMs: number
  readonly value: number
}

const HEADER: BatchHeader = {
  kind: RECORD_SAMPLES,
  topicId: 3,
  partition: 15,
  baseOffset: 2 ** 40 + 1,
  count: 0,
  minTimestampMs: -5,
  maxTimestampMs: 1.7e12,
  appendedMs: 1.7e12 + 0.25,
  producerId: 2 ** 50,
  producerEpoch: 7,
  baseSequence: 2 ** 45,
}

/** The batch at byte `at` of a larger buffer, columns written through the layout's own positions. */
function encode(samples: readonly Sample[], at = 0, header: Partial<BatchHeader> = {}) {
  const count = samples.length
  const length = layout.batchBytes(count)
  const buffer = new ArrayBuffer(Math.ceil((at + length) / 8) * 8)
  const bytes = new Uint8Array(buffer, at, length)
  const view = new DataView(buffer, at, length)
  samples.forEach((sample, i) => {
    view.setFloat64(layout.timestampsAt() + 8 * i, sample.timestampMs, true)
    view.setFloat64(layout.valuesAt(count) + 8 * i, sample.value, true)
    view.setInt32(layout.seriesIdsAt(count) + 4 * i, sample.seriesId, true)
  })
  expect(sealBatch(bytes, view, { ...HEADER, count, ...header })).toBe(length)
  return { buffer, bytes }
}

const sampleShape = fc.record({
  seriesId: fc.nat(0x7fff_ffff),
  timestampMs: fc.double(),
  value: fc.double(),
})

describe('a record batch', () => {
  test('gives back every header field and every bit of every column, wherever it lies in a buffer', () => {
    fc.assert(
      fc.property(fc.array(sampleShape, { maxLength: 50 }), fc.nat(20), (samples, words) => {
        const { buffer, bytes } = encode(samples, words * 8)
        expect(batchFault(bytes)).toBeNull()
        const view = new BatchView(buffer).point(words * 8)
        const { count: _, ...header } = HEADER
        expect(view).toMatchObject(header)
        expect(view.count).toBe(samples.length)
        expect(view.byteLength).toBe(bytes.length)
        samples.forEach((sample, i) => {
          expect(view.seriesIds[view.seriesIdsAt + i]).toBe(sample.seriesId)
          expect(view.timestampsMs[view.timestampsMsAt + i]).toBe(sample.timestampMs)
          expect(view.values[view.valuesAt + i]).toBe(sample.value)
        })
      }),
    )
  })

  test('takes as many offsets as samples, and a control record takes one', () => {
    const three = encode([1, 2, 3].map((value) => ({ seriesId: 0, timestampMs: 0, value })))
    expect(new BatchView(three.buffer).point(0).endOffset).toBe(HEADER.baseOffset + 3)
    const control = encode([], 0, { kind: RECORD_RESUMED })
    const view = new BatchView(control.buffer).point(0)
    expect([view.kind, view.count, view.endOffset]).toEqual([RECORD_RESUMED, 0, HEADER.baseOffset + 1])
  })

  test('of the largest size fills an LMDB value and not a byte more', () => {
    expect(layout.batchBytes(layout.BATCH_SAMPLES_MAX)).toBeLessThanOrEqual(layout.BATCH_BYTES_MAX)
    expect(layout.batchBytes(layout.BATCH_SAMPLES_MAX + 1)).toBeGreaterThan(layout.BATCH_BYTES_MAX)
    expect((layout.BATCH_BYTES_MAX + 24) % 4096).toBe(0)
  })
})

describe('a damaged batch', () => {
  test('is noticed for every single flipped bit', () => {
    const { bytes } = encode([
      { seriesId: 1, timestampMs: 2, value: 3 },
      { seriesId: 4, timestampMs: 5, value: Number.NaN },
    ])
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      bytes[bit >> 3]! ^= 1 << (bit & 7)
      expect(batchFault(bytes), `bit ${bit}`).not.toBeNull()
      bytes[bit >> 3]! ^= 1 << (bit & 7)
    }
    expect(batchFault(bytes)).toBeNull()
  })

  test('is named: too short, wrong magic, unknown version, wrong length, wrong CRC', () => {
    const sample = { seriesId: 1, timestampMs: 2, value: 3 }
    const changed = (change: (view: DataView) => void): string | null => {
      const { bytes, buffer } = encode([sample])
      change(new DataView(buffer))
      return batchFault(bytes)
    }
    expect(batchFault(encode([]).bytes.subarray(0, layout.HEADER_BYTES - 1))).toBe('too short')
    expect(changed((view) => view.setInt32(layout.MAGIC_AT, 1, true))).toBe('wrong magic')
    expect(changed((view) => view.setUint16(layout.VERSION_AT, 2, true))).toBe('unknown version')
    expect(changed((view) => view.setInt32(layout.COUNT_AT, -1, true))).toBe('wrong length')
    expect(batchFault(encode([sample]).bytes.subarray(0, layout.HEADER_BYTES + 19))).toBe('wrong length')
    expect(changed((view) => view.setFloat64(layout.valuesAt(1), 4, true))).toBe('wrong CRC')
  })

  test('is a bug to point a view at: no magic, or not 8-byte aligned', () => {
    const { buffer } = encode([{ seriesId: 1, timestampMs: 2, value: 3 }])
    expect(() => new BatchView(buffer).point(4)).toThrow(/8-byte aligned/)
    expect(() => new BatchView(new ArrayBuffer(128)).point(0)).toThrow(/magic/)
  })

  test('larger than its buffer is a bug to seal', () => {
    const bytes = new Uint8Array(layout.HEADER_BYTES)
    const seal = (): number => sealBatch(bytes, new DataView(bytes.buffer), { ...HEADER, count: 1 })
    expect(seal).toThrow(/fits its buffer/)
  })
})
