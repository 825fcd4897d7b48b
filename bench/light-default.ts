/**
 * The detectors that are cheap enough for every series (ewma and rangeBreach on a mean, silence), for a million series at a
 * sample every ten seconds each, through the real Chain: tumbling windows of ten seconds, samples in random order.
 * `coreShare`: of one core, that windows and detectors take together. `nsPerSample`: what the detectors add to a sample, by a
 * chain of the same windows without them, round by round; `nsPerSampleInCache` of ten thousand series. `bytesPerSeries`: cells of the detectors, their alerts and the
 * watch over them.
 */
import { crc32 } from 'node:zlib'
import { ENTRY_ALERT } from '../engine/contract/entries.ts'
import { pipeline, topic } from '../engine/pipeline/builder.ts'
import { Chain } from '../engine/pipeline/chain.ts'
import { compilePlan } from '../engine/pipeline/plan.ts'
import { encodeSeriesKey } from '../engine/series/series-key.ts'
import { assert } from '../engine/util/assert.ts'
import { Prng } from '../engine/util/prng.ts'
import { mean } from '../operators/aggregates/mean.ts'
import { ewma } from '../operators/detectors/ewma.ts'
import { rangeBreach } from '../operators/detectors/range-breach.ts'
import { silence } from '../operators/detectors/silence.ts'
import { registry } from '../operators/registry.ts'
import { tumbling } from '../operators/windows/tumbling.ts'
import type { BenchModule, Figure } from './lib/bench.ts'
import { median } from './lib/measure.ts'
import { Feed, samplesOf, usual } from './lib/series-traffic.ts'

const EVERY_MS = 10_000
const START_MS = 1_700_000_040_000
const SEED = 7
/** Twenty values warm the detectors up. */
const WARM_ROUNDS = 24
const ROUNDS = 9
/** Values of a series come round again after so many rounds. */
const SETS = 4
/** One value in so many is far out in the measured rounds, so that alerts begin and end. */
const FAR_EVERY = 1_000

export const bench: BenchModule = {
  name: 'light-default',
  figures: ['coreShare', 'nsPerSample', 'bytesPerSeries', 'nsPerSampleInCache'],
  run({ smoke }) {
    const many = run(smoke ? 10_000 : 1_000_000)
    const few = run(10_000)
    return Promise.resolve([
      ...many,
      ...few
        .filter(({ figure }) => figure === 'nsPerSample')
        .map((cost) => ({ ...cost, figure: 'nsPerSampleInCache' })),
    ])
  },
}

function run(series: number): readonly Figure[] {
  const order = permutation(series)
  const sets = Array.from({ length: SETS }, (_, i) => samplesOf(series, SEED + i, ids(order, i)))
  const far = new Prng(SEED)
  const disturbed = samplesOf(series, SEED, ids(order, 0), (prng) => {
    const value = usual(prng)
    return far.below(FAR_EVERY) === 0 ? 10 * value : value
  })
  const keys = Array.from({ length: series }, (_, id) =>
    encodeSeriesKey({ __name__: 'load', host: `host-${id}` }),
  )
  const plain = rig(windows, keys)
  const judged = rig(
    windows
      .detect('mean', ewma({ warmUp: '1m' }))
      .detect('mean', rangeBreach({ warmUp: '1m' }))
      .detect(silence()),
    keys,
  )
  const shares: number[] = []
  const costs: number[] = []
  for (let round = 0; round < WARM_ROUNDS + ROUNDS; round++) {
    const isMeasured = round >= WARM_ROUNDS
    const set = isMeasured && round % SETS === 0 ? disturbed : sets[round % SETS]!
    plain.tally.isMeasured = isMeasured
    judged.tally.isMeasured = isMeasured
    const fromMs = START_MS + round * EVERY_MS
    const without = secondsOf(() => plain.feed.window(set, fromMs, EVERY_MS))
    const seconds = secondsOf(() => judged.feed.window(set, fromMs, EVERY_MS))
    if (!isMeasured) continue
    shares.push((1_000 * seconds) / EVERY_MS)
    costs.push(((seconds - without) * 1e9) / series)
  }
  assert(judged.tally.alerts > 0, 'far values alert')
  const params = {
    series,
    everyMs: EVERY_MS,
    order: 'random',
    window: '10s',
    detectors: ['ewma', 'range-breach', 'silence'],
    rounds: ROUNDS,
    seed: SEED,
  }
  const checksum = `${judged.tally.entries}:${judged.tally.alerts}:${(judged.tally.checksum >>> 0).toString(16)}`
  return [
    { figure: 'coreShare', value: Number(median(shares).toFixed(4)), unit: 'of a core', params, checksum },
    { figure: 'nsPerSample', value: Number(median(costs).toFixed(1)), unit: 'ns', params, checksum },
    {
      figure: 'bytesPerSeries',
      value: 8 * judged.chain.detectorCellsAGroup,
      unit: 'bytes',
      params,
      checksum,
    },
  ]
}

const windows = pipeline('light')
  .from(topic('metrics', { partitions: 1 }))
  .groupBy('host')
  .window(tumbling('10s'), { mean: mean() })

interface Rig {
  readonly chain: Chain
  readonly feed: Feed
  readonly tally: { entries: number; alerts: number; checksum: number; isMeasured: boolean }
}

function rig(definition: Parameters<typeof compilePlan>[0], keys: readonly Uint8Array[]): Rig {
  const { plan, faults } = compilePlan(definition, registry, 'bench')
  assert(plan !== null, 'the pipeline of a bench is right', JSON.stringify(faults))
  const tally = { entries: 0, alerts: 0, checksum: 0, isMeasured: false }
  const chain = new Chain({
    plan,
    registry,
    partition: 0,
    keyOf: (id) => keys[id]!,
    sink: {
      group: () => {},
      entry: (kind, _seq, _causeOffset, _eventTimeMs, bytes, length) => {
        // Not in the measured rounds, where it would count as the detectors' for the columns that they add.
        if (!tally.isMeasured) tally.checksum = crc32(bytes.subarray(0, length), tally.checksum)
        tally.entries++
        if (kind === ENTRY_ALERT) tally.alerts++
      },
    },
  })
  return { chain, feed: new Feed(chain), tally }
}

/** Series in a random order, begun at another place for each set. */
function ids(order: Int32Array, set: number): () => number {
  let next = Math.floor((set * order.length) / SETS)
  return () => order[next++ % order.length]!
}

function permutation(length: number): Int32Array {
  const prng = new Prng(SEED)
  const order = Int32Array.from({ length }, (_, i) => i)
  for (let i = length - 1; i > 0; i--) {
    const j = prng.below(i + 1)
    const kept = order[i]!
    order[i] = order[j]!
    order[j] = kept
  }
  return order
}

function secondsOf(work: () => void): number {
  const start = performance.now()
  work()
  return (performance.now() - start) / 1000
}
