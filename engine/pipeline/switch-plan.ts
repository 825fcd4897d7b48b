/**
 * A switch of detectors, as far as plans go: whether one plan may follow another over the same windows, and which detectors
 * go on as they are. Pure. What is done then: switch-partition.ts.
 */
import type { Fault } from '../contract/errors.ts'
import type { DetectorPlan, PipelinePlan } from '../contract/plan.ts'
import { REGION_JUDGES, REGION_ROUTES } from './chain.ts'
import { isSamePart, planDifference } from './plan-difference.ts'

/** What forbids the switch; empty: nothing. */
export function switchFaults(before: PipelinePlan | null, after: PipelinePlan): readonly Fault[] {
  if (after.exchange !== undefined || before?.exchange !== undefined) {
    return [
      {
        place: `${after.name}.groupBy`,
        value: after.groupBy,
        problem:
          'its groups are spread over partitions, and owners judge what many partitions have sent: a switch of detectors ' +
          'has no one offset there',
        remedy:
          'Partition the topic by labels that you group by, give the changed pipeline another name, or start with ' +
          '--reset-state.',
      },
    ]
  }
  if (before === null) return []
  return planDifference(before, after)
    .filter(({ path, affectsState }) => affectsState && !isOfDetectors(path))
    .map(({ path, text, after: value }) => ({
      place: `${after.name}.${path}`,
      value,
      problem: `${text}; a switch changes detectors and their alerts alone, over windows that stay as they are`,
      remedy: 'Put it back, give the changed pipeline another name, or start with --reset-state.',
    }))
}

/** Only detectors differ, and some do: a switch could be made. */
export function isSwitchable(before: PipelinePlan, after: PipelinePlan): boolean {
  return (
    switchFaults(before, after).length === 0 &&
    planDifference(before, after).some(({ affectsState }) => affectsState)
  )
}

function isOfDetectors(path: string): boolean {
  return path === 'detectors' || path.startsWith('detectors.')
}

/**
 * Detectors that go on as if nothing had happened, by name: nothing of them was changed, nor of the detector that inhibits
 * them. The others begin anew, with what history tells them.
 */
export function keptDetectors(before: PipelinePlan, after: PipelinePlan): ReadonlySet<string> {
  const was = byName(before)
  const is = byName(after)
  const isKept = (name: string): boolean => {
    const [old, now] = [was.get(name), is.get(name)]
    if (old === undefined || now === undefined || !isSamePart(old, now)) return false
    const inhibitor = now.alert?.inhibitedBy
    // It stands above the detector that it inhibits: this ends.
    return inhibitor === undefined || isKept(inhibitor)
  }
  return new Set([...is.keys()].filter(isKept))
}

function byName({ detectors }: PipelinePlan): ReadonlyMap<string, DetectorPlan> {
  return new Map(detectors.map((detector) => [detector.name, detector]))
}

/** Region of a page of the old plan's state under the new plan; null: it holds what is made anew. */
export function switchedRegion(
  before: PipelinePlan,
  after: PipelinePlan,
  kept: ReadonlySet<string>,
  region: number,
): number | null {
  if (region < REGION_JUDGES || region >= REGION_ROUTES) return region
  // Cells of every detector, in plan order (judges.ts).
  const detector = before.detectors[region - REGION_JUDGES]
  if (detector === undefined || !kept.has(detector.name)) return null
  return REGION_JUDGES + after.detectors.findIndex(({ name }) => name === detector.name)
}
