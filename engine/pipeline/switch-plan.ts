/**
 * A switch of detectors, as far as plans go: whether one plan may follow another over the same windows, and which detectors
 * go on as they are. Pure. What is done then: switch-partition.ts.
 */
import type { Fault } from '../contract/errors.ts'
import type { DetectorPlan, PipelinePlan } from '../contract/plan.ts'
import { REGION_ROUTES } from './chain.ts'
import { isSamePart, planDifference } from './plan-difference.ts'

/** What forbids the switch; empty: nothing. */
export function switchFaults(before: PipelinePlan | null, after: PipelinePlan): readonly Fault[] {
  if (before === null) return after.exchange === undefined ? [] : [newAndSpread(after)]
  const faults = planDifference(before, after)
    .filter(({ path, affectsState }) => affectsState && !isOfDetectors(path))
    .map(({ path, text, after: value }) => ({
      place: `${after.name}.${path}`,
      value,
      problem: `${text}; a switch changes detectors and their alerts alone, over windows that stay as they are`,
      remedy: 'Put it back, give the changed pipeline another name, or start with --reset-state.',
    }))
  const silence = after.detectors.find(isSilence)
  if (after.exchange === undefined || silence === undefined || before.detectors.some(isSilence)) return faults
  return [...faults, unheardSilence(after, silence)]
}

/** Owners begin with what partitions send from now on: there is nothing that could be kept, nor told twice. */
function newAndSpread({ name, groupBy }: PipelinePlan): Fault {
  return {
    place: `${name}.groupBy`,
    value: groupBy,
    problem: 'the store has no such pipeline, and its groups are spread over partitions',
    remedy: 'Start it: millrace run takes it up from the beginning of the log.',
  }
}

/** Partitions tell owners of arrivals where silence is watched. What they have sent and no owner has taken yet has none. */
function unheardSilence({ name }: PipelinePlan, silence: DetectorPlan): Fault {
  return {
    place: `${name}.detectors.${silence.name}`,
    value: silence.kind,
    problem:
      'is the first to watch for silence, and groups are spread over partitions: what they have sent so far does not say ' +
      'when samples came',
    remedy:
      'Leave it out of the switch, give the changed pipeline another name, or start with --reset-state.',
  }
}

function isSilence({ column }: DetectorPlan): boolean {
  return column === null
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

/** Some detector begins anew. */
export function needsHistory(before: PipelinePlan, after: PipelinePlan): boolean {
  return keptDetectors(before, after).size < after.detectors.length
}

function byName({ detectors }: PipelinePlan): ReadonlyMap<string, DetectorPlan> {
  return new Map(detectors.map((detector) => [detector.name, detector]))
}

/** Region of a page of the old plan's state under the new plan; null: it holds what is made anew. `firstJudge`: the first detector's. */
export function switchedRegion(
  before: PipelinePlan,
  after: PipelinePlan,
  kept: ReadonlySet<string>,
  region: number,
  firstJudge: number,
): number | null {
  if (region < firstJudge || region >= REGION_ROUTES) return region
  // Cells of every detector, in plan order (judges.ts).
  const detector = before.detectors[region - firstJudge]
  if (detector === undefined || !kept.has(detector.name)) return null
  return firstJudge + after.detectors.findIndex(({ name }) => name === detector.name)
}
