/**
 * How long from a request to the committed results of the windows that it closes, at 80 % of the rate that the node
 * sustains: HTTP → decode → log with fdatasync → ring → windows and detectors → state with fdatasync. The node runs as
 * it does under `millrace run`, the load comes from a process of its own.
 *
 * - **Open loop.** Requests are due by a fixed schedule, and a result's time counts from when the request was DUE. Its last
 *   byte leaves later than that, by the transfer, by the generator's timer, and by whatever held the generator up; so
 *   nothing is left out (no coordinated omission), and what the generator costs counts against the node.
 * - **One ordered stream.** Disorder and lateness are 0: each scrape of the 1,000 series closes what lies before it, in
 *   every partition. Requests are pipelined over one connection, since an overtaken one would be late.
 * - **The rate** is found first, in the same run on the same node, which warms both, and open loop as well: the highest at
 *   which evenly spaced requests are answered as fast as they are due, for half a minute (lib/rate-search.ts). As fast as
 *   they are taken with some unanswered would say too much: requests that wait together share transactions, evenly spaced
 *   ones do not.
 * - **A result counts as committed** when the committer has its transaction on the disk and has published the position;
 *   a thread beside the node sleeps until then (lib/commit-watch.ts). Which request closed a window follows from
 *   the window's end, and which commit held its result from the entry's cause in the log: both are read afterwards.
 * - Every result row is one measurement. Percentiles are node's own HdrHistogram, three digits.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { createHistogram } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import type { BoardBuffers } from '../engine/broker/node-board.ts'
import { resolveConfig } from '../engine/config/config.ts'
import { ENTRY_RESULTS, RESULTS_HEADER_BYTES } from '../engine/contract/entries.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import type { DetectorPlugin } from '../engine/contract/plugins.ts'
import { openStateReader } from '../engine/store/state-store.ts'
import { assert } from '../engine/util/assert.ts'
import { registry } from '../operators/registry.ts'
import { type RunningNode, startNode } from '../workers/node.ts'
import type { BenchModule, Figure } from './lib/bench.ts'
import { type CommitTrace, CommitWatch } from './lib/commit-watch.ts'
import type { LineBodyOptions } from './lib/line-body.ts'
import type { OpenLoad, OpenLoadReport } from './lib/open-load.ts'
import { confirmedRate, sustainedRate } from './lib/rate-search.ts'
import { openScratch } from './lib/scratch.ts'

const SERIES = 1_000
const PARTITIONS = 16
const START_MS = 1_700_000_000_000
/** Event time from scrape to scrape: 20 to a slide of the window. */
const STEP_MS = 50
const EVERY_MS = 1_000
const COMMIT_MS = 10
const RATE_SHARE = 0.8
/** Event times lie in the past: by the default age, results would be deleted while they are measured. */
const RETENTION_AGE = '3650d'
/** Of the first look only, from which the search starts. */
const UNANSWERED_MAX = 64
const SETTLE_POLL_MS = 10
/** Histogram in whole microseconds, up to a minute. */
const HISTOGRAM_US_MAX = 60_000_000

const ewma = registry.detectors.get('ewma') as unknown as DetectorPlugin<unknown>

const PLAN: PipelinePlan = {
  plan: 1,
  name: 'latency',
  topic: { name: 'metrics', partitions: PARTITIONS, partitionBy: null },
  where: [],
  groupBy: null,
  disorderMs: 0,
  idleMs: 3_600_000,
  window: { kind: 'sliding', options: {}, sizeMs: 10 * EVERY_MS, everyMs: EVERY_MS, sliceMs: EVERY_MS },
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
  readonly warmBodies: number
  readonly saturateBodies: number
  /** Of the search for the rate. */
  readonly trials: number
  readonly trialSeconds: number
  /** Of the longer trial that the rate found has to pass, or a lower one. */
  readonly confirmSeconds: number
  readonly scheduleSeconds: number
}

interface Round {
  readonly sustained: number
  readonly everyMs: number
  readonly firstBody: number
  readonly bodies: number
  readonly report: OpenLoadReport
  readonly trace: CommitTrace
}

export const bench: BenchModule = {
  name: 'latency',
  figures: ['latencyMsP50', 'latencyMsP99', 'latencyMsP9999', 'latencyMsMax', 'sustainedSamplesPerSecond'],
  async run({ smoke }) {
    const figures: Figure[] = []
    for (const size of sizes(smoke)) figures.push(...(await measured(size)))
    return figures
  },
}

/** A scrape a request, and ten: the larger fills the machine with fewer requests. */
function sizes(smoke: boolean): readonly Size[] {
  const size = (linesPerBody: number, warmBodies: number, saturateBodies: number): Size => {
    return {
      linesPerBody,
      warmBodies,
      saturateBodies,
      trials: 8,
      trialSeconds: 5,
      confirmSeconds: 30,
      scheduleSeconds: 60,
    }
  }
  if (smoke)
    return [{ ...size(1_000, 200, 400), trials: 2, trialSeconds: 0.5, confirmSeconds: 1, scheduleSeconds: 1 }]
  return [size(1_000, 3_000, 4_000), size(10_000, 400, 500)]
}

/** One size, whole: the rate, the schedule, the figures. */
export async function measured(size: Size): Promise<readonly Figure[]> {
  const scratch = openScratch('latency')
  try {
    const dir = `${scratch.path}/data`
    const round = await runNode(dir, size)
    const { histogram, checksum } = await latencies(dir, size, round)
    const params = {
      linesPerBody: size.linesPerBody,
      series: SERIES,
      lineBytes: 66,
      window: '10s every 1s',
      scrapeMs: STEP_MS,
      disorderMs: 0,
      commitMs: COMMIT_MS,
      sustainedSamplesPerSecond: Math.round(round.sustained),
      samplesPerSecond: Math.round((size.linesPerBody / round.everyMs) * 1_000),
      seconds: size.scheduleSeconds,
      results: histogram.count,
      commits: round.trace.commits,
      sentLateMsMean: rounded(round.report.sentLateMsMean),
      sentLateMsMax: rounded(round.report.sentLateMsMax),
    }
    const ms = (figure: string, us: number): Figure => {
      return { figure, value: us / 1_000, unit: 'ms', params, checksum }
    }
    return [
      ms('latencyMsP50', histogram.percentile(50)),
      ms('latencyMsP99', histogram.percentile(99)),
      ms('latencyMsP9999', histogram.percentile(99.99)),
      ms('latencyMsMax', histogram.max),
      {
        figure: 'sustainedSamplesPerSecond',
        value: round.sustained,
        unit: 'samples/s',
        params: { linesPerBody: size.linesPerBody, series: SERIES, commitMs: COMMIT_MS, connections: 1 },
        checksum,
      },
    ]
  } finally {
    scratch.remove()
  }
}

/** The rate, then the schedule, on one node. */
async function runNode(dir: string, size: Size): Promise<Round> {
  const config = resolveConfig({
    flags: { port: 0, data: dir, commitEvery: `${COMMIT_MS}ms`, retentionAge: RETENTION_AGE },
  })
  let board: BoardBuffers | null = null
  const node = await startNode({
    config,
    pipelines: [PLAN],
    onFatal: (error) => {
      throw error
    },
    onBoard: (buffers) => {
      board = buffers
    },
  })
  const loader = fork(fileURLToPath(new URL('./lib/open-load.js', import.meta.url)), [], { execArgv: [] })
  try {
    const {
      linesPerBody,
      warmBodies,
      saturateBodies,
      trials,
      trialSeconds,
      confirmSeconds,
      scheduleSeconds,
    } = size
    const requests: LineBodyOptions = {
      port: Number(new URL(node.address).port),
      path: '/write?precision=ms',
      linesPerBody,
      series: SERIES,
      startMs: START_MS,
      stepMs: STEP_MS,
      identity: { kind: 'none', producerIds: [], first: 0 },
    }
    const saturate = { requests, kind: 'saturate', unansweredMax: UNANSWERED_MAX, everyMs: 0 } as const
    let body = 0
    await load(loader, { ...saturate, firstBody: body, bodies: warmBodies })
    body += warmBodies
    await settled(node, body * linesPerBody)
    const startMs = performance.now()
    await load(loader, { ...saturate, firstBody: body, bodies: saturateBodies })
    body += saturateBodies
    await settled(node, body * linesPerBody)
    const together = (saturateBodies * linesPerBody) / ((performance.now() - startMs) / 1_000)
    const trial = async (rate: number, seconds: number): Promise<number> => {
      const everyMs = (linesPerBody / rate) * 1_000
      const bodies = Math.round((seconds * 1_000) / everyMs)
      const tried = await load(loader, { ...saturate, kind: 'schedule', firstBody: body, bodies, everyMs })
      body += bodies
      await settled(node, body * linesPerBody)
      return tried.lastAnswerMs - (tried.firstDueMs + (bodies - 1) * everyMs)
    }
    const found = await sustainedRate(together, trials, (rate) => trial(rate, trialSeconds))
    const sustained = await confirmedRate(found, (rate) => trial(rate, confirmSeconds))
    assert(sustained > 0, 'some rate is kept')
    const everyMs = (linesPerBody / (sustained * RATE_SHARE)) * 1_000
    const bodies = Math.round((scheduleSeconds * 1_000) / everyMs)
    assert(board !== null, 'a node has a board')
    const watch = new CommitWatch(board)
    await watch.started()
    const schedule: OpenLoad = { ...saturate, kind: 'schedule', firstBody: body, bodies, everyMs }
    const report = await load(loader, schedule)
    await settled(node, (body + bodies) * linesPerBody)
    const trace = await watch.end()
    const [pipeline] = await node.queries.pipelines()
    const { ledger } = pipeline!
    assert(ledger.late === 0 && ledger.windowed === ledger.in, 'no sample is late', JSON.stringify(ledger))
    return { sustained, everyMs, firstBody: body, bodies, report, trace }
  } finally {
    loader.kill()
    await node.close()
  }
}

async function load(loader: ChildProcess, open: OpenLoad): Promise<OpenLoadReport> {
  const ended = new AbortController()
  const exit = once(loader, 'exit', { signal: ended.signal }).then(([code]) => {
    throw new Error(`the load generator ended with ${String(code)}`)
  })
  loader.send(open)
  try {
    const [report] = (await Promise.race([once(loader, 'message'), exit])) as [OpenLoadReport]
    const stored = report.statuses['204'] ?? 0
    assert(stored === open.bodies, 'every request is stored', JSON.stringify(report.statuses), open.bodies)
    return report
  } finally {
    ended.abort()
    exit.catch(() => {})
  }
}

/** Resolves when everything sent is in committed results. */
async function settled(node: RunningNode, samples: number): Promise<void> {
  for (;;) {
    const [pipeline] = await node.queries.pipelines()
    if (pipeline!.ledger.in >= samples) return
    await new Promise((resolve) => setTimeout(resolve, SETTLE_POLL_MS))
  }
}

/** Every result row whose window a request of the schedule closed: from when that was due to the commit that holds it. */
async function latencies(dir: string, size: Size, round: Round) {
  const histogram = createHistogram({ lowest: 1, highest: HISTOGRAM_US_MAX, figures: 3 })
  const commits = commitsBySlot(round.trace)
  const state = openStateReader({ dir })
  let results = 0
  let samples = 0
  try {
    const { id } = state.pipeline(PLAN.name)!
    for (let partition = 0; partition < PARTITIONS; partition++) {
      let seq = state.seqAtTime(id, partition, endOfWindowBefore(size, round.firstBody))
      let commit = 0
      for (;;) {
        const entries = state.entries(id, partition, seq)
        if (entries.length === 0) break
        for (const { kind, causeOffset, eventTimeMs, bytes } of entries) {
          if (kind !== ENTRY_RESULTS) continue
          const body = closingBody(size, eventTimeMs) - round.firstBody
          if (body < 0) continue
          assert(body < round.bodies, 'a window is closed by a request', eventTimeMs)
          const { timesMs, positions } = commits[partition]!
          while (commit < positions.length && positions[commit]! <= causeOffset) commit++
          assert(commit < positions.length, 'a result has a commit', partition, causeOffset)
          const latencyMs = timesMs[commit]! - (round.report.firstDueMs + body * round.everyMs)
          assert(latencyMs > 0, 'a result follows its request', partition, causeOffset, latencyMs)
          const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
          const rows = view.getInt32(0, true)
          for (let row = 0; row < rows; row++) {
            histogram.record(Math.ceil(latencyMs * 1_000))
            samples += view.getFloat64(RESULTS_HEADER_BYTES + (rows + row) * 8, true)
          }
          results += rows
        }
        seq = entries.at(-1)!.seq + 1
      }
    }
  } finally {
    await state.close()
  }
  const expected = windowsClosedBy(size, round) * SERIES
  assert(
    results === expected,
    'every window that the schedule closes has a row for each series',
    results,
    expected,
  )
  return { histogram, checksum: `${results}:${samples}` }
}

function commitsBySlot({ timesMs, slots, positions }: CommitTrace) {
  const bySlot = Array.from({ length: PARTITIONS }, () => ({
    timesMs: [] as number[],
    positions: [] as number[],
  }))
  for (let i = 0; i < timesMs.length; i++) {
    const commits = bySlot[slots[i]!]!
    commits.timesMs.push(timesMs[i]!)
    commits.positions.push(positions[i]!)
  }
  return bySlot
}

/** Number of the request whose samples are the first at or after the window's end. */
function closingBody({ linesPerBody }: Size, windowEndMs: number): number {
  const scrape = Math.ceil((windowEndMs - START_MS) / STEP_MS)
  return Math.floor((scrape * SERIES) / linesPerBody)
}

function windowsClosedBy(size: Size, { firstBody, bodies }: Round): number {
  let windows = 0
  for (let endMs = endOfWindowBefore(size, firstBody); ; endMs += EVERY_MS) {
    const body = closingBody(size, endMs) - firstBody
    if (body >= bodies) return windows
    if (body >= 0) windows++
  }
}

function endOfWindowBefore({ linesPerBody }: Size, body: number): number {
  const scrapeMs = ((body * linesPerBody) / SERIES) * STEP_MS
  return START_MS + (Math.floor(scrapeMs / EVERY_MS) - 1) * EVERY_MS
}

function rounded(ms: number): number {
  return Math.round(ms * 1_000) / 1_000
}
