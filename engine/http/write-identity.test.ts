/** Keys and sequences at the door: what is read, what is refused by name, what an answer says. Over a real socket. */
import { afterEach, describe, expect, it } from 'vitest'
import { send, sendRaw, start, stopAll } from '../../test/http/fixture.ts'
import { type ErrorCode, MillraceError } from '../contract/errors.ts'
import { INGEST_REFUSED, INGEST_REQUESTS, INGEST_SAMPLES } from '../metrics/catalog.ts'
import { readMetric } from '../metrics/merge.ts'

afterEach(stopAll)

const PRODUCER = {
  'X-Millrace-Producer-Id': '7',
  'X-Millrace-Producer-Epoch': '2',
  'X-Millrace-Sequence': '41',
}

describe.each(['/write', '/api/v2/write'])('a write to %s', (path) => {
  it.each(['k', 'x'.repeat(256), '"8e03978e-40d5-43e8-bc93-6894a57f9324"', 'with spaces in it'])(
    'takes a key of printable characters: %s',
    async (key) => {
      const { port, ingest } = await start()
      expect((await send(port, 'POST', path, 'cpu v=1', { 'Idempotency-Key': key })).status).toBe(204)
      expect(ingest.identities).toEqual([{ kind: 'key', key }])
    },
  )

  it.each([
    ['', 'is empty'],
    ['x'.repeat(257), 'has 257 characters'],
    ['caf\u00e9', 'cannot be printed'],
  ])('refuses any other key, naming header, value and remedy: %s', async (key, problem) => {
    const { port, ingest, cells } = await start()
    const { status, text } = await send(port, 'POST', path, 'cpu v=1', { 'Idempotency-Key': key })
    expect(status).toBe(400)
    const { error, message } = JSON.parse(text)
    expect(error ?? message).toContain('Idempotency-Key')
    expect(error ?? message).toContain(problem)
    expect(error ?? message).toContain(key.slice(0, 3))
    expect(error ?? message).toContain('Send 1 to 256 printable ASCII characters')
    expect(ingest.begun).toBe(0)
    expect(readMetric(INGEST_REFUSED, [cells], 0, 'parameters')).toBe(1)
  })

  it('refuses two keys at once', async () => {
    const { port, ingest } = await start()
    const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\nConnection: close\r\n`
    const text = await sendRaw(port, `${head}Idempotency-Key: a\r\nIdempotency-Key: b\r\n\r\ncpu v=1`)
    expect(text).toContain('HTTP/1.1 400')
    expect(text).toContain('is sent 2 times')
    expect(ingest.begun).toBe(0)
  })

  it('takes a producer’s id, epoch and sequence', async () => {
    const { port, ingest } = await start()
    expect((await send(port, 'POST', path, 'cpu v=1', PRODUCER)).status).toBe(204)
    expect(ingest.identities).toEqual([{ kind: 'producer', producerId: 7, producerEpoch: 2, sequence: 41 }])
  })

  it.each([
    [{ ...PRODUCER, 'X-Millrace-Sequence': '-1' }, /X-Millrace-Sequence: is not a whole number.*"-1"/],
    [{ ...PRODUCER, 'X-Millrace-Sequence': '99999999999999999' }, /X-Millrace-Sequence: is not a whole/],
    [{ ...PRODUCER, 'X-Millrace-Producer-Id': '0' }, /X-Millrace-Producer-Id: is not a whole/],
    [
      { 'X-Millrace-Producer-Id': '7' },
      /X-Millrace-Producer-Epoch: is missing.*X-Millrace-Sequence: is missing/s,
    ],
    [{ ...PRODUCER, 'Idempotency-Key': 'k' }, /Idempotency-Key: comes with the headers of a producer/],
  ])('refuses what is no producer, all faults at once: %j', async (headers, told) => {
    const { port, ingest } = await start()
    const { status, text } = await send(port, 'POST', path, 'cpu v=1', headers)
    expect(status).toBe(400)
    const { error, message } = JSON.parse(text)
    expect(error ?? message).toMatch(told)
    expect(ingest.begun).toBe(0)
  })

  it('says where it was stored, and of what a duplicate is one', async () => {
    const { port, ingest, cells } = await start()
    const once = { topic: 'metrics', storedAt: 'metrics/3:1042', futureThen: 0 }
    ingest.once = () => ({ ...once, isDuplicate: false })
    const first = await send(port, 'POST', path, 'cpu v=1', { 'Idempotency-Key': 'k' })
    expect([first.status, first.headers['x-millrace-stored-at']]).toEqual([204, 'metrics/3:1042'])
    expect(first.headers['x-millrace-duplicate-of']).toBeUndefined()
    ingest.once = () => ({ ...once, isDuplicate: true })
    const second = await send(port, 'POST', path, 'cpu v=1', { 'Idempotency-Key': 'k' })
    expect([second.status, second.text]).toEqual([204, ''])
    expect(second.headers['x-millrace-duplicate-of']).toBe('metrics/3:1042')
    expect(second.headers['x-millrace-stored-at']).toBeUndefined()
    ingest.once = () => ({ ...once, storedAt: null, isDuplicate: true })
    const old = await send(port, 'POST', path, 'cpu v=1', PRODUCER)
    expect(old.headers['x-millrace-duplicate-of']).toBe('metrics')
    expect(old.headers['x-millrace-sequence']).toBe('41')
    expect(readMetric(INGEST_REQUESTS, [cells], 0, 'stored')).toBe(1)
    expect(readMetric(INGEST_REQUESTS, [cells], 0, 'duplicate')).toBe(2)
    expect(readMetric(INGEST_SAMPLES, [cells])).toBe(1)
  })

  it('answers a duplicate with bad lines as the first: the same lines, and what was in the future then', async () => {
    const { port, ingest } = await start()
    const once = { topic: 'metrics', storedAt: 'metrics/3:1042' }
    ingest.once = () => ({ ...once, isDuplicate: false, futureThen: 0 })
    const body = 'cpu v=1\nbad line\nnew v=1\n'
    const first = await send(port, 'POST', path, body, { 'Idempotency-Key': 'k' })
    ingest.once = () => ({ ...once, isDuplicate: true, futureThen: 0 })
    const second = await send(port, 'POST', path, body, { 'Idempotency-Key': 'k' })
    expect([second.status, second.text]).toEqual([first.status, first.text])
    expect(second.status).toBe(400)
    expect(first.headers['x-millrace-stored-at']).toBe('metrics/3:1042')
    expect(second.headers['x-millrace-duplicate-of']).toBe('metrics/3:1042')
    ingest.once = () => ({ ...once, isDuplicate: true, futureThen: 2 })
    const third = await send(port, 'POST', path, 'cpu v=1\ncpu v=2\ncpu v=3', { 'Idempotency-Key': 'k' })
    expect(third.status).toBe(400)
    expect(third.text).toContain('partial write: 2 samples were in the future when this body was first sent')
    expect(third.text).toContain('dropped=2')
  })

  it.each<[ErrorCode, number, string, string]>([
    ['KEY_REUSED', 422, 'unprocessable entity', 'key_reused'],
    ['PRODUCER_FENCED', 409, 'conflict', 'producer'],
    ['PRODUCER_UNKNOWN', 409, 'conflict', 'producer'],
    ['SEQUENCE_GAP', 409, 'conflict', 'producer'],
    ['LOG_FULL', 429, 'too many requests', 'keys_full'],
  ])('%s is %d, and nothing is stored', async (code, status, v2Code, reason) => {
    const { port, ingest, cells } = await start()
    ingest.beforeFinish = async () => {
      throw new MillraceError(code, 'it is told why')
    }
    const answer = await send(port, 'POST', path, 'cpu v=1', { 'Idempotency-Key': 'k' })
    expect(answer.status).toBe(status)
    const body = JSON.parse(answer.text)
    expect(body.error ?? body.message).toBe('it is told why')
    expect(body.code).toBe(path === '/write' ? code : v2Code)
    expect(ingest.stored).toHaveLength(0)
    expect(readMetric(INGEST_REFUSED, [cells], 0, reason as 'producer')).toBe(1)
  })

  it('of nothing uses up the sequence of a producer', async () => {
    const { port, ingest } = await start()
    ingest.once = () => ({ topic: 'metrics', storedAt: null, isDuplicate: false, futureThen: 0 })
    const { status, headers } = await send(port, 'POST', path, '', PRODUCER)
    expect([status, headers['x-millrace-sequence']]).toEqual([path === '/write' ? 204 : 400, '41'])
    expect(ingest.identities).toHaveLength(1)
  })
})

describe('a producer', () => {
  const PATH = '/api/v1/producers'

  it.each([
    [undefined, null],
    ['{}', null],
    ['{"name":"meter-7"}', 'meter-7'],
  ])('is made on request: %s', async (body, name) => {
    const { port, ingest } = await start()
    const { status, text } = await send(port, 'POST', PATH, body)
    expect([status, JSON.parse(text)]).toEqual([
      200,
      {
        producerId: 7,
        producerEpoch: 2,
        topics: { metrics: { lastSequence: 41, nextSequence: 42, storedAt: 'metrics/3:1042' } },
      },
    ])
    expect(ingest.names).toEqual([name])
  })

  it.each([
    ['{"name":""}', 'name: is not a name'],
    [`{"name":"${'x'.repeat(129)}"}`, 'name: is not a name'],
    ['{"name":7}', 'name: is not a name'],
    ['{"nmae":"x"}', 'nmae: is not known here'],
    ['[]', 'is not an object'],
    ['name=x', 'is not JSON'],
  ])('with a bad request is none: %s', async (body, told) => {
    const { port, ingest } = await start()
    const { status, text } = await send(port, 'POST', PATH, body)
    expect(status).toBe(400)
    expect(JSON.parse(text).error).toContain(told)
    expect(ingest.names).toEqual([])
  })

  it('is not made by web pages of others, by GET, or by a body without end', async () => {
    const { port, ingest } = await start()
    expect((await send(port, 'POST', PATH, '{}', { Origin: 'http://evil.example' })).status).toBe(403)
    expect((await send(port, 'GET', PATH)).status).toBe(405)
    expect((await send(port, 'POST', PATH, 'x'.repeat(100_000))).status).toBe(413)
    expect(ingest.names).toEqual([])
  })
})
