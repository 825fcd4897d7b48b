/**
 * Labelled anomalies: windows of time, each for the series whose labels it names. Read from CSV (`from,to` and label columns),
 * JSON (a list of objects of the same) or the shape of NAB's combined windows (file name → list of [from, to]). Pure.
 */
import { type Fault, MillraceError } from '../../engine/contract/errors.ts'
import type { Labels } from '../../engine/contract/samples.ts'

export interface LabelWindow {
  readonly fromMs: number
  readonly toMs: number
  /** A series matches when it has all of these. */
  readonly labels: Labels
}

/** More would be the data itself. */
export const LABELS_MAX = 100_000
const FAULTS_SHOWN_MAX = 10

/** `dataFiles` choose among the files that NAB's shape names. */
export function readLabels(text: string, place: string, dataFiles: readonly string[]): LabelWindow[] {
  const rows = /^\s*[[{]/.test(text) ? fromJson(text, place, dataFiles) : fromCsv(text, place)
  const faults: Fault[] = []
  const windows: LabelWindow[] = []
  for (const { where, from, to, labels } of rows) {
    const fromMs = readTime(from)
    const toMs = readTime(to)
    const bad = fromMs === null ? from : toMs === null ? to : null
    if (bad !== null) {
      const remedy = 'Write ISO 8601, such as 2026-01-31T12:00:00Z, or epoch milliseconds.'
      faults.push({ place: where, value: bad, problem: 'is no time', remedy })
    } else if (toMs! < fromMs!) {
      faults.push({
        place: where,
        value: to,
        problem: 'ends before it begins',
        remedy: 'Write from before to.',
      })
    } else windows.push({ fromMs: fromMs!, toMs: toMs!, labels })
  }
  if (rows.length > LABELS_MAX) {
    const remedy = `Give at most ${LABELS_MAX}.`
    faults.push({ place, value: rows.length, problem: 'are too many windows', remedy })
  }
  if (faults.length > 0) throw unreadable(faults)
  return windows
}

interface Row {
  readonly where: string
  readonly from: unknown
  readonly to: unknown
  readonly labels: Labels
}

function fromCsv(text: string, place: string): Row[] {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '')
  const names = (lines[0] ?? '').split(',').map((name) => name.trim())
  const remedy = 'Begin with a header row that has the columns from and to; every other column is a label.'
  if (!names.includes('from') || !names.includes('to')) {
    throw unreadable([
      { place: `${place}:1`, value: lines[0], problem: 'names no columns from and to', remedy },
    ])
  }
  return lines.slice(1).map((line, i) => {
    const cells = line.split(',').map((cell) => cell.trim())
    const row = Object.fromEntries(names.map((name, c) => [name, cells[c] ?? '']))
    const { from, to, ...labels } = row
    const given = Object.fromEntries(Object.entries(labels).filter(([, value]) => value !== ''))
    return { where: `${place}:${i + 2}`, from, to, labels: given }
  })
}

function fromJson(text: string, place: string, dataFiles: readonly string[]): Row[] {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (error) {
    const { message } = error as Error
    throw unreadable([{ place, value: message, problem: 'is no JSON', remedy: 'Correct the file.' }])
  }
  if (Array.isArray(parsed)) {
    return parsed.map((row, i) => {
      const { from, to, labels = {} } = (row ?? {}) as { from?: unknown; to?: unknown; labels?: Labels }
      return { where: `${place}[${i}]`, from, to, labels }
    })
  }
  const rows: Row[] = []
  for (const [file, windows] of Object.entries(parsed as Record<string, unknown>)) {
    if (!Array.isArray(windows) || !dataFiles.some((data) => data.replaceAll('\\', '/').endsWith(file)))
      continue
    windows.forEach((window, i) => {
      const [from, to] = Array.isArray(window) ? (window as unknown[]) : []
      rows.push({ where: `${place}: ${file}[${i}]`, from, to, labels: {} })
    })
  }
  return rows
}

/** Epoch ms, or null. Without a zone a time is UTC, as in the data. */
function readTime(written: unknown): number | null {
  if (typeof written === 'number') return Number.isFinite(written) ? written : null
  if (typeof written !== 'string' || written === '') return null
  if (/^\d+(\.\d+)?$/.test(written)) return Number(written)
  const iso = written.trim().replace(' ', 'T')
  const zoned = /(Z|[+-]\d{2}:?\d{2})$/.test(iso) || !iso.includes('T') ? iso : `${iso}Z`
  const ms = Date.parse(zoned)
  return Number.isNaN(ms) ? null : ms
}

function unreadable(faults: readonly Fault[]): MillraceError {
  return MillraceError.ofFaults(
    'INPUT_INVALID',
    'the labels cannot be read',
    faults.slice(0, FAULTS_SHOWN_MAX),
  )
}

export function matches(group: Labels, wanted: Labels): boolean {
  return Object.entries(wanted).every(([name, value]) => group[name] === value)
}
