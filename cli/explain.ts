/**
 * `millrace explain`: what detectors decided for a series, from the last checkpoint of the store. Restores state as a start of
 * the node does and asks it; reads only, beside a running node or without one.
 */
import { defineCommand } from 'citty'
import { knownRemedy } from '../engine/config/did-you-mean.ts'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import type { FeedbackRow, FeedbackSource } from '../engine/contract/feedback.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import type { Labels } from '../engine/contract/samples.ts'
import { ownerStream, resultStreams } from '../engine/contract/streams.ts'
import { lastWord } from '../engine/pipeline/feedback-door.ts'
import type { Explained } from '../engine/pipeline/judges.ts'
import { stateOf } from '../engine/pipeline/verify-pipeline.ts'
import { FeedbackRows } from '../engine/store/feedback/feedback-rows.ts'
import { openLogReader } from '../engine/store/log-store.ts'
import { storeAt } from '../engine/store/place.ts'
import type { StateReader } from '../engine/store/state-contract.ts'
import { openStateReader } from '../engine/store/state-store.ts'
import { assert } from '../engine/util/assert.ts'
import { numberText } from '../operators/detectors/verdicts.ts'
import { loadPlugins, registry as registryOfPlugins } from '../workers/plugins.ts'
import { someSettingFlags } from './arguments.ts'
import { seriesText } from './backtest/evaluate.ts'
import { matches } from './backtest/labels.ts'
import { spanText, timeText } from './backtest/report.ts'
import { loadConfig } from './load-config.ts'
import { readSeries } from './read-series.ts'
import { type Command, EXIT_OK, EXIT_USAGE, type Shell, shellOf } from './shell.ts'

/** Groups told; more are a query for a program. */
const GROUPS_MAX = 20

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

interface Told extends Explained {
  readonly pipeline: string
  /** What was said last of this detector and group; its factor holds behind its place in the log, which the checkpoint may not have reached. Null: nothing. */
  readonly said: FeedbackRow | null
  /** Up to here event time was complete; null: no sample so far. */
  readonly asOfMs: number | null
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
  const feedback = new FeedbackRows(log)
  const told: Told[] = []
  try {
    for (const { id, plan, detector } of chosen(state, of)) {
      await loadPlugins([plan])
      told.push(
        ...explainPipeline(state, feedback, id, plan, wanted, GROUPS_MAX).filter(
          (one) => detector === null || one.detector === detector,
        ),
      )
    }
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

interface Chosen {
  readonly id: number
  readonly plan: PipelinePlan
  /** Null: all. */
  readonly detector: string | null
}

function chosen(state: StateReader, of: string): Chosen[] {
  const all = state
    .pipelines()
    .map(({ id, planJson }) => ({ id, plan: JSON.parse(planJson) as PipelinePlan }))
  if (of === 'detector') return all.map((one) => ({ ...one, detector: null }))
  const [name, detector] = of.split('/')
  const found = all.find(({ plan }) => plan.name === name)
  if (found === undefined) {
    const names = all.map(({ plan }) => plan.name)
    throw unclear(of, name, 'no such pipeline is in the store', knownRemedy(name!, names))
  }
  const detectors = found.plan.detectors.map((one) => one.name)
  if (detector !== undefined && !detectors.includes(detector)) {
    throw unclear(of, detector, 'the pipeline has no such detector', knownRemedy(detector, detectors))
  }
  return [{ ...found, detector: detector ?? null }]
}

/** Each stream's state as of its last checkpoint. */
function explainPipeline(
  state: StateReader,
  feedback: FeedbackSource,
  id: number,
  plan: PipelinePlan,
  wanted: Labels,
  groupsMax: number,
): Told[] {
  const told: Told[] = []
  let left = groupsMax
  // Where groups are spread over partitions, only their owners judge.
  const first = plan.exchange === undefined ? 0 : ownerStream(plan, 0)
  for (let stream = first; stream < resultStreams(plan) && left > 0; stream++) {
    const found = state.restore(id, stream, (checkpoint, pages) => {
      const seat = stateOf(plan, registryOfPlugins, stream, feedback)
      assert(seat !== null, 'a stream of results has state', plan.name, stream)
      seat.restore(checkpoint.meta, pages, (groupId) => {
        const key = state.groupKey(id, stream, groupId)
        assert(key !== null, 'a checkpoint uses groups that were committed', plan.name, stream, groupId)
        return key
      })
      const asOfMs = Number.isFinite(seat.watermarkMs) ? seat.watermarkMs : null
      const explained = seat.explain((group) => matches(group, wanted), left)
      return explained.map((one) => {
        const whose = { pipeline: plan.name, detector: one.detector, group: one.group }
        return { pipeline: plan.name, asOfMs, ...one, said: lastWord(feedback.rows(), whose) }
      })
    })
    told.push(...(found ?? []))
    left = groupsMax - new Set(told.map(({ group }) => seriesText(group))).size
  }
  return told
}

function unclear(place: string, value: unknown, problem: string, remedy: string): MillraceError {
  const faults: Fault[] = [{ place, value, problem, remedy }]
  return MillraceError.ofFaults('INPUT_INVALID', 'nothing can be explained', faults)
}

function text(told: Told): string {
  const { pipeline, detector, kind, column, group, health, state, sinceMs, expected, lower, upper } = told
  const lines = [
    `${pipeline}/${detector} (${kind} of ${column ?? 'silence'}) for ${seriesText(group)}, as of ${told.asOfMs === null ? 'no window so far' : timeText(told.asOfMs)}`,
  ]
  const add = (name: string, value: string, meaning: string): void => {
    lines.push(`  ${name.padEnd(12)} ${value.padEnd(28)} ${meaning}`.trimEnd())
  }
  add('health', health, '')
  add('alert', sinceMs === null ? state : `${state} since ${timeText(sinceMs)}`, '')
  if (told.silentAfterMs !== null && Number.isFinite(told.silentAfterMs)) {
    add('silent after', spanText(told.silentAfterMs), 'without a sample')
  }
  if (!Number.isNaN(expected)) {
    add('expected', numberText(expected), '')
    add('band', `${numberText(lower)} … ${numberText(upper)}`, 'outside of it the score is above 1')
  }
  if (told.said !== null)
    add('threshold', `${told.factor} times as learned`, saidText(told.said, told.factor))
  for (const { name, value, meaning } of told.facts) add(name, value, meaning)
  return `${lines.join('\n')}\n`
}

/** Where the factor comes from. The band is that of the checkpoint; what was said since shows in it after the next. */
function saidText(row: FeedbackRow, factor: number): string {
  const { id, says, of, by, note, saidMs, after } = row
  const what = says === 'undo' ? `undo of ${of}` : says
  const why = note === null ? '' : `, ${JSON.stringify(note)}`
  const since = after === factor ? '' : `${after} times since then: `
  return `${since}statement ${id}, ${what}${by === null ? '' : ` by ${by}`} at ${timeText(saidMs)}${why}`
}
