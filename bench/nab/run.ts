/**
 * `npm run bench:nab -- [--dir ../shared/nab] [--json] [--smoke] [NAME...]`: detectors on the Numenta Anomaly Benchmark.
 * One line a detector. Columns:
 *   strict          past samples only, at the threshold that suits the corpus best (NAB's own rule)
 *   crossValidated  the threshold of one half of the files applied to the other, mean of five splits
 *   atDefault       at the shipped default, score 1; constants may still have been chosen with the corpus in view
 *   leaveOneCategoryOut  each category at the threshold that suits the others
 *   nabRules        with the whole file's range known, as NAB allows: a deviation up to 0.2 % of it is normal
 *                   (`minDeviation`); at the best threshold, beside strict. null: the detector has no such option
 * `--smoke`: four files, for the gate. Without the corpus it says so and skips (exit code 0 for --smoke, else 2).
 */
import { parseArgs } from 'node:util'
import type { DetectorPlugin } from '../../engine/contract/plugins.ts'
import { Prng } from '../../engine/util/prng.ts'
import { registry } from '../../operators/registry.ts'
import { type CorpusSeries, hasCorpus, readCorpus } from './corpus.ts'
import { DEFAULT_THRESHOLD, judgeFile, optionsOf } from './judge.ts'
import { atOptimum, atThreshold, type ByProfile, byProfile, heldOut, type Scored } from './scoring.ts'

const SPLITS = 5
const SEED = 1
const SMOKE_FILES = 4
/** What NAB's rules let be known of a file, as a person would say it of a column: so small a share of its range is no deviation. */
const RANGE_OPTION = 'minDeviation'
const RANGE_SHARE = 0.002
const CELL_BYTES = 8
/** What needs a person's bounds, or judges no values, has no line. */
const WITHOUT = ['threshold', 'silence', 'rate-of-change', 'page-hinkley']

interface Line {
  readonly detector: string
  readonly strict: ByProfile
  readonly crossValidated: ByProfile
  readonly atDefault: ByProfile
  readonly leaveOneCategoryOut: ByProfile
  readonly nabRules: ByProfile | null
  readonly alarmsAtDefault: number
  readonly nsPerSample: number
  readonly bytesPerSeries: number
}

export function measureDetector(plugin: DetectorPlugin<never>, corpus: readonly CorpusSeries[]): Line {
  let seconds = 0
  let samples = 0
  let alarms = 0
  const parts = corpus.map(({ file, timesMs, values }): Scored => {
    const judged = judgeFile(plugin, {}, timesMs, values)
    seconds += judged.seconds
    samples += values.length
    alarms += judged.scores.reduce((sum, score) => sum + (score >= DEFAULT_THRESHOLD ? 1 : 0), 0)
    return { file, scores: judged.scores }
  })
  const categories = [...new Set(corpus.map(({ category }) => category))]
  const byCategory = categories.map((name) => parts.filter((_, i) => corpus[i]!.category === name))
  return {
    detector: plugin.kind,
    strict: atOptimum(parts),
    crossValidated: crossValidated(parts),
    atDefault: atThreshold(parts, DEFAULT_THRESHOLD),
    leaveOneCategoryOut: heldOut(byCategory),
    nabRules: plugin.options.help.some(({ name }) => name === RANGE_OPTION)
      ? atOptimum(corpus.map((series) => knowingRange(plugin, series)))
      : null,
    alarmsAtDefault: alarms,
    nsPerSample: Math.round((seconds * 1e9) / samples),
    bytesPerSeries: plugin.create(optionsOf(plugin, {})).width * CELL_BYTES,
  }
}

function knowingRange(plugin: DetectorPlugin<never>, { file, timesMs, values }: CorpusSeries): Scored {
  let [low, high] = [Infinity, -Infinity]
  for (const value of values) {
    low = Math.min(low, value)
    high = Math.max(high, value)
  }
  const options = { [RANGE_OPTION]: RANGE_SHARE * (high - low) }
  return { file, scores: judgeFile(plugin, options, timesMs, values).scores }
}

function crossValidated(parts: readonly Scored[]): ByProfile {
  const prng = new Prng(SEED)
  const splits = Array.from({ length: SPLITS }, () => {
    const shuffled = [...parts]
    for (let i = shuffled.length - 1; i > 0; i--) {
      const j = prng.below(i + 1)
      ;[shuffled[i], shuffled[j]] = [shuffled[j]!, shuffled[i]!]
    }
    const half = shuffled.length >> 1
    return heldOut([shuffled.slice(0, half), shuffled.slice(half)])
  })
  return byProfile(({ name }) => splits.reduce((sum, split) => sum + split[name], 0) / SPLITS)
}

function textOf(line: Line): string {
  const shown = (scores: ByProfile) =>
    [scores.standard, scores.lowFp, scores.lowFn].map((score) => score.toFixed(1).padStart(5)).join(' ')
  const nabRules = line.nabRules === null ? '' : ` | range known ${shown(line.nabRules)}`
  return `${line.detector.padEnd(16)} strict ${shown(line.strict)} | cross-validated ${shown(line.crossValidated)} | at default ${shown(line.atDefault)} | category left out ${shown(line.leaveOneCategoryOut)}${nabRules} | ${line.alarmsAtDefault} alarms, ${line.nsPerSample} ns a sample, ${line.bytesPerSeries} bytes a series\n`
}

function main(): number {
  const flag = { type: 'boolean', default: false } as const
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { dir: { type: 'string', default: '../shared/nab' }, json: flag, smoke: flag },
  })
  const plugins = [...registry.detectors.values()].filter(
    ({ kind, subject }) => subject === 'value' && !WITHOUT.includes(kind),
  )
  const unknown = positionals.filter((name) => !plugins.some(({ kind }) => kind === name))
  if (unknown.length > 0) {
    process.stderr.write(
      `unknown detector: ${unknown.join(', ')}; there are ${plugins.map(({ kind }) => kind).join(', ')}\n`,
    )
    return 2
  }
  if (!hasCorpus(values.dir)) {
    process.stderr.write(`skipped: no NAB corpus in ${values.dir} (data/ and labels/); name it with --dir\n`)
    return values.smoke ? 0 : 2
  }
  const all = readCorpus(values.dir)
  const corpus = values.smoke ? all.filter((_, i) => i % Math.ceil(all.length / SMOKE_FILES) === 0) : all
  for (const plugin of plugins) {
    if (positionals.length > 0 && !positionals.includes(plugin.kind)) continue
    const line = measureDetector(plugin, corpus)
    process.stdout.write(values.json ? `${JSON.stringify(line)}\n` : textOf(line))
  }
  return 0
}

process.exitCode = main()
