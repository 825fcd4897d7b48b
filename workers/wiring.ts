/**
 * What a thread is given when it starts: shared memory, ports and plain data. Built by node.ts, read by the entries.
 * Everything here crosses postMessage, so it holds no class and no function.
 */
import type { MessagePort } from 'node:worker_threads'
import type { Acknowledgement } from '../engine/broker/log-appender.ts'
import type { BoardBuffers, BoardPipeline, BoardTopic } from '../engine/broker/node-board.ts'
import type { DeadLetter } from '../engine/contract/dead-letter.ts'
import type { WireError } from '../engine/contract/errors.ts'
import type { Silence, SilenceSpec } from '../engine/contract/silences.ts'
import type { DedupeOptions } from '../engine/store/dedupe/dedupe.ts'

export interface SharedWiring {
  readonly dir: string
  readonly fence: number
  readonly board: BoardBuffers
  readonly topics: readonly BoardTopic[]
  readonly pipelines: readonly BoardPipeline[]
  /** This thread's own row of counters. */
  readonly metrics: SharedArrayBuffer
}

export interface LogWriterWiring extends SharedWiring {
  /** One ring an ingest thread, drained in this order. */
  readonly ingestRings: readonly SharedArrayBuffer[]
  /** Rung when an ingest ring has room again. */
  readonly ingestRoomBells: readonly SharedArrayBuffer[]
  readonly bell: SharedArrayBuffer
  readonly shardRings: readonly SharedArrayBuffer[]
  readonly shardBells: readonly SharedArrayBuffer[]
  readonly port: MessagePort
  /** To and from the supervisor. */
  readonly control: MessagePort
  readonly seriesLimit: number
  readonly dedupe: DedupeOptions
  readonly retentionAgeMs: number
  readonly retentionBytes: number
  /** Last known sign of life before this start; null: a new store. */
  readonly downFromMs: number | null
}

export interface ShardWiring extends SharedWiring {
  readonly shard: number
  readonly shardCount: number
  readonly ring: SharedArrayBuffer
  readonly bell: SharedArrayBuffer
  readonly commitRing: SharedArrayBuffer
  readonly commitRoomBell: SharedArrayBuffer
  readonly committerBell: SharedArrayBuffer
  /** engine/broker/shard-activity.ts */
  readonly activity: SharedArrayBuffer
}

export interface CommitterWiring extends SharedWiring {
  /** One ring a shard, drained in this order. */
  readonly rings: readonly SharedArrayBuffer[]
  readonly roomBells: readonly SharedArrayBuffer[]
  readonly bell: SharedArrayBuffer
  readonly shardBells: readonly SharedArrayBuffer[]
  /** To and from the sink thread. */
  readonly port: MessagePort
  /** To and from the supervisor. */
  readonly control: MessagePort
  readonly commitMs: number
  readonly checkpointMs: number
  readonly retentionAgeMs: number
  /** Of dead letters. */
  readonly retentionBytes: number
}

export interface SinkWiring extends SharedWiring {
  /** To and from the committer. */
  readonly port: MessagePort
  readonly committerBell: SharedArrayBuffer
  /** engine/broker/shard-activity.ts: a thread that moves is one whose event loop turns. */
  readonly activity: SharedArrayBuffer
  /** To and from the main thread. */
  readonly control: MessagePort
}

/** Supervisor → log writer: the shard has a new ring from here on. */
export interface LogWriterControl {
  readonly request: number
  readonly shard: number
  readonly ring: SharedArrayBuffer
}

/** Supervisor → committer. */
export type CommitterControl =
  | {
      readonly type: 'ring'
      readonly request: number
      readonly shard: number
      /** The successor's; null: there is none. */
      readonly ring: SharedArrayBuffer | null
    }
  | {
      readonly type: 'dead-letter'
      readonly request: number
      readonly pipelineId: number
      readonly letter: DeadLetter
    }
  | {
      /** The sink thread has a successor, which speaks through this port. */
      readonly type: 'sinks'
      readonly request: number
      readonly port: MessagePort
    }
  | ({ readonly type: 'silence'; readonly request: number } & SilenceChange)

/** A silence is made, or ends before its time. */
export type SilenceChange = { readonly spec: SilenceSpec } | { readonly end: number }

/** Log writer, committer → supervisor. */
export interface ControlAnswer {
  readonly request: number
  /** Why it was not done; null: it is, and durable where it is stored. */
  readonly refusal: string | null
  /** As it is stored: what was made or ended. */
  readonly silence?: Silence
}

/** Log writer → main: one a transaction. */
export interface AckMessage {
  readonly acks: readonly Acknowledgement[]
}

/** Committer → sinks. */
export interface CommittedMessage {
  readonly committed: true
  /** Sink progress that is durable now. */
  readonly remembered: readonly number[]
}

/** Sinks → committer. */
export interface RememberMessage {
  readonly request: number
  readonly pipelineId: number
  readonly sink: string
  readonly json: string
  /** Lowest seq still wanted, by partition. */
  readonly wanted: Readonly<Record<string, number>>
}

/** Sinks ↔ main. */
export type SinkControl = { readonly type: 'stop' } | { readonly type: 'drain'; readonly request: number }
export type SinkReport =
  | { readonly type: 'drained'; readonly request: number }
  | { readonly type: 'warning'; readonly error: WireError }
  /** Its last words; then its thread ends. */
  | { readonly type: 'failed'; readonly error: WireError }
