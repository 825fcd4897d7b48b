/**
 * Operating errors: a closed list of codes, the value received and the remedy. They cross threads in wire form, because
 * postMessage keeps neither class nor extra fields. Programmer errors are assertions (util/assert.ts), bad data is a
 * dead letter or a line error; neither uses this class.
 */
export const ERROR_CODES = [
  'CONFIG_INVALID', // flags, environment or config file
  'PIPELINE_INVALID', // a pipeline module or its plan
  'PIPELINE_CHANGED', // a plan over the state of another plan
  'TOPIC_MISMATCH', // a topic declared differently from how it was made
  'INPUT_INVALID', // a file, stream or request that cannot be read as what it claims to be
  'BODY_TOO_LARGE',
  'SERIES_LIMIT',
  'LOG_FULL', // producers must wait: retention or lag bound reached
  'KEY_REUSED', // an idempotency key or sequence that was stored with another body
  'PRODUCER_FENCED', // a newer epoch of the producer was handed out
  'PRODUCER_UNKNOWN', // an id or epoch that was never handed out, or was forgotten
  'SEQUENCE_GAP', // a producer's sequence that does not follow the last one
  'OFFSET_GONE', // retention has deleted it
  'STORE_LOCKED', // another live process owns the directory
  'STORE_FENCED', // a successor took the directory over
  'STORE_DAMAGED',
  'STORE_VERSION', // written by another format version
  'STORE_MISMATCH', // log and state do not belong together
  'STORE_IO', // the disk failed or is full
  'SINK_FAILED',
  'SOURCE_FAILED',
  'WORKER_FAILED',
  'PORT_IN_USE',
  'HOST_REFUSED',
  'UNAVAILABLE', // starting, stopping
] as const

export type ErrorCode = (typeof ERROR_CODES)[number]

export interface WireError {
  readonly millrace: true
  readonly code: ErrorCode
  readonly message: string
  readonly retryable: boolean
  readonly faults: readonly Fault[]
}

/** One thing wrong with what a person wrote: where, what was there, and what to write instead. */
export interface Fault {
  /** A path a person can follow: `checkout-latency.window.size`, `--port`, `MILLRACE_PORT`, `data.csv:17`. */
  readonly place: string
  /** What was found there; printed as JSON where it can be. */
  readonly value: unknown
  readonly problem: string
  readonly remedy: string
}

export interface MillraceErrorOptions {
  readonly retryable?: boolean
  readonly faults?: readonly Fault[]
  readonly cause?: unknown
}

export class MillraceError extends Error {
  override readonly name = 'MillraceError'
  readonly code: ErrorCode
  readonly retryable: boolean
  readonly faults: readonly Fault[]

  constructor(code: ErrorCode, message: string, options: MillraceErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retryable = options.retryable ?? false
    this.faults = options.faults ?? []
  }

  toWire(): WireError {
    return {
      millrace: true,
      code: this.code,
      message: this.message,
      retryable: this.retryable,
      faults: this.faults,
    }
  }

  static fromWire(wire: WireError): MillraceError {
    return new MillraceError(wire.code, wire.message, { retryable: wire.retryable, faults: wire.faults })
  }

  /** ONE error that names every fault, one line each. */
  static ofFaults(code: ErrorCode, what: string, faults: readonly Fault[]): MillraceError {
    const lines = faults.map((fault) => `  ${describeFault(fault)}`)
    const head = `${what}: ${faults.length} ${faults.length === 1 ? 'fault' : 'faults'}`
    return new MillraceError(code, [head, ...lines].join('\n'), { faults })
  }
}

export function describeFault(fault: Fault): string {
  return `${fault.place}: ${fault.problem} (got ${describeValue(fault.value)}). ${fault.remedy}`
}

const VALUE_TEXT_LENGTH_MAX = 80

export function describeValue(value: unknown): string {
  if (value === undefined) return 'nothing'
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch {
    // A cycle or a BigInt: its string form has to do.
  }
  text ??= String(value)
  return text.length > VALUE_TEXT_LENGTH_MAX ? `${text.slice(0, VALUE_TEXT_LENGTH_MAX)}…` : text
}
