/**
 * Pipeline modules to plans: loads each file, compiles what it exports by default, and judges all of them together. Throws
 * ONE PIPELINE_INVALID with every fault of every file; starts nothing.
 */
import { resolve } from 'node:path'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import type { Registry } from '../engine/contract/plugins.ts'
import { ownDetectorsOf, ownKinds } from '../engine/pipeline/own-detectors.ts'
import { compilePipelines, type PlanDefaults } from '../engine/pipeline/plan.ts'
import { loadDefault } from '../workers/load-module.ts'

export const PIPELINE_EXPORT = 'pipeline("name").from(…)…'

export async function loadPipelines(
  files: readonly string[],
  cwd: string,
  registry: Registry,
  defaults: PlanDefaults,
): Promise<PipelinePlan[]> {
  const faults: Fault[] = []
  const definitions: unknown[] = []
  const plans: PipelinePlan[] = []
  for (const file of files) {
    const { value, fault } = await loadDefault(file, cwd, PIPELINE_EXPORT)
    if (fault !== null) {
      faults.push(fault)
      continue
    }
    const compiled = compilePipelines(value, registry, file, defaults)
    faults.push(...compiled.faults)
    plans.push(...compiled.plans.map((plan) => withModule(plan, resolve(cwd, file))))
    definitions.push(...(Array.isArray(value) ? value : [value]))
  }
  if (faults.length === 0) ownDetectorsOf(definitions, files.join(', '), faults)
  // Names and topics must agree across files too; one file was judged as a whole already.
  if (faults.length === 0 && files.length > 1) {
    faults.push(...compilePipelines(definitions, registry, files.join(', '), defaults).faults)
  }
  if (faults.length > 0)
    throw MillraceError.ofFaults('PIPELINE_INVALID', 'the pipelines are not valid', faults)
  return plans
}

/** Threads load a module only for what plain data cannot carry. */
function withModule(plan: PipelinePlan, module: string): PipelinePlan {
  return ownKinds(plan).size === 0 ? plan : { ...plan, module }
}
