/**
 * Grouping by a label that does not choose the partition: 10,000 series in four partitions, grouped to 50. Each
 * partition's chain adds samples to the slices of its groups and sends closed slices to the owners of the groups, who
 * merge them and fire the windows. `samplesPerSecond`: all of it on one thread, samples in, results out.
 * `coveredSamplesPerSecond`: the same samples and groups where the label chooses the partition, through the chains alone.
 * The two differ by what sending and merging cost.
 */
import { crc32 } from 'node:zlib'
import { sealBatch } from '../engine/batch/batch-encoder.ts'
import { BatchView } from '../engine/batch/batch-view.ts'
import * as layout from '../engine/batch/layout.ts'
import { ENTRY_RESULTS, type EntrySink } from '../engine/contract/entries.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import { RECORD_END, RECORD_SAMPLES, RECORD_TICK } from '../engine/contract/samples.ts'
import { Chain } from '../engine/pipeline/chain.ts'
import { Merger } from '../engine/pipeline/merger.ts'
import { encodeSeriesKey } from '../engine/series/series-key.ts'
import type { Entry } from '../engine/store/state-contract.ts'
import { assert } from '../engine/util/assert.ts'
import { Prng } from '../engine/util/prng.ts'
import { registry } from '../operators/registry.ts'
import type { BenchModule, Figure } from './lib/bench.ts'
import { median, secondsOf } from './lib/measure.ts'

const SERIES = 10_000
const GROUPS = 50
const PARTITIONS = 4
const SERIES_A_PARTITION = SERIES / PARTITIONS
const SAMPLES_A_BATCH = SERIES_A_PARTITION
const SCRAPE_MS = 1_000
const SIZE_MS = 10_000
const START_MS = 1_700_000_000_000
const ROUNDS = 7
const SEED = 42

export const bench: BenchModule = {
  name: 'two-phase-group',
  figures: ['samplesPerSecond', 'coveredSamplesPerSecond'],
  async run({ smoke }): Promise<readonly Figure[]> {
    const scrapes = smoke ? 60 : 3_000
    const spread = new Work(scrapes, true)
    const covered = new Work(scrapes, false)
    const seconds: number[][] = [[], []]
    // By turns, so that a busy machine slows both.
    for (let round = -1; round < ROUNDS; round++) {
      for (const [i, work] of [spread, covered].entries()) {
        const took = await secondsOf(() => work.round())
        if (round >= 0) seconds[i]!.push(took)
      }
    }
    // Sums differ in the last digits: windows and their samples must not.
    assert(spread.rows === covered.rows, 'the same groups have results', spread.rows, covered.rows)
    assert(spread.windowed === covered.windowed, 'the same samples count', spread.windowed, covered.windowed)
    const params = { series: SERIES, groups: GROUPS, partitions: PARTITIONS, scrapes, sizeMs: SIZE_MS }
    return ([spread, covered] as const).map((work, i) => ({
      figure: bench.figures[i]!,
      value: Math.round(median(seconds[i]!.map((took) => (SERIES * scrapes) / took))),
      unit: 'samples/s',
      params,
      checksum: `${work.rows}:${(work.checksum >>> 0).toString(16)}`,
    }))
  },
}

function planOf(isSpread: boolean): PipelinePlan {
  const aggregates = ['count', 'sum', 'standardDeviation', 'min', 'max']
  return {
    plan: 1,
    name: 'two-phase',
    topic: { name: 'metrics', partitions: PARTITIONS, partitionBy: [isSpread ? 'host' : 'region'] },
    where: [],
    groupBy: ['region'],
    disorderMs: 2_000,
    idleMs: 60_000,
    window: { kind: 'tumbling', options: {}, sizeMs: SIZE_MS, everyMs: SIZE_MS, sliceMs: SIZE_MS },
    aggregates: aggregates.map((kind) => ({ name: kind, kind, options: { of: 'population' } })),
    detectors: [],
    sinks: [],
    ...(isSpread ? { exchange: { buckets: PARTITIONS } } : {}),
  }
}

/** A topic that is fed scrape by scrape, a record batch a partition. Rounds follow each other in time. */
class Work {
  rows = 0
  windowed = 0
  checksum = 0
  readonly #scrapes: number
  readonly #chains: Chain[] = []
  readonly #mergers: Merger[] = []
  readonly #groups: Uint8Array[][] = []
  readonly #views: BatchView[] = []
  readonly #batches: Uint8Array[] = []
  readonly #sent: Entry[][] = []
  readonly #offsets = new Float64Array(PARTITIONS)
  readonly #control = new Uint8Array(new ArrayBuffer(layout.batchBytes(0)))
  readonly #controlView = new BatchView(this.#control.buffer as ArrayBuffer)
  #scrape = 0

  constructor(scrapes: number, isSpread: boolean) {
    this.#scrapes = scrapes
    const plan = planOf(isSpread)
    const results = this.#resultSink()
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const groups: Uint8Array[] = []
      const sent: Entry[] = []
      this.#groups.push(groups)
      this.#sent.push(sent)
      this.#chains.push(
        new Chain({
          plan,
          registry,
          partition,
          // Spread: every region in every partition. Covered: a region in one.
          keyOf: (id) =>
            encodeSeriesKey({
              host: `h${id}`,
              region: `r${isSpread ? (id >> 2) % GROUPS : regionIn(partition, id >> 2)}`,
            }),
          sink: {
            ...results,
            group(groupId, key) {
              groups[groupId] = key.slice()
            },
          },
          ...(isSpread ? { partialSink: keepIn(sent) } : {}),
        }),
      )
      const bytes = preparedBatch(partition)
      this.#batches.push(bytes)
      this.#views.push(new BatchView(bytes.buffer as ArrayBuffer))
    }
    const source = {
      groupKey: (partition: number, groupId: number) => this.#groups[partition]![groupId]!,
      entry: () => assert(false, 'parts of this bench fit memory') as never,
    }
    for (let bucket = 0; bucket < (plan.exchange?.buckets ?? 0); bucket++) {
      this.#mergers.push(new Merger({ plan, registry, bucket, sink: results, source }))
    }
  }

  round(): void {
    for (let n = 0; n < this.#scrapes; n++) {
      const timeMs = START_MS + this.#scrape++ * SCRAPE_MS
      for (let partition = 0; partition < PARTITIONS; partition++) {
        stamp(this.#batches[partition]!, timeMs, this.#offsets[partition]!)
        this.#chains[partition]!.process(this.#views[partition]!.point(0))
        this.#offsets[partition]! += SAMPLES_A_BATCH
      }
      this.#merge()
    }
    // Every window of the round is in it.
    for (const [i, kind] of [RECORD_END, RECORD_TICK].entries()) {
      for (let partition = 0; partition < PARTITIONS; partition++) {
        this.#processControl(partition, kind, START_MS + this.#scrape * SCRAPE_MS + i)
      }
    }
    this.#scrape += (2 * SIZE_MS) / SCRAPE_MS
    this.#merge()
    const mergers = this.#mergers.map(({ ledger }) => ledger)
    const ledgers = [...this.#chains.map(({ ledger }) => ledger), ...mergers]
    this.windowed = ledgers.reduce((sum, { windowed }) => sum + windowed, 0)
  }

  /** Owners take what partitions have sent, as they do after each commit. */
  #merge(): void {
    if (this.#mergers.length === 0) return
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const sent = this.#sent[partition]!
      for (const merger of this.#mergers) {
        for (const entry of sent) merger.offer(partition, entry)
        merger.frontier(partition, this.#chains[partition]!.logMs)
      }
      sent.length = 0
    }
    for (const merger of this.#mergers) merger.advance()
  }

  #processControl(partition: number, kind: number, logMs: number): void {
    const bytes = this.#control
    sealBatch(bytes, new DataView(bytes.buffer), header(partition, kind, this.#offsets[partition]!, 0, logMs))
    this.#chains[partition]!.process(this.#controlView.point(0))
    this.#offsets[partition]! += layout.offsetsOf(0)
  }

  #resultSink(): EntrySink {
    return {
      group() {},
      entry: (kind, _seq, _cause, _time, bytes, length) => {
        if (kind !== ENTRY_RESULTS) return
        this.rows += new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true)
        this.checksum = crc32(bytes.subarray(0, length), this.checksum)
      },
    }
  }
}

/** Regions 0, 4, 8 … lie in partition 0, and so on. */
function regionIn(partition: number, nth: number): number {
  const regions = Math.ceil((GROUPS - partition) / PARTITIONS)
  return partition + PARTITIONS * (nth % regions)
}

function keepIn(sent: Entry[]): EntrySink {
  return {
    group() {},
    entry(kind, seq, causeOffset, eventTimeMs, bytes, length) {
      sent.push({ kind, seq, causeOffset, eventTimeMs, bytes: bytes.slice(0, length) })
    },
  }
}

function header(partition: number, kind: number, baseOffset: number, count: number, appendedMs: number) {
  return {
    kind,
    topicId: 0,
    partition,
    baseOffset,
    count,
    minTimestampMs: 0,
    maxTimestampMs: 0,
    appendedMs,
    producerId: 0,
    producerEpoch: 0,
    baseSequence: -1,
  }
}

function preparedBatch(partition: number): Uint8Array {
  const count = SAMPLES_A_BATCH
  const bytes = new Uint8Array(new ArrayBuffer(Math.ceil(layout.batchBytes(count) / 8) * 8))
  const values = new Float64Array(bytes.buffer, layout.valuesAt(count), count)
  const seriesIds = new Int32Array(bytes.buffer, layout.seriesIdsAt(count), count)
  const prng = new Prng(SEED + partition)
  for (let i = 0; i < count; i++) {
    values[i] = 100 + 10 * prng.normal()
    seriesIds[i] = i * PARTITIONS + partition
  }
  sealBatch(bytes, new DataView(bytes.buffer), header(partition, RECORD_SAMPLES, 0, count, 0))
  return bytes
}

/** hot: one scrape, all samples at one time. */
function stamp(bytes: Uint8Array, timeMs: number, baseOffset: number): void {
  const f64 = new Float64Array(bytes.buffer, 0, bytes.buffer.byteLength >> 3)
  const timesAt = layout.timestampsAt() >> 3
  f64[layout.BASE_OFFSET_AT >> 3] = baseOffset
  f64[layout.MIN_TIMESTAMP_AT >> 3] = timeMs
  f64[layout.MAX_TIMESTAMP_AT >> 3] = timeMs
  f64[layout.APPENDED_AT >> 3] = timeMs
  f64.fill(timeMs, timesAt, timesAt + SAMPLES_A_BATCH)
}
