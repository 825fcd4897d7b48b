/**
 * The door samples come in by, as the HTTP server sees it. The server decides nothing about samples, topics or limits:
 * it hands over bytes as they arrive and turns the answer into the protocol's own shape. All calls are on one thread.
 */
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
  begin(topic: string, options: { readonly precision: LinePrecision }): IngestRequest
}

/** One body. Nothing of it is stored before `finish`, all of its good lines are stored by it, in one transaction. */
export interface IngestRequest {
  /** Decoded bytes, cut anywhere, valid during the call only. Throws nothing for bad lines: those are reported. */
  write(chunk: Uint8Array): void
  /**
   * Resolves when the samples are durable (or accepted, where the topic says so). Rejects with a MillraceError when
   * nothing was stored: LOG_FULL, UNAVAILABLE, STORE_IO, …
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
}

export interface RefusedSeries {
  readonly samples: number
  /** A few of the series refused, as a person writes them: `name{label="value"}`. */
  readonly examples: readonly string[]
  /** The limit that refused them. */
  readonly limit: number
}
