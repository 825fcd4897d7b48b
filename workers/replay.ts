/**
 * A replay from start to end: which records, which threads, and the files that come out. The files appear whole or not at
 * all, and hold the same bytes for any number of threads: pipeline by pipeline, partition by partition, each stream in its
 * own order. Reads the log only, so the node that owns it goes on undisturbed; a later retention may overtake a replay that
 * began at the oldest record, which is then refused by name.
 */
import { createReadStream, createWriteStream, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { pipeline as pipe } from 'node:stream/promises'
import { emptyLedger } from '../engine/contract/entries.ts'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import { type PartitionRange, type ReplayPoint, replayRanges } from '../engine/pipeline/replay-range.ts'
import { checkFree, PARTIAL_SUFFIX, publish, syncFile } from '../engine/store/copy.ts'
import type { LogReader, LogTopic } from '../engine/store/log-contract.ts'
import { openLogReader } from '../engine/store/log-store.ts'
import { storeAt } from '../engine/store/place.ts'
import { topicMismatch } from '../engine/store/topic-mismatch.ts'
import { ThreadPool } from './pool.ts'
import { createReplayBoard, ReplayBoard, type ReplayTotals } from './replay-board.ts'
import { FEEDS, partFile, type ReplayJob, type ReplayWiring } from './replay-thread.ts'

const POLL_MS = 50

export interface ReplayOptions {
  readonly dir: string
  readonly plans: readonly PipelinePlan[]
  readonly from: ReplayPoint
  readonly to: ReplayPoint
  /** Made by the replay; must not exist, or be empty. Null: a dry run, which writes nothing and digests the entries. */
  readonly into: string | null
  readonly threads: number
  readonly signal: AbortSignal
  /** Offsets done and wanted in all, samples taken. */
  readonly onProgress?: (done: number, total: number, samples: number) => void
}

export interface ReplayedPipeline extends ReplayTotals {
  readonly name: string
  /** CRC-32 over the entries of each partition; of a dry run only. */
  readonly digests: readonly number[]
}

export interface ReplayReport {
  readonly into: string | null
  readonly files: readonly string[]
  readonly topics: readonly { readonly topic: string; readonly partitions: readonly PartitionRange[] }[]
  readonly pipelines: readonly ReplayedPipeline[]
  /** Samples of the log that were read, counted once for all pipelines on a topic. */
  readonly samples: number
}

/** Null: the signal came first, and nothing was left behind. */
export async function replay(options: ReplayOptions): Promise<ReplayReport | null> {
  const { plans, threads, signal } = options
  const dir = storeAt(options.dir)
  const into = options.into === null ? null : resolve(options.into)
  const partial = into === null ? null : `${into}${PARTIAL_SUFFIX}`
  if (into !== null && partial !== null) checkFree(into, '--into')
  const topics = await resolveTopics(dir, options)
  const jobs = jobsOf(topics, plans)
  const rows = jobs.reduce((sum, job) => sum + job.plans.length, 0)
  const partsDir = partial === null ? null : join(partial, 'parts')
  const wiring: ReplayWiring = { dir, plans, jobs, board: createReplayBoard(rows), partsDir }
  const board = new ReplayBoard(wiring.board)
  if (partsDir !== null) mkdirSync(partsDir, { recursive: true })
  try {
    await runThreads(wiring, board, Math.max(1, Math.min(threads, jobs.length)), options)
    if (signal.aborted) return null
    const report = reportOf(topics, plans, jobs, board)
    if (into === null || partial === null || partsDir === null) return { into: null, files: [], ...report }
    const names = await joinParts(partial, partsDir, plans)
    rmSync(partsDir, { recursive: true })
    await publish(partial, into)
    return { into, files: names.map((name) => join(into, name)), ...report }
  } finally {
    if (partial !== null) rmSync(partial, { recursive: true, force: true })
  }
}

interface ReplayTopic {
  readonly topic: LogTopic
  readonly ranges: readonly PartitionRange[]
}

async function resolveTopics(dir: string, options: ReplayOptions): Promise<readonly ReplayTopic[]> {
  const log = openLogReader({ dir })
  try {
    const topics = topicsOf(log, options.plans)
    return topics.map((topic) => ({ topic, ranges: replayRanges(log, topic, options.from, options.to) }))
  } finally {
    await log.close()
  }
}

function topicsOf(log: LogReader, plans: readonly PipelinePlan[]): LogTopic[] {
  const faults: Fault[] = []
  const topics = new Map<string, LogTopic>()
  for (const plan of plans) {
    if (plan.exchange !== undefined) {
      faults.push({
        place: `${plan.name}.groupBy`,
        value: plan.groupBy,
        problem: 'the groups are spread over partitions, which replay does not merge',
        remedy:
          'Run it with --reset-state to compute it anew in place, or declare a topic that is partitioned by these labels.',
      })
      continue
    }
    const topic = log.topicOf(plan.topic.name)
    if (topic === null) {
      const names = log.topics().map(({ name }) => name)
      faults.push({
        place: `${plan.name}.topic`,
        value: plan.topic.name,
        problem: 'the log has no such topic',
        remedy: names.length === 0 ? 'It is empty.' : `It has ${names.join(', ')}.`,
      })
      continue
    }
    const mismatch = topicMismatch(topic, plan.topic)
    if (mismatch !== null) throw mismatch
    topics.set(topic.name, topic)
  }
  if (faults.length === 0) return [...topics.values()]
  throw MillraceError.ofFaults('PIPELINE_INVALID', 'there is nothing to replay', faults)
}

function jobsOf(topics: readonly ReplayTopic[], plans: readonly PipelinePlan[]): ReplayJob[] {
  const jobs: ReplayJob[] = []
  let row = 0
  for (const { topic, ranges } of topics) {
    const indices = [...plans.keys()].filter((index) => plans[index]!.topic.name === topic.name)
    for (const range of ranges) {
      jobs.push({ topicId: topic.id, range, plans: indices, firstRow: row })
      row += indices.length
    }
  }
  return jobs
}

async function runThreads(
  wiring: ReplayWiring,
  board: ReplayBoard,
  threads: number,
  options: ReplayOptions,
): Promise<void> {
  let failure: MillraceError | null = null
  const pool = new ThreadPool({
    threads,
    onFailure: (_thread, { error }) => {
      failure ??= error
      board.stop()
    },
    onIdleFailure: (error) => {
      failure ??= error
      board.stop()
    },
  })
  const stop = (): void => board.stop()
  options.signal.addEventListener('abort', stop)
  const tell = (): void => options.onProgress?.(...progressOf(wiring.jobs, board))
  const poll = setInterval(tell, POLL_MS)
  try {
    for (let thread = 0; thread < threads; thread++) pool.start(`replay-${thread}`, 'replay', wiring)
    for (let thread = 0; thread < threads; thread++) await pool.ended(`replay-${thread}`)
    tell()
  } finally {
    clearInterval(poll)
    options.signal.removeEventListener('abort', stop)
    await pool.close()
  }
  if (failure !== null) throw failure
}

function progressOf(jobs: readonly ReplayJob[], board: ReplayBoard): [number, number, number] {
  let done = 0
  let total = 0
  let samples = 0
  for (const { range, firstRow } of jobs) {
    const position = board.position(firstRow)
    total += range.to - range.from
    if (position > range.from) done += Math.min(position, range.to) - range.from
    const totals = noTotals()
    board.addTo(totals, firstRow)
    samples += totals.in
  }
  return [done, total, samples]
}

/** Part after part into one file a feed; returns the files' names. */
async function joinParts(
  partial: string,
  partsDir: string,
  plans: readonly PipelinePlan[],
): Promise<string[]> {
  const names: string[] = []
  for (const [feed, feedName] of FEEDS.entries()) {
    const name = `${feedName}.ndjson`
    const file = join(partial, name)
    // Always there: an empty file says that there is nothing, a missing one that something is wrong.
    const target = await open(file, 'wx')
    await target.close()
    let isFirst = true
    for (const [index, plan] of plans.entries()) {
      for (let partition = 0; partition < plan.topic.partitions; partition++) {
        const part = partFile(partsDir, index, partition, feed)
        if (!existsSync(part)) continue
        if (isFirst) renameSync(part, file)
        else {
          await pipe(createReadStream(part), createWriteStream(file, { flags: 'a' }))
          rmSync(part)
        }
        isFirst = false
      }
    }
    await syncFile(file)
    names.push(name)
  }
  return names
}

function reportOf(
  topics: readonly ReplayTopic[],
  plans: readonly PipelinePlan[],
  jobs: readonly ReplayJob[],
  board: ReplayBoard,
): Pick<ReplayReport, 'topics' | 'pipelines' | 'samples'> {
  const digests = plans.map((): number[] => [])
  const totals = plans.map(() => noTotals())
  for (const job of jobs) {
    for (const [i, plan] of job.plans.entries()) {
      board.addTo(totals[plan]!, job.firstRow + i)
      digests[plan]![job.range.partition] = board.digest(job.firstRow + i)
    }
  }
  const pipelines = plans.map(({ name }, i) => ({ name, ...totals[i]!, digests: digests[i]! }))
  return {
    topics: topics.map(({ topic, ranges }) => ({ topic: topic.name, partitions: ranges })),
    pipelines,
    samples: progressOf(jobs, board)[2],
  }
}

function noTotals(): ReplayTotals {
  return { ...emptyLedger(), results: 0, alerts: 0, lateRows: 0 }
}
