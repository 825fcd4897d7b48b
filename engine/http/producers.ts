/**
 * POST /api/v1/producers: the broker hands out a producer id and epoch. A body of `{"name": "…"}` asks for a producer
 * that keeps its id: asking again gives the next epoch, and fences whoever has the one before. The answer tells, for each
 * topic, what was stored last, so that a client that restarts knows where to go on.
 */
import { type Fault, MillraceError } from '../contract/errors.ts'
import { PRODUCER_NAME_LENGTH_MAX } from '../contract/idempotency.ts'
import type { Ingest } from '../contract/ingest.ts'
import { type Exchange, sendJson } from './exchange.ts'
import { parseSmallBody, readSmallBody } from './small-body.ts'

const BODY_BYTES_MAX = 4_096
const WHAT = 'the request for a producer'
const REMEDY = `Send {"name": "…"} with 1 to ${PRODUCER_NAME_LENGTH_MAX} printable ASCII characters, or no body for a producer without a name.`

export async function handleProducers(
  ingest: Ingest,
  exchange: Exchange,
  headers: Readonly<Record<string, string>>,
): Promise<void> {
  const body = await readSmallBody(exchange, { bytesMax: BODY_BYTES_MAX, remedy: REMEDY, headers })
  if (body === null) return
  sendJson(exchange.res, 200, await ingest.openProducer(readName(body)), headers)
}

function readName(body: string): string | null {
  if (body.trim() === '') return null
  const written = parseSmallBody(body, WHAT, REMEDY)
  if (typeof written !== 'object' || written === null || Array.isArray(written)) {
    throw invalid({ place: 'body', value: written, problem: 'is not an object', remedy: REMEDY })
  }
  const { name, ...more } = written as Readonly<Record<string, unknown>>
  for (const [place, value] of Object.entries(more)) {
    throw invalid({ place, value, problem: 'is not known here', remedy: REMEDY })
  }
  if (name === undefined) return null
  const isName =
    typeof name === 'string' && name.length <= PRODUCER_NAME_LENGTH_MAX && /^[\x20-\x7e]+$/.test(name)
  if (!isName) throw invalid({ place: 'name', value: name, problem: 'is not a name', remedy: REMEDY })
  return name
}

function invalid(fault: Fault): MillraceError {
  return MillraceError.ofFaults('INPUT_INVALID', WHAT, [fault])
}
