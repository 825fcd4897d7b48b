/**
 * What the CRCs cannot show: a row that is missing because its key was damaged, and now stands under another. Keys still
 * ascend (page-check.ts has seen to that), so such a row is the first or last of a run. `openStore` calls this; it reads
 * the small tables whole and the ends of the large ones, O(pipelines × partitions). A row under a wrong key fails its CRC
 * wherever it is read, because the CRC is bound to the key (env.ts).
 */
import { decodeEntry } from './entry-codec.ts'
import type { Table } from './env.ts'
import { readU16, readU32, readU64 } from './keys.ts'
import type { LogTables } from './log-tables.ts'
import { damaged, unseal } from './sealed.ts'
import type { PipelineRecord, Progress } from './state-contract.ts'
import { partitionEnd, partitionStart, pipelineStart, type StateTables } from './state-tables.ts'

const FROM_FIRST = new Uint8Array([0])
const PAST_LAST = new Uint8Array(16).fill(0xff)
const U16_MAX = 0xffff
const SEQ_AT = 6
const SERIES_AT = 2

/** Each series belongs to a topic, and each topic's are numbered from 0. */
export function checkLogRows(tables: LogTables): void {
  const { env, series } = tables
  env.read(() => {
    const topics = tables.readTopics()
    let from: Uint8Array | null = FROM_FIRST
    for (;;) {
      const key: Uint8Array | null = env.firstKey(series, from, PAST_LAST)
      if (key === null) return
      const topicId = readU16(key, 0)
      const name = `the list of series of topic ${topicId} in the log`
      if (topics[topicId] === undefined) throw damaged(name, 'there is no such topic')
      if (readU32(key, SERIES_AT) !== 0) throw damaged(name, 'its first is missing')
      if (topicId === U16_MAX) return
      from = tables.topicKey(topicId + 1).slice()
    }
  })
}

/** Each row belongs to a pipeline and a stream that exist; entries end where progress says. */
export function checkStateRows(
  tables: StateTables,
  streamsOf: (pipeline: PipelineRecord) => number | null,
): void {
  const { env } = tables
  env.read(() => {
    const streams = new Map<number, number | null>()
    for (const pipeline of tables.readPipelines()) streams.set(pipeline.id, streamsOf(pipeline))
    const names = new Map<Table, string>([
      [tables.dropped, 'dropped pipeline'],
      [tables.progress, 'progress'],
      [tables.checkpoints, 'checkpoint'],
      [tables.alerts, 'alert'],
      [tables.sinks, 'sink'],
      [tables.unheard, 'silence of an alert'],
    ])
    for (const [table, name] of names) {
      for (const { key, value } of env.rows(table, pipelineStart(0), PAST_LAST)) {
        const pipelineId = readU32(key, 0)
        unseal(value, () => `a row (${name}) of pipeline #${pipelineId}`)
        if (table === tables.dropped) streams.set(pipelineId, null)
        else if (!streams.has(pipelineId)) throw orphan(name, pipelineId)
      }
    }
    for (const table of [tables.groups, tables.entries, tables.pages, tables.withheld, tables.retold]) {
      for (const { pipelineId, partition } of prefixes(tables, table)) {
        const count = streams.get(pipelineId)
        if (count === undefined) throw orphan('group, entry or page', pipelineId)
        if (count !== null && partition >= count) {
          throw damaged(`a row of ${tables.placeOf(pipelineId, partition)}`, 'there is no such partition')
        }
        if (table === tables.entries) checkEnds(tables, pipelineId, partition)
      }
    }
  })
}

function checkEnds(tables: StateTables, pipelineId: number, partition: number): void {
  const { env, entries, progress } = tables
  const from = partitionStart(pipelineId, partition)
  const to = partitionEnd(pipelineId, partition)
  const place = tables.placeOf(pipelineId, partition)
  let endSeq = 0
  for (const key of [env.firstKey(entries, from, to), env.lastKey(entries, from, to)]) {
    if (key === null) return
    const seq = readU64(key, SEQ_AT)
    const bytes = env.peek(entries, key)
    if (bytes === null || decodeEntry(bytes, seq) === null) throw damaged(`entry ${seq} of ${place}`)
    endSeq = seq + 1
  }
  const bytes = env.peek(progress, tables.partitionKey(pipelineId, partition))
  if (bytes === null) return
  const { nextSeq } = JSON.parse(
    Buffer.from(unseal(bytes, () => `progress of ${place}`)).toString(),
  ) as Progress
  if (endSeq < nextSeq) throw damaged(`entry ${nextSeq - 1} of ${place}`, 'missing')
}

/** Each pipeline and partition that has rows in `table`, by one seek each. */
function* prefixes(tables: StateTables, table: Table): Generator<{ pipelineId: number; partition: number }> {
  let from: Uint8Array = pipelineStart(0)
  for (;;) {
    const key = tables.env.firstKey(table, from, PAST_LAST)
    if (key === null) return
    const pipelineId = readU32(key, 0)
    const partition = readU16(key, 4)
    yield { pipelineId, partition }
    from = partition < U16_MAX ? partitionStart(pipelineId, partition + 1) : pipelineStart(pipelineId + 1)
  }
}

function orphan(name: string, pipelineId: number): Error {
  return damaged(`a row (${name}) of pipeline #${pipelineId}`, 'there is no such pipeline')
}
