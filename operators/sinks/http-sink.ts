/**
 * Posts records over HTTP, at least once: a record counts as sent when the receiver answered 2xx. Network errors, 408, 425,
 * 429 and 5xx are tried again; any other answer is final: the records become dead letters (logged, counted, skipped), so
 * that one record that a receiver dislikes cannot hold back all that follow. Records of one partition, and so of one group,
 * arrive in order; requests of different partitions may overlap. After a crash, what was in flight comes again with the
 * same ids. Redirects are not followed; answers are read to a bound and dropped. What a request looks like is the sink's.
 */
import { setMaxListeners } from 'node:events'
import { duration, integer, texts, url } from '../../engine/config/options.ts'
import { type Fault, MillraceError } from '../../engine/contract/errors.ts'
import type { AtLeastOnceSink, SinkContext, SinkRecord } from '../../engine/contract/plugins.ts'
import { backoffMs, type Sleep, sleep } from '../../engine/util/backoff.ts'
import { type Clock, systemClock } from '../../engine/util/clock.ts'
import { fnv1a } from '../../engine/util/hash.ts'
import { killPoint } from '../../engine/util/kill-point.ts'
import { Prng } from '../../engine/util/prng.ts'

/** Tries within one send; then the outbox waits longer and calls again, with only the records still unsent. */
const ATTEMPTS_MAX = 5
const BACKOFF = { firstMs: 200, maxMs: 10_000 }
/** A receiver may ask for a pause, but not for a day. */
const RETRY_AFTER_MS_MAX = 60_000
const ANSWER_BYTES_MAX = 64 * 1024
const ANSWER_SHOWN_CHARACTERS = 200
const RETRYABLE_STATUS = new Set([408, 425, 429])
const OWN_HEADERS = new Set([
  'connection',
  'content-length',
  'content-type',
  'host',
  'idempotency-key',
  'transfer-encoding',
  'x-millrace-count',
  'x-millrace-id',
])

/** Options that every sink over HTTP has; `url` and `batch` are its own. */
export const httpOptions = {
  headers: {
    type: texts(),
    default: {},
    meaning: 'sent with every request; read secrets from the environment',
  },
  timeout: {
    type: duration({ minMs: 1, maxMs: 300_000 }),
    default: '10s',
    meaning: 'for one request, with its answer',
  },
  maxInFlight: {
    type: integer({ min: 1, max: 64 }),
    default: 4,
    meaning: 'requests at a time, each of another partition',
  },
} as const

export const httpUrl = url('http', 'https')

/** What tests replace: time and randomness. */
export interface HttpTools {
  readonly sleep: Sleep
  readonly clock: Clock
}
export const HTTP_TOOLS: HttpTools = { sleep, clock: systemClock }

export interface HttpTarget {
  readonly url: string
  readonly timeoutMs: number
  readonly maxInFlight: number
  /** Records a request. */
  readonly batch: number
  /** What to look at when the receiver refuses: "the url and headers of the webhook". */
  readonly remedy: string
  /** Null: there is nothing to say of these records. */
  request(records: readonly SinkRecord[]): HttpRequest | null
}

export interface HttpRequest {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** A JSON request of these records, with the first one's id and, if it is given, a key: equal keys mean equal bodies. */
export function jsonRequest(
  records: readonly SinkRecord[],
  headers: Readonly<Record<string, string>>,
  body: string,
  key?: string,
): HttpRequest {
  return {
    headers: {
      ...headers,
      'content-type': 'application/json',
      ...(key === undefined ? {} : { 'idempotency-key': key }),
      'x-millrace-id': records[0]!.id,
      'x-millrace-count': String(records.length),
    },
    body,
  }
}

interface Answer {
  readonly status: number
  readonly retryAfter: string | null
  readonly location: string | null
  readonly text: string
}

export class HttpSink implements AtLeastOnceSink {
  readonly guarantee = 'at-least-once'
  readonly #options: HttpTarget
  readonly #context: SinkContext
  readonly #tools: HttpTools
  readonly #prng: Prng
  /** Ids of a send that failed in part and are done with: not repeated when the outbox calls again. One send's at most. */
  #done = new Set<string>()

  constructor(target: HttpTarget, context: SinkContext, tools: HttpTools = HTTP_TOOLS) {
    this.#options = target
    this.#context = context
    this.#tools = tools
    const seed = new TextEncoder().encode(`${context.pipeline}/${context.sink}`)
    this.#prng = new Prng(fnv1a(seed, 0, seed.length))
    // One listener a request and a sleep; the default of 10 would warn of a leak that is none.
    setMaxListeners(2 * target.maxInFlight + 16, context.signal)
  }

  async send(records: readonly SinkRecord[]): Promise<void> {
    const lanes = new Map<number, SinkRecord[]>()
    for (const record of records) {
      if (this.#done.has(record.id)) continue
      const lane = lanes.get(record.partition)
      if (lane === undefined) lanes.set(record.partition, [record])
      else lane.push(record)
    }
    const waiting = [...lanes.values()]
    let failure: unknown = null
    const work = async (): Promise<void> => {
      for (let lane = waiting.shift(); lane !== undefined && failure === null; lane = waiting.shift()) {
        try {
          await this.#sendLane(lane)
        } catch (error) {
          failure ??= error
        }
      }
    }
    await Promise.all(Array.from({ length: Math.min(this.#options.maxInFlight, waiting.length) }, work))
    if (failure !== null) throw failure
    this.#done = new Set()
  }

  async close(): Promise<void> {
    // Requests in flight end with the context's signal; the connection pool is the process's.
  }

  async #sendLane(lane: readonly SinkRecord[]): Promise<void> {
    for (let from = 0; from < lane.length; from += this.#options.batch) {
      const records = lane.slice(from, from + this.#options.batch)
      await this.#deliver(records)
      for (const { id } of records) this.#done.add(id)
    }
  }

  /** Resolves when the receiver has the records, or has refused them for good. */
  async #deliver(records: readonly SinkRecord[]): Promise<void> {
    const { signal } = this.#context
    const request = this.#options.request(records)
    if (request === null) return
    let problem = ''
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      let retryAfter: string | null = null
      try {
        killPoint('http-posting')
        const answer = await post(this.#options, request, signal)
        killPoint('http-answered')
        if (answer.status >= 200 && answer.status < 300) return
        problem = answerText(answer)
        retryAfter = answer.retryAfter
        if (!RETRYABLE_STATUS.has(answer.status) && answer.status < 500) {
          this.#bury(records, problem)
          return
        }
      } catch (error) {
        if (signal.aborted) throw this.#stopped()
        problem = networkText(error)
      }
      if (attempt === ATTEMPTS_MAX - 1) break
      const backoff = backoffMs(BACKOFF, attempt, this.#prng)
      const asked = retryAfterMs(retryAfter, this.#tools.clock)
      await this.#tools.sleep(Math.max(backoff, asked), signal)
      if (signal.aborted) throw this.#stopped()
    }
    throw new MillraceError(
      'SINK_FAILED',
      `${this.#name()}: ${this.#origin()} did not take ${records[0]?.id} in ${ATTEMPTS_MAX} tries: ${problem}. ` +
        'It is tried again; nothing is lost meanwhile.',
      { retryable: true },
    )
  }

  #bury(records: readonly SinkRecord[], problem: string): void {
    const ids =
      records.length === 1 ? `${records[0]?.id}` : `${records[0]?.id} and ${records.length - 1} more`
    const message =
      `${this.#name()}: ${this.#origin()} refused ${ids}: ${problem}. Skipped; the records stay in the results ` +
      `table. Look at ${this.#options.remedy}, and at what its receiver accepts.`
    this.#context.deadLetter(records.length, new MillraceError('SINK_FAILED', message))
  }

  #name(): string {
    return `Sink ${this.#context.pipeline}/${this.#context.sink}`
  }

  /** Paths and queries of webhooks are often secrets: the log gets only the origin. */
  #origin(): string {
    return new URL(this.#options.url).origin
  }

  #stopped(): MillraceError {
    return new MillraceError('UNAVAILABLE', `${this.#name()} was stopped.`, { retryable: true })
  }
}

async function post(
  { url: target, timeoutMs }: HttpTarget,
  { headers, body }: HttpRequest,
  signal: AbortSignal,
): Promise<Answer> {
  const cut = new AbortController()
  const stop = (): void => cut.abort()
  const timer = setTimeout(() => cut.abort(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
  signal.addEventListener('abort', stop)
  if (signal.aborted) stop()
  try {
    const response = await fetch(target, {
      method: 'POST',
      headers,
      body,
      redirect: 'manual',
      signal: cut.signal,
    })
    return {
      status: response.status,
      retryAfter: response.headers.get('retry-after'),
      location: response.headers.get('location'),
      text: await drain(response),
    }
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
  }
}

/** Reads the answer, so that its connection can serve again, but not without end; keeps its beginning. */
async function drain(response: Response): Promise<string> {
  if (response.body === null) return ''
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    if (text.length < ANSWER_SHOWN_CHARACTERS) text += decoder.decode(chunk, { stream: true })
    bytes += chunk.length
    if (bytes > ANSWER_BYTES_MAX) break
  }
  return text.slice(0, ANSWER_SHOWN_CHARACTERS)
}

function answerText({ status, location, text }: Answer): string {
  if (status >= 300 && status < 400) {
    return `it answered ${status}, and redirects are not followed (to ${JSON.stringify(location)})`
  }
  return text === '' ? `it answered ${status}` : `it answered ${status}: ${JSON.stringify(text)}`
}

function networkText(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message
}

/** Seconds or an HTTP date (RFC 9110, section 10.2.3), bounded. */
export function retryAfterMs(header: string | null, clock: Clock): number {
  if (header === null) return 0
  const ms = /^\d+$/.test(header.trim()) ? Number(header) * 1_000 : Date.parse(header) - clock.nowMs()
  return Number.isNaN(ms) ? 0 : Math.min(Math.max(ms, 0), RETRY_AFTER_MS_MAX)
}

/** Faults of a url with a password in it, and of headers that HTTP does not carry or the sink sets itself. */
export function checkTarget(
  { url: target, headers }: { url: string; headers: Readonly<Record<string, string>> },
  place: string,
  faults: Fault[],
): void {
  const { username, password } = new URL(target)
  if (username !== '' || password !== '') {
    faults.push({
      place: `${place}.url`,
      value: new URL(target).origin,
      problem: 'carries a user name or password',
      remedy: 'Send them as headers: { Authorization: … }.',
    })
  }
  for (const [name, value] of Object.entries(headers)) {
    const problem = headerProblem(name, value)
    if (problem === null) continue
    faults.push({
      place: `${place}.headers`,
      value: name,
      problem,
      remedy: 'Remove it, or write it as HTTP allows.',
    })
  }
}

function headerProblem(name: string, value: string): string | null {
  if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name)) return 'is no header name'
  if (OWN_HEADERS.has(name.toLowerCase())) return 'is set by the sink itself'
  return /^[\t\x20-\x7e]*$/.test(value) ? null : 'has a value with characters that a header cannot carry'
}
