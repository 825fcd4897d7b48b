/**
 * From what a request says of itself to what crosses the ring: a key becomes 128 bits of SHA-256 over topic and key, a
 * body its CRC-32 and length. The CRC is there for a client's mistakes (it finds every burst of up to 32 bits, and misses
 * one random other body of the same length in 4 billion), so it may cost little; the key's hash decides what is stored.
 */
import { hash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { KeyHash, RequestIdentity } from '../contract/idempotency.ts'
import { ONCE_KEY, ONCE_SEQUENCE, type OnceFrame } from './ingest-frames.ts'

export function keyHash(topic: string, key: string): KeyHash {
  // A topic's name holds no NUL, so no two pairs spell the same text.
  const digest = hash('sha256', `${topic}\0${key}`, 'buffer')
  return {
    a: digest.readInt32LE(0),
    b: digest.readInt32LE(4),
    c: digest.readInt32LE(8),
    d: digest.readInt32LE(12),
  }
}

export class BodyFingerprint {
  #crc: number
  #bytes = 0

  /** `reading`: what decides the body's meaning beside its bytes, such as the precision. */
  constructor(reading: string) {
    this.#crc = crc32(reading)
  }

  update(chunk: Uint8Array): void {
    this.#crc = crc32(chunk, this.#crc)
    this.#bytes += chunk.length
  }

  /** The frame that opens the request; after the last chunk. */
  frame(topic: string, identity: RequestIdentity): OnceFrame {
    const body = { fingerprint: this.#crc | 0, bodyBytes: this.#bytes }
    if (identity.kind === 'key') return { ...body, kind: ONCE_KEY, hash: keyHash(topic, identity.key) }
    const { producerId, producerEpoch, sequence } = identity
    return { ...body, kind: ONCE_SEQUENCE, producerId, producerEpoch, sequence }
  }
}
