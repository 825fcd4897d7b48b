/**
 * From definitions to plans, purely: `compilePlan` yields a plan (contract/plan.ts, plain data) or ALL faults, each with
 * place, value and remedy. The registry of plug-ins is an argument, so the engine knows none of them. Called by `check`
 * and `run` on the main thread; threads get the plan.
 */

import { definitionOf } from '../contract/definition.ts'
import type { Fault } from '../contract/errors.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { Registry } from '../contract/plugins.ts'
import { PlanCompiler, type PlanDefaults } from './plan-compiler.ts'
import { cycleText, type TopicEdge, topicCycles } from './topic-graph.ts'

export type { PlanDefaults } from './plan-compiler.ts'

export const PARTITIONS_DEFAULT = 16
export const PIPELINES_MAX = 1_024

export interface CompiledPlan {
  readonly plan: PipelinePlan | null
  readonly faults: Fault[]
}

export interface CompiledPlans {
  /** Empty if there is any fault. */
  readonly plans: readonly PipelinePlan[]
  readonly faults: Fault[]
}

/** One pipeline. `place` is where it was written, the module's file, or '' for nowhere. */
export function compilePlan(
  definition: unknown,
  registry: Registry,
  place: string,
  defaults: PlanDefaults = { partitions: PARTITIONS_DEFAULT },
): CompiledPlan {
  const written = definitionOf(definition, 'pipeline')
  const faults: Fault[] = []
  if (written === null || written.definition !== 1) {
    const remedy = 'Export what pipeline("name")… gives, by default: export default pipeline("name").from(…)…'
    faults.push({ place: place || 'pipeline', value: definition, problem: 'is not a pipeline', remedy })
    return { plan: null, faults }
  }
  const prefix = place === '' ? '' : `${place}: `
  const compiler = new PlanCompiler(written, registry, `${prefix}${String(written.name)}`, faults)
  const plan = compiler.plan(defaults)
  return { plan: faults.length > 0 ? null : plan, faults }
}

/** A module's default export: one pipeline or several; and what they must agree on. */
export function compilePipelines(
  definitions: unknown,
  registry: Registry,
  place: string,
  defaults?: PlanDefaults,
): CompiledPlans {
  const list: readonly unknown[] = Array.isArray(definitions) ? definitions : [definitions]
  const faults: Fault[] = []
  const fault = (at: string, value: unknown, problem: string, remedy: string): void => {
    faults.push({ place: at, value, problem, remedy })
  }
  const where = place || 'pipelines'
  if (list.length === 0) fault(where, list, 'holds no pipeline', 'Export at least one.')
  if (list.length > PIPELINES_MAX)
    fault(where, list.length, 'holds too many pipelines', `At most ${PIPELINES_MAX}.`)
  const plans: PipelinePlan[] = []
  const names = new Set<string>()
  for (const definition of list.slice(0, PIPELINES_MAX)) {
    const compiled = compilePlan(definition, registry, place, defaults)
    faults.push(...compiled.faults)
    const name = definitionOf(definition, 'pipeline')?.name
    if (name !== undefined && names.has(name)) {
      fault(
        where,
        name,
        'names two pipelines',
        'Give each pipeline a name of its own: state and results are kept by it.',
      )
    }
    if (name !== undefined) names.add(name)
    if (compiled.plan !== null) plans.push(compiled.plan)
  }
  contradictions(plans, place, faults)
  for (const cycle of topicCycles(edgesOf(plans, registry))) {
    fault(
      where,
      cycleText(cycle),
      'is a cycle of topics',
      'Write to a topic that none of these pipelines reads.',
    )
  }
  return { plans: faults.length > 0 ? [] : plans, faults }
}

function contradictions(plans: readonly PipelinePlan[], place: string, faults: Fault[]): void {
  const first = new Map<string, PipelinePlan>()
  for (const plan of plans) {
    const before = first.get(plan.topic.name)
    if (before === undefined) first.set(plan.topic.name, plan)
    else if (JSON.stringify(before.topic) !== JSON.stringify(plan.topic)) {
      const problem = `declares topic "${plan.topic.name}" differently from pipeline "${before.name}"`
      const remedy = `Declare it once and use it in both; there it is ${JSON.stringify(before.topic)}.`
      faults.push({
        place: `${place === '' ? '' : `${place}: `}${plan.name}.topic`,
        value: plan.topic,
        problem,
        remedy,
      })
    }
  }
}

function edgesOf(plans: readonly PipelinePlan[], registry: Registry): TopicEdge[] {
  const edges: TopicEdge[] = []
  for (const plan of plans) {
    for (const sink of plan.sinks) {
      const writesTopic = registry.sinks.get(sink.kind)?.writesTopic
      if (writesTopic === undefined) continue
      edges.push({ from: plan.topic.name, to: writesTopic(sink.options as never), via: plan.name })
    }
  }
  return edges
}
