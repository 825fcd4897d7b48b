import {
  appendFile,
  mkdtemp,
  open,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Fault } from '../../engine/contract/errors.ts'
import type { SinkProgress, SinkRecord, TransactionalSink } from '../../engine/contract/plugins.ts'
import { describeSink, expectedFrom, START, testContext, testStream } from '../testing/describe-sink.ts'
import { lineOf } from './file-tail.ts'
import { ndjsonFilePlugin, openNdjsonFile } from './ndjson-file.ts'
import { positionAfter } from './record-json.ts'

describeSink('ndjson-file', 'transactional', async () => {
  const place = await mkdtemp(join(tmpdir(), 'millrace-sink-'))
  const path = join(place, 'out.ndjson')
  return {
    open: (context) => ndjsonFilePlugin.open({ path }, context),
    async received() {
      const lines = (await readFile(path, 'utf8')).trimEnd().split('\n')
      return lines.map((text) => ({ id: JSON.parse(text).id, text }))
    },
    dispose: () => rm(place, { recursive: true }),
  }
})

const RECORDS: readonly SinkRecord[] = [...testStream(1), ...testStream(0)]
const HEAD = RECORDS.slice(0, 4)
const TAIL = RECORDS.slice(4)

let place = ''
let path = ''
const opened: TransactionalSink[] = []

beforeEach(async () => {
  place = await mkdtemp(join(tmpdir(), 'millrace-sink-'))
  path = join(place, 'out.ndjson')
})

afterEach(async () => {
  for (const sink of opened.splice(0)) await sink.close()
  await rm(place, { recursive: true })
})

async function openSink(openFile?: typeof open, takeover = 0): Promise<TransactionalSink> {
  const sink = await openNdjsonFile(path, { ...testContext(), takeover }, openFile)
  opened.push(sink)
  return sink
}

function bytesOf(records: readonly SinkRecord[]): Buffer {
  return Buffer.concat(records.map(lineOf))
}

function after(progress: SinkProgress, records: readonly SinkRecord[], token: unknown): SinkProgress {
  const positions = { ...progress.positions }
  for (const record of records) Object.assign(positions, { [record.partition]: positionAfter(record) })
  return { positions, token }
}

/** A file with the head in it, and what was remembered of it. */
async function writeHead(): Promise<SinkProgress> {
  const sink = await openSink()
  const start = await sink.position(START, expectedFrom)
  const token = await sink.write(HEAD)
  await sink.close()
  return after(start, HEAD, token)
}

/** Goes on from `remembered` and writes all that is missing. */
async function complete(remembered: SinkProgress): Promise<void> {
  const sink = await openSink()
  const { positions } = await sink.position(remembered, expectedFrom)
  const rest = RECORDS.filter(({ partition, seq, row }) => {
    const next = positions[partition]!
    return seq > next.seq || (seq === next.seq && row >= next.row)
  })
  if (rest.length > 0) await sink.write(rest)
  await sink.close()
}

describe('a crash while writing', () => {
  test('at every byte of the tail: the file is completed without gap or duplicate', async () => {
    const remembered = await writeHead()
    const whole = bytesOf(RECORDS)
    const headBytes = bytesOf(HEAD).length
    for (let length = headBytes; length <= whole.length; length++) {
      await writeFile(path, whole.subarray(0, length))
      await complete(remembered)
      expect((await readFile(path)).equals(whole)).toBe(true)
    }
  })

  test('sectors that never arrived, wherever they are in the tail: the file is completed without gap or duplicate', async () => {
    const remembered = await writeHead()
    const whole = bytesOf(RECORDS)
    const headBytes = bytesOf(HEAD).length
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: headBytes, max: whole.length }),
        fc.constantFrom(16, 64, 512),
        fc.infiniteStream(fc.boolean()),
        async (length, sectorBytes, isMissing) => {
          const file = Buffer.from(whole.subarray(0, length))
          for (let at = 0; at < length; at += sectorBytes) {
            const from = Math.max(at, headBytes)
            if (isMissing.next().value)
              file.fill(0, Math.min(from, length), Math.min(at + sectorBytes, length))
          }
          file.set(whole.subarray(0, headBytes))
          await writeFile(path, file)
          await complete(remembered)
          expect((await readFile(path)).equals(whole)).toBe(true)
        },
      ),
      { numRuns: 60 },
    )
  })

  test('what somebody else wrote after a sector that never arrived is refused, and left as it was', async () => {
    const remembered = await writeHead()
    for (const text of ['hello\n', 'hel', '{"id":"other/0/0/0"}\n']) {
      const file = Buffer.concat([bytesOf(HEAD), Buffer.alloc(32), Buffer.from(`\n${text}`)])
      await writeFile(path, file)
      const sink = await openSink()
      await expect(sink.position(remembered, expectedFrom)).rejects.toMatchObject({ code: 'SINK_FAILED' })
      expect((await readFile(path)).equals(file)).toBe(true)
      await sink.close()
    }
  })

  test('before anything was remembered, at every byte of the file', async () => {
    const whole = bytesOf(RECORDS.slice(0, 3))
    for (let length = 0; length <= whole.length; length += 7) {
      await writeFile(path, whole.subarray(0, length))
      await complete(START)
      expect((await readFile(path)).equals(bytesOf(RECORDS))).toBe(true)
    }
  })

  test('with zeros where data never reached the disk: they are cut like a torn line', async () => {
    const remembered = await writeHead()
    const torn = Buffer.concat([bytesOf(HEAD), lineOf(TAIL[0]!).subarray(0, 20), Buffer.alloc(5_000)])
    await writeFile(path, torn)
    await complete(remembered)
    expect((await readFile(path)).equals(bytesOf(RECORDS))).toBe(true)
  })

  test('a tail of records in another order of partitions than the stream gives them now is kept as it is', async () => {
    const remembered = await writeHead()
    const [one, zero] = [TAIL[0]!, TAIL[1]!]
    expect([one.partition, zero.partition]).toEqual([1, 0])
    await writeFile(path, bytesOf([...HEAD, zero, one]))
    const sink = await openSink()
    const { positions } = await sink.position(remembered, expectedFrom)
    expect(positions[0]).toEqual(positionAfter(zero))
    expect(positions[1]).toEqual(positionAfter(one))
    expect((await readFile(path)).equals(bytesOf([...HEAD, zero, one]))).toBe(true)
  })
})

describe('bytes that are not the stream’s', () => {
  test('in the tail, wherever they are: refused, and the file is left as it was', async () => {
    const remembered = await writeHead()
    const whole = bytesOf(RECORDS)
    const headBytes = bytesOf(HEAD).length
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: headBytes, max: whole.length - 1 }), async (at) => {
        const damaged = Buffer.from(whole)
        damaged[at] = damaged[at]! ^ 0x80
        await writeFile(path, damaged)
        const sink = await openSink()
        await expect(sink.position(remembered, expectedFrom)).rejects.toThrow(/from byte \d+ on it holds/)
        expect((await readFile(path)).equals(damaged)).toBe(true)
      }),
    )
  })

  test.each([
    ['a whole line of somebody else', 'hello\n'],
    ['a torn line of somebody else', 'hel'],
    ['a record of another pipeline', '{"id":"other/0/0/0"}\n'],
    ['a record of a partition that is not', '{"id":"pipe/77/0/0"}\n'],
    ['a record that comes later in the stream', bytesOf(RECORDS.slice(-1)).toString()],
  ])('%s: refused, with what to do', async (_what, text) => {
    const remembered = await writeHead()
    await appendFile(path, text)
    const sink = await openSink()
    const refusal = sink.position(remembered, expectedFrom)
    await expect(refusal).rejects.toMatchObject({ code: 'SINK_FAILED', retryable: false })
    await expect(refusal).rejects.toThrow(/Sink pipe\/sink cannot use the file .* give the sink another path/)
    expect((await readFile(path, 'utf8')).endsWith(text)).toBe(true)
  })

  test('a file that was there before the sink is not touched', async () => {
    await writeFile(path, 'precious\n')
    const sink = await openSink()
    await expect(sink.position(START, expectedFrom)).rejects.toThrow(/Move the file away/)
    expect(await readFile(path, 'utf8')).toBe('precious\n')
  })

  test('a file shorter than remembered, gone, or with another head is refused by name', async () => {
    const remembered = await writeHead()
    const head = await readFile(path)
    await truncate(path, head.length - 1)
    await expect((await openSink()).position(remembered, expectedFrom)).rejects.toThrow(
      /it has \d+ bytes, \d+ were/,
    )
    head[3] = head[3]! ^ 1
    await writeFile(path, head)
    await expect((await openSink()).position(remembered, expectedFrom)).rejects.toThrow(
      /is not what was written/,
    )
    await rm(path)
    await expect((await openSink()).position(remembered, expectedFrom)).rejects.toThrow(/it is gone/)
    await expect(readFile(path)).rejects.toThrow(/ENOENT/)
  })

  test('another path goes on in a new file where the old one ended', async () => {
    const remembered = await writeHead()
    const old = path
    path = join(place, 'next.ndjson')
    await complete(remembered)
    expect((await readFile(path)).equals(bytesOf(TAIL))).toBe(true)
    expect((await readFile(old)).equals(bytesOf(HEAD))).toBe(true)
  })
})

describe('while the sink runs', () => {
  test('a second writer, a cut and a replaced file are noticed before the next write', async () => {
    const spoilers: (() => Promise<void>)[] = [
      () => appendFile(path, 'x'),
      () => truncate(path, 1),
      () => rename(path, `${path}.1`),
      () => rm(path),
      async () => {
        await writeFile(`${path}.2`, bytesOf(HEAD))
        await rename(`${path}.2`, path)
      },
    ]
    for (const spoil of spoilers) {
      await rm(path, { force: true })
      const sink = await openSink()
      await sink.position(START, expectedFrom)
      await sink.write(HEAD)
      await spoil()
      const refusal = expect(sink.write(TAIL)).rejects
      await refusal.toThrow(/cannot use the file .*(somebody else changed it|was moved, deleted or replaced)/)
    }
  })

  test('a disk that fills up in the middle of a write: the same records go in once there is room', async () => {
    let room = 37
    const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
    const openFull = (async (...args: Parameters<typeof open>) => {
      const file = await open(...args)
      const write = file.write.bind(file)
      file.write = (async (bytes: Buffer, at: number, length: number, position: number) => {
        if (room <= 0) throw full
        const taken = Math.min(room, length)
        room -= taken
        return write(bytes, at, taken, position)
      }) as typeof file.write
      return file
    }) as typeof open
    const sink = await openSink(openFull)
    await sink.position(START, expectedFrom)
    await expect(sink.write(RECORDS)).rejects.toMatchObject({ code: 'SINK_FAILED', retryable: true })
    expect((await readFile(path)).length).toBe(37)
    room = 11
    await expect(sink.write(RECORDS)).rejects.toMatchObject({ retryable: true })
    expect((await readFile(path)).length).toBe(11)
    room = Number.POSITIVE_INFINITY
    await sink.write(RECORDS)
    expect((await readFile(path)).equals(bytesOf(RECORDS))).toBe(true)
  })

  test('a disk that fails otherwise stops the sink', async () => {
    const broken = Object.assign(new Error('i/o error'), { code: 'EIO' })
    const openBroken = (async (...args: Parameters<typeof open>) => {
      const file = await open(...args)
      file.datasync = () => Promise.reject(broken)
      return file
    }) as typeof open
    const sink = await openSink(openBroken)
    await sink.position(START, expectedFrom)
    await expect(sink.write(RECORDS)).rejects.toMatchObject({ code: 'SINK_FAILED', retryable: false })
  })
})

describe('the place', () => {
  test('a directory that does not exist, and what is no regular file, are refused on opening', async () => {
    const context = testContext()
    await expect(openNdjsonFile(join(place, 'no/out.ndjson'), context)).rejects.toThrow(/Make the directory/)
    await expect(openNdjsonFile(place, context)).rejects.toThrow(/not a regular file/)
    await symlink('/dev/null', path)
    await expect(openNdjsonFile(path, context)).rejects.toThrow(/not a regular file.*stdout/)
  })

  test('options without a path are a fault with a remedy', () => {
    const faults: Fault[] = []
    expect(ndjsonFilePlugin.options.parse({ paht: 'x' }, 'p.sinks[0]', faults)).toBeUndefined()
    expect(faults.map(({ place: where }) => where)).toEqual(['p.sinks[0].paht', 'p.sinks[0].path'])
    expect(ndjsonFilePlugin.options.parse({ path: 'out.ndjson' }, 'p', [])).toEqual({ path: 'out.ndjson' })
  })
})

describe('a takeover from a process that may wake up', () => {
  test('its unfinished write no longer reaches the file', async () => {
    const progress = await writeHead()
    // Frozen with the file open, about to write at what was its end.
    const frozen = await open(path, 'r+')
    const frozenAt = (await frozen.stat()).size
    const heir = await openSink(undefined, 7)
    const start = await heir.position(progress, expectedFrom)
    const token = await heir.write(TAIL)
    await frozen.write(Buffer.from('x'.repeat(200)), 0, 200, frozenAt)
    await frozen.truncate(10)
    await frozen.close()
    expect(await readFile(path)).toEqual(bytesOf(RECORDS))
    await heir.close()
    // Later starts find the file where it is, and leave it there.
    const inode = (await stat(path)).ino
    const next = await openSink(undefined, 7)
    const resumed = after(start, TAIL, token)
    const { positions } = await next.position(resumed, expectedFrom)
    expect(positions).toEqual(resumed.positions)
    expect((await stat(path)).ino).toBe(inode)
  })

  test('a crash while it is moved leaves the old file in its place', async () => {
    const progress = await writeHead()
    const failing: typeof open = (at, ...rest) => {
      if (String(at).endsWith('.taking-over')) throw new Error('crash')
      return open(at, ...rest)
    }
    const broken = await openSink(failing, 7)
    await expect(broken.position(progress, expectedFrom)).rejects.toThrow(/crash/)
    expect(await readFile(path)).toEqual(bytesOf(HEAD))
    const next = await openSink(undefined, 7)
    await next.position(progress, expectedFrom)
    await next.write(TAIL)
    expect(await readFile(path)).toEqual(bytesOf(RECORDS))
  })
})
