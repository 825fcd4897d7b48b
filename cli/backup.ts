/** `millrace backup DIR`: a whole, verified copy of the store, taken while a node runs on it or none. */
import { resolve } from 'node:path'
import { defineCommand } from 'citty'
import { backupStore } from '../engine/store/backup.ts'
import { VERSION } from '../engine/util/version.ts'
import { loadConfig } from './load-config.ts'
import { bytesText, secondsText, showLine } from './progress.ts'
import { type Command, EXIT_OK, EXIT_USAGE, type Shell, shellOf } from './shell.ts'
import { copyFlags, endOf, onlyName, type Verified, verifyCopy } from './verify-copy.ts'

export const backup: Command = {
  definition: defineCommand({
    meta: { name: 'backup', description: 'Copy a store, also while a node runs on it' },
    args: copyFlags('dir', 'the directory to make; empty or not there'),
    run: ({ args, data }) => runBackup(args._, args, shellOf(data)),
  }),
  examples: `EXAMPLES

  millrace backup /backups/monday                    of ./millrace-data, while the node runs
  millrace backup /backups/monday --data /var/lib/millrace
  millrace restore /backups/monday --data ./again    and back
`,
}

async function runBackup(
  words: readonly string[],
  args: Readonly<Record<string, unknown>>,
  shell: Shell,
): Promise<number> {
  const usage = 'backup: name one directory, as in: millrace backup /backups/monday'
  const name = onlyName(words, shell, usage)
  if (name === null) return EXIT_USAGE
  const config = await loadConfig(args, shell)
  const target = resolve(shell.cwd, name)
  const startedMs = shell.clock.monotonicMs()
  let text = ''
  const line = showLine(shell, () => text)
  const verified: Verified = { report: null }
  try {
    const manifest = await backupStore({
      dir: config.data,
      target,
      version: VERSION,
      clock: shell.clock,
      onProgress(bytes, total) {
        text = `copying · ${bytesText(bytes)} of at most ${bytesText(total)}`
      },
      verify(copy) {
        line.stop()
        return verifyCopy(copy, shell, verified)
      },
    })
    if (manifest === null) return endOf(verified, shell, 'the backup was not made')
    const seconds = (shell.clock.monotonicMs() - startedMs) / 1_000
    if (args.json === true) {
      shell.out(
        `${JSON.stringify({ dir: target, ...manifest, verified: verified.report, seconds }, null, 2)}\n`,
      )
    } else {
      shell.err(`${target}: ${bytesText(manifest.bytes)}, verified, in ${secondsText(seconds)}\n`)
    }
    return EXIT_OK
  } finally {
    line.stop()
  }
}
