/**
 * An owner that freezes (SIGSTOP) at a chosen place, a successor that takes over while it sleeps, and its awakening: it
 * gets an error, stores nothing and sends nothing, and what the successor stored is what an uninterrupted run stores.
 */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, type TestContext, test } from 'vitest'
import { openLogReader } from '../../engine/store/log-store.ts'
import { OWNER_SILENT_VARIABLE, parseProcStat, readHeartbeat } from '../../engine/store/owner.ts'
import { openStateReader } from '../../engine/store/state-store.ts'
import { KILL_AT_VARIABLE, type KillPoint } from '../../engine/util/kill-point.ts'
import { checkLog, checkRun, openReference } from '../crash/check.ts'
import { Feeder } from '../crash/feed.ts'
import { NODE_ARGUMENTS, NodeProcess } from '../crash/node-process.ts'
import { FILES, writePipelines } from '../crash/pipelines.ts'
import { becomesQuiet } from '../crash/quiet.ts'
import { Receiver } from '../crash/receiver.ts'
import { newVerdict } from '../crash/verdict.ts'
import { until } from './process.ts'

const SEED = Number(process.env.MILLRACE_SEED ?? 20_250_103)
const PATIENCE_MS = 120_000
const TEST_MS_MAX = 400_000
/** Shorter than a user's, so that it is not the wait that takes the time; the rule is the same. */
const SILENT_MS = 4_000

interface Frozen {
  readonly dir: string
  readonly receiver: Receiver
  readonly feeder: Feeder
  readonly owner: NodeProcess
  readonly startNode: (more?: readonly string[]) => NodeProcess
}

interface Freeze {
  /** Null: from outside, at rest. */
  readonly at: `${KillPoint}:${number}` | null
  /** Null: as all nodes here. */
  readonly commitEvery: string | null
}

const BODIES = 24

/** A node that was fed until it froze. */
async function freeze({ at, commitEvery }: Freeze, cleanup: TestContext['onTestFinished']): Promise<Frozen> {
  const dir = mkdtempSync(join(tmpdir(), 'millrace-zombie-'))
  cleanup(() => rmSync(dir, { recursive: true, force: true }))
  const receiver = new Receiver(SEED)
  await receiver.listen()
  cleanup(() => receiver.close())
  const args = ['run', writePipelines(dir, receiver.url), '--data', join(dir, 'data')]
  const startNode = (more: readonly string[] = NODE_ARGUMENTS, env: Record<string, string> = {}) => {
    const silent = { [OWNER_SILENT_VARIABLE]: String(SILENT_MS) }
    const node = new NodeProcess([...args, ...more], { ...silent, ...env })
    cleanup(async () => {
      node.kill('SIGKILL')
      await node.ended
    })
    return node
  }
  const slower = [...NODE_ARGUMENTS]
  if (commitEvery !== null) {
    for (const flag of ['--commit-every', '--checkpoint-every'])
      slower[slower.indexOf(flag) + 1] = commitEvery
  }
  const owner = startNode(slower, at === null ? {} : { [KILL_AT_VARIABLE]: `${at}:SIGSTOP` })
  const feeder = new Feeder(SEED, 10)
  const url = await owner.ready
  expect(url, owner.said).not.toBeNull()
  feeder.start(url!, BODIES)
  if (at === null) {
    await feeder.ended()
    expect(await becomesQuiet(owner, url!, dir, () => receiver.count())).toBe(true)
    owner.kill('SIGSTOP')
  }
  await until(async () => (isStopped(owner.pid) ? true : null), PATIENCE_MS)
  // Not waited for: a request may be on its way to the frozen one.
  void feeder.stop()
  return { dir, receiver, feeder, owner, startNode }
}

function isStopped(pid: number): boolean {
  return parseProcStat(readFileSync(`/proc/${pid}/stat`, 'utf8')) === null
}

async function ownerIsSilent({ dir }: Frozen): Promise<void> {
  const heartbeatMs = () => statSync(join(dir, 'data/owner.json')).mtimeMs
  await until(async () => (Date.now() - heartbeatMs() > SILENT_MS + 500 ? true : null), PATIENCE_MS)
}

/** Everything that is stored or written, short enough to compare. */
async function stored({ dir }: Frozen): Promise<unknown> {
  const log = openLogReader({ dir: join(dir, 'data') })
  const state = openStateReader({ dir: join(dir, 'data') })
  try {
    const ends = log
      .topics()
      .map(({ id, partitions }) =>
        Array.from({ length: partitions }, (_, partition) => log.endOffset(id, partition)),
      )
    const rows = state.pipelines().map(({ id }) => ({
      progress: Array.from({ length: 4 }, (_, partition) => state.progress(id, partition)),
      checkpoints: Array.from({ length: 4 }, (_, partition) => state.checkpoint(id, partition)),
    }))
    // Not the sinks' cursors: the successor itself remembers now and then what it passed over.
    return {
      fence: state.fence(),
      ends,
      rows,
      files: FILES.map(({ name }) => readFileSync(join(dir, name), 'utf8')),
    }
  } finally {
    await state.close()
    await log.close()
  }
}

async function successorTakesOver(frozen: Frozen): Promise<void> {
  const { dir, receiver, feeder, owner, startNode } = frozen
  await ownerIsSilent(frozen)
  const successor = startNode()
  const url = await successor.ready
  expect(url, successor.said).not.toBeNull()
  // Lanes that wait for the frozen one end with it; these are new.
  const mine = new Feeder(SEED, 10, feeder.bodies)
  mine.start(url!, feeder.bodies + 30)
  await mine.ended()
  expect(await becomesQuiet(successor, url!, dir, () => receiver.count())).toBe(true)
  const before = await stored(frozen)

  owner.kill('SIGCONT')
  expect(await owner.endsWithin(PATIENCE_MS)).toEqual({ code: 1, signal: null })
  expect(owner.said).toMatch(/another process has taken over/)
  await feeder.ended()
  expect(await stored(frozen)).toEqual(before)

  // The successor goes on as if nothing had been.
  mine.start(url!, mine.bodies + 10)
  await mine.ended()
  expect(await becomesQuiet(successor, url!, dir, () => receiver.count())).toBe(true)
  successor.kill('SIGTERM')
  expect(await successor.endsWithin(PATIENCE_MS)).toEqual({ code: 0, signal: null })

  const verdict = newVerdict()
  mine.join(feeder)
  await checkLog(verdict, dir, mine, SEED)
  const posts = new Map([...receiver.received].map(([path, records]) => [path.slice(1), records]))
  await checkRun(verdict, 'successor,', { dir, posts }, await openReference(dir), true)
  expect(verdict).toEqual(newVerdict())
}

// Each waits for a heartbeat to grow old: they do so together.
describe.runIf(process.platform === 'linux').concurrent(`an owner that was frozen (seed ${SEED})`, () => {
  // Frozen with one thread at its place and no other in a transaction: commits come late, or the log is at rest by then.
  test.for<[string, Freeze]>([
    ['at rest', { at: null, commitEvery: null }],
    ['with a request before its transaction of the log', { at: 'log-staged:8', commitEvery: '60s' }],
    ['before its transaction of the state', { at: 'commit-taken:1', commitEvery: '7s' }],
    ['before a write to a file', { at: 'file-checked:1', commitEvery: '7s' }],
  ])(
    '%s: gets an error and stores nothing',
    { timeout: TEST_MS_MAX },
    async ([, how], { onTestFinished }) => {
      await successorTakesOver(await freeze(how, onTestFinished))
    },
  )

  test('inside a transaction: a successor waits for its lock, and then one of them has the store', {
    timeout: TEST_MS_MAX,
  }, async ({ onTestFinished }) => {
    const frozen = await freeze({ at: 'state-written:15', commitEvery: null }, onTestFinished)
    const { dir, owner, startNode, feeder, receiver } = frozen
    await ownerIsSilent(frozen)
    const successor = startNode()
    expect(await successor.endsWithin(3_000)).toBeNull()
    expect(successor.said).not.toContain('listens')
    owner.kill('SIGCONT')
    const ended = (await successor.ready) === null ? await successor.ended : null
    // Whoever has the lock first after the wait: the one that slept, or the one that waited. Never both.
    if (ended !== null) {
      expect(ended.code).toBe(1)
      expect(successor.said).toContain(`owned by process ${owner.pid}`)
    }
    const living = ended === null ? successor : owner
    const url = await living.ready
    await feeder.ended()
    feeder.start(url!, feeder.bodies + 10)
    await feeder.ended()
    expect(await becomesQuiet(living, url!, dir, () => receiver.count())).toBe(true)
    living.kill('SIGTERM')
    expect(await living.endsWithin(PATIENCE_MS)).toEqual({ code: 0, signal: null })
    const verdict = newVerdict()
    await checkLog(verdict, dir, feeder, SEED)
    const posts = new Map([...receiver.received].map(([path, records]) => [path.slice(1), records]))
    await checkRun(verdict, 'whoever lives,', { dir, posts }, await openReference(dir), true)
    expect(verdict).toEqual(newVerdict())
  })

  test('inside a transaction: a successor says whom it waits for and what to do, and that done goes on', {
    timeout: TEST_MS_MAX,
  }, async ({ onTestFinished }) => {
    const { dir, owner, startNode, feeder, receiver } = await freeze(
      { at: 'log-written:8', commitEvery: null },
      onTestFinished,
    )
    const { sinceMs } = readHeartbeat(join(dir, 'data'))!
    const successor = startNode()
    const advice = `end it: kill -9 ${owner.pid}.`
    await until(async () => (successor.said.includes(advice) ? true : null), PATIENCE_MS)
    expect(successor.said).toContain(
      `Its owner since ${new Date(sinceMs).toISOString()} is process ${owner.pid} on ${hostname()}, which is stopped`,
    )
    expect(successor.said).not.toContain('listens')
    owner.kill('SIGKILL')
    const url = await successor.ready
    expect(url, successor.said).not.toBeNull()
    await feeder.ended()
    feeder.start(url!, feeder.bodies + 10)
    await feeder.ended()
    expect(await becomesQuiet(successor, url!, dir, () => receiver.count())).toBe(true)
    // Said once, and not of a start that has begun.
    expect(successor.said.split(advice)).toHaveLength(2)
    successor.kill('SIGTERM')
    expect(await successor.endsWithin(PATIENCE_MS)).toEqual({ code: 0, signal: null })
    const verdict = newVerdict()
    await checkLog(verdict, dir, feeder, SEED)
    expect(verdict).toEqual(newVerdict())
  })
})
