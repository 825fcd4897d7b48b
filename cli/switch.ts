/**
 * `millrace switch`: other detectors for a live pipeline from the offset on that it has committed, warmed up from the history
 * in the log. On a stopped node's directory: a store on which a node runs is refused. workers/switch.ts does it.
 */
import { defineCommand } from 'citty'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import { POINT_ALLOWED, type ReplayPoint, readReplayPoint } from '../engine/pipeline/replay-range.ts'
import { seriesText } from '../engine/series/series-key.ts'
import type { SwitchedDetector, SwitchedPipeline, SwitchReport } from '../workers/switch.ts'
import { someSettingFlags } from './arguments.ts'
import { timeText } from './backtest/report.ts'
import { loadConfig } from './load-config.ts'
import { loadPipelines } from './load-pipeline.ts'
import { countText, secondsText, showLine } from './progress.ts'
import { type Command, EXIT_OK, EXIT_SIGNALLED, EXIT_USAGE, type Shell, shellOf } from './shell.ts'

/** Groups named in the text of one detector; JSON has more. */
const GROUPS_SHOWN_MAX = 5

export const switchCommand: Command = {
  definition: defineCommand({
    meta: { name: 'switch', description: 'Other detectors for a live pipeline, warmed up from history' },
    args: {
      pipeline: {
        type: 'positional',
        required: false,
        description: 'TypeScript or JavaScript files that export the changed pipelines by default',
      },
      'warm-from': {
        type: 'string',
        valueHint: 'time|offset|beginning|end',
        description: 'first record of the history, by when it was stored or by offset (default beginning)',
      },
      'dry-run': { type: 'boolean', description: 'say what would be done, and change nothing' },
      json: { type: 'boolean', description: 'print the report as JSON' },
      ...someSettingFlags('config', 'data', 'partitions'),
    },
    run: ({ args, data }) => runSwitch(args._, args, shellOf(data)),
  }),
  examples: `EXAMPLES

  millrace switch pipeline.ts                        with all the history that the log holds
  millrace switch pipeline.ts --warm-from -7d        with that of a week
  millrace switch pipeline.ts --dry-run              what would become of detectors and alerts
  millrace run pipeline.ts                           and on

  millrace switch new.ts                             a pipeline that is new: from the end of the log on, and not blind
`,
}

async function runSwitch(
  files: readonly string[],
  args: Readonly<Record<string, unknown>>,
  shell: Shell,
): Promise<number> {
  if (files.length === 0) {
    shell.err('millrace switch: no pipeline is named, as in: millrace switch pipeline.ts\n')
    return EXIT_USAGE
  }
  const warmFrom = readWarmFrom(args['warm-from'], shell)
  const config = await loadConfig(args, shell)
  const plans = await loadPipelines(files, shell.cwd, await shell.registry(), config)
  const stopping = new AbortController()
  void shell.stopped.then(() => stopping.abort())
  const startedMs = shell.clock.monotonicMs()
  let text = ''
  const progress = showLine(shell, () => text)
  let report: SwitchReport | null
  try {
    const { switchDetectors } = await import('../workers/switch.ts')
    report = await switchDetectors({
      dir: config.data,
      plans,
      warmFrom,
      isDryRun: args['dry-run'] === true,
      clock: shell.clock,
      signal: stopping.signal,
      onProgress(samples, pipeline) {
        text = `${pipeline}: ${countText(samples)} samples of history`
      },
    })
  } finally {
    progress.stop()
  }
  if (report === null) {
    shell.err('millrace: broken off; nothing was changed\n')
    return EXIT_SIGNALLED[await shell.stopped]
  }
  const seconds = (shell.clock.monotonicMs() - startedMs) / 1_000
  if (args.json === true) shell.out(`${JSON.stringify({ ...report, seconds }, null, 2)}\n`)
  else shell.out(switchText(report, seconds))
  return EXIT_OK
}

function readWarmFrom(written: unknown, shell: Shell): ReplayPoint {
  if (typeof written !== 'string') return { point: 'beginning' }
  const nowMs = shell.clock.nowMs()
  // A duration alone can only mean so long ago.
  const point = readReplayPoint(written, nowMs) ?? readReplayPoint(`-${written}`, nowMs)
  if (point !== null) return point
  const faults: Fault[] = [
    {
      place: '--warm-from',
      value: written,
      problem: 'is neither a time nor an offset',
      remedy: `Write ${POINT_ALLOWED}.`,
    },
  ]
  throw MillraceError.ofFaults('INPUT_INVALID', 'where the history begins is not clear', faults)
}

export function switchText(report: SwitchReport, seconds: number): string {
  const lines = report.pipelines.flatMap(pipelineLines)
  if (report.isShort) {
    lines.push('The log does not reach as far back as that: the history is what it holds.')
  }
  const changed = report.pipelines.some(({ outcome }) => outcome !== 'unchanged')
  const done = report.isDryRun ? 'nothing was changed (--dry-run)' : changed ? 'committed' : 'nothing to do'
  lines.push(`${done}; ${secondsText(seconds)}`)
  return `${lines.join('\n')}\n`
}

function pipelineLines(pipeline: SwitchedPipeline): string[] {
  const { name, outcome, changes, detectors, groups, alerts } = pipeline
  if (outcome === 'unchanged') return [`${name}: its plan is the one in the store`]
  const head =
    outcome === 'new'
      ? `${name}: new, and begins at ${cutText(pipeline)} (the end of the log)`
      : `${name}: switched at ${cutText(pipeline)}`
  const lines = [head, ...changes.map((change) => `  ${change}`), `  history: ${historyText(pipeline)}`]
  for (const detector of detectors) lines.push(`  ${detectorText(detector, groups)}`)
  const { goesOn, ended, begun } = alerts
  lines.push(`  alerts: ${goesOn} go on under their ids, ${ended} ended, ${begun} begun`)
  return lines
}

function cutText({ partitions }: SwitchedPipeline): string {
  const held = partitions.filter(({ cut }) => cut > 0)
  if (held.length === 0) return 'offset 0'
  const [first] = held
  if (held.length === 1) return `offset ${first!.cut} of partition ${first!.partition}`
  return `the committed offsets of ${held.length} partitions`
}

function historyText({ partitions }: SwitchedPipeline): string {
  const held = partitions.filter(({ fromLogMs }) => fromLogMs !== null)
  if (held.length === 0) return 'none; what is new begins blind'
  const records = held.reduce((sum, { from, cut }) => sum + cut - from, 0)
  const fromMs = Math.min(...held.map(({ fromLogMs }) => fromLogMs!))
  const where = held.length === 1 ? `from offset ${held[0]!.from} on` : `in ${held.length} partitions`
  return `${countText(records)} offsets ${where}, stored since ${timeText(fromMs)}`
}

function detectorText(detector: SwitchedDetector, groups: number): string {
  const { name, outcome, windows, rows, warming, warmingGroups } = detector
  if (outcome === 'gone') return `${name}: gone`
  if (outcome === 'kept') return `${name}: as it was`
  const seen = windows === 0 ? '' : ` ${countText(windows)} windows (${countText(rows)} rows) seen;`
  const head = outcome === 'new' ? `${name}, new:` : `${name}, changed:`
  if (warming === 0) return `${head}${seen} every group can be judged`
  const shown = warmingGroups.slice(0, GROUPS_SHOWN_MAX).map(seriesText)
  const more = warming > shown.length ? `, and ${countText(warming - shown.length)} more` : ''
  return `${head}${seen} ${countText(warming)} of ${countText(groups)} groups still warm up: ${shown.join(', ')}${more}`
}
