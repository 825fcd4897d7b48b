/**
 * Before any thread runs: topics and pipelines of this start are written to the store, or refused. A plan that changed
 * over state of the old one is refused, naming what changed, unless state is to be reset.
 */
import {
  type BoardPipeline,
  type BoardTopic,
  layOutPipelines,
  layOutTopics,
} from '../engine/broker/node-board.ts'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import type { PipelinePlan, TopicSpec } from '../engine/contract/plan.ts'
import { isOfOtherVersion, planDifference, planHash } from '../engine/pipeline/plan-difference.ts'
import { isSwitchable } from '../engine/pipeline/switch-plan.ts'
import { openLogWriter } from '../engine/store/log-store.ts'
import type { PipelineRecord, StateTransaction } from '../engine/store/state-contract.ts'
import { openStateWriter } from '../engine/store/state-store.ts'
import { killPoint } from '../engine/util/kill-point.ts'

import { checkRetained } from './retained.ts'

/** The topic that `/write` uses when a request names none. */
export const DEFAULT_TOPIC = 'metrics'

export interface Prepared {
  readonly topics: readonly BoardTopic[]
  readonly pipelines: readonly BoardPipeline[]
}

export async function prepareStore(options: {
  readonly dir: string
  readonly fence: number
  readonly plans: readonly PipelinePlan[]
  readonly defaultPartitions: number
  readonly resetState: boolean
}): Promise<Prepared> {
  const { dir, fence, plans } = options
  // Plans agree on their topics: compilePipelines saw to it.
  const declared = [...new Map(plans.map(({ topic }) => [topic.name, topic])).values()]
  const topics = layOutTopics(await prepareTopics(dir, fence, declared, options.defaultPartitions))
  const records = await preparePipelines(dir, fence, plans, topics, options.resetState)
  killPoint('pipelines-made')
  const pipelines = layOutPipelines(records, topics)
  await checkRetained(dir, pipelines)
  return { topics, pipelines }
}

async function prepareTopics(
  dir: string,
  fence: number,
  declared: readonly TopicSpec[],
  defaultPartitions: number,
): Promise<(TopicSpec & { topicId: number })[]> {
  const writer = openLogWriter({ dir, fence })
  try {
    const specs = [...declared]
    const names = new Set(specs.map(({ name }) => name))
    // Where nobody declares the default topic it is made once, and then keeps its shape.
    if (!names.has(DEFAULT_TOPIC) && writer.topicOf(DEFAULT_TOPIC) === null) {
      specs.push({ name: DEFAULT_TOPIC, partitions: defaultPartitions, partitionBy: null })
    }
    writer.transaction((txn) => {
      for (const spec of specs) txn.createTopic(spec)
    })
    killPoint('topics-made')
    // Topics of earlier starts go on taking samples.
    return writer
      .topics()
      .map(({ id, name, partitions, partitionBy }) => ({ topicId: id, name, partitions, partitionBy }))
  } finally {
    await writer.close()
  }
}

async function preparePipelines(
  dir: string,
  fence: number,
  plans: readonly PipelinePlan[],
  topics: readonly BoardTopic[],
  resetState: boolean,
): Promise<Pick<BoardPipeline, 'plan' | 'pipelineId' | 'past'>[]> {
  const writer = openStateWriter({ dir, fence })
  try {
    const faults: Fault[] = []
    if (!resetState) {
      for (const plan of plans) faults.push(...changedFaults(writer.pipeline(plan.name), plan))
      if (faults.length > 0) {
        throw MillraceError.ofFaults(
          'PIPELINE_CHANGED',
          'A pipeline changed over the state of its old version',
          faults,
        )
      }
    }
    return writer.transaction((txn) =>
      plans.map((plan) => {
        const { topicId } = topics.find(({ name }) => name === plan.topic.name)!
        const existing = writer.pipeline(plan.name)
        const { id, past } = putPlan(txn, plan, topicId, existing, resetState)
        return { plan, pipelineId: id, ...(past === undefined ? {} : { past }) }
      }),
    )
  } finally {
    await writer.close()
  }
}

function putPlan(
  txn: StateTransaction,
  plan: PipelinePlan,
  topicId: number,
  existing: PipelineRecord | null,
  resetState: boolean,
): PipelineRecord {
  if (existing !== null && resetState) txn.reset(existing.id)
  const past = resetState ? undefined : existing?.past
  return txn.putPipeline({
    name: plan.name,
    topicId,
    topic: plan.topic.name,
    planHash: planHash(plan),
    planJson: JSON.stringify(plan),
    ...(past === undefined ? {} : { past }),
  })
}

function changedFaults(existing: PipelineRecord | null, plan: PipelinePlan): Fault[] {
  if (existing === null || existing.planHash === planHash(plan)) return []
  const before = JSON.parse(existing.planJson) as PipelinePlan
  const changes = planDifference(before, plan).filter((change) => change.affectsState)
  const switching = isSwitchable(before, plan) ? 'switch to the changed detectors (millrace switch), ' : ''
  return changes.map((change) => ({
    place: `${plan.name}.${change.path}`,
    value: change.after,
    problem: change.text,
    remedy:
      `${isOfOtherVersion(change) ? 'Run it by the version that wrote it' : 'Put it back'}, ${switching}give the changed ` +
      'pipeline another name, or start with --reset-state to forget the state and results of the old one and read the ' +
      'log again from its beginning.',
  }))
}
