/** Replay over one log: the same bytes whatever the records were cut to, and those of a chain that was fed live. */
import { expect, test } from 'vitest'
import { sealBatch } from '../../engine/batch/batch-encoder.ts'
import { BatchView } from '../../engine/batch/batch-view.ts'
import * as layout from '../../engine/batch/layout.ts'
import type { EntrySink } from '../../engine/contract/entries.ts'
import { RECORD_SAMPLES, RECORD_TICK } from '../../engine/contract/samples.ts'
import { Chain } from '../../engine/pipeline/chain.ts'
import { replayPartition } from '../../engine/pipeline/replay.ts'
import { encodeSeriesKey } from '../../engine/series/series-key.ts'
import { Prng } from '../../engine/util/prng.ts'
import { planOf, registry } from './fixtures.ts'

const SEED = Number(process.env.MILLRACE_SEED ?? 20_250_109)
const SAMPLES = 20_000
const SERIES = 40

const PLANS = [
  planOf({ sizeMs: 10_000, everyMs: 5_000, disorderMs: 3_000, surge: 'mean', quiet: true }),
  planOf({ name: 'q', sizeMs: 3_000, disorderMs: 3_000, where: [{ label: 'host', op: '!=', value: 'h3' }] }),
]
const keyOf = (seriesId: number): Uint8Array =>
  encodeSeriesKey({ __name__: 'load', host: `h${seriesId % 13}`, id: String(seriesId) })

/** The log of one seed, cut by another: log time moves every thousand samples, ticks stand at fixed offsets. */
function cutLog(cutSeed: number, sizeMax: number): Uint8Array[] {
  const prng = new Prng(SEED)
  const cut = new Prng(cutSeed)
  const records: Uint8Array[] = []
  let offset = 0
  let made = 0
  while (made < SAMPLES) {
    // A record never spans a change of log time: an append has one.
    const left = 1_000 - (made % 1_000)
    const count = Math.min(left, 1 + cut.below(sizeMax))
    const times: number[] = []
    const values: number[] = []
    const ids: number[] = []
    for (let i = 0; i < count; i++, made++) {
      times.push(1_000_000 + made * 20 - prng.below(2_500))
      values.push(prng.normal() * (prng.below(500) === 0 ? 50 : 1))
      ids.push(prng.below(SERIES))
    }
    const appendedMs = 5_000_000 + Math.floor((made - 1) / 1_000) * 3_000
    records.push(record(RECORD_SAMPLES, offset, appendedMs, times, values, ids))
    offset += count
    if (made % 1_000 === 0) records.push(record(RECORD_TICK, offset++, appendedMs + 2_000, [], [], []))
  }
  return records
}

function record(
  kind: number,
  baseOffset: number,
  appendedMs: number,
  times: readonly number[],
  values: readonly number[],
  ids: readonly number[],
): Uint8Array {
  const count = times.length
  const buffer = new ArrayBuffer((layout.batchBytes(count) + 7) & ~7)
  new Float64Array(buffer, layout.timestampsAt(), count).set(times)
  new Float64Array(buffer, layout.valuesAt(count), count).set(values)
  new Int32Array(buffer, layout.seriesIdsAt(count), count).set(ids)
  const bytes = new Uint8Array(buffer, 0, layout.batchBytes(count))
  sealBatch(bytes, new DataView(buffer), {
    kind,
    topicId: 0,
    partition: 0,
    baseOffset,
    count,
    minTimestampMs: Math.min(...times, 0),
    maxTimestampMs: Math.max(...times, 0),
    appendedMs,
    producerId: 0,
    producerEpoch: 0,
    baseSequence: -1,
  })
  return bytes
}

function collector(): EntrySink & { readonly entries: string[] } {
  const entries: string[] = []
  return {
    entries,
    group: (groupId, key) => entries.push(`group ${groupId} ${Buffer.from(key).toString('hex')}`),
    entry: (kind, seq, causeOffset, eventTimeMs, bytes, length) => {
      const text = Buffer.from(bytes.subarray(0, length)).toString('base64')
      entries.push(`${kind} ${seq} ${causeOffset} ${eventTimeMs} ${text}`)
    },
  }
}

function replayed(
  records: readonly Uint8Array[],
  from: number,
  to: number,
  bytesMax: number,
  dead?: ReadonlySet<number>,
): string[][] {
  const sinks = PLANS.map(() => collector())
  const ends = records.map((batch) => new BatchView(copyOf(batch)).point(0).endOffset)
  let at = 0
  const done = replayPartition({
    topicId: 0,
    range: { partition: 0, from, to },
    registry,
    pipelines: PLANS.map((plan, i) => ({ plan, sink: sinks[i]!, ...(dead === undefined ? {} : { dead }) })),
    goesOn: () => true,
    log: {
      seriesKey: (_topic, seriesId) => keyOf(seriesId),
      scan(_topic, _partition, offset, toOffset, into, visit) {
        let next = offset
        while (ends[at]! <= offset) at++
        for (let bytes = 0; next < toOffset && bytes < bytesMax && at < records.length; at++) {
          new Uint8Array(into).set(records[at]!)
          visit(records[at]!.length)
          next = ends[at]!
          bytes += records[at]!.length
        }
        return next
      },
    },
  })
  expect(done).toBe(true)
  return sinks.map(({ entries }) => entries)
}

function live(records: readonly Uint8Array[], dead: ReadonlySet<number> = new Set()): string[][] {
  return PLANS.map((plan) => {
    const sink = collector()
    const chain = new Chain({ plan, registry, partition: 0, keyOf, sink })
    for (const batch of records) {
      const buffer = new ArrayBuffer((batch.length + 7) & ~7)
      new Uint8Array(buffer).set(batch)
      const view = new BatchView(buffer).point(0)
      if (dead.has(view.baseOffset)) chain.skip(view)
      else chain.process(view)
    }
    return sink.entries
  })
}

test('a replay from the beginning gives the bytes of the live run, whatever the records were cut to', () => {
  const whole = cutLog(1, 1_000)
  const expected = live(whole)
  expect(expected.map(({ length }) => length > 100)).toEqual([true, true])
  for (const [cutSeed, sizeMax, bytesMax] of [
    [1, 1_000, 1 << 20],
    [2, 7, 1 << 20],
    [3, 1, 1],
    [4, 400, 5_000],
  ] as const) {
    const records = cutLog(cutSeed, sizeMax)
    const to = new BatchView(copyOf(records.at(-1)!)).point(0).endOffset
    expect(replayed(records, 0, to, bytesMax)).toEqual(expected)
  }
})

test('a range begins with the whole record that holds its first offset and ends before its last', () => {
  const records = cutLog(1, 300)
  const bases = records.map((batch) => new BatchView(copyOf(batch)).point(0).baseOffset)
  const fromRecord = replayed(records, bases[5]!, bases[40]!, 1 << 20)
  expect(replayed(records, bases[6]! - 1, bases[40]! - 1, 1)).toEqual(fromRecord)
  expect(fromRecord.every((entries) => entries.length > 0)).toBe(true)
})

test('dead letters are skipped as the live run skipped them, and tried again when asked', () => {
  const records = cutLog(1, 300)
  const bases = records.map((batch) => new BatchView(copyOf(batch)).point(0).baseOffset)
  const to = new BatchView(copyOf(records.at(-1)!)).point(0).endOffset
  const dead = new Set([bases[0]!, bases[7]!, bases[50]!])
  const expected = live(records, dead)
  expect(replayed(records, 0, to, 5_000, dead)).toEqual(expected)
  expect(replayed(records, 0, to, 5_000)).toEqual(live(records))
  expect(live(records)).not.toEqual(expected)
})

test('a record over which a pipeline fails is named', () => {
  const records = cutLog(1, 300)
  // Offsets that do not follow each other: no chain takes them.
  const broken = [...records.slice(0, 5), ...records.slice(6)]
  expect(() => replayed(broken, 0, 20_000, 1 << 20)).toThrow(
    /^pipeline "p" fails over the record at offset \d+ of partition 0: .*--with-dead-letters/,
  )
})

function copyOf(bytes: Uint8Array): ArrayBuffer {
  const buffer = new ArrayBuffer((bytes.length + 7) & ~7)
  new Uint8Array(buffer).set(bytes)
  return buffer
}
