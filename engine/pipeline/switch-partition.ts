/**
 * A switch of detectors in one partition: what its state, entries and alerts are from the committed offset on. The windows are
 * brought up to that offset and stay as they are; the new detectors are those of a chain that has taken the history up
 * to there, in silence. Reads the log, and what the caller hands in; the caller commits (workers/switch.ts).
 *
 * Guarantee: from the offset on, the chain makes what one would make that has run with the new plan over that history all along,
 * but for alerts that go on under the old one's identity (switch-alerts.ts). The result is a function of the log, the two
 * plans and the state.
 */
import type { Alert } from '../contract/alert.ts'
import { ENTRY_ALERT, ENTRY_RESULTS, type EntrySink, type Ledger } from '../contract/entries.ts'
import type { FeedbackSource } from '../contract/feedback.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { Registry } from '../contract/plugins.ts'
import type { LogReader } from '../store/log-contract.ts'
import type { Entry, StatePage } from '../store/state-contract.ts'
import { assert } from '../util/assert.ts'
import { Chain } from './chain.ts'
import type { Warming } from './judges.ts'
import { replayPartition } from './replay.ts'
import { type AlertSwitch, type StandingAlert, switchAlerts } from './switch-alerts.ts'
import { keptDetectors, switchedRegion } from './switch-plan.ts'

export interface PartitionSwitch {
  readonly log: Pick<LogReader, 'scan' | 'seriesKey'>
  readonly topicId: number
  readonly registry: Registry
  /** What people said of alerts: of a detector that keeps its name it holds on. */
  readonly feedback: FeedbackSource
  readonly partition: number
  /** Null: the pipeline is new, and begins at `cut` with windows that history has begun. */
  readonly before: PipelinePlan | null
  readonly after: PipelinePlan
  /** History that the new detectors are given: offsets [from, cut). */
  readonly from: number
  /** The committed offset. */
  readonly cut: number
  /** Where a chain without a checkpoint begins. */
  readonly startOffset: number
  /** Number of the next entry, and what was counted, as committed; null: nothing was. */
  readonly committed: { readonly nextSeq: number; readonly ledger: Ledger } | null
  /** Restores the checkpoint into what is given; false: there is none. */
  readonly restore: (into: { restore(meta: string, pages: Iterable<StatePage>): void }) => boolean
  /** Current alerts of this partition. */
  readonly alerts: readonly Alert[]
  readonly dead: ReadonlySet<number>
  /** Groups that still warm up, told by name, a detector. */
  readonly groupsMax: number
  /** After every few MiB of the log, with samples taken: other work may be done. False: give up. */
  readonly breathe: (samples: number) => Promise<boolean>
}

export interface SwitchedPartition {
  readonly meta: string
  readonly nextSeq: number
  readonly ledger: Ledger
  /** Pages that changed. Those of detectors are all of them. */
  readonly pages: readonly StatePage[]
  readonly groups: readonly { readonly groupId: number; readonly key: Uint8Array }[]
  readonly entries: readonly Entry[]
  readonly alerts: AlertSwitch
  /** Windows of the history, and rows in them. */
  readonly windows: number
  readonly rows: number
  readonly groupCount: number
  readonly warming: readonly Warming[]
}

/** Reads of the log between two breaths: about a MiB each. */
const READS_A_BREATH = 8

/** Null: it was given up. */
export async function switchPartition(options: PartitionSwitch): Promise<SwitchedPartition | null> {
  const { before, after, cut } = options
  const names = after.detectors.map(({ name }) => name)
  const kept = before === null ? new Set<string>() : keptDetectors(before, after)
  const fresh = new Set(names.filter((name) => !kept.has(name)))
  const heard = new Recorder()
  let warmed: Chain | null = null
  if (before === null || fresh.size > 0) {
    warmed = await over(options, options.from, (startOffset) => chainOf(options, heard, startOffset))
    if (warmed === null) return null
  }
  const told = before === null ? heard : new Recorder()
  const chain = before === null ? warmed! : await windowsOf(options, before, kept, told)
  if (chain === null) return null
  assert(chain.position === cut, 'the state stands at the committed offset', chain.position, cut)
  told.isKept = true
  chain.countFrom(options.committed?.nextSeq ?? 0)
  // Nothing new to learn: what is kept may stand under other numbers all the same.
  const rows = warmed === chain ? null : chain.takeDetectors(warmed ?? chain, warmed === null ? NONE : fresh)
  const standing = (alert: Alert, row: number): StandingAlert => ({ alert, row })
  const alerts = switchAlerts({
    before: options.alerts.flatMap((alert) =>
      kept.has(alert.detector) ? [] : [standing(alert, groupOf(alert))],
    ),
    after: [...heard.alerts.values()].flatMap((alert) =>
      fresh.has(alert.detector) ? [standing(alert, rows?.[groupOf(alert)] ?? groupOf(alert))] : [],
    ),
    // A group's number is its row.
    idOf: ({ alert, row }, sinceMs) =>
      `${after.name}/${alert.detector}/${options.partition}/${row}/${sinceMs}`,
    eventMs: chain.watermarkMs,
    logMs: chain.logMs,
    detectors: new Set(names),
  })
  for (const { detector, row, sinceMs, fires } of alerts.kept) chain.keepAlert(detector, row, sinceMs, fires)
  chain.tell(alerts.told)
  const pages: StatePage[] = []
  const meta = chain.snapshot((region, index, cells) => pages.push({ region, index, cells: cells.slice() }))
  const { nextSeq, ledger, groupCount } = chain
  const warming = chain.warming(options.groupsMax)
  const { windows, rows: judged } = heard
  const { entries, groups } = told
  return { meta, nextSeq, ledger, pages, groups, entries, alerts, windows, rows: judged, groupCount, warming }
}

/** The old windows and the detectors that are kept, under the new plan, at the committed offset. Null: it was given up. */
async function windowsOf(
  options: PartitionSwitch,
  before: PipelinePlan,
  kept: ReadonlySet<string>,
  sink: EntrySink,
): Promise<Chain | null> {
  const { after, committed } = options
  const chain = chainOf(options, sink, options.startOffset)
  options.restore({
    restore(meta, pages) {
      chain.restore(meta, pagesUnder(before, after, kept, pages))
    },
  })
  const done = await over(options, chain.position, () => chain)
  if (done !== null && committed !== null) {
    const [is, was] = [JSON.stringify(chain.ledger), JSON.stringify(committed.ledger)]
    assert(is === was, 'the log gives again what was committed', after.name, options.partition, is, was)
  }
  return done
}

function* pagesUnder(
  before: PipelinePlan,
  after: PipelinePlan,
  kept: ReadonlySet<string>,
  pages: Iterable<StatePage>,
): Iterable<StatePage> {
  for (const { region, index, cells } of pages) {
    const now = switchedRegion(before, after, kept, region)
    if (now !== null) yield { region: now, index, cells }
  }
}

function chainOf(
  { after, registry, partition, log, topicId, feedback }: PartitionSwitch,
  sink: EntrySink,
  startOffset: number,
): Chain {
  const keyOf = (seriesId: number): Uint8Array => {
    const key = log.seriesKey(topicId, seriesId)
    assert(key !== null, 'a series is stored before its samples', topicId, seriesId)
    return key
  }
  return new Chain({ plan: after, registry, partition, keyOf, sink, startOffset, feedback })
}

/** A chain that has taken [from, cut), in pieces. Null: it was given up. */
async function over(
  options: PartitionSwitch,
  from: number,
  make: (startOffset: number) => Chain,
): Promise<Chain | null> {
  const { log, topicId, registry, partition, after, cut, dead, breathe } = options
  const held: { chain: Chain | null } = { chain: null }
  for (let samples = 0; ; ) {
    let reads = READS_A_BREATH
    const isDone = replayPartition({
      log,
      topicId,
      registry,
      range: { partition, from: held.chain?.position ?? from, to: cut },
      pipelines: [
        {
          plan: after,
          sink: NO_SINK,
          dead,
          chain(startOffset) {
            held.chain ??= make(startOffset)
            return held.chain
          },
        },
      ],
      goesOn: () => --reads > 0,
    })
    const { chain } = held
    assert(chain !== null, 'a replay makes its chain', topicId, partition)
    if (!(await breathe(chain.ledger.in - samples))) return null
    samples = chain.ledger.in
    if (isDone) return chain
  }
}

function groupOf({ id }: Alert): number {
  return Number(id.split('/').at(-2))
}

const NONE: ReadonlySet<string> = new Set()
const NO_SINK: EntrySink = { group() {}, entry() {} }
const textDecoder = new TextDecoder()

/** What a chain says: alerts that it leaves open, windows, groups; and, from `isKept` on, entries. */
class Recorder implements EntrySink {
  isKept = false
  readonly alerts = new Map<string, Alert>()
  readonly groups: { readonly groupId: number; readonly key: Uint8Array }[] = []
  readonly entries: Entry[] = []
  windows = 0
  rows = 0
  #endMs = NaN

  group(groupId: number, key: Uint8Array): void {
    this.groups.push({ groupId, key: key.slice() })
  }

  entry(
    kind: number,
    seq: number,
    causeOffset: number,
    eventTimeMs: number,
    bytes: Uint8Array,
    length: number,
  ): void {
    if (this.isKept) {
      this.entries.push({ seq, kind, causeOffset, eventTimeMs, bytes: bytes.slice(0, length) })
      return
    }
    if (kind === ENTRY_RESULTS) {
      this.rows += new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true)
      // A large window comes in several entries.
      if (eventTimeMs !== this.#endMs) this.windows++
      this.#endMs = eventTimeMs
    }
    if (kind !== ENTRY_ALERT) return
    const alert = JSON.parse(textDecoder.decode(bytes.subarray(0, length))) as Alert
    if (alert.state === 'resolved') this.alerts.delete(alert.id)
    else this.alerts.set(alert.id, alert)
  }
}
