/**
 * The store as a whole, on the main thread, before any writer thread runs: makes or verifies both environments, refuses a
 * second live owner by name, and takes a new fencing token in both. Afterwards the main thread writes no LMDB: its
 * heartbeat is a small file, and only `close` (after the writer threads have ended) touches the log once more.
 */
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { MillraceError } from '../contract/errors.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import { streamCount } from '../contract/streams.ts'
import { type Clock, systemClock } from '../util/clock.ts'
import { killPoint } from '../util/kill-point.ts'
import { createEnv, removeDrafts } from './create-env.ts'
import { prepareDirectory } from './directory.ts'
import { DAMAGE_REMEDY, DATA_FILE, envExists, namedFault, openEnv, type StoreEnv } from './env.ts'
import { LOG_FOLDER } from './log-store.ts'
import { LogTables, TAIL_APPENDED, TAIL_END, TAIL_STRIDE } from './log-tables.ts'
import {
  type Heartbeat,
  isOwnerAlive,
  mayReturn,
  type OwnerRecord,
  processStartOf,
  readHeartbeat,
  storeLocked,
  thisProcess,
  writeHeartbeat,
  writeHeartbeatAside,
} from './owner.ts'
import { checkPages } from './page-check.ts'
import { checkLogRows, checkStateRows } from './row-check.ts'
import { damaged, sealJson, unsealJson } from './sealed.ts'
import type { Checkpoint, Progress } from './state-contract.ts'
import { STATE_FOLDER } from './state-store.ts'
import { StateTables } from './state-tables.ts'

/** Raised with every change of what is stored; there is no reading of other versions. */
export const STORE_FORMAT = 3

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
  /** The same beside the event loop; one that comes before the last is written joins it. */
  heartbeatAside(): Promise<void>
  /** After the writer threads have ended. Lets the directory go; may be called twice. */
  close(): Promise<void>
  /** Closes without a word to the directory, whose files are gone. */
  abandon(): Promise<void>
}

const FORMAT_KEY = Buffer.from('format')
const IDENTITY_KEY = Buffer.from('identity')
/** In the log only, set when the state environment stands too. */
const COMPLETE_KEY = Buffer.from('complete')
const OWNER_KEY = Buffer.from('owner')

export async function openStore(options: { readonly dir: string; readonly clock?: Clock }): Promise<Store> {
  const dir = prepareDirectory(options.dir)
  try {
    return await openDirectory(dir, options.clock ?? systemClock)
  } catch (error) {
    throw namedFault(error, `the data directory ${dir} cannot be opened`)
  }
}

async function openDirectory(dir: string, clock: Clock): Promise<Store> {
  const logPath = join(dir, LOG_FOLDER)
  const statePath = join(dir, STATE_FOLDER)
  if (!envExists(logPath) && envExists(statePath)) {
    throw mismatch(dir, `${statePath} exists, but ${logPath} does not`)
  }
  if (!envExists(logPath)) createEnv(logPath)
  const wasChecked = isSound(logPath)
  const log = openEnv(logPath, null)
  const opened = [log]
  try {
    const here = thisProcess(clock.nowMs())
    checkFormat(log, dir)
    const claim = claimLog(log, dir, here, clock)
    killPoint('open-claimed')
    try {
      // Whoever was writing has been fenced by the claim.
      if (!wasChecked) isSound(logPath)
      const isComplete = log.get(log.meta, COMPLETE_KEY) !== null
      // Made and opened only by the owner: what it finds there is nobody else's.
      if (isComplete && !envExists(statePath)) {
        throw mismatch(dir, 'the log has data, but the state environment is missing')
      }
      if (!isComplete) {
        for (const path of [logPath, statePath]) createEnv(path)
        for (const path of [logPath, statePath]) removeDrafts(path)
      }
      isSound(statePath)
      const state = openEnv(statePath, null)
      opened.push(state)
      checkFormat(state, dir)
      const identity = agreeOnIdentity(log, state, dir, isComplete)
      const fence = takeFences(log, state, claim.fence)
      killPoint('open-fenced')
      const newestMs = verifyOffsets(log, state, dir)
      const lastAliveMs = Math.max(newestMs, isComplete ? claim.lastHeartbeatMs : Number.NEGATIVE_INFINITY)
      if (!isComplete) {
        log.transaction(() => log.put(log.meta, COMPLETE_KEY, sealJson(true)))
        killPoint('open-complete')
      }
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
      releaseAfter(error, log)
      throw error
    }
  } catch (error) {
    for (const env of opened) await env.close()
    throw error
  }
}

/** What stopped the opening is what is told: a record that stays behind holds nobody up once this process is gone. */
function releaseAfter(error: unknown, log: StoreEnv): void {
  try {
    release(log)
  } catch (second) {
    if (!(error instanceof MillraceError)) throw second
  }
}

/** Before LMDB touches a file, since it trusts what it reads. False: a living writer kept overtaking the check. */
function isSound(path: string): boolean {
  return !envExists(path) || checkPages(join(path, DATA_FILE), DAMAGE_REMEDY) !== null
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
  #beating: Promise<void> | null = null

  constructor(parts: OpenStoreParts) {
    this.#parts = parts
    this.dir = parts.dir
    this.fence = parts.fence
    this.identity = parts.identity
    this.resumed = parts.downFromMs === null ? null : { downFromMs: parts.downFromMs }
    this.heartbeat()
  }

  heartbeat(): void {
    const { dir } = this.#parts
    const present = this.#present()
    try {
      writeHeartbeat(dir, present)
    } catch (error) {
      throw namedFault(error, `the heartbeat in ${dir} cannot be written`)
    }
  }

  heartbeatAside(): Promise<void> {
    if (this.#closed !== null) return Promise.resolve()
    this.#beating ??= this.#beatAside().finally(() => {
      this.#beating = null
    })
    return this.#beating
  }

  async #beatAside(): Promise<void> {
    const { dir } = this.#parts
    const present = this.#present()
    try {
      await writeHeartbeatAside(dir, present)
    } catch (error) {
      throw namedFault(error, `the heartbeat in ${dir} cannot be written`)
    }
  }

  /** What a heartbeat says, while the store is ours. */
  #present(): Heartbeat {
    const { dir, log, fence, owner, clock } = this.#parts
    const present = log.fence()
    if (present !== fence) throw fenced(dir, present, fence)
    const { pid, hostname, sinceMs } = owner
    return { pid, hostname, sinceMs, fence, heartbeatMs: clock.nowMs() }
  }

  close(): Promise<void> {
    this.#closed ??= this.#settled().then(() => this.#close())
    return this.#closed
  }

  abandon(): Promise<void> {
    this.#closed ??= this.#settled().then(() => this.#closeBoth())
    return this.#closed
  }

  /** No heartbeat is on its way. How it ended was told to who asked for it. */
  async #settled(): Promise<void> {
    await this.#beating?.catch(() => {})
  }

  /** A heartbeat that cannot be written keeps nobody out. */
  #letGo(): void {
    try {
      this.heartbeat()
    } finally {
      killPoint('close-releasing')
      release(this.#parts.log)
      killPoint('close-released')
    }
  }

  async #close(): Promise<void> {
    const { log, fence } = this.#parts
    try {
      if (log.fence() === fence) this.#letGo()
    } finally {
      await this.#closeBoth()
    }
  }

  async #closeBoth(): Promise<void> {
    await this.#parts.state.close()
    await this.#parts.log.close()
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
    const before = bytes === null ? null : unsealJson<OwnerRecord>(bytes, () => `the owner record of ${dir}`)
    // In this very transaction: whoever comes after us finds our record there, and not the one that may return.
    if (before !== null && mayReturn(before, here, processStartOf)) log.putTakeover(fence)
    log.put(log.meta, OWNER_KEY, sealJson(here))
    log.takeFence(fence)
    return { fence, lastHeartbeatMs: heartbeat?.heartbeatMs ?? Number.NEGATIVE_INFINITY }
  })
}

/** The refusal that a second opener would get, or null: nobody lives there, or nothing is there. */
export async function liveOwner(dir: string, clock: Clock): Promise<MillraceError | null> {
  const logPath = join(dir, LOG_FOLDER)
  if (!envExists(logPath)) return null
  let log: StoreEnv
  try {
    log = openEnv(logPath, null)
  } catch {
    // Whoever asks next will be told what is wrong with it.
    return null
  }
  try {
    const bytes = log.get(log.meta, OWNER_KEY)
    if (bytes === null) return null
    const here = thisProcess(clock.nowMs())
    const owner = unsealJson<OwnerRecord>(bytes, () => `the owner record of ${dir}`)
    const heartbeatMs = Math.max(owner.sinceMs, readHeartbeat(dir)?.heartbeatMs ?? Number.NEGATIVE_INFINITY)
    const isAlive = isOwnerAlive(owner, here, heartbeatMs, clock.nowMs(), processStartOf)
    return isAlive ? storeLocked(dir, owner, owner.hostname === here.hostname) : null
  } finally {
    await log.close()
  }
}

/**
 * Of a copy that nobody else knows yet: the owner of the original is not its owner, and the tokens of both environments go
 * above all that were given out before.
 */
export async function disown(dir: string): Promise<{ readonly identity: string }> {
  const log = openEnv(join(dir, LOG_FOLDER), null)
  const state = openEnv(join(dir, STATE_FOLDER), null)
  try {
    const identity = identityOf(log)
    if (identity === null || identity !== identityOf(state)) {
      throw mismatch(dir, `the log belongs to store ${identity}, the state to store ${identityOf(state)}`)
    }
    const fence = Math.max(log.fence(), state.fence()) + 1
    log.transaction(() => {
      log.remove(log.meta, OWNER_KEY)
      log.takeFence(fence)
    })
    state.transaction(() => state.takeFence(fence))
    return { identity }
  } finally {
    await state.close()
    await log.close()
  }
}

/** The state's token is never above the log's, unless a copy was put beside another log: then both go above it. */
function takeFences(log: StoreEnv, state: StoreEnv, claimed: number): number {
  const fence = Math.max(claimed, state.fence() + 1)
  if (fence > claimed) log.transaction(() => log.takeFence(fence))
  const takeover = log.takeover()
  state.transaction(() => {
    state.takeFence(fence)
    if (takeover !== state.takeover()) state.putTakeover(takeover)
  })
  return fence
}

function release(log: StoreEnv): void {
  log.transaction(() => log.remove(log.meta, OWNER_KEY))
}

function checkFormat(env: StoreEnv, dir: string): void {
  const bytes = env.get(env.meta, FORMAT_KEY)
  if (bytes === null && identityOf(env) === null) return
  if (bytes === null) throw damaged(`the format version of ${env.path}`, 'missing')
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
  if (ofLog === null) {
    makeIdentity(log, identity)
    killPoint('open-log-identity')
  }
  if (ofState === null) {
    makeIdentity(state, identity)
    killPoint('open-state-identity')
  }
  return identity
}

/** For verify: what a start would refuse of formats, identities and offsets; empty: nothing. Reads only. */
export function environmentProblems(log: StoreEnv, state: StoreEnv, dir: string): string[] {
  const problems: string[] = []
  const look = (body: () => void): void => {
    try {
      body()
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error))
    }
  }
  look(() => checkFormat(log, dir))
  look(() => checkFormat(state, dir))
  look(() => {
    const ofLog = identityOf(log)
    const ofState = identityOf(state)
    if (ofLog === null) problems.push('the log has no identity')
    if (ofLog !== ofState) problems.push(`the log belongs to store ${ofLog}, the state to store ${ofState}`)
  })
  return problems
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

/** No row is missing or out of place, and every offset in the state is at most the log's end. Returns the newest appendedMs of the log, or -Infinity. */
export function verifyOffsets(log: StoreEnv, state: StoreEnv, dir: string): number {
  const logTables = new LogTables(log)
  const stateTables = new StateTables(state)
  const topics = log.read(() => logTables.readTopics())
  const tails = log.read(() => topics.map((topic) => logTables.readTails(topic.id)))
  checkLogRows(logTables)
  checkStateRows(stateTables, ({ topicId, planJson }) => {
    const topic = topics[topicId]
    if (topic === undefined) return null
    const { exchange } = JSON.parse(planJson) as Pick<PipelinePlan, 'exchange'>
    return streamCount(topic.partitions, exchange)
  })
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
