/**
 * Result stream entries: what a pipeline emits for one partition, in order, numbered from 0 without a gap. The bytes
 * are a deterministic function of the log. Group definitions precede the first entry that uses them and have no number.
 *
 * RESULTS   one fired window:
 *             0 i32 rowCount   4 i32 columnCount   8 f64 windowStartMs   16 f64 windowEndMs
 *            24 f64[rowCount] x columnCount: aggregates in plan order, then per value detector score, expected, lower, upper
 *             … i32[rowCount] group ids
 *           rows ordered by group key bytes
 * ALERT     UTF-8 JSON of an Alert
 * LATE      late samples of one record batch:
 *             0 i32 count   4 i32 0
 *             8 f64[count] timestampMs, f64[count] value, f64[count] offset, i32[count] series id
 *
 * Of a pipeline with an exchange, from a partition to the owners of its groups (streams.ts), and never shown:
 *
 * PARTIAL   samples of one slice that were not sent before:
 *             0 i32 rowCount   4 i32 cells a row   8 f64 logMs   16 f64 slice
 *            24 f64 openFromMs: start of the oldest window in which these samples count
 *            32 f64[rowCount x cells] accumulator cells, row by row
 *             … i32[rowCount] group ids of the partition
 *           rows ordered by group key bytes
 * MARK      where the partition's clocks stand at the end of a record:
 *             0 i32 PARTITION_…   4 i32 1: it may make windows fire   8 f64 logMs   16 f64 watermarkMs   24 f64 newestMs
 *            32 f64 lastSampleLogMs   40 f64 log time from which the node was down before this record, or NaN
 *           times are -Infinity before the first sample
 * ARRIVALS  groups of which one record holds samples, where silence is watched:
 *             0 i32 count   4 i32 0   8 f64 logMs   16 i32[count] group ids
 *
 * FEEDBACK  somebody said something of a group of the pipeline (contract/feedback.ts):
 *             0 i32 0   4 i32 0   8 f64 logMs   16 f64 number of the row
 *
 * The log time of all four is that of the record that caused them, and stands as their event time as well. The cause of
 * an owner's entry is a log time, not an offset: that of the instant in which the owner made it.
 */
export const ENTRY_RESULTS = 1
export const ENTRY_ALERT = 2
export const ENTRY_LATE = 3
export const ENTRY_PARTIAL = 4
export const ENTRY_MARK = 5
export const ENTRY_ARRIVALS = 6
export const ENTRY_FEEDBACK = 7

export const RESULTS_HEADER_BYTES = 24
export const LATE_HEADER_BYTES = 8
export const SCORE_COLUMNS = 4
export const PARTIAL_HEADER_BYTES = 32
export const MARK_BYTES = 48
export const ARRIVALS_HEADER_BYTES = 16
export const FEEDBACK_BYTES = 24

/** A partition without a sample so far, one with a recent sample, one without for the pipeline's idle time. */
export const PARTITION_UNSEEN = 0
export const PARTITION_ACTIVE = 1
export const PARTITION_IDLE = 2

/** Where a chain puts what it emits. The bytes are valid during the call only. */
export interface EntrySink {
  /** A group id was used for the first time; ids are never reused within (pipeline, partition). */
  group(groupId: number, key: Uint8Array): void
  /** `eventTimeMs`: window end, alert transition, or newest late timestamp. `causeOffset`: the record that caused it. */
  entry(
    kind: number,
    seq: number,
    causeOffset: number,
    eventTimeMs: number,
    bytes: Uint8Array,
    length: number,
  ): void
}

/**
 * Conservation of samples, per (pipeline, partition): in = windowed + filtered + late + nonFinite + dead.
 * (Duplicates never enter the log, so they are counted at the door.)
 */
export interface Ledger {
  in: number
  windowed: number
  filtered: number
  late: number
  nonFinite: number
  /** In record batches that were skipped: see DeadLetter (contract/dead-letter.ts). */
  dead: number
}

export function emptyLedger(): Ledger {
  return { in: 0, windowed: 0, filtered: 0, late: 0, nonFinite: 0, dead: 0 }
}
