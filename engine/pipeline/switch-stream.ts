/**
 * The last step of a switch of detectors, for one stream of entries: its windows stand where they were committed, the new
 * detectors have learned from history elsewhere. Their state is moved over, alerts are matched, and what is news is told.
 * switch-partition.ts and switch-spread.ts bring both there. Pure.
 */
import type { Alert } from '../contract/alert.ts'
import { ENTRY_ALERT, ENTRY_RESULTS, type EntrySink, type Ledger } from '../contract/entries.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { Entry, StatePage } from '../store/state-contract.ts'
import { assert } from '../util/assert.ts'
import type { JudgedGroups } from './judged-groups.ts'
import type { Warming } from './judges.ts'
import type { PageSink } from './state-regions.ts'
import { type AlertSwitch, type StandingAlert, switchAlerts } from './switch-alerts.ts'
import { switchedRegion } from './switch-plan.ts'

export interface SwitchedStream {
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

/** Number of the next entry, and what was counted, as committed. */
export interface Committed {
  readonly nextSeq: number
  readonly ledger: Ledger
}

/** Takes a checkpoint. */
export interface Restorable {
  restore(meta: string, pages: Iterable<StatePage>): void
}

/** A chain, or an owner of spread groups. */
interface Judging {
  readonly judged: JudgedGroups
  readonly ledger: Ledger
  readonly nextSeq: number
  readonly groupCount: number
  readonly watermarkMs: number
  readonly logMs: number
  snapshot(page: PageSink): string
}

export interface StreamSwitch {
  readonly after: PipelinePlan
  readonly stream: number
  /** Detectors that go on as they are, by name. */
  readonly kept: ReadonlySet<string>
  /** Where it was committed, under the new plan; and what it says from now on. */
  readonly at: Judging
  readonly told: Recorder
  /** What has taken the history under the new plan, and what it said; null: no detector needs it. It may be `at` itself. */
  readonly warmed: Judging | null
  readonly heard: Recorder
  /** Of the entries that the switch makes. */
  readonly cause: number
  readonly committed: Committed | null
  /** Current alerts of this stream. */
  readonly alerts: readonly Alert[]
  /** Groups that still warm up, told by name, a detector. */
  readonly groupsMax: number
}

export function switchStream(options: StreamSwitch): SwitchedStream {
  const { after, stream, kept, at, told, warmed, heard } = options
  const names = after.detectors.map(({ name }) => name)
  const fresh = new Set(warmed === null ? [] : names.filter((name) => !kept.has(name)))
  told.isKept = true
  at.judged.countFrom(options.committed?.nextSeq ?? 0)
  // Nothing new to learn: what is kept may stand under other numbers all the same.
  const rows = warmed === at ? null : at.judged.takeDetectors((warmed ?? at).judged, fresh)
  const standing = (alert: Alert, row: number): StandingAlert => ({ alert, row })
  const alerts = switchAlerts({
    before: options.alerts.flatMap((alert) =>
      kept.has(alert.detector) ? [] : [standing(alert, groupOf(alert))],
    ),
    after: [...heard.alerts.values()].flatMap((alert) =>
      fresh.has(alert.detector) ? [standing(alert, rows?.[groupOf(alert)] ?? groupOf(alert))] : [],
    ),
    // A group's number is its row.
    idOf: ({ alert, row }, sinceMs) => `${after.name}/${alert.detector}/${stream}/${row}/${sinceMs}`,
    eventMs: at.watermarkMs,
    logMs: at.logMs,
    detectors: new Set(names),
  })
  for (const { detector, row, sinceMs, fires } of alerts.kept)
    at.judged.keepAlert(detector, row, sinceMs, fires)
  at.judged.tell(alerts.told, options.cause)
  const pages: StatePage[] = []
  const meta = at.snapshot((region, index, cells) => pages.push({ region, index, cells: cells.slice() }))
  const { nextSeq, ledger, groupCount } = at
  const warming = at.judged.warming(at.watermarkMs, at.logMs, options.groupsMax)
  const { windows, rows: judged } = heard
  const { entries, groups } = told
  return { meta, nextSeq, ledger, pages, groups, entries, alerts, windows, rows: judged, groupCount, warming }
}

/** Pages of the old plan's state that hold under the new one. `firstJudge`: region of the first detector. */
export function* pagesUnder(
  plans: { readonly before: PipelinePlan; readonly after: PipelinePlan },
  kept: ReadonlySet<string>,
  firstJudge: number,
  pages: Iterable<StatePage>,
): Iterable<StatePage> {
  for (const { region, index, cells } of pages) {
    const now = switchedRegion(plans.before, plans.after, kept, region, firstJudge)
    if (now !== null) yield { region: now, index, cells }
  }
}

/** The log, or what was sent of it, gives again what was committed. */
export function assertSame(is: Ledger, was: Ledger, ...what: unknown[]): void {
  const [again, before] = [JSON.stringify(is), JSON.stringify(was)]
  assert(again === before, 'the log gives again what was committed', ...what, again, before)
}

function groupOf({ id }: Alert): number {
  return Number(id.split('/').at(-2))
}

const textDecoder = new TextDecoder()

/** What a stream says: alerts that it leaves open, windows, groups; and, from `isKept` on, entries. */
export class Recorder implements EntrySink {
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
