/**
 * Reads the state environment from any thread while the committer writes. Each call takes its own snapshot and lets it
 * go. Every value's CRC is checked: STORE_DAMAGED names what it belongs to. What it promises: state-contract.ts.
 */
import type { DeadLetter } from '../contract/dead-letter.ts'
import type { Retold, Silence, Unheard, Withheld } from '../contract/silences.ts'
import { PAGE_CELLS } from '../state/cells.ts'
import { assert } from '../util/assert.ts'
import { decodeEntry } from './entry-codec.ts'
import type { Table } from './env.ts'
import { readU16, readU32, readU64 } from './keys.ts'
import { damaged, SEAL_BYTES, unseal, unsealJson } from './sealed.ts'
import type { Checkpoint, Entry, PipelineRecord, Progress, StatePage, StateReader } from './state-contract.ts'
import {
  pageCells,
  partitionEnd,
  partitionStart,
  pipelineStart,
  readPageCells,
  type StateTables,
} from './state-tables.ts'

export const ENTRIES_MAX = 1_024
export const ENTRIES_BYTES_MAX = 16 * 1024 * 1024

const PIPELINE_BYTES = 4
const PARTITION_BYTES = 6
const textDecoder = new TextDecoder()
const PAST_LAST = new Uint8Array(16).fill(0xff)

export class LmdbStateReader implements StateReader {
  readonly #tables: StateTables

  constructor(tables: StateTables) {
    this.#tables = tables
  }

  pipelines(): readonly PipelineRecord[] {
    return this.#tables.env.read(() => this.#tables.readPipelines())
  }

  pipeline(name: string): PipelineRecord | null {
    return this.pipelines().find((pipeline) => pipeline.name === name) ?? null
  }

  progress(pipelineId: number, partition: number): Progress | null {
    const tables = this.#tables
    return this.#json(tables.progress, pipelineId, partition, 'progress')
  }

  checkpoint(pipelineId: number, partition: number): Checkpoint | null {
    const tables = this.#tables
    return this.#json(tables.checkpoints, pipelineId, partition, 'checkpoint')
  }

  groupKey(pipelineId: number, partition: number, groupId: number): Uint8Array | null {
    const tables = this.#tables
    return tables.env.read(() => {
      const bytes = tables.env.peek(tables.groups, tables.groupKey(pipelineId, partition, groupId))
      if (bytes === null) return null
      return unseal(bytes, () => this.#name(pipelineId, partition, `group ${groupId}`)).slice()
    })
  }

  groups(pipelineId: number, partition: number): readonly { groupId: number; key: Uint8Array }[] {
    return this.#rows(this.#tables.groups, pipelineId, partition, (key, value) => {
      const groupId = readU32(key, PARTITION_BYTES)
      return { groupId, key: unseal(value, () => this.#name(pipelineId, partition, `group ${groupId}`)) }
    })
  }

  entries(
    pipelineId: number,
    partition: number,
    fromSeq: number,
    limits: { readonly countMax?: number; readonly bytesMax?: number } = {},
  ): readonly Entry[] {
    const { countMax = ENTRIES_MAX, bytesMax = ENTRIES_BYTES_MAX } = limits
    const tables = this.#tables
    return tables.env.read(() => {
      const entries: Entry[] = []
      let bytes = 0
      const from = tables.entryKey(pipelineId, partition, fromSeq).slice()
      const to = partitionEnd(pipelineId, partition)
      for (const { key, value } of tables.env.rows(tables.entries, from, to, countMax)) {
        const seq = readU64(key, PARTITION_BYTES)
        const wanted = entries.length === 0 ? seq : entries[0]!.seq + entries.length
        if (seq !== wanted) throw damaged(this.#name(pipelineId, partition, `entry ${wanted}`), 'missing')
        entries.push(this.#decoded(value, pipelineId, partition, seq))
        bytes += value.length
        if (bytes >= bytesMax) break
      }
      return entries
    })
  }

  seqRange(pipelineId: number, partition: number): { readonly firstSeq: number; readonly endSeq: number } {
    const tables = this.#tables
    return tables.env.read(() => {
      const from = partitionStart(pipelineId, partition)
      const to = partitionEnd(pipelineId, partition)
      const first = tables.env.firstKey(tables.entries, from, to)
      const last = tables.env.lastKey(tables.entries, from, to)
      if (first === null || last === null) {
        const nextSeq = this.progress(pipelineId, partition)?.nextSeq ?? 0
        return { firstSeq: nextSeq, endSeq: nextSeq }
      }
      return { firstSeq: readU64(first, PARTITION_BYTES), endSeq: readU64(last, PARTITION_BYTES) + 1 }
    })
  }

  seqAtTime(pipelineId: number, partition: number, timeMs: number): number {
    return this.#tables.env.read(() => {
      const { firstSeq, endSeq } = this.seqRange(pipelineId, partition)
      let low = firstSeq
      let high = endSeq
      while (low < high) {
        const middle = low + Math.floor((high - low) / 2)
        if (this.#entryAt(pipelineId, partition, middle).eventTimeMs >= timeMs) high = middle
        else low = middle + 1
      }
      return low
    })
  }

  alerts(pipelineId: number): readonly { readonly id: string; readonly json: string }[] {
    return this.#named(this.#tables.alerts, pipelineId, 'alert').map(({ name, json }) => ({ id: name, json }))
  }

  silences(): readonly Silence[] {
    const { env, silences } = this.#tables
    return env.read(() =>
      Array.from(env.rows(silences, pipelineStart(0), PAST_LAST), ({ key, value }) =>
        unsealJson<Silence>(value, () => `silence ${readU32(key, 0)}`),
      ),
    )
  }

  withheld(pipelineId: number, partition: number, fromSeq: number, toSeq: number): readonly Withheld[] {
    return this.#bySeq<Withheld>(this.#tables.withheld, pipelineId, partition, fromSeq, toSeq)
  }

  retold(pipelineId: number, partition: number, fromSeq: number, toSeq: number): readonly Retold[] {
    return this.#bySeq<Retold>(this.#tables.retold, pipelineId, partition, fromSeq, toSeq)
  }

  unheard(pipelineId: number): readonly Unheard[] {
    const rows = this.#named(this.#tables.unheard, pipelineId, 'the silence of alert')
    return rows.map(({ json }) => JSON.parse(json) as Unheard)
  }

  pages(pipelineId: number, partition: number): readonly StatePage[] {
    return this.#rows(this.#tables.pages, pipelineId, partition, (key, value) => {
      const region = readU16(key, PARTITION_BYTES)
      const index = readU32(key, PARTITION_BYTES + 2)
      const what = (): string => this.#name(pipelineId, partition, `state page ${region}/${index}`)
      return { region, index, cells: pageCells(unseal(value, what), what) }
    })
  }

  restore<T>(
    pipelineId: number,
    partition: number,
    body: (checkpoint: Checkpoint, pages: Iterable<StatePage>) => T,
  ): T | null {
    return this.#tables.env.read(() => {
      const checkpoint = this.checkpoint(pipelineId, partition)
      return checkpoint === null ? null : body(checkpoint, this.#eachPage(pipelineId, partition))
    })
  }

  /** All pages over the same cells. */
  *#eachPage(pipelineId: number, partition: number): Iterable<StatePage> {
    const tables = this.#tables
    const cells = new Float64Array(PAGE_CELLS)
    const from = partitionStart(pipelineId, partition)
    const to = partitionEnd(pipelineId, partition)
    for (const { key, value } of tables.env.rows(tables.pages, from, to)) {
      const region = readU16(key, PARTITION_BYTES)
      const index = readU32(key, PARTITION_BYTES + 2)
      const what = (): string => this.#name(pipelineId, partition, `state page ${region}/${index}`)
      readPageCells(unseal(value, what), cells, what)
      yield { region, index, cells }
    }
  }

  sink(pipelineId: number, sink: string): string | null {
    return this.sinks(pipelineId).find((row) => row.sink === sink)?.json ?? null
  }

  sinks(pipelineId: number): readonly { readonly sink: string; readonly json: string }[] {
    return this.#named(this.#tables.sinks, pipelineId, 'sink').map(({ name, json }) => ({ sink: name, json }))
  }

  deadLetters(pipelineId: number, partition: number): readonly DeadLetter[] {
    return this.#rows(this.#tables.deadLetters, pipelineId, partition, (key, value) => {
      const what = (): string =>
        this.#name(pipelineId, partition, `dead letter ${readU64(key, PARTITION_BYTES)}`)
      return unsealJson<DeadLetter>(value, what)
    })
  }

  fence(): number {
    return this.#tables.env.fence()
  }

  takeover(): number {
    return this.#tables.env.takeover()
  }

  close(): Promise<void> {
    return this.#tables.env.close()
  }

  #json<T>(table: Table, pipelineId: number, partition: number, what: string): T | null {
    const tables = this.#tables
    return tables.env.read(() => {
      const bytes = tables.env.peek(table, tables.partitionKey(pipelineId, partition))
      return bytes === null ? null : unsealJson<T>(bytes, () => this.#name(pipelineId, partition, what))
    })
  }

  #bySeq<T>(
    table: Table,
    pipelineId: number,
    partition: number,
    fromSeq: number,
    toSeq: number,
  ): readonly T[] {
    const tables = this.#tables
    return tables.env.read(() => {
      const from = tables.entryKey(pipelineId, partition, fromSeq).slice()
      const to = tables.entryKey(pipelineId, partition, toSeq).slice()
      return Array.from(tables.env.rows(table, from, to), ({ key, value }) =>
        unsealJson<T>(value, () =>
          this.#name(pipelineId, partition, `what sinks are told of entry ${readU64(key, PARTITION_BYTES)}`),
        ),
      )
    })
  }

  #rows<T>(
    table: Table,
    pipelineId: number,
    partition: number,
    row: (key: Uint8Array, value: Uint8Array) => T,
  ): readonly T[] {
    const tables = this.#tables
    return tables.env.read(() => {
      const result: T[] = []
      const from = partitionStart(pipelineId, partition)
      const to = partitionEnd(pipelineId, partition)
      for (const { key, value } of tables.env.rows(table, from, to)) result.push(row(key, value))
      return result
    })
  }

  #named(table: Table, pipelineId: number, what: string): readonly { name: string; json: string }[] {
    const tables = this.#tables
    return tables.env.read(() => {
      const result: { name: string; json: string }[] = []
      const to = pipelineStart(pipelineId + 1)
      for (const { key, value } of tables.env.rows(table, pipelineStart(pipelineId), to)) {
        const name = textDecoder.decode(key.subarray(PIPELINE_BYTES))
        const json = unseal(value, () => `${what} ${JSON.stringify(name)} of pipeline #${pipelineId}`)
        result.push({ name, json: textDecoder.decode(json) })
      }
      return result
    })
  }

  #entryAt(pipelineId: number, partition: number, seq: number): Entry {
    const tables = this.#tables
    const bytes = tables.env.peek(tables.entries, tables.entryKey(pipelineId, partition, seq))
    if (bytes === null) throw damaged(this.#name(pipelineId, partition, `entry ${seq}`), 'missing')
    assert(bytes.length > SEAL_BYTES, 'an entry has a header')
    return this.#decoded(bytes, pipelineId, partition, seq)
  }

  #decoded(bytes: Uint8Array, pipelineId: number, partition: number, seq: number): Entry {
    const entry = decodeEntry(bytes, seq)
    if (entry === null) throw damaged(this.#name(pipelineId, partition, `entry ${seq}`))
    return entry
  }

  #name(pipelineId: number, partition: number, what: string): string {
    return `${what} of ${this.#tables.placeOf(pipelineId, partition)}`
  }
}
