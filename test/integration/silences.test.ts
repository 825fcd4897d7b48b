/**
 * Silences on a whole node: what is silenced is in the log and told to nobody, exactly once and for ever, whether the target is
 * a file that counts on every record or a webhook, through a stop, a kill and a file that was set back.
 */
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import type { CurrentAlert } from '../../engine/contract/queries.ts'
import type { SilenceMade, SilenceRow } from '../../engine/contract/silences.ts'
import { json, launch, type Running, scratch, start, until, write, writePipeline } from './process.ts'

const START_MS = 1_700_000_000_000

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

interface Told {
  readonly id: string
  readonly state: string
  readonly group: { readonly rack: string }
}

const wordOf = ({ group, state }: Told): string => `${group.rack} ${state}`

async function receiver(): Promise<{ readonly url: string; readonly told: Told[] }> {
  const told: Told[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      told.push(JSON.parse(Buffer.concat(chunks).toString()) as Told)
      response.end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanups.push(
    () => server.closeAllConnections(),
    () => server.close(),
  )
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, told }
}

/** A node over one directory, and how time goes on in its samples. */
class Bench {
  readonly dir = scratch(cleanups)
  readonly file = join(this.dir, 'alerts.ndjson')
  readonly pipeline: string
  readonly posted: Told[]
  node!: Running
  #second = 0

  constructor(url: string, posted: Told[]) {
    this.posted = posted
    this.pipeline = writePipeline(
      this.dir,
      `export default pipeline('load').from(topic('metrics', { partitions: 3, partitionBy: ['rack'] }))
        .where({ name: 'load' }).groupBy('rack').disorder('0s').window(tumbling('1s'), { load: mean() })
        .detect('load', threshold({ above: 90 }), { name: 'full' })
        .to(ndjsonFile({ path: ${JSON.stringify(this.file)} }))
        .to(webhook({ url: ${JSON.stringify(url)} }))`,
    )
  }

  async start(): Promise<void> {
    this.node = await start(['run', this.pipeline, '--data', join(this.dir, 'data')], cleanups)
  }

  /** A value of each rack, and one more second, so that their windows fire. */
  async write(loads: Readonly<Record<string, number>>): Promise<void> {
    this.#second += 2
    const lines = (second: number): string =>
      Object.entries(loads)
        .map(([rack, load]) => `load,rack=${rack} value=${load} ${START_MS + second * 1_000}`)
        .join('\n')
    const answer = await write(this.node.url, `${lines(this.#second)}\n${lines(this.#second + 1)}`)
    expect(answer.status).toBe(204)
  }

  async silence(body: object): Promise<SilenceMade> {
    const init = { method: 'POST', body: JSON.stringify({ comment: 'a test', ...body }) }
    const answer = await fetch(`${this.node.url}/api/v1/silences`, init)
    expect(answer.status).toBe(201)
    return (await answer.json()) as SilenceMade
  }

  async unsilence(id: number): Promise<SilenceRow> {
    const answer = await fetch(`${this.node.url}/api/v1/silences?id=${id}`, { method: 'DELETE' })
    expect(answer.status).toBe(200)
    return (await answer.json()) as SilenceRow
  }

  /** Long enough for a commit and a delivery, most of the time. */
  pause(): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, 250))
  }

  current(): Promise<readonly CurrentAlert[]> {
    return json<{ rows: CurrentAlert[] }>(`${this.node.url}/api/v1/alerts`).then(({ rows }) => rows)
  }

  /** Until the alerts that stand are these: `r7 firing 1` is silenced by 1. */
  async stands(...expected: string[]): Promise<void> {
    const text = async (): Promise<string> =>
      (await this.current())
        .map((alert) => `${alert.group.rack} ${alert.state} ${alert.silencedBy ?? '-'}`)
        .sort()
        .join()
    await until(async () => ((await text()) === expected.join() ? true : null)).catch(() => undefined)
    expect(await text()).toBe(expected.join())
  }

  inFile(): Told[] {
    const text = readFileSync(this.file, 'utf8')
    return text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Told)
  }

  /** Until both targets have been told this, and no more. */
  async told(...expected: string[]): Promise<void> {
    const fromHook = (): string[] =>
      [...new Map(this.posted.map((one) => [one.id, one])).values()].map(wordOf)
    const isTold = async (): Promise<true | null> =>
      this.inFile().length >= expected.length && fromHook().length >= expected.length ? true : null
    await until(isTold).catch(() => undefined)
    expect(this.inFile().map(wordOf).sort()).toEqual([...expected].sort())
    expect(fromHook().sort()).toEqual([...expected].sort())
    expect(new Set(this.inFile().map(({ id }) => id)).size).toBe(expected.length)
  }
}

test('a silence holds through a stop and a kill, for a file and a webhook; what still fires is told when it ends', async () => {
  const { url, told } = await receiver()
  const bench = new Bench(url, told)
  await bench.start()
  await bench.write({ r7: 10, r8: 10, r9: 10 })

  const made = await bench.silence({ match: ['rack=r7'], for: '1h' })
  expect(made).toMatchObject({
    alerts: 0,
    warnings: [],
    silence: { id: 1, state: 'active', match: ['rack="r7"'] },
  })
  await bench.write({ r7: 99, r8: 99, r9: 10 })
  await bench.stands('r7 firing 1', 'r8 firing -')
  await bench.told('r8 firing')

  // It was durable when it was answered.
  await bench.node.kill('SIGKILL')
  await bench.start()
  await bench.stands('r7 firing 1', 'r8 firing -')
  // Ends untold what began untold, and begins anew; a second one covers what stands already, and is told its end.
  await bench.write({ r7: 10, r8: 99, r9: 99 })
  await bench.told('r8 firing', 'r9 firing')
  await bench.silence({ match: ['rack=~r8|r9'], for: '1h' })
  await bench.write({ r7: 99, r8: 10, r9: 99 })
  await bench.stands('r7 firing 1', 'r9 firing 2')
  await bench.told('r8 firing', 'r9 firing', 'r8 resolved')
  await bench.node.kill('SIGTERM')

  await bench.start()
  expect(await bench.unsilence(1)).toMatchObject({ id: 1, state: 'expired' })
  await bench.told('r8 firing', 'r9 firing', 'r8 resolved', 'r7 firing')
  await bench.node.kill('SIGKILL')
  await bench.start()
  await bench.write({ r7: 10, r8: 10, r9: 10 })
  await bench.stands()
  const all = ['r8 firing', 'r9 firing', 'r8 resolved', 'r7 firing', 'r7 resolved', 'r9 resolved']
  await bench.told(...all)

  // Everything is in the log, and it says what was not told.
  const { rows } = await json<{ rows: (CurrentAlert & { silencedBy?: number })[] }>(
    `${bench.node.url}/api/v1/alerts/history?pipeline=load`,
  )
  expect(rows).toHaveLength(all.length + 2)
  expect(rows.filter(({ silencedBy }) => silencedBy === 1).map(({ state }) => state)).toEqual([
    'firing',
    'resolved',
    'firing',
  ])
  const metrics = await (await fetch(`${bench.node.url}/metrics`)).text()
  expect(metrics).toContain('millrace_silences_active 1')
  await bench.node.kill('SIGTERM')
  const verify = launch(['verify', '--data', join(bench.dir, 'data')], cleanups)
  expect(await verify.exited, verify.text()).toBe(0)
}, 180_000)

test.each([
  'state-begun:6',
  'state-written:6',
  'state-committed:6',
  'sink-delivered:2',
  'sink-remembered:2',
  'file-written:2',
  'http-answered:2',
])(
  'killed at %s while silences come and go: the file has what it should, once, and the webhook misses nothing',
  async (point) => {
    const { url, told } = await receiver()
    const bench = new Bench(url, told)
    cleanups.push(() => {
      delete process.env.MILLRACE_TEST_KILL_AT
    })
    let kills = 0
    const isGone = (): boolean => bench.node.child.signalCode !== null
    for (let life = 0; life < 3; life++) {
      process.env.MILLRACE_TEST_KILL_AT = point
      try {
        await bench.start()
      } catch (error) {
        // What the last life left to deliver may bring it there before it listens.
        if (!String(error).includes('it ended with SIGKILL')) throw error
        kills++
        continue
      }
      try {
        const { silence } = await bench.silence({ match: ['rack=r7'], for: '1h' })
        await bench.write({ r7: 99, r8: 99 })
        await bench.pause()
        await bench.write({ r7: 10, r8: 99 })
        await bench.write({ r7: 99, r8: 10 })
        await bench.pause()
        await bench.unsilence(silence.id)
        await bench.pause()
        await bench.write({ r7: 10, r8: 10 })
        await bench.pause()
      } catch (error) {
        // The connection goes before the process is known to be gone.
        await until(async () => (isGone() ? true : null), 5_000).catch(() => {
          throw error
        })
      }
      if (isGone()) kills++
      else await bench.node.kill('SIGKILL')
    }
    expect(kills).toBeGreaterThan(0)
    delete process.env.MILLRACE_TEST_KILL_AT
    await bench.start()
    const { rows } = await json<{ rows: SilenceRow[] }>(`${bench.node.url}/api/v1/silences`)
    for (const { id } of rows) await bench.unsilence(id)
    await bench.write({ r7: 10, r8: 10 })
    await bench.stands()
    await bench.node.kill('SIGTERM')
    const inFile = bench.inFile()
    const ids = new Set(inFile.map(({ id }) => id))
    expect(ids.size).toBe(inFile.length)
    expect(new Set(bench.posted.map(({ id }) => id))).toEqual(ids)
    // Of each rack, beginnings and ends alternate: nothing ends that did not begin, and nothing is left open.
    for (const rack of ['r7', 'r8']) {
      const states = inFile.filter(({ group }) => group.rack === rack).map(({ state }) => state)
      for (const [i, state] of states.entries()) {
        expect(state, `${rack} ${i}`).toBe(i % 2 === 0 ? 'firing' : 'resolved')
      }
      expect(states.length % 2).toBe(0)
    }
    const verify = launch(['verify', '--data', join(bench.dir, 'data')], cleanups)
    expect(await verify.exited, verify.text()).toBe(0)
  },
  180_000,
)
