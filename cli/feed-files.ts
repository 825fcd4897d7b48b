/**
 * Files and stdin into a node, as fast as they can be read: big chunks, decoded on this thread while earlier samples are
 * being made durable. Several inputs are merged by time. Backpressure is the append's own: at most APPENDS_IN_FLIGHT_MAX
 * are waited for at once. A column that is not there stops everything; a bad line stops nothing and is reported.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { resolve } from 'node:path'
import { SampleBuilder } from '../engine/batch/sample-builder.ts'
import { knownRemedy } from '../engine/config/did-you-mean.ts'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import type { NodeInput } from '../engine/contract/node.ts'
import { type ColumnDecoder, type ColumnReport, NO_SUCH_COLUMN } from '../operators/sources/columns.ts'
import { type FileChunks, gzipChunks, plainChunks, readProblem, streamChunks } from './file-chunks.ts'
import {
  DATA_ENDINGS,
  decoderFor,
  FORMATS,
  formatOf,
  type InputOptions,
  isGzip,
  LINE_TIME_FORMATS,
  placeOf,
  STDIN,
} from './file-formats.ts'
import { mergeByTime } from './time-merge.ts'

export const APPENDS_IN_FLIGHT_MAX = 4
/** Each holds a file open and a chunk in memory. */
export const INPUTS_MAX = 256

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
    if (formatOf(file, options) !== undefined) continue
    const remedy =
      file === STDIN || isGzip(file)
        ? `Add --format with one of ${FORMATS.join(', ')}.`
        : knownRemedy(file, DATA_ENDINGS)
    faults.push({ place: file, value: file, problem: 'its format is not known', remedy })
  }
  const { timeFormat } = options
  if (timeFormat === 'iso' && files.some((file) => formatOf(file, options) === 'line-protocol')) {
    const remedy = `Write one of ${LINE_TIME_FORMATS.join(', ')}.`
    faults.push({ place: '--time-format', value: timeFormat, problem: 'is no time of line protocol', remedy })
  }
  if (faults.length > 0) throw MillraceError.ofFaults('INPUT_INVALID', 'the inputs cannot be read', faults)
}

class FileSource {
  readonly builder = new SampleBuilder(16_384)
  readonly #file: string
  readonly #chunks: FileChunks
  readonly #decoder: ColumnDecoder
  readonly #signal: AbortSignal
  #ended = false

  constructor(file: string, handle: FileHandle | null, feed: FeedOptions) {
    const { input, options, progress, signal } = feed
    this.#file = file
    this.#decoder = decoderFor(file, input.table, this.builder, options)
    const count = (bytes: number): void => {
      progress.bytesRead += bytes
    }
    if (handle === null) this.#chunks = streamChunks(feed.stdin, signal, count)
    else this.#chunks = isGzip(file) ? gzipChunks(handle, signal, count) : plainChunks(handle, count)
    this.#signal = signal
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
      this.#decoder.write(chunk)
    }
    return true
  }

  report(): FileReport {
    return { file: placeOf(this.#file), ...this.#decoder.end() }
  }

  close(): Promise<void> {
    return this.#chunks.close()
  }

  async #read(): Promise<Uint8Array | null> {
    try {
      return await this.#chunks.next()
    } catch (error) {
      throw new MillraceError('SOURCE_FAILED', `${placeOf(this.#file)}: ${readProblem(error)}`, {
        cause: error,
      })
    }
  }
}
