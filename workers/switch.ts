/**
 * Switches live pipelines to other detectors at the offset they have committed, with what history tells them: `millrace
 * switch`. The store's owner does it, hence no node runs. What comes of it is computed first, partition by partition,
 * and then committed in one transaction: state, entries, alerts, progress and plan. A crash leaves all of the old or
 * all of the new. Memory: one chain or owner for reading, and the state of the pipelines that are switched, as a node holds it.
 * On disk, where groups are spread: what history sends to owners, in a folder for temporary files, until the switch ends.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BatchView } from '../engine/batch/batch-view.ts'
import { BATCH_BYTES_MAX } from '../engine/batch/layout.ts'
import { SilenceKeeper } from '../engine/broker/silence-keeper.ts'
import type { Alert } from '../engine/contract/alert.ts'
import { ENTRY_ALERT, emptyLedger } from '../engine/contract/entries.ts'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import type { FeedbackSource } from '../engine/contract/feedback.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import type { Labels } from '../engine/contract/samples.ts'
import { ownerStream, partialStream, resultStreams } from '../engine/contract/streams.ts'
import { REGION_JUDGES, REGION_ROUTES } from '../engine/pipeline/chain.ts'
import { REGION_OWNER_JUDGES } from '../engine/pipeline/merger.ts'
import { planDifference, planHash } from '../engine/pipeline/plan-difference.ts'
import type { ReplayPoint } from '../engine/pipeline/replay-range.ts'
import { type PartitionHistory, switchPartition } from '../engine/pipeline/switch-partition.ts'
import { keptDetectors, needsHistory, switchFaults } from '../engine/pipeline/switch-plan.ts'
import { type Sent, sendHistory, switchOwner, switchSender } from '../engine/pipeline/switch-spread.ts'
import type { Restorable, SwitchedStream } from '../engine/pipeline/switch-stream.ts'
import { FeedbackRows } from '../engine/store/feedback/feedback-rows.ts'
import type { LogReader, LogTopic } from '../engine/store/log-contract.ts'
import { openLogReader } from '../engine/store/log-store.ts'
import { keepingHeartbeat } from '../engine/store/owner.ts'
import { storeAt } from '../engine/store/place.ts'
import type {
  PastPlan,
  PipelineRecord,
  Progress,
  StateTransaction,
  StateWriter,
} from '../engine/store/state-contract.ts'
import { openStateWriter } from '../engine/store/state-store.ts'
import { openStore, type Store } from '../engine/store/store.ts'
import { topicMismatch } from '../engine/store/topic-mismatch.ts'
import { assert } from '../engine/util/assert.ts'
import type { Clock } from '../engine/util/clock.ts'
import { heardOf, READ_LIMITS, sentTo } from './merge-seats.ts'
import { SpillReader, SpillWriter } from './partial-spill.ts'
import { loadPlugins, registry } from './plugins.ts'
import { checkRetained } from './retained.ts'

/** Plans whose entries are still kept; each costs every reader of results a look. */
export const PAST_PLANS_MAX = 256
/** Groups that still warm up, told by name, of one detector in one partition. */
const GROUPS_TOLD_MAX = 100
const HEARTBEAT_MS = 1_000

export interface SwitchOptions {
  readonly dir: string
  readonly plans: readonly PipelinePlan[]
  /** Where the history begins that new detectors are given. One before the oldest record means that one. */
  readonly warmFrom: ReplayPoint
  /** Everything but the commit. */
  readonly isDryRun: boolean
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly onProgress?: (samples: number, pipeline: string) => void
}

export interface SwitchedDetector {
  readonly name: string
  /** `kept`: nothing of it was changed, and it goes on as it was. Changed and new ones begin with what history told them. */
  readonly outcome: 'kept' | 'changed' | 'new' | 'gone'
  /** Windows of the history that it judged, in the partition or owner that has most of them, and rows in those of all. */
  readonly windows: number
  readonly rows: number
  /** Groups that it cannot judge yet, and some of them. */
  readonly warming: number
  readonly warmingGroups: readonly Labels[]
}

export interface SwitchedFrom {
  readonly partition: number
  /** History that the new detectors were given: offsets [from, cut). */
  readonly from: number
  readonly cut: number
  /** When the first of it was stored; null: there is none. */
  readonly fromLogMs: number | null
}

export interface SwitchedPipeline {
  readonly name: string
  /** `unchanged`: its plan is the one in the store, and nothing was done. */
  readonly outcome: 'switched' | 'new' | 'unchanged'
  /** What differs in detectors that were and are, in words. */
  readonly changes: readonly string[]
  readonly partitions: readonly SwitchedFrom[]
  readonly detectors: readonly SwitchedDetector[]
  readonly groups: number
  /** Current alerts that go on under their ids, were ended, and have begun by the switch. */
  readonly alerts: { readonly goesOn: number; readonly ended: number; readonly begun: number }
}

export interface SwitchReport {
  readonly isDryRun: boolean
  /** The history does not reach as far back as was asked for. */
  readonly isShort: boolean
  readonly pipelines: readonly SwitchedPipeline[]
}

/** Null: the signal came first, and nothing was changed. */
export async function switchDetectors(options: SwitchOptions): Promise<SwitchReport | null> {
  const dir = storeAt(options.dir)
  await loadPlugins(options.plans)
  return keepingHeartbeat(dir, async () => {
    const store = await openStore({ dir, clock: options.clock })
    try {
      return await switchIn(store, options)
    } finally {
      await store.close()
    }
  })
}

async function switchIn(store: Store, options: SwitchOptions): Promise<SwitchReport | null> {
  const { dir, fence } = store
  const log = openLogReader({ dir })
  const state = openStateWriter({ dir, fence })
  const heartbeat = setInterval(() => void store.heartbeatAside().catch(() => {}), HEARTBEAT_MS)
  try {
    const asked = planned(options.plans, log, state)
    await checkRetained(
      dir,
      asked.flatMap(({ record, topic, after }) =>
        record === null
          ? []
          : [
              {
                plan: after,
                pipelineId: record.id,
                topic: { ...topic, topicId: topic.id, slot: 0 },
                slot: 0,
              },
            ],
      ),
    )
    const switched: Switched[] = []
    for (const one of asked) {
      if (one.isUnchanged) continue
      const outcome = await outcomeOf(one, log, state, options)
      if (outcome === null) return null
      switched.push({ ...one, ...outcome })
    }
    if (!options.isDryRun && switched.length > 0) {
      state.transaction((txn) => {
        for (const one of switched) commit(txn, state, one, options.clock.nowMs())
      })
    }
    return reportOf(asked, switched, log, options)
  } finally {
    clearInterval(heartbeat)
    await state.close()
    await log.close()
  }
}

interface Asked {
  readonly after: PipelinePlan
  readonly topic: LogTopic
  /** Null: the store has no pipeline of that name. */
  readonly record: PipelineRecord | null
  readonly before: PipelinePlan | null
  readonly isUnchanged: boolean
}

interface Range {
  readonly partition: number
  readonly from: number
  readonly cut: number
}

/** What is committed of one stream (contract/streams.ts). */
interface StreamOutcome {
  readonly stream: number
  /** As of its progress: an offset, or entries that an owner has taken. */
  readonly position: number
  /** Region of the first detector's state. */
  readonly firstJudge: number
  readonly result: SwitchedStream
}

/** What is committed of what a partition has sent to owners. */
interface SentOutcome {
  readonly stream: number
  readonly position: number
  readonly sent: Sent
}

interface Outcome {
  readonly streams: readonly StreamOutcome[]
  readonly sent: readonly SentOutcome[]
}

interface Switched extends Asked, Outcome {
  readonly ranges: readonly Range[]
}

/** Every plan against what the store holds; throws all that forbids a switch at once. */
function planned(plans: readonly PipelinePlan[], log: LogReader, state: StateWriter): Asked[] {
  const faults: Fault[] = []
  const asked: Asked[] = []
  for (const after of plans) {
    const record = state.pipeline(after.name)
    const before = record === null ? null : (JSON.parse(record.planJson) as PipelinePlan)
    const topic = log.topicOf(after.topic.name)
    if (topic === null) {
      faults.push({
        place: `${after.name}.topic`,
        value: after.topic.name,
        problem: 'the log has no such topic, hence no history',
        remedy: `Start the pipeline: millrace run.`,
      })
      continue
    }
    const mismatch = before === null ? topicMismatch(topic, after.topic) : null
    if (mismatch !== null) throw mismatch
    const isUnchanged = record !== null && record.planHash === planHash(after)
    if (!isUnchanged) faults.push(...switchFaults(before, after))
    const past = record?.past?.length ?? 0
    if (!isUnchanged && past >= PAST_PLANS_MAX && keptPast(record!, state).length >= PAST_PLANS_MAX) {
      faults.push({
        place: after.name,
        value: past,
        problem: `results of ${PAST_PLANS_MAX} earlier plans are kept`,
        remedy: 'Wait until retention has deleted some, or start with --reset-state.',
      })
    }
    asked.push({ after, topic, record, before, isUnchanged })
  }
  if (faults.length === 0) return asked
  throw MillraceError.ofFaults(
    'PIPELINE_CHANGED',
    'the detectors cannot be switched; nothing was changed',
    faults,
  )
}

/** What a pipeline's streams are read and brought up by. */
interface Reading {
  readonly one: Asked
  readonly log: LogReader
  readonly state: StateWriter
  readonly warmFrom: ReplayPoint
  readonly feedback: FeedbackSource
  readonly breathe: (samples: number) => Promise<boolean>
}

/** Null: the signal came first. */
async function outcomeOf(
  one: Asked,
  log: LogReader,
  state: StateWriter,
  { warmFrom, signal, onProgress }: SwitchOptions,
): Promise<(Outcome & Pick<Switched, 'ranges'>) | null> {
  let total = 0
  const breathe = async (samples: number): Promise<boolean> => {
    total += samples
    onProgress?.(total, one.after.name)
    await new Promise(setImmediate)
    return !signal.aborted
  }
  const reading = { one, log, state, warmFrom, feedback: new FeedbackRows(log), breathe }
  const ranges = Array.from({ length: one.topic.partitions }, (_, partition) => rangeOf(reading, partition))
  const outcome = await (one.after.exchange === undefined ? inPartitions : spread)(reading, ranges)
  return outcome === null ? null : { ranges, ...outcome }
}

function rangeOf({ one: { topic, record }, log, state, warmFrom }: Reading, partition: number): Range {
  const startOffset = log.startOffset(topic.id, partition)
  const cut =
    record === null
      ? log.endOffset(topic.id, partition)
      : (state.progress(record.id, partition)?.position ?? startOffset)
  return { partition, from: Math.min(cut, firstOffset(log, topic, partition, warmFrom)), cut }
}

async function inPartitions(reading: Reading, ranges: readonly Range[]): Promise<Outcome | null> {
  const { one, log, state } = reading
  const { before, after, record, topic } = one
  const streams: StreamOutcome[] = []
  for (const range of ranges) {
    const { partition, cut } = range
    const result = await switchPartition({
      ...historyOf(reading, range),
      before,
      after,
      from: range.from,
      startOffset: log.startOffset(topic.id, partition),
      committed: record === null ? null : state.progress(record.id, partition),
      restore: (into) => record !== null && restoreInto(state, record, partition, into),
      alerts: alertsOf(one, state, partition),
      groupsMax: GROUPS_TOLD_MAX,
    })
    if (result === null) return null
    streams.push({ stream: partition, position: cut, firstJudge: REGION_JUDGES, result })
  }
  return { streams, sent: [] }
}

/** Groups lie with owners, which are given the history of all partitions: through files, as a replay does. */
async function spread(reading: Reading, ranges: readonly Range[]): Promise<Outcome | null> {
  const { one, log, state } = reading
  const { before, after, record, topic } = one
  assert(before !== null && record !== null, 'a new pipeline with spread groups was refused', after.name)
  const isWarmed = needsHistory(before, after)
  const streams: StreamOutcome[] = []
  const sent: SentOutcome[] = []
  const dir = mkdtempSync(join(tmpdir(), 'millrace-switch-'))
  const fileOf = (partition: number): string => join(dir, String(partition))
  try {
    for (const range of ranges) {
      const { partition, from, cut } = range
      const progress = state.progress(record.id, partition)
      const nextPartialSeq = state.progress(record.id, partialStream(before, partition))?.nextSeq ?? 0
      const history = historyOf(reading, range)
      const sender = await switchSender({
        ...history,
        before,
        startOffset: log.startOffset(topic.id, partition),
        committed: progress === null ? null : { ...progress, nextPartialSeq },
        restore: (into) => restoreInto(state, record, partition, into),
      })
      if (sender === null) return null
      streams.push({ stream: partition, position: cut, firstJudge: REGION_JUDGES, result: sender.result })
      sent.push({ stream: partialStream(after, partition), position: cut, sent: sender.sent })
      const spill = new SpillWriter(fileOf(partition))
      try {
        const group = spill.group.bind(spill)
        if (isWarmed && !(await sendHistory(history, after, from, group, spill.sink))) return null
        spill.flush()
      } finally {
        spill.close()
      }
    }
    for (let bucket = 0; bucket < after.exchange!.buckets; bucket++) {
      const owner = await ownerOf(reading, record, before, bucket, fileOf)
      if (owner === null) return null
      streams.push(owner)
    }
    return { streams, sent }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

async function ownerOf(
  { one, state, feedback, breathe }: Reading,
  record: PipelineRecord,
  before: PipelinePlan,
  bucket: number,
  fileOf: (partition: number) => string,
): Promise<StreamOutcome | null> {
  const { after, topic } = one
  const stream = ownerStream(after, bucket)
  const pipeline = { plan: before, pipelineId: record.id }
  const progressOf = (partition: number): Progress | null =>
    state.progress(record.id, partialStream(before, partition))
  const committed = state.progress(record.id, stream)
  const sent = Array.from({ length: topic.partitions }, (_, partition) => new SpillReader(fileOf(partition)))
  try {
    const result = await switchOwner({
      before,
      after,
      registry,
      feedback: heardOf(feedback, pipeline, state),
      bucket,
      committed,
      restore: (into) => restoreInto(state, record, stream, into),
      source: {
        ...sentTo(pipeline, state),
        entries: (partition, fromSeq) =>
          fromSeq >= (progressOf(partition)?.nextSeq ?? 0)
            ? []
            : state.entries(record.id, partialStream(before, partition), fromSeq, READ_LIMITS),
        frontierMs: (partition) => progressOf(partition)?.logMs ?? -Infinity,
      },
      history: {
        next: (partition) => sent[partition]!.next(),
        entry: (partition, seq) => sent[partition]!.entry(seq),
        groupKey: (partition, groupId) => sent[partition]!.groupKeys[groupId]!,
      },
      alerts: alertsOf(one, state, stream),
      groupsMax: GROUPS_TOLD_MAX,
      breathe: () => breathe(0),
    })
    if (result === null) return null
    return { stream, position: committed?.position ?? 0, firstJudge: REGION_OWNER_JUDGES, result }
  } finally {
    for (const reader of sent) reader.close()
  }
}

function historyOf(
  { one: { topic, record }, log, state, feedback, breathe }: Reading,
  { partition, cut }: Range,
): PartitionHistory {
  const letters = record === null ? [] : state.deadLetters(record.id, partition)
  const dead = new Set(letters.map(({ baseOffset }) => baseOffset))
  return { log, topicId: topic.id, registry, feedback, partition, cut, dead, breathe }
}

/** Current alerts of a stream. */
function alertsOf({ record }: Asked, state: StateWriter, stream: number): readonly Alert[] {
  if (record === null) return []
  return state
    .alerts(record.id)
    .map(({ json }) => JSON.parse(json) as Alert)
    .filter(({ id }) => Number(id.split('/').at(-3)) === stream)
}

function restoreInto(state: StateWriter, record: PipelineRecord, stream: number, into: Restorable): boolean {
  const found = state.restore(record.id, stream, (checkpoint, pages) => {
    into.restore(checkpoint.meta, pages)
    return true
  })
  return found ?? false
}

/** Of the oldest record that is wanted and still there. */
function firstOffset(log: LogReader, topic: LogTopic, partition: number, point: ReplayPoint): number {
  const start = log.startOffset(topic.id, partition)
  if (point.point === 'beginning') return start
  if (point.point === 'end') return log.endOffset(topic.id, partition)
  if (point.point === 'offset') return Math.max(start, point.offset)
  return log.offsetAtTime(topic.id, partition, point.timeMs)
}

/** Plans under which entries may still be kept. */
function keptPast(record: PipelineRecord, state: StateWriter): readonly PastPlan[] {
  return (record.past ?? []).filter(({ endSeqs }) =>
    endSeqs.some((endSeq, stream) => state.seqRange(record.id, stream).firstSeq < endSeq),
  )
}

function commit(
  txn: StateTransaction,
  state: StateWriter,
  { after, topic, record, streams: outcomes, sent: sendings }: Switched,
  nowMs: number,
): void {
  const streams = Array.from({ length: resultStreams(after) }, (_, stream) => stream)
  const past: readonly PastPlan[] =
    record === null
      ? []
      : [
          ...keptPast(record, state),
          {
            planJson: record.planJson,
            endSeqs: streams.map((stream) => state.progress(record.id, stream)?.nextSeq ?? 0),
          },
        ]
  const { id } = txn.putPipeline({
    name: after.name,
    topicId: topic.id,
    topic: topic.name,
    planHash: planHash(after),
    planJson: JSON.stringify(after),
    ...(past.length === 0 ? {} : { past }),
  })
  // Silences hold for what a switch tells as for what a node does.
  const silences = new SilenceKeeper([id], state)
  silences.advance(txn, nowMs, (_, stream) => state.progress(id, stream)?.nextSeq ?? 0)
  for (const { stream, position, firstJudge, result } of outcomes) {
    const { meta, nextSeq, ledger, pages, groups, entries } = result
    txn.removePages(id, stream, firstJudge, REGION_ROUTES)
    for (const { groupId, key } of groups) txn.putGroup(id, stream, groupId, key)
    for (const { seq, kind, causeOffset, eventTimeMs, bytes } of entries) {
      txn.putEntry(id, stream, seq, kind, causeOffset, eventTimeMs, bytes)
      if (kind !== ENTRY_ALERT) continue
      const json = Buffer.from(bytes).toString()
      const alert = JSON.parse(json) as Alert
      if (alert.state === 'resolved') txn.removeAlert(id, alert.id)
      else txn.putAlert(id, alert.id, json)
      silences.committed(txn, id, stream, seq, alert)
    }
    for (const { region, index, cells } of pages) txn.putPage(id, stream, region, index, cells)
    txn.putProgress(id, stream, { position, nextSeq, ledger })
    txn.putCheckpoint(id, stream, { position, nextSeq, meta })
  }
  for (const { stream, position, sent } of sendings) {
    for (const { seq, kind, causeOffset, eventTimeMs, bytes } of sent.entries)
      txn.putEntry(id, stream, seq, kind, causeOffset, eventTimeMs, bytes)
    const logMs = sent.logMs === null ? {} : { logMs: sent.logMs }
    txn.putProgress(id, stream, { position, nextSeq: sent.nextSeq, ledger: emptyLedger(), ...logMs })
  }
}

function reportOf(
  asked: readonly Asked[],
  switched: readonly Switched[],
  log: LogReader,
  { isDryRun, warmFrom }: SwitchOptions,
): SwitchReport {
  const pipelines = asked.map((one): SwitchedPipeline => {
    const done = switched.find(({ after }) => after === one.after)
    const name = one.after.name
    if (done === undefined) {
      const alerts = { goesOn: 0, ended: 0, begun: 0 }
      return { name, outcome: 'unchanged', changes: [], partitions: [], detectors: [], groups: 0, alerts }
    }
    return pipelineReport(done, log)
  })
  const isShort =
    warmFrom.point === 'time' &&
    pipelines.some(({ partitions }) => {
      const first = Math.min(...partitions.map(({ fromLogMs }) => fromLogMs ?? Infinity))
      return partitions.length > 0 && first > warmFrom.timeMs
    })
  return { isDryRun, isShort, pipelines }
}

function pipelineReport(
  { after, before, topic, ranges, streams }: Switched,
  log: LogReader,
): SwitchedPipeline {
  const kept = before === null ? new Set<string>() : keptDetectors(before, after)
  // Where groups are spread, those of partitions judge nothing.
  const judging = after.exchange === undefined ? streams : streams.slice(topic.partitions)
  const results = judging.map(({ result }) => result)
  const sum = (of: (result: SwitchedStream) => number): number =>
    results.reduce((total, result) => total + of(result), 0)
  const detectors = after.detectors.map(({ name, column }): SwitchedDetector => {
    const isKept = kept.has(name)
    const judges = !isKept && column !== null
    const was = before?.detectors.some((detector) => detector.name === name) ?? false
    const warming = results.flatMap((result) => result.warming.filter(({ detector }) => detector === name))
    return {
      name,
      outcome: isKept ? 'kept' : was ? 'changed' : 'new',
      windows: judges ? Math.max(0, ...results.map(({ windows }) => windows)) : 0,
      rows: judges ? sum(({ rows }) => rows) : 0,
      warming: warming.reduce((total, { count }) => total + count, 0),
      warmingGroups: warming.flatMap(({ groups }) => groups).slice(0, GROUPS_TOLD_MAX),
    }
  })
  const gone = (before?.detectors ?? [])
    .filter(({ name }) => !after.detectors.some((detector) => detector.name === name))
    .map(
      ({ name }): SwitchedDetector => ({
        name,
        outcome: 'gone',
        windows: 0,
        rows: 0,
        warming: 0,
        warmingGroups: [],
      }),
    )
  return {
    name: after.name,
    outcome: before === null ? 'new' : 'switched',
    changes: before === null ? [] : changesOf(before, after),
    partitions: ranges.map(({ partition, from, cut }) => ({
      partition,
      from,
      cut,
      fromLogMs: from === cut ? null : logMsAt(log, topic, partition, from),
    })),
    detectors: [...detectors, ...gone],
    groups: sum(({ groupCount }) => groupCount),
    alerts: {
      goesOn: sum(({ alerts }) => alerts.goesOn),
      ended: sum(({ alerts }) => alerts.ended),
      begun: sum(({ alerts }) => alerts.begun),
    },
  }
}

/** Those of detectors that are new or gone say nothing that their names do not. */
function changesOf(before: PipelinePlan, after: PipelinePlan): readonly string[] {
  const names = ({ detectors }: PipelinePlan): readonly string[] => detectors.map(({ name }) => name)
  const both = names(before).filter((name) => names(after).includes(name))
  return planDifference(before, after)
    .filter(({ path }) => both.some((name) => path.startsWith(`detectors.${name}.`)))
    .map(({ text }) => text)
}

function logMsAt(log: LogReader, topic: LogTopic, partition: number, offset: number): number {
  const buffer = new ArrayBuffer((BATCH_BYTES_MAX + 7) & ~7)
  const length = log.read(topic.id, partition, offset, buffer)
  assert(length > 0, 'history lies in the log', topic.name, partition, offset)
  return new BatchView(buffer).point(0).appendedMs
}
