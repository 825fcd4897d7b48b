/** Groups that are spread over partitions, on real nodes: the bytes of the results depend on the log alone. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import type { PipelineStatus } from '../../engine/contract/queries.ts'
import { ownerStream, partialStream, resultStreams } from '../../engine/contract/streams.ts'
import { openStateReader } from '../../engine/store/state-store.ts'
import { Prng } from '../../engine/util/prng.ts'
import type { ReplayProgress } from '../../workers/replay.ts'
import { json, launch, ROOT, results, scratch, start, until, write, writePipeline } from './process.ts'

const SEED = Number(process.env.MILLRACE_SEED ?? 20_250_301)
const START_MS = 1_700_000_000_000
const HOSTS = 40
const BODIES = 15
const SCRAPES = 10

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** Idleness by log time would differ from run to run; an hour keeps it out, but for the test that is about it. */
const PIPELINE = (dir: string, idle = '1h'): string => `
export default pipeline('load').from(topic('metrics', { partitions: 4, partitionBy: ['host'] }))
  .where({ name: 'cpu' }).groupBy('region').disorder('1s').idle('${idle}')
  .window(sliding({ size: '4s', every: '1s' }), { mean: mean(), total: sum(), n: count() })
  .detect('mean', threshold({ above: 60, clear: 50 }), { name: 'hot' })
  .to(ndjsonFile({ path: ${JSON.stringify(join(dir, 'alerts.ndjson'))} }), { name: 'alerts' })
  .to(ndjsonFile({ path: ${JSON.stringify(join(dir, 'results.ndjson'))} }), { name: 'results', of: 'results' })`

/** Scrapes of all hosts with fractions, so that the order of additions shows in the last digits. Some come late. */
function bodies(): string[] {
  const prng = new Prng(SEED)
  return Array.from({ length: BODIES }, (_, body) => {
    const lines: string[] = []
    for (let scrape = 0; scrape < SCRAPES; scrape++) {
      for (let host = 0; host < HOSTS; host++) {
        const second = body * SCRAPES + scrape
        const hot = (second >> 4) % 5 === host % 5 ? 70 : 20
        const behindMs = prng.below(30) === 0 ? 2_000 + prng.below(9_000) : prng.below(900)
        const timeMs = START_MS + second * 1_000 - behindMs
        lines.push(`cpu,host=h${host},region=r${host % 5} value=${hot + prng.float() * 10} ${timeMs}`)
      }
    }
    return lines.join('\n')
  })
}

/** Lines of a file as they stand, by result stream. */
function streams(file: string): Record<string, string[]> {
  const byStream: Record<string, string[]> = {}
  const lines = readFileSync(file, 'utf8').split('\n')
  // A line may be on its way.
  lines.pop()
  for (const line of lines) {
    const stream = (JSON.parse(line) as { id: string }).id.split('/')[1]!
    byStream[stream] ??= []
    byStream[stream].push(line)
  }
  return byStream
}

function lineCount(file: string): number {
  return Object.values(streams(file)).flat().length
}

/** The last window that every partition has passed: the newest samples are a little older than their scrape. */
const LAST_END_MS = START_MS + (BODIES * SCRAPES - 3) * 1_000

async function complete(url: string): Promise<number | null> {
  const rows = await results(url, 'load')
  const last = rows.filter(({ windowEndMs }) => windowEndMs === LAST_END_MS)
  // One of each region; owners are through with it one by one.
  return last.length === 5 ? rows.length : null
}

/** Sum over shards; null: not told yet. */
async function lagOf(url: string): Promise<number | null> {
  const metrics = await (await fetch(`${url}/metrics`)).text()
  const line = /^millrace_pipeline_owner_lag_entries\{pipeline="load"\} (\d+)$/m.exec(metrics)
  return line === null ? null : Number(line[1])
}

interface ReplaySummary {
  readonly samples: number
  readonly pipelines: readonly { readonly results: number; readonly digests: readonly number[] }[]
}

async function replayed(flags: readonly string[], dir: string): Promise<ReplaySummary> {
  const run = launch(['replay', join(dir, 'pipeline.mjs'), '--json', ...flags], cleanups)
  const code = await run.exited
  expect(code, run.text()).toBe(0)
  return JSON.parse(run.text().slice(run.text().indexOf('{'))) as ReplaySummary
}

/** What a dry run says of itself: each round goes from nothing to all of it. */
async function progressOf(dir: string, plan: PipelinePlan, threads: number): Promise<ReplayProgress[]> {
  const { replay } = (await import(
    join(ROOT, 'dist/workers/replay.js')
  )) as typeof import('../../workers/replay.ts')
  const told: ReplayProgress[] = []
  await replay({
    dir,
    plans: [plan],
    from: { point: 'beginning' },
    to: { point: 'end' },
    into: null,
    threads,
    signal: new AbortController().signal,
    onProgress: (progress) => told.push(progress),
  })
  for (const round of ['reading', 'merging']) {
    const steps = told.filter((step) => step.round === round)
    const last = steps.at(-1)!
    expect(last.total).toBeGreaterThan(0)
    expect(last.done).toBe(last.total)
    expect(steps.map(({ done }) => done)).toEqual(steps.map(({ done }) => done).toSorted((a, b) => a - b))
  }
  return told
}

async function statusOf(url: string): Promise<PipelineStatus> {
  const { rows } = await json<{ rows: PipelineStatus[] }>(`${url}/api/v1/pipelines`)
  return rows.find(({ name }) => name === 'load')!
}

function balance({ ledger }: PipelineStatus): void {
  expect(ledger.windowed + ledger.filtered + ledger.late + ledger.nonFinite).toBe(ledger.in)
}

test('1, 2 and 4 shards, and a node killed again and again: the same bytes', {
  timeout: 300_000,
}, async () => {
  const all = bodies()
  const expected: Record<string, Record<string, string[]>> = {}
  let rows = 0
  for (const shards of ['1', '2', '4']) {
    const dir = scratch(cleanups)
    const data = join(dir, 'data')
    const args = ['run', writePipeline(dir, PIPELINE(dir)), '--data', data, '--shards', shards]
    const node = await start(args, cleanups)
    for (const body of all) expect((await write(node.url, body)).status).toBe(204)
    rows = await until(() => complete(node.url))
    await until(async () => (lineCount(join(dir, 'results.ndjson')) >= rows ? true : null))
    const status = await statusOf(node.url)
    balance(status)
    expect(status.ledger.in).toBe(BODIES * SCRAPES * HOSTS)
    expect(status.ledger.late).toBeGreaterThan(0)
    const { plan } = status
    expect(status.owners?.map(({ partition }) => partition)).toEqual([4, 5, 6, 7])
    // What partitions sent to owners shows nowhere.
    const metrics = await (await fetch(`${node.url}/metrics`)).text()
    expect(metrics).toMatch(new RegExp(`^millrace_pipeline_results_total\\{[^}]*\\} ${rows}$`, 'm'))
    // At rest, all that was sent has brought about what it can.
    await until(async () => ((await lagOf(node.url)) === 0 ? true : null))
    // A replay beside it, with as many threads: what the owners gave, and what they counted.
    const into = join(dir, 'replay')
    const report = await replayed(['--data', data, '--into', into, '--threads', shards], dir)
    expect(report.samples).toBe(BODIES * SCRAPES * HOSTS)
    expect(report.pipelines[0]).toMatchObject({ results: rows, ...status.ledger })
    expect((await progressOf(data, plan, Number(shards))).at(-1)).toMatchObject({
      round: 'merging',
      rounds: 2,
    })
    expect(await node.kill('SIGTERM')).toBe(0)
    for (const name of ['results.ndjson', 'alerts.ndjson']) {
      const there = streams(join(dir, name))
      for (const stream of Object.keys(there)) {
        expect(Number(stream)).toBeGreaterThanOrEqual(ownerStream(plan, 0))
        expect(Number(stream)).toBeLessThan(resultStreams(plan))
      }
      expected[name] ??= there
      expect(there).toEqual(expected[name])
      expect(streams(join(into, name))).toEqual(there)
    }
    expect(lineCount(join(into, 'late.ndjson'))).toBe(status.ledger.late)
    // Parts of the log, too, give the same for any number of threads; nothing is left of what partitions sent.
    const range = ['--data', data, '--dry-run', '--from', 'offset:300', '--to', 'offset:900']
    const [one, four] = [
      await replayed([...range, '--threads', '1'], dir),
      await replayed([...range, '--threads', '4'], dir),
    ]
    expect(one.pipelines[0]!.results).toBeGreaterThan(0)
    expect(four.pipelines).toEqual(one.pipelines)
    expect(readdirSync(into).sort()).toEqual(['alerts.ndjson', 'late.ndjson', 'results.ndjson'])
    // It is gone as soon as the owners' checkpoints have passed it.
    const state = openStateReader({ dir: data })
    const { id } = state.pipeline('load')!
    for (let partition = 0; partition < plan.topic.partitions; partition++) {
      const { firstSeq, endSeq } = state.seqRange(id, partialStream(plan, partition))
      expect(endSeq).toBeGreaterThan(100)
      expect(endSeq - firstSeq).toBeLessThan(50)
    }
    await state.close()
  }
  expect(rows).toBeGreaterThan(500)
  expect(Object.values(expected['alerts.ndjson']!).flat().length).toBeGreaterThan(10)

  const dir = scratch(cleanups)
  const args = ['run', writePipeline(dir, PIPELINE(dir)), '--data', join(dir, 'data'), '--shards', '2']
  args.push('--checkpoint-every', '300ms')
  const prng = new Prng(SEED + 1)
  let node = await start(args, cleanups)
  for (const [i, body] of all.entries()) {
    expect((await write(node.url, body)).status).toBe(204)
    if (i % 5 !== 3) continue
    await new Promise((resolve) => setTimeout(resolve, prng.below(700)))
    expect(await node.kill('SIGKILL')).toBe('SIGKILL')
    node = await start(args, cleanups)
  }
  await until(() => complete(node.url))
  balance(await statusOf(node.url))
  for (const name of ['results.ndjson', 'alerts.ndjson']) {
    const wanted = Object.values(expected[name]!).flat().length
    await until(async () => (lineCount(join(dir, name)) >= wanted ? true : null))
    expect(streams(join(dir, name))).toEqual(expected[name])
  }
  expect(await node.kill('SIGTERM')).toBe(0)
})

test('partitions that fall quiet, or never speak, hold results back for the idle time and no longer', async () => {
  const dir = scratch(cleanups)
  const args = ['run', writePipeline(dir, PIPELINE(dir, '1s')), '--data', join(dir, 'data'), '--shards', '2']
  const node = await start(args, cleanups)
  // Two hosts: at least two of four partitions never have a sample.
  const lines = ['a', 'b'].map((host) => `cpu,host=${host},region=r value=1 ${START_MS}`)
  expect((await write(node.url, lines.join('\n'))).status).toBe(204)
  const rows = await until(async () => {
    const found = await results(node.url, 'load')
    return found.length >= 4 ? found : null
  })
  expect(rows.map(({ values, windowEndMs }) => [windowEndMs - START_MS, values.n])).toEqual([
    [1_000, 2],
    [2_000, 2],
    [3_000, 2],
    [4_000, 2],
  ])
  // Nobody has anything to say now, so nothing is written to the log any more.
  const appended = async (): Promise<number> =>
    (await json<{ topics: { appended: number }[] }>(`${node.url}/api/v1/status`)).topics[0]!.appended
  const before = await appended()
  await new Promise((resolve) => setTimeout(resolve, 2_000))
  expect(await appended()).toBe(before)
  expect(before).toBeLessThan(200)
})

test('a bounded input closes every window, also of partitions without a sample', async () => {
  const dir = scratch(cleanups)
  const csv = ['time,host,region,value']
  for (let second = 0; second < 20; second++) {
    for (const host of ['a', 'b', 'c']) csv.push(`${START_MS + second * 1_000},${host},r,${second}`)
  }
  const args = ['run', writePipeline(dir, PIPELINE(dir)), '-', '--data', join(dir, 'data'), '--port', '0']
  args.push('--format', 'csv', '--name', 'cpu', '--time', 'time', '--labels', 'host,region')
  const run = launch(args, cleanups, `${csv.join('\n')}\n`)
  expect(await run.exited, run.text()).toBe(0)
  const lines = Object.values(streams(join(dir, 'results.ndjson')))
    .flat()
    .map((line) => JSON.parse(line) as { values: { n: number } })
  expect(lines).toHaveLength(23)
  expect(lines.reduce((sum, { values }) => sum + values.n, 0)).toBe(20 * 3 * 4)
})
