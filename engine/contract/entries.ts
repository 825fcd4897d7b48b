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
 */
export const ENTRY_RESULTS = 1
export const ENTRY_ALERT = 2
export const ENTRY_LATE = 3

export const RESULTS_HEADER_BYTES = 24
export const LATE_HEADER_BYTES = 8
export const SCORE_COLUMNS = 4

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
