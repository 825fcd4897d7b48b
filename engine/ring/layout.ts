/**
 * Where everything lies in a ring's SharedArrayBuffer. Offsets live here only; the algorithm holds no literal.
 *
 *      byte 0                  128                 256                 384                          384 + capacity
 *      ┌───────────────────┬───────────────────┬───────────────────┬───────────────────────────────┐
 *      │ magic  capacity   │ tail              │ head              │ frames                        │
 *      │ never written     │ producer writes   │ consumer writes   │                               │
 *      └───────────────────┴───────────────────┴───────────────────┴───────────────────────────────┘
 *
 * The lines are 128 bytes apart because x86 fetches cache lines of 64 bytes in pairs (and Apple's are 128 long): the side
 * that polls one index must not take the line of the other index, or of the first frame, from its writer.
 *
 * Head and tail are *positions*: byte counts that wrap at 2^32 as int32. `position & (capacity - 1)` is the place in the
 * frames area; `(tail - head) | 0` is the bytes in use, right across the wrap since capacity ≤ 2^30.
 *
 *      frame   ┌────────────┬──────────┬───────────────────────┐   header and payload both start on a multiple of 8;
 *              │ length i32 │ kind i32 │ payload, padded to 8  │   `length` is what was claimed, without the padding
 *              └────────────┴──────────┴───────────────────────┘
 *
 * No frame wraps. Where one would, a padding frame (kind PADDING) takes the rest of the area and the frame starts at place
 * 0; both are published together. The padding is shorter than the frame behind it, so a frame of at most half the capacity
 * can always be claimed once the ring is empty: that is the largest frame.
 */
import { alignUp } from '../util/bytes.ts'

export const LINE_BYTES = 128
export const MAGIC = 0x474e5253
export const MAGIC_INDEX = 0
export const CAPACITY_INDEX = 1
export const TAIL_INDEX = LINE_BYTES / 4
export const HEAD_INDEX = (2 * LINE_BYTES) / 4
export const FRAMES_AT = 3 * LINE_BYTES

export const FRAME_HEADER_BYTES = 8
export const PADDING = -1

export const CAPACITY_BYTES_MIN = 64
export const CAPACITY_BYTES_MAX = 2 ** 30

/** Bytes that a frame with this payload takes. */
export function frameBytes(payloadBytes: number): number {
  return FRAME_HEADER_BYTES + alignUp(payloadBytes)
}

/** Largest payload that can be claimed from an empty ring, wherever its tail stands. */
export function payloadBytesMax(capacityBytes: number): number {
  return capacityBytes / 2 - FRAME_HEADER_BYTES
}
