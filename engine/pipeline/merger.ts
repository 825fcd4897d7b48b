/**
 * The receiving half of an exchange: the owner of one bucket of a pipeline's groups. It is offered the committed entries
 * of every partition's partial stream (partials.ts) and emits results and alerts into a stream of its own. Pure: no
 * clock, no I/O but `source`, which reads committed entries and group keys again. What was offered waits in inlet.ts,
 * what was taken and waits for its windows in parts.ts.
 *
 * Guarantee: what it emits is a function of the partitions' logs. However the streams are offered, interleaved, cut or
 * offered again after a restore, the entries are the same, byte by byte. To that end entries are taken in instants:
 * all entries of one log time, in order of partition and number, once every partition has said that its log time is
 * past it. An owner decides at instants only, never in between:
 *
 * 1. Its watermark is the smallest of the active partitions'; idle ones hold nobody back. Are all of them idle, it is
 *    the largest, which goes on with log time. A partition that never had a sample holds back until the pipeline's
 *    first sample is `idle` old in log time: it may only be slow to start.
 * 2. A window fires when the watermark reaches its end. Each of its slices is what the partitions sent of it, merged in
 *    order of partition, then of number: not in order of arrival, so that log time does not show in the last digits.
 * 3. A part whose windows have all fired (of a partition that was idle, and came back with old samples) is late: its
 *    samples are counted, and taken off what the partition had counted as windowed.
 * 4. What somebody said of a group holds from the end of the instant on in which its record was written. So what was said
 *    up to an owner's newest instant is what it has heard, and that is asked for again after a restore.
 */
import {
  ARRIVALS_HEADER_BYTES,
  ENTRY_ARRIVALS,
  ENTRY_FEEDBACK,
  ENTRY_MARK,
  ENTRY_PARTIAL,
  type EntrySink,
  emptyLedger,
  type Ledger,
  PARTIAL_HEADER_BYTES,
  PARTITION_ACTIVE,
  PARTITION_UNSEEN,
} from '../contract/entries.ts'
import type { FeedbackSource } from '../contract/feedback.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { Registry } from '../contract/plugins.ts'
import type { Labels } from '../contract/samples.ts'
import { ownerStream } from '../contract/streams.ts'
import { Cells } from '../state/cells.ts'
import type { Entry } from '../store/state-contract.ts'
import type { EventClockState } from '../time/event-clock.ts'
import { WindowGrid } from '../time/window-grid.ts'
import { assert } from '../util/assert.ts'
import { fnv1a, mix32 } from '../util/hash.ts'
import { REGION_KEY_BYTES, REGION_KEY_ENDS } from './chain.ts'
import { EntryWriter } from './entry-writer.ts'
import { fireWindow, type WindowMeter, type WindowParts } from './fire-window.ts'
import type { HealthScan } from './health-scan.ts'
import { Inlet, logMsOf } from './inlet.ts'
import { JudgedGroups } from './judged-groups.ts'
import { type Explained, Judges } from './judges.ts'
import { type Part, Parts } from './parts.ts'
import { ownerKey } from './peers.ts'
import { Router } from './routing.ts'
import { type RowLayout, rowLayout } from './row-layout.ts'
import { Slices, type SlicesState } from './slices.ts'
import {
  drainInto,
  type PageSink,
  type StatePage,
  StateRegions,
  type TakeStatePage,
} from './state-regions.ts'
import { WindowFiring } from './window-firing.ts'

/** Bytes of entries that are held and not yet taken, a partition; beyond it no more are wanted until some are. */
export const PENDING_BYTES_MAX = 4 * 1024 * 1024
/** Bytes of parts held until their windows fire; beyond it a part is read again when it is needed. */
export const PARTS_BYTES_MAX = 16 * 1024 * 1024
/** A sample that ends a silence waits at most so long, in log time, for partitions that have nothing to say. */
export const ARRIVALS_WAIT_MS = 500

const META_VERSION = 2
const REGION_GROUPS = 0
const REGION_WINDOWS = 1
const REGION_PARTS = 2
export const REGION_OWNER_JUDGES = 3
/** Cells of a part in its region: slice, partition, seq, openFromMs. */
const PART_CELLS = 4

/** Routes of a partition's group id: not seen, of another bucket, ours without a row yet; else the row + 1. */
const ROUTE_UNKNOWN = 0
const ROUTE_FOREIGN = -1
const ROUTE_OWN = -2

export interface MergeSource {
  groupKey(partition: number, groupId: number): Uint8Array
  /** The bytes of an entry that was offered before, 8-byte aligned. */
  entry(partition: number, seq: number): Uint8Array
}

export interface MergerOptions {
  readonly plan: PipelinePlan
  readonly registry: Registry
  readonly bucket: number
  readonly sink: EntrySink
  readonly source: MergeSource
  /** Memory, by default PENDING_BYTES_MAX and PARTS_BYTES_MAX. Neither changes a result. */
  readonly pendingBytesMax?: number
  readonly partsBytesMax?: number
  /** As of a chain. */
  readonly meter?: WindowMeter
  /** What people said of alerts, as the log has it; left out, nobody is heard. */
  readonly feedback?: FeedbackSource
}

interface MergerMeta {
  readonly version: number
  readonly nextSeq: number
  /** By partition: next entry to take, and the oldest that is still needed. */
  readonly cursors: readonly number[]
  readonly needed: readonly number[]
  readonly clocks: readonly EventClockState[]
  readonly states: readonly number[]
  readonly logMs: number | null
  readonly firstMs: number | null
  readonly watermarkMs: number | null
  readonly nextStartMs: number | null
  readonly ledger: Ledger
  readonly slices: SlicesState
  readonly parts: number
  readonly silenceDeadlineMs: number | null
  readonly layout: string
}

export class Merger {
  readonly ledger: Ledger = emptyLedger()
  readonly judged: JudgedGroups
  readonly #plan: PipelinePlan
  readonly #bucket: number
  readonly #source: MergeSource
  readonly #pendingBytesMax: number
  readonly #layout: RowLayout
  readonly #layoutName: string
  readonly #grid: WindowGrid
  readonly #inlets: readonly Inlet[]
  readonly #router: Router
  readonly #writer: EntryWriter
  readonly #judges: Judges
  readonly #slices: Slices
  readonly #fired: WindowParts
  readonly #parts: Parts
  readonly #regions: StateRegions
  readonly #partCells: Cells = new Cells('parts')
  /** Start of the oldest window that holds something and has not fired; NaN: not worked out. */
  #oldestStartMs = NaN
  #nextStartMs = -Infinity
  #watermarkMs = -Infinity
  /** The newest instant. */
  #logMs = -Infinity
  /** Rows of feedback that this instant tells of. */
  readonly #said: number[] = []
  /** Instant of the pipeline's first sample, in any partition. */
  #firstMs = -Infinity

  constructor(options: MergerOptions) {
    const { plan, registry, bucket, sink } = options
    assert(plan.exchange !== undefined && bucket < plan.exchange.buckets, 'a bucket of the plan', bucket)
    this.#plan = plan
    this.#bucket = bucket
    this.#source = options.source
    this.#pendingBytesMax = options.pendingBytesMax ?? PENDING_BYTES_MAX
    this.#parts = new Parts(options.partsBytesMax ?? PARTS_BYTES_MAX)
    this.#layout = rowLayout(plan.aggregates, registry, true)
    this.#grid = new WindowGrid(plan.window)
    this.#inlets = Array.from({ length: plan.topic.partitions }, () => new Inlet(plan))
    this.#writer = new EntryWriter(sink)
    this.#router = new Router({
      plan,
      keyOf: () => assert(false, 'an owner sees groups, not series') as never,
      announce: (groupId, key) => sink.group(groupId, key),
    })
    const partition = ownerStream(plan, bucket)
    const { feedback } = options
    const judged = { plan, registry, partition, router: this.#router, writer: this.#writer, feedback }
    this.#judges = new Judges(judged)
    // Merged are slices of the window that fires and of those that overlap it.
    const slots = plan.window.sizeMs / plan.window.sliceMs + 1
    this.#slices = new Slices(slots, this.#layout.stride)
    this.judged = new JudgedGroups(this.#router, this.#slices, this.#judges, this.#writer)
    const firing = new WindowFiring(this.#layout, this.#slices, plan.window, this.#judges.scoreColumns)
    const { meter = null } = options
    this.#fired = { firing, router: this.#router, judges: this.#judges, writer: this.#writer, meter }
    const kinds = this.#layout.accumulators.map(({ kind }) => kind).join('+')
    this.#layoutName = `${kinds}/${this.#layout.stride}x${slots}/${plan.exchange.buckets}`
    this.#regions = new StateRegions([
      [REGION_GROUPS, this.#router.groupIds],
      [REGION_WINDOWS, this.#slices],
      [REGION_PARTS, this.#partCells],
      ...this.#judges.regions.map((cells, i) => [REGION_OWNER_JUDGES + i, cells] as const),
      [REGION_KEY_BYTES, this.#router.keyPages.byteRegion],
      [REGION_KEY_ENDS, this.#router.keyPages.endRegion],
    ])
  }

  /** Entries taken, over all partitions. Grows with every instant. */
  get position(): number {
    return this.#inlets.reduce((sum, { cursor }) => sum + cursor, 0)
  }

  get nextSeq(): number {
    return this.#writer.nextSeq
  }

  /** The newest instant taken; -Infinity before the first. */
  get logMs(): number {
    return this.#logMs
  }

  /** -Infinity before the first window could fire. */
  get watermarkMs(): number {
    return this.#watermarkMs
  }

  get groupCount(): number {
    return this.#router.rows
  }

  /** Starts a look at how each detector does for each group, as of now; `healthScan` goes on with it. */
  beginHealthScan(): void {
    this.#judges.beginHealthScan(this.#watermarkMs, this.#logMs)
  }

  /** What each detector decided for the groups that are wanted, as of now; at most so many groups. */
  explain(wants: (group: Labels) => boolean, groupsMax: number): Explained[] {
    return this.#judges.explain(this.#watermarkMs, this.#logMs, wants, groupsMax)
  }

  get healthScan(): HealthScan {
    return this.#judges.healthScan
  }

  /** Entries offered that wait for other partitions. */
  get pendingEntries(): number {
    return this.#inlets.reduce((sum, { pending, first }) => sum + pending.length - first, 0)
  }

  /**
   * Entries offered, over all partitions, up to the first of each that may make a window fire: when this has passed all
   * that was sent, nothing sent so far is left to bring about.
   */
  get settledEntries(): number {
    return this.#inlets.reduce((sum, inlet) => sum + inlet.settled(), 0)
  }

  /** Where to go on reading a partition's stream after a restore. */
  cursor(partition: number): number {
    return this.#inlets[partition]!.cursor
  }

  /** False: enough of this partition waits here. Never false while other partitions wait for it. */
  wants(partition: number): boolean {
    const { pending, pendingBytes, first } = this.#inlets[partition]!
    if (pendingBytes < this.#pendingBytesMax) return true
    // An instant is taken whole: its end must be seen, however large it is.
    return logMsOf(pending[first]!) === logMsOf(pending.at(-1)!)
  }

  /** An entry of a partition's partial stream, in order; one that was taken already is passed over. */
  offer(partition: number, entry: Entry): void {
    const inlet = this.#inlets[partition]!
    if (entry.seq < inlet.offered) return
    assert(entry.seq === inlet.offered, 'partials come without a gap', partition, entry.seq, inlet.offered)
    inlet.push(entry)
  }

  /** The partition has offered every entry of a log time before this. */
  frontier(partition: number, logMs: number): void {
    const inlet = this.#inlets[partition]!
    inlet.frontierMs = Math.max(inlet.frontierMs, logMs)
  }

  /** Takes every instant that is complete; of those, where `positionMax` is given, as many as bring it there. */
  advance(positionMax = Infinity): void {
    for (;;) {
      if (positionMax < Infinity && this.position >= positionMax) return
      const instantMs = this.#nextInstantMs()
      if (!(instantMs < this.#frontierMs())) return
      this.#take(instantMs)
    }
  }

  /**
   * Log time that every partition should reach for this owner to go on; Infinity: none. Call after `advance`. A quiet
   * partition reaches it by a tick record.
   */
  get wantedLogMs(): number {
    const frontierMs = this.#frontierMs()
    let wantedMs = Infinity
    for (const { urgent, arrivalsMs } of this.#inlets) {
      if (urgent.length > 0) wantedMs = Math.min(wantedMs, logMsOf(urgent[0]!) + 1)
      if (arrivalsMs.length > 0) wantedMs = Math.min(wantedMs, arrivalsMs[0]! + ARRIVALS_WAIT_MS)
    }
    // What log time alone brings about happens at an instant, so somebody must first say that it is that late.
    const dueMs = Math.min(this.#judges.silenceDeadlineMs, this.#holdUntilMs(), this.#idleDueMs())
    return dueMs === Infinity ? wantedMs : Math.min(wantedMs, Math.max(dueMs, frontierMs + 1))
  }

  /** As Chain.snapshot. */
  snapshot(page: PageSink): string {
    const meta = this.cut()
    drainInto(this, page)
    return meta
  }

  /** As Chain.cut. */
  cut(): string {
    const parts = this.#storeParts()
    this.#regions.cut()
    const needed = this.#inlets.map(({ cursor }) => cursor)
    for (const list of this.#parts.values()) {
      for (const { partition, seq } of list) needed[partition] = Math.min(needed[partition]!, seq)
    }
    const { silenceDeadlineMs } = this.#judges
    const meta: MergerMeta = {
      version: META_VERSION,
      nextSeq: this.nextSeq,
      cursors: this.#inlets.map(({ cursor }) => cursor),
      needed,
      clocks: this.#inlets.map(({ clock }) => clock.snapshot()),
      states: this.#inlets.map(({ state }) => state),
      logMs: finiteOrNull(this.#logMs),
      firstMs: finiteOrNull(this.#firstMs),
      watermarkMs: finiteOrNull(this.#watermarkMs),
      nextStartMs: finiteOrNull(this.#nextStartMs),
      ledger: this.ledger,
      slices: this.#slices.snapshot(),
      parts,
      silenceDeadlineMs: finiteOrNull(silenceDeadlineMs),
      layout: this.#layoutName,
    }
    return JSON.stringify(meta)
  }

  get isDraining(): boolean {
    return this.#regions.isDraining
  }

  /** As Chain.drain. */
  drain(take: TakeStatePage): boolean {
    return this.#regions.drain(take)
  }

  /** As Chain.restore. */
  restore(meta: string, pages: Iterable<StatePage>): void {
    assert(this.position === 0 && this.groupCount === 0, 'only a fresh owner is restored')
    const state = JSON.parse(meta) as MergerMeta
    assert(state.version === META_VERSION, 'the state has a version that this owner knows', state.version)
    assert(state.layout === this.#layoutName, 'the state has the layout of this plan', state.layout)
    this.#slices.restore(state.slices)
    this.#regions.restorePages(pages)
    this.#writer.nextSeq = state.nextSeq
    Object.assign(this.ledger, state.ledger)
    this.#inlets.forEach((inlet, partition) => {
      inlet.cursor = state.cursors[partition]!
      inlet.offered = inlet.cursor
      inlet.state = state.states[partition]!
      inlet.clock.restore(state.clocks[partition]!)
    })
    this.#logMs = state.logMs ?? -Infinity
    this.#firstMs = state.firstMs ?? -Infinity
    this.#watermarkMs = state.watermarkMs ?? -Infinity
    this.#nextStartMs = state.nextStartMs ?? -Infinity
    this.#router.restore(state.slices.rows, 0)
    this.#judges.ensureRows(state.slices.rows)
    this.#judges.silenceDeadlineMs = state.silenceDeadlineMs ?? Infinity
    this.#restoreParts(state.parts)
    this.#hear(this.#logMs)
  }

  #storeParts(): number {
    assert(!this.isDraining, 'a cut is handed out before the next', this.#bucket)
    let count = 0
    for (const list of this.#parts.values()) {
      this.#partCells.ensure((count + list.length) * PART_CELLS)
      for (const { slice, partition, seq, openFromMs } of list) {
        const at = count++ * PART_CELLS
        this.#partCells.data.set([slice, partition, seq, openFromMs], at)
      }
    }
    this.#partCells.markRange(0, count * PART_CELLS)
    return count
  }

  #restoreParts(count: number): void {
    const { data } = this.#partCells
    for (let i = 0; i < count; i++) {
      const [slice, partition, seq, openFromMs] = data.subarray(i * PART_CELLS, (i + 1) * PART_CELLS)
      this.#keepPart({
        slice: slice!,
        partition: partition!,
        seq: seq!,
        openFromMs: openFromMs!,
        bytes: null,
      })
    }
  }

  #frontierMs(): number {
    let frontierMs = Infinity
    for (const inlet of this.#inlets) frontierMs = Math.min(frontierMs, inlet.frontierMs)
    return frontierMs
  }

  #nextInstantMs(): number {
    let instantMs = Infinity
    for (const inlet of this.#inlets) instantMs = Math.min(instantMs, inlet.headMs())
    return instantMs
  }

  // ---- one instant ---------------------------------------------------------------------------------------------

  #take(instantMs: number): void {
    assert(instantMs > this.#logMs, 'instants follow each other', instantMs, this.#logMs)
    // Said before this owner's log begins: no record of it will come.
    if (this.#logMs === -Infinity) this.#hear(instantMs - 1)
    this.#forgive(instantMs)
    this.#logMs = instantMs
    this.#said.length = 0
    this.#judges.scan(instantMs)
    this.#judges.flush(instantMs)
    this.#inlets.forEach((inlet, partition) => {
      for (let entry = inlet.head(); entry !== undefined; entry = inlet.head()) {
        if (logMsOf(entry) !== instantMs) break
        this.#apply(partition, inlet, entry)
        inlet.shift()
      }
    })
    this.#judges.flush(instantMs)
    this.#fireDue()
    // Nothing is due any more at this log time: this brings the deadline up to date with the arrivals.
    this.#judges.scan(instantMs)
    for (const id of this.#said.sort((a, b) => a - b)) this.#judges.factors?.apply(id)
  }

  #hear(untilMs: number): void {
    this.#judges.factors?.applyAll(({ appendedMs }) => appendedMs <= untilMs)
  }

  /** The node was down: every partition with records says so, the first of them counts. */
  #forgive(instantMs: number): void {
    let downMs = 0
    for (const inlet of this.#inlets) {
      for (let i = inlet.first; i < inlet.pending.length; i++) {
        const entry = inlet.pending[i]!
        if (logMsOf(entry) !== instantMs) break
        if (entry.kind !== ENTRY_MARK) continue
        const downFromMs = viewOf(entry.bytes).getFloat64(40, true)
        // What the owner has seen was no downtime, whatever the record says.
        if (!Number.isNaN(downFromMs))
          downMs = Math.max(downMs, instantMs - Math.max(downFromMs, this.#logMs))
      }
    }
    if (downMs > 0) this.#judges.forgive(downMs)
  }

  #apply(partition: number, inlet: Inlet, { kind, seq, bytes }: Entry): void {
    const view = viewOf(bytes)
    if (kind === ENTRY_MARK) this.#applyMark(inlet, view)
    else if (kind === ENTRY_ARRIVALS) this.#applyArrivals(partition, view)
    else if (kind === ENTRY_FEEDBACK) this.#said.push(view.getFloat64(16, true))
    else {
      assert(kind === ENTRY_PARTIAL, 'an entry to an owner has a known kind', partition, seq, kind)
      const samples = this.#ownSamples(partition, view)
      if (samples === 0) return
      const slice = view.getFloat64(16, true)
      if (slice < this.#grid.sliceOf(this.#nextStartMs)) {
        this.ledger.late += samples
        this.ledger.windowed -= samples
        return
      }
      this.#keepPart({ partition, seq, slice, openFromMs: view.getFloat64(24, true), bytes })
    }
  }

  #applyMark(inlet: Inlet, view: DataView): void {
    inlet.state = view.getInt32(0, true)
    inlet.clock.restore({
      logMs: view.getFloat64(8, true),
      watermarkMs: view.getFloat64(16, true),
      newestMs: view.getFloat64(24, true),
      lastSampleLogMs: view.getFloat64(32, true),
    })
    if (this.#firstMs === -Infinity && inlet.clock.newestMs > -Infinity) this.#firstMs = this.#logMs
  }

  #applyArrivals(partition: number, view: DataView): void {
    const count = view.getInt32(0, true)
    for (let j = 0; j < count; j++) {
      const row = this.#rowOf(partition, view.getInt32(ARRIVALS_HEADER_BYTES + 4 * j, true))
      if (row < 0) continue
      this.#judges.ensureRows(this.#router.rows)
      this.#judges.arrived(row, this.#logMs)
    }
    this.#slices.ensureRows(this.#router.rows)
  }

  #keepPart(part: Part): void {
    this.#parts.keep(part)
    this.#oldestStartMs = NaN
  }

  // ---- groups --------------------------------------------------------------------------------------------------

  #routeOf(partition: number, groupId: number): number {
    const inlet = this.#inlets[partition]!
    if (groupId >= inlet.routes.length) {
      const routes = new Int32Array(Math.max(groupId + 1, inlet.routes.length * 2))
      routes.set(inlet.routes)
      inlet.routes = routes
    }
    const known = inlet.routes[groupId]!
    if (known !== ROUTE_UNKNOWN) return known
    const buckets = this.#plan.exchange!.buckets
    const key = ownerKey(this.#plan, this.#source.groupKey(partition, groupId))
    const isOwn = bucketOf(key, buckets) === this.#bucket
    const route = isOwn ? ROUTE_OWN : ROUTE_FOREIGN
    inlet.routes[groupId] = route
    return route
  }

  /** Row of a partition's group, new if need be; -1: another owner's. */
  #rowOf(partition: number, groupId: number): number {
    const route = this.#routeOf(partition, groupId)
    if (route > 0) return route - 1
    if (route === ROUTE_FOREIGN) return -1
    const row = this.#router.rowOf(this.#source.groupKey(partition, groupId).slice())
    this.#inlets[partition]!.routes[groupId] = row + 1
    return row
  }

  /** Samples of this owner's groups in a part. */
  #ownSamples(partition: number, view: DataView): number {
    const rows = view.getInt32(0, true)
    const width = view.getInt32(4, true)
    const idsAt = PARTIAL_HEADER_BYTES + rows * width * 8
    let samples = 0
    for (let j = 0; j < rows; j++) {
      if (this.#routeOf(partition, view.getInt32(idsAt + 4 * j, true)) === ROUTE_FOREIGN) continue
      // Cell 0 of every accumulator counts samples.
      samples += view.getFloat64(PARTIAL_HEADER_BYTES + j * width * 8, true)
    }
    return samples
  }

  // ---- windows -------------------------------------------------------------------------------------------------

  /** Log time until which partitions that never had a sample hold back; Infinity: none does. */
  #holdUntilMs(): number {
    const untilMs = this.#firstMs + this.#plan.idleMs
    const holds = this.#firstMs > -Infinity && this.#logMs < untilMs
    return holds && this.#inlets.some(({ state }) => state === PARTITION_UNSEEN) ? untilMs : Infinity
  }

  /** Log time at which the oldest window fires if all partitions stay idle; Infinity: one is active, or none is open. */
  #idleDueMs(): number {
    const startMs = this.#oldestFilledStartMs()
    if (startMs === Infinity) return Infinity
    let dueMs = Infinity
    for (const { state, clock } of this.#inlets) {
      if (state === PARTITION_ACTIVE) return Infinity
      dueMs = Math.min(dueMs, clock.deadlineFor(startMs + this.#grid.sizeMs))
    }
    return dueMs
  }

  #mergedWatermarkMs(): number {
    if (this.#firstMs === -Infinity || this.#holdUntilMs() < Infinity) return -Infinity
    let activeMs = Infinity
    let idleMs = -Infinity
    for (const { state, clock } of this.#inlets) {
      if (state === PARTITION_ACTIVE) activeMs = Math.min(activeMs, clock.watermarkMs)
      else {
        clock.advanceLog(this.#logMs)
        idleMs = Math.max(idleMs, clock.watermarkMs)
      }
    }
    return activeMs < Infinity ? activeMs : idleMs
  }

  #fireDue(): void {
    this.#watermarkMs = Math.max(this.#watermarkMs, this.#mergedWatermarkMs())
    if (this.#watermarkMs === -Infinity) return
    const { sizeMs, everyMs } = this.#grid
    for (;;) {
      const startMs = this.#oldestFilledStartMs()
      if (!(startMs + sizeMs <= this.#watermarkMs)) break
      this.#fire(startMs)
      this.#openFrom(startMs + everyMs)
    }
    this.#openFrom(Math.max(this.#nextStartMs, this.#grid.firstOpenStart(this.#watermarkMs)))
  }

  #openFrom(startMs: number): void {
    if (startMs === this.#nextStartMs) return
    this.#nextStartMs = startMs
    this.#oldestStartMs = NaN
    this.#slices.dropBefore(this.#grid.sliceOf(startMs))
  }

  /** Start of the oldest open window that holds something, or Infinity. */
  #oldestFilledStartMs(): number {
    if (!Number.isNaN(this.#oldestStartMs)) return this.#oldestStartMs
    const grid = this.#grid
    const merged = this.#slices.oldest()
    const mergedMs = merged === Infinity ? Infinity : grid.firstStartOver(merged)
    this.#oldestStartMs = Math.max(this.#nextStartMs, Math.min(mergedMs, this.#parts.oldestStartMs(grid)))
    return this.#oldestStartMs
  }

  #fire(startMs: number): void {
    const grid = this.#grid
    const endMs = startMs + grid.sizeMs
    // Older windows are over: their slices make room for those of this one.
    this.#slices.dropBefore(grid.sliceOf(startMs))
    for (let slice = grid.sliceOf(startMs); slice < grid.sliceOf(endMs); slice++) {
      for (const part of this.#parts.takeDue(slice, startMs)) this.#merge(part)
    }
    fireWindow(this.#fired, startMs, endMs, this.#logMs)
  }

  #merge({ partition, seq, slice, bytes: held }: Part): void {
    const bytes = held ?? this.#source.entry(partition, seq)
    const view = viewOf(bytes)
    const count = view.getInt32(0, true)
    const { stride, accumulators, lanes } = this.#layout
    assert(view.getInt32(4, true) === stride, 'a part has the layout of the plan', partition, seq)
    const from = new Float64Array(bytes.buffer, bytes.byteOffset + PARTIAL_HEADER_BYTES, count * stride)
    const ids = new Int32Array(bytes.buffer, bytes.byteOffset + PARTIAL_HEADER_BYTES + from.byteLength, count)
    const rows = new Int32Array(count)
    for (let j = 0; j < count; j++) rows[j] = this.#rowOf(partition, ids[j]!)
    const slices = this.#slices
    slices.ensureRows(this.#router.rows)
    this.#judges.ensureRows(this.#router.rows)
    const base = slices.touch(slice)
    const { data } = slices.cells
    for (let j = 0; j < count; j++) {
      const row = rows[j]!
      if (row < 0) continue
      const into = base + row * stride
      const at = j * stride
      slices.willWriteRow(into)
      if (data[into] === 0) {
        for (let cell = 0; cell < stride; cell++) data[into + cell] = from[at + cell]!
        continue
      }
      for (let k = 0; k < accumulators.length; k++) {
        accumulators[k]!.merge(data, into + lanes[k]!, from, at + lanes[k]!)
      }
    }
  }
}

/** Which owner a group belongs to: by key bytes (peers.ts says of which key), as partitions are chosen, so that it is the same for ever. */
export function bucketOf(key: Uint8Array, buckets: number): number {
  return (mix32(fnv1a(key, 0, key.length)) >>> 0) % buckets
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

function finiteOrNull(value: number): number | null {
  return Number.isFinite(value) ? value : null
}
