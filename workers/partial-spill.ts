/**
 * What the chain of one partition sends to the owners of its groups during a replay, in files: a replay has no store, and
 * owners begin when every partition is through. One writer, then any number of readers. Memory: one buffer a file, and a
 * reader's group keys. The files are the replay's own and go with it, so they carry no CRC.
 *
 *     NAME.sent     entry after entry: i32 length, i32 kind, f64 causeOffset, f64 eventTimeMs, bytes up to a multiple of 8
 *     NAME.index    f64 position in NAME.sent, by number of the entry
 *     NAME.groups   group keys in order of their ids: i32 length, bytes
 */
import { closeSync, existsSync, openSync, readFileSync, readSync, statSync, writeSync } from 'node:fs'
import type { EntrySink } from '../engine/contract/entries.ts'
import { MillraceError } from '../engine/contract/errors.ts'
import { ENTRY_BYTES_MAX } from '../engine/pipeline/entry-writer.ts'
import type { Entry } from '../engine/store/state-contract.ts'
import { assert } from '../engine/util/assert.ts'

const HEADER_BYTES = 24
const KIND_AT = 4
const CAUSE_AT = 8
const TIME_AT = 16
const POSITION_BYTES = 8
const LENGTH_BYTES = 4
const BUFFER_BYTES = 1 << 20

/** Writes all of the bytes, or says what to do: the disk is full, as a rule. */
export function writeWhole(fd: number, path: string, bytes: Uint8Array): void {
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at)
  } catch (error) {
    throw cannotWrite(path, error)
  }
}

export function openNew(path: string): number {
  try {
    return openSync(path, 'wx')
  } catch (error) {
    throw cannotWrite(path, error)
  }
}

function cannotWrite(path: string, error: unknown): MillraceError {
  const reason = error instanceof Error ? error.message : String(error)
  return new MillraceError(
    'STORE_IO',
    `the replay cannot write ${path}: ${reason}. Make room, or name another directory with --into.`,
    { cause: error },
  )
}

export class SpillWriter {
  /** Takes what the chain sends on; group definitions come by `group`. */
  readonly sink: EntrySink
  readonly #sent: AppendFile
  readonly #index: AppendFile
  readonly #groups: AppendFile
  #nextSeq = 0
  #groupCount = 0

  constructor(path: string) {
    this.#sent = new AppendFile(`${path}.sent`)
    this.#index = new AppendFile(`${path}.index`)
    this.#groups = new AppendFile(`${path}.groups`)
    this.sink = {
      group: (groupId, key) => this.group(groupId, key),
      entry: (kind, seq, causeOffset, eventTimeMs, bytes, length) => {
        assert(seq === this.#nextSeq++, 'entries are numbered without a gap', seq, this.#nextSeq)
        this.#index.claim(POSITION_BYTES).setFloat64(0, this.#sent.position, true)
        const view = this.#sent.claim(HEADER_BYTES + padded(length))
        view.setInt32(0, length, true)
        view.setInt32(KIND_AT, kind, true)
        view.setFloat64(CAUSE_AT, causeOffset, true)
        view.setFloat64(TIME_AT, eventTimeMs, true)
        new Uint8Array(view.buffer, view.byteOffset + HEADER_BYTES).set(bytes.subarray(0, length))
      },
    }
  }

  group(groupId: number, key: Uint8Array): void {
    assert(groupId === this.#groupCount++, 'groups are numbered without a gap', groupId, this.#groupCount)
    const view = this.#groups.claim(LENGTH_BYTES + key.length)
    view.setInt32(0, key.length, true)
    new Uint8Array(view.buffer, view.byteOffset + LENGTH_BYTES).set(key)
  }

  flush(): void {
    for (const file of [this.#sent, this.#index, this.#groups]) file.flush()
  }

  /** What is buffered is given up unless it was flushed. */
  close(): void {
    for (const file of [this.#sent, this.#index, this.#groups]) file.close()
  }
}

/** Bytes to the end of a file through one buffer; the file is made with its first bytes. */
class AppendFile {
  readonly #path: string
  #buffer: Uint8Array = new Uint8Array(0)
  #fill = 0
  #written = 0
  #fd = -1

  constructor(path: string) {
    this.#path = path
  }

  /** Where the next bytes will stand. */
  get position(): number {
    return this.#written + this.#fill
  }

  /** Room for so many bytes, to be filled in at once. */
  claim(length: number): DataView {
    if (this.#fill + length > this.#buffer.length) {
      this.flush()
      if (this.#buffer.length < length) this.#buffer = new Uint8Array(Math.max(BUFFER_BYTES, length))
    }
    const at = this.#fill
    this.#fill += length
    return new DataView(this.#buffer.buffer, at, length)
  }

  flush(): void {
    if (this.#fill === 0) return
    if (this.#fd < 0) this.#fd = openNew(this.#path)
    writeWhole(this.#fd, this.#path, this.#buffer.subarray(0, this.#fill))
    this.#written += this.#fill
    this.#fill = 0
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd)
    this.#fd = -1
  }
}

export class SpillReader {
  /** By group id. */
  readonly groupKeys: readonly Uint8Array[]
  readonly #path: string
  readonly #sent: number
  readonly #index: number
  readonly #buffer: Uint8Array<ArrayBuffer>
  readonly #position: Uint8Array<ArrayBuffer> = new Uint8Array(POSITION_BYTES)
  /** Bytes of the buffer that are read, and of these taken. */
  #fill = 0
  #taken = 0
  /** Of the first byte after the buffer's. */
  #readFrom = 0
  #nextSeq = 0

  /** `bufferBytes`: read at once; at least one entry of the largest kind. */
  constructor(path: string, bufferBytes = BUFFER_BYTES) {
    this.#path = path
    this.#buffer = new Uint8Array(Math.max(bufferBytes, HEADER_BYTES + padded(ENTRY_BYTES_MAX)))
    this.groupKeys = readGroups(`${path}.groups`)
    this.#sent = openIfThere(`${path}.sent`)
    this.#index = openIfThere(`${path}.index`)
  }

  /** How many entries were written there, and flushed. */
  static entriesOf(path: string): number {
    return (statSync(`${path}.index`, { throwIfNoEntry: false })?.size ?? 0) / POSITION_BYTES
  }

  /** The next entry in order; null: that was the last. */
  next(): Entry | null {
    if (!this.#fillTo(HEADER_BYTES)) return null
    const at = this.#taken
    const view = new DataView(this.#buffer.buffer, at, HEADER_BYTES)
    const length = view.getInt32(0, true)
    const kind = view.getInt32(KIND_AT, true)
    const causeOffset = view.getFloat64(CAUSE_AT, true)
    const eventTimeMs = view.getFloat64(TIME_AT, true)
    assert(this.#fillTo(HEADER_BYTES + padded(length)), 'an entry is whole', this.#path, this.#nextSeq)
    const from = this.#taken + HEADER_BYTES
    const bytes = this.#buffer.slice(from, from + length)
    this.#taken += HEADER_BYTES + padded(length)
    return { seq: this.#nextSeq++, kind, causeOffset, eventTimeMs, bytes }
  }

  /** The bytes of an entry that `next` has given before. */
  entry(seq: number): Uint8Array {
    readWhole(this.#index, this.#path, this.#position, seq * POSITION_BYTES)
    const at = new DataView(this.#position.buffer).getFloat64(0, true)
    const header = new Uint8Array(HEADER_BYTES)
    readWhole(this.#sent, this.#path, header, at)
    const bytes = new Uint8Array(new DataView(header.buffer).getInt32(0, true))
    readWhole(this.#sent, this.#path, bytes, at + HEADER_BYTES)
    return bytes
  }

  close(): void {
    if (this.#sent >= 0) closeSync(this.#sent)
    if (this.#index >= 0) closeSync(this.#index)
  }

  /** False: the file ends before. */
  #fillTo(length: number): boolean {
    if (this.#fill - this.#taken >= length) return true
    if (this.#sent < 0) return false
    this.#buffer.copyWithin(0, this.#taken, this.#fill)
    this.#fill -= this.#taken
    this.#taken = 0
    while (this.#fill < length) {
      const room = this.#buffer.length - this.#fill
      const read = readSync(this.#sent, this.#buffer, this.#fill, room, this.#readFrom)
      if (read === 0) break
      this.#fill += read
      this.#readFrom += read
    }
    assert(this.#fill === 0 || this.#fill >= length, 'an entry is whole', this.#path, this.#nextSeq)
    return this.#fill >= length
  }
}

function readWhole(fd: number, path: string, into: Uint8Array, position: number): void {
  for (let at = 0; at < into.length; ) {
    const read = readSync(fd, into, at, into.length - at, position + at)
    assert(read > 0, 'what was written can be read', path, position)
    at += read
  }
}

function openIfThere(path: string): number {
  return existsSync(path) ? openSync(path, 'r') : -1
}

function readGroups(path: string): Uint8Array[] {
  const keys: Uint8Array[] = []
  if (!existsSync(path)) return keys
  const file = readFileSync(path)
  const bytes = new Uint8Array(file.buffer, file.byteOffset, file.length)
  for (let at = 0; at < bytes.length; ) {
    const length = file.readInt32LE(at)
    keys.push(bytes.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + length))
    at += LENGTH_BYTES + length
  }
  return keys
}

/** Entries begin at multiples of 8, so that a view of numbers fits over them. */
function padded(length: number): number {
  return (length + 7) & ~7
}
