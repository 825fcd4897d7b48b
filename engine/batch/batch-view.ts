/**
 * A reusable view of record batches that lie in one long-lived buffer (a ring, or a read buffer). `point(at)` moves it;
 * nothing is allocated per batch. Guarantee: fields match the header at the position last pointed to.
 */

import type { SampleView } from '../contract/samples.ts'
import { assert } from '../util/assert.ts'
import * as layout from './layout.ts'

export class BatchView implements SampleView {
  readonly #i32: Int32Array
  readonly #u16: Uint16Array
  readonly #f64: Float64Array
  kind = 0
  topicId = 0
  partition = 0
  baseOffset = 0
  count = 0
  appendedMs = 0
  minTimestampMs = 0
  maxTimestampMs = 0
  producerId = 0
  producerEpoch = 0
  baseSequence = -1
  readonly seriesIds: Int32Array
  seriesIdsAt = 0
  readonly timestampsMs: Float64Array
  timestampsMsAt = 0
  readonly values: Float64Array
  valuesAt = 0

  constructor(buffer: ArrayBuffer | SharedArrayBuffer) {
    const bytes = buffer.byteLength & ~7
    this.#i32 = new Int32Array(buffer, 0, bytes / 4)
    this.#u16 = new Uint16Array(buffer, 0, bytes / 2)
    this.#f64 = new Float64Array(buffer, 0, bytes / 8)
    this.seriesIds = this.#i32
    this.timestampsMs = this.#f64
    this.values = this.#f64
  }

  /** `at`: byte position of the batch in the buffer, 8-byte aligned. */
  point(at: number): this {
    assert((at & 7) === 0, 'a batch is 8-byte aligned', at)
    const i32 = this.#i32
    const f64 = this.#f64
    assert(i32[(at + layout.MAGIC_AT) >> 2] === layout.MAGIC, 'a batch starts with its magic', at)
    const count = i32[(at + layout.COUNT_AT) >> 2]!
    this.kind = this.#u16[(at + layout.KIND_AT) >> 1]!
    this.count = count
    this.baseOffset = f64[(at + layout.BASE_OFFSET_AT) >> 3]!
    this.producerId = f64[(at + layout.PRODUCER_ID_AT) >> 3]!
    this.producerEpoch = i32[(at + layout.PRODUCER_EPOCH_AT) >> 2]!
    this.baseSequence = f64[(at + layout.BASE_SEQUENCE_AT) >> 3]!
    this.minTimestampMs = f64[(at + layout.MIN_TIMESTAMP_AT) >> 3]!
    this.maxTimestampMs = f64[(at + layout.MAX_TIMESTAMP_AT) >> 3]!
    this.appendedMs = f64[(at + layout.APPENDED_AT) >> 3]!
    this.topicId = i32[(at + layout.TOPIC_AT) >> 2]!
    this.partition = i32[(at + layout.PARTITION_AT) >> 2]!
    this.timestampsMsAt = (at + layout.timestampsAt()) >> 3
    this.valuesAt = (at + layout.valuesAt(count)) >> 3
    this.seriesIdsAt = (at + layout.seriesIdsAt(count)) >> 2
    return this
  }

  get endOffset(): number {
    return this.baseOffset + layout.offsetsOf(this.count)
  }

  get byteLength(): number {
    return layout.batchBytes(this.count)
  }
}
