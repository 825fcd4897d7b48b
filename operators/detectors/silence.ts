/**
 * A group that stops. Judged by log time, by a scan and not by the next sample: silence is a signal. After a fixed time,
 * or after a multiple of the longest interval that is usual for the group: the longest seen, fading with time, and growing
 * at most twofold by one gap, so that one outage does not make the next one invisible.
 *
 * Decaying maximum of inter-arrival times; O(1) an arrival, 3 cells a group.
 */
import {
  duration,
  durationText,
  number,
  type OptionInputOf,
  type OptionsOf,
  optionSpec,
} from '../../engine/config/options.ts'
import { DEFINITION, type SilenceDetectorChoice } from '../../engine/contract/definition.ts'
import type {
  DetectorHealth,
  DetectorPlugin,
  Explanation,
  SilenceDetector,
  Verdict,
} from '../../engine/contract/plugins.ts'
import { abstain, SCORE_MAX } from './verdicts.ts'

const options = optionSpec({
  after: {
    type: duration({ minMs: 1 }),
    optional: true,
    meaning: 'silent after this long without a sample; left out, it is learned',
  },
  intervals: {
    type: number({ min: 1.5, max: 1_000 }),
    default: 3,
    meaning: 'learned: silent after this many times the longest usual interval',
  },
  atLeast: {
    type: duration(),
    default: '10s',
    meaning: 'learned: never silent before this long',
  },
  history: {
    type: duration({ minMs: 1 }),
    default: '1h',
    meaning: 'learned: the longest interval fades by half in this long',
  },
  warmUp: {
    type: duration(),
    default: '2m',
    meaning: 'learned: judges nothing before it has watched for this long (and 3 intervals)',
  },
})

type Options = OptionsOf<typeof options>

/** A group that stops sending.
 *
 *     .detect(silence({ after: '1m' }))
 *     .detect(silence({ intervals: 5 }), { hold: '10s' })
 */
export function silence(written: OptionInputOf<typeof options> = {}): SilenceDetectorChoice {
  return { [DEFINITION]: { what: 'detector', kind: 'silence', subject: 'silence', options: written } }
}

export const silencePlugin: DetectorPlugin<Options> = {
  kind: 'silence',
  summary: 'a group that stops sending, after a fixed or a learned time',
  source: 'decaying maximum of inter-arrival times; O(1) an arrival, 3 cells a group',
  subject: 'silence',
  options,
  create: (parsed) => new Silence(parsed),
}

const INTERVALS_MIN = 3
/** A gap may make the longest usual interval grow by this factor. */
const GROWTH_MAX = 2
/** Thirty years: the edge stays a whole number of ms. */
const GAP_MS_MAX = 1e12

const COUNT = 0
const WATCHED_MS = 1
const LONGEST_MS = 2
const WIDTH = 3

class Silence implements SilenceDetector {
  readonly subject = 'silence'
  readonly width = WIDTH
  readonly #afterMs: number | undefined
  readonly #intervals: number
  readonly #atLeastMs: number
  readonly #fadePerMs: number
  readonly #warmUpMs: number
  /** The last argument of #fade, and its result. */
  #gapMs = NaN
  #fadeThen = NaN

  constructor(parsed: Options) {
    this.#afterMs = parsed.afterMs
    this.#intervals = parsed.intervals
    this.#atLeastMs = parsed.atLeastMs
    this.#fadePerMs = Math.LN2 / parsed.historyMs
    this.#warmUpMs = parsed.warmUpMs
  }

  /** `value`: ms of log time since the last sample. */
  score(cells: Float64Array, at: number, _timeMs: number, value: number, verdict: Verdict): void {
    const edgeMs = this.#edgeMs(cells, at)
    if (edgeMs === Infinity) {
      abstain(verdict)
      return
    }
    const expectedMs = this.#afterMs === undefined ? cells[at + LONGEST_MS]! : 0
    const score = (value - expectedMs) / (edgeMs - expectedMs)
    verdict.score = score < 0 ? 0 : Math.min(score, SCORE_MAX)
    verdict.expected = expectedMs
    verdict.lower = 0
    verdict.upper = edgeMs
    verdict.cleared = score <= 1
    verdict.direction = value < expectedMs ? -1 : 1
  }

  learn(): void {
    // Arrivals are what is learned from.
  }

  silentAfterMs(cells: Float64Array, at: number): number {
    // Log time is in whole ms: the first at which the score is above 1.
    return Math.floor(this.#edgeMs(cells, at)) + 1
  }

  // hot: a call an arrival.
  arrived(cells: Float64Array, at: number, gapMs: number): void {
    // Samples that come together are one arrival.
    if (!(gapMs > 0)) return
    const gap = Math.min(gapMs, GAP_MS_MAX)
    const warm = this.#warm(cells, at)
    const longest = cells[at + LONGEST_MS]!
    cells[at + COUNT] = cells[at + COUNT]! + 1
    cells[at + WATCHED_MS] = cells[at + WATCHED_MS]! + gap
    const faded = longest * this.#fade(gap)
    if (gap <= faded) cells[at + LONGEST_MS] = faded
    else cells[at + LONGEST_MS] = warm && gap > longest * GROWTH_MAX ? longest * GROWTH_MAX : gap
  }

  reason(_subject: string, value: number, verdict: Verdict): string {
    const silentFor = durationText(Math.round(value))
    if (!(verdict.score > 1)) return `a sample came after ${silentFor}`
    return `no sample for ${silentFor}, longer than ${durationText(Math.round(verdict.upper))}`
  }

  health(cells: Float64Array, at: number): DetectorHealth {
    return this.#edgeMs(cells, at) === Infinity ? 'warming' : 'ok'
  }

  /** What is left after this long. Samples come at equal distances, so mostly it was worked out for the one before. */
  #fade(gapMs: number): number {
    if (gapMs !== this.#gapMs) {
      this.#gapMs = gapMs
      this.#fadeThen = Math.exp(-gapMs * this.#fadePerMs)
    }
    return this.#fadeThen
  }

  explain(cells: Float64Array, at: number): Explanation {
    const count = cells[at + COUNT]!
    if (count === 0) return { facts: [] }
    const facts = [
      {
        name: 'longest',
        value: durationText(Math.round(cells[at + LONGEST_MS]!)),
        meaning: 'usual interval between samples, as it fades',
      },
    ]
    if (this.#afterMs === undefined) {
      const watched = durationText(Math.round(cells[at + WATCHED_MS]!))
      facts.push({
        name: 'warm-up',
        value: `${count} of ${INTERVALS_MIN} intervals, ${watched} of ${durationText(this.#warmUpMs)}`,
        meaning: 'intervals and time seen, of those that it takes',
      })
    }
    return { facts }
  }

  #warm(cells: Float64Array, at: number): boolean {
    return cells[at + COUNT]! >= INTERVALS_MIN && cells[at + WATCHED_MS]! >= this.#warmUpMs
  }

  /** Where the score is 1. */
  #edgeMs(cells: Float64Array, at: number): number {
    if (this.#afterMs !== undefined) return this.#afterMs
    if (!this.#warm(cells, at)) return Infinity
    const learnedMs = this.#intervals * cells[at + LONGEST_MS]!
    return Math.max(learnedMs, this.#atLeastMs)
  }
}
