/**
 * The store as a whole, on the main thread, before any writer thread runs: makes or verifies both environments, refuses a
 * second live owner by name, and takes a new fencing token in both. Afterwards the main thread writes no LMDB: its
 * heartbeat is a small file, and only `close` (after the writer threads have ended) touches the log once more.
 */
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { MillraceError } from '../contract/errors.ts'
import { type Clock, systemClock } from '../util/clock.ts'
import { prepareDirectory } from './directory.ts'
import { envExists, openEnv, type StoreEnv } from './env.ts'
import { LOG_FOLDER } from './log-store.ts'
import { LogTables, TAIL_APPENDED, TAIL_END, TAIL_STRIDE } from './log-tables.ts'
import {
  isOwnerAlive,
  type OwnerRecord,
  processStartOf,
  readHeartbeat,
  storeLocked,
  thisProcess,
  writeHeartbeat,
} from './owner.ts'
import { sealJson, unsealJson } from './sealed.ts'
import type { Checkpoint, Progress } from './state-contract.ts'
import { STATE_FOLDER } from './state-store.ts'
import { StateTables } from './state-tables.ts'

/** Raised with every change of what is stored; there is no reading of other versions. */
export const STORE_FORMAT = 1

export interface Store {
  readonly dir: string
  /** For openLogWriter and openStateWriter: a writer with another token is refused. */
  readonly fence: number
  /** The same in both environments, for the store's whole life. */
  readonly identity: string
  /** From when the node was down; null on a new store. For the `resumed` records. */
  readonly resumed: { readonly downFromMs: number } | null
  /** Call every second or so. STORE_FENCED: a successor has taken over; exit. */
  heartbeat(): void
  /** After the writer threads have ended. Lets the directory go; may be called twice. */
  close(): Promise<void>
}

const FORMAT_KEY = Buffer.from('format')
const IDENTITY_KEY = Buffer.from('identity')
/** In the log only, set when the state environment stands too. */
const COMPLETE_KEY = Buffer.from('complete')
const OWNER_KEY = Buffer.from('owner')

export async function openStore(options: { readonly dir: string; readonly clock?: Clock }): Promise<Store> {
  const clock = options.clock ?? systemClock
  const dir = prepareDirectory(options.dir)
  const logPath = join(dir, LOG_FOLDER)
  const statePath = join(dir, STATE_FOLDER)
  if (!envExists(logPath) && envExists(statePath)) {
    throw mismatch(dir, `${statePath} exists, but ${logPath} does not`)
  }
  const log = openEnv(logPath, null)
  const opened = [log]
  try {
    const here = thisProcess(clock.nowMs())
    checkFormat(log, dir)
    const claim = claimLog(log, dir, here, clock)
    try {
      // Opened only by the owner: what it finds or makes there is nobody else's.
      const state = openEnv(statePath, null)
      opened.push(state)
      checkFormat(state, dir)
      const isComplete = log.get(log.meta, COMPLETE_KEY) !== null
      const identity = agreeOnIdentity(log, state, dir, isComplete)
      const fence = takeFences(log, state, claim.fence)
      const newestMs = verifyOffsets(log, state, dir)
      const lastAliveMs = Math.max(newestMs, isComplete ? claim.lastHeartbeatMs : Number.NEGATIVE_INFINITY)
      if (!isComplete) log.transaction(() => log.put(log.meta, COMPLETE_KEY, sealJson(true)))
      return new OpenStore({
        dir,
        log,
        state,
        fence,
        identity,
        owner: here,
        clock,
        downFromMs: Number.isFinite(lastAliveMs) ? Math.min(lastAliveMs, clock.nowMs()) : null,
      })
    } catch (error) {
      release(log)
      throw error
    }
  } catch (error) {
    for (const env of opened) await env.close()
    throw error
  }
}

interface OpenStoreParts {
  readonly dir: string
  readonly log: StoreEnv
  readonly state: StoreEnv
  readonly fence: number
  readonly identity: string
  readonly owner: OwnerRecord
  readonly clock: Clock
  readonly downFromMs: number | null
}

class OpenStore implements Store {
  readonly dir: string
  readonly fence: number
  readonly identity: string
  readonly resumed: { readonly downFromMs: number } | null
  readonly #parts: OpenStoreParts
  #closed: Promise<void> | null = null

  constructor(parts: OpenStoreParts) {
    this.#parts = parts
    this.dir = parts.dir
    this.fence = parts.fence
    this.identity = parts.identity
    this.resumed = parts.downFromMs === null ? null : { downFromMs: parts.downFromMs }
    this.heartbeat()
  }

  heartbeat(): void {
    const { dir, log, fence, owner, clock } = this.#parts
    const present = log.fence()
    if (present !== fence) throw fenced(dir, present, fence)
    writeHeartbeat(dir, {
      pid: owner.pid,
      hostname: owner.hostname,
      sinceMs: owner.sinceMs,
      fence,
      heartbeatMs: clock.nowMs(),
    })
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    const { log, state, fence } = this.#parts
    if (log.fence() === fence) {
      this.heartbeat()
      release(log)
    }
    await state.close()
    await log.close()
  }
}

interface Claim {
  readonly fence: number
  readonly lastHeartbeatMs: number
}

/** Decides between two openers inside one write transaction: the second sees the first one's record. */
function claimLog(log: StoreEnv, dir: string, here: OwnerRecord, clock: Clock): Claim {
  return log.transaction(() => {
    const heartbeat = readHeartbeat(dir)
    const bytes = log.get(log.meta, OWNER_KEY)
    if (bytes !== null) {
      const owner = unsealJson<OwnerRecord>(bytes, () => `the owner record of ${dir}`)
      const heartbeatMs = Math.max(owner.sinceMs, heartbeat?.heartbeatMs ?? Number.NEGATIVE_INFINITY)
      if (isOwnerAlive(owner, here, heartbeatMs, clock.nowMs(), processStartOf)) {
        throw storeLocked(dir, owner, owner.hostname === here.hostname)
      }
    }
    const fence = log.fence() + 1
    log.put(log.meta, OWNER_KEY, sealJson(here))
    log.takeFence(fence)
    return { fence, lastHeartbeatMs: heartbeat?.heartbeatMs ?? Number.NEGATIVE_INFINITY }
  })
}

/** The state's token is never above the log's, unless a copy was put beside another log: then both go above it. */
function takeFences(log: StoreEnv, state: StoreEnv, claimed: number): number {
  const fence = Math.max(claimed, state.fence() + 1)
  if (fence > claimed) log.transaction(() => log.takeFence(fence))
  state.transaction(() => state.takeFence(fence))
  return fence
}

function release(log: StoreEnv): void {
  log.transaction(() => log.remove(log.meta, OWNER_KEY))
}

function checkFormat(env: StoreEnv, dir: string): void {
  const bytes = env.get(env.meta, FORMAT_KEY)
  if (bytes === null) return
  const format = unsealJson<number>(bytes, () => `the format version of ${env.path}`)
  if (format === STORE_FORMAT) return
  throw new MillraceError(
    'STORE_VERSION',
    `${dir} was written in store format ${format}; this version of millrace reads and writes format ${STORE_FORMAT}. ` +
      'Run the version that wrote it, or move the directory away and start with an empty one.',
  )
}

/** Makes the identity on a new store (a crash half-way is made good), compares it on an old one. */
function agreeOnIdentity(log: StoreEnv, state: StoreEnv, dir: string, isComplete: boolean): string {
  const ofLog = identityOf(log)
  const ofState = identityOf(state)
  if (isComplete && ofState === null) {
    throw mismatch(dir, 'the log has data, but the state environment is missing or empty')
  }
  if (ofState !== null && ofLog === null) {
    throw mismatch(dir, 'the state has data, but the log environment is missing or empty')
  }
  if (ofLog !== null && ofState !== null && ofLog !== ofState) {
    throw mismatch(dir, `the log belongs to store ${ofLog}, the state to store ${ofState}`)
  }
  const identity = ofLog ?? randomUUID()
  if (ofLog === null) makeIdentity(log, identity)
  if (ofState === null) makeIdentity(state, identity)
  return identity
}

function identityOf(env: StoreEnv): string | null {
  const bytes = env.get(env.meta, IDENTITY_KEY)
  return bytes === null ? null : unsealJson<string>(bytes, () => `the identity of ${env.path}`)
}

function makeIdentity(env: StoreEnv, identity: string): void {
  env.transaction(() => {
    env.put(env.meta, IDENTITY_KEY, sealJson(identity))
    env.put(env.meta, FORMAT_KEY, sealJson(STORE_FORMAT))
  })
}

/** Every offset in the state is at most the log's end. Returns the newest appendedMs of the log, or -Infinity. */
function verifyOffsets(log: StoreEnv, state: StoreEnv, dir: string): number {
  const logTables = new LogTables(log)
  const stateTables = new StateTables(state)
  const tails = log.read(() => logTables.readTopics().map((topic) => logTables.readTails(topic.id)))
  let newestMs = Number.NEGATIVE_INFINITY
  for (const tail of tails) {
    if (tail === null) continue
    for (let at = 0; at < tail.length; at += TAIL_STRIDE) {
      newestMs = Math.max(newestMs, tail[at + TAIL_APPENDED]!)
    }
  }
  state.read(() => {
    for (const pipeline of stateTables.readPipelines()) {
      const tail = tails[pipeline.topicId] ?? null
      const partitions = tail === null ? 0 : tail.length / TAIL_STRIDE
      for (const { partition, position, what } of positionsOf(stateTables, pipeline.id)) {
        // Streams beyond the topic's partitions are those of an exchange, and count no offsets.
        if (tail !== null && partition >= partitions) continue
        const end = tail === null ? 0 : tail[partition * TAIL_STRIDE + TAIL_END]!
        if (position <= end) continue
        throw mismatch(
          dir,
          `the ${what} of pipeline ${JSON.stringify(pipeline.name)}, partition ${partition}, stands at offset ` +
            `${position}, but the log ends at ${end}`,
        )
      }
    }
  })
  return newestMs
}

function* positionsOf(tables: StateTables, pipelineId: number) {
  for (const { partition, value } of tables.partitionRows<Progress>(tables.progress, pipelineId)) {
    yield { partition, position: value.position, what: 'progress' }
  }
  for (const { partition, value } of tables.partitionRows<Checkpoint>(tables.checkpoints, pipelineId)) {
    yield { partition, position: value.position, what: 'checkpoint' }
  }
}

function mismatch(dir: string, what: string): MillraceError {
  return new MillraceError(
    'STORE_MISMATCH',
    `the log and the state in ${dir} do not belong together: ${what}. Restore both from one backup, or move the ` +
      'directory away and start with an empty one.',
  )
}

function fenced(dir: string, present: number, ours: number): MillraceError {
  return new MillraceError(
    'STORE_FENCED',
    `another process has taken over ${dir} (its token is ${present}, ours ${ours}). This process must exit.`,
  )
}
