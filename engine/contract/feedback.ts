/**
 * What people say of alerts: this one was expected, or one was missed. A statement is a row of the log's environment and a
 * control record in the partition's log, in one transaction; the record's offset is where it takes effect
 * (docs/decisions/alerts.md). Shared by the HTTP door, the log writer, the store, the chains and the command line.
 */
import type { Labels } from './samples.ts'

/** What the band of a series is multiplied by, at the least and at the most. */
export const FACTOR_MIN = 0.25
export const FACTOR_MAX = 8
/** One statement changes it by at most so much, up or down. */
export const FACTOR_STEP_MAX = 2
/** Steps of a factor of 1: what a statement asks for is rounded to them. */
export const FACTOR_STEPS = 20

/** Statements, undos among them, that a store keeps. They are few and small; at the limit none is taken any more. */
export const FEEDBACK_ROWS_MAX = 20_000
export const NOTE_LENGTH_MAX = 500
export const BY_LENGTH_MAX = 100

export type FeedbackKind = 'expected' | 'missed' | 'undo'

interface FeedbackPlace {
  readonly pipeline: string
  readonly detector: string
  readonly group: Labels
  readonly topic: string
  /** Whose log holds the record. */
  readonly partition: number
}

/** What a statement is about. */
interface FeedbackSubject extends FeedbackPlace {
  /** Event time: of an alert, when its condition began; of what was missed, the end of the window. */
  readonly timeMs: number
  /** Of an expected alert. */
  readonly alert: string | null
  /** As it was told: the highest of the alert, or that of the window. Null: not finite. */
  readonly score: number | null
  /** The factor at which that very value would not have alerted, or would have. Null: none is large enough. */
  readonly target: number | null
}

interface FeedbackWords {
  readonly note: string | null
  /** Who said so, if it was told. */
  readonly by: string | null
}

/** A statement on its way to the log writer, which alone decides what factor comes of it. */
export type FeedbackRequest =
  | (FeedbackSubject & FeedbackWords & { readonly says: 'expected' | 'missed' })
  | (FeedbackWords & { readonly says: 'undo'; readonly of: number })

export interface FeedbackRow extends FeedbackSubject, FeedbackWords {
  /** Dense from 1, in order of saying. */
  readonly id: number
  readonly says: FeedbackKind
  /** Of an undo: the statement that is taken back. */
  readonly of: number | null
  /** When it was said, wall time. */
  readonly saidMs: number
  /** Of its control record: what the partition's log holds behind it is judged by `after`. */
  readonly offset: number
  /** Log time of the record. */
  readonly appendedMs: number
  readonly before: number
  readonly after: number
}

/** `repeated`: it was said before, and not again. */
export type FeedbackOutcome =
  | { readonly kind: 'taken' | 'repeated'; readonly row: FeedbackRow }
  | { readonly kind: 'full' }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'no-statement' }

/** Rows as chains and owners of groups see them: what was said before they began, and what a record refers to. */
export interface FeedbackSource {
  /** Oldest first, with all that a record read so far can refer to. */
  rows(): readonly FeedbackRow[]
}

/** A row and whether it still counts, as it is listed. */
export interface FeedbackStatement extends FeedbackRow {
  /** The undo that took it back; null: it counts. */
  readonly undoneBy: number | null
}

/** Where an answer says what came of a statement. */
export interface FeedbackAnswer {
  /** It was said before: nothing was changed now. */
  readonly isRepeated: boolean
  readonly statement: FeedbackStatement
  /** What it means, for a person. */
  readonly meaning: string
}

export interface FeedbackQuery {
  readonly pipeline?: string
  /** Newest so many. */
  readonly limit: number
}

/** The door by which people say so. All reject with MillraceError INPUT_INVALID for what cannot be adjusted, with the reason. */
export interface FeedbackDoor {
  expected(said: { readonly alert: string } & Partial<FeedbackWords>): Promise<FeedbackAnswer>
  missed(said: MissedAlert & Partial<FeedbackWords>): Promise<FeedbackAnswer>
  undo(said: { readonly id: number } & Partial<FeedbackWords>): Promise<FeedbackAnswer>
  /** Newest first. */
  list(query: FeedbackQuery): readonly FeedbackStatement[]
}

export interface MissedAlert {
  readonly pipeline: string
  readonly detector: string
  /** Labels that name one group. */
  readonly series: Labels
  /** Event time within the window that should have alerted. */
  readonly atMs: number
}
