/** The door to the log environment: one writer (the log writer thread), readers anywhere. See log-contract.ts. */
import { join } from 'node:path'
import { openEnv } from './env.ts'
import type { LogReader, LogWriter } from './log-contract.ts'
import { LmdbLogReader } from './log-reader.ts'
import { LogTables } from './log-tables.ts'
import { LmdbLogWriter } from './log-writer.ts'

export const LOG_FOLDER = 'log'

/** `fence`: from `openStore`. Verifies the newest batch of each partition; STORE_DAMAGED names the one that is not whole. */
export function openLogWriter(options: { readonly dir: string; readonly fence: number }): LogWriter {
  return new LmdbLogWriter(new LogTables(openEnv(join(options.dir, LOG_FOLDER), options.fence))).load()
}

export function openLogReader(options: { readonly dir: string }): LogReader {
  return new LmdbLogReader(new LogTables(openEnv(join(options.dir, LOG_FOLDER), null)))
}
