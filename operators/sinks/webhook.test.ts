import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import type { Fault } from '../../engine/contract/errors.ts'
import type { SinkContext } from '../../engine/contract/plugins.ts'
import { ManualClock, systemClock } from '../../engine/util/clock.ts'
import { describeSink, testContext, testStream } from '../testing/describe-sink.ts'
import { retryAfterMs } from './http-sink.ts'
import { recordJson } from './record-json.ts'
import { openWebhook, type WebhookOptions, webhookPlugin } from './webhook.ts'

interface Request {
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

interface Receiver {
  readonly url: string
  readonly requests: Request[]
  close(): Promise<void>
}

type Reply = (request: Request, response: ServerResponse, index: number) => void

const ok: Reply = (_request, response) => response.end('thanks')
const receivers: Receiver[] = []

afterEach(async () => {
  for (const receiver of receivers.splice(0)) await receiver.close()
})

async function receive(reply: Reply = ok): Promise<Receiver> {
  const requests: Request[] = []
  const server: Server = createServer((incoming, response) => {
    const chunks: Buffer[] = []
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
    incoming.on('end', () => {
      const request = { headers: incoming.headers, body: Buffer.concat(chunks).toString() }
      requests.push(request)
      reply(request, response, requests.length - 1)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  const { port } = server.address() as AddressInfo
  const receiver: Receiver = { url: `http://127.0.0.1:${port}/secret?token=1`, requests, close }
  receivers.push(receiver)
  return receiver
}

function optionsFor(url: string, change: Record<string, unknown> = {}): WebhookOptions {
  const faults: Fault[] = []
  const parsed = webhookPlugin.options.parse({ url, ...change }, 'p.sinks[0]', faults)
  expect(faults).toEqual([])
  return parsed!
}

interface Sleeps {
  readonly sleptMs: number[]
  readonly tools: { sleep: (ms: number) => Promise<void>; clock: typeof systemClock }
}

/** Time that passes at once, and is written down. */
function noWait(): Sleeps {
  const sleptMs: number[] = []
  const sleep = async (ms: number): Promise<void> => {
    sleptMs.push(ms)
  }
  return { sleptMs, tools: { sleep, clock: systemClock } }
}

function graves(): { dead: { records: number; message: string }[]; context: SinkContext } {
  const dead: { records: number; message: string }[] = []
  const deadLetter: SinkContext['deadLetter'] = (records, error) => {
    dead.push({ records, message: error.message })
  }
  return { dead, context: testContext({ deadLetter }) }
}

for (const batch of [1, 3]) {
  describeSink(`webhook, ${batch} a request`, 'at-least-once', async () => {
    const { url, requests } = await receive()
    return {
      open: (context) => webhookPlugin.open(optionsFor(url, { batch }), context),
      async received() {
        const bodies = requests.flatMap(({ body }) => {
          const parsed = JSON.parse(body)
          return Array.isArray(parsed) ? parsed : [parsed]
        })
        return bodies.map((body) => ({ id: body.id, text: JSON.stringify(body) }))
      },
      async dispose() {},
    }
  })
}

const RECORDS = testStream(0)
const FIRST = RECORDS[0]!

describe('a request', () => {
  test('carries one record as JSON, with its id as idempotency key, and the headers asked for', async () => {
    const { url, requests } = await receive()
    await openWebhook(optionsFor(url, { headers: { Authorization: 'Bearer x' } }), testContext()).send([
      FIRST,
    ])
    expect(requests).toHaveLength(1)
    expect(requests[0]?.body).toBe(recordJson(FIRST))
    expect(requests[0]?.headers).toMatchObject({
      authorization: 'Bearer x',
      'content-type': 'application/json',
      'idempotency-key': FIRST.id,
      'x-millrace-count': '1',
      'x-millrace-id': FIRST.id,
    })
  })

  test('with a batch carries an array; equal keys mean equal records', async () => {
    const { url, requests } = await receive()
    const sink = openWebhook(optionsFor(url, { batch: 3 }), testContext())
    await sink.send(RECORDS.slice(0, 3))
    await sink.send(RECORDS.slice(0, 3))
    await sink.send(RECORDS.slice(0, 2))
    expect(requests[0]?.body).toBe(`[${RECORDS.slice(0, 3).map(recordJson).join(',')}]`)
    const keys = requests.map(({ headers }) => headers['idempotency-key'])
    expect(keys[0]).toMatch(/^[0-9a-f]{64}$/)
    expect(keys[1]).toBe(keys[0])
    expect(keys[2]).not.toBe(keys[0])
  })

  test('of one partition waits for the one before it; those of others may overlap, up to the limit', async () => {
    const inFlight = new Set<string>()
    let most = 0
    const { url, requests } = await receive((request, response) => {
      const partition = JSON.parse(request.body).id.split('/')[1]
      expect(inFlight.has(partition)).toBe(false)
      inFlight.add(partition)
      most = Math.max(most, inFlight.size)
      setTimeout(() => {
        inFlight.delete(partition)
        response.end()
      }, 5)
    })
    const records = [0, 1, 2].flatMap((partition) => testStream(partition))
    await openWebhook(optionsFor(url, { maxInFlight: 2 }), testContext()).send(records)
    expect(most).toBe(2)
    expect(requests).toHaveLength(records.length)
  })
})

describe('an answer', () => {
  test.each([408, 425, 429, 500, 502, 503])('%i is tried again until it is accepted', async (status) => {
    const { url, requests } = await receive((_request, response, index) => {
      response.statusCode = index < 3 ? status : 204
      response.end()
    })
    const { tools, sleptMs } = noWait()
    await openWebhook(optionsFor(url), testContext(), tools).send([FIRST])
    expect(requests.map(({ headers }) => headers['idempotency-key'])).toEqual(Array(4).fill(FIRST.id))
    expect(sleptMs).toHaveLength(3)
    sleptMs.forEach((ms, attempt) => {
      expect(ms).toBeGreaterThanOrEqual(100 * 2 ** attempt)
      expect(ms).toBeLessThan(200 * 2 ** attempt)
    })
  })

  test('that asks for a pause gets it', async () => {
    const { url } = await receive((_request, response, index) => {
      if (index === 0) response.writeHead(429, { 'retry-after': '7' })
      response.end()
    })
    const { tools, sleptMs } = noWait()
    await openWebhook(optionsFor(url), testContext(), tools).send([FIRST])
    expect(sleptMs).toEqual([7_000])
  })

  test.each([400, 401, 404, 410, 422])(
    '%i is final: a dead letter with its reason, and the next goes on',
    async (status) => {
      const { url, requests } = await receive((_request, response, index) => {
        response.statusCode = index === 0 ? status : 200
        response.end('no such field')
      })
      const { dead, context } = graves()
      await openWebhook(optionsFor(url), context).send(RECORDS.slice(0, 2))
      expect(requests).toHaveLength(2)
      expect(dead).toHaveLength(1)
      expect(dead[0]?.records).toBe(1)
      expect(dead[0]?.message).toContain(`refused ${FIRST.id}: it answered ${status}: "no such field"`)
      expect(dead[0]?.message).not.toContain('secret')
    },
  )

  test('that redirects is not followed', async () => {
    const elsewhere = await receive()
    const { url } = await receive((_request, response) => {
      response.writeHead(307, { location: elsewhere.url })
      response.end()
    })
    const { dead, context } = graves()
    await openWebhook(optionsFor(url), context).send([FIRST])
    expect(dead[0]?.message).toMatch(/answered 307, and redirects are not followed/)
    expect(elsewhere.requests).toHaveLength(0)
  })

  test('without end is cut, and does not undo that the record was accepted', async () => {
    let closed: (() => void) | null = null
    const cut = new Promise<void>((resolve) => {
      closed = resolve
    })
    const { url } = await receive((_request, response) => {
      const pump = (): void => {
        while (response.write(Buffer.alloc(16_384, 'x'))) {}
      }
      response.on('drain', pump)
      response.on('close', () => closed?.())
      pump()
    })
    await openWebhook(optionsFor(url), testContext()).send([FIRST])
    await cut
  })

  test('that does not come is a retryable failure after the tries of one send', async () => {
    const { url, requests } = await receive(() => {})
    const { tools } = noWait()
    const sent = openWebhook(optionsFor(url, { timeout: '20ms' }), testContext(), tools).send([FIRST])
    await expect(sent).rejects.toMatchObject({ code: 'SINK_FAILED', retryable: true })
    await expect(sent).rejects.toThrow(/did not take pipe\/0\/0\/0 in 5 tries: no answer within 20 ms/)
    expect(requests.length).toBeLessThanOrEqual(5)
  })
})

describe('a failure', () => {
  test('of the network is tried again, then handed to the outbox as retryable', async () => {
    const gone = await receive()
    await gone.close()
    const { tools, sleptMs } = noWait()
    const sent = openWebhook(optionsFor(gone.url), testContext(), tools).send([FIRST])
    await expect(sent).rejects.toMatchObject({ code: 'SINK_FAILED', retryable: true })
    await expect(sent).rejects.toThrow(/ECONNREFUSED/)
    expect(sleptMs).toHaveLength(4)
  })

  test('in the middle of a send: the next try repeats no record that was accepted', async () => {
    let broken = true
    const poison = RECORDS[2]!.id
    const { url, requests } = await receive((request, response) => {
      response.statusCode = broken && JSON.parse(request.body).id === poison ? 503 : 200
      response.end()
    })
    const { tools } = noWait()
    const sink = openWebhook(optionsFor(url), testContext(), tools)
    await expect(sink.send(RECORDS)).rejects.toMatchObject({ retryable: true })
    broken = false
    await sink.send(RECORDS)
    const ids = requests.map(({ headers }) => headers['x-millrace-id'])
    const others = ids.filter((id) => id !== poison)
    expect(others).toEqual(RECORDS.filter(({ id }) => id !== poison).map(({ id }) => id))
    expect(ids.filter((id) => id === poison)).toHaveLength(6)
  })

  test('a stop ends a request that hangs, and a pause', async () => {
    const { url, requests } = await receive((_request, response, index) => {
      if (index === 1) response.writeHead(503, { 'retry-after': '60' }).end()
    })
    for (const wanted of [1, 2]) {
      const stop = new AbortController()
      const sent = openWebhook(optionsFor(url), testContext({ signal: stop.signal })).send([FIRST])
      while (requests.length < wanted) await new Promise((resolve) => setTimeout(resolve, 2))
      setTimeout(() => stop.abort(), 20)
      await expect(sent).rejects.toThrow(/was stopped/)
    }
  })
})

test('Retry-After is seconds or a date, never negative, never beyond its bound', () => {
  const clock = new ManualClock(Date.parse('2026-01-01T00:00:00Z'))
  expect(retryAfterMs(null, clock)).toBe(0)
  expect(retryAfterMs('3', clock)).toBe(3_000)
  expect(retryAfterMs('Thu, 01 Jan 2026 00:00:05 GMT', clock)).toBe(5_000)
  expect(retryAfterMs('Wed, 31 Dec 2025 00:00:00 GMT', clock)).toBe(0)
  expect(retryAfterMs('86400', clock)).toBe(60_000)
  expect(retryAfterMs('soon', clock)).toBe(0)
})

test('options that cannot work are faults, each with its place', () => {
  const placesOf = (input: unknown): string[] => {
    const faults: Fault[] = []
    expect(webhookPlugin.options.parse(input, 'w', faults)).toBeUndefined()
    return faults.map(({ place, problem }) => `${place} ${problem}`)
  }
  expect(placesOf({ url: 'ftp://x' })).toEqual(['w.url is no such URL'])
  expect(placesOf({ url: 'http://me:pw@x/' })).toEqual(['w.url carries a user name or password'])
  expect(placesOf({ url: 'http://x', batch: 0, timeout: '1h' })).toHaveLength(2)
  expect(placesOf({ url: 'http://x', headers: { 'Content-Type': 'a', 'a b': 'c', ok: 'a\nb' } })).toEqual([
    'w.headers is set by the sink itself',
    'w.headers is no header name',
    'w.headers has a value with characters that a header cannot carry',
  ])
})
