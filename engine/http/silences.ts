/**
 * Silences over HTTP (engine/contract/silences.ts); reading them is a question of api.ts. Of pages, only those of this server
 * may make and end them.
 *
 *     POST   /api/v1/silences        {"match": ["rack=r7"], "for": "2h", "comment": "…"}: 201 and SilenceMade, durable
 *     DELETE /api/v1/silences?id=3   ends it now: 200 and the silence
 */
import { MillraceError } from '../contract/errors.ts'
import type { SilenceDoor } from '../contract/silences.ts'
import { type Exchange, sendJson } from './exchange.ts'
import { parseSmallBody, readSmallBody } from './small-body.ts'

const BODY_BYTES_MAX = 64 * 1024
const REMEDY = 'Send an object such as {"match": ["rack=r7"], "for": "2h", "comment": "new switch"}.'

export async function handleSilences(
  door: SilenceDoor,
  exchange: Exchange,
  headers: Readonly<Record<string, string>>,
): Promise<void> {
  const { req, res, query } = exchange
  if (req.method === 'DELETE') {
    const id = readId(query)
    req.resume()
    sendJson(res, 200, await door.unsilence(id), headers)
    return
  }
  const body = await readSmallBody(exchange, { bytesMax: BODY_BYTES_MAX, remedy: REMEDY, headers })
  if (body === null) return
  sendJson(res, 201, await door.silence(parseSmallBody(body, 'the silence', REMEDY)), headers)
}

function readId(query: string): number {
  const params = new URLSearchParams(query)
  const value = params.get('id')
  if ([...params.keys()].length === 1 && value !== null && /^[1-9]\d{0,9}$/.test(value)) return Number(value)
  const problem = value === null ? 'is missing' : 'is no number of a silence, or does not stand alone'
  const remedy = 'Write DELETE /api/v1/silences?id=3; GET /api/v1/silences lists them.'
  throw MillraceError.ofFaults('INPUT_INVALID', 'the silence', [{ place: 'id', value, problem, remedy }])
}
