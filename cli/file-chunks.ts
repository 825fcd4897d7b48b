/**
 * The bytes of an input, chunk by chunk: a file as it is, a file of gzip unpacked, or stdin. What is counted are bytes as they
 * were read, so packed ones of gzip: they are what the size of the file says. A chunk may be overwritten by the next. Knows
 * no format.
 */
import type { FileHandle } from 'node:fs/promises'
import { pipeline as pipe } from 'node:stream'
import { createGunzip } from 'node:zlib'

export const CHUNK_BYTES: number = 1 << 20
/** Of a packed file; what comes out of it is handed on in CHUNK_BYTES at most. */
const PACKED_BYTES = 1 << 16

export interface FileChunks {
  /** Null: at the end, or the signal came first. */
  next(): Promise<Uint8Array | null>
  /** May be called twice. */
  close(): Promise<void>
}

type Count = (bytes: number) => void

export function plainChunks(handle: FileHandle, count: Count): FileChunks {
  const buffer = new Uint8Array(CHUNK_BYTES)
  return {
    async next() {
      const { bytesRead } = await handle.read(buffer, 0, CHUNK_BYTES)
      count(bytesRead)
      return bytesRead === 0 ? null : buffer.subarray(0, bytesRead)
    },
    close: () => handle.close(),
  }
}

/** Several members one after another are one file, as `cat a.gz b.gz` makes it. A file that is cut off is an error. */
export function gzipChunks(handle: FileHandle, signal: AbortSignal, count: Count): FileChunks {
  const unpacked = createGunzip({ chunkSize: CHUNK_BYTES })
  // An error reaches whoever reads; one that comes after the last read is of no consequence.
  pipe(packedChunks(handle, count), unpacked, () => {})
  const { next } = streamChunks(unpacked, signal, () => {})
  return {
    next,
    async close() {
      unpacked.destroy()
      await handle.close()
    },
  }
}

/** Each chunk has a buffer of its own, for the unpacker may hold several. */
async function* packedChunks(handle: FileHandle, count: Count): AsyncGenerator<Uint8Array> {
  for (;;) {
    const { bytesRead, buffer } = await handle.read(new Uint8Array(PACKED_BYTES), 0, PACKED_BYTES)
    if (bytesRead === 0) return
    count(bytesRead)
    yield buffer.subarray(0, bytesRead)
  }
}

export function streamChunks(
  stream: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
  count: Count,
): FileChunks {
  const chunks = stream[Symbol.asyncIterator]()
  return {
    async next() {
      const next = await abortable(chunks.next(), signal)
      if (next === null || next.done === true) return null
      count(next.value.length)
      return next.value
    },
    close: () => Promise.resolve(),
  }
}

/** zlib's own words are of no help to those who have no idea that it is at work. */
export function readProblem(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  if (code?.startsWith('Z_') !== true) return `cannot be read: ${message}`
  return `is no gzip, or damaged, or cut off (${message}). Check it with gzip -t.`
}

/** stdin may be silent for ever. */
function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T | null> {
  return new Promise((resolve, reject) => {
    const stop = (): void => resolve(null)
    signal.addEventListener('abort', stop, { once: true })
    if (signal.aborted) stop()
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}
