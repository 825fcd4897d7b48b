/** Bodies of a few kilobytes, read whole before anything is done with them. */
import { type Exchange, errorAnswer, errorBody, type Headers, sendUnread } from './exchange.ts'

const BODY_BYTES_MAX = 4_096

/** Undefined: it was too large, and that was answered; or the client went away, and there is nobody to answer. */
export async function readSmallBody(
  exchange: Exchange,
  remedy: string,
  headers: Headers,
  bytesMax: number = BODY_BYTES_MAX,
): Promise<string | undefined> {
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
    return undefined
  }
  if (bytes <= bytesMax) return Buffer.concat(chunks).toString()
  const message = `the body is larger than ${bytesMax} bytes. ${remedy}`
  const answer = errorAnswer(413, 'BODY_TOO_LARGE', message)
  sendUnread(exchange, 413, `${JSON.stringify(errorBody(answer))}\n`, headers)
  return undefined
}
