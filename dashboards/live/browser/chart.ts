/**
 * A series as a chart: value, expected value, normal band, and what was anomalous, over uPlot. The band and the anomalies
 * are drawn by hooks, since a band may be open on one side. Colours come from the style sheet, so that themes reach here.
 */
import uPlot from 'uplot'
import { clock, number } from './format.ts'
import type { AlertSpan, Lens } from './model.ts'

export interface Colors {
  readonly value: string
  readonly expected: string
  readonly band: string
  readonly bandEdge: string
  readonly bad: string
  readonly badWash: string
  readonly grid: string
  readonly text: string
}

export function readColors(): Colors {
  const style = getComputedStyle(document.documentElement)
  const of = (name: string): string => style.getPropertyValue(name).trim()
  return {
    value: of('--accent'),
    expected: of('--expected'),
    band: of('--band'),
    bandEdge: of('--band-edge'),
    bad: of('--bad'),
    badWash: of('--bad-wash'),
    grid: of('--line'),
    text: of('--quiet'),
  }
}

export interface ChartData {
  /** Times, then columns, as in Points. */
  readonly columns: readonly (readonly (number | null)[])[]
  readonly lens: Lens
  readonly spans: readonly AlertSpan[]
  readonly fromMs: number
  readonly toMs: number
}

export interface ChartOptions {
  readonly into: HTMLElement
  readonly width: number
  readonly height: number
  readonly colors: () => Colors
  /** With axes, a cursor and zoom; without, a card's. */
  readonly isLarge: boolean
  /** Index of the point under the cursor, or null. */
  readonly onCursor?: (index: number | null) => void
}

const PAD_SHARE = 0.12

export class SeriesChart {
  readonly #plot: uPlot
  #data: ChartData | null = null
  #zoomed = false

  constructor(options: ChartOptions) {
    const { into, width, height, colors, isLarge, onCursor } = options
    const axis = {
      stroke: () => colors().text,
      grid: { stroke: () => colors().grid, width: 1 },
      ticks: { show: false },
      font: '11px system-ui, sans-serif',
    }
    this.#plot = new uPlot(
      {
        width,
        height,
        ms: 1,
        pxAlign: 0,
        legend: { show: false },
        padding: isLarge ? [10, 12, 0, 0] : [4, 0, 4, 0],
        cursor: isLarge
          ? { y: false, points: { show: false }, drag: { x: true, y: false } }
          : { show: false },
        select: { show: isLarge, left: 0, top: 0, width: 0, height: 0 },
        scales: {
          x: { time: true, range: (_plot, min, max) => this.#rangeX(min, max) },
          y: { range: () => this.#rangeY() },
        },
        axes: isLarge
          ? [
              { ...axis, values: (_plot, times) => times.map(clock), space: 80, size: 30 },
              { ...axis, values: (_plot, values) => values.map((value) => number(value)), size: 62 },
            ]
          : [{ show: false }, { show: false }],
        series: [
          {},
          { stroke: () => colors().expected, width: 1, dash: [3, 3], points: { show: false } },
          { stroke: () => colors().value, width: 1.5, points: { show: false } },
        ],
        hooks: {
          drawClear: [(plot) => this.#drawBand(plot, colors())],
          draw: [(plot) => this.#drawAnomalies(plot, colors())],
          setCursor: [(plot) => onCursor?.(plot.cursor.idx ?? null)],
          setSelect: [
            (plot) => {
              this.#zoomed = plot.select.width > 0
            },
          ],
        },
      },
      [[], [], []],
      into,
    )
    // Shown to eyes only: the numbers stand beside it as text.
    this.#plot.root.setAttribute('aria-hidden', 'true')
    if (isLarge) {
      this.#plot.over.addEventListener('dblclick', () => {
        this.#zoomed = false
        this.#redraw()
      })
    }
  }

  set(data: ChartData): void {
    this.#data = data
    this.#redraw()
  }

  resize(width: number, height: number): void {
    if (this.#plot.width !== width || this.#plot.height !== height) this.#plot.setSize({ width, height })
  }

  repaint(): void {
    this.#plot.redraw(true, true)
  }

  destroy(): void {
    this.#plot.destroy()
  }

  #redraw(): void {
    const data = this.#data
    if (data === null) return
    const { columns, lens } = data
    const times = columns[0] as number[]
    const expected = lens.scoreAt < 0 ? times.map(() => null) : columns[lens.scoreAt + 1]!
    this.#plot.setData([times, [...expected], [...columns[lens.valueAt]!]], !this.#zoomed)
    if (this.#zoomed) this.#plot.redraw(true, false)
  }

  /** Where the reader has drawn a range it is kept; else what the data says. */
  #rangeX(min: number, max: number): [number, number] {
    const data = this.#data
    if (data === null || this.#zoomed) return [min, max]
    return [data.fromMs, data.toMs]
  }

  #rangeY(): [number, number] {
    const data = this.#data
    let low = Number.POSITIVE_INFINITY
    let high = Number.NEGATIVE_INFINITY
    if (data !== null) {
      const { columns, lens } = data
      const times = columns[0]!
      const shown = lens.scoreAt < 0 ? [lens.valueAt] : [lens.valueAt, lens.scoreAt + 2, lens.scoreAt + 3]
      for (const at of shown) {
        const column = columns[at]!
        for (let i = 0; i < column.length; i++) {
          const value = column[i]
          if (value === null || value === undefined || times[i]! < data.fromMs) continue
          if (value < low) low = value
          if (value > high) high = value
        }
      }
    }
    if (low > high) return [0, 1]
    const pad = (high - low) * PAD_SHARE || Math.abs(high) * PAD_SHARE || 1
    // What never goes below zero is not shown as if it did.
    return [low >= 0 ? Math.max(0, low - pad) : low - pad, high + pad]
  }

  #drawBand(plot: uPlot, colors: Colors): void {
    const data = this.#data
    if (data === null) return
    const { ctx, bbox } = plot
    ctx.save()
    ctx.beginPath()
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height)
    ctx.clip()
    ctx.fillStyle = colors.badWash
    for (const { sinceMs, endMs, hasFired } of data.spans) {
      if (!hasFired || endMs < data.fromMs) continue
      const left = plot.valToPos(Math.max(sinceMs, data.fromMs), 'x', true)
      const right = plot.valToPos(Math.min(endMs, data.toMs), 'x', true)
      ctx.fillRect(left, bbox.top, Math.max(1, right - left), bbox.height)
    }
    if (data.lens.scoreAt >= 0) drawBand(plot, data, colors)
    ctx.restore()
  }

  /** The value again, where it was outside its band. */
  #drawAnomalies(plot: uPlot, colors: Colors): void {
    const data = this.#data
    if (data === null || data.lens.scoreAt < 0) return
    const { columns, lens } = data
    const scores = columns[lens.scoreAt]!
    const values = columns[lens.valueAt]!
    const times = columns[0]!
    const { ctx, bbox } = plot
    ctx.save()
    ctx.beginPath()
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height)
    ctx.clip()
    ctx.strokeStyle = colors.bad
    ctx.lineWidth = 2 * devicePixelRatio
    ctx.lineJoin = 'round'
    ctx.beginPath()
    let drawing = false
    for (let i = 0; i < scores.length; i++) {
      const value = values[i]
      const isAnomalous = (scores[i] ?? 0) > 1 && value !== null && value !== undefined
      if (isAnomalous) {
        const before = values[i - 1]
        if (!drawing && before !== null && before !== undefined) {
          ctx.moveTo(plot.valToPos(times[i - 1]!, 'x', true), plot.valToPos(before, 'y', true))
          drawing = true
        }
        const x = plot.valToPos(times[i]!, 'x', true)
        const y = plot.valToPos(value, 'y', true)
        if (drawing) ctx.lineTo(x, y)
        else ctx.moveTo(x, y)
      }
      drawing = isAnomalous
    }
    ctx.stroke()
    ctx.restore()
  }
}

/** Stretches in which the detector judged; a side without an edge reaches to the border of the chart. */
function drawBand(plot: uPlot, { columns, lens }: ChartData, colors: Colors): void {
  const { ctx, bbox } = plot
  const times = columns[0]!
  const lower = columns[lens.scoreAt + 2]!
  const upper = columns[lens.scoreAt + 3]!
  const bottom = bbox.top + bbox.height
  const x = (i: number): number => plot.valToPos(times[i]!, 'x', true)
  const edge = (column: readonly (number | null)[], i: number, open: number): number => {
    const value = column[i]
    return value === null || value === undefined ? open : plot.valToPos(value, 'y', true)
  }
  const isJudged = (i: number): boolean => (lower[i] ?? null) !== null || (upper[i] ?? null) !== null
  ctx.fillStyle = colors.band
  ctx.strokeStyle = colors.bandEdge
  ctx.lineWidth = devicePixelRatio
  for (let from = 0; from < times.length; from++) {
    if (!isJudged(from)) continue
    let to = from
    while (to + 1 < times.length && isJudged(to + 1)) to++
    ctx.beginPath()
    for (let i = from; i <= to; i++) ctx.lineTo(x(i), edge(upper, i, bbox.top))
    for (let i = to; i >= from; i--) ctx.lineTo(x(i), edge(lower, i, bottom))
    ctx.closePath()
    ctx.fill()
    for (const column of [upper, lower]) {
      if ((column[from] ?? null) === null) continue
      ctx.beginPath()
      for (let i = from; i <= to; i++) ctx.lineTo(x(i), edge(column, i, bottom))
      ctx.stroke()
    }
    from = to
  }
}
