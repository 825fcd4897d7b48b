/**
 * One pipeline over one partition: route → slices → windows → detectors → entries. A pure function of the records it is
 * given, in offset order: no clock, no I/O, no randomness. Called by a shard, a backtest, a test; never by two at once.
 *
 * Guarantee: its entries depend on the samples and their log times only, not on how they were cut into record batches
 * (a LATE entry excepted: it lists the late samples of one record batch). To that end time moves sample by sample:
 *
 * 1. A record's log time is taken first: idleness may move the watermark and fire windows, groups may fall silent.
 * 2. Then each sample in offset order. One whose event time less the disorder reaches the end of the oldest open window
 *    moves the watermark and fires what is due BEFORE it is added itself. It never belongs to a window it fires: its
 *    time lies at or after their ends. So lateness is the same judged before or after it moved the watermark.
 * 3. A sample is late when every window that holds its slice has fired. While one has not, it counts in that one.
 *
 * A window fires when the watermark reaches its end: [start, end) then holds all that the disorder promised.
 * `restore` and the remaining records give byte-identical entries after a snapshot between any two records.
 *
 * Where the plan has an exchange, groups are spread over partitions: the chain fires nothing and judges nothing; it sends
 * its slices to the owners of their groups (partials.ts), in entries numbered by themselves. Lateness stays its own.
 */
import type { BatchView } from '../batch/batch-view.ts'
import { type EntrySink, emptyLedger, type Ledger } from '../contract/entries.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { Registry } from '../contract/plugins.ts'
import {
  RECORD_END,
  RECORD_RESUMED,
  RECORD_SAMPLES,
  RECORD_TICK,
  type SampleView,
} from '../contract/samples.ts'
import type { Cells } from '../state/cells.ts'
import { EventClock, type EventClockState } from '../time/event-clock.ts'
import { WindowGrid } from '../time/window-grid.ts'
import { assert } from '../util/assert.ts'
import { EntryWriter } from './entry-writer.ts'
import { Judges } from './judges.ts'
import { Partials, type PartialsState } from './partials.ts'
import {
  isUsable,
  newestBefore,
  Placement,
  type PlacementGround,
  placeSamples,
  STOP_END,
  STOP_FIRE,
  sliceOfBatch,
} from './placement.ts'
import { Router } from './routing.ts'
import { type RowLayout, rowLayout } from './row-layout.ts'
import { Slices, type SlicesState } from './slices.ts'
import { WindowFiring } from './window-firing.ts'

export interface ChainOptions {
  readonly plan: PipelinePlan
  readonly registry: Registry
  readonly partition: number
  /** The canonical key of a series, asked once. The bytes are read during the call only. */
  readonly keyOf: (seriesId: number) => Uint8Array
  readonly sink: EntrySink
  /** Where the plan has an exchange: takes what goes to the owners of groups. */
  readonly partialSink?: EntrySink
  /** First offset wanted, where the log does not start at 0. */
  readonly startOffset?: number
  /** Told how long windows take; it never changes what comes out. */
  readonly meter?: WindowMeter
}

/** Time spent in the parts of firing windows, added up; called a few times a window, never once a sample. */
export interface WindowMeter {
  /** Monotonic. */
  nowMs(): number
  windowMs: number
  detectMs: number
  emitMs: number
}

/** A page of state: the cells are valid during the call only. */
export type PageSink = (region: number, index: number, cells: Float64Array) => void

export interface StatePage {
  readonly region: number
  readonly index: number
  readonly cells: Float64Array
}

/** Regions of state: group ids, window cells, then the judges' own. */
const REGION_GROUPS = 0
const REGION_WINDOWS = 1
const REGION_JUDGES = 2
const META_VERSION = 1
/** Cells of a slice that the second-level cache does not hold: its rows are fetched before they are added to. */
const SPREAD_CELLS_MIN = 65_536

interface ChainMeta {
  readonly version: number
  readonly position: number
  readonly nextSeq: number
  readonly ledger: Ledger
  readonly clock: EventClockState
  readonly nextStartMs: number | null
  readonly slices: SlicesState
  readonly silenceDeadlineMs: number | null
  /** With an exchange only. */
  readonly partials?: PartialsState
  /** Layout of the state; a plan that lays it out differently cannot take it over. */
  readonly layout: string
}

export class Chain {
  /** Next offset wanted. */
  position: number
  readonly ledger: Ledger = emptyLedger()
  readonly #partition: number
  readonly #layout: RowLayout
  readonly #layoutName: string
  readonly #grid: WindowGrid
  readonly #clock: EventClock
  readonly #router: Router
  readonly #slices: Slices
  readonly #writer: EntryWriter
  readonly #judges: Judges
  readonly #firing: WindowFiring
  readonly #placement: Placement = new Placement()
  /** Null: groups lie in this partition whole. */
  readonly #partials: Partials | null
  readonly #watchesSilence: boolean
  readonly #meter: WindowMeter | null
  /** Start of the oldest window that has not fired; NaN before the first sample. */
  #nextStartMs = NaN
  /** Event time whose sample makes that window fire. */
  #fireAtMs = -Infinity

  constructor(options: ChainOptions) {
    const { plan, registry, partition } = options
    this.position = options.startOffset ?? 0
    this.#partition = partition
    const hasExchange = plan.exchange !== undefined
    this.#layout = rowLayout(plan.aggregates, registry, hasExchange)
    this.#grid = new WindowGrid(plan.window)
    this.#clock = new EventClock(plan.disorderMs, plan.idleMs)
    this.#writer = new EntryWriter(options.sink)
    this.#router = new Router({
      plan,
      keyOf: options.keyOf,
      announce: (groupId, key) => options.sink.group(groupId, key),
    })
    this.#meter = options.meter ?? null
    this.#watchesSilence = plan.detectors.some(({ column }) => column === null)
    this.#judges = new Judges({
      plan: hasExchange ? { ...plan, detectors: [] } : plan,
      registry,
      partition,
      router: this.#router,
      writer: this.#writer,
    })
    // Open slices lie between the start of the oldest open window and the newest event time, which is less than the
    // window's end and the disorder: a sample beyond fires first. Starts lie on the borders of slices.
    const slots = Math.ceil((plan.window.sizeMs + plan.disorderMs) / plan.window.sliceMs)
    this.#slices = new Slices(slots, this.#layout.stride)
    const { partialSink } = options
    assert(hasExchange === (partialSink !== undefined), 'an exchange has a sink for partials', plan.name)
    this.#partials =
      partialSink === undefined ? null : new Partials(partialSink, this.#slices, this.#router, this.#clock)
    this.#firing = new WindowFiring(this.#layout, this.#slices, plan.window, this.#judges.scoreColumns)
    const kinds = this.#layout.accumulators.map(({ kind }) => kind).join('+')
    this.#layoutName = `${kinds}/${this.#layout.stride}x${slots}`
  }

  /** Number of the next entry. */
  get nextSeq(): number {
    return this.#writer.nextSeq
  }

  /** Number of the next entry to the owners of groups; 0 without an exchange. */
  get nextPartialSeq(): number {
    return this.#partials?.nextSeq ?? 0
  }

  /** Log time of the newest record; -Infinity before the first. */
  get logMs(): number {
    return this.#clock.logMs
  }

  /** -Infinity before the first sample. */
  get watermarkMs(): number {
    return this.#clock.watermarkMs
  }

  /** Rows of state: groups seen. */
  get groupCount(): number {
    return this.#router.rows
  }

  /** Log time at which a tick would change something if nothing arrives before; Infinity: none. */
  get deadlineMs(): number {
    // Owners look at windows; a partition only has to say in time that it is idle.
    if (this.#partials !== null) return this.#partials.isActive ? this.#clock.idleFromMs : Infinity
    const startMs = this.#oldestFilledStartMs()
    const windowMs = startMs === Infinity ? Infinity : this.#clock.deadlineFor(startMs + this.#grid.sizeMs)
    return Math.min(windowMs, this.#judges.silenceDeadlineMs)
  }

  /** Takes one whole record of any kind. Each exactly once, in offset order. */
  process(view: BatchView): void {
    assert(view.partition === this.#partition, 'a chain reads one partition', view.partition, this.#partition)
    assert(view.baseOffset === this.position, 'records come without a gap', view.baseOffset, this.position)
    if (view.kind === RECORD_RESUMED) this.#forgive(view.minTimestampMs, view.appendedMs)
    this.#advanceLog(view.appendedMs, view.baseOffset)
    if (view.kind === RECORD_SAMPLES) this.#addSamples(view)
    else if (view.kind === RECORD_END) this.#closeAll(view.baseOffset)
    else
      assert(view.kind === RECORD_TICK || view.kind === RECORD_RESUMED, 'a record kind is known', view.kind)
    if (this.#partials !== null) {
      const downFromMs = view.kind === RECORD_RESUMED ? view.minTimestampMs : NaN
      this.#partials.endRecord(view.kind, view.baseOffset, downFromMs)
    }
    this.position = view.endOffset
  }

  /** Goes past one whole record without looking into it: a dead letter. Time stands still, its samples count as dead. */
  skip(view: BatchView): void {
    assert(view.partition === this.#partition, 'a chain reads one partition', view.partition, this.#partition)
    assert(view.baseOffset === this.position, 'records come without a gap', view.baseOffset, this.position)
    const samples = view.kind === RECORD_SAMPLES ? view.count : 0
    this.ledger.in += samples
    this.ledger.dead += samples
    this.position = view.endOffset
  }

  /** Dirty pages to `page`, everything else returned as JSON. Between records only. */
  snapshot(page: PageSink): string {
    this.#slices.markTouched()
    this.#regions().forEach((cells, region) => {
      cells.takeDirty((index, data) => page(region, index, data))
    })
    const meta: ChainMeta = {
      version: META_VERSION,
      position: this.position,
      nextSeq: this.nextSeq,
      ledger: this.ledger,
      clock: this.#clock.snapshot(),
      nextStartMs: Number.isNaN(this.#nextStartMs) ? null : this.#nextStartMs,
      slices: this.#slices.snapshot(),
      silenceDeadlineMs: this.#judges.silenceDeadlineMs === Infinity ? null : this.#judges.silenceDeadlineMs,
      layout: this.#layoutName,
      ...(this.#partials === null ? {} : { partials: this.#partials.snapshot() }),
    }
    return JSON.stringify(meta)
  }

  /** On a fresh chain only: `pages` are the newest version of every page ever handed out. */
  restore(meta: string, pages: Iterable<StatePage>, groupKey: (groupId: number) => Uint8Array): void {
    assert(this.ledger.in === 0 && this.groupCount === 0, 'only a fresh chain is restored')
    const state = JSON.parse(meta) as ChainMeta
    assert(state.version === META_VERSION, 'the state has the version this chain writes', state.version)
    assert(
      state.layout === this.#layoutName,
      'the state has the layout of this plan',
      state.layout,
      this.#layoutName,
    )
    const regions = this.#regions()
    this.#slices.restore(state.slices)
    for (const { region, index, cells } of pages) {
      assert(region < regions.length, 'a page belongs to a region of the plan', region)
      if (region === REGION_WINDOWS) this.#slices.restorePage(index, cells)
      else regions[region]!.restorePage(index, cells)
    }
    this.position = state.position
    this.#writer.nextSeq = state.nextSeq
    Object.assign(this.ledger, state.ledger)
    this.#clock.restore(state.clock)
    this.#router.restore(state.slices.rows, groupKey)
    this.#judges.ensureRows(state.slices.rows)
    this.#judges.silenceDeadlineMs = state.silenceDeadlineMs ?? Infinity
    if (state.nextStartMs !== null) this.#openFrom(state.nextStartMs)
    if (state.partials !== undefined) this.#partials?.restore(state.partials)
  }

  #regions(): Cells[] {
    const regions: Cells[] = [...this.#judges.regions]
    regions.splice(0, 0, this.#router.groupIds, this.#slices.cells)
    assert(regions[REGION_GROUPS] === this.#router.groupIds, 'regions keep their numbers')
    assert(regions[REGION_WINDOWS] === this.#slices.cells, 'regions keep their numbers')
    assert(regions[REGION_JUDGES] === this.#judges.regions[0], 'regions keep their numbers')
    return regions
  }

  #forgive(downFromMs: number, upAtMs: number): void {
    // What the log has seen was no downtime, whatever the record says.
    const downMs = upAtMs - Math.max(downFromMs, this.#clock.logMs)
    if (!(downMs > 0)) return
    this.#clock.forgive(downMs)
    this.#judges.forgive(downMs)
  }

  #advanceLog(logMs: number, causeOffset: number): void {
    const hasMoved = this.#clock.advanceLog(logMs)
    const partials = this.#partials
    if (partials?.isActive && this.#clock.isIdle) partials.fallIdle(this.#nextStartMs, causeOffset)
    if (hasMoved) this.#fireDue(causeOffset)
    this.#judges.scan(this.#clock.logMs)
    this.#judges.flush(causeOffset)
  }

  #addSamples(view: BatchView): void {
    const { count } = view
    const placement = this.#placement
    placement.begin(count)
    let from = this.#addOrdinary(view)
    while (from < count) {
      const stop = placeSamples(placement, this.#ground(), view, from)
      const to = placement.stoppedAt
      if (to > from) this.#addSegment(view, from, to)
      if (stop === STOP_END) break
      if (stop === STOP_FIRE) this.#moveTo(view.timestampsMs[view.timestampsMsAt + to]!, view.baseOffset + to)
      else this.#routeRest(view, to)
      from = to
    }
    const late = placement.lateCount
    this.ledger.in += count
    this.ledger.late += late
    this.ledger.windowed -= late
    if (late > 0) this.#writer.late(view, placement.lateIndices, late)
    // Nothing is due any more at this log time: this brings the deadline up to date with the arrivals.
    this.#judges.scan(this.#clock.logMs)
  }

  /**
   * The commonest case in one pass, which halves the loads: rows of one accumulator, a batch in one slice, no silence to
   * watch. Takes samples up to the first that is filtered, new or no number; returns how many.
   */
  #addOrdinary(view: BatchView): number {
    const { accumulators } = this.#layout
    const accumulator = accumulators[0]!
    const slices = this.#slices
    if (
      accumulators.length > 1 ||
      accumulator.addRouted === undefined ||
      this.#watchesSilence ||
      slices.rows << slices.strideShift >= SPREAD_CELLS_MIN
    )
      return 0
    const slice = sliceOfBatch(this.#ground(), view)
    if (Number.isNaN(slice)) return 0
    // Routes count rows from 1.
    const base = slices.baseOf(slices.slotOf(slice)) - slices.stride
    const taken = accumulator.addRouted(
      slices.cells.data,
      base,
      this.#router.routes,
      slices.strideShift,
      view,
      0,
    )
    if (taken === 0) return 0
    slices.touch(slice)
    this.#observe(newestBefore(view, taken))
    this.ledger.windowed += taken
    return taken
  }

  #ground(): PlacementGround {
    return {
      slices: this.#slices,
      routes: this.#router.routes,
      sliceMs: this.#grid.sliceMs,
      fireAtMs: this.#fireAtMs,
    }
  }

  /** Samples [from, to) are placed: no window fires among them. */
  #addSegment(view: SampleView, from: number, to: number): void {
    const placement = this.#placement
    const { accumulators, lanes } = this.#layout
    const slices = this.#slices
    const cells = slices.cells.data
    if (slices.rows << slices.strideShift >= SPREAD_CELLS_MIN)
      placement.fetched = fetchRows(cells, placement.at, to - from)
    for (let k = 0; k < accumulators.length; k++) {
      accumulators[k]!.add(cells, lanes[k]!, placement.at, view, from, to)
    }
    const { ledger } = this
    ledger.filtered += placement.filteredCount
    ledger.nonFinite += placement.nonFiniteCount
    // Late ones are taken off again when the record is through.
    ledger.windowed += placement.routedCount
    if (placement.routedCount === 0) return
    this.#observe(placement.newestMs)
    if (this.#watchesSilence) this.#noteArrivals(view, from, to)
  }

  #observe(newestMs: number): void {
    this.#clock.observe(newestMs)
    this.#partials?.sampled()
  }

  #noteArrivals(view: SampleView, from: number, to: number): void {
    const judges = this.#judges
    const routes = this.#router.routes
    const logMs = this.#clock.logMs
    for (let i = from; i < to; i++) {
      const route = routes[view.seriesIds[view.seriesIdsAt + i]!]!
      if (route <= 0 || !isUsable(view, i)) continue
      if (this.#partials !== null) {
        this.#partials.arrived(route - 1)
        continue
      }
      judges.arrived(route - 1, logMs)
      judges.flush(view.baseOffset + i)
    }
  }

  /** Decides every series not seen before, from sample `from` on: at most once a record, then the loop runs through. */
  #routeRest(view: SampleView, from: number): void {
    for (let i = from; i < view.count; i++) this.#router.resolve(view.seriesIds[view.seriesIdsAt + i]!)
    this.#slices.ensureRows(this.#router.rows)
    this.#judges.ensureRows(this.#router.rows)
  }

  /** A sample moves the watermark far enough to fire. */
  #moveTo(timeMs: number, causeOffset: number): void {
    this.#observe(timeMs)
    this.#fireDue(causeOffset)
    assert(timeMs < this.#fireAtMs, 'a sample that fires is placed afterwards', timeMs, this.#fireAtMs)
  }

  #closeAll(causeOffset: number): void {
    const partials = this.#partials
    // Slices that were sent are gone from here, but not their windows.
    const newest = partials === null ? this.#slices.newest() : this.#grid.sliceOf(this.#clock.newestMs)
    if (newest > -Infinity) {
      this.#clock.close(this.#grid.lastEndOver(newest))
      this.#fireDue(causeOffset)
    }
    partials?.fallIdle(this.#nextStartMs, causeOffset)
  }

  /** Fires every window with samples that the watermark has passed, oldest first; empty ones cost nothing. */
  #fireDue(causeOffset: number): void {
    const { watermarkMs } = this.#clock
    const { sizeMs, everyMs } = this.#grid
    const openedFromMs = this.#nextStartMs
    for (;;) {
      const startMs = this.#oldestFilledStartMs()
      // Infinity too: nothing is left to fire.
      if (!(startMs + sizeMs <= watermarkMs)) break
      this.#fire(startMs, causeOffset)
      this.#openFrom(startMs + everyMs)
    }
    const openFromMs = this.#grid.firstOpenStart(watermarkMs)
    if (openFromMs !== openedFromMs) this.#partials?.passedWindowEnd()
    this.#openFrom(openFromMs)
  }

  /** Start of the oldest open window that holds samples, or Infinity. */
  #oldestFilledStartMs(): number {
    const oldest = this.#slices.oldest()
    return oldest === Infinity ? Infinity : Math.max(this.#nextStartMs, this.#grid.firstStartOver(oldest))
  }

  /** Windows that start before `startMs` are over. */
  #openFrom(startMs: number): void {
    this.#nextStartMs = startMs
    this.#fireAtMs = startMs + this.#grid.sizeMs + this.#clock.disorderMs
    this.#slices.dropBefore(this.#grid.sliceOf(startMs))
  }

  #fire(startMs: number, causeOffset: number): void {
    const firing = this.#firing
    const endMs = startMs + this.#grid.sizeMs
    if (this.#partials !== null) {
      this.#partials.send(this.#grid.sliceOf(startMs), this.#grid.sliceOf(endMs), startMs, causeOffset)
      return
    }
    const meter = this.#meter
    const beganMs = meter === null ? 0 : meter.nowMs()
    firing.fill(startMs, this.#router.order())
    if (firing.rowCount === 0) return
    for (let j = 0; j < firing.rowCount; j++) firing.groupIds[j] = this.#router.groupIdOf(firing.rows[j]!)
    const filledMs = meter === null ? 0 : meter.nowMs()
    this.#judges.judge(firing, firing.rows, endMs)
    const judgedMs = meter === null ? 0 : meter.nowMs()
    this.#writer.results(firing, startMs, endMs, causeOffset)
    this.#judges.flush(causeOffset)
    if (meter === null) return
    meter.windowMs += filledMs - beganMs
    meter.detectMs += judgedMs - filledMs
    meter.emitMs += meter.nowMs() - judgedMs
  }
}

/**
 * Loads a cell of each row, so that the cache misses of many samples overlap: a loop that updates rows waits for each
 * in turn, since the processor sees only a few samples ahead. With a million rows, 1.6 times as fast in all.
 * hot.
 */
function fetchRows(cells: Float64Array, at: Int32Array, count: number): number {
  let sum = 0
  for (let i = 0; i < count; i++) {
    const position = at[i]!
    if (position >= 0) sum += cells[position]!
  }
  return sum
}
