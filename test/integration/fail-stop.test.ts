/**
 * A node that must end while its committer is inside a transaction: it ends all the same, and its successor gets the
 * store. Ending the thread there would leave LMDB's lock taken for as long as the process hangs, which is for ever.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, type TestContext, test } from 'vitest'
import { openEnv } from '../../engine/store/env.ts'
import { LOG_FOLDER } from '../../engine/store/log-store.ts'
import { KILL_AT_VARIABLE } from '../../engine/util/kill-point.ts'
import { Feeder } from '../crash/feed.ts'
import { NODE_ARGUMENTS, NodeProcess } from '../crash/node-process.ts'
import { writePipelines } from '../crash/pipelines.ts'
import { Receiver } from '../crash/receiver.ts'
import { until } from './process.ts'

const SEED = 20_261_126
const PATIENCE_MS = 60_000

/** A node whose committer stands inside its 15th transaction for `waitMs`. */
async function stalled(waitMs: number, cleanup: TestContext['onTestFinished']) {
  const dir = mkdtempSync(join(tmpdir(), 'millrace-fail-stop-'))
  cleanup(() => rmSync(dir, { recursive: true, force: true }))
  const receiver = new Receiver(SEED)
  await receiver.listen()
  cleanup(() => receiver.close())
  const data = join(dir, 'data')
  const args = ['run', writePipelines(dir, receiver.url), '--data', data, ...NODE_ARGUMENTS]
  const startNode = (env: Record<string, string> = {}): NodeProcess => {
    const node = new NodeProcess(args, env)
    cleanup(async () => {
      node.kill('SIGKILL')
      await node.ended
    })
    return node
  }
  const node = startNode({ [KILL_AT_VARIABLE]: `state-written:15:${waitMs}` })
  const url = await node.ready
  expect(url, node.said).not.toBeNull()
  const feeder = new Feeder(SEED, 10)
  feeder.start(url!)
  cleanup(() => feeder.stop())
  // From the outside it shows as a committer that no longer goes round its loop.
  await until(async () => ((await committerAgeSeconds(url!)) > 1 ? true : null), PATIENCE_MS)
  return { data, node, startNode, feeder }
}

async function committerAgeSeconds(url: string): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text()
  return Number(/millrace_thread_heartbeat_age_seconds\{thread="committer"\} (\S+)/.exec(metrics)?.[1] ?? 0)
}

/** What a successor does first: the node finds out with its next heartbeat. */
async function takeOver(data: string): Promise<void> {
  const log = openEnv(join(data, LOG_FOLDER), null)
  try {
    log.transaction(() => log.takeFence(log.fence() + 1))
  } finally {
    await log.close()
  }
}

describe.concurrent('a node that fails while a writer is inside a transaction', () => {
  test('ends with the reason when the writer has come to the end of it', { timeout: 180_000 }, async ({
    onTestFinished,
  }) => {
    const { data, node, startNode } = await stalled(6_000, onTestFinished)
    await takeOver(data)
    expect(await node.endsWithin(PATIENCE_MS)).toEqual({ code: 1, signal: null })
    expect(node.said).toMatch(/another process has taken over/)
    const successor = startNode()
    expect(await successor.ready, successor.said).not.toBeNull()
  })

  test('kills itself when the writer does not get there, and says why', { timeout: 180_000 }, async ({
    onTestFinished,
  }) => {
    const { data, node, startNode } = await stalled(300_000, onTestFinished)
    await takeOver(data)
    expect(await node.endsWithin(PATIENCE_MS)).toEqual({ code: null, signal: 'SIGKILL' })
    expect(node.said).toMatch(/does not end: the process kills itself.*another process has taken over/)
    const successor = startNode()
    expect(await successor.ready, successor.said).not.toBeNull()
  })

  test('a second signal ends it at once', { timeout: 180_000 }, async ({ onTestFinished }) => {
    const { node, startNode } = await stalled(300_000, onTestFinished)
    node.kill('SIGTERM')
    expect(await node.endsWithin(2_000)).toBeNull()
    node.kill('SIGTERM')
    expect(await node.endsWithin(PATIENCE_MS)).toEqual({ code: null, signal: 'SIGKILL' })
    const successor = startNode()
    expect(await successor.ready, successor.said).not.toBeNull()
  })
})
