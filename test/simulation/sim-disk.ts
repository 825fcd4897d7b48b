/**
 * A disk that is simulated: ordered tables in memory, with the promise of the real environment (engine/store/env.ts) and
 * its failures. A transaction's writes are held back until its sync; then they are all there. A crash before the sync
 * loses all of them, one after it none, and a sync that fails ends the environment (fail-stop), the writes there or not.
 * Readers of other threads see the state before the sync, since the scheduler may run them in between.
 *
 * Two broken kinds of disk exist as controls, which a simulation must notice: one that acknowledges before it syncs, and
 * one that tears a transaction in a crash. The real store code (log-writer.ts, state-writer.ts and their readers) runs
 * over it: `openSimEnv` gives what those take for a StoreEnv.
 */
import { MillraceError } from '../../engine/contract/errors.ts'
import type { StoreEnv } from '../../engine/store/env.ts'
import { assert } from '../../engine/util/assert.ts'
import type { Prng } from '../../engine/util/prng.ts'
import { keyText } from './scenario.ts'

export type DiskKind = 'strict' | 'acks-before-sync' | 'tears'

/** A write as it became durable; `value` null: removed. */
export interface DurableWrite {
  readonly table: string
  readonly key: string
  readonly value: Uint8Array | null
}

export interface DiskWorld {
  readonly prng: Prng
  /** The scheduler may run other threads here, or crash the node (a throw). */
  pass(place: string): void
  /** How long a sync takes, in simulated ms. */
  spend(ms: number): void
  /** Whether this sync fails. */
  syncFails(): boolean
  /** A transaction is durable. */
  durable(env: string, writes: readonly DurableWrite[]): void
}

/** Syncs that a disk which acknowledges early may be behind. */
const UNSYNCED_MAX = 4

class SimTable {
  readonly keys: string[] = []
  readonly values = new Map<string, Uint8Array>()

  set(key: string, value: Uint8Array): void {
    if (!this.values.has(key)) this.keys.splice(lowerBound(this.keys, key), 0, key)
    this.values.set(key, value)
  }

  delete(key: string): void {
    if (this.values.delete(key)) this.keys.splice(lowerBound(this.keys, key), 1)
  }

  apply({ key, value }: DurableWrite): void {
    if (value === null) this.delete(key)
    else this.set(key, value)
  }
}

/** One environment's file. Outlives the threads that open it. */
export class SimDisk {
  readonly name: string
  readonly kind: DiskKind
  readonly world: DiskWorld
  readonly #tables = new Map<string, SimTable>()
  /** Acknowledged, visible and not synced: writes, and what stood there before. Only on a disk that lies. */
  #unsynced: { readonly writes: DurableWrite[]; readonly before: DurableWrite[] }[] = []

  constructor(name: string, kind: DiskKind, world: DiskWorld) {
    this.name = name
    this.kind = kind
    this.world = world
  }

  table(name: string): SimTable {
    let table = this.#tables.get(name)
    if (table === undefined) {
      table = new SimTable()
      this.#tables.set(name, table)
    }
    return table
  }

  /** True: the writes are there, as far as this disk says. */
  commit(writes: DurableWrite[]): boolean {
    const { world } = this
    try {
      world.pass(`${this.name}: before the sync`)
    } catch (crash) {
      if (this.kind === 'tears') for (const write of writes) if (world.prng.below(2) === 0) this.#apply(write)
      throw crash
    }
    world.spend(world.prng.below(8))
    if (world.syncFails()) {
      if (world.prng.below(2) === 0) this.#settle(writes)
      return false
    }
    if (this.kind === 'acks-before-sync') this.#applyUnsynced(writes)
    else this.#settle(writes)
    world.pass(`${this.name}: after the sync`)
    return true
  }

  /** The machine stopped: what was not synced is gone. */
  crash(): void {
    for (const { before } of this.#unsynced.reverse())
      for (const write of before.reverse()) this.#apply(write)
    this.#unsynced = []
  }

  #settle(writes: readonly DurableWrite[]): void {
    for (const write of writes) this.#apply(write)
    this.world.durable(this.name, writes)
  }

  #applyUnsynced(writes: DurableWrite[]): void {
    const before = writes.map(({ table, key }) => {
      return { table, key, value: this.table(table).values.get(key) ?? null }
    })
    for (const write of writes) this.#apply(write)
    this.#unsynced.push({ writes, before })
    if (this.#unsynced.length <= UNSYNCED_MAX) return
    for (const { writes: synced } of this.#unsynced) this.world.durable(this.name, synced)
    this.#unsynced = []
  }

  #apply(write: DurableWrite): void {
    this.table(write.table).apply(write)
  }
}

const FENCE_KEY = Buffer.from('fence')

interface EnvTable {
  readonly name: string
  getKeys(range: { start: Uint8Array; end: Uint8Array; limit: number }): Uint8Array[]
}

/** One thread's handle, in the shape of StoreEnv. */
class SimEnv {
  readonly path: string
  readonly meta: EnvTable
  readonly #disk: SimDisk
  #fence: number | null
  /** The running transaction's writes, by table and key. */
  #overlay: Map<string, Map<string, Uint8Array | null>> | null = null
  #failure: MillraceError | null = null

  constructor(disk: SimDisk, fence: number | null) {
    this.path = disk.name
    this.#disk = disk
    this.#fence = fence
    this.meta = this.table('meta')
  }

  table(name: string): EnvTable {
    return {
      name,
      getKeys: ({ start, end, limit }) =>
        this.#keys(name, keyText(start), keyText(end)).slice(0, limit).map(keyBytes),
    }
  }

  fence(): number {
    const bytes = this.get(this.meta, FENCE_KEY)
    return bytes === null ? 0 : new DataView(bytes.buffer, bytes.byteOffset).getFloat64(0)
  }

  /** No simulated owner is ever taken over while it lives. */
  takeover(): number {
    return 0
  }

  takeFence(fence: number): void {
    const bytes = new Uint8Array(8)
    new DataView(bytes.buffer).setFloat64(0, fence)
    this.put(this.meta, FENCE_KEY, bytes)
    this.#fence = fence
  }

  read<T>(body: () => T): T {
    return body()
  }

  transaction<T>(body: () => T): T {
    if (this.#failure !== null) throw this.#failure
    assert(this.#overlay === null, 'transactions do not nest', this.path)
    const overlay = new Map<string, Map<string, Uint8Array | null>>()
    this.#overlay = overlay
    let result: T
    try {
      if (this.#fence !== null && this.fence() !== this.#fence) {
        throw new MillraceError('STORE_FENCED', `another simulated process has taken over ${this.path}`)
      }
      result = body()
    } finally {
      this.#overlay = null
    }
    const writes: DurableWrite[] = []
    for (const [table, rows] of overlay) for (const [key, value] of rows) writes.push({ table, key, value })
    if (writes.length === 0 || this.#disk.commit(writes)) return result
    this.#failure = new MillraceError('STORE_IO', `a simulated sync of ${this.path} failed`)
    throw this.#failure
  }

  put(table: EnvTable, key: Uint8Array, value: Uint8Array): void {
    assert(!(value.buffer instanceof SharedArrayBuffer), 'a value is not over shared memory', this.path)
    this.#rows(table.name).set(keyText(key), new Uint8Array(value))
  }

  remove(table: EnvTable, key: Uint8Array): boolean {
    const there = this.peek(table, key) !== null
    this.#rows(table.name).set(keyText(key), null)
    return there
  }

  peek(table: EnvTable, key: Uint8Array): Uint8Array | null {
    const text = keyText(key)
    const written = this.#overlay?.get(table.name)?.get(text)
    if (written !== undefined) return written
    return this.#disk.table(table.name).values.get(text) ?? null
  }

  get(table: EnvTable, key: Uint8Array): Uint8Array | null {
    return this.peek(table, key)
  }

  /** A file without room: what is over the limit goes at once. */
  freeBytes(): number {
    return 0
  }

  firstKey(table: EnvTable, from: Uint8Array, to: Uint8Array): Uint8Array | null {
    const key = this.#keys(table.name, keyText(from), keyText(to), 1)[0]
    return key === undefined ? null : keyBytes(key)
  }

  lastKey(table: EnvTable, after: Uint8Array, upTo: Uint8Array): Uint8Array | null {
    // Just past `upTo`, in byte order.
    const keys = this.#keys(table.name, `${keyText(after)}\0`, `${keyText(upTo)}\0`, -1)
    return keys.length === 0 ? null : keyBytes(keys.at(-1)!)
  }

  keys(table: EnvTable, from: Uint8Array, to: Uint8Array, limit: number): Uint8Array[] {
    return this.#keys(table.name, keyText(from), keyText(to), limit).map(keyBytes)
  }

  *rows(table: EnvTable, from: Uint8Array, to: Uint8Array, limit = Number.MAX_SAFE_INTEGER) {
    for (const key of this.#keys(table.name, keyText(from), keyText(to), limit)) {
      const bytes = keyBytes(key)
      yield { key: bytes, value: this.peek(table, bytes)! }
    }
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  #rows(table: string): Map<string, Uint8Array | null> {
    assert(this.#overlay !== null, 'a write is inside a transaction', this.path)
    let rows = this.#overlay.get(table)
    if (rows === undefined) {
      rows = new Map()
      this.#overlay.set(table, rows)
    }
    return rows
  }

  /** Keys in [from, to), the first `limit`, or with -1 the last one. */
  #keys(table: string, from: string, to: string, limit = Number.MAX_SAFE_INTEGER): string[] {
    const { keys } = this.#disk.table(table)
    const start = lowerBound(keys, from)
    const end = lowerBound(keys, to)
    const written = this.#overlay?.get(table)
    if (written === undefined) {
      return limit < 0
        ? keys.slice(Math.max(start, end - 1), end)
        : keys.slice(start, Math.min(end, start + limit))
    }
    const merged = new Set(keys.slice(start, end))
    for (const [key, value] of written) {
      if (value === null) merged.delete(key)
      else if (key >= from && key < to) merged.add(key)
    }
    const sorted = [...merged].sort(compareText)
    return limit < 0 ? sorted.slice(-1) : sorted.slice(0, limit)
  }
}

/** A thread's handle on the disk. The cast is what lets the real store code run over it: it calls these methods only. */
export function openSimEnv(disk: SimDisk, fence: number | null): StoreEnv {
  return new SimEnv(disk, fence) as unknown as StoreEnv
}

export function keyBytes(key: string): Uint8Array {
  return new Uint8Array(Buffer.from(key, 'latin1'))
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function lowerBound(keys: readonly string[], key: string): number {
  let low = 0
  let high = keys.length
  // Most keys are appended.
  if (high > 0 && keys[high - 1]! < key) return high
  while (low < high) {
    const middle = (low + high) >> 1
    if (keys[middle]! < key) low = middle + 1
    else high = middle
  }
  return low
}
