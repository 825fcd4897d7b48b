/**
 * What the head of a write says so that a resend is stored once: `Idempotency-Key`, or the three headers of a producer.
 * Every fault is found, and all are told at once. Pure.
 */
import type { IncomingMessage } from 'node:http'
import type { Fault } from '../contract/errors.ts'
import {
  IDEMPOTENCY_KEY_LENGTH_MAX,
  PRODUCER_EPOCH_MAX,
  type RequestIdentity,
} from '../contract/idempotency.ts'

export const KEY_HEADER = 'Idempotency-Key'
export const PRODUCER_ID_HEADER = 'X-Millrace-Producer-Id'
export const PRODUCER_EPOCH_HEADER = 'X-Millrace-Producer-Epoch'
export const SEQUENCE_HEADER = 'X-Millrace-Sequence'

export type IdentityReading =
  | { readonly identity: RequestIdentity | null; readonly faults: null }
  | { readonly faults: readonly Fault[] }

const NONE: IdentityReading = { identity: null, faults: null }

export function readIdentity({ headers, headersDistinct }: IncomingMessage): IdentityReading {
  const key = headers['idempotency-key']
  const producerId = headers['x-millrace-producer-id']
  const epoch = headers['x-millrace-producer-epoch']
  const sequence = headers['x-millrace-sequence']
  const hasProducer = producerId !== undefined || epoch !== undefined || sequence !== undefined
  if (key === undefined && !hasProducer) return NONE
  const faults: Fault[] = []
  if (key !== undefined && hasProducer) {
    const remedy = `Send ${KEY_HEADER} alone, or the three X-Millrace headers of a producer without it.`
    faults.push({ place: KEY_HEADER, value: key, problem: 'comes with the headers of a producer', remedy })
    return { faults }
  }
  if (key !== undefined) {
    const text = String(key)
    const problem = keyProblem(text, headersDistinct['idempotency-key']?.length ?? 1)
    if (problem === null) return { identity: { kind: 'key', key: text }, faults: null }
    const remedy = `Send 1 to ${IDEMPOTENCY_KEY_LENGTH_MAX} printable ASCII characters, such as a UUID for each body.`
    return { faults: [{ place: KEY_HEADER, value: text, problem, remedy }] }
  }
  const identity = {
    kind: 'producer',
    producerId: whole(PRODUCER_ID_HEADER, producerId, 1, Number.MAX_SAFE_INTEGER, faults),
    producerEpoch: whole(PRODUCER_EPOCH_HEADER, epoch, 0, PRODUCER_EPOCH_MAX, faults),
    sequence: whole(SEQUENCE_HEADER, sequence, 0, Number.MAX_SAFE_INTEGER, faults),
  } as const
  return faults.length > 0 ? { faults } : { identity, faults: null }
}

function keyProblem(key: string, count: number): string | null {
  if (count > 1) return `is sent ${count} times`
  if (key === '') return 'is empty'
  if (key.length > IDEMPOTENCY_KEY_LENGTH_MAX) return `has ${key.length} characters`
  return /^[\x20-\x7e]+$/.test(key) ? null : 'holds characters that cannot be printed'
}

function whole(
  place: string,
  written: string | readonly string[] | undefined,
  min: number,
  max: number,
  faults: Fault[],
): number {
  const value = typeof written === 'string' && /^\d{1,16}$/.test(written) ? Number(written) : -1
  if (value >= min && value <= max) return value
  const problem = written === undefined ? 'is missing' : `is not a whole number from ${min} to ${max}`
  const remedy =
    place === SEQUENCE_HEADER
      ? 'Count the bodies for each topic from 0, one by one.'
      : 'Send what POST /api/v1/producers answered.'
  faults.push({ place, value: written, problem, remedy })
  return 0
}
