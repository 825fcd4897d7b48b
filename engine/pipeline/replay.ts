/**
 * Recomputes pipelines over a range of one partition of the log, at full speed: the chains that a node runs, fed by reads
 * alone. Guarantee: what comes out is a function of the records in the range and of the plans; record sizes, threads and
 * interruptions do not show (a LATE entry excepted: it lists the late samples of one record). Reads only, so it may run
 * beside the node that owns the store. Memory: one chain a pipeline; entries are handed on as they come.
 */
import { BatchView } from '../batch/batch-view.ts'
import { BATCH_BYTES_MAX } from '../batch/layout.ts'
import type { EntrySink, Ledger } from '../contract/entries.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { Registry } from '../contract/plugins.ts'
import type { LogReader } from '../store/log-contract.ts'
import { assert } from '../util/assert.ts'
import { Chain } from './chain.ts'
import type { PartitionRange } from './replay-range.ts'

export interface ReplayPipeline {
  readonly plan: PipelinePlan
  readonly sink: EntrySink
}

export interface PartitionReplay {
  readonly log: Pick<LogReader, 'scan' | 'seriesKey'>
  readonly topicId: number
  readonly range: PartitionRange
  /** All read this topic. */
  readonly pipelines: readonly ReplayPipeline[]
  readonly registry: Registry
  /** Called every MiB or so of the log with the next offset; false: stop here. */
  readonly goesOn: (offset: number, ledgers: readonly Ledger[]) => boolean
}

/** True: all of the range is done; false: it was stopped. */
export function replayPartition(replay: PartitionReplay): boolean {
  const { log, topicId, range, pipelines, registry, goesOn } = replay
  const { partition, to } = range
  const buffer = new ArrayBuffer((BATCH_BYTES_MAX + 7) & ~7)
  const view = new BatchView(buffer)
  const keyOf = (seriesId: number): Uint8Array => {
    const key = log.seriesKey(topicId, seriesId)
    assert(key !== null, 'a series is stored before its samples', topicId, seriesId)
    return key
  }
  let chains: readonly Chain[] | null = null
  let ledgers: readonly Ledger[] = []
  const seat = (startOffset: number): readonly Chain[] =>
    pipelines.map(({ plan, sink }) => new Chain({ plan, registry, partition, keyOf, sink, startOffset }))
  const take = (): void => {
    view.point(0)
    if (chains === null) {
      // The record that holds the offset asked for is taken whole.
      chains = seat(view.baseOffset)
      ledgers = chains.map((chain) => chain.ledger)
    }
    for (const chain of chains) chain.process(view)
  }
  let next = range.from
  while (next < to) {
    const before = next
    next = log.scan(topicId, partition, next, to, buffer, take)
    assert(next > before, 'the log holds what its ends say', topicId, partition, before)
    if (!goesOn(next, ledgers)) return false
  }
  return true
}
