/**
 * Switches live pipelines to other detectors at the offset they have committed, with what history tells them: `millrace
 * switch`. The store's owner does it, hence no node runs. What comes of it is computed first, partition by partition,
 * and then committed in one transaction: state, entries, alerts, progress and plan. A crash leaves all of the old or
 * all of the new. Memory: one chain for reading, and the state of the pipelines that are switched, as a node holds it.
 */
import { BatchView } from '../engine/batch/batch-view.ts'
import { BATCH_BYTES_MAX } from '../engine/batch/layout.ts'
import { SilenceKeeper } from '../engine/broker/silence-keeper.ts'
import type { Alert } from '../engine/contract/alert.ts'
import { ENTRY_ALERT } from '../engine/contract/entries.ts'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import type { Labels } from '../engine/contract/samples.ts'
import { resultStreams } from '../engine/contract/streams.ts'
import { REGION_JUDGES, REGION_ROUTES } from '../engine/pipeline/chain.ts'
import { planDifference, planHash } from '../engine/pipeline/plan-difference.ts'
import type { ReplayPoint } from '../engine/pipeline/replay-range.ts'
import { type SwitchedPartition, switchPartition } from '../engine/pipeline/switch-partition.ts'
import { keptDetectors, switchFaults } from '../engine/pipeline/switch-plan.ts'
import { FeedbackRows } from '../engine/store/feedback/feedback-rows.ts'
import type { LogReader, LogTopic } from '../engine/store/log-contract.ts'
import { openLogReader } from '../engine/store/log-store.ts'
import { keepingHeartbeat } from '../engine/store/owner.ts'
import { storeAt } from '../engine/store/place.ts'
import type {
  PastPlan,
  PipelineRecord,
  StateTransaction,
  StateWriter,
} from '../engine/store/state-contract.ts'
import { openStateWriter } from '../engine/store/state-store.ts'
import { openStore, type Store } from '../engine/store/store.ts'
import { topicMismatch } from '../engine/store/topic-mismatch.ts'
import { assert } from '../engine/util/assert.ts'
import type { Clock } from '../engine/util/clock.ts'
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
  /** Windows of the history that it judged, in the partition that has most of them, and rows in those of all. */
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
      const partitions = await partitionsOf(one, log, state, options)
      if (partitions === null) return null
      switched.push({ ...one, partitions })
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

interface Switched extends Asked {
  readonly partitions: readonly (Range & { readonly result: SwitchedPartition })[]
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

/** Null: the signal came first. */
async function partitionsOf(
  { after, before, topic, record }: Asked,
  log: LogReader,
  state: StateWriter,
  { warmFrom, signal, onProgress }: SwitchOptions,
): Promise<Switched['partitions'] | null> {
  const partitions: Switched['partitions'][number][] = []
  const feedback = new FeedbackRows(log)
  const current = record === null ? [] : state.alerts(record.id).map(({ json }) => JSON.parse(json) as Alert)
  let total = 0
  const breathe = async (samples: number): Promise<boolean> => {
    total += samples
    onProgress?.(total, after.name)
    await new Promise(setImmediate)
    return !signal.aborted
  }
  for (let partition = 0; partition < topic.partitions; partition++) {
    const startOffset = log.startOffset(topic.id, partition)
    const progress = record === null ? null : state.progress(record.id, partition)
    const cut = record === null ? log.endOffset(topic.id, partition) : (progress?.position ?? startOffset)
    const from = Math.min(cut, firstOffset(log, topic, partition, warmFrom))
    const dead = record === null ? [] : state.deadLetters(record.id, partition)
    const result = await switchPartition({
      log,
      topicId: topic.id,
      registry,
      feedback,
      partition,
      before,
      after,
      from,
      cut,
      startOffset,
      committed: progress,
      restore: (into) => record !== null && restoreInto(state, record, partition, into),
      alerts: current.filter(({ id }) => Number(id.split('/').at(-3)) === partition),
      dead: new Set(dead.map(({ baseOffset }) => baseOffset)),
      groupsMax: GROUPS_TOLD_MAX,
      breathe,
    })
    if (result === null) return null
    partitions.push({ partition, from, cut, result })
  }
  return partitions
}

function restoreInto(
  state: StateWriter,
  record: PipelineRecord,
  partition: number,
  into: Parameters<Parameters<typeof switchPartition>[0]['restore']>[0],
): boolean {
  const found = state.restore(record.id, partition, (checkpoint, pages) => {
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
  { after, topic, record, partitions }: Switched,
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
  for (const { partition, cut, result } of partitions) {
    const { meta, nextSeq, ledger, pages, groups, entries } = result
    txn.removePages(id, partition, REGION_JUDGES, REGION_ROUTES)
    for (const { groupId, key } of groups) txn.putGroup(id, partition, groupId, key)
    for (const { seq, kind, causeOffset, eventTimeMs, bytes } of entries) {
      txn.putEntry(id, partition, seq, kind, causeOffset, eventTimeMs, bytes)
      if (kind !== ENTRY_ALERT) continue
      const json = Buffer.from(bytes).toString()
      const alert = JSON.parse(json) as Alert
      if (alert.state === 'resolved') txn.removeAlert(id, alert.id)
      else txn.putAlert(id, alert.id, json)
      silences.committed(txn, id, partition, seq, alert)
    }
    for (const { region, index, cells } of pages) txn.putPage(id, partition, region, index, cells)
    txn.putProgress(id, partition, { position: cut, nextSeq, ledger })
    txn.putCheckpoint(id, partition, { position: cut, nextSeq, meta })
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

function pipelineReport({ after, before, topic, partitions }: Switched, log: LogReader): SwitchedPipeline {
  const kept = before === null ? new Set<string>() : keptDetectors(before, after)
  const results = partitions.map(({ result }) => result)
  const sum = (of: (result: SwitchedPartition) => number): number =>
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
    partitions: partitions.map(({ partition, from, cut }) => ({
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
