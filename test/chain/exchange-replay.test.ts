/** A replay of groups that are spread over partitions: what the node's own chains and owners gave, from the log alone. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { BatchView } from '../../engine/batch/batch-view.ts'
import {
  ENTRY_LATE,
  ENTRY_RESULTS,
  type EntrySink,
  emptyLedger,
  type Ledger,
} from '../../engine/contract/entries.ts'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import type { ResultBody } from '../../engine/contract/plugins.ts'
import { RECORD_END, RECORD_RESUMED, RECORD_SAMPLES, RECORD_TICK } from '../../engine/contract/samples.ts'
import { ownerStream } from '../../engine/contract/streams.ts'
import { EntryDecoder } from '../../engine/pipeline/entry-decoder.ts'
import { replayPartition } from '../../engine/pipeline/replay.ts'
import { replayOwners } from '../../engine/pipeline/replay-owners.ts'
import { decodeSeriesKey, encodeSeriesKey } from '../../engine/series/series-key.ts'
import type { Entry } from '../../engine/store/state-contract.ts'
import { Prng } from '../../engine/util/prng.ts'
import { SpillReader, SpillWriter } from '../../workers/partial-spill.ts'
import { ExchangeOracle } from './exchange-oracle.ts'
import { ExchangeRun, type LogRecord, type MemoryLog } from './exchange-run.ts'
import { cut, logOf, type Traffic, trafficArbitrary } from './exchange-traffic.ts'
import { registry } from './fixtures.ts'

const RUNS = 20
const dir = mkdtempSync(join(tmpdir(), 'millrace-spill-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
let spills = 0

class Sink implements EntrySink {
  readonly entries: Entry[] = []
  readonly groups: Uint8Array[] = []

  group(groupId: number, key: Uint8Array): void {
    this.groups[groupId] = key.slice()
  }

  entry(
    kind: number,
    seq: number,
    causeOffset: number,
    eventTimeMs: number,
    bytes: Uint8Array,
    length: number,
  ): void {
    this.entries.push({ kind, seq, causeOffset, eventTimeMs, bytes: bytes.slice(0, length) })
  }

  get text(): readonly string[] {
    return this.entries.map(
      ({ kind, seq, causeOffset, eventTimeMs, bytes }) =>
        `${kind} ${seq} ${causeOffset} ${eventTimeMs} ${Buffer.from(bytes).toString('base64')}`,
    )
  }
}

interface Wishes {
  /** Jobs that the owners are spread over. */
  readonly split?: number
  /** Records read at once. */
  readonly recordsAScan?: number
  readonly memory?: { readonly pendingBytesMax: number; readonly partsBytesMax: number }
  /** By partition. */
  readonly dead?: readonly ReadonlySet<number>[]
}

interface Replayed {
  readonly owners: readonly (readonly string[])[]
  readonly sinks: readonly Sink[]
  readonly late: number
  readonly ledger: Ledger
}

/** As the threads of a replay do it: partitions one by one, each into files of its own, then the owners. */
function replayed(plan: PipelinePlan, log: MemoryLog, wishes: Wishes = {}): Replayed {
  const { split = 1, recordsAScan = 3 } = wishes
  const names = log.partitions.map(() => join(dir, `spill-${spills++}`))
  const endLogMs = Math.max(
    -Infinity,
    ...log.partitions.flatMap(({ records }) => records.slice(-1).map((bytes) => viewOf(bytes).appendedMs)),
  )
  const ledgers: Ledger[] = []
  let late = 0
  log.partitions.forEach((_, partition) => {
    const spill = new SpillWriter(names[partition]!)
    const visible = new Sink()
    let seen: Ledger = emptyLedger()
    const done = replayPartition({
      log: readerOf(log, recordsAScan),
      topicId: 0,
      range: { partition, from: 0, to: log.partitions[partition]!.endOffset },
      registry,
      feedback: { rows: () => log.feedback },
      endLogMs,
      pipelines: [
        {
          plan,
          sink: {
            group: (id, key) => spill.group(id, key),
            entry: (...entry) => visible.entry(...entry),
          },
          partialSink: spill.sink,
          dead: wishes.dead?.[partition] ?? new Set(),
        },
      ],
      goesOn(_offset, [ledger]) {
        seen = ledger!
        return true
      },
    })
    expect(done).toBe(true)
    spill.flush()
    spill.close()
    ledgers.push(seen)
    expect(visible.entries.every(({ kind }) => kind === ENTRY_LATE)).toBe(true)
    late += visible.entries.length
  })
  const sinks = Array.from({ length: plan.exchange!.buckets }, () => new Sink())
  for (let job = 0; job < split; job++) {
    const readers = names.map((name) => new SpillReader(name))
    const owners = sinks
      .map((sink, bucket) => ({ sink, bucket }))
      .filter(({ bucket }) => bucket % split === job)
    let seen: readonly Ledger[] = []
    const done = replayOwners({
      plan,
      registry,
      feedback: { rows: () => log.feedback },
      owners,
      sent: {
        next: (partition) => readers[partition]!.next(),
        entry: (partition, seq) => readers[partition]!.entry(seq),
        groupKey: (partition, groupId) => readers[partition]!.groupKeys[groupId]!,
      },
      goesOn(those) {
        seen = those
        return true
      },
      ...(wishes.memory === undefined ? {} : { memory: wishes.memory }),
    })
    expect(done).toBe(true)
    ledgers.push(...seen)
    for (const reader of readers) reader.close()
  }
  const ledger = emptyLedger()
  for (const one of ledgers)
    for (const fate of Object.keys(ledger) as (keyof Ledger)[]) ledger[fate] += one[fate]
  return { owners: sinks.map(({ text }) => text), sinks, late, ledger }
}

function readerOf(log: MemoryLog, recordsAScan: number): Parameters<typeof replayPartition>[0]['log'] {
  return {
    seriesKey: (_topic, seriesId) => encodeSeriesKey(log.labels[seriesId]!),
    scan(_topic, partition, offset, toOffset, into, visit) {
      let next = offset
      let records = 0
      for (const bytes of log.partitions[partition]!.records) {
        const { baseOffset, endOffset } = viewOf(bytes)
        if (endOffset <= offset) continue
        if (baseOffset >= toOffset || records++ === recordsAScan) break
        new Uint8Array(into).set(bytes)
        visit(bytes.length)
        next = endOffset
      }
      return next
    },
  }
}

function viewOf(bytes: Uint8Array): BatchView {
  return new BatchView(bytes.buffer as ArrayBuffer).point(0)
}

/** What a node gives that runs over these records and, when they are over, ticks those that are behind. */
function live({ plan, records }: Traffic, seed = 1): ExchangeRun {
  const endMs = Math.max(-Infinity, ...records.map(({ logMs }) => logMs))
  const ticks: LogRecord[] = []
  for (const logMs of [endMs, endMs + 1]) {
    for (let partition = 0; partition < plan.topic.partitions; partition++) {
      const newest = records.filter((record) => record.partition === partition).at(-1)
      const isBehind = newest === undefined || newest.logMs < logMs
      if (isBehind && logMs > -Infinity) ticks.push({ partition, logMs, kind: RECORD_TICK, samples: [] })
    }
  }
  const log = logOf(plan, [...records, ...ticks])
  return new ExchangeRun({ plan, registry, log, seed, crashes: 10 }).finish()
}

function resultsOf(plan: PipelinePlan, sinks: readonly Sink[]): ResultBody[] {
  const decoder = new EntryDecoder(plan, {
    group: (stream, groupId) => decodeSeriesKey(sinks[stream - ownerStream(plan, 0)]!.groups[groupId]!),
    series: () => ({}),
  })
  const rows = sinks.flatMap(({ entries }, bucket) =>
    entries
      .filter(({ kind }) => kind === ENTRY_RESULTS)
      .flatMap((entry) => [...decoder.records(ownerStream(plan, bucket), entry)])
      .map(({ body }) => body as ResultBody),
  )
  return rows.sort(
    (a, b) => a.windowEndMs - b.windowEndMs || (JSON.stringify(a.group) < JSON.stringify(b.group) ? -1 : 1),
  )
}

describe('a replay of groups that are spread over partitions', () => {
  it('gives the bytes of the live run, for any number of jobs, records and reads of any size, and little memory', () => {
    fc.assert(
      fc.property(trafficArbitrary, fc.integer(), fc.integer({ min: 1, max: 4 }), (traffic, seed, jobs) => {
        const { plan, records } = traffic
        const expected = live(traffic, seed)
        const log = logOf(plan, cut(records, new Prng(seed)))
        const split = Math.min(jobs, plan.exchange!.buckets)
        const memory = { pendingBytesMax: 100, partsBytesMax: 200 }
        for (const wishes of [{}, { split, recordsAScan: 1 }, { split, recordsAScan: 1_000, memory }]) {
          const again = replayed(plan, log, wishes)
          expect(again.owners).toEqual(expected.entries)
          expect(again.ledger).toEqual(expected.ledger)
        }
        expect(replayed(plan, logOf(plan, records)).late).toBe(expected.lateEntries)
      }),
      { numRuns: RUNS },
    )
  })

  it('gives the rows worked out from kept samples', () => {
    const traffic = trafficArbitrary.filter(({ records }) =>
      records.every(({ kind }) => kind !== RECORD_RESUMED),
    )
    fc.assert(
      fc.property(traffic, ({ plan, records }) => {
        const oracle = new ExchangeOracle(plan, 'region')
        oracle.take(records)
        const { sinks, ledger } = replayed(plan, logOf(plan, records))
        const rows = resultsOf(plan, sinks)
        expect(
          rows.map(({ windowEndMs, group, values }) => [
            windowEndMs,
            group.region,
            values.count,
            values.min,
            values.max,
          ]),
        ).toEqual(
          oracle.rows.map(({ windowEndMs, group, values }) => [
            windowEndMs,
            group,
            values.count,
            values.min,
            values.max,
          ]),
        )
        expect(ledger).toEqual(oracle.ledger)
      }),
      { numRuns: RUNS },
    )
  })

  it('brings partitions that the log left behind to the log time of the furthest, as ticks of a node would', () => {
    fc.assert(
      fc.property(trafficArbitrary, ({ plan, records: all }) => {
        const records = all.filter(({ kind }) => kind !== RECORD_TICK && kind !== RECORD_END)
        const endMs = 10_000 + Math.max(50_000, ...records.map(({ logMs }) => logMs))
        // Long after the others, who fall idle by it.
        const labels = { __name__: 'm', host: 'h0-0', region: 'r0' }
        const samples = [{ labels, timestampMs: endMs, value: 1 }]
        records.push({ partition: 0, logMs: endMs, kind: RECORD_SAMPLES, samples })
        const expected = live({ plan, records })
        const again = replayed(plan, logOf(plan, records))
        expect(again.owners).toEqual(expected.entries)
        expect(again.ledger).toEqual(expected.ledger)
      }),
      { numRuns: RUNS },
    )
  })

  it('passes over dead letters in every partition: as if they had not been, but for their count', () => {
    fc.assert(
      fc.property(trafficArbitrary, fc.integer(), ({ plan, records }, seed) => {
        const prng = new Prng(seed)
        const isDead = records.map(({ kind }) => kind === RECORD_SAMPLES && prng.below(4) === 0)
        const dead = Array.from({ length: plan.topic.partitions }, () => new Set<number>())
        const ends = dead.map(() => 0)
        let samples = 0
        records.forEach((record, i) => {
          const { partition } = record
          if (isDead[i]) {
            dead[partition]!.add(ends[partition]!)
            samples += record.samples.length
          }
          ends[partition]! += Math.max(1, record.samples.length)
        })
        const expected = live({ plan, records: records.filter((_, i) => !isDead[i]) })
        const again = replayed(plan, logOf(plan, records), { dead })
        expect(again.owners).toEqual(expected.entries)
        const { ledger } = expected
        expect(again.ledger).toEqual({ ...ledger, in: ledger.in + samples, dead: samples })
      }),
      { numRuns: RUNS },
    )
  })
})
