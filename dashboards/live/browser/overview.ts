/** The node at a glance: a row of numbers, the topics, the threads, and what is wrong. */
import { make, setClass, setText } from './dom.ts'
import { bytes, count, duration, number } from './format.ts'
import type { Model } from './model.ts'

/** A thread that has not gone round its loop for so long is stuck. */
const STUCK_MS = 10_000

interface Tile {
  readonly name: string
  readonly hint: string
  readonly element: HTMLElement
  readonly value: HTMLElement
}

const TILES = [
  ['Firing', 'alerts that fire now'],
  ['Pending', 'conditions that have not held long enough to fire'],
  ['Samples/s', 'appended to the log, all topics'],
  ['Results/s', 'committed, all pipelines'],
  ['Series', 'known, all topics'],
  ['Behind', 'how far the slowest watermark is behind the clock'],
  ['Lag', 'offsets of the log not yet in committed results'],
  ['Log', 'on disk'],
  ['State', 'on disk'],
  ['Up', 'since the node started'],
] as const

export class Overview {
  readonly #model: Model
  readonly #tiles: ReadonlyMap<string, Tile>
  readonly #topics: HTMLElement
  readonly #threads: HTMLElement
  readonly #problem: HTMLElement

  constructor(
    model: Model,
    places: { tiles: HTMLElement; topics: HTMLElement; threads: HTMLElement; problem: HTMLElement },
  ) {
    this.#model = model
    this.#topics = places.topics
    this.#threads = places.threads
    this.#problem = places.problem
    this.#tiles = new Map(
      TILES.map(([name, hint]) => {
        const value = make('dd', '', '–')
        const element = make('div', 'tile', make('dt', '', name), value)
        element.title = hint
        return [name, { name, hint, element, value }]
      }),
    )
    places.tiles.replaceChildren(...[...this.#tiles.values()].map(({ element }) => element))
  }

  draw(): void {
    const model = this.#model
    const { status, alerts } = model
    if (status === null) return
    const firing = status.pipelines.reduce((sum, pipeline) => sum + pipeline.firing, 0)
    const marks = status.pipelines.flatMap(({ watermarkMs }) => watermarkMs ?? [])
    this.#tile('Firing', count(firing), firing > 0 ? 'firing' : '')
    this.#tile('Pending', count(Math.max(0, alerts.total - firing)))
    this.#tile(
      'Samples/s',
      number(model.rate(({ topics }) => topics.reduce((sum, { samples }) => sum + samples, 0))),
    )
    this.#tile(
      'Results/s',
      number(model.rate(({ pipelines }) => pipelines.reduce((sum, { results }) => sum + results, 0))),
    )
    this.#tile('Series', count(status.topics.reduce((sum, { series }) => sum + series, 0)))
    this.#tile('Behind', marks.length === 0 ? '–' : duration(Math.max(0, status.nowMs - Math.min(...marks))))
    this.#tile('Lag', count(status.pipelines.reduce((sum, { lag }) => sum + lag, 0)))
    this.#tile('Log', bytes(status.logBytes))
    this.#tile('State', bytes(status.stateBytes))
    this.#tile('Up', duration(status.uptimeSeconds * 1_000))
    document.title = `${firing > 0 ? `(${firing}) ` : ''}millrace`
    const failed = status.pipelines.filter(({ problem }) => problem !== null)
    const problems = [...status.problems, ...failed.map(({ name, problem }) => `${name}: ${problem}`)]
    this.#problem.hidden = problems.length === 0
    setText(this.#problem, problems.join(' · '))
    this.#drawTopics()
    this.#drawThreads()
  }

  #tile(name: string, text: string, className = ''): void {
    const { element, value } = this.#tiles.get(name)!
    setText(value, text)
    setClass(element, `tile ${className}`)
  }

  #drawTopics(): void {
    const { topics } = this.#model.status!
    const rate = (name: string): number | null =>
      this.#model.rate((status) => status.topics.find((topic) => topic.name === name)?.samples ?? 0)
    table(
      this.#topics,
      ['Topic', 'Samples/s', 'Series', 'Partitions'],
      topics.map(({ name, series, seriesLimit, partitions }) => [
        name,
        number(rate(name)),
        `${count(series)} of ${count(seriesLimit)}`,
        count(partitions),
      ]),
    )
  }

  #drawThreads(): void {
    const { threads, nowMs } = this.#model.status!
    table(
      this.#threads,
      ['Thread', 'Health', 'Restarts'],
      threads.map(({ name, lastSeenMs, restarts }) => [
        name,
        lastSeenMs === null
          ? 'starting'
          : nowMs - lastSeenMs > STUCK_MS
            ? `silent for ${duration(nowMs - lastSeenMs)}`
            : 'alive',
        count(restarts),
      ]),
    )
  }
}

/** Rows by position: only what differs is written. */
function table(into: HTMLElement, names: readonly string[], rows: readonly (readonly string[])[]): void {
  let body = into.querySelector('tbody')
  if (body === null || body.rows.length !== rows.length) {
    body = make(
      'tbody',
      '',
      ...rows.map((row) => make('tr', '', ...row.map((_, i) => make('td', i === 0 ? '' : 'number')))),
    )
    const heads = names.map((name, i) => {
      const head = make('th', i === 0 ? '' : 'number', name)
      head.scope = 'col'
      return head
    })
    into.replaceChildren(make('table', '', make('thead', '', make('tr', '', ...heads)), body))
  }
  for (const [i, row] of rows.entries()) {
    for (const [j, text] of row.entries()) setText(body.rows[i]!.cells[j]!, text)
  }
}
