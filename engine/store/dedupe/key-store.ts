/**
 * The idempotency keys of a log, remembered for a horizon of log time. Used by the log writer thread only.
 *
 * Keys are 128-bit hashes. They are appended to blocks of one page, in generations by log time; the newest block is
 * written again until it is full. An index in memory holds 32 bits of each hash with where its entry lies (key-index.ts); a
 * hit is confirmed by all 128 bits there. A generation whose newest key is as old as the horizon is forgotten
 * at once, and its rows are deleted a few at a time.
 *
 * Guarantees: a key is found from `add` on, and for at least the horizon of log time; forgotten at the latest a
 * GENERATIONS-th of the horizon later; what `flush` wrote is found after reopening, no more and no less. Time is what
 * callers say it is, never taken back: no clock is read here.
 */
import type { KeyHash, Receipt } from '../../contract/idempotency.ts'
import { assert } from '../../util/assert.ts'
import type { StoreEnv, Table } from '../env.ts'
import { KeyBuffer, readU32, readU64 } from '../keys.ts'
import { damaged, seal, unseal } from '../sealed.ts'
import { KeyIndex, POSITIONS } from './key-index.ts'
import {
  BLOCK_BYTES,
  BLOCK_ENTRIES,
  ENTRIES_AT,
  ENTRY_BYTES,
  HASH_BYTES,
  readReceipt,
  writeReceipt,
} from './layout.ts'

/** Into how many generations the horizon is divided: keys are forgotten later than they may be by the length of one. */
export const GENERATIONS = 4
/** Blocks of forgotten generations deleted in one transaction, so that none takes long. */
export const COLLECT_BLOCKS_MAX = 256
/** Slots of the index moved in one turn while nothing is added: about a millisecond. */
const MOVED_WHEN_IDLE = 65_536
const TIME_KEY = Buffer.from('dedupeMs')
const PAST_LAST = new Uint8Array(12).fill(0xff)

interface Generation {
  readonly startMs: number
  /** Log time of its newest key. */
  newestMs: number
  /** Names it in the index. */
  readonly tag: number
  /** Keys, which is the next one's position. */
  count: number
}

interface StoredGeneration {
  readonly startMs: number
  readonly newestMs: number
  readonly count: number
}

interface Block {
  readonly startMs: number
  readonly block: number
  readonly bytes: Uint8Array
  readonly view: DataView
  entries: number
}

export interface KeyStoreOptions {
  readonly horizonMs: number
  /** Keys remembered at once; at the limit `isFull`. */
  readonly keysMax: number
  /** Newest log time of the log: expiry goes on from there. */
  readonly logMs: number
}

export class KeyStore {
  readonly #env: StoreEnv
  readonly #table: Table
  readonly #horizonMs: number
  readonly #keysMax: number
  readonly #key = new KeyBuffer()
  readonly #generations: Generation[] = []
  readonly #byTag: (Generation | null)[] = []
  #index = new KeyIndex()
  /** Starts of generations that are forgotten and not yet deleted. */
  readonly #forgotten: number[] = []
  /** Full or closed, and not yet in a durable transaction. */
  #unwritten: Block[] = []
  #open: Block | null = null
  #isOpenDirty = false
  #logMs: number
  #count = 0

  constructor(env: StoreEnv, table: Table, options: KeyStoreOptions) {
    this.#env = env
    this.#table = table
    this.#horizonMs = options.horizonMs
    this.#keysMax = options.keysMax
    this.#logMs = options.logMs
    this.#load()
  }

  /** Keys remembered now. */
  get count(): number {
    return this.#count
  }

  get isFull(): boolean {
    return this.#count >= this.#keysMax
  }

  /** Of memory. */
  get bytes(): number {
    const blocks = this.#unwritten.length + (this.#open === null ? 0 : 1)
    return this.#index.bytes + blocks * BLOCK_BYTES
  }

  /** Log time moves on; never back. Forgets what is older than the horizon. */
  advance(logMs: number): void {
    if (logMs > this.#logMs) this.#logMs = logMs
    let oldest = this.#generations[0]
    while (oldest !== undefined && oldest.newestMs + this.#horizonMs <= this.#logMs) {
      this.#generations.shift()
      this.#forget(oldest)
      oldest = this.#generations[0]
    }
  }

  /** What is remembered of the key, or null: it is new. */
  find(hash: KeyHash): Receipt | null {
    const index = this.#index
    for (let slot = index.find(hash.a); slot >= 0; slot = index.find(hash.a, slot)) {
      const receipt = this.#confirm(this.#byTag[index.tag]!, index.position, hash)
      if (receipt !== null) return receipt
    }
    return null
  }

  /** Remembers a key that `find` did not find, at the log time of the last `advance`. Durable with the next `flush`. */
  add(hash: KeyHash, receipt: Receipt): void {
    const generation = this.#current()
    const position = generation.count
    this.#index.add(hash.a, generation.tag, position)
    generation.count = position + 1
    generation.newestMs = this.#logMs
    const block = this.#blockFor(generation, position)
    const at = ENTRIES_AT + block.entries * ENTRY_BYTES
    const { view } = block
    view.setFloat64(0, this.#logMs, true)
    view.setInt32(at, hash.a, true)
    view.setInt32(at + 4, hash.b, true)
    view.setInt32(at + 8, hash.c, true)
    view.setInt32(at + 12, hash.d, true)
    writeReceipt(view, at + HASH_BYTES, receipt)
    block.entries++
    this.#isOpenDirty = true
    this.#count++
  }

  /** Inside the transaction of the samples: everything added since the last one. */
  flush(): void {
    for (const block of this.#unwritten) this.#put(block)
    if (this.#isOpenDirty && this.#open !== null) this.#put(this.#open)
  }

  /** That transaction is durable. */
  settle(): void {
    this.#unwritten = []
    this.#isOpenDirty = false
  }

  /** That transaction failed, and its requests are given up: back to what is stored. */
  discard(): void {
    this.#generations.length = 0
    this.#byTag.length = 0
    this.#index = new KeyIndex()
    this.#forgotten.length = 0
    this.#unwritten = []
    this.#open = null
    this.#isOpenDirty = false
    this.#count = 0
    this.#load()
  }

  /** While nothing is added: lets go of memory that forgotten keys hold, a part of it. True: there is more. */
  shed(): boolean {
    this.#index.move(MOVED_WHEN_IDLE)
    return this.#index.isMoving
  }

  get hasForgotten(): boolean {
    return this.#forgotten.length > 0
  }

  /** Inside a transaction of its own: deletes blocks of forgotten generations, at most COLLECT_BLOCKS_MAX. */
  collect(): number {
    let deleted = 0
    while (deleted < COLLECT_BLOCKS_MAX) {
      const startMs = this.#forgotten[0]
      if (startMs === undefined) break
      const from = new KeyBuffer().start().u64(startMs).u32(0).view()
      const to = new KeyBuffer()
        .start()
        .u64(startMs + 1)
        .view()
      const keys = [...this.#env.keys(this.#table, from, to, COLLECT_BLOCKS_MAX - deleted)]
      for (const key of keys) this.#env.remove(this.#table, key)
      deleted += keys.length
      if (deleted < COLLECT_BLOCKS_MAX) this.#forgotten.shift()
    }
    // After a restart log time must not be before the time by which these were forgotten.
    const time = new Uint8Array(8)
    new DataView(time.buffer).setFloat64(0, this.#logMs, true)
    this.#env.put(this.#env.meta, TIME_KEY, seal(time))
    return deleted
  }

  #forget(generation: Generation): void {
    this.#count -= generation.count
    this.#index.retire(generation.tag)
    this.#byTag[generation.tag] = null
    this.#forgotten.push(generation.startMs)
    // Not to be written any more. Rows that are there are collected.
    this.#unwritten = this.#unwritten.filter(({ startMs }) => startMs !== generation.startMs)
    if (this.#open?.startMs === generation.startMs) {
      this.#open = null
      this.#isOpenDirty = false
    }
  }

  /** The generation that takes keys now. */
  #current(): Generation {
    const newest = this.#generations.at(-1)
    const lengthMs = this.#horizonMs / GENERATIONS
    if (newest !== undefined && this.#logMs - newest.startMs < lengthMs && newest.count < POSITIONS)
      return newest
    if (this.#open !== null) {
      if (this.#isOpenDirty) this.#unwritten.push(this.#open)
      this.#open = null
      this.#isOpenDirty = false
    }
    // Two generations never share a name, though the first may have been full within a millisecond.
    return this.#begin(Math.max(Math.floor(this.#logMs), (newest?.startMs ?? 0) + 1), this.#logMs)
  }

  #begin(startMs: number, newestMs: number): Generation {
    const generation: Generation = { startMs, newestMs, tag: this.#index.takeTag(), count: 0 }
    this.#generations.push(generation)
    this.#byTag[generation.tag] = generation
    return generation
  }

  #blockFor(generation: Generation, position: number): Block {
    const open = this.#open
    if (open !== null && open.entries < BLOCK_ENTRIES) return open
    if (open !== null && this.#isOpenDirty) this.#unwritten.push(open)
    assert(position % BLOCK_ENTRIES === 0, 'a block begins where the last one was full', position)
    this.#open = newBlock(generation.startMs, position / BLOCK_ENTRIES)
    return this.#open
  }

  #put(block: Block): void {
    const { startMs, entries, bytes } = block
    const key = this.#key.start().u64(startMs).u32(block.block).view()
    this.#env.put(this.#table, key, seal(bytes.subarray(0, ENTRIES_AT + entries * ENTRY_BYTES)))
  }

  /** The receipt at a position if all of the hash stands there. */
  #confirm(generation: Generation, position: number, hash: KeyHash): Receipt | null {
    const block = Math.floor(position / BLOCK_ENTRIES)
    const at = ENTRIES_AT + (position % BLOCK_ENTRIES) * ENTRY_BYTES
    const inMemory = this.#inMemory(generation.startMs, block)
    if (inMemory !== null) return entryAt(inMemory.view, at, hash)
    const { startMs } = generation
    return this.#env.read(() => {
      const key = this.#key.start().u64(startMs).u32(block).view()
      const bytes = this.#env.peek(this.#table, key)
      if (bytes === null) throw damaged(blockName(startMs, block), 'missing')
      const payload = unseal(bytes, () => blockName(startMs, block))
      return entryAt(new DataView(payload.buffer, payload.byteOffset, payload.length), at, hash)
    })
  }

  #inMemory(startMs: number, block: number): Block | null {
    const open = this.#open
    if (open !== null && open.startMs === startMs && open.block === block) return open
    return this.#unwritten.find((each) => each.startMs === startMs && each.block === block) ?? null
  }

  #load(): void {
    this.#env.read(() => {
      const time = this.#env.peek(this.#env.meta, TIME_KEY)
      if (time !== null) {
        const payload = unseal(time, () => 'the time of the idempotency keys in the log')
        const ms = new DataView(payload.buffer, payload.byteOffset, payload.length).getFloat64(0, true)
        this.#logMs = Math.max(this.#logMs, ms)
      }
      const stored = [...this.#storedGenerations()]
      for (const { newestMs } of stored) this.#logMs = Math.max(this.#logMs, newestMs)
      const live = stored.filter(({ newestMs }) => newestMs + this.#horizonMs > this.#logMs)
      this.#index = new KeyIndex(live.reduce((sum, { count }) => sum + count, 0))
      for (const generation of stored) {
        if (!live.includes(generation)) this.#forgotten.push(generation.startMs)
        else this.#loadGeneration(generation)
      }
    })
  }

  *#storedGenerations(): Iterable<StoredGeneration> {
    let from: Uint8Array = new KeyBuffer().start().u64(0).u32(0).copy()
    for (;;) {
      const first = this.#env.firstKey(this.#table, from, PAST_LAST)
      if (first === null) return
      const startMs = readU64(first, 0)
      const before = new KeyBuffer().start().u64(startMs).view()
      const next = new KeyBuffer()
        .start()
        .u64(startMs + 1)
        .view()
      const last = this.#env.lastKey(this.#table, before, next)
      assert(last !== null, 'a generation has a block', startMs)
      const block = readU32(last, 8)
      const bytes = this.#env.peek(this.#table, last)
      if (bytes === null) throw damaged(blockName(startMs, block), 'missing')
      const payload = unseal(bytes, () => blockName(startMs, block))
      const newestMs = new DataView(payload.buffer, payload.byteOffset, payload.length).getFloat64(0, true)
      yield { startMs, newestMs, count: block * BLOCK_ENTRIES + entriesOf(payload.length) }
      from = new KeyBuffer()
        .start()
        .u64(startMs + 1)
        .copy()
    }
  }

  /** Reads and checks every block of a generation. */
  #loadGeneration({ startMs, newestMs, count }: StoredGeneration): void {
    const generation = this.#begin(startMs, newestMs)
    const from = new KeyBuffer().start().u64(startMs).u32(0).view()
    const to = new KeyBuffer()
      .start()
      .u64(startMs + 1)
      .view()
    let last: Uint8Array | null = null
    let block = 0
    for (const { key, value } of this.#env.rows(this.#table, from, to)) {
      const isNext = readU32(key, 8) === block && generation.count === block * BLOCK_ENTRIES
      if (!isNext) throw damaged(blockName(startMs, block), 'missing')
      const payload = unseal(value, () => blockName(startMs, block))
      addEntries(this.#index, generation, payload)
      last = payload
      block++
    }
    if (last === null || generation.count !== count) throw damaged(blockName(startMs, block), 'missing')
    this.#count += count
    // Only the newest generation goes on, in its last block.
    this.#open = newBlock(startMs, block - 1)
    this.#open.bytes.set(last)
    this.#open.entries = entriesOf(last.length)
  }
}

function newBlock(startMs: number, block: number): Block {
  const bytes = new Uint8Array(BLOCK_BYTES)
  return { startMs, block, bytes, view: new DataView(bytes.buffer), entries: 0 }
}

function entriesOf(payloadBytes: number): number {
  return (payloadBytes - ENTRIES_AT) / ENTRY_BYTES
}

function entryAt(view: DataView, at: number, { a, b, c, d }: KeyHash): Receipt | null {
  const isSame =
    view.getInt32(at, true) === a &&
    view.getInt32(at + 4, true) === b &&
    view.getInt32(at + 8, true) === c &&
    view.getInt32(at + 12, true) === d
  return isSame ? readReceipt(view, at + HASH_BYTES) : null
}

/** hot */
function addEntries(index: KeyIndex, generation: Generation, payload: Uint8Array): void {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length)
  for (let at = ENTRIES_AT; at < payload.length; at += ENTRY_BYTES) {
    index.add(view.getInt32(at, true), generation.tag, generation.count)
    generation.count++
  }
}

function blockName(startMs: number, block: number): string {
  return `block ${block} of the idempotency keys of generation ${startMs} in the log`
}
