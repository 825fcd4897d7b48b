/** The supervisor over a host without threads: what is done, in which order, and what is never done. */
import { describe, expect, test } from 'vitest'
import { type BatchPlace, createShardActivity, ShardActivity } from '../engine/broker/shard-activity.ts'
import { MillraceError } from '../engine/contract/errors.ts'
import { ManualClock } from '../engine/util/clock.ts'
import { Prng } from '../engine/util/prng.ts'
import { START_MS_MAX, Supervisor, type SupervisorOptions } from './supervisor.ts'

const LIMITS = { restartLimit: 5, windowMs: 600_000, poisonTries: 2 }

function world(change: Partial<SupervisorOptions> = {}) {
  const done: string[] = []
  const warnings: string[] = []
  const activities: ShardActivity[] = []
  const held: { batch: (refusal: string | null) => void; rings: (() => void)[] } = {
    batch: () => {},
    rings: [],
  }
  const settings = { refusal: null as string | null, holdRings: false }
  const supervisor: Supervisor = new Supervisor({
    shards: 3,
    limits: LIMITS,
    hangMs: 1_000,
    host: {
      start: (shard) => {
        activities[shard] = new ShardActivity(createShardActivity())
        done.push(`start ${shard}`)
      },
      end: (shard, reason) => {
        done.push(`end ${shard}`)
        queueMicrotask(() => supervisor.failed(shard, { error: reason, hasEnded: true }))
      },
      activity: (shard) => activities[shard]!,
      renewRings: async (shard) => {
        done.push(`rings ${shard}`)
        if (settings.holdRings) await new Promise<void>((resolve) => held.rings.push(resolve))
      },
      retire: (shard) => done.push(`retire ${shard}`),
      giveUpBatch: async ({ baseOffset }, _reason, tries) => {
        done.push(`dead letter ${baseOffset} after ${tries}`)
        return settings.refusal
      },
      placeOf: ({ baseOffset }: BatchPlace) => `offset ${baseOffset}`,
    },
    clock: new ManualClock(),
    prng: new Prng(1),
    sleep: async () => {
      done.push('sleep')
    },
    onWarning: (error) => warnings.push(error.message),
    onFailure: (shard) => done.push(`failed ${shard}`),
    onRestart: (shard) => done.push(`restarted ${shard}`),
    onGiveUp: (shard, error) => done.push(`give up ${shard}: ${error.code} ${error.message}`),
    ...change,
  })
  supervisor.start()
  for (const activity of activities) activity.started()
  done.length = 0
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 50; i++) await Promise.resolve()
  }
  const fail = (shard: number, message = 'boom', code: 'WORKER_FAILED' | 'STORE_DAMAGED' = 'WORKER_FAILED') =>
    supervisor.failed(shard, { error: new MillraceError(code, message), hasEnded: true })
  return { supervisor, done, warnings, activities, held, settings, settle, fail }
}

describe('the supervisor', () => {
  test('replaces one shard: new rings before the pause, the pause before the start; the others go on', async () => {
    const { supervisor, done, warnings, settle, fail } = world()
    fail(1, 'boom\n    at somewhere')
    expect([supervisor.downCount, supervisor.lastFailure]).toEqual([1, 'shard-1: boom'])
    await settle()
    expect(done).toEqual(['failed 1', 'rings 1', 'sleep', 'start 1', 'restarted 1'])
    expect(supervisor.downCount).toBe(0)
    expect(warnings).toEqual([
      expect.stringMatching(/^shard-1 failed: boom\. Restart 1 in \d+ ms, from the last checkpoint$/),
    ])
    supervisor.close()
  })

  test('does not start a successor while the log writer and the committer hold the old rings', async () => {
    const { supervisor, done, held, settings, settle, fail } = world()
    settings.holdRings = true
    fail(0)
    await settle()
    expect(done).toEqual(['failed 0', 'rings 0'])
    held.rings[0]!()
    await settle()
    expect(done).toEqual(['failed 0', 'rings 0', 'sleep', 'start 0', 'restarted 0'])
    supervisor.close()
  })

  test('gives a batch up after its tries, durably before the successor starts', async () => {
    const { supervisor, done, warnings, activities, settle, fail } = world()
    for (let attempt = 0; attempt < 2; attempt++) {
      activities[2]!.started()
      activities[2]!.beginBatch(1, 0, 40, 50, 10)
      fail(2)
      await settle()
    }
    expect(done).toEqual([
      'failed 2',
      'rings 2',
      'sleep',
      'start 2',
      'restarted 2',
      'failed 2',
      'rings 2',
      'dead letter 40 after 2',
      'sleep',
      'start 2',
      'restarted 2',
    ])
    expect(warnings[0]).toMatch(/^shard-2 failed, over offset 40: boom/)
    expect(warnings[2]).toMatch(/^gave up offset 40 after 2 tries: 10 samples are skipped/)
    supervisor.close()
  })

  test('blames no batch where the shard waited for the committer', async () => {
    const { supervisor, done, activities, settle, fail } = world()
    for (let attempt = 0; attempt < 3; attempt++) {
      activities[2]!.started()
      activities[2]!.beginBatch(1, 0, 40, 50, 10)
      activities[2]!.awaitsRoom(true)
      fail(2)
      await settle()
    }
    expect(done.some((what) => what.startsWith('dead letter'))).toBe(false)
    supervisor.close()
  })

  test('gives up, once, where a batch cannot be skipped', async () => {
    const { supervisor, done, activities, settings, settle, fail } = world()
    settings.refusal = 'results up to offset 60 are committed'
    for (let attempt = 0; attempt < 2; attempt++) {
      activities[2]!.started()
      activities[2]!.beginBatch(1, 0, 40, 50, 10)
      fail(2)
      await settle()
    }
    expect(done.at(-1)).toBe(
      'give up 2: WORKER_FAILED failed 2 times, over offset 40, which cannot be skipped: results up to offset 60 are ' +
        'committed. At last: boom',
    )
    fail(1)
    await settle()
    expect(done.filter((what) => what.startsWith('give up'))).toHaveLength(1)
    expect(done.filter((what) => what === 'rings 1')).toEqual([])
    supervisor.close()
  })

  test('gives up after too many restarts', async () => {
    const { supervisor, done, activities, settle, fail } = world()
    for (let i = 0; i < 6; i++) {
      activities[0]!.started()
      fail(0)
      await settle()
    }
    expect(done.filter((what) => what === 'start 0')).toHaveLength(5)
    expect(done.at(-1)).toBe('give up 0: WORKER_FAILED failed 6 times (--restart-limit), at last: boom')
    supervisor.close()
  })

  test.each([
    ['a damaged store', 'STORE_DAMAGED', true],
    ['a first start that fails', 'WORKER_FAILED', false],
  ] as const)('does not try again what trying does not mend: %s', async (_, code, hasStarted) => {
    const { supervisor, done, activities, settle, fail } = world()
    if (!hasStarted) activities[0] = new ShardActivity(createShardActivity())
    fail(0, 'because', code)
    await settle()
    expect(done).toEqual(['failed 0', `give up 0: ${code} because`])
    supervisor.close()
  })

  test('a thread that cannot be ended is the end: its rings may not be touched', async () => {
    const { supervisor, done, settle } = world()
    supervisor.failed(0, { error: new MillraceError('WORKER_FAILED', 'stuck'), hasEnded: false })
    await settle()
    expect(done).toEqual(['give up 0: WORKER_FAILED stuck; it cannot be ended either'])
    supervisor.close()
  })

  test('ends a shard that has work and does not move, and no other', async () => {
    const { supervisor, done, activities, settle } = world()
    activities[0]!.beginBatch(1, 0, 40, 50, 10)
    activities[1]!.idle(true)
    activities[2]!.awaitsRoom(true)
    const looks = 1_000 / supervisor.lookMs
    supervisor.look()
    for (let i = 0; i < looks - 1; i++) supervisor.look()
    expect(done).toEqual([])
    supervisor.look()
    await settle()
    expect(done).toEqual(['end 0', 'failed 0', 'rings 0', 'sleep', 'start 0', 'restarted 0'])
    expect(supervisor.lastFailure).toBe('shard-0: it has not moved for 1000 ms (--hang-after)')
    supervisor.close()
  })

  test('one beat a bound is enough to live', () => {
    const { supervisor, done, activities } = world()
    activities[1]!.idle(true)
    activities[2]!.idle(true)
    for (let i = 0; i < 200; i++) {
      if (i % 9 === 0) activities[0]!.beat()
      supervisor.look()
    }
    expect(done).toEqual([])
    supervisor.close()
  })

  test('a thread that never comes up is ended too, after longer', async () => {
    const { supervisor, done, activities, settle } = world({ shards: 1 })
    activities[0] = new ShardActivity(createShardActivity())
    for (let i = 0; i < START_MS_MAX / supervisor.lookMs - 1; i++) supervisor.look()
    expect(done).toEqual([])
    supervisor.look()
    supervisor.look()
    await settle()
    expect(done[0]).toBe('end 0')
    expect(done.at(-1)).toMatch(/^give up 0: .*has not moved/)
    supervisor.close()
  })

  test('a shard that fails while the node stops is not started again, and the committer waits for nothing from it', async () => {
    const { supervisor, done, settle, fail } = world()
    await supervisor.stop()
    fail(1)
    await settle()
    expect(done).toEqual(['failed 1', 'retire 1'])
    supervisor.close()
  })

  test.each([
    ['a damaged store', 'STORE_DAMAGED', true],
    ['a thread that cannot be ended', 'WORKER_FAILED', false],
  ] as const)('nor does a stop wait for a shard that is gone for good: %s', async (_, code, hasEnded) => {
    const { supervisor, done, warnings, settle } = world()
    await supervisor.stop()
    supervisor.failed(1, { error: new MillraceError(code, 'gone'), hasEnded })
    await settle()
    expect(done.filter((what) => what !== 'failed 1')).toEqual(['retire 1'])
    expect(warnings).toEqual([expect.stringMatching(/^shard-1: gone.*The node is stopping/)])
    supervisor.close()
  })

  test('a stop that meets a shard as it is given up does not wait for it either', async () => {
    const { supervisor, done, activities, held, settings, settle, fail } = world()
    settings.refusal = 'its results are committed'
    for (let attempt = 0; attempt < 2; attempt++) {
      settings.holdRings = attempt === 1
      activities[2]!.started()
      activities[2]!.beginBatch(1, 0, 40, 50, 10)
      fail(2)
      await settle()
    }
    const stopping = supervisor.stop()
    held.rings[0]!()
    await stopping
    expect(done.slice(-2)).toEqual(['dead letter 40 after 2', 'retire 2'])
    supervisor.close()
  })

  test('a stop during a replacement waits for it to come to rest, and retires the shard', async () => {
    const { supervisor, done, held, settings, settle, fail } = world()
    settings.holdRings = true
    fail(1)
    await settle()
    let stopped = false
    const stopping = supervisor.stop().then(() => {
      stopped = true
    })
    await settle()
    expect(stopped).toBe(false)
    held.rings[0]!()
    await stopping
    expect(done).toEqual(['failed 1', 'rings 1', 'sleep', 'retire 1'])
    supervisor.close()
  })

  test('shards that exchange data restart together, whoever failed', async () => {
    const { supervisor, done, activities, settle, fail } = world({ units: [[0, 1], [2]] })
    fail(1)
    await settle()
    expect(done).toEqual([
      'failed 1',
      'end 0',
      'rings 0',
      'rings 1',
      'sleep',
      'start 0',
      'restarted 0',
      'start 1',
      'restarted 1',
    ])
    done.length = 0
    for (const activity of activities) activity.started()
    // Both at once: one replacement.
    fail(0)
    fail(1)
    await settle()
    expect(done.filter((what) => what === 'start 0' || what === 'start 1')).toHaveLength(2)
    expect(supervisor.downCount).toBe(0)
    supervisor.close()
  })
})
