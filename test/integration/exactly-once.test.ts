/**
 * Exactly once in: clients that send again whatever was not answered, against a node that is killed with -9 again and
 * again. What is counted at the end is what was sent, not one sample more or less.
 */
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { Prng } from '../../engine/util/prng.ts'
import { type Running, results, scratch, start, until, writePipeline } from './process.ts'

const SEED = Number(process.env.MILLRACE_SEED ?? 20_250_303)
const KILLS = Number(process.env.MILLRACE_KILLS ?? 10)
const START_MS = 1_700_000_000_000
const KEYED_CLIENTS = 3
const SAMPLES_PER_BODY = 50
const ANSWER_MS_MAX = 20_000

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** Nothing is late, however far the clients are apart: event time spans minutes, and the disorder is an hour. */
const PIPELINE = `
export default pipeline('tally').from(topic('metrics')).where({ name: 'meter' }).disorder('1h').idle('24h')
  .window(tumbling('1m'), { n: count(), total: sum() })`

interface Sent {
  bodies: number
  samples: number
  total: number
}

/** Body `number` of a client; whole numbers, so that sums are exact in any order. */
function bodyOf(client: string, number: number): { readonly text: string; readonly total: number } {
  const lines: string[] = []
  let total = 0
  for (let i = 0; i < SAMPLES_PER_BODY; i++) {
    const value = ((number * SAMPLES_PER_BODY + i) % 9_973) + 1
    total += value
    lines.push(`meter,client=${client} value=${value} ${START_MS + ((number * 997 + i) % 300_000)}`)
  }
  return { text: lines.join('\n'), total }
}

class Clients {
  node: Running | null = null
  isOver = false
  duplicates = 0
  lost = 0
  readonly sent = new Map<string, Sent>()
  readonly faults: string[] = []
  readonly #prng = new Prng(SEED)

  /** Posts until there is an answer; null: the run is over, and no answer came. */
  async post(path: string, body: string, headers: Record<string, string>): Promise<Response | null> {
    for (;;) {
      const { node } = this
      try {
        if (node !== null) {
          const signal = AbortSignal.timeout(ANSWER_MS_MAX)
          const answer = await fetch(node.url + path, { method: 'POST', body, headers, signal })
          const text = await answer.text()
          if (answer.status < 300)
            return new Response(text || null, { status: answer.status, headers: answer.headers })
          // Starting or stopping.
          if (answer.status !== 503) {
            this.faults.push(`${path}: ${answer.status} ${text}`)
            return null
          }
        }
      } catch {
        this.lost++
      }
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  async write(client: string, number: number, headers: Record<string, string>): Promise<boolean> {
    const { text, total } = bodyOf(client, number)
    // Now and then an answer is not believed, and the body sent once more.
    const times = this.#prng.below(5) === 0 ? 2 : 1
    let place: string | null = null
    for (let time = 0; time < times; time++) {
      const answer = await this.post('/write?precision=ms', text, headers)
      if (answer === null) return false
      const duplicateOf = answer.headers.get('x-millrace-duplicate-of')
      const stored = duplicateOf ?? answer.headers.get('x-millrace-stored-at')
      if (duplicateOf !== null) this.duplicates++
      if (stored === null || (place !== null && stored !== place))
        this.faults.push(`${client}: ${place}, then ${stored}`)
      place = stored
    }
    const sent = this.sent.get(client) ?? { bodies: 0, samples: 0, total: 0 }
    this.sent.set(client, {
      bodies: sent.bodies + 1,
      samples: sent.samples + SAMPLES_PER_BODY,
      total: sent.total + total,
    })
    return true
  }

  async keyed(client: string): Promise<void> {
    for (let number = 0; !this.isOver; number++) {
      if (!(await this.write(client, number, { 'Idempotency-Key': `${client}-${number}` }))) return
    }
  }

  /** Restarts now and then with nothing in memory but its name: the answer tells where to go on. */
  async producer(client: string): Promise<void> {
    while (!this.isOver) {
      const answer = await this.post('/api/v1/producers', JSON.stringify({ name: client }), {})
      if (answer === null) return
      const { producerId, producerEpoch, topics } = (await answer.json()) as {
        producerId: number
        producerEpoch: number
        topics: Record<string, { nextSequence: number }>
      }
      let sequence = topics.metrics?.nextSequence ?? 0
      if (sequence !== (this.sent.get(client)?.bodies ?? 0))
        this.faults.push(`${client} goes on at ${sequence}`)
      for (let lives = 5 + this.#prng.below(60); lives > 0 && !this.isOver; lives--) {
        const headers = {
          'X-Millrace-Producer-Id': String(producerId),
          'X-Millrace-Producer-Epoch': String(producerEpoch),
          'X-Millrace-Sequence': String(sequence),
        }
        if (!(await this.write(client, sequence, headers))) return
        sequence++
      }
    }
  }
}

test(`killed with -9 ${KILLS} times while clients send with keys and sequences: counts and sums are what was sent`, async () => {
  const dir = scratch(cleanups)
  const args = [
    'run',
    writePipeline(dir, PIPELINE),
    '--data',
    join(dir, 'data'),
    '--checkpoint-every',
    '500ms',
  ]
  const clients = new Clients()
  const prng = new Prng(SEED + 1)
  const names = Array.from({ length: KEYED_CLIENTS }, (_, i) => `keyed${i}`)
  const running = [...names.map((name) => clients.keyed(name)), clients.producer('producer')]
  let kills = 0
  for (; kills < KILLS; kills++) {
    const node = await start(args, cleanups)
    clients.node = node
    await new Promise((resolve) => setTimeout(resolve, 30 + prng.below(500)))
    expect(await node.kill('SIGKILL')).toBe('SIGKILL')
    clients.node = null
  }
  const node = await start(args, cleanups)
  clients.node = node
  await new Promise((resolve) => setTimeout(resolve, 200))
  clients.isOver = true
  await Promise.all(running)
  expect(clients.faults).toEqual([])
  expect(clients.duplicates).toBeGreaterThan(0)
  console.log(
    `seed ${SEED}: ${kills} kills, ${clients.lost} answers lost, ${clients.duplicates} duplicates, ` +
      [...clients.sent].map(([client, { bodies }]) => `${client} ${bodies} bodies`).join(', '),
  )
  // A sample of each series beyond the disorder closes all windows.
  const last = [...clients.sent.keys()].map(
    (client) => `meter,client=${client} value=0 ${START_MS + 7_200_000}`,
  )
  const closing = await fetch(`${node.url}/write?precision=ms`, { method: 'POST', body: last.join('\n') })
  expect(closing.status).toBe(204)
  const counted = async () => {
    const found: Record<string, { samples: number; total: number }> = {}
    for (const { group, values } of await results(node.url, 'tally')) {
      const client = group.client!
      found[client] ??= { samples: 0, total: 0 }
      found[client].samples += values.n!
      found[client].total += values.total!
    }
    return found
  }
  const expected = Object.fromEntries(
    [...clients.sent].map(([client, { samples, total }]) => [client, { samples, total }]),
  )
  const samplesOf = (found: Record<string, { samples: number }>): number =>
    Object.values(found).reduce((sum, { samples }) => sum + samples, 0)
  const found = await until(async () => {
    const now = await counted()
    return samplesOf(now) >= samplesOf(expected) ? now : null
  }, 60_000)
  expect(found).toEqual(expected)
})

test('what cannot be once is refused by name, over a whole node, and nothing of it is stored', async () => {
  const dir = scratch(cleanups)
  const node = await start(['run', writePipeline(dir, PIPELINE), '--data', join(dir, 'data')], cleanups)
  const write = async (body: string, headers: Record<string, string>) => {
    const answer = await fetch(`${node.url}/write?precision=ms`, { method: 'POST', body, headers })
    return { status: answer.status, headers: answer.headers, text: await answer.text() }
  }
  const produce = async () => {
    const answer = await fetch(`${node.url}/api/v1/producers`, { method: 'POST', body: '{"name":"p"}' })
    const { producerId, producerEpoch } = (await answer.json()) as Record<string, number>
    return (sequence: number) => ({
      'X-Millrace-Producer-Id': String(producerId),
      'X-Millrace-Producer-Epoch': String(producerEpoch),
      'X-Millrace-Sequence': String(sequence),
    })
  }
  const line = (value: number): string => `meter,client=a value=${value} ${START_MS}`
  const stored = await write(line(1), { 'Idempotency-Key': 'k' })
  expect([stored.status, stored.headers.get('x-millrace-stored-at')]).toEqual([
    204,
    expect.stringMatching(/^metrics\/\d+:0$/),
  ])
  const reused = await write(line(2), { 'Idempotency-Key': 'k' })
  expect(reused.status).toBe(422)
  expect(reused.text).toContain(
    `Idempotency-Key \\"k\\" was used for another body, stored at ${stored.headers.get('x-millrace-stored-at')}`,
  )
  // Partly good bodies are answered alike both times.
  const partial = `${line(3)}\nno line\n`
  const first = await write(partial, { 'Idempotency-Key': 'partial' })
  const second = await write(partial, { 'Idempotency-Key': 'partial' })
  expect([first.status, second.status, second.text]).toEqual([400, 400, first.text])
  expect(second.headers.get('x-millrace-duplicate-of')).toBe(first.headers.get('x-millrace-stored-at'))

  const old = await produce()
  expect((await write(line(4), old(0))).status).toBe(204)
  const gap = await write(line(5), old(2))
  expect([gap.status, JSON.parse(gap.text).code]).toEqual([409, 'SEQUENCE_GAP'])
  expect(gap.text).toContain('1 comes next')
  const current = await produce()
  const fenced = await write(line(5), old(1))
  expect([fenced.status, JSON.parse(fenced.text).code]).toEqual([409, 'PRODUCER_FENCED'])
  expect((await write(line(5), current(1))).status).toBe(204)
  expect((await write(line(5), current(1))).headers.get('x-millrace-duplicate-of')).toMatch(
    /^metrics\/\d+:\d+$/,
  )
  const { topics } = (await (await fetch(`${node.url}/api/v1/status`)).json()) as {
    topics: { appended: number }[]
  }
  expect(topics[0]!.appended).toBe(4)
  const metrics = await (await fetch(`${node.url}/metrics`)).text()
  expect(metrics).toContain('millrace_log_duplicate_requests_total{topic="metrics"} 2')
  expect(metrics).toMatch(/millrace_idempotency_keys 2\n/)
  expect(metrics).toMatch(/millrace_producers 1\n/)
})
