/**
 * A thread of a replay: takes one partition after another, recomputes its pipelines and writes their lines to files of
 * that (pipeline, partition) alone, so that what a file holds does not depend on which thread wrote it, or when.
 */
import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { Alert } from '../engine/contract/alert.ts'
import { ENTRY_ALERT, ENTRY_LATE, ENTRY_RESULTS, type EntrySink } from '../engine/contract/entries.ts'
import { MillraceError } from '../engine/contract/errors.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import { replayPartition } from '../engine/pipeline/replay.ts'
import type { PartitionRange } from '../engine/pipeline/replay-range.ts'
import { ResultLines } from '../engine/pipeline/result-lines.ts'
import { openLogReader } from '../engine/store/log-store.ts'
import { assert } from '../engine/util/assert.ts'
import { recordJson } from '../operators/sinks/record-json.ts'
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

export interface ReplayJob {
  readonly topicId: number
  readonly range: PartitionRange
  /** Of the wiring's plans: those that read the topic. */
  readonly plans: readonly number[]
  /** Row on the board of the first of them; the others follow. */
  readonly firstRow: number
}

export interface ReplayWiring {
  readonly dir: string
  readonly plans: readonly PipelinePlan[]
  readonly jobs: readonly ReplayJob[]
  readonly board: ReplayBoardBuffers
  /** Where the files of the parts go; null: nothing is written, entries are only counted and digested. */
  readonly partsDir: string | null
}

export function partFile(partsDir: string, plan: number, partition: number, feed: number): string {
  return join(partsDir, `${plan}-${partition}.${FEEDS[feed]}`)
}

export async function runReplay(wiring: ReplayWiring): Promise<void> {
  await loadPlugins(wiring.plans)
  const log = openLogReader({ dir: wiring.dir })
  const board = new ReplayBoard(wiring.board)
  try {
    for (;;) {
      const job = wiring.jobs[board.takeJob()]
      if (job === undefined || board.isStopped) return
      replayJob(wiring, job, log, board)
    }
  } finally {
    await log.close()
  }
}

function replayJob(
  wiring: ReplayWiring,
  job: ReplayJob,
  log: ReturnType<typeof openLogReader>,
  board: ReplayBoard,
): void {
  const { topicId, range, firstRow } = job
  const { partsDir } = wiring
  const parts = job.plans.map((index): Part => {
    const plan = wiring.plans[index]!
    if (partsDir === null) return new DigestPart(plan)
    const seriesKey = (seriesId: number): Uint8Array | null => log.seriesKey(topicId, seriesId)
    const fileOf = (feed: number): string => partFile(partsDir, index, range.partition, feed)
    return new FilePart(plan, range.partition, seriesKey, fileOf)
  })
  try {
    replayPartition({
      log,
      topicId,
      range,
      registry,
      pipelines: parts.map((part) => ({ plan: part.plan, sink: part.sink })),
      goesOn(offset, ledgers) {
        parts.forEach((part, i) => {
          board.report(firstRow + i, offset, ledgers[i], part.rows, part.digest)
        })
        return !board.isStopped
      },
    })
    for (const part of parts) part.flush()
  } finally {
    for (const part of parts) part.close()
  }
}

/** What becomes of the entries of one (pipeline, partition). */
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
    partition: number,
    seriesKey: (seriesId: number) => Uint8Array | null,
    fileOf: (feed: number) => string,
  ) {
    this.plan = plan
    const lines = new ResultLines({
      plan,
      partition,
      seriesKey,
      alertLine: (id, seq, alert) => recordJson({ id, partition, seq, row: 0, body: alert as Alert }),
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
    try {
      if (this.#fd < 0) this.#fd = openSync(this.#path, 'wx')
      for (let at = 0; at < this.#fill; ) at += writeSync(this.#fd, buffer, at, this.#fill - at)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      throw new MillraceError(
        'STORE_IO',
        `the replay cannot write ${this.#path}: ${reason}. Make room, or name another directory with --into.`,
        { cause: error },
      )
    }
    this.#fill = 0
    assert(this.#fd >= 0, 'a file that was written is open', this.#path)
  }

  /** What is in the buffer is given up unless it was flushed. */
  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd)
    this.#fd = -1
  }
}
