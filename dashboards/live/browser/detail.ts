/**
 * One series up close: what is in memory at once, then its history from the results table (GET /api/v1/results), read page
 * by page; new points are added as they come. A dialog, so that Escape and focus are the browser's business.
 */
import type { Alert } from '../../../engine/contract/alert.ts'
import type { Labels } from '../../../engine/contract/samples.ts'
import { bandText, marksOf } from './alerts.ts'
import { type Colors, SeriesChart } from './chart.ts'
import { byId, make, setText } from './dom.ts'
import { type Feedback, MissedForm } from './feedback.ts'
import { clock, count, duration, groupKey, groupText, number, span } from './format.ts'
import { soon } from './frame.ts'
import { type Lens, lensesOf, type Model, Points, type Series } from './model.ts'

const RANGES_MS = [300_000, 900_000, 3_600_000, 21_600_000, 86_400_000] as const
/** A range of more windows than this is not offered: no screen shows them. */
const ROWS_MAX = 20_000
const PAGE_ROWS = 5_000
const ALERTS_SHOWN_MAX = 50
const CHART_HEIGHT = 300

interface ResultRow {
  readonly group: Labels
  readonly windowEndMs: number
  readonly values: Readonly<Record<string, number | null>>
  readonly scores: Readonly<
    Record<
      string,
      { score: number | null; expected: number | null; lower: number | null; upper: number | null }
    >
  >
}

export class Detail {
  readonly #model: Model
  readonly #colors: () => Colors
  readonly #dialog: HTMLDialogElement
  readonly #canvas = byId('detail-chart')
  readonly #state = byId('detail-state')
  #series: Series | null = null
  #lens: Lens | null = null
  #points: Points | null = null
  #rangeMs: number = RANGES_MS[0]
  #chart: SeriesChart | null = null
  #cursor: number | null = null
  #asked: AbortController | null = null
  readonly #feedback: Feedback
  readonly #missed = new MissedForm()
  readonly #redraw = (): void => this.#draw()

  constructor(model: Model, colors: () => Colors, feedback: Feedback) {
    this.#model = model
    this.#feedback = feedback
    this.#colors = colors
    this.#dialog = byId('detail') as HTMLDialogElement
    byId('detail-close').addEventListener('click', () => this.#dialog.close())
    this.#dialog.addEventListener('close', () => this.#closed())
    // A click beside it.
    this.#dialog.addEventListener('click', (event) => {
      if (event.target === this.#dialog) this.#dialog.close()
    })
    new ResizeObserver(() => soon(this.#redraw)).observe(this.#canvas)
  }

  get series(): Series | null {
    return this.#series
  }

  open(series: Series): void {
    this.#series = series
    this.#lens = series.lens
    const { plan } = series.view
    setText(byId('detail-title'), groupText(series.group))
    setText(
      byId('detail-about'),
      `${plan.name} · ${plan.window.kind} ${span(plan.window.sizeMs)}, every ${span(plan.window.everyMs)}`,
    )
    this.#offerLenses(lensesOf(series.view))
    const offered = RANGES_MS.filter((rangeMs) => rangeMs / plan.window.everyMs <= ROWS_MAX)
    if (!offered.some((rangeMs) => rangeMs === this.#rangeMs)) this.#rangeMs = offered.at(-1) ?? RANGES_MS[0]
    this.#offerRanges(offered.length === 0 ? [RANGES_MS[0]] : offered)
    history.replaceState(null, '', `#series=${encodeURIComponent(series.key)}`)
    if (!this.#dialog.open) this.#dialog.showModal()
    this.#dialog.scrollTop = 0
    this.#offerMissed()
    void this.#load()
  }

  #offerMissed(): void {
    const { points } = this.#series!
    this.#missed.offer(this.#series!, this.#lens!.detector, points.lastMs)
  }

  /** New points, or alerts. */
  touch(series: Series): void {
    if (this.#series !== null && series.key === this.#series.key) {
      // The node may have started again: then it is another object.
      this.#series = series
      this.#append(series)
      soon(this.#redraw)
    }
  }

  restate(): void {
    if (this.#series === null) return
    this.#drawAlerts()
    soon(this.#redraw)
  }

  repaint(): void {
    this.#chart?.repaint()
  }

  #closed(): void {
    this.#asked?.abort()
    this.#chart?.destroy()
    this.#chart = null
    this.#series = null
    this.#points = null
    history.replaceState(null, '', location.pathname)
  }

  #offerLenses(lenses: readonly Lens[]): void {
    choice(
      byId('detail-lenses'),
      lenses,
      (lens) => (lens.detector === null ? lens.column : `${lens.column} · ${lens.detector}`),
      this.#lens!,
      (lens) => {
        this.#lens = lens
        this.#offerMissed()
        soon(this.#redraw)
      },
    )
  }

  #offerRanges(ranges: readonly number[]): void {
    choice(byId('detail-ranges'), ranges, span, this.#rangeMs, (rangeMs) => {
      this.#rangeMs = rangeMs
      void this.#load()
    })
  }

  async #load(): Promise<void> {
    const series = this.#series!
    this.#asked?.abort()
    const asked = new AbortController()
    this.#asked = asked
    const width = series.points.columns.length
    const points = new Points(width, ROWS_MAX)
    // What is in memory is there at once.
    this.#points = new Points(width, ROWS_MAX)
    this.#append(series)
    this.#drawAlerts()
    soon(this.#redraw)
    setText(this.#state, 'reading…')
    try {
      const newestMs = Number.isNaN(series.points.lastMs) ? Date.now() : series.points.lastMs
      await readHistory(series, newestMs - this.#rangeMs, asked.signal, (rows) => {
        for (const row of rows) points.push(pointOf(series, row), 0)
        setText(this.#state, `reading… ${count(points.length)}`)
      })
      this.#points = points
      this.#append(this.#series ?? series)
      setText(this.#state, `${count(points.length)} windows`)
      soon(this.#redraw)
    } catch (error) {
      if (!asked.signal.aborted)
        setText(this.#state, `not read: ${error instanceof Error ? error.message : 'no answer'}`)
    }
  }

  #append({ points }: Series): void {
    const into = this.#points
    if (into === null) return
    const afterMs = into.length === 0 ? Number.NEGATIVE_INFINITY : into.lastMs
    const { columns } = points
    for (let i = 0; i < points.length; i++) {
      if (columns[0]![i]! > afterMs)
        into.push(
          columns.map((column) => column[i]!),
          0,
        )
    }
  }

  #draw(): void {
    const series = this.#series
    const points = this.#points
    const lens = this.#lens
    const width = this.#canvas.clientWidth
    if (series === null || points === null || lens === null || width === 0) return
    this.#chart ??= new SeriesChart({
      into: this.#canvas,
      width,
      height: CHART_HEIGHT,
      colors: this.#colors,
      isLarge: true,
      onCursor: (index) => {
        this.#cursor = index
        this.#drawNumbers()
      },
    })
    this.#chart.resize(width, CHART_HEIGHT)
    const toMs = points.length === 0 ? Date.now() : points.lastMs
    const firstMs = points.columns[0]![0] ?? toMs
    this.#chart.set({
      columns: points.columns,
      lens,
      spans: this.#model.spans(series.key),
      fromMs: Math.max(toMs - this.#rangeMs, Math.min(firstMs, toMs - 30_000)),
      toMs,
    })
    this.#drawNumbers()
  }

  /** Of the point under the cursor, else of the newest. */
  #drawNumbers(): void {
    const points = this.#points
    const lens = this.#lens
    if (points === null || lens === null) return
    const at = this.#cursor ?? points.length - 1
    const read = (column: number): number | null => points.columns[column]?.[at] ?? null
    const timeMs = read(0)
    const rows: (readonly [string, string])[] = [
      [this.#cursor === null ? 'Newest' : 'At', timeMs === null ? '–' : clock(timeMs)],
      [lens.column, number(read(lens.valueAt))],
    ]
    if (lens.scoreAt >= 0) {
      rows.push(
        ['expected', number(read(lens.scoreAt + 1))],
        ['band', bandText(read(lens.scoreAt + 2), read(lens.scoreAt + 3))],
        ['score', number(read(lens.scoreAt))],
      )
    }
    const into = byId('detail-numbers')
    if (into.children.length !== rows.length) {
      into.replaceChildren(...rows.map(() => make('div', '', make('dt'), make('dd'))))
    }
    for (const [i, [name, value]] of rows.entries()) {
      const row = into.children[i]!
      setText(row.children[0]!, name)
      setText(row.children[1]!, value)
    }
  }

  #drawAlerts(): void {
    const series = this.#series!
    const mine = this.#model.transitions.filter(
      ({ pipeline, group }) => groupKey(pipeline, group) === series.key,
    )
    const shown = mine.slice(-ALERTS_SHOWN_MAX).reverse()
    // Of an alert's transitions, the newest takes what is said of it.
    const isNewest = (alert: Alert): boolean => shown.find(({ id }) => id === alert.id) === alert
    byId('detail-alerts').replaceChildren(
      ...(shown.length === 0
        ? [make('li', 'quiet', 'None lately.')]
        : shown.map((alert) => this.#alert(alert, isNewest(alert)))),
    )
  }

  #alert(alert: Alert, isNewest: boolean): HTMLElement {
    const lasted = alert.state === 'resolved' ? `, lasted ${duration(alert.atMs - alert.sinceMs)}` : ''
    return make(
      'li',
      `event ${alert.state}`,
      make(
        'div',
        'alert-head',
        make('span', `pill ${alert.state}`, alert.state),
        ...marksOf(alert),
        make('span', '', alert.detector),
        make('span', 'age', `${clock(alert.atMs)}${lasted}`),
      ),
      make('p', 'reason', alert.reason),
      isNewest ? this.#feedback.controls(alert, 'detail') : null,
    )
  }
}

/** Buttons of which one is pressed. */
function choice<T>(
  into: HTMLElement,
  all: readonly T[],
  text: (one: T) => string,
  chosen: T,
  choose: (one: T) => void,
): void {
  const buttons = all.map((one) => {
    const button = make('button', 'chip', text(one))
    button.type = 'button'
    button.setAttribute('aria-pressed', String(text(one) === text(chosen)))
    button.addEventListener('click', () => {
      for (const other of buttons) other.setAttribute('aria-pressed', String(other === button))
      choose(one)
    })
    return button
  })
  into.replaceChildren(...buttons)
}

async function readHistory(
  { pipeline, group, key }: Series,
  fromMs: number,
  signal: AbortSignal,
  take: (rows: readonly ResultRow[]) => void,
): Promise<void> {
  const query = new URLSearchParams({ pipeline, from: String(Math.floor(fromMs)), limit: String(PAGE_ROWS) })
  for (const [name, value] of Object.entries(group)) query.set(`group.${name}`, value)
  for (let read = 0; read < ROWS_MAX; ) {
    const answer = await fetch(`/api/v1/results?${query}`, { signal })
    const page = (await answer.json()) as { rows: ResultRow[]; cursor: string | null; error?: string }
    if (!answer.ok) throw new Error(page.error ?? `status ${answer.status}`)
    // Asked for are groups that have these labels; there may be some that have more.
    take(page.rows.filter((row) => groupKey(pipeline, row.group) === key))
    read += page.rows.length
    if (page.cursor === null || page.rows.length === 0) return
    query.set('cursor', page.cursor)
  }
}

function pointOf({ view }: Series, { windowEndMs, values, scores }: ResultRow): (number | null)[] {
  const point: (number | null)[] = [windowEndMs]
  for (const { name } of view.plan.aggregates) point.push(values[name] ?? null)
  for (const { name } of view.scored) {
    const score = scores[name]
    point.push(score?.score ?? null, score?.expected ?? null, score?.lower ?? null, score?.upper ?? null)
  }
  return point
}
