/**
 * From arguments to an exit code: finds the command, checks its arguments, shows help, runs it, and prints what failed.
 * Commands are imported when they are asked for, so that `--version` costs nothing. Never ends the process.
 */

import { stripVTControlCharacters } from 'node:util'
import { type CommandDef, renderUsage, runCommand } from 'citty'
import { knownRemedy } from '../engine/config/did-you-mean.ts'
import { describeFault, MillraceError } from '../engine/contract/errors.ts'
import { VERSION } from '../engine/util/version.ts'
import { ALERT_ACTIONS } from './alert-actions.ts'
import { argumentFaults } from './arguments.ts'
import { type Colours, colours, wantsColour } from './colour.ts'
import { type Completable, completionOf } from './completion.ts'
import { type Command, EXIT_FAILED, EXIT_OK, EXIT_USAGE, type Shell } from './shell.ts'

interface Listed {
  readonly summary: string
  /** Shown in usage; empty: it takes only flags. */
  readonly positionals: string
  /** Words that may follow it, for completion. */
  readonly words?: readonly string[]
  load(): Promise<Command>
}

const COMMANDS: Readonly<Record<string, Listed>> = {
  init: {
    summary: 'write a project to start from: pipeline, test, configuration',
    positionals: 'DIR',
    load: async () => (await import('./init.ts')).init,
  },
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
  status: {
    summary: 'how a node and its pipelines do',
    positionals: '',
    load: async () => (await import('./status.ts')).status,
  },
  top: {
    summary: 'the same, in the terminal, once a second',
    positionals: '',
    load: async () => (await import('./top.ts')).top,
  },
  alerts: {
    summary: 'alerts, their history, silences, what you think of them; a test of where they go',
    positionals:
      '[list | incidents | expected ID | missed PIPELINE SERIES | feedback | undo NUMBER | silence CONDITION... | silences | unsilence NUMBER | test PIPELINE...]',
    words: ALERT_ACTIONS,
    load: async () => (await import('./alerts.ts')).alerts,
  },
  explain: {
    summary: 'what detectors decided for a series',
    positionals: 'PIPELINE[/DETECTOR]|detector SERIES',
    words: ['detector'],
    load: async () => (await import('./explain.ts')).explainCommand,
  },
  doctor: {
    summary: 'would a node do well here? what to change',
    positionals: '',
    load: async () => (await import('./doctor.ts')).doctor,
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
  switch: {
    summary: 'other detectors for a live pipeline, warmed up from history',
    positionals: 'PIPELINE...',
    load: async () => (await import('./switch.ts')).switchCommand,
  },
  replay: {
    summary: 'compute pipelines again over the stored log',
    positionals: 'PIPELINE...',
    load: async () => (await import('./replay.ts')).replayCommand,
  },
  backtest: {
    summary: 'a pipeline over history, and a report of its alarms',
    positionals: 'PIPELINE',
    load: async () => (await import('./backtest.ts')).backtestCommand,
  },
  completion: {
    summary: 'a script that completes all this in your shell',
    positionals: 'bash|zsh|fish',
    words: ['bash', 'zsh', 'fish'],
    load: async () => completionOf(completables),
  },
}

async function completables(): Promise<readonly Completable[]> {
  return Promise.all(
    Object.entries(COMMANDS).map(async ([name, { summary, words = [], load }]) => {
      const { definition } = await load()
      return { name, summary, words, args: (await definition.args) ?? {} }
    }),
  )
}

export async function dispatch(words: readonly string[], shell: Shell): Promise<number> {
  try {
    return await command(words, shell)
  } catch (error) {
    const paint = colours(wantsColour(shell.errIsTerminal, shell.env))
    shell.err(`${paint.red('millrace:')} ${errorText(error)}\n`)
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
    shell.out(headed(overview(), shell))
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
    shell.out(headed(`${await usage(definition, listed)}\n\n${examples}`, shell))
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

/** Headings stand out where there is colour. */
function headed(text: string, shell: Shell): string {
  const paint: Colours = colours(wantsColour(shell.outIsTerminal === true, shell.env))
  return text.replace(/^(USAGE|EXAMPLES|OPTIONS|ARGUMENTS)/gm, (word) => paint.bold(word))
}

const ROOT = { meta: { name: 'millrace' } }

function overview(): string {
  const commands = Object.entries(COMMANDS).map(
    ([name, { summary, positionals }]) => `  millrace ${`${name} ${positionals}`.padEnd(39)} ${summary}`,
  )
  return `millrace ${VERSION}: windowed anomaly detection over metric streams, exactly once, on one machine

USAGE

${commands.join('\n')}

  millrace COMMAND --help             its flags, with examples
  millrace --version

EXAMPLES

  millrace demo
  millrace init my-alerts
  millrace run pipeline.ts
  millrace run pipeline.ts data.csv --time ts --value v --labels host,region
  millrace check pipeline.ts
  millrace status
  millrace alerts test pipeline.ts
  millrace replay pipeline.ts --from -24h --into yesterday
  millrace backtest pipeline.ts --data history.csv
  millrace switch pipeline.ts --warm-from -7d
  millrace backup /backups/monday

Exit codes: 0 done, or stopped by a signal while listening; 1 failed; 2 the command line is not understood;
130, 143 a run over files was broken off by SIGINT, SIGTERM.
`
}
