/**
 * A server over a real socket, with an ingest that keeps what it is given: lines that start with `bad` are malformed,
 * with `future` beyond the guard, with `new` of a series beyond the limit, `crash` is a programmer's error.
 */
import { request as httpRequest, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http'
import { connect } from 'node:net'
import type { RequestIdentity } from '../../engine/contract/idempotency.ts'
import type {
  Ingest,
  IngestRequest,
  LinePrecision,
  OnceResult,
  OpenedProducer,
  Refusal,
} from '../../engine/contract/ingest.ts'
import { LINE_FAULTS_KEPT_MAX, type LineFault } from '../../engine/contract/plugins.ts'
import type { Queries } from '../../engine/contract/queries.ts'
import { createHttpServer, type HttpServer, type HttpServerOptions } from '../../engine/http/server.ts'
import { createMetricsBlock, ThreadMetrics } from '../../engine/metrics/thread-metrics.ts'

export interface Stored {
  readonly topic: string
  readonly precision: LinePrecision
  readonly text: string
}

export class FakeIngest implements Ingest {
  readonly stored: Stored[] = []
  begun = 0
  aborted = 0
  durable = true
  refusal: Refusal | null = null
  readonly identities: RequestIdentity[] = []
  /** Producers asked for. */
  readonly names: (string | null)[] = []
  /** What is told of a request with an identity. */
  once: (identity: RequestIdentity | null) => OnceResult | null = () => null
  /** What `finish` waits for, or throws. */
  beforeFinish: () => Promise<void> = async () => {}

  admission(topic: string): Refusal | null {
    if (topic === 'nowhere') {
      return { status: 404, problem: 'there is no topic "nowhere"', remedy: 'Known: metrics.' }
    }
    return this.refusal
  }

  async openProducer(name: string | null): Promise<OpenedProducer> {
    this.names.push(name)
    const metrics = { lastSequence: 41, nextSequence: 42, storedAt: 'metrics/3:1042' }
    return { producerId: 7, producerEpoch: 2, topics: { metrics } }
  }

  begin(
    topic: string,
    options: { readonly precision: LinePrecision; readonly identity: RequestIdentity | null },
  ): IngestRequest {
    const { precision, identity } = options
    this.begun++
    const chunks: Buffer[] = []
    let over = false
    const text = () => Buffer.concat(chunks).toString()
    return {
      write: (chunk) => {
        if (Buffer.from(chunk).includes('crash')) throw new TypeError('a defect')
        chunks.push(Buffer.from(chunk))
      },
      finish: async () => {
        await this.beforeFinish()
        over = true
        this.stored.push({ topic, precision, text: text() })
        if (identity !== null) this.identities.push(identity)
        return { ...report(text()), durable: this.durable, once: this.once(identity) }
      },
      abort: () => {
        if (!over) this.aborted++
        over = true
      },
      get sampleCount() {
        return text().split('\n').length
      },
    }
  }
}

function report(text: string) {
  const lines = text.split('\n').filter((line) => line !== '')
  const faults: LineFault[] = []
  let refused = 0
  for (const [index, line] of lines.entries()) {
    if (line.startsWith('bad')) faults.push({ line: index + 1, problem: 'missing fields', text: line })
    if (line.startsWith('future')) faults.push({ line: index + 1, problem: 'is in the future', text: line })
    if (line.startsWith('new')) refused++
  }
  return {
    report: {
      lines: lines.length,
      samples: lines.length - faults.length,
      stringFields: 0,
      futureSamples: lines.filter((line) => line.startsWith('future')).length,
      faultCount: faults.length,
      faults: faults.slice(0, LINE_FAULTS_KEPT_MAX),
    },
    refusedSeries: refused === 0 ? null : { samples: refused, examples: ['new{a="b"}'], limit: 10 },
  }
}

export const NO_QUERIES: Queries = {
  explain: async () => [],
  results: async () => ({ rows: [], cursor: null }),
  alerts: async () => [],
  alertHistory: async () => ({ rows: [], cursor: null }),
  incidents: async () => ({ rows: [], isWhole: true }),
  silences: async () => [],
  late: async () => ({ rows: [], cursor: null }),
  deadLetters: async () => [],
  pipelines: async () => [],
  status: async () => ({
    version: '0.1.0',
    startedMs: 0,
    nowMs: 1,
    uptimeSeconds: 0,
    dataDirectory: '/data',
    threads: [],
    disk: { freeBytes: null, reserveBytes: 0, isLow: false },
    logBytes: 0,
    stateBytes: 0,
    topics: [],
  }),
}

export interface Running {
  readonly ingest: FakeIngest
  readonly server: HttpServer
  readonly port: number
  /** The main thread's cells, to read counters from. */
  readonly cells: Float64Array
  readonly defects: unknown[]
}

const running: HttpServer[] = []

export async function start(options: Partial<HttpServerOptions> = {}): Promise<Running> {
  const ingest = new FakeIngest()
  const block = createMetricsBlock()
  const defects: unknown[] = []
  const server = createHttpServer({
    ingest,
    queries: NO_QUERIES,
    metrics: async () => ({ contentType: 'text/plain; version=0.0.4', body: 'millrace_up 1\n' }),
    readiness: () => ({ ready: true, reasons: [] }),
    version: '0.1.0',
    counters: new ThreadMetrics(block),
    defect: (error) => defects.push(error),
    ...options,
  })
  running.push(server)
  const { port } = await server.listen('127.0.0.1', 0)
  return { ingest, server, port, cells: new Float64Array(block), defects }
}

export async function stopAll(): Promise<void> {
  await Promise.all(running.splice(0).map((server) => server.close()))
}

export interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

export function send(
  port: number,
  method: string,
  path: string,
  body?: string | Uint8Array,
  headers: OutgoingHttpHeaders = {},
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const req = httpRequest({ port, host: '127.0.0.1', method, path, headers, agent: false }, (res) => {
      const chunks: Buffer[] = []
      res.on('data', (chunk: Buffer) => chunks.push(chunk))
      res.on('end', () =>
        resolve({ status: res.statusCode!, headers: res.headers, text: Buffer.concat(chunks).toString() }),
      )
    })
    req.on('error', reject)
    req.end(body)
  })
}

/** Bytes as they are, on a socket of their own; resolves with all that came back when the server closed it. */
export function sendRaw(port: number, text: string, until?: (received: string) => boolean): Promise<string> {
  return new Promise((resolve) => {
    let received = ''
    const socket = connect(port, '127.0.0.1', () => socket.write(text))
    socket.on('data', (chunk) => {
      received += chunk.toString()
      if (until?.(received)) socket.destroy()
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve(received))
  })
}

export async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 10))
  if (!condition()) throw new Error('it did not happen within 5 s')
}
