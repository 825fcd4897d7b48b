/**
 * The whole path: HTTP line protocol from a generator in its own process → log with fdatasync before the answer → ring →
 * sliding windows (mean, count) → EWMA detector → committed results. The clock runs from the first byte sent until the
 * last result is committed, so a backlog does not count as speed.
 */
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { resolveConfig } from '../engine/config/config.ts'
import { RESULTS_HEADER_BYTES } from '../engine/contract/entries.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import type { DetectorPlugin } from '../engine/contract/plugins.ts'
import { openStateReader } from '../engine/store/state-store.ts'
import { assert } from '../engine/util/assert.ts'
import { registry } from '../operators/registry.ts'
import { type RunningNode, startNode } from '../workers/node.ts'
import type { BenchModule, Figure } from './lib/bench.ts'
import type { LoadIdentity } from './lib/line-body.ts'
import type { LoadOptions, LoadReport } from './lib/line-load.ts'
import { median } from './lib/measure.ts'
import { openScratch } from './lib/scratch.ts'

const SERIES = 1_000
const CONNECTIONS = 8
const DISORDER_MS = 5_000
const START_MS = 1_700_000_000_000
const SETTLE_POLL_MS = 10

const ewma = registry.detectors.get('ewma') as unknown as DetectorPlugin<unknown>

const PLAN: PipelinePlan = {
  plan: 1,
  name: 'end-to-end',
  topic: { name: 'metrics', partitions: 16, partitionBy: null },
  where: [],
  groupBy: null,
  disorderMs: DISORDER_MS,
  idleMs: 3_600_000,
  window: { kind: 'sliding', options: {}, sizeMs: 10_000, everyMs: 1_000, sliceMs: 1_000 },
  aggregates: [
    { name: 'busy', kind: 'mean', options: {} },
    { name: 'n', kind: 'count', options: {} },
  ],
  detectors: [
    { name: 'ewma', kind: 'ewma', column: 'busy', options: ewma.options.parse({}, 'ewma', []), holdMs: 0 },
  ],
  sinks: [],
}

export interface Size {
  readonly linesPerBody: number
  readonly warmLines: number
  readonly lines: number
  /** Event time from scrape to scrape: what the bodies in flight span must stay within the disorder. */
  readonly stepMs: number
}

export interface Round {
  readonly samplesPerSecond: number
  readonly answeredPerSecond: number
  readonly results: number
  readonly checksum: string
}

/** `identity`: what each body carries so that a resend would be stored once. */
export async function measure(size: Size, identity: LoadIdentity['kind'] = 'none'): Promise<Round> {
  const scratch = openScratch('end-to-end')
  try {
    const config = resolveConfig({ flags: { port: 0, data: `${scratch.path}/data` } })
    const node = await startNode({
      config,
      pipelines: [PLAN],
      onFatal: (error) => {
        throw error
      },
    })
    try {
      const port = Number(new URL(node.address).port)
      await load(port, 0, size.warmLines, size, undefined, await identityOf(node, identity, 0))
      await settled(node, size.warmLines)
      const carried = await identityOf(node, identity, Math.ceil(size.warmLines / size.linesPerBody))
      const startMs = performance.now()
      const report = await load(port, size.warmLines / SERIES, size.lines, size, undefined, carried)
      await settled(node, size.warmLines + size.lines)
      const seconds = (performance.now() - startMs) / 1000
      const bodies = Math.ceil(size.lines / size.linesPerBody)
      assert(
        report.statuses['204'] === bodies,
        'every body is stored',
        JSON.stringify(report.statuses),
        bodies,
      )
      const [pipeline] = await node.queries.pipelines()
      const ledger = pipeline!.ledger
      assert(ledger.late === 0 && ledger.windowed === ledger.in, 'no sample is late', JSON.stringify(ledger))
      return {
        samplesPerSecond: size.lines / seconds,
        answeredPerSecond: size.lines / report.seconds,
        ...(await committed(config.data)),
      }
    } finally {
      await node.close()
    }
  } finally {
    scratch.remove()
  }
}

/** A producer for each connection, since each sends its bodies one after the other. */
async function identityOf(
  node: RunningNode,
  kind: LoadIdentity['kind'],
  first: number,
): Promise<LoadIdentity> {
  const producerIds: number[] = []
  for (let i = 0; kind === 'sequence' && i < CONNECTIONS; i++) {
    const answer = await fetch(`${node.address}/api/v1/producers`, { method: 'POST' })
    const { producerId } = (await answer.json()) as { producerId: number }
    producerIds.push(producerId)
  }
  return { kind, producerIds, first }
}

/** Sends `lines` from scrape `fromScrape` on. */
export function load(
  port: number,
  fromScrape: number,
  lines: number,
  { linesPerBody, stepMs }: Size,
  path = '/write?precision=ms',
  identity: LoadIdentity = { kind: 'none', producerIds: [], first: 0 },
): Promise<LoadReport> {
  const child = fork(fileURLToPath(new URL('./lib/line-load.js', import.meta.url)), [], { execArgv: [] })
  const options: LoadOptions = {
    port,
    path,
    connections: CONNECTIONS,
    linesPerBody,
    series: SERIES,
    bodies: Math.ceil(lines / linesPerBody),
    startMs: START_MS + fromScrape * stepMs,
    stepMs,
    identity,
  }
  return new Promise((resolve, reject) => {
    child.once('message', (report) => resolve(report as LoadReport))
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`the load generator ended with ${code}`)))
    child.send(options)
  })
}

/** Resolves when everything sent is in committed results. */
async function settled(node: RunningNode, lines: number): Promise<void> {
  for (;;) {
    const [pipeline] = await node.queries.pipelines()
    if (pipeline!.ledger.in >= lines) return
    await new Promise((resolve) => setTimeout(resolve, SETTLE_POLL_MS))
  }
}

/**
 * Number of result rows committed, and as checksum that number and the sum of their sample counts: exact, and the same
 * in every run, though connections race and so the order of samples in the log, which means depend on in their last digits.
 */
async function committed(dir: string): Promise<{ results: number; checksum: string }> {
  const state = openStateReader({ dir })
  const { id } = state.pipeline(PLAN.name)!
  let results = 0
  let samples = 0
  for (let partition = 0; partition < PLAN.topic.partitions; partition++) {
    let seq = 0
    for (;;) {
      const entries = state.entries(id, partition, seq)
      if (entries.length === 0) break
      for (const entry of entries) {
        const view = new DataView(entry.bytes.buffer, entry.bytes.byteOffset, entry.bytes.length)
        const rows = view.getInt32(0, true)
        results += rows
        // The second column (contract/entries.ts) is the count.
        for (let row = 0; row < rows; row++)
          samples += view.getFloat64(RESULTS_HEADER_BYTES + (rows + row) * 8, true)
      }
      seq = entries.at(-1)!.seq + 1
    }
  }
  await state.close()
  return { results, checksum: `${results}:${samples}` }
}

function sizes(
  smoke: boolean,
): readonly { readonly name: string; readonly size: Size; readonly rounds: number }[] {
  const size = (linesPerBody: number, warmLines: number, lines: number, stepMs: number): Size => {
    return { linesPerBody, warmLines, lines, stepMs }
  }
  if (smoke) {
    return [
      { name: 'samplesPerSecond', size: size(10_000, 100_000, 400_000, 40), rounds: 1 },
      { name: 'samplesPerSecond1000', size: size(1_000, 20_000, 100_000, 200), rounds: 1 },
      { name: 'samplesPerSecond200', size: size(200, 10_000, 40_000, 500), rounds: 1 },
    ]
  }
  return [
    { name: 'samplesPerSecond', size: size(10_000, 6_000_000, 20_000_000, 10), rounds: 5 },
    { name: 'samplesPerSecond1000', size: size(1_000, 3_000_000, 10_000_000, 10), rounds: 3 },
    { name: 'samplesPerSecond200', size: size(200, 1_000_000, 4_000_000, 10), rounds: 3 },
  ]
}

export const bench: BenchModule = {
  name: 'end-to-end',
  figures: ['samplesPerSecond', 'samplesPerSecond1000', 'samplesPerSecond200', 'answeredPerSecond'],
  async run({ smoke }) {
    const figures: Figure[] = []
    for (const { name, size, rounds } of sizes(smoke)) {
      const runs: Round[] = []
      for (let i = 0; i < rounds; i++) runs.push(await measure(size))
      const params = {
        linesPerBody: size.linesPerBody,
        lines: size.lines,
        series: SERIES,
        connections: CONNECTIONS,
        lineBytes: 66,
        window: '10s every 1s',
        scrapeMs: size.stepMs,
        disorderMs: DISORDER_MS,
        commitMs: 100,
        results: runs[0]!.results,
        rounds,
      }
      const checksum = runs[0]!.checksum
      figures.push({
        figure: name,
        value: median(runs.map((run) => run.samplesPerSecond)),
        unit: 'samples/s',
        params,
        checksum,
      })
      if (name === 'samplesPerSecond') {
        const value = median(runs.map((run) => run.answeredPerSecond))
        figures.push({ figure: 'answeredPerSecond', value, unit: 'samples/s', params, checksum })
      }
    }
    return figures
  },
}
