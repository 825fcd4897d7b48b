/**
 * The door samples come in by, as the HTTP server sees it. The server decides nothing about samples, topics or limits:
 * it hands over bytes as they arrive and turns the answer into the protocol's own shape. All calls are on one thread.
 */
import type { RequestIdentity } from './idempotency.ts'
import type { DecodeReport } from './plugins.ts'

/** Unit of the timestamps of a line protocol body. */
export type LinePrecision = 'ns' | 'us' | 'ms' | 's' | 'm' | 'h'

/** Why a topic takes nothing now, in words for the one who sent. */
export interface Refusal {
  /** 404: no such topic; 429: the log is full or too far ahead of its readers; 503: starting, stopping, or no room on the disk. */
  readonly status: 404 | 429 | 503
  readonly retryAfterSeconds?: number
  readonly problem: string
  readonly remedy: string
}

export interface Ingest {
  /** Asked once a request, before any of its body is read; null: come in. Constant time. */
  admission(topic: string): Refusal | null
  /** Only after `admission` gave null. Ends with exactly one `finish` or `abort`. */
  begin(
    topic: string,
    options: { readonly precision: LinePrecision; readonly identity: RequestIdentity | null },
  ): IngestRequest
  /**
   * A new producer, or for a known name its next epoch. Durable when it resolves. Rejects with LOG_FULL: there are as
   * many as the node may know.
   */
  openProducer(name: string | null): Promise<OpenedProducer>
}

export interface OpenedProducer {
  readonly producerId: number
  readonly producerEpoch: number
  /** Topics it has written to. `storedAt`: where the last sequence is, as in OnceResult; null: it stored nothing. */
  readonly topics: Readonly<
    Record<
      string,
      { readonly lastSequence: number; readonly nextSequence: number; readonly storedAt: string | null }
    >
  >
}

/** One body. Nothing of it is stored before `finish`, all of its good lines are stored by it, in one transaction. */
export interface IngestRequest {
  /** Decoded bytes, cut anywhere, valid during the call only. Throws nothing for bad lines: those are reported. */
  write(chunk: Uint8Array): void
  /**
   * Resolves when the samples are durable (or accepted, where the topic says so). Rejects with a MillraceError when
   * nothing was stored: LOG_FULL, UNAVAILABLE, STORE_IO, …; of a request with an identity also KEY_REUSED,
   * PRODUCER_FENCED, PRODUCER_UNKNOWN, SEQUENCE_GAP.
   */
  finish(): Promise<IngestResult>
  /** The body broke off or was refused: nothing of it is stored. May be called twice, and after `write` threw. */
  abort(): void
  /** Samples decoded so far. */
  readonly sampleCount: number
}

export interface IngestResult {
  readonly report: DecodeReport
  /** Samples of series that the topic's series limit keeps out; the others are stored. */
  readonly refusedSeries: RefusedSeries | null
  /** False only where the topic was declared so: accepted in memory, not yet on disk. */
  readonly durable: boolean
  /** Of a request that carries a key or a sequence. */
  readonly once: OnceResult | null
}

export interface OnceResult {
  /** Stored by an earlier request with the same identity, and not again. */
  readonly isDuplicate: boolean
  readonly topic: string
  /** `topic/partition:offset` of the first sample stored, then or now; null: none was, or it is not known any more. */
  readonly storedAt: string | null
  /** Samples of the body that were beyond the future guard when it came first, and so are not stored. */
  readonly futureThen: number
}

export interface RefusedSeries {
  readonly samples: number
  /** A few of the series refused, as a person writes them: `name{label="value"}`. */
  readonly examples: readonly string[]
  /** The limit that refused them. */
  readonly limit: number
}
