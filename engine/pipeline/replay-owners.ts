/**
 * The receiving half of a replay whose groups are spread over partitions: what the chains of all partitions have sent
 * (replay.ts) goes to the owners of the groups that a node runs. Guarantee: what comes out is a function of what was
 * sent; how owners are spread over threads does not show. Memory: what the owners hold, which is bounded
 * (PENDING_BYTES_MAX a partition, PARTS_BYTES_MAX an owner); beyond it they read the source again.
 */
import type { EntrySink, Ledger } from '../contract/entries.ts'
import type { FeedbackSource } from '../contract/feedback.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { Registry } from '../contract/plugins.ts'
import type { Entry } from '../store/state-contract.ts'
import { assert } from '../util/assert.ts'
import { Merger, type MergerOptions, type MergeSource } from './merger.ts'

/** Entries of one partition that are offered before the others get their turn. */
const ENTRIES_A_TURN = 1_024

/** What the chains of one pipeline have sent. */
export interface SentPartials extends MergeSource {
  /** The partition's next entry, in order; null: that was the last. */
  next(partition: number): Entry | null
}

export interface OwnersReplay {
  readonly plan: PipelinePlan
  readonly registry: Registry
  /** Owners that read the source together. */
  readonly owners: readonly { readonly bucket: number; readonly sink: EntrySink }[]
  readonly sent: SentPartials
  /** Called after every turn, with the owners' ledgers in their order; false: stop here. */
  readonly goesOn: (ledgers: readonly Ledger[]) => boolean
  readonly feedback?: FeedbackSource
  readonly memory?: Pick<MergerOptions, 'pendingBytesMax' | 'partsBytesMax'>
}

/** True: all that was sent is merged as far as it can be; false: it was stopped. */
export function replayOwners(replay: OwnersReplay): boolean {
  const { plan, registry, owners, sent, goesOn } = replay
  const said = replay.feedback === undefined ? {} : { feedback: replay.feedback }
  const mergers = owners.map(
    ({ bucket, sink }) =>
      new Merger({ plan, registry, bucket, sink, source: sent, ...said, ...replay.memory }),
  )
  const ledgers = mergers.map(({ ledger }) => ledger)
  for (const _ of mergeSent(mergers, sent, plan.topic.partitions)) if (!goesOn(ledgers)) return false
  return true
}

/** Gives owners all that was sent, turn by turn. */
export function* mergeSent(
  mergers: readonly Merger[],
  sent: SentPartials,
  partitions: number,
): Generator<void> {
  const open = new Set(Array.from({ length: partitions }, (_, partition) => partition))
  while (open.size > 0) {
    let offered = 0
    for (const partition of open) {
      for (let n = 0; n < ENTRIES_A_TURN && mergers.every((merger) => merger.wants(partition)); n++) {
        offered++
        const entry = sent.next(partition)
        if (entry === null) {
          // All chains stand at one log time (PartitionReplay.endLogMs), and nothing follows.
          for (const merger of mergers) merger.frontier(partition, Infinity)
          open.delete(partition)
          break
        }
        for (const merger of mergers) merger.offer(partition, entry)
      }
    }
    for (const merger of mergers) merger.advance()
    assert(offered > 0, 'somebody is always wanted', ...open)
    yield
  }
}
