/**
 * An ingest thread's door to the log writer: pushes requests into the ring, in order and whole, and settles them when
 * the log writer says that they are durable. A full ring is backpressure: requests queue here (their columns copied)
 * until there is room, and callers that await their append slow down. Never blocks the event loop. One per ring.
 */
import type { SampleBuilder } from '../batch/sample-builder.ts'
import type { MillraceError } from '../contract/errors.ts'
import type { FeedbackRequest } from '../contract/feedback.ts'
import type { RingProducer } from '../ring/spsc-ring.ts'
import { assert } from '../util/assert.ts'
import { killPoint } from '../util/kill-point.ts'
import {
  END_BYTES,
  FRAME_SAMPLES_MAX,
  feedbackFrameBytes,
  ONCE_BYTES,
  type OnceFrame,
  producerFrameBytes,
  pushDefinitions,
  pushEnd,
  pushFeedback,
  pushOnce,
  pushProducer,
  pushSamples,
  samplesFrameBytes,
} from './ingest-frames.ts'
import type { Acknowledgement } from './log-appender.ts'

/** New series whose names the log writer does not know yet; what SeriesTable.takeNew() gives. */
export interface NewSeries {
  readonly firstId: number
  readonly keys: readonly Uint8Array[]
}

type Columns = Pick<SampleBuilder, 'seriesIds' | 'timestampsMs' | 'values'>

interface Request {
  readonly requestId: number
  readonly topicId: number
  readonly resolve: (ack: Acknowledgement) => void
  readonly reject: (error: MillraceError) => void
}

interface Job {
  readonly request: Request
  readonly series: NewSeries | null
  columns: Columns
  /** Samples, or END_OF_INPUT, ASK_PRODUCER, SAY_FEEDBACK. */
  readonly count: number
  readonly once: OnceFrame | null
  /** The name of a producer that is asked for; what is said, as JSON. */
  readonly text: Uint8Array | null
  definedKeys: number
  isOncePushed: boolean
  pushed: number
}

const END_OF_INPUT = -1
const ASK_PRODUCER = -2
const SAY_FEEDBACK = -3
const NO_COLUMNS: Columns = {
  seriesIds: new Int32Array(0),
  timestampsMs: new Float64Array(0),
  values: new Float64Array(0),
}

const ROOM_WAIT_MS = 1_000

export class LogInput {
  readonly #ring: RingProducer
  readonly #waiting = new Map<number, Request>()
  readonly #jobs: Job[] = []
  #pumping = false
  #nextRequestId = 1
  #failure: MillraceError | null = null
  /** Bytes of samples pushed or queued and not yet acknowledged. */
  inFlightBytes = 0
  readonly #bytesOf = new Map<number, number>()

  constructor(ring: RingProducer) {
    this.#ring = ring
    assert(
      samplesFrameBytes(FRAME_SAMPLES_MAX) <= ring.frameBytesMax,
      'an ingest ring takes the largest frame',
    )
  }

  /**
   * Resolves when durable. The builder may be cleared as soon as this returns. It holds at least one sample, unless the
   * request carries a key or a sequence.
   */
  append(
    topicId: number,
    series: NewSeries | null,
    builder: SampleBuilder,
    once: OnceFrame | null = null,
  ): Promise<Acknowledgement> {
    assert(builder.count > 0 || once !== null, 'a request has samples', topicId)
    return this.#submit(topicId, series, builder, builder.count, once)
  }

  /** Resolves when the producer's id and epoch are durable; its `grant` is null at the limit of producers. */
  openProducer(name: string | null): Promise<Acknowledgement> {
    const bytes = name === null ? null : Buffer.from(name)
    return this.#submit(-1, null, NO_COLUMNS, ASK_PRODUCER, null, bytes)
  }

  /** Resolves when what was said is durable; its `feedback` tells what came of it. */
  sayFeedback(request: FeedbackRequest): Promise<Acknowledgement> {
    return this.#submit(-1, null, NO_COLUMNS, SAY_FEEDBACK, null, Buffer.from(JSON.stringify(request)))
  }

  /** A bounded input of the topic ended; resolves when the END records are durable. */
  end(topicId: number): Promise<Acknowledgement> {
    return this.#submit(topicId, null, NO_COLUMNS, END_OF_INPUT)
  }

  /** The log writer's acknowledgement arrived. */
  acknowledge(ack: Acknowledgement): void {
    // On its way while the node failed: its request was told so, and does not wait any more.
    if (this.#failure !== null) return
    const request = this.#waiting.get(ack.requestId)
    assert(request !== undefined, 'an acknowledgement answers a request', ack.requestId)
    this.#settled(ack.requestId)
    killPoint('answer-due')
    request.resolve(ack)
  }

  /** The log writer is gone: nothing unacknowledged is known to be stored. */
  fail(error: MillraceError): void {
    this.#failure = error
    for (const request of this.#waiting.values()) request.reject(error)
    this.#waiting.clear()
    this.#jobs.length = 0
    this.inFlightBytes = 0
  }

  #submit(
    topicId: number,
    series: NewSeries | null,
    columns: Columns,
    count: number,
    once: OnceFrame | null = null,
    text: Uint8Array | null = null,
  ): Promise<Acknowledgement> {
    if (this.#failure !== null) return Promise.reject(this.#failure)
    return new Promise((resolve, reject) => {
      const request: Request = { requestId: this.#nextRequestId++, topicId, resolve, reject }
      const bytes = Math.max(0, count) * 20
      this.#waiting.set(request.requestId, request)
      this.#bytesOf.set(request.requestId, bytes)
      this.inFlightBytes += bytes
      const begun = { definedKeys: 0, isOncePushed: false, pushed: 0 }
      const job: Job = { request, series, columns, count, once, text, ...begun }
      if (this.#jobs.length === 0 && this.#push(job)) {
        killPoint('request-pushed')
        return
      }
      // The caller may reuse its builder from now on.
      job.columns = {
        seriesIds: columns.seriesIds.slice(0, Math.max(0, count)),
        timestampsMs: columns.timestampsMs.slice(0, Math.max(0, count)),
        values: columns.values.slice(0, Math.max(0, count)),
      }
      this.#jobs.push(job)
      if (!this.#pumping) void this.#pump()
    })
  }

  #settled(requestId: number): void {
    this.#waiting.delete(requestId)
    this.inFlightBytes -= this.#bytesOf.get(requestId) ?? 0
    this.#bytesOf.delete(requestId)
  }

  /** Pushes as much as there is room for; true: all of it. */
  #push(job: Job): boolean {
    const { request, series, columns, count } = job
    while (series !== null && job.definedKeys < series.keys.length) {
      const pushed = pushDefinitions(
        this.#ring,
        request.topicId,
        series.firstId,
        series.keys,
        job.definedKeys,
      )
      if (pushed === 0) return false
      job.definedKeys += pushed
    }
    const { requestId, topicId } = request
    if (count === END_OF_INPUT) return pushEnd(this.#ring, requestId, topicId)
    if (count === ASK_PRODUCER) return pushProducer(this.#ring, requestId, job.text)
    if (count === SAY_FEEDBACK) return pushFeedback(this.#ring, requestId, job.text!)
    if (job.once !== null && !job.isOncePushed) {
      if (!pushOnce(this.#ring, requestId, topicId, job.once)) return false
      job.isOncePushed = true
    }
    // The request is open now, and closes with its last frame of samples.
    if (count === 0) return pushSamples(this.#ring, requestId, topicId, columns, 0, 0, true)
    while (job.pushed < count) {
      const to = Math.min(count, job.pushed + FRAME_SAMPLES_MAX)
      const last = to === count
      if (!pushSamples(this.#ring, requestId, topicId, columns, job.pushed, to, last)) return false
      job.pushed = to
    }
    return true
  }

  async #pump(): Promise<void> {
    this.#pumping = true
    while (this.#jobs.length > 0) {
      const job = this.#jobs[0]!
      if (this.#push(job)) this.#jobs.shift()
      else await this.#ring.whenRoom(this.#wantedBytes(job), ROOM_WAIT_MS)
    }
    this.#pumping = false
  }

  #wantedBytes(job: Job): number {
    if (job.count === ASK_PRODUCER) return producerFrameBytes(job.text)
    if (job.count === SAY_FEEDBACK) return feedbackFrameBytes(job.text!)
    if (job.count < 0) return END_BYTES
    if (job.once !== null && !job.isOncePushed) return ONCE_BYTES
    return samplesFrameBytes(Math.min(FRAME_SAMPLES_MAX, job.count - job.pushed))
  }
}
