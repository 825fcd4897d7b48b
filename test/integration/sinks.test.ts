/** The real sinks over a real store, in a process that is killed for good, again and again. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import { EntryWriter } from '../../engine/pipeline/entry-writer.ts'
import { encodeSeriesKey } from '../../engine/series/series-key.ts'
import type { StateWriter } from '../../engine/store/state-contract.ts'
import { openStateWriter } from '../../engine/store/state-store.ts'
import { openStore } from '../../engine/store/store.ts'
import { Prng } from '../../engine/util/prng.ts'

/** What sink-process.mjs says, and hears. */
type FromSinkProcess =
  | { readonly type: 'remember'; readonly request: number; readonly sink: string; readonly json: string }
  | { readonly type: 'drained' }
  | { readonly type: 'warning'; readonly message: string }
type ToSinkProcess =
  | { readonly type: 'committed' }
  | { readonly type: 'drain' }
  | { readonly type: 'remembered'; readonly request: number }

const PARTITIONS = 3
const KILLS = 8
const ROWS_A_WINDOW = 20
const SEED = Number(process.env.MILLRACE_SEED ?? 20_250_101)

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** Commits windows for ever, a few at a time, as a committer does. */
class Committer {
  readonly pipelineId: number
  readonly ids: string[] = []
  readonly #state: StateWriter
  readonly #writers: EntryWriter[] = []
  readonly #prng = new Prng(SEED)
  #put: ((partition: number, kind: number, seq: number, timeMs: number, bytes: Uint8Array) => void) | null =
    null
  #endMs = 0

  constructor(state: StateWriter, plan: PipelinePlan) {
    this.#state = state
    this.pipelineId = state.transaction((txn) => {
      const { name, topic } = plan
      const planJson = JSON.stringify(plan)
      const record = txn.putPipeline({ name, topicId: 0, topic: topic.name, planHash: 'test', planJson })
      for (let partition = 0; partition < PARTITIONS; partition++) {
        for (let group = 0; group < ROWS_A_WINDOW; group++) {
          const key = encodeSeriesKey({ host: `h${partition}-${String(group).padStart(2, '0')}` })
          txn.putGroup(record.id, partition, group, key)
        }
      }
      return record.id
    })
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const entry = (
        kind: number,
        seq: number,
        _cause: number,
        timeMs: number,
        bytes: Uint8Array,
        length: number,
      ) => this.#put?.(partition, kind, seq, timeMs, bytes.subarray(0, length))
      this.#writers.push(new EntryWriter({ group() {}, entry }))
    }
  }

  commit(windows: number): void {
    this.#state.transaction((txn) => {
      this.#put = (partition, kind, seq, timeMs, bytes) => {
        txn.putEntry(this.pipelineId, partition, seq, kind, 0, timeMs, bytes)
        for (let row = 0; row < ROWS_A_WINDOW; row++) this.ids.push(`cpu/${partition}/${seq}/${row}`)
      }
      for (let i = 0; i < windows; i++) {
        this.#endMs += 1_000
        const cells = Float64Array.from({ length: ROWS_A_WINDOW }, () => this.#prng.float())
        const groupIds = Int32Array.from({ length: ROWS_A_WINDOW }, (_, row) => row)
        const table = { rowCount: ROWS_A_WINDOW, columnCount: 1, capacity: ROWS_A_WINDOW, cells, groupIds }
        const partition = this.#prng.below(PARTITIONS)
        this.#writers[partition]!.results(table, this.#endMs - 1_000, this.#endMs, 0)
      }
      this.#writers.forEach(({ nextSeq }, partition) => {
        const ledger = { in: 0, windowed: 0, filtered: 0, late: 0, nonFinite: 0, dead: 0 }
        txn.putProgress(this.pipelineId, partition, { position: 0, nextSeq, ledger })
      })
    })
  }

  remember(sink: string, json: string): void {
    this.#state.transaction((txn) => {
      txn.putSink(this.pipelineId, sink, json)
    })
  }
}

function planFor(file: string, url: string): PipelinePlan {
  return {
    plan: 1,
    name: 'cpu',
    topic: { name: 'metrics', partitions: PARTITIONS, partitionBy: null },
    where: [],
    groupBy: ['host'],
    disorderMs: 0,
    idleMs: 15_000,
    window: { kind: 'tumbling', options: {}, sizeMs: 1_000, everyMs: 1_000, sliceMs: 1_000 },
    aggregates: [{ name: 'mean', kind: 'mean', options: {} }],
    detectors: [],
    sinks: [
      { name: 'file', kind: 'ndjson-file', options: { path: file }, feed: 'results' },
      { name: 'print', kind: 'stdout', options: {}, feed: 'results' },
      {
        name: 'post',
        kind: 'webhook',
        options: { url, headers: {}, timeoutMs: 5_000, batch: 50, maxInFlight: 3 },
        feed: 'results',
      },
    ],
  }
}

function startSinks(dir: string, committer: Committer, plan: PipelinePlan, stdoutFd: number): SinkProcess {
  const script = join(import.meta.dirname, 'sink-process.mjs')
  const args = [script, dir, String(committer.pipelineId), JSON.stringify(plan)]
  const child = spawn(process.execPath, args, { stdio: ['ignore', stdoutFd, 'inherit', 'ipc'] })
  const warnings: string[] = []
  let drained: () => void = () => {}
  let started: () => void = () => {}
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const ready = new Promise<void>((resolve, reject) => {
    started = resolve
    ended.then(() => reject(new Error('the sink process ended before it was ready')))
  })
  const send = (message: ToSinkProcess): void => {
    if (child.connected) child.send(message, () => {})
  }
  child.on('message', (message: FromSinkProcess) => {
    if (message.type === 'remember') {
      committer.remember(message.sink, message.json)
      send({ type: 'remembered', request: message.request })
      started()
    } else if (message.type === 'drained') drained()
    else warnings.push(message.message)
  })
  return {
    child,
    ready,
    ended,
    warnings,
    committed: () => send({ type: 'committed' }),
    drain: () =>
      new Promise((resolve) => {
        drained = resolve
        send({ type: 'drain' })
      }),
  }
}

interface SinkProcess {
  readonly child: ChildProcess
  /** It has remembered something. */
  readonly ready: Promise<void>
  readonly ended: Promise<void>
  readonly warnings: string[]
  committed(): void
  drain(): Promise<void>
}

function inOrder(ids: readonly string[]): boolean {
  const last = new Map<number, number>()
  return ids.every((id) => {
    const [, partition, seq, row] = id.split('/').map(Number)
    const place = seq! * 1_000 + row!
    const increasing = place > (last.get(partition!) ?? -1)
    last.set(partition!, place)
    return increasing
  })
}

function idsOf(text: string): string[] {
  return text
    .split('\n')
    .filter((line) => line.endsWith('}'))
    .map((line) => JSON.parse(line.slice(Math.max(0, line.lastIndexOf('{"id":')))).id)
}

test(`killed at any moment, again and again: the file has each record once, the others miss none (seed ${SEED})`, async () => {
  const place = mkdtempSync(join(tmpdir(), 'millrace-sinks-'))
  cleanups.push(() => rmSync(place, { recursive: true }))
  const dir = join(place, 'data')
  const file = join(place, 'out.ndjson')
  const printed = join(place, 'printed')
  const posted: string[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      for (const { id } of JSON.parse(Buffer.concat(chunks).toString())) posted.push(id)
      response.end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanups.push(
    () => server.closeAllConnections(),
    () => server.close(),
  )
  const store = await openStore({ dir })
  cleanups.push(() => store.close())
  const state = openStateWriter({ dir, fence: store.fence })
  cleanups.push(() => state.close())

  const plan = planFor(file, `http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  const committer = new Committer(state, plan)
  const stdoutFd = openSync(printed, 'a')
  const prng = new Prng(SEED + 1)
  const warnings: string[] = []

  for (let kill = 0; kill < KILLS; kill++) {
    const sinks = startSinks(dir, committer, plan, stdoutFd)
    cleanups.push(() => sinks.child.kill('SIGKILL'))
    await sinks.ready
    const endsMs = Date.now() + 20 + prng.below(400)
    while (Date.now() < endsMs) {
      committer.commit(1 + prng.below(8))
      sinks.committed()
      await new Promise((resolve) => setTimeout(resolve, prng.below(6)))
    }
    sinks.child.kill('SIGKILL')
    await sinks.ended
    warnings.push(...sinks.warnings)
  }
  const last = startSinks(dir, committer, plan, stdoutFd)
  cleanups.push(() => last.child.kill('SIGKILL'))
  await last.ready
  await last.drain()
  last.child.kill('SIGKILL')
  await last.ended

  expect([...warnings, ...last.warnings]).toEqual([])
  const wanted = [...committer.ids].sort()
  const inFile = idsOf(readFileSync(file, 'utf8'))
  expect(inFile.length).toBeGreaterThan(1_000)
  expect([...inFile].sort()).toEqual(wanted)
  expect(inOrder(inFile)).toBe(true)
  const onStdout = [...new Set(idsOf(readFileSync(printed, 'utf8')))]
  expect([...onStdout].sort()).toEqual(wanted)
  expect(inOrder(onStdout)).toBe(true)
  const byWebhook = [...new Set(posted)]
  expect([...byWebhook].sort()).toEqual(wanted)
  expect(inOrder(byWebhook)).toBe(true)
})
