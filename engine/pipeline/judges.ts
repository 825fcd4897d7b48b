/**
 * All detectors of one chain: value detectors judge each row of a fired window, silence detectors watch log time.
 * Transitions are queued and become ALERT entries when the chain says so, so that a window's alerts follow its results.
 */
import type { Alert } from '../contract/alert.ts'
import { SCORE_COLUMNS } from '../contract/entries.ts'
import type { FeedbackSource } from '../contract/feedback.ts'
import type { DetectorPlan, PipelinePlan } from '../contract/plan.ts'
import type {
  Detector,
  DetectorPlugin,
  PeersDetector,
  Registry,
  VectorDetector,
} from '../contract/plugins.ts'
import type { Labels } from '../contract/samples.ts'
import { Cells } from '../state/cells.ts'
import { assert } from '../util/assert.ts'
import { type AlertTransition, DetectionStage, putVerdict, type StageExplanation } from './detection.ts'
import type { EntryWriter, ResultTable } from './entry-writer.ts'
import { type AdjustedStages, FeedbackFactors } from './feedback-factors.ts'
import { HealthScan } from './health-scan.ts'
import { PeerValues, peersOf } from './peers.ts'
import type { Router } from './routing.ts'

interface Judge {
  readonly plan: DetectorPlan
  readonly stage: DetectionStage
  readonly cells: Cells
  /** Index of the aggregate judged; -1: silence, or several. */
  readonly column: number
  /** Of a detector that judges several aggregates together, with their indices. */
  readonly vector: { readonly detector: VectorDetector; readonly columns: readonly number[] } | null
  /** Of a detector that holds groups against each other, with their values. */
  readonly peers: { readonly detector: PeersDetector; readonly values: PeerValues } | null
  readonly queue: QueuedTransition[]
}

interface QueuedTransition extends AlertTransition {
  readonly judge: DetectorPlan
  readonly row: number
}

/** What a detector decided for a group. */
export interface Explained extends StageExplanation {
  readonly detector: string
  readonly kind: string
  readonly column: string | null
  readonly group: Labels
}

/** Groups that a detector cannot judge yet. */
export interface Warming {
  readonly detector: string
  readonly count: number
  /** Some of them. */
  readonly groups: readonly Labels[]
}

export interface JudgesOptions {
  readonly plan: PipelinePlan
  readonly registry: Registry
  readonly partition: number
  readonly router: Router
  readonly writer: EntryWriter
  /** What people said of alerts; left out: nothing. */
  readonly feedback?: FeedbackSource | undefined
}

export class Judges {
  readonly #pipeline: string
  readonly #partition: number
  readonly #router: Router
  readonly #writer: EntryWriter
  readonly #values: Judge[] = []
  readonly #silences: Judge[] = []
  /** State of every detector, in plan order. */
  readonly regions: readonly Cells[]
  /** Of silences, as they come. Each value detector has its own: a window is judged in parts, its alerts are not to show that. */
  readonly #silenceQueue: QueuedTransition[] = []
  /** Log time at which some group may count as silent; Infinity: none. */
  silenceDeadlineMs = Infinity
  /** Of all detectors, in plan order. */
  readonly healthScan: HealthScan
  /** Null: nobody is heard. */
  readonly factors: FeedbackFactors | null
  #rows = 0
  #healthEventMs = -Infinity
  #healthLogMs = -Infinity

  constructor(options: JudgesOptions) {
    const { plan, registry } = options
    this.#pipeline = plan.name
    this.#partition = options.partition
    this.#router = options.router
    this.#writer = options.writer
    const regions: Cells[] = []
    const stages: DetectionStage[] = []
    for (const detectorPlan of plan.detectors) {
      const plugin = registry.detectors.get(detectorPlan.kind) as DetectorPlugin | undefined
      assert(plugin !== undefined, 'a compiled plan names detectors of the registry', detectorPlan.kind)
      const detector = plugin.create(detectorPlan.options, columnsOf(detectorPlan))
      const cells = new Cells(`detector ${detectorPlan.name}`)
      const indices = columnsOf(detectorPlan).map((column) =>
        plan.aggregates.findIndex(({ name }) => name === column),
      )
      const isSilence = detector.subject === 'silence'
      assert(
        isSilence ? indices.length === 0 : indices.length > 0 && !indices.includes(-1),
        'a detector judges aggregates, or silence',
        detectorPlan.name,
      )
      const queue = isSilence ? this.#silenceQueue : []
      const stage = new DetectionStage({
        plan: detectorPlan,
        detector,
        cells,
        emit: (row, transition) => {
          queue.push({ ...transition, judge: detectorPlan, row })
        },
        everyMs: plan.window.everyMs,
        labelsOf: (row) => this.#router.labelsOfRow(row),
        inhibitor: stages[plan.detectors.findIndex(({ name }) => name === detectorPlan.alert?.inhibitedBy)],
      })
      stages.push(stage)
      const judges = isSilence ? this.#silences : this.#values
      const vector = isVector(detector) ? { detector, columns: indices } : null
      const [peersPlan] = peersOf([detectorPlan], registry)
      const peers =
        isPeers(detector) && peersPlan !== undefined
          ? { detector, values: new PeerValues(peersPlan.by, (row) => this.#router.keyOfRow(row)) }
          : null
      const column = vector === null ? (indices[0] ?? -1) : -1
      judges.push({ plan: detectorPlan, stage, cells, column, vector, peers, queue })
      regions.push(cells)
    }
    const { feedback } = options
    this.factors = feedback === undefined ? null : new FeedbackFactors(plan, feedback, this.#adjustedStages())
    this.regions = regions
    this.healthScan = new HealthScan(
      stages.map((stage, i) => {
        const isSilence = plan.detectors[i]!.column === null
        return {
          health: (row) => stage.health(row, isSilence ? this.#healthLogMs : this.#healthEventMs),
        }
      }),
    )
  }

  #adjustedStages(): AdjustedStages {
    const stages = new Map(this.#values.map(({ plan, stage }) => [plan.name, stage]))
    const judges = this
    return {
      get rows() {
        return judges.#rows
      },
      rowOf: (key) => {
        const row = this.#router.findRow(key)
        return row < this.#rows ? row : -1
      },
      keyOf: (row) => this.#router.keyOfRow(row),
      // A detector that the pipeline has no longer.
      setFactor: (detector, row, factor) => stages.get(detector)?.setFactor(row, factor),
    }
  }

  /** What each detector decided for the groups that are wanted, in plan order, silences last, at most so many groups. O(groups). */
  explain(eventMs: number, logMs: number, wants: (group: Labels) => boolean, groupsMax: number): Explained[] {
    const found: Explained[] = []
    for (let row = 0, groups = 0; row < this.#router.rows && groups < groupsMax; row++) {
      const group = this.#router.labelsOfRow(row)
      if (!wants(group)) continue
      groups++
      for (const { plan, stage } of this.#all()) {
        const explanation = stage.explain(row, plan.column === null ? logMs : eventMs)
        found.push({ detector: plan.name, kind: plan.kind, column: plan.column, group, ...explanation })
      }
    }
    return found
  }

  /** Groups that each detector cannot judge yet, in plan order; at most so many of each by name. O(groups). */
  warming(eventMs: number, logMs: number, groupsMax: number): Warming[] {
    return this.#all().map(({ plan, stage }) => {
      const groups: Labels[] = []
      let count = 0
      for (let row = 0; row < this.#rows; row++) {
        if (stage.health(row, plan.column === null ? logMs : eventMs) !== 'warming') continue
        if (count++ < groupsMax) groups.push(this.#router.labelsOfRow(row))
      }
      return { detector: plan.name, count, groups }
    })
  }

  /** Cells of these detectors, for rows of another's that are rows here; all of the state is then owed to the next checkpoint. */
  take(from: Judges, names: ReadonlySet<string>, rows: Int32Array): void {
    const others = new Map(from.#all().map((judge) => [judge.plan.name, judge]))
    for (const { plan, stage } of this.#all()) {
      if (!names.has(plan.name)) continue
      const other = others.get(plan.name)
      assert(other !== undefined, 'detectors are taken from a chain of the same plan', plan.name)
      stage.take(other.stage, rows)
    }
    for (const cells of this.regions) cells.markAll()
    this.silenceDeadlineMs = Math.min(Infinity, ...this.#silences.map(({ stage }) => stage.deadlineMs))
  }

  keepAlert(detector: string, row: number, sinceMs: number, fires: boolean): void {
    const judge = this.#all().find(({ plan }) => plan.name === detector)
    assert(judge !== undefined, 'an alert that stands is one of a detector of the plan', detector)
    judge.stage.keepAlert(row, sinceMs, fires)
  }

  /** In plan order, silences last. */
  #all(): readonly Judge[] {
    return [...this.#values, ...this.#silences]
  }

  /** Starts a round of the health scan, as of these times. */
  beginHealthScan(eventMs: number, logMs: number): void {
    this.#healthEventMs = eventMs
    this.#healthLogMs = logMs
    this.healthScan.begin(this.#rows)
  }

  get scoreColumns(): number {
    return this.#values.length * SCORE_COLUMNS
  }

  get cellsAGroup(): number {
    const stages = [...this.#values, ...this.#silences].map(({ stage }) => stage.cellsARow)
    return stages.reduce((sum, cells) => sum + cells, 0)
  }

  get watchesSilence(): boolean {
    return this.#silences.length > 0
  }

  ensureRows(rows: number): void {
    this.#rows = Math.max(this.#rows, rows)
    for (const { stage } of this.#values) stage.ensureRows(rows)
    for (const { stage } of this.#silences) stage.ensureRows(rows)
    this.factors?.settle()
  }

  /**
   * Judges some of a fired window's rows in their order and fills the score columns, which follow the aggregates. All parts
   * of a window come before the next `flush`, which then gives alerts by detector, then by row.
   */
  judge(table: ResultTable, rows: Int32Array, endMs: number): void {
    const { cells, capacity, rowCount } = table
    let scoreAt = (table.columnCount - this.scoreColumns) * capacity
    for (const judge of this.#values) {
      const { stage, column, vector, peers } = judge
      if (vector === null && peers === null) {
        stage.judgeRows(rows, rowCount, endMs, cells, column * capacity, scoreAt, capacity)
      } else {
        for (let j = 0; j < rowCount; j++) {
          const row = rows[j]!
          if (peers !== null) peers.detector.peers = peers.values.of(row)
          const value =
            vector === null ? cells[column * capacity + j]! : statisticOf(judge, table, j, row, endMs)
          putVerdict(stage.judge(row, endMs, value), cells, scoreAt + j, capacity)
        }
      }
      scoreAt += SCORE_COLUMNS * capacity
    }
  }

  /** Some detector holds groups against each other: all of a window is to be collected before any of it is judged. */
  get comparesPeers(): boolean {
    return this.#values.some(({ peers }) => peers !== null)
  }

  beginPeers(): void {
    for (const { peers } of this.#values) peers?.values.begin()
  }

  collectPeers(table: ResultTable, rows: Int32Array): void {
    for (const { peers, column } of this.#values) peers?.values.collect(table, rows, column)
  }

  settlePeers(): void {
    for (const { peers } of this.#values) peers?.values.settle()
  }

  /** The rows at [from, to) of `rows` are about to arrive: see `DetectionStage.fetch`. */
  fetchArrivals(rows: Int32Array, from: number, to: number): void {
    for (const { stage } of this.#silences) stage.fetch(rows, from, to)
  }

  /** A sample of a row arrived at this log time. */
  arrived(row: number, logMs: number): void {
    for (const { stage } of this.#silences) stage.arrived(row, logMs)
  }

  /** Rows may have become silent by this log time. O(1) before the deadline. */
  scan(logMs: number): void {
    let deadlineMs = Infinity
    for (const { stage } of this.#silences) deadlineMs = Math.min(deadlineMs, stage.scan(logMs))
    this.silenceDeadlineMs = deadlineMs
  }

  /** The node was down: silence in between is no one's fault. */
  forgive(downMs: number): void {
    for (const { stage } of this.#silences) stage.shift(downMs)
    this.silenceDeadlineMs += downMs
  }

  /** Queued transitions become entries. */
  flush(causeOffset: number): void {
    if (this.#silenceQueue.length > 0) this.#flushQueue(this.#silenceQueue, causeOffset)
    for (const { queue } of this.#values) if (queue.length > 0) this.#flushQueue(queue, causeOffset)
  }

  #flushQueue(queue: QueuedTransition[], causeOffset: number): void {
    for (const transition of queue) this.#writer.alert(this.#alertOf(transition), causeOffset)
    queue.length = 0
  }

  #alertOf(transition: QueuedTransition): Alert {
    const { judge, row } = transition
    const groupId = this.#router.groupIdOf(row)
    return {
      kind: 'alert',
      id: `${this.#pipeline}/${judge.name}/${this.#partition}/${groupId}/${transition.sinceMs}`,
      pipeline: this.#pipeline,
      detector: judge.name,
      column: judge.column,
      group: this.#router.labelsOfRow(row),
      state: transition.state,
      sinceMs: transition.sinceMs,
      atMs: transition.atMs,
      value: finiteOrNull(transition.value),
      score: finiteOrNull(transition.score),
      expected: finiteOrNull(transition.expected),
      lower: finiteOrNull(transition.lower),
      upper: finiteOrNull(transition.upper),
      direction: transition.direction,
      severity: transition.severity,
      ...(transition.isFlapping ? { flapping: true } : {}),
      reason: transition.reason,
    }
  }
}

/** The one value of several columns of a row. */
function statisticOf(
  { stage, vector, cells }: Judge,
  table: ResultTable,
  j: number,
  row: number,
  endMs: number,
): number {
  const { detector, columns } = vector!
  for (let c = 0; c < columns.length; c++) detector.values[c] = table.cells[columns[c]! * table.capacity + j]!
  return detector.statistic(cells.data, stage.cellsAt(row), endMs)
}

function columnsOf({ column, columns }: DetectorPlan): readonly string[] {
  return columns ?? (column === null ? [] : [column])
}

function isVector(detector: Detector): detector is VectorDetector {
  return detector.subject === 'vector'
}

function isPeers(detector: Detector): detector is PeersDetector {
  return detector.subject === 'peers'
}

function finiteOrNull(value: number | null): number | null {
  return value !== null && Number.isFinite(value) ? value : null
}
