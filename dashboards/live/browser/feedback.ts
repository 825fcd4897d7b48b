/**
 * Buttons by which a person says what he thinks of an alert (POST /api/v1/feedback): this one was expected, or one is missing
 * here. What came of it stands beside the button, with a way back. Lists are made anew with every transition, so what was said
 * is kept here by the alert's id.
 */
import type { Alert } from '../../../engine/contract/alert.ts'
import type { FeedbackAnswer, FeedbackStatement } from '../../../engine/contract/feedback.ts'
import { byId, make, setText } from './dom.ts'
import { number } from './format.ts'
import type { Series } from './model.ts'
import { failureText, tell } from './tell.ts'

/** Statements read when the page opens: those of alerts that it shows are among the newest. */
const STATEMENTS_READ = 1_000
const PATH = '/api/v1/feedback'

interface Said {
  readonly text: string
  /** Can be taken back; null: it cannot, or was. */
  readonly id: number | null
}

export class Feedback {
  readonly #redraw: () => void
  readonly #said = new Map<string, Said>()
  readonly #asked = new Set<string>()

  constructor(redraw: () => void) {
    this.#redraw = redraw
  }

  /** What was said before this page was opened. Without an answer the buttons are there all the same. */
  async load(): Promise<void> {
    try {
      const answer = await fetch(`${PATH}?limit=${STATEMENTS_READ}`)
      const { rows } = (await answer.json()) as { readonly rows?: readonly FeedbackStatement[] }
      for (const row of [...(rows ?? [])].reverse()) {
        if (row.says === 'expected' && row.undoneBy === null) this.#said.set(row.alert!, saidOf(row))
      }
      this.#redraw()
    } catch {
      // The stream tells that the node is gone.
    }
  }

  /** Null: its detector has no band that could be wider. `where`: which of several places on the page. */
  controls(alert: Alert, where: string): HTMLElement | null {
    const { id, column, expected, lower, upper } = alert
    const isFixed = expected === null && (lower !== null || upper !== null)
    if (column === null || isFixed) return null
    const said = this.#said.get(id)
    const isAsked = this.#asked.has(id)
    const button = (text: string, what: string, act: () => void): HTMLElement => {
      const element = make('button', 'button small', text)
      element.type = 'button'
      element.dataset.alert = `${what} ${where} ${id} ${alert.state}`
      element.setAttribute('aria-disabled', String(isAsked))
      element.addEventListener('click', () => {
        if (!this.#asked.has(id)) act()
      })
      return element
    }
    const undoId = said?.id ?? null
    if (undoId !== null) {
      const undo = button('Undo', 'undo', () => void this.#tell(id, { says: 'undo', id: undoId }))
      return make('p', 'say', make('span', 'quiet', said!.text), undo)
    }
    const expect = button('Expected', 'expected', () => void this.#tell(id, { says: 'expected', alert: id }))
    expect.title = 'This was no problem: ask for more before alerting on this series'
    return make('p', 'say', expect, said === undefined ? null : make('span', 'quiet', said.text))
  }

  async #tell(alert: string, body: object): Promise<void> {
    this.#asked.add(alert)
    this.#redraw()
    try {
      const { statement } = await say(body)
      this.#said.set(alert, saidOf(statement))
    } catch (error) {
      // What stood is as it was: an undo that failed can be tried again.
      const before = this.#said.get(alert)
      this.#said.set(alert, { text: failureText(error), id: before?.id ?? null })
    } finally {
      this.#asked.delete(alert)
    }
    const said = this.#said.get(alert)
    if (said !== undefined) setText(byId('voice'), said.text)
    this.#redraw()
  }
}

/** In the dialog of a series: a window that should have alerted, by the detector that is shown. */
export class MissedForm {
  readonly #at = byId('detail-missed-at') as HTMLInputElement
  readonly #said = byId('detail-missed-said')
  readonly #undo = byId('detail-missed-undo') as HTMLButtonElement
  #of: { readonly series: Series; readonly detector: string } | null = null
  #undoId = 0

  constructor() {
    byId('detail-missed-say').addEventListener('click', () => void this.#say())
    this.#undo.addEventListener('click', () => void this.#takeBack())
  }

  /** Null: what is shown has no detector. */
  offer(series: Series, detector: string | null, newestMs: number): void {
    byId('detail-missed').hidden = detector === null
    const isSame = this.#of?.series.key === series.key && this.#of.detector === detector
    this.#of = detector === null ? null : { series, detector }
    if (isSame) return
    this.#tell('', 0)
    this.#at.value = Number.isFinite(newestMs) ? localText(newestMs) : ''
  }

  async #say(): Promise<void> {
    const of = this.#of
    const endMs = new Date(this.#at.value).getTime()
    if (of === null) return
    if (Number.isNaN(endMs)) {
      this.#tell('Give the time at which the window ended.', 0)
      return
    }
    const { pipeline, group } = of.series
    // Within the window: it does not hold the time at which it ends.
    const body = { says: 'missed', pipeline, detector: of.detector, series: group, at: endMs - 1 }
    await this.#ask(body, (answer) => this.#tell(answer.meaning, answer.statement.id))
  }

  async #takeBack(): Promise<void> {
    await this.#ask({ says: 'undo', id: this.#undoId }, (answer) => this.#tell(answer.meaning, 0))
  }

  async #ask(body: object, done: (answer: FeedbackAnswer) => void): Promise<void> {
    try {
      done(await say(body))
    } catch (error) {
      this.#tell(failureText(error), this.#undoId)
    }
  }

  #tell(text: string, undoId: number): void {
    this.#undoId = undoId
    setText(this.#said, text)
    this.#undo.hidden = undoId === 0
  }
}

function say(body: object): Promise<FeedbackAnswer> {
  return tell('POST', PATH, { ...body, by: 'the live page' })
}

function saidOf({ id, says, before, after }: FeedbackStatement): Said {
  if (says === 'undo') return { text: `Taken back: the band is ${widthText(after)}.`, id: null }
  if (after === before) return { text: `Said; the band stays ${widthText(after)}.`, id }
  return { text: `Said; the band was made ${widthText(after)}.`, id }
}

function widthText(factor: number): string {
  return factor === 1 ? 'as wide as learned' : `${number(factor)} times as wide as learned`
}

/** As `datetime-local` wants it: the wall clock of this browser, to the second. */
function localText(ms: number): string {
  const date = new Date(ms)
  return new Date(ms - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19)
}
