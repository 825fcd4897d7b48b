/** Alerts that belong together: since when, what they share, whether one still fires, and what moved first. */
import type { Incident, IncidentAlert, IncidentsAnswer } from '../../../engine/contract/queries.ts'
import { marksOf } from './alerts.ts'
import { keepFocus, make, setText } from './dom.ts'
import { count, duration, groupText, labels, metricName, moment } from './format.ts'
import { IncidentFeed, listIncidents, PARTS_SHOWN_MAX } from './incidents.ts'

/** Together with what fires, whatever its age. */
const PATH = '/api/v1/incidents?from=-1h'
const ANSWER_MS_MAX = 30_000

export interface IncidentsOptions {
  readonly section: HTMLElement
  readonly list: HTMLElement
  readonly summary: HTMLElement
  readonly nowMs: () => number
  readonly open: (alert: IncidentAlert) => void
}

export class IncidentsView {
  readonly #options: IncidentsOptions
  readonly #feed: IncidentFeed
  readonly #ages: { readonly element: HTMLElement; readonly sinceMs: number }[] = []
  /** The answer that is drawn, as text: most answers are the same as before. */
  #drawn = ''

  constructor(options: IncidentsOptions) {
    this.#options = options
    this.#feed = new IncidentFeed({
      ask: askIncidents,
      take: (answer) => this.#take(answer),
      fail: (error) => this.#fail(error),
      nowMs: () => performance.now(),
    })
  }

  /** Alerts are not as they were. */
  changed(): void {
    this.#feed.changed()
  }

  /** Once a second, while the node answers. */
  tick(): void {
    void this.#feed.tick(!document.hidden)
    const nowMs = this.#options.nowMs()
    for (const { element, sinceMs } of this.#ages) setText(element, duration(nowMs - sinceMs))
  }

  #take(answer: IncidentsAnswer): void {
    const text = JSON.stringify(answer)
    if (text === this.#drawn) return
    this.#drawn = text
    const { section, list, summary } = this.#options
    const { shown, open, over, alone } = listIncidents(answer.rows)
    section.hidden = shown.length === 0
    setText(summary, `${count(open)} firing, ${count(over)} over in an hour`)
    this.#ages.length = 0
    const left = open + over - shown.length
    const notes = [
      ...(left > 0 ? [`and ${count(left)} more`] : []),
      ...(alone > 0
        ? [alone === 1 ? 'One more alert stands alone.' : `${count(alone)} more alerts stand alone.`]
        : []),
      ...(answer.isWhole
        ? []
        : ['The hour has more transitions than an answer holds: the newest are missing.']),
    ]
    keepFocus(() => {
      list.replaceChildren(
        ...shown.map((incident) => this.#incident(incident)),
        ...notes.map((note) => make('li', 'quiet', note)),
      )
    })
  }

  /** What was told stays. */
  #fail(error: unknown): void {
    this.#drawn = ''
    const { section, summary } = this.#options
    section.hidden = false
    setText(summary, `not read: ${error instanceof Error ? error.message : 'no answer'}`)
  }

  #incident(incident: Incident): HTMLElement {
    const { severity, sinceMs, untilMs, labels: shared, alerts } = incident
    const state = untilMs === null ? 'firing' : 'resolved'
    const age = make('span', 'age', untilMs === null ? '' : `lasted ${duration(untilMs - sinceMs)}`)
    if (untilMs === null) this.#ages.push({ element: age, sinceMs })
    const left = alerts.length - PARTS_SHOWN_MAX
    return make(
      'li',
      `alert incident ${state}`,
      make(
        'div',
        'alert-head',
        make('span', `pill ${state}`, untilMs === null ? 'firing' : 'over'),
        ...marksOf({ severity }),
        age,
      ),
      make('p', 'shared', Object.keys(shared).length === 0 ? 'no label that all share' : groupText(shared)),
      make(
        'p',
        'quiet',
        `${count(alerts.length)} alerts since `,
        this.#time(sinceMs),
        ...(untilMs === null ? [] : [' until ', this.#time(untilMs)]),
      ),
      make('ol', 'parts', ...alerts.slice(0, PARTS_SHOWN_MAX).map((alert) => this.#part(incident, alert))),
      left > 0 ? make('p', 'quiet', `and ${count(left)} more`) : null,
    )
  }

  #part(incident: Incident, alert: IncidentAlert): HTMLElement {
    const button = make('button', 'link', ownText(incident, alert))
    button.type = 'button'
    button.title = `${alert.pipeline} / ${alert.detector}: ${groupText(alert.group)}`
    button.dataset.alert = `incident ${incident.id} ${alert.id}`
    button.addEventListener('click', () => this.#options.open(alert))
    const isOver = alert.untilMs !== null && incident.untilMs === null
    return make(
      'li',
      '',
      make(
        'div',
        'alert-head',
        button,
        isOver ? make('span', 'age', 'over') : null,
        this.#time(alert.sinceMs, 'age'),
      ),
      make('p', 'reason', alert.reason),
    )
  }

  #time(ms: number, className = ''): HTMLElement {
    const time = make('time', className, moment(ms, this.#options.nowMs()))
    time.dateTime = new Date(ms).toISOString()
    return time
  }
}

/** What it has beside what all share; where that is nothing, who judges it. */
function ownText({ labels: shared }: Incident, { group, pipeline, detector }: IncidentAlert): string {
  const own = [
    metricName(shared) === '' ? metricName(group) : '',
    labels(group, new Set(Object.keys(shared))),
  ].filter((part) => part !== '')
  return own.length === 0 ? `${pipeline} / ${detector}` : own.join(' ')
}

async function askIncidents(): Promise<IncidentsAnswer> {
  const answer = await fetch(PATH, { signal: AbortSignal.timeout(ANSWER_MS_MAX) })
  const body = (await answer.json()) as IncidentsAnswer & { readonly error?: string }
  if (!answer.ok) throw new Error(body.error ?? `status ${answer.status}`)
  return body
}
