/** What a shard tells of its owners of groups: how far they are behind what partitions have sent. */
import { expect, test } from 'vitest'
import type { CommitProducer } from '../engine/broker/commit-producer.ts'
import { Board, createBoard, layOutPipelines, layOutTopics } from '../engine/broker/node-board.ts'
import { ENTRY_MARK, type EntrySink, emptyLedger } from '../engine/contract/entries.ts'
import { RECORD_SAMPLES, RECORD_TICK } from '../engine/contract/samples.ts'
import { partialStream, storedStreams } from '../engine/contract/streams.ts'
import type { Progress, StateReader } from '../engine/store/state-contract.ts'
import { ExchangeRun, type LogRecord } from '../test/chain/exchange-run.ts'
import { exchangePlan, logOf } from '../test/chain/exchange-traffic.ts'
import { registry } from '../test/chain/fixtures.ts'
import { MergeSeats } from './merge-seats.ts'

const PARTITIONS = 2
const plan = exchangePlan({ sizeMs: 1_000, everyMs: 1_000, idleMs: 60_000 }, PARTITIONS, 2)

/** Entries of a partition's stream as its chain makes them. */
function sent(): ExchangeRun {
  const records: LogRecord[] = []
  for (let second = 0; second < 8; second++) {
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const timestampMs = 100_000 + second * 1_000
      const labels = { __name__: 'm', host: `h${partition}`, region: `r${second % 3}` }
      records.push({
        partition,
        logMs: timestampMs,
        kind: RECORD_SAMPLES,
        samples: [{ labels, timestampMs, value: second }],
      })
    }
  }
  // Past the newest mark, so that it can be taken.
  for (let partition = 0; partition < PARTITIONS; partition++) {
    records.push({ partition, logMs: 110_000, kind: RECORD_TICK, samples: [] })
  }
  return new ExchangeRun({ plan, registry, log: logOf(plan, records), seed: 1 }).finish()
}

test('an owner that waits for a partition is behind by what may still make a window fire, and not at rest', () => {
  const run = sent()
  const topics = layOutTopics([{ ...plan.topic, topicId: 0 }])
  const pipelines = layOutPipelines([{ plan, pipelineId: 0 }], topics)
  const board = new Board(createBoard(PARTITIONS, storedStreams(plan)))
  const committed = run.chains.map(() => false)
  const at = (stream: number): number => stream - partialStream(plan, 0)
  const state = {
    restore: () => null,
    progress(_id: number, stream: number): Progress | null {
      const seat = run.chains[at(stream)]!
      if (!committed[at(stream)]) return null
      const nextSeq = seat.partials.entries.length
      return { position: 1, nextSeq, ledger: emptyLedger(), logMs: seat.frontierMs }
    },
    entries: (_id: number, stream: number, fromSeq: number) =>
      run.chains[at(stream)]!.partials.entries.slice(fromSeq, fromSeq + 3),
    groupKey: (_id: number, partition: number, groupId: number) =>
      run.chains[partition]!.visible.groups[groupId]!,
  } as unknown as StateReader
  const nowhere: EntrySink = { group() {}, entry() {} }
  const commits = { entriesOf: () => nowhere, progress() {} } as unknown as CommitProducer
  // A clock that goes on by 1 ms whenever it is asked: time that is not accounted for shows.
  let clockMs = 0
  const meter = { nowMs: () => clockMs++, windowMs: 0, detectMs: 0, emitMs: 0 }
  let workedMs = 0
  const worked = (row: number, tookMs: number): void => {
    expect(row).toBe(0)
    workedMs += tookMs
  }
  const seats = new MergeSeats({
    shard: 0,
    shardCount: 1,
    pipelines,
    board,
    state,
    commits,
    meter,
    worked,
  })
  expect(seats.lag(0)).toBe(0)

  const poll = (partition: number): void => {
    committed[partition] = true
    board.committed[partialStream(plan, partition)] = 1
    while (!seats.poll());
    seats.report()
  }
  poll(0)
  expect(seats.takeRead()).toBe(true)
  expect(seats.takeRead()).toBe(false)
  const { entries } = run.chains[0]!.partials
  // The flag of a mark: it may make windows fire.
  const first = entries.findIndex(({ kind, bytes }) => kind === ENTRY_MARK && bytes[4] === 1)
  expect(first).toBeGreaterThanOrEqual(0)
  // Each of two owners wants all of them.
  expect(seats.lag(0)).toBe(2 * (entries.length - first))
  poll(1)
  expect(seats.takeRead()).toBe(true)
  expect(seats.lag(0)).toBe(0)
  expect(meter.windowMs).toBeGreaterThan(0)
  expect(meter.detectMs).toBeGreaterThan(0)
  expect(meter.emitMs).toBeGreaterThan(0)
  expect(workedMs).toBeGreaterThan(meter.windowMs + meter.detectMs + meter.emitMs)
})
