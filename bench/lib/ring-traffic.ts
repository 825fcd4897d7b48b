/**
 * Two threads at the ends of a ring, for ring-transfer and the litmus run. Three kinds of traffic:
 *   copy     a prepared record batch is copied in, as the log writer does; the consumer sums its columns;
 *   verify   each sample is written in place as a function of its index; the consumer compares every number;
 *   small    frames of 64 bytes, each checked: the cost of the ring itself.
 * Runs under any start of a worker thread (bench/lib/ring-worker.ts); touches nothing but its arguments.
 */
import { sealBatch } from '../../engine/batch/batch-encoder.ts'
import * as batch from '../../engine/batch/layout.ts'
import { RECORD_SAMPLES } from '../../engine/contract/samples.ts'
import { Doorbell } from '../../engine/ring/doorbell.ts'
import { RingConsumer, RingProducer } from '../../engine/ring/spsc-ring.ts'
import { assert } from '../../engine/util/assert.ts'

export type Traffic = 'copy' | 'verify' | 'small'

export interface RingTraffic {
  traffic: Traffic
  ring: SharedArrayBuffer
  wakes: SharedArrayBuffer
  room: SharedArrayBuffer
  /** The first round warms up. */
  rounds: number
  framesARound: number
  samplesAFrame: number
}

export interface RoundTally {
  seconds: number
  frames: number
  /** Samples (verify, small: frames) that were not what their index says. */
  wrong: number
  /** Sum over all columns: exact, since all are integers below 2^53. */
  sum: number
}

const KIND_SAMPLES = 1
const KIND_END = 2
const SMALL_BYTES = 64
/** Prepared batches are used in turn; a prime, so that a place in the ring never sees the same batch twice running. */
const BATCHES = 61
const WAIT_MS = 10_000
const SERIES = 1000
/** Timestamps stay small integers so that sums stay exact. */
const TIME_MASK = 0xffff

export function produce(traffic: RingTraffic): void {
  const producer = new RingProducer(traffic.ring, new Doorbell(traffic.wakes), new Doorbell(traffic.room))
  const count = traffic.samplesAFrame
  const bytes = traffic.traffic === 'small' ? SMALL_BYTES : batch.batchBytes(count)
  const batches = traffic.traffic === 'copy' ? preparedBatches(count) : []
  for (let round = 0; round < traffic.rounds; round++) {
    for (let frame = 0; frame < traffic.framesARound; frame++) {
      const sequence = round * traffic.framesARound + frame
      const at = claimOrWait(producer, bytes)
      if (traffic.traffic === 'copy') {
        producer.u8.set(batches[sequence % BATCHES]!, at)
        producer.f64[(at + batch.BASE_OFFSET_AT) >> 3] = sequence * count
      } else if (traffic.traffic === 'verify') writeSamples(producer, at, sequence * count, count)
      else writeSmall(producer.f64, at >> 3, sequence)
      producer.commit(KIND_SAMPLES)
    }
    claimOrWait(producer, 0)
    producer.commit(KIND_END)
  }
}

export function consume(traffic: RingTraffic): RoundTally[] {
  const bell = new Doorbell(traffic.wakes)
  const consumer = new RingConsumer(traffic.ring, new Doorbell(traffic.room))
  const count = traffic.samplesAFrame
  const tallies: RoundTally[] = []
  let sequence = 0
  for (let round = 0; round < traffic.rounds; round++) {
    const tally: RoundTally = { seconds: 0, frames: 0, wrong: 0, sum: 0 }
    const start = performance.now()
    while (peekOrWait(consumer, bell) !== KIND_END) {
      const at = consumer.position
      if (traffic.traffic === 'copy') {
        tally.sum += sumColumns(consumer.f64, consumer.i32, at, count)
        if (consumer.f64[(at + batch.BASE_OFFSET_AT) >> 3] !== sequence * count) tally.wrong += count
      } else if (traffic.traffic === 'verify') {
        tally.wrong += wrongSamples(consumer.f64, consumer.i32, at, sequence * count, count)
        tally.sum += count
      } else {
        tally.wrong += wrongSmall(consumer.f64, at >> 3, sequence)
        tally.sum += 1
      }
      tally.frames++
      sequence++
      consumer.release()
    }
    consumer.release()
    tally.seconds = (performance.now() - start) / 1000
    tallies.push(tally)
  }
  return tallies
}

/** What `sum` must be for one round of `copy` traffic: summed from the prepared batches, without a ring. */
export function expectedCopySum(traffic: RingTraffic, round: number): number {
  const count = traffic.samplesAFrame
  const sums = preparedBatches(count).map((bytes) =>
    sumColumns(new Float64Array(bytes.buffer), new Int32Array(bytes.buffer), 0, count),
  )
  let sum = 0
  for (let frame = 0; frame < traffic.framesARound; frame++) {
    sum += sums[(round * traffic.framesARound + frame) % BATCHES]!
  }
  return sum
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

function preparedBatches(count: number): Uint8Array[] {
  const batches: Uint8Array[] = []
  for (let which = 0; which < BATCHES; which++) {
    const bytes = new Uint8Array((batch.batchBytes(count) + 7) & ~7)
    const f64 = new Float64Array(bytes.buffer)
    const i32 = new Int32Array(bytes.buffer)
    for (let i = 0; i < count; i++) {
      f64[(batch.timestampsAt() >> 3) + i] = (which * 7919 + i * 13) & TIME_MASK
      f64[(batch.valuesAt(count) >> 3) + i] = (which * 104_729 + i * 31) & TIME_MASK
      i32[(batch.seriesIdsAt(count) >> 2) + i] = (which + i) % SERIES
    }
    const view = new DataView(bytes.buffer)
    sealBatch(bytes, view, {
      kind: RECORD_SAMPLES,
      topicId: 1,
      partition: 0,
      baseOffset: 0,
      count,
      minTimestampMs: 0,
      maxTimestampMs: TIME_MASK,
      appendedMs: 0,
      producerId: 0,
      producerEpoch: 0,
      baseSequence: -1,
    })
    batches.push(bytes.subarray(0, batch.batchBytes(count)))
  }
  return batches
}

/** hot */
function sumColumns(f64: Float64Array, i32: Int32Array, at: number, count: number): number {
  const times = (at + batch.timestampsAt()) >> 3
  const values = (at + batch.valuesAt(count)) >> 3
  const ids = (at + batch.seriesIdsAt(count)) >> 2
  let timeSum = 0
  let valueSum = 0
  let idSum = 0
  for (let i = 0; i < count; i++) {
    timeSum += f64[times + i]!
    valueSum += f64[values + i]!
    idSum = (idSum + i32[ids + i]!) | 0
  }
  return timeSum + valueSum + idSum
}

/** hot */
function writeSamples(producer: RingProducer, at: number, first: number, count: number): void {
  const f64 = producer.f64
  const i32 = producer.i32
  const times = (at + batch.timestampsAt()) >> 3
  const values = (at + batch.valuesAt(count)) >> 3
  const ids = (at + batch.seriesIdsAt(count)) >> 2
  for (let i = 0; i < count; i++) {
    const index = first + i
    f64[times + i] = index
    f64[values + i] = -index
    i32[ids + i] = index | 0
  }
}

/** hot */
function wrongSamples(f64: Float64Array, i32: Int32Array, at: number, first: number, count: number): number {
  const times = (at + batch.timestampsAt()) >> 3
  const values = (at + batch.valuesAt(count)) >> 3
  const ids = (at + batch.seriesIdsAt(count)) >> 2
  let wrong = 0
  for (let i = 0; i < count; i++) {
    const index = first + i
    if (f64[times + i] !== index || f64[values + i] !== -index || i32[ids + i] !== (index | 0)) wrong++
  }
  return wrong
}

/** hot */
function writeSmall(f64: Float64Array, at: number, sequence: number): void {
  for (let i = 0; i < SMALL_BYTES / 8; i++) f64[at + i] = sequence + i
}

/** hot */
function wrongSmall(f64: Float64Array, at: number, sequence: number): number {
  let wrong = 0
  for (let i = 0; i < SMALL_BYTES / 8; i++) if (f64[at + i] !== sequence + i) wrong = 1
  return wrong
}
