/**
 * A thread of a replay: takes one partition after another, recomputes its pipelines and writes their lines to files of
 * that (pipeline, stream) alone, so that what a file holds does not depend on which thread wrote it, or when. Of pipelines
 * whose groups are spread over partitions it writes down what the chains send; owners of groups, taken in a second round,
 * read that.
 */
import { closeSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { Alert } from '../engine/contract/alert.ts'
import { ENTRY_ALERT, ENTRY_LATE, ENTRY_RESULTS, type EntrySink } from '../engine/contract/entries.ts'
import type { FeedbackSource } from '../engine/contract/feedback.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import { ownerStream } from '../engine/contract/streams.ts'
import { replayPartition } from '../engine/pipeline/replay.ts'
import { replayOwners } from '../engine/pipeline/replay-owners.ts'
import type { PartitionRange } from '../engine/pipeline/replay-range.ts'
import { ResultLines } from '../engine/pipeline/result-lines.ts'
import { FeedbackRows } from '../engine/store/feedback/feedback-rows.ts'
import { openLogReader } from '../engine/store/log-store.ts'
import { assert } from '../engine/util/assert.ts'
import { recordJson } from '../operators/sinks/record-json.ts'
import { openNew, SpillReader, SpillWriter, writeWhole } from './partial-spill.ts'
import { loadPlugins, registry } from './plugins.ts'
import { ReplayBoard, type ReplayBoardBuffers } from './replay-board.ts'

/** In the order of the board's counters, and of the files. */
export const FEEDS = ['results', 'alerts', 'late'] as const
const FEED_OF_KIND: Readonly<Record<number, number>> = {
  [ENTRY_RESULTS]: 0,
  [ENTRY_ALERT]: 1,
  [ENTRY_LATE]: 2,
}
const WRITE_BYTES = 1 << 20
/** Lines gathered before they are encoded: a call for each line costs more than its bytes do. */
const GATHER_UNITS = 32_768
/** UTF-8 takes at most so many bytes a UTF-16 unit. */
const BYTES_PER_UNIT_MAX = 3

/** One partition: its part of every pipeline that reads the topic. */
export interface PartitionJob {
  readonly what: 'partition'
  readonly topicId: number
  readonly range: PartitionRange
  /** Log time of the newest record in the ranges of all partitions. */
  readonly endLogMs: number
  /** Of the wiring's plans: those that read the topic. */
  readonly plans: readonly number[]
  /** By plan of `plans`: base offsets of records that are passed over. */
  readonly dead: readonly (readonly number[])[]
  /** Row on the board of the first of them; the others follow. */
  readonly firstRow: number
}

/** Some owners of one pipeline's groups, when its partitions are through. */
export interface OwnersJob {
  readonly what: 'owners'
  readonly plan: number
  readonly buckets: readonly number[]
  /** Row on the board of the first bucket; the others follow. */
  readonly firstRow: number
}

export type ReplayJob = PartitionJob | OwnersJob

export interface ReplayWiring {
  readonly dir: string
  readonly plans: readonly PipelinePlan[]
  readonly jobs: readonly ReplayJob[]
  readonly board: ReplayBoardBuffers
  /** Where the files of the parts go; null: no lines are written, entries are only counted and digested. */
  readonly partsDir: string | null
  /** Where partitions put what they send to owners; null: no pipeline has any. */
  readonly spillDir: string | null
}

export function partFile(partsDir: string, plan: number, stream: number, feed: number): string {
  return join(partsDir, `${plan}-${stream}.${FEEDS[feed]}`)
}

export function spillFile({ spillDir }: ReplayWiring, plan: number, partition: number): string {
  assert(spillDir !== null, 'there is a place for what partitions send', plan)
  return join(spillDir, `${plan}-${partition}`)
}

export async function runReplay(wiring: ReplayWiring): Promise<void> {
  await loadPlugins(wiring.plans)
  const log = openLogReader({ dir: wiring.dir })
  const board = new ReplayBoard(wiring.board)
  const feedback = new FeedbackRows(log)
  try {
    for (;;) {
      const job = wiring.jobs[board.takeJob()]
      if (job === undefined || board.isStopped) return
      if (job.what === 'partition') replayPartitionJob(wiring, job, log, feedback, board)
      else replayOwnersJob(wiring, job, feedback, board)
    }
  } finally {
    await log.close()
  }
}

function replayPartitionJob(
  wiring: ReplayWiring,
  job: PartitionJob,
  log: ReturnType<typeof openLogReader>,
  feedback: FeedbackSource,
  board: ReplayBoard,
): void {
  const { topicId, range, firstRow } = job
  const seriesKey = (seriesId: number): Uint8Array | null => log.seriesKey(topicId, seriesId)
  const parts = job.plans.map((index) => openPart(wiring, index, range.partition, seriesKey))
  const spills = job.plans.map((index) =>
    wiring.plans[index]!.exchange === undefined
      ? null
      : new SpillWriter(spillFile(wiring, index, range.partition)),
  )
  try {
    replayPartition({
      log,
      topicId,
      range,
      registry,
      feedback,
      endLogMs: job.endLogMs,
      pipelines: parts.map(({ plan, sink }, i) => {
        const dead = new Set(job.dead[i])
        const spill = spills[i]!
        if (spill === null) return { plan, sink, dead }
        const group: EntrySink['group'] = (groupId, key) => spill.group(groupId, key)
        return { plan, sink: { group, entry: sink.entry }, partialSink: spill.sink, dead }
      }),
      goesOn(offset, ledgers) {
        parts.forEach((part, i) => {
          board.report(firstRow + i, offset, ledgers[i], part.rows, part.digest)
        })
        return !board.isStopped
      },
    })
    for (const part of parts) part.flush()
    for (const spill of spills) spill?.flush()
  } finally {
    for (const part of parts) part.close()
    for (const spill of spills) spill?.close()
  }
}

function replayOwnersJob(
  wiring: ReplayWiring,
  job: OwnersJob,
  feedback: FeedbackSource,
  board: ReplayBoard,
): void {
  const plan = wiring.plans[job.plan]!
  const readers: SpillReader[] = []
  // What is late was told by the partitions: an owner's rows name no series.
  const parts = job.buckets.map((bucket) => openPart(wiring, job.plan, ownerStream(plan, bucket), () => null))
  let taken = 0
  try {
    for (let partition = 0; partition < plan.topic.partitions; partition++) {
      readers.push(new SpillReader(spillFile(wiring, job.plan, partition)))
    }
    replayOwners({
      plan,
      registry,
      feedback,
      owners: job.buckets.map((bucket, i) => ({ bucket, sink: parts[i]!.sink })),
      sent: {
        next: (partition) => {
          const entry = readers[partition]!.next()
          if (entry !== null) taken++
          return entry
        },
        entry: (partition, seq) => readers[partition]!.entry(seq),
        groupKey: (partition, groupId) => readers[partition]!.groupKeys[groupId]!,
      },
      goesOn(ledgers) {
        parts.forEach((part, i) => {
          board.report(job.firstRow + i, taken, ledgers[i], part.rows, part.digest)
        })
        return !board.isStopped
      },
    })
    for (const part of parts) part.flush()
  } finally {
    for (const part of parts) part.close()
    for (const reader of readers) reader.close()
  }
}

function openPart(
  wiring: ReplayWiring,
  index: number,
  stream: number,
  seriesKey: (seriesId: number) => Uint8Array | null,
): Part {
  const plan = wiring.plans[index]!
  const { partsDir } = wiring
  if (partsDir === null) return new DigestPart(plan)
  return new FilePart(plan, stream, seriesKey, (feed) => partFile(partsDir, index, stream, feed))
}

/** What becomes of the entries of one (pipeline, stream). */
interface Part {
  readonly plan: PipelinePlan
  readonly sink: EntrySink
  /** Rows by feed. */
  readonly rows: readonly number[]
  /** CRC-32 over the bytes of all entries, one after another. */
  readonly digest: number
  flush(): void
  close(): void
}

class DigestPart implements Part {
  readonly plan: PipelinePlan
  readonly rows = [0, 0, 0]
  readonly sink: EntrySink
  digest = 0

  constructor(plan: PipelinePlan) {
    this.plan = plan
    this.sink = {
      group() {},
      entry: (kind, _seq, _causeOffset, _eventTimeMs, bytes, length) => {
        const feed = FEED_OF_KIND[kind]
        if (feed === undefined) return
        this.digest = crc32(bytes.subarray(0, length), this.digest)
        this.rows[feed]! += rowCountOf(kind, bytes)
      },
    }
  }

  flush(): void {}
  close(): void {}
}

/** RESULTS and LATE begin with their number of rows (contract/entries.ts). */
function rowCountOf(kind: number, bytes: Uint8Array): number {
  return kind === ENTRY_ALERT ? 1 : new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true)
}

class FilePart implements Part {
  readonly plan: PipelinePlan
  readonly rows = [0, 0, 0]
  readonly sink: EntrySink
  readonly digest = 0
  readonly #files: readonly LineFile[]

  constructor(
    plan: PipelinePlan,
    stream: number,
    seriesKey: (seriesId: number) => Uint8Array | null,
    fileOf: (feed: number) => string,
  ) {
    this.plan = plan
    const lines = new ResultLines({
      plan,
      partition: stream,
      seriesKey,
      alertLine: (id, seq, alert) => recordJson({ id, partition: stream, seq, row: 0, body: alert as Alert }),
    })
    const files = FEEDS.map((_, feed) => new LineFile(fileOf(feed)))
    const { rows } = this
    this.#files = files
    this.sink = {
      group: (groupId, key) => lines.group(groupId, key),
      entry: (kind, seq, _causeOffset, _eventTimeMs, bytes, length) => {
        const feed = FEED_OF_KIND[kind]
        // Entries of other kinds are the engine's own, and no part of the results.
        if (feed === undefined) return
        rows[feed]! += lines.write(kind, seq, bytes, length, files[feed]!.line)
      },
    }
  }

  flush(): void {
    for (const file of this.#files) file.flush()
  }

  close(): void {
    for (const file of this.#files) file.close()
  }
}

/** Lines to a file through one buffer; the file is made with its first bytes. */
class LineFile {
  readonly line: (text: string) => void
  readonly #path: string
  #gathered = ''
  #buffer: Buffer | null = null
  #fill = 0
  #fd = -1

  constructor(path: string) {
    this.#path = path
    this.line = (text) => {
      this.#gathered += text
      if (this.#gathered.length >= GATHER_UNITS) this.#encode()
    }
  }

  #encode(): void {
    const text = this.#gathered
    this.#gathered = ''
    this.#buffer ??= Buffer.allocUnsafe(WRITE_BYTES)
    const needed = text.length * BYTES_PER_UNIT_MAX
    if (this.#fill + needed > this.#buffer.length) {
      this.#write()
      if (needed > this.#buffer.length) this.#buffer = Buffer.allocUnsafe(needed)
    }
    this.#fill += this.#buffer.write(text, this.#fill)
  }

  flush(): void {
    this.#encode()
    this.#write()
  }

  #write(): void {
    const buffer = this.#buffer
    if (buffer === null || this.#fill === 0) return
    if (this.#fd < 0) this.#fd = openNew(this.#path)
    writeWhole(this.#fd, this.#path, buffer.subarray(0, this.#fill))
    this.#fill = 0
    assert(this.#fd >= 0, 'a file that was written is open', this.#path)
  }

  /** What is in the buffer is given up unless it was flushed. */
  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd)
    this.#fd = -1
  }
}
