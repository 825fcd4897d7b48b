/**
 * A node whose shards fail: by a throw, an exit, a lack of memory, an endless loop, at any time and in the middle of a
 * batch. What it ends with must be what an undisturbed node ends with, and the process must live through it.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { Prng } from '../../engine/util/prng.ts'
import type { FaultOrder } from '../../workers/fault-hook.ts'
import {
  json,
  launch,
  type Row,
  type Running,
  results,
  scratch,
  start,
  until,
  write,
  writePipeline,
} from './process.ts'

const SEED = Number(process.env.MILLRACE_SEED ?? 20_251_125)
const START_MS = 1_700_000_000_000
const SCRAPES_A_BODY = 10
const HOSTS = 40
const POISON_VALUE = 666

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** Two pipelines over one topic, and a third over a topic of its own. Hours of idleness: log time decides nothing. */
const PIPELINES = `
const windowed = (name, from, metric) => pipeline(name).from(from).where({ name: metric }).disorder('1s').idle('1h')
  .window(sliding({ size: '4s', every: '1s' }), { mean: mean(), n: count() })
  .detect('mean', threshold({ above: 90, clear: 80 }), { name: 'hot' })
export default [
  windowed('cpu', topic('metrics', { partitions: 4 }), 'cpu'),
  windowed('other', topic('metrics', { partitions: 4 }), 'cpu'),
  windowed('apart', topic('apart', { partitions: 2 }), 'cpu'),
]`

function bodies(count: number): string[] {
  const prng = new Prng(SEED)
  return Array.from({ length: count }, (_, body) => {
    const lines: string[] = []
    for (let scrape = 0; scrape < SCRAPES_A_BODY; scrape++) {
      for (let host = 0; host < HOSTS; host++) {
        const second = body * SCRAPES_A_BODY + scrape
        const value = (second >> 4) % 5 === host % 5 && host < 10 ? 95 : 20 + prng.float() * 10
        lines.push(`cpu,host=h${host} value=${value.toFixed(3)} ${START_MS + second * 1_000}`)
      }
    }
    return lines.join('\n')
  })
}

function byStream(rows: readonly Row[]): Record<string, Row[]> {
  const streams: Record<string, Row[]> = {}
  for (const row of rows) {
    const partition = row.id.split('/')[1]!
    streams[partition] ??= []
    streams[partition].push(row)
  }
  return streams
}

interface PipelineRow {
  readonly name: string
  readonly state: string
  readonly partitions: readonly { readonly lag: number }[]
  readonly ledger: Readonly<Record<string, number>>
}

async function pipelineRow(url: string, name: string): Promise<PipelineRow> {
  const { rows } = await json<{ rows: PipelineRow[] }>(`${url}/api/v1/pipelines`)
  return rows.find((row) => row.name === name)!
}

/** Results once everything that was sent is in them. */
async function complete(url: string, name: string): Promise<Row[]> {
  await until(async () => {
    const { partitions } = await pipelineRow(url, name)
    return partitions.every(({ lag }) => lag === 0) ? true : null
  }, 60_000)
  return await results(url, name)
}

interface Faulty {
  readonly node: Running
  /** Gives an order; resolves at once. */
  order(order: FaultOrder, always?: boolean): string
  readonly dir: string
}

let orders = 0

/** `before`: an earlier node, whose directory and orders this one takes over. */
async function faulty(args: readonly string[] = [], before?: Faulty): Promise<Faulty> {
  const dir = before?.dir ?? scratch(cleanups)
  const faults = join(dir, 'faults')
  mkdirSync(faults, { recursive: true })
  process.env.MILLRACE_FAULT_DIR = faults
  try {
    const file = writePipeline(dir, PIPELINES)
    const node = await start(
      ['run', file, '--data', join(dir, 'data'), '--shards', '2', '--checkpoint-every', '300ms', ...args],
      cleanups,
    )
    return {
      node,
      dir,
      order: (order, always = false) => {
        const name = join(faults, `${orders++}`)
        writeFileSync(`${name}.tmp`, JSON.stringify(order))
        const placed = `${name}.${always ? 'always' : 'once'}`
        renameSync(`${name}.tmp`, placed)
        return placed
      },
    }
  } finally {
    delete process.env.MILLRACE_FAULT_DIR
  }
}

/** What an undisturbed node gives, once for all tests of this file. */
let calm: Promise<Record<string, Record<string, Row[]>>> | null = null
const CALM_BODIES = 16

function undisturbed(): Promise<Record<string, Record<string, Row[]>>> {
  calm ??= (async () => {
    const { node } = await faulty()
    for (const body of bodies(CALM_BODIES)) {
      expect((await write(node.url, body)).status).toBe(204)
      expect((await write(node.url, body, 'precision=ms&topic=apart')).status).toBe(204)
    }
    const streams: Record<string, Record<string, Row[]>> = {}
    for (const name of ['cpu', 'other', 'apart']) {
      streams[name] = byStream(await complete(node.url, name))
    }
    expect(await node.kill('SIGTERM')).toBe(0)
    return streams
  })()
  return calm
}

interface Status {
  readonly threads: readonly { name: string; restarts: number; lastFailureMs: number | null }[]
}

async function restarts(url: string): Promise<number> {
  const { threads } = await json<Status>(`${url}/api/v1/status`)
  return threads.reduce((sum, thread) => sum + thread.restarts, 0)
}

test.each([
  [
    'throw, exit or hang',
    ['--hang-after', '3s'],
    ['throw', 'exit', 'hang', 'throw', 'exit', 'throw', 'exit', 'hang'],
  ],
  ['run out of memory', ['--shard-heap', '64MiB'], ['memory', 'memory']],
] as const)('shards that %s at any time change no result, and the process lives', async (_, args, hows) => {
  const expected = await undisturbed()
  // Orders given while a shard is down are carried out one after another where it goes on: that batch is not poison.
  const { node, order } = await faulty([...args, '--poison-tries', '100', '--restart-limit', '100'])
  const prng = new Prng(SEED + 1)
  const placed: string[] = []
  for (const [i, body] of bodies(CALM_BODIES).entries()) {
    const how = hows[i >> 1]
    if (i % 2 === 1 && how !== undefined) {
      const pipeline = ['cpu', 'other', 'apart'][prng.below(3)]!
      placed.push(order({ how, afterEntry: prng.below(2) === 0, pipeline }))
    }
    expect((await write(node.url, body)).status).toBe(204)
    expect((await write(node.url, body, 'precision=ms&topic=apart')).status).toBe(204)
    await new Promise((resolve) => setTimeout(resolve, prng.below(300)))
  }
  await until(async () => (placed.every((file) => !existsSync(file)) ? true : null), 60_000)
  const rows: Record<string, Row[]> = {}
  for (const name of ['cpu', 'other', 'apart']) rows[name] = await complete(node.url, name)
  expect((await json<{ rows: unknown[] }>(`${node.url}/api/v1/dead-letters`)).rows).toEqual([])
  for (const [name, all] of Object.entries(rows)) expect(byStream(all)).toEqual(expected[name])
  const text = node.text()
  expect(text).toMatch(
    /shard-\d failed, over pipeline "\w+", partition \d, offset \d+: .*Restart 1 in \d+ ms/,
  )
  if (hows.length > 2) {
    expect(text).toContain('Error: a fault was ordered. Restart')
    expect(text).toContain('its thread exited with code 7. Restart')
    expect(text).toContain('it has not moved for 3000 ms (--hang-after). Restart')
  } else expect(text).toContain('out of memory: it needed more than its heap (--shard-heap). Restart')
  // On a machine that is short of everything a shard may look stuck that is not.
  expect(await restarts(node.url)).toBeGreaterThanOrEqual(placed.length)
  const metrics = await (await fetch(`${node.url}/metrics`)).text()
  expect(metrics).toMatch(/millrace_thread_restarts_total\{thread="shard-0"\} \d/)
  expect(metrics).toMatch(/millrace_thread_last_failure_timestamp_seconds\{thread="shard-\d"\} \d/)
  expect(await node.kill('SIGTERM')).toBe(0)
})

test('a batch that a pipeline fails over again and again becomes its dead letter; others, and what follows, are unharmed', async () => {
  const expected = await undisturbed()
  const { node, order, dir } = await faulty(['--poison-tries', '2'])
  // Half-way: windows have fired, their entries are in the ring.
  const standing = order({ how: 'throw', pipeline: 'cpu', value: POISON_VALUE, afterEntry: true }, true)
  const all = bodies(CALM_BODIES)
  const hot = all.map((body, i) =>
    i % 6 === 4 ? body.replace(/host=h7 value=[0-9.]+/, `host=h7 value=${POISON_VALUE}`) : body,
  )
  const poisoned = hot.filter((body, i) => body !== all[i]).length
  for (const body of hot) {
    expect((await write(node.url, body)).status).toBe(204)
    expect((await write(node.url, body, 'precision=ms&topic=apart')).status).toBe(204)
  }
  const rows = await complete(node.url, 'cpu')
  const letters = (await json<{ rows: DeadLetterRow[] }>(`${node.url}/api/v1/dead-letters?pipeline=cpu`)).rows
  expect(letters).toHaveLength(poisoned)
  for (const letter of letters) {
    expect(letter).toMatchObject({
      pipeline: 'cpu',
      topic: 'metrics',
      tries: 2,
      reason: expect.stringMatching(/^Error: a fault was ordered/),
    })
    expect(letter.endOffset - letter.baseOffset).toBe(letter.samples)
  }
  const { ledger } = await pipelineRow(node.url, 'cpu')
  const dead = letters.reduce((sum, { samples }) => sum + samples, 0)
  expect(ledger).toMatchObject({
    in: CALM_BODIES * SCRAPES_A_BODY * HOSTS,
    dead,
    windowed: ledger.in! - dead,
  })
  const metrics = await (await fetch(`${node.url}/metrics`)).text()
  expect(metrics).toContain(`millrace_pipeline_dead_letters_total{pipeline="cpu"} ${poisoned}`)
  expect(metrics).toContain(`millrace_pipeline_samples_total{pipeline="cpu",fate="dead"} ${dead}`)
  expect(metrics).toContain(`millrace_pipeline_samples_total{pipeline="other",fate="dead"} 0`)
  // Partitions without a poisoned batch, and pipelines beside it, are as they would have been.
  const harmed = new Set(letters.map(({ partition }) => String(partition)))
  const cpu = byStream(rows)
  for (const [partition, stream] of Object.entries(expected.cpu!)) {
    if (!harmed.has(partition)) expect(cpu[partition]).toEqual(stream)
  }
  expect((await json<{ rows: unknown[] }>(`${node.url}/api/v1/dead-letters?pipeline=other`)).rows).toEqual([])
  const other = byStream(await complete(node.url, 'other'))
  expect(Object.values(other).flat()).toHaveLength(Object.values(expected.other!).flat().length)
  expect(await node.kill('SIGKILL')).toBe('SIGKILL')
  // The decision is part of the log's reading: without the fault, over the same log, replay skips the same.
  rmSync(standing)
  const again = await start(
    ['run', join(dir, 'pipeline.mjs'), '--data', join(dir, 'data'), '--shards', '1'],
    cleanups,
  )
  expect(byStream(await complete(again.url, 'cpu'))).toEqual(cpu)
  expect((await json<{ rows: unknown[] }>(`${again.url}/api/v1/dead-letters`)).rows).toEqual(letters)
  // So does a replay, which says so; asked to, it tries them again, and now they are processed.
  const skipping = await replayed(dir, 'skipping', [])
  expect(skipping.text).toContain(`cpu: skipped ${poisoned} recorded dead letter`)
  expect(skipping.rows).toEqual(resultRows(cpu))
  const trying = await replayed(dir, 'trying', ['--with-dead-letters'])
  expect(trying.text).toContain(`cpu: tried ${poisoned} recorded dead letter`)
  expect(trying.rows.length).toBeGreaterThanOrEqual(skipping.rows.length)
  expect(trying.rows).not.toEqual(skipping.rows)
  // A skipped batch is no damage.
  const verified = launch(['verify', '--data', join(dir, 'data')], cleanups)
  expect(await verified.exited, verified.text()).toBe(0)
  expect(await again.kill('SIGTERM')).toBe(0)
})

/** Id, window and number of samples of each result, by id. */
function resultRows(streams: Record<string, readonly Row[]>): string[] {
  return Object.values(streams)
    .flat()
    .map(({ id, windowEndMs, values }) => `${id} ${windowEndMs} ${JSON.stringify(values)}`)
    .sort()
}

async function replayed(
  dir: string,
  name: string,
  flags: readonly string[],
): Promise<{ readonly text: string; readonly rows: string[] }> {
  const into = join(dir, name)
  const args = ['replay', join(dir, 'pipeline.mjs'), '--data', join(dir, 'data'), '--into', into]
  const run = launch([...args, ...flags], cleanups)
  const code = await run.exited
  expect(code, run.text()).toBe(0)
  const lines = readFileSync(join(into, 'results.ndjson'), 'utf8').split('\n').slice(0, -1)
  const rows = lines.map((line) => JSON.parse(line) as Row & { readonly pipeline: string })
  return { text: run.text(), rows: resultRows({ cpu: rows.filter(({ pipeline }) => pipeline === 'cpu') }) }
}

interface DeadLetterRow {
  readonly partition: number
  readonly baseOffset: number
  readonly endOffset: number
  readonly samples: number
}

test('a shard that fails again and again is given up loudly: exit code 1, and what failed, where, how often', async () => {
  const { node, order } = await faulty(['--restart-limit', '3', '--poison-tries', '100'])
  order({ how: 'exit', pipeline: 'cpu' }, true)
  expect((await write(node.url, bodies(1)[0]!)).status).toBe(204)
  expect(await node.exited).toBe(1)
  expect(node.text()).toMatch(
    /shard-\d: failed 4 times \(--restart-limit\), at last, over pipeline "cpu", partition \d, offset 0: its thread exited with code 7/,
  )
  expect(node.text()).toMatch(/Restart 3 in \d+ ms/)
})

test('a batch whose results are committed is never skipped: a replay that fails there gives up, and publishes nothing else', async () => {
  const args = ['--checkpoint-every', '1h', '--poison-tries', '2']
  const first = await faulty(args)
  for (const body of bodies(2)) expect((await write(first.node.url, body)).status).toBe(204)
  const rows = byStream(await complete(first.node.url, 'cpu'))
  expect(await first.node.kill('SIGKILL')).toBe('SIGKILL')
  const standing = first.order({ how: 'throw', pipeline: 'cpu' }, true)
  // It may end before it listens.
  process.env.MILLRACE_FAULT_DIR = join(first.dir, 'faults')
  const file = join(first.dir, 'pipeline.mjs')
  const data = join(first.dir, 'data')
  const second = launch(['run', file, '--data', data, '--shards', '2', '--port', '0', ...args], cleanups)
  delete process.env.MILLRACE_FAULT_DIR
  expect(await second.exited).toBe(1)
  expect(second.text()).toMatch(
    /failed 2 times, over pipeline "cpu", partition \d, offset 0, which cannot be skipped: results up to offset \d+ are committed/,
  )
  rmSync(standing)
  const third = await faulty(args, first)
  expect(byStream(await complete(third.node.url, 'cpu'))).toEqual(rows)
  expect((await json<{ rows: unknown[] }>(`${third.node.url}/api/v1/dead-letters`)).rows).toEqual([])
  expect(await third.node.kill('SIGTERM')).toBe(0)
})

test('a node that is stopped while a shard is down ends at once, and the next start goes on', async () => {
  const { node, order, dir } = await faulty(['--restart-limit', '100', '--poison-tries', '100'])
  const standing = order({ how: 'throw', pipeline: 'cpu' }, true)
  const all = bodies(2)
  for (const body of all) expect((await write(node.url, body)).status).toBe(204)
  await until(async () => ((await pipelineRow(node.url, 'cpu')).state === 'recovering' ? true : null))
  await until(async () => (/Restart 4 in/.test(node.text()) ? true : null))
  expect(await node.kill('SIGTERM')).toBe(0)
  rmSync(standing)
  const again = await start(['run', join(dir, 'pipeline.mjs'), '--data', join(dir, 'data')], cleanups)
  await complete(again.url, 'cpu')
  expect((await pipelineRow(again.url, 'cpu')).ledger.in).toBe(2 * SCRAPES_A_BODY * HOSTS)
  expect(await again.kill('SIGTERM')).toBe(0)
})

/** A file system of its own, as large as `megabytes`; null where this user may not mount. */
function smallDisk(megabytes: number): string | null {
  const dir = scratch(cleanups)
  const disk = join(dir, 'disk')
  mkdirSync(disk)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', disk], { stdio: 'pipe' })
  } catch {
    return null
  }
  cleanups.push(() => execFileSync('umount', ['-l', disk]))
  return disk
}

const DISK_MEGABYTES = 96

test('a full disk stops ingest with 503 and Retry-After, keeps what was acknowledged, answers, and goes on when there is room', async (context) => {
  const disk = smallDisk(DISK_MEGABYTES)
  if (disk === null) {
    context.skip('this user may not mount a tmpfs: needs root')
    return
  }
  // Most of the disk is somebody else's.
  const filler = join(disk, 'filler')
  writeFileSync(filler, Buffer.alloc(40 * 2 ** 20, 1))
  const dir = scratch(cleanups)
  const args = ['run', writePipeline(dir, PIPELINES), '--data', join(disk, 'data'), '--disk-reserve', '32MiB']
  const node = await start(args, cleanups)
  const lines: string[] = []
  for (let i = 0; i < 20_000; i++) lines.push(`cpu,host=h${i % HOSTS} value=1 ${START_MS + i}`)
  const body = lines.join('\n')
  let acknowledged = 0
  const refused = await until(async () => {
    const answer = await write(node.url, body)
    if (answer.status === 204) acknowledged += lines.length
    else return answer
    // A look at the disk every quarter of a second: as fast as this, and never faster than the reserve allows.
    await new Promise((resolve) => setTimeout(resolve, 50))
    return null
  }, 60_000)
  expect(refused.status).toBe(503)
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
  expect(await refused.text()).toMatch(/the disk has \d+ bytes left, the reserve is 33554432/)
  const ready = await fetch(`${node.url}/readyz`)
  expect([ready.status, await ready.text()]).toEqual([503, expect.stringContaining('the disk has')])
  expect((await fetch(`${node.url}/healthz`)).status).toBe(200)
  expect(await (await fetch(`${node.url}/metrics`)).text()).toContain('millrace_disk_low 1')
  await complete(node.url, 'cpu')
  expect(await json(`${node.url}/api/v1/status`)).toMatchObject({
    disk: { isLow: true, reserveBytes: 33_554_432 },
  })
  rmSync(filler)
  await until(async () => ((await write(node.url, body)).status === 204 ? true : null))
  acknowledged += lines.length
  expect((await fetch(`${node.url}/readyz`)).status).toBe(200)
  await complete(node.url, 'cpu')
  expect((await pipelineRow(node.url, 'cpu')).ledger.in).toBe(acknowledged)
  expect(await node.kill('SIGTERM')).toBe(0)
  const again = await start(args, cleanups)
  await complete(again.url, 'cpu')
  expect((await pipelineRow(again.url, 'cpu')).ledger.in).toBe(acknowledged)
  expect(await again.kill('SIGTERM')).toBe(0)
})
