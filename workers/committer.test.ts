/** When the committer commits: by a clock that the test moves, over a real store. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MessageChannel } from 'node:worker_threads'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { CommitProducer } from '../engine/broker/commit-producer.ts'
import { createBoard, layOutPipelines, layOutTopics } from '../engine/broker/node-board.ts'
import { ENTRY_RESULTS, emptyLedger } from '../engine/contract/entries.ts'
import { createMetricsBlock } from '../engine/metrics/thread-metrics.ts'
import { testPlan } from '../engine/pipeline/memory-state.ts'
import { createDoorbell, Doorbell } from '../engine/ring/doorbell.ts'
import { HeldBell } from '../engine/ring/held-bell.ts'
import { createRing, RingProducer } from '../engine/ring/spsc-ring.ts'
import type { StateWriter } from '../engine/store/state-contract.ts'
import { openStateWriter } from '../engine/store/state-store.ts'
import { openStore, type Store } from '../engine/store/store.ts'
import { ManualClock } from '../engine/util/clock.ts'
import { CommitterThread } from './committer.ts'
import { REAL_SURROUNDINGS } from './surroundings.ts'

const COMMIT_MS = 10
/** A bell that never sleeps, and notes how long it would have. */
class NotedBell extends Doorbell {
  static waitsMs: number[] = []
  override wait(_ticket: number, timeoutMs: number): boolean {
    NotedBell.waitsMs.push(timeoutMs)
    this.cancel()
    return false
  }
}

let dir: string
let store: Store
let state: StateWriter
let ports: MessageChannel[]

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'millrace-committer-'))
  store = await openStore({ dir })
  state = openStateWriter({ dir, fence: store.fence })
  ports = [new MessageChannel(), new MessageChannel()]
  NotedBell.waitsMs = []
})

afterEach(async () => {
  for (const { port1 } of ports) port1.close()
  await state.close()
  await store.close()
  rmSync(dir, { recursive: true, force: true })
})

function started() {
  const plan = testPlan()
  const topics = layOutTopics([{ ...plan.topic, topicId: 0 }])
  const { name, topic } = plan
  const record = { name, topicId: 0, topic: topic.name, planHash: 'h', planJson: JSON.stringify(plan) }
  const { id: pipelineId } = state.transaction((txn) => txn.putPipeline(record))
  const clock = new ManualClock(1_000)
  const ring = createRing(1 << 20)
  const room = createDoorbell()
  const committer = new CommitterThread(
    {
      dir,
      fence: store.fence,
      board: createBoard(topic.partitions, topic.partitions),
      topics,
      pipelines: layOutPipelines([{ plan, pipelineId }], topics),
      metrics: createMetricsBlock(),
      rings: [ring],
      roomBells: [room],
      bell: createDoorbell(),
      shardBells: [createDoorbell()],
      port: ports[0]!.port2,
      control: ports[1]!.port2,
      commitMs: COMMIT_MS,
      checkpointMs: 60_000,
      retentionAgeMs: 3_600_000,
      retentionBytes: Number.POSITIVE_INFINITY,
    },
    state,
    { ...REAL_SURROUNDINGS, clock, bell: (sab) => new NotedBell(sab) },
  )
  committer.start()
  const wakes = { count: 0 }
  const bell = new HeldBell({ ring: () => wakes.count++ })
  const producer = new CommitProducer(new RingProducer(ring, bell, new Doorbell(room)), () => {}, bell)
  let position = 0
  let nextSeq = 0
  return {
    wakes,
    /** A shard's turn, with a result or without. */
    turn: (hasResult: boolean): void => {
      if (hasResult) {
        const sink = producer.entriesOf(pipelineId, 0)
        sink.entry(ENTRY_RESULTS, nextSeq++, position, 1_000, new Uint8Array(24), 24)
      }
      position += 10
      producer.progress(pipelineId, 0, { position, nextSeq, ledger: emptyLedger() })
      producer.endTurn()
    },
    passes: (ms: number): void => {
      clock.advance(ms)
      committer.turn()
    },
    committed: (): number => state.progress(pipelineId, 0)?.position ?? 0,
    results: (): number => state.seqRange(pipelineId, 0).endSeq,
  }
}

test('a result is committed once it has waited a moment for others, however lately the samples before it were', () => {
  const { turn, passes, committed, results } = started()
  passes(500)
  turn(false)
  passes(1)
  expect(committed()).toBe(10)
  turn(true)
  passes(1)
  expect(results()).toBe(0)
  passes(1)
  expect(results()).toBe(1)
})

test('results are committed no more often than the interval says', () => {
  const { turn, passes, results } = started()
  passes(500)
  turn(true)
  passes(0)
  passes(1)
  expect(results()).toBe(1)
  turn(true)
  for (let ms = 1; ms < COMMIT_MS; ms++) {
    passes(1)
    expect(results()).toBe(1)
  }
  passes(1)
  expect(results()).toBe(2)
})

test('progress alone is committed ten times a second, and the last of it only; nobody is woken for it', () => {
  const { turn, passes, committed, wakes } = started()
  passes(500)
  turn(false)
  passes(1)
  expect(committed()).toBe(10)
  for (let ms = 0; ms < 99; ms++) {
    turn(false)
    passes(1)
    expect(committed()).toBe(10)
  }
  passes(1)
  expect(committed()).toBe(1_000)
  expect(wakes.count).toBe(0)
  expect(Math.max(...NotedBell.waitsMs)).toBeLessThanOrEqual(100)
})

test('a shard wakes the committer once a turn that has a result', () => {
  const { turn, wakes } = started()
  turn(true)
  expect(wakes.count).toBe(1)
  turn(false)
  expect(wakes.count).toBe(1)
})
