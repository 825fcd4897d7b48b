/**
 * Decides whether a request that carries a key or a sequence is new, and remembers it with what became of it. Used by the
 * LogAppender, so that the decision, the samples and the memory of them are one transaction. It alone decides: requests
 * arrive here one after the other, so two copies in flight at once cannot both be new.
 */
import type { OnceVerdict, Receipt, StoredPlace } from '../contract/idempotency.ts'
import type { Dedupe } from '../store/dedupe/dedupe.ts'
import { ONCE_KEY, type OnceFrame } from './ingest-frames.ts'

const NOTHING = { storedAt: null, samples: 0, refusedSamples: 0, expected: 0 } as const
/** A sequence too old for its receipt to be kept. */
const OLD_DUPLICATE: OnceVerdict = { ...NOTHING, verdict: 'duplicate', samples: -1 }

export class OnceGate {
  readonly #dedupe: Dedupe

  constructor(dedupe: Dedupe) {
    this.#dedupe = dedupe
  }

  /** Null: the request is new, and is to be stored. */
  decide(topicId: number, once: OnceFrame, logMs: number): OnceVerdict | null {
    const { keys, producers } = this.#dedupe
    if (once.kind === ONCE_KEY) {
      keys.advance(logMs)
      const receipt = keys.find(once.hash)
      if (receipt !== null) return repeated(once, receipt)
      return keys.isFull ? { ...NOTHING, verdict: 'keys_full', expected: keys.count } : null
    }
    const known = producers.check(once.producerId, once.producerEpoch, topicId, once.sequence)
    switch (known.verdict) {
      case 'new':
        return null
      case 'duplicate':
        return known.receipt === null ? OLD_DUPLICATE : repeated(once, known.receipt)
      case 'gap':
        return { ...NOTHING, verdict: 'gap', expected: known.expected }
      case 'fenced':
        return { ...NOTHING, verdict: 'fenced', expected: known.epoch }
      case 'unknown_producer':
        return { ...NOTHING, verdict: 'unknown_producer' }
    }
  }

  /**
   * The request has been staged. A key of which nothing was stored stays free: sending it again changes nothing. A
   * sequence is used up even then, since the next one follows it.
   */
  remember(
    topicId: number,
    once: OnceFrame,
    storedAt: StoredPlace | null,
    stored: { readonly samples: number; readonly refusedSamples: number },
    logMs: number,
  ): OnceVerdict {
    const { fingerprint, bodyBytes } = once
    const { samples, refusedSamples } = stored
    const receipt: Receipt = { fingerprint, bodyBytes, storedAt, samples, refusedSamples }
    if (once.kind === ONCE_KEY) {
      if (storedAt !== null) this.#dedupe.keys.add(once.hash, receipt)
    } else this.#dedupe.producers.record(once.producerId, topicId, once.sequence, receipt, logMs)
    return { verdict: 'stored', storedAt, samples, refusedSamples, expected: 0 }
  }
}

function repeated(once: OnceFrame, receipt: Receipt): OnceVerdict {
  const { storedAt, samples, refusedSamples } = receipt
  if (receipt.fingerprint !== once.fingerprint || receipt.bodyBytes !== once.bodyBytes) {
    return { ...NOTHING, verdict: 'reused', storedAt }
  }
  return { verdict: 'duplicate', storedAt, samples, refusedSamples, expected: 0 }
}
