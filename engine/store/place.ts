/** Where a store lies, for commands that look at one and must never make one by looking. */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { MillraceError } from '../contract/errors.ts'
import { envExists } from './env.ts'
import { LOG_FOLDER } from './log-store.ts'
import { STATE_FOLDER } from './state-store.ts'

/** The absolute path of the store in `dir`; INPUT_INVALID where there is none. */
export function storeAt(dir: string): string {
  const path = resolve(dir)
  if (envExists(join(path, LOG_FOLDER)) || envExists(join(path, STATE_FOLDER))) return path
  throw MillraceError.ofFaults('INPUT_INVALID', 'there is no store', [
    {
      place: '--data',
      value: path,
      problem: existsSync(path) ? 'the directory holds no store' : 'there is no such directory',
      remedy: 'Name the directory that millrace run was given with --data.',
    },
  ])
}
