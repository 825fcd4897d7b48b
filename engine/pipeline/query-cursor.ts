/**
 * The cursor of a paged query: where each partition's stream goes on, and a digest of the query it belongs to. Opaque to
 * the asker; never trusted on the way back. Layout before base64url: u8 version, u32 digest, u32 checksum of what
 * follows, then for each partition LEB128 seq and row.
 */
import { crc32 } from 'node:zlib'
import { MillraceError } from '../contract/errors.ts'
import { fnv1a, mix32 } from '../util/hash.ts'

const VERSION = 1
const HEADER_BYTES = 9
const VARINT_BYTES_MAX = 8

export interface RowPosition {
  readonly seq: number
  readonly row: number
}

/** Of everything that decides which rows a query has, in one text. */
export function queryDigest(query: unknown): number {
  const bytes = Buffer.from(JSON.stringify(query))
  return mix32(fnv1a(bytes, 0, bytes.length)) >>> 0
}

export function encodeCursor(digest: number, positions: readonly RowPosition[]): string {
  const bytes: number[] = []
  for (const { seq, row } of positions) {
    putVarint(bytes, seq)
    putVarint(bytes, row)
  }
  const body = Buffer.from(bytes)
  const head = Buffer.alloc(HEADER_BYTES)
  head.writeUInt8(VERSION, 0)
  head.writeUInt32LE(digest, 1)
  head.writeUInt32LE(crc32(body), 5)
  return Buffer.concat([head, body]).toString('base64url')
}

export function decodeCursor(cursor: string, digest: number, partitions: number): RowPosition[] {
  const bytes = Buffer.from(cursor, 'base64url')
  const body = bytes.subarray(HEADER_BYTES)
  const ours =
    bytes.length >= HEADER_BYTES &&
    bytes.readUInt8(0) === VERSION &&
    bytes.readUInt32LE(1) === digest &&
    bytes.readUInt32LE(5) === crc32(body)
  const numbers = ours ? varints(body) : []
  if (numbers.length !== 2 * partitions) {
    const message =
      'The cursor is not one that this query gave out. Ask again without it, from the beginning.'
    throw new MillraceError('INPUT_INVALID', message)
  }
  return Array.from({ length: partitions }, (_, i) => ({ seq: numbers[2 * i]!, row: numbers[2 * i + 1]! }))
}

function putVarint(bytes: number[], value: number): void {
  let rest = value
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80)
    rest = Math.floor(rest / 0x80)
  }
  bytes.push(rest)
}

function varints(bytes: Uint8Array): number[] {
  const numbers: number[] = []
  let value = 0
  let digits = 0
  for (const byte of bytes) {
    value += (byte & 0x7f) * 0x80 ** digits
    digits++
    if (byte >= 0x80 && digits < VARINT_BYTES_MAX) continue
    numbers.push(value)
    value = 0
    digits = 0
  }
  return digits === 0 ? numbers : []
}
