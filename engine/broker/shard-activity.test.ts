import { expect, test } from 'vitest'
import {
  createShardActivity,
  SHARD_AWAITS_ROOM,
  SHARD_IDLE,
  SHARD_IN_BATCH,
  SHARD_STARTING,
  SHARD_WORKING,
  ShardActivity,
} from './shard-activity.ts'

test('another thread sees what a shard does, whether it moves, and over which batch it died', () => {
  const sab = createShardActivity()
  const shard = new ShardActivity(sab)
  const supervisor = new ShardActivity(sab)
  expect([supervisor.state, supervisor.threadId, supervisor.batch]).toEqual([SHARD_STARTING, 0, null])
  shard.restores(17)
  expect([supervisor.state, supervisor.threadId]).toEqual([SHARD_STARTING, 17])
  shard.started()
  expect(supervisor.state).toBe(SHARD_WORKING)
  const beats = supervisor.beats
  shard.beat()
  expect(supervisor.beats).not.toBe(beats)
  shard.beginBatch(3, 2, 2 ** 40, 2 ** 40 + 9, 9)
  expect(supervisor.state).toBe(SHARD_IN_BATCH)
  const place = { pipelineId: 3, partition: 2, baseOffset: 2 ** 40, endOffset: 2 ** 40 + 9, samples: 9 }
  expect(supervisor.batch).toEqual(place)
  // Waiting for the committer in the middle of it is not the batch's fault.
  shard.awaitsRoom(true)
  expect([supervisor.state, supervisor.batch]).toEqual([SHARD_AWAITS_ROOM, null])
  shard.awaitsRoom(false)
  expect(supervisor.batch).toEqual(place)
  shard.endBatch()
  expect([supervisor.state, supervisor.batch]).toEqual([SHARD_WORKING, null])
  shard.idle(true)
  expect(supervisor.state).toBe(SHARD_IDLE)
  shard.idle(false)
  expect(supervisor.state).toBe(SHARD_WORKING)
})
