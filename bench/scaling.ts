/**
 * Throughput by number of shards and by number of series, as curves: a figure a point, which `params` places on its curve.
 *
 * `shardSamplesPerSecond`  A node starts over a log that was written before and works it through: log → windows of five
 *                          aggregates → committed results, without a door to feed it. So the shards are what is measured, by 1, 2
 *                          and 4 of them. They share the cores that the machine has (in `params` and `machine`) with the
 *                          committer: a curve is expected to bend there, and more shards than cores cannot help.
 * `seriesSamplesPerSecond` The same with one shard, from 1 series, which lies in one partition, to 1 M.
 *
 * The clock runs from the first commit to the last, over what came between (the start of a node and its threads is no
 * throughput); where there is but one, as in a smoke run, from the start of the node. The log lies in the page cache, as that of a running node does. The checksum is over the results: the same for any number of shards.
 */
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { resolveConfig } from '../engine/config/config.ts'
import { ENTRY_RESULTS } from '../engine/contract/entries.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import { encodeSeriesKey, partitionOf } from '../engine/series/series-key.ts'
import type { LogTransaction, LogWriter } from '../engine/store/log-contract.ts'
import { openLogWriter } from '../engine/store/log-store.ts'
import { openStateReader } from '../engine/store/state-store.ts'
import { openStore } from '../engine/store/store.ts'
import { assert } from '../engine/util/assert.ts'
import { startNode } from '../workers/node.ts'
import type { BenchModule, Figure } from './lib/bench.ts'
import { type CommitTrace, CommitWatch } from './lib/commit-watch.ts'
import { medianOf } from './lib/measure.ts'
import { openScratch } from './lib/scratch.ts'
import { sharedMs } from './lib/shared-time.ts'
import { recordsOf } from './lib/stored-records.ts'

const PARTITIONS = 16
const SCRAPE_MS = 1_000
/** Ten scrapes: a result row to ten samples. */
const WINDOW_MS = 10_000
const START_MS = 1_700_000_000_000
const BATCHES_PER_TRANSACTION = 256
const SERIES_PER_TRANSACTION = 100_000
const SETTLE_POLL_MS = 10
const SHARDS = [1, 2, 4]
const SHARD_SERIES = 1_000
const SERIES = [1, 100, 10_000, 100_000, 1_000_000]
const ROUNDS = 3

interface Size {
  readonly series: number
  readonly samples: number
}

export const bench: BenchModule = {
  name: 'scaling',
  figures: ['shardSamplesPerSecond', 'seriesSamplesPerSecond'],
  async run({ smoke }) {
    const sizeOf = (series: number): Size => {
      // One series has a result entry for each window: a fewer of them will do.
      return { series, samples: smoke ? 40_000 : series < 100 ? 2_000_000 : 20_000_000 }
    }
    const shards = smoke ? [1, 2] : SHARDS
    const series = smoke ? [1, 1_000] : SERIES
    const rounds = smoke ? 1 : ROUNDS
    const figures: Figure[] = []
    figures.push(...(await curve('shardSamplesPerSecond', sizeOf(SHARD_SERIES), shards, rounds)))
    for (const count of series) {
      figures.push(...(await curve('seriesSamplesPerSecond', sizeOf(count), [1], rounds)))
    }
    return figures
  },
}

/** A point for each number of shards, over one log. */
async function curve(
  figure: string,
  size: Size,
  shards: readonly number[],
  rounds: number,
): Promise<readonly Figure[]> {
  const scratch = openScratch('scaling')
  try {
    const dir = join(scratch.path, 'data')
    await fill(dir, size)
    const figures: Figure[] = []
    for (const count of shards) {
      let checksum = ''
      const value = await medianOf({ rounds }, async () => {
        const rate = await samplesPerSecond(dir, size, count)
        checksum = await resultsOf(dir)
        return rate
      })
      const params = {
        shards: count,
        series: size.series,
        samples: size.samples,
        partitions: PARTITIONS,
        windowMs: WINDOW_MS,
        scrapeMs: SCRAPE_MS,
        rounds,
      }
      figures.push({ figure, value, unit: 'samples/s', params, checksum })
    }
    assert(new Set(figures.map(({ checksum }) => checksum)).size === 1, 'shards change no byte', figure)
    return figures
  } finally {
    scratch.remove()
  }
}

const PLAN: PipelinePlan = {
  plan: 1,
  name: 'scaled',
  topic: { name: 'metrics', partitions: PARTITIONS, partitionBy: null },
  where: [],
  groupBy: null,
  disorderMs: 0,
  // By log time nothing is ever idle: all of it seems to have been sent at once, a while ago.
  idleMs: 100 * 365 * 86_400_000,
  window: {
    kind: 'tumbling',
    options: { sizeMs: WINDOW_MS },
    sizeMs: WINDOW_MS,
    everyMs: WINDOW_MS,
    sliceMs: WINDOW_MS,
  },
  aggregates: ['count', 'sum', 'standardDeviation', 'min', 'max'].map((kind) => ({
    name: kind,
    kind,
    options: { of: 'population' },
  })),
  detectors: [],
  sinks: [],
}

/** Of a node that knows nothing of the log, until all of it is in committed results. */
async function samplesPerSecond(dir: string, { samples }: Size, shards: number): Promise<number> {
  const config = resolveConfig({ flags: { port: 0, data: dir, retentionAge: '36500d' }, file: { shards } })
  const startMs = sharedMs()
  let watch: CommitWatch | null = null
  const node = await startNode({
    config,
    pipelines: [PLAN],
    resetState: true,
    onFatal: (error) => {
      throw error
    },
    onBoard: (board) => {
      watch = new CommitWatch(board)
    },
  })
  try {
    for (;;) {
      const [pipeline] = await node.queries.pipelines()
      const { ledger } = pipeline!
      if (ledger.in === samples) {
        assert(ledger.windowed === samples, 'every sample is in a window', JSON.stringify(ledger))
        break
      }
      await new Promise((resolve) => setTimeout(resolve, SETTLE_POLL_MS))
    }
    assert(watch !== null, 'a node has a board')
    return rateOf(await (watch as CommitWatch).end(), startMs, samples)
  } finally {
    await node.close()
  }
}

function rateOf(
  { startPositions, timesMs, slots, positions }: CommitTrace,
  startMs: number,
  samples: number,
) {
  const lastMs = timesMs.at(-1) ?? sharedMs()
  const firstMs = timesMs[0] ?? lastMs
  if (firstMs === lastMs) return samples / ((lastMs - startMs) / 1_000)
  const committed = startPositions.slice()
  let row = 0
  for (; timesMs[row] === firstMs; row++) committed[slots[row]!] = positions[row]!
  const before = committed.reduce((sum, position) => sum + position, 0)
  for (; row < timesMs.length; row++) committed[slots[row]!] = positions[row]!
  const after = committed.reduce((sum, position) => sum + position, 0)
  return (after - before) / ((lastMs - firstMs) / 1_000)
}

/** Rows committed, and a CRC-32 over all entries in order. */
async function resultsOf(dir: string): Promise<string> {
  const state = openStateReader({ dir })
  try {
    const { id } = state.pipeline(PLAN.name)!
    let rows = 0
    let sum = 0
    for (let partition = 0; partition < PARTITIONS; partition++) {
      for (let seq = 0; ; ) {
        const entries = state.entries(id, partition, seq)
        if (entries.length === 0) break
        for (const { kind, bytes } of entries) {
          if (kind === ENTRY_RESULTS) rows += new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true)
          sum = crc32(bytes, sum)
        }
        seq = entries.at(-1)!.seq + 1
      }
    }
    return `${rows} results, crc32 ${sum}`
  } finally {
    await state.close()
  }
}

/** Scrapes of all series in turn, one a second of event time, until there are `samples`; records are as large as they get. */
async function fill(dir: string, { series, samples }: Size): Promise<void> {
  assert(samples % series === 0 || samples < series, 'a log holds whole scrapes', samples, series)
  const store = await openStore({ dir })
  const writer = openLogWriter({ dir, fence: store.fence })
  try {
    const ofPartition: number[][] = Array.from({ length: PARTITIONS }, () => [])
    writer.transaction((txn) => txn.createTopic(PLAN.topic))
    for (let first = 0; first < series; first += SERIES_PER_TRANSACTION) {
      writer.transaction((txn) => {
        for (let id = first; id < Math.min(series, first + SERIES_PER_TRANSACTION); id++) {
          const labels = { __name__: 'load', host: `host-${id}` }
          txn.putSeries(0, id, encodeSeriesKey(labels))
          ofPartition[partitionOf(labels, null, PARTITIONS)]!.push(id)
        }
      })
    }
    for (const [partition, ids] of ofPartition.entries()) {
      const records = recordsOf({
        partition,
        series: Int32Array.from(ids),
        scrapes: samples / series,
        startMs: START_MS,
        scrapeMs: SCRAPE_MS,
        value: (n) => 10 + ((n * 7_919) % 997) / 131,
      })
      while (putSome(writer, records) === BATCHES_PER_TRANSACTION);
    }
  } finally {
    await writer.close()
    await store.close()
  }
}

function putSome(writer: LogWriter, records: Iterator<Uint8Array>): number {
  return writer.transaction((txn: LogTransaction) => {
    let put = 0
    while (put < BATCHES_PER_TRANSACTION) {
      const next = records.next()
      if (next.done === true) break
      txn.putBatch(next.value)
      put++
    }
    return put
  })
}
