/**
 * A switch of detectors over random logs: what is made from the cut on is what a fresh run with the new detectors makes over
 * the same history, the windows are those that were, and alerts have a life cycle that anybody can follow.
 */
import { expect, test } from 'vitest'
import { sealBatch } from '../../engine/batch/batch-encoder.ts'
import { BatchView } from '../../engine/batch/batch-view.ts'
import * as layout from '../../engine/batch/layout.ts'
import type { Alert } from '../../engine/contract/alert.ts'
import { ENTRY_ALERT, ENTRY_LATE, ENTRY_RESULTS } from '../../engine/contract/entries.ts'
import type { Fault } from '../../engine/contract/errors.ts'
import type { FeedbackRow, FeedbackSource } from '../../engine/contract/feedback.ts'
import type { DetectorPlan, PipelinePlan } from '../../engine/contract/plan.ts'
import type { ResultBody } from '../../engine/contract/plugins.ts'
import { NAME_LABEL, RECORD_TICK } from '../../engine/contract/samples.ts'
import { Chain, REGION_JUDGES, REGION_ROUTES, type StatePage } from '../../engine/pipeline/chain.ts'
import { EntryDecoder } from '../../engine/pipeline/entry-decoder.ts'
import { switchPartition } from '../../engine/pipeline/switch-partition.ts'
import type { SwitchedStream } from '../../engine/pipeline/switch-stream.ts'
import { decodeSeriesKey, encodeSeriesKey, seriesText } from '../../engine/series/series-key.ts'
import type { Entry } from '../../engine/store/state-contract.ts'
import { Prng } from '../../engine/util/prng.ts'
import { registry } from '../../operators/registry.ts'
import { Drive, type DrivenSample } from '../../operators/testing/drive.ts'
import { alertsOf } from './fixtures.ts'

const SEED = Number(process.env.MILLRACE_SEED ?? 20_261_127)
const RUNS = 40
const HOSTS = 7
const RECORDS = 400

function options(kind: string, written: unknown): unknown {
  const faults: Fault[] = []
  const parsed = registry.detectors.get(kind)!.options.parse(written, '', faults)
  expect(faults).toEqual([])
  return parsed
}

function detector(
  name: string,
  kind: string,
  column: string | null,
  written: unknown,
  more = {},
): DetectorPlan {
  return { name, kind, column, options: options(kind, written), holdMs: 0, ...more }
}

const HIGH = detector('high', 'threshold', 'mean', { above: 13 })
const HIGHER = detector('high', 'threshold', 'mean', { above: 11 }, { holdMs: 4_000 })
const SEVERE = detector(
  'high',
  'threshold',
  'mean',
  { above: 12 },
  { alert: { severity: [{ from: 0, severity: 'critical' }] } },
)
const MILD = detector(
  'high',
  'threshold',
  'mean',
  { above: 12 },
  { alert: { severity: [{ from: 0, severity: 'info' }] } },
)
const LEARNS = detector('learns', 'ewma', 'mean', { history: '2m', warmUp: '20s', threshold: 4 })
const LEARNS_ELSE = detector('learns', 'ewma', 'mean', { history: '5m', warmUp: '30s', threshold: 3 })
const COUNTS = detector('counts', 'mad', 'count', {})
const QUIET = detector('quiet', 'silence', null, { after: '8s' })
const QUIETER = detector('quiet', 'silence', null, { after: '5s' })
const USUAL = detector('usual', 'silence', null, {
  intervals: 4,
  atLeast: '2s',
  warmUp: '10s',
  history: '1m',
})
const OFTEN = detector(
  'often',
  'threshold',
  'mean',
  { above: 12 },
  {
    alert: { atLeast: { anomalous: 2, of: 4 }, keepFiringMs: 3_000, refractoryMs: 10_000 },
  },
)

/** Old and new detectors. */
const CHANGES: readonly (readonly [before: readonly DetectorPlan[], after: readonly DetectorPlan[]])[] = [
  [
    [HIGH, LEARNS, QUIET],
    [HIGHER, LEARNS_ELSE, QUIETER],
  ],
  [[QUIET], [QUIETER]],
  [[HIGH], [USUAL, HIGH]],
  [[HIGH], [HIGH, LEARNS, OFTEN]],
  [[QUIET, HIGH, LEARNS], [LEARNS]],
  [
    [HIGH, QUIET],
    [QUIET, COUNTS],
  ],
  [[SEVERE, LEARNS], [MILD]],
  [[MILD], [LEARNS, SEVERE]],
  [[], [OFTEN, LEARNS]],
  [[OFTEN, LEARNS], []],
]

function planOf(detectors: readonly DetectorPlan[]): PipelinePlan {
  return {
    plan: 1,
    name: 'p',
    topic: { name: 'metrics', partitions: 1, partitionBy: null },
    where: [{ label: 'host', op: '!=', value: 'h6' }],
    groupBy: ['host'],
    disorderMs: 1_500,
    idleMs: 6_000,
    window: { kind: 'sliding', options: {}, sizeMs: 2_000, everyMs: 1_000, sliceMs: 1_000 },
    aggregates: [
      { name: 'mean', kind: 'mean', options: {} },
      { name: 'count', kind: 'count', options: {} },
    ],
    detectors,
    sinks: [],
  }
}

/** A log: hosts that are well, far off for a while, or silent for a while; and people who say that alerts were expected or missed. */
function makeLog(seed: number): {
  readonly records: readonly Uint8Array[]
  readonly series: readonly Uint8Array[]
  readonly said: readonly FeedbackRow[]
} {
  const prng = new Prng(seed)
  const drive = new Drive({ plan: planOf([]), registry, logMs: 50_000 })
  const off = new Float64Array(HOSTS)
  const gone = new Uint8Array(HOSTS)
  const labels = new Map<string, Uint8Array>()
  const said: FeedbackRow[] = []
  for (let i = 0; i < RECORDS; i++) {
    // Two records of one log time are met too.
    drive.advance(prng.below(3) === 0 ? 0 : prng.below(1_300))
    if (prng.below(25) === 0) drive.tick()
    if (prng.below(120) === 0) drive.advance(prng.below(20_000)).resume(drive.logMs - prng.below(15_000))
    if (prng.below(15) === 0) {
      const about = {
        detector: ['learns', 'counts', 'high', 'quiet'][prng.below(4)]!,
        host: prng.below(HOSTS),
      }
      const after = [0.25, 0.5, 1, 1.5, 4][prng.below(5)]!
      const row = rowOf(said.length + 1, about.detector, `h${about.host}`, after)
      said.push({ ...row, offset: drive.chain.position, appendedMs: drive.logMs })
      drive.feedback(row.id)
    }
    const samples: DrivenSample[] = []
    for (let host = 0; host < HOSTS; host++) {
      if (prng.below(40) === 0) off[host] = off[host] === 0 ? 2 + prng.below(8) : 0
      if (prng.below(60) === 0) gone[host] = 1 - gone[host]!
      // Some come late to the party.
      if (gone[host] === 1 || i < host * 20) continue
      const label = { [NAME_LABEL]: 'load', host: `h${host}`, id: String(prng.below(3)) }
      labels.set(seriesText(label), encodeSeriesKey(label))
      const timestampMs = drive.logMs - prng.below(2_500)
      samples.push({ labels: label, timestampMs, value: 10 + off[host]! + prng.normal() / 2 })
    }
    if (samples.length > 0) drive.send(samples)
  }
  // Ids in order of first sight, as the drive gave them.
  return { records: drive.records, series: [...labels.values()], said }
}

function rowOf(id: number, detector: string, host: string, after: number): FeedbackRow {
  const place = { pipeline: 'p', topic: 'metrics', partition: 0, detector, group: { host } }
  const words = { timeMs: 0, alert: null, score: null, target: null, note: null, by: null, of: null }
  return { id, says: 'expected', saidMs: 0, before: 1, after, offset: 0, appendedMs: 0, ...place, ...words }
}

function viewOf(record: Uint8Array): BatchView {
  const buffer = new ArrayBuffer((record.length + 7) & ~7)
  new Uint8Array(buffer).set(record)
  return new BatchView(buffer).point(0)
}

interface Ran {
  readonly chain: Chain
  readonly entries: Entry[]
  readonly groups: Uint8Array[]
}

/** A log's series and what was said of alerts in it. */
interface Known {
  readonly series: readonly Uint8Array[]
  readonly said: readonly FeedbackRow[]
}

function feedbackOf({ said }: Known): FeedbackSource {
  return { rows: () => said }
}

function start(plan: PipelinePlan, known: Known, startOffset = 0): Ran {
  const entries: Entry[] = []
  const groups: Uint8Array[] = []
  const chain = new Chain({
    plan,
    registry,
    partition: 0,
    startOffset,
    keyOf: (id) => known.series[id]!,
    feedback: feedbackOf(known),
    sink: {
      group: (groupId, key) => {
        groups[groupId] = key.slice()
      },
      entry: (kind, seq, causeOffset, eventTimeMs, bytes, length) =>
        entries.push({ seq, kind, causeOffset, eventTimeMs, bytes: bytes.slice(0, length) }),
    },
  })
  return { chain, entries, groups }
}

function feed({ chain }: Ran, records: readonly Uint8Array[]): void {
  for (const record of records) chain.process(viewOf(record))
}

/** A minute of log time in which nothing comes, as the log writer would tick it. */
function tickAlong({ chain }: Ran): void {
  const untilMs = chain.logMs + 60_000
  while (chain.deadlineMs <= untilMs) {
    const bytes = new Uint8Array(layout.batchBytes(0))
    sealBatch(bytes, new DataView(bytes.buffer), {
      kind: RECORD_TICK,
      topicId: 0,
      partition: 0,
      baseOffset: chain.position,
      count: 0,
      minTimestampMs: 0,
      maxTimestampMs: 0,
      appendedMs: Math.max(chain.logMs, chain.deadlineMs),
      producerId: 0,
      producerEpoch: 0,
      baseSequence: -1,
    })
    chain.process(viewOf(bytes))
  }
}

function fakeLog(records: readonly Uint8Array[], series: readonly Uint8Array[]) {
  const views = records.map(viewOf)
  return {
    seriesKey: (_topic: number, id: number) => series[id]!,
    scan(
      _topic: number,
      _partition: number,
      offset: number,
      toOffset: number,
      into: ArrayBuffer,
      visit: (bytes: number) => void,
    ) {
      let next = offset
      for (const [i, view] of views.entries()) {
        if (view.endOffset <= offset || next >= toOffset || next - offset > 200) continue
        new Uint8Array(into).set(records[i]!)
        visit(records[i]!.length)
        next = view.endOffset
      }
      return next
    },
  }
}

function openOf(alerts: readonly Alert[]): Map<string, Alert> {
  const open = new Map<string, Alert>()
  for (const alert of alerts) {
    if (alert.state === 'resolved') {
      expect(open.delete(alert.id), `${alert.id} ends once, and after it began`).toBe(true)
    } else {
      const before = open.get(alert.id)
      if (alert.state === 'pending') expect(before, `${alert.id} is pending once`).toBeUndefined()
      open.set(alert.id, alert)
    }
  }
  return open
}

function decoded(plan: PipelinePlan, entries: readonly Entry[], groups: readonly Uint8Array[]): ResultBody[] {
  const decoder = new EntryDecoder(plan, {
    group: (_, groupId) => decodeSeriesKey(groups[groupId]!),
    series: () => ({}),
  })
  return entries
    .filter(({ kind }) => kind === ENTRY_RESULTS)
    .flatMap((entry) => [...decoder.records(0, entry)].map(({ body }) => body as ResultBody))
}

interface Scenario extends Known {
  readonly before: PipelinePlan
  readonly after: PipelinePlan
  readonly records: readonly Uint8Array[]
  /** Records until the checkpoint, until the cut, and before the history that is left. */
  readonly checkpoint: number
  readonly cut: number
  readonly oldest: number
}

interface Outcome {
  /** The old run up to the cut, and as it would have gone on. */
  readonly old: Ran
  readonly oldGoesOn: Ran
  readonly switched: SwitchedStream
  readonly committedPages: readonly StatePage[]
  readonly checkpointMeta: string
  /** Restored from what the switch has committed, and on to the end of the log. */
  readonly on: Ran
  /** Another of these that goes on without a sample, ticked when it asks for it. */
  readonly alone: Ran
}

async function play(scenario: Scenario): Promise<Outcome> {
  const { before, after, records, series, checkpoint, cut, oldest } = scenario
  const old = start(before, scenario)
  feed(old, records.slice(0, checkpoint))
  const pages = new Map<string, StatePage>()
  const keep = (region: number, index: number, cells: Float64Array): void => {
    pages.set(`${region}/${index}`, { region, index, cells: cells.slice() })
  }
  const checkpointMeta = old.chain.snapshot(keep)
  feed(old, records.slice(checkpoint, cut))
  const oldGoesOn = start(before, scenario)
  feed(oldGoesOn, records)
  const baseOf = (index: number): number => (index === 0 ? 0 : viewOf(records[index - 1]!).endOffset)
  const switched = await switchPartition({
    log: fakeLog(records, series),
    topicId: 0,
    registry,
    feedback: feedbackOf(scenario),
    partition: 0,
    before,
    after,
    from: baseOf(oldest),
    cut: baseOf(cut),
    startOffset: 0,
    committed: { nextSeq: old.chain.nextSeq, ledger: old.chain.ledger },
    restore: (into) => {
      into.restore(checkpointMeta, pages.values())
      return true
    },
    alerts: [...openOf(alertsOf(old.entries)).values()],
    dead: new Set(),
    groupsMax: 3,
    breathe: () => Promise.resolve(true),
  })
  expect(switched).not.toBeNull()
  const committedPages = [...pages.values()]
  // As the transaction does it.
  for (const [key, { region }] of pages) {
    if (region >= REGION_JUDGES && region < REGION_ROUTES) pages.delete(key)
  }
  for (const { region, index, cells } of switched!.pages) keep(region, index, cells)
  const restored = (): Ran => {
    const ran = start(after, scenario)
    ran.groups.push(...old.groups)
    for (const { groupId, key } of switched!.groups) ran.groups[groupId] = key
    ran.chain.restore(switched!.meta, pages.values())
    return ran
  }
  const on = restored()
  feed(on, records.slice(cut))
  const alone = restored()
  tickAlong(alone)
  return { old, oldGoesOn, switched: switched!, committedPages, checkpointMeta, on, alone }
}

function scenarioOf(seed: number): Scenario {
  const prng = new Prng(seed)
  const [before, after] = CHANGES[seed % CHANGES.length]!
  const { records, ...known } = makeLog(seed)
  const cut = Math.floor(records.length / 3) + prng.below(Math.floor(records.length / 2))
  const checkpoint = prng.below(3) === 0 ? cut : cut - prng.below(Math.min(cut, 60))
  return { before: planOf(before), after: planOf(after), records, ...known, checkpoint, cut, oldest: 0 }
}

const seeds = Array.from({ length: RUNS }, (_, i) => SEED + i)
/** Counted over all seeds, so that nobody believes what was never tried. */
const met = { goesOn: 0, ended: 0, begun: 0, entries: 0, alertsAfter: 0 }

test.each(seeds)('over the whole history, what follows is what a fresh run makes: seed %i', async (seed) => {
  const scenario = scenarioOf(seed)
  const { after, before, records, cut } = scenario
  const { old, on, alone, switched } = await play(scenario)
  const fresh = start(after, scenario)
  feed(fresh, records.slice(0, cut))
  const count = fresh.entries.length
  const freshOpen = openOf(alertsOf(fresh.entries))
  const freshAlone = start(after, scenario)
  feed(freshAlone, records.slice(0, cut))
  tickAlong(freshAlone)
  feed(fresh, records.slice(cut))
  const expected = fresh.entries.slice(count)

  // Results and late samples: the very bytes.
  const plain = ({ kind }: Entry): boolean => kind === ENTRY_RESULTS || kind === ENTRY_LATE
  const bytesOf = ({ kind, causeOffset, eventTimeMs, bytes }: Entry): string =>
    `${kind} ${causeOffset} ${eventTimeMs} ${Buffer.from(bytes).toString('base64')}`
  expect(on.entries.filter(plain).map(bytesOf)).toEqual(expected.filter(plain).map(bytesOf))
  met.entries += expected.length

  // Numbers go on without a gap.
  const all = [...old.entries, ...switched.entries, ...on.entries]
  expect(all.map(({ seq }) => seq)).toEqual(all.map((_, i) => i))

  // Whoever follows the transitions finds a life cycle, and after the switch knows what the new detectors have open.
  const keptNames = new Set(
    after.detectors.filter((one) => before.detectors.includes(one)).map(({ name }) => name),
  )
  const standing = openOf([...alertsOf(old.entries), ...alertsOf(switched.entries)])
  const nameOf = ({ detector, group }: Alert): string => `${detector} ${seriesText(group)}`
  const byName = (alerts: Iterable<Alert>): string[] =>
    [...alerts].map((alert) => `${nameOf(alert)} ${alert.state} ${alert.severity}`).sort()
  const oldOpen = openOf(alertsOf(old.entries))
  // What fired goes on firing where the new one would still wait.
  const wanted = [...freshOpen.values()].map((alert) => {
    const was = [...oldOpen.values()].find((one) => nameOf(one) === nameOf(alert))
    const goesOn = was !== undefined && severityOf(alert) >= severityOf(was)
    return goesOn && was.state === 'firing' ? { ...alert, state: was.state } : alert
  })
  // What only was pending may have become more severe without a word.
  expect(byName(standing.values()).map(withoutPendingSeverity)).toEqual(
    byName([
      ...wanted.filter(({ detector }) => !keptNames.has(detector)),
      ...[...oldOpen.values()].filter(({ detector }) => keptNames.has(detector)),
    ]).map(withoutPendingSeverity),
  )
  openOf(alertsOf(all))
  for (const alert of alertsOf(switched.entries)) {
    expect(alert.reason).toMatch(/switch of detectors/)
    expect(alert.atMs).toBeGreaterThanOrEqual(alert.sinceMs)
  }
  met.goesOn += switched.alerts.goesOn
  met.ended += switched.alerts.ended
  met.begun += switched.alerts.begun

  // Transitions afterwards: the same, but of alerts that go on under their old names.
  const theirs = new Set([...standing.keys()])
  const rest = (alerts: readonly Alert[], known: ReadonlySet<string>): string[] =>
    alerts
      .filter(({ id, detector }) => !known.has(id) && !keptNames.has(detector))
      .map((alert) => JSON.stringify(alert))
  expect(rest(alertsOf(on.entries), theirs)).toEqual(rest(alertsOf(expected), new Set(freshOpen.keys())))
  const ends = (alerts: readonly Alert[], known: ReadonlySet<string>): string[] =>
    alerts
      .filter(({ id, state, detector }) => known.has(id) && state === 'resolved' && !keptNames.has(detector))
      .map((alert) => `${nameOf(alert)} ${alert.atMs}`)
  const holds = after.detectors.some(({ holdMs }) => holdMs > 0)
  // An alert that goes on firing ends when the detector is content, not when its hold is broken off.
  if (!holds)
    expect(ends(alertsOf(on.entries), theirs)).toEqual(ends(alertsOf(expected), new Set(freshOpen.keys())))
  // What detectors know of each group, and how they do.
  const known = ({ chain }: Ran): unknown[] =>
    chain
      .explain(() => true, HOSTS)
      .filter(({ detector }) => !keptNames.has(detector))
      .map(({ detector, group, health, factor, silentAfterMs, facts }) => ({
        detector,
        group,
        health,
        factor,
        silentAfterMs,
        facts,
      }))
  expect(known(on)).toEqual(known(fresh))

  expect(rest(alertsOf(alone.entries), theirs)).toEqual(
    rest(alertsOf(freshAlone.entries.slice(count)), new Set(freshOpen.keys())),
  )
  met.alertsAfter += alertsOf(on.entries).length
})

test('all of that was met', () => {
  expect(Object.entries(met).filter(([, count]) => count < 20)).toEqual([])
})

const RANK = ['info', 'warning', 'critical']
const severityOf = ({ severity }: Alert): number => RANK.indexOf(severity)
const withoutPendingSeverity = (text: string): string => text.replace(/ pending .*/, ' pending')

test.each(seeds.slice(0, 12))(
  'with less history: the windows that were, judged as history has it: seed %i',
  async (seed) => {
    const base = scenarioOf(seed)
    const oldest = Math.floor(base.cut / 2)
    const scenario = { ...base, oldest }
    const { on, oldGoesOn, old, switched } = await play(scenario)
    const fresh = start(base.after, base, viewOf(base.records[oldest]!).baseOffset)
    feed(fresh, base.records.slice(oldest))
    const cutOffset = viewOf(base.records[base.cut]!).baseOffset
    const later = (ran: Ran): Entry[] => ran.entries.filter(({ causeOffset }) => causeOffset >= cutOffset)
    const mine = decoded(base.after, on.entries, on.groups)
    const windows = (rows: readonly ResultBody[]): unknown[] =>
      rows.map(({ group, windowEndMs, values }) => ({ group, windowEndMs, values }))
    expect(mine.length).toBeGreaterThan(20)
    expect(windows(mine)).toEqual(windows(decoded(base.before, later(oldGoesOn), oldGoesOn.groups)))
    const kept = new Set(
      base.after.detectors.filter((one) => base.before.detectors.includes(one)).map(({ name }) => name),
    )
    const scores = (rows: readonly ResultBody[]): unknown[] =>
      rows.map(({ group, windowEndMs, scores }) => ({
        group,
        windowEndMs,
        scores: Object.fromEntries(Object.entries(scores).filter(([name]) => !kept.has(name))),
      }))
    // A window whose samples lie on both sides of the oldest record is another one to a fresh run.
    expect(scores(mine)).toEqual(scores(decoded(base.after, later(fresh), fresh.groups)))
    expect(switched.windows > 0).toBe(base.after.detectors.some(({ name }) => !kept.has(name)))
    expect(switched.groupCount).toBe(old.chain.groupCount)
  },
)

test.each(seeds.slice(0, 12))(
  'a detector that is kept goes on as it was, without any history: seed %i',
  async (seed) => {
    const base = scenarioOf(seed)
    const before = planOf([HIGH, QUIET, OFTEN, LEARNS])
    const fresh = { ...LEARNS_ELSE, name: 'fresh' }
    const after = planOf([LEARNS, fresh, OFTEN, QUIET])
    const scenario = { ...base, before, after, oldest: base.cut }
    const { on, oldGoesOn, old } = await play(scenario)
    const names = ['learns', 'often', 'quiet']
    const of = (ran: Ran): string[] =>
      names.flatMap((name) =>
        alertsOf(ran.entries)
          .filter(({ detector }) => detector === name)
          .map((alert) => JSON.stringify(alert)),
      )
    const all = of(oldGoesOn)
    const known = new Set(of(old))
    expect(of(on)).toEqual(all.filter((alert) => !known.has(alert)))
    const cutOffset = viewOf(base.records[base.cut]!).baseOffset
    const later = oldGoesOn.entries.filter(({ causeOffset }) => causeOffset >= cutOffset)
    const scores = (rows: readonly ResultBody[]): unknown[] =>
      rows.map(({ scores }) => [scores.learns, scores.often])
    const mine = decoded(after, on.entries, on.groups)
    expect(scores(mine)).toEqual(scores(decoded(before, later, oldGoesOn.groups)))
    // And whoever is new without history is blind, whatever the way from the checkpoint to the cut.
    const cutMs = old.chain.watermarkMs
    const first = mine.filter(({ windowEndMs }) => windowEndMs < cutMs + 20_000)
    expect(first.length).toBeGreaterThan(0)
    expect(first.filter(({ scores }) => scores.fresh!.score !== null)).toEqual([])
  },
)

test('from a checkpoint at the cut, no page of windows, groups and routes is written', async () => {
  const base = scenarioOf(SEED)
  const { switched, checkpointMeta } = await play({ ...base, checkpoint: base.cut })
  const others = switched.pages.filter(({ region }) => region < REGION_JUDGES || region >= REGION_ROUTES)
  expect(others).toEqual([])
  const { nextSeq, silenceDeadlineMs, ...rest } = JSON.parse(switched.meta)
  const { nextSeq: _seq, silenceDeadlineMs: _deadline, ...was } = JSON.parse(checkpointMeta)
  expect(rest).toEqual(was)
})

test('a switch that is given up halfway gives nothing', async () => {
  const scenario = scenarioOf(SEED)
  const { records, series, after } = scenario
  const end = viewOf(records.at(-1)!).endOffset
  let breaths = 0
  const given = await switchPartition({
    log: fakeLog(records, series),
    topicId: 0,
    registry,
    feedback: feedbackOf(scenario),
    partition: 0,
    before: null,
    after,
    from: 0,
    cut: end,
    startOffset: 0,
    committed: null,
    restore: () => false,
    alerts: [],
    dead: new Set(),
    groupsMax: 3,
    breathe: () => Promise.resolve(++breaths < 1),
  })
  expect(given).toBeNull()
})

test.each(seeds.slice(0, 8))(
  'a new pipeline begins at the end, and goes on as if it had been there: seed %i',
  async (seed) => {
    const scenario = scenarioOf(seed)
    const { records, series, after, cut } = scenario
    const cutOffset = viewOf(records[cut]!).baseOffset
    const switched = await switchPartition({
      log: fakeLog(records, series),
      topicId: 0,
      registry,
      feedback: feedbackOf(scenario),
      partition: 0,
      before: null,
      after,
      from: 0,
      cut: cutOffset,
      startOffset: 0,
      committed: null,
      restore: () => false,
      alerts: [],
      dead: new Set(),
      groupsMax: 3,
      breathe: () => Promise.resolve(true),
    })
    const on = start(after, scenario)
    for (const { groupId, key } of switched!.groups) on.groups[groupId] = key
    on.chain.restore(switched!.meta, switched!.pages)
    feed(on, records.slice(cut))
    const fresh = start(after, scenario)
    feed(fresh, records.slice(0, cut))
    const open = openOf(alertsOf(fresh.entries))
    const count = fresh.entries.length
    feed(fresh, records.slice(cut))
    const told = switched!.entries
    expect(told.map(({ kind }) => kind)).toEqual(told.map(() => ENTRY_ALERT))
    expect(
      alertsOf(told)
        .map(({ id }) => id)
        .sort(),
    ).toEqual([...open.keys()].sort())
    expect([...told, ...on.entries].map(({ seq }) => seq)).toEqual([...told, ...on.entries].map((_, i) => i))
    const bytes = (entries: readonly Entry[]): string[] =>
      entries.map(
        ({ kind, causeOffset, bytes }) => `${kind} ${causeOffset} ${Buffer.from(bytes).toString('base64')}`,
      )
    expect(bytes(on.entries)).toEqual(bytes(fresh.entries.slice(count)))
  },
)
