/**
 * Metric samples for the benchmarks of windows: every series sends one sample a second of event time, in scrape order.
 * A prepared record batch is copied in and stamped, as the log writer does; the other end is the real Chain. Checksums are over the
 * bytes the chain emits, so that no window can be left out.
 */
import { crc32 } from 'node:zlib'
import { sealBatch } from '../../engine/batch/batch-encoder.ts'
import { BatchView } from '../../engine/batch/batch-view.ts'
import * as batch from '../../engine/batch/layout.ts'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import { RECORD_SAMPLES } from '../../engine/contract/samples.ts'
import { Chain } from '../../engine/pipeline/chain.ts'
import { Doorbell } from '../../engine/ring/doorbell.ts'
import { RingConsumer, RingProducer } from '../../engine/ring/spsc-ring.ts'
import { encodeSeriesKey } from '../../engine/series/series-key.ts'
import { assert } from '../../engine/util/assert.ts'
import { Prng } from '../../engine/util/prng.ts'
import { registry } from '../../operators/registry.ts'

export interface WindowTraffic extends WindowShape {
  readonly ring: SharedArrayBuffer
  readonly wakes: SharedArrayBuffer
  readonly room: SharedArrayBuffer
}

export interface WindowShape {
  /** The first round warms up. */
  readonly rounds: number
  readonly framesARound: number
  /** A multiple of `series`. */
  readonly samplesAFrame: number
  readonly series: number
  readonly sizeMs: number
  /** Equal to the size: tumbling. A divisor of it otherwise. */
  readonly everyMs: number
  readonly aggregates: readonly string[]
}

export interface WindowTally {
  readonly seconds: number
  readonly entries: number
  /** CRC-32 over all entries of the round. */
  readonly checksum: number
}

const KIND_SAMPLES = 1
const KIND_END = 2
const START_MS = 1_700_000_000_000
const SCRAPE_MS = 1_000
const WAIT_MS = 10_000
const SEED = 42

export function producePrepared(traffic: WindowTraffic): void {
  const { ring, wakes, room, rounds, framesARound, samplesAFrame, series } = traffic
  const producer = new RingProducer(ring, new Doorbell(wakes), new Doorbell(room))
  const prepared = preparedBatch(samplesAFrame, series)
  for (let round = 0; round < rounds; round++) {
    for (let frame = 0; frame < framesARound; frame++) {
      const at = claimOrWait(producer, prepared.length)
      producer.u8.set(prepared, at)
      stamp(producer.f64, at, (round * framesARound + frame) * samplesAFrame, samplesAFrame, series)
      producer.commit(KIND_SAMPLES)
    }
    claimOrWait(producer, 0)
    producer.commit(KIND_END)
  }
}

export function consumeIntoChain(traffic: WindowTraffic): WindowTally[] {
  const bell = new Doorbell(traffic.wakes)
  const consumer = new RingConsumer(traffic.ring, new Doorbell(traffic.room))
  const view = new BatchView(traffic.ring)
  return tallyRounds(traffic, (chain) => {
    while (peekOrWait(consumer, bell) !== KIND_END) {
      chain.process(view.point(consumer.position))
      consumer.release()
    }
    consumer.release()
  })
}

/** The chain alone, on one thread: stamps a batch in memory and takes it. */
export function chainAlone(traffic: WindowShape): WindowTally[] {
  const { framesARound, samplesAFrame, series } = traffic
  const bytes = preparedBatch(samplesAFrame, series)
  const f64 = new Float64Array(bytes.buffer)
  const view = new BatchView(bytes.buffer)
  let frames = 0
  return tallyRounds(traffic, (chain) => {
    for (let frame = 0; frame < framesARound; frame++) {
      stamp(f64, 0, frames++ * samplesAFrame, samplesAFrame, series)
      chain.process(view.point(0))
    }
  })
}

function tallyRounds(traffic: WindowShape, run: (chain: Chain) => void): WindowTally[] {
  let checksum = 0
  let entries = 0
  const chain = new Chain({
    plan: planOf(traffic),
    registry,
    partition: 0,
    keyOf: (seriesId) => encodeSeriesKey({ __name__: 'load', host: `host-${seriesId}` }),
    sink: {
      group: () => {},
      entry: (_kind, _seq, _causeOffset, _eventTimeMs, bytes, length) => {
        checksum = crc32(bytes.subarray(0, length), checksum)
        entries++
      },
    },
  })
  const tallies: WindowTally[] = []
  for (let round = 0; round < traffic.rounds; round++) {
    checksum = 0
    entries = 0
    const start = performance.now()
    run(chain)
    tallies.push({ seconds: (performance.now() - start) / 1000, entries, checksum })
  }
  const { ledger } = chain
  assert(
    ledger.in === ledger.windowed && ledger.in > 0,
    'every sample is in a window',
    JSON.stringify(ledger),
  )
  return tallies
}

export function planOf({
  sizeMs,
  everyMs,
  aggregates,
}: Pick<WindowShape, 'sizeMs' | 'everyMs' | 'aggregates'>): PipelinePlan {
  return {
    plan: 1,
    name: 'windows',
    topic: { name: 'metrics', partitions: 1, partitionBy: null },
    where: [],
    groupBy: ['host'],
    disorderMs: 5_000,
    idleMs: 15_000,
    window: {
      kind: everyMs === sizeMs ? 'tumbling' : 'sliding',
      options: {},
      sizeMs,
      everyMs,
      sliceMs: everyMs,
    },
    aggregates: aggregates.map((kind) => ({ name: kind, kind, options: { of: 'population' } })),
    detectors: [],
    sinks: [],
  }
}

function preparedBatch(count: number, series: number): Uint8Array {
  assert(count % series === 0, 'a frame holds whole scrapes', count, series)
  const bytes = new Uint8Array(batch.batchBytes(count))
  const values = new Float64Array(bytes.buffer, batch.valuesAt(count), count)
  const seriesIds = new Int32Array(bytes.buffer, batch.seriesIdsAt(count), count)
  const prng = new Prng(SEED)
  for (let i = 0; i < count; i++) {
    values[i] = 100 + 10 * prng.normal()
    seriesIds[i] = i % series
  }
  sealBatch(bytes, new DataView(bytes.buffer), {
    kind: RECORD_SAMPLES,
    topicId: 0,
    partition: 0,
    baseOffset: 0,
    count,
    minTimestampMs: 0,
    maxTimestampMs: 0,
    appendedMs: 0,
    producerId: 0,
    producerEpoch: 0,
    baseSequence: -1,
  })
  return bytes
}

/** hot: the header's changing fields and the timestamps of the batch that starts with sample `first`. */
function stamp(f64: Float64Array, at: number, first: number, count: number, series: number): void {
  const times = (at + batch.timestampsAt()) >> 3
  let timeMs = START_MS + (first / series) * SCRAPE_MS
  f64[(at + batch.BASE_OFFSET_AT) >> 3] = first
  f64[(at + batch.MIN_TIMESTAMP_AT) >> 3] = timeMs
  for (let i = 0; i < count; i += series) {
    for (let j = i; j < i + series; j++) f64[times + j] = timeMs
    timeMs += SCRAPE_MS
  }
  f64[(at + batch.MAX_TIMESTAMP_AT) >> 3] = timeMs - SCRAPE_MS
  f64[(at + batch.APPENDED_AT) >> 3] = timeMs
}

function claimOrWait(producer: RingProducer, bytes: number): number {
  let at = producer.claim(bytes)
  while (at < 0) {
    assert(producer.waitForRoom(bytes, WAIT_MS), 'the consumer makes room in time', bytes)
    at = producer.claim(bytes)
  }
  return at
}

function peekOrWait(consumer: RingConsumer, bell: Doorbell): number {
  let kind = consumer.peek()
  while (kind < 0) {
    const ticket = bell.prepare()
    kind = consumer.peek()
    if (kind >= 0) bell.cancel()
    else {
      assert(bell.wait(ticket, WAIT_MS), 'the producer rings in time')
      kind = consumer.peek()
    }
  }
  return kind
}
