/** Scores into a topic, against a model of a node's producers: what is sent again under a sequence is not stored again. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import type { Fault } from '../../engine/contract/errors.ts'
import type {
  ResultBody,
  SinkPositions,
  SinkProgress,
  SinkRecord,
  TransactionalSink,
} from '../../engine/contract/plugins.ts'
import { Prng } from '../../engine/util/prng.ts'
import { registry } from '../registry.ts'
import { testContext } from '../testing/describe-sink.ts'
import { scoreLines, scoresToPlugin } from './scores-to.ts'

const RESULT: ResultBody = {
  kind: 'result',
  pipeline: 'load',
  group: { __name__: 'cpu load', host: 'a,b=c', detector: 'mine', empty: '', note: 'two\nlines' },
  windowStartMs: 60_000,
  windowEndMs: 120_000,
  values: { v: 7 },
  scores: {
    odd: { score: 1.5, expected: 2, lower: 1, upper: null },
    warming: { score: null, expected: null, lower: null, upper: null },
  },
}

describe('the samples', () => {
  test('are a line a detector that can judge, at the end of the window', () => {
    const tags =
      'pipeline=load,detector=odd,metric=cpu\\ load,host=a\\,b\\=c,exported_detector=mine,note=two\\nlines'
    expect(scoreLines(RESULT, 'anomaly')).toBe(`anomaly,${tags} score=1.5,expected=2,lower=1 120000\n`)
  })

  test('names and addresses that cannot be are refused', () => {
    const faults: Fault[] = []
    registry.sinks
      .get('scores-to')!
      .options.parse({ url: 'http://u:p@h/', topic: 't', name: 'a b' }, 'to', faults)
    expect(faults.map(({ place }) => place)).toEqual(['to.url', 'to.name'])
  })
})

const PARTITIONS = 3
const ENTRIES = 12

/** Entries of 1 to 3 rows, whose numbers other feeds have gaps in. */
function stream(partition: number): SinkRecord[] {
  return Array.from({ length: ENTRIES }, (_, i) => i).flatMap((i) => {
    const seq = 2 * i + (i % 3 === 0 ? 1 : 0)
    return Array.from({ length: 1 + (i % 3) }, (_, row) => ({
      id: `p/${partition}/${seq}/${row}`,
      partition,
      seq,
      row,
      body: { ...RESULT, group: { at: `${partition}/${seq}/${row}` }, windowEndMs: i } as ResultBody,
    }))
  })
}

interface Producer {
  epoch: number
  next: number
  readonly bodies: string[]
}

/** What a node does with producers; it loses answers as it is told. */
class Model {
  readonly producers = new Map<string, Producer>()
  readonly server: Server
  /** Of a request: 'before' it is stored it fails, 'after' its answer is lost. */
  fails: () => 'before' | 'after' | null = () => null
  refuse: number | null = null
  url = ''

  constructor() {
    this.server = createServer((req, res) => void this.#take(req, res))
  }

  async listen(): Promise<this> {
    await new Promise<void>((done) => this.server.listen(0, '127.0.0.1', done))
    this.url = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`
    return this
  }

  async #take(req: IncomingMessage, res: ServerResponse): Promise<void> {
    let body = ''
    for await (const chunk of req) body += String(chunk)
    const fails = this.fails()
    if (fails === 'before') return void res.writeHead(503).end('busy')
    const [status, answer, headers] = req.url!.startsWith('/write')
      ? this.#write(req, body)
      : this.#open(body)
    if (fails === 'after') return void req.socket.destroy()
    res.writeHead(status, headers).end(answer)
  }

  #open(body: string): [number, string, Record<string, string>] {
    const { name } = JSON.parse(body) as { name: string }
    const known = this.producers.get(name) ?? { epoch: -1, next: 0, bodies: [] }
    known.epoch++
    this.producers.set(name, known)
    const producerId = [...this.producers.keys()].indexOf(name)
    const topics = known.next === 0 ? {} : { scores: { nextSequence: known.next } }
    return [200, JSON.stringify({ producerId, producerEpoch: known.epoch, topics }), {}]
  }

  #write(req: IncomingMessage, body: string): [number, string, Record<string, string>] {
    expect(req.url).toBe('/write?topic=scores&precision=ms')
    if (this.refuse !== null) return [this.refuse, 'no', {}]
    const { headers } = req
    const producer = [...this.producers.values()][Number(headers['x-millrace-producer-id'])]!
    if (Number(headers['x-millrace-producer-epoch']) !== producer.epoch) return [409, 'PRODUCER_FENCED', {}]
    const sequence = Number(headers['x-millrace-sequence'])
    if (sequence > producer.next) return [409, 'SEQUENCE_GAP', {}]
    if (sequence < producer.next) {
      return producer.bodies[sequence] === body ? [204, '', {}] : [422, 'KEY_REUSED', {}]
    }
    producer.bodies.push(body)
    producer.next++
    return [204, '', { 'x-millrace-sequence': String(sequence) }]
  }

  stored(partition: number): string {
    return this.producers.get(`pipe/sink/${partition}`)?.bodies.join('') ?? ''
  }
}

const models: Model[] = []
afterEach(async () => {
  for (const { server } of models.splice(0)) {
    server.closeAllConnections()
    await new Promise((done) => server.close(done))
  }
})

async function model(): Promise<Model> {
  const made = await new Model().listen()
  models.push(made)
  return made
}

async function open(to: Model, change = {}): Promise<TransactionalSink> {
  const parsed = scoresToPlugin.options.parse({ url: to.url, topic: 'scores' }, '', [])!
  return (await scoresToPlugin.open(parsed, testContext(change))) as TransactionalSink
}

const START: SinkProgress = {
  positions: Object.fromEntries(Array.from({ length: PARTITIONS }, (_, i) => [i, { seq: 0, row: 0 }])),
  token: null,
}

function left(positions: SinkPositions): SinkRecord[][] {
  return Array.from({ length: PARTITIONS }, (_, i) => stream(i).filter(({ seq }) => seq >= positions[i]!.seq))
}

async function retrying<T>(attempt: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if ((error as { retryable?: boolean }).retryable !== true) throw error
    }
  }
}

/** What the outbox does, with batches and memory as chance has it; stops after so many batches. */
async function live(to: Model, from: SinkProgress, prng: Prng, batchesMax: number): Promise<SinkProgress> {
  const sink = await open(to)
  let progress = await retrying(() => sink.position(from, () => []))
  let remembered = progress
  const lanes = left(progress.positions)
  for (let batch = 0; batch < batchesMax && lanes.some(({ length }) => length > 0); batch++) {
    const records: SinkRecord[] = []
    const positions: Record<string, SinkPositions[string]> = { ...progress.positions }
    lanes.forEach((lane, partition) => {
      for (let entries = prng.below(4); entries > 0 && lane.length > 0; entries--) {
        const { seq } = lane[0]!
        while (lane[0]?.seq === seq) records.push(lane.shift()!)
        positions[partition] = { seq: seq + 1, row: 0 }
      }
    })
    if (records.length === 0) continue
    const token = structuredClone(await retrying(() => sink.write(records)))
    progress = { positions, token }
    if (prng.below(3) === 0) remembered = structuredClone(progress)
  }
  await sink.close()
  return batchesMax === Infinity ? progress : remembered
}

test('whatever is lost, killed and begun again from what was remembered: every score is stored once, in order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), fc.array(fc.nat(6), { maxLength: 5 }), async (seed, lives) => {
      const prng = new Prng(seed)
      const to = await model()
      to.fails = () => (prng.below(6) === 0 ? (prng.below(2) === 0 ? 'before' : 'after') : null)
      let remembered = START
      for (const batches of lives) remembered = await live(to, remembered, prng, batches)
      await live(to, remembered, prng, Infinity)
      for (let partition = 0; partition < PARTITIONS; partition++) {
        const wanted = stream(partition).map(({ body }) => scoreLines(body as ResultBody, 'anomaly'))
        expect(to.stored(partition)).toBe(wanted.join(''))
      }
    }),
    { numRuns: 40 },
  )
})

test('a sink without progress goes on after what its name had stored, and takes nothing for sent', async () => {
  const to = await model()
  await live(to, START, new Prng(1), Infinity)
  await live(to, START, new Prng(2), Infinity)
  expect(to.producers.get('pipe/sink/0')!.bodies).toHaveLength(2 * ENTRIES)
})

test('one that was thought dead is refused, and stores nothing', async () => {
  const to = await model()
  const dead = await open(to)
  await dead.position(START, () => [])
  const successor = await open(to)
  await successor.position(START, () => [])
  await expect(dead.write(stream(0))).rejects.toThrow(/answered 409: PRODUCER_FENCED.*The sink stops/)
  expect(to.stored(0)).toBe('')
})

test('a target that holds less than it had confirmed is no target to go on with', async () => {
  const to = await model()
  const sink = await open(to)
  const ahead = { positions: START.positions, token: { 0: 5, 1: 0, 2: 0 } }
  await expect(sink.position(ahead, () => [])).rejects.toThrow(
    /holds 0 bodies of partition 0, and had confirmed 5/,
  )
})

test('what a node never takes stops the sink, what it takes later is tried again', async () => {
  const to = await model()
  const sink = await open(to)
  await sink.position(START, () => [])
  for (const [status, retryable] of [
    [404, false],
    [429, true],
    [503, true],
  ] as const) {
    to.refuse = status
    await expect(sink.write(stream(0)), String(status)).rejects.toMatchObject({
      code: 'SINK_FAILED',
      retryable,
    })
  }
})
