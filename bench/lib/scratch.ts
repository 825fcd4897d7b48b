/**
 * A directory for a benchmark's files, on the disk that the figures are about: MILLRACE_BENCH_DIR, else the system's
 * temporary directory. Removed by `remove()`.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Scratch {
  readonly path: string
  remove(): void
}

export function openScratch(purpose: string): Scratch {
  const path = mkdtempSync(join(process.env.MILLRACE_BENCH_DIR ?? tmpdir(), `millrace-bench-${purpose}-`))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}
