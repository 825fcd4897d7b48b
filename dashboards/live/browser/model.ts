/**
 * What the page knows, from the events of /api/v1/live: series with their newest points, alerts, and how the node stands.
 * Bounded by what the node says it streams. Knows nothing of the DOM; views read it when they redraw.
 */
import type { Alert } from '../../../engine/contract/alert.ts'
import type {
  LiveAlerts,
  LiveHello,
  LivePipeline,
  LivePoint,
  LiveSeries,
  LiveStatus,
} from '../../../engine/contract/live.ts'
import type { PipelinePlan } from '../../../engine/contract/plan.ts'
import type { Labels } from '../../../engine/contract/samples.ts'
import { groupKey } from './format.ts'

const SCORE_COLUMNS = 4
const TRANSITIONS_KEPT_MAX = 200
/** Rates are over so many statuses, a second apart. */
const STATUSES_KEPT_MAX = 6

/** A detector that judges an aggregate: where its numbers lie in a point. */
export interface Scored {
  readonly name: string
  readonly column: string
  readonly scoreAt: number
}

export interface PlanView {
  readonly plan: PipelinePlan
  readonly scored: readonly Scored[]
}

/** What a chart of a series shows: an aggregate, and who judges it. */
export interface Lens {
  readonly column: string
  /** Where the value lies in a point; the time is at 0. */
  readonly valueAt: number
  readonly detector: string | null
  /** Score, expected, lower and upper follow each other; -1: nobody judges it. */
  readonly scoreAt: number
}

/** One stretch of one alert. */
export interface AlertSpan {
  readonly id: string
  readonly detector: string
  readonly sinceMs: number
  /** Infinity: it goes on. */
  endMs: number
  hasFired: boolean
}

export function viewPlan(plan: PipelinePlan): PlanView {
  let scoreAt = 1 + plan.aggregates.length
  const scored: Scored[] = []
  for (const { name, column } of plan.detectors) {
    if (column === null) continue
    scored.push({ name, column, scoreAt })
    scoreAt += SCORE_COLUMNS
  }
  return { plan, scored }
}

/** Everything a series can be looked at by: what is judged first, then the other aggregates. */
export function lensesOf({ plan, scored }: PlanView): Lens[] {
  const valueAt = (column: string): number => 1 + plan.aggregates.findIndex(({ name }) => name === column)
  // What is judged of several columns together is none of them: its band belongs on no column's chart.
  const ofOne = scored.filter(({ column }) => plan.aggregates.some(({ name }) => name === column))
  const judged = ofOne.map(({ name, column, scoreAt }) => {
    return { column, valueAt: valueAt(column), detector: name, scoreAt }
  })
  const others = plan.aggregates
    .filter(({ name }) => !ofOne.some(({ column }) => column === name))
    .map(({ name }) => ({ column: name, valueAt: valueAt(name), detector: null, scoreAt: -1 }))
  return [...judged, ...others]
}

/** Points by column: 0 is the time in ms. */
export class Points {
  columns: (number | null)[][]
  readonly #max: number

  constructor(width: number, max: number) {
    this.columns = Array.from({ length: width }, () => [])
    this.#max = max
  }

  get length(): number {
    return this.columns[0]!.length
  }

  get lastMs(): number {
    return this.columns[0]!.at(-1) ?? Number.NaN
  }

  /** `point[from]` is the time. One of a time that is there replaces it; an older one is passed over. */
  push(point: readonly (number | null)[], from: number): void {
    const { columns, length } = this
    const timeMs = point[from]!
    if (length > 0 && timeMs < this.lastMs) return
    const replaces = length > 0 && timeMs === this.lastMs
    for (let i = 0; i < columns.length; i++) {
      const column = columns[i]!
      if (replaces) column.pop()
      column.push(point[from + i] ?? null)
      if (column.length > this.#max) column.shift()
    }
  }

  last(at: number): number | null {
    return this.columns[at]?.at(-1) ?? null
  }
}

export interface Series {
  readonly id: number
  readonly key: string
  readonly pipeline: string
  readonly group: Labels
  readonly view: PlanView
  /** What its card shows. */
  readonly lens: Lens
  readonly points: Points
}

/** Differences to counts a second ago, of one pipeline; null: not known yet. */
export interface PipelineRates {
  readonly samples: number | null
  readonly kept: number | null
  readonly results: number | null
  readonly aggregate: number | null
  readonly window: number | null
  readonly detect: number | null
  readonly emit: number | null
  readonly sinks: readonly (number | null)[]
}

export class Model {
  hello: LiveHello | null = null
  status: LiveStatus | null = null
  alerts: LiveAlerts = { total: 0, alerts: [] }
  /** Oldest first. */
  transitions: Alert[] = []
  readonly series = new Map<number, Series>()
  readonly #byKey = new Map<string, Series>()
  #plans = new Map<string, PlanView>()
  #statuses: LiveStatus[] = []
  #spans = new Map<string, Map<string, AlertSpan>>()

  start(hello: LiveHello): void {
    this.hello = hello
    this.series.clear()
    this.#byKey.clear()
    this.#statuses = []
    this.#spans.clear()
    this.#plans = new Map(hello.plans.map((plan) => [plan.name, viewPlan(plan)]))
    this.transitions = []
    for (const alert of hello.transitions) this.addTransition(alert)
  }

  /** In the order of the plans. */
  get plans(): readonly PlanView[] {
    return [...this.#plans.values()]
  }

  addSeries({ id, pipeline, group, points }: LiveSeries): Series | null {
    const view = this.#plans.get(pipeline)
    if (view === undefined || this.hello === null) return null
    const key = groupKey(pipeline, group)
    const width = 1 + view.plan.aggregates.length + SCORE_COLUMNS * view.scored.length
    const known = this.series.get(id)
    const series: Series = known ?? {
      id,
      key,
      pipeline,
      group,
      view,
      lens: lensesOf(view)[0]!,
      points: new Points(width, this.hello.pointsMax),
    }
    if (known === undefined) {
      this.series.set(id, series)
      this.#byKey.set(key, series)
    } else series.points.columns = Array.from({ length: width }, () => [])
    for (const point of points) series.points.push(point, 0)
    return series
  }

  /** The series, or null where it is not known (yet). */
  addPoint(point: LivePoint): Series | null {
    const series = this.series.get(point[0]!)
    series?.points.push(point, 1)
    return series ?? null
  }

  find(pipeline: string, group: Labels): Series | null {
    return this.#byKey.get(groupKey(pipeline, group)) ?? null
  }

  findKey(key: string): Series | null {
    return this.#byKey.get(key) ?? null
  }

  /** False: it was known. */
  addTransition(alert: Alert): boolean {
    const isKnown = this.transitions.some(
      (known) => known.id === alert.id && known.state === alert.state && known.atMs === alert.atMs,
    )
    if (isKnown) return false
    this.transitions.push(alert)
    if (this.transitions.length > TRANSITIONS_KEPT_MAX) this.transitions.shift()
    this.#mark(alert)
    return true
  }

  setAlerts(alerts: LiveAlerts): void {
    this.alerts = alerts
    for (const alert of alerts.alerts) this.#mark(alert)
  }

  setStatus(status: LiveStatus): void {
    this.status = status
    this.#statuses.push(status)
    if (this.#statuses.length > STATUSES_KEPT_MAX) this.#statuses.shift()
  }

  spans(key: string): readonly AlertSpan[] {
    return [...(this.#spans.get(key)?.values() ?? [])]
  }

  /** The worst of a series' alerts now. */
  stateOf(key: string): 'firing' | 'pending' | 'ok' {
    let state: 'firing' | 'pending' | 'ok' = 'ok'
    for (const { endMs, hasFired } of this.#spans.get(key)?.values() ?? []) {
      if (endMs !== Number.POSITIVE_INFINITY) continue
      if (hasFired) return 'firing'
      state = 'pending'
    }
    return state
  }

  /** A count of the whole node, a second. */
  rate(read: (status: LiveStatus) => number): number | null {
    const first = this.#statuses[0]
    const last = this.#statuses.at(-1)
    if (first === undefined || last === undefined || last.nowMs <= first.nowMs) return null
    return Math.max(0, read(last) - read(first)) / ((last.nowMs - first.nowMs) / 1_000)
  }

  ratesOf(name: string): PipelineRates {
    const rate = (read: (pipeline: LivePipeline) => number): number | null =>
      this.rate((status) => {
        const pipeline = status.pipelines.find((candidate) => candidate.name === name)
        return pipeline === undefined ? 0 : read(pipeline)
      })
    const plan = this.#plans.get(name)?.plan
    return {
      samples: rate(({ ledger }) => ledger.in),
      kept: rate(({ ledger }) => ledger.windowed),
      results: rate(({ results }) => results),
      aggregate: rate(({ seconds }) => seconds.aggregate),
      window: rate(({ seconds }) => seconds.window),
      detect: rate(({ seconds }) => seconds.detect),
      emit: rate(({ seconds }) => seconds.emit),
      sinks: (plan?.sinks ?? []).map((_, index) => rate((pipeline) => pipeline.sinks[index]?.records ?? 0)),
    }
  }

  #mark({ id, pipeline, group, detector, state, sinceMs, atMs }: Alert): void {
    const key = groupKey(pipeline, group)
    const spans = this.#spans.get(key) ?? new Map<string, AlertSpan>()
    this.#spans.set(key, spans)
    const span = spans.get(id) ?? {
      id,
      detector,
      sinceMs,
      endMs: Number.POSITIVE_INFINITY,
      hasFired: false,
    }
    if (state === 'firing') span.hasFired = true
    if (state === 'resolved') span.endMs = atMs
    spans.set(id, span)
    // The page shows minutes: what ended longest ago goes first.
    if (spans.size > TRANSITIONS_KEPT_MAX) spans.delete(spans.keys().next().value!)
  }
}
