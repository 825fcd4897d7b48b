/**
 * `millrace status`: how a node does, and its pipelines; without a node, what stands in its store. Says what is wrong in so
 * many words, and tells scripts by its exit code.
 */
import { defineCommand } from 'citty'
import type { NodeStatus, PipelineStatus } from '../engine/contract/queries.ts'
import { type Answers, askFlags, askNodeOrStore } from './ask.ts'
import { type Colours, colours, wantsColour } from './colour.ts'
import { bytesText, countText, secondsText } from './progress.ts'
import { type Command, EXIT_FAILED, EXIT_OK, type Shell, shellOf } from './shell.ts'
import { tableLines } from './table.ts'

/** Threads show a sign of life several times a second. */
const THREAD_SILENT_MS = 10_000

export const status: Command = {
  definition: defineCommand({
    meta: { name: 'status', description: 'How a node and its pipelines do, or what stands in its store' },
    args: {
      json: { type: 'boolean', description: 'print everything as JSON' },
      ...askFlags,
    },
    run: ({ args, data }) => runStatus(args, shellOf(data)),
  }),
  examples: `EXAMPLES

  millrace status                              the node on 127.0.0.1:8428, or the store in ./millrace-data
  millrace status --url http://10.0.0.7:8428
  millrace status --json | jq '.pipelines[] | {name, state}'

Exit codes: 0 all is well; 1 something is wrong, or there is nobody to ask; 2 the command line is not understood.
`,
}

async function runStatus(args: Readonly<Record<string, unknown>>, shell: Shell): Promise<number> {
  const answers = await askNodeOrStore(args, shell)
  try {
    const pipelines = await answers.pipelines()
    const problems = problemsOf(answers.status, pipelines)
    if (args.json === true) {
      const { url, dataDirectory, status: node } = answers
      shell.out(`${JSON.stringify({ url, dataDirectory, node, pipelines, problems }, null, 2)}\n`)
    } else {
      const paint = colours(wantsColour(shell.outIsTerminal === true, shell.env))
      shell.out(statusText(answers, pipelines, problems, paint))
    }
    return problems.length > 0 ? EXIT_FAILED : EXIT_OK
  } finally {
    await answers.close()
  }
}

/** A detector that is blind for this share of its series is something wrong; a saturated one is shown only: it may be right. */
const BLIND_SHARE = 0.05

function blindDetectors({ name: pipeline, detectors = [] }: PipelineStatus): string[] {
  return detectors.flatMap(({ name, series }) => {
    if (series === null) return []
    const all = Object.values(series).reduce((sum, count) => sum + count, 0)
    if (!(series.blind > BLIND_SHARE * all)) return []
    return `detector ${pipeline}/${name} is blind for ${countText(series.blind)} of ${countText(all)} series: it could not alarm whatever came`
  })
}

/** `12 ok, 3 warming`; what is not there is left out. */
export function healthText({ detectors = [] }: PipelineStatus): string {
  const sums = new Map<string, number>()
  for (const { series } of detectors) {
    for (const [health, count] of Object.entries(series ?? {})) {
      sums.set(health, (sums.get(health) ?? 0) + count)
    }
  }
  const told = [...sums].filter(([, count]) => count > 0)
  return told.length === 0 ? '-' : told.map(([health, count]) => `${countText(count)} ${health}`).join(', ')
}

/** What somebody should look at, worst first. */
export function problemsOf(node: NodeStatus | null, pipelines: readonly PipelineStatus[]): string[] {
  const problems: string[] = []
  for (const { name, state, problem } of pipelines) {
    if (node !== null && (state === 'failed' || state === 'stopped' || state === 'recovering')) {
      problems.push(`pipeline ${name} is ${state}${problem === null ? '' : `: ${problem}`}`)
    }
  }
  if (node === null) return problems
  if (node.disk.isLow) {
    const { freeBytes, reserveBytes } = node.disk
    const left =
      freeBytes === null ? '' : ` (${bytesText(freeBytes)} left, ${bytesText(reserveBytes)} wanted)`
    problems.push(`nothing is taken in: the disk is full${left}. Free some room, or lower --disk-reserve`)
  }
  for (const pipeline of pipelines) problems.push(...blindDetectors(pipeline))
  for (const { name, lastSeenMs } of node.threads) {
    if (lastSeenMs !== null && node.nowMs - lastSeenMs > THREAD_SILENT_MS) {
      problems.push(`thread ${name} has been silent for ${secondsText((node.nowMs - lastSeenMs) / 1_000)}`)
    }
  }
  return problems
}

function statusText(
  answers: Answers,
  pipelines: readonly PipelineStatus[],
  problems: readonly string[],
  paint: Colours,
): string {
  const { url, status: node, dataDirectory } = answers
  const lines: string[] = []
  if (node === null) lines.push(`${paint.bold('no node runs')} on the store in ${dataDirectory}`)
  else {
    lines.push(
      `${paint.bold(url ?? '')}  millrace ${node.version}, up ${secondsText(node.uptimeSeconds)}`,
      `data      ${dataDirectory}: log ${bytesText(node.logBytes)}, state ${bytesText(node.stateBytes)}${node.disk.freeBytes === null ? '' : `, ${bytesText(node.disk.freeBytes)} free`}`,
      `threads   ${threadsText(node)}`,
    )
    for (const { name, series, partitions, appended } of node.topics) {
      const counts = `${countText(series)} series, ${countText(appended)} records in ${partitions} partitions`
      lines.push(`topic     ${name}: ${counts}`)
    }
  }
  lines.push('')
  lines.push(...pipelineLines(pipelines, node?.nowMs ?? null, paint))
  if (problems.length > 0) lines.push('', ...problems.map((problem) => paint.red(`! ${problem}`)))
  return `${lines.join('\n')}\n`
}

function threadsText({ threads }: NodeStatus): string {
  const restarted = threads.filter(({ restarts }) => restarts > 0)
  if (restarted.length === 0) return `${threads.length}, none restarted`
  return `${threads.length}, restarted: ${restarted.map(({ name, restarts }) => `${name} ${restarts} times`).join(', ')}`
}

/** A table of pipelines, also for `top`. `extra`: columns of its own. */
export function pipelineLines(
  pipelines: readonly PipelineStatus[],
  nowMs: number | null,
  paint: Colours,
): string[] {
  if (pipelines.length === 0) return ['no pipelines']
  return tableLines(
    pipelines,
    [
      { head: 'pipeline', text: ({ name }) => name },
      {
        head: 'state',
        text: ({ state }) => state,
        paint: (text, { state }) => stateColour(paint, state)(text),
      },
      { head: 'samples', align: 'right', text: ({ ledger }) => countText(ledger.in) },
      { head: 'late', align: 'right', text: ({ ledger }) => countText(ledger.late) },
      { head: 'lag', align: 'right', text: (pipeline) => countText(lagOf(pipeline)) },
      { head: 'behind', align: 'right', text: (pipeline) => behindText(pipeline, nowMs) },
      {
        head: 'alerts',
        align: 'right',
        text: ({ alertsFiring }) => countText(alertsFiring),
        paint: (text, { alertsFiring }) => (alertsFiring > 0 ? paint.red(text) : text),
      },
      { head: 'detectors', text: healthText },
    ],
    paint.dim,
  )
}

export function stateColour(paint: Colours, state: PipelineStatus['state']): (text: string) => string {
  if (state === 'failed') return paint.red
  return state === 'running' ? paint.green : paint.yellow
}

export function lagOf({ partitions, owners = [] }: PipelineStatus): number {
  return [...partitions, ...owners].reduce((sum, { lag }) => sum + lag, 0)
}

/** How far event time lags behind the clock. */
export function behindText({ partitions }: PipelineStatus, nowMs: number | null): string {
  const seen = partitions.flatMap(({ watermarkMs }) => (watermarkMs === null ? [] : [watermarkMs]))
  if (seen.length === 0 || nowMs === null) return '-'
  const seconds = (nowMs - Math.max(...seen)) / 1_000
  if (Math.abs(seconds) < 86_400) return secondsText(Math.max(0, seconds))
  return `${countText(Math.round(seconds / 86_400))} d`
}
