/**
 * What detectors decided for a series, from the last checkpoint of the store: restores state as a start of the node does, and
 * asks it. Reads only, beside a running node or without one. A stream is restored whole: O(its state). Called by
 * `millrace explain` and by a thread of the node (workers/explain.ts).
 */
import { knownRemedy } from '../config/did-you-mean.ts'
import { MillraceError } from '../contract/errors.ts'
import type { FeedbackSource } from '../contract/feedback.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { Registry } from '../contract/plugins.ts'
import { EXPLAINED_GROUPS_MAX, type ExplainQuery, type ExplainRow } from '../contract/queries.ts'
import type { StateReader } from '../store/state-contract.ts'
import { assert } from '../util/assert.ts'
import { lastWord } from './feedback-door.ts'
import type { Explained } from './judges.ts'
import { hasLabels, streamsOf, wantedLabels } from './queries.ts'
import { stateOf } from './verify-pipeline.ts'

/** `feedback`: what people said of alerts. `registryFor`: with the detectors that a plan's own module defines. */
export async function explainFrom(
  state: StateReader,
  feedback: FeedbackSource,
  query: ExplainQuery,
  registryFor: (plan: PipelinePlan) => Promise<Registry>,
): Promise<readonly ExplainRow[]> {
  const rows: ExplainRow[] = []
  for (const { id, plan } of asked(state, query)) {
    const registry = await registryFor(plan)
    rows.push(...explainPipeline({ state, feedback, registry }, id, plan, query))
  }
  return rows
}

/** The pipelines that are asked about. PIPELINE_INVALID names what there is. */
function asked(
  state: StateReader,
  { pipeline, detector }: ExplainQuery,
): { readonly id: number; readonly plan: PipelinePlan }[] {
  const all = state
    .pipelines()
    .map(({ id, planJson }) => ({ id, plan: JSON.parse(planJson) as PipelinePlan }))
  if (pipeline === undefined) return all
  const found = all.find(({ plan }) => plan.name === pipeline)
  if (found === undefined) {
    const names = all.map(({ plan }) => plan.name)
    throw unknown(`There is no pipeline ${JSON.stringify(pipeline)}. ${knownRemedy(pipeline, names)}`)
  }
  const names = found.plan.detectors.map(({ name }) => name)
  if (detector !== undefined && !names.includes(detector)) {
    const which = `Pipeline ${JSON.stringify(pipeline)} has no detector ${JSON.stringify(detector)}`
    throw unknown(`${which}. ${knownRemedy(detector, names)}`)
  }
  return [found]
}

interface Sources {
  readonly state: StateReader
  readonly feedback: FeedbackSource
  readonly registry: Registry
}

/** Each stream's state as of its last checkpoint. */
function explainPipeline(
  { state, feedback, registry }: Sources,
  id: number,
  plan: PipelinePlan,
  { detector, group }: ExplainQuery,
): ExplainRow[] {
  const rows: ExplainRow[] = []
  const wanted = wantedLabels(group)
  let left = EXPLAINED_GROUPS_MAX
  for (const stream of streamsOf(plan, 'alerts', group)) {
    const found = state.restore(id, stream, (checkpoint, pages) => {
      const seat = stateOf(plan, registry, stream, feedback)
      assert(seat !== null, 'a stream of results has state', plan.name, stream)
      seat.restore(checkpoint.meta, pages)
      const asOfMs = finiteOrNull(seat.watermarkMs)
      const explained = seat.explain((labels) => hasLabels(labels, wanted), left)
      return explained.map((one) => rowOf(plan.name, asOfMs, one, feedback))
    })
    if (found === null) continue
    // Every group has a row of each detector.
    left -= found.length / Math.max(1, plan.detectors.length)
    rows.push(...found)
    if (left <= 0) break
  }
  return detector === undefined ? rows : rows.filter((row) => row.detector === detector)
}

function rowOf(
  pipeline: string,
  asOfMs: number | null,
  one: Explained,
  feedback: FeedbackSource,
): ExplainRow {
  const { expected, lower, upper, silentAfterMs, ...rest } = one
  return {
    pipeline,
    asOfMs,
    ...rest,
    expected: finiteOrNull(expected),
    lower: finiteOrNull(lower),
    upper: finiteOrNull(upper),
    silentAfterMs: silentAfterMs === null ? null : finiteOrNull(silentAfterMs),
    said: lastWord(feedback.rows(), { pipeline, detector: one.detector, group: one.group }),
  }
}

function finiteOrNull(value: number): number | null {
  return Number.isFinite(value) ? value : null
}

function unknown(message: string): MillraceError {
  return new MillraceError('PIPELINE_INVALID', message)
}
