/**
 * Silences that people make at run time: "tell nothing of rack=r7 until 18:00". What one holds for is an alert in the log and
 * in every answer, only sinks are not told. It holds by the clock of the node, for what is committed while it is active.
 * What was decided of a transition is stored with it, so that it is decided once (engine/pipeline/silence-keeper.ts).
 */
import type { LabelMatcher, Severity } from './plan.ts'

/** That wait for their beginning or are active: each is asked of each transition, on the committer's thread. */
export const SILENCES_LIVE_MAX = 100
/** Ones that are over are kept so long for people to see, as Alertmanager does, and at most so many of them. */
export const SILENCE_KEPT_MS = 5 * 86_400_000
export const SILENCES_OVER_MAX = 1_000
/** Whoever wants to hear nothing for longer wants another pipeline. */
export const SILENCE_MS_MAX = 366 * 86_400_000
export const SILENCE_MATCHERS_MAX = 16
export const SILENCE_TEXT_LENGTH_MAX = 1_000

/** All conditions hold together; what is null holds for every alert. */
export interface SilenceSpec {
  readonly match: readonly LabelMatcher[]
  readonly pipeline: string | null
  readonly detector: string | null
  readonly severity: Severity | null
  readonly fromMs: number
  readonly untilMs: number
  readonly comment: string
}

/** As it is stored. */
export interface Silence extends SilenceSpec {
  /** From 1 on; never given twice. */
  readonly id: number
  readonly madeMs: number
  /** When it ended, by its time or by a person; null: it has not. */
  readonly endedMs: number | null
}

export type SilenceState = 'pending' | 'active' | 'expired'
export const SILENCE_STATES: readonly SilenceState[] = ['active', 'pending', 'expired']

/** As it is told: conditions in words, and how it stands. */
export interface SilenceRow extends Omit<Silence, 'match'> {
  readonly state: SilenceState
  /** `rack="r7"`, one a condition. */
  readonly match: readonly string[]
}

export interface SilenceMade {
  readonly silence: SilenceRow
  /** Pending and firing alerts that it holds for now. */
  readonly alerts: number
  /** What looks like a slip of the pen. */
  readonly warnings: readonly string[]
}

/** Who makes and ends silences: the node. Each answer comes when it is durable, or is a MillraceError INPUT_INVALID. */
export interface SilenceDoor {
  /** What a person wrote: see engine/pipeline/silences.ts. */
  silence(written: unknown): Promise<SilenceMade>
  /** Before its time. */
  unsilence(id: number): Promise<SilenceRow>
}

/** A transition that no sink was told of, by its number in the stream. */
export interface Withheld {
  readonly seq: number
  readonly silence: number
}

/** A current alert whose newest transition was withheld. */
export interface Unheard {
  readonly alertId: string
  readonly partition: number
  /** Of that transition. */
  readonly seq: number
  readonly silence: number
  /** An earlier transition was told, so that its end has to be. */
  readonly isKnown: boolean
}

/** A transition that is told later, when its silence is over and the alert still stands. */
export interface Retold {
  /** It comes before the entry of this number, which may not be there yet. */
  readonly beforeSeq: number
  /** Number of the transition itself. */
  readonly seq: number
  /** The alert, byte for byte as the entry has it, which may be deleted by then. */
  readonly json: string
}
