/**
 * From what was observed to numbers: alarms, and against labels precision, recall and delay; what changed between two
 * versions; the score threshold that keeps an alarm budget. Pure; memory is bounded by series, not by their length.
 */
import type { Alert } from '../../engine/contract/alert.ts'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import type { ResultBody, ScoreBody } from '../../engine/contract/plugins.ts'
import { type Labels, NAME_LABEL } from '../../engine/contract/samples.ts'
import type { Observer } from './history.ts'
import { type LabelWindow, matches } from './labels.ts'
import { Trace } from './trace.ts'

export const DAY_MS = 86_400_000
/** Series whose course is kept for drawing; of the others only numbers and alarms. 60 KB each. */
export const TRACES_MAX = 2_000
/** Thresholds looked at: 1.02 to the powers from 0 up to this, so to 1e5. */
const THRESHOLDS = 582
const THRESHOLD_STEP = 1.02

/** One alert from firing to resolved. */
export interface Alarm {
  readonly sinceMs: number
  /** When it fired. */
  readonly atMs: number
  /** Infinity: to the end of the data. */
  untilMs: number
  readonly value: number | null
  /** The highest transition's. */
  readonly score: number | null
  readonly reason: string
  /** Whether it fired in a labelled window; null: the series has no labels to tell. */
  isTrue: boolean | null
}

export interface JudgedSeries {
  readonly group: Labels
  readonly detector: string
  readonly column: string | null
  readonly alarms: Alarm[]
  readonly labels: LabelWindow[]
  readonly trace: Trace | null
  firstMs: number
  lastMs: number
  windows: number
  /** Windows with a score: not warming up. */
  judged: number
  /** End of the first window with a score; Infinity: none has one. */
  judgedFromMs: number
  /** Between the ends of two windows with a value, one after the other: the longest such time, and when it began. */
  gapMs: number
  gapFromMs: number
}

export interface Tally {
  readonly series: number
  readonly seriesDays: number
  readonly alarms: number
  readonly alarmsPerSeriesDay: number
  /** Windows with a value, and those of them that were judged: of the others nobody knows. Of what watches columns only. */
  readonly windows: number
  readonly judged: number
  /** Null without labels, or without an alarm. */
  readonly precision: number | null
  readonly recall: number | null
  readonly labelled: number
  readonly found: number
  /** Median time from a window's start to the first alarm in it; null: none was found. */
  readonly delayMsMedian: number | null
}

export interface Suggestion {
  readonly detector: string
  /** Multiply the band by this: alarms only where the score is above it. */
  readonly threshold: number
  readonly alarms: number
  readonly alarmsPerSeries: number
  readonly alarmsNow: number
  /** False: no threshold looked at is high enough. */
  readonly isEnough: boolean
}

/** One version of a pipeline, watched. Only what lies in [fromMs, toMs) counts; the rest warms up. */
export class Backtested implements Observer {
  readonly plan: PipelinePlan
  readonly series: Map<string, JudgedSeries> = new Map()
  readonly #range: { readonly fromMs: number; readonly toMs: number }
  readonly #scores = new Map<string, number>()
  /** By detector: alarms begun at each threshold. */
  readonly #crossings = new Map<string, Float64Array>()
  /** By detector: the aggregate drawn; of several that are judged together, the first. */
  readonly #drawn = new Map<string, string>()
  readonly #columns = new Map<string, string | null>()
  /** Of all windows, also those that warm up. */
  #startMs = Infinity
  #endMs = -Infinity
  /** Ends of windows that count. */
  #firstEndMs = Infinity
  #lastEndMs = -Infinity

  constructor(plan: PipelinePlan, range: { readonly fromMs: number; readonly toMs: number }) {
    this.plan = plan
    this.#range = range
    for (const { name, column, columns } of plan.detectors) {
      if (column !== null) this.#drawn.set(name, columns?.[0] ?? column)
      this.#columns.set(name, column)
      this.#crossings.set(name, new Float64Array(THRESHOLDS))
    }
  }

  result(body: ResultBody): void {
    const { fromMs, toMs } = this.#range
    this.#startMs = Math.min(this.#startMs, body.windowStartMs)
    this.#endMs = Math.max(this.#endMs, body.windowEndMs)
    if (body.windowEndMs < fromMs || body.windowEndMs >= toMs) return
    this.#firstEndMs = Math.min(this.#firstEndMs, body.windowEndMs)
    this.#lastEndMs = Math.max(this.#lastEndMs, body.windowEndMs)
    for (const [detector, score] of Object.entries(body.scores)) {
      const series = this.#seriesOf(body.group, detector)
      const value = body.values[this.#drawn.get(detector)!] ?? null
      if (value === null) continue
      series.firstMs = Math.min(series.firstMs, body.windowStartMs)
      const gapMs = series.windows === 0 ? 0 : body.windowEndMs - series.lastMs
      if (gapMs > series.gapMs) {
        series.gapMs = gapMs
        series.gapFromMs = series.lastMs
      }
      series.lastMs = Math.max(series.lastMs, body.windowEndMs)
      series.windows++
      if (score.score !== null) {
        series.judged++
        series.judgedFromMs = Math.min(series.judgedFromMs, body.windowEndMs)
      }
      series.trace?.push(body.windowEndMs, value, score)
      this.#cross(keyOf(body.group, detector), detector, score)
    }
  }

  alert(alert: Alert): void {
    const { fromMs, toMs } = this.#range
    if (alert.state === 'pending' || alert.atMs >= toMs) return
    // What fired before the range makes no series: only what counts does.
    const last = this.series.get(keyOf(alert.group, alert.detector))?.alarms.at(-1)
    if (alert.state === 'resolved') {
      if (last !== undefined && last.sinceMs === alert.sinceMs) last.untilMs = alert.atMs
      return
    }
    // An alert that becomes more severe fires once more: it is the same alarm.
    if (alert.atMs < fromMs || last?.sinceMs === alert.sinceMs) return
    const { sinceMs, atMs, value, score, reason } = alert
    const series = this.#seriesOf(alert.group, alert.detector)
    series.firstMs = Math.min(series.firstMs, atMs)
    series.lastMs = Math.max(series.lastMs, atMs)
    series.alarms.push({ sinceMs, atMs, untilMs: Infinity, value, score, reason, isTrue: null })
  }

  /** Event time of all windows, also of those that only warm up: from the first's start to the last's end; null: there is none. */
  get windowSpan(): readonly [number, number] | null {
    return this.#startMs <= this.#endMs ? [this.#startMs, this.#endMs] : null
  }

  /**
   * Days in which alarms could begin. One begins at the end of a window, and each end stands for the time since the one before
   * it: n windows are n times `every`, whatever their size and wherever in the last one the data ends.
   */
  get days(): number {
    if (this.#firstEndMs > this.#lastEndMs) return 0
    return (this.#lastEndMs - this.#firstEndMs + this.plan.window.everyMs) / DAY_MS
  }

  /** The data is over: silence is watched all the time, whether a window has a value or not. */
  end(span: readonly [number, number]): void {
    for (const series of this.series.values()) {
      if (series.column !== null) continue
      series.firstMs = Math.max(span[0], this.#range.fromMs)
      series.lastMs = Math.min(span[1], this.#range.toMs)
    }
  }

  /** Gives each series its labels. Returns those that no series matches. */
  label(windows: readonly LabelWindow[]): LabelWindow[] {
    const all = [...this.series.values()]
    const unmatched = windows.filter((window) => {
      const found = all.filter(({ group }) => matches(group, window.labels))
      for (const series of found) series.labels.push(window)
      return found.length === 0
    })
    for (const { alarms, labels } of all) {
      for (const alarm of alarms) alarm.isTrue = labels.some((window) => isIn(alarm.atMs, window))
    }
    return unmatched
  }

  /** Of one detector; or of all, where a label is found if any of them alarms, and the days of a group count once. */
  tally(detector: string | null = null): Tally {
    const groups = new Map<string, JudgedSeries[]>()
    for (const series of this.ranked()) {
      if (detector !== null && series.detector !== detector) continue
      const name = seriesText(series.group)
      const there = groups.get(name)
      if (there === undefined) groups.set(name, [series])
      else there.push(series)
    }
    let alarms = 0
    let hits = 0
    let days = 0
    let labelled = 0
    let windows = 0
    let judged = 0
    const delays: number[] = []
    for (const series of groups.values()) {
      const all = series.flatMap((one) => one.alarms).sort((a, b) => a.atMs - b.atMs)
      days += Math.max(...series.map(({ firstMs, lastMs }) => Math.max(0, lastMs - firstMs))) / DAY_MS
      alarms += all.length
      for (const one of series) {
        if (one.column === null) continue
        windows += one.windows
        judged += one.judged
      }
      hits += all.filter(({ isTrue }) => isTrue === true).length
      const { labels } = series[0]!
      labelled += labels.length
      for (const window of labels) {
        const first = all.find(({ atMs }) => isIn(atMs, window))
        if (first !== undefined) delays.push(first.atMs - window.fromMs)
      }
    }
    delays.sort((a, b) => a - b)
    return {
      series: groups.size,
      seriesDays: days,
      alarms,
      alarmsPerSeriesDay: days > 0 ? alarms / days : 0,
      windows,
      judged,
      precision: labelled > 0 && alarms > 0 ? hits / alarms : null,
      recall: labelled > 0 ? delays.length / labelled : null,
      labelled,
      found: delays.length,
      delayMsMedian: delays.length > 0 ? median(delays) : null,
    }
  }

  /** Most alarms first, then by name. */
  ranked(): JudgedSeries[] {
    const named = [...this.series].map(([key, series]) => ({ key, series }))
    named.sort((a, b) => b.series.alarms.length - a.series.alarms.length || (a.key < b.key ? -1 : 1))
    return named.map(({ series }) => series)
  }

  /**
   * The lowest threshold of a detector's score at which at most `alarmsMax` alarms begin in all its series. It counts each
   * rise of the score above the threshold, so alarms that `hold` would have kept back count as well.
   */
  suggest(detector: string, alarmsMax: number): Suggestion {
    const began = this.#crossings.get(detector)!
    let at = began.findIndex((count) => count <= alarmsMax)
    const isEnough = at >= 0
    if (!isEnough) at = THRESHOLDS - 1
    const series = [...this.series.values()].filter((one) => one.detector === detector).length
    return {
      detector,
      threshold: THRESHOLD_STEP ** at,
      alarms: began[at]!,
      alarmsPerSeries: series === 0 ? 0 : began[at]! / series,
      alarmsNow: began[0]!,
      isEnough,
    }
  }

  #cross(key: string, detector: string, { score }: ScoreBody): void {
    const now = score ?? 0
    const before = this.#scores.get(key) ?? 0
    this.#scores.set(key, now)
    if (now <= 1 || now <= before) return
    const began = this.#crossings.get(detector)!
    const first = before < 1 ? 0 : Math.ceil(Math.log(before) / Math.log(THRESHOLD_STEP) - 1e-9)
    for (let k = first; k < THRESHOLDS && THRESHOLD_STEP ** k < now; k++) began[k] = began[k]! + 1
  }

  #seriesOf(group: Labels, detector: string): JudgedSeries {
    const key = keyOf(group, detector)
    const known = this.series.get(key)
    if (known !== undefined) return known
    const made: JudgedSeries = {
      group,
      detector,
      column: this.#columns.get(detector) ?? null,
      alarms: [],
      labels: [],
      trace: this.series.size < TRACES_MAX ? new Trace() : null,
      firstMs: Infinity,
      lastMs: -Infinity,
      windows: 0,
      judged: 0,
      judgedFromMs: Infinity,
      gapMs: 0,
      gapFromMs: 0,
    }
    this.series.set(key, made)
    return made
  }
}

export interface Difference {
  readonly series: string
  readonly change: 'only in A' | 'only in B' | 'in both'
  readonly a: Alarm | null
  readonly b: Alarm | null
  /** How much later B fired than A; null unless in both. */
  readonly shiftMs: number | null
}

/**
 * Alarms of two versions, one by one: of the same series and column, and paired in order of time where they overlap or
 * fire within `toleranceMs` of each other. Detectors may have other names in B.
 */
export function compare(a: Backtested, b: Backtested, toleranceMs: number): Difference[] {
  const differences: Difference[] = []
  const alarmsA = bySubject(a)
  const alarmsB = bySubject(b)
  for (const series of [...new Set([...alarmsA.keys(), ...alarmsB.keys()])].sort()) {
    const before = alarmsA.get(series) ?? []
    const after = alarmsB.get(series) ?? []
    let i = 0
    let j = 0
    while (i < before.length || j < after.length) {
      const x = before[i]
      const y = after[j]
      if (x !== undefined && y !== undefined && isSame(x, y, toleranceMs)) {
        differences.push({ series, change: 'in both', a: x, b: y, shiftMs: y.atMs - x.atMs })
        i++
        j++
      } else if (y === undefined || (x !== undefined && x.atMs <= y.atMs)) {
        differences.push({ series, change: 'only in A', a: x!, b: null, shiftMs: null })
        i++
      } else {
        differences.push({ series, change: 'only in B', a: null, b: y, shiftMs: null })
        j++
      }
    }
  }
  return differences
}

function bySubject(backtested: Backtested): Map<string, Alarm[]> {
  const found = new Map<string, Alarm[]>()
  for (const { group, column, alarms } of backtested.series.values()) {
    if (alarms.length === 0) continue
    const name = `${seriesText(group)} ${column ?? 'silence'}`
    found.set(name, [...(found.get(name) ?? []), ...alarms])
  }
  for (const alarms of found.values()) alarms.sort((x, y) => x.atMs - y.atMs)
  return found
}

function isSame(x: Alarm, y: Alarm, toleranceMs: number): boolean {
  return Math.abs(x.atMs - y.atMs) <= toleranceMs || (x.atMs <= y.untilMs && y.atMs <= x.untilMs)
}

function isIn(timeMs: number, { fromMs, toMs }: LabelWindow): boolean {
  return timeMs >= fromMs && timeMs <= toMs
}

function median(sorted: readonly number[]): number {
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

function keyOf(group: Labels, detector: string): string {
  return `${seriesText(group)} ${detector}`
}

/** `name{host="a"}`; a group without labels is all series together. */
export function seriesText(group: Labels): string {
  const { [NAME_LABEL]: name = '', ...labels } = group
  const inside = Object.entries(labels).map(([label, value]) => `${label}=${JSON.stringify(value)}`)
  if (name === '' && inside.length === 0) return 'all series'
  return inside.length === 0 ? name : `${name}{${inside.join(', ')}}`
}
