/**
 * `npm run bench -- NAME... [--all] [--smoke] [--json] [--list]`: runs benchmarks one after another, from dist under
 * plain node. `--json`: one JSON object a figure and line, with the machine measured in the same run.
 * Exit code 2: a name or option that does not exist. 1: a benchmark failed.
 */
import { parseArgs } from 'node:util'
import type { BenchModule, Figure } from './lib/bench.ts'
import { type Machine, measureMachine } from './lib/machine.ts'

const BENCHES: Readonly<Record<string, () => Promise<{ bench: BenchModule }>>> = {
  'parse-line-protocol': () => import('./parse-line-protocol.ts'),
  'ring-window': () => import('./ring-window.ts'),
  'sliding-window': () => import('./sliding-window.ts'),
  'many-series': () => import('./many-series.ts'),
  'log-append': () => import('./log-append.ts'),
  'end-to-end': () => import('./end-to-end.ts'),
  dedupe: () => import('./dedupe.ts'),
  replay: () => import('./replay.ts'),
  'ring-transfer': () => import('./ring-transfer.ts'),
  detectors: () => import('./detectors.ts'),
  'light-default': () => import('./light-default.ts'),
  'two-phase-group': () => import('./two-phase-group.ts'),
  checkpoint: () => import('./checkpoint.ts'),
  'start-up': () => import('./start-up.ts'),
  latency: () => import('./latency.ts'),
  scaling: () => import('./scaling.ts'),
}

const USAGE = `usage: npm run bench -- NAME... [--all] [--smoke] [--json] [--list]\nbenchmarks: ${Object.keys(BENCHES).join(', ')}\n`

async function main(): Promise<number> {
  const request = parseRequest(process.argv.slice(2))
  if (typeof request === 'string') {
    process.stderr.write(`${request}\n${USAGE}`)
    return 2
  }
  if (request.list) {
    for (const name of Object.keys(BENCHES)) process.stdout.write(`${name}\n`)
    return 0
  }
  const machine = measureMachine()
  if (!request.json) printMachine(machine)
  for (const name of request.names) {
    const { bench } = await BENCHES[name]!()
    for (const figure of await bench.run({ smoke: request.smoke })) {
      if (request.json) printJson(name, figure, machine)
      else printRow(name, figure)
    }
  }
  return 0
}

interface Request {
  names: readonly string[]
  smoke: boolean
  json: boolean
  list: boolean
}

/** The request, or what is wrong with it. */
function parseRequest(args: string[]): Request | string {
  const flag = { type: 'boolean', default: false } as const
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: { all: flag, smoke: flag, json: flag, list: flag },
    })
    const unknown = positionals.filter((name) => !Object.hasOwn(BENCHES, name))
    if (unknown.length > 0) return `unknown benchmark: ${unknown.join(', ')}`
    const names = values.all ? Object.keys(BENCHES) : positionals
    if (names.length === 0 && !values.list) return 'no benchmark named'
    return { names, smoke: values.smoke, json: values.json, list: values.list }
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

function printJson(name: string, figure: Figure, machine: Machine): void {
  const { figure: title, value, unit, params, checksum } = figure
  process.stdout.write(
    `${JSON.stringify({ bench: name, figure: title, value, unit, params, checksum, machine })}\n`,
  )
}

function printMachine(machine: Machine): void {
  process.stdout.write(
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, node ${machine.node}, ${machine.platform}\n` +
      `memcpy ${humanNumber(machine.memcpyBytesPerSecond)}B/s, fdatasync ${humanNumber(machine.fsyncPerSecond)}/s\n\n`,
  )
}

function printRow(name: string, figure: Figure): void {
  const params = Object.entries(figure.params)
    .map(([key, value]) => `${key}=${String(value)}`)
    .join(' ')
  process.stdout.write(
    `${name.padEnd(22)} ${figure.figure.padEnd(26)} ${humanNumber(figure.value).padStart(10)} ${figure.unit.padEnd(12)} ${params} [${figure.checksum}]\n`,
  )
}

function humanNumber(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toFixed(2)} G`
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`
  if (value >= 1e3) return `${(value / 1e3).toFixed(2)} k`
  return `${value.toFixed(2)} `
}

process.exitCode = await main()
