/** CommitProducer → ring → CommitCollector → state, on one thread: what a commit promises. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Alert } from '../contract/alert.ts'
import { ENTRY_ALERT, ENTRY_RESULTS } from '../contract/entries.ts'
import type { Chain, TakeStatePage } from '../pipeline/chain.ts'
import { testAlert, testPlan } from '../pipeline/memory-state.ts'
import { createDoorbell, Doorbell } from '../ring/doorbell.ts'
import { createRing, RingConsumer, RingProducer } from '../ring/spsc-ring.ts'
import { PAGE_BYTES, PAGE_CELLS } from '../state/cells.ts'
import type { StateWriter } from '../store/state-contract.ts'
import { openStateWriter } from '../store/state-store.ts'
import { openStore, type Store } from '../store/store.ts'
import { CommitCollector } from './commit-collector.ts'
import { CommitProducer } from './commit-producer.ts'
import { type BoardPipeline, layOutPipelines, layOutTopics } from './node-board.ts'

let dir: string
let store: Store
let state: StateWriter
let pipelines: BoardPipeline[]
let pipelineId: number

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'millrace-commit-path-'))
  store = await openStore({ dir })
  state = openStateWriter({ dir, fence: store.fence })
  const plan = testPlan()
  const topics = layOutTopics([{ ...plan.topic, topicId: 0 }])
  pipelineId = state.transaction(
    (txn) =>
      txn.putPipeline({
        name: plan.name,
        topicId: 0,
        topic: plan.topic.name,
        planHash: 'h',
        planJson: JSON.stringify(plan),
      }).id,
  )
  pipelines = layOutPipelines([{ plan, pipelineId }], topics)
})

afterEach(async () => {
  await state.close()
  await store.close()
  rmSync(dir, { recursive: true, force: true })
})

function harness() {
  const sab = createRing(1 << 20)
  const producer = new CommitProducer(
    new RingProducer(sab, new Doorbell(createDoorbell()), new Doorbell(createDoorbell())),
  )
  const ring = new RingConsumer(sab)
  const collector = new CommitCollector(1, pipelines, state)
  const drain = (): void => {
    for (let kind = ring.peek(); kind >= 0; kind = ring.peek()) {
      collector.take(0, kind, ring.i32, ring.f64, ring.u8, ring.position)
      ring.release()
    }
  }
  const commit = () => {
    const committed = state.transaction((txn) => collector.apply(txn))
    collector.settle(() => {})
    return committed
  }
  return { producer, collector, drain, commit }
}

/** What the producer reads of a chain. */
function chainAt(position: number, nextSeq: number): Chain {
  const ledger = { in: position, windowed: position, filtered: 0, late: 0, nonFinite: 0, dead: 0 }
  return {
    position,
    nextSeq,
    ledger,
    cut: () => JSON.stringify({ position }),
    drain: (take: TakeStatePage) => take(1, 2, new Float64Array(PAGE_CELLS).fill(position)),
  } as unknown as Chain
}

function emitResults(producer: CommitProducer, seq: number): void {
  const bytes = new Uint8Array(24)
  new DataView(bytes.buffer).setInt32(0, 3, true)
  producer.entriesOf(pipelineId, 0).entry(ENTRY_RESULTS, seq, seq, seq * 1_000, bytes, bytes.length)
}

const seqs = (): number[] => state.entries(pipelineId, 0, 0).map(({ seq }) => seq)

test('entries are committed with the progress that covers them, and never before it', () => {
  const { producer, collector, drain, commit } = harness()
  producer.entriesOf(pipelineId, 0).group(0, new Uint8Array([1, 2]))
  emitResults(producer, 0)
  drain()
  expect(collector.hasCommittable).toBe(false)
  commit()
  expect(seqs()).toEqual([])
  producer.progress(pipelineId, 0, chainAt(10, 1))
  emitResults(producer, 1)
  drain()
  expect(commit().resultRows.get(pipelineId)).toBe(3)
  expect(seqs()).toEqual([0])
  expect(state.progress(pipelineId, 0)).toMatchObject({ position: 10, nextSeq: 1 })
  expect(state.groupKey(pipelineId, 0, 0)).toEqual(new Uint8Array([1, 2]))
  producer.progress(pipelineId, 0, chainAt(12, 2))
  drain()
  commit()
  expect(seqs()).toEqual([0, 1])
  expect(collector.pendingBytes).toBe(0)
})

test('of the progress between two commits only the last is written; what nobody waits for is not urgent', () => {
  const { producer, collector, drain, commit } = harness()
  for (let position = 1; position <= 5; position++) producer.progress(pipelineId, 0, chainAt(position, 0))
  drain()
  expect(collector.isUrgent).toBe(false)
  emitResults(producer, 0)
  producer.progress(pipelineId, 0, chainAt(6, 1))
  producer.checkpoint(pipelineId, 0, chainAt(6, 1))
  producer.progress(pipelineId, 0, chainAt(7, 1))
  producer.progress(pipelineId, 0, chainAt(8, 1))
  drain()
  expect(collector.isUrgent).toBe(true)
  const puts: number[] = []
  const committed = state.transaction((txn) => {
    const putProgress: typeof txn.putProgress = (id, partition, progress) => {
      puts.push(progress.position)
      txn.putProgress(id, partition, progress)
    }
    return collector.apply({ ...txn, putProgress })
  })
  collector.settle(() => {})
  // The checkpoint keeps its own.
  expect(puts).toEqual([6, 8])
  expect(committed.samples.get(pipelineId)?.in).toBe(8)
  expect(state.checkpoint(pipelineId, 0)?.position).toBe(6)
  expect(collector.isUrgent).toBe(false)
  producer.progress(pipelineId, 0, chainAt(9, 1))
  drain()
  commit()
  expect(state.progress(pipelineId, 0)?.position).toBe(9)
})

test('progress of one partition commits no entries of another, though they came before it in the ring', () => {
  const { producer, drain, commit } = harness()
  const bytes = new Uint8Array(24)
  producer.entriesOf(pipelineId, 1).entry(ENTRY_RESULTS, 0, 0, 1_000, bytes, bytes.length)
  emitResults(producer, 0)
  producer.progress(pipelineId, 0, chainAt(10, 1))
  drain()
  commit()
  expect(seqs()).toEqual([0])
  expect(state.entries(pipelineId, 1, 0)).toEqual([])
  producer.progress(pipelineId, 1, chainAt(5, 1))
  drain()
  commit()
  expect(state.entries(pipelineId, 1, 0).map(({ seq }) => seq)).toEqual([0])
})

test('what was committed before a crash is suppressed on replay, and progress never steps back', () => {
  const first = harness()
  emitResults(first.producer, 0)
  emitResults(first.producer, 1)
  first.producer.progress(pipelineId, 0, chainAt(20, 2))
  first.drain()
  first.commit()
  const second = harness()
  emitResults(second.producer, 0)
  second.producer.progress(pipelineId, 0, chainAt(10, 1))
  emitResults(second.producer, 1)
  emitResults(second.producer, 2)
  second.producer.progress(pipelineId, 0, chainAt(30, 3))
  second.drain()
  const committed = second.commit()
  expect(committed).toMatchObject({ entries: 1, suppressed: 2 })
  expect(seqs()).toEqual([0, 1, 2])
  expect(state.progress(pipelineId, 0)).toMatchObject({ position: 30, nextSeq: 3 })
})

test('a gap in the numbers stops the commit, and nothing of it is stored', () => {
  const { producer, drain, commit } = harness()
  emitResults(producer, 0)
  emitResults(producer, 2)
  producer.progress(pipelineId, 0, chainAt(10, 3))
  drain()
  expect(commit).toThrow(/without a gap/)
  expect(seqs()).toEqual([])
})

test('a checkpoint is stored with its pages and position in one transaction', () => {
  const { producer, drain, commit } = harness()
  emitResults(producer, 0)
  producer.progress(pipelineId, 0, chainAt(10, 1))
  producer.checkpoint(pipelineId, 0, chainAt(10, 1))
  drain()
  expect(commit()).toMatchObject({ checkpoints: 1, checkpointBytes: 4_096 })
  expect(state.checkpoint(pipelineId, 0)).toMatchObject({ position: 10, nextSeq: 1, meta: '{"position":10}' })
  const [page] = state.pages(pipelineId, 0)
  expect(page).toMatchObject({ region: 1, index: 2 })
  expect(page!.cells).toEqual(new Float64Array(PAGE_CELLS).fill(10))
})

test('pages wait for their checkpoint, also when progress comes between; without it they are never stored', () => {
  const { producer, collector, drain, commit } = harness()
  const torn = { ...chainAt(10, 0), drain: tornDrain } as unknown as Chain
  expect(() => producer.checkpoint(pipelineId, 0, torn)).toThrow('died here')
  producer.progress(pipelineId, 0, chainAt(10, 0))
  drain()
  expect(commit()).toMatchObject({ checkpoints: 0, checkpointBytes: 0 })
  expect(state.pages(pipelineId, 0)).toEqual([])
  expect([collector.pendingBytes, collector.stagedBytes]).toEqual([0, PAGE_BYTES])
  collector.abandon(0, false)
  expect([collector.pendingBytes, collector.stagedBytes]).toEqual([0, 0])
  // The successor's checkpoint holds its own pages, and none of the one that died.
  producer.progress(pipelineId, 0, chainAt(12, 0))
  producer.checkpoint(pipelineId, 0, chainAt(12, 0))
  drain()
  expect(commit()).toMatchObject({ checkpoints: 1, checkpointBytes: 4_096 })
  expect(state.pages(pipelineId, 0).map(({ index }) => index)).toEqual([2])
})

test('progress covers its own stream only: what another stream has left open is not committed with it', () => {
  const { producer, collector, drain, commit } = harness()
  emitResults(producer, 0)
  producer.progress(pipelineId, 1, chainAt(7, 0))
  drain()
  expect(commit()).toMatchObject({ entries: 0 })
  expect(seqs()).toEqual([])
  expect(state.progress(pipelineId, 1)).toMatchObject({ position: 7 })
  // Its shard dies; the successor reports earlier than the one that died would have.
  collector.abandon(0, false)
  producer.progress(pipelineId, 0, chainAt(3, 0))
  emitResults(producer, 0)
  producer.progress(pipelineId, 0, chainAt(5, 1))
  drain()
  expect(commit()).toMatchObject({ entries: 1, suppressed: 0 })
  expect(state.progress(pipelineId, 0)).toMatchObject({ position: 5, nextSeq: 1 })
})

test('samples are counted with the progress that covers them, and not again on replay', () => {
  const first = harness()
  first.producer.progress(pipelineId, 0, chainAt(20, 0))
  first.drain()
  expect(first.commit().samples.get(pipelineId)).toMatchObject({ in: 20, windowed: 20, dead: 0 })
  const second = harness()
  second.producer.progress(pipelineId, 0, chainAt(15, 0))
  second.producer.progress(pipelineId, 0, chainAt(26, 0))
  second.drain()
  expect(second.commit().samples.get(pipelineId)).toMatchObject({ in: 6, windowed: 6 })
})

test('a node is done when each shard has said so or has no successor', () => {
  const { producer, collector, drain } = harness()
  expect(collector.allDone).toBe(false)
  collector.abandon(0, false)
  expect(collector.allDone).toBe(false)
  producer.done()
  drain()
  expect(collector.allDone).toBe(true)
  const other = harness()
  other.collector.abandon(0, true)
  expect(other.collector.allDone).toBe(true)
})

function tornDrain(take: TakeStatePage): boolean {
  take(1, 9, new Float64Array(PAGE_CELLS).fill(1))
  throw new Error('died here')
}

test('the table of current alerts follows the stream, over a restart too', () => {
  const emitAlert = (producer: CommitProducer, seq: number, alert: Alert): void => {
    const bytes = new TextEncoder().encode(JSON.stringify(alert))
    producer.entriesOf(pipelineId, 0).entry(ENTRY_ALERT, seq, seq, 0, bytes, bytes.length)
    producer.progress(pipelineId, 0, chainAt(seq + 1, seq + 1))
  }
  const first = harness()
  emitAlert(first.producer, 0, testAlert({ id: 'a', state: 'firing' }))
  emitAlert(first.producer, 1, testAlert({ id: 'b', state: 'firing' }))
  first.drain()
  first.commit()
  expect(first.collector.firing(pipelineId)).toBe(2)
  const second = harness()
  expect(second.collector.firing(pipelineId)).toBe(2)
  emitAlert(second.producer, 2, testAlert({ id: 'a', state: 'resolved' }))
  second.drain()
  second.commit()
  expect(second.collector.firing(pipelineId)).toBe(1)
  expect(state.alerts(pipelineId).map(({ id }) => id)).toEqual(['b'])
})
