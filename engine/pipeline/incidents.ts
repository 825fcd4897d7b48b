/**
 * Incidents: alerts that belong together, because they stood at the same time (or nearly) and share labels. A function of the
 * transitions alone, so that whoever asks later gets the same answer, and closed incidents as well as open ones. As an
 * alert begins, it joins all incidents that have an alert with a label in common and are open, or have been closed for
 * less than the gap.
 */
import type { Alert } from '../contract/alert.ts'
import { SEVERITIES, type Severity } from '../contract/plan.ts'
import {
  INCIDENT_GAP_MS,
  INCIDENT_TRANSITIONS_MAX,
  type Incident,
  type IncidentAlert,
  type IncidentOptions,
  type IncidentsAnswer,
  type IncidentsQuery,
  type Page,
  QUERY_ROWS_MAX,
  type Queries,
} from '../contract/queries.ts'
import type { Labels } from '../contract/samples.ts'

/**
 * `transitions`: in any order, each as often as you like. Alerts that only were pending are left out. Incidents come in order of
 * their beginning. O(n log n + labels).
 */
export function incidentsOf(
  transitions: readonly Alert[],
  { by, gapMs = INCIDENT_GAP_MS }: IncidentOptions = {},
): Incident[] {
  const alerts = alertsOf(transitions)
  const parents = alerts.map((_, i) => i)
  const ends = alerts.map(({ untilMs }) => untilMs ?? Infinity)
  const rootOf = (i: number): number => {
    let root = i
    while (parents[root] !== root) root = parents[root]!
    parents[i] = root
    return root
  }
  /** By what is shared: the alert that had it last. */
  const newest = new Map<string, number>()
  alerts.forEach((alert, i) => {
    for (const key of keysOf(alert.group, by)) {
      const other = newest.get(key)
      newest.set(key, i)
      if (other === undefined) continue
      const [root, own] = [rootOf(other), rootOf(i)]
      if (root === own || ends[root]! + gapMs < alert.sinceMs) continue
      parents[own] = root
      ends[root] = Math.max(ends[root]!, ends[own]!)
    }
  })
  const members = new Map<number, IncidentAlert[]>()
  alerts.forEach((alert, i) => {
    const root = rootOf(i)
    const known = members.get(root)
    if (known === undefined) members.set(root, [alert])
    else known.push(alert)
  })
  return [...members.values()].map(incidentOf).sort(byBeginning)
}

/**
 * Over pages of the other questions; rejects as they do. Memory is bounded by INCIDENT_TRANSITIONS_MAX, time is not: all that
 * is asked for is read. What is newest stays, and so does what fires now, whatever its age.
 */
export async function incidentsFrom(
  queries: Pick<Queries, 'pipelines' | 'alerts' | 'alertHistory'>,
  { pipeline, fromMs, ...options }: IncidentsQuery,
): Promise<IncidentsAnswer> {
  const named = pipeline === undefined ? await queries.pipelines() : [{ name: pipeline }]
  const firing: Alert[] = []
  let told: Alert[] = []
  let dropped = 0
  for (const { name } of named) {
    // What began before, and fires on.
    firing.push(...(await queries.alerts({ pipeline: name })))
    let cursor: string | null = null
    do {
      const from = cursor === null ? {} : { cursor }
      const query = { pipeline: name, limit: QUERY_ROWS_MAX, fromMs, ...from }
      const page: Page<Alert> = await queries.alertHistory(query)
      told.push(...page.rows)
      cursor = page.rows.length === 0 ? null : page.cursor
      // Twice as many, so that it is seldom looked through.
      if (told.length < 2 * INCIDENT_TRANSITIONS_MAX) continue
      const kept = newestOf(told)
      dropped += kept.dropped
      told = kept.told
    } while (cursor !== null)
  }
  const kept = newestOf(told)
  dropped += kept.dropped
  const rows = incidentsOf([...firing, ...kept.told], options)
  return dropped === 0 ? { rows, isWhole: true } : { rows, isWhole: false, dropped }
}

/**
 * At most INCIDENT_TRANSITIONS_MAX. First goes what says nothing that a later transition does not: pending, and all firings of an
 * alert but its last. Then the oldest: only those are counted as dropped.
 */
function newestOf(told: Alert[]): { readonly told: Alert[]; readonly dropped: number } {
  if (told.length <= INCIDENT_TRANSITIONS_MAX) return { told, dropped: 0 }
  const needed = new Map<string, Alert>()
  for (const alert of told) {
    if (alert.state === 'pending') continue
    const key = `${alert.state} ${alert.id}`
    const known = needed.get(key)
    // The first end, and the last firing, as alertsOf takes them.
    const isLater = known !== undefined && isAfter(alert, known)
    if (known === undefined || isLater === (alert.state === 'firing')) needed.set(key, alert)
  }
  const left = [...needed.values()].sort((a, b) => a.atMs - b.atMs)
  const dropped = Math.max(0, left.length - INCIDENT_TRANSITIONS_MAX)
  return { told: left.slice(dropped), dropped }
}

/** Or at the same time and no less severe. */
function isAfter(a: Alert, b: Alert): boolean {
  return a.atMs === b.atMs ? rankOf(a.severity) >= rankOf(b.severity) : a.atMs > b.atMs
}

function alertsOf(transitions: readonly Alert[]): IncidentAlert[] {
  const byId = new Map<string, Alert[]>()
  for (const alert of transitions) {
    const known = byId.get(alert.id)
    if (known === undefined) byId.set(alert.id, [alert])
    else known.push(alert)
  }
  const alerts: IncidentAlert[] = []
  for (const life of byId.values()) {
    life.sort((a, b) => a.atMs - b.atMs || rankOf(a.severity) - rankOf(b.severity))
    const fired = life.findLast(({ state }) => state === 'firing')
    const ended = life.find(({ state }) => state === 'resolved')
    if (fired === undefined) continue
    const { id, pipeline, detector, group, sinceMs, reason, severity } = fired
    alerts.push({ id, pipeline, detector, group, severity, sinceMs, untilMs: ended?.atMs ?? null, reason })
  }
  return alerts.sort(byBeginning)
}

/** Alerts that share one of these may belong together. */
function keysOf(group: Labels, by: readonly string[] | undefined): string[] {
  if (by !== undefined) {
    const values = by.map((name) => group[name])
    return values.every((value) => value === undefined) ? [] : [JSON.stringify(values)]
  }
  return Object.entries(group).map((pair) => JSON.stringify(pair))
}

function incidentOf(alerts: readonly IncidentAlert[]): Incident {
  const first = alerts[0]!
  const shared = Object.entries(first.group).filter(([name, value]) =>
    alerts.every(({ group }) => group[name] === value),
  )
  const ends = alerts.map(({ untilMs }) => untilMs)
  const ranks = alerts.map(({ severity }) => rankOf(severity))
  return {
    id: first.id,
    severity: SEVERITIES[Math.max(...ranks)]!,
    sinceMs: first.sinceMs,
    untilMs: ends.reduce((last, end) => (last === null || end === null ? null : Math.max(last, end))),
    labels: Object.fromEntries(shared),
    alerts,
  }
}

function rankOf(severity: Severity): number {
  return SEVERITIES.indexOf(severity)
}

function byBeginning(a: { sinceMs: number; id: string }, b: { sinceMs: number; id: string }): number {
  return a.sinceMs - b.sinceMs || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
}
