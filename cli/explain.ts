/**
 * `millrace explain`: what detectors decided for a series, from the last checkpoint of the store. Restores state as a start of
 * the node does and asks it; reads only, beside a running node or without one.
 */
import { defineCommand } from 'citty'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import type { FeedbackRow } from '../engine/contract/feedback.ts'
import type { ExplainQuery, ExplainRow } from '../engine/contract/queries.ts'
import { explainFrom } from '../engine/pipeline/explain.ts'
import { FeedbackRows } from '../engine/store/feedback/feedback-rows.ts'
import { openLogReader } from '../engine/store/log-store.ts'
import { storeAt } from '../engine/store/place.ts'
import type { StateReader } from '../engine/store/state-contract.ts'
import { openStateReader } from '../engine/store/state-store.ts'
import { numberText } from '../operators/detectors/verdicts.ts'
import { loadPlugins, registry as registryOfPlugins } from '../workers/plugins.ts'
import { someSettingFlags } from './arguments.ts'
import { seriesText } from './backtest/evaluate.ts'
import { spanText, timeText } from './backtest/report.ts'
import { loadConfig } from './load-config.ts'
import { readSeries } from './read-series.ts'
import { type Command, EXIT_OK, EXIT_USAGE, type Shell, shellOf } from './shell.ts'

export const explainCommand: Command = {
  definition: defineCommand({
    meta: { name: 'explain', description: 'What detectors decided for a series, from the last checkpoint' },
    args: {
      of: {
        type: 'positional',
        required: false,
        description: 'a pipeline, PIPELINE/DETECTOR, or "detector" for all',
      },
      series: { type: 'positional', required: false, description: 'labels, such as host=a or cpu{host="a"}' },
      json: { type: 'boolean', description: 'print it as JSON' },
      ...someSettingFlags('config', 'data'),
    },
    run: ({ args, data }) => runExplain(args._, args, shellOf(data)),
  }),
  examples: `EXAMPLES

  millrace explain checkout-latency 'host=a'
  millrace explain checkout-latency/mean-ewma '{host="a"}'
  millrace explain detector 'cpu{host="a"}' --json
`,
}

async function runExplain(
  words: readonly string[],
  args: Readonly<Record<string, unknown>>,
  shell: Shell,
): Promise<number> {
  const [of, series] = words
  if (of === undefined || series === undefined || words.length > 2) {
    shell.err(`millrace explain: name what and whose, as in: millrace explain cpu-load 'host=a'\n`)
    return EXIT_USAGE
  }
  const wanted = readSeries(series)
  const config = await loadConfig(args, shell)
  const dir = storeAt(config.data)
  const state = openStateReader({ dir })
  const log = openLogReader({ dir })
  let told: readonly ExplainRow[]
  try {
    told = await explainFrom(
      state,
      new FeedbackRows(log),
      { ...named(state, of), group: wanted },
      async (plan) => {
        await loadPlugins([plan])
        return registryOfPlugins
      },
    )
  } finally {
    await state.close()
    await log.close()
  }
  if (told.length === 0) {
    throw unclear(
      series,
      series,
      'no group with these labels is in the last checkpoint',
      'Look at millrace alerts list, or name fewer labels.',
    )
  }
  if (args.json === true) shell.out(`${JSON.stringify(told, null, 2)}\n`)
  else shell.out(told.map(text).join('\n'))
  return EXIT_OK
}

/** `detector` stands for all, unless a pipeline is called so. */
function named(state: StateReader, of: string): Omit<ExplainQuery, 'group'> {
  if (of === 'detector' && state.pipeline(of) === null) return {}
  const [pipeline, detector] = of.split('/')
  return { pipeline: pipeline!, ...(detector === undefined ? {} : { detector }) }
}

function unclear(place: string, value: unknown, problem: string, remedy: string): MillraceError {
  const faults: Fault[] = [{ place, value, problem, remedy }]
  return MillraceError.ofFaults('INPUT_INVALID', 'nothing can be explained', faults)
}

function text(told: ExplainRow): string {
  const { pipeline, detector, kind, column, group, health, state, sinceMs, expected, lower, upper } = told
  const rows: (readonly [name: string, value: string, meaning: string])[] = []
  const head = `${pipeline}/${detector} (${kind} of ${column ?? 'silence'}) for ${seriesText(group)}, as of ${told.asOfMs === null ? 'no window so far' : timeText(told.asOfMs)}`
  const add = (name: string, value: string, meaning: string): void => {
    rows.push([name, value, meaning])
  }
  add('health', health, '')
  add('alert', sinceMs === null ? state : `${state} since ${timeText(sinceMs)}`, '')
  if (told.silentAfterMs !== null) {
    add('silent after', spanText(told.silentAfterMs), 'without a sample')
  }
  if (expected !== null) {
    add('expected', numberText(expected), '')
    add(
      'band',
      `${numberText(lower ?? -Infinity)} … ${numberText(upper ?? Infinity)}`,
      'outside of it the score is above 1',
    )
  }
  if (told.said !== null)
    add('threshold', `${told.factor} times as learned`, saidText(told.said, told.factor))
  for (const { name, value, meaning } of told.facts) add(name, value, meaning)
  return `${[head, ...aligned(rows)].join('\n')}\n`
}

/** Values beyond it do not push what the others mean to the right: their meaning stands below them. */
const VALUE_MAX = 32

export function aligned(
  rows: readonly (readonly [name: string, value: string, meaning: string])[],
): string[] {
  const longest = (texts: readonly string[]): number => Math.max(0, ...texts.map((one) => one.length))
  const names = longest(rows.map(([name]) => name))
  const values = longest(rows.map(([, value]) => value).filter((value) => value.length <= VALUE_MAX))
  return rows.flatMap(([name, value, meaning]) => {
    const start = `  ${name.padEnd(names)}  `
    if (value.length <= VALUE_MAX) return [`${start}${value.padEnd(values)}  ${meaning}`.trimEnd()]
    const below = `${' '.repeat(start.length + values)}  ${meaning}`
    return meaning === '' ? [`${start}${value}`] : [`${start}${value}`, below]
  })
}

/** Where the factor comes from. The band is that of the checkpoint; what was said since shows in it after the next. */
function saidText(row: FeedbackRow, factor: number): string {
  const { id, says, of, by, note, saidMs, after } = row
  const what = says === 'undo' ? `undo of ${of}` : says
  const why = note === null ? '' : `, ${JSON.stringify(note)}`
  const since = after === factor ? '' : `${after} times since then: `
  return `${since}statement ${id}, ${what}${by === null ? '' : ` by ${by}`} at ${timeText(saidMs)}${why}`
}
