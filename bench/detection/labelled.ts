/**
 * `npm run bench:labelled -- [--time COLUMN] [--value COLUMN,...] [--label COLUMN] [--detector NAME,...] FILE.csv...`: detectors
 * at their shipped defaults on labelled series of one's own, a series for each file and value column. One JSON line a
 * detector. An event is a run of rows whose label is not 0; it is found by an alert that begins in it or up to three rows
 * beside it. What no event explains is false. Nothing of a file is known in advance, and nothing is tuned to it.
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { assert } from '../../engine/util/assert.ts'
import { registry } from '../../operators/registry.ts'
import { DEFAULT_THRESHOLD, judgeFile } from '../nab/judge.ts'

const DAY_MS = 86_400_000
const GRACE_ROWS = 3
/** Below it a time is taken for seconds. */
const SECONDS_MAX = 1e11

export interface LabelledSeries {
  readonly timesMs: Float64Array
  readonly values: Float64Array
  readonly isAnomalous: readonly boolean[]
}

export interface LabelledColumns {
  readonly time: string
  readonly values: readonly string[]
  readonly label: string
}

/** Rows in order of time; fields separated by commas or semicolons, without quotes. */
export function readLabelled(csv: string, columns: LabelledColumns): LabelledSeries[] {
  const [header = '', ...lines] = csv.trim().split(/\r?\n/)
  const separator = header.includes(';') ? ';' : ','
  const names = header.split(separator)
  const columnOf = (name: string): number => {
    const at = names.indexOf(name)
    assert(at >= 0, 'the file has the column', name, names.join())
    return at
  }
  const [time, label] = [columnOf(columns.time), columnOf(columns.label)]
  const rows = lines.map((line) => line.split(separator))
  const order = rows.map((row) => ({ row, timeMs: timeOf(row[time]!) })).sort((a, b) => a.timeMs - b.timeMs)
  const timesMs = Float64Array.from(order, ({ timeMs }) => timeMs)
  const isAnomalous = order.map(({ row }) => Number(row[label]) !== 0)
  return columns.values.map((name) => {
    const at = columnOf(name)
    const values = Float64Array.from(order, ({ row }) => (row[at] === '' ? NaN : Number(row[at])))
    return { timesMs, values, isAnomalous }
  })
}

function timeOf(text: string): number {
  const number = Number(text)
  if (!Number.isNaN(number)) return number < SECONDS_MAX ? 1_000 * number : number
  return Date.parse(/[zZ]|[+-]\d\d:?\d\d$/.test(text) ? text : `${text.replace(' ', 'T')}Z`)
}

export interface LabelledTally {
  readonly detector: string
  series: number
  values: number
  seriesDays: number
  events: number
  found: number
  alarms: number
  false: number
}

export function tallyOf(detector: string, all: readonly LabelledSeries[]): LabelledTally {
  const plugin = registry.detectors.get(detector)
  assert(plugin !== undefined, 'a detector of the registry', detector)
  const tally = { detector, series: 0, values: 0, seriesDays: 0, events: 0, found: 0, alarms: 0, false: 0 }
  for (const { timesMs, values, isAnomalous } of all) {
    const { scores } = judgeFile(plugin, {}, timesMs, values)
    const alarms = [...scores.keys()].filter((row) => scores[row]! >= DEFAULT_THRESHOLD)
    const events = eventsOf(isAnomalous)
    const explains = ([from, to]: readonly [number, number], row: number): boolean =>
      row >= from - GRACE_ROWS && row <= to + GRACE_ROWS
    tally.series++
    tally.values += values.length
    tally.seriesDays += (timesMs.at(-1)! - timesMs[0]!) / DAY_MS
    tally.events += events.length
    tally.found += events.filter((event) => alarms.some((row) => explains(event, row))).length
    tally.alarms += alarms.length
    tally.false += alarms.filter((row) => !events.some((event) => explains(event, row))).length
  }
  return { ...tally, seriesDays: Number(tally.seriesDays.toFixed(2)) }
}

/** First and last row of each. */
function eventsOf(isAnomalous: readonly boolean[]): (readonly [from: number, to: number])[] {
  const events: [from: number, to: number][] = []
  for (const [row, is] of isAnomalous.entries()) {
    if (!is) continue
    if (isAnomalous[row - 1] === true) events.at(-1)![1] = row
    else events.push([row, row])
  }
  return events
}

function main(): number {
  const { values: flags, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      time: { type: 'string', default: 'timestamp' },
      value: { type: 'string', default: 'value' },
      label: { type: 'string', default: 'label' },
      detector: { type: 'string', default: 'auto' },
    },
  })
  if (positionals.length === 0) {
    process.stderr.write(
      'name labelled CSV files, as in: npm run bench:labelled -- --label is_anomaly a.csv\n',
    )
    return 2
  }
  const columns = { time: flags.time, values: flags.value.split(','), label: flags.label }
  const all = positionals.flatMap((file) => readLabelled(readFileSync(file, 'utf8'), columns))
  for (const detector of flags.detector.split(',')) {
    process.stdout.write(`${JSON.stringify(tallyOf(detector, all))}\n`)
  }
  return 0
}

if (process.argv[1] === import.meta.filename) process.exitCode = main()
