/**
 * Compares what a file holds beyond a remembered length with the stream it should hold, line by line. Whole lines that
 * are the stream's next ones are kept. What a crash in the middle of a write leaves is left out: a torn last line, and
 * after a power loss everything from the first line with a hole on, since of a write that was not synced any sector may be
 * missing (zeros, which JSON never holds) and later ones there. Anything else is a refusal, also behind a hole. Reads
 * only: cutting is the caller's business.
 */
import type { FileHandle } from 'node:fs/promises'
import type { SinkPositions, SinkRecord } from '../../engine/contract/plugins.ts'
import { positionAfter, recordJson } from './record-json.ts'

const READ_BYTES = 256 * 1024
/** No record is this long; a longer line is somebody else's. */
export const LINE_BYTES_MAX = 4 * 1024 * 1024
const SHOWN_BYTES = 80
const NEWLINE = 0x0a

export interface Tail {
  readonly file: FileHandle
  readonly fromByte: number
  readonly toByte: number
  readonly positions: SinkPositions
  readonly expected: (positions: SinkPositions) => Iterable<SinkRecord>
}

export interface TailVerdict {
  /** Bytes of the file, from its start, that are the stream's. */
  readonly lengthBytes: number
  readonly positions: SinkPositions
  /** Null: all of the tail is the stream's, but for what a crash left incomplete. */
  readonly mismatch: { readonly atByte: number; readonly found: string; readonly wanted: string } | null
}

export function lineOf(record: SinkRecord): Buffer {
  return Buffer.from(`${recordJson(record)}\n`)
}

export async function verifyTail(tail: Tail): Promise<TailVerdict> {
  const positions: Record<string, SinkPositions[string]> = { ...tail.positions }
  const streams = new ExpectedStreams(tail.positions, tail.expected)
  let lengthBytes = tail.fromByte
  let atByte = tail.fromByte
  let isHoled = false
  try {
    for await (const line of linesOf(tail.file, tail.fromByte, tail.toByte)) {
      const lineAt = atByte
      atByte += line.length
      const partition = partitionOf(line)
      if (isHoled) {
        if (line.includes(0) || streams.hasLater(partition, line)) continue
        return {
          lengthBytes,
          positions,
          mismatch: { atByte: lineAt, found: shown(line), wanted: WANTED_LATER },
        }
      }
      const wanted = partition === null ? null : streams.next(partition)
      if (partition !== null && wanted?.line.equals(line) === true) {
        streams.take(partition)
        positions[partition] = positionAfter(wanted.record)
        lengthBytes += line.length
        continue
      }
      const hole = line.indexOf(0)
      if (hole >= 0 && streams.someStartsWith(line.subarray(0, hole))) {
        isHoled = true
        continue
      }
      if (line.at(-1) !== NEWLINE && streams.someStartsWith(line)) break
      const mismatch = { atByte: lengthBytes, found: shown(line), wanted: wantedText(wanted, line) }
      return { lengthBytes, positions, mismatch }
    }
  } finally {
    streams.close()
  }
  return { lengthBytes, positions, mismatch: null }
}

interface ExpectedLine {
  readonly record: SinkRecord
  readonly line: Buffer
}

/** One line of look-ahead into the stream of each partition. */
class ExpectedStreams {
  readonly #positions: SinkPositions
  readonly #expected: Tail['expected']
  readonly #streams = new Map<string, { iterator: Iterator<SinkRecord>; next: ExpectedLine | null }>()

  constructor(positions: SinkPositions, expected: Tail['expected']) {
    this.#positions = positions
    this.#expected = expected
  }

  next(partition: string): ExpectedLine | null {
    const known = this.#streams.get(partition)
    if (known !== undefined) return known.next
    const position = this.#positions[partition]
    if (position === undefined) return null
    const iterator = this.#expected({ [partition]: position })[Symbol.iterator]()
    const stream = { iterator, next: pull(iterator) }
    this.#streams.set(partition, stream)
    return stream.next
  }

  take(partition: string): void {
    const stream = this.#streams.get(partition)
    if (stream !== undefined) stream.next = pull(stream.iterator)
  }

  someStartsWith(torn: Buffer): boolean {
    if (torn.length === 0) return true
    return Object.keys(this.#positions).some((partition) => {
      const line = this.next(partition)?.line
      return line !== undefined && line.length > torn.length && line.subarray(0, torn.length).equals(torn)
    })
  }

  /** A line of the stream behind those taken so far, or the beginning of one. Takes what it passes. */
  hasLater(partition: string | null, line: Buffer): boolean {
    const isTorn = line.at(-1) !== NEWLINE
    // Torn before it named its partition: it may be any one's.
    const partitions = partition === null && isTorn ? Object.keys(this.#positions) : [partition]
    return partitions.some((name) => {
      if (name === null) return false
      for (let next = this.next(name); next !== null; next = this.next(name)) {
        if (isTorn ? next.line.subarray(0, line.length).equals(line) : next.line.equals(line)) return true
        this.take(name)
      }
      return false
    })
  }

  close(): void {
    for (const { iterator } of this.#streams.values()) iterator.return?.()
  }
}

function pull(iterator: Iterator<SinkRecord>): ExpectedLine | null {
  const next = iterator.next()
  return next.done === true ? null : { record: next.value, line: lineOf(next.value) }
}

/** Lines with their newline; the last one without, if the file ends in the middle of a line. */
async function* linesOf(file: FileHandle, fromByte: number, toByte: number): AsyncGenerator<Buffer> {
  const chunk = Buffer.alloc(READ_BYTES)
  let carry: Buffer = Buffer.alloc(0)
  let at = fromByte
  while (at < toByte) {
    const { bytesRead } = await file.read(chunk, 0, Math.min(READ_BYTES, toByte - at), at)
    if (bytesRead === 0) break
    at += bytesRead
    let rest: Buffer = Buffer.concat([carry, chunk.subarray(0, bytesRead)])
    for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE)) {
      yield rest.subarray(0, end + 1)
      rest = rest.subarray(end + 1)
    }
    carry = rest
    if (carry.length > LINE_BYTES_MAX) break
  }
  if (carry.length > 0) yield carry
}

const WANTED_LATER = 'a record that comes later in the stream: sectors before it never arrived'
const ID_BYTES_MAX = 512

function partitionOf(line: Buffer): string | null {
  const head = line.toString('utf8', 0, Math.min(line.length, ID_BYTES_MAX))
  return /^\{"id":"[^"]*\/(\d+)\/\d+\/\d+"/.exec(head)?.[1] ?? null
}

function shown(line: Buffer): string {
  const text = JSON.stringify(line.toString('utf8', 0, Math.min(line.length, SHOWN_BYTES)))
  return line.length > SHOWN_BYTES ? `${text}…` : text
}

function wantedText(wanted: ExpectedLine | null, line: Buffer): string {
  if (wanted !== null) return `the record ${wanted.record.id} as the stream holds it`
  return line.at(-1) === NEWLINE
    ? 'nothing: the stream has no such record'
    : 'the beginning of a record of the stream'
}
