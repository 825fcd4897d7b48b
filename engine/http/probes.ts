/**
 * Is it there, does it work: InfluxDB's `/ping` and `/health`, and `/healthz` and `/readyz` for supervisors. Liveness is
 * that the event loop answers; readiness has reasons.
 */
import { type Exchange, sendJson } from './exchange.ts'

export interface Readiness {
  readonly ready: boolean
  /** Why not, in words; empty when ready. */
  readonly reasons: readonly string[]
}

/** The version of InfluxDB whose write protocol is spoken: clients choose their dialect by it. */
export const INFLUXDB_VERSION = '1.8.10'

export function handlePing({ res, query }: Exchange): void {
  const headers = { 'X-Influxdb-Version': INFLUXDB_VERSION, 'X-Influxdb-Build': 'millrace' }
  const verbose = new URLSearchParams(query).get('verbose') ?? ''
  if (verbose !== '' && verbose !== '0' && verbose !== 'false') {
    sendJson(res, 200, { version: INFLUXDB_VERSION }, headers)
    return
  }
  res.writeHead(204, headers)
  res.end()
}

/** As InfluxDB 2: `pass` with 200, `fail` with 503. */
export function handleHealth({ res }: Exchange, { ready, reasons }: Readiness, version: string): void {
  sendJson(res, ready ? 200 : 503, {
    name: 'millrace',
    message: ready ? 'ready for queries and writes' : reasons.join('; '),
    status: ready ? 'pass' : 'fail',
    checks: [],
    version,
  })
}

export function handleHealthz({ res }: Exchange): void {
  sendJson(res, 200, { status: 'alive' })
}

export function handleReadyz({ res }: Exchange, { ready, reasons }: Readiness): void {
  sendJson(res, ready ? 200 : 503, { status: ready ? 'ready' : 'not ready', reasons })
}
