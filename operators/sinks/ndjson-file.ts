/**
 * A file of JSON lines, each record exactly once. What counts as written is a length in bytes, remembered by the state
 * store together with the stream positions it stands for. Every write is at that length and is on disk (fdatasync)
 * before its length is handed back. On open the bytes beyond the remembered length are compared with the stream:
 * what matches is kept, a torn last line is cut, anything else is a refusal. Bytes that this sink did not write are
 * never overwritten. One process and one sink may write a file; a second writer is noticed and refused.
 */
import { constants } from 'node:fs'
import { copyFile, type FileHandle, open as openFile, rename, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import { type OptionInputOf, type OptionsOf, optionSpec, text } from '../../engine/config/options.ts'
import { DEFINITION, type SinkChoice } from '../../engine/contract/definition.ts'
import { MillraceError } from '../../engine/contract/errors.ts'
import type {
  SinkContext,
  SinkPlugin,
  SinkPositions,
  SinkProgress,
  SinkRecord,
  TransactionalSink,
} from '../../engine/contract/plugins.ts'
import { assert } from '../../engine/util/assert.ts'
import { killPoint } from '../../engine/util/kill-point.ts'
import { lineOf, verifyTail } from './file-tail.ts'

/** Bytes before the remembered length whose checksum is remembered with it: another file of equal length is noticed. */
const CHECKED_BYTES = 4_096
const RETRYABLE_CODES = new Set(['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE', 'EAGAIN', 'EINTR'])

const options = optionSpec({
  path: {
    type: text({ allowed: 'the path of a file in a directory that exists' }),
    meaning: 'the file; relative to where millrace was started',
  },
})

export type NdjsonFileOptions = OptionsOf<typeof options>

/** Appends JSON lines to a file, each record exactly once.
 *
 *     .to(ndjsonFile({ path: 'alerts.ndjson' }))
 */
export function ndjsonFile(written: OptionInputOf<typeof options>): SinkChoice {
  return { [DEFINITION]: { what: 'sink', kind: 'ndjson-file', options: written } }
}

export const ndjsonFilePlugin: SinkPlugin<NdjsonFileOptions> = {
  kind: 'ndjson-file',
  summary: 'appends JSON lines to a file, each record exactly once',
  guarantee: 'transactional',
  options,
  open: ({ path }, context) => openNdjsonFile(path, context),
}

/** What the state store remembers. `path` as written: with another path the sink goes on in a new file. */
interface FileToken {
  readonly path: string
  readonly lengthBytes: number
  readonly crc32: number
  /** The takeover after which the file was moved out of reach; not there: none. */
  readonly takeover?: number
}

/** `open` is for tests that let a disk fail. */
export async function openNdjsonFile(
  path: string,
  context: SinkContext,
  open: typeof openFile = openFile,
): Promise<TransactionalSink> {
  const file = new NdjsonFile(path, context, open)
  await file.checkPlace()
  return file
}

class NdjsonFile implements TransactionalSink {
  readonly guarantee = 'transactional'
  readonly #path: string
  readonly #name: string
  readonly #takeover: number
  readonly #open: typeof openFile
  #file: FileHandle | null = null
  /** All bytes before it are the stream's, and on disk. */
  #lengthBytes = 0
  #checked: Buffer = Buffer.alloc(0)
  /** A write failed half-way: what lies beyond the length, up to here at most, is ours and may be cut. */
  #dirtyUpToBytes = 0

  constructor(path: string, context: SinkContext, open: typeof openFile) {
    this.#path = path
    this.#name = `Sink ${context.pipeline}/${context.sink}`
    this.#takeover = context.takeover ?? 0
    this.#open = open
  }

  async checkPlace(): Promise<void> {
    const directory = dirname(this.#path)
    const place = await stat(directory).catch(() => null)
    if (place?.isDirectory() !== true) {
      throw this.#refusal(`its directory ${JSON.stringify(directory)} does not exist`, 'Make the directory.')
    }
    const file = await this.#stat()
    if (file !== null && !file.isFile()) {
      throw this.#refusal('it is not a regular file', 'Name a regular file, or use the sink stdout.')
    }
  }

  async position(
    remembered: SinkProgress,
    expected: (positions: SinkPositions) => Iterable<SinkRecord>,
  ): Promise<SinkProgress> {
    await this.close()
    const token = this.#tokenOf(remembered.token)
    try {
      const sizeBytes = (await this.#stat())?.size ?? null
      if (token.lengthBytes > (sizeBytes ?? 0)) {
        const found = sizeBytes === null ? 'it is gone' : `it has ${sizeBytes} bytes`
        throw this.#refusal(`${found}, ${token.lengthBytes} were written`, REMEDY_CHANGED)
      }
      if (sizeBytes !== null && (token.takeover ?? 0) !== this.#takeover) await this.#moveOutOfReach()
      const file = await this.#open(this.#path, constants.O_RDWR | constants.O_CREAT, 0o644)
      this.#file = file
      if (sizeBytes === null) await syncDirectory(dirname(this.#path))
      await this.#readChecked(file, token)
      return await this.#adoptTail(file, sizeBytes ?? 0, token.lengthBytes, remembered.positions, expected)
    } catch (error) {
      await this.close()
      throw this.#failure('cannot be opened', error)
    }
  }

  async write(records: readonly SinkRecord[]): Promise<unknown> {
    const file = this.#file
    assert(file !== null, 'position() comes before write()', this.#path)
    const bytes = Buffer.concat(records.map(lineOf))
    try {
      await this.#checkUnchanged(file)
      killPoint('file-checked')
      this.#dirtyUpToBytes = this.#lengthBytes + bytes.length
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await file.write(bytes, done, bytes.length - done, this.#lengthBytes + done)
        done += bytesWritten
      }
      killPoint('file-written')
      await file.datasync()
      killPoint('file-synced')
    } catch (error) {
      throw this.#failure('cannot be written', error)
    }
    this.#lengthBytes += bytes.length
    this.#checked = lastBytes(Buffer.concat([this.#checked, bytes]))
    return this.#token()
  }

  async close(): Promise<void> {
    const file = this.#file
    this.#file = null
    await file?.close()
  }

  async #adoptTail(
    file: FileHandle,
    sizeBytes: number,
    fromByte: number,
    positions: SinkPositions,
    expected: (positions: SinkPositions) => Iterable<SinkRecord>,
  ): Promise<SinkProgress> {
    const verdict = await verifyTail({ file, fromByte, toByte: sizeBytes, positions, expected })
    if (verdict.mismatch !== null) {
      const { atByte, found, wanted } = verdict.mismatch
      const problem = `from byte ${atByte} on it holds ${found}, but wanted there is ${wanted}`
      throw this.#refusal(problem, fromByte === 0 ? REMEDY_FOREIGN : REMEDY_CHANGED)
    }
    if (verdict.lengthBytes < sizeBytes) await file.truncate(verdict.lengthBytes)
    // The kept tail may so far be in the page cache only, and the positions we return will be taken for durable.
    if (sizeBytes > fromByte) await file.datasync()
    this.#lengthBytes = verdict.lengthBytes
    this.#checked = await readBefore(file, verdict.lengthBytes)
    this.#dirtyUpToBytes = 0
    return { positions: verdict.positions, token: this.#token() }
  }

  async #readChecked(file: FileHandle, token: FileToken): Promise<void> {
    const checked = await readBefore(file, token.lengthBytes)
    if (crc32(checked) === token.crc32) return
    throw this.#refusal(
      `what it holds before byte ${token.lengthBytes} is not what was written`,
      REMEDY_CHANGED,
    )
  }

  /**
   * A frozen process that wakes up finishes the write it was about to make, whatever has become of the file: its
   * descriptor must no longer lead to it. So the file is replaced by its copy; the old one loses its name.
   */
  async #moveOutOfReach(): Promise<void> {
    const copy = `${this.#path}.taking-over`
    await copyFile(this.#path, copy, constants.COPYFILE_FICLONE)
    const file = await this.#open(copy, constants.O_RDWR)
    try {
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(copy, this.#path)
    await syncDirectory(dirname(this.#path))
  }

  /** Nobody else wrote, cut, moved or replaced the file since our last write. */
  async #checkUnchanged(file: FileHandle): Promise<void> {
    const [held, named] = await Promise.all([file.stat(), this.#stat()])
    if (named === null || named.ino !== held.ino || named.dev !== held.dev) {
      throw this.#refusal('it was moved, deleted or replaced while in use', REMEDY_CHANGED)
    }
    if (held.size === this.#lengthBytes) return
    if (held.size > this.#lengthBytes && held.size <= this.#dirtyUpToBytes) {
      await file.truncate(this.#lengthBytes)
      return
    }
    const sizes = `it has ${held.size} bytes, ${this.#lengthBytes} were written`
    throw this.#refusal(`somebody else changed it: ${sizes}`, REMEDY_CHANGED)
  }

  async #stat() {
    return stat(this.#path).catch((error: unknown) => {
      if (codeOf(error) === 'ENOENT') return null
      throw this.#failure('cannot be looked at', error)
    })
  }

  #token(): FileToken {
    const token = { path: this.#path, lengthBytes: this.#lengthBytes, crc32: crc32(this.#checked) }
    return this.#takeover === 0 ? token : { ...token, takeover: this.#takeover }
  }

  #tokenOf(token: unknown): FileToken {
    const start: FileToken = { path: this.#path, lengthBytes: 0, crc32: 0 }
    if (token === null) return start
    if (!isFileToken(token)) {
      throw this.#refusal(
        `its remembered state ${JSON.stringify(token)} is of another kind`,
        'Rename the sink.',
      )
    }
    return token.path === this.#path ? token : start
  }

  #refusal(problem: string, remedy: string): MillraceError {
    const path = JSON.stringify(this.#path)
    return new MillraceError(
      'SINK_FAILED',
      `${this.#name} cannot use the file ${path}: ${problem}. ${remedy}`,
    )
  }

  #failure(what: string, error: unknown): MillraceError {
    if (error instanceof MillraceError) return error
    const code = codeOf(error)
    const retryable = code !== null && RETRYABLE_CODES.has(code)
    const reason = error instanceof Error ? error.message : String(error)
    const remedy = retryable
      ? 'It is tried again; nothing is lost meanwhile.'
      : 'Repair this and start again.'
    const message = `${this.#name}: the file ${JSON.stringify(this.#path)} ${what}: ${reason}. ${remedy}`
    return new MillraceError('SINK_FAILED', message, { retryable, cause: error })
  }
}

const REMEDY_CHANGED =
  'Put the file back as it was, or give the sink another path: it then goes on in a new file where this one ended.'
const REMEDY_FOREIGN = 'Move the file away, or give the sink another path.'

function isFileToken(token: unknown): token is FileToken {
  if (typeof token !== 'object' || token === null) return false
  const { path, lengthBytes, crc32: sum } = token as Partial<FileToken>
  return typeof path === 'string' && Number.isSafeInteger(lengthBytes) && Number.isSafeInteger(sum)
}

function lastBytes(bytes: Buffer): Buffer {
  return bytes.length <= CHECKED_BYTES ? bytes : Buffer.from(bytes.subarray(bytes.length - CHECKED_BYTES))
}

async function readBefore(file: FileHandle, endByte: number): Promise<Buffer> {
  const bytes = Buffer.alloc(Math.min(CHECKED_BYTES, endByte))
  let done = 0
  while (done < bytes.length) {
    const { bytesRead } = await file.read(bytes, done, bytes.length - done, endByte - bytes.length + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  return bytes.subarray(0, done)
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await openFile(path, constants.O_RDONLY)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

function codeOf(error: unknown): string | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null
}
