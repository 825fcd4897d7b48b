import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterEach, describe, expect, it } from 'vitest'
import { send, sendRaw, start, stopAll, until } from '../../test/http/fixture.ts'
import { MillraceError } from '../contract/errors.ts'
import {
  HTTP_IN_FLIGHT_BYTES,
  INGEST_FAULT_LINES,
  INGEST_REFUSED,
  INGEST_REFUSED_SAMPLES,
  INGEST_REQUESTS,
  INGEST_SAMPLES,
} from '../metrics/catalog.ts'
import { readMetric } from '../metrics/merge.ts'

afterEach(stopAll)

const V1 = '/write?db=x'
const V2 = '/api/v2/write?org=o&bucket=b'

describe('a write', () => {
  it.each([V1, V2])('is answered 204 once all of it is durable: %s', async (path) => {
    const { port, ingest } = await start()
    let durable = () => {}
    ingest.beforeFinish = () => new Promise((resolve) => (durable = resolve))
    let answered = false
    const reply = send(port, 'POST', path, 'cpu v=1\n').finally(() => (answered = true))
    await until(() => ingest.begun === 1)
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(answered).toBe(false)
    durable()
    const { status, text, headers } = await reply
    expect([status, text]).toEqual([204, ''])
    expect(headers['x-influxdb-version']).toMatch(/^1\.8/)
    expect(headers['x-millrace-durable']).toBeUndefined()
    expect(ingest.stored).toEqual([{ topic: 'metrics', precision: 'ns', text: 'cpu v=1\n' }])
  })

  it('says so when the topic acknowledges before the disk has it', async () => {
    const { port, ingest } = await start()
    ingest.durable = false
    expect((await send(port, 'POST', V1, 'cpu v=1')).headers['x-millrace-durable']).toBe('false')
  })

  it.each([
    ['/write?precision=n', 'ns'],
    ['/write?precision=ns', 'ns'],
    ['/write?precision=u', 'us'],
    ['/write?precision=us', 'us'],
    ['/write?precision=ms', 'ms'],
    ['/write?precision=s', 's'],
    ['/write?precision=m', 'm'],
    ['/write?precision=h', 'h'],
    ['/write', 'ns'],
    ['/write?precision=', 'ns'],
    ['/api/v2/write?precision=ns', 'ns'],
    ['/api/v2/write?precision=us', 'us'],
    ['/api/v2/write?precision=ms', 'ms'],
    ['/api/v2/write?precision=s', 's'],
    ['/api/v2/write', 'ns'],
  ])('reads InfluxDB’s precisions: %s is %s', async (path, precision) => {
    const { port, ingest } = await start()
    expect((await send(port, 'POST', path, 'cpu v=1')).status).toBe(204)
    expect(ingest.stored[0]?.precision).toBe(precision)
  })

  it.each(['/api/v2/write?precision=n', '/api/v2/write?precision=m', '/write?precision=x'])(
    'refuses other precisions with the ones there are: %s',
    async (path) => {
      const { port, ingest } = await start()
      const { status, text } = await send(port, 'POST', path, 'cpu v=1')
      expect(status).toBe(400)
      expect(text).toContain('precision: is not a unit of timestamps')
      expect(text).toMatch(/Use one of (n, )?ns, (u, )?us, ms, s/)
      expect(ingest.begun).toBe(0)
    },
  )

  it('goes to the topic asked for, and ignores databases, buckets, users', async () => {
    const { port, ingest } = await start()
    await send(port, 'POST', '/write?db=a&rp=b&u=c&p=d&topic=power', 'cpu v=1')
    await send(port, 'POST', '/api/v2/write?org=a&bucket=b&topic=heat', 'cpu v=1')
    expect(ingest.stored.map(({ topic }) => topic)).toEqual(['power', 'heat'])
  })

  it('to a topic that does not exist is 404, with the ones there are', async () => {
    const { port } = await start()
    const v1 = await send(port, 'POST', '/write?topic=nowhere', 'cpu v=1')
    expect([v1.status, JSON.parse(v1.text)]).toEqual([
      404,
      { error: 'there is no topic "nowhere". Known: metrics.', code: 'INPUT_INVALID', faults: [] },
    ])
    const v2 = await send(port, 'POST', '/api/v2/write?topic=nowhere', 'cpu v=1')
    expect([v2.status, JSON.parse(v2.text)]).toEqual([
      404,
      { code: 'not found', message: 'there is no topic "nowhere". Known: metrics.' },
    ])
  })

  it('keeps the body whole however it is cut into chunks', async () => {
    const { port, ingest } = await start()
    const body = `cpu v=1\n${'mem v=22\n'.repeat(100_000)}`
    expect((await send(port, 'POST', V1, body)).status).toBe(204)
    expect((await send(port, 'POST', V1, body, { 'Transfer-Encoding': 'chunked' })).status).toBe(204)
    expect(ingest.stored.map(({ text }) => text === body)).toEqual([true, true])
  })

  it('of nothing is nothing to v1 and a mistake to v2, as in InfluxDB', async () => {
    const { port, ingest } = await start()
    expect((await send(port, 'POST', V1)).status).toBe(204)
    const v2 = await send(port, 'POST', V2)
    expect([v2.status, JSON.parse(v2.text).code]).toEqual([400, 'invalid'])
    expect(ingest.begun).toBe(0)
  })
})

describe('a write with bad lines', () => {
  const body = 'cpu v=1\nbad line\ncpu v=2\nfuture v=1 9\n'
  const reasons =
    "line 2: unable to parse 'bad line': missing fields\nline 4: unable to parse 'future v=1 9': is in the future"

  it('stores the others and names line numbers in v1’s words', async () => {
    const { port, ingest, cells } = await start()
    const { status, text, headers } = await send(port, 'POST', V1, body)
    expect(status).toBe(400)
    const answer = JSON.parse(text)
    expect(answer.error).toBe(`partial write: ${reasons} dropped=2`)
    expect(answer.code).toBe('INPUT_INVALID')
    expect(answer.faults[0]).toMatchObject({ place: 'line 2', value: 'bad line', problem: 'missing fields' })
    expect(headers['x-influxdb-error']).toBe(`partial write: ${reasons} dropped=2`.replace('\n', ' '))
    expect(ingest.stored).toHaveLength(1)
    expect(readMetric(INGEST_SAMPLES, [cells])).toBe(2)
    expect(readMetric(INGEST_FAULT_LINES, [cells])).toBe(2)
    expect(readMetric(INGEST_REFUSED_SAMPLES, [cells], 0, 'future')).toBe(1)
    expect(readMetric(INGEST_REQUESTS, [cells], 0, 'partial')).toBe(1)
  })

  it('stores the others and names line numbers in v2’s words', async () => {
    const { port } = await start()
    const { status, text, headers } = await send(port, 'POST', V2, body)
    expect(status).toBe(400)
    expect(JSON.parse(text)).toEqual({
      code: 'invalid',
      message: `partial write: ${reasons} dropped=2`,
      line: 2,
      errors: [
        { line: 2, message: 'missing fields', text: 'bad line' },
        { line: 4, message: 'is in the future', text: 'future v=1 9' },
      ],
      dropped: 2,
    })
    expect(headers['x-platform-error-code']).toBe('invalid')
  })

  it('is not called partial when no line was good', async () => {
    const { port, cells } = await start()
    const { status, text } = await send(port, 'POST', V1, 'bad line')
    expect([status, JSON.parse(text).error]).toEqual([
      400,
      "line 1: unable to parse 'bad line': missing fields",
    ])
    expect(readMetric(INGEST_REQUESTS, [cells], 0, 'malformed')).toBe(1)
  })

  it('counts the lines it does not list', async () => {
    const { port } = await start()
    const { text } = await send(port, 'POST', V1, `cpu v=1\n${'bad\n'.repeat(150)}`)
    expect(JSON.parse(text).error).toMatch(/line 101: [^\n]+\nand 50 more lines dropped=150$/)
  })

  it('names the series limit and who ran into it', async () => {
    const { port, cells } = await start()
    const { status, text } = await send(port, 'POST', V1, 'cpu v=1\nnew v=1\nnew v=2')
    expect(status).toBe(400)
    expect(JSON.parse(text).error).toBe(
      'partial write: series limit of topic metrics reached (10): 2 samples of new series refused, among them new{a="b"}. Send fewer distinct label values, or raise the limit. dropped=2',
    )
    expect(JSON.parse(text).code).toBe('SERIES_LIMIT')
    expect(readMetric(INGEST_REFUSED_SAMPLES, [cells], 0, 'series_limit')).toBe(2)
    expect(readMetric(INGEST_SAMPLES, [cells])).toBe(1)
  })

  it('keeps headers clean whatever the lines hold', async () => {
    const { port } = await start()
    const { status, headers } = await send(port, 'POST', V1, 'bad \u0000\r \u00e9\u{1f600}'.repeat(100))
    expect(status).toBe(400)
    expect(headers['x-influxdb-error']).toMatch(/^[\x20-\x7e]{1,256}$/)
  })
})

describe('compressed writes', () => {
  it.each(['gzip', 'GZIP', 'x-gzip'])('are unzipped: %s', async (encoding) => {
    const { port, ingest } = await start()
    const body = 'cpu v=1\n'.repeat(50_000)
    expect((await send(port, 'POST', V1, gzipSync(body), { 'Content-Encoding': encoding })).status).toBe(204)
    expect(ingest.stored[0]?.text === body).toBe(true)
  })

  it('that do not compress come through whole, in many chunks', async () => {
    const { port, ingest } = await start()
    const body = randomBytes(1_500_000).toString('base64')
    const headers = { 'Content-Encoding': 'gzip', 'Transfer-Encoding': 'chunked' }
    expect((await send(port, 'POST', V1, gzipSync(body), headers)).status).toBe(204)
    expect(ingest.stored[0]?.text === body).toBe(true)
  })

  it('that unfold beyond the limit are cut there: 413, and nothing is stored', async () => {
    const { port, ingest, cells } = await start({ limits: { bodyBytesMax: 1_000_000 } })
    const bomb = gzipSync(Buffer.alloc(50_000_000, 'cpu v=1\n'))
    for (const path of [V1, V2]) {
      const { status, text } = await send(port, 'POST', path, bomb, { 'Content-Encoding': 'gzip' })
      expect(status).toBe(413)
      expect(text).toContain('larger than the limit of 1000000 bytes')
    }
    expect(ingest.stored).toEqual([])
    expect(ingest.aborted).toBe(2)
    expect(readMetric(INGEST_REFUSED, [cells], 0, 'body_too_large')).toBe(2)
    expect(readMetric(HTTP_IN_FLIGHT_BYTES, [cells])).toBe(0)
  })

  it.each([
    ['cut off', gzipSync('cpu v=1\n'.repeat(1_000)).subarray(0, 40)],
    ['not gzip', Buffer.from('cpu v=1\n')],
    ['of a wrong checksum', flipped(gzipSync('cpu v=1\n'))],
  ])('that are %s are refused whole: 400', async (_, body) => {
    const { port, ingest } = await start()
    const { status, text } = await send(port, 'POST', V1, body, { 'Content-Encoding': 'gzip' })
    expect(status).toBe(400)
    expect(text).toContain('cannot be unzipped')
    expect(ingest.stored).toEqual([])
  })

  it('in an encoding we do not read are 415, with the ones we do', async () => {
    const { port, cells } = await start()
    for (const encoding of ['zstd', 'deflate', 'gzip, gzip']) {
      const { status, headers } = await send(port, 'POST', V1, 'x', { 'Content-Encoding': encoding })
      expect([status, headers['accept-encoding']]).toEqual([415, 'gzip, identity'])
    }
    expect(readMetric(INGEST_REFUSED, [cells], 0, 'encoding')).toBe(3)
  })
})

function flipped(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes)
  copy[copy.length - 6]! ^= 1
  return copy
}

describe('a body beyond the limit', () => {
  const limits = { bodyBytesMax: 100_000 }

  it('is refused from its announced length, in both dialects', async () => {
    const { port, ingest } = await start({ limits })
    const v1 = await send(port, 'POST', V1, 'x'.repeat(100_001))
    expect([v1.status, JSON.parse(v1.text).code]).toEqual([413, 'BODY_TOO_LARGE'])
    const v2 = await send(port, 'POST', V2, 'x'.repeat(100_001))
    expect([v2.status, JSON.parse(v2.text).code]).toEqual([413, 'request too large'])
    expect(ingest.begun).toBe(0)
  })

  it('of unknown length is refused where it passes the limit, and nothing is stored', async () => {
    const { port, ingest } = await start({ limits })
    const reply = await send(port, 'POST', V1, 'x'.repeat(300_000), { 'Transfer-Encoding': 'chunked' })
    expect(reply.status).toBe(413)
    expect([ingest.stored.length, ingest.aborted]).toEqual([0, 1])
  })

  it('is taken when it is exactly as large as allowed', async () => {
    const { port } = await start({ limits })
    expect((await send(port, 'POST', V1, 'x'.repeat(100_000))).status).toBe(204)
  })

  it('does not keep the connection busy with what nobody wants', async () => {
    const { port } = await start({ limits })
    const started = performance.now()
    const head = `POST ${V1} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000\r\n\r\n`
    const received = await sendRaw(port, head + 'x'.repeat(100_000))
    expect(received).toMatch(/^HTTP\/1\.1 413 /)
    expect(received).toContain('BODY_TOO_LARGE')
    expect(performance.now() - started).toBeLessThan(6_000)
  })

  it('is refused before it is sent when the client asks first', async () => {
    const { port } = await start({ limits })
    const head = `POST ${V1} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 100001\r\n\r\n`
    expect(await sendRaw(port, head)).toMatch(/^HTTP\/1\.1 413 /)
  })
})

describe('a client', () => {
  it('that was told to continue, and sends too much, still learns why', async () => {
    const { port } = await start({ limits: { bodyBytesMax: 100_000 } })
    const head = `POST ${V1} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n`
    const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`
    const received = await sendRaw(port, head + chunk.repeat(40))
    expect(received).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 413 /)
    expect(received).toContain('BODY_TOO_LARGE')
  })

  it('that asks first is told to continue', async () => {
    const { port, ingest } = await start()
    let sent = false
    const received = await new Promise<string>((resolve) => {
      let text = ''
      const socket = connect(port, '127.0.0.1', () => {
        socket.write(
          `POST ${V1} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 7\r\n\r\n`,
        )
      })
      socket.on('data', (chunk) => {
        text += chunk.toString()
        if (!sent && text.includes('100 Continue')) {
          sent = true
          socket.write('cpu v=1')
        }
        if (text.includes('204')) socket.destroy()
      })
      socket.on('close', () => resolve(text))
    })
    expect(received).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 204 /)
    expect(ingest.stored[0]?.text).toBe('cpu v=1')
  })

  it.each(['identity', 'gzip'])(
    'that goes away in the middle of a body stores nothing (%s)',
    async (encoding) => {
      const { port, ingest, cells } = await start()
      const socket = connect(port, '127.0.0.1', () => {
        socket.write(
          `POST ${V1} HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: ${encoding}\r\nContent-Length: 100000\r\n\r\n`,
        )
        const body = Buffer.from('cpu v=1\ncpu v=2\n')
        socket.write(encoding === 'gzip' ? gzipSync(body) : body)
        setTimeout(() => socket.destroy(), 50)
      })
      await until(() => readMetric(INGEST_REQUESTS, [cells], 0, 'aborted') === 1)
      expect([ingest.stored.length, ingest.begun, ingest.aborted]).toEqual([0, 1, 1])
      expect(readMetric(HTTP_IN_FLIGHT_BYTES, [cells])).toBe(0)
    },
  )

  it('may send many small requests at once on one connection', async () => {
    const { port, ingest } = await start()
    const count = 500
    const requests = Array.from({ length: count }, (_, i) => {
      const body = `cpu v=${i}`
      return `POST ${V1} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`
    })
    const answers = (text: string) => text.match(/HTTP\/1\.1 204 /g)?.length ?? 0
    const received = await sendRaw(port, requests.join(''), (text) => answers(text) === count)
    expect(answers(received)).toBe(count)
    expect(ingest.stored.map(({ text }) => text)).toEqual(requests.map((_, i) => `cpu v=${i}`))
  })

  it('keeps its connection after a refusal that it sent a short body for', async () => {
    const { port } = await start()
    const bad = `POST /write?topic=nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\ncpu v=1`
    const good = `POST ${V1} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\ncpu v=1`
    const received = await sendRaw(port, bad + good, (text) => text.includes('204'))
    expect(received.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 404', 'HTTP/1.1 204'])
  })

  it('on a page of another origin may not write', async () => {
    const { port, ingest, cells } = await start()
    for (const origin of ['https://example.com', 'null', 'http://127.0.0.1.example.com']) {
      const { status } = await send(port, 'POST', V1, 'cpu v=1', {
        Origin: origin,
        'Content-Type': 'text/plain',
      })
      expect(status).toBe(403)
    }
    expect(ingest.begun).toBe(0)
    expect(readMetric(INGEST_REFUSED, [cells], 0, 'origin')).toBe(3)
    const own = await send(port, 'POST', V1, 'cpu v=1', { Origin: `http://localhost:${port}` })
    expect(own.status).toBe(204)
  })
})

describe('a node that cannot take more', () => {
  it('answers 429 with Retry-After when the log is full, whatever the body is', async () => {
    const { port, ingest, cells } = await start()
    ingest.refusal = {
      status: 429,
      retryAfterSeconds: 7,
      problem: 'the log is full',
      remedy: 'Send again later.',
    }
    for (const path of [V1, V2]) {
      const { status, headers, text } = await send(port, 'POST', path, 'cpu v=1\n'.repeat(80_000))
      expect([status, headers['retry-after']]).toEqual([429, '7'])
      expect(text).toContain('the log is full. Send again later.')
    }
    expect(ingest.begun).toBe(0)
    expect(readMetric(INGEST_REFUSED, [cells], 0, 'log_full')).toBe(2)
  })

  it('answers 503 with Retry-After while it starts or stops', async () => {
    const { port, ingest } = await start()
    ingest.refusal = { status: 503, problem: 'the node is stopping', remedy: 'Send again when it is back.' }
    const { status, headers, text } = await send(port, 'POST', V2, 'cpu v=1')
    expect([status, headers['retry-after'], JSON.parse(text).code]).toEqual([503, '1', 'unavailable'])
  })

  it('answers 429 when too many bytes are under way, and takes more when they are through', async () => {
    const { port, ingest } = await start({ limits: { inFlightBytesMax: 10_000 } })
    let durable = () => {}
    ingest.beforeFinish = () => new Promise((resolve) => (durable = resolve))
    const first = send(port, 'POST', V1, 'x'.repeat(8_000))
    await until(() => ingest.begun === 1)
    for (const headers of [{}, { 'Transfer-Encoding': 'chunked' }]) {
      const second = await send(port, 'POST', V1, 'y'.repeat(4_000), headers)
      expect([second.status, second.headers['retry-after']]).toEqual([429, '1'])
    }
    durable()
    expect((await first).status).toBe(204)
    ingest.beforeFinish = async () => {}
    expect((await send(port, 'POST', V1, 'y'.repeat(4_000))).status).toBe(204)
    expect(ingest.stored.map(({ text }) => text[0])).toEqual(['x', 'y'])
  })

  it.each([
    ['LOG_FULL', 429, '1'],
    ['UNAVAILABLE', 503, '1'],
    ['STORE_IO', 503, '1'],
    ['STORE_DAMAGED', 500, undefined],
    ['INPUT_INVALID', 400, undefined],
  ] as const)('tells %s as %i', async (code, status, retryAfter) => {
    const { port, ingest, cells, defects } = await start()
    ingest.beforeFinish = async () => {
      throw new MillraceError(code, `it is ${code}`)
    }
    const reply = await send(port, 'POST', V1, 'cpu v=1')
    expect([reply.status, reply.headers['retry-after']]).toEqual([status, retryAfter])
    expect(JSON.parse(reply.text)).toMatchObject({ error: `it is ${code}`, code })
    expect(readMetric(INGEST_REQUESTS, [cells], 0, 'failed')).toBe(1)
    expect([ingest.aborted, defects]).toEqual([1, []])
  })

  it('answers 500 without details to a defect, and reports it once', async () => {
    const { port, ingest, defects } = await start()
    const body = `crash ${'x'.repeat(300_000)}`
    const { status, text } = await send(port, 'POST', V1, body)
    expect(status).toBe(500)
    expect(text).not.toContain('a defect')
    expect(defects).toEqual([new TypeError('a defect')])
    expect([ingest.stored.length, ingest.aborted]).toEqual([0, 1])
  })
})
