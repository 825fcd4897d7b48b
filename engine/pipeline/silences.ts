/**
 * Silences as people write them, and which alerts they hold for. Pure: knows no store and no clock.
 *
 *     { match: ['rack=r7', 'host=~web-.*'], for: '2h', comment: 'new switch' }
 *     { match: …, pipeline?, detector?, severity?, from?, until | for, comment }
 *
 * Patterns are asked of every transition on the thread that commits, so those are refused whose backtracking could take long:
 * a pattern has no groups, and each of its alternatives repeats at most REPEATS_MAX times. A test takes O(length²) then.
 */
import { knownRemedy } from '../config/did-you-mean.ts'
import { readTimeMs, TIME_ALLOWED } from '../config/times.ts'
import { DURATION_ALLOWED, durationText, readDurationMs } from '../config/units.ts'
import type { Alert } from '../contract/alert.ts'
import type { Fault } from '../contract/errors.ts'
import { type LabelMatcher, type MatchOp, SEVERITIES } from '../contract/plan.ts'
import { NAME_LABEL } from '../contract/samples.ts'
import {
  SILENCE_MATCHERS_MAX,
  SILENCE_MS_MAX,
  SILENCE_TEXT_LENGTH_MAX,
  type Silence,
  type SilenceRow,
  type SilenceSpec,
  type SilenceState,
} from '../contract/silences.ts'
import { LABEL_REMEDY, labelOf, labelProblem, labelTest } from './matchers.ts'

/** Of *, +, ? and {}, in one alternative and in the whole pattern. */
export const REPEATS_MAX = 2
export const PATTERN_REPEATS_MAX = 8

const FIELDS = ['match', 'pipeline', 'detector', 'severity', 'from', 'until', 'for', 'comment']
const MATCH_REMEDY =
  'Write LABEL=VALUE, LABEL!=VALUE, LABEL=~PATTERN or LABEL!~PATTERN, such as "rack=r7"; a pattern is of the whole value.'
const WHOM_REMEDY =
  'It would silence everything. Write a condition that a missing label does not meet, such as "rack=r7", or name a pipeline or a detector.'
/** What a person wrote is told back to them, not all of it. */
const REFUSED_MATCHERS_SHOWN = 20

/** What the node runs: names that are in none of it are slips of the pen. */
export interface KnownPipelines {
  readonly pipelines: readonly { readonly name: string; readonly detectors: readonly string[] }[]
}

/** Null: see `faults`, which then holds all that is wrong. */
export function readSilence(
  written: unknown,
  { nowMs, known, faults }: { nowMs: number; known: KnownPipelines; faults: Fault[] },
): SilenceSpec | null {
  const before = faults.length
  if (typeof written !== 'object' || written === null || Array.isArray(written)) {
    const remedy = 'Send an object such as {"match": ["rack=r7"], "for": "2h", "comment": "new switch"}.'
    faults.push({ place: 'silence', value: written, problem: 'is not an object', remedy })
    return null
  }
  const fields = written as Readonly<Record<string, unknown>>
  for (const [place, value] of Object.entries(fields)) {
    if (FIELDS.includes(place)) continue
    faults.push({ place, value, problem: 'is not known here', remedy: knownRemedy(place, FIELDS) })
  }
  const match = readMatchers(fields.match, faults)
  const names = known.pipelines.map(({ name }) => name)
  const pipeline = readName('pipeline', fields.pipeline, names, faults)
  const reached = known.pipelines.filter(({ name }) => pipeline === null || name === pipeline)
  const detectors = [...new Set(reached.flatMap((one) => one.detectors))]
  const detector = readName('detector', fields.detector, detectors, faults)
  const named = readName('severity', fields.severity, SEVERITIES, faults)
  const severity = SEVERITIES.find((one) => one === named) ?? null
  const comment = readComment(fields.comment, faults)
  const times = readTimes(fields, nowMs, faults)
  const isNarrow = pipeline !== null || detector !== null || match.some((one) => !labelTest([one])({}))
  if (!isNarrow && faults.length === before) {
    faults.push({ place: 'match', value: fields.match, problem: 'leaves out no alert', remedy: WHOM_REMEDY })
  }
  if (faults.length > before) return null
  return { match, pipeline, detector, severity, ...times, comment }
}

function readMatchers(written: unknown, faults: Fault[]): LabelMatcher[] {
  if (written === undefined) return []
  const texts = typeof written === 'string' ? [written] : written
  if (!Array.isArray(texts)) {
    faults.push({
      place: 'match',
      value: written,
      problem: 'is not a list of conditions',
      remedy: MATCH_REMEDY,
    })
    return []
  }
  if (texts.length > SILENCE_MATCHERS_MAX) {
    const remedy = `Write at most ${SILENCE_MATCHERS_MAX}, or one pattern in place of several.`
    faults.push({ place: 'match', value: texts.length, problem: 'are too many conditions', remedy })
  }
  return texts.slice(0, REFUSED_MATCHERS_SHOWN).flatMap((text, i) => {
    const matcher = readMatcher(text, `match[${i}]`, faults)
    return matcher === null ? [] : [matcher]
  })
}

/** `rack=r7`; the value may stand in quotes, as Prometheus writes it. */
export function readMatcher(text: unknown, place: string, faults: Fault[]): LabelMatcher | null {
  const fail = (problem: string, remedy: string): null => {
    faults.push({ place, value: text, problem, remedy })
    return null
  }
  const parts = typeof text === 'string' ? /^([^=!~]+)(=~|!~|!=|=)(.*)$/s.exec(text) : null
  if (parts === null) return fail('is not a condition', MATCH_REMEDY)
  const label = parts[1]!.trim()
  const problem = labelProblem(label)
  if (problem !== null) return fail(`names a label that ${problem}`, LABEL_REMEDY)
  const value = unquoted(parts[3]!)
  if (value === null) return fail('has a quote that does not close', MATCH_REMEDY)
  if (value.length > SILENCE_TEXT_LENGTH_MAX)
    return fail(`is longer than ${SILENCE_TEXT_LENGTH_MAX} characters`, 'Write a shorter value.')
  const op = parts[2] as MatchOp
  if (op === '=~' || op === '!~') {
    const why = patternProblem(value)
    if (why !== null) return fail(why, `${MATCH_REMEDY} Several silences may do what one pattern cannot.`)
  }
  return { label: labelOf(label), op, value }
}

function unquoted(text: string): string | null {
  const trimmed = text.trim()
  if (!trimmed.startsWith('"')) return trimmed
  try {
    const value: unknown = JSON.parse(trimmed)
    return typeof value === 'string' ? value : null
  } catch {
    return null
  }
}

/** What is wrong with a pattern, or null. */
export function patternProblem(source: string): string | null {
  try {
    new RegExp(`^(?:${source})$`)
  } catch (error) {
    return `does not compile: ${(error as Error).message}`
  }
  let inAll = 0
  let inAlternative = 0
  let isInClass = false
  for (let i = 0; i < source.length; i++) {
    const char = source[i]!
    if (char === '\\') {
      i++
      if (!isInClass && /[1-9k]/.test(source[i] ?? '')) return 'refers back to a group'
    } else if (isInClass) isInClass = char !== ']'
    else if (char === '[') isInClass = true
    else if (char === '(') return 'has a group; write alternatives out, as in "web-a|web-b"'
    else if (char === '|') inAlternative = 0
    else if ('*+?{'.includes(char)) {
      inAll++
      inAlternative++
      if (inAlternative > REPEATS_MAX)
        return `repeats more than ${REPEATS_MAX} times (*, +, ?, {}) in one alternative`
    }
  }
  return inAll > PATTERN_REPEATS_MAX ? `repeats more than ${PATTERN_REPEATS_MAX} times (*, +, ?, {})` : null
}

function readName(place: string, value: unknown, known: readonly string[], faults: Fault[]): string | null {
  if (value === undefined || value === null) return null
  if (typeof value === 'string' && known.includes(value)) return value
  faults.push({ place, value, problem: 'is not known here', remedy: knownRemedy(String(value), known) })
  return null
}

function readComment(value: unknown, faults: Fault[]): string {
  const text = typeof value === 'string' ? value.trim() : ''
  if (text !== '' && text.length <= SILENCE_TEXT_LENGTH_MAX) return text
  const problem = text === '' ? 'is missing' : `is longer than ${SILENCE_TEXT_LENGTH_MAX} characters`
  const remedy = 'Say in a line who wants silence and why: it is all that others will know.'
  faults.push({ place: 'comment', value, problem, remedy })
  return ''
}

function readTimes(
  { from, until, for: lasting }: Readonly<Record<string, unknown>>,
  nowMs: number,
  faults: Fault[],
): { fromMs: number; untilMs: number } {
  const before = faults.length
  const time = (place: string, value: unknown): number => {
    const ms = typeof value === 'number' ? value : readTimeMs(String(value), nowMs)
    if (ms !== null && Number.isFinite(ms)) return ms
    faults.push({ place, value, problem: 'is not a time', remedy: `Write ${TIME_ALLOWED}.` })
    return nowMs
  }
  const fromMs = from === undefined ? nowMs : time('from', from)
  if ((until === undefined) === (lasting === undefined)) {
    const problem = until === undefined ? 'is not said' : 'is said twice'
    const remedy = 'Say either how long it lasts, such as 2h, or until when, such as 2026-01-31T18:00:00Z.'
    faults.push({ place: 'until', value: until, problem, remedy })
    return { fromMs, untilMs: fromMs }
  }
  let untilMs = fromMs
  if (until !== undefined) untilMs = time('until', until)
  else {
    const reading = readDurationMs(lasting)
    if ('value' in reading) untilMs = fromMs + reading.value
    else
      faults.push({
        place: 'for',
        value: lasting,
        problem: reading.problem,
        remedy: `Write ${DURATION_ALLOWED}.`,
      })
  }
  if (faults.length > before) return { fromMs, untilMs }
  const [place, value] = until === undefined ? ['for', lasting] : ['until', until]
  const fail = (problem: string, remedy: string): void => {
    faults.push({ place, value, problem, remedy })
  }
  if (untilMs <= nowMs) fail('is over already', 'Write a time that is still to come.')
  else if (untilMs <= fromMs)
    fail('is not after its beginning', 'Write a later end, or an earlier beginning.')
  else if (untilMs - nowMs > SILENCE_MS_MAX) {
    const remedy = `At most ${durationText(SILENCE_MS_MAX)} from now; what nobody ever wants to hear of is muted in the pipeline.`
    fail('is too far away', remedy)
  }
  return { fromMs, untilMs }
}

/** Whether it holds for an alert, by all but time. */
export function silenceTest(
  spec: SilenceSpec,
): (alert: Pick<Alert, 'pipeline' | 'detector' | 'severity' | 'group'>) => boolean {
  const { pipeline, detector, severity } = spec
  const test = labelTest(spec.match)
  return (alert) =>
    (pipeline === null || alert.pipeline === pipeline) &&
    (detector === null || alert.detector === detector) &&
    (severity === null || alert.severity === severity) &&
    test(alert.group)
}

export function silenceState({ fromMs, untilMs, endedMs }: Silence, nowMs: number): SilenceState {
  if (endedMs !== null || untilMs <= nowMs) return 'expired'
  return fromMs <= nowMs ? 'active' : 'pending'
}

/** Active first, then those to come, then those that are over; of each, the one that ends first. */
export function silenceRows(silences: readonly Silence[], nowMs: number): SilenceRow[] {
  const order: readonly SilenceState[] = ['active', 'pending', 'expired']
  return silences
    .map((silence) => silenceRow(silence, nowMs))
    .sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state) || byEnd(a, b))
}

function byEnd(a: SilenceRow, b: SilenceRow): number {
  if (a.state === 'expired') return (b.endedMs ?? b.untilMs) - (a.endedMs ?? a.untilMs) || b.id - a.id
  return a.untilMs - b.untilMs || a.id - b.id
}

export function silenceRow(silence: Silence, nowMs: number): SilenceRow {
  return { ...silence, state: silenceState(silence, nowMs), match: silence.match.map(matcherText) }
}

export function matcherText({ label, op, value }: LabelMatcher): string {
  return `${label === NAME_LABEL ? 'name' : label}${op}${JSON.stringify(value)}`
}

/** Of those that hold now: the silence that ends last, or null. */
export function silencedBy(
  active: readonly { readonly silence: Silence; readonly holds: ReturnType<typeof silenceTest> }[],
  alert: Parameters<ReturnType<typeof silenceTest>>[0],
): number | null {
  let found: Silence | null = null
  for (const { silence, holds } of active) {
    if (!holds(alert)) continue
    if (found === null || silence.untilMs > found.untilMs) found = silence
  }
  return found?.id ?? null
}
