/**
 * What the threads of a replay share: which job comes next, whether to stop, and what each job has done so far. The main
 * thread reads it for progress and, when the threads have ended, for the summary. Each job's row has one writer.
 */
import type { Ledger } from '../engine/contract/entries.ts'

const WORD_NEXT = 0
const WORD_STOP = 1
const WORDS = 2

/** A row a (job, pipeline), or a (job, owner): next offset, or entries taken, the ledger, rows by feed, digest. */
const AT_POSITION = 0
const AT_LEDGER = 1
const AT_ROWS = 7
const AT_DIGEST = 10
const ROW_FIELDS = 11

export interface ReplayBoardBuffers {
  readonly words: SharedArrayBuffer
  readonly rows: SharedArrayBuffer
}

export interface ReplayTotals extends Ledger {
  results: number
  alerts: number
  late: number
  lateRows: number
}

export function createReplayBoard(rows: number): ReplayBoardBuffers {
  return {
    words: new SharedArrayBuffer(WORDS * 4),
    rows: new SharedArrayBuffer(Math.max(1, rows) * ROW_FIELDS * 8),
  }
}

/** For another round of jobs over the same rows. */
export function nextRound({ rows }: ReplayBoardBuffers): ReplayBoardBuffers {
  return { words: new SharedArrayBuffer(WORDS * 4), rows }
}

export class ReplayBoard {
  readonly #words: Int32Array
  readonly #rows: Float64Array

  constructor(buffers: ReplayBoardBuffers) {
    this.#words = new Int32Array(buffers.words)
    this.#rows = new Float64Array(buffers.rows)
  }

  /** The next job that nobody has taken. */
  takeJob(): number {
    // publish: the job is ours; partner: takeJob on the other threads.
    return Atomics.add(this.#words, WORD_NEXT, 1)
  }

  stop(): void {
    // publish: partner: isStopped on the threads.
    Atomics.store(this.#words, WORD_STOP, 1)
  }

  get isStopped(): boolean {
    // acquire: partner: stop on the main thread.
    return Atomics.load(this.#words, WORD_STOP) === 1
  }

  /** Progress only: a torn read shows an older number for a moment. */
  report(
    row: number,
    position: number,
    ledger: Ledger | undefined,
    rows: readonly number[],
    digest: number,
  ): void {
    const at = row * ROW_FIELDS
    const cells = this.#rows
    cells[at + AT_POSITION] = position
    if (ledger !== undefined) {
      cells[at + AT_LEDGER] = ledger.in
      cells[at + AT_LEDGER + 1] = ledger.windowed
      cells[at + AT_LEDGER + 2] = ledger.filtered
      cells[at + AT_LEDGER + 3] = ledger.late
      cells[at + AT_LEDGER + 4] = ledger.nonFinite
      cells[at + AT_LEDGER + 5] = ledger.dead
    }
    for (let feed = 0; feed < rows.length; feed++) cells[at + AT_ROWS + feed] = rows[feed]!
    cells[at + AT_DIGEST] = digest
  }

  position(row: number): number {
    return this.#rows[row * ROW_FIELDS + AT_POSITION]!
  }

  digest(row: number): number {
    return this.#rows[row * ROW_FIELDS + AT_DIGEST]!
  }

  addTo(totals: ReplayTotals, row: number): void {
    const at = row * ROW_FIELDS
    const cells = this.#rows
    totals.in += cells[at + AT_LEDGER]!
    totals.windowed += cells[at + AT_LEDGER + 1]!
    totals.filtered += cells[at + AT_LEDGER + 2]!
    totals.late += cells[at + AT_LEDGER + 3]!
    totals.nonFinite += cells[at + AT_LEDGER + 4]!
    totals.dead += cells[at + AT_LEDGER + 5]!
    totals.results += cells[at + AT_ROWS]!
    totals.alerts += cells[at + AT_ROWS + 1]!
    totals.lateRows += cells[at + AT_ROWS + 2]!
  }
}
