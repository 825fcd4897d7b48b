/**
 * A switch of detectors where groups are spread over partitions, over random logs: committed anywhere, from older checkpoints,
 * with owners behind their partitions. What owners make from then on is what they make that always had the new detectors.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BatchView } from '../../engine/batch/batch-view.ts'
import type { Alert } from '../../engine/contract/alert.ts'
import { ENTRY_RESULTS } from '../../engine/contract/entries.ts'
import type { DetectorPlan, PipelinePlan } from '../../engine/contract/plan.ts'
import type { ResultBody } from '../../engine/contract/plugins.ts'
import { ownerStream } from '../../engine/contract/streams.ts'
import { Chain, REGION_ROUTES, type StatePage } from '../../engine/pipeline/chain.ts'
import { EntryDecoder } from '../../engine/pipeline/entry-decoder.ts'
import { Merger, type MergeSource, REGION_OWNER_JUDGES } from '../../engine/pipeline/merger.ts'
import type { PartitionHistory } from '../../engine/pipeline/switch-partition.ts'
import { keptDetectors, switchFaults } from '../../engine/pipeline/switch-plan.ts'
import { sendHistory, switchOwner, switchSender } from '../../engine/pipeline/switch-spread.ts'
import type { SwitchedStream } from '../../engine/pipeline/switch-stream.ts'
import { decodeSeriesKey, encodeSeriesKey, seriesText } from '../../engine/series/series-key.ts'
import type { Entry } from '../../engine/store/state-contract.ts'
import { Prng } from '../../engine/util/prng.ts'
import { Stream } from '../../testing/seats.ts'
import type { MemoryLog } from './exchange-run.ts'
import { exchangePlan, logOf, type Traffic, trafficArbitrary } from './exchange-traffic.ts'
import { alertsOf, registry } from './fixtures.ts'

const RUNS = 400

interface Saved {
  readonly meta: string
  readonly pages: Map<string, StatePage>
}

/** Chains and owners of one plan, one after the other. */
class Node {
  readonly visible: readonly Stream[]
  readonly partials: readonly Stream[]
  readonly owned: readonly Stream[]
  readonly chains: readonly Chain[]
  readonly mergers: readonly Merger[]
  readonly next: number[]
  readonly #log: MemoryLog

  /** `from`: goes on with what these have stored. `first`: begins with these records. */
  constructor(
    plan: PipelinePlan,
    log: MemoryLog,
    from: Node | null = null,
    first: readonly number[] = log.partitions.map(() => 0),
  ) {
    this.#log = log
    const stored = (count: number): readonly Stream[] => Array.from({ length: count }, () => new Stream())
    this.visible = from?.visible ?? stored(log.partitions.length)
    this.partials = from?.partials ?? stored(log.partitions.length)
    this.owned = from?.owned ?? stored(plan.exchange!.buckets)
    this.next = from?.next.slice() ?? first.slice()
    this.chains = log.partitions.map(
      (_, partition) =>
        new Chain({
          plan,
          registry,
          partition,
          startOffset: offsetOf(log, partition, first[partition]!),
          keyOf: (seriesId) => encodeSeriesKey(log.labels[seriesId]!),
          feedback: feedbackOf(log),
          sink: this.visible[partition]!.sink,
          partialSink: this.partials[partition]!.sink,
        }),
    )
    this.mergers = this.owned.map(
      ({ sink }, bucket) =>
        new Merger({ plan, registry, bucket, sink, feedback: feedbackOf(log), source: this.source }),
    )
  }

  get source(): MergeSource {
    return {
      groupKey: (partition, groupId) => this.visible[partition]!.groups[groupId]!,
      entry: (partition, seq) => this.partials[partition]!.entries[seq]!.bytes.slice(),
    }
  }

  /** Records of a partition up to this one. */
  process(partition: number, to: number): void {
    const { records } = this.#log.partitions[partition]!
    for (; this.next[partition]! < to; this.next[partition]!++) {
      const record = records[this.next[partition]!]!
      this.chains[partition]!.process(new BatchView(record.buffer as ArrayBuffer).point(0))
    }
  }

  /** Owners take what was sent, so many entries at the least if there are, and instants whole. */
  own(positionMax = Infinity): void {
    for (const merger of this.mergers) {
      this.partials.forEach(({ entries }, partition) => {
        for (const entry of entries) merger.offer(partition, entry)
        merger.frontier(partition, this.chains[partition]!.logMs)
      })
      merger.advance(positionMax)
    }
  }

  finish(): void {
    this.#log.partitions.forEach(({ records }, partition) => {
      this.process(partition, records.length)
    })
    this.own()
  }
}

function offsetOf(log: MemoryLog, partition: number, index: number): number {
  const { records, endOffset } = log.partitions[partition]!
  const record = records[index]
  return record === undefined ? endOffset : new BatchView(record.buffer as ArrayBuffer).point(0).baseOffset
}

function appendedMs(record: Uint8Array): number {
  return new BatchView(record.buffer as ArrayBuffer).point(0).appendedMs
}

function feedbackOf(log: MemoryLog) {
  return { rows: () => log.feedback }
}

function save(state: Chain | Merger): Saved {
  const pages = new Map<string, StatePage>()
  const meta = state.snapshot((region, index, cells) => {
    pages.set(`${region}/${index}`, { region, index, cells: cells.slice() })
  })
  return { meta, pages }
}

/** As the transaction does it. */
function committed({ pages }: Saved, switched: SwitchedStream, firstJudge: number): Saved {
  const kept = [...pages].filter(([, { region }]) => region < firstJudge || region >= REGION_ROUTES)
  const changed = switched.pages.map((page) => [`${page.region}/${page.index}`, page] as const)
  return { meta: switched.meta, pages: new Map([...kept, ...changed]) }
}

function scanOf(log: MemoryLog): PartitionHistory['log'] {
  return {
    seriesKey: (_, id) => encodeSeriesKey(log.labels[id]!),
    scan(_topic, partition, offset, toOffset, into, visit) {
      let next = offset
      for (const record of log.partitions[partition]!.records) {
        const view = new BatchView(record.buffer as ArrayBuffer).point(0)
        if (view.endOffset <= offset || next >= toOffset) continue
        new Uint8Array(into).set(record)
        visit(record.length)
        next = view.endOffset
      }
      return next
    },
  }
}

function decoded(plan: PipelinePlan, entries: readonly Entry[], groups: readonly Uint8Array[]): ResultBody[] {
  const decoder = new EntryDecoder(plan, {
    group: (_, groupId) => decodeSeriesKey(groups[groupId]!),
    series: () => ({}),
  })
  return resultsOf(entries).flatMap((entry) =>
    [...decoder.records(ownerStream(plan, 0), entry)].map(({ body }) => body as ResultBody),
  )
}

/** What stands in the end; each has begun before it ends, and ends once. */
function openOf(alerts: readonly Alert[]): readonly Alert[] {
  const open = new Map<string, Alert>()
  for (const alert of alerts) {
    if (alert.state !== 'resolved') open.set(alert.id, alert)
    else expect(open.delete(alert.id), `${alert.id} ends once, and after it began`).toBe(true)
  }
  return [...open.values()]
}

const SEVERE = { severity: [{ from: 0, severity: 'critical' }] } as const

/** Of plans whose detectors are `surge`, and in half of them `quiet`. */
const CHANGES: readonly ((detectors: readonly DetectorPlan[]) => readonly DetectorPlan[])[] = [
  (detectors) => detectors.map((detector) => ({ ...detector, alert: SEVERE })),
  (detectors) => [{ ...detectors[0]!, name: 'other', column: 'count' }, ...detectors],
  ([surge, ...others]) => [...others, { ...surge!, name: 'another', column: 'min' }],
  (detectors) => detectors.slice(1),
  ([surge, ...others]) => [{ ...surge!, alert: SEVERE }, ...others],
]

/** Counted over all runs, so that nobody believes what was never tried. */
const met = { results: 0, goesOn: 0, begun: 0, ended: 0, behind: 0, tails: 0, less: 0, again: 0 }

interface Played {
  readonly before: PipelinePlan
  readonly after: PipelinePlan
  readonly log: MemoryLog
  /** As it stood at the switch. */
  readonly old: Node
  /** After the switch, to the end of the log; and what the switch told, by owner. */
  readonly goesOn: Node
  readonly told: readonly (readonly Entry[])[]
  /** Entries of each owner before the switch. */
  readonly were: readonly number[]
  /** First records of the history that was given, and its log time. */
  readonly first: readonly number[]
  readonly beginsMs: number
}

/** `share` of the records before the checkpoints is history that is left out. */
async function play({ plan: before, records }: Traffic, seed: number, share: number): Promise<Played> {
  const prng = new Prng(seed)
  const after = { ...before, detectors: CHANGES[prng.below(CHANGES.length)]!(before.detectors) }
  const log = logOf(before, records)
  const old = new Node(before, log)
  // How far each partition has come at its checkpoint, and at what was committed.
  const checkpoint = log.partitions.map(({ records: all }) => prng.below(all.length + 1))
  const cut = log.partitions.map(({ records: all }, partition) => {
    return Math.min(all.length, checkpoint[partition]! + prng.below(12))
  })
  checkpoint.forEach((to, partition) => {
    old.process(partition, to)
  })
  old.own(prng.below(2) === 0 ? Infinity : prng.below(60))
  const chains = old.chains.map(save)
  const owners = old.mergers.map(save)
  const savedSeqs = old.chains.map(({ nextPartialSeq }) => nextPartialSeq)
  cut.forEach((to, partition) => {
    old.process(partition, to)
  })
  const stoodAt = old.mergers.map(({ position }) => position)
  old.own(prng.below(2) === 0 ? Infinity : Math.max(...stoodAt) + prng.below(30))
  old.mergers.forEach((merger, bucket) => {
    if (merger.pendingEntries > 0) met.behind++
    if (merger.position > stoodAt[bucket]!) met.tails++
  })

  // History begins at one log time in all partitions, as that of a log does.
  const timesMs = log.partitions.map(({ records: all }) => all.map((record) => appendedMs(record)))
  const beginsMs = Math.min(...checkpoint.map((to, p) => timesMs[p]![Math.floor(share * to)] ?? Infinity))
  const first = cut.map((to, p) => {
    const index = timesMs[p]!.findIndex((logMs) => logMs >= beginsMs)
    return share === 0 ? 0 : index < 0 ? to : Math.min(index, to)
  })
  const goesOn = new Node(after, log, old)
  const sent = log.partitions.map(() => new Stream())
  for (const [partition, chain] of old.chains.entries()) {
    const history: PartitionHistory = {
      log: scanOf(log),
      topicId: 0,
      registry,
      feedback: feedbackOf(log),
      partition,
      cut: chain.position,
      dead: new Set(),
      breathe: () => Promise.resolve(true),
    }
    const { nextSeq, ledger } = chain
    // What was sent may be committed after the rest.
    const { entries } = old.partials[partition]!
    const nextPartialSeq = Math.max(savedSeqs[partition]!, entries.length - prng.below(3))
    const switched = await switchSender({
      ...history,
      before,
      startOffset: 0,
      committed: { nextSeq, ledger, nextPartialSeq },
      restore(into) {
        into.restore(chains[partition]!.meta, chains[partition]!.pages.values())
        return true
      },
    })
    const { result, sent: again } = switched!
    expect(result.entries).toEqual([])
    expect(again.nextSeq).toBe(entries.length)
    expect(again.entries).toEqual(entries.slice(nextPartialSeq))
    met.again += again.entries.length
    const saved = committed(chains[partition]!, result, REGION_ROUTES)
    goesOn.chains[partition]!.restore(saved.meta, saved.pages.values())
    const { group, entry } = sent[partition]!.sink
    const from = offsetOf(log, partition, first[partition]!)
    expect(await sendHistory(history, after, from, group, { group, entry })).toBe(true)
  }
  const told: Entry[][] = []
  for (const [bucket, merger] of old.mergers.entries()) {
    const next = log.partitions.map(() => 0)
    const { nextSeq, ledger, position } = merger
    const switched = await switchOwner({
      before,
      after,
      registry,
      feedback: feedbackOf(log),
      bucket,
      committed: { nextSeq, ledger, position },
      restore(into) {
        into.restore(owners[bucket]!.meta, owners[bucket]!.pages.values())
        return true
      },
      source: {
        ...old.source,
        entries: (partition, fromSeq) => old.partials[partition]!.entries.slice(fromSeq, fromSeq + 3),
        frontierMs: (partition) => old.chains[partition]!.logMs,
      },
      history: {
        next: (partition) => sent[partition]!.entries[next[partition]!++] ?? null,
        entry: (partition, seq) => sent[partition]!.entries[seq]!.bytes.slice(),
        groupKey: (partition, groupId) => sent[partition]!.groups[groupId]!,
      },
      alerts: openOf(alertsOf(old.owned[bucket]!.entries)),
      groupsMax: 3,
      breathe: () => Promise.resolve(true),
    })
    for (const { groupId, key } of switched!.groups) old.owned[bucket]!.sink.group(groupId, key)
    told.push([...switched!.entries])
    met.goesOn += switched!.alerts.goesOn
    met.begun += switched!.alerts.begun
    met.ended += switched!.alerts.ended
    const saved = committed(owners[bucket]!, switched!, REGION_OWNER_JUDGES)
    goesOn.mergers[bucket]!.restore(saved.meta, saved.pages.values())
    expect(goesOn.mergers[bucket]!.position).toBe(position)
  }
  const were = old.owned.map(({ entries }) => entries.length)
  goesOn.finish()
  return { before, after, log, old, goesOn, told, were, first, beginsMs }
}

const resultsOf = (entries: readonly Entry[]): readonly Entry[] =>
  entries.filter(({ kind }) => kind === ENTRY_RESULTS)

test('owners go on as those that always had the new detectors', async () => {
  await fc.assert(
    fc.asyncProperty(trafficArbitrary, fc.integer(), async (traffic, seed) => {
      const { after, log, old, goesOn, told, were } = await play(traffic, seed, 0)
      const fresh = new Node(after, log)
      fresh.finish()
      for (const [bucket, { logMs }] of old.mergers.entries()) {
        const all = goesOn.owned[bucket]!.entries
        const on = all.slice(were[bucket]!)
        const results = (entries: readonly Entry[]): string[] =>
          resultsOf(entries).map(
            ({ causeOffset, bytes }) => `${causeOffset} ${Buffer.from(bytes).toString('base64')}`,
          )
        const theirs = fresh.owned[bucket]!.entries
        expect(results(on)).toEqual(results(theirs.filter(({ causeOffset }) => causeOffset > logMs)))
        met.results += on.length
        const whole = [...all.slice(0, were[bucket]!), ...told[bucket]!, ...on]
        expect(whole.map(({ seq }) => seq)).toEqual(whole.map((_, i) => i))
        const standing = (entries: readonly Entry[]): string[] =>
          openOf(alertsOf(entries))
            .map(({ detector, group, state, severity }) =>
              [detector, seriesText(group), state, severity].join(),
            )
            .sort()
        expect(standing(whole)).toEqual(standing(theirs))
        for (const { id } of alertsOf(told[bucket]!))
          expect(id.split('/').at(-3)).toBe(String(ownerStream(after, bucket)))
      }
      const sums = (node: Node): unknown[] => [...node.chains, ...node.mergers].map(({ ledger }) => ledger)
      expect(sums(goesOn)).toEqual(sums(fresh))
    }),
    { numRuns: RUNS },
  )
})

test('with less history: the windows that were, judged by what there is', async () => {
  await fc.assert(
    fc.asyncProperty(trafficArbitrary, fc.integer(), async (traffic, seed) => {
      const { before, after, log, old, goesOn, were, first, beginsMs } = await play(traffic, seed, 0.5)
      const kept = keptDetectors(before, after)
      // Those that always were there, and those that began with the history.
      const stayed = new Node(before, log)
      stayed.finish()
      const fresh = new Node(after, log, null, first)
      fresh.finish()
      for (const [bucket, { logMs }] of old.mergers.entries()) {
        const rowsOf = (node: Node, plan: PipelinePlan, from = 0): ResultBody[] => {
          const { entries, groups } = node.owned[bucket]!
          const later = entries.slice(from).filter(({ causeOffset }) => causeOffset > logMs)
          return decoded(plan, later, groups)
        }
        const values = (rows: readonly ResultBody[]): string[] =>
          rows.map(({ group, windowEndMs, values }) => JSON.stringify([group, windowEndMs, values]))
        const on = rowsOf(goesOn, after, were[bucket]!)
        expect(values(on)).toEqual(values(rowsOf(stayed, before)))
        // Windows that lie on both sides of the oldest record are others to who begins there, and so is what it learns of them.
        const theirs = rowsOf(fresh, after)
        // Who stands before the history has none, and hears later what people said before it.
        if (logMs < beginsMs) continue
        if (on.length === 0 || values(on).join() !== values(theirs).join()) continue
        met.less++
        const scores = (rows: readonly ResultBody[]): unknown[] =>
          rows.map((row) => Object.entries(row.scores).filter(([name]) => !kept.has(name)))
        expect(scores(on)).toEqual(scores(theirs))
      }
    }),
    { numRuns: RUNS },
  )
})

test('all of that was met', () => {
  expect(Object.entries(met).filter(([, count]) => count < 5)).toEqual([])
})

test('what owners cannot be given is refused by name', () => {
  const detector = (kind: string, column: string | null): DetectorPlan => {
    return { name: kind, kind, column, options: {}, holdMs: 0 }
  }
  const surge = detector('surge', 'mean')
  const quiet = detector('quiet', null)
  const plan = (...detectors: DetectorPlan[]): PipelinePlan => ({
    ...exchangePlan({ sizeMs: 1_000 }, 2, 2),
    detectors,
  })
  expect(switchFaults(null, plan(surge))).toMatchObject([{ place: 'p.groupBy', value: ['region'] }])
  expect(switchFaults(plan(surge), plan(surge, quiet))).toMatchObject([
    { place: 'p.detectors.quiet', problem: expect.stringContaining('is the first to watch for silence') },
  ])
  expect(switchFaults(plan(quiet), plan(surge, { ...quiet, holdMs: 1_000 }))).toEqual([])
  const elsewhere = { ...plan(surge), exchange: { buckets: 2, by: ['zone'] } }
  expect(switchFaults(plan(surge), elsewhere)).not.toEqual([])
})
