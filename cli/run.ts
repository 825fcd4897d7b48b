/**
 * `millrace run`: pipelines over what is sent to the node, until it is stopped; or over files, which ends by itself with
 * a summary. Everything a person reads goes to stderr: stdout belongs to the pipelines' sinks.
 */
import { type ArgsDef, defineCommand } from 'citty'
import type { NodeConfig } from '../engine/config/config.ts'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import type { Node } from '../engine/contract/node.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import { TIME_FORMATS, type TimeFormat } from '../operators/sources/time-reader.ts'
import { settingFlags } from './arguments.ts'
import { feedFiles } from './feed-files.ts'
import { FORMATS, type Format, type InputOptions, isDataFile } from './file-formats.ts'
import { loadConfig } from './load-config.ts'
import { loadPipelines } from './load-pipeline.ts'
import { showProgress } from './progress.ts'
import { aborted, withNode } from './serve.ts'
import {
  type Command,
  EXIT_FAILED,
  EXIT_OK,
  EXIT_SIGNALLED,
  EXIT_USAGE,
  type Shell,
  shellOf,
} from './shell.ts'
import { summaryText } from './summary.ts'

const TIME_DEFAULT = 'timestamp'
const VALUE_DEFAULT = 'value'

/** How the columns of data files are meant. */
export const DATA_FLAGS: ArgsDef = {
  time: { type: 'string', valueHint: 'column', description: `time column (default ${TIME_DEFAULT})` },
  value: {
    type: 'string',
    valueHint: 'columns',
    description: `value columns, with commas between them (default ${VALUE_DEFAULT})`,
  },
  labels: {
    type: 'string',
    valueHint: 'columns',
    description: 'label columns, with commas between them',
  },
  name: {
    type: 'string',
    valueHint: 'metric',
    description: "metric name (default: the file's, without ending)",
  },
  'time-format': {
    type: 'string',
    valueHint: TIME_FORMATS.join('|'),
    description: 'how times are written (default auto: as in the first row)',
  },
  format: {
    type: 'string',
    valueHint: FORMATS.join('|'),
    description: 'for stdin, and files of other endings',
  },
  delimiter: {
    type: 'string',
    valueHint: 'character',
    description: 'between CSV fields (default a comma)',
  },
  header: {
    type: 'string',
    valueHint: 'columns',
    description: 'names of the CSV columns, where the file has no header row',
  },
}

export const run: Command = {
  definition: defineCommand({
    meta: { name: 'run', description: 'Run pipelines over what is sent over HTTP, or over files' },
    args: {
      files: {
        type: 'positional',
        required: false,
        description:
          'pipelines (.ts .mts .js .mjs), then data, if any (.csv .tsv .ndjson .jsonl .lp .txt, also .gz; - for stdin)',
      },
      ...DATA_FLAGS,
      topic: {
        type: 'string',
        valueHint: 'topic',
        description: 'where data goes when the pipelines read several',
      },
      'reset-state': {
        type: 'boolean',
        description: 'forget state and results of these pipelines and read the log from its beginning',
      },
      ...settingFlags(),
    },
    run: ({ args, data }) => runPipelines(args._, args, shellOf(data)),
  }),
  examples: `EXAMPLES

  millrace run pipeline.ts                                   listen, until Ctrl-C
  millrace run pipeline.ts data.csv --time ts --value v      over a file; ends with a summary
  millrace run pipeline.ts a.csv b.ndjson --time ts --value cpu,mem --labels host,region
  millrace run pipeline.ts cpu.csv.gz --time ts --value v     packed by gzip
  millrace run pipeline.ts metrics.lp                         line protocol
  zstdcat data.csv.zst | millrace run pipeline.ts - --format csv --time ts --value v --name cpu
`,
}

async function runPipelines(
  words: readonly string[],
  args: Readonly<Record<string, unknown>>,
  shell: Shell,
): Promise<number> {
  const data = words.filter(isDataFile)
  const modules = words.filter((word) => !isDataFile(word))
  if (modules.length === 0) {
    shell.err('millrace run: no pipeline is named, as in: millrace run pipeline.ts\n')
    return EXIT_USAGE
  }
  const options = inputOptions(args)
  const config = await loadConfig(args, shell)
  const plans = await loadPipelines(modules, shell.cwd, await shell.registry(), config)
  const topic = data.length === 0 ? null : topicFor(plans, args.topic)
  const resetState = args['reset-state'] === true
  return withNode(shell, { config, pipelines: plans, resetState }, async (node, stop) => {
    if (topic !== null) return runFiles(node, stop, shell, { data, topic, options, config })
    const names = plans.map((plan) => plan.name).join(', ')
    shell.err(`millrace listens on ${node.address} and runs ${names}. Data: ${config.data}. Ctrl-C stops.\n`)
    await aborted(stop)
    return EXIT_OK
  })
}

interface FileRun {
  readonly data: readonly string[]
  readonly topic: string
  readonly options: InputOptions
  readonly config: NodeConfig
}

async function runFiles(node: Node, stop: AbortSignal, shell: Shell, files: FileRun): Promise<number> {
  const state = { bytesRead: 0, bytesTotal: 0, samples: 0 }
  const startMs = shell.clock.monotonicMs()
  const { futureLimitMs } = files.config
  const progress = showProgress(shell, state)
  try {
    const report = await feedFiles({
      files: files.data,
      cwd: shell.cwd,
      stdin: shell.stdin,
      input: node.input(files.topic),
      // 0 turns the guard off, as it does for HTTP.
      options:
        futureLimitMs === 0
          ? files.options
          : { ...files.options, future: { nowMs: shell.clock.nowMs(), limitMs: futureLimitMs } },
      progress: state,
      signal: stop,
    })
    if (stop.aborted) return brokenOff(shell)
    const summary = await Promise.race([node.finish(), aborted(stop)])
    if (summary === undefined) return brokenOff(shell)
    progress.stop()
    shell.err(summaryText(report, summary, shell.clock.monotonicMs() - startMs, files.config.data))
    const lines = report.files.reduce((sum, file) => sum + file.faultCount, 0)
    return report.samples === 0 && lines > 0 ? EXIT_FAILED : EXIT_OK
  } finally {
    progress.stop()
  }
}

async function brokenOff(shell: Shell): Promise<number> {
  shell.err('millrace: broken off; what was read so far is stored\n')
  return EXIT_SIGNALLED[await shell.stopped]
}

export function inputOptions(args: Readonly<Record<string, unknown>>): InputOptions {
  const faults: Fault[] = []
  const oneOf = <T extends string>(flag: string, allowed: readonly T[]): T | undefined => {
    const written = args[flag]
    if (written === undefined) return undefined
    const found = allowed.find((one) => one === written)
    if (found !== undefined) return found
    const remedy = `Write one of ${allowed.join(', ')}.`
    faults.push({ place: `--${flag}`, value: written, problem: 'is not one of the choices', remedy })
    return undefined
  }
  const text = (flag: string): string | undefined =>
    typeof args[flag] === 'string' ? (args[flag] as string) : undefined
  const list = (flag: string): readonly string[] | undefined =>
    text(flag)
      ?.split(',')
      .map((column) => column.trim())
      .filter((column) => column !== '')
  const timeFormat: TimeFormat | undefined = oneOf('time-format', TIME_FORMATS)
  const format: Format | undefined = oneOf('format', FORMATS)
  if (faults.length > 0) throw MillraceError.ofFaults('INPUT_INVALID', 'the columns are not clear', faults)
  const name = text('name')
  const delimiter = text('delimiter')
  const header = list('header')
  return {
    time: text('time') ?? TIME_DEFAULT,
    value: list('value') ?? [VALUE_DEFAULT],
    labels: list('labels') ?? [],
    ...(timeFormat === undefined ? {} : { timeFormat }),
    ...(format === undefined ? {} : { format }),
    ...(name === undefined ? {} : { name }),
    // A shell makes a tab hard to write.
    ...(delimiter === undefined
      ? {}
      : { delimiter: delimiter === '\\t' || delimiter === 'tab' ? '\t' : delimiter }),
    ...(header === undefined ? {} : { header }),
  }
}

function topicFor(plans: readonly PipelinePlan[], named: unknown): string {
  const topics = [...new Set(plans.map((plan) => plan.topic.name))]
  if (named === undefined && topics.length === 1) return topics[0]!
  if (typeof named === 'string' && topics.includes(named)) return named
  throw MillraceError.ofFaults('INPUT_INVALID', 'where the data goes is not clear', [
    {
      place: '--topic',
      value: named,
      problem: named === undefined ? 'is missing: the pipelines read several topics' : 'no pipeline reads it',
      remedy: `Write one of ${topics.join(', ')}.`,
    },
  ])
}
