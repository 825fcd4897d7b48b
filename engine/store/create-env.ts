/**
 * Makes an environment so that a power loss leaves it whole or not there: LMDB syncs the pages of its file, but neither the
 * file's name nor its directory's, and a file of which only the first page reached the disk is one it refuses. So the
 * environment is made under another name, synced, and then renamed. Only `openStore` calls this, before anything is
 * acknowledged. Two processes may do it at once: the first rename wins, the other uses what it finds.
 */
import { randomUUID } from 'node:crypto'
import { closeSync, fsyncSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { DATA_FILE, envExists, LOCK_FILE, openEnv } from './env.ts'

/** No dot: lmdb-js takes a path with an extension for a file. */
const DRAFT = '-draft-'

/** The environment is there when this returns, and stays there. */
export async function createEnv(path: string): Promise<void> {
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
    await openEnv(draft, null).close()
    syncFile(join(draft, DATA_FILE))
    syncDirectory(draft)
    // A lock file says nothing without its data file, and a rename takes the place of an empty directory only.
    rmSync(join(path, LOCK_FILE), { force: true })
    renameSync(draft, path)
  } catch (error) {
    // Another process was first, and may even have removed this draft.
    if (!envExists(path)) throw error
    rmSync(draft, { recursive: true, force: true })
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

function syncFile(path: string): void {
  const file = openSync(path, 'r+')
  try {
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
