/**
 * Recomputes pipelines over a range of one partition of the log, at full speed: the chains that a node runs, fed by reads
 * alone. Guarantee: what comes out is a function of the records in the range and of the plans; record sizes, threads and
 * interruptions do not show (a LATE entry excepted: it lists the late samples of one record). Reads only, so it may run
 * beside the node that owns the store. Memory: one chain a pipeline; entries are handed on as they come.
 *
 * Where a plan has an exchange, this is the sending half: its chains send their slices to a sink of their own, which
 * replay-owners.ts merges once every partition is through.
 */
import { sealBatch } from '../batch/batch-encoder.ts'
import { BatchView } from '../batch/batch-view.ts'
import { BATCH_BYTES_MAX, batchBytes } from '../batch/layout.ts'
import type { EntrySink, Ledger } from '../contract/entries.ts'
import { MillraceError } from '../contract/errors.ts'
import type { FeedbackSource } from '../contract/feedback.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { Registry } from '../contract/plugins.ts'
import { RECORD_TICK } from '../contract/samples.ts'
import type { LogReader } from '../store/log-contract.ts'
import { assert } from '../util/assert.ts'
import { Chain } from './chain.ts'
import type { PartitionRange } from './replay-range.ts'

export interface ReplayPipeline {
  readonly plan: PipelinePlan
  readonly sink: EntrySink
  /** Where the plan has an exchange: takes what goes to the owners of groups. */
  readonly partialSink?: EntrySink
  /** Base offsets of records that are passed over: recorded dead letters. */
  readonly dead?: ReadonlySet<number>
  /** The chain to use, told the first offset that it is to take; left out: a new one. */
  readonly chain?: (startOffset: number) => Chain
}

export interface PartitionReplay {
  readonly log: Pick<LogReader, 'scan' | 'seriesKey'>
  readonly topicId: number
  readonly range: PartitionRange
  /** All read this topic. */
  readonly pipelines: readonly ReplayPipeline[]
  readonly registry: Registry
  /**
   * With an exchange: log time of the newest record in the ranges of all partitions. A chain is brought to it by a tick
   * after its last record, as a node brings a quiet partition: without it owners would wait for ever for one that the
   * log left behind.
   */
  readonly endLogMs?: number
  /** What people said of alerts, as the log has it: replayed with the records. */
  readonly feedback?: FeedbackSource
  /** Called every MiB or so of the log with the next offset; false: stop here. */
  readonly goesOn: (offset: number, ledgers: readonly Ledger[]) => boolean
}

interface Seat {
  readonly pipeline: ReplayPipeline
  readonly chain: Chain
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
  const said = replay.feedback === undefined ? {} : { feedback: replay.feedback }
  let seats: readonly Seat[] | null = null
  let ledgers: readonly Ledger[] = []
  const seat = (startOffset: number): readonly Seat[] =>
    pipelines.map((pipeline) => {
      const { plan, sink, partialSink } = pipeline
      const sinks = partialSink === undefined ? { sink } : { sink, partialSink }
      const chain =
        pipeline.chain?.(startOffset) ??
        new Chain({ plan, registry, partition, keyOf, startOffset, ...sinks, ...said })
      return { pipeline, chain }
    })
  const take = (): void => {
    view.point(0)
    if (seats === null) {
      // The record that holds the offset asked for is taken whole.
      seats = seat(view.baseOffset)
      ledgers = seats.map(({ chain }) => chain.ledger)
    }
    for (const { pipeline, chain } of seats) takeRecord(pipeline, chain, view)
  }
  let next = range.from
  while (next < to) {
    const before = next
    next = log.scan(topicId, partition, next, to, buffer, take)
    assert(next > before, 'the log holds what its ends say', topicId, partition, before)
    if (!goesOn(next, ledgers)) return false
  }
  // A partition without a record in the range has owners that wait for it all the same.
  for (const { pipeline, chain } of seats ?? seat(range.from)) {
    if (pipeline.partialSink !== undefined) bringUpTo(chain, topicId, partition, replay.endLogMs ?? -Infinity)
  }
  return true
}

function takeRecord({ plan, dead }: ReplayPipeline, chain: Chain, view: BatchView): void {
  if (dead?.has(view.baseOffset) === true) {
    chain.skip(view)
    return
  }
  try {
    chain.process(view)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new MillraceError(
      'WORKER_FAILED',
      `pipeline ${JSON.stringify(plan.name)} fails over the record at offset ${view.baseOffset} of partition ` +
        `${view.partition}: ${reason}. If a node runs it, wait until it has made the record a dead letter and replay ` +
        'without --with-dead-letters, or leave the record out with --from and --to.',
      { cause: error },
    )
  }
}

function bringUpTo(chain: Chain, topicId: number, partition: number, logMs: number): void {
  if (!(chain.logMs < logMs)) return
  const buffer = new ArrayBuffer((batchBytes(0) + 7) & ~7)
  sealBatch(new Uint8Array(buffer), new DataView(buffer), {
    kind: RECORD_TICK,
    topicId,
    partition,
    baseOffset: chain.position,
    count: 0,
    minTimestampMs: 0,
    maxTimestampMs: 0,
    appendedMs: logMs,
    producerId: 0,
    producerEpoch: 0,
    baseSequence: -1,
  })
  chain.process(new BatchView(buffer).point(0))
}
