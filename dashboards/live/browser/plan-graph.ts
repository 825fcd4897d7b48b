/** The plans as live graphs: what flows where, how much of it, and the time that each part takes of a core. */
import { make, makeSvg, setClass, setText } from './dom.ts'
import { count, duration, perSecond, share } from './format.ts'
import type { Model, PipelineRates } from './model.ts'
import { BOX_HEIGHT, BOX_WIDTH, type Box, type Layout, layoutPlan } from './plan-layout.ts'

/** Narrower than this, a plan goes from top to bottom. */
const VERTICAL_BELOW = 760
/** Left and right of a graph, as in the style sheet, and its border. */
const GRAPH_PADDING = 32

interface Drawn {
  readonly rates: ReadonlyMap<string, SVGTextElement>
  readonly times: ReadonlyMap<string, SVGTextElement>
  readonly arrows: readonly {
    readonly element: SVGPathElement
    readonly carries: Layout['arrows'][number]['carries']
  }[]
  readonly boxes: ReadonlyMap<string, SVGGElement>
}

interface Row {
  readonly name: string
  readonly element: HTMLElement
  readonly state: HTMLElement
  readonly facts: ReadonlyMap<string, HTMLElement>
  readonly problem: HTMLElement
  readonly holder: HTMLElement
  drawn: Drawn | null
  /** What it was laid out for. */
  width: number
}

const FACTS = ['In', 'Results', 'Lag', 'Behind', 'Series', 'Late', 'Dead', 'Core'] as const

export class PlanGraphs {
  readonly #into: HTMLElement
  readonly #model: Model
  #rows: Row[] = []

  constructor(into: HTMLElement, model: Model) {
    this.#into = into
    this.#model = model
    new ResizeObserver(() => this.#layOut()).observe(into)
  }

  start(): void {
    this.#rows = this.#model.plans.map(({ plan }) => this.#makeRow(plan.name))
    this.#into.replaceChildren(...this.#rows.map(({ element }) => element))
    this.#layOut()
  }

  draw(): void {
    for (const row of this.#rows) this.#drawRow(row)
  }

  #makeRow(name: string): Row {
    const state = make('span', 'pill')
    const facts = new Map(FACTS.map((fact) => [fact as string, make('dd')]))
    const list = make(
      'dl',
      'facts',
      ...[...facts].map(([fact, value]) => make('div', '', make('dt', '', fact), value)),
    )
    const problem = make('p', 'problem')
    problem.hidden = true
    const holder = make('div', 'graph')
    // Wider than its place, it scrolls: the keyboard must get there too.
    holder.tabIndex = 0
    holder.setAttribute('role', 'group')
    holder.setAttribute('aria-label', `Plan of ${name}`)
    holder.id = `plan-${name}`
    const toggle = make('button', 'toggle', name)
    toggle.type = 'button'
    toggle.setAttribute('aria-controls', holder.id)
    // From top to bottom it is long: there when it is asked for.
    holder.hidden = this.#into.clientWidth < VERTICAL_BELOW
    const show = (): void => toggle.setAttribute('aria-expanded', String(!holder.hidden))
    toggle.addEventListener('click', () => {
      holder.hidden = !holder.hidden
      show()
    })
    show()
    const head = make('header', 'plan-head', make('h3', '', toggle), state, list)
    const element = make('article', 'plan', head, problem, holder)
    return { name, element, state, facts, problem, holder, drawn: null, width: Number.NaN }
  }

  #layOut(): void {
    const width = this.#into.clientWidth
    const room = width < VERTICAL_BELOW ? null : width - GRAPH_PADDING
    for (const row of this.#rows) {
      if (row.width === width) continue
      row.width = width
      const view = this.#model.plans.find(({ plan }) => plan.name === row.name)
      if (view === undefined) continue
      const { svg, drawn } = drawPlan(layoutPlan(view.plan, room), row.name)
      row.drawn = drawn
      row.holder.replaceChildren(svg)
      this.#drawRow(row)
    }
  }

  #drawRow({ name, state, facts, problem, drawn }: Row): void {
    const { status } = this.#model
    const pipeline = status?.pipelines.find((candidate) => candidate.name === name)
    if (status === null || pipeline === undefined || drawn === null) return
    const rates = this.#model.ratesOf(name)
    setText(state, pipeline.state)
    setClass(
      state,
      `pill ${pipeline.state === 'running' ? 'good' : pipeline.state === 'failed' ? 'firing' : 'pending'}`,
    )
    problem.hidden = pipeline.problem === null
    setText(problem, pipeline.problem ?? '')
    const { ledger, watermarkMs } = pipeline
    const fact = (key: (typeof FACTS)[number], text: string): void => setText(facts.get(key)!, text)
    fact('In', perSecond(rates.samples))
    fact('Results', perSecond(rates.results))
    fact('Lag', count(pipeline.lag))
    fact('Behind', watermarkMs === null ? '–' : duration(Math.max(0, status.nowMs - watermarkMs)))
    fact('Series', count(pipeline.groups))
    fact('Late', count(ledger.late))
    fact('Dead', count(ledger.dead))
    fact('Core', share(timeOf(rates)))
    const rate = new Map<string, string>([
      ['topic', perSecond(rates.samples)],
      ['route', `${perSecond(rates.kept)} kept`],
      ['window', perSecond(rates.results)],
      ['results', perSecond(rates.results)],
      ['alerts', `${count(pipeline.firing)} firing, ${count(pipeline.pending)} pending`],
    ])
    const time = new Map<string, string>([
      ['window', ofCore(sum(rates.aggregate, rates.window) ?? rates.aggregate)],
      ['results', ofCore(rates.emit)],
    ])
    for (const id of drawn.boxes.keys()) {
      if (id.startsWith('detect ')) {
        const detector = pipeline.detectors.find(({ name }) => id === `detect ${name}`)
        const health = detector?.series ? healthText(detector.series) : null
        rate.set(id, health ?? `${perSecond(rates.results)} judged`)
        const isUnfit = detector?.series && detector.series.blind + detector.series.saturated > 0
        setClass(drawn.boxes.get(id)!, `box detect${isUnfit ? ' unfit' : ''}`)
        time.set(
          id,
          rates.detect === null ? '' : `${ofCore(rates.detect)}${detectors(drawn) > 1 ? ', all' : ''}`,
        )
      }
    }
    for (const [i, sink] of pipeline.sinks.entries()) {
      rate.set(`sink ${sink.name}`, perSecond(rates.sinks[i] ?? null))
      time.set(
        `sink ${sink.name}`,
        sink.failures > 0 ? `${count(sink.failures)} failures` : `${count(sink.lag)} waiting`,
      )
    }
    for (const [id, element] of drawn.rates) setText(element, rate.get(id) ?? '')
    for (const [id, element] of drawn.times) setText(element, time.get(id) ?? '')
    const alerts = drawn.boxes.get('alerts')
    if (alerts !== undefined) setClass(alerts, `box out${pipeline.firing > 0 ? ' firing' : ''}`)
    for (const { element, carries } of drawn.arrows) {
      const flows = carries === 'alerts' ? pipeline.firing : flowOf(carries, rates)
      setClass(element, `flow ${carries}${flows > 0 ? ' moving' : ''}`)
    }
  }
}

function detectors({ boxes }: Drawn): number {
  return [...boxes.keys()].filter((id) => id.startsWith('detect ')).length
}

/** What is worth a word of the series that a detector watches, worst first; null: it does its work for all. */
function healthText(series: Readonly<Record<string, number>>): string | null {
  const all = Object.values(series).reduce((total, n) => total + n, 0)
  for (const health of ['blind', 'saturated', 'starved', 'warming']) {
    const n = series[health] ?? 0
    if (n > 0) return `${count(n)} of ${count(all)} ${health}`
  }
  return null
}

function flowOf(carries: 'samples' | 'kept' | 'results', rates: PipelineRates): number {
  return rates[carries] ?? 0
}

function ofCore(ratio: number | null): string {
  return ratio === null ? '' : `${share(ratio)} of a core`
}

function timeOf({ aggregate, window, detect, emit }: PipelineRates): number | null {
  return sum(sum(aggregate, window), sum(detect, emit))
}

function sum(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : a + b
}

function drawPlan(
  { width, height, boxes, arrows }: Layout,
  name: string,
): { svg: SVGSVGElement; drawn: Drawn } {
  const rates = new Map<string, SVGTextElement>()
  const times = new Map<string, SVGTextElement>()
  const drawnBoxes = new Map<string, SVGGElement>()
  const paths = arrows.map(({ path, carries }) => ({
    carries,
    element: makeSvg('path', { d: path, class: `flow ${carries}` }),
  }))
  const groups = boxes.map((box) => {
    const rate = line(box, 47, 'rate')
    const time = line(box, 64, 'about')
    rates.set(box.id, rate)
    times.set(box.id, time)
    const hint = makeSvg('title', {}, `${box.title}: ${box.about}`)
    const group = makeSvg(
      'g',
      { class: `box ${box.stage}` },
      hint,
      makeSvg('rect', { x: box.x, y: box.y, width: BOX_WIDTH, height: BOX_HEIGHT, rx: 8 }),
      line(box, 18, 'title', box.title),
      line(box, 32, 'about', box.about),
      rate,
      time,
    )
    drawnBoxes.set(box.id, group)
    return group
  })
  const svg = makeSvg(
    'svg',
    {
      width,
      height,
      viewBox: `0 0 ${width} ${height}`,
      role: 'img',
      'aria-label': `${name}, from topic to results`,
    },
    ...paths.map(({ element }) => element),
    ...groups,
  )
  return { svg, drawn: { rates, times, arrows: paths, boxes: drawnBoxes } }
}

function line(box: Box, down: number, className: string, text = ''): SVGTextElement {
  return makeSvg('text', { x: box.x + 10, y: box.y + down, class: className }, text)
}
