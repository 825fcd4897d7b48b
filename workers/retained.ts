/**
 * Whether the log still holds what the state of these pipelines goes on from. While a node runs a pipeline, retention stops
 * at its checkpoint; a pipeline that was left out for longer than the log is kept finds its records gone, and going on
 * without them would give wrong results without a word.
 */
import type { BoardPipeline } from '../engine/broker/node-board.ts'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import { openLogReader } from '../engine/store/log-store.ts'
import { openStateReader } from '../engine/store/state-store.ts'

export async function checkRetained(dir: string, pipelines: readonly BoardPipeline[]): Promise<void> {
  const log = openLogReader({ dir })
  const state = openStateReader({ dir })
  const faults: Fault[] = []
  try {
    for (const { pipelineId, plan, topic } of pipelines) {
      for (let partition = 0; partition < topic.partitions; partition++) {
        const start = log.startOffset(topic.topicId, partition)
        if (start === 0) continue
        const checkpoint = state.checkpoint(pipelineId, partition)
        // Nothing was ever committed: it begins with what there is.
        if (checkpoint === null && state.progress(pipelineId, partition) === null) continue
        const wanted = checkpoint?.position ?? 0
        if (wanted >= start) continue
        faults.push({
          place: `${plan.name}, partition ${partition}`,
          value: wanted,
          problem: `its state goes on from there, but retention has deleted the log of topic "${topic.name}" up to ${start}`,
          remedy:
            `Forget its state and results and compute them from what is left (millrace reset --pipeline ${plan.name}), or ` +
            'restore a backup. A pipeline that runs keeps what it needs.',
        })
        break
      }
    }
  } finally {
    await state.close()
    await log.close()
  }
  if (faults.length === 0) return
  throw MillraceError.ofFaults('OFFSET_GONE', 'the log no longer holds what a pipeline goes on from', faults)
}
