/**
 * After the last kill and a clean stop: holds what the node left behind (log, results, alerts, progress, files, posts)
 * against an uninterrupted run over the same log.
 */
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs'
import { join } from 'node:path'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import { openLogReader } from '../../engine/store/log-store.ts'
import type { StateReader } from '../../engine/store/state-contract.ts'
import { openStateReader } from '../../engine/store/state-store.ts'
import { type Feeder, makeBody } from './feed.ts'
import { FILES, POSTS } from './pipelines.ts'
import { fedInLog, fingerprint, type ReferenceStream, referenceOf } from './reference.ts'
import {
  byStream,
  compareBodies,
  compareStream,
  countBeyond,
  fault,
  type Verdict,
  withoutRepeats,
} from './verdict.ts'

export interface Checked {
  readonly bodies: number
  readonly acknowledged: number
  readonly samples: number
  readonly entries: number
  readonly lines: number
  readonly posts: number
  readonly repeats: number
}

export interface Evidence {
  /** Holds data/ and the files. */
  readonly dir: string
  /** What the receiver got, by path without its slash. */
  readonly posts: ReadonlyMap<string, readonly string[]>
}

export async function openReference(dir: string): Promise<readonly ReferenceStream[]> {
  const log = openLogReader({ dir: join(dir, 'data') })
  const state = openStateReader({ dir: join(dir, 'data') })
  try {
    return state.pipelines().flatMap(({ planJson }) => referenceOf(log, JSON.parse(planJson) as PipelinePlan))
  } finally {
    await state.close()
    await log.close()
  }
}

/** Every acknowledged body is in the log, none more often than it was sent, and all whole. */
export async function checkLog(verdict: Verdict, dir: string, feeder: Feeder, seed: number) {
  const log = openLogReader({ dir: join(dir, 'data') })
  try {
    const { samples, copies, faults } = fedInLog(log, seed, feeder.bodies)
    verdict.differing += faults.length
    for (const text of faults) fault(verdict, `log: ${text}`)
    const bodies = copies.map((count, index) => ({
      sends: feeder.sends[index]!,
      acks: feeder.acks[index] ?? 0,
      copies: count,
      samples: makeBody(seed, index).samples.length,
    }))
    compareBodies(verdict, bodies)
    return { samples, bodies: feeder.bodies, acknowledged: bodies.filter(({ acks }) => acks > 0).length }
  } finally {
    await log.close()
  }
}

/** `whole`: the run ended on this very log. Otherwise it went on, and its streams only have to begin like the reference. */
export async function checkRun(
  verdict: Verdict,
  what: string,
  { dir, posts }: Evidence,
  reference: readonly ReferenceStream[],
  whole: boolean,
): Promise<Pick<Checked, 'entries' | 'lines' | 'posts' | 'repeats'>> {
  const state = openStateReader({ dir: join(dir, 'data') })
  try {
    let entries = 0
    for (const stream of reference) entries += checkStream(verdict, what, state, stream, whole)
    if (whole) checkAlerts(verdict, what, state, reference)
    let lines = 0
    for (const { pipeline, feed, name } of FILES) {
      const path = join(dir, name)
      const there = existsSync(path) ? readFileSync(path, 'utf8').split('\n') : []
      // The empty rest behind the last newline; a torn line is something else, and stays.
      if (there.at(-1) === '') there.pop()
      lines += there.length
      checkLines(verdict, `${what} ${name}`, reference, pipeline, feed, there, whole)
    }
    let posted = 0
    let repeated = 0
    for (const { pipeline, feed, name } of POSTS) {
      const all = posts.get(name) ?? []
      const { items, repeats } = withoutRepeats(verdict, `${what} /${name}`, all)
      posted += all.length
      repeated += repeats
      checkLines(verdict, `${what} /${name}`, reference, pipeline, feed, items, whole)
    }
    return { entries, lines, posts: posted, repeats: repeated }
  } finally {
    await state.close()
  }
}

/** Of a file, its end is looked at between two starts: what was sent too early stands there. */
const TAIL_BYTES = 64 * 1024

/**
 * While no process has the store: progress and results stand for each other, and nobody was sent what is not committed.
 */
export async function checkAfterKill(verdict: Verdict, { dir, posts }: Evidence): Promise<void> {
  const state = openStateReader({ dir: join(dir, 'data') })
  try {
    for (const { id, name, planJson } of state.pipelines()) {
      const { topic } = JSON.parse(planJson) as PipelinePlan
      for (let partition = 0; partition < topic.partitions; partition++) {
        const stream = `${name}/${partition}`
        const { endSeq } = state.seqRange(id, partition)
        const nextSeq = state.progress(id, partition)?.nextSeq ?? 0
        if (endSeq !== nextSeq) {
          verdict.differing++
          fault(
            verdict,
            `after a kill, ${stream} has results up to ${endSeq}, but its progress says ${nextSeq}`,
          )
        }
        for (const [target, lines] of deliveredBy(dir, name, posts)) {
          const early = countBeyond(lines, stream, endSeq)
          verdict.differing += early
          if (early > 0)
            fault(verdict, `after a kill, ${target} has ${early} records of ${stream} from beyond ${endSeq}`)
        }
      }
    }
  } finally {
    await state.close()
  }
}

function deliveredBy(dir: string, pipeline: string, posts: Evidence['posts']): [string, readonly string[]][] {
  const files = FILES.filter((file) => file.pipeline === pipeline).map(({ name }) => [
    name,
    tailOf(join(dir, name)),
  ])
  const posted = POSTS.filter((post) => post.pipeline === pipeline).map(({ name }) => [
    name,
    posts.get(name) ?? [],
  ])
  return [...files, ...posted] as [string, readonly string[]][]
}

function tailOf(path: string): readonly string[] {
  if (!existsSync(path)) return []
  const file = openSync(path, 'r')
  try {
    const bytes = Buffer.alloc(TAIL_BYTES)
    const from = Math.max(0, fstatSync(file).size - TAIL_BYTES)
    return bytes.toString('utf8', 0, readSync(file, bytes, 0, TAIL_BYTES, from)).split('\n')
  } finally {
    closeSync(file)
  }
}

function checkStream(
  verdict: Verdict,
  what: string,
  state: StateReader,
  reference: ReferenceStream,
  whole: boolean,
): number {
  const { pipeline, partition, fingerprints } = reference
  const name = `${what} results of ${pipeline}/${partition}`
  const record = state.pipeline(pipeline)
  if (record === null) {
    compareStream(verdict, name, fingerprints, [])
    return 0
  }
  const actual: string[] = []
  for (let seq = 0; ; ) {
    const entries = state.entries(record.id, partition, seq, { countMax: 1_000 })
    if (entries.length === 0) break
    for (const entry of entries) {
      if (entry.seq !== seq) {
        verdict.differing++
        fault(verdict, `${name}: entry ${entry.seq} stands where ${seq} was wanted`)
      }
      actual.push(fingerprint(entry))
      seq = entry.seq + 1
    }
  }
  compareStream(verdict, name, fingerprints, whole ? actual : actual.slice(0, fingerprints.length))
  if (!whole) return actual.length
  const progress = state.progress(record.id, partition)
  const wanted = { position: reference.position, nextSeq: fingerprints.length, ledger: reference.ledger }
  if (reference.position > 0 && JSON.stringify(progress) !== JSON.stringify(wanted)) {
    verdict.differing++
    fault(verdict, `${name}: progress is ${JSON.stringify(progress)}, wanted ${JSON.stringify(wanted)}`)
  }
  return actual.length
}

function checkAlerts(
  verdict: Verdict,
  what: string,
  state: StateReader,
  reference: readonly ReferenceStream[],
): void {
  const pipelines = new Set(reference.map(({ pipeline }) => pipeline))
  for (const pipeline of pipelines) {
    const record = state.pipeline(pipeline)
    const actual = record === null ? [] : state.alerts(record.id).map(({ json }) => json)
    const expected = reference.flatMap((stream) =>
      stream.pipeline === pipeline ? [...stream.alerts.values()] : [],
    )
    compareStream(verdict, `${what} current alerts of ${pipeline}`, expected.sort(), [...actual].sort())
  }
}

function checkLines(
  verdict: Verdict,
  what: string,
  reference: readonly ReferenceStream[],
  pipeline: string,
  feed: (typeof FILES)[number]['feed'],
  lines: readonly string[],
  whole: boolean,
): void {
  const streams = new Map(byStream(lines))
  for (const stream of reference) {
    if (stream.pipeline !== pipeline) continue
    const name = `${pipeline}/${stream.partition}`
    const expected = stream.lines[feed]
    const actual = streams.get(name) ?? []
    streams.delete(name)
    compareStream(verdict, what, expected, whole ? actual : actual.slice(0, expected.length))
  }
  for (const [name, strangers] of streams) {
    verdict.differing += strangers.length
    fault(verdict, `${what}: ${strangers.length} lines of ${name}, which is no stream of ${pipeline}`)
  }
}
