/**
 * The part of a state store that outbox and queries read, in memory: for tests and simulation. Entries are made by the
 * same writer that chains use, so that what is read here has the bytes a real pipeline commits.
 */
import type { Alert } from '../contract/alert.ts'
import type { DeadLetter } from '../contract/dead-letter.ts'
import { emptyLedger, type Ledger } from '../contract/entries.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { SinkProgress } from '../contract/plugins.ts'
import type { Labels, SampleView } from '../contract/samples.ts'
import type { Retold, Silence, Withheld } from '../contract/silences.ts'
import { encodeSeriesKey } from '../series/series-key.ts'
import type { Entry, PipelineRecord, Progress, StateReader } from '../store/state-contract.ts'
import { assert } from '../util/assert.ts'
import { compareBytes } from '../util/bytes.ts'
import { EntryWriter } from './entry-writer.ts'
import { progressJson } from './outbox.ts'

export interface ResultRowInput {
  readonly group: Labels
  /** Aggregates in plan order, then score, expected, lower, upper of each value detector. */
  readonly cells: readonly number[]
}

export interface LateInput {
  readonly series: Labels
  readonly timestampMs: number
  readonly value: number
}

interface PartitionState {
  readonly writer: EntryWriter
  readonly groupIds: Map<string, number>
  readonly groupKeys: Uint8Array[]
  entries: Entry[]
  lateOffset: number
}

export class MemoryState
  implements
    Pick<
      StateReader,
      | 'pipelines'
      | 'pipeline'
      | 'progress'
      | 'entries'
      | 'groupKey'
      | 'alerts'
      | 'seqRange'
      | 'sink'
      | 'silences'
      | 'withheld'
      | 'retold'
      | 'deadLetters'
    >
{
  readonly record: PipelineRecord
  readonly plan: PipelinePlan
  readonly seriesKeys: Uint8Array[] = []
  readonly #partitions: PartitionState[]
  readonly #alerts = new Map<string, Alert>()
  readonly #sinks = new Map<string, string>()
  ledger: Ledger = emptyLedger()
  readonly letters: DeadLetter[] = []
  silenced: readonly Silence[] = []
  /** Of every partition alike. */
  withheldRows: readonly Withheld[] = []
  retoldRows: readonly Retold[] = []

  constructor(plan: PipelinePlan, id = 1) {
    this.plan = plan
    this.record = {
      id,
      name: plan.name,
      topicId: 0,
      topic: plan.topic.name,
      planHash: 'memory',
      planJson: JSON.stringify(plan),
    }
    this.#partitions = Array.from({ length: plan.topic.partitions }, () => makePartition())
  }

  /** Commits one fired window; its rows are put in order of group key, as a chain does. */
  results(partition: number, startMs: number, endMs: number, rows: readonly ResultRowInput[]): void {
    const { writer } = this.#at(partition)
    const keyed = rows.map((row) => ({ key: encodeSeriesKey(row.group), cells: row.cells }))
    keyed.sort((a, b) => compareBytes(a.key, b.key))
    const columnCount = keyed[0]?.cells.length ?? 0
    const cells = new Float64Array(columnCount * keyed.length)
    keyed.forEach((row, r) => {
      for (let column = 0; column < columnCount; column++) {
        cells[column * keyed.length + r] = row.cells[column]!
      }
    })
    const groupIds = Int32Array.from(keyed, ({ key }) => this.#groupId(partition, key))
    const table = { rowCount: keyed.length, columnCount, capacity: keyed.length, cells, groupIds }
    writer.results(table, startMs, endMs, 0)
  }

  alert(partition: number, alert: Alert): void {
    this.#at(partition).writer.alert(alert, 0)
    if (alert.state === 'resolved') this.#alerts.delete(alert.id)
    else this.#alerts.set(alert.id, alert)
  }

  late(partition: number, samples: readonly LateInput[]): void {
    const state = this.#at(partition)
    const view: SampleView = {
      topicId: 0,
      partition,
      baseOffset: state.lateOffset,
      count: samples.length,
      appendedMs: 0,
      seriesIds: Int32Array.from(samples, ({ series }) => this.#seriesId(series)),
      seriesIdsAt: 0,
      timestampsMs: Float64Array.from(samples, ({ timestampMs }) => timestampMs),
      timestampsMsAt: 0,
      values: Float64Array.from(samples, ({ value }) => value),
      valuesAt: 0,
    }
    state.writer.late(view, Int32Array.from(samples.keys()), samples.length)
    state.lateOffset += samples.length
  }

  deadLetters(_pipelineId: number, partition: number): readonly DeadLetter[] {
    return this.letters.filter((letter) => letter.partition === partition)
  }

  /** Retention: entries before `seq` are gone. */
  retire(partition: number, seq: number): void {
    const state = this.#at(partition)
    state.entries = state.entries.filter((entry) => entry.seq >= seq)
  }

  /** Puts an entry in place of the one with its seq: damage. */
  replace(partition: number, entry: Entry): void {
    const state = this.#at(partition)
    state.entries = state.entries.map((old) => (old.seq === entry.seq ? entry : old))
  }

  remember(sink: string, progress: SinkProgress): void {
    this.#sinks.set(sink, progressJson(progress))
  }

  // ---- StateReader ---------------------------------------------------------------------------------------------

  pipelines(): readonly PipelineRecord[] {
    return [this.record]
  }

  pipeline(name: string): PipelineRecord | null {
    return name === this.record.name ? this.record : null
  }

  progress(_pipelineId: number, partition: number): Progress | null {
    const { writer, lateOffset } = this.#at(partition)
    return writer.nextSeq === 0
      ? null
      : { position: lateOffset, nextSeq: writer.nextSeq, ledger: this.ledger }
  }

  entries(
    _pipelineId: number,
    partition: number,
    fromSeq: number,
    limits: { readonly countMax?: number; readonly bytesMax?: number } = {},
  ): readonly Entry[] {
    const { entries } = this.#at(partition)
    const from = lowerBound(entries, fromSeq)
    const { countMax = 1_000, bytesMax = Number.POSITIVE_INFINITY } = limits
    const found: Entry[] = []
    let bytes = 0
    for (let i = from; i < entries.length && found.length < countMax; i++) {
      const entry = entries[i]!
      bytes += entry.bytes.length
      if (found.length > 0 && bytes > bytesMax) break
      found.push(entry)
    }
    return found
  }

  seqRange(_pipelineId: number, partition: number): { firstSeq: number; endSeq: number } {
    const { entries, writer } = this.#at(partition)
    return { firstSeq: entries[0]?.seq ?? writer.nextSeq, endSeq: writer.nextSeq }
  }

  groupKey(_pipelineId: number, partition: number, groupId: number): Uint8Array | null {
    return this.#at(partition).groupKeys[groupId] ?? null
  }

  alerts(): readonly { readonly id: string; readonly json: string }[] {
    return [...this.#alerts].map(([id, alert]) => ({ id, json: JSON.stringify(alert) }))
  }

  silences(): readonly Silence[] {
    return this.silenced
  }

  withheld(_pipelineId: number, _partition: number, fromSeq: number, toSeq: number): readonly Withheld[] {
    return this.withheldRows.filter(({ seq }) => seq >= fromSeq && seq < toSeq)
  }

  retold(_pipelineId: number, _partition: number, fromSeq: number, toSeq: number): readonly Retold[] {
    return this.retoldRows.filter(({ beforeSeq }) => beforeSeq >= fromSeq && beforeSeq < toSeq)
  }

  sink(_pipelineId: number, sink: string): string | null {
    return this.#sinks.get(sink) ?? null
  }

  #at(partition: number): PartitionState {
    const state = this.#partitions[partition]
    assert(state !== undefined, 'a partition of the topic', partition)
    return state
  }

  #groupId(partition: number, key: Uint8Array): number {
    const { groupIds, groupKeys } = this.#at(partition)
    const name = Buffer.from(key).toString('latin1')
    const known = groupIds.get(name)
    if (known !== undefined) return known
    const id = groupKeys.push(key) - 1
    groupIds.set(name, id)
    return id
  }

  #seriesId(series: Labels): number {
    const key = encodeSeriesKey(series)
    const known = this.seriesKeys.findIndex((other) => compareBytes(other, key) === 0)
    return known >= 0 ? known : this.seriesKeys.push(key) - 1
  }
}

function makePartition(): PartitionState {
  const state: PartitionState = {
    writer: new EntryWriter({
      group() {},
      entry(kind, seq, causeOffset, eventTimeMs, bytes, length) {
        state.entries.push({ seq, kind, causeOffset, eventTimeMs, bytes: bytes.slice(0, length) })
      },
    }),
    groupIds: new Map(),
    groupKeys: [],
    entries: [],
    lateOffset: 0,
  }
  return state
}

function lowerBound(entries: readonly Entry[], seq: number): number {
  let low = 0
  let high = entries.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (entries[middle]!.seq < seq) low = middle + 1
    else high = middle
  }
  return low
}

/** A plan to test with: mean and count, an EWMA over the mean, silence. */
export function testPlan(change: Partial<PipelinePlan> = {}): PipelinePlan {
  return {
    plan: 1,
    name: 'cpu',
    topic: { name: 'metrics', partitions: 3, partitionBy: ['host'] },
    where: [],
    groupBy: ['host'],
    disorderMs: 0,
    idleMs: 15_000,
    window: { kind: 'tumbling', options: {}, sizeMs: 1_000, everyMs: 1_000, sliceMs: 1_000 },
    aggregates: [
      { name: 'mean', kind: 'mean', options: {} },
      { name: 'n', kind: 'count', options: {} },
    ],
    detectors: [
      { name: 'mean-ewma', kind: 'ewma', column: 'mean', options: {}, holdMs: 0 },
      { name: 'silence', kind: 'silence', column: null, options: {}, holdMs: 0 },
    ],
    sinks: [],
    ...change,
  }
}

export function testAlert(change: Partial<Alert> = {}): Alert {
  return {
    kind: 'alert',
    id: 'cpu/mean-ewma/0/0/1000',
    pipeline: 'cpu',
    detector: 'mean-ewma',
    column: 'mean',
    group: { host: 'a' },
    state: 'firing',
    sinceMs: 1_000,
    atMs: 1_000,
    value: 9,
    score: 4,
    expected: 1,
    lower: 0,
    upper: 2,
    direction: 'up',
    severity: 'warning',
    reason: 'mean 9 is 4 scales above the expected 1 (band 0 … 2)',
    ...change,
  }
}
