/**
 * `POST /api/v1/demo/disturb`: burns some CPU on this machine, so that a person sees a real anomaly found. There only in
 * `millrace demo`; from this machine only; from this server's own page or from no page at all: a header that pages elsewhere
 * cannot send without being asked first, and an origin that is ours.
 */
import type { Disturbance } from '../contract/live.ts'
import { type Exchange, errorAnswer, errorBody, type Headers, sendJson, sendUnread } from './exchange.ts'

export interface DemoDoor {
  disturb(): Disturbance
}

export const DEMO_HEADER = 'x-millrace-demo'

export function handleDisturb(demo: DemoDoor, exchange: Exchange, headers: Headers): void {
  const { req, res } = exchange
  const refusal =
    (isLoopback(req.socket.remoteAddress)
      ? null
      : errorAnswer(403, 'HOST_REFUSED', 'only this machine may disturb itself. Ask from there.')) ??
    (req.headers[DEMO_HEADER] === undefined
      ? errorAnswer(403, 'HOST_REFUSED', 'the header X-Millrace-Demo is missing. Send it, with any value.')
      : null)
  if (refusal !== null) {
    sendUnread(exchange, refusal.status, `${JSON.stringify(errorBody(refusal))}\n`, headers)
    return
  }
  req.resume()
  sendJson(res, 202, demo.disturb(), headers)
}

function isLoopback(address: string | undefined): boolean {
  return address !== undefined && /^(::1|(::ffff:)?127\.\d+\.\d+\.\d+)$/.test(address)
}
