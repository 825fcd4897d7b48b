/**
 * What an uninterrupted run over a log yields: each pipeline's chain, fresh, given the log from its first record to its
 * last, in one go, in this thread, with no store behind it. And what the log holds of what was fed.
 */
import { createHash } from 'node:crypto'
import { BatchView } from '../../engine/batch/batch-view.ts'
import { BATCH_BYTES_MAX } from '../../engine/batch/layout.ts'
import type { Ledger } from '../../engine/contract/entries.ts'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import type { SinkFeed } from '../../engine/contract/plugins.ts'
import { RECORD_SAMPLES } from '../../engine/contract/samples.ts'
import { Chain } from '../../engine/pipeline/chain.ts'
import { EntryDecoder, feedOf } from '../../engine/pipeline/entry-decoder.ts'
import { decodeSeriesKey } from '../../engine/series/series-key.ts'
import type { LogReader, LogTopic } from '../../engine/store/log-contract.ts'
import type { Entry } from '../../engine/store/state-contract.ts'
import { registry } from '../../operators/registry.ts'
import { recordJson } from '../../operators/sinks/record-json.ts'
import { bodyOf, hostOf, makeBody } from './feed.ts'

/** One (pipeline, partition). */
export interface ReferenceStream {
  readonly pipeline: string
  readonly partition: number
  /** Of each entry, in order. */
  readonly fingerprints: readonly string[]
  /** Lines of each feed, as sinks write them. */
  readonly lines: Readonly<Record<SinkFeed, readonly string[]>>
  readonly position: number
  readonly ledger: Ledger
  /** Alerts that pend or fire at the end: id → JSON. */
  readonly alerts: ReadonlyMap<string, string>
}

/** Everything of an entry but its number, so that an entry that came twice is known under whatever number. */
export function fingerprint({ kind, causeOffset, eventTimeMs, bytes }: Omit<Entry, 'seq'>): string {
  const digest = createHash('sha256').update(bytes).digest('base64')
  return `${kind}/${causeOffset}/${eventTimeMs}/${digest}`
}

export function referenceOf(log: LogReader, plan: PipelinePlan): readonly ReferenceStream[] {
  const topic = log.topicOf(plan.topic.name)
  if (topic === null) throw new Error(`the log has no topic ${plan.topic.name}`)
  const streams: ReferenceStream[] = []
  for (let partition = 0; partition < topic.partitions; partition++) {
    streams.push(streamOf(log, topic, plan, partition))
  }
  return streams
}

function streamOf(log: LogReader, topic: LogTopic, plan: PipelinePlan, partition: number): ReferenceStream {
  const groups = new Map<number, Uint8Array>()
  const labelsOf = (seriesId: number) => decodeSeriesKey(log.seriesKey(topic.id, seriesId)!)
  const decoder = new EntryDecoder(plan, {
    group: (_, groupId) => decodeSeriesKey(groups.get(groupId)!),
    series: labelsOf,
  })
  const fingerprints: string[] = []
  const lines: Record<SinkFeed, string[]> = { results: [], alerts: [], late: [] }
  const alerts = new Map<string, string>()
  const chain = new Chain({
    plan,
    registry,
    partition,
    keyOf: (seriesId) => log.seriesKey(topic.id, seriesId)!,
    sink: {
      group: (groupId, key) => groups.set(groupId, key.slice()),
      entry: (kind, seq, causeOffset, eventTimeMs, all, length) => {
        const entry: Entry = { seq, kind, causeOffset, eventTimeMs, bytes: all.slice(0, length) }
        fingerprints.push(fingerprint(entry))
        const feed = feedOf(entry)!
        for (const record of decoder.records(partition, entry)) {
          lines[feed].push(recordJson(record))
          if (record.body.kind !== 'alert') continue
          if (record.body.state === 'resolved') alerts.delete(record.body.id)
          else alerts.set(record.body.id, Buffer.from(entry.bytes).toString())
        }
      },
    },
  })
  for (const view of recordsOf(log, topic, partition)) chain.process(view)
  const { position, ledger } = chain
  return { pipeline: plan.name, partition, fingerprints, lines, position, ledger, alerts }
}

/** Record batches of a partition in order; each is valid until the next is taken. */
function* recordsOf(log: LogReader, topic: LogTopic, partition: number): Generator<BatchView> {
  const buffer = new ArrayBuffer((BATCH_BYTES_MAX + 7) & ~7)
  const view = new BatchView(buffer)
  let offset = log.startOffset(topic.id, partition)
  while (log.read(topic.id, partition, offset, buffer) > 0) {
    yield view.point(0)
    offset = view.endOffset
  }
}

export interface FedInLog {
  /** Samples in the log. */
  readonly samples: number
  /** Copies of each body that the log holds whole. */
  readonly copies: readonly number[]
  /** Bodies of which the log holds a part, or samples that nobody sent: by what is wrong. */
  readonly faults: readonly string[]
}

/** Holds the log's samples against the bodies that were fed, sample by sample. */
export function fedInLog(log: LogReader, seed: number, bodies: number): FedInLog {
  const found: Int32Array[] = []
  const faults: string[] = []
  let samples = 0
  for (const topic of log.topics()) {
    const hosts = log.seriesOf(topic.id).map((key) => hostOf(decodeSeriesKey(key)))
    for (let partition = 0; partition < topic.partitions; partition++) {
      for (const view of recordsOf(log, topic, partition)) {
        if (view.kind !== RECORD_SAMPLES) continue
        samples += view.count
        for (let i = 0; i < view.count; i++) {
          const host = hosts[view.seriesIds[view.seriesIdsAt + i]!]!
          const timestampMs = view.timestampsMs[view.timestampsMsAt + i]!
          const value = view.values[view.valuesAt + i]!
          const index = bodyOf(value)
          const place =
            Number.isInteger(index) && index < bodies ? placeIn(seed, index, host, timestampMs, value) : -1
          if (place < 0) faults.push(`nobody sent ${host} ${timestampMs} ${value}`)
          else {
            found[index] ??= new Int32Array(makeBodyCached(seed, index).samples.length)
            found[index][place]!++
          }
        }
      }
    }
  }
  const copies = Array.from({ length: bodies }, (_, index) => {
    const counts = found[index]
    if (counts === undefined) return 0
    const least = counts.reduce((a, b) => Math.min(a, b))
    if (counts.some((count) => count !== least))
      faults.push(`body ${index} is there in parts: ${counts.join(' ')}`)
    return least
  })
  return { samples, copies, faults }
}

function placeIn(seed: number, index: number, host: string, timestampMs: number, value: number): number {
  return makeBodyCached(seed, index).samples.findIndex(
    (sample) => sample.host === host && sample.timestampMs === timestampMs && sample.value === value,
  )
}

const cache = new Map<number, ReturnType<typeof makeBody>>()
const CACHED_MAX = 4_096

function makeBodyCached(seed: number, index: number): ReturnType<typeof makeBody> {
  let body = cache.get(index)
  if (body === undefined) {
    if (cache.size >= CACHED_MAX) cache.clear()
    body = makeBody(seed, index)
    cache.set(index, body)
  }
  return body
}
