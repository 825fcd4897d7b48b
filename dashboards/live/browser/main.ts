/** The live page: joins the stream of the node to what is seen of it. Everything that draws does so once a frame. */
import type { Alert } from '../../../engine/contract/alert.ts'
import type { Disturbance } from '../../../engine/contract/live.ts'
import { AlertsView } from './alerts.ts'
import { Cards } from './cards.ts'
import { type Colors, readColors } from './chart.ts'
import { Detail } from './detail.ts'
import { byId, setClass, setText } from './dom.ts'
import { Feedback } from './feedback.ts'
import { metricName } from './format.ts'
import { soon } from './frame.ts'
import { IncidentsView } from './incidents-view.ts'
import { Model } from './model.ts'
import { Overview } from './overview.ts'
import { PlanGraphs } from './plan-graph.ts'
import { SilencesView } from './silences.ts'
import { type Connection, openStream } from './stream.ts'
import { openTheme } from './theme.ts'

const model = new Model()
let palette: Colors | null = null
const colors = (): Colors => {
  palette ??= readColors()
  return palette
}

const nowMs = (): number => model.status?.nowMs ?? Date.now()
const feedback = new Feedback(() => soon(drawAlerts))
const silences = new SilencesView(() => soon(drawAlerts))
const detail = new Detail(model, colors, feedback)
const cards = new Cards({ into: byId('series'), model, colors, open: (series) => detail.open(series) })
const alerts = new AlertsView({
  now: byId('alerts-now'),
  recent: byId('alerts-recent'),
  summary: byId('alerts-summary'),
  voice: byId('voice'),
  model,
  open: openAlert,
  feedback,
  silences,
})
const incidents = new IncidentsView({
  section: byId('incidents'),
  list: byId('incidents-list'),
  summary: byId('incidents-summary'),
  nowMs,
  open: openAlert,
})
const overview = new Overview(model, {
  tiles: byId('tiles'),
  topics: byId('topics'),
  threads: byId('threads'),
  problem: byId('problem'),
})
const plans = new PlanGraphs(byId('plans'), model)
const theme = openTheme(byId('theme'), () => {
  palette = null
  cards.repaint()
  detail.repaint()
})
const search = byId('search') as HTMLInputElement
const only = byId('only')
const help = byId('help') as HTMLDialogElement
const disturb = byId('disturb') as HTMLButtonElement

const drawStatus = (): void => {
  overview.draw()
  plans.draw()
  alerts.tick()
  incidents.tick()
  silences.tick(nowMs())
  cards.summarize()
  drawDisturb()
}
const drawAlerts = (): void => {
  alerts.draw()
  cards.restate()
  detail.restate()
}

openStream({
  onState: showConnection,
  on: {
    hello(hello) {
      model.start(hello)
      incidents.changed()
      setText(byId('about'), `${hello.version} · ${hello.dataDirectory}`)
      disturb.hidden = !hello.canDisturb
      cards.start()
      plans.start()
      soon(drawAlerts)
      void feedback.load()
    },
    series(list) {
      for (const told of list) {
        const series = model.addSeries(told)
        if (series === null) continue
        cards.add(series)
        detail.touch(series)
      }
      soon(drawStatus)
    },
    ready() {
      document.documentElement.dataset.ready = 'true'
      openLinked()
    },
    points(points) {
      for (const point of points) {
        const series = model.addPoint(point)
        if (series === null) continue
        cards.touch(series)
        detail.touch(series)
      }
    },
    transitions(list) {
      for (const alert of list) if (model.addTransition(alert)) alerts.say(alert)
      if (list.some(({ state }) => state !== 'pending')) incidents.changed()
      soon(drawAlerts)
    },
    alerts(standing) {
      model.setAlerts(standing)
      soon(drawAlerts)
    },
    silences(rows) {
      silences.draw(rows, nowMs())
    },
    status(status) {
      model.setStatus(status)
      soon(drawStatus)
    },
    problem({ error }) {
      showConnection('lost', error)
    },
  },
})

function showConnection(state: Connection, reason: string): void {
  const texts = { connecting: 'connecting', live: 'live', lost: 'no answer', refused: 'refused' }
  const badge = byId('state')
  setText(badge, texts[state])
  setClass(badge, `pill ${state === 'live' ? 'good' : state === 'connecting' ? 'pending' : 'firing'}`)
  const lost = byId('lost')
  lost.hidden = state === 'live' || state === 'connecting'
  setText(lost, `What is below may be old: ${reason}.`)
}

function openAlert({ pipeline, group }: Pick<Alert, 'pipeline' | 'group'>): void {
  const series = model.find(pipeline, group)
  if (series !== null) detail.open(series)
}

/** A link to a series opens it, once it is known. */
function openLinked(): void {
  const key = new URLSearchParams(location.hash.slice(1)).get('series')
  const series = key === null ? null : model.findKey(key)
  if (series !== null && detail.series === null) detail.open(series)
}

// ---- the disturbance -----------------------------------------------------------------------------------------------

let disturbedUntilMs = 0

disturb.addEventListener('click', () => {
  if (disturb.getAttribute('aria-disabled') === 'false') void ask()
})

async function ask(): Promise<void> {
  try {
    const answer = await fetch('/api/v1/demo/disturb', {
      method: 'POST',
      headers: { 'X-Millrace-Demo': 'page' },
    })
    const body = (await answer.json()) as Disturbance & { readonly error?: string }
    if (!answer.ok) throw new Error(body.error ?? `status ${answer.status}`)
    disturbedUntilMs = body.untilMs
    drawDisturb()
    setText(byId('voice'), `${body.threads} threads burn CPU for ${body.seconds} seconds.`)
  } catch (error) {
    setText(byId('voice'), `Not disturbed: ${error instanceof Error ? error.message : 'no answer'}`)
  }
}

function drawDisturb(): void {
  const { status } = model
  const untilMs = Math.max(status?.disturbedUntilMs ?? 0, disturbedUntilMs)
  const left = Math.ceil((untilMs - nowMs()) / 1_000)
  const isWarm = isDisturbanceSeen()
  setText(disturb, left > 0 ? `Burning CPU, ${left} s` : isWarm ? 'Disturb' : 'Warming up')
  disturb.setAttribute('aria-disabled', String(left > 0 || !isWarm))
}

/** Before the detector knows what is normal, the disturbance would be what it learns. */
function isDisturbanceSeen(): boolean {
  for (const { group, lens, points } of model.series.values()) {
    if (metricName(group) === 'process_cpu_demand_cores')
      return lens.scoreAt >= 0 && points.last(lens.scoreAt + 1) !== null
  }
  return false
}

// ---- the keyboard --------------------------------------------------------------------------------------------------

search.addEventListener('input', () => cards.search(search.value))
search.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') {
    search.value = ''
    cards.search('')
    search.blur()
  } else if (event.key === 'Enter' || event.key === 'ArrowDown') {
    event.preventDefault()
    cards.focusFirst()
  }
})
only.addEventListener('click', () => {
  const pressed = only.getAttribute('aria-pressed') !== 'true'
  only.setAttribute('aria-pressed', String(pressed))
  cards.onlyAlerts(pressed)
})
byId('keys').addEventListener('click', () => help.showModal())
byId('help-close').addEventListener('click', () => help.close())

document.addEventListener('keydown', (event) => {
  const { target, key } = event
  const isTyping = target instanceof HTMLInputElement
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return
  if (document.querySelector('dialog[open]') !== null && key !== 't') return
  if (key === '/') {
    event.preventDefault()
    search.focus()
    search.select()
  } else if (key === 't') theme.toggle()
  else if (key === 'a') only.click()
  else if (key === 'g') cards.focusFirst()
  else if (key === '?') help.showModal()
})
