/** Alerts that belong together: since when, what they share, whether one of them still fires. */
import type { LiveIncident, LiveIncidents } from '../../../engine/contract/live.ts'
import type { IncidentAlert } from '../../../engine/contract/queries.ts'
import { marksOf } from './alerts.ts'
import { byId, make, setText } from './dom.ts'
import { clock, count, duration, groupText } from './format.ts'

export class IncidentsView {
  readonly #section = byId('incidents')
  readonly #list = byId('incidents-list')
  readonly #open: (alert: IncidentAlert) => void
  /** Of those that go on. */
  readonly #ages: { readonly element: HTMLElement; readonly sinceMs: number }[] = []
  /** Ids of incidents whose alerts are shown. */
  readonly #unfolded = new Set<string>()

  constructor(open: (alert: IncidentAlert) => void) {
    this.#open = open
  }

  draw({ incidents, total, isWhole }: LiveIncidents, nowMs: number): void {
    const focused =
      document.activeElement instanceof HTMLElement ? document.activeElement.dataset.incident : undefined
    const known = new Set(incidents.map(({ id }) => id))
    for (const id of this.#unfolded) if (!known.has(id)) this.#unfolded.delete(id)
    this.#ages.length = 0
    this.#section.hidden = incidents.length === 0
    const more = total - incidents.length
    this.#list.replaceChildren(
      ...incidents.map((incident) => this.#incident(incident)),
      ...(more > 0 ? [make('li', 'quiet', `and ${count(more)} more`)] : []),
      ...(isWhole ? [] : [make('li', 'quiet', 'The newest alerts are too many to be put together.')]),
    )
    // What had the focus has been made anew.
    if (focused !== undefined)
      document.querySelector<HTMLElement>(`[data-incident="${CSS.escape(focused)}"]`)?.focus()
    this.tick(nowMs)
  }

  /** Ages go on. */
  tick(nowMs: number): void {
    for (const { element, sinceMs } of this.#ages) setText(element, duration(nowMs - sinceMs))
  }

  #incident(incident: LiveIncident): HTMLElement {
    const { id, sinceMs, untilMs, labels, total, firing, alerts } = incident
    const age = make('span', 'age')
    if (untilMs === null) this.#ages.push({ element: age, sinceMs })
    else setText(age, `for ${duration(untilMs - sinceMs)}`)
    const state = untilMs === null ? 'firing' : 'resolved'
    const shared = Object.keys(labels).length === 0 ? 'no label in common' : groupText(labels)
    const standing = untilMs === null ? `${count(firing)} of ${count(total)} still firing` : `${count(total)} alerts`
    const summary = make('summary', '', standing)
    summary.dataset.incident = id
    const details = make('details', '', summary, make('ul', '', ...this.#alerts(id, alerts, total)))
    details.open = this.#unfolded.has(id)
    details.addEventListener('toggle', () => {
      if (details.open) this.#unfolded.add(id)
      else this.#unfolded.delete(id)
    })
    return make(
      'li',
      `alert incident ${state}`,
      make(
        'div',
        'alert-head',
        make('span', `pill ${state}`, untilMs === null ? 'open' : 'over'),
        ...marksOf(incident),
        age,
      ),
      make('p', 'reason', shared),
      make('p', 'quiet', 'since ', timeOf(sinceMs), untilMs === null ? '' : ' until ', untilMs === null ? null : timeOf(untilMs)),
      details,
    )
  }

  /** What moved first comes first. */
  #alerts(id: string, alerts: readonly IncidentAlert[], total: number): HTMLElement[] {
    const items = alerts.map((alert) => {
      const button = make('button', 'link', groupText(alert.group))
      button.type = 'button'
      button.title = `${alert.pipeline} / ${alert.detector}`
      button.dataset.incident = `${id} ${alert.id}`
      button.addEventListener('click', () => this.#open(alert))
      return make('li', '', timeOf(alert.sinceMs), button, make('span', 'quiet', alert.untilMs === null ? 'firing' : 'over'))
    })
    if (total > alerts.length) items.push(make('li', 'quiet', `and ${count(total - alerts.length)} more`))
    return items
  }
}

function timeOf(ms: number): HTMLElement {
  const time = make('time', '', clock(ms))
  time.dateTime = new Date(ms).toISOString()
  return time
}
