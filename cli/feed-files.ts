/**
 * Files and stdin into a node, as fast as they can be read: big chunks, decoded on this thread while earlier samples are
 * being made durable. Several inputs are merged by time. Backpressure is the append's own: at most APPENDS_IN_FLIGHT_MAX
 * are waited for at once. A column that is not there stops everything; a bad line stops nothing and is reported.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { basename, extname, resolve } from 'node:path'
import { SampleBuilder } from '../engine/batch/sample-builder.ts'
import { knownRemedy } from '../engine/config/did-you-mean.ts'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import type { NodeInput } from '../engine/contract/node.ts'
import {
  type ColumnDecoder,
  type ColumnOptions,
  type ColumnReport,
  NO_SUCH_COLUMN,
} from '../operators/sources/columns.ts'
import { csvDecoder } from '../operators/sources/csv.ts'
import { ndjsonDecoder } from '../operators/sources/ndjson.ts'
import { mergeByTime } from './time-merge.ts'

export const CHUNK_BYTES = 1 << 20
export const APPENDS_IN_FLIGHT_MAX = 4
/** Each holds a file open and a chunk in memory. */
export const INPUTS_MAX = 256

export const STDIN = '-'
export const FORMATS = ['csv', 'ndjson'] as const
export type Format = (typeof FORMATS)[number]
const FORMAT_OF: Readonly<Record<string, Format>> = {
  '.csv': 'csv',
  '.tsv': 'csv',
  '.ndjson': 'ndjson',
  '.jsonl': 'ndjson',
}

export function isDataFile(word: string): boolean {
  return word === STDIN || Object.hasOwn(FORMAT_OF, extname(word).toLowerCase())
}

export interface InputOptions extends Omit<ColumnOptions, 'name'> {
  /** Default: the file's stem, or `stdin`. */
  readonly name?: string
  /** Default: by extension; stdin has none. */
  readonly format?: Format
  readonly delimiter?: string
  readonly header?: readonly string[]
  readonly latestMs?: number
}

export interface FileReport extends ColumnReport {
  readonly file: string
}

export interface FeedReport {
  readonly files: readonly FileReport[]
  /** Samples that the node took. */
  readonly samples: number
  /** Of series over the topic's limit. */
  readonly refusedSamples: number
}

/** Seen by the progress display. */
export interface FeedProgress {
  bytesRead: number
  /** Of all files; NaN when stdin is among them. */
  bytesTotal: number
  samples: number
}

export interface FeedOptions {
  readonly files: readonly string[]
  readonly cwd: string
  readonly stdin: AsyncIterable<Uint8Array>
  readonly input: NodeInput
  readonly options: InputOptions
  readonly progress: FeedProgress
  /** Reading ends early, after a whole chunk. */
  readonly signal: AbortSignal
}

export async function feedFiles(feed: FeedOptions): Promise<FeedReport> {
  const sources = await openSources(feed)
  try {
    return await feedSources(sources, feed)
  } catch (error) {
    throw withFlags(error)
  } finally {
    await Promise.all(sources.map((source) => source.close()))
  }
}

/** Which column is meant is said on the command line, and decoders know nothing of that. */
function withFlags(error: unknown): unknown {
  if (!(error instanceof MillraceError) || !error.faults.some(({ problem }) => problem === NO_SUCH_COLUMN)) {
    return error
  }
  const hint = 'Say which columns are meant with --time, --value and --labels.'
  return new MillraceError(error.code, `${error.message}\n  ${hint}`, { faults: error.faults, cause: error })
}

async function feedSources(sources: readonly FileSource[], feed: FeedOptions): Promise<FeedReport> {
  const appender = new Appender(feed.input, feed.progress)
  const only = sources.length === 1 ? sources[0]! : null
  if (only !== null) {
    const { builder } = only
    while (await only.fill()) await appender.append(builder)
  } else {
    const builder = new SampleBuilder()
    await mergeByTime(sources, builder, () => appender.append(builder))
  }
  const { refusedSamples } = await appender.finish()
  return {
    // Of a run that was broken off, only what was stored is known.
    files: feed.signal.aborted ? [] : sources.map((source) => source.report()),
    samples: feed.progress.samples - refusedSamples,
    refusedSamples,
  }
}

class Appender {
  readonly #input: NodeInput
  readonly #progress: FeedProgress
  readonly #inFlight: Promise<void>[] = []
  #refusedSamples = 0

  constructor(input: NodeInput, progress: FeedProgress) {
    this.#input = input
    this.#progress = progress
  }

  /** Takes what is in the builder and empties it. */
  async append(builder: SampleBuilder): Promise<void> {
    const { count } = builder
    if (count > 0) {
      const appended = this.#input.append(builder).then(({ refusedSamples }) => {
        this.#refusedSamples += refusedSamples
        this.#progress.samples += count
      })
      // A failure is met at the await; until then it must not count as unhandled.
      appended.catch(() => {})
      this.#inFlight.push(appended)
      builder.clear()
    }
    while (this.#inFlight.length >= APPENDS_IN_FLIGHT_MAX) await this.#inFlight.shift()
  }

  async finish(): Promise<{ readonly refusedSamples: number }> {
    await Promise.all(this.#inFlight)
    return { refusedSamples: this.#refusedSamples }
  }
}

async function openSources(feed: FeedOptions): Promise<FileSource[]> {
  const { files, cwd, progress } = feed
  refuseInputs(files, feed.options)
  const sources: FileSource[] = []
  const faults: Fault[] = []
  for (const file of files) {
    let handle: FileHandle | null = null
    try {
      if (file !== STDIN) handle = await open(resolve(cwd, file), 'r')
      sources.push(new FileSource(file, handle, feed))
      const stat = await handle?.stat()
      if (stat?.isDirectory() === true) {
        const remedy = 'Name the files in it.'
        faults.push({ place: file, value: file, problem: 'is a directory', remedy })
      }
      progress.bytesTotal += stat?.size ?? Number.NaN
    } catch (error) {
      // Of a source whose options are refused nobody else knows that it is open.
      await handle?.close()
      const { code, message } = error as NodeJS.ErrnoException
      const problem = code === 'ENOENT' ? 'there is no such file' : `cannot be opened: ${message}`
      faults.push({ place: file, value: file, problem, remedy: 'Name a file that can be read.' })
    }
  }
  if (faults.length === 0) return sources
  await Promise.all(sources.map((source) => source.close()))
  throw MillraceError.ofFaults('INPUT_INVALID', 'the inputs cannot be read', faults)
}

function refuseInputs(files: readonly string[], options: InputOptions): void {
  const faults: Fault[] = []
  if (files.length > INPUTS_MAX) {
    const remedy = `Name at most ${INPUTS_MAX}, or send them through stdin one after another.`
    faults.push({ place: 'arguments', value: files.length, problem: 'are too many files at once', remedy })
  }
  if (files.filter((file) => file === STDIN).length > 1) {
    faults.push({ place: STDIN, value: STDIN, problem: 'stdin is named twice', remedy: 'Name it once.' })
  }
  for (const file of files) {
    if (options.format !== undefined || formatOf(file) !== undefined) continue
    const remedy =
      file === STDIN ? 'Add --format csv or --format ndjson.' : knownRemedy(file, Object.keys(FORMAT_OF))
    faults.push({ place: file, value: file, problem: 'its format is not known', remedy })
  }
  if (faults.length > 0) throw MillraceError.ofFaults('INPUT_INVALID', 'the inputs cannot be read', faults)
}

function formatOf(file: string): Format | undefined {
  return FORMAT_OF[extname(file).toLowerCase()]
}

class FileSource {
  readonly builder = new SampleBuilder(16_384)
  readonly #file: string
  readonly #handle: FileHandle | null
  readonly #chunks: AsyncIterator<Uint8Array> | null
  readonly #buffer: Uint8Array
  readonly #decoder: ColumnDecoder
  readonly #progress: FeedProgress
  readonly #signal: AbortSignal
  #ended = false

  constructor(file: string, handle: FileHandle | null, feed: FeedOptions) {
    this.#file = file
    this.#handle = handle
    this.#chunks = handle === null ? feed.stdin[Symbol.asyncIterator]() : null
    this.#buffer = handle === null ? new Uint8Array(0) : new Uint8Array(CHUNK_BYTES)
    this.#decoder = decoderFor(file, this.builder, feed)
    this.#progress = feed.progress
    this.#signal = feed.signal
  }

  /** Decodes the next chunk into the builder, which is empty; false: nothing is left. */
  async fill(): Promise<boolean> {
    if (this.#ended || this.#signal.aborted) return false
    const chunk = await this.#read()
    if (this.#signal.aborted) return false
    if (chunk === null) {
      this.#ended = true
      this.#decoder.end()
    } else {
      this.#progress.bytesRead += chunk.length
      this.#decoder.write(chunk)
    }
    return true
  }

  report(): FileReport {
    return { file: placeOf(this.#file), ...this.#decoder.end() }
  }

  async close(): Promise<void> {
    await this.#handle?.close()
  }

  async #read(): Promise<Uint8Array | null> {
    try {
      if (this.#handle !== null) {
        const { bytesRead } = await this.#handle.read(this.#buffer, 0, CHUNK_BYTES)
        return bytesRead === 0 ? null : this.#buffer.subarray(0, bytesRead)
      }
      const next = await abortable(this.#chunks!.next(), this.#signal)
      return next === null || next.done === true ? null : next.value
    } catch (error) {
      const { message } = error as Error
      throw new MillraceError('SOURCE_FAILED', `${placeOf(this.#file)}: cannot be read: ${message}`, {
        cause: error,
      })
    }
  }
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

function placeOf(file: string): string {
  return file === STDIN ? 'stdin' : file
}

function decoderFor(file: string, builder: SampleBuilder, feed: FeedOptions): ColumnDecoder {
  const { format = formatOf(file), name, delimiter, header, latestMs, ...columns } = feed.options
  const stem = basename(placeOf(file), extname(file))
  const shared = {
    table: feed.input.table,
    builder,
    columns: { ...columns, name: name ?? stem },
    place: placeOf(file),
    ...(latestMs === undefined ? {} : { latestMs }),
  }
  if (format === 'ndjson') return ndjsonDecoder(shared)
  const tabbed = extname(file).toLowerCase() === '.tsv'
  return csvDecoder({
    ...shared,
    delimiter: delimiter ?? (tabbed ? '\t' : ','),
    ...(header === undefined ? {} : { header }),
  })
}
