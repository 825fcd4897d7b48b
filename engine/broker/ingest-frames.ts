/**
 * What an ingest thread sends the log writer over its ring, in order:
 *
 *   DEFINE   names for the local series ids that later frames use
 *              0 i32 topicId   4 i32 firstLocalId   8 i32 keyCount   12 i32 0
 *             16 i32[keyCount] key lengths, then the keys' bytes, end to end
 *   SAMPLES  columns of one request; a request is one or more of these, the last marked
 *              0 f64 requestId  8 i32 topicId  12 i32 count  16 i32 last (0, 1)  20 i32 0
 *             24 f64[count] timestampMs, f64[count] value, i32[count] local series id
 *   ONCE     opens a request that carries an idempotency key or a producer's sequence; its SAMPLES frames follow, one
 *            of no samples if it has none
 *              0 f64 requestId  8 i32 topicId  12 i32 1: key, 2: sequence  16 i32 fingerprint  20 i32 body bytes
 *             24 key: i32[4] hash, i32[2] 0 · sequence: f64 producer id, f64 sequence, i32 producer epoch, i32 0
 *   PRODUCER somebody asks to be a producer
 *              0 f64 requestId  8 i32 name bytes, -1: none  12 i32 0  16 the name, UTF-8
 *   FEEDBACK somebody says something of alerts
 *              0 f64 requestId  8 i32 bytes  12 i32 0  16 JSON of a FeedbackRequest
 *   END      a bounded input ended: an END record for every partition of the topic
 *              0 f64 requestId  8 i32 topicId  12 i32 0
 *
 * Frames of one request follow each other without another request between them.
 */
import type { SampleBuilder } from '../batch/sample-builder.ts'
import type { FeedbackRequest } from '../contract/feedback.ts'
import type { KeyHash } from '../contract/idempotency.ts'
import type { RingProducer } from '../ring/spsc-ring.ts'
import { assert } from '../util/assert.ts'

export const FRAME_DEFINE = 1
export const FRAME_SAMPLES = 2
export const FRAME_END = 3
export const FRAME_ONCE = 4
export const FRAME_PRODUCER = 5
export const FRAME_FEEDBACK = 6

export const DEFINE_HEADER_BYTES = 16
export const SAMPLES_HEADER_BYTES = 24
export const END_BYTES = 16
export const ONCE_BYTES = 48
export const PRODUCER_HEADER_BYTES = 16
export const FEEDBACK_HEADER_BYTES = 16
/** What kind of identity an ONCE frame holds. */
export const ONCE_KEY = 1
export const ONCE_SEQUENCE = 2
export const FRAME_SAMPLES_MAX = 16_384
export const DEFINE_KEY_BYTES_MAX = 262_144

export function samplesFrameBytes(count: number): number {
  return SAMPLES_HEADER_BYTES + count * 20
}

/** The smallest ring that every frame fits, whatever its fill: frames are at most half of it. */
export const INGEST_RING_BYTES_MIN = 1 << 20

/** Pushes samples [from, to) of the builder as one frame; false: no room now. */
export function pushSamples(
  ring: RingProducer,
  requestId: number,
  topicId: number,
  builder: Pick<SampleBuilder, 'seriesIds' | 'timestampsMs' | 'values'>,
  from: number,
  to: number,
  last: boolean,
): boolean {
  const count = to - from
  const at = ring.claim(samplesFrameBytes(count))
  if (at < 0) return false
  ring.f64[at >> 3] = requestId
  ring.i32[(at + 8) >> 2] = topicId
  ring.i32[(at + 12) >> 2] = count
  ring.i32[(at + 16) >> 2] = last ? 1 : 0
  const timestampsAt = (at + SAMPLES_HEADER_BYTES) >> 3
  ring.f64.set(builder.timestampsMs.subarray(from, to), timestampsAt)
  ring.f64.set(builder.values.subarray(from, to), timestampsAt + count)
  ring.i32.set(builder.seriesIds.subarray(from, to), (timestampsAt + 2 * count) * 2)
  ring.commit(FRAME_SAMPLES)
  return true
}

/** Pushes as many of the keys from `fromKey` on as one frame takes; the number pushed, or 0: no room now. */
export function pushDefinitions(
  ring: RingProducer,
  topicId: number,
  firstLocalId: number,
  keys: readonly Uint8Array[],
  fromKey: number,
): number {
  let keyCount = 0
  let keyBytes = 0
  while (fromKey + keyCount < keys.length) {
    const length = keys[fromKey + keyCount]!.length + 4
    if (keyCount > 0 && keyBytes + length > DEFINE_KEY_BYTES_MAX) break
    keyBytes += length
    keyCount++
  }
  const at = ring.claim(DEFINE_HEADER_BYTES + keyBytes)
  if (at < 0) return 0
  const i32At = at >> 2
  ring.i32[i32At] = topicId
  ring.i32[i32At + 1] = firstLocalId + fromKey
  ring.i32[i32At + 2] = keyCount
  ring.i32[i32At + 3] = 0
  let keyAt = at + DEFINE_HEADER_BYTES + keyCount * 4
  for (let i = 0; i < keyCount; i++) {
    const key = keys[fromKey + i]!
    ring.i32[i32At + 4 + i] = key.length
    ring.u8.set(key, keyAt)
    keyAt += key.length
  }
  ring.commit(FRAME_DEFINE)
  return keyCount
}

/** A request's identity as it crosses the ring. */
export type OnceFrame = { readonly fingerprint: number; readonly bodyBytes: number } & (
  | { readonly kind: typeof ONCE_KEY; readonly hash: KeyHash }
  | {
      readonly kind: typeof ONCE_SEQUENCE
      readonly producerId: number
      readonly producerEpoch: number
      readonly sequence: number
    }
)

export function pushOnce(ring: RingProducer, requestId: number, topicId: number, once: OnceFrame): boolean {
  const at = ring.claim(ONCE_BYTES)
  if (at < 0) return false
  const i32At = at >> 2
  ring.f64[at >> 3] = requestId
  ring.i32[i32At + 2] = topicId
  ring.i32[i32At + 3] = once.kind
  ring.i32[i32At + 4] = once.fingerprint
  ring.i32[i32At + 5] = once.bodyBytes
  if (once.kind === ONCE_KEY) {
    const { a, b, c, d } = once.hash
    ring.i32.set([a, b, c, d, 0, 0], i32At + 6)
  } else {
    ring.f64[(at + 24) >> 3] = once.producerId
    ring.f64[(at + 32) >> 3] = once.sequence
    ring.i32[i32At + 10] = once.producerEpoch
    ring.i32[i32At + 11] = 0
  }
  ring.commit(FRAME_ONCE)
  return true
}

export function readOnce(
  i32: Int32Array,
  f64: Float64Array,
  position: number,
): { readonly requestId: number; readonly topicId: number; readonly once: OnceFrame } {
  const at = position >> 2
  const kind = i32[at + 3]!
  const body = { fingerprint: i32[at + 4]!, bodyBytes: i32[at + 5]! }
  const requestId = f64[position >> 3]!
  const topicId = i32[at + 2]!
  if (kind === ONCE_KEY) {
    const hash = { a: i32[at + 6]!, b: i32[at + 7]!, c: i32[at + 8]!, d: i32[at + 9]! }
    return { requestId, topicId, once: { ...body, kind, hash } }
  }
  assert(kind === ONCE_SEQUENCE, 'an identity of a known kind', kind)
  const producerId = f64[(position + 24) >> 3]!
  const sequence = f64[(position + 32) >> 3]!
  return { requestId, topicId, once: { ...body, kind, producerId, sequence, producerEpoch: i32[at + 10]! } }
}

export function producerFrameBytes(name: Uint8Array | null): number {
  return PRODUCER_HEADER_BYTES + (name?.length ?? 0)
}

export function pushProducer(ring: RingProducer, requestId: number, name: Uint8Array | null): boolean {
  const at = ring.claim(producerFrameBytes(name))
  if (at < 0) return false
  ring.f64[at >> 3] = requestId
  ring.i32[(at + 8) >> 2] = name?.length ?? -1
  ring.i32[(at + 12) >> 2] = 0
  if (name !== null) ring.u8.set(name, at + PRODUCER_HEADER_BYTES)
  ring.commit(FRAME_PRODUCER)
  return true
}

export function readProducer(
  i32: Int32Array,
  f64: Float64Array,
  u8: Uint8Array,
  position: number,
): { readonly requestId: number; readonly name: string | null } {
  const length = i32[(position + 8) >> 2]!
  const from = position + PRODUCER_HEADER_BYTES
  const name =
    length < 0 ? null : Buffer.from(Uint8Array.prototype.slice.call(u8, from, from + length)).toString()
  return { requestId: f64[position >> 3]!, name }
}

export function feedbackFrameBytes(json: Uint8Array): number {
  return FEEDBACK_HEADER_BYTES + json.length
}

export function pushFeedback(ring: RingProducer, requestId: number, json: Uint8Array): boolean {
  const at = ring.claim(feedbackFrameBytes(json))
  if (at < 0) return false
  ring.f64[at >> 3] = requestId
  ring.i32[(at + 8) >> 2] = json.length
  ring.i32[(at + 12) >> 2] = 0
  ring.u8.set(json, at + FEEDBACK_HEADER_BYTES)
  ring.commit(FRAME_FEEDBACK)
  return true
}

export function readFeedback(
  i32: Int32Array,
  f64: Float64Array,
  u8: Uint8Array,
  position: number,
): { readonly requestId: number; readonly request: FeedbackRequest } {
  const from = position + FEEDBACK_HEADER_BYTES
  const json = Buffer.from(Uint8Array.prototype.slice.call(u8, from, from + i32[(position + 8) >> 2]!))
  return { requestId: f64[position >> 3]!, request: JSON.parse(json.toString()) as FeedbackRequest }
}

export function pushEnd(ring: RingProducer, requestId: number, topicId: number): boolean {
  const at = ring.claim(END_BYTES)
  if (at < 0) return false
  ring.f64[at >> 3] = requestId
  ring.i32[(at + 8) >> 2] = topicId
  ring.i32[(at + 12) >> 2] = 0
  ring.commit(FRAME_END)
  return true
}

/** Calls `define(localId, key)` for each definition of a DEFINE frame. The keys are copies: shared memory must not be kept. */
export function readDefinitions(
  i32: Int32Array,
  u8: Uint8Array,
  position: number,
  define: (topicId: number, localId: number, key: Uint8Array) => void,
): void {
  const at = position >> 2
  const topicId = i32[at]!
  const firstLocalId = i32[at + 1]!
  const keyCount = i32[at + 2]!
  let keyAt = position + DEFINE_HEADER_BYTES + keyCount * 4
  for (let i = 0; i < keyCount; i++) {
    const length = i32[at + 4 + i]!
    assert(length >= 0, 'a key has a length', length)
    define(topicId, firstLocalId + i, Uint8Array.prototype.slice.call(u8, keyAt, keyAt + length))
    keyAt += length
  }
}
