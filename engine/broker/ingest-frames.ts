/**
 * What an ingest thread sends the log writer over its ring, in order:
 *
 *   DEFINE   names for the local series ids that later frames use
 *              0 i32 topicId   4 i32 firstLocalId   8 i32 keyCount   12 i32 0
 *             16 i32[keyCount] key lengths, then the keys' bytes, end to end
 *   SAMPLES  columns of one request; a request is one or more of these, the last marked
 *              0 f64 requestId  8 i32 topicId  12 i32 count  16 i32 last (0, 1)  20 i32 0
 *             24 f64[count] timestampMs, f64[count] value, i32[count] local series id
 *   END      a bounded input ended: an END record for every partition of the topic
 *              0 f64 requestId  8 i32 topicId  12 i32 0
 *
 * Frames of one request follow each other without another request between them.
 */
import type { SampleBuilder } from '../batch/sample-builder.ts'
import type { RingProducer } from '../ring/spsc-ring.ts'
import { assert } from '../util/assert.ts'

export const FRAME_DEFINE = 1
export const FRAME_SAMPLES = 2
export const FRAME_END = 3

export const DEFINE_HEADER_BYTES = 16
export const SAMPLES_HEADER_BYTES = 24
export const END_BYTES = 16
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
