/**
 * Says in a line when an alert fires or resolves, by asking the node now and then. What fires when it starts is said too;
 * what fires and resolves between two looks is not: the alert history has it.
 */
import type { Alert } from '../engine/contract/alert.ts'
import type { Queries } from '../engine/contract/queries.ts'
import { seriesText } from '../engine/series/series-key.ts'

const POLL_MS = 500

export interface AlertWatch {
  close(): void
}

export function watchAlerts(queries: Pick<Queries, 'alerts'>, say: (line: string) => void): AlertWatch {
  let firing = new Map<string, Alert>()
  let looking = false
  const look = async (): Promise<void> => {
    const now = new Map<string, Alert>()
    for (const alert of await queries.alerts({ state: 'firing' })) now.set(alert.id, alert)
    for (const alert of now.values()) if (!firing.has(alert.id)) say(`firing    ${alertText(alert)}`)
    for (const alert of firing.values()) if (!now.has(alert.id)) say(`resolved  ${alertText(alert)}`)
    firing = now
  }
  const timer = setInterval(() => {
    if (looking) return
    looking = true
    look()
      .catch(() => {
        // The node is stopping, and says itself if something is wrong.
      })
      .finally(() => {
        looking = false
      })
  }, POLL_MS)
  timer.unref()
  return { close: () => clearInterval(timer) }
}

/** `host-usage/full host_cpu_busy_ratio{cpu="0"} since 12:00:05: …`. */
export function alertText(alert: Alert): string {
  const since = new Date(alert.sinceMs).toISOString().slice(11, 19)
  return `${alert.pipeline}/${alert.detector} ${seriesText(alert.group)} since ${since} UTC: ${alert.reason}`
}
