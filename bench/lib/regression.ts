/**
 * Two results of the benchmarks against each other, figure by figure: what fell, by how much, and whether that is more than
 * noise. Pure; bench/regress.ts reads the files and prints.
 *
 * - Figures belong together that have the same bench, figure and params. Params that a run measures itself, such as a rate,
 *   are not compared: MEASURED_PARAMS.
 * - Whether more is better follows from the unit: a time or a size should be small, everything else large.
 * - Only figures of one machine (cpu, cores, memory, node, platform) are judged; between machines there are ratios and nothing else.
 * - A machine has slow days. Memory and disk speed are measured with each figure; where one of them fell too, that is said
 *   beside it, but excuses nothing.
 */
import { assert } from '../../engine/util/assert.ts'
import type { Machine } from './machine.ts'

/** A line of `bench/run.ts --json`, and an element of `figures` in bench/results/. */
export interface ResultLine {
  readonly bench: string
  readonly figure: string
  readonly value: number
  readonly unit: string
  readonly params: Readonly<Record<string, unknown>>
  readonly machine: Machine
}

export type Verdict = 'better' | 'same' | 'worse' | 'other machine' | 'gone' | 'new'

export interface Comparison {
  readonly bench: string
  readonly figure: string
  readonly params: Readonly<Record<string, unknown>>
  readonly unit: string
  readonly before: number | null
  readonly after: number | null
  /** After as a share of before; 1: the same. NaN where one is missing. */
  readonly ratio: number
  readonly verdict: Verdict
  /** Memory and disk speed of the later run as a share of the earlier one's. */
  readonly memcpyRatio: number
  readonly fsyncRatio: number
}

/** A figure may be worse by this share of what it was. Medians of two runs on one quiet machine differ by up to about this. */
export const TOLERANCE_DEFAULT = 0.1

/** Of `latency` and `dedupe`: what the run found out, beside what it was asked for. */
const MEASURED_PARAMS: ReadonlySet<string> = new Set([
  'sustainedSamplesPerSecond',
  'samplesPerSecond',
  'without',
  'results',
  'commits',
  'sentLateMsMean',
  'sentLateMsMax',
])

const SMALL_IS_GOOD_UNITS: ReadonlySet<string> = new Set(['ms', 's', 'us', 'ns', 'bytes', 'B'])

/** In the order of `before`, then what is new. `tolerance`: a share, 0.1 for ten per cent. */
export function compareResults(
  before: readonly ResultLine[],
  after: readonly ResultLine[],
  tolerance: number,
): readonly Comparison[] {
  assert(tolerance >= 0 && tolerance < 1, 'a tolerance is a share', tolerance)
  const unmatched = new Map(after.map((line) => [keyOf(line), line]))
  const comparisons = [...new Map(before.map((line) => [keyOf(line), line]))].map(([key, line]) => {
    const later = unmatched.get(key)
    unmatched.delete(key)
    return later === undefined ? missing(line, 'gone') : compared(line, later, tolerance)
  })
  return [...comparisons, ...[...unmatched.values()].map((line) => missing(line, 'new'))]
}

/** Whether the later result must not stand: something fell. Figures that are gone are told, not judged. */
export function hasRegressed(comparisons: readonly Comparison[]): boolean {
  return comparisons.some(({ verdict }) => verdict === 'worse')
}

export function smallIsGood(unit: string): boolean {
  return SMALL_IS_GOOD_UNITS.has(unit)
}

function compared(before: ResultLine, after: ResultLine, tolerance: number): Comparison {
  const ratio = after.value === before.value ? 1 : after.value / before.value
  return {
    ...titleOf(after),
    before: before.value,
    after: after.value,
    ratio,
    verdict: isSameMachine(before.machine, after.machine)
      ? verdictOf(ratio, smallIsGood(before.unit), tolerance)
      : 'other machine',
    memcpyRatio: after.machine.memcpyBytesPerSecond / before.machine.memcpyBytesPerSecond,
    fsyncRatio: after.machine.fsyncPerSecond / before.machine.fsyncPerSecond,
  }
}

/** A figure that is no number any more is worse. */
function verdictOf(ratio: number, isSmallGood: boolean, tolerance: number): Verdict {
  const gain = isSmallGood ? 1 / ratio : ratio
  if (gain > 1 + tolerance) return 'better'
  return gain >= 1 - tolerance ? 'same' : 'worse'
}

function missing(line: ResultLine, verdict: 'gone' | 'new'): Comparison {
  return {
    ...titleOf(line),
    before: verdict === 'gone' ? line.value : null,
    after: verdict === 'new' ? line.value : null,
    ratio: Number.NaN,
    verdict,
    memcpyRatio: Number.NaN,
    fsyncRatio: Number.NaN,
  }
}

function titleOf({ bench, figure, params, unit }: ResultLine) {
  return { bench, figure, params, unit }
}

function isSameMachine(a: Machine, b: Machine): boolean {
  return (
    a.cpu === b.cpu &&
    a.cores === b.cores &&
    a.memoryGiB === b.memoryGiB &&
    a.node === b.node &&
    a.platform === b.platform
  )
}

function keyOf({ bench, figure, params }: ResultLine): string {
  const asked = Object.entries(params)
    .filter(([name]) => !MEASURED_PARAMS.has(name))
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify([bench, figure, asked])
}

/** The lines of a file of bench/results/, or of the output of `--json` as it is; or what is wrong with it. */
export function readResults(text: string): readonly ResultLine[] | string {
  const lines: unknown[] = []
  try {
    const whole: unknown = JSON.parse(text)
    if (isRecord(whole) && Array.isArray(whole.figures)) lines.push(...(whole.figures as unknown[]))
    else lines.push(whole)
  } catch {
    for (const [i, line] of text.split('\n').entries()) {
      if (line.trim() === '') continue
      try {
        lines.push(JSON.parse(line))
      } catch {
        return `line ${i + 1} is no JSON: ${JSON.stringify(line.slice(0, 60))}`
      }
    }
  }
  const wrong = lines.findIndex((line) => !isResultLine(line))
  if (wrong >= 0)
    return `figure ${wrong + 1} is none of a benchmark: ${JSON.stringify(lines[wrong]).slice(0, 60)}`
  if (lines.length === 0) return 'it holds no figure'
  // JSON writes NaN as null.
  return (lines as readonly ResultLine[]).map((line) => ({ ...line, value: line.value ?? Number.NaN }))
}

function isResultLine(line: unknown): boolean {
  return (
    isRecord(line) &&
    typeof line.bench === 'string' &&
    typeof line.figure === 'string' &&
    (typeof line.value === 'number' || line.value === null) &&
    typeof line.unit === 'string' &&
    isRecord(line.params) &&
    isRecord(line.machine)
  )
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
