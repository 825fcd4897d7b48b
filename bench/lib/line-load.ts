/**
 * The load of `end-to-end` and of the comparison with other servers: line protocol bodies over keep-alive connections,
 * from a process of its own. Bodies are built once; between sends only their timestamps are rewritten, so that the
 * generator costs as little as it can on the machine it shares with what it measures. It reads answers, counts them by
 * status, and sends the next body of a connection when the last one was answered.
 */
import { connect, type Socket } from 'node:net'

export interface LoadOptions {
  readonly port: number
  readonly path: string
  readonly connections: number
  readonly linesPerBody: number
  readonly series: number
  /** Bodies to send, over all connections. */
  readonly bodies: number
  /** Event time of the first body's first scrape, epoch ms, and from scrape to scrape. */
  readonly startMs: number
  readonly stepMs: number
  readonly identity: LoadIdentity
}

/** What each body carries: nothing, a key of its own, or the next sequence of its connection's producer (epoch 0). */
export interface LoadIdentity {
  readonly kind: 'none' | 'key' | 'sequence'
  /** One a connection. */
  readonly producerIds: readonly number[]
  /** Number of the first body, so that no two loads use the same keys. */
  readonly first: number
}

export interface LoadReport {
  readonly seconds: number
  readonly lines: number
  /** Bodies by HTTP status. */
  readonly statuses: Readonly<Record<string, number>>
}

export const LINE_BYTES = 66
const TIMESTAMP_DIGITS = 13
const IDENTITY_DIGITS = 12
const IDENTITY_HEADERS: Readonly<Record<LoadIdentity['kind'], string>> = {
  none: '',
  key: `Idempotency-Key: load-${'0'.repeat(IDENTITY_DIGITS)}\r\n`,
  sequence:
    `X-Millrace-Producer-Epoch: 0\r\nX-Millrace-Producer-Id: ${'0'.repeat(IDENTITY_DIGITS)}\r\n` +
    `X-Millrace-Sequence: ${'0'.repeat(IDENTITY_DIGITS)}\r\n`,
}

/** One line of exactly LINE_BYTES: a series of 1,000s, a value with some decimals, a time in ms. */
function lineOf(series: number, value: number): string {
  const host = String(series).padStart(6, '0')
  const head = `cpu,host=web-${host},region=eu-west-1 busy=`
  const room = LINE_BYTES - head.length - TIMESTAMP_DIGITS - 2
  return `${head}${value.toFixed(room).slice(0, room)} ${'0'.repeat(TIMESTAMP_DIGITS)}\n`
}

function writeDigits(digits: Uint8Array, timeMs: number): void {
  const text = String(timeMs)
  for (let i = 0; i < TIMESTAMP_DIGITS; i++) digits[i] = text.charCodeAt(i)
}

/** Bytes of a whole request, its timestamps open. Scrapes follow each other: every series, then every series again. */
class Body {
  readonly bytes: Buffer
  readonly #bodyAt: number
  readonly #options: LoadOptions
  readonly #firstLine: number

  /** `firstLine`: number of the body's first line in the endless scrape order. */
  constructor(options: LoadOptions, firstLine: number) {
    const { path, linesPerBody, series, port } = options
    const lines: string[] = []
    for (let i = 0; i < linesPerBody; i++) {
      const index = (firstLine + i) % series
      lines.push(lineOf(index, 10 + ((firstLine + i * 7919) % 997) / 131))
    }
    const body = lines.join('')
    const head =
      `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: text/plain\r\n` +
      `Content-Length: ${body.length}\r\n${IDENTITY_HEADERS[options.identity.kind]}\r\n`
    this.bytes = Buffer.from(head + body, 'latin1')
    this.#bodyAt = head.length
    this.#options = options
    this.#firstLine = firstLine % series
  }

  /** Writes the times of the lines [firstLine, …) of the endless order; the phase within a scrape must be this body's. */
  stamp(firstLine: number): void {
    const { series, startMs, stepMs, linesPerBody } = this.#options
    const bytes = this.bytes
    const digits = new Uint8Array(TIMESTAMP_DIGITS)
    let at = this.#bodyAt + LINE_BYTES - TIMESTAMP_DIGITS - 1
    let scrape = Math.floor(firstLine / series)
    let left = series - (firstLine % series)
    writeDigits(digits, startMs + scrape * stepMs)
    for (let i = 0; i < linesPerBody; i++) {
      if (left === 0) {
        left = series
        writeDigits(digits, startMs + ++scrape * stepMs)
      }
      left--
      for (let digit = 0; digit < TIMESTAMP_DIGITS; digit++) bytes[at + digit] = digits[digit]!
      at += LINE_BYTES
    }
  }

  /** `sequence`: of a producer, or of all bodies for keys. */
  identify(producerId: number, sequence: number): void {
    const { kind } = this.#options.identity
    if (kind === 'none') return
    const at = this.#bodyAt - IDENTITY_DIGITS - 4
    this.bytes.write(String(sequence).padStart(IDENTITY_DIGITS, '0'), at, 'latin1')
    if (kind === 'key') return
    const producerAt = at - 'X-Millrace-Sequence: '.length - IDENTITY_DIGITS - 2
    this.bytes.write(String(producerId).padStart(IDENTITY_DIGITS, '0'), producerAt, 'latin1')
  }

  get phase(): number {
    return this.#firstLine
  }
}

export async function runLoad(options: LoadOptions): Promise<LoadReport> {
  const { connections, linesPerBody, series, bodies, port } = options
  const statuses: Record<string, number> = {}
  let next = 0
  // Bodies by phase: with linesPerBody a multiple of series, or the reverse, there are few.
  const spare = new Map<number, Body[]>()
  const take = (firstLine: number): Body => {
    const phase = firstLine % series
    return spare.get(phase)?.pop() ?? new Body(options, firstLine)
  }
  const startMs = performance.now()
  await Promise.all(
    Array.from({ length: connections }, async (_, connection) => {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true })
      await new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve)
        socket.once('error', reject)
      })
      const answers = new Answers(socket)
      const { kind, producerIds, first } = options.identity
      for (let sent = 0; next < bodies; sent++) {
        const number = next++
        const firstLine = number * linesPerBody
        const body = take(firstLine)
        body.stamp(firstLine)
        body.identify(producerIds[connection] ?? 0, kind === 'key' ? first + number : sent)
        const answer = answers.next()
        socket.write(body.bytes)
        const status = await answer
        statuses[status] = (statuses[status] ?? 0) + 1
        const kept = spare.get(body.phase)
        if (kept === undefined) spare.set(body.phase, [body])
        else kept.push(body)
      }
      socket.destroy()
    }),
  )
  return { seconds: (performance.now() - startMs) / 1000, lines: bodies * linesPerBody, statuses }
}

/** Answers of one connection, one at a time: enough of HTTP for answers with a Content-Length or without a body. */
class Answers {
  #text = ''
  #waiting: { resolve: (status: string) => void; reject: (error: Error) => void } | null = null

  constructor(socket: Socket) {
    socket.on('data', (chunk) => {
      this.#text += chunk.toString('latin1')
      this.#settle()
    })
    socket.on('error', (error) => this.#waiting?.reject(error))
    socket.on('close', () => this.#waiting?.reject(new Error('the server closed the connection')))
  }

  next(): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
    })
  }

  #settle(): void {
    const headEnd = this.#text.indexOf('\r\n\r\n')
    if (headEnd < 0) return
    const head = this.#text.slice(0, headEnd)
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0)
    if (this.#text.length < headEnd + 4 + length) return
    this.#text = this.#text.slice(headEnd + 4 + length)
    this.#waiting?.resolve(head.slice(9, 12))
  }
}

// Started as a process of its own: options in, report out, then it ends.
process.once('message', (options: LoadOptions) => {
  runLoad(options).then(
    (report) => {
      process.send?.(report)
      process.disconnect?.()
    },
    (error: unknown) => {
      process.stderr.write(`${String(error)}\n`)
      process.exit(1)
    },
  )
})
