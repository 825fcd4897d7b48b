/**
 * Partial slices are of use until every owner of groups has a checkpoint beyond them, and not for the age that results
 * are kept. This knows, from the owners' checkpoints, how far that is, and deletes the rest. Used by the committer, after
 * commits that hold checkpoints: nothing is deleted that a restore from the newest checkpoints would read.
 */
import { ownerStream, partialStream } from '../contract/streams.ts'
import type { StateReader, StateWriter } from '../store/state-contract.ts'
import type { BoardPipeline } from './node-board.ts'

export class PartialRetention {
  readonly #pipelines: readonly BoardPipeline[]

  constructor(pipelines: readonly BoardPipeline[]) {
    this.#pipelines = pipelines.filter(({ plan }) => plan.exchange !== undefined)
  }

  get isNeeded(): boolean {
    return this.#pipelines.length > 0
  }

  /** True: there is more to delete. */
  retire(state: StateWriter): boolean {
    const streams = this.#pipelines.flatMap(({ pipelineId, plan, topic }) =>
      neededSeqs(state, pipelineId, plan, topic.partitions).map((beforeSeq, partition) => ({
        pipelineId,
        partition: partialStream(plan, partition),
        beforeSeq,
      })),
    )
    return state.retireEntries(streams)
  }
}

/** By partition: the oldest entry that an owner would read after a restart; 0 while one has no checkpoint. */
function neededSeqs(
  state: Pick<StateReader, 'checkpoint'>,
  pipelineId: number,
  plan: BoardPipeline['plan'],
  partitions: number,
): number[] {
  const needed = new Array<number>(partitions).fill(Infinity)
  for (let bucket = 0; bucket < (plan.exchange?.buckets ?? 0); bucket++) {
    const checkpoint = state.checkpoint(pipelineId, ownerStream(plan, bucket))
    if (checkpoint === null) return needed.fill(0)
    const meta = JSON.parse(checkpoint.meta) as { readonly needed: readonly number[] }
    for (let partition = 0; partition < partitions; partition++) {
      needed[partition] = Math.min(needed[partition]!, meta.needed[partition]!)
    }
  }
  return needed
}
