/**
 * `npm run simulate -- [--runs N] [--minutes M] [--seed S] [--long] [--json]`: simulated lives of a node, one a seed, until
 * the number or the time is up; short ones, of which there are many, or with --long such with more load and more crashes. With --seed and neither of the others it replays that one run. The last line is JSON.
 */
import { execFileSync } from 'node:child_process'
import { parseArgs } from 'node:util'
import { MUTANTS } from './mutants.ts'
import { type SimulationReport, simulate } from './simulation.ts'

const HOUR_MS = 3_600_000
const RUNS_DEFAULT = 1_000

const { values } = parseArgs({
  options: {
    runs: { type: 'string' },
    minutes: { type: 'string' },
    seed: { type: 'string' },
    mutant: { type: 'string' },
    long: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})

function numberOf(name: 'runs' | 'minutes' | 'seed'): number | null {
  const written = values[name]
  if (written === undefined) return null
  const number = Number(written)
  if (Number.isFinite(number) && number >= 0) return number
  console.error(`--${name}: is no number (got ${JSON.stringify(written)}). Write a number of 0 or more.`)
  process.exit(2)
}

function commit(): string {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty', '--abbrev=10'], {
      encoding: 'utf8',
    }).trim()
  } catch {
    return 'unknown'
  }
}

const seedGiven = numberOf('seed')
const minutes = numberOf('minutes')
const runs = numberOf('runs') ?? (minutes !== null ? Infinity : seedGiven !== null ? 1 : RUNS_DEFAULT)
const mutant = MUTANTS.find(({ name }) => name === values.mutant) ?? null
if (values.mutant !== undefined && mutant === null) {
  console.error(
    `--mutant: there is no ${JSON.stringify(values.mutant)}. Write one of ${MUTANTS.map(({ name }) => name).join(', ')}.`,
  )
  process.exit(2)
}
const length = values.long ? 'long' : 'short'
const firstSeed = seedGiven ?? Math.floor(Math.random() * 2 ** 31)
const untilMs = minutes === null ? Infinity : performance.now() + minutes * 60_000
const startedMs = performance.now()
const faults: Record<string, number> = {}
const sums = {
  runs: 0,
  failures: 0,
  simulatedMs: 0,
  crashes: 0,
  faults: 0,
  steps: 0,
  entries: 0,
  resent: 0,
  deaths: 0,
  skips: 0,
  reads: 0,
}

function add(report: SimulationReport): void {
  sums.simulatedMs += report.simulatedMs
  sums.crashes += report.crashes
  sums.faults += report.faultCount
  sums.steps += report.steps
  sums.entries += report.entries
  sums.resent += report.resent
  sums.deaths += report.deaths
  sums.skips += report.skippedBatches
  sums.reads += report.catchUpReads
  for (const [kind, count] of Object.entries(report.faults)) faults[kind] = (faults[kind] ?? 0) + count
}

for (let run = 0; run < runs && performance.now() < untilMs; run++) {
  const seed = firstSeed + run
  sums.runs++
  try {
    const report = await simulate(seed, mutant, length)
    add(report)
    if (runs === 1) console.log(JSON.stringify(report, null, 2))
  } catch (error) {
    sums.failures++
    console.log(`seed ${seed} at commit ${commit()}: ${error instanceof Error ? error.stack : String(error)}`)
    const broken = `${values.long ? ' --long' : ''}${mutant === null ? '' : ` --mutant ${mutant.name}`}`
    console.log(`replay: npm run simulate -- --seed ${seed}${broken}`)
    // A broken node was found out; that is all there is to know.
    if (mutant !== null) break
  }
}

const seconds = (performance.now() - startedMs) / 1_000
if (!values.json) {
  for (const [kind, count] of Object.entries(faults).sort())
    console.log(`${String(count).padStart(9)}  ${kind}`)
  const perMinute = Math.round((sums.runs / seconds) * 60)
  console.log(
    `${sums.runs} runs in ${seconds.toFixed(1)} s (${perMinute} a minute), ${sums.steps} turns, ${sums.entries} entries,`,
  )
  console.log(`${sums.skips} batches skipped by full rings, ${sums.reads} read from the log instead`)
}
console.log(
  JSON.stringify({
    runs: sums.runs,
    failures: sums.failures,
    simulatedHours: Number((sums.simulatedMs / HOUR_MS).toFixed(1)),
    crashes: sums.crashes,
    deaths: sums.deaths,
    resent: sums.resent,
    faults: sums.faults,
    seed: firstSeed,
  }),
)
process.exitCode = sums.failures > 0 ? 1 : 0
