/**
 * `millrace reset`: deletes what pipelines have made, or a whole store. Shows it first and asks; without a terminal only
 * `--yes` is an answer. A store on which a node runs is refused.
 */
import { defineCommand } from 'citty'
import { knownRemedy } from '../engine/config/did-you-mean.ts'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import { storeAt } from '../engine/store/place.ts'
import {
  measureStore,
  type PipelineSize,
  resetPipelines,
  resetStore,
  type StoreSize,
} from '../engine/store/reset.ts'
import { liveOwner } from '../engine/store/store.ts'
import { someSettingFlags } from './arguments.ts'
import { loadConfig } from './load-config.ts'
import { bytesText, countText } from './progress.ts'
import { type Command, EXIT_FAILED, EXIT_OK, EXIT_USAGE, type Shell, shellOf } from './shell.ts'

export const reset: Command = {
  definition: defineCommand({
    meta: { name: 'reset', description: 'Delete what pipelines have made, or a whole store' },
    args: {
      pipeline: {
        type: 'string',
        valueHint: 'names',
        description: 'state and results of these pipelines, with commas between them; the log stays',
      },
      all: { type: 'boolean', description: 'the whole store: samples, state, results' },
      yes: { type: 'boolean', description: 'do not ask' },
      json: { type: 'boolean', description: 'print what was deleted as JSON' },
      ...someSettingFlags('config', 'data'),
    },
    run: ({ args, data }) => runReset(args, shellOf(data)),
  }),
  examples: `EXAMPLES

  millrace reset --pipeline checkout-latency      its next run computes everything again from the log
  millrace reset --pipeline a,b --yes             without a question, for scripts
  millrace reset --all --data ./old               samples and results are gone
`,
}

interface Deletion {
  readonly dir: string
  readonly all: boolean
  readonly pipelines: readonly PipelineSize[]
  readonly size: StoreSize
}

async function runReset(args: Readonly<Record<string, unknown>>, shell: Shell): Promise<number> {
  const names = typeof args.pipeline === 'string' ? splitNames(args.pipeline) : []
  const all = args.all === true
  if (all === names.length > 0) {
    shell.err('millrace reset: name what goes: either --pipeline NAME or --all\n')
    return EXIT_USAGE
  }
  const config = await loadConfig(args, shell)
  const dir = storeAt(config.data)
  const owner = await liveOwner(dir, shell.clock)
  if (owner !== null) throw owner
  const size = await measureStore(dir)
  if (!all && size.problem !== null) throw new MillraceError('STORE_DAMAGED', size.problem)
  const pipelines = all ? size.pipelines : named(names, size.pipelines)
  const deletion: Deletion = { dir, all, pipelines, size }
  shell.err(deletionText(deletion))
  if (args.yes !== true && !(await agreed(shell))) return EXIT_FAILED
  if (all) await resetStore(dir, shell.clock)
  else
    await resetPipelines(
      dir,
      pipelines.map(({ name }) => name),
      shell.clock,
    )
  if (args.json === true) {
    const { logBytes, stateBytes } = size
    const whole = all ? { logBytes, stateBytes } : {}
    shell.out(`${JSON.stringify({ dir, all, pipelines, ...whole }, null, 2)}\n`)
  } else shell.err('deleted\n')
  return EXIT_OK
}

function splitNames(written: string): string[] {
  const names = written.split(',').map((name) => name.trim())
  return [...new Set(names.filter((name) => name !== ''))]
}

function named(names: readonly string[], pipelines: readonly PipelineSize[]): PipelineSize[] {
  const faults: Fault[] = []
  const known = pipelines.map(({ name }) => name)
  const found = names.flatMap((name) => {
    const pipeline = pipelines.find((candidate) => candidate.name === name)
    if (pipeline !== undefined) return [pipeline]
    const remedy = known.length === 0 ? 'It holds none.' : knownRemedy(name, known)
    faults.push({ place: '--pipeline', value: name, problem: 'the store holds no such pipeline', remedy })
    return []
  })
  if (faults.length === 0) return found
  throw MillraceError.ofFaults('INPUT_INVALID', 'nothing was deleted', faults)
}

function deletionText({ dir, all, pipelines, size }: Deletion): string {
  const lines = [all ? `all of the store in ${dir}:` : `of the store in ${dir}:`]
  for (const { name, rows, bytes } of pipelines) {
    lines.push(`  pipeline ${name}: state and results, ${countText(rows)} rows, ${bytesText(bytes)}`)
  }
  if (all) {
    lines.push(`  the log: ${bytesText(size.logBytes)}; the state: ${bytesText(size.stateBytes)} (files)`)
    if (size.problem !== null) lines.push(`  its pipelines cannot be listed: ${size.problem}`)
  }
  return `${lines.join('\n')}\n`
}

async function agreed(shell: Shell): Promise<boolean> {
  if (!shell.stdinIsTerminal) {
    shell.err('millrace reset: nobody is there to ask; add --yes. Nothing was deleted.\n')
    return false
  }
  shell.err('Delete this? It cannot be undone. Type yes: ')
  let answer = ''
  for await (const chunk of shell.stdin) {
    answer += Buffer.from(chunk).toString()
    if (answer.includes('\n')) break
  }
  if (answer.trim().toLowerCase() === 'yes') return true
  shell.err('Nothing was deleted.\n')
  return false
}
