/** The data directory as a place: makes it, or says in words what is wrong with it. Knows nothing of what lies in it. */
import { accessSync, constants, existsSync, mkdirSync, statfsSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { MillraceError } from '../contract/errors.ts'

/** statfs(2) magic numbers of file systems without a coherent shared memory map and locks, which LMDB needs. */
const NETWORK_FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xfe534d42, 'SMB2'],
  [0xff534d42, 'CIFS'],
  [0x564c, 'NCP'],
  [0x5346414f, 'AFS'],
  [0x73757245, 'Coda'],
  [0x00c36400, 'Ceph'],
  [0x01021997, '9P'],
])

export function prepareDirectory(dir: string): string {
  const path = resolve(dir)
  if (!existsSync(path)) {
    const parent = dirname(path)
    if (!existsSync(parent)) {
      throw refused(path, `its parent ${parent} does not exist`, 'Make the parent first, or choose another')
    }
    try {
      mkdirSync(path)
    } catch (error) {
      throw refused(path, messageOf(error), 'Grant the right to write there, or choose another', error)
    }
  }
  if (!statSync(path).isDirectory()) {
    throw refused(path, 'it is a file, not a directory', 'Choose a directory')
  }
  try {
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch (error) {
    throw refused(path, 'this user may not write there', 'Change its owner or mode, or choose another', error)
  }
  if (process.platform === 'linux') {
    const network = networkFileSystem(statfsSync(path).type)
    if (network !== null) {
      throw refused(
        path,
        `it lies on a network file system (${network}), where memory maps and locks cannot be trusted`,
        'Choose a directory on a local disk',
      )
    }
  }
  return path
}

/** The name of a refused file system by its statfs type, or null. */
export function networkFileSystem(type: number): string | null {
  return NETWORK_FILE_SYSTEMS.get(type >>> 0) ?? null
}

function refused(path: string, problem: string, remedy: string, cause?: unknown): MillraceError {
  return new MillraceError(
    'STORE_IO',
    `the data directory ${path} cannot be used: ${problem}. ${remedy} (--data).`,
    {
      cause,
      faults: [{ place: '--data', value: path, problem, remedy: `${remedy}.` }],
    },
  )
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
