/** Reads the NAB corpus and its labels from a directory. A file that does not match its labels is refused by name. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { type RowWindow, type ScoredFile, scoredFile } from './scoring.ts'

export interface CorpusSeries {
  readonly category: string
  readonly timesMs: Float64Array
  readonly values: Float64Array
  readonly file: ScoredFile
}

/** Timestamps are compared to the second. */
const SECOND_DIGITS = 19

export function hasCorpus(dir: string): boolean {
  return existsSync(join(dir, 'labels', 'combined_windows.json')) && existsSync(join(dir, 'data'))
}

export function readCorpus(dir: string): readonly CorpusSeries[] {
  const labels = JSON.parse(readFileSync(join(dir, 'labels', 'combined_windows.json'), 'utf8')) as Record<
    string,
    [string, string][]
  >
  const corpus: CorpusSeries[] = []
  const data = join(dir, 'data')
  const categories = readdirSync(data, { withFileTypes: true }).filter((entry) => entry.isDirectory())
  for (const category of categories.map((entry) => entry.name).sort())
    for (const name of readdirSync(join(data, category)).sort())
      if (name.endsWith('.csv')) {
        const path = `${category}/${name}`
        corpus.push(readSeries(category, path, readFileSync(join(data, path), 'utf8'), labels[path]))
      }
  return corpus
}

function readSeries(
  category: string,
  path: string,
  text: string,
  labels: [string, string][] | undefined,
): CorpusSeries {
  if (labels === undefined) throw new Error(`${path}: labels/combined_windows.json does not name it`)
  const lines = text.split('\n').slice(1)
  const rows = lines.filter((line) => line.trim() !== '').map((line) => line.split(','))
  const stamps = rows.map(([stamp]) => stamp!.slice(0, SECOND_DIGITS))
  const timesMs = Float64Array.from(stamps, (stamp) => Date.parse(`${stamp.replace(' ', 'T')}Z`))
  const values = Float64Array.from(rows, ([, value]) => Number(value))
  const broken = timesMs.findIndex((timeMs, row) => Number.isNaN(timeMs) || Number.isNaN(values[row]))
  if (broken >= 0) throw new Error(`${path}, row ${broken}: "${rows[broken]!.join(',')}" is no sample`)
  const file = scoredFile(path, rows.length, windowsIn(path, stamps, labels))
  return { category, timesMs, values, file }
}

function windowsIn(path: string, stamps: readonly string[], labels: [string, string][]): RowWindow[] {
  return labels.map(([start, end]) => {
    const first = stamps.indexOf(start.slice(0, SECOND_DIGITS))
    const last = stamps.indexOf(end.slice(0, SECOND_DIGITS))
    if (first < 0 || last < first) throw new Error(`${path}: no rows for the window ${start} to ${end}`)
    return { first, last }
  })
}

/** Scores that NAB published, one a row, by file. */
export function readPublished(dir: string, detector: string): Readonly<Record<string, readonly number[]>> {
  const packed = readFileSync(join(dir, 'published', `${detector}.json.gz`))
  return JSON.parse(gunzipSync(packed).toString('utf8')) as Record<string, number[]>
}
