/** What one run is about, all of it from the seed: topics, pipelines, sizes, how often what fails. */
import * as layout from '../../engine/batch/layout.ts'
import type { Fault } from '../../engine/contract/errors.ts'
import type {
  AlertPlan,
  DetectorPlan,
  LabelMatcher,
  PipelinePlan,
  SinkPlan,
  TopicSpec,
} from '../../engine/contract/plan.ts'
import type { OptionSpec, SinkFeed } from '../../engine/contract/plugins.ts'
import type { Labels } from '../../engine/contract/samples.ts'
import { judgedOf } from '../../engine/pipeline/judged-columns.ts'
import { encodeSeriesKey, partitionOf } from '../../engine/series/series-key.ts'
import { assert } from '../../engine/util/assert.ts'
import type { Prng } from '../../engine/util/prng.ts'
import { registry } from '../../operators/registry.ts'

export interface Scenario {
  readonly topics: readonly TopicSpec[]
  readonly plans: readonly PipelinePlan[]
  readonly clients: number
  /** By client: what it does so that a request that is sent again is stored once. */
  readonly identities: readonly ('none' | 'key' | 'producer')[]
  /** Requests that clients send while things fail, and after that. */
  readonly requests: number
  readonly samplesMax: number
  readonly hosts: number
  /** Mean simulated time between two requests of a client. */
  readonly paceMs: number
  readonly disorderMs: number
  readonly oddShare: number
  readonly seriesLimit: number
  readonly ingestRingBytes: number
  readonly shardRingBytes: number
  readonly commitRingBytes: number
  readonly commitMs: number
  readonly checkpointMs: number
  readonly retentionAgeMs: number
  readonly retentionBytes: number
  /** Chances, each in 1 / n at every chance; Infinity: never. */
  readonly oneIn: {
    readonly crash: number
    readonly preempt: number
    readonly syncFailure: number
    readonly targetFailure: number
    readonly clockStep: number
    readonly pause: number
    readonly stall: number
    readonly cleanStop: number
    /** A shard dies alone, in the middle of its turn; the sink thread, between two of its calls. */
    readonly shardDeath: number
    readonly sinkDeath: number
    /** A client says something of alerts, at every request. */
    readonly statement: number
    /** Somebody makes or ends a silence, at every step. */
    readonly silence: number
  }
  /** Shards sleep until they are rung, however long: a ring that is forgotten shows. */
  readonly deepSleep: boolean
  /** The loops' own bounds are made small. */
  readonly smallBounds: boolean
  /** Clients end their input, so that the last windows close. */
  readonly endsInput: boolean
}

/** Requests of one client that are not acknowledged yet, at most; bounds a transaction. */
export const IN_FLIGHT_MAX = 3
export const SIM_SINKS = ['table', 'file', 'upsert', 'hook'] as const
const FEEDS: readonly SinkFeed[] = ['results', 'results', 'alerts', 'late']
const AGGREGATES = ['count', 'sum', 'mean', 'min', 'max', 'standardDeviation', 'last', 'rate']

/** Short runs are many: what goes wrong needs a few requests and faults, not a long life. */
export type Length = 'short' | 'long'

export function makeScenario(prng: Prng, length: Length = 'short'): Scenario {
  const isShort = length === 'short'
  const topics = many(prng, 1, isShort && prng.below(3) > 0 ? 1 : 2, (i): TopicSpec => {
    const partitionBy = pick(prng, [null, null, ['host'], ['dc']])
    return { name: `topic-${i}`, partitions: 1 + prng.below(4), partitionBy }
  })
  const disorderMs = pick(prng, [0, 500, 2_000, 7_000])
  const clients = 1 + prng.below(2)
  const samplesMax = pick(prng, isShort ? [1, 1, 4, 12] : [1, 1, 5, 20, 40])
  const requests = isShort ? 2 + prng.below(6) : 4 + prng.below(28)
  return {
    topics,
    plans: many(prng, 1, isShort ? 2 : 3, (i) =>
      makePlan(prng, `pipeline-${i}`, pick(prng, topics), disorderMs),
    ),
    clients,
    identities: many(prng, clients, clients, () => pick(prng, ['none', 'key', 'producer'] as const)),
    // Small requests cost little, and many of them fill a small ring.
    requests: requests * (samplesMax === 1 ? 3 : 1),
    samplesMax,
    hosts: pick(prng, isShort ? [1, 2, 4] : [1, 2, 4, 8]),
    paceMs: pick(prng, [5, 20, 100, 1_000, 5_000]),
    disorderMs,
    oddShare: pick(prng, [0, 0.02, 0.2]),
    seriesLimit: pick(prng, [1_000, 1_000, 1_000, 5]),
    ingestRingBytes: pick(prng, [2_048, 4_096, 8_192]),
    shardRingBytes: shardRingBytesMin(clients * samplesMax) << pick(prng, [0, 0, 0, 1, 4]),
    commitRingBytes: pick(prng, [16_384, 32_768, 131_072]),
    commitMs: pick(prng, [1, 10, 100, 1_000]),
    checkpointMs: pick(prng, [20, 200, 2_000, 20_000]),
    retentionAgeMs: pick(prng, [500, 10_000, 120_000, Infinity]),
    retentionBytes: pick(prng, [4_096, 100_000, Infinity]),
    oneIn: {
      crash: pick(prng, [Infinity, 1_500, 400, 150, 60]),
      preempt: pick(prng, [Infinity, 40, 10, 3]),
      syncFailure: pick(prng, [Infinity, Infinity, 300, 60]),
      targetFailure: pick(prng, [Infinity, 20, 4]),
      clockStep: pick(prng, [Infinity, Infinity, 500, 100]),
      pause: pick(prng, [Infinity, 300, 100]),
      stall: pick(prng, [Infinity, 100, 20]),
      cleanStop: pick(prng, [Infinity, 1_000, 300]),
      shardDeath: pick(prng, [Infinity, Infinity, 100, 25]),
      sinkDeath: pick(prng, [Infinity, 300, 60]),
      statement: pick(prng, [Infinity, Infinity, 4, 1]),
      silence: pick(prng, [Infinity, 300, 40]),
    },
    deepSleep: prng.below(2) === 0,
    smallBounds: prng.below(2) === 0,
    endsInput: prng.below(2) === 0,
  }
}

/** The smallest ring that takes a batch of everything that may be in one transaction. */
export function shardRingBytesMin(samplesInFlight: number): number {
  const frameBytes = 16 + layout.batchBytes(samplesInFlight * IN_FLIGHT_MAX)
  return 2 ** Math.ceil(Math.log2(2 * frameBytes))
}

function makePlan(prng: Prng, name: string, topic: TopicSpec, disorderMs: number): PipelinePlan {
  const sizeMs = pick(prng, [1_000, 3_000, 10_000])
  const everyMs =
    prng.below(2) === 0
      ? sizeMs
      : pick(
          prng,
          [500, 1_000, 2_000].filter((ms) => ms <= sizeMs),
        )
  const window = {
    kind: everyMs === sizeMs ? 'tumbling' : 'sliding',
    options: {},
    sizeMs,
    everyMs,
    sliceMs: greatestCommonDivisor(sizeMs, everyMs),
  }
  const kinds = AGGREGATES.filter(() => prng.below(3) === 0)
  if (kinds.length === 0) kinds.push(pick(prng, AGGREGATES))
  const aggregates = kinds.map((kind) => {
    const plugin = registry.aggregates.get(kind)!
    return { name: kind, kind, options: parsed(plugin.options, {}) }
  })
  return {
    plan: 1,
    name,
    topic,
    where: makeWhere(prng),
    groupBy: pick(prng, [null, ['host'], ['dc'], ['host', 'dc'], []]),
    // The plan's own patience need not be what the sources need: then there are late samples.
    disorderMs: pick(prng, [0, disorderMs, disorderMs]),
    idleMs: pick(prng, [2_000, 15_000, 60_000]),
    window,
    aggregates,
    detectors: makeDetectors(prng, kinds),
    sinks: many(prng, 0, 3, (i): SinkPlan => {
      return { name: `sink-${i}`, kind: pick(prng, SIM_SINKS), options: {}, feed: pick(prng, FEEDS) }
    }),
  }
}

function makeWhere(prng: Prng): LabelMatcher[] {
  return pick<LabelMatcher[]>(prng, [
    [],
    [],
    [{ label: 'host', op: '!=', value: 'h0' }],
    [{ label: '__name__', op: 'in', value: ['load', 'heat'] }],
    [{ label: 'host', op: '=~', value: 'h[0-4]' }],
  ])
}

function makeDetectors(prng: Prng, columns: readonly string[]): DetectorPlan[] {
  const written: readonly (readonly [kind: string, options: object])[] = [
    ['threshold', { above: 60 }],
    ['threshold', { below: 2, above: 100 }],
    ['ewma', { threshold: 2, history: '20s', warmUp: '1s' }],
    ['range-breach', { history: '1m', warmUp: '1s', relearn: '10s' }],
    ['silence', { after: pick(prng, ['1s', '4s', '30s']) }],
    ['silence', { atLeast: '1s', warmUp: '2s' }],
    ['peers', { by: [], minPeers: 3, threshold: 1 }],
    ...(columns.length < 2
      ? []
      : ([['pca', { history: '20s', warmUp: '1s', threshold: 2, relearn: '10s' }]] as const)),
  ]
  return many(prng, 0, 3, (i): DetectorPlan => {
    const [kind, options] = pick(prng, written)
    const plugin = registry.detectors.get(kind)
    assert(plugin !== undefined, 'a detector of the registry', kind)
    const judged =
      plugin.subject === 'vector'
        ? judgedOf(columns)
        : judgedOf(plugin.subject === 'silence' ? null : pick(prng, columns))
    return {
      name: `${kind}-${i}`,
      kind,
      column: judged.column,
      ...(judged.columns === null ? {} : { columns: judged.columns }),
      options: parsed(plugin.options, options),
      holdMs: pick(prng, [0, 0, 2_000]),
      ...(plugin.subject !== 'silence' && prng.below(2) === 0 ? { alert: makeAlert(prng) } : {}),
    }
  })
}

/** Everything that remembers something of a row. */
function makeAlert(prng: Prng): AlertPlan {
  return {
    ...(prng.below(2) === 0 ? { atLeast: { anomalous: 2, of: 4 } } : {}),
    ...(prng.below(2) === 0 ? { keepFiringMs: 3_000 } : {}),
    ...(prng.below(2) === 0 ? { refractoryMs: 4_000, reArm: 3 } : {}),
    ...(prng.below(2) === 0 ? { flapping: { times: 2, withinMs: 8_000 } } : {}),
    ...(prng.below(2) === 0 ? { minDeviation: { absolute: 1, relative: 0.1 } } : {}),
    severity: [
      { from: 1, severity: 'warning' },
      { from: 2, severity: 'critical' },
    ],
    overrides: [{ where: [{ label: 'host', op: '=', value: 'h1' }], scale: 2 }],
  }
}

function parsed(spec: OptionSpec<never>, written: object): unknown {
  const faults: Fault[] = []
  const options: unknown = spec.parse(written, 'simulation', faults)
  assert(faults.length === 0, 'the scenario writes options that are right', JSON.stringify(faults))
  return options
}

/** A series that clients send. */
export interface SimSeries {
  readonly labels: Labels
  readonly key: Uint8Array
  readonly text: string
  /** By topic. */
  readonly partitions: readonly number[]
}

const NAMES = ['load', 'load', 'heat', 'other']

/** One of a client's series. No two clients share a series, so that each one's order can be checked. */
export function makeSeries(topics: readonly TopicSpec[], client: number, hosts: number): SimSeries[] {
  return NAMES.flatMap((name) =>
    Array.from({ length: hosts }, (_, host) => {
      const labels = { __name__: name, host: `h${host}`, dc: `d${host % 2}`, client: `c${client}` }
      const key = encodeSeriesKey(labels)
      const partitions = topics.map(({ partitionBy, partitions: of }) => partitionOf(labels, partitionBy, of))
      return { labels, key, text: keyText(key), partitions }
    }),
  )
}

/** Bytes as text of one char a byte: text order is byte order. */
export function keyText(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')
}

export function pick<T>(prng: Prng, choices: readonly T[]): T {
  return choices[prng.below(choices.length)]!
}

function many<T>(prng: Prng, least: number, most: number, make: (i: number) => T): T[] {
  return Array.from({ length: least + prng.below(most - least + 1) }, (_, i) => make(i))
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}
