/**
 * The plug-ins of this thread: those of the package, and the detectors that modules of its pipelines define, once they
 * are loaded. `registry` is a live binding: read it after `loadPlugins`.
 */
import { MillraceError } from '../engine/contract/errors.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import type { Registry } from '../engine/contract/plugins.ts'
import { ownDetectorsOf, ownKinds, withDetectors } from '../engine/pipeline/own-detectors.ts'
import { registry as builtIn } from '../operators/registry.ts'
import { loadDefault } from './load-module.ts'

export let registry: Registry = builtIn

/** PIPELINE_CHANGED: a module no longer defines what it did when the node started. */
export async function loadPlugins(plans: readonly PipelinePlan[]): Promise<void> {
  const wanted = plans.filter((plan) => ownKinds(plan).size > 0)
  for (const module of new Set(wanted.map((plan) => plan.module))) {
    const users = wanted.filter((plan) => plan.module === module)
    if (module === undefined) {
      throw changed(
        users[0]!.name,
        'has a detector of its own, and no module that defines it',
        'Run it from a file.',
      )
    }
    const { value, fault } = await loadDefault(module, '/', 'pipeline("name").from(…)…')
    if (fault !== null) throw changed(module, `${fault.problem} (${fault.place})`, fault.remedy)
    const own = ownDetectorsOf(value, module, [])
    for (const plan of users) {
      for (const [kind, version] of ownKinds(plan)) {
        if (own.get(kind)?.version === version) continue
        const problem = `no longer defines the detector ${kind} in version ${version}, which pipeline "${plan.name}" runs`
        throw changed(module, problem, 'Put it back, or start the node again with the module as it is now.')
      }
    }
    registry = withDetectors(registry, own)
  }
}

function changed(what: string, problem: string, remedy: string): MillraceError {
  return new MillraceError('PIPELINE_CHANGED', `${what} ${problem}. ${remedy}`)
}
