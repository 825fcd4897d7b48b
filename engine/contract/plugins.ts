/**
 * The plug-in contracts. Operators, aggregates and detectors are pure: no clock, no I/O, no randomness, no state
 * outside the cells they are given. So the same code runs on threads, in a unit test, in a backtest and in simulation.
 * A plug-in is one file, one test that runs its kind's contract suite (operators/testing/), one line in the registry.
 */

import type { Code } from '../util/wasm.ts'
import type { Alert } from './alert.ts'
import type { Fault, MillraceError } from './errors.ts'
import type { Labels, SampleView } from './samples.ts'

/** Options of a plug-in: parse what a person wrote into what `create` takes, or add every fault found. */
export interface OptionSpec<O> {
  parse(input: unknown, place: string, faults: Fault[]): O | undefined
  /** One line an option: name, type, default, meaning. For help, docs and "did you mean". */
  readonly help: readonly OptionHelp[]
}

export interface OptionHelp {
  readonly name: string
  readonly type: string
  readonly default?: string
  readonly meaning: string
}

/**
 * Cells of one (group, slice) that one or several aggregates share. All cells zero means "no sample yet"; cell 0
 * counts the samples, so that an empty row shows whichever accumulator comes first.
 * `add` owns its loop over the batch (hot: no allocation, closure or throw).
 */
export interface Accumulator {
  readonly kind: string
  /** Cells a (group, slice). */
  readonly width: number
  /**
   * Adds samples [from, to) of the view. `at[i - from]` is the position in `cells` of sample i's cells for THIS
   * accumulator's row start plus `lane`; negative means skip. Values are finite (the window counted the others).
   */
  add(cells: Float64Array, lane: number, at: Int32Array, view: SampleView, from: number, to: number): void
  /**
   * A shortcut for rows made of this accumulator alone and samples of one slice: finds a sample's row and adds it in one
   * pass. Sample i's cells start at `base + (routes[its series id] << strideShift)`. Returns the index of the first sample from
   * `from` on that is not ordinary (a series id beyond the routes, a route of 0 or less, a value that is not finite), or
   * the view's count. The same cells as `add` gives, bit by bit.
   */
  addRouted?(
    cells: Float64Array,
    base: number,
    routes: Int32Array,
    strideShift: number,
    view: SampleView,
    from: number,
  ): number
  /**
   * WebAssembly instructions that do for one sample what `add` does, the same operations in the same order: a chain then
   * adds ordinary samples by a loop made of them. `cell` and `value` are locals and must not change: the row's address
   * and the value; cell k of the accumulator is at that address and `offset` + 8 k. `scratch` are float64 locals.
   */
  instructions?(registers: Registers): readonly Code[]
  /**
   * True: `merge` is right only for slices that follow each other in time, so that samples of one slice that lie in
   * several partitions cannot be put together.
   */
  readonly ordered?: boolean
  /** Merges a LATER slice's cells into an earlier one's (in place). Neither may be empty. Deterministic. */
  merge(into: Float64Array, intoAt: number, later: Float64Array, laterAt: number): void
  /** WebAssembly instructions that do what `merge` does: as `instructions`. */
  mergeInstructions?(registers: MergeRegisters): readonly Code[]
  /**
   * A shortcut for rows made of this accumulator alone, `stride` cells apart: each of `rows` rows merged as `merge` does,
   * or copied where only the later holds samples. The same cells, bit by bit.
   */
  mergeRows?(
    into: Float64Array,
    intoBase: number,
    later: Float64Array,
    laterBase: number,
    rows: number,
    stride: number,
  ): void
}

export interface Registers {
  readonly cell: number
  readonly offset: number
  readonly value: number
  readonly scratch: readonly [number, number]
}

/** Two rows' addresses. */
export interface MergeRegisters {
  readonly into: number
  readonly later: number
  readonly offset: number
  readonly scratch: readonly [number, number, number, number, number, number, number, number]
}

export interface AggregatePlugin<O = unknown> {
  readonly kind: string
  readonly summary: string
  readonly options: OptionSpec<O>
  /** Accumulators that can serve this aggregate, cheapest first; the plan picks the fewest for all aggregates. */
  readonly accumulators: readonly string[]
  /** The value from merged cells of the accumulator chosen; NaN where it is undefined (rate of one sample). */
  finish(options: O, accumulator: string): (cells: Float64Array, at: number) => number
  /** A shortcut: `finish` for many rows in one loop. The same values, bit by bit. */
  finishRows?(options: O, accumulator: string): FinishRows
}

/**
 * hot: for each j in [from, to), into[intoAt + j] = the value of the cells that start at base + (rows[j] << strideShift).
 */
export type FinishRows = (
  cells: Float64Array,
  base: number,
  strideShift: number,
  rows: Int32Array,
  from: number,
  to: number,
  into: Float64Array,
  intoAt: number,
) => void

/** A window of more slices would cost more to combine than its samples are worth. */
export const SLICES_PER_WINDOW_MAX = 4_096

export interface Slicing {
  readonly sizeMs: number
  readonly everyMs: number
  /** Largest duration of which both are multiples: a sample updates one slice, a window combines size/slice of them. */
  readonly sliceMs: number
}

export interface WindowPlugin<O = unknown> {
  readonly kind: string
  readonly summary: string
  readonly options: OptionSpec<O>
  slicing(options: O, place: string, faults: Fault[]): Slicing | undefined
}

/** A detector's judgement of one value; one mutable object is reused for all calls. */
export interface Verdict {
  /** 0 at the expected value, 1 at the edge of the normal band, above 1 anomalous; NaN while it cannot judge. */
  score: number
  expected: number
  lower: number
  upper: number
  /** True when the value is far enough inside for an alert to end (hysteresis); usually score <= 1. */
  cleared: boolean
  /** 1 above the expected value, -1 below. */
  direction: number
  /** What `score` worked out and `learn` wants again: the detector's own, of this very value. */
  memo?: number
  /** Minus the decimal logarithm of the probability, from detectors that estimate one; for `reason`. */
  surprise?: number
  /** Which of a detector's views fired, as its own bits; for `reason`. */
  views?: number
  /** How much each column has to do with the score, in their order; for `reason`. The detector's own scratch. */
  parts?: Float64Array
  /** How many other groups the value was held against; for `reason`. */
  peers?: number
}

export type DetectorSubject = 'value' | 'silence' | 'vector' | 'peers'

/**
 * How a detector does for one series. `warming`: it cannot judge yet; `starved`: too few values of late; `saturated`:
 * alarming most of the time; `blind`: it could not alarm whatever came (a scale without bound, learning frozen).
 */
export const DETECTOR_HEALTHS = ['ok', 'warming', 'starved', 'saturated', 'blind'] as const
export type DetectorHealth = (typeof DETECTOR_HEALTHS)[number]

export interface Detector {
  /**
   * `value` judges an aggregate of each window; `vector` several aggregates of it together; `peers` one aggregate against
   * those of other groups in the same window; `silence` judges log time since a group's last sample.
   */
  readonly subject: DetectorSubject
  /** Cells a group; zero-filled at first. */
  readonly width: number
  /** Score first: writes the verdict and changes no cell. */
  score(cells: Float64Array, at: number, timeMs: number, value: number, verdict: Verdict): void
  /** Then learn, given the verdict on this very value. */
  learn(cells: Float64Array, at: number, timeMs: number, value: number, verdict: Verdict): void
  /** Why, for a person: "latency 812 is 9.1 scales above the expected 120 (band 60 … 180)". */
  reason(subject: string, value: number, verdict: Verdict): string
  /**
   * How it does for a group that has had values, as of `timeMs`. Changes no cell; O(1). Where it says `ok`, or has no such
   * method, the engine looks at what it has scored (engine/pipeline/detector-watch.ts).
   */
  health?(cells: Float64Array, at: number, timeMs: number): DetectorHealth
  /**
   * What it decided for a group, for a person: season, scale, views in use, how far warm-up is. Changes no cell; may allocate.
   * Where it has no such method, the engine tells the band that it judges by.
   */
  explain?(cells: Float64Array, at: number): Explanation
}

export interface Explanation {
  readonly facts: readonly ExplanationFact[]
}

export interface ExplanationFact {
  readonly name: string
  /** With its unit. */
  readonly value: string
  readonly meaning: string
}

/** A detector with subject `silence` says when, in ms of log time without a sample, a group counts as silent. */
export interface SilenceDetector extends Detector {
  readonly subject: 'silence'
  /** Log-time interval after which score passes 1, from the group's cells (so it may be learned). */
  silentAfterMs(cells: Float64Array, at: number): number
  /** A sample arrived `gapMs` of log time after the group's previous one. */
  arrived(cells: Float64Array, at: number, gapMs: number): void
}

/** A vector detector judges at most so many columns: its cells may grow with their square. */
export const VECTOR_COLUMNS_MAX = 16

/** A detector with subject `vector` makes one number of a window's columns; that is the value judged. */
export interface VectorDetector extends Detector {
  readonly subject: 'vector'
  /** The columns, in their order: filled in before `statistic`, `score` and `learn`. Scratch, never state. */
  readonly values: Float64Array
  /** The value of `values`, from a group's cells; NaN where a column is: then nothing is judged. Changes no cell. */
  statistic(cells: Float64Array, at: number, timeMs: number): number
}

/** A detector with subject `peers` sees all values of a window whose groups share the labels that its plug-in names. */
export interface PeersDetector extends Detector {
  readonly subject: 'peers'
  /** The window's finite values of one set of peers, ascending, the judged one among them. Scratch, never state. */
  peers: Float64Array
}

export interface DetectorPlugin<O = unknown> {
  readonly kind: string
  readonly summary: string
  /** Source (paper, specification section), cost a sample, cells a group. */
  readonly source: string
  readonly subject: DetectorSubject
  readonly options: OptionSpec<O>
  /** `columns`: names of what a vector detector judges, at most VECTOR_COLUMNS_MAX; of one column for others. */
  create(options: O, columns?: readonly string[]): Detector
  /** Of shipped detectors: one more whenever the cells mean something else, so that state of before is refused; left out: 1. */
  readonly cellsVersion?: number
  /** Of a detector with subject `peers`: groups with equal values of these labels are peers; empty: all are. */
  peersBy?(options: O): readonly string[]
}

/** A detector that a pipeline's own module defines. */
export interface OwnDetectorPlugin extends DetectorPlugin<never> {
  /** Cells of another version mean something else. */
  readonly version: number
}

// ---- sources ---------------------------------------------------------------------------------------------------

export interface LineFault {
  /** 1-based line number in the body or file. */
  readonly line: number
  readonly problem: string
  /** The offending text, cut. */
  readonly text: string
}

export interface DecodeReport {
  readonly lines: number
  readonly samples: number
  /** String fields seen: accepted, counted, not kept. */
  readonly stringFields: number
  /** Samples refused by the future guard (also line faults). */
  readonly futureSamples: number
  readonly faultCount: number
  /** The first of them; at most LINE_FAULTS_KEPT_MAX. */
  readonly faults: readonly LineFault[]
}
export const LINE_FAULTS_KEPT_MAX = 100

/** Decodes bytes, in chunks cut anywhere, into the builder it was made with. Bad lines never lose good ones. */
export interface Decoder {
  write(chunk: Uint8Array): void
  end(): DecodeReport
}

// ---- sinks -----------------------------------------------------------------------------------------------------

export type SinkFeed = 'alerts' | 'results' | 'late'

/** One line of a result stream, as a sink sees it. Equal ids mean equal content, for ever. */
export interface SinkRecord {
  /** `pipeline/partition/seq/row`: stable across crashes, restarts and replays. */
  readonly id: string
  readonly partition: number
  readonly seq: number
  readonly row: number
  readonly body: ResultBody | Alert | LateBody
}

export interface ResultBody {
  readonly kind: 'result'
  readonly pipeline: string
  readonly group: Labels
  readonly windowStartMs: number
  readonly windowEndMs: number
  readonly values: Readonly<Record<string, number | null>>
  readonly scores: Readonly<Record<string, ScoreBody>>
}

export interface ScoreBody {
  readonly score: number | null
  readonly expected: number | null
  readonly lower: number | null
  readonly upper: number | null
}

export interface LateBody {
  readonly kind: 'late'
  readonly pipeline: string
  readonly series: Labels
  readonly timestampMs: number
  /** Null: not a finite number. */
  readonly value: number | null
  readonly offset: number
}

/** Next record wanted, by partition: everything before (seq, row) is in the target. */
export type SinkPositions = Readonly<Record<string, { readonly seq: number; readonly row: number }>>

/** What the state store remembers of a sink: positions, and the sink's own small token (a file's committed length). */
export interface SinkProgress {
  readonly positions: SinkPositions
  readonly token: unknown
}

interface SinkBase {
  close(): Promise<void>
}

/** The target tells what it holds: exactly once. */
export interface TransactionalSink extends SinkBase {
  readonly guarantee: 'transactional'
  /**
   * What the target holds, given what the store remembers: positions of every partition, and a token that is null at
   * first. `expected` yields, partition by partition, the records from the positions given on (of the partitions named
   * there only), so that a sink can verify its tail against the stream.
   */
  position(
    remembered: SinkProgress,
    expected: (positions: SinkPositions) => Iterable<SinkRecord>,
  ): Promise<SinkProgress>
  /** Writes durably; resolves with the token to remember. */
  write(records: readonly SinkRecord[]): Promise<unknown>
}

/** Repeats are harmless: the target upserts by id. */
export interface IdempotentSink extends SinkBase {
  readonly guarantee: 'idempotent'
  upsert(records: readonly SinkRecord[]): Promise<void>
}

/** May repeat what was in flight, with the same id: webhook, stdout, mail. */
export interface AtLeastOnceSink extends SinkBase {
  readonly guarantee: 'at-least-once'
  send(records: readonly SinkRecord[]): Promise<void>
}

export type Sink = TransactionalSink | IdempotentSink | AtLeastOnceSink

export interface SinkPlugin<O = unknown> {
  readonly kind: string
  readonly summary: string
  readonly guarantee: Sink['guarantee']
  /** What it can make something of; left out: everything. */
  readonly feeds?: readonly SinkFeed[]
  /** All rows of an entry come in one batch, which may be the larger for it (by an entry: 256 KiB of rows). */
  readonly wholeEntries?: true
  readonly options: OptionSpec<O>
  /** The topic that the sink writes to, if it does: pipelines must not feed themselves. */
  readonly writesTopic?: (options: O) => string
  /** A retryable MillraceError from any method is retried with bounded back-off; any other stops the sink, loudly. What is no MillraceError is tried a few times, then the record is skipped (sink-feeder.ts). */
  open(options: O, context: SinkContext): Promise<Sink>
}

export interface SinkContext {
  readonly pipeline: string
  readonly sink: string
  readonly warn: (error: MillraceError) => void
  /** These records were refused for good and are skipped: logged with the reason, and counted. */
  readonly deadLetter: (records: number, error: MillraceError) => void
  readonly signal: AbortSignal
  /**
   * Changes when a process took over from one that may return (a frozen one that nobody saw die) and finish a call that
   * it had begun. What lies in a target that such a call could still reach must be moved out of its reach. 0: never.
   */
  readonly takeover?: number
}

// ---- registry --------------------------------------------------------------------------------------------------

// Options differ by plug-in; the registry erases them, and each plug-in's own spec restores them before `create`.
export interface Registry {
  readonly windows: ReadonlyMap<string, WindowPlugin<never>>
  readonly accumulators: ReadonlyMap<string, Accumulator>
  readonly aggregates: ReadonlyMap<string, AggregatePlugin<never>>
  readonly detectors: ReadonlyMap<string, DetectorPlugin<never>>
  readonly sinks: ReadonlyMap<string, SinkPlugin<never>>
}
