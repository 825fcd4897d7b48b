/**
 * Raw key bytes, as a sender writes them, to local series ids: what makes a decoder's look-up one comparison.
 *
 * An entry is one step of a path: (parent entry, raw bytes) → series id. A line's first key (`cpu,host=a usage=`) has
 * the parent ROOT; each further field (`idle=`) has its predecessor as parent. Each entry remembers its `follower`, the
 * entry that came after it last time, which a decoder tries before it hashes anything. Guarantees: a look-up compares
 * every byte, so neither a hash nor a prediction can give another key's series; entries are only added for bytes that a
 * strict parser accepted, so a hit proves them valid.
 *
 * Bounded in entries, bytes and probes. Over a bound, all entries are forgotten and learning starts again: aliases are a
 * cache, the series table is the truth. Decoders read the arrays directly; `clear` and growth replace them, so a hot
 * loop takes them to locals anew after every call that may add.
 *
 *     entries: Int32Array, ENTRY_CELLS a row           words: Int32Array, the key's bytes, little-endian, zero-padded
 *     [ keyAt | keyBytes | parent | seriesId | follower | hash | - | - ]
 */
import { assert } from '../util/assert.ts'
import { mix32 } from '../util/hash.ts'

export const ENTRY_SHIFT = 3
const ENTRY_CELLS = 1 << ENTRY_SHIFT
/** Columns of an entry. `KEY_AT` counts words. */
export const KEY_AT = 0
export const KEY_BYTES = 1
export const PARENT = 2
export const SERIES_ID = 3
export const FOLLOWER = 4
const HASH = 5

/** No entry, and the parent of a line's first key. Its row never matches: its parent is no entry's number. */
export const ROOT = 0
const NO_PARENT = -1
/** The field is known but no number was ever sent for it. */
export const NO_SERIES = -1

/** Longer raw keys are parsed anew each time. */
export const ALIAS_KEY_BYTES_MAX = 4_096
/** Senders may spell a series in this many ways (tag order, field combinations) before aliases are forgotten. */
export const ALIASES_PER_SERIES = 4
const ALIASES_MIN = 1_024
const ALIAS_BYTES_PER_SERIES = 1_024
const ALIAS_BYTES_MAX = 2 ** 30
/** A probe never walks further, so that chosen keys cannot make a look-up slow: what lies beyond is no alias. */
const PROBES_MAX = 128

/** Masks for the last, partial word of a key, by its number of bytes. */
export const WORD_MASKS = Int32Array.of(-1, 0xff, 0xffff, 0xffffff)

export class AliasTable {
  entries = new Int32Array(64 * ENTRY_CELLS)
  words = new Int32Array(1_024)
  /** Entry number by hash, 0: free. A power of two, at most half full. */
  slots = new Int32Array(128)
  /** The entry of the field decoded last; its follower is the prediction. */
  last = ROOT
  /** Times that a bound made the table forget. */
  clears = 0
  #count = 1
  #wordCount = 0
  readonly #countMax: number
  readonly #wordCountMax: number

  constructor(options: { readonly seriesLimit: number }) {
    this.#countMax = Math.max(ALIASES_MIN, options.seriesLimit * ALIASES_PER_SERIES) + 1
    this.#wordCountMax =
      Math.min(ALIAS_BYTES_MAX, Math.max(ALIASES_MIN, options.seriesLimit) * ALIAS_BYTES_PER_SERIES) >> 2
    this.entries[PARENT] = NO_PARENT
  }

  /** Entries, without the root. */
  get size(): number {
    return this.#count - 1
  }

  /** Makes room for a whole path, so that adding its steps cannot forget the ones before. False: it can never fit. */
  reserve(count: number, keyBytes: number): boolean {
    // Every key may waste a partial word.
    const words = (keyBytes >> 2) + count
    if (count + 1 > this.#countMax || words > this.#wordCountMax) return false
    if (this.#count + count > this.#countMax || this.#wordCount + words > this.#wordCountMax) {
      this.clear()
      this.clears++
    }
    this.#grow(count, words)
    return true
  }

  /** Adds bytes [from, to) below `parent` and returns the entry; ROOT: too many probes. Call `reserve` first. */
  add(bytes: Uint8Array, from: number, to: number, parent: number, seriesId: number): number {
    assert(to - from <= ALIAS_KEY_BYTES_MAX, 'an alias key has a bounded length', to - from)
    assert(parent < this.#count, 'an alias follows a known one', parent, this.#count)
    const entry = this.#count
    const keyAt = this.#wordCount
    const wordCount = (to - from + 3) >> 2
    assert((entry + 1) * ENTRY_CELLS <= this.entries.length, 'room was reserved', entry)
    assert(keyAt + wordCount <= this.words.length, 'room was reserved', keyAt, wordCount)
    for (let i = 0; i < wordCount; i++) this.words[keyAt + i] = wordAt(bytes, from + i * 4, to)
    const hash = hashWords(this.words, keyAt, wordCount, parent)
    if (!this.#index(entry, hash)) return ROOT
    const row = entry << ENTRY_SHIFT
    this.entries[row + KEY_AT] = keyAt
    this.entries[row + KEY_BYTES] = to - from
    this.entries[row + PARENT] = parent
    this.entries[row + SERIES_ID] = seriesId
    this.entries[row + FOLLOWER] = ROOT
    this.entries[row + HASH] = hash
    this.#count = entry + 1
    this.#wordCount = keyAt + wordCount
    return entry
  }

  setSeries(entry: number, seriesId: number): void {
    assert(entry > ROOT && entry < this.#count, 'a series belongs to a known alias', entry)
    this.entries[(entry << ENTRY_SHIFT) + SERIES_ID] = seriesId
  }

  clear(): void {
    if (this.#count > 1) this.slots.fill(0)
    this.#count = 1
    this.#wordCount = 0
    this.entries[FOLLOWER] = ROOT
    this.last = ROOT
  }

  #index(entry: number, hash: number): boolean {
    const mask = this.slots.length - 1
    let slot = hash & mask
    for (let probe = 0; probe < PROBES_MAX; probe++) {
      if (this.slots[slot] === 0) {
        this.slots[slot] = entry
        return true
      }
      slot = (slot + 1) & mask
    }
    return false
  }

  #grow(count: number, words: number): void {
    this.entries = grown(this.entries, (this.#count + count) * ENTRY_CELLS)
    this.words = grown(this.words, this.#wordCount + words)
    let slots = this.slots.length
    while (slots < (this.#count + count) * 2) slots *= 2
    if (slots === this.slots.length) return
    this.slots = new Int32Array(slots)
    // An entry that finds no slot any more is parsed anew and added again when it comes.
    for (let entry = 1; entry < this.#count; entry++) {
      this.#index(entry, this.entries[(entry << ENTRY_SHIFT) + HASH]!)
    }
  }
}

/**
 * The entry for bytes [from, to) below `parent`, or ROOT. `view` covers the same bytes.
 * hot: one call a field that prediction missed.
 */
export function findAlias(
  table: AliasTable,
  view: DataView,
  from: number,
  to: number,
  parent: number,
): number {
  const byteCount = to - from
  const wholeTo = from + (byteCount & ~3)
  if (byteCount > ALIAS_KEY_BYTES_MAX || wholeTo + 4 > view.byteLength) return ROOT
  const restMask = WORD_MASKS[byteCount & 3]!
  const hasRest = (byteCount & 3) !== 0
  let hash = parent
  for (let at = from; at < wholeTo; at += 4) hash = hashStep(hash, view.getInt32(at, true))
  if (hasRest) hash = hashStep(hash, view.getInt32(wholeTo, true) & restMask)
  hash = mix32(hash)
  const { entries, words, slots } = table
  const slotMask = slots.length - 1
  let slot = hash & slotMask
  for (let probe = 0; probe < PROBES_MAX; probe++) {
    const entry = slots[slot]!
    if (entry === ROOT) return ROOT
    const row = entry << ENTRY_SHIFT
    if (
      entries[row + HASH] === hash &&
      entries[row + KEY_BYTES] === byteCount &&
      entries[row + PARENT] === parent
    ) {
      let word = entries[row + KEY_AT]!
      let at = from
      while (at < wholeTo && view.getInt32(at, true) === words[word]) {
        at += 4
        word++
      }
      if (at === wholeTo && (!hasRest || (view.getInt32(at, true) & restMask) === words[word])) return entry
    }
    slot = (slot + 1) & slotMask
  }
  return ROOT
}

/** One round of MurmurHash3 (Appleby, public domain): a word's work stays off the dependency chain. */
function hashStep(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51)
  k = (k << 15) | (k >>> 17)
  let h = hash ^ Math.imul(k, 0x1b873593)
  h = (h << 13) | (h >>> 19)
  return (Math.imul(h, 5) + 0xe6546b64) | 0
}

function hashWords(words: Int32Array, at: number, count: number, parent: number): number {
  let hash = parent
  for (let i = at; i < at + count; i++) hash = hashStep(hash, words[i]!)
  return mix32(hash)
}

/** Four bytes from `at`, little-endian; bytes from `to` on count as zero. */
function wordAt(bytes: Uint8Array, at: number, to: number): number {
  let word = 0
  for (let i = 0; i < 4 && at + i < to; i++) word |= bytes[at + i]! << (i * 8)
  return word
}

function grown(array: Int32Array<ArrayBuffer>, length: number): Int32Array<ArrayBuffer> {
  if (length <= array.length) return array
  let capacity = array.length
  while (capacity < length) capacity *= 2
  const larger = new Int32Array(capacity)
  larger.set(array)
  return larger
}
