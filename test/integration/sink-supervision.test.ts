/**
 * A node whose sink thread fails: by an error beside its sinks, an exit, an endless loop, before and after a target has
 * the records. The process lives, the file holds every record once, and the webhook repeats what was in flight.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import type { SinkFaultOrder } from '../../workers/fault-hook.ts'
import { type Running, results, scratch, start, until, write, writePipeline } from './process.ts'

const START_MS = 1_700_000_000_000
const HOSTS = 5
const BODIES = 24
const PATIENCE_MS = 90_000

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** Each closes one window of ten seconds for every host. */
function body(index: number): string {
  const lines: string[] = []
  for (let host = 0; host < HOSTS; host++) {
    for (let second = 0; second < 10; second++) {
      lines.push(
        `cpu,host=h${host} value=${(index * 7 + host) % 50} ${START_MS + (index * 10 + second) * 1_000}`,
      )
    }
  }
  return lines.join('\n')
}

interface Sinking {
  readonly node: Running
  readonly file: string
  /** JSON of every record that was posted, in order. */
  readonly posted: readonly string[]
  order(order: SinkFaultOrder, always?: boolean): string
}

async function sinking(args: readonly string[], partitions = 2): Promise<Sinking> {
  const dir = scratch(cleanups)
  const posted: string[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const records = JSON.parse(Buffer.concat(chunks).toString()) as unknown[]
      posted.push(...records.map((record) => JSON.stringify(record)))
      response.end()
    })
    // A thread that ends resets its connections.
    request.on('error', () => {})
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanups.push(() => {
    server.close()
    server.closeAllConnections()
  })
  const file = join(dir, 'rows.ndjson')
  const pipelines = writePipeline(
    dir,
    `export default pipeline('cpu').from(topic('metrics', { partitions: ${partitions} })).where({ name: 'cpu' }).groupBy('host')
    .disorder('1s').idle('1h').window(tumbling('10s'), { mean: mean(), n: count() })
    .to(ndjsonFile({ path: ${JSON.stringify(file)} }), { name: 'rows' })
    .to(webhook({ url: 'http://127.0.0.1:${(server.address() as AddressInfo).port}/', batch: 3 }), { name: 'hook' })`,
  )
  const faults = join(dir, 'faults')
  mkdirSync(faults)
  process.env.MILLRACE_FAULT_DIR = faults
  try {
    const node = await start(
      ['run', pipelines, '--data', join(dir, 'data'), '--shards', '1', ...args],
      cleanups,
    )
    let orders = 0
    const order: Sinking['order'] = (what, always = false) => {
      const name = join(faults, String(orders++))
      writeFileSync(`${name}.tmp`, JSON.stringify(what))
      const placed = `${name}.sink-${always ? 'always' : 'once'}`
      renameSync(`${name}.tmp`, placed)
      return placed
    }
    return { node, file, posted, order }
  } finally {
    delete process.env.MILLRACE_FAULT_DIR
  }
}

function linesOf(file: string): string[] {
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : []
}

const idOf = (line: string): string => (JSON.parse(line) as { id: string }).id

test('a sink thread that fails at any time is replaced: the file has every record once, the webhook repeats what was in flight', {
  timeout: 300_000,
}, async () => {
  const { node, file, posted, order } = await sinking(['--hang-after', '3s', '--restart-limit', '1000'])
  const orders: readonly SinkFaultOrder[] = [
    { how: 'uncaught', sink: 'rows' },
    { how: 'exit', sink: 'rows', after: true },
    { how: 'uncaught', sink: 'hook', after: true },
    { how: 'exit', sink: 'hook' },
    { how: 'hang', sink: 'rows', after: true },
    { how: 'uncaught', sink: 'rows', after: true },
    { how: 'exit', sink: 'hook', after: true },
  ]
  for (let index = 0; index < BODIES; index++) {
    const wanted = orders[index / 3]
    const placed = wanted === undefined ? null : order(wanted)
    expect((await write(node.url, body(index))).status).toBe(204)
    // One after the other: each is a failure of its own.
    if (placed !== null && index > 0)
      await until(async () => (existsSync(placed) ? null : true), PATIENCE_MS).catch((error) => {
        throw new Error(`${error}\n${node.text()}`)
      })
  }
  const rows = (await until(async () => {
    const all = await results(node.url, 'cpu')
    return all.length === (BODIES - 1) * HOSTS ? all : null
  }, PATIENCE_MS)) as readonly { readonly id: string }[]
  const ids = rows.map(({ id }) => id).sort()
  await until(async () => (linesOf(file).length >= ids.length ? true : null), PATIENCE_MS)
  await until(async () => (new Set(posted.map(idOf)).size >= ids.length ? true : null), PATIENCE_MS)
  const metrics = await (await fetch(`${node.url}/metrics`)).text()
  expect(await node.kill('SIGTERM')).toBe(0)

  const lines = linesOf(file)
  expect(lines.map(idOf).sort()).toEqual(ids)
  expect([...new Set(posted.map(idOf))].sort()).toEqual(ids)
  // A repeat has the same bytes. Successors that began at the beginning would have made four times as many.
  expect(new Set(posted).size).toBe(ids.length)
  expect(posted.length - ids.length).toBeLessThan(2 * ids.length)
  const text = node.text()
  expect(text).toContain('sinks failed: Error: a fault beside the sinks was ordered. Restart')
  expect(text).toContain('sinks failed: its thread exited with code 7. Restart')
  expect(text).toMatch(
    /sinks failed: it has not moved for 3000 ms \(--hang-after\)\. Restart \d+ in \d+ ms, from what each/,
  )
  const restarts = Number(/millrace_thread_restarts_total\{thread="sinks"\} (\d+)/.exec(metrics)?.[1])
  // On a machine that is short of everything the thread may look stuck that is not.
  expect(restarts).toBeGreaterThanOrEqual(orders.length)
})

test('a record over which a webhook throws again and again is its dead letter; the file and the others are complete', {
  timeout: 200_000,
}, async () => {
  const { node, file, posted, order } = await sinking([], 1)
  order({ how: 'throw', sink: 'hook', id: 'cpu/0/0/0' }, true)
  for (let index = 0; index < 4; index++) expect((await write(node.url, body(index))).status).toBe(204)
  const rows = 3 * HOSTS
  await until(async () => (linesOf(file).length >= rows ? true : null), PATIENCE_MS)
  await until(async () => (new Set(posted).size >= rows - 1 ? true : null), PATIENCE_MS)
  await until(async () => {
    const metrics = await (await fetch(`${node.url}/metrics`)).text()
    return metrics.includes('millrace_sink_dead_records_total{pipeline="cpu",sink="hook"} 1') ? true : null
  }, PATIENCE_MS)
  expect(await node.kill('SIGTERM')).toBe(0)
  expect(linesOf(file).map(idOf)).toContain('cpu/0/0/0')
  expect(posted.map(idOf)).not.toContain('cpu/0/0/0')
  expect(node.text()).toMatch(/Sink cpu\/hook threw 3 times over record cpu\/0\/0\/0/)
})

test('a sink thread that fails again and again is given up loudly', {
  timeout: 200_000,
}, async () => {
  const { node, order } = await sinking(['--restart-limit', '2'])
  order({ how: 'uncaught', sink: 'hook' }, true)
  for (let index = 0; index < 3; index++) await write(node.url, body(index)).catch(() => null)
  expect(await node.exited).toBe(1)
  expect(node.text()).toMatch(
    /sinks: failed 3 times \(--restart-limit\), at last: .*a fault beside the sinks was ordered/,
  )
})
