/**
 * A switch of detectors where groups are spread over partitions. The chains of the partitions judge nothing: each is brought to
 * its committed offset under the old plan, and goes on from there. Detectors are with the owners of groups (merger.ts), and
 * an owner stands at an instant of log time, not at an offset: it is brought to the instant that it has committed, by what
 * partitions have sent; and one with the new detectors is given the history of all partitions up to that very instant, in the
 * two rounds of a replay (replay.ts, replay-owners.ts). Reads what the caller hands in; the caller commits.
 *
 * Guarantee: that of switch-partition.ts, from the owner's instant on. What partitions had sent and it had not taken yet, the
 * new detectors judge.
 */
import type { Alert } from '../contract/alert.ts'
import type { EntrySink } from '../contract/entries.ts'
import type { FeedbackSource } from '../contract/feedback.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { Registry } from '../contract/plugins.ts'
import { ownerStream } from '../contract/streams.ts'
import type { Entry, Progress } from '../store/state-contract.ts'
import { assert } from '../util/assert.ts'
import { logMsOf } from './inlet.ts'
import { Merger, type MergeSource, REGION_OWNER_JUDGES } from './merger.ts'
import { mergeSent, type SentPartials } from './replay-owners.ts'
import { chainOf, chainOver, NO_SINK, type PartitionHistory } from './switch-partition.ts'
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

export interface SenderSwitch extends PartitionHistory {
  readonly before: PipelinePlan
  readonly startOffset: number
  /** With the number of the next entry to owners. Null: nothing was. */
  readonly committed: (Committed & { readonly nextPartialSeq: number }) | null
  readonly restore: (into: Restorable) => boolean
}

/** What a partition has sent to owners by the committed offset. */
export interface Sent {
  readonly nextSeq: number
  /** Log time of the newest record; null: there is none. */
  readonly logMs: number | null
  /** Entries that were not known to be committed. */
  readonly entries: readonly Entry[]
}

/** A partition's part: a checkpoint at the committed offset, and nothing to tell. Null: it was given up. */
export async function switchSender(
  options: SenderSwitch,
): Promise<{ readonly result: SwitchedStream; readonly sent: Sent } | null> {
  const { before: plan, partition, committed, startOffset } = options
  const again = new Recorder()
  again.isKept = true
  const sinks = { sink: NO_SINK, partialSink: again }
  const chain = chainOf(options, plan, startOffset, sinks)
  options.restore(chain)
  const at = await chainOver(options, chain.position, { plan, ...sinks }, () => chain)
  if (at === null) return null
  if (committed !== null) {
    assertSame(chain.ledger, committed.ledger, plan.name, partition)
    // A partition's progress may be committed before that of what it has sent (workers/shard.ts).
    assert(chain.nextPartialSeq >= committed.nextPartialSeq, 'what was sent is sent again', plan.name)
  }
  const result = switchStream({
    after: { ...plan, detectors: [] },
    stream: partition,
    kept: NONE,
    at: chain,
    told: new Recorder(),
    warmed: null,
    heard: new Recorder(),
    cause: chain.position - 1,
    committed,
    alerts: [],
    groupsMax: 0,
  })
  const known = committed?.nextPartialSeq ?? 0
  const { logMs, nextPartialSeq: nextSeq } = chain
  const entries = again.entries.filter(({ seq }) => seq >= known)
  return { result, sent: { nextSeq, logMs: logMs === -Infinity ? null : logMs, entries } }
}

/** Sends what a partition would have sent to owners under the new plan, over [from, cut). False: it was given up. */
export async function sendHistory(
  history: PartitionHistory,
  after: PipelinePlan,
  from: number,
  groups: EntrySink['group'],
  partialSink: EntrySink,
): Promise<boolean> {
  const sinks = { sink: { group: groups, entry() {} }, partialSink }
  const sent = await chainOver(history, from, { plan: after, ...sinks }, (startOffset) =>
    chainOf(history, after, startOffset, sinks),
  )
  return sent !== null
}

export interface OwnerSwitch {
  readonly before: PipelinePlan
  readonly after: PipelinePlan
  readonly registry: Registry
  readonly feedback: FeedbackSource
  readonly bucket: number
  /** Null: it has taken nothing yet. */
  readonly committed: Progress | null
  readonly restore: (into: Restorable) => boolean
  /** What partitions have sent and was committed. */
  readonly source: MergeSource & {
    /** Entries from a number on, in order, some at a time; none: that was the last. */
    entries(partition: number, fromSeq: number): readonly Entry[]
    /** Log time that they stand for: every entry of a time before it is among them. */
    frontierMs(partition: number): number
  }
  /** What history sends under the new plan (`sendHistory`), from its beginning. */
  readonly history: SentPartials
  readonly alerts: readonly Alert[]
  readonly groupsMax: number
  /** Now and then: other work may be done. False: give up. */
  readonly breathe: () => Promise<boolean>
}

/** Null: it was given up. */
export async function switchOwner(options: OwnerSwitch): Promise<SwitchedStream | null> {
  const { before, after, bucket, history, breathe, committed, alerts, groupsMax } = options
  const kept = keptDetectors(before, after)
  const told = new Recorder()
  const at = await committedOwner(options, kept, told)
  if (at === null) return null
  const heard = new Recorder()
  let warmed: Merger | null = null
  if (needsHistory(before, after)) {
    warmed = ownerOf(options, heard, history)
    const upTo: SentPartials = {
      groupKey: (partition, groupId) => history.groupKey(partition, groupId),
      entry: (partition, seq) => history.entry(partition, seq),
      next(partition) {
        const entry = history.next(partition)
        return entry === null || logMsOf(entry) > at.logMs ? null : entry
      },
    }
    for (const _ of mergeSent([warmed], upTo, after.topic.partitions)) if (!(await breathe())) return null
    assert(warmed.logMs <= at.logMs, 'history ends where the owner stands', after.name, bucket)
  }
  return switchStream({
    after,
    stream: ownerStream(after, bucket),
    kept,
    at,
    told,
    warmed,
    heard,
    // Entries of an owner have an instant for their cause.
    cause: at.logMs,
    committed,
    alerts,
    groupsMax,
  })
}

function ownerOf(
  { after: plan, registry, bucket, feedback }: OwnerSwitch,
  sink: EntrySink,
  source: MergeSource,
): Merger {
  return new Merger({ plan, registry, bucket, sink, source, feedback })
}

/** The owner's windows and the detectors that are kept, under the new plan, at the instant committed. Null: it was given up. */
async function committedOwner(
  options: OwnerSwitch,
  kept: ReadonlySet<string>,
  told: Recorder,
): Promise<Merger | null> {
  const { before, after, source, committed, breathe, bucket } = options
  const merger = ownerOf(options, told, source)
  options.restore({
    restore(meta, pages) {
      merger.restore(meta, pagesUnder({ before, after }, kept, REGION_OWNER_JUDGES, pages))
    },
  })
  const target = committed?.position ?? 0
  const nextSeqs = Array.from({ length: before.topic.partitions }, (_, partition) => merger.cursor(partition))
  while (merger.position < target) {
    const stood = merger.position
    let offered = 0
    for (const [partition, seq] of nextSeqs.entries()) {
      if (!merger.wants(partition)) continue
      const entries = source.entries(partition, seq)
      for (const entry of entries) merger.offer(partition, entry)
      offered += entries.length
      if (entries.length === 0) merger.frontier(partition, source.frontierMs(partition))
      else nextSeqs[partition] = entries.at(-1)!.seq + 1
    }
    merger.advance(target)
    assert(
      offered > 0 || merger.position > stood,
      'what was committed can be taken again',
      after.name,
      bucket,
    )
    if (!(await breathe())) return null
  }
  assert(merger.position === target, 'an owner stands at the instant committed', merger.position, target)
  if (committed !== null) assertSame(merger.ledger, committed.ledger, after.name, bucket)
  return merger
}

const NONE: ReadonlySet<string> = new Set()
