/**
 * Reads result stream entries (engine/contract/entries.ts) back into records, row by row and only as far as asked.
 * Equal bytes give equal records with equal ids, for ever. Called by the outbox and by queries; never writes, and
 * never trusts lengths it has not checked: an entry that is not what it claims to be is STORE_DAMAGED, by name.
 */
import type { Alert } from '../contract/alert.ts'
import {
  ENTRY_ALERT,
  ENTRY_LATE,
  ENTRY_RESULTS,
  LATE_HEADER_BYTES,
  RESULTS_HEADER_BYTES,
  SCORE_COLUMNS,
} from '../contract/entries.ts'
import { MillraceError } from '../contract/errors.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { LateBody, ResultBody, ScoreBody, SinkFeed, SinkRecord } from '../contract/plugins.ts'
import type { Labels } from '../contract/samples.ts'
import type { Retold } from '../contract/silences.ts'
import type { Entry, PastPlan } from '../store/state-contract.ts'
import { assert } from '../util/assert.ts'

/** Labels kept decoded; beyond it the oldest go first. */
const LABELS_CACHED_MAX = 65_536
const LATE_ROW_BYTES = 8 + 8 + 8 + 4
const GROUP_ID_BYTES = 4
const CELL_BYTES = 8

export interface EntryLabels {
  /** Labels of a group of this pipeline. */
  group(partition: number, groupId: number): Labels
  /** Labels of a series of the pipeline's topic. */
  series(seriesId: number): Labels
}

/** Columns of the results that one plan makes. Aggregates come first, and are the same in all of a pipeline's plans. */
interface EntryLayout {
  /** Detectors that judge an aggregate; silence has no column. */
  readonly detectors: readonly string[]
  readonly columnCount: number
  /** By column of the present plan: where it lies in these results; -1: it does not. */
  readonly columns: Int32Array
  /** By stream: one past the last entry; null: the present plan. */
  readonly endSeqs: readonly number[] | null
}

export class EntryDecoder {
  readonly #pipeline: string
  readonly #aggregates: readonly string[]
  readonly #present: EntryLayout
  /** Of plans that a switch of detectors has replaced, oldest first. */
  readonly #past: readonly EntryLayout[]
  readonly #labels: EntryLabels
  readonly #groups = new Map<string, Labels>()

  constructor(plan: PipelinePlan, labels: EntryLabels, past: readonly PastPlan[] = []) {
    this.#pipeline = plan.name
    this.#aggregates = plan.aggregates.map((aggregate) => aggregate.name)
    const scored = scoredBy(plan)
    this.#present = this.#layout(scored, scored, null)
    this.#past = past.map(({ planJson, endSeqs }) =>
      this.#layout(scoredBy(JSON.parse(planJson) as PipelinePlan), scored, endSeqs),
    )
    this.#labels = labels
  }

  #layout(
    detectors: readonly string[],
    present: readonly string[],
    endSeqs: readonly number[] | null,
  ): EntryLayout {
    const first = this.#aggregates.length
    const columns = [...this.#aggregates.keys()]
    for (const name of present) {
      const index = detectors.indexOf(name)
      for (let i = 0; i < SCORE_COLUMNS; i++) columns.push(index < 0 ? -1 : first + SCORE_COLUMNS * index + i)
    }
    const columnCount = first + SCORE_COLUMNS * detectors.length
    return { detectors, columnCount, columns: Int32Array.from(columns), endSeqs }
  }

  /** Of the plan that made the entry. */
  #layoutOf(partition: number, seq: number): EntryLayout {
    for (const layout of this.#past) if (seq < (layout.endSeqs![partition] ?? 0)) return layout
    return this.#present
  }

  /** Columns of a RESULTS entry: how many it has, and by column of the present plan where it lies there; -1: it does not. */
  columnsOf(
    partition: number,
    { seq }: Entry,
  ): { readonly columnCount: number; readonly columns: Int32Array } {
    return this.#layoutOf(partition, seq)
  }

  /** Rows from `fromRow` on, decoded one at a time as they are taken. */
  *records(partition: number, entry: Entry, fromRow = 0): Generator<SinkRecord, void, void> {
    const rows = this.rowCount(partition, entry)
    for (let row = fromRow; row < rows; row++) yield this.record(partition, entry, row)
  }

  /** One row. Its position must be below `rowCount`, which has checked the entry's shape. */
  record(partition: number, entry: Entry, row: number): SinkRecord {
    const { kind, seq } = entry
    const id = `${this.#pipeline}/${partition}/${seq}/${row}`
    if (kind === ENTRY_RESULTS) return { id, partition, seq, row, body: this.#result(partition, entry, row) }
    if (kind === ENTRY_LATE) return { id, partition, seq, row, body: this.#late(entry, row) }
    return { id, partition, seq, row, body: this.#alert(partition, entry) }
  }

  /** A transition that is told late, as row `row` before the entry `beforeSeq`; its id is the one it has in the stream. */
  retold(partition: number, { beforeSeq, seq, json }: Retold, row: number): SinkRecord {
    const id = `${this.#pipeline}/${partition}/${seq}/0`
    return { id, partition, seq: beforeSeq, row, body: JSON.parse(json) as Alert }
  }

  /** Rows of an entry; checks that its length is what its header says and what this plan makes. */
  rowCount(partition: number, entry: Entry): number {
    const { kind, bytes } = entry
    if (kind === ENTRY_ALERT) return 1
    const view = viewOf(bytes)
    if (kind === ENTRY_RESULTS && bytes.length >= RESULTS_HEADER_BYTES) {
      const rows = view.getInt32(0, true)
      const columns = view.getInt32(4, true)
      const length = RESULTS_HEADER_BYTES + rows * (columns * CELL_BYTES + GROUP_ID_BYTES)
      const { columnCount } = this.#layoutOf(partition, entry.seq)
      if (rows >= 0 && columns === columnCount && length === bytes.length) return rows
      throw this.#damaged(partition, entry, `${rows} rows of ${columns} columns in ${bytes.length} bytes`)
    }
    if (kind === ENTRY_LATE && bytes.length >= LATE_HEADER_BYTES) {
      const rows = view.getInt32(0, true)
      if (rows >= 0 && LATE_HEADER_BYTES + rows * LATE_ROW_BYTES === bytes.length) return rows
      throw this.#damaged(partition, entry, `${rows} late samples in ${bytes.length} bytes`)
    }
    throw this.#damaged(partition, entry, `kind ${kind} in ${bytes.length} bytes`)
  }

  /** Labels of a row's group, without decoding the row; RESULTS only. */
  groupOf(partition: number, entry: Entry, row: number): Labels {
    return this.#groupLabels(partition, this.groupIdOf(partition, entry, row))
  }

  /** Number of a result's group in its stream. */
  groupIdOf(partition: number, entry: Entry, row: number): number {
    const { bytes } = entry
    assert(entry.kind === ENTRY_RESULTS, 'only results have groups', entry.kind)
    const view = viewOf(bytes)
    const rows = view.getInt32(0, true)
    const { columnCount } = this.#layoutOf(partition, entry.seq)
    const at = RESULTS_HEADER_BYTES + rows * columnCount * CELL_BYTES + row * GROUP_ID_BYTES
    return view.getInt32(at, true)
  }

  #result(partition: number, entry: Entry, row: number): ResultBody {
    const view = viewOf(entry.bytes)
    const rows = view.getInt32(0, true)
    let at = RESULTS_HEADER_BYTES + row * CELL_BYTES
    const stride = rows * CELL_BYTES
    const values: Record<string, number | null> = {}
    for (const name of this.#aggregates) {
      values[name] = finiteOrNull(view.getFloat64(at, true))
      at += stride
    }
    const scores: Record<string, ScoreBody> = {}
    for (const name of this.#layoutOf(partition, entry.seq).detectors) {
      scores[name] = {
        score: finiteOrNull(view.getFloat64(at, true)),
        expected: finiteOrNull(view.getFloat64(at + stride, true)),
        lower: finiteOrNull(view.getFloat64(at + 2 * stride, true)),
        upper: finiteOrNull(view.getFloat64(at + 3 * stride, true)),
      }
      at += SCORE_COLUMNS * stride
    }
    return {
      kind: 'result',
      pipeline: this.#pipeline,
      group: this.groupOf(partition, entry, row),
      windowStartMs: view.getFloat64(8, true),
      windowEndMs: view.getFloat64(16, true),
      values,
      scores,
    }
  }

  #late(entry: Entry, row: number): LateBody {
    const view = viewOf(entry.bytes)
    const stride = view.getInt32(0, true) * CELL_BYTES
    const at = LATE_HEADER_BYTES + row * CELL_BYTES
    const seriesId = view.getInt32(LATE_HEADER_BYTES + 3 * stride + row * 4, true)
    return {
      kind: 'late',
      pipeline: this.#pipeline,
      series: this.#labels.series(seriesId),
      timestampMs: view.getFloat64(at, true),
      value: finiteOrNull(view.getFloat64(at + stride, true)),
      offset: view.getFloat64(at + 2 * stride, true),
    }
  }

  #alert(partition: number, entry: Entry): Alert {
    try {
      const alert: unknown = JSON.parse(textDecoder.decode(entry.bytes))
      if (typeof alert === 'object' && alert !== null && 'kind' in alert && alert.kind === 'alert') {
        return alert as Alert
      }
    } catch {
      // Named below with everything else that is no alert.
    }
    throw this.#damaged(partition, entry, 'an alert that is not one')
  }

  #groupLabels(partition: number, groupId: number): Labels {
    const key = `${partition}/${groupId}`
    const known = this.#groups.get(key)
    if (known !== undefined) return known
    const labels = this.#labels.group(partition, groupId)
    if (this.#groups.size >= LABELS_CACHED_MAX) {
      for (const oldest of this.#groups.keys()) {
        this.#groups.delete(oldest)
        break
      }
    }
    this.#groups.set(key, labels)
    return labels
  }

  #damaged(partition: number, entry: Entry, found: string): MillraceError {
    return new MillraceError(
      'STORE_DAMAGED',
      `Entry ${this.#pipeline}/${partition}/${entry.seq} of the result stream holds ${found}; this pipeline writes ` +
        `${this.#layoutOf(partition, entry.seq).columnCount} columns. Restore the data directory from a backup, or start with --reset-state to ` +
        'compute the results again from the log.',
    )
  }
}

function scoredBy({ detectors }: PipelinePlan): string[] {
  return detectors.filter(({ column }) => column !== null).map(({ name }) => name)
}

const textDecoder = new TextDecoder('utf-8', { fatal: true })

/** JSON knows neither NaN nor infinities; null says "no number". */
function finiteOrNull(value: number): number | null {
  return Number.isFinite(value) ? value : null
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

const FEED_OF_KIND: Readonly<Record<number, SinkFeed>> = {
  [ENTRY_RESULTS]: 'results',
  [ENTRY_ALERT]: 'alerts',
  [ENTRY_LATE]: 'late',
}

export function feedOf(entry: Entry): SinkFeed | undefined {
  return FEED_OF_KIND[entry.kind]
}
