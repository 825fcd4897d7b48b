import { connect, type Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { type Running, send, start, stopAll, until } from '../../test/http/fixture.ts'
import { MillraceError } from '../contract/errors.ts'
import { LIVE_CLIENTS, LIVE_DROPPED } from '../metrics/catalog.ts'
import type { LiveEvent, LiveLimits, LiveSource } from './live-hub.ts'

const sockets: Socket[] = []

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  await stopAll()
})

/** Tells what it is given; a snapshot is one event that names how many were told. */
class Script implements LiveSource {
  opened = 0
  closed = 0
  polled = 0
  told = 0
  /** Opening waits for it. */
  gate: Promise<void> = Promise.resolve()
  snapshotBytes = 0
  trouble: Error | null = null
  readonly next: LiveEvent[] = []

  open(): Promise<void> {
    this.opened++
    return this.gate
  }

  poll(): readonly LiveEvent[] {
    this.polled++
    if (this.trouble !== null) throw this.trouble
    this.told += this.next.length
    return this.next.splice(0)
  }

  *snapshot(): Generator<LiveEvent> {
    yield { event: 'hello', data: JSON.stringify({ told: this.told }) }
    if (this.snapshotBytes > 0)
      yield { event: 'series', data: JSON.stringify('x'.repeat(this.snapshotBytes)) }
  }

  close(): void {
    this.closed++
  }

  say(...data: readonly unknown[]): void {
    for (const one of data) this.next.push({ event: 'points', data: JSON.stringify(one) })
  }
}

async function serve(source: Script, liveLimits: Partial<LiveLimits> = {}): Promise<Running> {
  return await start({ live: source, liveLimits: { pollMs: 5, ...liveLimits } })
}

interface Watcher {
  readonly socket: Socket
  text(): string
  readonly isOver: boolean
}

function watch(port: number, headers: Readonly<Record<string, string>> = {}): Watcher {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  const socket = connect(port, '127.0.0.1')
  sockets.push(socket)
  let text = ''
  let isOver = false
  socket.on('data', (chunk) => {
    text += chunk.toString()
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    isOver = true
  })
  socket.write(`GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n${lines.join('')}\r\n`)
  return {
    socket,
    text: () => text,
    get isOver() {
      return isOver
    },
  }
}

function lastId(text: string): string {
  return [...text.matchAll(/^id: (.+)$/gm)].at(-1)![1]!
}

function told(text: string): unknown[] {
  return [...text.matchAll(/^event: points\ndata: (.+)$/gm)].map(([, data]) => JSON.parse(data!) as unknown)
}

describe('/api/v1/live', () => {
  it('begins with a snapshot that ends with ready, then tells each event once, in order, with an id', async () => {
    const source = new Script()
    const { port } = await serve(source)
    const watcher = watch(port)
    await until(() => watcher.text().includes('event: ready'))
    source.say(1, 2)
    await until(() => watcher.text().includes('data: 2'))
    source.say(3)
    await until(() => watcher.text().includes('data: 3'))
    const text = watcher.text()
    expect(text).toMatch(/^HTTP\/1.1 200 /)
    expect(text).toMatch(/content-type: text\/event-stream; charset=utf-8/i)
    expect(text).toMatch(/cache-control: no-store/i)
    expect(text.indexOf('event: hello')).toBeLessThan(text.indexOf('event: ready'))
    expect(told(text)).toEqual([1, 2, 3])
    const ids = [...text.matchAll(/^id: (.+)$/gm)].map(([, id]) => id)
    expect(ids).toHaveLength(4)
    expect(new Set(ids).size).toBe(4)
  })

  it('asks its source only while somebody watches, and lets go of it after the linger', async () => {
    const source = new Script()
    const { port, cells } = await serve(source, { lingerMs: 30 })
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect([source.opened, source.polled]).toEqual([0, 0])
    const watcher = watch(port)
    await until(() => source.polled > 2)
    expect(cells[LIVE_CLIENTS.at]).toBe(1)
    watcher.socket.destroy()
    await until(() => source.closed === 1)
    const { polled } = source
    expect(cells[LIVE_CLIENTS.at]).toBe(0)
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(source.polled).toBe(polled)
    // Ids of before are not known any more.
    const again = watch(port, { 'Last-Event-ID': 'old-0' })
    await until(() => again.text().includes('event: ready'))
    expect(source.opened).toBe(2)
  })

  it('resumes from the id that the client saw last: what was missed, no snapshot', async () => {
    const source = new Script()
    const { port } = await serve(source)
    const first = watch(port)
    await until(() => first.text().includes('event: ready'))
    source.say('a')
    await until(() => first.text().includes('"a"'))
    const id = lastId(first.text())
    first.socket.destroy()
    source.say('b', 'c')
    await until(() => source.told === 3)
    const second = watch(port, { 'Last-Event-ID': id })
    await until(() => second.text().includes('"c"'))
    expect(told(second.text())).toEqual(['b', 'c'])
    expect(second.text()).not.toContain('event: hello')
  })

  it.each(['nonsense', '', '99', 'other-3'])(
    'begins anew for the id %j, which is not one of its own',
    async (id) => {
      const source = new Script()
      const { port } = await serve(source)
      const first = watch(port)
      await until(() => first.text().includes('event: ready'))
      const second = watch(port, { 'Last-Event-ID': id })
      await until(() => second.text().includes('event: ready'))
      expect(second.text()).toContain('event: hello')
    },
  )

  it('keeps so many events only: who missed more begins anew', async () => {
    const source = new Script()
    const { port } = await serve(source, { eventsKeptMax: 3 })
    const first = watch(port)
    await until(() => first.text().includes('event: ready'))
    source.say(0)
    await until(() => first.text().includes('data: 0'))
    const id = lastId(first.text())
    first.socket.destroy()
    source.say(1, 2, 3, 4)
    await until(() => source.told === 5)
    const second = watch(port, { 'Last-Event-ID': id })
    await until(() => second.text().includes('event: ready'))
    expect(second.text()).toContain('"told":5')
    expect(told(second.text())).toEqual([])
    // And those kept are bounded by their length as well.
    const short = new Script()
    const other = await serve(short, { eventsKeptLengthMax: 100 })
    const third = watch(other.port)
    await until(() => third.text().includes('event: ready'))
    const before = lastId(third.text())
    third.socket.destroy()
    short.say('x'.repeat(80), 'y'.repeat(80))
    await until(() => short.told === 2)
    const fourth = watch(other.port, { 'Last-Event-ID': before })
    await until(() => fourth.text().includes('event: ready'))
    expect(fourth.text()).toContain('event: hello')
  })

  it('refuses one more client than there may be, and says why and when to come back', async () => {
    const { port, cells } = await serve(new Script(), { clientsMax: 2 })
    const first = watch(port)
    const second = watch(port)
    await until(() => first.text().includes('ready') && second.text().includes('ready'))
    const third = await send(port, 'GET', '/api/v1/live')
    expect(third.status).toBe(503)
    expect(third.headers['retry-after']).toBe('1')
    expect(JSON.parse(third.text)).toMatchObject({
      code: 'UNAVAILABLE',
      error: expect.stringContaining('2 pages watch already'),
    })
    first.socket.destroy()
    await until(() => cells[LIVE_CLIENTS.at] === 1)
    const fourth = watch(port)
    await until(() => fourth.text().includes('event: ready'))
  })

  it('holds one event for a client that does not read, drops nothing of the others, and cuts it off after a while', async () => {
    const source = new Script()
    const { port, cells } = await serve(source, { stalledMsMax: 300, eventsKeptMax: 50 })
    const slow = watch(port)
    await until(() => slow.text().includes('event: ready'))
    slow.socket.pause()
    const quick = watch(port)
    await until(() => quick.text().includes('event: ready'))
    const long = 'z'.repeat(256 * 1024)
    const deadline = Date.now() + 20_000
    let said = 0
    // More than sockets on both sides hold, so that the server must wait or keep.
    while (cells[LIVE_DROPPED.at] === 0 && Date.now() < deadline) {
      if (said < 200) source.say(`${said++} ${long}`)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    expect(cells[LIVE_DROPPED.at]).toBe(1)
    expect(cells[LIVE_CLIENTS.at]).toBe(1)
    await until(() => told(quick.text()).length === source.told)
    expect(told(quick.text()).map((text) => Number.parseInt(text as string, 10))).toEqual(
      Array.from({ length: said }, (_, i) => i),
    )
  })

  it('gives a client that fell behind what is kept, or a new beginning', async () => {
    const source = new Script()
    const { port } = await serve(source, { eventsKeptMax: 4 })
    const slow = watch(port)
    await until(() => slow.text().includes('event: ready'))
    slow.socket.pause()
    for (let i = 0; i < 80; i++) {
      source.say(`${i} ${'z'.repeat(256 * 1024)}`)
      const sent = source.told + source.next.length
      await until(() => source.told === sent)
    }
    slow.socket.resume()
    await until(() => slow.text().includes('"told":80'))
    source.say('after')
    await until(() => slow.text().includes('"after"'))
    const numbers = told(slow.text()).map((text) => Number.parseInt(text as string, 10))
    const before = numbers.slice(
      0,
      numbers.findIndex((n, i) => n !== i),
    )
    expect(before.length).toBeLessThan(80)
    expect(slow.text().match(/event: hello/g)).toHaveLength(2)
  })

  it('writes a comment into a silence', async () => {
    const { port } = await serve(new Script(), { heartbeatMs: 20 })
    const watcher = watch(port)
    await until(() => (watcher.text().match(/^: still here$/gm)?.length ?? 0) >= 2)
  })

  it('tells an operating error once and ends the stream; a defect ends it too, and is reported', async () => {
    const source = new Script()
    const { port, defects } = await serve(source)
    const watcher = watch(port)
    await until(() => watcher.text().includes('ready'))
    source.trouble = new MillraceError('STORE_IO', 'the disk is gone')
    await until(() => watcher.text().includes('event: problem'))
    expect(watcher.text()).toContain('data: {"code":"STORE_IO","error":"the disk is gone"}')
    expect(defects).toEqual([])
    source.trouble = null
    const second = watch(port)
    await until(() => second.text().includes('ready'))
    source.trouble = new TypeError('a defect')
    await until(() => second.isOver)
    expect(defects).toEqual([source.trouble])
  })

  it('ends its streams when the server closes, at once', async () => {
    const source = new Script()
    const { port, server } = await serve(source)
    const watcher = watch(port)
    await until(() => watcher.text().includes('ready'))
    await server.close()
    await until(() => watcher.isOver)
    expect(source.closed).toBeGreaterThan(0)
  })

  it('is closed while it opens without telling anything', async () => {
    const source = new Script()
    let open: () => void = () => {}
    source.gate = new Promise((resolve) => {
      open = resolve
    })
    const { port, server } = await serve(source)
    const watcher = watch(port)
    await until(() => source.opened === 1)
    await server.close()
    open()
    await until(() => watcher.isOver)
    expect(source.polled).toBe(0)
  })

  it.each([
    { 'Sec-Fetch-Site': 'cross-site' },
    { 'Sec-Fetch-Site': 'same-site' },
    { Origin: 'http://10.0.0.1' },
    { Origin: 'http://localhost:1' },
    { Host: 'evil.example' },
  ])('is not for pages of others: %j', async (headers) => {
    const { port } = await serve(new Script())
    const { status, text } = await send(port, 'GET', '/api/v1/live', undefined, headers)
    expect(status).toBe(403)
    expect(JSON.parse(text)).toMatchObject({ code: 'HOST_REFUSED' })
  })
})

describe('/api/v1/demo/disturb', () => {
  const demo = { disturb: () => ({ seconds: 8, threads: 4, untilMs: 1, started: true }) }
  const path = '/api/v1/demo/disturb'

  it('is there in the demo only', async () => {
    const { port } = await start()
    expect((await send(port, 'POST', path, '', { 'X-Millrace-Demo': '1' })).status).toBe(404)
  })

  it('disturbs for who sends the header, by POST', async () => {
    const { port } = await start({ demo })
    const { status, text } = await send(port, 'POST', path, '', { 'X-Millrace-Demo': '1' })
    expect([status, JSON.parse(text)]).toEqual([202, demo.disturb()])
    expect((await send(port, 'GET', path, undefined, { 'X-Millrace-Demo': '1' })).status).toBe(405)
    const own = {
      'X-Millrace-Demo': '1',
      Origin: `http://127.0.0.1:${port}`,
      'Sec-Fetch-Site': 'same-origin',
    }
    expect((await send(port, 'POST', path, '', own)).status).toBe(202)
  })

  it.each([
    {},
    { 'X-Millrace-Demo': '1', Origin: 'http://evil.example' },
    { 'X-Millrace-Demo': '1', Origin: 'http://10.0.0.1' },
    { 'X-Millrace-Demo': '1', Origin: 'null' },
    { 'X-Millrace-Demo': '1', 'Sec-Fetch-Site': 'cross-site' },
    { 'X-Millrace-Demo': '1', Host: 'evil.example' },
  ])('refuses %j', async (headers) => {
    let asked = 0
    const { port } = await start({
      demo: {
        disturb: () => {
          asked++
          return demo.disturb()
        },
      },
    })
    expect((await send(port, 'POST', path, '', headers as Record<string, string>)).status).toBe(403)
    expect(asked).toBe(0)
  })
})
