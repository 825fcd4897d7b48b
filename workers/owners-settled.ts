/** Whether the owners of spread groups are through with all that partitions have sent them: the end of a bounded input. */
import type { Board } from '../engine/broker/node-board.ts'
import { ownerStream, partialStream } from '../engine/contract/streams.ts'
import type { StateReader } from '../engine/store/state-contract.ts'
import type { Prepared } from './prepare.ts'

/** `ends`: by topic slot, log offsets up to which nothing may be left to bring about. */
export function ownersSettled(
  state: Pick<StateReader, 'progress'>,
  { pipelines }: Pick<Prepared, 'pipelines'>,
  board: Board,
  ends: Float64Array,
): boolean {
  return pipelines.every(({ plan, pipelineId, topic, slot }) => {
    const buckets = plan.exchange?.buckets ?? 0
    if (buckets === 0) return true
    let sent = 0
    for (let partition = 0; partition < topic.partitions; partition++) {
      const stream = partialStream(plan, partition)
      if (board.committed[slot + stream]! < ends[topic.slot + partition]!) return false
      sent += state.progress(pipelineId, stream)?.nextSeq ?? 0
    }
    for (let bucket = 0; bucket < buckets; bucket++) {
      if (board.processed[slot + ownerStream(plan, bucket)]! < sent) return false
    }
    return true
  })
}
