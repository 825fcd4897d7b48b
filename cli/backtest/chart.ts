/** One series as SVG: labelled windows, band, values, alarms, and the score below. Static: it needs no script to be read. */
import type { JudgedSeries } from './evaluate.ts'
import type { Bucket } from './trace.ts'

export const CHART_WIDTH = 1_000
export const VALUES_HEIGHT = 170
/** Above the values: marks of alarms. */
export const CHART_TOP = -10
const SCORE_TOP = 184
const SCORE_HEIGHT = 46
export const CHART_HEIGHT: number = SCORE_TOP + SCORE_HEIGHT
/** Scores are drawn up to here; the edge of the band is at 1. */
const SCORE_SHOWN_MAX = 3
/** Of the height, above and below the values. */
export const MARGIN = 0.06

/** Of a number under the cursor. */
const DIGITS = 6

interface Scale {
  /** Values at the lower and the upper edge. */
  readonly low: number
  readonly high: number
  x(timeMs: number): number
  y(value: number): number
}

export function chartSvg(series: JudgedSeries, label: string): string {
  const buckets = series.trace?.buckets() ?? []
  if (buckets.length === 0) return ''
  const scale = scaleOf(buckets)
  const lastMs = buckets.at(-1)!.timeMs
  const parts = [
    ...series.labels
      .filter(({ fromMs, toMs }) => fromMs <= lastMs && toMs >= buckets[0]!.timeMs)
      .map(({ fromMs, toMs }) => rect('label', scale.x(fromMs), scale.x(toMs), 0, CHART_HEIGHT)),
    ...series.alarms.map(({ atMs, untilMs, isTrue }) =>
      rect(
        isTrue === true ? 'alarm true' : 'alarm',
        scale.x(atMs),
        scale.x(Math.min(untilMs, lastMs)),
        0,
        VALUES_HEIGHT,
      ),
    ),
    // A picture in the picture: the script moves its height apart from the score's.
    `<svg class="pane" width="${CHART_WIDTH}" height="${VALUES_HEIGHT}" viewBox="0 0 ${CHART_WIDTH} ${VALUES_HEIGHT}" preserveAspectRatio="none">`,
    ...bandPaths(buckets, scale),
    `<path class="value" d="${valuePath(buckets, scale)}"/></svg>`,
    `<path class="score" d="${scorePath(buckets, scale)}"/>`,
    `<path class="edge" d="M0 ${scoreY(1)}H${CHART_WIDTH}"/>`,
    ...series.alarms.map(({ atMs }) => {
      const x = scale.x(atMs)
      return `<path class="mark" data-x="${x}" transform="translate(${x} 0)" d="M0 0l-5 -8h10z"/>`
    }),
  ]
  return `<svg viewBox="0 ${CHART_TOP} ${CHART_WIDTH} ${CHART_HEIGHT - CHART_TOP}" preserveAspectRatio="none" role="img" aria-label="${label}">${parts.join('')}</svg>`
}

/** JSON of the numbers that are drawn, column by column, for the cursor and the zoom; null: none. It holds no text of the data. */
export function chartData({ trace }: JudgedSeries): string {
  const buckets = trace?.buckets() ?? []
  if (buckets.length === 0) return 'null'
  const { low, high } = scaleOf(buckets)
  const column = (of: (bucket: Bucket) => number): (number | null)[] =>
    buckets.map((bucket) => {
      const value = of(bucket)
      return Number.isNaN(value) ? null : Number(value.toPrecision(DIGITS))
    })
  return JSON.stringify({
    low,
    high,
    each: trace!.windowsEach,
    times: buckets.map(({ timeMs }) => timeMs),
    min: column(({ min }) => min),
    max: column(({ max }) => max),
    expected: column(({ expected }) => expected),
    lower: column(({ lower }) => lower),
    upper: column(({ upper }) => upper),
    score: column(({ score }) => score),
  })
}

function scaleOf(buckets: readonly Bucket[]): Scale {
  const firstMs = buckets[0]!.timeMs
  const spanMs = buckets.at(-1)!.timeMs - firstMs || 1
  let low = Infinity
  let high = -Infinity
  for (const { min, max } of buckets) {
    low = Math.min(low, min)
    high = Math.max(high, max)
  }
  const margin = (high - low) * MARGIN || Math.abs(high) * MARGIN || 1
  low -= margin
  high += margin
  const round = (value: number): number => Math.round(value * 10) / 10
  return {
    low,
    high,
    x: (timeMs) => round(Math.min(1, Math.max(0, (timeMs - firstMs) / spanMs)) * CHART_WIDTH),
    // A band may be far wider than the values: it ends at the edge of the picture.
    y: (value) => round(VALUES_HEIGHT * (1 - Math.min(1, Math.max(0, (value - low) / (high - low))))),
  }
}

function rect(kind: string, fromX: number, toX: number, top: number, height: number): string {
  const width = Math.max(1.5, Math.round((toX - fromX) * 10) / 10)
  return `<rect class="${kind}" x="${fromX}" y="${top}" width="${width}" height="${height}"/>`
}

/** One area for each stretch that has a band; a side without a bound reaches to the edge. */
function bandPaths(buckets: readonly Bucket[], { x, y }: Scale): string[] {
  const paths: string[] = []
  let upper: string[] = []
  let lower: string[] = []
  const close = (): void => {
    if (upper.length > 1)
      paths.push(`<path class="band" d="M${upper.join('L')}L${lower.reverse().join('L')}Z"/>`)
    upper = []
    lower = []
  }
  for (const bucket of buckets) {
    if (Number.isNaN(bucket.lower) && Number.isNaN(bucket.upper)) {
      close()
      continue
    }
    const at = x(bucket.timeMs)
    upper.push(`${at} ${Number.isNaN(bucket.upper) ? 0 : y(bucket.upper)}`)
    lower.push(`${at} ${Number.isNaN(bucket.lower) ? VALUES_HEIGHT : y(bucket.lower)}`)
  }
  close()
  return paths
}

/** Down and up in each bucket, so that a spike is as high as it was. */
function valuePath(buckets: readonly Bucket[], { x, y }: Scale): string {
  return buckets
    .map(({ timeMs, min, max }, i) => {
      const at = `${i === 0 ? 'M' : 'L'}${x(timeMs)} ${y(max)}`
      return min === max ? at : `${at}V${y(min)}`
    })
    .join('')
}

function scoreY(score: number): number {
  return (
    Math.round((SCORE_TOP + SCORE_HEIGHT * (1 - Math.min(score, SCORE_SHOWN_MAX) / SCORE_SHOWN_MAX)) * 10) /
    10
  )
}

function scorePath(buckets: readonly Bucket[], { x }: Scale): string {
  let isOpen = false
  return buckets
    .map(({ timeMs, score }) => {
      if (Number.isNaN(score)) {
        isOpen = false
        return ''
      }
      const step = `${isOpen ? 'L' : 'M'}${x(timeMs)} ${scoreY(score)}`
      isOpen = true
      return step
    })
    .join('')
}
