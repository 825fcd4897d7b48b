/**
 * `millrace completion bash|zsh|fish`: a script for the shell, made from the one table of commands and flags. It is complete
 * when it is printed: completing asks no process.
 */
import { type ArgsDef, defineCommand } from 'citty'
import { knownRemedy } from '../engine/config/did-you-mean.ts'
import { type Command, EXIT_OK, EXIT_USAGE, type Shell, shellOf } from './shell.ts'

export interface Completable {
  readonly name: string
  readonly summary: string
  readonly args: ArgsDef
  /** What may follow the command, beside files. */
  readonly words: readonly string[]
}

const SHELLS = ['bash', 'zsh', 'fish'] as const

export function completionOf(commands: () => Promise<readonly Completable[]>): Command {
  return {
    definition: defineCommand({
      meta: { name: 'completion', description: 'Print a script that completes commands and flags' },
      args: {
        shell: { type: 'positional', required: false, description: SHELLS.join(', ') },
      },
      run: ({ args, data }) => runCompletion(args._, commands, shellOf(data)),
    }),
    examples: `EXAMPLES

  source <(millrace completion bash)                                 for this session; ~/.bashrc for all
  millrace completion zsh > "\${fpath[1]}/_millrace"
  millrace completion fish > ~/.config/fish/completions/millrace.fish
`,
  }
}

async function runCompletion(
  words: readonly string[],
  commands: () => Promise<readonly Completable[]>,
  shell: Shell,
): Promise<number> {
  const [named = ''] = words
  const found = SHELLS.find((one) => one === named)
  if (found === undefined || words.length !== 1) {
    const what =
      named === '' ? 'no shell is named' : `${JSON.stringify(words.join(' '))} is no shell known here`
    shell.err(`millrace completion: ${what}. ${knownRemedy(named, SHELLS)}\n`)
    return EXIT_USAGE
  }
  const script = { bash, zsh, fish }[found]
  shell.out(script(await commands()))
  return EXIT_OK
}

function flagsOf({
  args,
}: Completable): { readonly flag: string; readonly meaning: string; readonly takesValue: boolean }[] {
  return Object.entries({ ...args, help: { type: 'boolean', description: 'what it does' } } as ArgsDef)
    .filter(([, { type }]) => type !== 'positional')
    .map(([name, { type, description = '' }]) => ({
      flag: `--${name}`,
      meaning: description,
      takesValue: type !== 'boolean',
    }))
}

function bash(commands: readonly Completable[]): string {
  const cases = commands.map((command) => {
    const flags = flagsOf(command)
    const valued = flags.filter(({ takesValue }) => takesValue).map(({ flag }) => flag)
    return `    ${command.name})
      words="${command.words.join(' ')}"
      flags="${flags.map(({ flag }) => flag).join(' ')}"
      valued=" ${valued.join(' ')} " ;;`
  })
  return `# bash completion for millrace
_millrace() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${commands.map(({ name }) => name).join(' ')} help --help --version" -- "$current"))
    return
  fi
  local words="" flags="" valued=" "
  case "\${COMP_WORDS[1]}" in
    help)
      COMPREPLY=($(compgen -W "${commands.map(({ name }) => name).join(' ')}" -- "$current"))
      return ;;
${cases.join('\n')}
  esac
  if [[ "$valued" == *" $previous "* ]]; then
    COMPREPLY=($(compgen -f -- "$current"))
  elif [[ "$current" == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$current"))
  else
    COMPREPLY=($(compgen -W "$words" -- "$current") $(compgen -f -- "$current"))
  fi
}
complete -o filenames -F _millrace millrace
`
}

function zsh(commands: readonly Completable[]): string {
  const quote = (text: string): string => text.replace(/'/g, "'\\''")
  const list = commands.map(({ name, summary }) => `    '${name}:${quote(summary).replace(/:/g, '\\:')}'`)
  const cases = commands.map((command) => {
    const flags = flagsOf(command).map(({ flag, meaning, takesValue }) => {
      const text = quote(meaning).replace(/[[\]:]/g, '\\$&')
      return `        '${flag}[${text}]${takesValue ? ':value:_files' : ''}'`
    })
    const words =
      command.words.length === 0
        ? '_files'
        : `_alternative "words\\:word\\:(${command.words.join(' ')})" "files\\:file\\:_files"`
    return `      ${command.name})
        _arguments \\
${flags.join(' \\\n')} \\
        '*:argument:${words}' ;;`
  })
  return `#compdef millrace
_millrace() {
  local -a commands
  commands=(
${list.join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe 'command' commands
    return
  fi
  local command="$words[2]"
  shift words
  (( CURRENT-- ))
  case "$command" in
${cases.join('\n')}
  esac
}
if [ "$funcstack[1]" = "_millrace" ]; then _millrace "$@"; else compdef _millrace millrace; fi
`
}

function fish(commands: readonly Completable[]): string {
  const quote = (text: string): string => `'${text.replace(/[\\']/g, '\\$&')}'`
  const lines = ['# fish completion for millrace']
  for (const command of commands) {
    const { name, summary, words } = command
    lines.push(`complete -c millrace -n __fish_use_subcommand -f -a ${name} -d ${quote(summary)}`)
    const inside = `-n '__fish_seen_subcommand_from ${name}'`
    for (const word of words) lines.push(`complete -c millrace ${inside} -a ${word}`)
    for (const { flag, meaning, takesValue } of flagsOf(command)) {
      lines.push(
        `complete -c millrace ${inside} -l ${flag.slice(2)}${takesValue ? ' -r' : ''} -d ${quote(meaning)}`,
      )
    }
  }
  return `${lines.join('\n')}\n`
}
