import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { DeadLetter } from '../contract/dead-letter.ts'
import { ENTRY_ALERT, ENTRY_RESULTS } from '../contract/entries.ts'
import { PAGE_CELLS } from '../state/cells.ts'
import type { StateReader, StateWriter } from './state-contract.ts'
import { openStateReader, openStateWriter } from './state-store.ts'
import { openStore, type Store } from './store.ts'

const LEDGER = { in: 5, windowed: 3, filtered: 1, late: 1, nonFinite: 0, dead: 0 }
const PIPELINE = { name: 'latency', topicId: 0, topic: 'metrics', planHash: 'h1', planJson: '{"a":1}' }

let dir: string
let store: Store
let writer: StateWriter
let reader: StateReader

beforeEach(async () => {
  dir = join(mkdtempSync(join(tmpdir(), 'millrace-state-')), 'data')
  store = await openStore({ dir })
  writer = openStateWriter({ dir, fence: store.fence })
  reader = openStateReader({ dir })
})

afterEach(async () => {
  for (const open of [reader, writer, store]) await open.close()
  rmSync(join(dir, '..'), { recursive: true, force: true })
})

/** Entries with seq 0, 1, … and the given event times; the bytes name the seq. */
function putEntries(times: readonly number[], pipelineId = 0, partition = 0, fromSeq = 0): void {
  writer.transaction((txn) => {
    times.forEach((timeMs, i) => {
      const seq = fromSeq + i
      txn.putEntry(pipelineId, partition, seq, ENTRY_RESULTS, seq * 2, timeMs, Buffer.from(`entry ${seq}`))
    })
  })
}

describe('round trips', () => {
  test('everything a commit and a checkpoint hold reads back, on a reader that was open before', () => {
    const cells = new Float64Array(PAGE_CELLS).fill(0.5, 0, 100)
    const full = new Float64Array(PAGE_CELLS).fill(-7)
    const id = writer.transaction((txn) => {
      const record = txn.putPipeline(PIPELINE)
      txn.putProgress(record.id, 3, { position: 12, nextSeq: 4, ledger: LEDGER })
      txn.putGroup(record.id, 3, 0, Buffer.from('a'))
      txn.putGroup(record.id, 3, 1, new Uint8Array(0))
      txn.putGroup(record.id, 4, 0, Buffer.from('other partition'))
      txn.putAlert(record.id, 'latency/d/3/0/17', '{"state":"firing"}')
      txn.putCheckpoint(record.id, 3, { position: 9, nextSeq: 2, meta: '{"m":1}' })
      txn.putPage(record.id, 3, 1, 70_000, cells)
      txn.putPage(record.id, 3, 0, 2, full)
      txn.putPage(record.id, 3, 0, 3, new Float64Array(PAGE_CELLS))
      txn.putSink(record.id, 'hook', '{"seq":[1,2]}')
      return record.id
    })
    expect(reader.pipeline('latency')).toEqual({ id, ...PIPELINE })
    expect(reader.progress(id, 3)).toEqual({ position: 12, nextSeq: 4, ledger: LEDGER })
    expect(reader.progress(id, 4)).toBeNull()
    expect(reader.groups(id, 3)).toEqual([
      { groupId: 0, key: new Uint8Array([97]) },
      { groupId: 1, key: new Uint8Array(0) },
    ])
    expect(reader.groupKey(id, 4, 0)).toEqual(new Uint8Array(Buffer.from('other partition')))
    expect(reader.groupKey(id, 4, 1)).toBeNull()
    expect(reader.alerts(id)).toEqual([{ id: 'latency/d/3/0/17', json: '{"state":"firing"}' }])
    expect(reader.checkpoint(id, 3)).toEqual({ position: 9, nextSeq: 2, meta: '{"m":1}' })
    expect(reader.pages(id, 3)).toEqual([
      { region: 0, index: 2, cells: full },
      { region: 0, index: 3, cells: new Float64Array(PAGE_CELLS) },
      { region: 1, index: 70_000, cells },
    ])
    expect(reader.sink(id, 'hook')).toBe('{"seq":[1,2]}')
    expect(reader.sinks(id).length).toBe(1)
    expect(reader.sink(id, 'none')).toBeNull()
  })

  test('entries of any bytes read back as they were put, from shared memory too', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 5_000 }), { maxLength: 5 }), (payloads) => {
        const from = reader.seqRange(0, 0).endSeq
        writer.transaction((txn) => {
          payloads.forEach((payload, i) => {
            const shared = new Uint8Array(new SharedArrayBuffer(payload.length))
            shared.set(payload)
            txn.putEntry(0, 0, from + i, ENTRY_ALERT, 7, 1.5, shared)
            shared.fill(0)
          })
        })
        const entries = reader.entries(0, 0, from)
        expect(entries.map((entry) => entry.bytes)).toEqual(payloads)
        for (const [i, entry] of entries.entries()) {
          expect(entry).toMatchObject({ seq: from + i, kind: ENTRY_ALERT, causeOffset: 7, eventTimeMs: 1.5 })
          expect(entry.bytes.byteOffset % 8).toBe(0)
        }
      }),
      { numRuns: 20 },
    )
  })

  test('a page of NaN, -0 and infinities keeps its bits', () => {
    const cells = new Float64Array(PAGE_CELLS)
    cells.set([Number.NaN, -0, Number.POSITIVE_INFINITY, 5e-324])
    writer.transaction((txn) => txn.putPage(0, 0, 0, 0, cells))
    const [page] = reader.pages(0, 0)
    expect(Buffer.from(page!.cells.buffer).equals(Buffer.from(cells.buffer))).toBe(true)
  })

  test('a removed alert is gone; removing it again says it was not there', () => {
    writer.transaction((txn) => txn.putAlert(0, 'a', '{}'))
    expect(writer.transaction((txn) => [txn.removeAlert(0, 'a'), txn.removeAlert(0, 'a')])).toEqual([
      true,
      false,
    ])
    expect(reader.alerts(0)).toEqual([])
  })
})

describe('entries', () => {
  test('are read from a seq, in order, within limits, and never from a neighbour', () => {
    putEntries([10, 20, 30, 40])
    putEntries([99], 0, 1)
    putEntries([99], 1, 0)
    expect(reader.entries(0, 0, 1).map((entry) => entry.seq)).toEqual([1, 2, 3])
    expect(reader.entries(0, 0, 1, { countMax: 2 }).map((entry) => entry.seq)).toEqual([1, 2])
    expect(reader.entries(0, 0, 0, { bytesMax: 1 }).length).toBe(1)
    expect(reader.entries(0, 0, 4)).toEqual([])
    expect(reader.seqRange(0, 0)).toEqual({ firstSeq: 0, endSeq: 4 })
    expect(reader.seqRange(7, 0)).toEqual({ firstSeq: 0, endSeq: 0 })
  })

  test('are found by event time', () => {
    putEntries([10, 20, 20, 30])
    const found = [0, 10, 11, 20, 21, 30, 31].map((ms) => reader.seqAtTime(0, 0, ms))
    expect(found).toEqual([0, 0, 1, 1, 3, 3, 4])
    expect(reader.seqAtTime(0, 5, 1)).toBe(0)
  })

  const keepAll = { pipelineId: 0, partition: 0, beforeMs: Number.NEGATIVE_INFINITY }
  const everybody = { countMax: Number.POSITIVE_INFINITY, lowWaterSeq: Number.POSITIVE_INFINITY }

  test('retention by age and by count deletes the oldest, never past the slowest sink, never more than allowed', () => {
    putEntries([10, 20, 30, 40, 50, 60])
    const retain = (request: object): unknown => {
      const { deleted, more } = writer.retainEntries({ ...keepAll, ...everybody, ...request })
      return [deleted, more, reader.seqRange(0, 0).firstSeq]
    }
    expect(retain({})).toEqual([0, false, 0])
    expect(retain({ beforeMs: 30 })).toEqual([2, false, 2])
    expect(retain({ countMax: 1, lowWaterSeq: 3 })).toEqual([1, false, 3])
    expect(retain({ countMax: 1, deletionsMax: 1 })).toEqual([1, true, 4])
    expect(retain({ countMax: 1 })).toEqual([1, false, 5])
    expect(reader.entries(0, 0, 0).map((entry) => entry.seq)).toEqual([5])
  })

  test('when all are deleted, the next number is still known from the progress', () => {
    putEntries([10, 20])
    writer.transaction((txn) => txn.putProgress(0, 0, { position: 1, nextSeq: 2, ledger: LEDGER }))
    writer.retainEntries({ ...keepAll, ...everybody, beforeMs: 1_000 })
    expect(reader.seqRange(0, 0)).toEqual({ firstSeq: 2, endSeq: 2 })
  })
})

describe('dead letters', () => {
  test('read back in offset order, by partition; a reset forgets them, so that a mended pipeline tries again', () => {
    const letter = (partition: number, baseOffset: number): DeadLetter => ({
      partition,
      baseOffset,
      endOffset: baseOffset + 3,
      samples: 3,
      reason: 'boom',
      tries: 3,
      atMs: 1,
    })
    const { id } = writer.transaction((txn) => {
      const record = txn.putPipeline(PIPELINE)
      for (const place of [letter(1, 500), letter(1, 70), letter(2, 70)]) txn.putDeadLetter(record.id, place)
      return record
    })
    expect(reader.deadLetters(id, 0)).toEqual([])
    expect(reader.deadLetters(id, 1)).toEqual([letter(1, 70), letter(1, 500)])
    expect(reader.deadLetters(id, 2)).toEqual([letter(2, 70)])
    const again = writer.transaction((txn) => txn.reset(id))
    expect(reader.deadLetters(again.id, 1)).toEqual([])
    while (writer.collect()) expect(writer.pipelines()).toHaveLength(1)
    expect(reader.deadLetters(id, 1)).toEqual([])
  })
})

describe('pipelines', () => {
  test('keep their id when the plan is replaced', () => {
    const first = writer.transaction((txn) => txn.putPipeline(PIPELINE))
    const second = writer.transaction((txn) => txn.putPipeline({ ...PIPELINE, planHash: 'h2' }))
    const other = writer.transaction((txn) => txn.putPipeline({ ...PIPELINE, name: 'other' }))
    expect([first.id, second.id, other.id]).toEqual([0, 0, 1])
    expect(reader.pipeline('latency')?.planHash).toBe('h2')
  })

  test('a reset forgets everything of one pipeline at once, and its rows are collected a few at a time', () => {
    const { id } = writer.transaction((txn) => txn.putPipeline(PIPELINE))
    const other = writer.transaction((txn) => txn.putPipeline({ ...PIPELINE, name: 'other' }))
    putEntries([1, 2, 3, 4, 5], id)
    putEntries([1, 2], other.id)
    writer.transaction((txn) => {
      txn.putAlert(id, 'a', '{}')
      txn.putSink(id, 's', '{}')
      txn.putPage(id, 0, 0, 0, new Float64Array(PAGE_CELLS))
    })
    const fresh = writer.transaction((txn) => txn.reset(id))
    expect(fresh.id).not.toBe(id)
    expect(fresh.id).not.toBe(other.id)
    expect(reader.pipeline('latency')?.id).toBe(fresh.id)
    expect([reader.entries(fresh.id, 0, 0), reader.alerts(fresh.id), reader.sinks(fresh.id)]).toEqual([
      [],
      [],
      [],
    ])
    let calls = 0
    while (writer.collect(3)) calls++
    expect(calls).toBe(3)
    expect([reader.entries(id, 0, 0), reader.alerts(id), reader.sinks(id), reader.pages(id, 0)]).toEqual([
      [],
      [],
      [],
      [],
    ])
    expect(reader.entries(other.id, 0, 0).length).toBe(2)
    expect(writer.collect()).toBe(false)
  })

  test('a throw in a commit stores nothing of it', () => {
    const commit = (): void =>
      writer.transaction((txn) => {
        txn.putEntry(0, 0, 0, ENTRY_RESULTS, 0, 0, Buffer.from('x'))
        txn.putProgress(0, 0, { position: 1, nextSeq: 1, ledger: LEDGER })
        throw new Error('stop')
      })
    expect(commit).toThrow('stop')
    expect([reader.entries(0, 0, 0), reader.progress(0, 0)]).toEqual([[], null])
  })
})

describe('damage', () => {
  test('a flipped bit in an entry, a group or a page is a refusal that names it', async () => {
    const { id } = writer.transaction((txn) => txn.putPipeline(PIPELINE))
    const marks = ['entry-mark-31', 'group-mark-17']
    const cells = new Float64Array(PAGE_CELLS).fill(Math.PI)
    writer.transaction((txn) => {
      // Opening looks at the first and the last; this is neither.
      for (const seq of [0, 1, 2]) {
        txn.putEntry(id, 2, seq, ENTRY_RESULTS, 0, 0, Buffer.from(seq === 1 ? marks[0]! : 'sound'))
      }
      txn.putGroup(id, 2, 5, Buffer.from(marks[1]!))
      txn.putPage(id, 2, 1, 6, cells)
    })
    for (const open of [reader, writer, store]) await open.close()
    const path = join(dir, 'state', 'data.mdb')
    const file = readFileSync(path)
    for (const mark of [...marks, Buffer.from(cells.buffer, 0, 64)]) {
      for (let at = file.indexOf(mark); at >= 0; at = file.indexOf(mark, at + 1)) file[at + 3]! ^= 1
    }
    writeFileSync(path, file)
    store = await openStore({ dir })
    writer = openStateWriter({ dir, fence: store.fence })
    reader = openStateReader({ dir })
    expect(() => reader.entries(id, 2, 0)).toThrow(/entry 1 of pipeline "latency", partition 2 is damaged/)
    expect(() => reader.groupKey(id, 2, 5)).toThrow(/group 5 of pipeline "latency", partition 2 is damaged/)
    expect(() => reader.pages(id, 2)).toThrow(/state page 1\/6 of pipeline "latency", partition 2 is damaged/)
  })
})
