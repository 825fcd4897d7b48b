/**
 * `npm run bench:regress -- OLD.json NEW.json [--tolerance 10]`: compares two results of the benchmarks (files of
 * bench/results/, or what `--json` printed). Tolerance in per cent. Exit code 0: nothing fell by more than the tolerance;
 * 1: something did; 2: a file or option that cannot be used. Figures of another machine are shown as ratios, not judged.
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import {
  type Comparison,
  compareResults,
  hasRegressed,
  type ResultLine,
  readResults,
  smallIsGood,
  TOLERANCE_DEFAULT,
} from './lib/regression.ts'

const USAGE = 'usage: npm run bench:regress -- OLD.json NEW.json [--tolerance PERCENT]\n'
/** Memory or disk that is slower by more than this is told beside the figure. */
const MACHINE_SLOWER = 0.9

function main(): number {
  const request = parseRequest(process.argv.slice(2))
  if (typeof request === 'string') {
    process.stderr.write(`${request}\n${USAGE}`)
    return 2
  }
  const { before, after, tolerance } = request
  const comparisons = compareResults(before, after, tolerance)
  for (const comparison of comparisons) process.stdout.write(`${rowOf(comparison)}\n`)
  const count = (verdict: Comparison['verdict']): number =>
    comparisons.filter((comparison) => comparison.verdict === verdict).length
  const others = count('other machine')
  if (others > 0)
    process.stdout.write(`${others} figures are of another machine: ratios only, nothing is judged\n`)
  process.stdout.write(
    `tolerance ${Math.round(tolerance * 1_000) / 10} %: ${count('better')} better, ${count('same')} the same, ${count('worse')} worse, ` +
      `${count('gone')} gone, ${count('new')} new\n`,
  )
  return hasRegressed(comparisons) ? 1 : 0
}

interface Request {
  readonly before: readonly ResultLine[]
  readonly after: readonly ResultLine[]
  readonly tolerance: number
}

function parseRequest(args: string[]): Request | string {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: { tolerance: { type: 'string' } },
    })
    const [old, now] = positionals
    if (old === undefined || now === undefined || positionals.length > 2)
      return `two results are compared, not ${positionals.length}`
    const tolerance = values.tolerance === undefined ? TOLERANCE_DEFAULT : Number(values.tolerance) / 100
    if (!(tolerance >= 0 && tolerance < 1))
      return `--tolerance ${values.tolerance}: write per cent, from 0 to less than 100`
    const before = readResults(readFileSync(old, 'utf8'))
    if (typeof before === 'string') return `${old}: ${before}`
    const after = readResults(readFileSync(now, 'utf8'))
    return typeof after === 'string' ? `${now}: ${after}` : { before, after, tolerance }
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

function rowOf(comparison: Comparison): string {
  const { bench, figure, unit, before, after, ratio, verdict, params, memcpyRatio, fsyncRatio } = comparison
  const change = Number.isNaN(ratio) ? '' : `${ratio.toFixed(3)} x`
  const slower = [
    memcpyRatio < MACHINE_SLOWER ? `memory ${memcpyRatio.toFixed(2)} x` : '',
    fsyncRatio < MACHINE_SLOWER ? `fsync ${fsyncRatio.toFixed(2)} x` : '',
  ].filter((text) => text !== '')
  const asked = Object.entries(params)
    .map(([name, value]) => `${name}=${String(value)}`)
    .join(' ')
  return [
    verdict.padEnd(13),
    `${bench}/${figure}`.padEnd(40),
    `${shown(before)} → ${shown(after)} ${unit}${smallIsGood(unit) ? ' (less is better)' : ''}`.padEnd(46),
    change.padStart(9),
    slower.length === 0 ? '' : `[the machine: ${slower.join(', ')}]`,
    asked,
  ]
    .join(' ')
    .trimEnd()
}

function shown(value: number | null): string {
  if (value === null) return 'none'
  return Math.abs(value) >= 1_000
    ? Math.round(value).toLocaleString('en')
    : String(Number(value.toPrecision(4)))
}

process.exitCode = main()
