/**
 * A backup is a store that nobody owns, with a manifest. Taken while a node runs: `state` is copied first, then `log`, each
 * from one snapshot by LMDB's own copy, and retention rests meanwhile; so every offset in the copied state is at most the
 * copied log's end and at least its start. The copy appears under its name only when it is whole, verified and on the disk.
 * The copying snapshots pin pages: a log that is written meanwhile grows by what is written, and uses that room later.
 */
import { constants, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { copyFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { MillraceError } from '../contract/errors.ts'
import type { Clock } from '../util/clock.ts'
import { checkFree, checkRoom, PARTIAL_SUFFIX, publish, syncDirectory, syncFile } from './copy.ts'
import { DATA_FILE, openEnv, type StoreEnv } from './env.ts'
import { LOG_FOLDER } from './log-store.ts'
import { keepingHeartbeat } from './owner.ts'
import { storeAt } from './place.ts'
import { holdRetention } from './retention-hold.ts'
import { STATE_FOLDER } from './state-store.ts'
import { disown, environmentProblems, liveOwner, openStore, STORE_FORMAT } from './store.ts'

export const MANIFEST_FILE = 'backup.json'

export interface BackupManifest {
  readonly backup: 1
  /** Store format: only the version that knows it can restore. */
  readonly format: number
  /** Of millrace. */
  readonly version: string
  readonly identity: string
  readonly takenMs: number
  readonly source: string
  readonly bytes: number
}

/** Called with the directory as it will be published; throws or false: it is not. */
export type VerifyCopy = (dir: string) => Promise<boolean>

export interface BackupOptions {
  readonly dir: string
  readonly target: string
  readonly version: string
  readonly clock: Clock
  readonly verify: VerifyCopy
  readonly onProgress?: (bytes: number, total: number) => void
  /** Between the two copies; for tests. */
  readonly afterState?: () => void
}

/** Null: the copy did not pass, or was broken off, and is gone. */
export async function backupStore(options: BackupOptions): Promise<BackupManifest | null> {
  const dir = storeAt(options.dir)
  const target = resolve(options.target)
  checkFree(target, 'DIR')
  const partial = target + PARTIAL_SUFFIX
  const opened: StoreEnv[] = []
  const hold = holdRetention(dir, options.clock)
  try {
    const state = openPart(dir, STATE_FOLDER, opened)
    const log = openPart(dir, LOG_FOLDER, opened)
    const problems = environmentProblems(log, state, dir)
    if (problems.length > 0)
      throw new MillraceError('STORE_MISMATCH', `${problems.join('; ')}. Nothing was copied.`)
    const total = sizeOf(dir, STATE_FOLDER) + sizeOf(dir, LOG_FOLDER)
    checkRoom(target, total)
    const takenMs = options.clock.nowMs()
    const watch = watching(partial, total, options.onProgress)
    try {
      await copyPart(state, partial, STATE_FOLDER)
      options.afterState?.()
      await copyPart(log, partial, LOG_FOLDER)
    } finally {
      watch()
    }
    const { identity } = await disown(partial)
    const bytes = sizeOf(partial, STATE_FOLDER) + sizeOf(partial, LOG_FOLDER)
    const { version } = options
    const manifest: BackupManifest = {
      backup: 1,
      format: STORE_FORMAT,
      version,
      identity,
      takenMs,
      source: dir,
      bytes,
    }
    writeFileSync(join(partial, MANIFEST_FILE), `${JSON.stringify(manifest, null, 2)}\n`)
    await syncFile(join(partial, MANIFEST_FILE))
    if (!(await options.verify(partial))) return null
    await publish(partial, target)
    return manifest
  } finally {
    hold.release()
    for (const env of opened) await env.close()
    rmSync(partial, { recursive: true, force: true })
  }
}

export interface RestoreOptions {
  readonly backup: string
  readonly dir: string
  readonly version: string
  readonly clock: Clock
  readonly verify: VerifyCopy
}

/** Null: the copy did not pass, or was broken off, and is gone. */
export async function restoreStore(options: RestoreOptions): Promise<BackupManifest | null> {
  const backup = resolve(options.backup)
  const manifest = readManifest(backup, options.version)
  const dir = resolve(options.dir)
  const owner = await liveOwner(dir, options.clock)
  if (owner !== null) throw owner
  checkFree(dir, '--data')
  checkRoom(dir, sizeOf(backup, STATE_FOLDER) + sizeOf(backup, LOG_FOLDER))
  const partial = dir + PARTIAL_SUFFIX
  try {
    for (const folder of [STATE_FOLDER, LOG_FOLDER]) {
      mkdirSync(join(partial, folder), { recursive: true })
      const file = join(partial, folder, DATA_FILE)
      // Where the file system can, this shares the blocks.
      await copyFile(join(backup, folder, DATA_FILE), file, constants.COPYFILE_FICLONE)
      await syncFile(file)
      await syncDirectory(join(partial, folder))
    }
    if (!(await options.verify(partial))) return null
    // As a node would open it: what a start would refuse is refused here.
    await keepingHeartbeat(partial, async () => {
      const store = await openStore({ dir: partial, clock: options.clock })
      await store.close()
    })
    await publish(partial, dir)
    return manifest
  } finally {
    rmSync(partial, { recursive: true, force: true })
  }
}

function readManifest(backup: string, version: string): BackupManifest {
  const path = join(backup, MANIFEST_FILE)
  if (!existsSync(path)) {
    throw MillraceError.ofFaults('INPUT_INVALID', 'there is nothing to restore', [
      {
        place: 'BACKUP',
        value: backup,
        problem: existsSync(backup)
          ? `it has no ${MANIFEST_FILE}, so it is no backup`
          : 'there is no such directory',
        remedy: 'Name a directory that millrace backup made.',
      },
    ])
  }
  let manifest: Partial<BackupManifest>
  try {
    manifest = JSON.parse(readFileSync(path, 'utf8')) as Partial<BackupManifest>
  } catch (cause) {
    throw new MillraceError('STORE_DAMAGED', `${path} cannot be read. Use another backup.`, { cause })
  }
  const { backup: shape, format } = manifest
  if (shape !== 1 || typeof format !== 'number' || format !== STORE_FORMAT) {
    const isNewer = (format ?? 0) > STORE_FORMAT || (shape ?? 0) > 1
    const remedy = isNewer
      ? `Restore it with millrace ${manifest.version ?? '(a newer one)'} or later.`
      : `Restore it with millrace ${manifest.version ?? '(the one that made it)'}.`
    throw new MillraceError(
      'STORE_VERSION',
      `${backup} was made by millrace ${manifest.version ?? '(unknown)'} in store format ${format ?? '(unknown)'}; millrace ` +
        `${version} reads and writes format ${STORE_FORMAT}. ${remedy} Nothing was changed.`,
    )
  }
  return manifest as BackupManifest
}

function openPart(dir: string, folder: string, opened: StoreEnv[]): StoreEnv {
  const path = join(dir, folder)
  if (!existsSync(join(path, DATA_FILE))) {
    throw new MillraceError(
      'STORE_MISMATCH',
      `${path} does not exist, the store is not whole. Nothing was copied.`,
    )
  }
  const env = openEnv(path, null)
  opened.push(env)
  return env
}

async function copyPart(env: StoreEnv, partial: string, folder: string): Promise<void> {
  const path = join(partial, folder)
  mkdirSync(path, { recursive: true })
  await env.copyTo(path)
  await syncFile(join(path, DATA_FILE))
  await syncDirectory(path)
}

function sizeOf(dir: string, folder: string): number {
  return statSync(join(dir, folder, DATA_FILE), { throwIfNoEntry: false })?.size ?? 0
}

const WATCH_MS = 200

function watching(partial: string, total: number, tell: BackupOptions['onProgress']): () => void {
  const timer = setInterval(() => {
    tell?.(sizeOf(partial, STATE_FOLDER) + sizeOf(partial, LOG_FOLDER), total)
  }, WATCH_MS)
  return () => clearInterval(timer)
}
