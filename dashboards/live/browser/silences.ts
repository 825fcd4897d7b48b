/** Silences that hold now or are to come: for whom, until when, and why. They are made with `millrace alerts silence`. */
import type { SilenceRow } from '../../../engine/contract/silences.ts'
import { byId, make, setText } from './dom.ts'
import { clock, duration } from './format.ts'

export class SilencesView {
  readonly #section = byId('silences')
  readonly #list = byId('silences-list')
  readonly #times: { readonly element: HTMLElement; readonly row: SilenceRow }[] = []

  draw(rows: readonly SilenceRow[], nowMs: number): void {
    this.#times.length = 0
    this.#section.hidden = rows.length === 0
    this.#list.replaceChildren(...rows.map((row) => this.#silence(row)))
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

  #silence(row: SilenceRow): HTMLElement {
    const { id, state, match, pipeline, detector, severity, fromMs, untilMs, comment } = row
    const named = { pipeline, detector, severity }
    const whom = [
      ...match,
      ...Object.entries(named).flatMap(([what, name]) => (name === null ? [] : [`${what} ${name}`])),
    ]
    const age = make('span', 'age')
    this.#times.push({ element: age, row })
    const span = `${clock(fromMs)} to ${clock(untilMs)}`
    return make(
      'li',
      'alert silence',
      make('div', 'alert-head', make('span', 'mark', `${state} ${id}`), age),
      make('p', 'reason', whom.join(', ')),
      make('p', 'quiet', `${span} · ${comment}`),
    )
  }
}
