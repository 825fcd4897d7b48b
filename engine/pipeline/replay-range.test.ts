import { describe, expect, test } from 'vitest'
import { readReplayPoint, replayRanges } from './replay-range.ts'

const NOW_MS = 1_700_000_000_000

describe('a point of the log', () => {
  test.each([
    ['beginning', { point: 'beginning' }],
    ['end', { point: 'end' }],
    ['0', { point: 'offset', offset: 0 }],
    ['1000', { point: 'offset', offset: 1000 }],
    ['offset:1700000000000', { point: 'offset', offset: 1_700_000_000_000 }],
    ['1700000000000', { point: 'time', timeMs: 1_700_000_000_000 }],
    ['-15m', { point: 'time', timeMs: NOW_MS - 900_000 }],
    ['2026-01-31T12:00:00Z', { point: 'time', timeMs: Date.UTC(2026, 0, 31, 12) }],
    ['2026-01-31', { point: 'time', timeMs: Date.UTC(2026, 0, 31) }],
  ])('%s', (text, point) => {
    expect(readReplayPoint(text, NOW_MS)).toEqual(point)
  })

  test.each(['', 'start', '-15', '2026-01-31T12:00:00', 'offset:', 'offset:-1', '99999999999999999', '1h'])(
    '%j is none',
    (text) => {
      expect(readReplayPoint(text, NOW_MS)).toBeNull()
    },
  )
})

const TOPIC = { id: 0, name: 'metrics', partitions: 3, partitionBy: null }
/** Partition 0 was trimmed, 1 never, 2 is empty; a record of 10 offsets every second. */
const LOG = {
  startOffset: (_topic: number, partition: number) => [500, 0, 0][partition]!,
  endOffset: (_topic: number, partition: number) => [900, 300, 0][partition]!,
  oldest: (_topic: number, partition: number) =>
    [{ offset: 500, appendedMs: 50_000 }, { offset: 0, appendedMs: 70_000 }, null][partition]!,
  offsetAtTime: (_topic: number, partition: number, timeMs: number) =>
    partition === 2
      ? 0
      : Math.min([900, 300][partition]!, Math.max([500, 0][partition]!, Math.ceil(timeMs / 1_000) * 10)),
}

describe('ranges', () => {
  test('of everything that is left', () => {
    expect(replayRanges(LOG, TOPIC, { point: 'beginning' }, { point: 'end' })).toEqual([
      { partition: 0, from: 500, to: 900 },
      { partition: 1, from: 0, to: 300 },
      { partition: 2, from: 0, to: 0 },
    ])
  })

  test('of offsets and of times, in each partition, never backwards', () => {
    expect(replayRanges(LOG, TOPIC, { point: 'offset', offset: 600 }, { point: 'end' })).toEqual([
      { partition: 0, from: 600, to: 900 },
      { partition: 1, from: 300, to: 300 },
      { partition: 2, from: 0, to: 0 },
    ])
    const [first] = replayRanges(
      LOG,
      TOPIC,
      { point: 'time', timeMs: 60_000 },
      { point: 'time', timeMs: 65_000 },
    )
    expect(first).toEqual({ partition: 0, from: 600, to: 650 })
  })

  test.each([
    [{ point: 'offset', offset: 499 } as const, '499'],
    [{ point: 'time', timeMs: 49_999 } as const, '1970-01-01T00:00:49.999Z'],
  ])('of what was deleted: OFFSET_GONE says what is left and since when', (from, asked) => {
    const ask = (): unknown => replayRanges(LOG, TOPIC, from, { point: 'end' })
    expect(ask).toThrow(expect.objectContaining({ code: 'OFFSET_GONE' }))
    expect(ask).toThrow(
      new RegExp(
        `topic "metrics", partition 0: .*offset 500 and was stored at 1970-01-01T00:00:50.000Z \\(got "?${asked}"?\\)\\. Write --from beginning`,
      ),
    )
  })
})
