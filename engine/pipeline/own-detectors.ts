/**
 * Detectors that a pipeline's own module defines. Their plug-ins are functions and never cross a thread: a plan names them
 * by kind and version, and every thread finds them again in the module's default export.
 */
import { definitionOf } from '../contract/definition.ts'
import type { Fault } from '../contract/errors.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { OwnDetectorPlugin, Registry } from '../contract/plugins.ts'

const KIND_PATTERN = /^[a-z]+(-[a-z0-9]+)*$/
const REMEDY = 'Make it with defineDetector({ kind, version, options, create }).'

/** The plug-in as one of the engine's own kind; null: it has faults, which were added. */
export function ownDetector(
  written: unknown,
  builtIn: Registry['detectors'],
  place: string,
  faults: Fault[],
): OwnDetectorPlugin | null {
  const before = faults.length
  const fault = (name: string, value: unknown, problem: string, remedy = REMEDY): void => {
    faults.push({ place: `${place}.${name}`, value, problem, remedy })
  }
  if (typeof written !== 'object' || written === null) {
    fault('plugin', written, 'is not a detector')
    return null
  }
  const { kind, version, subject, options, create } = written as Partial<OwnDetectorPlugin>
  if (typeof kind !== 'string' || !KIND_PATTERN.test(kind)) {
    fault(
      'kind',
      kind,
      'is not a kind',
      'Write small letters with dashes between words, such as "first-jump".',
    )
  } else if (builtIn.has(kind)) {
    fault('kind', kind, 'is the kind of a detector that comes with millrace', 'Give yours another one.')
  }
  if (typeof version !== 'number' || !Number.isSafeInteger(version) || version < 1) {
    fault(
      'version',
      version,
      'is not a version',
      'Write 1, and one more whenever its cells mean something else.',
    )
  }
  if (subject !== 'value') fault('subject', subject, 'is not "value"', 'Judge the values of an aggregate.')
  if (typeof options?.parse !== 'function') fault('options', options, 'are not options')
  if (typeof create !== 'function') fault('create', create, 'is not a function')
  return faults.length > before ? null : (written as OwnDetectorPlugin)
}

/** Plug-ins that these definitions bring along, by kind. Two of one kind that are not the same object are a fault. */
export function ownDetectorsOf(
  definitions: unknown,
  place: string,
  faults: Fault[],
): ReadonlyMap<string, OwnDetectorPlugin> {
  const found = new Map<string, OwnDetectorPlugin>()
  for (const one of Array.isArray(definitions) ? definitions : [definitions]) {
    for (const { detector } of definitionOf(one, 'pipeline')?.detectors ?? []) {
      const plugin = definitionOf(detector, 'detector')?.plugin as OwnDetectorPlugin | undefined
      if (plugin === undefined) continue
      const other = found.get(plugin.kind)
      if (other !== undefined && other !== plugin) {
        const remedy = 'Define it once and use it in both, or give one of them another kind.'
        faults.push({ place, value: plugin.kind, problem: 'names two detectors', remedy })
      }
      found.set(plugin.kind, plugin)
    }
  }
  return found
}

/** Kinds that the plan's own module defines, with their versions. */
export function ownKinds(plan: PipelinePlan): ReadonlyMap<string, number> {
  return new Map(
    plan.detectors.flatMap(({ kind, version }) => (version === undefined ? [] : [[kind, version] as const])),
  )
}

export function withDetectors(registry: Registry, own: ReadonlyMap<string, OwnDetectorPlugin>): Registry {
  return own.size === 0 ? registry : { ...registry, detectors: new Map([...registry.detectors, ...own]) }
}
