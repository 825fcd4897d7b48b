/**
 * How fast a replay goes: records from the log, checked, through windows of five aggregates. It is the path of `millrace
 * replay`, the start of its threads included: `output: entries` ends with the bytes of the result stream (`--dry-run`),
 * `output: ndjson` with a file of lines. The log was written just before, so it lies in the page cache, as that of a node
 * does. The checksum is over the results, which are the same for any number of threads.
 */
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import { encodeSeriesKey, partitionOf } from '../engine/series/series-key.ts'
import type { LogTransaction, LogWriter } from '../engine/store/log-contract.ts'
import { openLogWriter } from '../engine/store/log-store.ts'
import { openStore } from '../engine/store/store.ts'
import { assert } from '../engine/util/assert.ts'
import { Prng } from '../engine/util/prng.ts'
import { replay } from '../workers/replay.ts'
import type { BenchModule, Figure } from './lib/bench.ts'
import { medianOf } from './lib/measure.ts'
import { openScratch } from './lib/scratch.ts'
import { recordsOf } from './lib/stored-records.ts'

const PARTITIONS = 16
const SERIES = 1_000
const SCRAPES = 24_000
const SMOKE_SCRAPES = 120
const SCRAPE_MS = 1_000
const WINDOW_MS = 60_000
const START_MS = 1_700_000_000_000
const BATCHES_PER_TRANSACTION = 256
const THREADS = [1, 2]
const ROUNDS = 3
const SEED = 42

export const bench: BenchModule = {
  name: 'replay',
  figures: ['samplesPerSecond'],
  async run({ smoke }) {
    const scratch = openScratch('replay')
    try {
      const dir = join(scratch.path, 'data')
      const scrapes = smoke ? SMOKE_SCRAPES : SCRAPES
      await fill(dir, scrapes)
      const figures: Figure[] = []
      for (const threads of THREADS) {
        for (const into of [null, join(scratch.path, 'out')]) {
          figures.push(await replayed(dir, into, threads, scrapes, smoke ? 1 : ROUNDS))
        }
      }
      assert(new Set(figures.map(({ checksum }) => checksum)).size === 2, 'threads change no byte')
      return figures
    } finally {
      scratch.remove()
    }
  },
}

async function replayed(
  dir: string,
  into: string | null,
  threads: number,
  scrapes: number,
  rounds: number,
): Promise<Figure> {
  let checksum = ''
  const value = await medianOf({ rounds }, async () => {
    if (into !== null) rmSync(into, { recursive: true, force: true })
    const start = performance.now()
    const report = await replay({
      dir,
      plans: [PLAN],
      from: { point: 'beginning' },
      to: { point: 'end' },
      into,
      threads,
      signal: new AbortController().signal,
    })
    const seconds = (performance.now() - start) / 1000
    const pipeline = report?.pipelines[0]
    assert(pipeline?.windowed === SERIES * scrapes, 'every sample is in a window', pipeline?.windowed)
    const sum =
      into === null
        ? crc32(Buffer.from(pipeline.digests.join()))
        : crc32(readFileSync(join(into, 'results.ndjson')))
    checksum = `${pipeline.results} results, crc32 ${sum}`
    return pipeline.windowed / seconds
  })
  const params = {
    output: into === null ? 'entries' : 'ndjson',
    threads,
    series: SERIES,
    partitions: PARTITIONS,
    windowMs: WINDOW_MS,
    scrapeMs: SCRAPE_MS,
    scrapes,
  }
  return { figure: 'samplesPerSecond', value, unit: 'samples/s', params, checksum }
}

const PLAN: PipelinePlan = {
  plan: 1,
  name: 'replayed',
  topic: { name: 'metrics', partitions: PARTITIONS, partitionBy: null },
  where: [],
  groupBy: null,
  disorderMs: 5_000,
  idleMs: 15_000,
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

/** Every series sends a sample a second of event time, in scrape order; records are as large as they get. */
async function fill(dir: string, scrapes: number): Promise<void> {
  const store = await openStore({ dir })
  const writer = openLogWriter({ dir, fence: store.fence })
  try {
    const ofPartition: number[][] = Array.from({ length: PARTITIONS }, () => [])
    writer.transaction((txn) => {
      txn.createTopic(PLAN.topic)
      for (let id = 0; id < SERIES; id++) {
        const labels = { __name__: 'load', host: `host-${id}` }
        txn.putSeries(0, id, encodeSeriesKey(labels))
        ofPartition[partitionOf(labels, null, PARTITIONS)]!.push(id)
      }
    })
    const prng = new Prng(SEED)
    for (const [partition, series] of ofPartition.entries()) {
      const records = recordsOf({
        partition,
        series,
        scrapes,
        startMs: START_MS,
        scrapeMs: SCRAPE_MS,
        value: () => 100 + 10 * prng.normal(),
      })
      let put = BATCHES_PER_TRANSACTION
      while (put === BATCHES_PER_TRANSACTION) put = putSome(writer, records)
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
