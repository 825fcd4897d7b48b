/**
 * Checks the structure of an environment's file without LMDB, which trusts what it reads: a damaged page makes it crash the
 * process, or give away pages that are in use. `openStore` calls this before LMDB touches the file. After it has passed:
 * every page of the newest snapshot's trees is the page its parent means, of the right kind and age; every node lies in
 * its page and overlaps no other; keys ascend, within their parents' bounds; sizes and counts agree with each tree's
 * record; and every page is either in use once or free once. Values are not looked at: they have CRCs of their own.
 *
 * Reads every branch and leaf page and the first page of the first RUNS_MAX large values; never writes. Safe beside a
 * living writer: LMDB overwrites no page of a snapshot before the second commit after it, so that a fault counts only if
 * the snapshot is still the newest afterwards.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { MillraceError } from '../contract/errors.ts'
import * as layout from './page-layout.ts'

/** Heads of large values are a read each, all over the file; those beyond are left to a full verification. */
export const RUNS_MAX = 100_000
const DEPTH_MAX = 32
const PAGE_BYTES_MIN = 256
const PAGE_BYTES_MAX = 65_536
const U32_RANGE = 0x1_0000_0000
const OVERTAKEN_MAX = 3
/** Bounds what is allocated on the word of a damaged page. */
const FILE_SHARE_MAX = 4
const IN_USE = 1
const FREE = 2

export interface PageCounts {
  readonly transaction: number
  readonly pages: number
  readonly branches: number
  readonly leaves: number
  readonly largeValues: number
  readonly free: number
}

/** What is wrong, in words. */
class Fault extends Error {}

/** What the file holds. STORE_DAMAGED names page and table. Null: a living writer overtook the check each time. */
export function checkPages(file: string, remedy: string): PageCounts | null {
  const descriptor = openSync(file, 'r')
  try {
    for (let attempt = 0; attempt < OVERTAKEN_MAX; attempt++) {
      const before = readMetas(descriptor)
      try {
        const newest = newestMeta(before)
        return new Walk(descriptor, newest).run()
      } catch (error) {
        if (!(error instanceof Fault)) throw error
        if (readMetas(descriptor).equals(before)) {
          throw new MillraceError('STORE_DAMAGED', `${file} is damaged: ${error.message}. ${remedy}`)
        }
      }
    }
    return null
  } finally {
    closeSync(descriptor)
  }
}

interface Meta {
  readonly bytes: Buffer
  readonly pageBytes: number
  readonly transaction: number
  readonly lastPage: number
}

/** The first bytes of both meta pages, one after the other. */
function readMetas(descriptor: number): Buffer {
  const metas = Buffer.alloc(layout.META_PAGES * layout.META_END)
  readSync(descriptor, metas, 0, layout.META_END, 0)
  const pageBytes = metas.readUInt32LE(layout.FREE_TREE_AT + layout.TREE_PAGE_BYTES_AT)
  const isPower = (pageBytes & (pageBytes - 1)) === 0
  if (isPower && pageBytes >= PAGE_BYTES_MIN && pageBytes <= PAGE_BYTES_MAX) {
    readSync(descriptor, metas, layout.META_END, layout.META_END, pageBytes)
  }
  return metas
}

function newestMeta(metas: Buffer): Meta {
  const [first, second] = [0, 1].map((page) => metaAt(metas, page)) as [Meta, Meta]
  expect(first.pageBytes === second.pageBytes, 'the meta pages differ in their page size')
  const isNew = first.transaction === 0 && second.transaction === 0
  const apart = Math.abs(first.transaction - second.transaction)
  expect(
    isNew || apart === 1,
    `the meta pages are of transactions ${first.transaction} and ${second.transaction}`,
  )
  // A commit that failed leaves its trees under the old number: on a tie, as LMDB does, the first counts.
  return first.transaction >= second.transaction ? first : second
}

function metaAt(metas: Buffer, page: number): Meta {
  const bytes = metas.subarray(page * layout.META_END, (page + 1) * layout.META_END)
  const pageBytes = bytes.readUInt32LE(layout.FREE_TREE_AT + layout.TREE_PAGE_BYTES_AT)
  const transaction = u64(bytes, layout.META_TXN_AT)
  const isMeta =
    u64(bytes, layout.PAGE_NUMBER_AT) === page &&
    u64(bytes, layout.PAGE_TXN_AT) === 0 &&
    bytes.readUInt16LE(layout.PAGE_FLAGS_AT) === layout.META &&
    bytes.readUInt32LE(layout.MAGIC_AT) === layout.MAGIC &&
    bytes.readUInt32LE(layout.VERSION_AT) === layout.DATA_VERSION &&
    bytes.readUInt16LE(layout.FREE_TREE_AT + layout.TREE_FLAGS_AT) === layout.TREE_INTEGER_KEYS &&
    u64(bytes, layout.VERSION_AT + 4) === 0
  expect(isMeta, `meta page ${page} is not one`)
  expect(
    transaction === 0 || transaction % layout.META_PAGES === page,
    `meta page ${page} holds another one's turn`,
  )
  return { bytes, pageBytes, transaction, lastPage: u64(bytes, layout.LAST_PAGE_AT) }
}

interface Tree {
  readonly name: string
  readonly root: number
  readonly depth: number
  readonly branches: number
  readonly leaves: number
  readonly largePages: number
  readonly entries: number
  readonly isFreeTree: boolean
  readonly isMainTree: boolean
}

/** Counted while a tree is walked. */
interface Found {
  branches: number
  leaves: number
  largePages: number
  entries: number
}

/** One pass over one snapshot. */
class Walk {
  readonly #descriptor: number
  readonly #meta: Meta
  readonly #pageBytes: number
  readonly #fileBytes: number
  readonly #use: Uint8Array
  readonly #levels: Buffer[] = []
  readonly #head = Buffer.alloc(layout.PAGE_HEADER_BYTES)
  readonly #places: Uint32Array
  #largeValues = 0
  #branches = 0
  #leaves = 0
  #free = 0

  constructor(descriptor: number, meta: Meta) {
    this.#descriptor = descriptor
    this.#meta = meta
    this.#pageBytes = meta.pageBytes
    this.#fileBytes = fstatSync(descriptor).size
    // Pages at the end that were made and freed in one transaction may never have been written: the file is then shorter.
    const pagesMax = Math.ceil(u64(meta.bytes, layout.MAP_BYTES_AT) / meta.pageBytes)
    const isPlausible =
      meta.lastPage >= layout.META_PAGES - 1 && meta.lastPage < Math.min(pagesMax, U32_RANGE)
    expect(isPlausible, `the last page is said to be ${meta.lastPage}`)
    expect(
      meta.lastPage <= FILE_SHARE_MAX * (this.#fileBytes / meta.pageBytes + 16_384),
      'most of the file is missing',
    )
    this.#use = new Uint8Array(meta.lastPage + 1)
    this.#places = new Uint32Array(meta.pageBytes >> 1)
  }

  run(): PageCounts {
    const { bytes, transaction, lastPage } = this.#meta
    const trees: Tree[] = []
    const main = treeAt(bytes, layout.MAIN_TREE_AT, 'the list of tables', { isMainTree: true })
    this.#walk(main, (key, record) => {
      trees.push(treeAt(record, 0, `table ${JSON.stringify(key.toString('latin1').replace(/\0$/, ''))}`, {}))
    })
    for (const tree of trees) this.#walk(tree, () => {})
    const free = treeAt(bytes, layout.FREE_TREE_AT, 'the list of free pages', { isFreeTree: true })
    const lists: Buffer[] = []
    this.#walk(free, (_, value) => lists.push(Buffer.from(value)))
    for (const list of lists) this.#takeFree(list)
    for (let page = layout.META_PAGES; page <= lastPage; page++) {
      expect(this.#use[page] !== 0, `page ${page} is neither in use nor free`)
    }
    return {
      transaction,
      pages: lastPage + 1,
      branches: this.#branches,
      leaves: this.#leaves,
      largeValues: this.#largeValues,
      free: this.#free,
    }
  }

  #walk(tree: Tree, row: (key: Buffer, value: Buffer) => void): void {
    const { name } = tree
    const found: Found = { branches: 0, leaves: 0, largePages: 0, entries: 0 }
    if (tree.root < 0) {
      expect(tree.depth === 0 && tree.entries === 0, `${name} has entries, but no root`)
    } else {
      expect(tree.depth >= 1 && tree.depth <= DEPTH_MAX, `${name} is said to be ${tree.depth} levels deep`)
      this.#page(tree, tree.root, 1, null, null, found, row)
    }
    const agrees =
      found.branches === tree.branches &&
      found.leaves === tree.leaves &&
      found.largePages === tree.largePages &&
      found.entries === tree.entries
    expect(agrees, `the counts of ${name} are ${JSON.stringify(found)}, not what its record says`)
    this.#branches += found.branches
    this.#leaves += found.leaves
  }

  /** The page and all below it; its keys are in [from, to). */
  #page(
    tree: Tree,
    page: number,
    level: number,
    from: Buffer | null,
    to: Buffer | null,
    found: Found,
    row: (key: Buffer, value: Buffer) => void,
  ): void {
    this.#take(page, IN_USE, tree.name)
    const bytes = this.#levelBuffer(level)
    this.#read(bytes, page, tree.name)
    const isLeaf = level === tree.depth
    const kind = isLeaf ? layout.LEAF : layout.BRANCH
    const age = u64(bytes, layout.PAGE_TXN_AT)
    const { transaction } = this.#meta
    const isRight =
      u64(bytes, layout.PAGE_NUMBER_AT) === page &&
      bytes.readUInt32LE(layout.PAGE_FLAGS_AT - 2) === kind * 0x1_0000 &&
      age <= transaction &&
      // A transaction changes a table's record, and so the root of the list of tables.
      (!(tree.isMainTree && level === 1) || age === transaction)
    if (!isRight) this.#fail(page, tree, 'its head is not that of the page that belongs here')
    if (isLeaf) found.leaves++
    else found.branches++
    const count = nodesOf(bytes, this.#pageBytes, isLeaf, this.#places)
    if (count < (isLeaf || tree.isFreeTree ? 1 : 2)) this.#fail(page, tree, 'its nodes do not fit together')
    let previous: Buffer | null = null
    for (let i = 0; i < count; i++) {
      const at = layout.PAGE_HEADER_BYTES + bytes.readUInt16LE(layout.PAGE_HEADER_BYTES + 2 * i)
      const keyAt = at + layout.NODE_HEADER_BYTES
      const key = bytes.subarray(keyAt, keyAt + bytes.readUInt16LE(at + layout.NODE_KEY_LENGTH_AT))
      // The first key of a branch stands for "from the beginning" and is not looked at.
      if (isLeaf || i > 0) {
        const isInOrder =
          (previous === null || compare(previous, key, tree) < 0) &&
          (from === null || compare(from, key, tree) <= 0) &&
          (to === null || compare(key, to, tree) < 0)
        if (!isInOrder) this.#fail(page, tree, `key ${i} is out of order`)
        previous = key
      }
      if (isLeaf) {
        found.entries++
        this.#leafNode(tree, page, bytes, at, key, found, row)
      }
    }
    if (isLeaf) return
    for (let i = 0; i < count; i++) {
      const lower = i === 0 ? from : keyOf(bytes, i)
      const upper = i === count - 1 ? to : keyOf(bytes, i + 1)
      const at = layout.PAGE_HEADER_BYTES + bytes.readUInt16LE(layout.PAGE_HEADER_BYTES + 2 * i)
      const child = bytes.readUInt32LE(at) + bytes.readUInt16LE(at + layout.NODE_FLAGS_AT) * U32_RANGE
      this.#page(tree, child, level + 1, lower, upper, found, row)
    }
  }

  #leafNode(
    tree: Tree,
    page: number,
    bytes: Buffer,
    at: number,
    key: Buffer,
    found: Found,
    row: (key: Buffer, value: Buffer) => void,
  ): void {
    const flags = bytes.readUInt16LE(at + layout.NODE_FLAGS_AT)
    const length = bytes.readUInt32LE(at)
    const valueAt = at + layout.NODE_HEADER_BYTES + key.length
    if (flags === (tree.isMainTree ? layout.NODE_IS_TREE : 0)) {
      if (tree.isMainTree && length !== layout.TREE_BYTES) this.#fail(page, tree, 'a table has no record')
      row(key, bytes.subarray(valueAt, valueAt + length))
      return
    }
    if (flags !== layout.NODE_IS_LARGE || tree.isMainTree)
      this.#fail(page, tree, 'a node is of no known kind')
    const first = u64(bytes, valueAt + layout.RUN_FIRST_AT)
    const count = u64(bytes, valueAt + layout.RUN_COUNT_AT)
    // More than it needs: a value that was put twice in one transaction, the second time a smaller one.
    if (count < Math.floor((layout.PAGE_HEADER_BYTES - 1 + length) / this.#pageBytes) + 1) {
      this.#fail(page, tree, 'a large value is longer than its pages')
    }
    if (count > this.#use.length) this.#fail(page, tree, `a large value is said to have ${count} pages`)
    for (let i = 0; i < count; i++) this.#take(first + i, IN_USE, tree.name)
    found.largePages += count
    this.#largeValues++
    if (tree.isFreeTree) {
      const value = Buffer.alloc(count * this.#pageBytes)
      this.#read(value, first, tree.name)
      this.#checkRun(tree, first, count, value)
      row(key, value.subarray(layout.PAGE_HEADER_BYTES, layout.PAGE_HEADER_BYTES + length))
    } else if (this.#largeValues <= RUNS_MAX) {
      this.#read(this.#head, first, tree.name)
      this.#checkRun(tree, first, count, this.#head)
    }
  }

  #checkRun(tree: Tree, first: number, count: number, head: Buffer): void {
    const isRight =
      u64(head, layout.PAGE_NUMBER_AT) === first &&
      head.readUInt32LE(layout.PAGE_FLAGS_AT - 2) === layout.LARGE * 0x1_0000 &&
      head.readUInt32LE(layout.RUN_PAGES_AT) === count &&
      u64(head, layout.PAGE_TXN_AT) <= this.#meta.transaction
    if (!isRight) this.#fail(first, tree, 'its head is not that of a large value that belongs here')
  }

  /** One transaction's list of free pages. */
  #takeFree(list: Buffer): void {
    const name = 'the list of free pages'
    const count = i64(list, 0)
    expect(count >= 0 && (count + 1) * 8 <= list.length, `${name} is longer than its place`)
    for (let i = 1; i <= count; i++) {
      const entry = i64(list, i * 8)
      if (entry === 0) continue
      let first = entry
      let length = 1
      if (entry < 0) {
        expect(i < count, `${name} ends in the middle of a run`)
        i++
        first = i64(list, i * 8)
        length = -entry
      }
      expect(length <= this.#use.length, `${name} has a run of ${length} pages`)
      for (let n = 0; n < length; n++) this.#take(first + n, FREE, name)
      this.#free += length
    }
  }

  #take(page: number, use: number, name: string): void {
    const isThere = page >= layout.META_PAGES && page < this.#use.length
    expect(isThere, `${name} names page ${page}, which is none`)
    expect(this.#use[page] === 0, `page ${page} is taken twice, the second time by ${name}`)
    this.#use[page] = use
  }

  #read(into: Buffer, page: number, name: string): void {
    const length = readSync(this.#descriptor, into, 0, into.length, page * this.#pageBytes)
    expect(length === into.length, `page ${page} of ${name} lies beyond the end of the file`)
  }

  #levelBuffer(level: number): Buffer {
    this.#levels[level] ??= Buffer.alloc(this.#pageBytes)
    return this.#levels[level]
  }

  #fail(page: number, tree: Tree, what: string): never {
    throw new Fault(`page ${page} of ${tree.name}: ${what}`)
  }
}

/**
 * Number of nodes of a branch or leaf page if they fill the page from `upper` to its end without gap or overlap; 0: they do
 * not. hot: once a page.
 */
function nodesOf(bytes: Buffer, pageBytes: number, isLeaf: boolean, places: Uint32Array): number {
  const room = pageBytes - layout.PAGE_HEADER_BYTES
  const lower = bytes.readUInt16LE(layout.LOWER_AT)
  const upper = bytes.readUInt16LE(layout.UPPER_AT)
  if ((lower & 1) !== 0 || lower > upper || upper > room) return 0
  const count = lower >> 1
  let used = 0
  for (let i = 0; i < count; i++) {
    const place = bytes.readUInt16LE(layout.PAGE_HEADER_BYTES + 2 * i)
    const at = layout.PAGE_HEADER_BYTES + place
    if (place < upper || at + layout.NODE_HEADER_BYTES > pageBytes) return 0
    let size = layout.NODE_HEADER_BYTES + bytes.readUInt16LE(at + layout.NODE_KEY_LENGTH_AT)
    if (isLeaf) {
      const isLarge = (bytes.readUInt16LE(at + layout.NODE_FLAGS_AT) & layout.NODE_IS_LARGE) !== 0
      size += isLarge ? layout.RUN_BYTES : bytes.readUInt32LE(at)
    }
    size += size & 1
    if (at + size > pageBytes) return 0
    used += size
    places[i] = place * U16_RANGE + size
  }
  if (used !== room - upper) return 0
  // Each starts where another ends, and the total fits: none overlaps.
  const sorted = places.subarray(0, count).sort()
  let next = upper
  for (let i = 0; i < count; i++) {
    const place = sorted[i]! >>> 16
    if (place !== next) return 0
    next += sorted[i]! & 0xffff
  }
  return count
}

const U16_RANGE = 0x1_0000

function keyOf(bytes: Buffer, i: number): Buffer {
  const at = layout.PAGE_HEADER_BYTES + bytes.readUInt16LE(layout.PAGE_HEADER_BYTES + 2 * i)
  const keyAt = at + layout.NODE_HEADER_BYTES
  return bytes.subarray(keyAt, keyAt + bytes.readUInt16LE(at + layout.NODE_KEY_LENGTH_AT))
}

function compare(a: Buffer, b: Buffer, tree: Tree): number {
  if (!tree.isFreeTree) return Buffer.compare(a, b)
  expect(a.length === 8 && b.length === 8, `a key of ${tree.name} is no number`)
  return u64(a, 0) - u64(b, 0)
}

function treeAt(bytes: Buffer, at: number, name: string, kind: Partial<Tree>): Tree {
  const { isFreeTree = false, isMainTree = false } = kind
  const flags = bytes.readUInt16LE(at + layout.TREE_FLAGS_AT)
  expect(
    flags === (isFreeTree ? layout.TREE_INTEGER_KEYS : 0),
    `the record of ${name} has the flags ${flags}`,
  )
  if (!isFreeTree) {
    expect(bytes.readUInt32LE(at + layout.TREE_PAGE_BYTES_AT) === 0, `the record of ${name} is not one`)
  }
  const root = bytes.readBigUInt64LE(at + layout.TREE_ROOT_AT)
  return {
    name,
    root: root === layout.NO_ROOT ? -1 : Number(root),
    depth: bytes.readUInt16LE(at + layout.TREE_DEPTH_AT),
    branches: u64(bytes, at + layout.TREE_BRANCHES_AT),
    leaves: u64(bytes, at + layout.TREE_LEAVES_AT),
    largePages: u64(bytes, at + layout.TREE_LARGE_AT),
    entries: u64(bytes, at + layout.TREE_ENTRIES_AT),
    isFreeTree,
    isMainTree,
  }
}

function u64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * U32_RANGE
}

function i64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readInt32LE(at + 4) * U32_RANGE
}

function expect(isTrue: boolean, what: string): asserts isTrue {
  if (!isTrue) throw new Fault(what)
}
