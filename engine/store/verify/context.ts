/**
 * What the checks of `verify` share: the tables, what was found, what was read. A check is a generator over short
 * snapshots: between two `yield`s it reads under ONE read transaction, after each it holds none, so that a long
 * verification pins no page of a store that is being written. Everything it compares with another row it reads in the same
 * snapshot, or in an order of which it says why no commit in between can look like damage.
 */
import { MillraceError } from '../../contract/errors.ts'
import { AssertionFailed } from '../../util/assert.ts'
import { DAMAGE_REMEDY, type StoreEnv, type Table } from '../env.ts'
import type { LogTables } from '../log-tables.ts'
import type { Checkpoint, Entry, PipelineRecord, StatePage } from '../state-contract.ts'
import type { StateTables } from '../state-tables.ts'

/** Findings named; beyond it they are counted. */
export const FINDINGS_KEPT_MAX = 1_000
/** Read under one snapshot. */
export const CHUNK_ROWS = 256
export const CHUNK_BYTES = 4 << 20

export interface Finding {
  /** `log: topic "metrics", partition 3, offset 1200`. */
  readonly place: string
  /** What is there, and what should be. */
  readonly problem: string
  readonly remedy: string
}

/** What only those who know pipelines can tell; null: nothing is wrong. */
export interface PipelineVerifier {
  entry(partition: number, entry: Entry): string | null
  checkpoint(
    partition: number,
    checkpoint: Checkpoint,
    pages: readonly StatePage[],
    groupKey: (groupId: number) => Uint8Array,
  ): string | null
  /** Of a checkpoint that can be restored: what it goes on from in other streams of the pipeline. */
  needs(partition: number, checkpoint: Checkpoint): readonly StreamNeed[]
}

export interface StreamNeed {
  readonly stream: number
  /** The oldest entry that is still wanted. */
  readonly fromSeq: number
  /** Entries before it are in the state. */
  readonly takenSeq: number
}

export interface CheckContext {
  readonly log: LogTables
  readonly state: StateTables
  readonly dir: string
  /** A pipeline's verifier, or what is wrong with its plan. */
  readonly pipeline: (record: PipelineRecord) => PipelineVerifier | string
  damage(place: string, problem: string, remedy?: string): void
  /** Nothing is damaged, but somebody should know. */
  warn(place: string, problem: string, remedy: string): void
  read(rows: number, bytes: number): void
  /** Topic by topic, what the series say: shared by the checks of series and of samples. */
  readonly series: Map<number, SeriesKnown>
}

/** The partition of each series by id, as far as they were read. */
export interface SeriesKnown {
  partitions: Uint16Array
  count: number
}

export interface Check {
  readonly name: string
  run(context: CheckContext): Generator<void, void, void>
}

export const RESTORE = 'Restore the data directory from a backup (millrace restore).'
export const RECOMPUTE =
  'Reset the pipeline (millrace reset --pipeline NAME): its results are computed again from the log.'

/** Runs a piece of a check and turns what it throws into a finding; false: it threw. */
export function guarded(context: CheckContext, place: string, body: () => void): boolean {
  try {
    body()
    return true
  } catch (error) {
    context.damage(place, problemOf(error))
    return false
  }
}

export function problemOf(error: unknown): string {
  // A finding has a remedy of its own.
  if (error instanceof MillraceError) return error.message.replace(` ${DAMAGE_REMEDY}`, '').replace(/\.$/, '')
  if (error instanceof AssertionFailed) return error.message
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
}

/**
 * Every row of a table in [from, to), a chunk a snapshot. Keys must ascend, and each row must be found by its key: a damaged
 * inner page of the tree shows only there. `visit` gets LMDB's own bytes, valid during the call. Rows that are added or
 * removed between chunks are met or not; nothing depends on it.
 */
export function* eachRow(
  context: CheckContext,
  env: StoreEnv,
  table: Table,
  from: Uint8Array,
  to: Uint8Array,
  placeOf: (key: Uint8Array) => string,
  visit: (key: Uint8Array, value: Uint8Array) => void,
): Generator<void, void, void> {
  let after: Uint8Array | null = null
  for (;;) {
    let rows = 0
    let bytes = 0
    const start: Uint8Array = after ?? from
    const ok = guarded(context, placeOf(start), () => {
      env.read(() => {
        const keys = keysFrom(table, start, to, after !== null)
        for (const key of keys) {
          const value = env.peek(table, key)
          if (value === null) context.damage(placeOf(key), 'it is listed, but not found by its key')
          else {
            bytes += value.length
            visit(key, value)
          }
          rows++
          after = key
          if (bytes >= CHUNK_BYTES) break
        }
      })
    })
    context.read(rows, bytes)
    yield
    if (!ok || rows === 0) return
  }
}

/** Copies of at most CHUNK_ROWS keys. */
function keysFrom(table: Table, from: Uint8Array, to: Uint8Array, isAfter: boolean): Uint8Array[] {
  const keys: Uint8Array[] = []
  for (const key of table.getKeys({ start: from, end: to, limit: CHUNK_ROWS + 1 })) keys.push(key.slice())
  if (isAfter && keys[0] !== undefined && Buffer.compare(keys[0], from) === 0) keys.shift()
  return keys
}
