/** `millrace restore BACKUP --data DIR`: a store from a backup, verified and opened once before it appears. */
import { statSync } from 'node:fs'
import { resolve } from 'node:path'
import { defineCommand } from 'citty'
import { restoreStore } from '../engine/store/backup.ts'
import { openStateReader } from '../engine/store/state-store.ts'
import { VERSION } from '../engine/util/version.ts'
import { loadConfig } from './load-config.ts'
import { bytesText, secondsText } from './progress.ts'
import { type Command, EXIT_OK, EXIT_USAGE, type Shell, shellOf } from './shell.ts'
import { copyFlags, endOf, onlyName, type Verified, verifyCopy } from './verify-copy.ts'

export const restore: Command = {
  definition: defineCommand({
    meta: { name: 'restore', description: 'Make a store from a backup' },
    args: copyFlags('backup', 'a directory that millrace backup made'),
    run: ({ args, data }) => runRestore(args._, args, shellOf(data)),
  }),
  examples: `EXAMPLES

  millrace restore /backups/monday --data ./millrace-data    which must be empty or not there
`,
}

async function runRestore(
  words: readonly string[],
  args: Readonly<Record<string, unknown>>,
  shell: Shell,
): Promise<number> {
  const usage = 'restore: name one backup, as in: millrace restore /backups/monday --data ./data'
  const name = onlyName(words, shell, usage)
  if (name === null) return EXIT_USAGE
  const config = await loadConfig(args, shell)
  const dir = resolve(shell.cwd, config.data)
  const startedMs = shell.clock.monotonicMs()
  const verified: Verified = { report: null }
  const manifest = await restoreStore({
    backup: resolve(shell.cwd, name),
    dir,
    version: VERSION,
    clock: shell.clock,
    verify: (copy) => verifyCopy(copy, shell, verified),
  })
  if (manifest === null) return endOf(verified, shell, 'nothing was restored')
  const seconds = (shell.clock.monotonicMs() - startedMs) / 1_000
  const files = await filesAhead(dir, shell.cwd)
  if (args.json === true) {
    const made = { dir, ...manifest, verified: verified.report, filesAhead: files, seconds }
    shell.out(`${JSON.stringify(made, null, 2)}\n`)
    return EXIT_OK
  }
  const taken = new Date(manifest.takenMs).toISOString()
  shell.err(`${dir}: as of ${taken}, ${bytesText(manifest.bytes)}, verified, in ${secondsText(seconds)}\n`)
  for (const { sink, path, sizeBytes, knownBytes } of files) {
    shell.err(
      `note: ${path} has ${sizeBytes} bytes, the backup knows ${knownBytes} of them: sink ${sink} will refuse what it ` +
        `cannot find in the restored results. Cut it (truncate -s ${knownBytes} ${path}), or give the sink another path.\n`,
    )
  }
  return EXIT_OK
}

interface FileAhead {
  /** `pipeline/sink` */
  readonly sink: string
  readonly path: string
  readonly sizeBytes: number
  readonly knownBytes: number
}

/** Files of sinks that went on after the backup was taken. */
async function filesAhead(dir: string, cwd: string): Promise<FileAhead[]> {
  const state = openStateReader({ dir })
  try {
    const files: FileAhead[] = []
    for (const { id, name } of state.pipelines()) {
      for (const { sink, json } of state.sinks(id)) {
        const { token } = JSON.parse(json) as { token: unknown }
        if (typeof token !== 'object' || token === null) continue
        const { path, lengthBytes } = token as { path?: unknown; lengthBytes?: unknown }
        if (typeof path !== 'string' || typeof lengthBytes !== 'number') continue
        const file = resolve(cwd, path)
        const sizeBytes = statSync(file, { throwIfNoEntry: false })?.size ?? 0
        if (sizeBytes > lengthBytes) {
          files.push({ sink: `${name}/${sink}`, path: file, sizeBytes, knownBytes: lengthBytes })
        }
      }
    }
    return files
  } finally {
    await state.close()
  }
}
