/**
 * The write handler of both dialects: admit, hand over chunks, wait until durable, answer. Nothing of a body that is
 * refused, corrupt or cut off is stored. Everything a request costs beyond its bytes happens here: keep it small.
 */
import { describeValue, type ErrorCode } from '../contract/errors.ts'
import type { RequestIdentity } from '../contract/idempotency.ts'
import type { Ingest, IngestRequest, IngestResult, LinePrecision, Refusal } from '../contract/ingest.ts'
import {
  HTTP_IN_FLIGHT_BYTES,
  INGEST_BYTES,
  INGEST_DURATION,
  INGEST_FAULT_LINES,
  INGEST_LINES,
  INGEST_REFUSED,
  INGEST_REFUSED_SAMPLES,
  INGEST_REQUESTS,
  INGEST_SAMPLES,
  INGEST_STRING_FIELDS,
} from '../metrics/catalog.ts'
import type { ThreadMetrics } from '../metrics/thread-metrics.ts'
import type { Clock } from '../util/clock.ts'
import { killPoint } from '../util/kill-point.ts'
import { BodyIntake, encodingOf, type InFlight, type Taker } from './body-intake.ts'
import {
  answerOf,
  type ErrorAnswer,
  type Exchange,
  errorAnswer,
  type Headers,
  JSON_TYPE,
  send,
  sendUnread,
} from './exchange.ts'
import { type HttpLimits, RETRY_AFTER_SECONDS } from './limits.ts'
import { INFLUXDB_VERSION } from './probes.ts'
import { type WrittenAnswer, writeError, writeProblem } from './write-answer.ts'
import { readIdentity, SEQUENCE_HEADER } from './write-identity.ts'
import { type Dialect, readWriteParams } from './write-params.ts'

export interface WriteContext {
  readonly ingest: Ingest
  readonly counters: ThreadMetrics
  readonly limits: HttpLimits
  readonly inFlight: InFlight
  readonly clock: Clock
  /** A programmer's error: the client got a 500. */
  readonly defect: (error: unknown) => void
}

type RefusalReason = (typeof INGEST_REFUSED.values)[number]
type Outcome = (typeof INGEST_REQUESTS.values)[number]

const ONCE_REASONS: Partial<Record<ErrorCode, RefusalReason>> = {
  KEY_REUSED: 'key_reused',
  PRODUCER_FENCED: 'producer',
  PRODUCER_UNKNOWN: 'producer',
  SEQUENCE_GAP: 'producer',
}

const NO_CONTENT_HEADERS = { 'X-Influxdb-Version': INFLUXDB_VERSION } as const
const NOT_DURABLE_HEADERS = { ...NO_CONTENT_HEADERS, 'X-Millrace-Durable': 'false' } as const

export function handleWrite(context: WriteContext, dialect: Dialect, exchange: Exchange): void {
  new WriteRequest(context, dialect, exchange).run()
}

/** Counts a request that was turned away before it came here. */
export function countRefused(counters: ThreadMetrics, reason: RefusalReason): void {
  counters.add(INGEST_REFUSED, 1, 0, reason)
  counters.add(INGEST_REQUESTS, 1, 0, 'refused')
}

class WriteRequest implements Taker {
  readonly #context: WriteContext
  readonly #dialect: Dialect
  #exchange: Exchange
  readonly #startedMs: number
  #intake: BodyIntake | null = null
  #request: IngestRequest | null = null
  #topic = ''
  #precision: LinePrecision = 'ns'
  #identity: RequestIdentity | null = null

  constructor(context: WriteContext, dialect: Dialect, exchange: Exchange) {
    this.#context = context
    this.#dialect = dialect
    this.#exchange = exchange
    this.#startedMs = context.clock.monotonicMs()
  }

  run(): void {
    const { limits, inFlight } = this.#context
    const { req, res, expectsContinue } = this.#exchange
    const refusal = this.#refusal()
    if (refusal !== null) {
      this.#refuse(refusal.reason, refusal.answer)
      return
    }
    const intake = new BodyIntake(req, this, limits, inFlight)
    const tooMuch = intake.admit()
    if (tooMuch !== null) {
      this.#refuse(reasonOf(tooMuch), tooMuch)
      return
    }
    this.#intake = intake
    this.#showInFlight()
    if (expectsContinue) {
      res.writeContinue()
      this.#exchange = { ...this.#exchange, expectsContinue: false }
    }
    intake.start(encodingOf(req) ?? 'identity')
  }

  /** What the head alone decides. */
  #refusal(): { readonly reason: RefusalReason; readonly answer: ErrorAnswer } | null {
    const { req, query } = this.#exchange
    const params = readWriteParams(this.#dialect, query)
    if (params.faults !== null) {
      const answer = errorAnswer(400, 'INPUT_INVALID', 'the query string', { faults: params.faults })
      return { reason: 'parameters', answer }
    }
    this.#topic = params.topic
    this.#precision = params.precision
    const reading = readIdentity(req)
    if (reading.faults !== null) {
      const answer = errorAnswer(400, 'INPUT_INVALID', 'the headers', { faults: reading.faults })
      return { reason: 'parameters', answer }
    }
    this.#identity = reading.identity
    const refusal = this.#context.ingest.admission(params.topic)
    if (refusal !== null) return refusalAnswer(refusal)
    if (encodingOf(req) === null) {
      const got = describeValue(req.headers['content-encoding'])
      const text = `Content-Encoding ${got} is not read here. Send the body plain or with gzip.`
      const headers = { 'Accept-Encoding': 'gzip, identity' }
      return { reason: 'encoding', answer: errorAnswer(415, 'INPUT_INVALID', text, { headers }) }
    }
    return null
  }

  take(chunk: Uint8Array): void {
    this.#begun().write(chunk)
  }

  ended(): void {
    // An empty body uses up its sequence like any other.
    if (this.#intake!.bytes === 0 && this.#identity?.kind !== 'producer') this.#endedEmpty()
    else this.#finish().catch((error: unknown) => this.failed(error))
  }

  /** InfluxDB 1.8 takes an empty body as nothing to do, 2.7 as a mistake. */
  #endedEmpty(): void {
    if (this.#dialect === 'v1') this.#stored('stored', NO_CONTENT_HEADERS)
    else this.#emptyMistake({})
  }

  #emptyMistake(headers: Headers): void {
    this.#outcome('malformed')
    const text = 'writing requires points: the body is empty.'
    this.#answer(writeError('v2', errorAnswer(400, 'INPUT_INVALID', text, { headers })))
  }

  refused(answer: ErrorAnswer): void {
    this.#request?.abort()
    this.#refuse(reasonOf(answer), answer)
  }

  broken(): void {
    this.#request?.abort()
    this.#outcome('aborted')
    this.#release()
  }

  /** Before or while the body is read. */
  #refuse(reason: RefusalReason, answer: ErrorAnswer): void {
    countRefused(this.#context.counters, reason)
    this.#release()
    const { status, body, headers } = writeError(this.#dialect, answer)
    sendUnread(this.#exchange, status, body, headers)
  }

  async #finish(): Promise<void> {
    let result: IngestResult
    try {
      result = await this.#begun().finish()
    } catch (error) {
      if (!this.#refusedOnce(error)) throw error
      return
    }
    this.#count(result)
    const headers = this.#onceHeaders(result)
    if (this.#intake!.bytes === 0 && this.#dialect === 'v2') {
      this.#emptyMistake(headers)
      return
    }
    const problem = writeProblem(this.#dialect, this.#topic, result)
    const isDuplicate = result.once?.isDuplicate ?? false
    if (problem !== null) {
      const stored = result.report.samples - (result.refusedSeries?.samples ?? 0)
      this.#outcome(isDuplicate ? 'duplicate' : stored > 0 ? 'partial' : 'malformed')
      this.#answer({ ...problem, headers: { ...problem.headers, ...headers } })
      return
    }
    const known = result.durable ? NO_CONTENT_HEADERS : NOT_DURABLE_HEADERS
    this.#stored(
      isDuplicate ? 'duplicate' : 'stored',
      result.once === null ? known : { ...known, ...headers },
    )
  }

  /** The log writer refused the key or the sequence; everything else is a failure. */
  #refusedOnce(error: unknown): boolean {
    const answer = answerOf(error)
    const isFull = answer?.code === 'LOG_FULL' && this.#identity?.kind === 'key'
    const reason = isFull ? 'keys_full' : answer === null ? undefined : ONCE_REASONS[answer.code]
    if (answer === null || reason === undefined) return false
    this.#refuse(reason, answer)
    return true
  }

  /** Where it was stored, now or before; and that the sequence is used up. */
  #onceHeaders({ once }: IngestResult): Headers {
    if (once === null) return {}
    const { isDuplicate, topic, storedAt } = once
    const place: Headers = isDuplicate
      ? { 'X-Millrace-Duplicate-Of': storedAt ?? topic }
      : storedAt === null
        ? {}
        : { 'X-Millrace-Stored-At': storedAt }
    const identity = this.#identity
    return identity?.kind === 'producer' ? { ...place, [SEQUENCE_HEADER]: identity.sequence } : place
  }

  #stored(outcome: 'stored' | 'duplicate', headers: Headers): void {
    this.#outcome(outcome)
    this.#release()
    const { res } = this.#exchange
    if (res.destroyed) return
    res.writeHead(204, headers)
    res.end()
    killPoint('answer-sent')
  }

  /** Not before there is something to decode: a client that sends a head and then nothing holds no decoder. */
  #begun(): IngestRequest {
    this.#request ??= this.#context.ingest.begin(this.#topic, {
      precision: this.#precision,
      identity: this.#identity,
    })
    return this.#request
  }

  failed(error: unknown): void {
    this.#request?.abort()
    this.#outcome('failed')
    this.#release()
    const answer = answerOf(error)
    const told = answer ?? errorAnswer(500, 'WORKER_FAILED', 'an error in the server; its log tells more.')
    const { status, body, headers } = writeError(this.#dialect, told)
    sendUnread(this.#exchange, status, body, headers)
    if (answer === null) this.#context.defect(error)
  }

  #answer({ status, body, headers }: WrittenAnswer): void {
    this.#release()
    send(this.#exchange.res, status, JSON_TYPE, body, headers)
  }

  #release(): void {
    this.#intake?.release()
    this.#showInFlight()
  }

  #showInFlight(): void {
    this.#context.counters.set(HTTP_IN_FLIGHT_BYTES, this.#context.inFlight.bytes)
  }

  #outcome(outcome: Outcome): void {
    const { counters, clock } = this.#context
    counters.add(INGEST_REQUESTS, 1, 0, outcome)
    counters.observe(INGEST_DURATION, (clock.monotonicMs() - this.#startedMs) / 1000)
  }

  #count({ report, refusedSeries, once }: IngestResult): void {
    const { counters } = this.#context
    const refused = refusedSeries?.samples ?? 0
    counters.add(INGEST_BYTES, this.#intake!.bytes)
    counters.add(INGEST_LINES, report.lines)
    // What became of its samples was counted when they came first.
    if (once?.isDuplicate) return
    counters.add(INGEST_SAMPLES, report.samples - refused)
    if (report.stringFields > 0) counters.add(INGEST_STRING_FIELDS, report.stringFields)
    if (report.faultCount > 0) counters.add(INGEST_FAULT_LINES, report.faultCount)
    if (report.futureSamples > 0) counters.add(INGEST_REFUSED_SAMPLES, report.futureSamples, 0, 'future')
    if (refused > 0) counters.add(INGEST_REFUSED_SAMPLES, refused, 0, 'series_limit')
  }
}

function refusalAnswer(refusal: Refusal): { reason: RefusalReason; answer: ErrorAnswer } {
  const { status, problem, remedy, retryAfterSeconds = RETRY_AFTER_SECONDS } = refusal
  const message = `${problem}. ${remedy}`
  if (status === 404) return { reason: 'unknown_topic', answer: errorAnswer(404, 'INPUT_INVALID', message) }
  const headers = { 'Retry-After': retryAfterSeconds }
  return status === 429
    ? { reason: 'log_full', answer: errorAnswer(429, 'LOG_FULL', message, { headers }) }
    : { reason: 'unavailable', answer: errorAnswer(503, 'UNAVAILABLE', message, { headers }) }
}

function reasonOf({ status }: ErrorAnswer): RefusalReason {
  if (status === 413) return 'body_too_large'
  return status === 429 ? 'in_flight' : 'encoding'
}
