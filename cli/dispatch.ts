/**
 * From arguments to an exit code: finds the command, checks its arguments, shows help, runs it, and prints what failed.
 * Commands are imported when they are asked for, so that `--version` costs nothing. Never ends the process.
 */
import { stripVTControlCharacters } from 'node:util'
import { type CommandDef, renderUsage, runCommand } from 'citty'
import { knownRemedy } from '../engine/config/did-you-mean.ts'
import { describeFault, MillraceError } from '../engine/contract/errors.ts'
import { VERSION } from '../engine/util/version.ts'
import { argumentFaults } from './arguments.ts'
import { type Command, EXIT_FAILED, EXIT_OK, EXIT_USAGE, type Shell } from './shell.ts'

interface Listed {
  readonly summary: string
  /** Shown in usage; empty: it takes only flags. */
  readonly positionals: string
  load(): Promise<Command>
}

const COMMANDS: Readonly<Record<string, Listed>> = {
  demo: {
    summary: "watch this machine's own metrics",
    positionals: '',
    load: async () => (await import('./demo.ts')).demo,
  },
  run: {
    summary: 'run pipelines over what is sent over HTTP, or over files',
    positionals: 'PIPELINE... [DATA...]',
    load: async () => (await import('./run.ts')).run,
  },
  check: {
    summary: 'verify pipelines without starting them',
    positionals: 'PIPELINE...',
    load: async () => (await import('./check.ts')).check,
  },
  verify: {
    summary: 'check every checksum and invariant of a store',
    positionals: '[PIPELINE...]',
    load: async () => (await import('./verify.ts')).verify,
  },
  backup: {
    summary: 'copy a store, also while a node runs on it',
    positionals: 'DIR',
    load: async () => (await import('./backup.ts')).backup,
  },
  restore: {
    summary: 'make a store from a backup',
    positionals: 'BACKUP',
    load: async () => (await import('./restore.ts')).restore,
  },
  reset: {
    summary: 'delete what pipelines have made, or a whole store',
    positionals: '',
    load: async () => (await import('./reset.ts')).reset,
  },
  replay: {
    summary: 'compute pipelines again over the stored log',
    positionals: 'PIPELINE...',
    load: async () => (await import('./replay.ts')).replayCommand,
  },
}

export async function dispatch(words: readonly string[], shell: Shell): Promise<number> {
  try {
    return await command(words, shell)
  } catch (error) {
    shell.err(`millrace: ${errorText(error)}\n`)
    return EXIT_FAILED
  }
}

/** An operating error is its message; anything else is a fault of the program, and its stack is what helps. */
export function errorText(error: unknown): string {
  if (error instanceof MillraceError) return error.message
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}

async function command(words: readonly string[], shell: Shell): Promise<number> {
  const [first, ...rest] = words
  if (first === '--version' || first === '-v') {
    shell.out(`${VERSION}\n`)
    return EXIT_OK
  }
  const asked = first === 'help' ? rest[0] : undefined
  if (first === '--help' || first === '-h' || (first === 'help' && asked === undefined)) {
    shell.out(overview())
    return EXIT_OK
  }
  const name = asked ?? first
  if (name === undefined) {
    shell.err(overview())
    return EXIT_USAGE
  }
  const listed = Object.hasOwn(COMMANDS, name) ? COMMANDS[name]! : undefined
  if (listed === undefined) {
    const what = name.startsWith('-') ? 'flag before the command' : 'command'
    shell.err(
      `millrace: there is no ${what} ${JSON.stringify(name)}. ${knownRemedy(name, Object.keys(COMMANDS))}\n`,
    )
    return EXIT_USAGE
  }
  const { definition, examples } = await listed.load()
  const end = rest.indexOf('--')
  const flags = end < 0 ? rest : rest.slice(0, end)
  if (asked !== undefined || flags.includes('--help') || flags.includes('-h')) {
    shell.out(`${await usage(definition, listed)}\n\n${examples}`)
    return EXIT_OK
  }
  const faults = argumentFaults(rest, (await definition.args) ?? {}, listed.positionals)
  if (faults.length > 0) {
    for (const fault of faults) shell.err(`millrace ${name}: ${describeFault(fault)}\n`)
    return EXIT_USAGE
  }
  const { result } = await runCommand(definition, { rawArgs: [...rest], data: shell })
  return result as number
}

async function usage(definition: CommandDef, listed: Listed): Promise<string> {
  const text = stripVTControlCharacters(await renderUsage(definition, ROOT))
  const synopsis = text.replace(/^USAGE .*$/m, (line) => {
    const [head] = line.split(' [OPTIONS]')
    return `${head} ${listed.positionals} [OPTIONS]`.replaceAll('  ', ' ')
  })
  return synopsis.replace(/ +$/gm, '').trimEnd()
}

const ROOT = { meta: { name: 'millrace' } }

function overview(): string {
  const commands = Object.entries(COMMANDS).map(
    ([name, { summary, positionals }]) => `  millrace ${`${name} ${positionals}`.padEnd(27)} ${summary}`,
  )
  return `millrace ${VERSION}: windowed anomaly detection over metric streams, exactly once, on one machine

USAGE

${commands.join('\n')}

  millrace COMMAND --help             its flags, with examples
  millrace --version

EXAMPLES

  millrace demo
  millrace run pipeline.ts
  millrace run pipeline.ts data.csv --time ts --value v --labels host,region
  millrace check pipeline.ts
  millrace replay pipeline.ts --from -24h --into yesterday
  millrace backup /backups/monday

Exit codes: 0 done, or stopped by a signal while listening; 1 failed; 2 the command line is not understood;
130, 143 a run over files was broken off by SIGINT, SIGTERM.
`
}
