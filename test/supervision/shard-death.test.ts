/**
 * A shard dies between any two frames, or in the middle of one, and its successor goes on over a new ring: what is
 * committed is what an uninterrupted run commits. Real chains, producer, ring and collector, on one thread; the state is
 * in memory. The shard's loop and the committer's are those of workers/, without their threads.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BatchView } from '../../engine/batch/batch-view.ts'
import { CommitCollector } from '../../engine/broker/commit-collector.ts'
import { CommitProducer } from '../../engine/broker/commit-producer.ts'
import { type BoardPipeline, layOutPipelines, layOutTopics } from '../../engine/broker/node-board.ts'
import type { EntrySink } from '../../engine/contract/entries.ts'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import { Chain } from '../../engine/pipeline/chain.ts'
import { createDoorbell, Doorbell } from '../../engine/ring/doorbell.ts'
import { createRing, RingConsumer, RingProducer } from '../../engine/ring/spsc-ring.ts'
import { encodeSeriesKey } from '../../engine/series/series-key.ts'
import type {
  Checkpoint,
  Progress,
  StatePage,
  StateReader,
  StateTransaction,
} from '../../engine/store/state-contract.ts'
import { Drive } from '../../operators/testing/drive.ts'
import { Checkpoints } from '../../workers/checkpoints.ts'
import { planOf, registry } from '../chain/fixtures.ts'

const RING_BYTES = 1 << 17
const PARTITION = 0
const SEED = Number(process.env.MILLRACE_SEED ?? 20_251_125)

/** Two pipelines over one partition, so that frames of two streams alternate in one ring. */
const PLANS: readonly PipelinePlan[] = [
  planOf({ sizeMs: 2_000, everyMs: 1_000, disorderMs: 500, idleMs: 60_000, surge: 'mean' }),
  { ...planOf({ sizeMs: 3_000, disorderMs: 0, idleMs: 60_000, aggregates: ['count', 'sum'] }), name: 'q' },
]

const PIPELINES: readonly BoardPipeline[] = layOutPipelines(
  PLANS.map((plan, pipelineId) => ({ plan, pipelineId })),
  layOutTopics([{ ...PLANS[0]!.topic, topicId: 0 }]),
)

/** Shards die over the first of the log; the rest shows what the state they leave is worth. */
const LIVED_RECORDS = 12
const FUTURE_RECORDS = 6

/** A log of some records: new series come in, some samples are late, windows fire in most of them. */
const LABELS = Array.from({ length: 5 }, (_, host) => ({ __name__: 'm', host: `h${host}` }))

function log(): readonly Uint8Array[] {
  const drive = new Drive({ plan: PLANS[0]!, registry, logMs: 1_000 })
  for (let i = 0; i < LIVED_RECORDS + FUTURE_RECORDS; i++) {
    const samples = Array.from({ length: 6 }, (_, j) => ({
      labels: LABELS[(i + j) % Math.min(LABELS.length, 2 + i)]!,
      timestampMs: 1_000 * i + 150 * j - (j === 4 ? 2_500 : 0) + 10_000,
      value: i % 5 === 3 ? 500 : i + j,
    }))
    drive.advance(900).send(samples)
  }
  drive.end()
  return drive.records
}

const LOG = log()
const RECORDS = LOG.slice(0, LIVED_RECORDS)

/** What the committer keeps, as far as a commit touches it. */
class MemoryCommits implements StateTransaction {
  readonly entries = new Map<string, string[]>()
  readonly groups = new Map<string, Uint8Array>()
  readonly progresses = new Map<number, Progress>()
  readonly checkpoints = new Map<number, Checkpoint>()
  readonly pageRows = new Map<string, StatePage & { readonly pipelineId: number }>()
  readonly alertRows = new Map<string, string>()
  readonly dead = new Set<string>()

  drop(): void {
    throw new Error('a commit drops no pipeline')
  }

  putProgress(pipelineId: number, _partition: number, progress: Progress): void {
    this.progresses.set(pipelineId, progress)
  }

  putGroup(pipelineId: number, _partition: number, groupId: number, key: Uint8Array): void {
    this.groups.set(`${pipelineId}/${groupId}`, key)
  }

  putEntry(
    pipelineId: number,
    _partition: number,
    seq: number,
    kind: number,
    causeOffset: number,
    eventTimeMs: number,
    bytes: Uint8Array,
  ): void {
    const rows = this.entries.get(`${pipelineId}`) ?? []
    this.entries.set(`${pipelineId}`, rows)
    expect(seq, 'an entry is committed once, in order').toBe(rows.length)
    rows.push([kind, causeOffset, eventTimeMs, Buffer.from(bytes).toString('hex')].join(' '))
  }

  putAlert(pipelineId: number, alertId: string, json: string): void {
    this.alertRows.set(`${pipelineId}/${alertId}`, json)
  }

  removeAlert(pipelineId: number, alertId: string): boolean {
    return this.alertRows.delete(`${pipelineId}/${alertId}`)
  }

  putPage(pipelineId: number, _partition: number, region: number, index: number, cells: Float64Array): void {
    this.pageRows.set(`${pipelineId}/${region}/${index}`, { pipelineId, region, index, cells: cells.slice() })
  }

  putCheckpoint(pipelineId: number, _partition: number, checkpoint: Checkpoint): void {
    this.checkpoints.set(pipelineId, checkpoint)
  }

  putPipeline = unused
  removePages = unused
  reset = unused
  putSink = unused
  putDeadLetter = unused
  removeDeadLetter = unused
  takeSilenceId = unused
  putSilence = unused
  removeSilence = unused
  putWithheld = unused
  putUnheard = unused
  removeUnheard = unused
  putRetold = unused

  /** What the collector reads when it starts. */
  reader(): StateReader {
    const asked: Pick<StateReader, 'alerts' | 'progress' | 'checkpoint'> = {
      alerts: () => [],
      progress: (pipelineId) => this.progresses.get(pipelineId) ?? null,
      checkpoint: (pipelineId) => this.checkpoints.get(pipelineId) ?? null,
    }
    return asked as StateReader
  }

  /**
   * Results and progress as they are. Pages are compared by what they bring forth: a slice that is over may have been
   * written by one run and not by another.
   */
  everything(): unknown {
    const sorted = <T>(rows: ReadonlyMap<string | number, T>) =>
      [...rows].sort(([a], [b]) => (String(a) < String(b) ? -1 : 1))
    const positions = [...this.checkpoints].map(
      ([id, { position, nextSeq }]) => [id, { position, nextSeq }] as const,
    )
    return [
      ...[this.entries, this.groups, this.progresses, new Map(positions), this.alertRows].map((rows) =>
        sorted(rows as ReadonlyMap<string | number, unknown>),
      ),
      PIPELINES.map((pipeline) => this.#future(pipeline)),
    ]
  }

  /** What a chain restored from the last checkpoint makes of the rest of the log. */
  #future({ plan, pipelineId }: BoardPipeline): readonly string[] {
    const entries: string[] = []
    const chain = restored(this, plan, pipelineId, {
      group: (groupId, key) => entries.push(`group ${groupId} ${Buffer.from(key).toString('hex')}`),
      entry: (kind, seq, causeOffset, eventTimeMs, bytes, length) => {
        entries.push(
          [kind, seq, causeOffset, eventTimeMs, Buffer.from(bytes.slice(0, length)).toString('hex')].join(
            ' ',
          ),
        )
      },
    })
    for (const record of LOG.slice(LIVED_RECORDS)) chain.process(viewOf(record))
    return entries
  }
}

/** From its checkpoint, or fresh where there is none. */
function restored(state: MemoryCommits, plan: PipelinePlan, pipelineId: number, sink: EntrySink): Chain {
  const chain = new Chain({
    plan,
    registry,
    partition: PARTITION,
    keyOf: (seriesId) => encodeSeriesKey(LABELS[seriesId]!),
    sink,
  })
  const checkpoint = state.checkpoints.get(pipelineId)
  if (checkpoint === undefined) return chain
  const pages = [...state.pageRows.values()].filter((page) => page.pipelineId === pipelineId)
  chain.restore(checkpoint.meta, pages)
  expect(chain.position).toBe(checkpoint.position)
  return chain
}

function unused(): never {
  throw new Error('a commit of a shard does not touch this')
}

class Death extends Error {}

/** Dies at a frame: after publishing it, or with its claim open. */
class DyingRing extends RingProducer {
  framesLeft: number
  readonly isTorn: boolean
  frames = 0

  constructor(sab: SharedArrayBuffer, framesLeft: number, isTorn: boolean) {
    super(sab, new Doorbell(createDoorbell()))
    this.framesLeft = framesLeft
    this.isTorn = isTorn
  }

  override commit(kind: number, wakes?: boolean): void {
    const isLast = this.frames++ === this.framesLeft
    if (isLast && this.isTorn) throw new Death('with a claim open')
    super.commit(kind, wakes)
    if (isLast) throw new Death('between two frames')
  }
}

interface Rhythm {
  /** Records between two reports, reports between two checkpoints. */
  readonly recordsAReport: number
  readonly reportsACheckpoint: number
  /** Pages of a checkpoint that is under way, sent after each report. */
  readonly pagesAReport: number
  /** Of so many reports one is looked at by the committer at once, between the streams; the others later. */
  readonly commitsEveryReport: number
}

interface Node {
  readonly state: MemoryCommits
  readonly collector: CommitCollector
}

/** One life of a shard. Returns the number of frames it sent; throws Death. `poison`: `pipelineId/baseOffset`. */
function live(node: Node, ring: DyingRing, rhythm: Rhythm, drain: () => void, poison: string): number {
  const { state } = node
  const commits = new CommitProducer(ring)
  const seats = PIPELINES.map(({ plan, pipelineId }) => {
    const sink = commits.entriesOf(pipelineId, PARTITION)
    let isPoisoned = false
    const chain = restored(state, plan, pipelineId, {
      group: (groupId, key) => sink.group(groupId, key),
      entry: (...args) => {
        sink.entry(...args)
        if (isPoisoned) throw new Death('half-way through a batch')
      },
    })
    return {
      chain,
      pipelineId,
      stream: PARTITION,
      state: chain,
      reportedPosition: -1,
      checkpointedPosition: state.checkpoints.get(pipelineId)?.position ?? -1,
      poisoned: (is: boolean) => {
        isPoisoned = is
      },
    }
  })
  const checkpoints = new Checkpoints(commits, seats, rhythm.pagesAReport)
  let reports = 0
  for (const [i, record] of RECORDS.entries()) {
    const view = viewOf(record)
    for (const { chain, pipelineId, poisoned } of seats) {
      const place = `${pipelineId}/${view.baseOffset}`
      if (chain.position !== view.baseOffset) continue
      if (state.dead.has(place)) chain.skip(view)
      else {
        poisoned(place === poison)
        chain.process(view)
        poisoned(false)
      }
    }
    const isLast = i === RECORDS.length - 1
    if (!isLast && i % rhythm.recordsAReport !== 0) continue
    for (const seat of seats) {
      commits.progress(seat.pipelineId, PARTITION, seat.chain)
      seat.reportedPosition = seat.chain.position
      // The committer may look between any two frames.
      if (reports % rhythm.commitsEveryReport === 0) drain()
    }
    reports++
    if (isLast || reports % rhythm.reportsACheckpoint === 0) checkpoints.ask()
    if (checkpoints.turn()) drain()
  }
  while (checkpoints.turn()) drain()
  commits.done()
  drain()
  return ring.frames
}

function viewOf(record: Uint8Array): BatchView {
  const bytes = new Uint8Array(new ArrayBuffer(Math.ceil(record.length / 8) * 8))
  bytes.set(record)
  return new BatchView(bytes.buffer).point(0)
}

interface Dying {
  readonly frame: number
  readonly isTorn: boolean
  /** The whole process dies: the committer too starts from what is stored. */
  readonly isProcess?: boolean
}

/** Lives until one lives to the end, each in its own rhythm, or in the last one given. */
function run(
  rhythms: readonly Rhythm[],
  deaths: readonly Dying[],
  state = new MemoryCommits(),
  poison: { readonly place: string; readonly tries: number } | null = null,
): { readonly state: MemoryCommits; readonly frames: number } {
  let node: Node = { state, collector: new CommitCollector(1, PIPELINES, state.reader()) }
  let tries = 0
  for (let life = 0; ; life++) {
    const death = deaths[life]
    const rhythm = rhythms[Math.min(life, rhythms.length - 1)]!
    const sab = createRing(RING_BYTES)
    const ring = new DyingRing(sab, death?.frame ?? Number.POSITIVE_INFINITY, death?.isTorn ?? false)
    const consumer = new RingConsumer(sab)
    const drain = (): void => {
      const { collector } = node
      for (let kind = consumer.peek(); kind >= 0; kind = consumer.peek()) {
        collector.take(0, kind, consumer.i32, consumer.f64, consumer.u8, consumer.position)
        consumer.release()
      }
      if (!collector.hasCommittable) return
      collector.apply(state)
      collector.settle(() => {})
    }
    try {
      const frames = live(node, ring, rhythm, drain, tries === poison?.tries ? '' : (poison?.place ?? ''))
      expect(node.collector.pendingBytes).toBe(0)
      return { state, frames }
    } catch (error) {
      if (!(error instanceof Death)) throw error
      if (death?.isProcess === true) {
        node = { state, collector: new CommitCollector(1, PIPELINES, state.reader()) }
        continue
      }
      // workers/committer.ts: what the old ring completed is committed, the rest is forgotten, then a new ring.
      drain()
      node.collector.abandon(0, false)
      expect(
        node.collector.pendingBytes + node.collector.stagedBytes,
        'nothing of a dead shard is held',
      ).toBe(0)
      if (error.message.startsWith('half-way') && ++tries === poison!.tries) state.dead.add(poison!.place)
    }
  }
}

/** A successor reports elsewhere: how far a turn goes depends on what is in the ring and in the log. */
const OTHER_RHYTHM: Rhythm = {
  recordsAReport: 1,
  reportsACheckpoint: 3,
  pagesAReport: 2,
  commitsEveryReport: 1,
}
const RHYTHM: Rhythm = { recordsAReport: 2, reportsACheckpoint: 2, pagesAReport: 3, commitsEveryReport: 1 }

describe('a shard that dies and its successor commit what one that lives commits', () => {
  const undisturbed = run([RHYTHM], [])
  const wanted = undisturbed.state.everything()

  test('the log of this test makes entries, groups, alerts and pages', () => {
    const { entries, groups, pageRows, checkpoints } = undisturbed.state
    expect([...entries.values()].map((rows) => rows.length).every((count) => count > 4)).toBe(true)
    expect([groups.size, checkpoints.size]).toEqual([2 * LABELS.length, 2])
    expect(pageRows.size).toBeGreaterThan(4)
    expect(undisturbed.frames).toBeGreaterThan(60)
  })

  test('after any number of frames, and in the middle of any claim', () => {
    for (let frame = 0; frame < undisturbed.frames; frame++) {
      for (const [isTorn, isProcess] of [
        [false, false],
        [true, false],
        [false, true],
      ] as const) {
        const dying: Dying = { frame, isTorn, isProcess }
        const { state } = run([RHYTHM, OTHER_RHYTHM], [dying])
        expect(state.everything(), JSON.stringify(dying)).toEqual(wanted)
      }
    }
  })

  test('again and again, whatever the rhythm of reports, checkpoints and commits', () => {
    const rhythm = fc.record({
      recordsAReport: fc.integer({ min: 1, max: 5 }),
      reportsACheckpoint: fc.integer({ min: 1, max: 4 }),
      pagesAReport: fc.integer({ min: 1, max: 6 }),
      commitsEveryReport: fc.integer({ min: 1, max: 4 }),
    })
    const death = fc.record({
      frame: fc.nat({ max: undisturbed.frames }),
      isTorn: fc.boolean(),
      isProcess: fc.boolean(),
    })
    fc.assert(
      fc.property(
        fc.array(rhythm, { minLength: 1, maxLength: 7 }),
        fc.array(death, { maxLength: 6 }),
        (rhythms, deaths) => {
          expect(run(rhythms, deaths).state.everything()).toEqual(wanted)
        },
      ),
      { seed: SEED, numRuns: 150 },
    )
  })

  test('a batch given up after some tries is skipped as if it had been from the beginning', () => {
    const offsets = RECORDS.map((record) => viewOf(record).baseOffset)
    let givenUp = 0
    for (const pipelineId of [0, 1]) {
      for (const offset of offsets) {
        const place = `${pipelineId}/${offset}`
        const state = new MemoryCommits()
        const tried = run([RHYTHM, OTHER_RHYTHM], [], state, { place, tries: 3 }).state
        if (tried.dead.size === 0) continue
        givenUp++
        const skipping = new MemoryCommits()
        skipping.dead.add(place)
        expect(tried.everything(), place).toEqual(run([RHYTHM], [], skipping).state.everything())
        const { ledger } = tried.progresses.get(pipelineId)!
        expect(ledger.in).toBe(
          ledger.windowed + ledger.filtered + ledger.late + ledger.nonFinite + ledger.dead,
        )
      }
    }
    expect(givenUp).toBeGreaterThan(10)
  })
})
