/**
 * `millrace replay`: pipelines computed again over what the log holds, into files of their own. Reads only: the node that
 * owns the store may run, or none. In place of a pipeline's results, `millrace run --reset-state` does the same work.
 */
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { crc32 } from 'node:zlib'
import { defineCommand } from 'citty'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import { POINT_ALLOWED, type ReplayPoint, readReplayPoint } from '../engine/pipeline/replay-range.ts'
import type { ReplayProgress, ReplayReport } from '../workers/replay.ts'
import { someSettingFlags } from './arguments.ts'
import { loadConfig } from './load-config.ts'
import { loadPipelines } from './load-pipeline.ts'
import { countText, progressText, rateText, secondsText, showLine } from './progress.ts'
import { type Command, EXIT_OK, EXIT_SIGNALLED, EXIT_USAGE, type Shell, shellOf } from './shell.ts'

const THREADS_MAX = 64

export const replayCommand: Command = {
  definition: defineCommand({
    meta: { name: 'replay', description: 'Compute pipelines again over the stored log, into files' },
    args: {
      pipeline: {
        type: 'positional',
        required: false,
        description: 'TypeScript or JavaScript files that export pipelines by default',
      },
      from: {
        type: 'string',
        valueHint: 'time|offset|beginning',
        description: 'first record: by when it was stored, or by offset (default beginning)',
      },
      to: {
        type: 'string',
        valueHint: 'time|offset|end',
        description: 'where to stop: records from there on are left out (default end)',
      },
      into: {
        type: 'string',
        valueHint: 'directory',
        description: 'where results.ndjson, alerts.ndjson and late.ndjson go (default replay-TIME, here)',
      },
      threads: { type: 'string', valueHint: 'number', description: 'default: one a core' },
      'dry-run': {
        type: 'boolean',
        description: 'write nothing: count, and print a checksum of what would come out',
      },
      'with-dead-letters': {
        type: 'boolean',
        description: 'try batches again that the live run has skipped (default: skip the same ones)',
      },
      json: { type: 'boolean', description: 'print the summary as JSON' },
      ...someSettingFlags('config', 'data', 'partitions'),
    },
    run: ({ args, data }) => runReplay(args._, args, shellOf(data)),
  }),
  examples: `EXAMPLES

  millrace replay pipeline.ts                            all that the log holds
  millrace replay pipeline.ts --from -24h --into yesterday
  millrace replay pipeline.ts --from 2026-01-31T00:00:00Z --to 2026-02-01T00:00:00Z --threads 4
  millrace replay changed.ts --from beginning --to offset:1000000 --json

  millrace run pipeline.ts --reset-state                 instead of the results that are there
`,
}

async function runReplay(
  files: readonly string[],
  args: Readonly<Record<string, unknown>>,
  shell: Shell,
): Promise<number> {
  if (files.length === 0) {
    shell.err('millrace replay: no pipeline is named, as in: millrace replay pipeline.ts\n')
    return EXIT_USAGE
  }
  const { from, to, threads } = readOptions(args, shell)
  const config = await loadConfig(args, shell)
  const plans = await loadPipelines(files, shell.cwd, await shell.registry(), config)
  const named = typeof args.into === 'string' ? args.into : defaultName(shell.clock.nowMs())
  const into = args['dry-run'] === true ? null : resolve(shell.cwd, named)
  const stopping = new AbortController()
  void shell.stopped.then(() => stopping.abort())
  const startedMs = shell.clock.monotonicMs()
  const state: { progress: ReplayProgress | null; roundMs: number } = { progress: null, roundMs: startedMs }
  const progress = showLine(shell, () =>
    state.progress === null ? '' : roundText(state.progress, shell.clock.monotonicMs() - state.roundMs),
  )
  let report: ReplayReport | null
  try {
    const { replay } = await import('../workers/replay.ts')
    report = await replay({
      dir: config.data,
      plans,
      from,
      to,
      into,
      threads,
      withDeadLetters: args['with-dead-letters'] === true,
      signal: stopping.signal,
      onProgress(told) {
        if (told.round !== state.progress?.round) state.roundMs = shell.clock.monotonicMs()
        state.progress = told
      },
    })
  } finally {
    progress.stop()
  }
  if (report === null) {
    shell.err('millrace: broken off; nothing was written\n')
    return EXIT_SIGNALLED[await shell.stopped]
  }
  const seconds = (shell.clock.monotonicMs() - startedMs) / 1_000
  if (args.json === true) {
    const summary = { ...report, threads, seconds, samplesPerSecond: report.samples / seconds }
    shell.out(`${JSON.stringify(summary, null, 2)}\n`)
  } else shell.err(replayText(report, seconds, args['with-dead-letters'] === true))
  return EXIT_OK
}

/** `1 of 2: 43% · …`; the second round has groups to merge, whose samples were counted in the first. */
export function roundText(
  { round, rounds, done, total, samples }: ReplayProgress,
  elapsedMs: number,
): string {
  if (round === 'reading') {
    const text = progressText({ bytesRead: done, bytesTotal: total, samples }, elapsedMs)
    return rounds === 1 ? text : `1 of 2: ${text}`
  }
  const share = total === 0 ? 1 : Math.min(1, done / total)
  const left =
    share > 0 && share < 1 ? ` · ${secondsText(((elapsedMs / share) * (1 - share)) / 1_000)} left` : ''
  return `2 of 2, merging groups: ${Math.floor(share * 100)}% · ${countText(done)} entries${left}`
}

interface Read {
  readonly from: ReplayPoint
  readonly to: ReplayPoint
  readonly threads: number
}

function readOptions(args: Readonly<Record<string, unknown>>, shell: Shell): Read {
  const faults: Fault[] = []
  const nowMs = shell.clock.nowMs()
  const point = (flag: 'from' | 'to', otherwise: ReplayPoint): ReplayPoint => {
    const written = args[flag]
    if (typeof written !== 'string') return otherwise
    const read = readReplayPoint(written, nowMs)
    if (read !== null) return read
    const problem = 'is neither a time nor an offset'
    faults.push({ place: `--${flag}`, value: written, problem, remedy: `Write ${POINT_ALLOWED}.` })
    return otherwise
  }
  const from = point('from', { point: 'beginning' })
  const to = point('to', { point: 'end' })
  if (from.point === to.point && 'offset' in from && 'offset' in to && to.offset <= from.offset) {
    faults.push(backwards(args.to))
  }
  if (from.point === to.point && 'timeMs' in from && 'timeMs' in to && to.timeMs <= from.timeMs) {
    faults.push(backwards(args.to))
  }
  const written = args.threads
  const threads = typeof written === 'string' ? Number(written) : availableParallelism()
  if (!Number.isInteger(threads) || threads < 1 || threads > THREADS_MAX) {
    const remedy = `Write a whole number from 1 to ${THREADS_MAX}.`
    faults.push({ place: '--threads', value: written, problem: 'is no number of threads', remedy })
  }
  if (faults.length > 0) throw MillraceError.ofFaults('INPUT_INVALID', 'the replay is not clear', faults)
  return { from, to, threads }
}

function backwards(written: unknown): Fault {
  const remedy = 'Write a later one: --to is the first that is left out.'
  return { place: '--to', value: written, problem: 'is not after --from', remedy }
}

/** `replay-20260131T120000Z` */
function defaultName(nowMs: number): string {
  return `replay-${new Date(nowMs).toISOString().replace(/[-:]|\.\d+/g, '')}`
}

function replayText(report: ReplayReport, seconds: number, withDeadLetters: boolean): string {
  const lines = report.pipelines.map(
    (pipeline) =>
      `${pipeline.name}: ${countText(pipeline.in)} samples (${countText(pipeline.windowed)} windowed, ` +
      `${countText(pipeline.filtered)} filtered, ${countText(pipeline.late)} late` +
      `${pipeline.dead > 0 ? `, ${countText(pipeline.dead)} dead` : ''}), ` +
      `${countText(pipeline.results)} results, ${countText(pipeline.alerts)} alert transitions`,
  )
  for (const { name, deadLetters } of report.pipelines) {
    if (deadLetters.length === 0) continue
    const count = `${deadLetters.length} recorded dead letter${deadLetters.length === 1 ? '' : 's'}`
    lines.push(
      withDeadLetters
        ? `${name}: tried ${count} again, which the live run has skipped`
        : `${name}: skipped ${count}, as the live run did; --with-dead-letters tries them again`,
    )
  }
  const rate = rateText(report.samples / Math.max(seconds, 1e-3))
  if (report.into === null) {
    for (const { name, digests } of report.pipelines) lines.push(`${name}: checksum ${digestText(digests)}`)
  }
  const where = report.into === null ? 'nothing was written' : `written to ${report.into}`
  lines.push(`done in ${secondsText(seconds)}, ${rate} samples/s; ${where}`)
  return `${lines.join('\n')}\n`
}

/** One for all partitions, in their order. */
function digestText(digests: readonly number[]): string {
  const words = Uint32Array.from(digests)
  const sum = crc32(new Uint8Array(words.buffer))
  return sum.toString(16).padStart(8, '0')
}
