/**
 * JSON lines on standard output, at least once: a record counts as sent when the kernel has taken its bytes, and after
 * a crash the records in flight come again with the same id. Writes the descriptor itself: a worker's `process.stdout`
 * only hands bytes to the main thread, where a crash would lose what was already counted as sent.
 */
import { write as writeFd } from 'node:fs'
import { noOptions } from '../../engine/config/options.ts'
import { DEFINITION, type SinkChoice } from '../../engine/contract/definition.ts'
import { MillraceError } from '../../engine/contract/errors.ts'
import type { AtLeastOnceSink, SinkContext, SinkPlugin, SinkRecord } from '../../engine/contract/plugins.ts'
import { backoffMs, sleep } from '../../engine/util/backoff.ts'
import { fnv1a } from '../../engine/util/hash.ts'
import { Prng } from '../../engine/util/prng.ts'
import { recordJson } from './record-json.ts'

const STDOUT_FD = 1
/** A pipe whose reader is slow may be non-blocking: then the kernel says "again", and we ask again. */
const FULL_PIPE_BACKOFF = { firstMs: 1, maxMs: 50 }

/** Prints JSON lines, each record at least once, with its id.
 *
 *     .to(stdout(), { of: 'results' })
 */
export function stdout(): SinkChoice {
  return { [DEFINITION]: { what: 'sink', kind: 'stdout', options: {} } }
}

export const stdoutPlugin: SinkPlugin<Record<never, never>> = {
  kind: 'stdout',
  summary: 'prints JSON lines, each record at least once, with its id',
  guarantee: 'at-least-once',
  options: noOptions,
  open: async (_options, context) => openLines(context, writeTo(STDOUT_FD)),
}

export type WriteBytes = (bytes: Uint8Array, at: number) => Promise<number>

export function writeTo(fd: number): WriteBytes {
  return (bytes, at) =>
    new Promise((resolve, reject) => {
      writeFd(fd, bytes, at, bytes.length - at, null, (error, written) => {
        if (error === null) resolve(written)
        else reject(error)
      })
    })
}

export function openLines(context: SinkContext, write: WriteBytes): AtLeastOnceSink {
  const seed = new TextEncoder().encode(`${context.pipeline}/${context.sink}`)
  const prng = new Prng(fnv1a(seed, 0, seed.length))
  /** Bytes of the last send that the kernel took before a stop or failure; a line is never continued by another. */
  let torn = false
  return {
    guarantee: 'at-least-once',
    async send(records: readonly SinkRecord[]): Promise<void> {
      const lines = records.map((record) => `${recordJson(record)}\n`).join('')
      const bytes = Buffer.from(torn ? `\n${lines}` : lines)
      let attempt = 0
      for (let at = 0; at < bytes.length; ) {
        try {
          at += await write(bytes, at)
          attempt = 0
          torn = bytes[at - 1] !== NEWLINE
        } catch (error) {
          if (!isFullPipe(error)) throw failure(context, error)
          await sleep(backoffMs(FULL_PIPE_BACKOFF, attempt++, prng), context.signal)
          if (context.signal.aborted) throw stopped(context)
        }
      }
    },
    async close() {},
  }
}

const NEWLINE = 0x0a

function isFullPipe(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EAGAIN' || error.code === 'EINTR')
}

function failure(context: SinkContext, cause: unknown): MillraceError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new MillraceError(
    'SINK_FAILED',
    `Sink ${context.pipeline}/${context.sink}: standard output cannot be written: ${reason}. ` +
      'Keep its reader running, and start again: it goes on with the first record that was not printed.',
    { cause },
  )
}

function stopped(context: SinkContext): MillraceError {
  return new MillraceError('UNAVAILABLE', `Sink ${context.pipeline}/${context.sink} was stopped.`, {
    retryable: true,
  })
}
