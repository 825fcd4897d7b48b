/** The door to the state environment: one writer (the committer thread), readers anywhere. See state-contract.ts. */
import { join } from 'node:path'
import { openEnv } from './env.ts'
import type { StateReader, StateWriter } from './state-contract.ts'
import { LmdbStateReader } from './state-reader.ts'
import { StateTables } from './state-tables.ts'
import { LmdbStateWriter } from './state-writer.ts'

export const STATE_FOLDER = 'state'

/** `fence`: from `openStore`. */
export function openStateWriter(options: { readonly dir: string; readonly fence: number }): StateWriter {
  return new LmdbStateWriter(new StateTables(openEnv(join(options.dir, STATE_FOLDER), options.fence)))
}

export function openStateReader(options: { readonly dir: string }): StateReader {
  return new LmdbStateReader(new StateTables(openEnv(join(options.dir, STATE_FOLDER), null)))
}
