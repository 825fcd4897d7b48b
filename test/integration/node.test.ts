/** A node as a process: what survives kill -9, who is kept out, what is refused by name. */
import { openSync, readFileSync, readSync, statSync, writeSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { Prng } from '../../engine/util/prng.ts'
import { json, launch, type Row, results, scratch, start, until, write, writePipeline } from './process.ts'

const SEED = Number(process.env.MILLRACE_SEED ?? 20_250_102)
const START_MS = 1_700_000_000_000

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** Idleness by log time would close windows at times that differ from run to run; an hour keeps it out. */
const PIPELINE = (dir: string, sinks = ''): string => `
export default pipeline('cpu').from(topic('metrics')).where({ name: 'cpu' }).disorder('1s').idle('1h')
  .window(sliding({ size: '4s', every: '1s' }), { mean: mean(), n: count() })
  .detect('mean', threshold({ above: 90, clear: 80 }), { name: 'hot' })
  .to(ndjsonFile({ path: ${JSON.stringify(join(dir, 'alerts.ndjson'))} }), { name: 'alerts' })
  .to(ndjsonFile({ path: ${JSON.stringify(join(dir, 'results.ndjson'))} }), { name: 'results', of: 'results' })
  ${sinks}`

/** Bodies of ten scrapes of 40 hosts, some of them hot for a while. */
function bodies(count: number): string[] {
  const prng = new Prng(SEED)
  return Array.from({ length: count }, (_, body) => {
    const lines: string[] = []
    for (let scrape = 0; scrape < 10; scrape++) {
      for (let host = 0; host < 40; host++) {
        const second = body * 10 + scrape
        const value = (second >> 4) % 5 === host % 5 && host < 10 ? 95 : 20 + prng.float() * 10
        lines.push(`cpu,host=h${host} value=${value.toFixed(3)} ${START_MS + second * 1_000}`)
      }
    }
    return lines.join('\n')
  })
}

const NEWEST_RESULT = (rows: readonly Row[]): number => Math.max(0, ...rows.map((row) => row.windowEndMs))

/** By result stream, since streams of different partitions interleave as they happen to be committed. */
function streams(lines: readonly { readonly id: string }[]): Record<string, unknown[]> {
  const byPartition: Record<string, unknown[]> = {}
  for (const line of lines) {
    const partition = line.id.split('/')[1]!
    byPartition[partition] ??= []
    byPartition[partition].push(line)
  }
  return byPartition
}

function fileLines(file: string): { readonly id: string }[] {
  const lines = readFileSync(file, 'utf8').split('\n')
  // A line may be on its way; what stands after the last newline is not one yet.
  lines.pop()
  return lines.map((line) => JSON.parse(line) as { id: string })
}

test('kill -9 at any time: results and files are those of a run that was never interrupted', async () => {
  const all = bodies(30)
  const lastEndMs = START_MS + (30 * 10 - 2) * 1_000
  const complete = async (url: string) => {
    const rows = await results(url, 'cpu')
    return NEWEST_RESULT(rows) >= lastEndMs ? rows : null
  }

  const calmDir = scratch(cleanups)
  const calm = await start(
    ['run', writePipeline(calmDir, PIPELINE(calmDir)), '--data', join(calmDir, 'data')],
    cleanups,
  )
  for (const body of all) expect((await write(calm.url, body)).status).toBe(204)
  const expected = await until(() => complete(calm.url))
  await until(async () =>
    fileLines(join(calmDir, 'results.ndjson')).length >= expected.length ? true : null,
  )
  expect(await calm.kill('SIGTERM')).toBe(0)

  const dir = scratch(cleanups)
  const args = [
    'run',
    writePipeline(dir, PIPELINE(dir)),
    '--data',
    join(dir, 'data'),
    '--checkpoint-every',
    '300ms',
  ]
  const prng = new Prng(SEED + 1)
  let node = await start(args, cleanups)
  let kills = 0
  for (const [i, body] of all.entries()) {
    expect((await write(node.url, body)).status).toBe(204)
    if (i % 4 !== 3) continue
    await new Promise((resolve) => setTimeout(resolve, prng.below(700)))
    expect(await node.kill('SIGKILL')).toBe('SIGKILL')
    kills++
    node = await start(args, cleanups)
  }
  expect(kills).toBeGreaterThan(5)
  const rows = await until(() => complete(node.url))
  expect(streams(rows)).toEqual(streams(expected))
  for (const name of ['results.ndjson', 'alerts.ndjson']) {
    const wanted = streams(fileLines(join(calmDir, name)))
    await until(async () => {
      const there = fileLines(join(dir, name)).length
      return there >= Object.values(wanted).flat().length ? true : null
    })
    expect(streams(fileLines(join(dir, name)))).toEqual(wanted)
  }
  expect(await node.kill('SIGINT')).toBe(0)
})

test('a webhook gets every alert, in order, with an id', async () => {
  const received: { id: string; state: string }[] = []
  const server = createServer((req, res) => {
    let body = ''
    req.on('data', (chunk: Buffer) => {
      body += chunk.toString()
    })
    req.on('end', () => {
      received.push(JSON.parse(body) as { id: string; state: string })
      res.end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanups.push(() => server.close())
  const { port } = server.address() as AddressInfo
  const dir = scratch(cleanups)
  const hook = `.to(webhook({ url: 'http://127.0.0.1:${port}/alerts' }))`
  const node = await start(
    ['run', writePipeline(dir, PIPELINE(dir, hook)), '--data', join(dir, 'data')],
    cleanups,
  )
  for (const body of bodies(12)) await write(node.url, body)
  const lines = await until(async () => {
    const alerts = fileLines(join(dir, 'alerts.ndjson'))
    return alerts.length > 10 && received.length === alerts.length ? alerts : null
  })
  expect(streams(received)).toEqual(streams(lines))
  const current = await json<{ rows: { state: string }[] }>(`${node.url}/api/v1/alerts`)
  const firing = received.filter(({ state }) => state === 'firing').length
  const resolved = received.filter(({ state }) => state === 'resolved').length
  expect(current.rows).toHaveLength(firing - resolved)
})

test('a second process on the same directory is refused by name, and the first goes on', async () => {
  const dir = scratch(cleanups)
  const args = ['run', writePipeline(dir, PIPELINE(dir)), '--data', join(dir, 'data')]
  const first = await start(args, cleanups)
  const second = launch([...args, '--port', '0'], cleanups)
  expect(await second.exited).toBe(1)
  expect(second.text()).toContain(String(first.child.pid))
  expect(second.text()).toContain(join(dir, 'data'))
  expect(second.text()).not.toContain('    at ')
  expect((await write(first.url, 'cpu,host=a value=1')).status).toBe(204)
})

test('a changed pipeline over old state is refused, naming what changed, unless state is reset', async () => {
  const dir = scratch(cleanups)
  const args = (file: string): string[] => ['run', file, '--data', join(dir, 'data')]
  const first = await start(args(writePipeline(dir, PIPELINE(dir))), cleanups)
  for (const body of bodies(2)) await write(first.url, body)
  await until(async () => ((await results(first.url, 'cpu')).length > 0 ? true : null))
  await first.kill('SIGTERM')
  const changed = writePipeline(dir, PIPELINE(dir).replace("size: '4s'", "size: '8s'"), 'changed.mjs')
  const refused = launch([...args(changed), '--port', '0'], cleanups)
  expect(await refused.exited).toBe(1)
  expect(refused.text()).toMatch(/cpu\.window\.sizeMs/)
  expect(refused.text()).toContain('--reset-state')
  const moved = changed.replace('changed', 'moved')
  writePipeline(dir, PIPELINE(scratch(cleanups)).replace("size: '4s'", "size: '8s'"), 'moved.mjs')
  const reset = await start([...args(moved), '--reset-state'], cleanups)
  const rows = await until(async () => {
    const found = await results(reset.url, 'cpu')
    return found.length > 0 ? found : null
  })
  expect(Math.max(...rows.map(({ values }) => values.n!))).toBe(8)
})

test('a log that may not grow answers 429 with Retry-After, and stores nothing of what it refused', async () => {
  const dir = scratch(cleanups)
  const limits = ['--retention-size', '64MiB', '--checkpoint-every', '1h']
  const node = await start(
    ['run', writePipeline(dir, PIPELINE(dir)), '--data', join(dir, 'data'), ...limits],
    cleanups,
  )
  const lines: string[] = []
  for (let i = 0; i < 200_000; i++) lines.push(`cpu,host=h${i % 40} value=1 ${START_MS + i}`)
  const body = lines.join('\n')
  const refused = await until(async () => {
    const answer = await write(node.url, body)
    return answer.status === 429 ? answer : null
  }, 60_000)
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
  expect(await refused.text()).toMatch(/log holds .* bytes/)
})

test('the series limit refuses new series by name and keeps the others', async () => {
  const dir = scratch(cleanups)
  const node = await start(
    ['run', writePipeline(dir, PIPELINE(dir)), '--data', join(dir, 'data'), '--series-limit', '2'],
    cleanups,
  )
  const answer = await write(
    node.url,
    'cpu,host=a value=1\ncpu,host=b value=1\ncpu,host=c value=1\ncpu,host=a value=2',
  )
  expect(answer.status).toBe(400)
  expect(await answer.text()).toMatch(/line 3|host="c"/)
  const { topics } = await json<{ topics: { series: number; appended: number }[] }>(
    `${node.url}/api/v1/status`,
  )
  expect(topics[0]).toMatchObject({ series: 2 })
})

test('a damaged log is a refusal that names the batch, never silence', async () => {
  const dir = scratch(cleanups)
  const args = ['run', writePipeline(dir, PIPELINE(dir)), '--data', join(dir, 'data')]
  const first = await start(args, cleanups)
  for (const body of bodies(3)) await write(first.url, body)
  await first.kill('SIGKILL')
  const file = join(dir, 'data/log/data.mdb')
  const fd = openSync(file, 'r+')
  const bytes = Buffer.alloc(statSync(file).size)
  readSync(fd, bytes, 0, bytes.length, 0)
  // A bit of the first value of every record batch: whichever is read first must be refused.
  let damaged = 0
  for (let at = bytes.indexOf('MRB1'); at >= 0; at = bytes.indexOf('MRB1', at + 1)) {
    writeSync(fd, Buffer.from([bytes[at + 80]! ^ 1]), 0, 1, at + 80)
    damaged++
  }
  expect(damaged).toBeGreaterThan(10)
  const second = launch([...args, '--port', '0'], cleanups)
  expect(await second.exited).toBe(1)
  expect(second.text()).toMatch(/metrics.*partition \d+.*offset \d+|partition \d+.*offset \d+/s)
})
