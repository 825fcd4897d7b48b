/**
 * What a write may carry so that sending it again stores it once: an idempotency key, or a producer's sequence number.
 * Shared by the HTTP door, the ingest thread, the log writer and the store; holds no logic.
 */

export const IDEMPOTENCY_KEY_LENGTH_MAX = 256
export const PRODUCER_NAME_LENGTH_MAX = 128
export const PRODUCER_EPOCH_MAX = 0x7fff_ffff

/** Keys and sequences belong to a topic: the same key in another topic is another key. */
export type RequestIdentity =
  | { readonly kind: 'key'; readonly key: string }
  | {
      readonly kind: 'producer'
      readonly producerId: number
      readonly producerEpoch: number
      readonly sequence: number
    }

/** 128 bits of a hash of topic and key, as four int32. */
export interface KeyHash {
  readonly a: number
  readonly b: number
  readonly c: number
  readonly d: number
}

/** Where the first stored sample of a request lies; its others follow, in this and in other partitions. */
export interface StoredPlace {
  readonly partition: number
  readonly offset: number
}

/** What is remembered of a request that was taken. */
export interface Receipt {
  /** CRC-32 of the body and how it is read, and its length: a body that differs shows. Both int32. */
  readonly fingerprint: number
  readonly bodyBytes: number
  /** Null: nothing of the request could be stored. */
  readonly storedAt: StoredPlace | null
  readonly samples: number
  /** Samples of series that the topic's series limit refused. */
  readonly refusedSamples: number
}

/** Why a request with an identity stored nothing, other than that it was stored before. */
export type OnceRefusal = 'reused' | 'keys_full' | 'unknown_producer' | 'fenced' | 'gap'

export interface OnceVerdict {
  readonly verdict: 'stored' | 'duplicate' | OnceRefusal
  /** `stored`, `duplicate`: null when nothing was stored, or when the sequence is too old for its place to be kept. */
  readonly storedAt: StoredPlace | null
  /** `duplicate`: as the first time; -1: too old to be known. */
  readonly samples: number
  readonly refusedSamples: number
  /** `gap`: the sequence that comes next. `fenced`: the producer's epoch now. `keys_full`: the limit. Otherwise 0. */
  readonly expected: number
}

/** The broker's answer to whoever asks to be a producer. */
export interface ProducerGrant {
  readonly producerId: number
  readonly producerEpoch: number
  /** Topics that the producer has written to: what was stored last, so that a restarted client knows where it stands. */
  readonly topics: readonly {
    readonly topicId: number
    readonly lastSequence: number
    readonly storedAt: StoredPlace | null
  }[]
}
