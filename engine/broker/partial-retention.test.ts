/** Partial slices leave the store when every owner has a checkpoint beyond them, and not before. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ENTRY_MARK } from '../contract/entries.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import { ownerStream, partialStream } from '../contract/streams.ts'
import { testPlan } from '../pipeline/memory-state.ts'
import type { StateWriter } from '../store/state-contract.ts'
import { openStateWriter } from '../store/state-store.ts'
import { openStore, type Store } from '../store/store.ts'
import { layOutPipelines, layOutTopics } from './node-board.ts'
import { PartialRetention } from './partial-retention.ts'

const plan: PipelinePlan = testPlan({ groupBy: ['region'], exchange: { buckets: 2 } })
const ENTRIES = 10

let dir: string
let store: Store
let state: StateWriter
let pipelineId: number
let retention: PartialRetention

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'millrace-partials-'))
  store = await openStore({ dir })
  state = openStateWriter({ dir, fence: store.fence })
  const ledger = { in: 0, windowed: 0, filtered: 0, late: 0, nonFinite: 0, dead: 0 }
  pipelineId = state.transaction((txn) => {
    const { id } = txn.putPipeline({
      name: plan.name,
      topicId: 0,
      topic: plan.topic.name,
      planHash: 'h',
      planJson: JSON.stringify(plan),
    })
    for (let partition = 0; partition < plan.topic.partitions; partition++) {
      const stream = partialStream(plan, partition)
      for (let seq = 0; seq < ENTRIES; seq++) {
        txn.putEntry(id, stream, seq, ENTRY_MARK, 0, 0, new Uint8Array(48))
      }
      txn.putProgress(id, stream, { position: ENTRIES, nextSeq: ENTRIES, ledger })
    }
    return id
  })
  const topics = layOutTopics([{ ...plan.topic, topicId: 0 }])
  retention = new PartialRetention(layOutPipelines([{ plan, pipelineId }], topics))
})

afterEach(async () => {
  await state.close()
  await store.close()
  rmSync(dir, { recursive: true, force: true })
})

function checkpoint(bucket: number, needed: readonly number[]): void {
  const meta = JSON.stringify({ needed })
  state.transaction((txn) =>
    txn.putCheckpoint(pipelineId, ownerStream(plan, bucket), { position: 0, nextSeq: 0, meta }),
  )
}

function kept(): (readonly [number, number])[] {
  return [0, 1, 2].map((partition) => {
    const { firstSeq, endSeq } = state.seqRange(pipelineId, partialStream(plan, partition))
    return [firstSeq, endSeq] as const
  })
}

test('nothing goes while an owner has no checkpoint', () => {
  checkpoint(0, [10, 10, 10])
  expect(retention.retire(state)).toBe(false)
  expect(kept().map(([first]) => first)).toEqual([0, 0, 0])
})

test('what the slowest owner needs stays, and all of it may go', () => {
  checkpoint(0, [10, 4, 10])
  checkpoint(1, [3, 9, 10])
  expect(retention.retire(state)).toBe(false)
  expect(kept()).toEqual([
    [3, 10],
    [4, 10],
    [10, 10],
  ])
  checkpoint(0, [10, 10, 10])
  checkpoint(1, [10, 9, 10])
  expect(retention.retire(state)).toBe(false)
  expect(kept().map(([first]) => first)).toEqual([10, 9, 10])
})

test('a call deletes no more than it was allowed, and says that there is more', () => {
  const streams = [0, 1, 2].map((partition) => ({
    pipelineId,
    partition: partialStream(plan, partition),
    beforeSeq: 6,
  }))
  expect(state.retireEntries(streams, 8)).toBe(true)
  expect(kept().map(([first]) => first)).toEqual([6, 2, 0])
  expect(state.retireEntries(streams, 8)).toBe(true)
  expect(state.retireEntries(streams, 8)).toBe(false)
  expect(kept().map(([first]) => first)).toEqual([6, 6, 6])
})

test('a pipeline without an exchange has nothing to retire', () => {
  const whole = testPlan()
  const topics = layOutTopics([{ ...whole.topic, topicId: 0 }])
  expect(new PartialRetention(layOutPipelines([{ plan: whole, pipelineId }], topics)).isNeeded).toBe(false)
})
