/**
 * The HTTP server: an explicit table of routes over node:http, with every limit named (limits.ts). Runs on the main
 * thread, made by the composition root. It answers; it decides nothing about samples (Ingest) or results (Queries).
 *
 * A client that is slow, garbled, too large or gone costs its own connection and nothing else.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { knownRemedy } from '../config/did-you-mean.ts'
import { MillraceError } from '../contract/errors.ts'
import type { FeedbackDoor } from '../contract/feedback.ts'
import type { Ingest } from '../contract/ingest.ts'
import type { Queries } from '../contract/queries.ts'
import type { SilenceDoor } from '../contract/silences.ts'
import { HTTP_REQUESTS } from '../metrics/catalog.ts'
import { createMetricsBlock, ThreadMetrics } from '../metrics/thread-metrics.ts'
import { type Clock, systemClock } from '../util/clock.ts'
import { portHolder } from '../util/port-holder.ts'
import { API, askApi } from './api.ts'
import { InFlight } from './body-intake.ts'
import { type DemoDoor, handleDisturb } from './demo.ts'
import {
  answerOf,
  type ErrorAnswer,
  type Exchange,
  errorAnswer,
  errorBody,
  send,
  sendJson,
  sendUnread,
} from './exchange.ts'
import { handleFeedback } from './feedback.ts'
import { HostGuard, refuseOtherSites } from './guard.ts'
import { HTTP_LIMITS, type HttpLimits, TIMEOUT_CHECK_MS } from './limits.ts'
import { LiveHub, type LiveLimits, type LiveSource } from './live-hub.ts'
import { handleHealth, handleHealthz, handlePing, handleReadyz, type Readiness } from './probes.ts'
import { handleProducers } from './producers.ts'
import { handleSilences } from './silences.ts'
import { countRefused, handleWrite, type WriteContext } from './write.ts'
import { writeError } from './write-answer.ts'
import type { Dialect } from './write-params.ts'

export interface HttpServerOptions {
  readonly ingest: Ingest
  readonly queries: Queries
  readonly metrics: () => Promise<{ readonly contentType: string; readonly body: string }>
  readonly readiness: () => Readiness
  readonly version: string
  /** Defaults: HTTP_LIMITS. */
  readonly limits?: Partial<HttpLimits>
  readonly clock?: Clock
  /** The main thread's counters; requests and samples that come in by HTTP are counted here, and only here. */
  readonly counters?: ThreadMetrics
  /** The page: served as they are. */
  readonly assets?: readonly Asset[]
  /** What `/api/v1/live` streams; without it there is no such path. */
  readonly live?: LiveSource
  /** Defaults: LIVE_LIMITS. */
  readonly liveLimits?: Partial<LiveLimits>
  /** Who makes and ends silences; without it they can only be read. */
  readonly silences?: SilenceDoor
  /** The demo's own: without it there is no such path. */
  readonly demo?: DemoDoor
  /** What people say of alerts: without it there is no such path. */
  readonly feedback?: FeedbackDoor
  /** Names, beyond localhost and IP addresses, by which browsers may know this server. */
  readonly hostNames?: readonly string[]
  /** A programmer's error came out of a route, and the client got a 500. By default it is thrown, and ends the process. */
  readonly defect?: (error: unknown) => void
}

export interface Asset {
  readonly path: string
  readonly contentType: string
  readonly body: string
}

export interface HttpAddress {
  readonly host: string
  readonly port: number
  readonly url: string
}

export interface HttpServer {
  /** Port 0: any that is free. Rejects with PORT_IN_USE or HOST_REFUSED. */
  listen(host: string, port: number): Promise<HttpAddress>
  /** No new connections; requests under way are answered, then cut off after `closeTimeoutMs`. May be called twice. */
  close(): Promise<void>
}

type Handler = (exchange: Exchange) => void | Promise<void>

interface Route {
  readonly methods: readonly string[]
  /** What is refused to web pages of others: data to read, or writes; probes are open. `page`: to read as `host`, and what changes something is for this server's own page. */
  readonly guard: 'host' | 'origin' | 'page' | 'none'
  /** Which dialect errors are told in. */
  readonly dialect: Dialect | null
  readonly handle: Handler
}

const READ = ['GET', 'HEAD'] as const
const SILENCES = '/api/v1/silences'

/** The page runs its own script and style and talks to this server, and nothing else. */
const ASSET_HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cache-Control': 'no-cache',
} as const

const API_HEADERS = {
  'X-Content-Type-Options': 'nosniff',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cache-Control': 'no-store',
} as const

export function createHttpServer(options: HttpServerOptions): HttpServer {
  const limits = { ...HTTP_LIMITS, ...options.limits }
  const counters = options.counters ?? new ThreadMetrics(createMetricsBlock())
  const defect = options.defect ?? rethrow
  const guard = new HostGuard(options.hostNames ?? [])
  const live =
    options.live === undefined
      ? null
      : new LiveHub({
          source: options.live,
          clock: options.clock ?? systemClock,
          counters,
          headers: API_HEADERS,
          limits: options.liveLimits ?? {},
          defect,
        })
  const routes = routeTable(options, live, {
    ingest: options.ingest,
    counters,
    limits,
    inFlight: new InFlight(limits.inFlightBytesMax),
    clock: options.clock ?? systemClock,
    defect,
  })
  const server = createServer({
    maxHeaderSize: limits.headerBytesMax,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    connectionsCheckingInterval: TIMEOUT_CHECK_MS,
    noDelay: true,
  })
  let closing: Promise<void> | null = null
  server.maxConnections = limits.connectionsMax
  server.on('request', (req, res) => dispatch(req, res, false))
  server.on('checkContinue', (req, res) => dispatch(req, res, true))
  server.on('clientError', answerGarbage)

  function dispatch(req: IncomingMessage, res: ServerResponse, expectsContinue: boolean): void {
    const url = req.url ?? '/'
    const mark = url.indexOf('?')
    const path = mark < 0 ? url : url.slice(0, mark)
    const exchange: Exchange = { req, res, path, query: mark < 0 ? '' : url.slice(mark + 1), expectsContinue }
    // A client that goes away while it is answered is no error of ours.
    res.on('error', ignore)
    res.on('finish', () => {
      counters.add(HTTP_REQUESTS, 1, 0, classOf(res.statusCode))
      if (closing !== null) setImmediate(() => server.closeIdleConnections())
    })
    const route = routes.get(path)
    const refusal = route === undefined ? unknownPath(path, routes.keys()) : refuse(route, req, guard)
    if (refusal !== null) {
      if (route?.guard === 'origin' && refusal.status === 403) countRefused(counters, 'origin')
      tell(exchange, refusal, route?.dialect ?? null)
      return
    }
    run(exchange, route!)
  }

  function run(exchange: Exchange, route: Route): void {
    try {
      const answered = route.handle(exchange)
      if (answered !== undefined) answered.catch((error: unknown) => fail(exchange, error, route.dialect))
    } catch (error) {
      fail(exchange, error, route.dialect)
    }
  }

  function fail(exchange: Exchange, error: unknown, dialect: Dialect | null): void {
    const answer = answerOf(error)
    tell(exchange, answer ?? internalError(), dialect)
    if (answer === null) defect(error)
  }

  return {
    listen: (host, port) => {
      guard.allow(host)
      return listen(server, host, port)
    },
    close: () => {
      live?.close()
      closing ??= close(server, limits.closeTimeoutMs)
      return closing
    },
  }
}

function routeTable(
  options: HttpServerOptions,
  live: LiveHub | null,
  context: WriteContext,
): ReadonlyMap<string, Route> {
  const { queries, metrics, readiness, version, assets = [] } = options
  const routes = new Map<string, Route>()
  const add = (
    path: string,
    methods: readonly string[],
    guard: Route['guard'],
    handle: Handler,
    dialect: Dialect | null = null,
  ) => routes.set(path, { methods, guard, dialect, handle })

  add('/write', ['POST'], 'origin', (exchange) => handleWrite(context, 'v1', exchange), 'v1')
  add('/api/v2/write', ['POST'], 'origin', (exchange) => handleWrite(context, 'v2', exchange), 'v2')
  add('/api/v1/producers', ['POST'], 'origin', (exchange) => {
    return handleProducers(options.ingest, exchange, API_HEADERS)
  })
  add('/ping', READ, 'none', handlePing)
  add('/health', READ, 'none', (exchange) => handleHealth(exchange, readiness(), version))
  add('/healthz', READ, 'none', handleHealthz)
  add('/readyz', READ, 'none', (exchange) => handleReadyz(exchange, readiness()))
  add('/metrics', READ, 'none', async ({ res }) => {
    const { contentType, body } = await metrics()
    send(res, 200, contentType, body)
  })
  for (const [path, question] of Object.entries(API)) {
    add(path, READ, 'host', async ({ res, query }) => {
      sendJson(res, 200, await askApi(question, queries, query, context.clock), API_HEADERS)
    })
  }
  const { demo, feedback, silences } = options
  if (feedback !== undefined) {
    add('/api/v1/feedback', [...READ, 'POST'], 'page', (exchange) => {
      return handleFeedback(feedback, exchange, API_HEADERS, context.clock)
    })
  }
  const readSilences = routes.get(SILENCES)
  if (silences !== undefined && readSilences !== undefined) {
    add(SILENCES, [...READ, 'POST', 'DELETE'], 'page', (exchange) =>
      isRead(exchange.req) ? readSilences.handle(exchange) : handleSilences(silences, exchange, API_HEADERS),
    )
  }
  if (demo !== undefined) {
    add('/api/v1/demo/disturb', ['POST'], 'page', (exchange) => handleDisturb(demo, exchange, API_HEADERS))
  }
  if (live !== null) {
    add('/api/v1/live', ['GET'], 'host', ({ req, res }) => {
      const refusal = refuseOtherSites(req)
      if (refusal !== null) {
        sendJson(res, refusal.status, errorBody(refusal), API_HEADERS)
        return
      }
      const lastEventId = req.headers['last-event-id']
      live.attach(res, typeof lastEventId === 'string' ? lastEventId : undefined)
    })
  }
  for (const { path, contentType, body } of assets) {
    add(path, READ, 'host', ({ res }) => send(res, 200, contentType, body, ASSET_HEADERS))
  }
  return routes
}

function refuse(route: Route, req: IncomingMessage, guard: HostGuard): ErrorAnswer | null {
  const { methods } = route
  if (!methods.includes(req.method ?? '')) {
    const allow = methods.join(', ')
    return errorAnswer(405, 'INPUT_INVALID', `${req.method} is not answered here. Use ${allow}.`, {
      headers: { Allow: allow },
    })
  }
  if (route.guard === 'host') return guard.refuseHost(req.headers.host)
  if (route.guard === 'page') {
    return guard.refuseHost(req.headers.host) ?? (isRead(req) ? null : refuseOtherSites(req))
  }
  return route.guard === 'origin' ? guard.refuseOrigin(req.headers.origin) : null
}

function isRead({ method }: IncomingMessage): boolean {
  return READ.some((one) => one === method)
}

function unknownPath(path: string, known: Iterable<string>): ErrorAnswer {
  return errorAnswer(
    404,
    'INPUT_INVALID',
    `there is nothing at ${path.slice(0, 200)}. ${knownRemedy(path, known)}`,
  )
}

function tell(exchange: Exchange, answer: ErrorAnswer, dialect: Dialect | null): void {
  if (dialect === null) {
    const body = `${JSON.stringify(errorBody(answer))}\n`
    sendUnread(exchange, answer.status, body, { ...API_HEADERS, ...answer.headers })
    return
  }
  const { status, body, headers } = writeError(dialect, answer)
  sendUnread(exchange, status, body, headers)
}

function internalError(): ErrorAnswer {
  return errorAnswer(500, 'WORKER_FAILED', 'an error in the server; its log tells more.')
}

function classOf(status: number): (typeof HTTP_REQUESTS.values)[number] {
  if (status < 300) return status < 200 ? '1xx' : '2xx'
  if (status < 400) return '3xx'
  return status < 500 ? '4xx' : '5xx'
}

/** What was not HTTP, was too long, or took too long. Nothing is known but the socket. */
function answerGarbage(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const status =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? '431 Request Header Fields Too Large'
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? '408 Request Timeout'
        : '400 Bad Request'
  const body = `${JSON.stringify({ error: status.slice(4), code: 'INPUT_INVALID', faults: [] })}\n`
  const head = `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`
  socket.end(head + body)
}

function listen(server: Server, host: string, port: number): Promise<HttpAddress> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void => reject(listenError(error, host, port))
    server.once('error', failed)
    server.listen({ host, port }, () => {
      server.off('error', failed)
      // Later ones (too many open files on accept) cost the connection at hand only.
      server.on('error', ignore)
      const address = server.address()
      const bound = typeof address === 'object' && address !== null ? address.port : port
      const shown = host.includes(':') ? `[${host}]` : host
      resolve({ host, port: bound, url: `http://${shown}:${bound}` })
    })
  })
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): MillraceError {
  if (error.code === 'EADDRINUSE') {
    const holder = portHolder(port)
    const who = holder === null ? 'in use' : `held by process ${holder.pid} (${holder.command})`
    const whom = holder === null ? 'the process that holds it' : 'it'
    return new MillraceError(
      'PORT_IN_USE',
      `port ${port} on ${host} is ${who}. Stop ${whom}, or choose another with --port.`,
      { cause: error },
    )
  }
  if (error.code === 'EACCES') {
    return new MillraceError(
      'PORT_IN_USE',
      `port ${port} on ${host} may not be opened by this user. Choose one above 1023 with --port.`,
      { cause: error },
    )
  }
  return new MillraceError(
    'HOST_REFUSED',
    `cannot listen on ${host}, port ${port}: ${error.message}. Give an address of this machine with --host.`,
    { cause: error },
  )
}

function close(server: Server, timeoutMs: number): Promise<void> {
  if (!server.listening) return Promise.resolve()
  return new Promise((resolve) => {
    const cut = setTimeout(() => server.closeAllConnections(), timeoutMs)
    server.close(() => {
      clearTimeout(cut)
      resolve()
    })
    server.closeIdleConnections()
  })
}

function ignore(): void {}

function rethrow(error: unknown): void {
  setImmediate(() => {
    throw error
  })
}
