/** Plans and plug-ins for the chain's tests: the real windows and aggregates, and two small detectors with memory. */
import { noOptions } from '../../engine/config/options.ts'
import type { Alert } from '../../engine/contract/alert.ts'
import { ENTRY_ALERT } from '../../engine/contract/entries.ts'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import type { Detector, DetectorPlugin, Registry, SilenceDetector } from '../../engine/contract/plugins.ts'
import type { Entry } from '../../engine/store/state-contract.ts'
import { registry as shipped } from '../../operators/registry.ts'

/** Anomalous beyond three times the largest magnitude learned so far. */
const surge: Detector = {
  subject: 'value',
  width: 2,
  score(cells, at, _timeMs, value, verdict) {
    const bound = 3 * cells[at]!
    verdict.expected = 0
    verdict.upper = bound
    verdict.lower = -bound
    verdict.score = cells[at + 1] === 0 ? NaN : Math.abs(value) / bound
    verdict.cleared = verdict.score <= 1
    verdict.direction = value < 0 ? -1 : 1
  },
  learn(cells, at, _timeMs, value) {
    cells[at + 1] = 1
    cells[at] = Math.max(cells[at]! * 0.9, Math.abs(value), 1e-3)
  },
  reason: (subject, value, verdict) => `${subject} ${value} scores ${verdict.score}`,
}

/** Silent after twice the longest gap seen, at least 4 s. */
const quiet: SilenceDetector = {
  subject: 'silence',
  width: 1,
  score(cells, at, _timeMs, value, verdict) {
    verdict.expected = 0
    verdict.lower = 0
    verdict.upper = quiet.silentAfterMs(cells, at)
    verdict.score = value / verdict.upper
    verdict.cleared = value === 0
    verdict.direction = 1
  },
  learn() {},
  silentAfterMs: (cells, at) => Math.max(4_000, 2 * cells[at]!),
  arrived(cells, at, gapMs) {
    cells[at] = Math.max(cells[at]!, Math.min(gapMs, 10_000))
  },
  reason: (_subject, value) => `silent for ${value} ms`,
}

function detectorPlugin(kind: string, detector: Detector): DetectorPlugin<Record<never, never>> {
  const { subject } = detector
  return { kind, summary: '', source: '', subject, options: noOptions, create: () => detector }
}

function byKind<T extends { readonly kind: string }>(plugins: readonly T[]): ReadonlyMap<string, never> {
  return new Map(plugins.map((plugin) => [plugin.kind, plugin as never]))
}

export const registry: Registry = {
  ...shipped,
  detectors: byKind([detectorPlugin('surge', surge), detectorPlugin('quiet', quiet)]),
}

export const EVERY_AGGREGATE = ['count', 'sum', 'mean', 'min', 'max', 'standardDeviation', 'last', 'rate']

export interface PlanWishes extends Partial<Omit<PipelinePlan, 'window' | 'aggregates' | 'detectors'>> {
  readonly sizeMs: number
  readonly everyMs?: number
  readonly aggregates?: readonly string[]
  readonly surge?: string
  readonly quiet?: boolean
  readonly holdMs?: number
}

/** A plan whose columns are named after their aggregates. */
export function planOf(wishes: PlanWishes): PipelinePlan {
  const { sizeMs, everyMs = sizeMs, aggregates = EVERY_AGGREGATE, surge, quiet, holdMs = 0, ...rest } = wishes
  const window = { kind: 'sliding', options: {}, sizeMs, everyMs, sliceMs: gcd(sizeMs, everyMs) }
  return {
    plan: 1,
    name: 'p',
    topic: { name: 'metrics', partitions: 1, partitionBy: null },
    where: [],
    groupBy: ['host'],
    disorderMs: 0,
    idleMs: 60_000,
    sinks: [],
    ...rest,
    window,
    aggregates: aggregates.map((kind) => ({ name: kind, kind, options: { of: 'population' } })),
    detectors: [
      ...(surge === undefined ? [] : [{ name: 'surge', kind: 'surge', column: surge, options: {}, holdMs }]),
      ...(quiet === true ? [{ name: 'quiet', kind: 'quiet', column: null, options: {}, holdMs }] : []),
    ],
  }
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b)
}

/** Transitions among entries. */
export function alertsOf(entries: readonly Entry[]): Alert[] {
  return entries
    .filter(({ kind }) => kind === ENTRY_ALERT)
    .map(({ bytes }) => JSON.parse(Buffer.from(bytes).toString()) as Alert)
}
