/**
 * A replay from start to end: which records, which threads, and the files that come out. The files appear whole or not at
 * all, and hold the same bytes for any number of threads: pipeline by pipeline, partition by partition, each stream in its
 * own order. Reads the store only, so the node that owns it goes on undisturbed; a later retention may overtake a replay that
 * began at the oldest record, which is then refused by name.
 *
 * Two rounds where groups are spread over partitions: first the chains of all partitions, then the owners of the groups,
 * over what the chains have sent. That lies in files beside the output, or for a dry run in the system's temporary
 * directory, and goes with the end of the replay.
 */
import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pipeline as pipe } from 'node:stream/promises'
import { BatchView } from '../engine/batch/batch-view.ts'
import { BATCH_BYTES_MAX } from '../engine/batch/layout.ts'
import type { DeadLetter } from '../engine/contract/dead-letter.ts'
import { emptyLedger } from '../engine/contract/entries.ts'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import { ownerStream, resultStreams } from '../engine/contract/streams.ts'
import { type PartitionRange, type ReplayPoint, replayRanges } from '../engine/pipeline/replay-range.ts'
import { checkFree, PARTIAL_SUFFIX, publish, syncFile } from '../engine/store/copy.ts'
import { envExists } from '../engine/store/env.ts'
import type { LogReader, LogTopic } from '../engine/store/log-contract.ts'
import { openLogReader } from '../engine/store/log-store.ts'
import { storeAt } from '../engine/store/place.ts'
import { openStateReader, STATE_FOLDER } from '../engine/store/state-store.ts'
import { topicMismatch } from '../engine/store/topic-mismatch.ts'
import { assert } from '../engine/util/assert.ts'
import { SpillReader } from './partial-spill.ts'
import { ThreadPool } from './pool.ts'
import { createReplayBoard, nextRound, ReplayBoard, type ReplayTotals } from './replay-board.ts'
import {
  FEEDS,
  type OwnersJob,
  type PartitionJob,
  partFile,
  type ReplayJob,
  type ReplayWiring,
  spillFile,
} from './replay-thread.ts'

const POLL_MS = 50

export interface ReplayOptions {
  readonly dir: string
  readonly plans: readonly PipelinePlan[]
  readonly from: ReplayPoint
  readonly to: ReplayPoint
  /** Made by the replay; must not exist, or be empty. Null: a dry run, which writes nothing and digests the entries. */
  readonly into: string | null
  readonly threads: number
  /** Take the records that the live run skipped as dead letters; otherwise they are passed over as it did. */
  readonly withDeadLetters?: boolean
  readonly signal: AbortSignal
  readonly onProgress?: (progress: ReplayProgress) => void
}

/** Of one round: offsets of the log while its partitions are `reading`, then entries that owners take, `merging`. */
export interface ReplayProgress {
  readonly round: 'reading' | 'merging'
  /** Rounds that this replay has. */
  readonly rounds: 1 | 2
  readonly done: number
  readonly total: number
  /** Samples of the log taken so far. */
  readonly samples: number
}

export interface ReplayedPipeline extends ReplayTotals {
  readonly name: string
  /** CRC-32 over the entries of each stream; of a dry run only. */
  readonly digests: readonly number[]
  /** Recorded dead letters in the range: passed over, or with `withDeadLetters` taken. */
  readonly deadLetters: readonly DeadLetter[]
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
  const { plans, signal } = options
  const dir = storeAt(options.dir)
  const into = options.into === null ? null : resolve(options.into)
  const partial = into === null ? null : `${into}${PARTIAL_SUFFIX}`
  if (into !== null) checkFree(into, '--into')
  const topics = await resolveTopics(dir, options)
  const letters = await deadLettersOf(dir, topics, plans)
  const jobs = partitionJobs(topics, plans, options.withDeadLetters === true ? [] : letters)
  const owners = ownerJobs(topics, plans, options.threads, rowsOf(jobs))
  const partsDir = partial === null ? null : join(partial, 'parts')
  if (partsDir !== null) mkdirSync(partsDir, { recursive: true })
  const spillDir = owners.length === 0 ? null : (partsDir ?? mkdtempSync(join(tmpdir(), 'millrace-replay-')))
  const wiring: ReplayWiring = {
    dir,
    plans,
    jobs,
    board: createReplayBoard(rowsOf([...jobs, ...owners])),
    partsDir,
    spillDir,
  }
  try {
    const rounds = owners.length === 0 ? 1 : 2
    await runThreads(wiring, options, (board) => {
      const [done, total, samples] = progressOf(jobs, board)
      return { round: 'reading', rounds, done, total, samples }
    })
    if (owners.length > 0 && !signal.aborted) {
      const merging = { ...wiring, jobs: owners, board: nextRound(wiring.board) }
      const total = owners.reduce((sum, job) => sum + sentTo(job, wiring), 0)
      await runThreads(merging, options, (board) => {
        const done = owners.reduce((sum, { firstRow }) => sum + board.position(firstRow), 0)
        return { round: 'merging', rounds, done, total, samples: progressOf(jobs, board)[2] }
      })
    }
    if (signal.aborted) return null
    const report = reportOf(topics, wiring, owners, letters)
    if (into === null || partial === null || partsDir === null) return { into: null, files: [], ...report }
    const names = await joinParts(partial, partsDir, plans)
    rmSync(partsDir, { recursive: true })
    await publish(partial, into)
    return { into, files: names.map((name) => join(into, name)), ...report }
  } finally {
    if (partial !== null) rmSync(partial, { recursive: true, force: true })
    if (spillDir !== null) rmSync(spillDir, { recursive: true, force: true })
  }
}

interface ReplayTopic {
  readonly topic: LogTopic
  readonly ranges: readonly PartitionRange[]
  /** Log time of the newest record in the ranges; -Infinity: there is none. */
  readonly endLogMs: number
}

async function resolveTopics(dir: string, options: ReplayOptions): Promise<readonly ReplayTopic[]> {
  const log = openLogReader({ dir })
  try {
    const topics = topicsOf(log, options.plans)
    return topics.map((topic) => {
      const ranges = replayRanges(log, topic, options.from, options.to)
      return { topic, ranges, endLogMs: endLogMsOf(log, topic, ranges) }
    })
  } finally {
    await log.close()
  }
}

function endLogMsOf(log: LogReader, topic: LogTopic, ranges: readonly PartitionRange[]): number {
  const buffer = new ArrayBuffer((BATCH_BYTES_MAX + 7) & ~7)
  const view = new BatchView(buffer)
  let endLogMs = -Infinity
  for (const { partition, from, to } of ranges) {
    if (from === to) continue
    const length = log.read(topic.id, partition, to - 1, buffer)
    assert(length > 0, 'a range lies in the log', topic.name, partition, to)
    endLogMs = Math.max(endLogMs, view.point(0).appendedMs)
  }
  return endLogMs
}

/** By plan: what a node of this store has recorded for a pipeline of that name, in the ranges. */
async function deadLettersOf(
  dir: string,
  topics: readonly ReplayTopic[],
  plans: readonly PipelinePlan[],
): Promise<readonly (readonly DeadLetter[])[]> {
  // A log alone can be replayed, too.
  if (!envExists(join(dir, STATE_FOLDER))) return plans.map(() => [])
  const state = openStateReader({ dir })
  try {
    return plans.map((plan) => {
      const record = state.pipeline(plan.name)
      const { ranges } = topics.find(({ topic }) => topic.name === plan.topic.name)!
      if (record === null || record.topic !== plan.topic.name) return []
      return ranges.flatMap(({ partition, from, to }) =>
        state
          .deadLetters(record.id, partition)
          .filter(({ baseOffset, endOffset }) => endOffset > from && baseOffset < to),
      )
    })
  } finally {
    await state.close()
  }
}

function topicsOf(log: LogReader, plans: readonly PipelinePlan[]): LogTopic[] {
  const faults: Fault[] = []
  const topics = new Map<string, LogTopic>()
  for (const plan of plans) {
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

function partitionJobs(
  topics: readonly ReplayTopic[],
  plans: readonly PipelinePlan[],
  letters: readonly (readonly DeadLetter[])[],
): PartitionJob[] {
  const jobs: PartitionJob[] = []
  let firstRow = 0
  for (const { topic, ranges, endLogMs } of topics) {
    const indices = indicesOf(topic, plans)
    for (const range of ranges) {
      const dead = indices.map((index) =>
        (letters[index] ?? [])
          .filter(({ partition }) => partition === range.partition)
          .map(({ baseOffset }) => baseOffset),
      )
      jobs.push({ what: 'partition', topicId: topic.id, range, endLogMs, plans: indices, dead, firstRow })
      firstRow += indices.length
    }
  }
  return jobs
}

/** The owners of each pipeline, spread over the threads: each job reads what all partitions have sent. */
function ownerJobs(
  topics: readonly ReplayTopic[],
  plans: readonly PipelinePlan[],
  threads: number,
  rowsBefore: number,
): OwnersJob[] {
  const jobs: OwnersJob[] = []
  let firstRow = rowsBefore
  for (const { topic } of topics) {
    for (const plan of indicesOf(topic, plans)) {
      const count = plans[plan]!.exchange?.buckets ?? 0
      const split = Math.min(threads, count)
      for (let job = 0; job < split; job++) {
        const all = Array.from({ length: count }, (_, bucket) => bucket)
        const buckets = all.filter((bucket) => bucket % split === job)
        jobs.push({ what: 'owners', plan, buckets, firstRow })
        firstRow += buckets.length
      }
    }
  }
  return jobs
}

function indicesOf(topic: LogTopic, plans: readonly PipelinePlan[]): number[] {
  return [...plans.keys()].filter((index) => plans[index]!.topic.name === topic.name)
}

function rowsOf(jobs: readonly ReplayJob[]): number {
  return jobs.reduce((sum, job) => sum + (job.what === 'partition' ? job.plans : job.buckets).length, 0)
}

/** Entries that the owners of a job will take: each takes all that the plan's partitions have sent. */
function sentTo({ plan }: OwnersJob, wiring: ReplayWiring): number {
  let entries = 0
  for (let partition = 0; partition < wiring.plans[plan]!.topic.partitions; partition++) {
    entries += SpillReader.entriesOf(spillFile(wiring, plan, partition))
  }
  return entries
}

/** One round of jobs. */
async function runThreads(
  wiring: ReplayWiring,
  options: ReplayOptions,
  progress: (board: ReplayBoard) => ReplayProgress,
): Promise<void> {
  const board = new ReplayBoard(wiring.board)
  const threads = Math.max(1, Math.min(options.threads, wiring.jobs.length))
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
  const tell = (): void => options.onProgress?.(progress(board))
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

function progressOf(jobs: readonly PartitionJob[], board: ReplayBoard): [number, number, number] {
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
      for (let stream = 0; stream < resultStreams(plan); stream++) {
        const part = partFile(partsDir, index, stream, feed)
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
  { plans, jobs, board: buffers }: ReplayWiring,
  owners: readonly OwnersJob[],
  letters: readonly (readonly DeadLetter[])[],
): Pick<ReplayReport, 'topics' | 'pipelines' | 'samples'> {
  const board = new ReplayBoard(buffers)
  const digests = plans.map((): number[] => [])
  const totals = plans.map(() => noTotals())
  const take = (plan: number, stream: number, row: number): void => {
    board.addTo(totals[plan]!, row)
    digests[plan]![stream] = board.digest(row)
  }
  const partitions = jobs.filter((job) => job.what === 'partition')
  for (const { plans: indices, range, firstRow } of partitions) {
    for (const [i, plan] of indices.entries()) take(plan, range.partition, firstRow + i)
  }
  for (const { plan, buckets, firstRow } of owners) {
    for (const [i, bucket] of buckets.entries()) take(plan, ownerStream(plans[plan]!, bucket), firstRow + i)
  }
  const pipelines = plans.map(({ name }, i) => ({
    name,
    ...totals[i]!,
    digests: digests[i]!,
    deadLetters: letters[i]!,
  }))
  return {
    topics: topics.map(({ topic, ranges }) => ({ topic: topic.name, partitions: ranges })),
    pipelines,
    samples: progressOf(partitions, board)[2],
  }
}

function noTotals(): ReplayTotals {
  return { ...emptyLedger(), results: 0, alerts: 0, lateRows: 0 }
}
