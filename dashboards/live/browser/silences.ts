/**
 * Silences that hold now or are to come: for whom, until when, and why; and buttons by which one is made of an alert that
 * stands, for an hour, and ended (/api/v1/silences). What came of it is told by the stream.
 */
import type { Alert } from '../../../engine/contract/alert.ts'
import type { SilenceMade, SilenceRow } from '../../../engine/contract/silences.ts'
import { byId, keepFocus, make, setText } from './dom.ts'
import { clock, duration } from './format.ts'
import { failureText, tell } from './tell.ts'

const PATH = '/api/v1/silences'
const NAME_LABEL = '__name__'

export class SilencesView {
  readonly #section = byId('silences')
  readonly #list = byId('silences-list')
  readonly #times: { readonly element: HTMLElement; readonly row: SilenceRow }[] = []
  readonly #redraw: () => void
  #rows: readonly SilenceRow[] = []
  /** By what was asked for: an alert's id, or a silence. Of what failed, why; empty: it is under way. */
  readonly #asked = new Map<string, string>()

  /** `redraw`: draws the alerts anew. */
  constructor(redraw: () => void) {
    this.#redraw = redraw
  }

  draw(rows: readonly SilenceRow[], nowMs: number): void {
    this.#rows = rows
    this.#times.length = 0
    this.#section.hidden = rows.length === 0
    keepFocus(() => this.#list.replaceChildren(...rows.map((row) => this.#silence(row))))
    this.tick(nowMs)
  }

  /** Time goes on. */
  tick(nowMs: number): void {
    for (const { element, row } of this.#times) {
      const { state, fromMs, untilMs } = row
      const left = duration(Math.max(0, (state === 'active' ? untilMs : fromMs) - nowMs))
      setText(element, state === 'active' ? `for ${left} more` : `in ${left}`)
    }
  }

  /** Null: it is silenced, or over. `where`: which of several places on the page. */
  control(alert: Alert & { readonly silencedBy?: number }, where: string): readonly HTMLElement[] {
    if (alert.silencedBy !== undefined || alert.state === 'resolved') return []
    const { id, pipeline, detector, group } = alert
    const match = Object.entries(group).map(([label, value]) => {
      return `${label === NAME_LABEL ? 'name' : label}=${JSON.stringify(value)}`
    })
    const body = { match, pipeline, detector, for: '1h', comment: 'from the live page' }
    const button = this.#button('Silence 1 h', id, `${where} ${id}`, async () => {
      const { silence } = await tell<SilenceMade>('POST', PATH, body)
      return `silenced until ${clock(silence.untilMs)}`
    })
    button.title = 'Sinks are told nothing of this series for an hour; what still fires then is told'
    return [button, ...this.#failure(id)]
  }

  #silence(row: SilenceRow): HTMLElement {
    const { id, state, match, pipeline, detector, severity, fromMs, untilMs, comment } = row
    const named = { pipeline, detector, severity }
    const whom = [
      ...match,
      ...Object.entries(named).flatMap(([what, name]) => (name === null ? [] : [`${what} ${name}`])),
    ]
    const age = make('span', 'age')
    this.#times.push({ element: age, row })
    const key = `silence ${id}`
    const end = this.#button('End', key, key, async () => {
      await tell('DELETE', `${PATH}?id=${id}`)
      return 'silence ended'
    })
    end.setAttribute('aria-label', `End silence ${id}`)
    return make(
      'li',
      'alert silence',
      make('div', 'alert-head', make('span', 'mark', `${state} ${id}`), age),
      make('p', 'reason', whom.join(', ')),
      make('p', 'quiet', `${clock(fromMs)} to ${clock(untilMs)} · ${comment}`),
      make('p', 'say', end, ...this.#failure(key)),
    )
  }

  #button(text: string, key: string, focus: string, act: () => Promise<string>): HTMLElement {
    const button = make('button', 'button small', text)
    button.type = 'button'
    button.dataset.alert = `${text} ${focus}`
    button.setAttribute('aria-disabled', String(this.#asked.get(key) === ''))
    button.addEventListener('click', () => {
      if (this.#asked.get(key) !== '') void this.#ask(key, act)
    })
    return button
  }

  #failure(key: string): HTMLElement[] {
    const why = this.#asked.get(key) ?? ''
    return why === '' ? [] : [make('span', 'quiet', why)]
  }

  async #ask(key: string, act: () => Promise<string>): Promise<void> {
    this.#asked.set(key, '')
    this.#redraw()
    try {
      setText(byId('voice'), await act())
      this.#asked.delete(key)
    } catch (error) {
      this.#asked.set(key, failureText(error))
    }
    this.#redraw()
    this.draw(this.#rows, Date.now())
  }
}
