/**
 * What the state environment promises. One writer (the committer thread), any number of readers on any thread. Everything
 * that makes a pipeline's progress durable is here: results, positions, alerts, checkpoints, sink cursors.
 * Built in state-writer.ts and state-reader.ts; state-store.ts is the door.
 */
import type { DeadLetter } from '../contract/dead-letter.ts'
import type { Ledger } from '../contract/entries.ts'
import type { Retold, Silence, Unheard, Withheld } from '../contract/silences.ts'

export interface PipelineRecord {
  /** Never reused: a reset gives the pipeline a new id, and the old id's rows are collected later. */
  readonly id: number
  readonly name: string
  readonly topicId: number
  readonly topic: string
  readonly planHash: string
  /** The plan as JSON. */
  readonly planJson: string
  /** Plans that a switch of detectors has replaced, oldest first, as long as some entry made under them may be kept. */
  readonly past?: readonly PastPlan[]
}

/** A plan that differs from its successor in its detectors alone. */
export interface PastPlan {
  /** The plan as JSON. */
  readonly planJson: string
  /** By stream of results (contract/streams.ts): one past the last entry that it made. */
  readonly endSeqs: readonly number[]
}

/** Up to where entries were emitted, per stream of a pipeline (contract/streams.ts). */
export interface Progress {
  /** Next offset wanted; of an owner's stream: entries it has taken, over all partitions. */
  readonly position: number
  readonly nextSeq: number
  readonly ledger: Ledger
  /** Of a partial stream: log time of the newest record; every entry of a log time before it is committed. */
  readonly logMs?: number
}

/** A cut: state pages stand for this position. */
export interface Checkpoint {
  /** Next offset wanted. */
  readonly position: number
  readonly nextSeq: number
  /** What Chain.snapshot returned. */
  readonly meta: string
}

export interface Entry {
  readonly seq: number
  readonly kind: number
  readonly causeOffset: number
  readonly eventTimeMs: number
  /** Own memory, 8-byte aligned. */
  readonly bytes: Uint8Array
}

export interface StatePage {
  readonly region: number
  readonly index: number
  /** PAGE_CELLS long. */
  readonly cells: Float64Array
}

export interface EntryRetentionRequest {
  readonly pipelineId: number
  readonly partition: number
  /** Entries with eventTimeMs < this are deleted, from the oldest on, up to the first that is newer. -Infinity: keep. */
  readonly beforeMs: number
  /** Newest entries kept whatever their age; Infinity: no bound by count. */
  readonly countMax: number
  /** The slowest sink's next seq; nothing at or above it is deleted. Infinity: no sink. */
  readonly lowWaterSeq: number
  /** Default RETENTION_DELETIONS_MAX. */
  readonly deletionsMax?: number
}

/** All byte arguments are copied before the call returns, from shared memory too. */
export interface StateTransaction {
  /** Makes the pipeline, or replaces the plan of an existing one (same id). */
  putPipeline(record: Omit<PipelineRecord, 'id'>): PipelineRecord
  /** Forgets all state of a pipeline: it gets a new id, its alerts, results, checkpoints and sink cursors are gone. */
  reset(pipelineId: number): PipelineRecord
  /** As `reset`, and the pipeline itself is forgotten: nothing of it is left but its id, which is never given again. */
  drop(pipelineId: number): void
  putProgress(pipelineId: number, partition: number, progress: Progress): void
  putGroup(pipelineId: number, partition: number, groupId: number, key: Uint8Array): void
  putEntry(
    pipelineId: number,
    partition: number,
    seq: number,
    kind: number,
    causeOffset: number,
    eventTimeMs: number,
    bytes: Uint8Array,
  ): void
  /** A current (pending or firing) alert as JSON, by its id. */
  putAlert(pipelineId: number, alertId: string, json: string): void
  /** False: it was not there. */
  removeAlert(pipelineId: number, alertId: string): boolean
  putPage(pipelineId: number, partition: number, region: number, index: number, cells: Float64Array): void
  /** Forgets all pages of these regions: [from, to). */
  removePages(pipelineId: number, partition: number, fromRegion: number, toRegion: number): void
  putCheckpoint(pipelineId: number, partition: number, checkpoint: Checkpoint): void
  /** A sink's cursor as JSON. */
  putSink(pipelineId: number, sink: string, json: string): void
  /** From here on the pipeline skips the batch, also on replay. */
  putDeadLetter(pipelineId: number, letter: DeadLetter): void
  /** The number of the next silence, from 1 on; each is taken once. */
  takeSilenceId(): number
  putSilence(silence: Silence): void
  removeSilence(id: number): void
  /** No sink is told of the entry. */
  putWithheld(pipelineId: number, partition: number, withheld: Withheld): void
  putUnheard(pipelineId: number, unheard: Unheard): void
  removeUnheard(pipelineId: number, alertId: string): void
  /** `index`: how many are there before `beforeSeq` already. */
  putRetold(pipelineId: number, partition: number, index: number, retold: Retold): void
  /** Only of a batch that no checkpoint lies before: it would be tried again. */
  removeDeadLetter(pipelineId: number, partition: number, baseOffset: number): void
}

export interface StateWriter extends StateReader {
  /** Durable when it returns. STORE_FENCED, STORE_IO as the log's. Do not nest. */
  transaction<T>(body: (txn: StateTransaction) => T): T
  /** Deletes old entries, at most `deletionsMax`, in one transaction. */
  retainEntries(request: EntryRetentionRequest): { readonly deleted: number; readonly more: boolean }
  /** Deletes entries before `beforeSeq` of each stream, at most `deletionsMax` in all. True: there is more to delete. */
  retireEntries(
    streams: readonly {
      readonly pipelineId: number
      readonly partition: number
      readonly beforeSeq: number
    }[],
    deletionsMax?: number,
  ): boolean
  /** Deletes rows of pipelines that were reset, at most `deletionsMax`. False: nothing is left to collect. */
  collect(deletionsMax?: number): boolean
}

/** Every call sees what was committed before it began, and pins nothing after it returned. */
export interface StateReader {
  pipelines(): readonly PipelineRecord[]
  pipeline(name: string): PipelineRecord | null
  progress(pipelineId: number, partition: number): Progress | null
  groupKey(pipelineId: number, partition: number, groupId: number): Uint8Array | null
  groups(
    pipelineId: number,
    partition: number,
  ): readonly { readonly groupId: number; readonly key: Uint8Array }[]
  /**
   * Entries from `fromSeq` on, in order, at most `countMax` (default ENTRIES_MAX) and about `bytesMax` (at least one).
   * What retention has deleted is passed over: look at the first seq. STORE_DAMAGED names pipeline, partition and seq.
   */
  entries(
    pipelineId: number,
    partition: number,
    fromSeq: number,
    limits?: { readonly countMax?: number; readonly bytesMax?: number },
  ): readonly Entry[]
  /** Oldest entry kept and one past the newest; equal: none. */
  seqRange(pipelineId: number, partition: number): { readonly firstSeq: number; readonly endSeq: number }
  /**
   * First seq with eventTimeMs ≥ `timeMs`, by binary search. Event times in a stream can step back a little (late
   * samples, corrections), so that some entries before the answer may be newer: start earlier by that much and filter.
   */
  seqAtTime(pipelineId: number, partition: number, timeMs: number): number
  /** Current alerts as JSON. */
  alerts(pipelineId: number): readonly { readonly id: string; readonly json: string }[]
  /** By id; those that are over too, for as long as they are kept. */
  silences(): readonly Silence[]
  /** Entries of [fromSeq, toSeq) that no sink is told of, in order. */
  withheld(pipelineId: number, partition: number, fromSeq: number, toSeq: number): readonly Withheld[]
  /** What is told late before entries of [fromSeq, toSeq), in order. */
  retold(pipelineId: number, partition: number, fromSeq: number, toSeq: number): readonly Retold[]
  /** Current alerts whose newest transition was withheld. */
  unheard(pipelineId: number): readonly Unheard[]
  checkpoint(pipelineId: number, partition: number): Checkpoint | null
  pages(pipelineId: number, partition: number): readonly StatePage[]
  /**
   * Calls `body` with the checkpoint of a stream and its pages, of one snapshot, and returns what it returns; null: there is
   * no checkpoint. A page's cells are valid until the next one is taken; `body` must be through with them when it returns.
   */
  restore<T>(
    pipelineId: number,
    partition: number,
    body: (checkpoint: Checkpoint, pages: Iterable<StatePage>) => T,
  ): T | null
  sink(pipelineId: number, sink: string): string | null
  sinks(pipelineId: number): readonly { readonly sink: string; readonly json: string }[]
  /** In offset order. */
  deadLetters(pipelineId: number, partition: number): readonly DeadLetter[]
  /** The token of the store's present owner. */
  fence(): number
  /** The token of the last owner that took over from one that may return; 0: there was none. */
  takeover(): number
  close(): Promise<void>
}
