/**
 * One LMDB environment, opened by the recipe that was measured not to lose acknowledged data. Guarantees: a transaction
 * is on the disk when `transaction` returns, checks the fencing token first, and undoes itself when its body throws; a
 * read sees everything committed before it began and pins nothing afterwards. A failed or doubtful commit is the end:
 * every later transaction is refused, and the process must exit. Never retries, never hands out LMDB's own buffers.
 * Reasons and measurements: docs/decisions/store.md.
 */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  openSync,
  readSync,
  statSync,
  truncateSync,
} from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { type Database, open, type RootDatabase } from 'lmdb'
import { MillraceError } from '../contract/errors.ts'
import { AssertionFailed, assert } from '../util/assert.ts'

export type Table = Database<Uint8Array, Uint8Array>

/** LMDB refuses longer keys (lmdb-js sets the bound below LMDB's own). */
export const KEY_BYTES_MAX = 1_978
const TABLES_MAX = 24
const READERS_MAX = 512

const CRC_BYTES = 4
const BOUND_CAPACITY = 8 * 1024

const FENCE_KEY = Buffer.from('fence')
const TAKEOVER_KEY = Buffer.from('takeover')

/** What lmdb-js offers beyond its types, and this file alone uses. */
interface Internals {
  readonly env: {
    info(): { readonly lastTxnId: number; readonly lastPageNumber: number }
    /** Of the table of tables, and of the list of free pages. */
    stat(): TreePages
    freeStat(): TreePages
  }
  /** Of the table itself. */
  readonly db: { stat(): TreePages }
  ensureReadTxn(): void
  readonly lastSize: number
}

interface TreePages {
  readonly pageSize: number
  readonly treeBranchPageCount: number
  readonly treeLeafPageCount: number
  readonly overflowPages: number
}

/** The first two pages of the file. */
const META_PAGES = 2

type Root = RootDatabase<Uint8Array, Uint8Array> & Internals

/** Made by `openEnv`. */
export class StoreEnv {
  readonly path: string
  readonly meta: Table
  readonly #root: Root
  readonly #tables = new Map<string, Table>()
  /** By table: where the CRC of a key starts. Tables without one are not bound. */
  readonly #bindings = new Map<Table, number>()
  readonly #names: readonly string[]
  #bound = new Uint8Array(BOUND_CAPACITY)
  #fence: number | null
  #failure: MillraceError | null = null
  #isWriting = false
  #isReading = false
  #writes = 0
  #closed: Promise<void> | null = null

  constructor(path: string, root: Root, fence: number | null) {
    this.path = path
    this.#root = root
    this.#fence = fence
    this.#names = Array.from(root.getKeys(), (key) => Buffer.from(key).toString('latin1').replace(/\0$/, ''))
    this.meta = this.table('meta', { isBound: false })
  }

  /**
   * The table of that name, made if need be. A bound table's values begin with a CRC (sealed.ts, entry-codec.ts), which is
   * stored combined with a CRC of table and key: a row that stands under another key fails its check. Values come back
   * as they were put. Not bound: what says in itself where it belongs.
   */
  table(name: string, { isBound = true }: { readonly isBound?: boolean } = {}): Table {
    const handle = `${name}/${isBound}`
    const opened = this.#tables.get(handle)
    if (opened !== undefined) return opened
    assert(this.#tables.size < TABLES_MAX, 'a table more than the environment holds', name)
    const other = this.#names.includes(name)
      ? undefined
      : this.#names.find((known) => isOneByteOff(known, name))
    if (other !== undefined) {
      throw new MillraceError(
        'STORE_DAMAGED',
        `${this.path} has no table ${JSON.stringify(name)}, but one named ${JSON.stringify(other)}. ${DAMAGE_REMEDY}`,
      )
    }
    try {
      const table: Table = this.#root.openDB<Uint8Array, Uint8Array>({
        name,
        encoding: 'binary',
        keyEncoding: 'binary',
        cache: false,
      })
      if (isBound) this.#bindings.set(table, crc32(name))
      this.#tables.set(handle, table)
      return table
    } catch (error) {
      // A new table is a transaction of its own.
      throw this.#translated(error, 'write')
    }
  }

  /** The token of the store's present owner; 0: nobody has ever owned it. */
  fence(): number {
    return this.#number(FENCE_KEY)
  }

  /** The token of the last owner that took over from one that may return; 0: there was none. */
  takeover(): number {
    return this.#number(TAKEOVER_KEY)
  }

  /** Inside a transaction: from here on `fence` owns this environment, and older writers are fenced. */
  takeFence(fence: number): void {
    this.put(this.meta, FENCE_KEY, bytesOf(fence))
    this.#fence = fence
  }

  /** Inside a transaction. */
  putTakeover(fence: number): void {
    this.put(this.meta, TAKEOVER_KEY, bytesOf(fence))
  }

  /** Runs `body` on one snapshot, taken now and let go at its end. Inside a transaction it sees that transaction. */
  read<T>(body: () => T): T {
    this.#checkOpen()
    if (this.#isWriting || this.#isReading) return body()
    this.#isReading = true
    try {
      this.#renewWithoutTimer()
      return body()
    } catch (error) {
      throw this.#translated(error, 'read')
    } finally {
      this.#isReading = false
      this.#root.resetReadTxn()
    }
  }

  /**
   * Runs `body` in one transaction that is durable when this returns. Its puts and removes go through `put` and
   * `remove`. A throw undoes everything.
   */
  transaction<T>(body: () => T): T {
    this.#checkOpen()
    if (this.#failure !== null) throw this.#failure
    assert(!this.#isWriting, 'transactions do not nest', this.path)
    let result: T | undefined
    let bodyDone = false
    let txnId = 0
    this.#isWriting = true
    this.#writes = 0
    try {
      // Braces: a callback that returns a promise leaves LMDB's transaction open.
      this.#root.transactionSync(() => {
        txnId = this.#root.getWriteTxnId()
        this.#checkFence()
        result = body()
        assert(!(result instanceof Promise), 'a transaction body is synchronous', this.path)
        bodyDone = true
      })
    } catch (error) {
      if (bodyDone) throw this.#failStop(error, 'a commit failed')
      throw this.#translated(error, 'write')
    } finally {
      this.#isWriting = false
    }
    // lmdb-js does not look at every result; a commit is believed when the environment shows it.
    if (this.#writes > 0 && this.#root.env.info().lastTxnId < txnId) {
      throw this.#failStop(null, `commit ${txnId} did not reach the environment`)
    }
    return result as T
  }

  /** Inside a transaction. The value is copied by LMDB before this returns. */
  put(table: Table, key: Uint8Array, value: Uint8Array): void {
    assert(this.#isWriting, 'a put is inside a transaction', this.path)
    assert(key.length > 0 && key.length <= KEY_BYTES_MAX, 'a key has a length LMDB takes', key.length)
    assert(!(value.buffer instanceof SharedArrayBuffer), 'a value is not over shared memory', this.path)
    this.#writes++
    // lmdb-js returns a boolean here, whatever its types say.
    const stored: unknown = table.putSync(key, this.#boundTo(table, key, value))
    if (stored !== true) throw this.#failStop(null, 'a put was refused without an error')
  }

  /** Inside a transaction. False: the key was not there. */
  remove(table: Table, key: Uint8Array): boolean {
    assert(this.#isWriting, 'a remove is inside a transaction', this.path)
    const wasThere = table.removeSync(key)
    // LMDB commits nothing where nothing changed.
    if (wasThere) this.#writes++
    return wasThere
  }

  /** A value in LMDB's reused buffer: valid until the next get on this thread, inside `read` or `transaction`. */
  peek(table: Table, key: Uint8Array): Uint8Array | null {
    const bytes = table.getBinaryFast(key)
    if (bytes === undefined) return null
    // The buffer is far larger than its `length`, which lmdb-js overwrites: make an honest view.
    const view = new Uint8Array(bytes.buffer, bytes.byteOffset, (table as unknown as Internals).lastSize)
    const start = this.#bindings.get(table)
    // A copy: what lmdb-js hands out may be the map itself, which cannot be written.
    return start === undefined ? view : combined(view.slice(), crc32(key, start))
  }

  /** A copy of a value, or null. Outside `read` and `transaction` it takes a snapshot of its own. */
  get(table: Table, key: Uint8Array): Uint8Array | null {
    return this.read(() => this.peek(table, key)?.slice() ?? null)
  }

  /** The first key in [from, to), or null. Inside `read` or `transaction`. */
  firstKey(table: Table, from: Uint8Array, to: Uint8Array): Uint8Array | null {
    for (const key of table.getKeys({ start: from, end: to, limit: 1 })) return key
    return null
  }

  /** The last key in (after, upTo], or null. Inside `read` or `transaction`. */
  lastKey(table: Table, after: Uint8Array, upTo: Uint8Array): Uint8Array | null {
    for (const key of table.getKeys({ start: upTo, end: after, reverse: true, limit: 1 })) return key
    return null
  }

  /** The keys in [from, to), in order, at most `limit`. Inside `read` or `transaction`. */
  keys(table: Table, from: Uint8Array, to: Uint8Array, limit: number): Iterable<Uint8Array> {
    return table.getKeys({ start: from, end: to, limit })
  }

  /** Copies of all rows in [from, to), in key order, at most `limit`. Inside `read` or `transaction`. */
  *rows(
    table: Table,
    from: Uint8Array,
    to: Uint8Array,
    limit = Number.MAX_SAFE_INTEGER,
  ): Iterable<{ readonly key: Uint8Array; readonly value: Uint8Array }> {
    const start = this.#bindings.get(table)
    for (const { key, value } of table.getRange({ start: from, end: to, limit })) {
      yield { key, value: start === undefined ? value : combined(value.slice(), crc32(key, start)) }
    }
  }

  /**
   * LMDB's own hot copy of one snapshot to `path`/data.mdb, on a thread of its own, while others write. Not synced. `path`
   * exists. The snapshot pins its pages until the copy is done.
   */
  async copyTo(path: string): Promise<void> {
    this.#checkOpen()
    try {
      await this.#root.backup(path, false)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      throw new MillraceError(
        'STORE_IO',
        `${this.path} could not be copied to ${path}: ${reason}. Look at both disks, then try again; millrace verify tells ` +
          'whether the source is whole.',
        { cause: error },
      )
    }
  }

  /**
   * Bytes of the file that hold nothing now: pages that were freed and not yet taken again. Tables that this process never
   * opened count as free. O(tables).
   */
  freeBytes(): number {
    return this.read(() => {
      const { env } = this.#root
      const { pageSize } = env.stat()
      const trees = new Map<string, TreePages>()
      for (const [handle, table] of this.#tables) {
        trees.set(handle.slice(0, handle.lastIndexOf('/')), (table as unknown as Internals).db.stat())
      }
      let used = META_PAGES + pagesOf(env.stat()) + pagesOf(env.freeStat())
      for (const tree of trees.values()) used += pagesOf(tree)
      return Math.max(0, env.info().lastPageNumber + 1 - used) * pageSize
    })
  }

  /** May be called twice. The writer's and reader's threads end by themselves; nothing here is terminated. */
  close(): Promise<void> {
    this.#closed ??= this.#root.close()
    return this.#closed
  }

  /** The value as it is stored. Over a buffer that is used again. */
  #boundTo(table: Table, key: Uint8Array, value: Uint8Array): Uint8Array {
    const start = this.#bindings.get(table)
    if (start === undefined) return value
    if (this.#bound.length < value.length) this.#bound = new Uint8Array(value.length * 2)
    const bound = this.#bound.subarray(0, value.length)
    bound.set(value)
    return combined(bound, crc32(key, start))
  }

  #number(key: Uint8Array): number {
    const bytes = this.get(this.meta, key)
    if (bytes === null) return 0
    const fence = new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getFloat64(0)
    if (Number.isSafeInteger(fence) && fence > 0) return fence
    throw new MillraceError(
      'STORE_DAMAGED',
      `the token of ${this.path} is damaged (${fence}). ${DAMAGE_REMEDY}`,
    )
  }

  #checkOpen(): void {
    if (this.#closed !== null) throw new MillraceError('UNAVAILABLE', `the store in ${this.path} is closed`)
  }

  #checkFence(): void {
    if (this.#fence === null) return
    const bytes = this.peek(this.meta, FENCE_KEY)
    const fence =
      bytes === null ? 0 : new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getFloat64(0)
    if (fence === this.#fence) return
    throw new MillraceError(
      'STORE_FENCED',
      `another process has taken over ${this.path} (its token is ${fence}, ours ${this.#fence}); nothing was stored. ` +
        'This process must exit: look there for what started the other one.',
    )
  }

  /**
   * lmdb-js arms a timer at each renewal of its read transaction and never cancels it: a thread that reads in a loop
   * without yielding would pile up one timer a read. `read` always resets by itself, so the timer has no purpose.
   */
  #renewWithoutTimer(): void {
    const setTimer = globalThis.setTimeout
    globalThis.setTimeout = noTimer as unknown as typeof setTimeout
    try {
      this.#root.ensureReadTxn()
    } finally {
      globalThis.setTimeout = setTimer
    }
  }

  #translated(error: unknown, action: string): unknown {
    if (error instanceof MillraceError || error instanceof AssertionFailed || !isLmdbError(error))
      return error
    if (action === 'write') return this.#failStop(error, 'a write failed')
    return damagedOrFailed(error, `${this.path} cannot be read`)
  }

  #failStop(cause: unknown, what: string): MillraceError {
    const reason = cause instanceof Error ? `: ${cause.message}` : ''
    this.#failure = new MillraceError(
      'STORE_IO',
      `${what} in ${this.path}${reason}. Nothing of it was acknowledged. The process must exit; look for a full or ` +
        'failing disk before starting again.',
      { cause },
    )
    return this.#failure
  }
}

function pagesOf(tree: TreePages): number {
  return tree.treeBranchPageCount + tree.treeLeafPageCount + tree.overflowPages
}

/** Changes the first 4 bytes, and the second time back again. */
function combined(value: Uint8Array, crc: number): Uint8Array {
  if (value.length < CRC_BYTES) return value
  value[0]! ^= crc
  value[1]! ^= crc >>> 8
  value[2]! ^= crc >>> 16
  value[3]! ^= crc >>> 24
  return value
}

function isOneByteOff(a: string, b: string): boolean {
  if (a.length !== b.length) return false
  let different = 0
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) different++
  return different === 1
}

function bytesOf(number: number): Uint8Array {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setFloat64(0, number)
  return bytes
}

/** Opens the environment, or says why its file is none. `fence`: null for readers, who never write. */
export function openEnv(path: string, fence: number | null): StoreEnv {
  try {
    const pageBytes = pageBytesOf(path)
    const root = open<Uint8Array, Uint8Array>({
      path,
      overlappingSync: false,
      encoding: 'binary',
      keyEncoding: 'binary',
      cache: false,
      maxReaders: READERS_MAX,
      maxDbs: TABLES_MAX,
    }) as Root
    if (pageBytes > 0) {
      root.transactionSync(() => {
        restoreLength(path, root, pageBytes)
      })
    }
    return new StoreEnv(path, root, fence)
  } catch (error) {
    throw namedFault(error, `${path} cannot be opened`)
  }
}

/** An error of LMDB or the system in our words; any other as it is. */
export function namedFault(error: unknown, what: string): unknown {
  return error instanceof MillraceError || !isLmdbError(error) ? error : damagedOrFailed(error, what)
}

/**
 * A file cut short would kill the process (SIGBUS) at the first touch of a missing page. Filled up with zeros, the missing
 * pages fail their checks instead, by name. Under the write lock, so that no other process can be growing the file.
 */
function restoreLength(path: string, root: Root, pageBytes: number): void {
  const file = join(path, DATA_FILE)
  const lengthMin = (root.env.info().lastPageNumber + 1) * pageBytes
  if (statSync(file).size < lengthMin) truncateSync(file, lengthMin)
}

export function envExists(path: string): boolean {
  return existsSync(join(path, DATA_FILE))
}

export const DATA_FILE = 'data.mdb'
export const LOCK_FILE = 'lock.mdb'
/** Of an LMDB meta page: magic after the page header, page size further on (mdb.c, struct MDB_meta). */
const META_MAGIC = 0xbeefc0de
const META_MAGIC_AT = 24
const META_PAGE_SIZE_AT = 48
const META_BYTES = 64

/**
 * Page size of the environment's file; 0: it is new. LMDB takes down the whole process (a segmentation fault) when it is
 * given a file that is not its own: such a file is refused here.
 */
function pageBytesOf(path: string): number {
  if (!envExists(path)) return 0
  // LMDB opens both for writing; lmdb-js kills the process where LMDB cannot. The lock file is only asked about: to close
  // any handle on it would give up this process's fcntl(2) locks there, which other threads' environments hold, and the
  // next process to open the store would take it for unused and clear its table of readers.
  if (existsSync(join(path, LOCK_FILE))) accessSync(join(path, LOCK_FILE), constants.R_OK | constants.W_OK)
  const file = openSync(join(path, DATA_FILE), 'r+')
  try {
    const meta = Buffer.alloc(META_BYTES)
    const length = readSync(file, meta, 0, META_BYTES, 0)
    // LMDB takes an empty file for a new one.
    if (length === 0) return 0
    const isFirst = length === META_BYTES && meta.readUInt32LE(META_MAGIC_AT) === META_MAGIC
    const pageBytes = meta.readUInt32LE(META_PAGE_SIZE_AT)
    const isSecond =
      isFirst &&
      readSync(file, meta, 0, META_BYTES, pageBytes) === META_BYTES &&
      meta.readUInt32LE(META_MAGIC_AT) === META_MAGIC
    if (isSecond) return pageBytes
  } finally {
    closeSync(file)
  }
  throw new MillraceError(
    'STORE_DAMAGED',
    `${join(path, DATA_FILE)} does not begin as an LMDB file does. ${DAMAGE_REMEDY}`,
  )
}

function noTimer(): number {
  return 1
}

const MDB_PAGE_NOTFOUND = -30797
const MDB_CORRUPTED = -30796
const MDB_VERSION_MISMATCH = -30794
const MDB_INVALID = -30793
const DAMAGE = [MDB_PAGE_NOTFOUND, MDB_CORRUPTED, MDB_VERSION_MISMATCH, MDB_INVALID]

function isLmdbError(error: unknown): error is Error & { code: number | string } {
  return error instanceof Error && 'code' in error
}

function damagedOrFailed(error: Error & { code: number | string }, what: string): MillraceError {
  if (DAMAGE.includes(Number(error.code))) {
    return new MillraceError('STORE_DAMAGED', `${what}: ${error.message}. ${DAMAGE_REMEDY}`, { cause: error })
  }
  return new MillraceError(
    'STORE_IO',
    `${what}: ${error.message}. Look at the disk and the permissions, then start again.`,
    { cause: error },
  )
}

export const DAMAGE_REMEDY =
  'Restore the data directory from a backup, or move it away and start with an empty one.'
