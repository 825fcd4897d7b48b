/**
 * All series as cards, by pipeline: value, band, state. Only cards in view have a canvas and are redrawn; the others wait
 * until they are scrolled to. Arrow keys go from card to card, Enter opens one.
 */
import { type Colors, SeriesChart } from './chart.ts'
import { make, setClass, setText } from './dom.ts'
import { count, groupText, labels, metricName, number, perSecond } from './format.ts'
import { soon } from './frame.ts'
import type { Model, PlanView, Series } from './model.ts'

const CHART_HEIGHT = 72
/** As in the style sheet: narrowest card, and the gap between two. */
const CARD_WIDTH_MIN = 236
const CARD_GAP = 10
/** A card is made before it comes into view by this much. */
const VIEW_MARGIN = '160px'
/** What a new series is shown over at least, in windows. */
const SPAN_WINDOWS_MIN = 60
const STALE_WINDOWS = 5

export interface CardsOptions {
  readonly into: HTMLElement
  readonly model: Model
  readonly colors: () => Colors
  readonly open: (series: Series) => void
}

interface Card {
  readonly series: Series
  /** Cards of a pipeline are in this order. */
  readonly order: string
  readonly element: HTMLElement
  readonly button: HTMLButtonElement
  readonly name: HTMLElement
  readonly labels: HTMLElement
  readonly value: HTMLElement
  readonly state: HTMLElement
  readonly canvas: HTMLElement
  chart: SeriesChart | null
  isInView: boolean
  isHidden: boolean
}

interface Section {
  readonly view: PlanView
  readonly element: HTMLElement
  readonly toggle: HTMLButtonElement
  readonly about: HTMLElement
  readonly list: HTMLElement
  readonly cards: Card[]
  isOpen: boolean
  /** Labels that all cards have alike: said once, above. */
  common: ReadonlySet<string>
}

export class Cards {
  readonly #options: CardsOptions
  readonly #sections = new Map<string, Section>()
  readonly #cards = new Map<number, Card>()
  readonly #byElement = new WeakMap<Element, Card>()
  readonly #dirty = new Set<Card>()
  readonly #inView: IntersectionObserver
  readonly #none: HTMLElement
  #query = ''
  #onlyAlerts = false
  readonly #redraw = (): void => this.#draw()
  readonly #spreadSoon = (): void => this.#spread()

  constructor(options: CardsOptions) {
    this.#options = options
    this.#inView = new IntersectionObserver((entries) => this.#onView(entries), { rootMargin: VIEW_MARGIN })
    this.#none = make('p', 'none')
    new ResizeObserver(() => {
      this.#spread()
      this.all()
    }).observe(options.into)
    options.into.addEventListener('keydown', (event) => this.#onKey(event))
  }

  /** Forgets all cards. */
  start(): void {
    for (const card of this.#cards.values()) {
      card.chart?.destroy()
      this.#inView.unobserve(card.element)
    }
    this.#cards.clear()
    this.#dirty.clear()
    this.#sections.clear()
    for (const view of this.#options.model.plans) this.#sections.set(view.plan.name, this.#makeSection(view))
    const sections = [...this.#sections.values()]
    this.#options.into.replaceChildren(...sections.map(({ element }) => element), this.#none)
    this.#filter()
  }

  add(series: Series): void {
    const section = this.#sections.get(series.pipeline)
    if (section === undefined) return
    const known = this.#cards.get(series.id)
    if (known !== undefined) {
      this.#touch(known)
      return
    }
    const card = this.#makeCard(series)
    const at = placeOf(card, section.cards)
    section.list.insertBefore(card.element, section.cards[at]?.element ?? null)
    section.cards.splice(at, 0, card)
    this.#cards.set(series.id, card)
    this.#byElement.set(card.element, card)
    this.#inView.observe(card.element)
    this.#label(section, card)
    this.#filterCard(card)
    this.#touch(card)
    soon(this.#spreadSoon)
  }

  touch(series: Series): void {
    const card = this.#cards.get(series.id)
    if (card !== undefined) this.#touch(card)
  }

  /** Everything in view is drawn anew: another size, other colours. */
  all(): void {
    for (const card of this.#cards.values()) this.#touch(card)
  }

  repaint(): void {
    for (const { chart } of this.#cards.values()) chart?.repaint()
  }

  search(query: string): void {
    this.#query = query.trim().toLowerCase()
    this.#filter()
  }

  onlyAlerts(only: boolean): void {
    this.#onlyAlerts = only
    this.#filter()
  }

  /** Alerts have changed: which cards are shown may have too. */
  restate(): void {
    if (this.#onlyAlerts) this.#filter()
    this.all()
    this.summarize()
  }

  /** What is said of each pipeline above its cards. */
  summarize(): void {
    const { model } = this.#options
    for (const [name, { about, cards, common }] of this.#sections) {
      const status = model.status?.pipelines.find((pipeline) => pipeline.name === name)
      const streamed = cards.length
      const groups = Math.max(streamed, status?.groups ?? 0)
      const shown =
        groups > streamed ? `${count(streamed)} of ${count(groups)} series` : `${count(streamed)} series`
      const shared =
        cards[0] === undefined || common.size === 0 ? '' : groupText(only(cards[0].series, common))
      const rate = model.ratesOf(name).results
      setText(
        about,
        [shown, perSecond(rate).replace('/s', ' results/s'), shared]
          .filter((part) => part !== '')
          .join(' · '),
      )
    }
  }

  #makeSection(view: PlanView): Section {
    const { name } = view.plan
    const id = `cards-${name}`
    const toggle = make('button', 'toggle', name)
    toggle.type = 'button'
    toggle.setAttribute('aria-controls', id)
    const about = make('span', 'quiet')
    const list = make('ul', 'cards')
    list.id = id
    const element = make('section', 'pipeline-cards', make('header', '', make('h3', '', toggle), about), list)
    element.setAttribute('aria-label', `Series of ${name}`)
    // Silence has no band to look at: its cards are there when asked for.
    const section: Section = {
      view,
      element,
      toggle,
      about,
      list,
      cards: [],
      isOpen: view.scored.length > 0,
      common: new Set(),
    }
    const show = (): void => {
      toggle.setAttribute('aria-expanded', String(section.isOpen))
      list.hidden = !section.isOpen
    }
    toggle.addEventListener('click', () => {
      section.isOpen = !section.isOpen
      show()
      this.#spread()
    })
    show()
    return section
  }

  #makeCard(series: Series): Card {
    const name = make('span', 'name')
    const button = make('button', 'card-open', name)
    button.type = 'button'
    button.tabIndex = this.#cards.size === 0 ? 0 : -1
    button.addEventListener('click', () => this.#options.open(series))
    const about = make('span', 'labels')
    const value = make('span', 'value')
    const state = make('span', 'state')
    const canvas = make('div', 'canvas')
    const element = make('li', 'card', button, make('div', 'card-head', about, value), canvas, state)
    element.dataset.series = series.key
    const nodes = { element, button, name, labels: about, value, state, canvas }
    return { series, order: groupText(series.group), ...nodes, chart: null, isInView: false, isHidden: false }
  }

  /** Names say what tells series apart; what they have in common stands above them. */
  #label(section: Section, added: Card): void {
    const { cards } = section
    const first = cards[0]!.series.group
    const common = new Set(
      cards.length < 2
        ? []
        : Object.keys(first).filter((name) =>
            cards.every(({ series }) => series.group[name] === first[name]),
          ),
    )
    const isSame =
      common.size === section.common.size && [...common].every((name) => section.common.has(name))
    section.common = common
    for (const card of isSame ? [added] : cards) {
      const { group } = card.series
      const rest = labels(group, common)
      const metric = common.has('__name__') && rest !== '' ? '' : metricName(group)
      // What is most its own comes first and large.
      setText(card.name, metric || rest || 'all samples')
      setText(card.labels, metric === '' ? '' : rest)
      card.name.title = [metricName(group), labels(group)].join(' ').trim()
    }
  }

  /** Pipelines of few series share a row. */
  #spread(): void {
    const width = this.#options.into.clientWidth
    const columns = Math.max(1, Math.floor((width + CARD_GAP) / (CARD_WIDTH_MIN + CARD_GAP)))
    for (const { element, list, cards } of this.#sections.values()) {
      const shown = list.hidden ? 1 : cards.filter(({ isHidden }) => !isHidden).length
      const span = `span ${Math.min(columns, Math.max(1, shown))}`
      if (element.style.gridColumn !== span) element.style.gridColumn = span
    }
  }

  #touch(card: Card): void {
    this.#dirty.add(card)
    if (card.isInView) soon(this.#redraw)
  }

  #onView(entries: readonly IntersectionObserverEntry[]): void {
    for (const { target, isIntersecting } of entries) {
      const card = this.#byElement.get(target)
      if (card === undefined) continue
      card.isInView = isIntersecting
      if (isIntersecting) this.#touch(card)
      else {
        card.chart?.destroy()
        card.chart = null
      }
    }
  }

  #draw(): void {
    const due = [...this.#dirty].filter((card) => card.isInView && !card.isHidden)
    // Sizes first, then changes: one layout for all of them.
    const widths = due.map(({ canvas }) => canvas.clientWidth)
    for (const [i, card] of due.entries()) {
      this.#dirty.delete(card)
      if (widths[i]! > 0) this.#drawCard(card, widths[i]!)
    }
  }

  #drawCard(card: Card, width: number): void {
    const { series } = card
    const { model, colors } = this.#options
    const { points, lens, view } = series
    const everyMs = view.plan.window.everyMs
    const nowMs = Math.max(points.lastMs, this.#newestMs(series.pipeline))
    const spanMs = everyMs * (model.hello?.pointsMax ?? SPAN_WINDOWS_MIN)
    const firstMs = points.columns[0]![0] ?? nowMs
    const fromMs = Math.max(nowMs - spanMs, Math.min(firstMs, nowMs - everyMs * SPAN_WINDOWS_MIN))
    const state = model.stateOf(series.key)
    const isStale = nowMs - points.lastMs > everyMs * STALE_WINDOWS
    setText(card.value, number(points.last(lens.valueAt)))
    setText(card.state, state !== 'ok' ? state : isStale ? 'no samples' : '')
    setClass(card.element, `card ${state}${isStale ? ' stale' : ''}`)
    card.chart ??= new SeriesChart({ into: card.canvas, width, height: CHART_HEIGHT, colors, isLarge: false })
    card.chart.resize(width, CHART_HEIGHT)
    card.chart.set({ columns: points.columns, lens, spans: model.spans(series.key), fromMs, toMs: nowMs })
  }

  /** Event time of the newest point of a pipeline: what stopped is seen to have stopped. */
  #newestMs(pipeline: string): number {
    let newestMs = Number.NEGATIVE_INFINITY
    for (const { series } of this.#sections.get(pipeline)?.cards ?? []) {
      if (series.points.lastMs > newestMs) newestMs = series.points.lastMs
    }
    return newestMs
  }

  #filter(): void {
    for (const card of this.#cards.values()) this.#filterCard(card)
    for (const { element, list, cards, toggle, isOpen } of this.#sections.values()) {
      const some = cards.some(({ isHidden }) => !isHidden)
      element.hidden = !some && (this.#query !== '' || this.#onlyAlerts)
      // Whoever searches wants to see what is found.
      list.hidden = this.#query !== '' ? false : !isOpen
      toggle.setAttribute('aria-expanded', String(!list.hidden))
    }
    this.#spread()
    const shown = [...this.#cards.values()].filter(({ isHidden }) => !isHidden)
    this.#none.hidden = shown.length > 0
    setText(
      this.#none,
      this.#cards.size === 0
        ? 'No results yet. A window shows here when it has closed.'
        : this.#onlyAlerts && this.#query === ''
          ? 'No alert is pending or firing.'
          : 'No series matches.',
    )
    this.#rove(shown.find(({ button }) => button.tabIndex === 0) ?? shown[0] ?? null)
  }

  #filterCard(card: Card): void {
    const { series, element } = card
    const text = `${series.pipeline} ${metricName(series.group)} ${labels(series.group)}`.toLowerCase()
    const matches = this.#query.split(/\s+/).every((word) => text.includes(word))
    card.isHidden = !matches || (this.#onlyAlerts && this.#options.model.stateOf(series.key) === 'ok')
    element.hidden = card.isHidden
    this.#none.hidden ||= !card.isHidden
  }

  /** One card at a time is a stop of the Tab key. */
  #rove(to: Card | null): void {
    for (const { button } of this.#cards.values()) button.tabIndex = -1
    if (to !== null) to.button.tabIndex = 0
  }

  focusFirst(): void {
    const first = [...this.#cards.values()].find(({ button }) => button.offsetParent !== null)
    if (first === undefined) return
    this.#rove(first)
    first.button.focus()
  }

  #onKey(event: KeyboardEvent): void {
    const { key } = event
    if (!['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown', 'Home', 'End'].includes(key)) return
    const shown = [...this.#cards.values()].filter(({ button }) => button.offsetParent !== null)
    const order = shown.sort((a, b) =>
      a.element.compareDocumentPosition(b.element) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1,
    )
    const at = order.findIndex(({ button }) => button === document.activeElement)
    if (at < 0) return
    const to = neighbour(order, at, key)
    if (to === undefined) return
    event.preventDefault()
    this.#rove(to)
    to.button.focus()
    to.element.scrollIntoView({ block: 'nearest' })
  }
}

/** Left and right follow the order; up and down the nearest card of the row above or below. */
function neighbour(order: readonly Card[], at: number, key: string): Card | undefined {
  if (key === 'Home') return order[0]
  if (key === 'End') return order.at(-1)
  if (key === 'ArrowLeft') return order[at - 1]
  if (key === 'ArrowRight') return order[at + 1]
  const { top, left } = order[at]!.element.getBoundingClientRect()
  const down = key === 'ArrowDown'
  let best: Card | undefined
  let bestTop = 0
  let bestAside = 0
  for (const card of order) {
    const box = card.element.getBoundingClientRect()
    if (down ? box.top <= top : box.top >= top) continue
    const aside = Math.abs(box.left - left)
    const nearer = best === undefined || (down ? box.top < bestTop : box.top > bestTop)
    if (nearer || (box.top === bestTop && aside < bestAside)) {
      best = card
      bestTop = box.top
      bestAside = aside
    }
  }
  return best
}

const collator = new Intl.Collator('en', { numeric: true })

/** Position at which a card goes among those in order. */
function placeOf({ order }: Card, cards: readonly Card[]): number {
  let low = 0
  let high = cards.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (collator.compare(cards[middle]!.order, order) <= 0) low = middle + 1
    else high = middle
  }
  return low
}

function only({ group }: Series, names: ReadonlySet<string>): Record<string, string> {
  return Object.fromEntries(Object.entries(group).filter(([name]) => names.has(name)))
}
