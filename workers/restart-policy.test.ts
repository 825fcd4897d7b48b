import { describe, expect, test } from 'vitest'
import type { BatchPlace } from '../engine/broker/shard-activity.ts'
import { Prng } from '../engine/util/prng.ts'
import { RESTART_BACKOFF, RestartPolicy } from './restart-policy.ts'

const LIMITS = { restartLimit: 5, windowMs: 1_000, poisonTries: 3 }

function batch(baseOffset: number, partition = 0): BatchPlace {
  return { pipelineId: 1, partition, baseOffset, endOffset: baseOffset + 10, samples: 10 }
}

describe('the restart policy', () => {
  test('pauses grow by doubling, with jitter, up to the bound', () => {
    const policy = new RestartPolicy({ ...LIMITS, restartLimit: 20 }, new Prng(1))
    for (let i = 0; i < 20; i++) {
      const decision = policy.failed(i, null)
      if (decision.type !== 'restart') throw new Error('it gave up')
      const fullMs = Math.min(RESTART_BACKOFF.maxMs, RESTART_BACKOFF.firstMs * 2 ** i)
      expect(decision.delayMs).toBeGreaterThanOrEqual(fullMs / 2)
      expect(decision.delayMs).toBeLessThan(fullMs)
    }
  })

  test('gives up at the first failure beyond the limit within the window, not before', () => {
    const policy = new RestartPolicy(LIMITS, new Prng(1))
    for (let i = 0; i < 5; i++)
      expect(policy.failed(i, null)).toMatchObject({ type: 'restart', restarts: i + 1 })
    expect(policy.failed(999, null)).toEqual({ type: 'give-up', failures: 6 })
  })

  test('forgets restarts older than the window: a failure now and then is no reason to give up', () => {
    const policy = new RestartPolicy(LIMITS, new Prng(1))
    for (let i = 0; i < 100; i++) {
      expect(policy.failed(i * 250, null)).toMatchObject({ type: 'restart', restarts: Math.min(i + 1, 4) })
    }
  })

  test('no restart at all where the limit is 0', () => {
    expect(new RestartPolicy({ ...LIMITS, restartLimit: 0 }, new Prng(1)).failed(0, batch(1)).type).toBe(
      'give-up',
    )
  })

  test('a batch is poison at its third try, also with other failures in between; another partition’s is another', () => {
    const policy = new RestartPolicy({ ...LIMITS, restartLimit: 9 }, new Prng(1))
    expect(policy.failed(0, batch(7))).toMatchObject({ tries: 1, isPoison: false })
    expect(policy.failed(1, batch(7, 1))).toMatchObject({ tries: 1, isPoison: false })
    expect(policy.failed(2, null)).toMatchObject({ tries: 0, isPoison: false })
    expect(policy.failed(3, batch(7))).toMatchObject({ tries: 2, isPoison: false })
    expect(policy.failed(4, batch(17))).toMatchObject({ tries: 1, isPoison: false })
    expect(policy.failed(5, batch(7))).toMatchObject({ tries: 3, isPoison: true })
  })

  test('a pipeline that fails at every batch gives up instead of skipping its way through the log', () => {
    const policy = new RestartPolicy({ ...LIMITS, restartLimit: 20 }, new Prng(1))
    let dead = 0
    for (let failures = 0; ; failures++) {
      const decision = policy.failed(failures, batch(dead * 10))
      if (decision.type === 'give-up') break
      if (decision.isPoison) dead++
    }
    expect(dead).toBe(6)
  })
})
