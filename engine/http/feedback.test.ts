// For engine/http/feedback.test.ts; not run yet.
import { afterEach, describe, expect, test } from 'vitest'
import { send, start, stopAll } from '../../test/http/fixture.ts'
import { MillraceError } from '../contract/errors.ts'
import type { FeedbackAnswer, FeedbackDoor, FeedbackStatement } from '../contract/feedback.ts'

afterEach(stopAll)

const STATEMENT = { id: 3, says: 'expected', before: 1, after: 1.4, undoneBy: null } as FeedbackStatement
const ANSWER: FeedbackAnswer = { isRepeated: false, statement: STATEMENT, meaning: 'wider' }

class FakeDoor implements FeedbackDoor {
  readonly said: unknown[] = []

  async expected(said: unknown): Promise<FeedbackAnswer> {
    this.said.push(['expected', said])
    return ANSWER
  }

  async missed(said: unknown): Promise<FeedbackAnswer> {
    this.said.push(['missed', said])
    return ANSWER
  }

  async undo(said: { readonly id: number }): Promise<FeedbackAnswer> {
    this.said.push(['undo', said])
    if (said.id === 9) {
      const fault = { place: 'id', value: 9, problem: 'is no statement', remedy: 'See the list.' }
      throw MillraceError.ofFaults('INPUT_INVALID', 'nothing was changed', [fault])
    }
    return ANSWER
  }

  list(query: unknown): readonly FeedbackStatement[] {
    this.said.push(['list', query])
    return [STATEMENT]
  }
}

async function door() {
  const feedback = new FakeDoor()
  const { port } = await start({ feedback })
  const post = async (body: unknown, headers = {}) => {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    const reply = await send(port, 'POST', '/api/v1/feedback', text, headers)
    return { status: reply.status, body: JSON.parse(reply.text) as Record<string, unknown> }
  }
  return { feedback, port, post }
}

describe('what people say, over HTTP', () => {
  test('expected, missed and undo reach the door as they were written, and its answer comes back', async () => {
    const { feedback, post } = await door()
    expect(await post({ says: 'expected', alert: 'p/d/0/0/5', note: 'why', by: 'ada' })).toEqual({
      status: 200,
      body: ANSWER,
    })
    const series = { host: 'a', __name__: 'cpu' }
    await post({ says: 'missed', pipeline: 'p', detector: 'd', series, at: '2026-01-31T12:00:00Z' })
    await post({ says: 'missed', pipeline: 'p', detector: 'd', series, at: 5_000, note: '' })
    await post({ says: 'undo', id: 3, note: null })
    const words = { note: null, by: null }
    expect(feedback.said).toEqual([
      ['expected', { alert: 'p/d/0/0/5', note: 'why', by: 'ada' }],
      ['missed', { pipeline: 'p', detector: 'd', series, atMs: Date.UTC(2026, 0, 31, 12), ...words }],
      ['missed', { pipeline: 'p', detector: 'd', series, atMs: 5_000, ...words }],
      ['undo', { id: 3, ...words }],
    ])
  })

  test('the list is asked with what the query says; what it does not know is named', async () => {
    const { feedback, port } = await door()
    const { status, text } = await send(port, 'GET', '/api/v1/feedback?pipeline=p&limit=5')
    expect([status, JSON.parse(text)]).toEqual([200, { rows: [STATEMENT] }])
    expect(feedback.said).toEqual([['list', { pipeline: 'p', limit: 5 }]])
    const wrong = await send(port, 'GET', '/api/v1/feedback?pipline=p')
    expect([wrong.status, JSON.parse(wrong.text)]).toMatchObject([400, { code: 'INPUT_INVALID' }])
    expect(wrong.text).toContain('pipeline')
  })

  test('every fault of a body is told at once, and nothing is said', async () => {
    const { feedback, post } = await door()
    const placesOf = async (body: unknown): Promise<unknown> => {
      const reply = await post(body)
      expect(reply).toMatchObject({ status: 400, body: { code: 'INPUT_INVALID' } })
      return (reply.body.faults as { place: string }[]).map(({ place }) => place)
    }
    expect(await placesOf('{')).toEqual(['body'])
    expect(await placesOf([])).toEqual(['body'])
    expect(await placesOf({ says: 'fine' })).toEqual(['says'])
    expect(await placesOf({ says: 'expected', alrt: 'x' })).toEqual(['alert', 'alrt'])
    expect(await placesOf({ says: 'undo', id: 0 })).toEqual(['id'])
    expect(await placesOf({ says: 'undo', id: '3' })).toEqual(['id'])
    expect(await placesOf({ says: 'expected', alert: 'x', note: 5 })).toEqual(['note'])
    const missed = { says: 'missed', pipeline: 1, detector: '', series: { a: 1 }, at: 'soon' }
    expect(await placesOf(missed)).toEqual(['pipeline', 'detector', 'series', 'at'])
    expect(await placesOf({ ...missed, pipeline: 'p', detector: 'd', series: {}, at: 1e300 })).toEqual(['at'])
    expect(feedback.said).toEqual([])
  })

  test('what the door refuses is told as it tells it', async () => {
    const { post } = await door()
    expect(await post({ says: 'undo', id: 9 })).toMatchObject({
      status: 400,
      body: { code: 'INPUT_INVALID', faults: [{ place: 'id', problem: 'is no statement' }] },
    })
  })

  test('a page of another site may neither post nor, by another name of this host, read', async () => {
    const { feedback, port, post } = await door()
    const body = { says: 'undo', id: 3 }
    for (const headers of [
      { origin: 'http://evil.example' },
      { origin: 'http://127.0.0.1:1' },
      { 'sec-fetch-site': 'cross-site' },
      { host: 'evil.example' },
    ]) {
      expect(await post(body, headers)).toMatchObject({ status: 403, body: { code: 'HOST_REFUSED' } })
    }
    expect((await send(port, 'GET', '/api/v1/feedback', undefined, { host: 'evil.example' })).status).toBe(
      403,
    )
    expect(feedback.said).toEqual([])
    const own = { origin: `http://127.0.0.1:${port}`, 'sec-fetch-site': 'same-origin' }
    expect(await post(body, own)).toMatchObject({ status: 200 })
  })

  test('a body of more than it may be is refused, and a server without the door has no such path', async () => {
    const { post } = await door()
    expect(await post({ says: 'expected', alert: 'x'.repeat(20_000) })).toMatchObject({
      status: 413,
      body: { code: 'BODY_TOO_LARGE' },
    })
    const { port } = await start()
    expect((await send(port, 'GET', '/api/v1/feedback')).status).toBe(404)
  })
})
