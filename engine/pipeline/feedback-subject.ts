/**
 * What a statement is about, found in what is committed: the alert of an id, or the window of a group that holds a time,
 * with the factor that was in force there. Reads only, a bounded number of entries, with breaths in between.
 */
import type { Alert } from '../contract/alert.ts'
import { ENTRY_ALERT, ENTRY_RESULTS } from '../contract/entries.ts'
import type { FeedbackRow } from '../contract/feedback.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { ResultBody } from '../contract/plugins.ts'
import type { Labels } from '../contract/samples.ts'
import { ownerStream, resultStreams } from '../contract/streams.ts'
import { seriesText } from '../series/series-key.ts'
import type { Entry, PastPlan, PipelineRecord, StateReader } from '../store/state-contract.ts'
import { EntryDecoder } from './entry-decoder.ts'
import { entryLabels } from './outbox.ts'
import { firstResultSeq } from './row-merge.ts'

/** Entries that one search may look at; an alert that lasts longer is known by its beginning. */
export const SEARCHED_ENTRIES_MAX = 20_000
const READ_LIMITS = { countMax: 256, bytesMax: 256 * 1024 }
/** Groups named where several fit. */
export const FITTING_GROUPS_MAX = 5

export type SubjectReader = Pick<StateReader, 'entries' | 'seqRange' | 'groupKey' | 'pipelines'>

export interface KnownPipeline {
  readonly id: number
  readonly plan: PipelinePlan
  /** Plans that a switch has replaced, by which older results are read. */
  readonly past?: readonly PastPlan[]
}

export function knownPipeline(record: PipelineRecord): KnownPipeline {
  const plan = JSON.parse(record.planJson) as PipelinePlan
  return { id: record.id, plan, ...(record.past === undefined ? {} : { past: record.past }) }
}

export interface AlertId {
  readonly pipeline: KnownPipeline
  readonly detector: string
  readonly stream: number
  readonly groupId: number
  readonly sinceMs: number
}

/** `pipeline/detector/partition/groupId/sinceMs`; null: no pipeline of the store has such a detector. */
export function readAlertId(id: string, records: readonly PipelineRecord[]): AlertId | null {
  const [, names, stream, group, since] = /^(.+)\/(\d+)\/(\d+)\/(-?\d+(?:\.\d+)?)$/.exec(id) ?? []
  if (names === undefined) return null
  for (const record of records) {
    if (!names.startsWith(`${record.name}/`)) continue
    const pipeline = knownPipeline(record)
    const detector = names.slice(record.name.length + 1)
    if (!pipeline.plan.detectors.some(({ name }) => name === detector)) continue
    const numbers = { stream: Number(stream), groupId: Number(group), sinceMs: Number(since) }
    return { pipeline, detector, ...numbers }
  }
  return null
}

export interface FoundAlert {
  readonly alert: Alert
  /** Of its transitions and windows, the one whose value was furthest away, and the factor it was told under. */
  readonly score: number | null
  readonly factor: number
}

/** Null: none of its transitions is kept. */
export async function findAlert(
  state: SubjectReader,
  id: string,
  { pipeline, detector, stream, groupId, sinceMs }: AlertId,
  rows: readonly FeedbackRow[],
): Promise<FoundAlert | null> {
  const { plan } = pipeline
  if (stream >= resultStreams(plan)) return null
  const decoder = decoderOf(state, pipeline)
  let found: FoundAlert | null = null
  /** Null: not finite, hence further away than any other. */
  const saw = (alert: Alert, score: number | null, causeOffset: number): void => {
    const factor = factorAt(rows, plan, detector, alert.group, stream, causeOffset)
    const isFurther =
      found !== null && (score ?? Infinity) * factor > (found.score ?? Infinity) * found.factor
    if (found === null || isFurther) found = { alert, score, factor }
  }
  await eachEntry(state, pipeline.id, stream, sinceMs, (entry) => {
    if (entry.kind === ENTRY_ALERT) {
      const alert = JSON.parse(Buffer.from(entry.bytes).toString()) as Alert
      if (alert.id !== id) return true
      // One that a switch of detectors has ended was not judged again.
      if (alert.state !== 'resolved' || alert.score !== null) saw(alert, alert.score, entry.causeOffset)
      return alert.state !== 'resolved'
    }
    // What goes on is told once, and may go further afterwards.
    if (entry.kind !== ENTRY_RESULTS || found === null) return true
    const count = decoder.rowCount(stream, entry)
    for (let row = 0; row < count; row++) {
      if (decoder.groupIdOf(stream, entry, row) !== groupId) continue
      const { scores } = decoder.record(stream, entry, row).body as ResultBody
      const score = scores[detector]?.score ?? null
      if (score !== null) saw(found.alert, score, entry.causeOffset)
    }
    return true
  })
  return found
}

function decoderOf(state: SubjectReader, { id, plan, past }: KnownPipeline): EntryDecoder {
  const seriesKey = (): null => null
  return new EntryDecoder(plan, entryLabels(state, seriesKey, { id, plan }), past)
}

export interface FoundWindow {
  readonly stream: number
  readonly group: Labels
  readonly endMs: number
  readonly score: number | null
  readonly factor: number
  readonly isFixed: boolean
}

/** A bound that the pipeline fixed, with no expected value that a band lies around. */
export function isFixedBound({
  expected,
  lower,
  upper,
}: Pick<Alert, 'expected' | 'lower' | 'upper'>): boolean {
  return expected === null && (lower !== null || upper !== null)
}

/**
 * Of the windows that hold the time, the one whose value came nearest to an alert. Several groups: their labels, as they are
 * written, at most FITTING_GROUPS_MAX and one more.
 */
export async function findWindow(
  state: SubjectReader,
  pipeline: KnownPipeline,
  detector: string,
  series: Labels,
  atMs: number,
  rows: readonly FeedbackRow[],
): Promise<FoundWindow | null | readonly string[]> {
  const { plan, id } = pipeline
  const decoder = decoderOf(state, pipeline)
  const fitting = new Set<string>()
  let found: FoundWindow | null = null
  const first = plan.exchange === undefined ? 0 : ownerStream(plan, 0)
  for (let stream = first; stream < resultStreams(plan); stream++) {
    await eachEntry(state, id, stream, atMs, (entry) => {
      if (entry.kind !== ENTRY_RESULTS) return true
      if (entry.eventTimeMs - plan.window.sizeMs > atMs) return false
      if (entry.eventTimeMs <= atMs) return true
      const count = decoder.rowCount(stream, entry)
      for (let row = 0; row < count && fitting.size <= FITTING_GROUPS_MAX; row++) {
        const group = decoder.groupOf(stream, entry, row)
        if (!Object.entries(series).every(([label, value]) => group[label] === value)) continue
        const { windowEndMs, scores } = decoder.record(stream, entry, row).body as ResultBody
        const judged = scores[detector]
        // Results of before the detector was there.
        if (judged === undefined) continue
        fitting.add(seriesText(group))
        const { score } = judged
        const factor = factorAt(rows, plan, detector, group, stream, entry.causeOffset)
        if (found === null || (score ?? -1) * factor > (found.score ?? -1) * found.factor) {
          found = { stream, group, endMs: windowEndMs, score, factor, isFixed: isFixedBound(judged) }
        }
      }
      return true
    })
  }
  return fitting.size > 1 ? [...fitting] : found
}

/** The factor that a value was judged by: of what was said before its cause (contract/entries.ts). */
export function factorAt(
  rows: readonly FeedbackRow[],
  plan: PipelinePlan,
  detector: string,
  group: Labels,
  stream: number,
  cause: number,
): number {
  const isOwner = plan.exchange !== undefined
  const series = seriesText(group)
  const last = rows.findLast(
    (row) =>
      row.pipeline === plan.name &&
      row.topic === plan.topic.name &&
      row.detector === detector &&
      (isOwner ? row.appendedMs < cause : row.partition === stream && row.offset < cause) &&
      seriesText(row.group) === series,
  )
  return last?.after ?? 1
}

/** Entries from the first result on whose window ends at `fromMs` or later, until `visit` says false. */
async function eachEntry(
  state: SubjectReader,
  pipelineId: number,
  stream: number,
  fromMs: number,
  visit: (entry: Entry) => boolean,
): Promise<void> {
  let seq = firstResultSeq(state, pipelineId, stream, fromMs)
  for (let looked = 0; looked < SEARCHED_ENTRIES_MAX; ) {
    const entries = state.entries(pipelineId, stream, seq, READ_LIMITS)
    if (entries.length === 0) return
    for (const entry of entries) if (!visit(entry)) return
    looked += entries.length
    seq = entries.at(-1)!.seq + 1
    await new Promise(setImmediate)
  }
}
