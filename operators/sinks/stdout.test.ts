import { closeSync, openSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { describeSink, testContext, testStream } from '../testing/describe-sink.ts'
import { recordJson } from './record-json.ts'
import { openLines, stdoutPlugin, type WriteBytes, writeTo } from './stdout.ts'

describeSink('stdout', 'at-least-once', async () => {
  const place = await mkdtemp(join(tmpdir(), 'millrace-sink-'))
  const path = join(place, 'out')
  const fd = openSync(path, 'a')
  return {
    open: async (context) => openLines(context, writeTo(fd)),
    async received() {
      const lines = (await readFile(path, 'utf8')).trimEnd().split('\n')
      return lines.map((text) => ({ id: JSON.parse(text).id, text }))
    },
    async dispose() {
      closeSync(fd)
      await rm(place, { recursive: true })
    },
  }
})

const RECORDS = testStream(0)
const LINES = RECORDS.map((record) => `${recordJson(record)}\n`).join('')

/** Takes at most `bytesMax` a call, and says "again" every other time, as a non-blocking pipe does. */
function slowPipe(bytesMax: number): { written: () => string; write: WriteBytes } {
  const chunks: Uint8Array[] = []
  let calls = 0
  return {
    written: () => Buffer.concat(chunks).toString(),
    async write(bytes, at) {
      if (calls++ % 2 === 0) throw Object.assign(new Error('again'), { code: 'EAGAIN' })
      const taken = bytes.slice(at, at + bytesMax)
      chunks.push(taken)
      return taken.length
    },
  }
}

test('a slow reader gets every byte once, however few the pipe takes at a time', async () => {
  const pipe = slowPipe(100)
  await openLines(testContext(), pipe.write).send(RECORDS)
  expect(pipe.written()).toBe(LINES)
})

test('a closed reader stops the sink, and says where it goes on', async () => {
  const write: WriteBytes = () => Promise.reject(Object.assign(new Error('broken pipe'), { code: 'EPIPE' }))
  const sent = openLines(testContext(), write).send(RECORDS)
  await expect(sent).rejects.toMatchObject({ code: 'SINK_FAILED', retryable: false })
  await expect(sent).rejects.toThrow(/broken pipe.*goes on with the first record that was not printed/)
})

test('a stop ends the wait for a reader that does not read', async () => {
  const stop = new AbortController()
  const write: WriteBytes = () => Promise.reject(Object.assign(new Error('again'), { code: 'EAGAIN' }))
  const sent = openLines(testContext({ signal: stop.signal }), write).send(RECORDS)
  setTimeout(() => stop.abort(), 20)
  await expect(sent).rejects.toThrow(/was stopped/)
})

test('a line that was torn by a failure is ended before the next one begins', async () => {
  const chunks: string[] = []
  const answers = [5, -1]
  const write: WriteBytes = async (bytes, at) => {
    const taken = answers.shift() ?? bytes.length - at
    if (taken < 0) throw Object.assign(new Error('i/o error'), { code: 'EIO' })
    chunks.push(Buffer.from(bytes.slice(at, at + taken)).toString())
    return taken
  }
  const sink = openLines(testContext(), write)
  await expect(sink.send(RECORDS)).rejects.toThrow(/i\/o error/)
  await sink.send(RECORDS)
  expect(chunks.join('')).toBe(`${LINES.slice(0, 5)}\n${LINES}`)
})

test('the plug-in takes no options', () => {
  expect(stdoutPlugin.options.parse({}, 'p', [])).toEqual({})
})
