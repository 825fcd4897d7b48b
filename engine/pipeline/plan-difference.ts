/**
 * Whether a plan may run over the state of another. State, and the results that replay must repeat, depend on all of a
 * plan but its sinks: those read the result stream behind it.
 */
import { createHash } from 'node:crypto'
import { describeValue } from '../contract/errors.ts'
import type { PipelinePlan } from '../contract/plan.ts'

const CELLS_VERSION = /\.cellsVersion$/

/** Nobody changed the pipeline: its detectors are those of another version of millrace. */
export function isOfOtherVersion({ path }: PlanChange): boolean {
  return CELLS_VERSION.test(path)
}

/** Equal hashes: the plans can share state. Of everything that state depends on, in canonical form. */
export function planHash(plan: PipelinePlan): string {
  return createHash('sha256')
    .update(canonical(stateful(plan)))
    .digest('hex')
    .slice(0, 32)
}

export interface PlanChange {
  /** `window.sizeMs`, `detectors.latency-ewma.options.threshold`. */
  readonly path: string
  readonly before: unknown
  readonly after: unknown
  /** Whether state made under the old plan is void under the new one. */
  readonly affectsState: boolean
  /** For a person: `window.sizeMs was 60000, is now 30000`. */
  readonly text: string
}

/** What changed from one plan to another, named; empty if nothing did. */
export function planDifference(before: PipelinePlan, after: PipelinePlan): readonly PlanChange[] {
  const old = flatten(before)
  const now = flatten(after)
  const changes: PlanChange[] = []
  for (const path of new Set([...old.keys(), ...now.keys()])) {
    const was = old.get(path)
    const is = now.get(path)
    if (canonical(was) === canonical(is)) continue
    // Of another kind of detector that says nothing.
    const kind = path.replace(CELLS_VERSION, '.kind')
    if (kind !== path && old.get(kind) !== now.get(kind)) continue
    const affectsState = path !== 'sinks' && !path.startsWith('sinks.')
    changes.push({ path, before: was, after: is, affectsState, text: changeText(path, was, is) })
  }
  return changes
}

/** Whether parts of two plans say the same. */
export function isSamePart(before: unknown, after: unknown): boolean {
  return canonical(before) === canonical(after)
}

function changeText(path: string, was: unknown, is: unknown): string {
  if (path === 'exchange.buckets' && was === undefined) {
    return `${path} is new: ${describeValue(is)} (groups were in one partition each, and are spread over them now)`
  }
  if (path === 'exchange.buckets' && is === undefined) {
    return `${path} is gone; it was ${describeValue(was)} (groups were spread over partitions, and are in one each now)`
  }
  if (CELLS_VERSION.test(path)) {
    const detector = path.slice('detectors.'.length).replace(CELLS_VERSION, '')
    return `${detector}: another version of millrace remembers series in another way (state ${versionOf(was)}, now ${versionOf(is)})`
  }
  if (was === undefined) return `${path} is new: ${describeValue(is)}`
  if (is === undefined) return `${path} is gone; it was ${describeValue(was)}`
  return `${path} was ${describeValue(was)}, is now ${describeValue(is)}`
}

function versionOf(cellsVersion: unknown): string {
  return describeValue(cellsVersion ?? 1)
}

function stateful(plan: PipelinePlan): Omit<PipelinePlan, 'sinks' | 'module'> {
  const { sinks: _, module: __, ...rest } = plan
  return rest
}

/** Leaves by path. Lists of named parts are keyed by name, and their order is a leaf of its own (columns have one). */
function flatten(plan: PipelinePlan): Map<string, unknown> {
  const leaves = new Map<string, unknown>()
  const { where, aggregates, detectors, sinks, module: _, ...rest } = plan
  walk('', rest, leaves)
  leaves.set('where', where)
  for (const [path, parts] of Object.entries({ aggregates, detectors, sinks })) {
    for (const { name, ...part } of parts) walk(`${path}.${name}`, part, leaves)
    leaves.set(
      path,
      parts.map((part) => part.name),
    )
  }
  return leaves
}

function walk(path: string, value: unknown, leaves: Map<string, unknown>): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    leaves.set(path, value)
    return
  }
  for (const [key, inner] of Object.entries(value)) walk(path === '' ? key : `${path}.${key}`, inner, leaves)
}

/** JSON with sorted keys. Undefined members are absent, and numbers that JSON lacks keep their names. */
function canonical(value: unknown): string {
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value)
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  const members = Object.entries(value)
    .filter(([, inner]) => inner !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, inner]) => `${JSON.stringify(key)}:${canonical(inner)}`)
  return `{${members.join(',')}}`
}
