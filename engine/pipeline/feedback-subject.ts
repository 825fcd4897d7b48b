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
import type { Entry, PipelineRecord, StateReader } from '../store/state-contract.ts'
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
}

export interface AlertId {
  readonly pipeline: KnownPipeline
  readonly detector: string
  readonly stream: number
  readonly sinceMs: number
}

/** `pipeline/detector/partition/groupId/sinceMs`; null: no pipeline of the store has such a detector. */
export function readAlertId(id: string, records: readonly PipelineRecord[]): AlertId | null {
  const [, names, stream, since] = /^(.+)\/(\d+)\/\d+\/(-?\d+(?:\.\d+)?)$/.exec(id) ?? []
  if (names === undefined) return null
  for (const record of records) {
    if (!names.startsWith(`${record.name}/`)) continue
    const plan = JSON.parse(record.planJson) as PipelinePlan
    const detector = names.slice(record.name.length + 1)
    if (!plan.detectors.some(({ name }) => name === detector)) continue
    return { pipeline: { id: record.id, plan }, detector, stream: Number(stream), sinceMs: Number(since) }
  }
  return null
}

export interface FoundAlert {
  readonly alert: Alert
  /** The transition whose value was furthest away, and the factor it was told under. */
  readonly score: number | null
  readonly factor: number
}

/** Null: none of its transitions is kept. */
export async function findAlert(
  state: SubjectReader,
  id: string,
  { pipeline, stream, sinceMs }: AlertId,
  rows: readonly FeedbackRow[],
): Promise<FoundAlert | null> {
  if (stream >= resultStreams(pipeline.plan)) return null
  let found: FoundAlert | null = null
  await eachEntry(state, pipeline.id, stream, sinceMs, (entry) => {
    if (entry.kind !== ENTRY_ALERT) return true
    const alert = JSON.parse(Buffer.from(entry.bytes).toString()) as Alert
    if (alert.id !== id) return true
    const factor = factorAt(rows, pipeline.plan, alert.detector, alert.group, stream, entry.causeOffset)
    const score = alert.score ?? Infinity
    if (found === null || score * factor > (found.score ?? Infinity) * found.factor) {
      found = { alert, score: alert.score, factor }
    }
    return alert.state !== 'resolved'
  })
  return found
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
  const seriesKey = (): null => null
  const decoder = new EntryDecoder(plan, entryLabels(state, seriesKey, { id, plan }))
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
        fitting.add(seriesText(group))
        const { windowEndMs, scores } = decoder.record(stream, entry, row).body as ResultBody
        const judged = scores[detector]!
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
