/** What fires and is pending now, with its reason, and what happened lately. Says aloud when something fires or resolves. */
import type { Alert } from '../../../engine/contract/alert.ts'
import { keepFocus, make, setText } from './dom.ts'
import type { Feedback } from './feedback.ts'
import { clock, count, duration, groupText, number } from './format.ts'
import type { Model } from './model.ts'
import type { SilencesView } from './silences.ts'

const RECENT_MAX = 30

export interface AlertsOptions {
  readonly now: HTMLElement
  readonly recent: HTMLElement
  readonly summary: HTMLElement
  readonly voice: HTMLElement
  readonly model: Model
  readonly open: (alert: Alert) => void
  readonly feedback: Feedback
  readonly silences: SilencesView
}

export class AlertsView {
  readonly #options: AlertsOptions
  readonly #ages: { readonly element: HTMLElement; readonly sinceMs: number }[] = []

  constructor(options: AlertsOptions) {
    this.#options = options
  }

  say(alert: Alert): void {
    if (alert.state === 'pending') return
    setText(this.#options.voice, `${alert.state}: ${groupText(alert.group)}, ${alert.reason}`)
  }

  draw(): void {
    const { now, recent, summary, model } = this.#options
    const { alerts, total } = model.alerts
    const order = { firing: 0, pending: 1, resolved: 2 }
    const standing = [...alerts].sort((a, b) => order[a.state] - order[b.state] || b.sinceMs - a.sinceMs)
    const firing = alerts.filter(({ state }) => state === 'firing').length
    setText(summary, total === 0 ? '' : `${count(firing)} firing, ${count(total - firing)} pending`)
    this.#ages.length = 0
    const happened = model.transitions
      .filter(({ state }) => state !== 'pending')
      .slice(-RECENT_MAX)
      .reverse()
    keepFocus(() => {
      now.replaceChildren(
        ...(standing.length === 0
          ? [make('li', 'calm', 'All within their bands.')]
          : standing.map((alert) => this.#standing(alert))),
        ...(total > alerts.length ? [make('li', 'quiet', `and ${count(total - alerts.length)} more`)] : []),
      )
      recent.replaceChildren(
        ...(happened.length === 0
          ? [make('li', 'quiet', 'Nothing has fired yet.')]
          : happened.map((alert) => this.#happened(alert))),
      )
    })
    this.tick()
  }

  /** Ages go on. */
  tick(): void {
    const nowMs = this.#options.model.status?.nowMs ?? Date.now()
    for (const { element, sinceMs } of this.#ages) setText(element, duration(nowMs - sinceMs))
  }

  #standing(alert: Alert): HTMLElement {
    const age = make('span', 'age')
    this.#ages.push({ element: age, sinceMs: alert.sinceMs })
    return make(
      'li',
      `alert ${alert.state}`,
      make('div', 'alert-head', make('span', `pill ${alert.state}`, alert.state), ...marksOf(alert), age),
      this.#opener(alert, 'now'),
      make('p', 'reason', alert.reason),
      make('p', 'quiet', numbersOf(alert)),
      this.#controls(alert),
    )
  }

  #controls(alert: Alert): HTMLElement {
    const { feedback, silences } = this.#options
    const controls = feedback.controls(alert, 'now') ?? make('p', 'say')
    controls.append(...silences.control(alert, 'now'))
    controls.hidden = controls.childElementCount === 0
    return controls
  }

  #happened(alert: Alert): HTMLElement {
    const time = make('time', 'age', clock(alert.atMs))
    time.dateTime = new Date(alert.atMs).toISOString()
    return make(
      'li',
      `event ${alert.state}`,
      make('div', 'alert-head', make('span', `pill ${alert.state}`, alert.state), ...marksOf(alert), time),
      this.#opener(alert, 'then'),
      make('p', 'reason', alert.reason),
      alert.state === 'resolved' ? this.#options.feedback.controls(alert, 'then') : null,
    )
  }

  #opener(alert: Alert, where: string): HTMLElement {
    const button = make('button', 'link', groupText(alert.group))
    button.type = 'button'
    button.title = `${alert.pipeline} / ${alert.detector}`
    button.dataset.alert = `${where} ${alert.id} ${alert.state}`
    button.addEventListener('click', () => this.#options.open(alert))
    return button
  }
}

function numbersOf({ pipeline, detector, value, expected, lower, upper }: Alert): string {
  const parts = [`${pipeline} / ${detector}`]
  if (value !== null) parts.push(`was ${number(value)}`)
  if (expected !== null) parts.push(`expected ${number(expected)}`)
  if (lower !== null || upper !== null) parts.push(`band ${bandText(lower, upper)}`)
  return parts.join(' · ')
}

export function bandText(lower: number | null, upper: number | null): string {
  if (lower === null && upper === null) return '–'
  if (lower === null) return `up to ${number(upper)}`
  return upper === null ? `from ${number(lower)}` : `${number(lower)} to ${number(upper)}`
}

/** What makes it more, or less, than an alert like most. Those of before severities have none. */
export function marksOf({
  severity,
  flapping,
  silencedBy,
}: Pick<Alert, 'severity' | 'flapping'> & { readonly silencedBy?: number }): HTMLElement[] {
  const marks: HTMLElement[] = []
  if (severity === 'critical' || severity === 'info') marks.push(make('span', `mark ${severity}`, severity))
  if (flapping === true) marks.push(make('span', 'mark', 'flapping'))
  if (silencedBy !== undefined) marks.push(make('span', 'mark silenced', `silenced by ${silencedBy}`))
  return marks
}
