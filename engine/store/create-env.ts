/**
 * Makes an environment so that a power loss leaves it whole or not there. LMDB syncs the pages of its file, but neither
 * the file's name nor its directory's; it refuses a file of which only the first page reached the disk; and lmdb-js kills
 * the process when LMDB cannot write a new file (a full disk). So the empty file is written here, under another name,
 * synced, and renamed with its directory. Only `openStore` calls this, before anything is acknowledged. Two processes may
 * do it at once: the first rename wins, the other uses what it finds.
 */
import { randomUUID } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { DATA_FILE, envExists, LOCK_FILE } from './env.ts'
import { emptyFile } from './page-layout.ts'

const DRAFT = '-draft-'

/** The environment is there when this returns, and stays there. */
export function createEnv(path: string): void {
  const parent = dirname(path)
  // The parent may have been made a moment ago, by this process or by one that did not live to sync it.
  syncDirectory(dirname(parent))
  if (envExists(path)) {
    syncDirectory(path)
    syncDirectory(parent)
    return
  }
  const draft = `${path}${DRAFT}${randomUUID()}`
  try {
    mkdirSync(draft)
    writeSynced(join(draft, DATA_FILE), emptyFile())
    syncDirectory(draft)
    // A lock file says nothing without its data file, and a rename takes the place of an empty directory only.
    rmSync(join(path, LOCK_FILE), { force: true })
    renameSync(draft, path)
  } catch (error) {
    rmSync(draft, { recursive: true, force: true })
    // Another process was first, and may even have removed this draft.
    if (!envExists(path)) throw error
  }
  syncDirectory(parent)
}

/** What processes left that died while they made the environment. For its owner only. */
export function removeDrafts(path: string): void {
  const parent = dirname(path)
  for (const name of readdirSync(parent)) {
    if (name.startsWith(basename(path) + DRAFT)) rmSync(join(parent, name), { recursive: true, force: true })
  }
}

function writeSynced(path: string, bytes: Uint8Array): void {
  const file = openSync(path, 'wx')
  try {
    writeFileSync(file, bytes)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

/** Makes the names in it durable. A directory that may be passed through but not read cannot be synced, and is not ours. */
function syncDirectory(path: string): void {
  let directory: number
  try {
    directory = openSync(path, 'r')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EACCES') return
    throw error
  }
  try {
    fsyncSync(directory)
  } finally {
    closeSync(directory)
  }
}
