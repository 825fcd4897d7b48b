/** The first checkpoint of a pipeline that is new on a log whose oldest records retention has deleted. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { sealBatch } from '../engine/batch/batch-encoder.ts'
import * as layout from '../engine/batch/layout.ts'
import { CommitCollector } from '../engine/broker/commit-collector.ts'
import { createBoard, layOutPipelines, layOutTopics } from '../engine/broker/node-board.ts'
import { createShardActivity } from '../engine/broker/shard-activity.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import { RECORD_SAMPLES } from '../engine/contract/samples.ts'
import { storedStreams } from '../engine/contract/streams.ts'
import { createMetricsBlock } from '../engine/metrics/thread-metrics.ts'
import { testPlan } from '../engine/pipeline/memory-state.ts'
import { createDoorbell } from '../engine/ring/doorbell.ts'
import { createRing, RingConsumer } from '../engine/ring/spsc-ring.ts'
import { encodeSeriesKey } from '../engine/series/series-key.ts'
import { openLogReader, openLogWriter } from '../engine/store/log-store.ts'
import { openStateWriter } from '../engine/store/state-store.ts'
import { openStore, type Store } from '../engine/store/store.ts'
import { ShardThread } from './shard.ts'

const SAMPLES = 3
let dir: string
let store: Store

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'millrace-shard-start-'))
  store = await openStore({ dir })
})

afterEach(async () => {
  await store.close()
  rmSync(dir, { recursive: true, force: true })
})

function batch(baseOffset: number): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(Math.ceil(layout.batchBytes(SAMPLES) / 8) * 8))
  new Float64Array(bytes.buffer, layout.timestampsAt(), SAMPLES).fill(1_000)
  const length = sealBatch(bytes, new DataView(bytes.buffer), {
    kind: RECORD_SAMPLES,
    topicId: 0,
    partition: 0,
    baseOffset,
    count: SAMPLES,
    minTimestampMs: 1_000,
    maxTimestampMs: 1_000,
    appendedMs: 1_000,
    producerId: 0,
    producerEpoch: 0,
    baseSequence: -1,
  })
  return bytes.subarray(0, length)
}

test.each([
  ['covered groups', undefined],
  ['spread groups', { buckets: 1 }],
])('%s: it starts at the oldest record that is left, and says so', async (_, exchange) => {
  const plan: PipelinePlan = {
    ...testPlan(),
    topic: { name: 'metrics', partitions: 1, partitionBy: null },
    aggregates: [{ name: 'count', kind: 'count', options: {} }],
    detectors: [],
    ...(exchange === undefined ? {} : { exchange }),
  }
  const log = openLogWriter({ dir, fence: store.fence })
  log.transaction((txn) => {
    txn.createTopic(plan.topic)
    txn.putSeries(0, 0, encodeSeriesKey({ __name__: 'm' }))
    for (const offset of [0, 1, 2]) txn.putBatch(batch(offset * SAMPLES))
    txn.deleteBatch(0, 0, 0)
  })
  const state = openStateWriter({ dir, fence: store.fence })
  const { id } = state.transaction((txn) =>
    txn.putPipeline({
      name: plan.name,
      topicId: 0,
      topic: 'metrics',
      planHash: 'h',
      planJson: JSON.stringify(plan),
    }),
  )
  const topics = layOutTopics([{ ...plan.topic, topicId: 0 }])
  const pipelines = layOutPipelines([{ plan, pipelineId: id }], topics)
  const commitRing = createRing(1 << 20)
  const reader = openLogReader({ dir })
  const shard = new ShardThread(
    {
      dir,
      fence: store.fence,
      board: createBoard(1, storedStreams(plan)),
      topics,
      pipelines,
      metrics: createMetricsBlock(),
      shard: 0,
      shardCount: 1,
      ring: createRing(1 << 16),
      bell: createDoorbell(),
      commitRing,
      commitRoomBell: createDoorbell(),
      committerBell: createDoorbell(),
      activity: createShardActivity(),
    },
    reader,
    state,
  )
  shard.start()
  const collector = new CommitCollector(1, pipelines, state)
  const ring = new RingConsumer(commitRing)
  for (let kind = ring.peek(); kind >= 0; kind = ring.peek()) {
    collector.take(0, kind, ring.i32, ring.f64, ring.u8, ring.position)
    ring.release()
  }
  state.transaction((txn) => collector.apply(txn))
  collector.settle(() => {})
  expect(state.checkpoint(id, 0)?.position).toBe(SAMPLES)
  expect(state.progress(id, 0)).toMatchObject({ position: SAMPLES, nextSeq: 0 })
  await Promise.all([reader.close(), state.close(), log.close()])
})
