/**
 * Answers to writes, in the words of InfluxDB 1.8 (`/write`) and 2.7 (`/api/v2/write`), since agents act on them:
 * Telegraf drops a batch on "partial write" and "unable to parse", and sends it again on 429, 503 and 5xx. Pure text.
 * Shapes from influxdb services/httpd/handler.go and tsdb/store.go (1.x), http/errors.go and the OpenAPI schema
 * LineProtocolError (2.x). Ours add what theirs leave out: line numbers, codes, remedies.
 */
import { describeFault, type ErrorCode } from '../contract/errors.ts'
import type { IngestResult } from '../contract/ingest.ts'
import type { LineFault } from '../contract/plugins.ts'
import { type ErrorAnswer, errorBody, type Headers } from './exchange.ts'
import type { Dialect } from './write-params.ts'

/** Bytes of the error text repeated in a header, as InfluxDB does for clients that do not read bodies. */
const HEADER_TEXT_LENGTH_MAX = 256

export interface WrittenAnswer {
  readonly status: number
  readonly body: string
  readonly headers: Headers
}

const V2_CODES: Readonly<Record<number, string>> = {
  400: 'invalid',
  403: 'forbidden',
  404: 'not found',
  408: 'request timeout',
  409: 'conflict',
  413: 'request too large',
  415: 'unsupported media type',
  422: 'unprocessable entity',
  429: 'too many requests',
  503: 'unavailable',
}

export function writeError(dialect: Dialect, answer: ErrorAnswer): WrittenAnswer {
  const message =
    answer.faults.length === 0
      ? answer.message
      : `${answer.message}: ${answer.faults.map(describeFault).join(' ')}`
  return dialect === 'v1'
    ? v1(answer.status, message, errorBody({ ...answer, message }), answer.headers)
    : v2(answer.status, { code: v2Code(answer.status), message }, answer.headers)
}

/** Null: everything is stored, now or before. Otherwise what was not, and why. */
export function writeProblem(dialect: Dialect, topic: string, result: IngestResult): WrittenAnswer | null {
  const { report, refusedSeries, once } = result
  const futureThen = once?.futureThen ?? 0
  if (report.faultCount === 0 && refusedSeries === null && futureThen === 0) return null
  const refused = refusedSeries?.samples ?? 0
  const reasons = report.faults.map(lineText)
  const unlisted = report.faultCount - report.faults.length
  if (unlisted > 0) reasons.push(`and ${unlisted} more lines`)
  if (refusedSeries !== null) {
    const { examples, limit } = refusedSeries
    const among = examples.length === 0 ? '' : `, among them ${examples.join(', ')}`
    reasons.push(
      `series limit of topic ${topic} reached (${limit}): ${refused} samples of new series refused${among}. ` +
        'Send fewer distinct label values, or raise the limit.',
    )
  }
  if (futureThen > 0) {
    reasons.push(`${futureThen} samples were in the future when this body was first sent, and are not stored`)
  }
  const stored = report.samples - refused - futureThen
  const dropped = report.faultCount + refused + futureThen
  // InfluxDB calls a write partial only where something was stored.
  const message =
    stored > 0 || refused > 0 ? `partial write: ${reasons.join('\n')} dropped=${dropped}` : reasons.join('\n')
  const code: ErrorCode = report.faultCount > 0 || refused === 0 ? 'INPUT_INVALID' : 'SERIES_LIMIT'
  if (dialect === 'v1') {
    const faults = report.faults.map(({ line, problem, text }) => ({
      place: `line ${line}`,
      value: text,
      problem,
      remedy: 'Correct the line; good lines of the body are stored.',
    }))
    return v1(400, message, { error: message, code, faults })
  }
  const errors = report.faults.map(({ line, problem, text }) => ({ line, message: problem, text }))
  const first = report.faults[0]
  return v2(400, {
    code: 'invalid',
    message,
    ...(first === undefined ? {} : { line: first.line }),
    errors,
    dropped,
  })
}

function lineText({ line, problem, text }: LineFault): string {
  return `line ${line}: unable to parse '${text}': ${problem}`
}

function v1(status: number, message: string, body: unknown, headers: Headers = {}): WrittenAnswer {
  return {
    status,
    body: `${JSON.stringify(body)}\n`,
    headers: { ...headers, 'X-Influxdb-Error': headerText(message) },
  }
}

function v2(
  status: number,
  body: { readonly code: string; readonly message: string; readonly [more: string]: unknown },
  headers: Headers = {},
): WrittenAnswer {
  return {
    status,
    body: `${JSON.stringify(body)}\n`,
    headers: { ...headers, 'X-Platform-Error-Code': body.code },
  }
}

function v2Code(status: number): string {
  return V2_CODES[status] ?? 'internal error'
}

/** One line of printable ASCII: what a header may hold. */
function headerText(text: string): string {
  return text.slice(0, HEADER_TEXT_LENGTH_MAX).replace(/[^\x20-\x7e]/g, ' ')
}
