/**
 * A switch of detectors in one partition: what its state, entries and alerts are from the committed offset on. The windows are
 * brought up to that offset and stay as they are; the new detectors are those of a chain that has taken the history up
 * to there, in silence. Reads the log, and what the caller hands in; the caller commits (workers/switch.ts). Groups that are
 * spread over partitions: switch-spread.ts.
 *
 * Guarantee: from the offset on, the chain makes what one would make that has run with the new plan over that history all along,
 * but for alerts that go on under the old one's identity (switch-alerts.ts). The result is a function of the log, the two
 * plans and the state.
 */
import type { Alert } from '../contract/alert.ts'
import type { EntrySink } from '../contract/entries.ts'
import type { FeedbackSource } from '../contract/feedback.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { Registry } from '../contract/plugins.ts'
import type { LogReader } from '../store/log-contract.ts'
import { assert } from '../util/assert.ts'
import { Chain, REGION_JUDGES } from './chain.ts'
import { type ReplayPipeline, replayPartition } from './replay.ts'
import { keptDetectors, needsHistory } from './switch-plan.ts'
import {
  assertSame,
  type Committed,
  pagesUnder,
  Recorder,
  type Restorable,
  type SwitchedStream,
  switchStream,
} from './switch-stream.ts'

/** What is read of one partition, and how. */
export interface PartitionHistory {
  readonly log: Pick<LogReader, 'scan' | 'seriesKey'>
  readonly topicId: number
  readonly registry: Registry
  /** What people said of alerts: of a detector that keeps its name it holds on. */
  readonly feedback: FeedbackSource
  readonly partition: number
  /** The committed offset. */
  readonly cut: number
  readonly dead: ReadonlySet<number>
  /** After every few MiB of the log, with samples taken: other work may be done. False: give up. */
  readonly breathe: (samples: number) => Promise<boolean>
}

export interface PartitionSwitch extends PartitionHistory {
  /** Null: the pipeline is new, and begins at `cut` with windows that history has begun. */
  readonly before: PipelinePlan | null
  readonly after: PipelinePlan
  /** History that the new detectors are given: offsets [from, cut). */
  readonly from: number
  /** Where a chain without a checkpoint begins. */
  readonly startOffset: number
  /** Null: nothing was. */
  readonly committed: Committed | null
  /** Restores the checkpoint into what is given; false: there is none. */
  readonly restore: (into: Restorable) => boolean
  /** Current alerts of this partition. */
  readonly alerts: readonly Alert[]
  /** Groups that still warm up, told by name, a detector. */
  readonly groupsMax: number
}

/** Reads of the log between two breaths: about a MiB each. */
const READS_A_BREATH = 8

/** Null: it was given up. */
export async function switchPartition(options: PartitionSwitch): Promise<SwitchedStream | null> {
  const { before, after, cut, committed, alerts, groupsMax, partition } = options
  const kept = before === null ? new Set<string>() : keptDetectors(before, after)
  const heard = new Recorder()
  let warmed: Chain | null = null
  if (before === null || needsHistory(before, after)) {
    const seat = { plan: after, sink: NO_SINK }
    warmed = await chainOver(options, options.from, seat, (from) =>
      chainOf(options, after, from, { sink: heard }),
    )
    if (warmed === null) return null
  }
  const told = before === null ? heard : new Recorder()
  const at = before === null ? warmed! : await windowsOf(options, before, kept, told)
  if (at === null) return null
  assert(at.position === cut, 'the state stands at the committed offset', at.position, cut)
  // Transitions that no record has caused: their cause is the newest one.
  const cause = cut - 1
  return switchStream({
    after,
    stream: partition,
    kept,
    at,
    told,
    warmed,
    heard,
    cause,
    committed,
    alerts,
    groupsMax,
  })
}

/** The old windows and the detectors that are kept, under the new plan, at the committed offset. Null: it was given up. */
async function windowsOf(
  options: PartitionSwitch,
  before: PipelinePlan,
  kept: ReadonlySet<string>,
  sink: EntrySink,
): Promise<Chain | null> {
  const { after, committed } = options
  const chain = chainOf(options, after, options.startOffset, { sink })
  options.restore({
    restore(meta, pages) {
      chain.restore(meta, pagesUnder({ before, after }, kept, REGION_JUDGES, pages))
    },
  })
  const done = await chainOver(options, chain.position, { plan: after, sink: NO_SINK }, () => chain)
  if (done !== null && committed !== null)
    assertSame(chain.ledger, committed.ledger, after.name, options.partition)
  return done
}

/** A fresh chain of a plan over this history. */
export function chainOf(
  { log, topicId, registry, partition, feedback }: PartitionHistory,
  plan: PipelinePlan,
  startOffset: number,
  sinks: Pick<ReplayPipeline, 'sink' | 'partialSink'>,
): Chain {
  const keyOf = (seriesId: number): Uint8Array => {
    const key = log.seriesKey(topicId, seriesId)
    assert(key !== null, 'a series is stored before its samples', topicId, seriesId)
    return key
  }
  return new Chain({ plan, registry, partition, keyOf, startOffset, feedback, ...sinks })
}

/** A chain that has taken [from, cut), in pieces. Null: it was given up. */
export async function chainOver(
  history: PartitionHistory,
  from: number,
  seat: Omit<ReplayPipeline, 'chain' | 'dead'>,
  make: (startOffset: number) => Chain,
): Promise<Chain | null> {
  const { log, topicId, registry, partition, cut, dead, breathe } = history
  const held: { chain: Chain | null } = { chain: null }
  for (let samples = 0; ; ) {
    let reads = READS_A_BREATH
    const isDone = replayPartition({
      log,
      topicId,
      registry,
      range: { partition, from: held.chain?.position ?? from, to: cut },
      pipelines: [
        {
          ...seat,
          dead,
          chain(startOffset) {
            held.chain ??= make(startOffset)
            return held.chain
          },
        },
      ],
      goesOn: () => --reads > 0,
    })
    const { chain } = held
    assert(chain !== null, 'a replay makes its chain', topicId, partition)
    if (!(await breathe(chain.ledger.in - samples))) return null
    samples = chain.ledger.in
    if (isDone) return chain
  }
}

export const NO_SINK: EntrySink = { group() {}, entry() {} }
