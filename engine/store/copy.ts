/** What backup and restore share: targets that must be free, files that must be on the disk, a rename that publishes. */
import { existsSync, readdirSync, renameSync, rmdirSync, statfsSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { MillraceError } from '../contract/errors.ts'

export const PARTIAL_SUFFIX = '.partial'
/** Left free beside what is copied. */
const SPARE_BYTES = 16 << 20

/** INPUT_INVALID unless `target` is empty or absent in a directory that exists, and no half-made one is beside it. */
export function checkFree(target: string, place: string): void {
  const fault = (value: string, problem: string, remedy: string): never => {
    throw MillraceError.ofFaults('INPUT_INVALID', 'there is no place for the copy', [
      { place, value, problem, remedy },
    ])
  }
  const partial = target + PARTIAL_SUFFIX
  if (!existsSync(dirname(target))) fault(dirname(target), 'does not exist', 'Make it first.')
  if (existsSync(partial)) {
    fault(
      partial,
      'is there already',
      'One that was killed left it behind, or one is running: remove it, or choose another name.',
    )
  }
  if (!existsSync(target)) return
  if (!statSync(target).isDirectory()) fault(target, 'is a file', 'Name a directory.')
  if (readdirSync(target).length > 0) {
    fault(target, 'is not empty', 'Name a directory that is empty or not there; nothing was changed.')
  }
}

/** STORE_IO before anything is written, where the disk has no room for it. */
export function checkRoom(target: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(dirname(target))
  const free = bavail * bsize
  if (free >= bytes + SPARE_BYTES) return
  throw new MillraceError(
    'STORE_IO',
    `${dirname(target)} has ${free} bytes free, the copy takes ${bytes}. Make room, or choose another disk; nothing was written.`,
  )
}

export async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}

export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/** The half-made directory, whole and on the disk, takes its name. */
export async function publish(partial: string, target: string): Promise<void> {
  await syncDirectory(partial)
  if (existsSync(target)) rmdirSync(target)
  renameSync(partial, target)
  await syncDirectory(dirname(target))
}
