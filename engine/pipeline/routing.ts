/**
 * Which row of state a series belongs to, decided once per (series, pipeline) and kept in a typed array indexed by
 * series id: filters and group keys cost nothing per sample. Rows and group ids are given in order of first sight, so
 * they are a function of the log; series ids that were never seen again after a restore are simply decided again.
 */
import type { PipelinePlan } from '../contract/plan.ts'
import type { Labels } from '../contract/samples.ts'
import { decodeSeriesKey, groupKey } from '../series/series-key.ts'
import { Cells } from '../state/cells.ts'
import { assert } from '../util/assert.ts'
import { compareBytes } from '../util/bytes.ts'
import { labelTest } from './matchers.ts'

/** Routes: a series not decided yet, one that `where` refused, else its row + 1. */
export const ROUTE_UNKNOWN = 0
export const ROUTE_FILTERED = -1

const SERIES_CAPACITY_MIN = 1_024

export interface RouterOptions {
  readonly plan: PipelinePlan
  readonly labelsOf: (seriesId: number) => Labels
  /** A group was seen for the first time. */
  readonly announce: (groupId: number, key: Uint8Array) => void
}

export class Router {
  readonly #groupBy: readonly string[] | null
  readonly #matches: (labels: Labels) => boolean
  readonly #labelsOf: (seriesId: number) => Labels
  readonly #announce: (groupId: number, key: Uint8Array) => void
  /** Route of a series id. Replaced when it grows. */
  routes: Int32Array = new Int32Array(SERIES_CAPACITY_MIN)
  /** Group id + 1 of each row; 0: no such row. */
  readonly groupIds: Cells = new Cells('groups')
  rows = 0
  readonly #rowOfKey = new Map<string, number>()
  readonly #keys: Uint8Array[] = []
  #order: Int32Array = new Int32Array(0)

  constructor(options: RouterOptions) {
    this.#groupBy = options.plan.groupBy
    this.#matches = labelTest(options.plan.where)
    this.#labelsOf = options.labelsOf
    this.#announce = options.announce
  }

  /** Decides the route of a series. */
  resolve(seriesId: number): number {
    assert(seriesId >= 0, 'a series id is not negative', seriesId)
    if (seriesId >= this.routes.length) this.#grow(seriesId + 1)
    const known = this.routes[seriesId]!
    if (known !== ROUTE_UNKNOWN) return known
    const labels = this.#labelsOf(seriesId)
    const route = this.#matches(labels) ? this.rowOf(groupKey(labels, this.#groupBy)) + 1 : ROUTE_FILTERED
    this.routes[seriesId] = route
    return route
  }

  /** The row of a group, new if need be. The key is kept: it must not change afterwards. */
  rowOf(key: Uint8Array): number {
    const row = this.#rowOfKey.get(keyText(key))
    if (row !== undefined) return row
    const fresh = this.#addRow(key)
    const groupId = fresh
    this.groupIds.ensure(this.rows)
    this.groupIds.data[fresh] = groupId + 1
    this.groupIds.mark(fresh)
    this.#announce(groupId, key)
    return fresh
  }

  groupIdOf(row: number): number {
    return this.groupIds.data[row]! - 1
  }

  labelsOfRow(row: number): Labels {
    return decodeSeriesKey(this.#keys[row]!)
  }

  /** All rows in byte order of their group keys. New rows are merged in when asked. */
  order(): Int32Array {
    if (this.#order.length < this.rows) this.#order = this.#mergeOrder()
    return this.#order
  }

  restore(rows: number, groupKeyOf: (groupId: number) => Uint8Array): void {
    assert(this.rows === 0, 'a router is restored before its first series')
    for (let row = 0; row < rows; row++) {
      const groupId = this.groupIdOf(row)
      assert(groupId >= 0, 'a restored row has its group', row)
      // The caller may hand out the same buffer each time.
      this.#addRow(groupKeyOf(groupId).slice())
    }
  }

  #addRow(key: Uint8Array): number {
    const row = this.rows++
    this.#rowOfKey.set(keyText(key), row)
    this.#keys.push(key)
    return row
  }

  #grow(length: number): void {
    let capacity = this.routes.length
    while (capacity < length) capacity *= 2
    const routes = new Int32Array(capacity)
    routes.set(this.routes)
    this.routes = routes
  }

  #mergeOrder(): Int32Array {
    const keys = this.#keys
    const old = this.#order
    const fresh: number[] = []
    for (let row = old.length; row < this.rows; row++) fresh.push(row)
    fresh.sort((a, b) => compareBytes(keys[a]!, keys[b]!))
    const merged = new Int32Array(this.rows)
    let i = 0
    let j = 0
    for (let k = 0; k < merged.length; k++) {
      const takeOld =
        j === fresh.length || (i < old.length && compareBytes(keys[old[i]!]!, keys[fresh[j]!]!) < 0)
      merged[k] = takeOld ? old[i++]! : fresh[j++]!
    }
    return merged
  }
}

/** Bytes as map key: one char a byte. */
function keyText(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')
}
