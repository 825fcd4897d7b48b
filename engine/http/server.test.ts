import { connect } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { NO_QUERIES, send, sendRaw, start, stopAll, until } from '../../test/http/fixture.ts'
import { MillraceError } from '../contract/errors.ts'
import type { Queries } from '../contract/queries.ts'
import { HTTP_REQUESTS } from '../metrics/catalog.ts'
import { readMetric } from '../metrics/merge.ts'
import { ManualClock } from '../util/clock.ts'

afterEach(stopAll)

describe('probes', () => {
  it('answer /ping as InfluxDB does', async () => {
    const { port } = await start()
    for (const method of ['GET', 'HEAD']) {
      const { status, headers, text } = await send(port, method, '/ping')
      expect([status, text]).toEqual([204, ''])
      expect(headers['x-influxdb-version']).toBe('1.8.10')
    }
    const verbose = await send(port, 'GET', '/ping?verbose=true')
    expect([verbose.status, JSON.parse(verbose.text)]).toEqual([200, { version: '1.8.10' }])
  })

  it('tell readiness with its reasons, and liveness apart from it', async () => {
    let reasons: readonly string[] = []
    const { port } = await start({ readiness: () => ({ ready: reasons.length === 0, reasons }) })
    expect(await health(port)).toEqual([200, 'pass', 'ready for queries and writes'])
    expect((await send(port, 'GET', '/readyz')).status).toBe(200)
    reasons = ['shard-0 is restoring', 'the log is full']
    expect(await health(port)).toEqual([503, 'fail', 'shard-0 is restoring; the log is full'])
    const ready = await send(port, 'GET', '/readyz')
    expect([ready.status, JSON.parse(ready.text)]).toEqual([503, { status: 'not ready', reasons }])
    expect((await send(port, 'GET', '/healthz')).status).toBe(200)
  })

  async function health(port: number) {
    const { status, text } = await send(port, 'GET', '/health')
    const body = JSON.parse(text)
    expect(body).toMatchObject({ name: 'millrace', checks: [], version: '0.1.0' })
    return [status, body.status, body.message]
  }
})

describe('routes', () => {
  it('give /metrics as the exporter made it', async () => {
    const { port } = await start()
    const { status, headers, text } = await send(port, 'GET', '/metrics')
    expect([status, headers['content-type'], text]).toEqual([
      200,
      'text/plain; version=0.0.4',
      'millrace_up 1\n',
    ])
  })

  it('that do not exist are 404, with the nearest that does', async () => {
    const { port } = await start()
    const { status, text } = await send(port, 'GET', '/metric')
    expect(status).toBe(404)
    expect(JSON.parse(text)).toMatchObject({
      error: expect.stringContaining('Did you mean "/metrics"?'),
      code: 'INPUT_INVALID',
      faults: [],
    })
    expect((await send(port, 'POST', '/api/v2/wirte', 'cpu v=1')).status).toBe(404)
    expect((await send(port, 'GET', '/__proto__')).status).toBe(404)
  })

  it('asked with another method are 405, with those allowed', async () => {
    const { port } = await start()
    const read = await send(port, 'GET', '/write')
    expect([read.status, read.headers.allow, JSON.parse(read.text).error]).toEqual([
      405,
      'POST',
      'GET is not answered here. Use POST.',
    ])
    const write = await send(port, 'POST', '/api/v1/alerts', 'x'.repeat(100_000))
    expect([write.status, write.headers.allow]).toEqual([405, 'GET, HEAD'])
  })

  it('are counted by class of status', async () => {
    const { port, cells } = await start()
    await send(port, 'GET', '/healthz')
    await send(port, 'GET', '/nothing')
    await until(() => readMetric(HTTP_REQUESTS, [cells], 0, '4xx') === 1)
    expect(readMetric(HTTP_REQUESTS, [cells], 0, '2xx')).toBe(1)
  })
})

describe('the JSON API', () => {
  /** Every question put, as it was put. */
  function recording() {
    const asked: [string, unknown][] = []
    const record =
      <T>(name: string, answer: T) =>
      async (query: unknown): Promise<T> => {
        asked.push([name, query])
        return answer
      }
    const page = { rows: [], cursor: 'next' }
    const queries: Queries = {
      ...NO_QUERIES,
      results: record('results', page),
      alerts: record('alerts', []),
      alertHistory: record('alertHistory', page),
      incidents: record('incidents', { rows: [], isWhole: true }),
      explain: record('explain', []),
      late: record('late', page),
      deadLetters: record('deadLetters', []),
    }
    return { queries, asked }
  }

  it('puts questions as they were meant', async () => {
    const { queries, asked } = recording()
    const { port } = await start({ queries, clock: new ManualClock(1_000_000) })
    const results = await send(
      port,
      'GET',
      '/api/v1/results?pipeline=p&group.instance=a%26b&group.job=x&from=-15s&to=1970-01-01T00:20:00Z&limit=7&cursor=c',
    )
    expect([results.status, JSON.parse(results.text)]).toEqual([200, { rows: [], cursor: 'next' }])
    await send(port, 'GET', '/api/v1/alerts?state=firing')
    await send(port, 'GET', '/api/v1/alerts/history?pipeline=p&state=resolved&from=5')
    await send(port, 'GET', '/api/v1/late?pipeline=p')
    await send(port, 'GET', '/api/v1/dead-letters?pipeline=p')
    expect(asked).toEqual([
      [
        'results',
        {
          pipeline: 'p',
          group: { instance: 'a&b', job: 'x' },
          fromMs: 985_000,
          toMs: 1_200_000,
          limit: 7,
          cursor: 'c',
        },
      ],
      ['alerts', { state: 'firing' }],
      ['alertHistory', { pipeline: 'p', state: 'resolved', fromMs: 5, limit: 100 }],
      ['late', { pipeline: 'p', limit: 100 }],
      ['deadLetters', { pipeline: 'p' }],
    ])
  })

  it('asks for incidents with their options, and names what is wrong with them', async () => {
    const { queries, asked } = recording()
    const { port } = await start({ queries, clock: new ManualClock(1_000_000_000) })
    const { status, text } = await send(
      port,
      'GET',
      '/api/v1/incidents?pipeline=p&from=-200s&gap=1m&by=rack,host',
    )
    expect([status, JSON.parse(text)]).toEqual([200, { rows: [], isWhole: true }])
    await send(port, 'GET', '/api/v1/incidents')
    expect(asked).toEqual([
      ['incidents', { pipeline: 'p', fromMs: 999_800_000, gapMs: 60_000, by: ['rack', 'host'] }],
      ['incidents', { fromMs: 1_000_000_000 - 86_400_000 }],
    ])
    const wrong = await send(port, 'GET', '/api/v1/incidents?gap=5&by=a,&form=1')
    const { faults } = JSON.parse(wrong.text)
    expect(faults.map(({ place }: { place: string }) => place).sort()).toEqual(['by', 'form', 'gap'])
    expect(asked).toHaveLength(2)
  })

  it('asks what detectors decided for a series, which must be named, as must be the pipeline of a detector', async () => {
    const { queries, asked } = recording()
    const { port } = await start({ queries })
    const { status, text } = await send(
      port,
      'GET',
      '/api/v1/explain?pipeline=p&detector=d&group.host=a&group.name=cpu',
    )
    expect([status, JSON.parse(text)]).toEqual([200, { rows: [] }])
    await send(port, 'GET', '/api/v1/explain?group.host=a')
    expect(asked).toEqual([
      ['explain', { pipeline: 'p', detector: 'd', group: { host: 'a', name: 'cpu' } }],
      ['explain', { group: { host: 'a' } }],
    ])
    const wrong = await send(port, 'GET', '/api/v1/explain?detector=d&series=a')
    const { faults } = JSON.parse(wrong.text)
    const places = faults.map(({ place }: { place: string }) => place).sort()
    expect([wrong.status, places]).toEqual([400, ['group.LABEL', 'pipeline', 'series']])
    expect(asked).toHaveLength(2)
  })

  it('names every fault of a question at once, and does not put it', async () => {
    const { queries, asked } = recording()
    const { port } = await start({ queries })
    const { status, text } = await send(
      port,
      'GET',
      '/api/v1/results?from=yesterday&to=2026-13-99&limit=0&grup.a=b&cursor=',
    )
    expect(status).toBe(400)
    const { code, faults, error } = JSON.parse(text)
    expect(code).toBe('INPUT_INVALID')
    expect(faults.map(({ place }: { place: string }) => place).sort()).toEqual([
      'cursor',
      'from',
      'grup.a',
      'limit',
      'pipeline',
      'to',
    ])
    expect(error).toContain('limit: is not a number of rows (got "0"). Give a whole number from 1 to 10000.')
    expect(asked).toEqual([])
    expect((await send(port, 'GET', '/api/v1/alerts?state=fireing')).text).toContain(
      'Did you mean \\"firing\\"',
    )
  })

  it('tells what the store says, as a status', async () => {
    const results = async () => {
      throw new MillraceError('PIPELINE_INVALID', 'there is no pipeline "p". Known: q.')
    }
    const { port, defects } = await start({ queries: { ...NO_QUERIES, results } })
    const { status, text } = await send(port, 'GET', '/api/v1/results?pipeline=p')
    expect([status, JSON.parse(text)]).toEqual([
      404,
      { error: 'there is no pipeline "p". Known: q.', code: 'PIPELINE_INVALID', faults: [] },
    ])
    expect(defects).toEqual([])
  })

  it('keeps a defect to itself, and reports it', async () => {
    const status = async () => {
      throw new TypeError('secret')
    }
    const { port, defects } = await start({ queries: { ...NO_QUERIES, status } })
    const reply = await send(port, 'GET', '/api/v1/status')
    expect(reply.status).toBe(500)
    expect(reply.text).not.toContain('secret')
    expect(defects).toEqual([new TypeError('secret')])
  })
})

describe('web pages elsewhere', () => {
  it('learn nothing by a name that resolves to this machine', async () => {
    const { port } = await start({ assets: [{ path: '/', contentType: 'text/html', body: 'page' }] })
    for (const path of ['/', '/api/v1/status', '/api/v1/alerts']) {
      const reply = await send(port, 'GET', path, undefined, { Host: `evil.example.com:${port}` })
      expect(reply.status).toBe(403)
      expect(JSON.parse(reply.text).code).toBe('HOST_REFUSED')
    }
    // Prometheus and probes may know this machine by any name.
    for (const path of ['/metrics', '/ping', '/health', '/healthz', '/readyz']) {
      expect((await send(port, 'GET', path, undefined, { Host: 'box.lan' })).status).toBeLessThan(300)
    }
  })

  it.each(['localhost', 'LOCALHOST:8428', '127.0.0.1:8428', '[::1]:8428', '192.168.0.7', 'my-box:1'])(
    'do not keep out %s',
    async (host) => {
      const { port } = await start({ hostNames: ['My-Box'] })
      expect((await send(port, 'GET', '/api/v1/status', undefined, { Host: host })).status).toBe(200)
    },
  )

  it.each(['127.0.0.1.example.com', 'localhost.example.com', '[::1].example.com', 'localhost@example.com'])(
    'are not let in as %s',
    async (host) => {
      const { port } = await start()
      expect((await send(port, 'GET', '/api/v1/status', undefined, { Host: host })).status).toBe(403)
    },
  )

  it('get the status page under a policy that allows nothing from elsewhere', async () => {
    const { port } = await start({ assets: [{ path: '/', contentType: 'text/html', body: 'page' }] })
    const { status, headers, text } = await send(port, 'GET', '/')
    expect([status, headers['content-type'], text]).toEqual([200, 'text/html', 'page'])
    const policy = headers['content-security-policy']
    expect(policy).toContain("default-src 'none'")
    expect(policy).not.toMatch(/unsafe|https?:|\*/)
    expect(headers['x-content-type-options']).toBe('nosniff')
    expect(headers['x-frame-options']).toBe('DENY')
    expect(headers['access-control-allow-origin']).toBeUndefined()
  })
})

describe('bad connections', () => {
  it('of garbage are answered 400 and closed', async () => {
    const { port } = await start()
    for (const garbage of ['\x16\x03\x01\x02\x00\x01\x00', 'hello\r\n\r\n', 'GET / HTTP/9.9\r\n\r\n']) {
      expect(await sendRaw(port, garbage)).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/)
    }
    expect((await send(port, 'GET', '/healthz')).status).toBe(200)
  })

  it('with too large a head are answered 431', async () => {
    const { port } = await start({ limits: { headerBytesMax: 4_096 } })
    const received = await sendRaw(port, `GET /ping HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(5_000)}\r\n\r\n`)
    expect(received).toMatch(/^HTTP\/1\.1 431 /)
  })

  it('that dribble their head or body are cut off in time, and nothing is stored', async () => {
    const { port, ingest } = await start({ limits: { headersTimeoutMs: 300, requestTimeoutMs: 600 } })
    const [head, body] = await Promise.all([
      sendRaw(port, 'POST /write HTTP/1.1\r\nHost: localhost\r\nX-Slow: '),
      sendRaw(port, 'POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\ncpu v=1\n'),
    ])
    expect(head).toMatch(/^HTTP\/1\.1 408 /)
    expect(body).toMatch(/^HTTP\/1\.1 408 /)
    await until(() => ingest.aborted === 1)
    expect(ingest.stored).toEqual([])
  })

  it('beyond the limit are closed at once', async () => {
    const { port } = await start({ limits: { connectionsMax: 2 } })
    const held = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1')]
    await Promise.all(held.map((socket) => new Promise((resolve) => socket.once('connect', resolve))))
    expect(await sendRaw(port, 'GET /ping HTTP/1.1\r\nHost: x\r\n\r\n')).toBe('')
    for (const socket of held) socket.destroy()
  })
})

describe('starting and stopping', () => {
  it('names a port that is in use and what to do', async () => {
    const first = await start()
    const { server } = await start()
    await server.close()
    await expect(server.listen('127.0.0.1', first.port)).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: expect.stringMatching(
        new RegExp(
          `^port ${first.port} on 127.0.0.1 is (in use|held by process ${process.pid} \\(.+\\))\\. Stop (it|the process that holds it), or choose another with --port\\.$`,
        ),
      ),
    })
  })

  it('says why it cannot listen on an address that is not this machine’s', async () => {
    const { server } = await start()
    await server.close()
    await expect(server.listen('203.0.113.1', 0)).rejects.toMatchObject({ code: 'HOST_REFUSED' })
  })

  it('answers what is under way before it closes, and may be closed twice', async () => {
    const { server, port, ingest } = await start()
    let durable = () => {}
    ingest.beforeFinish = () => new Promise((resolve) => (durable = resolve))
    const reply = send(port, 'POST', '/write', 'cpu v=1', { Connection: 'keep-alive' })
    await until(() => ingest.begun === 1)
    const closed = Promise.all([server.close(), server.close()])
    setTimeout(() => durable(), 50)
    expect((await reply).status).toBe(204)
    await closed
    expect(ingest.stored).toHaveLength(1)
    await expect(send(port, 'GET', '/healthz')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  })

  it('does not wait longer than it says for a client that does not finish', async () => {
    const { server, port, ingest } = await start({ limits: { closeTimeoutMs: 100 } })
    const socket = sendRaw(
      port,
      'POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\ncpu v=1\n',
    )
    await until(() => ingest.begun === 1)
    await server.close()
    await socket
    await until(() => ingest.aborted === 1)
    expect(ingest.stored).toEqual([])
  })
})
