/**
 * Deletes what a pipeline has made, or the whole store. Only ever by its owner: a store on which a node runs is refused by
 * name. A pipeline's reset is one transaction; its rows are collected afterwards, and a reset that was broken off is
 * completed by the next node. Of a whole store the files go that millrace made, and no others.
 */
import { existsSync, readdirSync, rmdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { MillraceError } from '../contract/errors.ts'
import type { Clock } from '../util/clock.ts'
import { DATA_FILE, openEnv } from './env.ts'
import { LOG_FOLDER } from './log-store.ts'
import { isHeartbeatFile, keepingHeartbeat, OWNER_SILENT_MS, readHeartbeat } from './owner.ts'
import { isHoldFile } from './retention-hold.ts'
import { openStateWriter, STATE_FOLDER } from './state-store.ts'
import { StateTables } from './state-tables.ts'
import { openStore, type Store } from './store.ts'

const COLLECT_ROWS = 4_096

export interface PipelineSize {
  readonly name: string
  readonly rows: number
  readonly bytes: number
}

export interface StoreSize {
  readonly dir: string
  readonly logBytes: number
  readonly stateBytes: number
  readonly pipelines: readonly PipelineSize[]
  /** Why the pipelines could not be counted; null: they were. */
  readonly problem: string | null
}

/** For the question that comes before; reads only, beside a running node too. */
export async function measureStore(dir: string): Promise<StoreSize> {
  const size = {
    dir,
    logBytes: sizeOf(join(dir, LOG_FOLDER, DATA_FILE)),
    stateBytes: sizeOf(join(dir, STATE_FOLDER, DATA_FILE)),
  }
  try {
    const env = openEnv(join(dir, STATE_FOLDER), null)
    try {
      const tables = new StateTables(env)
      const records = env.read(() => tables.readPipelines())
      const pipelines = records.map(({ id, name }) => ({ name, ...tables.sizeOf(id) }))
      return { ...size, pipelines, problem: null }
    } finally {
      await env.close()
    }
  } catch (error) {
    return { ...size, pipelines: [], problem: error instanceof Error ? error.message : String(error) }
  }
}

/** The pipelines are forgotten; the log stays, and a pipeline that runs again reads it from its oldest record. */
export async function resetPipelines(dir: string, names: readonly string[], clock: Clock): Promise<void> {
  await keepingHeartbeat(dir, () => dropPipelines(dir, names, clock))
}

async function dropPipelines(dir: string, names: readonly string[], clock: Clock): Promise<void> {
  const store = await openStore({ dir, clock })
  try {
    const writer = openStateWriter({ dir: store.dir, fence: store.fence })
    try {
      const records = names.map((name) => writer.pipeline(name))
      writer.transaction((txn) => {
        for (const record of records) if (record !== null) txn.drop(record.id)
      })
      while (writer.collect(COLLECT_ROWS)) store.heartbeat()
    } finally {
      await writer.close()
    }
  } finally {
    await store.close()
  }
}

/** Works on a store that cannot be opened any more too; then its heartbeat must tell that nobody runs on it. */
export async function resetStore(dir: string, clock: Clock): Promise<void> {
  const store = await claim(dir, clock)
  for (const name of readdirSync(dir)) {
    if (name === STATE_FOLDER || name === LOG_FOLDER || isHeartbeatFile(name) || isHoldFile(name)) {
      rmSync(join(dir, name), { recursive: true, force: true })
    }
  }
  await store?.abandon()
  if (existsSync(dir) && readdirSync(dir).length === 0) rmdirSync(dir)
}

async function claim(dir: string, clock: Clock): Promise<Store | null> {
  try {
    return await openStore({ dir, clock })
  } catch (error) {
    if (!(error instanceof MillraceError) || error.code === 'STORE_LOCKED') throw error
    const heartbeat = readHeartbeat(dir)
    if (heartbeat !== null && Math.abs(clock.nowMs() - heartbeat.heartbeatMs) < OWNER_SILENT_MS) {
      throw new MillraceError(
        'STORE_LOCKED',
        `${dir} cannot be opened (${error.message}), and process ${heartbeat.pid} on ${heartbeat.hostname} gave a sign of ` +
          `life less than ${OWNER_SILENT_MS / 1_000} s ago. Stop it, then try again. Nothing was deleted.`,
        { cause: error },
      )
    }
    return null
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}
