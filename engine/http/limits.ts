/** Every bound of the HTTP server, by name. Beyond each of them a client gets the answer stated here. */
export interface HttpLimits {
  /** A body, after decompression and on the wire: 413. */
  readonly bodyBytesMax: number
  /** Bodies of all requests that are being read or wait to be durable: 429 with Retry-After. */
  readonly inFlightBytesMax: number
  /** Request line and headers: 431. */
  readonly headerBytesMax: number
  /** Beyond it a new connection is closed at once. */
  readonly connectionsMax: number
  /** From first byte to the whole head: 408. Bounds a client that sends a byte now and then. */
  readonly headersTimeoutMs: number
  /** From first byte to the whole body: 408. */
  readonly requestTimeoutMs: number
  /** An idle connection is closed after it. Agents send every 10 s or more: longer than that keeps them connected. */
  readonly keepAliveTimeoutMs: number
  /** What `close` gives requests that are under way before it cuts them off. */
  readonly closeTimeoutMs: number
}

export const HTTP_LIMITS: HttpLimits = {
  bodyBytesMax: 64 * 2 ** 20,
  inFlightBytesMax: 256 * 2 ** 20,
  headerBytesMax: 16 * 2 ** 10,
  connectionsMax: 1_024,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 60_000,
  keepAliveTimeoutMs: 65_000,
  closeTimeoutMs: 5_000,
}

/** Of a body nobody wants (the answer is known already), this much is read and thrown away, so that the client, which
 * may look at the answer only after sending, sees it; then the connection is cut. */
export const DRAIN_BYTES_MAX = 4 * 2 ** 20
export const DRAIN_MS_MAX = 2_000

/** How often node looks for connections that are over their time. */
export const TIMEOUT_CHECK_MS = 1_000
export const RETRY_AFTER_SECONDS = 1
