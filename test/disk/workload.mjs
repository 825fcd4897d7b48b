/**
 * Acknowledged work on a store, as a function of a seed: the same steps can be done on a real store, on a naive model in
 * memory, and described from either, so that a store can be compared with "exactly the first k transactions".
 * Log and state have steps of their own; the i-th state step needs no log step after the i-th.
 */
import { createHash } from 'node:crypto'
import { sealBatch } from '../../dist/engine/batch/batch-encoder.js'
import * as layout from '../../dist/engine/batch/layout.js'
import { openLogReader, openLogWriter } from '../../dist/engine/store/log-store.js'
import { openStateReader, openStateWriter } from '../../dist/engine/store/state-store.js'
import { openStore } from '../../dist/engine/store/store.js'
import { Prng } from '../../dist/engine/util/prng.js'

const PARTITIONS = 3
const PAGE_CELLS = 512
const START_MS = 1_700_000_000_000
const FOREVER = Number.POSITIVE_INFINITY

/** `count` steps of each environment. */
export function stepsOf(seed, count) {
  const prng = new Prng(seed)
  const ends = [0, 0, 0]
  const seqs = [0, 0, 0]
  let series = 0
  const log = []
  const state = []
  for (let i = 0; i < count; i++) {
    log.push(logStep(i))
    state.push(stateStep(i))
  }
  return { log, state }

  function logStep(i) {
    if (i === 0) return { topic: { name: 'metrics', partitions: PARTITIONS, partitionBy: ['host'] } }
    // An age that leaves about ten steps' batches.
    if (i % 7 === 6) return { retain: { nowMs: START_MS + i * 1_000, ageMsMax: 10_000 } }
    const keys = Array.from({ length: prng.below(4) }, () => `host=h${series}${'x'.repeat(prng.below(60))}`)
    const batches = Array.from({ length: 1 + prng.below(3) }, () => {
      const partition = prng.below(PARTITIONS)
      const large = prng.below(12) === 0
      const samples = large ? layout.BATCH_SAMPLES_MAX : prng.below(4) === 0 ? 0 : prng.below(300)
      const batch = {
        partition,
        count: samples,
        baseOffset: ends[partition],
        appendedMs: START_MS + i * 1_000,
      }
      ends[partition] += layout.offsetsOf(samples)
      return batch
    })
    const firstSeries = series
    series += keys.length
    return { series: { first: firstSeries, keys }, batches }
  }

  function stateStep(i) {
    if (i === 0)
      return { pipeline: { name: 'cpu', topicId: 0, topic: 'metrics', planHash: 'h', planJson: '{}' } }
    if (i % 9 === 8) return { retainEntries: { partition: i % PARTITIONS, countMax: 6 } }
    const partition = prng.below(PARTITIONS)
    const puts = { partition, entries: [], groups: [], pages: [], alerts: [] }
    for (let n = prng.below(4); n > 0; n--) {
      puts.entries.push({
        seq: seqs[partition]++,
        timeMs: START_MS + i * 1_000,
        bytes: bytesOf(prng, prng.below(3_000)),
      })
    }
    puts.groups.push({ id: i, key: bytesOf(prng, 20) })
    if (prng.below(3) === 0)
      puts.pages.push({ region: prng.below(2), index: prng.below(3), value: prng.float() })
    if (prng.below(3) === 0) puts.alerts.push({ id: `a${prng.below(6)}`, put: prng.below(3) > 0 })
    puts.progress = { position: ends[partition], nextSeq: seqs[partition], ledger: { in: i } }
    if (prng.below(3) === 0) puts.checkpoint = { ...puts.progress, meta: 'm'.repeat(prng.below(3_000)) }
    if (prng.below(3) === 0)
      puts.sink = { name: `s${prng.below(2)}`, json: JSON.stringify({ seq: seqs[partition] }) }
    return { puts }
  }
}

function bytesOf(prng, length) {
  return Uint8Array.from({ length }, () => prng.below(256))
}

function batchOf({ partition, count, baseOffset, appendedMs }) {
  const buffer = new ArrayBuffer(layout.batchBytes(count))
  const bytes = new Uint8Array(buffer)
  const prng = new Prng(baseOffset * 31 + partition)
  new Float64Array(buffer, layout.timestampsAt(), count).fill(appendedMs)
  new Float64Array(buffer, layout.valuesAt(count), count).forEach((_, i, values) => {
    values[i] = prng.float()
  })
  sealBatch(bytes, new DataView(buffer), {
    kind: count === 0 ? 2 : 1,
    topicId: 0,
    partition,
    baseOffset,
    count,
    minTimestampMs: appendedMs,
    maxTimestampMs: appendedMs,
    appendedMs,
    producerId: 0,
    producerEpoch: 0,
    baseSequence: -1,
  })
  return bytes
}

/** The open store with its writers. */
export class Session {
  static async open(dir) {
    const session = new Session()
    session.dir = dir
    session.store = await openStore({ dir })
    try {
      session.log = openLogWriter({ dir, fence: session.store.fence })
      session.state = openStateWriter({ dir, fence: session.store.fence })
    } catch (error) {
      await session.close()
      throw error
    }
    return session
  }

  async close() {
    await this.log?.close()
    await this.state?.close()
    await this.store.close()
  }

  doLog(step) {
    if (step.retain !== undefined) {
      this.log.retain({ ...step.retain, bytesMax: FOREVER, lowWater: () => FOREVER })
      return
    }
    this.log.transaction((txn) => {
      if (step.topic !== undefined) txn.createTopic(step.topic)
      step.series?.keys.forEach((key, i) => {
        txn.putSeries(0, step.series.first + i, Buffer.from(key))
      })
      for (const batch of step.batches ?? []) txn.putBatch(batchOf(batch))
    })
  }

  doState(step) {
    if (step.retainEntries !== undefined) {
      const { partition, countMax } = step.retainEntries
      const limits = { pipelineId: 0, beforeMs: Number.NEGATIVE_INFINITY, lowWaterSeq: FOREVER }
      this.state.retainEntries({ ...limits, partition, countMax })
      return
    }
    this.state.transaction((txn) => {
      if (step.pipeline !== undefined) txn.putPipeline(step.pipeline)
      if (step.puts === undefined) return
      const { partition, entries, groups, pages, alerts, progress, checkpoint, sink } = step.puts
      for (const { seq, timeMs, bytes } of entries) txn.putEntry(0, partition, seq, 1, seq, timeMs, bytes)
      for (const { id, key } of groups) txn.putGroup(0, partition, id, key)
      for (const { region, index, value } of pages) {
        txn.putPage(0, partition, region, index, new Float64Array(PAGE_CELLS).fill(value))
      }
      for (const { id, put } of alerts) {
        if (put) txn.putAlert(0, id, JSON.stringify({ id }))
        else txn.removeAlert(0, id)
      }
      txn.putProgress(0, partition, progress)
      if (checkpoint !== undefined) txn.putCheckpoint(0, partition, checkpoint)
      if (sink !== undefined) txn.putSink(0, sink.name, sink.json)
    })
  }
}

/** The naive twin of a store. */
export class Model {
  topics = []
  series = []
  partitions = Array.from({ length: PARTITIONS }, () => ({ start: 0, end: 0, appendedMs: null, batches: [] }))
  pipelines = []
  states = Array.from({ length: PARTITIONS }, () => ({
    progress: null,
    checkpoint: null,
    entries: [],
    groups: new Map(),
    pages: new Map(),
  }))
  alerts = new Map()
  sinks = new Map()

  doLog(step) {
    if (step.topic !== undefined) this.topics.push({ id: 0, ...step.topic })
    for (const key of step.series?.keys ?? []) this.series.push(Buffer.from(key).toString('hex'))
    for (const batch of step.batches ?? []) {
      const partition = this.partitions[batch.partition]
      const end = batch.baseOffset + layout.offsetsOf(batch.count)
      partition.batches.push({
        base: batch.baseOffset,
        end,
        ms: batch.appendedMs,
        hash: hashOf(batchOf(batch)),
      })
      partition.end = end
      partition.appendedMs = batch.appendedMs
    }
    if (step.retain === undefined) return
    for (const partition of this.partitions) {
      const isOld = ({ ms }) => step.retain.nowMs - ms > step.retain.ageMsMax
      while (partition.batches.length > 1 && isOld(partition.batches[0])) partition.batches.shift()
      partition.start = partition.batches[0]?.base ?? partition.end
    }
  }

  doState(step) {
    if (step.pipeline !== undefined) this.pipelines.push({ id: 0, ...step.pipeline })
    if (step.retainEntries !== undefined) {
      const { entries } = this.states[step.retainEntries.partition]
      while (entries.length > step.retainEntries.countMax) entries.shift()
    }
    if (step.puts === undefined) return
    const { partition, entries, groups, pages, alerts, progress, checkpoint, sink } = step.puts
    const state = this.states[partition]
    for (const { seq, timeMs, bytes } of entries) state.entries.push([seq, 1, seq, timeMs, hashOf(bytes)])
    for (const { id, key } of groups) state.groups.set(id, hashOf(key))
    for (const { region, index, value } of pages) state.pages.set(`${region}/${index}`, value)
    for (const { id, put } of alerts) {
      if (put) this.alerts.set(id, JSON.stringify({ id }))
      else this.alerts.delete(id)
    }
    state.progress = progress
    if (checkpoint !== undefined) state.checkpoint = checkpoint
    if (sink !== undefined) this.sinks.set(sink.name, sink.json)
  }

  describeLog() {
    const partitions = this.topics.length === 0 ? [] : this.partitions
    return JSON.stringify({
      topics: this.topics,
      series: this.series,
      partitions: partitions.map(({ start, end, appendedMs, batches }) => {
        return { start, end, appendedMs, batches: batches.map(({ hash }) => hash) }
      }),
    })
  }

  describeState() {
    const states = this.pipelines.length === 0 ? [] : this.states
    return JSON.stringify({
      pipelines: this.pipelines,
      states: states.map(({ progress, checkpoint, entries, groups, pages }) => {
        return { progress, checkpoint, entries, groups: sorted(groups), pages: sorted(pages) }
      }),
      alerts: sorted(this.alerts),
      sinks: sorted(this.sinks),
    })
  }
}

/** What the engine's own readers find, in the model's words. Reads everything. */
export async function describeStore(dir) {
  const log = openLogReader({ dir })
  const state = openStateReader({ dir })
  try {
    return { log: describeLog(log), state: describeState(state) }
  } finally {
    await log.close()
    await state.close()
  }
}

function describeLog(reader) {
  const into = new ArrayBuffer(layout.BATCH_BYTES_MAX)
  const topics = reader.topics()
  const series = topics.flatMap(({ id }) =>
    reader.seriesOf(id).map((key) => Buffer.from(key).toString('hex')),
  )
  series.forEach((key, id) => {
    if (Buffer.from(reader.seriesKey(0, id)).toString('hex') !== key)
      throw new Error(`series ${id} is two things`)
  })
  const partitions = topics.flatMap((topic) => {
    return Array.from({ length: topic.partitions }, (_, partition) => {
      const start = reader.startOffset(topic.id, partition)
      const end = reader.endOffset(topic.id, partition)
      const { appendedMs } = reader.tail(topic.id, partition)
      const batches = []
      for (let offset = start; ; ) {
        const length = reader.read(topic.id, partition, offset, into)
        if (length === 0) break
        batches.push(hashOf(new Uint8Array(into, 0, length)))
        offset += layout.offsetsOf(new DataView(into).getInt32(layout.COUNT_AT, true))
      }
      return { start, end, appendedMs: Number.isFinite(appendedMs) ? appendedMs : null, batches }
    })
  })
  return JSON.stringify({ topics, series, partitions })
}

function describeState(reader) {
  const pipelines = reader.pipelines()
  const states = pipelines.flatMap(({ id }) => {
    return Array.from({ length: PARTITIONS }, (_, partition) => {
      const progress = reader.progress(id, partition)
      const { firstSeq, endSeq } = reader.seqRange(id, partition)
      const entries = []
      for (let seq = firstSeq; seq < endSeq; ) {
        const some = reader.entries(id, partition, seq, { countMax: 5 })
        if (some.length === 0) throw new Error(`no entry ${seq} before ${endSeq}`)
        for (const entry of some) {
          if (entry.seq !== seq) throw new Error(`entry ${entry.seq} where ${seq} should be`)
          entries.push([entry.seq, entry.kind, entry.causeOffset, entry.eventTimeMs, hashOf(entry.bytes)])
          seq++
        }
      }
      const groups = new Map(reader.groups(id, partition).map(({ groupId, key }) => [groupId, hashOf(key)]))
      const pages = new Map()
      for (const { region, index, cells } of reader.pages(id, partition)) {
        if (cells.some((cell) => cell !== cells[0])) throw new Error(`page ${region}/${index} is torn`)
        pages.set(`${region}/${index}`, cells[0])
      }
      const checkpoint = reader.checkpoint(id, partition)
      return { progress, checkpoint, entries, groups: sorted(groups), pages: sorted(pages) }
    })
  })
  const alerts = new Map(
    pipelines.flatMap(({ id }) => reader.alerts(id).map((alert) => [alert.id, alert.json])),
  )
  const sinks = new Map(pipelines.flatMap(({ id }) => reader.sinks(id).map(({ sink, json }) => [sink, json])))
  return JSON.stringify({ pipelines, states, alerts: sorted(alerts), sinks: sorted(sinks) })
}

function sorted(map) {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1))
}

function hashOf(bytes) {
  return `${bytes.length}:${createHash('sha256').update(bytes).digest('base64url').slice(0, 16)}`
}
