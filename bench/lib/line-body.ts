/**
 * Line protocol requests for load generators: built once, between sends only their timestamps are rewritten, so that a
 * generator costs as little as it can on the machine it shares with what it measures.
 */

export interface LineBodyOptions {
  readonly port: number
  readonly path: string
  readonly linesPerBody: number
  readonly series: number
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
export class LineBody {
  readonly bytes: Buffer
  readonly #bodyAt: number
  readonly #options: LineBodyOptions
  readonly #firstLine: number

  /** `firstLine`: number of the body's first line in the endless scrape order. */
  constructor(options: LineBodyOptions, firstLine: number) {
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
