/**
 * `millrace backtest`: a pipeline over history, by the code that runs live, and a report of what it would have said. Reads
 * files, or the topic of a store beside a running node; writes the report and nothing else. Sinks are never opened.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join, resolve } from 'node:path'
import { defineCommand } from 'citty'
import { knownRemedy } from '../engine/config/did-you-mean.ts'
import { readTimeMs, TIME_ALLOWED } from '../engine/config/times.ts'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import { NAME_LABEL } from '../engine/contract/samples.ts'
import { decodeSeriesKey } from '../engine/series/series-key.ts'
import { storeAt } from '../engine/store/place.ts'
import { someSettingFlags } from './arguments.ts'
import { warningsOf } from './backtest/doubts.ts'
import { type LookedAt, refuseEmpty } from './backtest/empty.ts'
import { Backtested, compare } from './backtest/evaluate.ts'
import { HistoryInput, observeFiles, withScratch } from './backtest/history.ts'
import { type LabelWindow, readLabels } from './backtest/labels.ts'
import { orderOfTopic } from './backtest/order.ts'
import { reportHtml } from './backtest/report.ts'
import { type Budget, jsonOf, type Ran, readBudget, suggest, summaryText } from './backtest/words.ts'
import { type FeedReport, feedFiles } from './feed-files.ts'
import { DATA_ENDINGS, isDataFile, unpackedName } from './file-formats.ts'
import { loadConfig } from './load-config.ts'
import { loadPipelines } from './load-pipeline.ts'
import { countText, rateText, secondsText, showLine, showProgress } from './progress.ts'
import { roundText } from './replay.ts'
import { DATA_FLAGS, inputOptions } from './run.ts'
import { type Command, EXIT_OK, EXIT_SIGNALLED, EXIT_USAGE, type Shell, shellOf } from './shell.ts'

const REPORT_DEFAULT = 'backtest.html'

export const backtestCommand: Command = {
  definition: defineCommand({
    meta: { name: 'backtest', description: 'Run a pipeline over history and write a report of its alarms' },
    args: {
      pipeline: {
        type: 'positional',
        required: false,
        description: 'the file that exports one pipeline by default',
      },
      data: {
        type: 'string',
        valueHint: 'files|topic',
        description:
          'files of CSV, NDJSON or line protocol (also .gz), with commas between them, or a topic of the store (default: its own topic)',
      },
      store: {
        type: 'string',
        valueHint: 'directory',
        description: 'the store that holds the topic (default: that of the configuration)',
      },
      from: {
        type: 'string',
        valueHint: 'time',
        description: 'event time from which alarms count; what is earlier warms up',
      },
      to: { type: 'string', valueHint: 'time', description: 'event time from which nothing counts any more' },
      against: {
        type: 'string',
        valueHint: 'file',
        description: 'another version of the pipeline: what changes, alarm by alarm',
      },
      truth: {
        type: 'string',
        valueHint: 'file',
        description: 'labelled anomalies: CSV or JSON of from, to and label values, or NAB windows as JSON',
      },
      budget: {
        type: 'string',
        valueHint: 'number/duration',
        description: 'alarms that are welcome, such as 2/week: suggests a threshold',
      },
      out: { type: 'string', valueHint: 'file', description: `the report (default ${REPORT_DEFAULT})` },
      json: { type: 'boolean', description: 'print the numbers and every alarm as JSON' },
      ...DATA_FLAGS,
      ...someSettingFlags('config'),
    },
    run: ({ args, data }) => runBacktest(args._, args, shellOf(data)),
  }),
  examples: `EXAMPLES

  millrace backtest pipeline.ts --data history.csv --time ts --value cpu --labels host
  millrace backtest pipeline.ts --data history.csv --truth incidents.csv --out report.html
  millrace backtest pipeline.ts --data history.csv --against changed.ts --budget 2/week
  millrace backtest pipeline.ts --data metrics --store ./millrace-data --from -7d --json
`,
}

interface Asked {
  readonly plans: readonly PipelinePlan[]
  readonly tested: readonly Backtested[]
  readonly files: readonly string[]
  readonly source: string
  readonly stop: AbortSignal
}

async function runBacktest(
  words: readonly string[],
  args: Readonly<Record<string, unknown>>,
  shell: Shell,
): Promise<number> {
  if (words.length !== 1) {
    const problem = words.length === 0 ? 'no pipeline is named' : 'one pipeline is tested at a time'
    shell.err(`millrace backtest: ${problem}, as in: millrace backtest pipeline.ts --data history.csv\n`)
    return EXIT_USAGE
  }
  const { range, budget } = readOptions(args, shell)
  // `--data` is the history here; where the store lies is said by --store.
  const { data: _, ...rest } = args
  const config = await loadConfig(args.store === undefined ? rest : { ...rest, data: args.store }, shell)
  const registry = await shell.registry()
  const named = [words[0]!, ...(typeof args.against === 'string' ? [args.against] : [])]
  const plans = await Promise.all(
    named.map(async (file) => onlyPlan(await loadPipelines([file], shell.cwd, registry, config), file)),
  )
  const data = typeof args.data === 'string' ? args.data : plans[0]!.topic.name
  const listed = data.split(',').map((word) => word.trim())
  const files = listed.every(isDataFile) ? listed : []
  const truthFile = typeof args.truth === 'string' ? args.truth : null
  const truth = truthFile === null ? [] : await labelsAt(truthFile, files, shell)
  const tested = plans.map((plan) => new Backtested(plan, range))
  const stopping = new AbortController()
  void shell.stopped.then(() => stopping.abort())
  const startedMs = shell.clock.monotonicMs()
  const asked: Asked = { plans, tested, files, source: data, stop: stopping.signal }
  const isTopic = files.length === 0
  const history = isTopic ? await overTopic(asked, config.data, shell) : await overFiles(asked, args, shell)
  if (stopping.signal.aborted || history === null) {
    shell.err('millrace: broken off; nothing was written\n')
    return EXIT_SIGNALLED[await shell.stopped]
  }
  const main = tested[0]!
  const { ran, names } = history
  const place = isTopic ? `topic ${data} of ${config.data}` : files.join(', ')
  await refuseEmpty({ main, ran, place, isTopic, range, names })
  for (const one of tested) if (ran.span !== null) one.end(ran.span)
  const unmatched = tested.map((one) => one.label(truth))[0]!
  const suggestions = budget === null ? [] : suggest(main, budget)
  const differences = tested[1] === undefined ? null : compare(main, tested[1], 2 * main.plan.window.sizeMs)
  const warnings = warningsOf({ main, ran, truth, unmatched, range, truthFile })
  const out = resolve(shell.cwd, typeof args.out === 'string' ? args.out : REPORT_DEFAULT)
  const against = differences === null ? null : { name: `${named[1]}`, differences }
  const html = reportHtml({
    tested: main,
    source: data,
    span: ran.span,
    samples: ran.samples,
    warnings,
    suggestions,
    budget: budget?.text ?? null,
    against,
  })
  await writeReport(out, html)
  const seconds = Math.max(1e-3, (shell.clock.monotonicMs() - startedMs) / 1_000)
  if (args.json === true) {
    const summary = { ...ran, ...jsonOf(main), suggestions, differences, warnings, seconds, report: out }
    shell.out(
      `${JSON.stringify(summary, (_key, value: unknown) => (value === Infinity ? null : value), 2)}\n`,
    )
    return EXIT_OK
  }
  for (const warning of warnings) shell.err(`warning: ${warning}\n`)
  shell.err(summaryText(main, suggestions, differences))
  shell.err(
    `${countText(ran.samples)} samples in ${secondsText(seconds)}, ${rateText(ran.samples / seconds)} samples/s; report: ${out}\n`,
  )
  return EXIT_OK
}

function onlyPlan(plans: readonly PipelinePlan[], file: string): PipelinePlan {
  const fault = (value: unknown, problem: string, remedy: string): MillraceError =>
    MillraceError.ofFaults('INPUT_INVALID', 'the backtest is not clear', [
      { place: file, value, problem, remedy },
    ])
  if (plans.length !== 1) {
    const names = plans.map(({ name }) => name)
    throw fault(
      names,
      'exports several pipelines',
      'Export the one that is to be tested from a file of its own.',
    )
  }
  if (plans[0]!.detectors.length === 0) {
    throw fault(plans[0]!.name, 'has no detector, so it raises no alarm', 'Add .detect(column, auto()).')
  }
  return plans[0]!
}

/** What was read, and on demand the names of the metrics in it. */
interface History extends Pick<LookedAt, 'names'> {
  readonly ran: Ran
}

async function overFiles(
  asked: Asked,
  args: Readonly<Record<string, unknown>>,
  shell: Shell,
): Promise<History> {
  const registry = await shell.registry()
  const pairs = asked.plans.map((plan, i) => ({ plan, observer: asked.tested[i]! }))
  const input = new HistoryInput(pairs, registry)
  const state = { bytesRead: 0, bytesTotal: 0, samples: 0 }
  const progress = showProgress(shell, state)
  let report: FeedReport
  try {
    const options = inputOptions(args)
    report = await feedFiles({
      files: asked.files,
      cwd: shell.cwd,
      stdin: shell.stdin,
      input,
      options,
      progress: state,
      signal: asked.stop,
    })
    if (!asked.stop.aborted) input.end()
  } finally {
    progress.stop()
  }
  const { late, windowed } = input.counts()[0]!
  const badLines = report.files.reduce((sum, file) => sum + file.faultCount, 0)
  return {
    ran: { span: input.span, samples: report.samples, late, windowed, badLines, order: input.order },
    names: () => Promise.resolve(input.names()),
  }
}

async function overTopic(asked: Asked, dir: string, shell: Shell): Promise<History | null> {
  const topics = [...new Set(asked.plans.map((plan) => plan.topic.name))]
  if (topics.length !== 1 || topics[0] !== asked.source) {
    throw MillraceError.ofFaults('INPUT_INVALID', 'the backtest is not clear', [
      {
        place: '--data',
        value: asked.source,
        problem: 'is neither a data file nor the topic that the pipeline reads',
        remedy: `Files end in ${DATA_ENDINGS.join(', ')}, or .gz after that. ${knownRemedy(asked.source, topics)}`,
      },
    ])
  }
  const { replay } = await import('../workers/replay.ts')
  return withScratch(async (scratch) => {
    let ran: Ran | null = null
    let line = ''
    let startMs = shell.clock.monotonicMs()
    let round = ''
    const progress = showLine(shell, () => line)
    try {
      for (const [i, plan] of asked.plans.entries()) {
        const into = join(scratch, String(i))
        const report = await replay({
          dir,
          plans: [plan],
          from: { point: 'beginning' },
          to: { point: 'end' },
          into,
          threads: availableParallelism(),
          signal: asked.stop,
          onProgress(told) {
            if (told.round !== round) startMs = shell.clock.monotonicMs()
            round = told.round
            line = roundText(told, shell.clock.monotonicMs() - startMs)
          },
        })
        if (report === null) return null
        await observeFiles(into, asked.tested[i]!)
        const { late, windowed } = report.pipelines[0]!
        const { windowSpan: span } = asked.tested[i]!
        ran ??= {
          span,
          samples: report.samples,
          late,
          windowed,
          badLines: 0,
          order: await orderOfTopic(storeAt(dir), asked.source, asked.stop),
        }
      }
    } finally {
      progress.stop()
    }
    return ran === null ? null : { ran, names: () => namesOf(dir, topics[0]!) }
  })
}

async function namesOf(dir: string, topic: string): Promise<string[]> {
  const { openLogReader } = await import('../engine/store/log-store.ts')
  const log = openLogReader({ dir: storeAt(dir) })
  try {
    const keys = log.seriesOf(log.topicOf(topic)!.id)
    return keys.map((key) => decodeSeriesKey(key)[NAME_LABEL] ?? '')
  } finally {
    await log.close()
  }
}

interface Read {
  readonly range: { readonly fromMs: number; readonly toMs: number }
  readonly budget: Budget | null
}

function readOptions(args: Readonly<Record<string, unknown>>, shell: Shell): Read {
  const faults: Fault[] = []
  const nowMs = shell.clock.nowMs()
  const time = (flag: 'from' | 'to', otherwise: number): number => {
    const written = args[flag]
    if (typeof written !== 'string') return otherwise
    const read = readTimeMs(written, nowMs)
    if (read !== null) return read
    faults.push({
      place: `--${flag}`,
      value: written,
      problem: 'is no time',
      remedy: `Write ${TIME_ALLOWED}.`,
    })
    return otherwise
  }
  const fromMs = time('from', -Infinity)
  const toMs = time('to', Infinity)
  if (fromMs >= toMs) {
    faults.push({
      place: '--to',
      value: args.to,
      problem: 'is not after --from',
      remedy: 'Write a later time.',
    })
  }
  const budget = typeof args.budget === 'string' ? readBudget(args.budget) : null
  if (typeof args.budget === 'string' && budget === null) {
    const remedy = 'Write how many and in what time, such as 2/week, 1/day or 5/30d.'
    faults.push({ place: '--budget', value: args.budget, problem: 'is no budget of alarms', remedy })
  }
  if (faults.length > 0) throw MillraceError.ofFaults('INPUT_INVALID', 'the backtest is not clear', faults)
  return { range: { fromMs, toMs }, budget }
}

async function labelsAt(file: string, dataFiles: readonly string[], shell: Shell): Promise<LabelWindow[]> {
  let text: string
  try {
    text = await readFile(resolve(shell.cwd, file), 'utf8')
  } catch (error) {
    const problem = `cannot be read: ${(error as Error).message}`
    const fault = { place: '--truth', value: file, problem, remedy: 'Name a file that can be read.' }
    throw MillraceError.ofFaults('INPUT_INVALID', 'the labels cannot be read', [fault])
  }
  return readLabels(
    text,
    file,
    dataFiles.map((one) => resolve(shell.cwd, unpackedName(one))),
  )
}

async function writeReport(path: string, html: string): Promise<void> {
  try {
    await writeFile(path, html)
  } catch (error) {
    const problem = `cannot be written: ${(error as Error).message}`
    const fault = {
      place: '--out',
      value: path,
      problem,
      remedy: 'Name a file in a directory that is there.',
    }
    throw MillraceError.ofFaults('INPUT_INVALID', 'the report has no place', [fault])
  }
}
