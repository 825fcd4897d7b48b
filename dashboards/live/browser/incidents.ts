/** Incidents as the page tells them: which of them, in what order, and when the node is asked. Knows nothing of the DOM. */
import type { Incident, IncidentsAnswer } from '../../../engine/contract/queries.ts'

export const INCIDENTS_SHOWN_MAX = 10
/** The first that moved say most about a cause. */
export const PARTS_SHOWN_MAX = 5

/** Between questions while alerts change. */
export const ASK_EVERY_MS = 10_000
/** While none does: what ended goes out of the range by and by. */
export const ASK_IDLE_MS = 60_000
/** An answer that takes long is asked for less often, down to ASK_IDLE_MS: at most a fifth of the time goes into it. */
export const ASK_COST_FACTOR = 5

export interface IncidentList {
  readonly shown: readonly Incident[]
  /** Of all, shown or not. */
  readonly open: number
  readonly over: number
  /** Alerts that nothing belongs to: they stand in the list of alerts, and would say nothing more here. */
  readonly alone: number
}

/** Those of several alerts: what fires first, then the newest. */
export function listIncidents(rows: readonly Incident[]): IncidentList {
  const several = rows.filter(({ alerts }) => alerts.length > 1)
  const open = several.filter(({ untilMs }) => untilMs === null).length
  const sorted = several.sort(
    (a, b) => Number(a.untilMs !== null) - Number(b.untilMs !== null) || b.sinceMs - a.sinceMs,
  )
  return {
    shown: sorted.slice(0, INCIDENTS_SHOWN_MAX),
    open,
    over: several.length - open,
    alone: rows.length - several.length,
  }
}

export interface IncidentFeedOptions {
  readonly ask: () => Promise<IncidentsAnswer>
  readonly take: (answer: IncidentsAnswer) => void
  readonly fail: (error: unknown) => void
  readonly nowMs: () => number
}

/** Asks when it is told that alerts have changed, never while nobody looks, one question at a time. */
export class IncidentFeed {
  readonly #options: IncidentFeedOptions
  #isChanged = true
  #isAsking = false
  #soonestMs = Number.NEGATIVE_INFINITY
  #latestMs = Number.NEGATIVE_INFINITY

  constructor(options: IncidentFeedOptions) {
    this.#options = options
  }

  changed(): void {
    this.#isChanged = true
  }

  /** Called every second or so. Never rejects; resolves when an answer, if one was asked for, has been taken. */
  async tick(isVisible: boolean): Promise<void> {
    const { ask, take, fail, nowMs } = this.#options
    const startMs = nowMs()
    if (this.#isAsking || !isVisible || startMs < (this.#isChanged ? this.#soonestMs : this.#latestMs)) return
    this.#isAsking = true
    // What changes from here on may be missing in the answer.
    this.#isChanged = false
    try {
      take(await ask())
    } catch (error) {
      this.#isChanged = true
      fail(error)
    }
    this.#isAsking = false
    const pauseMs = Math.max(ASK_EVERY_MS, ASK_COST_FACTOR * (nowMs() - startMs))
    this.#soonestMs = startMs + Math.min(pauseMs, ASK_IDLE_MS)
    this.#latestMs = startMs + ASK_IDLE_MS
  }
}
