import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { sealBatch } from '../../batch/batch-encoder.ts'
import * as layout from '../../batch/layout.ts'
import { ENTRY_ALERT } from '../../contract/entries.ts'
import type { FeedbackRow } from '../../contract/feedback.ts'
import { RECORD_FEEDBACK, RECORD_SAMPLES, RECORD_TICK } from '../../contract/samples.ts'
import { encodeSeriesKey, partitionOf } from '../../series/series-key.ts'
import { PAGE_CELLS } from '../../state/cells.ts'
import { EntryEncoder } from '../entry-codec.ts'
import { openEnv } from '../env.ts'
import type { LogWriter } from '../log-contract.ts'
import { openLogWriter } from '../log-store.ts'
import { LogTables, TAIL_BYTES, TAIL_END } from '../log-tables.ts'
import { seal, sealJson } from '../sealed.ts'
import type { StateTransaction, StateWriter } from '../state-contract.ts'
import { openStateWriter } from '../state-store.ts'
import { StateTables } from '../state-tables.ts'
import { openStore, type Store } from '../store.ts'
import { type PipelineVerifier, type VerifyReport, verifyStore } from './verify.ts'

const PARTITIONS = 2
const SERIES = 8
const LEDGER = { in: 4, windowed: 3, filtered: 0, late: 1, nonFinite: 0, dead: 0 }

let dir: string
let store: Store
let log: LogWriter
let state: StateWriter
let ofPartition: number[][]

beforeEach(async () => {
  dir = join(mkdtempSync(join(tmpdir(), 'millrace-verify-')), 'data')
  store = await openStore({ dir })
  log = openLogWriter({ dir, fence: store.fence })
  state = openStateWriter({ dir, fence: store.fence })
  ofPartition = [[], []]
  log.transaction((txn) => {
    txn.createTopic({ name: 'metrics', partitions: PARTITIONS, partitionBy: null })
    for (let id = 0; id < SERIES; id++) {
      const labels = { __name__: 'cpu', host: `h${id}` }
      txn.putSeries(0, id, encodeSeriesKey(labels))
      ofPartition[partitionOf(labels, null, PARTITIONS)]!.push(id)
    }
  })
  for (let i = 0; i < 5; i++) append(0, 4, 1_000 + i)
  append(1, 0, 1_000)
  state.transaction((txn) => {
    txn.putPipeline({ name: 'cpu', topicId: 0, topic: 'metrics', planHash: 'h', planJson: '{}' })
    txn.putProgress(0, 0, { position: 8, nextSeq: 3, ledger: LEDGER })
    txn.putGroup(0, 0, 0, encodeSeriesKey({ host: 'a' }))
    for (let seq = 0; seq < 3; seq++) txn.putEntry(0, 0, seq, 9, seq, 1_000 + seq, new Uint8Array(16))
    txn.putPage(0, 0, 0, 0, new Float64Array(PAGE_CELLS).fill(1))
    txn.putCheckpoint(0, 0, { position: 4, nextSeq: 1, meta: '{}' })
    txn.putSink(0, 'file', JSON.stringify({ positions: { 0: { seq: 3, row: 0 } }, token: null }))
  })
})

afterEach(async () => {
  await state.close()
  await log.close()
  await store.close()
  rmSync(join(dir, '..'), { recursive: true, force: true })
})

function append(partition: number, count: number, appendedMs: number): void {
  log.transaction((txn) => {
    txn.putBatch(record(partition, log.endOffset(0, partition), count, appendedMs))
  })
}

function record(
  partition: number,
  baseOffset: number,
  count: number,
  appendedMs: number,
  control?: { readonly kind: number; readonly minTimestampMs: number },
): Uint8Array {
  const buffer = new ArrayBuffer(layout.batchBytes(count))
  const times = new Float64Array(buffer, layout.timestampsAt(), count)
  const ids = new Int32Array(buffer, layout.seriesIdsAt(count), count)
  for (let i = 0; i < count; i++) {
    times[i] = 5_000 + i
    ids[i] = ofPartition[partition]![i % ofPartition[partition]!.length]!
  }
  const bytes = new Uint8Array(buffer)
  sealBatch(bytes, new DataView(buffer), {
    kind: count === 0 ? RECORD_TICK : RECORD_SAMPLES,
    topicId: 0,
    partition,
    baseOffset,
    count,
    minTimestampMs: 5_000,
    maxTimestampMs: 5_000 + Math.max(0, count - 1),
    appendedMs,
    producerId: 0,
    producerEpoch: 0,
    baseSequence: -1,
    ...control,
  })
  return bytes
}

const TRUSTING: PipelineVerifier = { entry: () => null, checkpoint: () => null, needs: () => [] }

function verify(pipeline: PipelineVerifier | string = TRUSTING): Promise<VerifyReport> {
  return verifyStore({ dir, pipeline: () => pipeline })
}

/** Changes rows behind the back of the writers that keep them right. */
async function tamper(
  part: 'log' | 'state',
  change: (tables: LogTables & StateTables) => void,
): Promise<void> {
  const env = openEnv(join(dir, part), null)
  const tables = part === 'log' ? new LogTables(env) : new StateTables(env)
  env.transaction(() => change(tables as LogTables & StateTables))
  await env.close()
}

/** A stored batch with one byte flipped. */
function flipped(tables: LogTables, offset: number, at: number): void {
  const key = tables.batchKey(0, 0, offset).slice()
  const bytes = tables.env.get(tables.batches, key)!
  bytes[at]! ^= 1
  tables.env.put(tables.batches, key, bytes)
}

function withTails(tables: LogTables, field: number, change: number): void {
  const tails = tables.readTails(0)!
  tails[field]! += change
  tables.env.put(tables.tails, tables.topicKey(0), seal(new Uint8Array(tails.buffer)))
}

test('a statement of feedback without its row, its number or its record is found', async () => {
  const row: FeedbackRow = {
    ...{ id: 1, says: 'expected', of: null, pipeline: 'cpu', detector: 'd', group: { host: 'a' } },
    ...{ topic: 'metrics', partition: 1, timeMs: 1, alert: 'cpu/d/1/0/1', score: 2, target: 2 },
    ...{ note: null, by: null, saidMs: 2_000, offset: 1, appendedMs: 2_000, before: 1, after: 2 },
  }
  log.transaction((txn) => {
    txn.putBatch(record(1, 1, 0, 2_000, { kind: RECORD_FEEDBACK, minTimestampMs: 1 }))
    txn.putFeedback(row)
  })
  expect(await verify()).toMatchObject({ findings: [] })
  const damaged = async (change: (tables: LogTables) => void): Promise<string[]> => {
    await tamper('log', change)
    return (await verify()).findings.map(({ place, problem }) => `${place}: ${problem}`)
  }
  const put = (tables: LogTables, id: number, value: FeedbackRow): void => {
    tables.env.put(tables.feedback, tables.feedbackKey(id).slice(), sealJson(value))
  }
  const at = 'log: statement 1 of feedback'
  expect(await damaged((tables) => put(tables, 1, { ...row, offset: 0 }))).toEqual([
    `${at}: the record at offset 0 is not its own`,
  ])
  expect(await damaged((tables) => put(tables, 1, { ...row, offset: 7 }))).toEqual([
    `${at}: it has no record at offset 7`,
  ])
  expect(await damaged((tables) => put(tables, 1, { ...row, id: 2 }))).toEqual([
    `${at}: it says that it is statement 2`,
    `${at}: the record at offset 1 is not its own`,
  ])
  expect(
    await damaged((tables) => {
      put(tables, 1, row)
      tables.env.remove(tables.feedback, tables.feedbackKey(1).slice())
      put(tables, 2, { ...row, id: 2 })
    }),
  ).toEqual([
    'log: statement 2 of feedback: statements are numbered without a gap, so 1 is missing',
    'log: statement 2 of feedback: the record at offset 1 is not its own',
  ])
})

test('what a silence is said to have done to entries that are not there, or to alerts that are over, is found', async () => {
  const id = 'cpu/d/0/0/1'
  const transition = JSON.stringify({ id, state: 'firing' })
  state.transaction((txn) => {
    txn.putEntry(0, 0, 2, ENTRY_ALERT, 2, 1_002, Buffer.from(transition))
    txn.putSilence({
      ...{ id: txn.takeSilenceId(), match: [], pipeline: 'cpu', detector: null, severity: null },
      ...{ fromMs: 0, untilMs: 9, comment: 'c', madeMs: 0, endedMs: null },
    })
    txn.putAlert(0, id, transition)
    txn.putWithheld(0, 0, { seq: 2, silence: 1 })
    txn.putUnheard(0, { alertId: id, partition: 0, seq: 2, silence: 1, isKnown: false })
    txn.putRetold(0, 0, 0, { beforeSeq: 3, seq: 1, json: '{}' })
  })
  const found = async (): Promise<string[]> =>
    (await verify()).findings.filter(({ place }) => place.includes('cpu')).map(({ problem }) => problem)
  const before = await found()
  const broken = async (change: (txn: StateTransaction) => void): Promise<string[]> => {
    state.transaction(change)
    return (await found()).filter((problem) => !before.includes(problem))
  }
  expect(before.filter((problem) => /withheld|told/.test(problem))).toEqual([])
  expect(
    await broken((txn) =>
      txn.putUnheard(0, { alertId: id, partition: 0, seq: 1, silence: 1, isKnown: false }),
    ),
  ).toEqual(['it waits to be told of entry 1, which was not withheld'])
  expect(await broken((txn) => txn.putWithheld(0, 0, { seq: 3, silence: 1 }))).toContain(
    'entry 3 is withheld, but the stream ends at 3',
  )
  expect(await broken((txn) => txn.putRetold(0, 0, 0, { beforeSeq: 4, seq: 1, json: '{}' }))).toContain(
    'entry 1 is told before entry 4, but the stream ends at 3',
  )
  expect(await broken((txn) => txn.putRetold(0, 0, 1, { beforeSeq: 4, seq: 1, json: '{}' }))).toContain(
    'an entry is told late twice',
  )
  expect(await broken((txn) => txn.removeUnheard(0, id))).toContain(
    'entry 2 is withheld, and its alert stands and does not wait to be told',
  )
  const again = { alertId: id, partition: 0, seq: 2, silence: 1, isKnown: false }
  state.transaction((txn) => txn.putUnheard(0, again))
  expect(await broken((txn) => void txn.removeAlert(0, id))).toContain('it waits to be told, and is over')
})

describe('verify', () => {
  test('finds nothing in a store as the writers leave it, and counts what it read', async () => {
    const report = await verify()
    expect(report.findings).toEqual([])
    expect(report.warnings).toEqual([])
    const rows = Object.fromEntries(report.checks.map((check) => [check.check, check.rows]))
    expect(rows).toMatchObject({ series: SERIES, batches: 6, results: 3, checkpoints: 2, sinks: 1 })
    expect(report.bytes).toBeGreaterThan(0)
  })

  test.each<[string, (tables: LogTables) => void, string, RegExp]>([
    ['a flipped bit', (t) => flipped(t, 8, 90), 'log: topic "metrics", partition 0, offset 8', /wrong CRC/],
    [
      'a batch that is gone',
      (t) => {
        t.env.remove(t.batches, t.batchKey(0, 0, 8).slice())
      },
      'log: topic "metrics", partition 0, offset 8',
      /offsets 8 to 11 are missing/,
    ],
    [
      'a batch under another key',
      (t) => t.env.put(t.batches, t.batchKey(0, 1, 1).slice(), record(0, 1, 0, 2_000)),
      'log: topic "metrics", partition 1, offset 1',
      /says that it is of topic 0, partition 0/,
    ],
    [
      'log time that steps back',
      (t) => t.env.put(t.batches, t.batchKey(0, 0, 8).slice(), record(0, 8, 4, 10)),
      'log: topic "metrics", partition 0, offset 8',
      /log time steps back from 1001 to 10/,
    ],
    [
      'a sample of a series of another partition',
      (t) => {
        ofPartition.reverse()
        t.env.put(t.batches, t.batchKey(0, 0, 8).slice(), record(0, 8, 4, 1_002))
      },
      'log: topic "metrics", partition 0, offset 8',
      /which belongs to partition 1/,
    ],
    [
      'a sample of no series',
      (t) => {
        ofPartition[0] = [99]
        t.env.put(t.batches, t.batchKey(0, 0, 8).slice(), record(0, 8, 4, 1_002))
      },
      'log: topic "metrics", partition 0, offset 8',
      /of series 99; the topic has 8/,
    ],
    ['a wrong end', (t) => withTails(t, TAIL_END, 4), 'log: topic "metrics", partition 0', /ends at 24 by/],
    [
      'wrong bytes',
      (t) => withTails(t, TAIL_BYTES, 1),
      'log: topic "metrics", partition 0',
      /counts \d+ bytes/,
    ],
    [
      'a series that is gone',
      (t) => {
        t.env.remove(t.series, t.seriesKey(0, 3))
      },
      'log: series 3 of topic "metrics"',
      /missing/,
    ],
    [
      'a series key that is damaged',
      (t) => t.env.put(t.series, t.seriesKey(0, 3).slice(), new Uint8Array(9)),
      'log: series 3 of topic "metrics"',
      /wrong CRC/,
    ],
    [
      'batches of a partition that is not',
      (t) => t.env.put(t.batches, t.batchKey(0, 7, 0).slice(), record(0, 0, 0, 1)),
      'log: topic "metrics", partition 7',
      /has 2 partitions/,
    ],
  ])('%s is named with its place', async (_what, change, place, problem) => {
    await tamper('log', change)
    const { findings } = await verify()
    const found = findings.find((finding) => finding.place.startsWith(place) && problem.test(finding.problem))
    expect(found, JSON.stringify(findings, null, 1)).toBeDefined()
    expect(found?.remedy).not.toBe('')
  })

  const ENTRY = 'state: pipeline "cpu", partition 0, entry 1'
  test.each<[string, (tables: StateTables) => void, string, RegExp]>([
    [
      'a flipped bit in an entry',
      (t) => {
        const key = t.entryKey(0, 0, 1).slice()
        const bytes = t.env.get(t.entries, key)!
        bytes[40]! ^= 1
        t.env.put(t.entries, key, bytes)
      },
      ENTRY,
      /wrong CRC/,
    ],
    [
      'an entry that is gone',
      (t) => {
        t.env.remove(t.entries, t.entryKey(0, 0, 1).slice())
      },
      ENTRY,
      /entries 1 to 1 are missing/,
    ],
    [
      'progress that counts other entries',
      (t) =>
        t.env.put(
          t.progress,
          t.partitionKey(0, 0).slice(),
          sealJson({ position: 8, nextSeq: 5, ledger: LEDGER }),
        ),
      'state: pipeline "cpu", partition 0, entry 3',
      /its progress counts 5/,
    ],
    [
      'progress inside a record',
      (t) =>
        t.env.put(
          t.progress,
          t.partitionKey(0, 0).slice(),
          sealJson({ position: 9, nextSeq: 3, ledger: LEDGER }),
        ),
      'state: pipeline "cpu", partition 0',
      /offset 9, inside a record/,
    ],
    [
      'a ledger that does not balance',
      (t) =>
        t.env.put(
          t.progress,
          t.partitionKey(0, 0).slice(),
          sealJson({ position: 8, nextSeq: 3, ledger: { ...LEDGER, in: 9 } }),
        ),
      'state: pipeline "cpu", partition 0',
      /9 samples in and 4 accounted for/,
    ],
    [
      'a checkpoint beyond the log',
      (t) =>
        t.env.put(
          t.checkpoints,
          t.partitionKey(0, 0).slice(),
          sealJson({ position: 400, nextSeq: 1, meta: '{}' }),
        ),
      'state: pipeline "cpu", partition 0',
      /checkpoint stands at offset 400, but the log ends at 20/,
    ],
    [
      'a damaged page',
      (t) => t.env.put(t.pages, t.pageKey(0, 0, 0, 0).slice(), new Uint8Array(64)),
      'state: pipeline "cpu", partition 0',
      /state page 0\/0 .*wrong CRC/,
    ],
    [
      'a group that is missing',
      (t) => t.env.put(t.groups, t.groupKey(0, 0, 2).slice(), seal(encodeSeriesKey({ host: 'c' }))),
      'state: pipeline "cpu", partition 0',
      /group 1 is missing/,
    ],
    [
      'an alert that no entry opened',
      (t) => t.env.put(t.alerts, t.namedKey(0, 'cpu/d/0/0/1').slice(), seal(Buffer.from('{}'))),
      'state: pipeline "cpu", partition 0',
      /alert cpu\/d\/0\/0\/1 is current, but no entry opened it/,
    ],
    [
      'an open alert that is not current',
      (t) => {
        const alert = Buffer.from(JSON.stringify({ kind: 'alert', id: 'cpu/d/0/0/1', state: 'firing' }))
        t.env.put(
          t.entries,
          t.entryKey(0, 0, 1).slice(),
          new EntryEncoder().encode(1, ENTRY_ALERT, 1, 1, alert),
        )
      },
      'state: pipeline "cpu", partition 0',
      /alert cpu\/d\/0\/0\/1, which its entries leave open, is not among the current ones/,
    ],
    [
      'a sink ahead of its stream',
      (t) =>
        t.env.put(
          t.sinks,
          t.namedKey(0, 'file').slice(),
          sealJson({ positions: { 0: { seq: 3, row: 1 } }, token: null }),
        ),
      'state: pipeline "cpu", partition 0, sink "file"',
      /stands at entry 3, row 1, but the stream ends at 3/,
    ],
    [
      'rows of no pipeline',
      (t) => t.env.put(t.groups, t.groupKey(77, 0, 0).slice(), seal(encodeSeriesKey({}))),
      'state: pipeline #77',
      /no record/,
    ],
  ])('%s is named with its place', async (_what, change, place, problem) => {
    await tamper('state', change)
    const { findings } = await verify()
    const found = findings.find((finding) => finding.place.startsWith(place) && problem.test(finding.problem))
    expect(found, JSON.stringify(findings, null, 1)).toBeDefined()
    expect(found?.remedy).not.toBe('')
  })

  test('all findings are listed, not only the first', async () => {
    await tamper('log', (tables) => {
      for (const offset of [0, 8, 16]) flipped(tables, offset, 85)
    })
    const { findings } = await verify()
    expect(findings.map(({ place }) => place.replace(/.*offset /, ''))).toEqual(['0', '8', '16'])
  })

  test('an environment of another store is named', async () => {
    await tamper('state', ({ env }) => env.put(env.meta, Buffer.from('identity'), sealJson('another')))
    expect((await verify()).findings[0]?.problem).toContain('the state to store another')
  })

  test('what pipelines say of entries and checkpoints is a finding with its place', async () => {
    const { findings } = await verify({
      entry: (_partition, entry) => (entry.seq === 2 ? 'is odd' : null),
      checkpoint: () => 'does not fit',
      needs: () => [],
    })
    expect(findings.map(({ place, problem }) => `${place}: ${problem}`)).toEqual([
      'state: pipeline "cpu", partition 0, entry 2: is odd',
      'state: pipeline "cpu", partition 0: its checkpoint at position 4 cannot be restored: does not fit',
    ])
  })

  test('an owner of groups goes on from entries that are there: those gone, and those never sent, are a finding', async () => {
    state.transaction((txn) => {
      txn.putProgress(0, 1, { position: 1, nextSeq: 5, ledger: LEDGER })
      for (let seq = 2; seq < 5; seq++) txn.putEntry(0, 1, seq, 4, 0, 1_000, new Uint8Array(16))
    })
    const needing = async (fromSeq: number, takenSeq: number): Promise<readonly string[]> => {
      const needs: PipelineVerifier['needs'] = () => [{ stream: 1, fromSeq, takenSeq }]
      return (await verify({ ...TRUSTING, needs })).findings.map(
        ({ place, problem }) => `${place}: ${problem}`,
      )
    }
    for (const [from, taken] of [
      [2, 3],
      [4, 5],
      [5, 5],
    ] as const) {
      expect(await needing(from, taken)).toEqual([])
    }
    const place = 'state: pipeline "cpu", partition 0: its checkpoint'
    expect(await needing(1, 4)).toEqual([`${place} wants entry 1 of stream 1, which begins at 2`])
    expect(await needing(2, 6)).toEqual([`${place} has taken 6 entries of stream 1, whose progress counts 5`])
  })

  test('samples of dead letters are accounted for', async () => {
    const ledger = { ...LEDGER, in: 10, dead: 6 }
    state.transaction((txn) => txn.putProgress(0, 0, { position: 8, nextSeq: 3, ledger }))
    expect((await verify()).findings).toEqual([])
    state.transaction((txn) =>
      txn.putProgress(0, 0, { position: 8, nextSeq: 3, ledger: { ...ledger, in: 11 } }),
    )
    expect((await verify()).findings.map(({ problem }) => problem)).toEqual([
      'its ledger counts 11 samples in and 10 accounted for',
    ])
  })

  test('a checkpoint that retention has passed is a note: the pipeline was not run', async () => {
    log.transaction((txn) => {
      txn.deleteBatch(0, 0, 0)
      txn.deleteBatch(0, 0, 4)
    })
    const { findings, warnings } = await verify()
    expect(findings).toEqual([])
    expect(warnings.map(({ problem }) => problem)).toEqual([
      expect.stringContaining('wants offset 4, but the log begins at 8'),
    ])
  })

  test('rows that come and go during the walk are no finding', async () => {
    for (let i = 0; i < 600; i++) append(0, 4, 2_000 + i)
    let turns = 0
    let deleted = 0
    const report = await verifyStore({
      dir,
      pipeline: () => TRUSTING,
      onProgress() {
        turns++
        append(0, 4, 10_000 + turns)
        append(1, 0, 10_000 + turns)
        log.transaction((txn) => {
          for (let i = 0; i < 40; i++, deleted += 4) txn.deleteBatch(0, 0, deleted)
        })
        state.transaction((txn) => {
          const seq = 2 + turns
          txn.putEntry(0, 0, seq, 9, seq, 5_000 + seq, new Uint8Array(8))
          txn.putProgress(0, 0, { position: log.endOffset(0, 0), nextSeq: seq + 1, ledger: LEDGER })
          txn.putCheckpoint(0, 0, { position: log.endOffset(0, 0), nextSeq: seq + 1, meta: '{}' })
        })
        state.retainEntries({
          pipelineId: 0,
          partition: 0,
          beforeMs: Infinity,
          countMax: 1,
          lowWaterSeq: Infinity,
        })
        return false
      },
    })
    expect(turns).toBeGreaterThan(3)
    expect(report.findings).toEqual([])
    expect(report.warnings).toEqual([])
  })

  test('looking at a store changes nothing and needs no owner', async () => {
    await state.close()
    await log.close()
    await store.close()
    rmSync(join(dir, 'owner.json'), { force: true })
    expect((await verify()).findings).toEqual([])
    expect(existsSync(join(dir, 'owner.json'))).toBe(false)
  })
})
