/**
 * Which row of state a series belongs to, decided once per (series, pipeline) and kept in a typed array indexed by
 * series id: filters and group keys cost nothing per sample. Rows and group ids are given in order of first sight, so
 * they are a function of the log. Decisions are part of checkpoints only to save time: one that is not there is made again.
 */
import type { PipelinePlan } from '../contract/plan.ts'
import type { Labels } from '../contract/samples.ts'
import { KeyTable } from '../series/key-table.ts'
import { decodeSeriesKey, groupKeyBytes, type LabelBytes, labelBytes } from '../series/series-key.ts'
import { Cells } from '../state/cells.ts'
import { assert } from '../util/assert.ts'
import { KeyPages } from './key-pages.ts'
import { labelTest } from './matchers.ts'
import { RoutePages } from './route-pages.ts'

/** Routes: a series not decided yet, one that `where` refused, else its row + 1. */
export const ROUTE_UNKNOWN = 0
export const ROUTE_FILTERED = -1

const SERIES_CAPACITY_MIN = 1_024

export interface RouterOptions {
  readonly plan: PipelinePlan
  /** The canonical key of a series. */
  readonly keyOf: (seriesId: number) => Uint8Array
  /** A group was seen for the first time. */
  readonly announce: (groupId: number, key: Uint8Array) => void
}

/** A larger array that starts with the same routes; what is new is zero. */
export type GrowRoutes = (routes: Int32Array, length: number) => Int32Array

export class Router {
  /** Null: by all labels. */
  readonly #groupBy: LabelBytes | null
  readonly #matches: (labels: Labels) => boolean
  /** Only a filter has to see labels as text. */
  readonly #isFiltered: boolean
  readonly #keyOf: (seriesId: number) => Uint8Array
  readonly #announce: (groupId: number, key: Uint8Array) => void
  /** Route of a series id. Replaced when it grows. */
  routes: Int32Array = new Int32Array(SERIES_CAPACITY_MIN)
  /** Group id + 1 of each row; 0: no such row. */
  readonly groupIds: Cells = new Cells('groups')
  /** Group keys; a group's number there is its row. */
  readonly #keys = new KeyTable()
  /** What was decided as state. */
  readonly routePages = new RoutePages(() => this.routes)
  /** The keys as state, beside `groupIds`. */
  readonly keyPages = new KeyPages(this.#keys)
  #order: Int32Array = new Int32Array(0)
  #growRoutes: GrowRoutes = copyOf

  constructor(options: RouterOptions) {
    const { groupBy, where } = options.plan
    this.#groupBy = groupBy === null ? null : labelBytes(groupBy)
    this.#matches = labelTest(where)
    this.#isFiltered = where.length > 0
    this.#keyOf = options.keyOf
    this.#announce = options.announce
  }

  /** Routes lie where `grow` says from now on. */
  moveRoutes(grow: GrowRoutes): void {
    this.#growRoutes = grow
    this.routes = grow(this.routes, this.routes.length)
  }

  /** Bytes in use, by part. */
  usedBytes(): {
    readonly routes: number
    readonly keys: number
    readonly groupIds: number
    readonly order: number
  } {
    return {
      routes: this.routes.byteLength,
      keys: this.#keys.usedBytes,
      groupIds: this.rows * this.groupIds.data.BYTES_PER_ELEMENT,
      order: this.#order.byteLength,
    }
  }

  /** Decides the route of a series. */
  resolve(seriesId: number): number {
    assert(seriesId >= 0, 'a series id is not negative', seriesId)
    if (seriesId >= this.routes.length) this.#grow(seriesId + 1)
    const known = this.routes[seriesId]!
    if (known !== ROUTE_UNKNOWN) return known
    const route = this.#decide(this.#keyOf(seriesId))
    this.routes[seriesId] = route
    this.routePages.decided(seriesId, route)
    return route
  }

  #decide(key: Uint8Array): number {
    if (this.#isFiltered && !this.#matches(decodeSeriesKey(key))) return ROUTE_FILTERED
    return this.rowOf(this.#groupBy === null ? key : groupKeyBytes(key, this.#groupBy)) + 1
  }

  get rows(): number {
    return this.#keys.size
  }

  groupIdOf(row: number): number {
    return this.groupIds.data[row]! - 1
  }

  /** A view of bytes that never change. */
  keyOfRow(row: number): Uint8Array {
    return this.#keys.keyOf(row)
  }

  labelsOfRow(row: number): Labels {
    return decodeSeriesKey(this.#keys.keyOf(row))
  }

  /** All rows in byte order of their group keys. New rows are merged in when asked. */
  order(): Int32Array {
    if (this.#order.length < this.rows) this.#order = this.#mergeOrder()
    return this.#order
  }

  /** After the pages. */
  restore(rows: number, routes: number): void {
    assert(this.rows === 0, 'a router is restored before its first series')
    this.routePages.restore(routes, (seriesId, route) => {
      assert(route <= rows, 'a series was routed to a row that there is', seriesId, route, rows)
      if (seriesId >= this.routes.length) this.#grow(seriesId + 1)
      this.routes[seriesId] = route
    })
    this.keyPages.restore(rows)
  }

  /** The row of a group that was seen; -1: it was not. */
  findRow(key: Uint8Array): number {
    return this.#keys.find(key)
  }

  /** The row of a group, new if need be. The key's bytes are copied. */
  rowOf(key: Uint8Array): number {
    const before = this.rows
    const row = this.#keys.intern(key)
    if (row < before) return row
    this.groupIds.ensure(this.rows)
    this.groupIds.mark(row)
    this.groupIds.data[row] = row + 1
    this.#announce(row, this.#keys.keyOf(row))
    return row
  }

  #grow(length: number): void {
    let capacity = this.routes.length
    while (capacity < length) capacity *= 2
    this.routes = this.#growRoutes(this.routes, capacity)
  }

  #mergeOrder(): Int32Array {
    const keys = this.#keys
    const old = this.#order
    const fresh: number[] = []
    for (let row = old.length; row < this.rows; row++) fresh.push(row)
    fresh.sort((a, b) => keys.compare(a, b))
    const merged = new Int32Array(this.rows)
    let i = 0
    let j = 0
    for (let k = 0; k < merged.length; k++) {
      const takeOld = j === fresh.length || (i < old.length && keys.compare(old[i]!, fresh[j]!) < 0)
      merged[k] = takeOld ? old[i++]! : fresh[j++]!
    }
    return merged
  }
}

function copyOf(routes: Int32Array, length: number): Int32Array {
  const copy = new Int32Array(length)
  copy.set(routes)
  return copy
}
