/**
 * One request and its answer, and the few ways to answer that all routes share. Nothing here reads a body.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type ErrorCode, type Fault, MillraceError } from '../contract/errors.ts'
import { DRAIN_BYTES_MAX, DRAIN_MS_MAX, RETRY_AFTER_SECONDS } from './limits.ts'

export interface Exchange {
  readonly req: IncomingMessage
  readonly res: ServerResponse
  /** Without query string, never decoded: routes are plain ASCII. */
  readonly path: string
  /** What follows the question mark, or ''. */
  readonly query: string
  /** The client waits for `100 Continue` before it sends its body. */
  readonly expectsContinue: boolean
}

export type Headers = Readonly<Record<string, string | number>>

export interface ErrorAnswer {
  readonly status: number
  readonly code: ErrorCode
  readonly message: string
  readonly faults: readonly Fault[]
  readonly headers?: Headers
}

export function errorAnswer(
  status: number,
  code: ErrorCode,
  message: string,
  options: { readonly faults?: readonly Fault[]; readonly headers?: Headers } = {},
): ErrorAnswer {
  const { faults = [], headers } = options
  return headers === undefined
    ? { status, code, message, faults }
    : { status, code, message, faults, headers }
}

const STATUS_OF_CODE: Partial<Record<ErrorCode, number>> = {
  INPUT_INVALID: 400,
  SERIES_LIMIT: 400,
  TOPIC_MISMATCH: 400,
  PIPELINE_INVALID: 404,
  KEY_REUSED: 422,
  PRODUCER_FENCED: 409,
  PRODUCER_UNKNOWN: 409,
  SEQUENCE_GAP: 409,
  OFFSET_GONE: 410,
  HOST_REFUSED: 403,
  BODY_TOO_LARGE: 413,
  LOG_FULL: 429,
  UNAVAILABLE: 503,
  WORKER_FAILED: 503,
  STORE_IO: 503,
  STORE_FENCED: 503,
}

/** Operating errors as answers; null for anything else, which is a programmer's error and not for clients. */
export function answerOf(error: unknown): ErrorAnswer | null {
  if (!(error instanceof MillraceError)) return null
  const status = STATUS_OF_CODE[error.code] ?? 500
  const again = status === 429 || status === 503
  return errorAnswer(status, error.code, error.message, {
    faults: error.faults,
    ...(again ? { headers: { 'Retry-After': RETRY_AFTER_SECONDS } } : {}),
  })
}

export function send(
  res: ServerResponse,
  status: number,
  contentType: string,
  body: string,
  headers?: Headers,
): void {
  if (res.headersSent || res.destroyed) return
  const bytes = Buffer.from(body)
  res.writeHead(status, { 'Content-Type': contentType, 'Content-Length': bytes.length, ...headers })
  res.end(bytes)
}

export const JSON_TYPE = 'application/json; charset=utf-8'

export function sendJson(res: ServerResponse, status: number, body: unknown, headers?: Headers): void {
  send(res, status, JSON_TYPE, `${JSON.stringify(body)}\n`, headers)
}

/** The shape of every error that is not InfluxDB's: `{"error": text, "code": CODE, "faults": [...]}`. */
export function errorBody(answer: ErrorAnswer): unknown {
  return { error: answer.message, code: answer.code, faults: answer.faults }
}

/**
 * Answers a request whose body was not read, or not to its end. A short rest is read and thrown away and the connection
 * stays; of a long one or one of unknown length a part, and then the connection is cut.
 */
export function sendUnread(exchange: Exchange, status: number, body: string, headers: Headers): void {
  const { req, res } = exchange
  if (res.headersSent || res.destroyed) return
  // A client that was not told to continue sends nothing, or does so late: the next bytes mean one or the other.
  const unclear = exchange.expectsContinue && !req.complete
  if (req.complete || (!unclear && restIsShort(req))) {
    send(res, status, JSON_TYPE, body, headers)
    req.resume()
    return
  }
  const bytes = Buffer.from(body)
  res.writeHead(status, {
    'Content-Type': JSON_TYPE,
    'Content-Length': bytes.length,
    ...headers,
    Connection: 'close',
  })
  if (unclear) {
    res.end(bytes)
    return
  }
  res.write(bytes)
  drainThen(req, () => res.end())
}

function restIsShort(req: IncomingMessage): boolean {
  const length = req.headers['content-length']
  if (length === undefined) return req.headers['transfer-encoding'] === undefined
  return Number(length) <= DRAIN_BYTES_MAX
}

function drainThen(req: IncomingMessage, done: () => void): void {
  let drainedBytes = 0
  let over = false
  const finish = (): void => {
    if (over) return
    over = true
    clearTimeout(timer)
    done()
  }
  const timer = setTimeout(finish, DRAIN_MS_MAX)
  timer.unref()
  req.on('data', (chunk: Buffer) => {
    drainedBytes += chunk.length
    if (drainedBytes > DRAIN_BYTES_MAX) finish()
  })
  req.once('end', finish)
  req.once('close', finish)
  req.resume()
}
