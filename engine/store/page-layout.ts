/**
 * LMDB's file (mdb.c of LMDB 0.9.90, data version 2): pages of one size; the first two are meta pages, used in turn, the
 * rest are a copy-on-write B-tree a table, a tree of free pages, and runs of pages for large values. Little-endian.
 *
 *   page     0 u64 page number    8 u64 transaction that made it   16 u16 0   18 u16 flags
 *           20 u16 lower, 22 u16 upper (branch, leaf: bounds of free space, from 24)  |  20 u32 pages (large value)
 *           24 … u16 a node: its place, from 24
 *   node     0 u32 size of the value (leaf), or child's page number, low bits (branch)
 *            4 u16 flags (leaf), or page number, high bits (branch)   6 u16 key length   8 key, value
 *   large    in place of the value: u64 first page, u64 transaction, u64 pages
 *   tree     0 u32 (page size, in the free tree's record)   4 u16 flags   6 u16 depth   8 u64 branch pages
 *           16 u64 leaf pages   24 u64 pages of large values   32 u64 entries   40 u64 root, all ones: empty
 *   meta    at 24: 0 u32 magic   4 u32 version   8 u64 0   16 u64 map size   24 tree of free pages   72 main tree
 *          120 u64 last page   128 u64 transaction   136 i64 boot
 *   free     value of a transaction's pages: i64 count, then per run a page number, or minus its length and its first
 *            page; zeros are gaps
 */
export const PAGE_NUMBER_AT = 0
export const PAGE_TXN_AT = 8
export const PAGE_FLAGS_AT = 18
export const LOWER_AT = 20
export const UPPER_AT = 22
export const RUN_PAGES_AT = 20
export const PAGE_HEADER_BYTES = 24

export const BRANCH = 0x01
export const LEAF = 0x02
export const LARGE = 0x04
export const META = 0x08

export const NODE_FLAGS_AT = 4
export const NODE_KEY_LENGTH_AT = 6
export const NODE_HEADER_BYTES = 8
export const NODE_IS_LARGE = 0x01
export const NODE_IS_TREE = 0x02

export const RUN_FIRST_AT = 0
export const RUN_TXN_AT = 8
export const RUN_COUNT_AT = 16
export const RUN_BYTES = 24

export const TREE_PAGE_BYTES_AT = 0
export const TREE_FLAGS_AT = 4
export const TREE_DEPTH_AT = 6
export const TREE_BRANCHES_AT = 8
export const TREE_LEAVES_AT = 16
export const TREE_LARGE_AT = 24
export const TREE_ENTRIES_AT = 32
export const TREE_ROOT_AT = 40
export const TREE_BYTES = 48
export const NO_ROOT = 0xffff_ffff_ffff_ffffn
/** Keys of the free tree are numbers, not bytes. */
export const TREE_INTEGER_KEYS = 0x08

export const META_PAGES = 2
export const MAGIC_AT = 24
export const VERSION_AT = 28
export const MAP_BYTES_AT = 40
export const FREE_TREE_AT = 48
export const MAIN_TREE_AT = 96
export const LAST_PAGE_AT = 144
export const META_TXN_AT = 152
export const META_END = 168
export const MAGIC = 0xbeefc0de
export const DATA_VERSION = 2

/** Of a file we make; LMDB goes by what the file says. */
const PAGE_BYTES = 4_096
const MAP_BYTES = 0x2_0000

/** The file LMDB makes for an empty environment, byte for byte. */
export function emptyFile(): Buffer {
  const file = Buffer.alloc(META_PAGES * PAGE_BYTES)
  for (let page = 0; page < META_PAGES; page++) {
    const meta = file.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES)
    meta.writeBigUInt64LE(BigInt(page), PAGE_NUMBER_AT)
    meta.writeUInt16LE(META, PAGE_FLAGS_AT)
    meta.writeUInt32LE(MAGIC, MAGIC_AT)
    meta.writeUInt32LE(DATA_VERSION, VERSION_AT)
    meta.writeBigUInt64LE(BigInt(MAP_BYTES), MAP_BYTES_AT)
    meta.writeUInt32LE(PAGE_BYTES, FREE_TREE_AT + TREE_PAGE_BYTES_AT)
    meta.writeUInt16LE(TREE_INTEGER_KEYS, FREE_TREE_AT + TREE_FLAGS_AT)
    for (const tree of [FREE_TREE_AT, MAIN_TREE_AT]) meta.writeBigUInt64LE(NO_ROOT, tree + TREE_ROOT_AT)
    meta.writeBigUInt64LE(BigInt(META_PAGES - 1), LAST_PAGE_AT)
  }
  return file
}
