/**
 * Reads one body chunk by chunk into a taker, unzipping on the way, and charges its bytes against the limits as they
 * come: never more than a chunk is held here. Exactly one of `ended`, `refused`, `broken` and `failed` is called, once,
 * and `take` never after it.
 */
import type { IncomingMessage } from 'node:http'
import { createGunzip, type Gunzip } from 'node:zlib'
import { type ErrorAnswer, errorAnswer } from './exchange.ts'
import { type HttpLimits, RETRY_AFTER_SECONDS } from './limits.ts'

const GUNZIP_CHUNK_BYTES = 64 * 1024

export interface Taker {
  take(chunk: Uint8Array): void
  ended(): void
  refused(answer: ErrorAnswer): void
  /** The client went away. */
  broken(): void
  /** `take` threw. */
  failed(error: unknown): void
}

/** Bytes of all bodies that are being read or wait to be durable. */
export class InFlight {
  readonly bytesMax: number
  bytes = 0

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax
  }
}

export type Encoding = 'identity' | 'gzip'

/** Null: an encoding we do not read. */
export function encodingOf(req: IncomingMessage): Encoding | null {
  const written = req.headers['content-encoding']
  if (written === undefined || written === '') return 'identity'
  const name = written.trim().toLowerCase()
  if (name === 'identity') return 'identity'
  return name === 'gzip' || name === 'x-gzip' ? 'gzip' : null
}

export class BodyIntake {
  readonly #req: IncomingMessage
  readonly #taker: Taker
  readonly #limits: HttpLimits
  readonly #inFlight: InFlight
  #gunzip: Gunzip | null = null
  #wireBytes = 0
  #bytes = 0
  #charged = 0
  #over = false

  constructor(req: IncomingMessage, taker: Taker, limits: HttpLimits, inFlight: InFlight) {
    this.#req = req
    this.#taker = taker
    this.#limits = limits
    this.#inFlight = inFlight
  }

  /** Bytes after decompression. */
  get bytes(): number {
    return this.#bytes
  }

  /** What can be refused from the head alone; otherwise the announced length is charged. */
  admit(): ErrorAnswer | null {
    const announced = Number(this.#req.headers['content-length'] ?? 0)
    if (announced > this.#limits.bodyBytesMax) return this.#tooLarge()
    return this.#charge(announced)
  }

  start(encoding: Encoding): void {
    const req = this.#req
    // `close` without `end` is a client that went away; node reports the same as an error too.
    req.on('error', () => this.#broken())
    req.on('close', () => this.#broken())
    if (encoding === 'gzip') this.#startGunzip()
    else {
      req.on('data', (chunk: Buffer) => this.#take(chunk))
      req.on('end', () => this.#ended())
    }
  }

  /** Gives back what was charged: after the answer. May be called twice. */
  release(): void {
    this.#inFlight.bytes -= this.#charged
    this.#charged = 0
  }

  #startGunzip(): void {
    const req = this.#req
    const gunzip = createGunzip({ chunkSize: GUNZIP_CHUNK_BYTES })
    this.#gunzip = gunzip
    gunzip.on('data', (chunk: Buffer) => this.#take(chunk))
    gunzip.on('end', () => this.#ended())
    gunzip.on('error', (error: Error) => this.#refuse(corrupt(error)))
    gunzip.on('drain', () => req.resume())
    req.on('data', (chunk: Buffer) => {
      this.#wireBytes += chunk.length
      if (this.#over) return
      if (this.#wireBytes > this.#limits.bodyBytesMax) this.#refuse(this.#tooLarge())
      else if (!gunzip.write(chunk)) req.pause()
    })
    req.on('end', () => {
      if (this.#over) return
      if (this.#wireBytes === 0) this.#ended()
      else gunzip.end()
    })
  }

  #take(chunk: Buffer): void {
    if (this.#over) return
    this.#bytes += chunk.length
    const refusal =
      this.#bytes > this.#limits.bodyBytesMax ? this.#tooLarge() : this.#charge(this.#bytes - this.#charged)
    if (refusal !== null) {
      this.#refuse(refusal)
      return
    }
    try {
      this.#taker.take(chunk)
    } catch (error) {
      this.#over = true
      this.#discard()
      this.#taker.failed(error)
    }
  }

  #charge(more: number): ErrorAnswer | null {
    if (!(more > 0)) return null
    const { bytes, bytesMax } = this.#inFlight
    if (bytes + more > bytesMax) {
      return errorAnswer(
        429,
        'LOG_FULL',
        `${bytes} bytes of writes are under way and ${more} more would pass the limit of ${bytesMax}. Send again later, or over fewer connections.`,
        { headers: { 'Retry-After': RETRY_AFTER_SECONDS } },
      )
    }
    this.#inFlight.bytes += more
    this.#charged += more
    return null
  }

  #tooLarge(): ErrorAnswer {
    return errorAnswer(
      413,
      'BODY_TOO_LARGE',
      `the body is larger than the limit of ${this.#limits.bodyBytesMax} bytes (after decompression). Send smaller batches.`,
    )
  }

  #ended(): void {
    if (this.#over) return
    this.#over = true
    this.#taker.ended()
  }

  #refuse(answer: ErrorAnswer): void {
    if (this.#over) return
    this.#over = true
    this.#discard()
    this.#taker.refused(answer)
  }

  #broken(): void {
    if (this.#over) return
    // A gzip body may be complete on the wire while the rest of it is still being unzipped.
    if (this.#gunzip !== null && this.#req.complete) return
    this.#over = true
    this.#discard()
    this.#taker.broken()
  }

  /** A bomb is not unzipped further than the limit. */
  #discard(): void {
    this.#gunzip?.removeAllListeners('drain')
    this.#gunzip?.destroy()
    this.#req.resume()
  }
}

function corrupt(error: Error): ErrorAnswer {
  return errorAnswer(
    400,
    'INPUT_INVALID',
    `the body says Content-Encoding: gzip and cannot be unzipped: ${error.message}. Nothing of it is stored.`,
  )
}
