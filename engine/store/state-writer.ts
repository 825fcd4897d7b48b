/**
 * The only writer of the state environment; lives on the committer thread. One transaction makes a commit or a checkpoint
 * durable as a whole. A reset is one small transaction too: the pipeline gets a new id, and the rows of the old id are
 * collected later, a bounded number at a time. What it promises: state-contract.ts.
 */
import { PAGE_CELLS } from '../state/cells.ts'
import { assert } from '../util/assert.ts'
import { killPoint } from '../util/kill-point.ts'
import { EntryEncoder } from './entry-codec.ts'
import type { Table } from './env.ts'
import { readU32 } from './keys.ts'
import { RETENTION_DELETIONS_MAX } from './retention.ts'
import { damaged, seal, sealJson, unsealJson } from './sealed.ts'
import type {
  Checkpoint,
  EntryRetentionRequest,
  PipelineRecord,
  Progress,
  StateTransaction,
  StateWriter,
} from './state-contract.ts'
import { LmdbStateReader } from './state-reader.ts'
import { pagePayload, pipelineStart, type StateTables } from './state-tables.ts'

export const PIPELINES_MAX = 1_024
/** Entries that one call of `retireEntries` deletes: a few ms of the committer's time. */
export const RETIRED_ENTRIES_MAX = 4_096

const NEXT_PIPELINE_KEY = Buffer.from('next-pipeline')
const NEXT_SILENCE_KEY = Buffer.from('next-silence')
const NOTHING = new Uint8Array(0)
const PAST_LAST = new Uint8Array(16).fill(0xff)

export class LmdbStateWriter extends LmdbStateReader implements StateWriter {
  readonly #tables: StateTables
  readonly #transaction: StateTransaction
  readonly #encoder = new EntryEncoder()

  constructor(tables: StateTables) {
    super(tables)
    this.#tables = tables
    this.#transaction = this.#makeTransaction()
  }

  transaction<T>(body: (txn: StateTransaction) => T): T {
    const result = this.#tables.env.transaction(() => {
      killPoint('state-begun')
      const value = body(this.#transaction)
      killPoint('state-written')
      return value
    })
    killPoint('state-committed')
    return result
  }

  retainEntries(request: EntryRetentionRequest): { readonly deleted: number; readonly more: boolean } {
    const { pipelineId, partition, beforeMs, countMax, lowWaterSeq } = request
    const deletionsMax = request.deletionsMax ?? RETENTION_DELETIONS_MAX
    const { firstSeq, endSeq } = this.seqRange(pipelineId, partition)
    const bound = Math.min(lowWaterSeq, endSeq)
    let until = firstSeq
    let more = false
    while (until < bound) {
      const isOver = endSeq - until > countMax
      if (!isOver && this.#eventTimeMs(pipelineId, partition, until) >= beforeMs) break
      if (until - firstSeq >= deletionsMax) {
        more = true
        break
      }
      until++
    }
    if (until > firstSeq) {
      this.transaction(() => {
        const { env, entries } = this.#tables
        for (let seq = firstSeq; seq < until; seq++) {
          const removed = env.remove(entries, this.#tables.entryKey(pipelineId, partition, seq))
          assert(removed, 'entries have no gaps', pipelineId, partition, seq)
        }
        this.#removeSilenced(pipelineId, partition, until)
      })
    }
    return { deleted: until - firstSeq, more }
  }

  retireEntries(
    streams: readonly {
      readonly pipelineId: number
      readonly partition: number
      readonly beforeSeq: number
    }[],
    deletionsMax = RETIRED_ENTRIES_MAX,
  ): boolean {
    const { env, entries } = this.#tables
    let left = deletionsMax
    let more = false
    const runs: { pipelineId: number; partition: number; firstSeq: number; endSeq: number }[] = []
    for (const { pipelineId, partition, beforeSeq } of streams) {
      const { firstSeq, endSeq } = this.seqRange(pipelineId, partition)
      const until = Math.min(beforeSeq, endSeq)
      if (until <= firstSeq) continue
      const taken = Math.min(until - firstSeq, left)
      if (taken < until - firstSeq) more = true
      left -= taken
      if (taken > 0) runs.push({ pipelineId, partition, firstSeq, endSeq: firstSeq + taken })
    }
    if (runs.length === 0) return more
    this.transaction(() => {
      for (const { pipelineId, partition, firstSeq, endSeq } of runs) {
        for (let seq = firstSeq; seq < endSeq; seq++) {
          const removed = env.remove(entries, this.#tables.entryKey(pipelineId, partition, seq))
          assert(removed, 'entries have no gaps', pipelineId, partition, seq)
        }
      }
    })
    return more
  }

  collect(deletionsMax = RETENTION_DELETIONS_MAX): boolean {
    const tables = this.#tables
    const { env } = tables
    const droppedKey = env.read(() => env.firstKey(tables.dropped, pipelineStart(0), PAST_LAST))
    if (droppedKey === null) return false
    this.transaction(() => {
      let left = deletionsMax
      for (const table of tables.ownedTables()) left -= this.#removeRows(table, readU32(droppedKey, 0), left)
      if (left > 0) env.remove(tables.dropped, droppedKey)
    })
    return true
  }

  /** What sinks were told of entries that are gone: as many rows as entries, at most. */
  #removeSilenced(pipelineId: number, partition: number, beforeSeq: number): void {
    const tables = this.#tables
    const start = tables.entryKey(pipelineId, partition, 0).slice()
    const end = tables.entryKey(pipelineId, partition, beforeSeq).slice()
    for (const table of [tables.withheld, tables.retold]) {
      // Keys first: a cursor does not survive the deletion of what it stands on.
      const keys = Array.from(tables.env.rows(table, start, end), ({ key }) => key.slice())
      for (const key of keys) tables.env.remove(table, key)
    }
  }

  #eventTimeMs(pipelineId: number, partition: number, seq: number): number {
    return this.entries(pipelineId, partition, seq, { countMax: 1 })[0]?.eventTimeMs ?? Number.NaN
  }

  #removeRows(table: Table, pipelineId: number, limit: number): number {
    if (limit <= 0) return 0
    const { env } = this.#tables
    const keys: Uint8Array[] = []
    // Keys first: a cursor does not survive the deletion of what it stands on.
    for (const key of table.getKeys({
      start: pipelineStart(pipelineId),
      end: pipelineStart(pipelineId + 1),
      limit,
    })) {
      keys.push(key)
    }
    for (const key of keys) env.remove(table, key)
    return keys.length
  }

  #takePipelineId(): number {
    const { env } = this.#tables
    const bytes = env.peek(env.meta, NEXT_PIPELINE_KEY)
    const id = bytes === null ? 0 : unsealJson<number>(bytes, () => 'the next pipeline id of the store')
    const isFree = env.peek(this.#tables.pipelines, this.#tables.pipelineKey(id)) === null
    if (!isFree) throw damaged('the next pipeline id of the store', bytes === null ? 'missing' : 'taken')
    env.put(env.meta, NEXT_PIPELINE_KEY, sealJson(id + 1))
    return id
  }

  #takeSilenceId(): number {
    const { env } = this.#tables
    const bytes = env.peek(env.meta, NEXT_SILENCE_KEY)
    const id = bytes === null ? 1 : unsealJson<number>(bytes, () => 'the next number of a silence')
    env.put(env.meta, NEXT_SILENCE_KEY, sealJson(id + 1))
    return id
  }

  #putRecord(record: PipelineRecord): PipelineRecord {
    const { id, ...rest } = record
    this.#tables.env.put(this.#tables.pipelines, this.#tables.pipelineKey(id), sealJson(rest))
    return record
  }

  #putPipeline(record: Omit<PipelineRecord, 'id'>): PipelineRecord {
    const existing = this.pipeline(record.name)
    if (existing !== null) return this.#putRecord({ ...record, id: existing.id })
    assert(this.pipelines().length < PIPELINES_MAX, 'a store holds PIPELINES_MAX pipelines', record.name)
    return this.#putRecord({ ...record, id: this.#takePipelineId() })
  }

  #reset(pipelineId: number): PipelineRecord {
    const record = this.pipelines().find((pipeline) => pipeline.id === pipelineId)
    assert(record !== undefined, 'a pipeline of the store is reset', pipelineId)
    this.#drop(pipelineId)
    return this.#putRecord({ ...record, id: this.#takePipelineId() })
  }

  #drop(pipelineId: number): void {
    const tables = this.#tables
    const removed = tables.env.remove(tables.pipelines, tables.pipelineKey(pipelineId))
    assert(removed, 'a pipeline of the store is dropped', pipelineId)
    tables.env.put(tables.dropped, tables.pipelineKey(pipelineId), seal(NOTHING))
  }

  #makeTransaction(): StateTransaction {
    const tables = this.#tables
    const { env } = tables
    return {
      putPipeline: (record) => this.#putPipeline(record),
      reset: (pipelineId) => this.#reset(pipelineId),
      drop: (pipelineId) => this.#drop(pipelineId),
      putProgress: (pipelineId: number, partition: number, progress: Progress) => {
        env.put(tables.progress, tables.partitionKey(pipelineId, partition), sealJson(progress))
      },
      putGroup: (pipelineId, partition, groupId, key) => {
        env.put(tables.groups, tables.groupKey(pipelineId, partition, groupId), seal(key))
      },
      putEntry: (pipelineId, partition, seq, kind, causeOffset, eventTimeMs, bytes) => {
        const value = this.#encoder.encode(seq, kind, causeOffset, eventTimeMs, bytes)
        env.put(tables.entries, tables.entryKey(pipelineId, partition, seq), value)
      },
      putAlert: (pipelineId, alertId, json) => {
        env.put(tables.alerts, tables.namedKey(pipelineId, alertId), seal(Buffer.from(json)))
      },
      removeAlert: (pipelineId, alertId) => env.remove(tables.alerts, tables.namedKey(pipelineId, alertId)),
      putPage: (pipelineId, partition, region, index, cells) => {
        assert(cells.length === PAGE_CELLS, 'a page is whole', region, index, cells.length)
        env.put(tables.pages, tables.pageKey(pipelineId, partition, region, index), seal(pagePayload(cells)))
      },
      removePages: (pipelineId, partition, fromRegion, toRegion) => {
        const start = tables.pageKey(pipelineId, partition, fromRegion, 0).slice()
        const end = tables.pageKey(pipelineId, partition, toRegion, 0).slice()
        // Keys first: a cursor does not survive the deletion of what it stands on.
        const keys = [...env.keys(tables.pages, start, end, Number.MAX_SAFE_INTEGER)]
        for (const key of keys) env.remove(tables.pages, key)
      },
      putCheckpoint: (pipelineId: number, partition: number, checkpoint: Checkpoint) => {
        env.put(tables.checkpoints, tables.partitionKey(pipelineId, partition), sealJson(checkpoint))
      },
      putSink: (pipelineId, sink, json) => {
        env.put(tables.sinks, tables.namedKey(pipelineId, sink), seal(Buffer.from(json)))
      },
      putDeadLetter: (pipelineId, letter) => {
        const key = tables.entryKey(pipelineId, letter.partition, letter.baseOffset)
        env.put(tables.deadLetters, key, sealJson(letter))
      },
      takeSilenceId: () => this.#takeSilenceId(),
      putSilence: (silence) => {
        env.put(tables.silences, tables.pipelineKey(silence.id), sealJson(silence))
      },
      removeSilence: (id) => {
        env.remove(tables.silences, tables.pipelineKey(id))
      },
      putWithheld: (pipelineId, partition, withheld) => {
        env.put(tables.withheld, tables.entryKey(pipelineId, partition, withheld.seq), sealJson(withheld))
      },
      putUnheard: (pipelineId, unheard) => {
        env.put(tables.unheard, tables.namedKey(pipelineId, unheard.alertId), sealJson(unheard))
      },
      removeUnheard: (pipelineId, alertId) => {
        env.remove(tables.unheard, tables.namedKey(pipelineId, alertId))
      },
      putRetold: (pipelineId, partition, index, retold) => {
        const key = tables.retoldKey(pipelineId, partition, retold.beforeSeq, index)
        env.put(tables.retold, key, sealJson(retold))
      },
      removeDeadLetter: (pipelineId, partition, baseOffset) => {
        env.remove(tables.deadLetters, tables.entryKey(pipelineId, partition, baseOffset))
      },
    }
  }
}
