/**
 * What the live page is told of incidents: those of several alerts, bounded, and at a pace that costs the node little. Asked
 * for when alerts have moved; a single alert is an incident as well, but nothing that the list of alerts does not say.
 */
import type { LiveIncidents } from '../engine/contract/live.ts'
import type { Incident, IncidentsAnswer, Queries } from '../engine/contract/queries.ts'
import type { Clock } from '../engine/util/clock.ts'

/** Back from now. */
export const INCIDENTS_MS = 6 * 3_600_000
/** In one event, and alerts of each: how many there are in all is told too. */
export const INCIDENTS_TOLD_MAX = 20
export const INCIDENT_ALERTS_TOLD_MAX = 8
/** Two questions are so far apart, and so many times as far as the last one took. */
const EVERY_MS = 2_000
const REST_TIMES = 20
/** What ended is told to be over, and passes out of sight, also when nothing moves. */
const AT_LEAST_EVERY_MS = 60_000

export class IncidentWatch {
  readonly #queries: Pick<Queries, 'incidents'>
  readonly #clock: Clock
  #dueMs = Number.NEGATIVE_INFINITY
  #askedMs = Number.NEGATIVE_INFINITY
  #hasMoved = true

  constructor(queries: Pick<Queries, 'incidents'>, clock: Clock) {
    this.#queries = queries
    this.#clock = clock
  }

  /** Alerts have changed. */
  moved(): void {
    this.#hasMoved = true
  }

  get isDue(): boolean {
    const nowMs = this.#clock.monotonicMs()
    return nowMs >= this.#dueMs && (this.#hasMoved || nowMs >= this.#askedMs + AT_LEAST_EVERY_MS)
  }

  /** One question at a time: it is not due before this is answered. */
  async ask(): Promise<LiveIncidents> {
    this.#dueMs = Infinity
    this.#hasMoved = false
    this.#askedMs = this.#clock.monotonicMs()
    try {
      return toldIncidents(await this.#queries.incidents({ fromMs: this.#clock.nowMs() - INCIDENTS_MS }))
    } finally {
      const nowMs = this.#clock.monotonicMs()
      this.#dueMs = nowMs + Math.max(EVERY_MS, (nowMs - this.#askedMs) * REST_TIMES)
    }
  }
}

/** Open ones first, then those that ended last. */
export function toldIncidents({ rows, isWhole }: IncidentsAnswer): LiveIncidents {
  const together = rows.filter(({ alerts }) => alerts.length > 1).sort(byInterest)
  const incidents = together.slice(0, INCIDENTS_TOLD_MAX).map(({ alerts, ...incident }) => ({
    ...incident,
    total: alerts.length,
    firing: alerts.filter(({ untilMs }) => untilMs === null).length,
    alerts: alerts.slice(0, INCIDENT_ALERTS_TOLD_MAX),
  }))
  return { total: together.length, isWhole, incidents }
}

function byInterest(a: Incident, b: Incident): number {
  if (a.untilMs === null || b.untilMs === null) {
    if (a.untilMs === b.untilMs) return b.sinceMs - a.sinceMs
    return a.untilMs === null ? -1 : 1
  }
  return b.untilMs - a.untilMs || b.sinceMs - a.sinceMs
}
