/** Numbers, times and labels as a person reads them: short, and never wider than they were. Pure. */
import type { Labels } from '../../../engine/contract/samples.ts'

const NAME_LABEL = '__name__'
const SI = ['', 'k', 'M', 'G', 'T', 'P']
const NONE = '–'

/** Four digits at most: `0.0312`, `12.4`, `9.31 k`, `1.2e-7`. */
export function number(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE
  const size = Math.abs(value)
  if (size === 0) return '0'
  if (size < 1e-4) return value.toExponential(1)
  if (size < 999.5) return String(Number(value.toPrecision(3)))
  return scaled(value, 1_000, SI)
}

export function count(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE
  return value < 10_000 ? Math.round(value).toLocaleString('en') : scaled(value, 1_000, SI)
}

export function perSecond(value: number | null): string {
  return value === null ? NONE : `${number(value)}/s`
}

export function bytes(value: number | null): string {
  if (value === null) return NONE
  return value < 1_000 ? `${value} B` : `${scaled(value, 1_000, SI)}B`
}

/** Seconds of work a second, as a share of one core. */
export function share(ratio: number | null): string {
  if (ratio === null) return NONE
  const percent = ratio * 100
  if (percent > 0 && percent < 0.01) return '<0.01 %'
  return `${percent < 10 ? Number(percent.toFixed(2)) : Math.round(percent)} %`
}

export function duration(ms: number | null): string {
  if (ms === null || !Number.isFinite(ms)) return NONE
  const seconds = Math.max(0, ms) / 1_000
  if (seconds < 1) return `${Math.round(seconds * 1_000)} ms`
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 120) return `${Math.round(seconds)} s`
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`
  return `${Math.round(seconds / 86_400)} d`
}

/** `5m`, as durations are written in pipelines. */
export function span(ms: number): string {
  const units: readonly (readonly [number, string])[] = [
    [86_400_000, 'd'],
    [3_600_000, 'h'],
    [60_000, 'm'],
    [1_000, 's'],
  ]
  for (const [unitMs, unit] of units) if (ms >= unitMs && ms % unitMs === 0) return `${ms / unitMs}${unit}`
  return `${ms}ms`
}

export function clock(ms: number): string {
  const at = new Date(ms)
  return [at.getHours(), at.getMinutes(), at.getSeconds()]
    .map((part) => String(part).padStart(2, '0'))
    .join(':')
}

/** `12:00:05` of the same day as `nowMs`, else `2026-01-30 12:00:05`; local time. */
export function moment(ms: number, nowMs: number): string {
  const at = new Date(ms)
  if (at.toDateString() === new Date(nowMs).toDateString()) return clock(ms)
  const date = [at.getFullYear(), at.getMonth() + 1, at.getDate()].map((part) =>
    String(part).padStart(2, '0'),
  )
  return `${date.join('-')} ${clock(ms)}`
}

export function metricName(group: Labels): string {
  return group[NAME_LABEL] ?? ''
}

/** Labels without the metric's name and without those left out; '' when none is left. */
export function labels(group: Labels, without: ReadonlySet<string> = new Set()): string {
  return Object.entries(group)
    .filter(([name]) => name !== NAME_LABEL && !without.has(name))
    .map(([name, value]) => `${name}=${value}`)
    .join(' ')
}

export function groupText(group: Labels): string {
  return [metricName(group), labels(group)].filter((part) => part !== '').join(' ') || 'all samples'
}

/** One text for one set of labels, whatever their order. */
export function groupKey(pipeline: string, group: Labels): string {
  const entries = Object.entries(group).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  return JSON.stringify([pipeline, entries])
}

function scaled(value: number, base: number, units: readonly string[]): string {
  let shown = value
  let unit = 0
  // Not 1,000 k for what rounds up to it.
  while (Math.abs(shown) >= base * 0.9995 && unit < units.length - 1) {
    shown /= base
    unit++
  }
  return unit === 0 ? String(Number(shown.toPrecision(3))) : `${Number(shown.toPrecision(3))} ${units[unit]}`
}
