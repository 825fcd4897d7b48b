/**
 * What becomes of alerts when detectors are switched: those of the detectors that were, against those that the new ones
 * would have open had they judged the history. Pure, and a function of the two lists.
 *
 * - Both say so of a group: it is the same alert. It goes on under its id and with its beginning, and nothing is told
 *   but what is news: that it fires, or is more severe.
 * - Only the old one said so: it is ended, with a reason that says why.
 * - Only the new one says so: it is told, as of now.
 *
 * An alert never becomes less severe (decisions/alerts.md). One that would is ended, and another begins.
 */
import type { Alert } from '../contract/alert.ts'
import { SEVERITIES } from '../contract/plan.ts'

export interface StandingAlert {
  /** As it was told last, or would have been. */
  readonly alert: Alert
  readonly row: number
}

export interface AlertSwitch {
  /** Transitions to tell, in order. */
  readonly told: readonly Alert[]
  /** What the new detectors' cells must say of alerts that go on. */
  readonly kept: readonly {
    readonly detector: string
    readonly row: number
    readonly sinceMs: number
    readonly fires: boolean
  }[]
  readonly goesOn: number
  readonly ended: number
  readonly begun: number
}

export interface AlertSwitchInput {
  readonly before: readonly StandingAlert[]
  readonly after: readonly StandingAlert[]
  /** `pipeline/detector/partition/groupId/sinceMs` */
  readonly idOf: (standing: StandingAlert, sinceMs: number) => string
  /** When: event time, and log time for silence. */
  readonly eventMs: number
  readonly logMs: number
  /** Detectors of the new plan. */
  readonly detectors: ReadonlySet<string>
}

export function switchAlerts(input: AlertSwitchInput): AlertSwitch {
  const { idOf, detectors } = input
  const told: Alert[] = []
  const kept: AlertSwitch['kept'][number][] = []
  const counts = { goesOn: 0, ended: 0, begun: 0 }
  const nowOf = ({ column }: Alert): number => (column === null ? input.logMs : input.eventMs)
  const open = new Map(input.after.map((standing) => [keyOf(standing), standing]))
  const end = (alert: Alert, why: string): void => {
    counts.ended++
    told.push({
      ...alert,
      state: 'resolved',
      atMs: nowOf(alert),
      ...NO_VERDICT,
      reason: `ended by a switch of detectors: ${why}`,
    })
  }
  const begin = (standing: StandingAlert, sinceMs: number): void => {
    counts.begun++
    const { alert } = standing
    told.push({ ...alert, id: idOf(standing, sinceMs), sinceMs, atMs: nowOf(alert), reason: found(alert) })
  }
  for (const standing of [...input.before].sort(inOrder)) {
    const { alert, row } = standing
    const { detector, sinceMs } = alert
    const other = open.get(keyOf(standing))
    open.delete(keyOf(standing))
    if (other === undefined) {
      const why = detectors.has(detector)
        ? 'as it is now it finds nothing wrong'
        : 'the pipeline has it no more'
      end(alert, `${detector}: ${why}`)
      continue
    }
    const now = other.alert
    const more = SEVERITIES.indexOf(now.severity) - SEVERITIES.indexOf(alert.severity)
    if (more < 0) {
      end(alert, `${detector}: as it is now it takes this for ${now.severity}`)
      // Under an id of its own.
      const fromMs = now.sinceMs === sinceMs ? sinceMs + 1 : now.sinceMs
      kept.push({ detector, row, sinceMs: fromMs, fires: now.state === 'firing' })
      begin(other, fromMs)
      continue
    }
    counts.goesOn++
    const fires = alert.state === 'firing' || now.state === 'firing'
    kept.push({ detector, row, sinceMs, fires })
    if (!fires || (alert.state === 'firing' && more === 0)) continue
    const { id } = alert
    told.push({ ...now, id, sinceMs, state: 'firing', atMs: nowOf(alert), reason: found(now) })
  }
  for (const standing of [...open.values()].sort(inOrder)) begin(standing, standing.alert.sinceMs)
  return { told, kept, ...counts }
}

function found({ reason }: Alert): string {
  return `${reason} (found by a switch of detectors)`
}

function keyOf({ alert, row }: StandingAlert): string {
  return `${row}/${alert.detector}`
}

function inOrder(a: StandingAlert, b: StandingAlert): number {
  if (a.alert.detector !== b.alert.detector) return a.alert.detector < b.alert.detector ? -1 : 1
  return a.row - b.row
}

const NO_VERDICT = { value: null, score: null, expected: null, lower: null, upper: null } as const
