/**
 * `npm run bench:families -- [--json] [--smoke] [--detector auto]`: a detector at its shipped default over made-up families
 * with known truth. A line a family: recall (events during which an alert began), precision (alerts that began during
 * events), median delay from the event's first row, alarms per series-day. Then one for all clean families together.
 */
import { parseArgs } from 'node:util'
import type { DetectorPlugin } from '../../engine/contract/plugins.ts'
import { registry } from '../../operators/registry.ts'
import { DEFAULT_THRESHOLD, judgeFile } from '../nab/judge.ts'
import { FAMILIES, type Family } from './families.ts'

const SEEDS = 3
const DAY_MS = 86_400_000
/** An alert up to this many rows after an event still belongs to it. */
const GRACE_ROWS = 3

interface FamilyLine {
  readonly family: string
  readonly clean: boolean
  readonly recall: number | null
  readonly precision: number | null
  readonly delayMinutes: number | null
  readonly alarmsPerSeriesDay: number
}

export function measureFamily(family: Family, plugin: DetectorPlugin<never>, seeds: number): FamilyLine {
  let [events, found, alarms, right, days] = [0, 0, 0, 0, 0]
  const delays: number[] = []
  for (let seed = 1; seed <= seeds; seed++) {
    const made = family.make(seed)
    const { scores } = judgeFile(plugin, {}, made.timesMs, made.values)
    const began = [...scores.keys()].filter((row) => scores[row]! >= DEFAULT_THRESHOLD)
    days += (made.timesMs.at(-1)! - made.timesMs[0]!) / DAY_MS
    alarms += began.length
    events += made.events.length
    for (const { first, last } of made.events) {
      const during = began.filter((row) => row >= first && row <= last + GRACE_ROWS)
      right += during.length
      if (during.length === 0) continue
      found++
      delays.push((made.timesMs[during[0]!]! - made.timesMs[first]!) / 60_000)
    }
  }
  delays.sort((a, b) => a - b)
  return {
    family: family.name,
    clean: family.clean,
    recall: events === 0 ? null : round(found / events),
    precision: events === 0 || alarms === 0 ? null : round(right / alarms),
    delayMinutes: delays[delays.length >> 1] ?? null,
    alarmsPerSeriesDay: round(alarms / days),
  }
}

function round(x: number): number {
  return Math.round(x * 1e4) / 1e4
}

function main(): number {
  const flag = { type: 'boolean', default: false } as const
  const { values } = parseArgs({
    options: { json: flag, smoke: flag, detector: { type: 'string', default: 'auto' } },
  })
  const plugin = registry.detectors.get(values.detector)
  if (plugin?.subject !== 'value') {
    process.stderr.write(`unknown detector of values: ${values.detector}\n`)
    return 2
  }
  const families = values.smoke ? FAMILIES.filter((_, i) => i % 8 === 0) : FAMILIES
  const lines = families.map((family) => {
    const line = measureFamily(family, plugin, values.smoke ? 1 : SEEDS)
    if (values.json) process.stdout.write(`${JSON.stringify({ detector: plugin.kind, ...line })}\n`)
    else process.stdout.write(textOf(line))
    return line
  })
  const clean = lines.filter((line) => line.clean)
  const rate = round(clean.reduce((sum, line) => sum + line.alarmsPerSeriesDay, 0) / clean.length)
  const recalls = lines.filter(({ recall }) => recall !== null)
  const recall = round(recalls.reduce((sum, line) => sum + line.recall!, 0) / Math.max(1, recalls.length))
  const total = { detector: plugin.kind, cleanAlarmsPerSeriesDay: rate, meanRecall: recall }
  process.stdout.write(
    `${values.json ? JSON.stringify(total) : `clean families: ${rate} alarms a series-day; recall ${recall}`}\n`,
  )
  return 0
}

function textOf(line: FamilyLine): string {
  const shown = (x: number | null) => (x === null ? '-' : String(x)).padStart(7)
  return `${line.family.padEnd(30)} recall ${shown(line.recall)} precision ${shown(line.precision)} delay ${shown(line.delayMinutes)} min, ${shown(line.alarmsPerSeriesDay)} alarms a series-day\n`
}

process.exitCode = main()
