/**
 * Checkpoints that are handed out piece by piece while records are processed. For each there is a twin that stood still at
 * the same record and handed out everything at once: both must have given the same bytes, and whoever is restored from
 * them and takes the rest of the input must emit what was emitted without a break.
 */
import { describe, expect, test } from 'vitest'
import { BatchView } from '../../engine/batch/batch-view.ts'
import type { EntrySink } from '../../engine/contract/entries.ts'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import { RECORD_END, RECORD_RESUMED, RECORD_SAMPLES, RECORD_TICK } from '../../engine/contract/samples.ts'
import { Chain, type KernelUse, type StatePage } from '../../engine/pipeline/chain.ts'
import { Merger } from '../../engine/pipeline/merger.ts'
import { encodeSeriesKey } from '../../engine/series/series-key.ts'
import { Prng } from '../../engine/util/prng.ts'
import { ExchangeRun, MemoryLog } from './exchange-run.ts'
import { planOf, registry } from './fixtures.ts'
import { StagedSave, type StagedState, type WholeCheckpoint } from './staged.ts'

const FIRST_SEED = Number(process.env.MILLRACE_SEED ?? 1)
const seeds = (count: number): number[] => Array.from({ length: count }, (_, i) => FIRST_SEED + i)
/** Checkpoints of a run that something is restored from. */
const RESTORED_A_RUN = 4

interface Shape {
  readonly records: number
  /** Series that may send in a record, from the first to the last. */
  readonly hosts: (record: number) => number
  /** The first of them; default 0. */
  readonly from?: (record: number) => number
  readonly samples: number
  /** Every record lies in one slice: what kernels take. */
  readonly isPrompt?: boolean
}

const SMALL: Shape = { records: 40, hosts: (record) => 3 + record * 8, samples: 40 }
/** Rows of a slice outgrow the cache half-way: from there on pages are marked, not slots. */
const LARGE: Shape = { records: 24, hosts: (record) => 2_000 + record * 300, samples: 700 }

/** As large, then a few neighbours at a time: most pages of a slice are not written to, and hold nothing. */
const CLUSTERED: Shape = {
  records: 30,
  hosts: (record) => (record < 12 ? 6_500 : 100),
  from: (record) => (record < 12 ? 0 : (record % 5) * 900),
  samples: 700,
}

function logOf(
  { records, hosts, from, samples, isPrompt = false }: Shape,
  partitions: number,
  seed: number,
): MemoryLog {
  const prng = new Prng(seed)
  const log = new MemoryLog(partitions)
  let logMs = 100_000
  for (let record = 0; record < records; record++) {
    logMs += [100, 400, 900, 1_500][prng.below(4)]!
    for (let partition = 0; partition < partitions; partition++) {
      const roll = prng.below(20)
      if (roll === 0) log.append({ partition, logMs, kind: RECORD_TICK, samples: [] })
      if (roll === 1)
        log.append({ partition, logMs, kind: RECORD_RESUMED, samples: [], downFromMs: logMs - 3_000 })
      log.append({
        partition,
        logMs,
        kind: RECORD_SAMPLES,
        samples: Array.from({ length: samples }, () => {
          const host = (from?.(record) ?? 0) + prng.below(hosts(record))
          return {
            labels: { __name__: 'm', host: `h${host}`, region: `r${host % 9}`, p: `${partition}` },
            timestampMs: logMs + (isPrompt ? 0 : [0, 0, -700, -2_000, 500][prng.below(5)]!),
            value: prng.below(9) === 0 ? 1e4 : prng.normal(),
          }
        }),
      })
    }
  }
  for (let partition = 0; partition < partitions; partition++)
    log.append({ partition, logMs: logMs + 100, kind: RECORD_END, samples: [] })
  return log
}

/** Entries by number, and group keys. */
class Emitted {
  readonly entries: string[] = []
  readonly groups: Uint8Array[] = []
  readonly sink: EntrySink = {
    group: (groupId, key) => {
      this.groups[groupId] = key.slice()
    },
    entry: (kind, seq, causeOffset, eventTimeMs, bytes, length) => {
      this.entries[seq] =
        `${kind} ${causeOffset} ${eventTimeMs} ${Buffer.from(bytes.slice(0, length)).toString('base64')}`
    },
  }
}

interface Life {
  readonly state: StagedState & {
    restore(meta: string, pages: Iterable<StatePage>): void
    readonly nextSeq: number
  }
  readonly emitted: Emitted
  /** Takes input `index`. */
  step(index: number): void
}

interface Checkpoint extends WholeCheckpoint {
  /** Inputs before it. */
  readonly at: number
}

/** Runs two lives side by side, one with staged checkpoints, one that stands still for them. */
function compare(make: () => Life, inputs: number, pagesAStep: number, seed: number): readonly Checkpoint[] {
  const prng = new Prng(seed)
  const staged = make()
  const still = make()
  const stagedSave = new StagedSave()
  const stillSave = new StagedSave()
  const checkpoints: Checkpoint[] = []
  let cutAt = 0
  for (let index = 0; index < inputs; index++) {
    staged.step(index)
    still.step(index)
    if (!stagedSave.isUnderway && prng.below(3) > 0) continue
    if (!stagedSave.isUnderway) {
      cutAt = index + 1
      stagedSave.begin(staged.state)
      stillSave.begin(still.state)
      stillSave.advance(still.state, Infinity)
    }
    if (!stagedSave.advance(staged.state, prng.below(pagesAStep))) continue
    const { whole } = stagedSave
    expect(whole!.meta, `seed ${seed}, cut after input ${cutAt}`).toBe(stillSave.whole!.meta)
    expectSamePages(whole!, stillSave.whole!, `seed ${seed}, cut after input ${cutAt}`)
    checkpoints.push({ ...whole!, at: cutAt })
  }
  expect(staged.emitted.entries).toEqual(still.emitted.entries)
  for (let n = 0; n < RESTORED_A_RUN && checkpoints.length > 0; n++) {
    const { meta, pages, at } = checkpoints[prng.below(checkpoints.length)]!
    const restored = make()
    restored.state.restore(meta, pages.values())
    const from = restored.state.nextSeq
    for (let index = at; index < inputs; index++) restored.step(index)
    expect(restored.emitted.entries.slice(from), `seed ${seed}, restored after input ${at}`).toEqual(
      staged.emitted.entries.slice(from),
    )
  }
  return checkpoints
}

function expectSamePages(a: WholeCheckpoint, b: WholeCheckpoint, what: string): void {
  expect([...a.changed.keys()].sort(), what).toEqual([...b.changed.keys()].sort())
  for (const [key, { cells }] of a.changed) {
    const other = b.changed.get(key)!.cells
    // Bytes, so that NaN and -0 count; compared as a whole first, which is quick.
    if (!Buffer.from(cells.buffer).equals(Buffer.from(other.buffer)))
      expect(cells, `${what}, page ${key}`).toEqual(other)
  }
}

function chainLife(plan: PipelinePlan, log: MemoryLog, kernel?: KernelUse): Life {
  const emitted = new Emitted()
  const views = log.partitions[0]!.records.map((record) =>
    new BatchView(record.buffer as ArrayBuffer).point(0),
  )
  const chain = new Chain({
    plan,
    registry,
    partition: 0,
    keyOf: (seriesId) => encodeSeriesKey(log.labels[seriesId]!),
    sink: emitted.sink,
    ...(kernel === undefined ? {} : { kernel }),
  })
  return { state: chain, emitted, step: (index) => chain.process(views[index]!) }
}

const SHARED = { idleMs: 60_000, surge: 'mean' }
const CHAIN_PLANS: Readonly<Record<string, PipelinePlan>> = {
  tumbling: planOf({ ...SHARED, sizeMs: 3_000, disorderMs: 500, aggregates: ['count', 'sum', 'mean'] }),
  'one narrow accumulator': planOf({ ...SHARED, sizeMs: 2_000, aggregates: ['count', 'mean'] }),
  'sliding over many slices': planOf({ ...SHARED, sizeMs: 6_000, everyMs: 1_000, disorderMs: 2_500 }),
  'with silence': planOf({ ...SHARED, sizeMs: 2_000, disorderMs: 700, quiet: true }),
}

describe('a chain', () => {
  test.each(Object.entries(CHAIN_PLANS))(
    '%s: a staged checkpoint is that of a chain that stood still',
    (_, plan) => {
      let checkpoints = 0
      for (const seed of seeds(5)) {
        const log = logOf(SMALL, 1, seed)
        const made = compare(() => chainLife(plan, log), log.partitions[0]!.records.length, 6, seed)
        checkpoints += made.length
      }
      expect(checkpoints).toBeGreaterThan(9)
    },
  )

  test('slices that outgrow the cache while a checkpoint is made', () => {
    const plan = planOf({ ...SHARED, sizeMs: 4_000, disorderMs: 1_000 })
    for (const seed of seeds(2)) {
      const log = logOf(LARGE, 1, seed)
      const made = compare(() => chainLife(plan, log), log.partitions[0]!.records.length, 400, seed)
      const sizes = made.map(
        ({ changed }) => [...changed.values()].filter(({ region }) => region === 1).length,
      )
      // Pages that did not change are left out: a slice that goes on is not written whole again.
      expect(Math.min(...sizes), `seed ${seed}: ${sizes}`).toBeLessThan(Math.max(...sizes) / 2)
    }
  })

  test('with a kernel a staged checkpoint is that of a chain without one that stood still', () => {
    const kernels = [
      { fromSamples: 0, batchSamplesMin: 0, foldedRowsMin: 0 },
      { fromSamples: Infinity, batchSamplesMin: 0, foldedRowsMin: Infinity },
    ]
    const aggregates = ['count', 'sum', 'mean', 'max']
    for (const [shape, pagesAStep] of [
      [SMALL, 6],
      [LARGE, 400],
    ] as const) {
      const plan = planOf({
        ...SHARED,
        sizeMs: 4_000,
        everyMs: shape === SMALL ? 1_000 : 4_000,
        disorderMs: 1_000,
        aggregates,
      })
      for (const seed of seeds(2)) {
        const log = logOf({ ...shape, isPrompt: true }, 1, seed)
        let lives = 0
        const make = (): Life => chainLife(plan, log, kernels[lives++ % 2])
        expect(compare(make, log.partitions[0]!.records.length, pagesAStep, seed).length).toBeGreaterThan(1)
      }
    }
  })

  test('pages of a slice that is over are not taken for those of the slice that got its place', () => {
    const plan = planOf({ ...SHARED, sizeMs: 2_000, disorderMs: 1_000 })
    for (const seed of seeds(2)) {
      const log = logOf(CLUSTERED, 1, seed)
      expect(
        compare(() => chainLife(plan, log), log.partitions[0]!.records.length, 900, seed).length,
      ).toBeGreaterThan(3)
    }
  })

  test('state of another version is refused by name', () => {
    const plan = CHAIN_PLANS.tumbling!
    const log = logOf(SMALL, 1, 5)
    const whole = chainLife(plan, log)
    const save = new StagedSave()
    for (let index = 0; index < 20; index++) whole.step(index)
    save.begin(whole.state)
    save.advance(whole.state, Infinity)
    const { meta, pages } = save.whole!
    const old = JSON.stringify({ ...JSON.parse(meta), version: 1 })
    expect(() => chainLife(plan, log).state.restore(old, [...pages.values()])).toThrow(
      /the state has a version that this chain knows.*1/,
    )
  })
})

describe('an owner of groups', () => {
  test('a staged checkpoint is that of an owner that stood still', () => {
    const plan: PipelinePlan = {
      ...planOf({
        ...SHARED,
        sizeMs: 4_000,
        everyMs: 2_000,
        disorderMs: 700,
        quiet: true,
        aggregates: ['count', 'sum', 'mean', 'last'],
      }),
      topic: { name: 'metrics', partitions: 2, partitionBy: ['p'] },
      exchange: { buckets: 1 },
    }
    let checkpoints = 0
    for (const seed of seeds(4)) {
      const log = logOf({ ...SMALL, hosts: (record) => 3 + record * 4 }, 2, seed)
      // By host: many groups, so that their rows fill pages and outgrow their room.
      const run = new ExchangeRun({ plan: { ...plan, groupBy: ['host'] }, registry, log, seed }).finish()
      checkpoints += compare(
        () => ownerLife({ ...plan, groupBy: ['host'] }, run),
        instantsOf(run),
        6,
        seed,
      ).length
    }
    expect(checkpoints).toBeGreaterThan(7)
  })
})

/** Offers that both partitions have made, in turn. */
function instantsOf(run: ExchangeRun): number {
  return Math.max(...run.chains.map(({ partials }) => partials.entries.length)) * run.chains.length
}

function ownerLife(plan: PipelinePlan, run: ExchangeRun): Life {
  const emitted = new Emitted()
  const merger = new Merger({
    plan,
    registry,
    bucket: 0,
    sink: emitted.sink,
    source: {
      groupKey: (partition, groupId) => run.chains[partition]!.visible.groups[groupId]!,
      entry: (partition, seq) => run.chains[partition]!.partials.entries[seq]!.bytes.slice(),
    },
    // Some parts are read again when they are needed.
    partsBytesMax: 4_096,
  })
  return {
    state: merger,
    emitted,
    step: (index) => {
      const partition = index % run.chains.length
      const { entries } = run.chains[partition]!.partials
      const upTo = Math.floor(index / run.chains.length) + 1
      // After a restore it starts with what it has not taken.
      for (let seq = merger.cursor(partition); seq < Math.min(upTo, entries.length); seq++) {
        merger.offer(partition, entries[seq]!)
      }
      if (upTo >= entries.length) merger.frontier(partition, Infinity)
      merger.advance()
    },
  }
}
