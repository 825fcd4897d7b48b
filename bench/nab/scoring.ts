/**
 * The scoring of the Numenta Anomaly Benchmark (NAB), written from its published rules: how early an alarm lies in a
 * labelled window, minus what false alarms cost, at one threshold for the whole corpus. Pure: no files, no clock.
 * Validated against the published figures of twelve detectors (published.test.ts).
 *
 * Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms", ICMLA 2015.
 */
import { assert } from '../../engine/util/assert.ts'

/** What a hit, a false alarm and a miss weigh. */
export interface Profile {
  readonly name: 'standard' | 'lowFp' | 'lowFn'
  readonly hit: number
  readonly falseAlarm: number
  readonly miss: number
}

export const PROFILES: readonly Profile[] = [
  { name: 'standard', hit: 1, falseAlarm: 0.11, miss: 1 },
  { name: 'lowFp', hit: 1, falseAlarm: 0.22, miss: 1 },
  { name: 'lowFn', hit: 1, falseAlarm: 0.11, miss: 2 },
]

/** Rows at a file's start that are never scored: a share of the file, and at most so many. */
const PROBATION_SHARE = 0.15
const PROBATION_ROWS_MAX = 750
/** A threshold above every score: nothing is detected. */
export const NOTHING_DETECTED = 1.1

export interface RowWindow {
  /** Both inclusive. */
  readonly first: number
  readonly last: number
}

/** One file, ready for scoring: what an alarm in each row is worth. */
export interface ScoredFile {
  readonly name: string
  readonly rows: number
  /** The first row that counts. */
  readonly from: number
  readonly windows: number
  /** Index of the row's window; -1: outside. */
  readonly windowOf: Int32Array
  /** Worth of an alarm before weights: in (0, 1] inside a window, in [-1, 0] outside. */
  readonly worth: Float64Array
}

export interface Counts {
  readonly tp: number
  readonly tn: number
  readonly fp: number
  readonly fn: number
}

export interface FileScore extends Counts {
  readonly raw: number
}

export interface Optimum {
  readonly threshold: number
  readonly raw: number
}

/** 1 far before 0, -1 far after it. */
export function sigma(y: number): number {
  return y > 3 ? -1 : 2 / (1 + Math.exp(5 * y)) - 1
}

const SIGMA_MAX = sigma(-1)

/** Windows in order, without overlap. */
export function scoredFile(name: string, rows: number, windows: readonly RowWindow[]): ScoredFile {
  const windowOf = new Int32Array(rows).fill(-1)
  const worth = new Float64Array(rows).fill(-1)
  for (const [index, { first, last }] of windows.entries()) {
    assert(first <= last && last < rows, 'a window lies in its file', name, first, last)
    const width = last - first + 1
    for (let row = first; row <= last; row++) {
      windowOf[row] = index
      worth[row] = sigma(-(last - row + 1) / width) / SIGMA_MAX
    }
    const until = windows[index + 1]?.first ?? rows
    for (let row = last + 1; row < until; row++) worth[row] = sigma((row - last) / (width - 1))
  }
  const from = Math.min(Math.floor(PROBATION_SHARE * rows), PROBATION_ROWS_MAX)
  return { name, rows, from, windows: windows.length, windowOf, worth }
}

/** A file's score and counts of rows, where a row is detected from the threshold on. */
export function scoreFile(
  file: ScoredFile,
  scores: ArrayLike<number>,
  threshold: number,
  profile: Profile,
): FileScore {
  assert(scores.length === file.rows, 'a score for each row', file.name, scores.length, file.rows)
  const best = new Float64Array(file.windows).fill(-profile.miss)
  let [falseAlarms, tp, tn, fp, fn] = [0, 0, 0, 0, 0]
  for (let row = file.from; row < file.rows; row++) {
    const window = file.windowOf[row]!
    const detected = scores[row]! >= threshold
    if (window < 0) {
      if (detected) {
        fp++
        falseAlarms += profile.falseAlarm * file.worth[row]!
      } else tn++
    } else if (detected) {
      tp++
      best[window] = Math.max(best[window]!, profile.hit * file.worth[row]!)
    } else fn++
  }
  return { raw: best.reduce((sum, one) => sum + one, falseAlarms), tp, tn, fp, fn }
}

export interface Scored {
  readonly file: ScoredFile
  readonly scores: ArrayLike<number>
}

export function scoreAll(parts: readonly Scored[], threshold: number, profile: Profile): number {
  return parts.reduce((sum, { file, scores }) => sum + scoreFile(file, scores, threshold, profile).raw, 0)
}

/** Rows that count and have a score above 0, highest score first. Nobody would put a threshold at 0. */
interface RankedRow {
  readonly score: number
  readonly part: Scored
  readonly row: number
}

function ranked(parts: readonly Scored[]): readonly RankedRow[] {
  const rows: RankedRow[] = []
  for (const part of parts) {
    const { file, scores } = part
    for (let row = file.from; row < file.rows; row++) {
      if (scores[row]! > 0) rows.push({ score: scores[row]!, part, row })
    }
  }
  return rows.sort((a, b) => b.score - a.score)
}

/** The one threshold with the highest score over all files; the highest such on a tie. O(n log n). */
export function bestThreshold(parts: readonly Scored[], profile: Profile): Optimum {
  return bestOf(ranked(parts), parts, profile)
}

/** The same over the rows of `parts` among those ranked. O(n). */
function bestOf(rows: readonly RankedRow[], parts: readonly Scored[], profile: Profile): Optimum {
  const best = new Map(
    parts.map((part) => [part, new Float64Array(part.file.windows).fill(-profile.miss)] as const),
  )
  let raw = -windowsOf(parts) * profile.miss
  let optimum: Optimum = { threshold: NOTHING_DETECTED, raw }
  let last: number | null = null
  for (const { score, part, row } of rows) {
    const hits = best.get(part)
    if (hits === undefined) continue
    if (last !== null && score !== last && raw > optimum.raw) optimum = { threshold: last, raw }
    last = score
    const { windowOf, worth } = part.file
    const window = windowOf[row]!
    if (window < 0) raw += profile.falseAlarm * worth[row]!
    else {
      const now = profile.hit * worth[row]!
      const before = hits[window]!
      if (now > before) {
        raw += now - before
        hits[window] = now
      }
    }
  }
  return last !== null && raw > optimum.raw ? { threshold: last, raw } : optimum
}

/** 0: nothing detected; 100: every window at its first row, and nothing else. */
export function normalized(raw: number, windows: number, profile: Profile): number {
  const nothing = -windows * profile.miss
  return (100 * (raw - nothing)) / (windows * profile.hit - nothing)
}

export type ByProfile = Readonly<Record<Profile['name'], number>>

export function byProfile(of: (profile: Profile) => number): ByProfile {
  const [standard, lowFp, lowFn] = PROFILES.map(of)
  return { standard: standard!, lowFp: lowFp!, lowFn: lowFn! }
}

export function windowsOf(parts: readonly Scored[]): number {
  return parts.reduce((sum, { file }) => sum + file.windows, 0)
}

/** At the threshold that suits the corpus best, as NAB publishes it. */
export function atOptimum(parts: readonly Scored[]): ByProfile {
  return byProfile((profile) => normalized(bestThreshold(parts, profile).raw, windowsOf(parts), profile))
}

export function atThreshold(parts: readonly Scored[], threshold: number): ByProfile {
  return byProfile((profile) => normalized(scoreAll(parts, threshold, profile), windowsOf(parts), profile))
}

/**
 * Each group of files scored at the threshold that suits all other groups best: two halves of the files for
 * cross-validation, the categories for leaving out one by one.
 */
export function heldOut(groups: readonly (readonly Scored[])[]): ByProfile {
  const windows = groups.reduce((sum, group) => sum + windowsOf(group), 0)
  const rows = ranked(groups.flat())
  return byProfile((profile) => {
    let raw = 0
    for (const group of groups) {
      const others = groups.filter((other) => other !== group).flat()
      raw += scoreAll(group, bestOf(rows, others, profile).threshold, profile)
    }
    return normalized(raw, windows, profile)
  })
}
