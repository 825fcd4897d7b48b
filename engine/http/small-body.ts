/** A short JSON body, read whole: what a person or a script sends to change something, never samples. */
import { type Fault, MillraceError } from '../contract/errors.ts'
import { type Exchange, errorAnswer, errorBody, type Headers, sendUnread } from './exchange.ts'

/** Null: it is answered already (too large), or the client went away. */
export async function readSmallBody(
  exchange: Exchange,
  { bytesMax, remedy, headers }: SmallBody,
): Promise<string | null> {
  const { req, res, expectsContinue } = exchange
  if (expectsContinue) res.writeContinue()
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of req as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > bytesMax) break
      chunks.push(chunk)
    }
  } catch {
    // The client went away: there is nobody to answer.
    return null
  }
  if (bytes <= bytesMax) return Buffer.concat(chunks).toString()
  const answer = errorAnswer(413, 'BODY_TOO_LARGE', `the body is larger than ${bytesMax} bytes. ${remedy}`)
  sendUnread(exchange, 413, `${JSON.stringify(errorBody(answer))}\n`, headers)
  return null
}

export interface SmallBody {
  readonly bytesMax: number
  /** What to send instead. */
  readonly remedy: string
  readonly headers: Headers
}

/** INPUT_INVALID where it is none. `what`: "the request for a producer". */
export function parseSmallBody(body: string, what: string, remedy: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    const fault: Fault = { place: 'body', value: body, problem: 'is not JSON', remedy }
    throw MillraceError.ofFaults('INPUT_INVALID', what, [fault])
  }
}
