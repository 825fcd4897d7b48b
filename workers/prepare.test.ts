import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { sealBatch } from '../engine/batch/batch-encoder.ts'
import * as layout from '../engine/batch/layout.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import { RECORD_TICK } from '../engine/contract/samples.ts'
import { testPlan } from '../engine/pipeline/memory-state.ts'
import { openLogWriter } from '../engine/store/log-store.ts'
import { openStateWriter } from '../engine/store/state-store.ts'
import { openStore, type Store } from '../engine/store/store.ts'
import { type Prepared, prepareStore } from './prepare.ts'

const LEDGER = { in: 0, windowed: 0, filtered: 0, late: 0, nonFinite: 0, dead: 0 }

let dir: string
let store: Store

beforeEach(async () => {
  dir = join(mkdtempSync(join(tmpdir(), 'millrace-prepare-')), 'data')
  store = await openStore({ dir })
})

afterEach(async () => {
  await store.close()
  rmSync(join(dir, '..'), { recursive: true, force: true })
})

function prepare(plans: readonly PipelinePlan[], resetState = false): Promise<Prepared> {
  return prepareStore({ dir, fence: store.fence, plans, defaultPartitions: 4, resetState })
}

async function withLog(body: (writer: ReturnType<typeof openLogWriter>) => void): Promise<void> {
  const writer = openLogWriter({ dir, fence: store.fence })
  body(writer)
  await writer.close()
}

/** Ten ticks in partition 0, of which the oldest are deleted again. */
async function trimLog(deleted: number): Promise<void> {
  await withLog((writer) => {
    for (let offset = writer.endOffset(0, 0); offset < 10; offset++) {
      const bytes = new Uint8Array(layout.batchBytes(0))
      sealBatch(bytes, new DataView(bytes.buffer), {
        kind: RECORD_TICK,
        topicId: 0,
        partition: 0,
        baseOffset: offset,
        count: 0,
        minTimestampMs: 0,
        maxTimestampMs: 0,
        appendedMs: 1_000 + offset,
        producerId: 0,
        producerEpoch: 0,
        baseSequence: -1,
      })
      writer.transaction((txn) => txn.putBatch(bytes))
    }
    writer.transaction((txn) => {
      for (let offset = writer.startOffset(0, 0); offset < deleted; offset++) txn.deleteBatch(0, 0, offset)
    })
  })
}

test('a pipeline whose checkpoint the log no longer reaches back to is refused by name, unless it is reset', async () => {
  const plan = testPlan()
  const { pipelines } = await prepare([plan])
  await trimLog(4)
  const state = openStateWriter({ dir, fence: store.fence })
  const commit = (position: number): void =>
    state.transaction((txn) => {
      txn.putProgress(pipelines[0]!.pipelineId, 0, { position: 9, nextSeq: 0, ledger: LEDGER })
      txn.putCheckpoint(pipelines[0]!.pipelineId, 0, { position, nextSeq: 0, meta: '{}' })
    })
  commit(4)
  await expect(prepare([plan])).resolves.toBeDefined()
  commit(3)
  await expect(prepare([plan])).rejects.toMatchObject({ code: 'OFFSET_GONE' })
  await expect(prepare([plan])).rejects.toThrow(
    /cpu, partition 0: .*up to 4 \(got 3\).*millrace reset --pipeline cpu/,
  )
  // Another pipeline is not held up by it.
  await expect(prepare([testPlan({ name: 'other' })])).resolves.toBeDefined()
  await expect(prepare([plan], true)).resolves.toBeDefined()
  await expect(prepare([plan])).resolves.toBeDefined()
  await state.close()
})

test('a new pipeline begins with what the log still holds', async () => {
  await prepare([testPlan({ name: 'first' })])
  await trimLog(6)
  await expect(prepare([testPlan()])).resolves.toBeDefined()
})

test('a pipeline is not to be put back where its detectors are those of another version of millrace', async () => {
  const detector = { name: 'd', kind: 'auto', column: 'v', options: {}, holdMs: 0 }
  const plan = (cellsVersion: number, holdMs = 0): PipelinePlan => ({
    ...testPlan(),
    detectors: [{ ...detector, cellsVersion, holdMs }],
  })
  await prepare([plan(2)])
  const remedies = async (changed: PipelinePlan): Promise<string[]> => {
    const error = await prepare([changed]).then(
      () => expect.unreachable(),
      (error: unknown) => error as { faults: { remedy: string }[] },
    )
    return error.faults.map(({ remedy }) => remedy.split(',')[0]!)
  }
  expect(await remedies(plan(3))).toEqual(['Run it by the version that wrote it'])
  expect(await remedies(plan(2, 5_000))).toEqual(['Put it back'])
})
