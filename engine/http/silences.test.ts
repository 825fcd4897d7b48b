/** Silences over HTTP: what is handed on, what is refused, and who may. */
import { afterEach, expect, test } from 'vitest'
import { NO_QUERIES, send, start, stopAll } from '../../test/http/fixture.ts'
import { MillraceError } from '../contract/errors.ts'
import type { SilenceDoor, SilenceRow } from '../contract/silences.ts'

afterEach(stopAll)

const PATH = '/api/v1/silences'
const ROW: SilenceRow = {
  id: 3,
  state: 'active',
  match: ['rack="r7"'],
  pipeline: null,
  detector: null,
  severity: null,
  fromMs: 1,
  untilMs: 9,
  comment: 'new switch',
  madeMs: 1,
  endedMs: null,
}

function door(): { readonly silences: SilenceDoor; readonly asked: unknown[] } {
  const asked: unknown[] = []
  const silences: SilenceDoor = {
    async silence(written) {
      asked.push(written)
      return { silence: ROW, alerts: 2, warnings: [] }
    },
    async unsilence(id) {
      asked.push(id)
      if (id !== 3) throw new MillraceError('INPUT_INVALID', `there is no silence ${id}.`)
      return { ...ROW, state: 'expired', endedMs: 5 }
    },
  }
  return { silences, asked }
}

test('are made, listed and ended', async () => {
  const { silences, asked } = door()
  const queries = { ...NO_QUERIES, silences: async () => [ROW] }
  const { port } = await start({ silences, queries })
  const body = { match: ['rack=r7'], for: '2h', comment: 'new switch' }
  const made = await send(port, 'POST', PATH, JSON.stringify(body))
  expect([made.status, JSON.parse(made.text)]).toEqual([201, { silence: ROW, alerts: 2, warnings: [] }])
  const listed = await send(port, 'GET', `${PATH}?state=active`)
  expect([listed.status, JSON.parse(listed.text)]).toEqual([200, { rows: [ROW] }])
  const ended = await send(port, 'DELETE', `${PATH}?id=3`)
  expect([ended.status, JSON.parse(ended.text).state]).toEqual([200, 'expired'])
  expect(asked).toEqual([body, 3])
})

test('what cannot be read is a 400 that says what to write', async () => {
  const { silences, asked } = door()
  const { port } = await start({ silences })
  expect((await send(port, 'POST', PATH, '{')).text).toContain('is not JSON')
  for (const query of ['', '?id=', '?id=-1', '?id=3&id=4', '?id=3&force=1', '?id=1e3']) {
    const { status, text } = await send(port, 'DELETE', PATH + query)
    expect([query, status]).toEqual([query, 400])
    expect(text).toContain('DELETE /api/v1/silences?id=3')
  }
  expect(asked).toEqual([])
  expect((await send(port, 'DELETE', `${PATH}?id=4`)).text).toContain('there is no silence 4')
  const state = await send(port, 'GET', `${PATH}?state=activ`)
  expect([state.status, JSON.parse(state.text).faults[0].remedy]).toEqual([
    400,
    expect.stringContaining('Did you mean "active"?'),
  ])
  expect((await send(port, 'POST', PATH, 'x'.repeat(100_000))).status).toBe(413)
  const put = await send(port, 'PUT', PATH, '{}')
  expect([put.status, put.headers.allow]).toEqual([405, 'GET, HEAD, POST, DELETE'])
})

test('pages of others may neither read nor make them, whatever name they give this server', async () => {
  const { silences, asked } = door()
  const { port } = await start({ silences })
  const body = JSON.stringify({ match: ['a=b'], for: '1h', comment: 'x' })
  for (const [method, path, sent] of [
    ['POST', PATH, body],
    ['DELETE', `${PATH}?id=3`, undefined],
  ] as const) {
    for (const headers of [
      { origin: 'http://evil.example' },
      { origin: 'http://127.0.0.1:1' },
      { 'sec-fetch-site': 'cross-site' },
      { host: 'evil.example' },
    ]) {
      const foreign = await send(port, method, path, sent, headers)
      expect([method, headers, foreign.status]).toEqual([method, headers, 403])
    }
  }
  expect((await send(port, 'GET', PATH, undefined, { Host: 'evil.example' })).status).toBe(403)
  expect(asked).toEqual([])
  const own = await send(port, 'POST', PATH, body, { Origin: `http://127.0.0.1:${port}` })
  expect(own.status).toBe(201)
})

test('a server without a node behind it only lists them', async () => {
  const { port } = await start()
  expect((await send(port, 'GET', PATH)).status).toBe(200)
  expect((await send(port, 'POST', PATH, '{}')).status).toBe(405)
})
