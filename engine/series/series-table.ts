/**
 * Label sets to dense local ids 0, 1, 2 … in order of first sight, never reused in a process. One table a decoder thread
 * and topic; the log writer learns new series through `takeNew` and may `refuse` one later. Guarantees: equal label sets
 * have one id whatever order they were sent in; the number of series never passes `limit`; an id's key never changes.
 * It never decides log ids or partitions.
 *
 * Interning is the rare path (a Map over the canonical key, whose string hash is seeded, so chosen labels cannot make it
 * slow). Decoders that see the same bytes again and again keep them in `aliases`.
 */
import type { Labels } from '../contract/samples.ts'
import { assert } from '../util/assert.ts'
import { AliasTable } from './alias-table.ts'
import { decodeSeriesKey, encodeSeriesKey, SERIES_KEY_BYTES_MAX } from './series-key.ts'

/** A Map holds no more. */
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
  readonly #ids = new Map<string, number>()
  readonly #refused = new Set<number>()
  /** Canonical keys end to end; key i is [#ends[i − 1], #ends[i]). */
  #keys = new Uint8Array(4_096)
  #ends = new Float64Array(64)
  #handedOver = 0

  constructor(options: { readonly limit: number }) {
    assert(Number.isInteger(options.limit) && options.limit > 0, 'a series limit is positive', options.limit)
    assert(options.limit <= SERIES_LIMIT_MAX, 'a series limit is bounded', options.limit, SERIES_LIMIT_MAX)
    this.limit = options.limit
    this.aliases = new AliasTable({ seriesLimit: options.limit })
  }

  /** Series seen, refused ones included. */
  get size(): number {
    return this.#ids.size
  }

  /** The local id, SERIES_OVER_LIMIT or SERIES_KEY_TOO_LONG. */
  intern(labels: Labels): number {
    return this.internKey(encodeSeriesKey(labels))
  }

  /** `intern` for a canonical key; its bytes are copied. */
  internKey(key: Uint8Array): number {
    if (key.length > SERIES_KEY_BYTES_MAX) return SERIES_KEY_TOO_LONG
    const text = keyText(key)
    const known = this.#ids.get(text)
    if (known !== undefined) return this.#refused.has(known) ? SERIES_OVER_LIMIT : known
    const id = this.#ids.size
    if (id >= this.limit) return SERIES_OVER_LIMIT
    this.#append(id, key)
    this.#ids.set(text, id)
    return id
  }

  /** Like `internKey`, but makes no series: SERIES_UNKNOWN instead. */
  find(key: Uint8Array): number {
    if (key.length > SERIES_KEY_BYTES_MAX) return SERIES_KEY_TOO_LONG
    const known = this.#ids.get(keyText(key))
    if (known === undefined) return SERIES_UNKNOWN
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
    assert(localId >= 0 && localId < this.size, 'a local id was given out by this table', localId, this.size)
    return this.#keys.subarray(localId === 0 ? 0 : this.#ends[localId - 1]!, this.#ends[localId]!)
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

  #append(id: number, key: Uint8Array): void {
    const from = id === 0 ? 0 : this.#ends[id - 1]!
    const to = from + key.length
    if (to > this.#keys.length) {
      // Views given out keep the old bytes alive, and those are the same.
      const larger = new Uint8Array(Math.max(this.#keys.length * 2, to))
      larger.set(this.#keys)
      this.#keys = larger
    }
    if (id === this.#ends.length) {
      const larger = new Float64Array(id * 2)
      larger.set(this.#ends)
      this.#ends = larger
    }
    this.#keys.set(key, from)
    this.#ends[id] = to
  }
}

/** One character a byte: distinct keys have distinct texts. */
function keyText(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')
}
