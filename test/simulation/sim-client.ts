/**
 * A client of the node together with the node's door for it (workers/ingest.ts): it makes requests, interns series, and
 * pushes frames into an ingest ring as far as there is room, a frame or a part of a request at a time. It outlives the
 * node: what was not acknowledged when the node went down it may send again, as other samples, so that they can be told
 * apart. A client with an identity (idempotency keys, or a producer's sequence) sends the same samples again until it is
 * answered, and now and then a copy while the first is under way: they must be in the log once.
 */
import { SampleBuilder } from '../../engine/batch/sample-builder.ts'
import {
  ONCE_KEY,
  ONCE_SEQUENCE,
  type OnceFrame,
  pushDefinitions,
  pushEnd,
  pushFeedback,
  pushOnce,
  pushProducer,
  pushSamples,
} from '../../engine/broker/ingest-frames.ts'
import type { Acknowledgement } from '../../engine/broker/log-appender.ts'
import type { BoardTopic } from '../../engine/broker/node-board.ts'
import type { FeedbackRequest, FeedbackRow } from '../../engine/contract/feedback.ts'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import type { Labels } from '../../engine/contract/samples.ts'
import type { RingProducer } from '../../engine/ring/spsc-ring.ts'
import { type NewSeries, SeriesTable } from '../../engine/series/series-table.ts'
import type { Clock } from '../../engine/util/clock.ts'
import type { Prng } from '../../engine/util/prng.ts'
import { check } from './checker.ts'
import { IN_FLIGHT_MAX, makeSeries, pick, type Scenario, type SimSeries } from './scenario.ts'

/** Samples of a frame, so that the smallest ring takes it. */
const FRAME_SAMPLES = 30
/** The part of a value after the point tells samples apart. */
const UNIQUE_STEPS = 2 ** 24

export interface SentSample {
  readonly series: SimSeries
  readonly timestampMs: number
  readonly value: number
}

/** One sending of one request. */
export interface Attempt {
  readonly id: number
  readonly client: number
  readonly topicId: number
  /** Empty: the end of an input. */
  readonly samples: readonly SentSample[]
  /** Of requests that are one and the same, however often they are sent; null: this one is sent once. */
  readonly identity: string | null
  acknowledged: boolean
}

/** What is sent, once or again. */
interface Request {
  readonly topicId: number
  readonly samples: readonly SentSample[]
  readonly identity: string | null
  /** Of a producer, by topic. */
  readonly sequence: number
}

/** What numbers requests and samples over all clients and lives of the node. */
export interface Counters {
  attempts: number
  samples: number
}

interface Job {
  readonly attempt: Attempt
  readonly columns: SampleBuilder
  readonly series: NewSeries | null
  readonly once: OnceFrame | null
  isOncePushed: boolean
  definedKeys: number
  pushed: number
}

interface Door {
  readonly ring: RingProducer
  readonly tables: ReadonlyMap<number, SeriesTable>
}

export class SimClient {
  readonly #index: number
  readonly #scenario: Scenario
  readonly #prng: Prng
  readonly #clock: Clock
  readonly #counters: Counters
  readonly #series: readonly SimSeries[]
  readonly attempts: Attempt[] = []
  readonly #identity: Scenario['identities'][number]
  readonly #inFlight = new Map<
    number,
    { readonly attempt: Attempt; readonly table: SeriesTable; readonly request: Request | null }
  >()
  /** To be sent again before anything new, in this order. */
  #again: Request[] = []
  /** By topic: a producer's next sequence. */
  readonly #sequences = new Map<number, number>()
  #requests = 0
  #producer: { readonly producerId: number; readonly producerEpoch: number } | null = null
  /** The request that asks to be a producer. */
  #openingId: number | null = null
  #door: Door | null = null
  #topics: readonly BoardTopic[] = []
  #job: Job | null = null
  #left: number
  #endsLeft: number
  #nextSendMs = 0
  resent = 0
  /** What is to be said of alerts, in this order, and what was said and is not answered. */
  #toSay: FeedbackRequest[] = []
  readonly #saying = new Map<number, FeedbackRequest>()
  /** Rows that it was told of. */
  readonly said: FeedbackRow[] = []

  constructor(index: number, scenario: Scenario, prng: Prng, clock: Clock, counters: Counters) {
    this.#index = index
    this.#scenario = scenario
    this.#prng = prng
    this.#clock = clock
    this.#counters = counters
    this.#identity = scenario.identities[index]!
    this.#series = makeSeries(scenario.topics, index, scenario.hosts)
    this.#left = scenario.requests
    this.#endsLeft = scenario.endsInput && index === 0 ? scenario.topics.length : 0
  }

  /** The node is up, with a new door. */
  open(ring: RingProducer, topics: readonly BoardTopic[]): void {
    const limit = 1_000
    this.#topics = topics
    this.#door = { ring, tables: new Map(topics.map(({ topicId }) => [topicId, new SeriesTable({ limit })])) }
  }

  /** The node is gone, and with it the answers. */
  disconnect(): void {
    this.#door = null
    this.#job = null
    const again: Request[] = []
    for (const { attempt, request } of this.#inFlight.values()) {
      if (request === null) this.#endsLeft++
      else if (attempt.identity !== null) {
        again.push(request)
        this.resent++
      } else if (this.#prng.below(3) > 0) {
        this.#left++
        this.resent++
      }
    }
    this.#inFlight.clear()
    this.#again = [...again, ...this.#again]
    this.#toSay = [...this.#saying.values(), ...this.#toSay]
    this.#saying.clear()
    this.#openingId = null
    // It is started again too, and fences what it was before.
    if (this.#identity === 'producer' && this.#prng.below(3) === 0) this.#producer = null
  }

  /** Nothing more is to be sent while things fail. */
  get hasSent(): boolean {
    const isSent = this.#left === 0 && this.#again.length === 0 && this.#job === null
    return isSent && this.#toSay.length === 0
  }

  get isDone(): boolean {
    return this.hasSent && this.#endsLeft === 0 && this.#inFlight.size + this.#saying.size === 0
  }

  /** A request is in the ring in part: the log writer waits for the rest of it. */
  get isPushing(): boolean {
    return this.#job !== null
  }

  /** When there is something to do for it; Infinity: not before an answer comes. */
  get nextMs(): number {
    if (this.#door === null) return Infinity
    if (this.#job !== null || this.#toSay.length > 0) return 0
    if (this.#inFlight.size >= IN_FLIGHT_MAX || this.#openingId !== null) return Infinity
    return this.#left > 0 || this.#again.length > 0 ? this.#nextSendMs : Infinity
  }

  /** Pushes a frame, or begins a request. */
  turn(): void {
    if (this.#job !== null) this.#push(this.#job)
    else if (this.#toSay.length > 0) this.#say()
    else if (this.#openingId !== null) return
    else if (this.#identity === 'producer' && this.#producer === null) this.#openProducer()
    else if (this.#again.length > 0) this.#send(this.#again.shift()!)
    else if (this.#left > 0) this.#begin()
  }

  /** The input is over: every partition of the next topic is told. */
  sendEnd(): void {
    if (this.#endsLeft === 0 || this.#door === null || this.#job !== null) return
    const { topicId } = this.#topics[this.#endsLeft - 1]!
    // Taken before the push, in which other clients may run; a number that is not used is no harm.
    const id = ++this.#counters.attempts
    if (!pushEnd(this.#door.ring, id, topicId)) return
    this.#endsLeft--
    this.#sent({ id, client: this.#index, topicId, samples: [], identity: null, acknowledged: false }, null)
  }

  /** False: not one of this client's requests. */
  acknowledge(ack: Acknowledgement): boolean {
    const { requestId, samples, refusedSamples, refusedLocalIds, once, grant } = ack
    if (requestId === this.#openingId) {
      check(grant !== undefined && grant !== null, 'who asks to be a producer becomes one', requestId)
      this.#producer = grant
      this.#openingId = null
      return true
    }
    if (this.#saying.delete(requestId)) {
      this.#heard(ack)
      return true
    }
    const sent = this.#inFlight.get(requestId)
    if (sent === undefined) return false
    const { attempt, table } = sent
    check(!attempt.acknowledged, 'a request is acknowledged once', requestId)
    const { verdict } = once ?? { verdict: 'stored' }
    check(
      verdict === 'stored' || verdict === 'duplicate',
      'a request sent right is taken',
      requestId,
      verdict,
    )
    const counted = samples + refusedSamples
    // A repeat is answered as the first was, whose series may not have been refused yet.
    const isCounted = verdict === 'duplicate' || counted === attempt.samples.length
    check(isCounted, 'an acknowledgement counts every sample', requestId, counted)
    attempt.acknowledged = true
    this.#inFlight.delete(requestId)
    for (const localId of refusedLocalIds) table.refuse(localId)
    return true
  }

  #heard({ requestId, feedback }: Acknowledgement): void {
    check(feedback !== undefined && feedback.kind !== 'full', 'what was said is answered', requestId)
    if ('row' in feedback) this.said.push(feedback.row)
  }

  /** One statement, of a group that there may or may not be. */
  #statement(): FeedbackRequest {
    const words = { note: null, by: `c${this.#index}` }
    if (this.#prng.below(4) === 0) return { says: 'undo', of: 1 + this.#prng.below(6), ...words }
    const plan = pick(this.#prng, this.#scenario.plans)
    const { labels, partitions } = pick(this.#prng, this.#series)
    const names = plan.detectors.filter(({ column }) => column !== null).map(({ name }) => name)
    return {
      says: pick(this.#prng, ['expected', 'missed'] as const),
      pipeline: plan.name,
      detector: names.length === 0 ? 'none' : pick(this.#prng, names),
      group: groupOf(plan, labels),
      topic: plan.topic.name,
      partition: partitions[this.#topics.find(({ name }) => name === plan.topic.name)!.topicId]!,
      // Seldom another, so that the same is said twice.
      timeMs: this.#prng.below(3),
      alert: null,
      score: null,
      target: pick(this.#prng, [null, 0.4, 1.5, 4]),
      ...words,
    }
  }

  #say(): void {
    const id = ++this.#counters.attempts
    const request = this.#toSay.shift()!
    // Before the push, in which the log writer may run.
    this.#saying.set(id, request)
    if (pushFeedback(this.#door!.ring, id, Buffer.from(JSON.stringify(request)))) return
    this.#saying.delete(id)
    this.#toSay.unshift(request)
  }

  #sent(attempt: Attempt, request: Request | null): void {
    this.attempts.push(attempt)
    const table = this.#door!.tables.get(attempt.topicId)!
    this.#inFlight.set(attempt.id, { attempt, table, request })
  }

  #openProducer(): void {
    const id = ++this.#counters.attempts
    if (pushProducer(this.#door!.ring, id, Buffer.from(`client-${this.#index}`))) this.#openingId = id
  }

  #begin(): void {
    const { paceMs, samplesMax } = this.#scenario
    this.#nextSendMs = this.#clock.monotonicMs() - paceMs * Math.log(1 - this.#prng.float())
    this.#left--
    if (this.#prng.float() < 1 / this.#scenario.oneIn.statement) this.#toSay.push(this.#statement())
    const { topicId } = pick(this.#prng, this.#topics)
    const samples: SentSample[] = []
    const count = 1 + this.#prng.below(samplesMax)
    for (let i = 0; i < count; i++) {
      const series = pick(this.#prng, this.#series)
      // The first is ordinary: an attempt without any number could not be told from another.
      const odd = i > 0 && this.#prng.float() < this.#scenario.oddShare
      const value = odd ? pick(this.#prng, [NaN, Infinity, -Infinity, 0, -1e308]) : this.#value()
      samples.push({ series, timestampMs: this.#timestampMs(odd), value })
    }
    const sequence = this.#sequences.get(topicId) ?? 0
    if (this.#identity === 'producer') this.#sequences.set(topicId, sequence + 1)
    const identity = this.#identity === 'none' ? null : `${this.#index}/${this.#requests++}`
    const request = { topicId, samples, identity, sequence }
    // A client that is in doubt sends a copy while the first is under way.
    if (identity !== null && this.#prng.below(6) === 0) this.#again.push(request)
    this.#send(request)
  }

  #send(request: Request): void {
    const { topicId, identity } = request
    const table = this.#door!.tables.get(topicId)!
    const columns = new SampleBuilder(64)
    const samples = request.samples.filter(({ series, timestampMs, value }) => {
      const localId = table.internKey(series.key)
      if (localId >= 0) columns.push(localId, timestampMs, value)
      return localId >= 0
    })
    const series = table.takeNew()
    if (samples.length === 0 && identity === null) return
    const id = ++this.#counters.attempts
    const attempt: Attempt = { id, client: this.#index, topicId, samples, identity, acknowledged: false }
    const once = this.#onceOf(request)
    this.#job = { attempt, columns, series, once, isOncePushed: false, definedKeys: 0, pushed: 0 }
    this.#sent(attempt, request)
    this.#push(this.#job)
  }

  #onceOf({ identity, sequence }: Request): OnceFrame | null {
    if (identity === null) return null
    const [client, number] = identity.split('/').map(Number)
    const body = { fingerprint: number!, bodyBytes: 1 }
    return this.#identity === 'producer'
      ? { ...body, kind: ONCE_SEQUENCE, ...this.#producer!, sequence }
      : { ...body, kind: ONCE_KEY, hash: { a: client! + 1, b: number!, c: 7, d: ~number! } }
  }

  /** One frame, or as many as there is room for. */
  #push(job: Job): void {
    const { attempt, columns, series } = job
    const { ring } = this.#door!
    do {
      if (series !== null && job.definedKeys < series.keys.length) {
        const pushed = pushDefinitions(ring, attempt.topicId, series.firstId, series.keys, job.definedKeys)
        if (pushed === 0) return
        job.definedKeys += pushed
        continue
      }
      if (job.once !== null && !job.isOncePushed) {
        // The rest of the request is waited for from here on.
        if (!pushOnce(ring, attempt.id, attempt.topicId, job.once)) return
        job.isOncePushed = true
        continue
      }
      const to = Math.min(columns.count, job.pushed + 1 + this.#prng.below(FRAME_SAMPLES))
      const last = to === columns.count
      // The job is over before the frame is seen: its commit may run other threads.
      if (last) this.#job = null
      if (!pushSamples(ring, attempt.id, attempt.topicId, columns, job.pushed, to, last)) {
        this.#job = job
        return
      }
      job.pushed = to
      if (last) return
    } while (this.#prng.below(3) > 0)
  }

  #value(): number {
    const whole = this.#prng.below(20) === 0 ? this.#prng.below(500) : 20 + this.#prng.below(10)
    return whole + (++this.#counters.samples % UNIQUE_STEPS) / UNIQUE_STEPS
  }

  #timestampMs(odd: boolean): number {
    const nowMs = this.#clock.nowMs()
    if (odd) return pick(this.#prng, [NaN, nowMs - 3_600_000, nowMs + 60_000, nowMs + 0.5, Infinity])
    // Mostly within the disorder that sources promise, sometimes beyond it.
    const disorderMs = this.#scenario.disorderMs * (this.#prng.below(10) === 0 ? 3 : 1)
    return nowMs - this.#prng.below(disorderMs + 1)
  }
}

function groupOf({ groupBy }: PipelinePlan, labels: Labels): Labels {
  if (groupBy === null) return labels
  return Object.fromEntries(groupBy.map((label) => [label, labels[label]!]))
}
