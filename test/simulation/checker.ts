/**
 * What must hold, whatever was done to the node. Sees every transaction as it becomes durable, keeps the whole log and
 * all entries ever committed (retention deletes only the node's copy), and compares them with an oracle: the same Chain,
 * fed the whole log from its beginning, in one go, without threads, rings, commits or crashes.
 */

import { sealBatch } from '../../engine/batch/batch-encoder.ts'
import { BatchView } from '../../engine/batch/batch-view.ts'
import * as layout from '../../engine/batch/layout.ts'
import type { BoardPipeline } from '../../engine/broker/node-board.ts'
import type { Alert } from '../../engine/contract/alert.ts'
import { ENTRY_ALERT, ENTRY_LATE, type Ledger } from '../../engine/contract/entries.ts'
import type { FeedbackRow } from '../../engine/contract/feedback.ts'
import type { TopicSpec } from '../../engine/contract/plan.ts'
import type { SinkFeed, SinkRecord } from '../../engine/contract/plugins.ts'
import { RECORD_FEEDBACK } from '../../engine/contract/samples.ts'
import type { Retold, Withheld } from '../../engine/contract/silences.ts'
import { Chain } from '../../engine/pipeline/chain.ts'
import { EntryDecoder, feedOf } from '../../engine/pipeline/entry-decoder.ts'
import { decodeSeriesKey } from '../../engine/series/series-key.ts'
import { EntryEncoder } from '../../engine/store/entry-codec.ts'
import { readU16, readU32, readU64 } from '../../engine/store/keys.ts'
import { unseal, unsealJson } from '../../engine/store/sealed.ts'
import type { Checkpoint, Progress } from '../../engine/store/state-contract.ts'
import { compareBytes } from '../../engine/util/bytes.ts'
import { registry } from '../../operators/registry.ts'
import { recordJson } from '../../operators/sinks/record-json.ts'
import { keyText } from './scenario.ts'
import type { Attempt } from './sim-client.ts'
import { type DurableWrite, keyBytes } from './sim-disk.ts'
import type { SimTarget } from './sim-sinks.ts'

/** A promise was broken. */
export class SimulationFailure extends Error {
  override readonly name = 'SimulationFailure'
}

export function check(condition: boolean, promise: string, ...values: readonly unknown[]): asserts condition {
  if (condition) return
  // A function is asked only now: what it tells costs something.
  const told = values.map((value) => String(typeof value === 'function' ? value() : value))
  throw new SimulationFailure(`${promise} [${told.join(', ')}]`)
}

interface LoggedBatch {
  readonly baseOffset: number
  readonly endOffset: number
  readonly bytes: Uint8Array
}

interface LogPartition {
  readonly batches: LoggedBatch[]
  startOffset: number
  endOffset: number
}

interface OracleEntry {
  readonly kind: number
  readonly seq: number
  readonly causeOffset: number
  readonly eventTimeMs: number
  readonly bytes: Uint8Array
}

interface Stream {
  readonly pipeline: BoardPipeline
  readonly partition: number
  /** As committed: stored bytes by seq. */
  readonly committed: Uint8Array[]
  progress: Progress | null
  checkpoint: Checkpoint | null
  /** Checked against the oracle so far. */
  checkedSeq: number
  readonly oracle: Chain
  readonly expected: OracleEntry[]
  readonly groups: Uint8Array[]
  /** What silences did: numbers of entries that no sink is told of, and what is told late, by the entry that it comes before. */
  readonly withheld: Set<number>
  readonly late: Map<number, Retold[]>
  /** Of the partition's batches, the next that the oracle takes. */
  nextBatch: number
}

export class Checker {
  readonly #log: readonly (readonly LogPartition[])[]
  readonly #series: Uint8Array[][]
  readonly #topicNames: readonly string[]
  /** What was said of alerts. */
  readonly #feedback: FeedbackRow[] = []
  readonly #streams = new Map<number, Stream>()
  readonly #groups = new Map<string, Uint8Array>()
  readonly #encoder = new EntryEncoder()
  readonly #readBuffer = new ArrayBuffer((layout.BATCH_BYTES_MAX + 7) & ~7)
  readonly #view = new BatchView(this.#readBuffer)
  transactions = 0

  constructor(topics: readonly TopicSpec[]) {
    this.#series = topics.map(() => [])
    this.#topicNames = topics.map(({ name }) => name)
    this.#log = topics.map(({ partitions }) =>
      Array.from({ length: partitions }, () => ({ batches: [], startOffset: 0, endOffset: 0 })),
    )
  }

  /** The node has prepared its store: pipelines have their ids, the same at every start. */
  prepared(pipelines: readonly BoardPipeline[]): void {
    for (const pipeline of pipelines) {
      for (let partition = 0; partition < pipeline.topic.partitions; partition++) {
        const key = streamKey(pipeline.pipelineId, partition)
        if (!this.#streams.has(key)) this.#streams.set(key, this.#newStream(pipeline, partition))
      }
    }
    const wanted = pipelines.reduce((sum, { topic }) => sum + topic.partitions, 0)
    check(this.#streams.size === wanted, 'pipelines keep their ids', this.#streams.size, wanted)
  }

  durable(env: string, writes: readonly DurableWrite[]): void {
    this.transactions++
    if (env === 'log') this.#durableLog(writes)
    else this.#durableState(writes)
  }

  endOffset(topicId: number, partition: number): number {
    return this.#log[topicId]![partition]!.endOffset
  }

  get logOffsets(): number {
    return this.#log.flat().reduce((sum, { endOffset }) => sum + endOffset, 0)
  }

  get committedEntries(): number {
    return [...this.#streams.values()].reduce((sum, { committed }) => sum + committed.length, 0)
  }

  /** Everything in the log is in committed results. */
  get isCaughtUp(): boolean {
    for (const { pipeline, partition, progress } of this.#streams.values()) {
      const end = this.endOffset(pipeline.topic.topicId, partition)
      if ((progress?.position ?? 0) < end) return false
    }
    return true
  }

  /** Compares what is committed with the oracle, up to where each stream stands. */
  compare(): void {
    for (const stream of this.#streams.values()) if (stream.progress !== null) this.#compareStream(stream)
  }

  /** At the end of a run, when all is committed: what is acknowledged is there, and the sinks have it. */
  finish(
    attempts: readonly Attempt[],
    said: readonly FeedbackRow[],
    alerts: (pipelineId: number) => readonly string[],
  ): void {
    check(this.isCaughtUp, 'everything in the log is committed at the end')
    this.compare()
    for (const stream of this.#streams.values()) this.#compareRecut(stream)
    for (const stream of this.#streams.values()) this.#checkTold(stream)
    this.#checkAttempts(attempts)
    for (const row of said) {
      const stored = this.#feedback[row.id - 1]
      check(
        JSON.stringify(stored) === JSON.stringify(row),
        'what was said and answered is in the log',
        row.id,
      )
    }
    this.#checkAlerts(alerts)
  }

  checkTarget(pipeline: BoardPipeline, sinkIndex: number, target: SimTarget): void {
    const { feed, name } = pipeline.plan.sinks[sinkIndex]!
    const byPartition = target.received()
    for (let partition = 0; partition < pipeline.topic.partitions; partition++) {
      const stream = this.#streams.get(streamKey(pipeline.pipelineId, partition))!
      const wanted = this.#lines(stream, feed)
      const place = `${pipeline.plan.name}/${name}/${partition} (${target.kind} of ${feed})`
      const received = byPartition.get(partition) ?? []
      const isSorted = target.guarantee === 'idempotent'
      const first = target.guarantee === 'transactional' ? received : [...new Set(received)]
      const [there, expected] = isSorted ? [first.sort(), wanted.sort()] : [first, wanted]
      for (let i = 0; i < Math.max(there.length, expected.length); i++) {
        check(there[i] === expected[i], `${place}: it holds every record, in order`, i, there[i], expected[i])
      }
    }
  }

  // ---- transactions --------------------------------------------------------------------------------------------

  #durableLog(writes: readonly DurableWrite[]): void {
    const said: FeedbackRow[] = []
    /** Of FEEDBACK records: which row, and where. */
    const records: string[] = []
    for (const { table, key, value } of writes) {
      const bytes = keyBytes(key)
      if (table === 'series' && value !== null) {
        const series = this.#series[readU16(bytes, 0)]!
        const id = readU32(bytes, 2)
        check(id === series.length, 'series ids are dense and never reused', id, series.length)
        series.push(unseal(value, () => 'a series').slice())
      }
      if (table === 'feedback') said.push(this.#said(bytes, value))
      if (table !== 'batches') continue
      const topicId = readU16(bytes, 0)
      const partition = readU16(bytes, 2)
      const offset = readU64(bytes, 4)
      if (value === null) this.#deleted(topicId, partition, offset)
      else {
        this.#appended(topicId, partition, offset, value)
        const header = new DataView(value.buffer, value.byteOffset)
        if (header.getUint16(layout.KIND_AT, true) !== RECORD_FEEDBACK) continue
        const id = header.getFloat64(layout.MIN_TIMESTAMP_AT, true)
        records.push(`${id} ${this.#topicNames[topicId]} ${partition} ${offset}`)
      }
    }
    const rows = said.map(({ id, topic, partition, offset }) => `${id} ${topic} ${partition} ${offset}`)
    check(
      rows.sort().join() === records.sort().join(),
      'what is said and its place in the log are one transaction',
      rows,
      records,
    )
  }

  #said(key: Uint8Array, value: Uint8Array | null): FeedbackRow {
    check(value !== null, 'what was said is not removed')
    const row = unsealJson<FeedbackRow>(value, () => 'a statement')
    const isNext = row.id === this.#feedback.length + 1 && row.id === readU32(key, 0)
    check(isNext, 'statements are numbered without a gap', row.id, this.#feedback.length)
    const seriesOf = ({ pipeline, detector, group }: FeedbackRow): string =>
      JSON.stringify([pipeline, detector, group])
    const last = this.#feedback.findLast((one) => seriesOf(one) === seriesOf(row))
    check(row.before === (last?.after ?? 1), 'a statement goes on from the last one', row.id, row.before)
    this.#feedback.push(row)
    return row
  }

  #appended(topicId: number, partition: number, offset: number, bytes: Uint8Array): void {
    const log = this.#log[topicId]![partition]!
    check(
      offset === log.endOffset,
      'the log has no gap and nothing is written over',
      topicId,
      partition,
      offset,
    )
    const count = new DataView(bytes.buffer, bytes.byteOffset).getInt32(layout.COUNT_AT, true)
    log.endOffset = offset + layout.offsetsOf(count)
    log.batches.push({ baseOffset: offset, endOffset: log.endOffset, bytes })
  }

  #deleted(topicId: number, partition: number, offset: number): void {
    const log = this.#log[topicId]![partition]!
    const batch = log.batches.find(({ baseOffset }) => baseOffset === offset)
    check(
      batch !== undefined && offset === log.startOffset,
      'retention deletes the oldest batch',
      topicId,
      partition,
      offset,
    )
    for (const { pipeline, partition: of, checkpoint } of this.#streams.values()) {
      if (pipeline.topic.topicId !== topicId || of !== partition) continue
      const needed = checkpoint?.position ?? 0
      const place = `${pipeline.plan.name}/${partition}`
      check(
        batch.endOffset <= needed,
        'retention never passes the oldest checkpoint',
        place,
        batch.endOffset,
        needed,
      )
    }
    log.startOffset = batch.endOffset
  }

  #durableState(writes: readonly DurableWrite[]): void {
    const touched = new Set<Stream>()
    const silenced: (() => void)[] = []
    /** Entries that each stream had before the transaction. */
    const starts = new Map<Stream, number>()
    for (const { table, key, value } of writes) {
      if (value === null || !STREAM_TABLES.has(table)) continue
      const bytes = keyBytes(key)
      const stream = this.#streams.get(streamKey(readU32(bytes, 0), readU16(bytes, 4)))
      check(stream !== undefined, 'a commit names a stream of the node', readU32(bytes, 0), readU16(bytes, 4))
      touched.add(stream)
      const place = placeOf(stream)
      if (!starts.has(stream)) starts.set(stream, stream.committed.length)
      if (table === 'entries') {
        const seq = readU64(bytes, 6)
        check(
          seq === stream.committed.length,
          'each entry is committed once, without a gap',
          place,
          seq,
          stream.committed.length,
        )
        stream.committed.push(value)
      } else if (table === 'progress') {
        const progress = unsealJson<Progress>(value, () => 'progress')
        const before = stream.progress?.position ?? 0
        check(progress.position > before, 'progress never steps back', place, progress.position, before)
        stream.progress = progress
      } else if (table === 'groups') {
        const id = `${place}/${readU32(bytes, 6)}`
        const groupKey = unseal(value, () => 'a group').slice()
        const known = this.#groups.get(id) ?? groupKey
        check(compareBytes(known, groupKey) === 0, 'a group id keeps its key', id)
        this.#groups.set(id, groupKey)
      } else if (table === 'withheld') {
        const { seq } = unsealJson<Withheld>(value, () => 'an entry that is withheld')
        stream.withheld.add(seq)
        silenced.push(() => {
          check(seq < stream.committed.length, 'an entry is withheld in its own transaction', place, seq)
          check(seq >= starts.get(stream)!, 'what was told is not withheld afterwards', place, seq)
        })
      } else if (table === 'retold') {
        const retold = unsealJson<Retold>(value, () => 'what is told late')
        const late = stream.late.get(retold.beforeSeq) ?? []
        stream.late.set(retold.beforeSeq, late)
        check(readU32(bytes, 14) === late.length, 'what is told late has a place of its own', place)
        late.push(retold)
        const isOpen = retold.beforeSeq === starts.get(stream)
        check(isOpen, 'nothing is told late before what was told already', place, retold.beforeSeq)
      } else stream.checkpoint = unsealJson<Checkpoint>(value, () => 'a checkpoint')
    }
    for (const holds of silenced) holds()
    for (const stream of touched) this.#checkCommit(stream)
  }

  #checkCommit(stream: Stream): void {
    const { progress, checkpoint, committed } = stream
    const place = placeOf(stream)
    const nextSeq = progress?.nextSeq ?? 0
    check(
      nextSeq === committed.length,
      'entries and the progress that covers them are one commit',
      place,
      nextSeq,
      committed.length,
    )
    if (progress === null) return
    const { position, ledger } = progress
    const end = this.endOffset(stream.pipeline.topic.topicId, stream.partition)
    check(position <= end, 'progress is never ahead of the log', place, position, end)
    check(balances(ledger), 'the ledger balances at every commit', place, JSON.stringify(ledger))
    const cut = checkpoint?.position ?? 0
    check(cut <= position, 'a checkpoint is never ahead of committed results', place, cut, position)
  }

  // ---- oracle --------------------------------------------------------------------------------------------------

  #newStream(pipeline: BoardPipeline, partition: number): Stream {
    const expected: OracleEntry[] = []
    const groups: Uint8Array[] = []
    const oracle = this.#newOracle(pipeline, partition, expected, groups)
    return {
      pipeline,
      partition,
      committed: [],
      progress: null,
      checkpoint: null,
      checkedSeq: 0,
      oracle,
      expected,
      groups,
      withheld: new Set(),
      late: new Map(),
      nextBatch: 0,
    }
  }

  #newOracle(
    pipeline: BoardPipeline,
    partition: number,
    expected: OracleEntry[],
    groups: Uint8Array[],
  ): Chain {
    const series = this.#series[pipeline.topic.topicId]!
    return new Chain({
      plan: pipeline.plan,
      registry,
      partition,
      keyOf: (seriesId) => series[seriesId]!,
      feedback: { rows: () => this.#feedback },
      sink: {
        group: (groupId, key) => {
          groups[groupId] = key.slice()
        },
        entry: (kind, seq, causeOffset, eventTimeMs, bytes, length) => {
          expected.push({ kind, seq, causeOffset, eventTimeMs, bytes: bytes.slice(0, length) })
        },
      },
    })
  }

  #compareStream(stream: Stream): void {
    const { progress, oracle, pipeline, partition, expected, committed } = stream
    const place = placeOf(stream)
    const { position, nextSeq, ledger } = progress!
    const { batches } = this.#log[pipeline.topic.topicId]![partition]!
    while (oracle.position < position) {
      new Uint8Array(this.#readBuffer).set(batches[stream.nextBatch++]!.bytes)
      oracle.process(this.#view.point(0))
    }
    check(
      oracle.position === position,
      'progress stands between two records',
      place,
      position,
      oracle.position,
    )
    check(oracle.nextSeq === nextSeq, 'the oracle has as many entries', place, nextSeq, oracle.nextSeq)
    check(
      sameLedger(oracle.ledger, ledger),
      'the oracle has the same ledger',
      place,
      JSON.stringify(ledger),
      JSON.stringify(oracle.ledger),
    )
    for (; stream.checkedSeq < nextSeq; stream.checkedSeq++) {
      const { seq, kind, causeOffset, eventTimeMs, bytes } = expected[stream.checkedSeq]!
      const wanted = this.#encoder.encode(seq, kind, causeOffset, eventTimeMs, bytes)
      const same = compareBytes(wanted, committed[stream.checkedSeq]!) === 0
      check(same, 'committed entries have the bytes of an uninterrupted run', place, seq, kind)
    }
    for (const [groupId, key] of stream.groups.entries()) {
      const known = this.#groups.get(`${place}/${groupId}`)
      check(
        known !== undefined && compareBytes(known, key) === 0,
        'groups are those of an uninterrupted run',
        place,
        groupId,
      )
    }
  }

  /** Records of alerts as sinks are told them: without what is withheld, and what is told late in its place. */
  #told(stream: Stream, decoder: EntryDecoder): SinkRecord[] {
    const { expected, withheld, late, partition } = stream
    const records: SinkRecord[] = []
    for (let seq = 0; seq <= expected.length; seq++) {
      for (const [row, retold] of (late.get(seq) ?? []).entries()) {
        const { bytes } = expected[retold.seq]!
        const isSame = Buffer.from(bytes).toString() === retold.json
        check(isSame, 'what is told late is what was withheld', placeOf(stream), retold.seq)
        records.push(decoder.retold(partition, retold, row))
      }
      const entry = expected[seq]
      if (entry === undefined || feedOf(entry) !== 'alerts' || withheld.has(seq)) continue
      records.push(...decoder.records(partition, entry))
    }
    return records
  }

  /**
   * Whoever is told of alerts hears a life cycle: nothing ends that did not begin, nothing is left open that is over, and with all
   * silences ended nothing stands that was not told as it stands.
   */
  #checkTold(stream: Stream): void {
    const decoder = this.#decoderOf(stream)
    const heard = new Map<string, string>()
    for (const { body } of this.#told(stream, decoder)) {
      const { id, state } = body as Alert
      if (state === 'resolved')
        check(heard.delete(id), 'an end is told of what was told', placeOf(stream), id)
      else heard.set(id, JSON.stringify(body))
    }
    const open = new Map<string, string>()
    for (const { kind, bytes } of stream.expected) {
      if (kind !== ENTRY_ALERT) continue
      const alert = JSON.parse(Buffer.from(bytes).toString()) as Alert
      if (alert.state === 'resolved') open.delete(alert.id)
      else open.set(alert.id, JSON.stringify(alert))
    }
    const texts = (alerts: ReadonlyMap<string, string>): string => [...alerts.values()].sort().join('\n')
    check(texts(heard) === texts(open), 'what stands was told as it stands', placeOf(stream), () =>
      texts(open),
    )
  }

  #decoderOf(stream: Stream): EntryDecoder {
    const series = this.#series[stream.pipeline.topic.topicId]!
    return new EntryDecoder(stream.pipeline.plan, {
      group: (_partition, groupId) => decodeSeriesKey(stream.groups[groupId]!),
      series: (seriesId) => decodeSeriesKey(series[seriesId]!),
    })
  }

  #lines(stream: Stream, feed: SinkFeed): string[] {
    const decoder = this.#decoderOf(stream)
    if (feed === 'alerts') return this.#told(stream, decoder).map(recordJson)
    const entries = stream.expected.filter((entry) => feedOf(entry) === feed)
    return entries.flatMap((entry) => [...decoder.records(stream.partition, entry)].map(recordJson))
  }

  /**
   * The log's samples in record batches of one each: entries and ledger do not depend on how samples were cut. (A LATE
   * entry does: it lists the late samples of one batch.)
   */
  #compareRecut(stream: Stream): void {
    const { pipeline, partition, expected, oracle } = stream
    const recut: OracleEntry[] = []
    const chain = this.#newOracle(pipeline, partition, recut, [])
    const bytes = new Uint8Array(this.#readBuffer)
    const source = new BatchView(new ArrayBuffer(this.#readBuffer.byteLength))
    for (const batch of this.#log[pipeline.topic.topicId]![partition]!.batches) {
      new Uint8Array(source.values.buffer).set(batch.bytes)
      source.point(0)
      if (source.count <= 1) {
        bytes.set(batch.bytes)
        chain.process(this.#view.point(0))
        continue
      }
      for (let i = 0; i < source.count; i++) {
        cutOne(this.#readBuffer, source, i)
        chain.process(this.#view.point(0))
      }
    }
    const place = placeOf(stream)
    check(
      sameLedger(oracle.ledger, chain.ledger),
      'the ledger does not depend on how samples were cut',
      place,
      JSON.stringify(oracle.ledger),
      JSON.stringify(chain.ledger),
    )
    const [whole, cut] = [expected, recut].map((entries) => entries.filter(({ kind }) => kind !== ENTRY_LATE))
    for (let i = 0; i < Math.max(whole!.length, cut!.length); i++) {
      const [a, b] = [whole![i], cut![i]]
      const same =
        a !== undefined &&
        b !== undefined &&
        a.causeOffset === b.causeOffset &&
        a.kind === b.kind &&
        compareBytes(a.bytes, b.bytes) === 0
      check(same, 'entries do not depend on how samples were cut', place, i, a?.causeOffset, b?.causeOffset)
    }
  }

  /** The table of current alerts is what the stream says last of each. */
  #checkAlerts(alerts: (pipelineId: number) => readonly string[]): void {
    const wanted = new Map<number, Map<string, string>>()
    for (const { pipeline, expected } of this.#streams.values()) {
      const current = wanted.get(pipeline.pipelineId) ?? new Map<string, string>()
      wanted.set(pipeline.pipelineId, current)
      for (const { kind, bytes } of expected) {
        if (kind !== ENTRY_ALERT) continue
        const json = Buffer.from(bytes).toString()
        const alert = JSON.parse(json) as Alert
        if (alert.state === 'resolved') current.delete(alert.id)
        else current.set(alert.id, json)
      }
    }
    for (const [pipelineId, current] of wanted) {
      const stored = [...alerts(pipelineId)].sort().join('\n')
      const computed = [...current.values()].sort().join('\n')
      check(
        stored === computed,
        'current alerts are those that the stream left open',
        pipelineId,
        stored,
        computed,
      )
    }
  }

  // ---- what clients were told ----------------------------------------------------------------------------------

  /**
   * Of each client and partition, the log's samples are those of its attempts, whole and in the order they were sent:
   * every acknowledged one, and of the others those whose answer was lost. Values are unique, so that is decidable.
   */
  #checkAttempts(attempts: readonly Attempt[]): void {
    const stored = this.#storedByClient()
    const at = new Map<string, number>()
    const storedOnce = new Set<string>()
    const acknowledgedOnce = new Set<string>()
    const knownByTopic = this.#series.map((series) => new Set(series.map(keyText)))
    for (const attempt of attempts) {
      const { topicId } = attempt
      const known = knownByTopic[topicId]!
      const byPartition = new Map<string, string[]>()
      for (const sample of attempt.samples) {
        // The topic's limit refused the series; the acknowledgement counted it.
        const { text, partitions } = sample.series
        if (!known.has(text)) continue
        const place = `${attempt.client}/${topicId}/${partitions[topicId]}`
        const list = byPartition.get(place) ?? []
        byPartition.set(place, list)
        list.push(sampleText(text, sample.timestampMs, sample.value))
      }
      const isStored = [...byPartition].every(([place, samples]) => {
        const from = at.get(place) ?? 0
        return samples.every((sample, i) => stored.get(place)?.[from + i] === sample)
      })
      const { identity, acknowledged, id, client } = attempt
      if (identity === null) {
        check(isStored || !acknowledged, 'what was acknowledged is in the log', id, client)
      } else if (byPartition.size > 0) {
        if (acknowledged) acknowledgedOnce.add(identity)
        if (isStored) {
          check(!storedOnce.has(identity), 'what was sent again is stored once', id, client, identity)
          storedOnce.add(identity)
        }
      }
      if (!isStored) continue
      for (const [place, samples] of byPartition) at.set(place, (at.get(place) ?? 0) + samples.length)
    }
    for (const identity of acknowledgedOnce) {
      check(storedOnce.has(identity), 'what was acknowledged is in the log, whichever copy it was', identity)
    }
    for (const [place, samples] of stored) {
      check(
        (at.get(place) ?? 0) === samples.length,
        'the log holds nothing that was not sent, and nothing twice',
        place,
        at.get(place),
        samples.length,
      )
    }
  }

  #storedByClient(): Map<string, string[]> {
    const stored = new Map<string, string[]>()
    for (const [topicId, partitions] of this.#log.entries()) {
      const series = this.#series[topicId]!.map((key) => {
        return { text: keyText(key), client: decodeSeriesKey(key).client!.slice(1) }
      })
      for (const [partition, { batches }] of partitions.entries()) {
        for (const { bytes } of batches) {
          new Uint8Array(this.#readBuffer).set(bytes)
          const view = this.#view.point(0)
          for (let i = 0; i < view.count; i++) {
            const { text, client } = series[view.seriesIds[view.seriesIdsAt + i]!]!
            const place = `${client}/${topicId}/${partition}`
            const list = stored.get(place) ?? []
            stored.set(place, list)
            list.push(
              sampleText(text, view.timestampsMs[view.timestampsMsAt + i]!, view.values[view.valuesAt + i]!),
            )
          }
        }
      }
    }
    return stored
  }
}

const STREAM_TABLES: ReadonlySet<string> = new Set([
  'entries',
  'progress',
  'groups',
  'checkpoints',
  'withheld',
  'retold',
])

function streamKey(pipelineId: number, partition: number): number {
  return pipelineId * 65_536 + partition
}

function placeOf({ pipeline, partition }: Stream): string {
  return `${pipeline.plan.name}/${partition}`
}

function balances({ in: taken, windowed, filtered, late, nonFinite }: Ledger): boolean {
  return taken === windowed + filtered + late + nonFinite
}

function sameLedger(a: Ledger, b: Ledger): boolean {
  return JSON.stringify(a) === JSON.stringify({ ...a, ...b })
}

/** Sample `i` of a record batch as a batch of its own, at byte 0 of `into`. */
function cutOne(into: ArrayBuffer, source: BatchView, i: number): void {
  const timestampMs = source.timestampsMs[source.timestampsMsAt + i]!
  const f64 = new Float64Array(into)
  f64[layout.timestampsAt() >> 3] = timestampMs
  f64[layout.valuesAt(1) >> 3] = source.values[source.valuesAt + i]!
  new Int32Array(into, 0, into.byteLength >> 2)[layout.seriesIdsAt(1) >> 2] =
    source.seriesIds[source.seriesIdsAt + i]!
  sealBatch(new Uint8Array(into), new DataView(into), {
    kind: source.kind,
    topicId: source.topicId,
    partition: source.partition,
    baseOffset: source.baseOffset + i,
    count: 1,
    minTimestampMs: timestampMs,
    maxTimestampMs: timestampMs,
    appendedMs: source.appendedMs,
    producerId: 0,
    producerEpoch: 0,
    baseSequence: -1,
  })
}

function sampleText(series: string, timestampMs: number, value: number): string {
  return `${series} ${timestampMs} ${value}`
}
