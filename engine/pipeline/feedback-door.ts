/**
 * The door by which people say what they think of alerts (contract/feedback.ts): finds what a statement is about, works out
 * what it asks for, and hands it to the log writer, which decides what comes of it. Called by the HTTP server.
 */
import { knownRemedy } from '../config/did-you-mean.ts'
import { type Fault, MillraceError } from '../contract/errors.ts'
import {
  BY_LENGTH_MAX,
  FACTOR_MAX,
  FACTOR_MIN,
  FEEDBACK_ROWS_MAX,
  type FeedbackAnswer,
  type FeedbackDoor,
  type FeedbackOutcome,
  type FeedbackQuery,
  type FeedbackRequest,
  type FeedbackRow,
  type FeedbackSource,
  type FeedbackStatement,
  type MissedAlert,
  NOTE_LENGTH_MAX,
} from '../contract/feedback.ts'
import type { DetectorPlan, PipelinePlan } from '../contract/plan.ts'
import type { Labels } from '../contract/samples.ts'
import { partitionOf, seriesText } from '../series/series-key.ts'
import { targetOfExpected, targetOfMissed } from '../store/feedback/factor.ts'
import {
  FITTING_GROUPS_MAX,
  findAlert,
  findWindow,
  isFixedBound,
  knownPipeline,
  readAlertId,
  type SubjectReader,
} from './feedback-subject.ts'

export interface FeedbackDoorOptions {
  readonly state: SubjectReader
  readonly rows: FeedbackSource
  /** Resolves when what came of it is durable. */
  readonly say: (request: FeedbackRequest) => Promise<FeedbackOutcome>
}

interface Words {
  readonly note?: string | null
  readonly by?: string | null
}

export class StoredFeedback implements FeedbackDoor {
  readonly #options: FeedbackDoorOptions

  constructor(options: FeedbackDoorOptions) {
    this.#options = options
  }

  async expected({ alert: id, ...words }: { readonly alert: string } & Words): Promise<FeedbackAnswer> {
    const said = wordsOf(words)
    const { state, rows } = this.#options
    const records = state.pipelines()
    const place = readAlertId(id, records)
    if (place === null) {
      const names = records.map(({ name }) => name)
      const remedy = `An id is PIPELINE/DETECTOR/PARTITION/GROUP/TIME, as millrace alerts list --json shows. Pipelines: ${names.join(', ') || 'none'}.`
      throw refused('alert', id, 'is not the id of an alert of a pipeline and detector here', remedy)
    }
    const { plan } = place.pipeline
    adjustable(plan, place.detector)
    const found = await findAlert(state, id, place, rows.rows())
    if (found === null) {
      const remedy =
        'Look at millrace alerts list --history --json; what retention or a reset removed is gone.'
      throw refused('alert', id, 'is no alert that is kept', remedy)
    }
    const { alert, score, factor } = found
    if (isFixedBound(alert)) throw fixed(place.detector)
    return this.#say({
      says: 'expected',
      ...placeOf(plan, place.detector, alert.group, place.stream),
      timeMs: place.sinceMs,
      alert: id,
      score,
      target: targetOfExpected(score, factor),
      ...said,
    })
  }

  async missed({
    pipeline: name,
    detector,
    series,
    atMs,
    ...words
  }: MissedAlert & Words): Promise<FeedbackAnswer> {
    const said = wordsOf(words)
    const { state, rows } = this.#options
    const records = state.pipelines()
    const record = records.find((one) => one.name === name)
    if (record === undefined) {
      const names = records.map((one) => one.name)
      throw refused('pipeline', name, 'is no pipeline of this node', knownRemedy(name, names))
    }
    const known = knownPipeline(record)
    const { plan } = known
    adjustable(plan, detector)
    const at = new Date(atMs).toISOString()
    const found = await findWindow(state, known, detector, series, atMs, rows.rows())
    if (found === null) {
      const remedy =
        'Look at its results (GET /api/v1/results): name a time at which it had values, and labels that it has.'
      throw refused(
        'series',
        seriesText(series),
        `has no result that is kept for a window over ${at}`,
        remedy,
      )
    }
    if (!('score' in found)) {
      const few = found.slice(0, FITTING_GROUPS_MAX).join(', ')
      const more = found.length > FITTING_GROUPS_MAX ? ' and more' : ''
      throw refused('series', seriesText(series), 'fits several groups', `Name more labels: ${few}${more}.`)
    }
    const { score, factor, group, stream, endMs, isFixed } = found
    if (isFixed) throw fixed(detector)
    if (score === null) {
      const remedy = 'A threshold changes nothing there; millrace explain shows how far it is with learning.'
      throw refused('at', at, 'is a time at which the detector could not judge', remedy)
    }
    if (score > 1) {
      const remedy =
        'There was an alert, or its options (hold, atLeast, muteTimes, refractory …) kept it back: change those.'
      throw refused(
        'at',
        at,
        `is a time at which the value was anomalous already, by a score of ${round(score)}`,
        remedy,
      )
    }
    return this.#say({
      says: 'missed',
      ...placeOf(plan, detector, group, stream),
      timeMs: endMs,
      alert: null,
      score,
      target: targetOfMissed(score, factor),
      ...said,
    })
  }

  async undo({ id, ...words }: { readonly id: number } & Words): Promise<FeedbackAnswer> {
    return this.#say({ says: 'undo', of: id, ...wordsOf(words) })
  }

  list(query: FeedbackQuery): readonly FeedbackStatement[] {
    return listFeedback(this.#options.rows.rows(), query)
  }

  async #say(request: FeedbackRequest): Promise<FeedbackAnswer> {
    const outcome = await this.#options.say(request)
    if (outcome.kind === 'full') {
      const message =
        `${FEEDBACK_ROWS_MAX} statements are kept, which is the limit; nothing was changed. Write what holds for good as ` +
        'overrides of the pipeline.'
      throw new MillraceError('LOG_FULL', message)
    }
    if (outcome.kind === 'unknown' || outcome.kind === 'no-statement') {
      const id = request.says === 'undo' ? request.of : null
      const problem = outcome.kind === 'unknown' ? 'is no statement' : 'takes a statement back itself'
      throw refused(
        'id',
        id,
        problem,
        'See millrace alerts feedback for those there are; say it anew to have it again.',
      )
    }
    const { row } = outcome
    const rows = this.#options.rows.rows()
    const undo = rows.find(({ of }) => of === row.id)
    const statement = { ...row, undoneBy: undo?.id ?? null }
    if (outcome.kind === 'taken') return { isRepeated: false, statement, meaning: meaningOf(row) }
    const { after } = lastWord(rows, row) ?? row
    const meaning = `This was said before (statement ${row.id}), and is not said again: the band of ${whoseText(row)} is ${widthText(after)}.`
    return { isRepeated: true, statement, meaning }
  }
}

/** Newest first. */
export function listFeedback(rows: readonly FeedbackRow[], query: FeedbackQuery): FeedbackStatement[] {
  const undone = new Map(rows.filter(({ says }) => says === 'undo').map(({ of, id }) => [of!, id]))
  return rows
    .filter(({ pipeline }) => query.pipeline === undefined || pipeline === query.pipeline)
    .slice(-query.limit)
    .reverse()
    .map((row) => ({ ...row, undoneBy: undone.get(row.id) ?? null }))
}

/** Of one series and detector: the statement that its factor comes from; null: none. */
export function lastWord(
  rows: readonly FeedbackRow[],
  {
    pipeline,
    detector,
    group,
  }: { readonly pipeline: string; readonly detector: string; readonly group: Labels },
): FeedbackRow | null {
  const series = seriesText(group)
  const fits = (row: FeedbackRow): boolean =>
    row.pipeline === pipeline && row.detector === detector && seriesText(row.group) === series
  return rows.findLast(fits) ?? null
}

function meaningOf(row: FeedbackRow): string {
  const { says, before, after, target, score, of } = row
  const whose = whoseText(row)
  if (says === 'undo') return `Statement ${of} is taken back: the band of ${whose} is ${widthText(after)}.`
  const change =
    after === before
      ? `The band of ${whose} stays ${widthText(after)}.`
      : `The band of ${whose} is ${widthText(after)} from now on, and was ${widthText(before)}.`
  return `${change} ${says === 'expected' ? expectedText(after, target) : missedText(after, target, score)}`
}

function whoseText({ pipeline, detector, group }: FeedbackRow): string {
  return `${pipeline}/${detector} ${seriesText(group)}`
}

function expectedText(after: number, target: number | null): string {
  if (target !== null && after >= target) return 'A deviation such as this one does not alert.'
  if (after >= FACTOR_MAX)
    return `That is the most that feedback does; a deviation such as this one would still alert. Use overrides.`
  return 'A deviation such as this one would still alert: say so of the next one too, or use overrides.'
}

function missedText(after: number, target: number | null, score: number | null): string {
  if (target !== null && target > 0 && after <= target) return 'A value such as this one alerts.'
  if (after <= FACTOR_MIN)
    return `That is the least that feedback does; a value such as this one (score ${round(score ?? 0)}) would still not alert.`
  return 'A value such as this one would still not alert: say so of another time too.'
}

function widthText(factor: number): string {
  return factor === 1 ? 'as wide as learned' : `${round(factor)} times as wide as learned`
}

function round(value: number): number {
  return Number(value.toPrecision(3))
}

function adjustable(plan: PipelinePlan, name: string): DetectorPlan {
  const detector = plan.detectors.find((one) => one.name === name)
  if (detector === undefined) {
    const names = plan.detectors.map((one) => one.name)
    throw refused('detector', name, `is no detector of ${plan.name}`, knownRemedy(name, names))
  }
  if (detector.column !== null || detector.columns !== undefined) return detector
  const remedy = 'Change how long it waits (its options, hold), or write overrides.'
  throw refused('detector', name, 'watches silence, which has no band to widen', remedy)
}

/** Where the record goes: to the log of the partition that judges the group; of spread groups to the same one for ever. */
function placeOf(plan: PipelinePlan, detector: string, group: Labels, stream: number) {
  const { name: topic, partitions, partitionBy } = plan.topic
  const partition = plan.exchange === undefined ? stream : partitionOf(group, partitionBy, partitions)
  return { pipeline: plan.name, detector, group, topic, partition }
}

function wordsOf({ note = null, by = null }: Words): {
  readonly note: string | null
  readonly by: string | null
} {
  const faults: Fault[] = []
  const check = (place: string, text: string | null, max: number): void => {
    if (text === null || text.length <= max) return
    faults.push({
      place,
      value: text,
      problem: `has ${text.length} characters`,
      remedy: `Use at most ${max}.`,
    })
  }
  check('note', note, NOTE_LENGTH_MAX)
  check('by', by, BY_LENGTH_MAX)
  if (faults.length > 0) throw MillraceError.ofFaults('INPUT_INVALID', 'nothing was changed', faults)
  return { note, by }
}

function fixed(detector: string): MillraceError {
  const remedy = 'Change the bound in the pipeline, or give it above and below: then there is a band.'
  return refused('detector', detector, 'has one fixed bound, and no band around an expected value', remedy)
}

function refused(place: string, value: unknown, problem: string, remedy: string): MillraceError {
  return MillraceError.ofFaults('INPUT_INVALID', 'nothing was changed', [{ place, value, problem, remedy }])
}
