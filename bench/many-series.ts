/**
 * A million series, one sample each in random order, through the real Chain: tumbling windows of a minute with count, sum,
 * standard deviation, min and max. `samplesPerSecond`: adding and firing, once every series is known. `bytesPerSeries`:
 * what the process grew by for a series, all told (routes, keys, rows, output), between an empty chain and a warm one; its
 * params say by which part of the chain.
 * `newSeriesPerSecond`: the first sight of a series, its labels decoded and its group made.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { crc32 } from 'node:zlib'
import { Chain } from '../engine/pipeline/chain.ts'
import { encodeSeriesKey } from '../engine/series/series-key.ts'
import { assert } from '../engine/util/assert.ts'
import { registry } from '../operators/registry.ts'
import type { BenchModule, Figure } from './lib/bench.ts'
import { median } from './lib/measure.ts'
import { Feed, samplesOf } from './lib/series-traffic.ts'
import { planOf } from './lib/window-traffic.ts'

const SIZE_MS = 60_000
const START_MS = 1_700_000_040_000
const SEED = 7
const ROUNDS = 5
/** Samples of each series in a window, on average. */
const SAMPLES_A_SERIES = 10
const AGGREGATES = ['count', 'sum', 'standardDeviation', 'min', 'max']

export const bench: BenchModule = {
  name: 'many-series',
  figures: ['samplesPerSecond', 'newSeriesPerSecond', 'bytesPerSeries'],
  run({ smoke }) {
    return Promise.resolve(run(smoke ? 20_000 : 1_000_000))
  },
}

function run(series: number): readonly Figure[] {
  const collect = garbageCollector()
  // Made before the first measurement of memory: they are not the chain's.
  const random = samplesOf(series, SEED, (prng) => prng.below(series))
  let next = 0
  const inOrder = samplesOf(series, SEED, () => next++)
  const keys = Array.from({ length: series }, (_, id) =>
    encodeSeriesKey({ __name__: 'load', host: `host-${id}` }),
  )
  collect()
  const beforeBytes = process.memoryUsage().rss
  let checksum = 0
  let entries = 0
  const chain = new Chain({
    plan: planOf({ sizeMs: SIZE_MS, everyMs: SIZE_MS, aggregates: AGGREGATES }),
    registry,
    partition: 0,
    keyOf: (id) => keys[id]!,
    sink: {
      group: () => {},
      entry: (_kind, _seq, _causeOffset, _eventTimeMs, bytes, length) => {
        checksum = crc32(bytes.subarray(0, length), checksum)
        entries++
      },
    },
  })
  const feed = new Feed(chain)
  const first = secondsOf(() => feed.window(inOrder, START_MS))
  // The second window fires the first and warms up.
  feed.window(random, START_MS + SIZE_MS)
  collect()
  const bytes = process.memoryUsage().rss - beforeBytes
  const rates: number[] = []
  const samples = series * SAMPLES_A_SERIES
  for (let round = 0; round < ROUNDS; round++) {
    const startMs = START_MS + (round + 2) * SIZE_MS
    const seconds = secondsOf(() => {
      for (let pass = 0; pass < SAMPLES_A_SERIES; pass++) feed.window(random, startMs)
    })
    rates.push(samples / seconds)
  }
  assert(chain.groupCount === series, 'every series has a group', chain.groupCount)
  const params = {
    series,
    order: 'random',
    window: '1m',
    aggregates: AGGREGATES,
    samplesARound: samples,
    seed: SEED,
  }
  const sum = `${entries}:${(checksum >>> 0).toString(16)}`
  const figure = (name: string, value: number, unit: string, more: Record<string, number> = {}): Figure => {
    return { figure: name, value: Math.round(value), unit, params: { ...params, ...more }, checksum: sum }
  }
  return [
    figure('samplesPerSecond', median(rates), 'samples/s'),
    figure('newSeriesPerSecond', series / first, 'series/s'),
    figure('bytesPerSeries', bytes / series, 'bytes', partsPerSeries(chain, series)),
  ]
}

/** Where the bytes are; what is left of the figure is room for more, one entry's table and code. */
function partsPerSeries(chain: Chain, series: number): Record<string, number> {
  const parts = Object.entries(chain.usedBytes())
  return Object.fromEntries(parts.map(([part, bytes]) => [`${part}Bytes`, Math.round(bytes / series)]))
}

function secondsOf(work: () => void): number {
  const start = performance.now()
  work()
  return (performance.now() - start) / 1000
}

/** Memory is compared after a collection, else garbage would count as state. */
function garbageCollector(): () => void {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as () => void
}
