import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { DeadLetter } from '../contract/dead-letter.ts'
import type { StateWriter } from '../store/state-contract.ts'
import { openStateWriter } from '../store/state-store.ts'
import { openStore, type Store } from '../store/store.ts'
import { systemClock } from '../util/clock.ts'
import { retainDeadLetters } from './dead-letter-retention.ts'

let dir: string
let store: Store
let state: StateWriter
let pipelineId: number

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'millrace-dead-'))
  store = await openStore({ dir, clock: systemClock })
  state = openStateWriter({ dir, fence: store.fence })
  const record = { name: 'cpu', planHash: 'h', planJson: '{}' }
  pipelineId = state.transaction((txn) => txn.putPipeline(record as never)).id
})

afterEach(async () => {
  await state.close()
  await store.close()
  rmSync(dir, { recursive: true, force: true })
})

const REASON = 'x'.repeat(1_000)

function put(partition: number, baseOffset: number, atMs: number): void {
  const letter: DeadLetter = {
    partition,
    baseOffset,
    endOffset: baseOffset + 10,
    samples: 10,
    reason: REASON,
    tries: 3,
    atMs,
  }
  state.transaction((txn) => txn.putDeadLetter(pipelineId, letter))
}

function kept(): string[] {
  return [0, 1].flatMap((partition) =>
    state.deadLetters(pipelineId, partition).map(({ baseOffset }) => `${partition}/${baseOffset}`),
  )
}

function retain(checkpoints: readonly number[], beforeMs: number, bytesMax: number): boolean {
  const streams = checkpoints.map((checkpointPosition, partition) => {
    return { pipelineId, partition, checkpointPosition }
  })
  return retainDeadLetters(state, streams, { beforeMs, bytesMax })
}

test('what is older than the age goes, what is younger stays', () => {
  put(0, 0, 1_000)
  put(0, 100, 3_000)
  put(1, 0, 2_000)
  expect(retain([500, 500], 2_500, Infinity)).toBe(false)
  expect(kept()).toEqual(['0/100'])
})

test('what is more than the bytes goes, the oldest first, over all partitions', () => {
  put(0, 0, 3_000)
  put(0, 100, 1_000)
  put(1, 0, 2_000)
  put(1, 100, 4_000)
  retain([500, 500], 0, 2_500)
  expect(kept()).toEqual(['0/0', '1/100'])
  retain([500, 500], 0, 2_500)
  expect(kept()).toEqual(['0/0', '1/100'])
})

test('what a restart would still obey stays, however old and however many', () => {
  put(0, 0, 1_000)
  put(0, 100, 1_000)
  // The checkpoint stands in front of the second batch, and of all of the other partition.
  retain([105, 0], Infinity, 0)
  expect(kept()).toEqual(['0/100'])
  put(1, 0, 1_000)
  retain([105, 9], Infinity, 0)
  expect(kept()).toEqual(['0/100', '1/0'])
  retain([110, 10], Infinity, 0)
  expect(kept()).toEqual([])
})

test('a transaction deletes a bounded number, and says that there is more', () => {
  state.transaction((txn) => {
    for (let i = 0; i < 1_200; i++) {
      txn.putDeadLetter(pipelineId, {
        partition: 0,
        baseOffset: i,
        endOffset: i + 1,
        samples: 1,
        reason: 'r',
        tries: 3,
        atMs: i,
      })
    }
  })
  expect(retain([5_000, 0], Infinity, Infinity)).toBe(true)
  expect(kept()).toHaveLength(200)
  expect(retain([5_000, 0], Infinity, Infinity)).toBe(false)
  expect(kept()).toEqual([])
})
