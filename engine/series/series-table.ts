/**
 * Label sets to dense local ids 0, 1, 2 … in order of first sight, never reused in a process. One table a decoder thread
 * and topic; the log writer learns new series through `takeNew` and may `refuse` one later. Guarantees: equal label sets
 * have one id whatever order they were sent in; the number of series never passes `limit`; an id's key never changes.
 * It never decides log ids or partitions.
 *
 * Interning is the rare path: decoders that see the same bytes again and again keep them in `aliases`.
 */
import type { Labels } from '../contract/samples.ts'
import { assert } from '../util/assert.ts'
import { AliasTable } from './alias-table.ts'
import { KEY_UNKNOWN, KeyTable } from './key-table.ts'
import { decodeSeriesKey, encodeSeriesKey, SERIES_KEY_BYTES_MAX } from './series-key.ts'

/** Of a table; routes and rows take a dozen bytes a series in each thread. */
export const SERIES_LIMIT_MAX = 2 ** 24

/** The series limit is reached, or the log writer refused the series. */
export const SERIES_OVER_LIMIT = -1
/** The canonical key is longer than SERIES_KEY_BYTES_MAX. */
export const SERIES_KEY_TOO_LONG = -2
/** `find` only: not seen before. */
export const SERIES_UNKNOWN = -3

export interface NewSeries {
  /** Local id of keys[0]; the others follow without gaps. */
  readonly firstId: number
  /** Canonical keys (series-key.ts). */
  readonly keys: readonly Uint8Array[]
}

export class SeriesTable {
  readonly limit: number
  readonly aliases: AliasTable
  readonly #keys = new KeyTable()
  readonly #refused = new Set<number>()
  #handedOver = 0

  constructor(options: { readonly limit: number }) {
    assert(Number.isInteger(options.limit) && options.limit > 0, 'a series limit is positive', options.limit)
    assert(options.limit <= SERIES_LIMIT_MAX, 'a series limit is bounded', options.limit, SERIES_LIMIT_MAX)
    this.limit = options.limit
    this.aliases = new AliasTable({ seriesLimit: options.limit })
  }

  /** Series seen, refused ones included. */
  get size(): number {
    return this.#keys.size
  }

  /** The local id, SERIES_OVER_LIMIT or SERIES_KEY_TOO_LONG. */
  intern(labels: Labels): number {
    return this.internKey(encodeSeriesKey(labels))
  }

  /** `intern` for a canonical key; its bytes are copied. */
  internKey(key: Uint8Array): number {
    if (key.length > SERIES_KEY_BYTES_MAX) return SERIES_KEY_TOO_LONG
    const known = this.#keys.find(key)
    if (known !== KEY_UNKNOWN) return this.#refused.has(known) ? SERIES_OVER_LIMIT : known
    return this.size >= this.limit ? SERIES_OVER_LIMIT : this.#keys.intern(key)
  }

  /** Like `internKey`, but makes no series: SERIES_UNKNOWN instead. */
  find(key: Uint8Array): number {
    if (key.length > SERIES_KEY_BYTES_MAX) return SERIES_KEY_TOO_LONG
    const known = this.#keys.find(key)
    if (known === KEY_UNKNOWN) return SERIES_UNKNOWN
    return this.#refused.has(known) ? SERIES_OVER_LIMIT : known
  }

  /** Series not handed over before, in order of their ids; null: none. */
  takeNew(): NewSeries | null {
    const firstId = this.#handedOver
    if (firstId === this.size) return null
    const keys: Uint8Array[] = []
    for (let id = firstId; id < this.size; id++) keys.push(this.keyOf(id))
    this.#handedOver = this.size
    return { firstId, keys }
  }

  /** The canonical key. A view of bytes that never change. */
  keyOf(localId: number): Uint8Array {
    return this.#keys.keyOf(localId)
  }

  labelsOf(localId: number): Labels {
    return decodeSeriesKey(this.keyOf(localId))
  }

  /** The log writer refused it (series limit of the topic): later look-ups give SERIES_OVER_LIMIT. */
  refuse(localId: number): void {
    assert(localId >= 0 && localId < this.size, 'a local id was given out by this table', localId, this.size)
    this.#refused.add(localId)
    // Aliases hold ids without asking again; refusals are rare and aliases are a cache.
    this.aliases.clear()
  }
}
