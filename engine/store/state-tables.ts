/**
 * The state environment's tables and what their rows mean; shared by writer and reader. Every value carries a CRC.
 *
 *   pipelines    u32 pipeline                                  JSON PipelineRecord without id
 *   dropped      u32 pipeline                                  '' : rows of this id wait to be collected
 *   progress     u32 pipeline, u16 partition                   JSON Progress
 *   groups       u32 pipeline, u16 partition, u32 group        group key
 *   entries      u32 pipeline, u16 partition, u64 seq          entry-codec.ts
 *   alerts       u32 pipeline, alert id                        JSON Alert
 *   pages        u32 pipeline, u16 partition, u16 region, u32 index   cells, trailing zeros left out
 *   checkpoints  u32 pipeline, u16 partition                   JSON Checkpoint
 *   sinks        u32 pipeline, sink name                       JSON
 *   dead-letters u32 pipeline, u16 partition, u64 baseOffset   JSON DeadLetter
 *   silences     u32 id                                        JSON Silence
 *   withheld     u32 pipeline, u16 partition, u64 seq          JSON Withheld
 *   unheard      u32 pipeline, alert id                        JSON Unheard
 *   retold       u32 pipeline, u16 partition, u64 seq, u32 index   JSON Retold: before the entry of that seq
 */
import { PAGE_CELLS } from '../state/cells.ts'
import type { StoreEnv, Table } from './env.ts'
import { KeyBuffer, readU16, readU32 } from './keys.ts'
import { damaged, unsealJson } from './sealed.ts'
import type { PipelineRecord } from './state-contract.ts'

export class StateTables {
  readonly env: StoreEnv
  readonly pipelines: Table
  readonly dropped: Table
  readonly progress: Table
  readonly groups: Table
  readonly entries: Table
  readonly alerts: Table
  readonly pages: Table
  readonly checkpoints: Table
  readonly sinks: Table
  readonly deadLetters: Table
  readonly silences: Table
  readonly withheld: Table
  readonly unheard: Table
  readonly retold: Table
  readonly #key = new KeyBuffer(KEY_CAPACITY)

  constructor(env: StoreEnv) {
    this.env = env
    this.pipelines = env.table('pipelines')
    this.dropped = env.table('dropped')
    this.progress = env.table('progress')
    this.groups = env.table('groups')
    this.entries = env.table('entries')
    this.alerts = env.table('alerts')
    this.pages = env.table('pages')
    this.checkpoints = env.table('checkpoints')
    this.sinks = env.table('sinks')
    this.deadLetters = env.table('dead-letters')
    this.silences = env.table('silences')
    this.withheld = env.table('withheld')
    this.unheard = env.table('unheard')
    this.retold = env.table('retold')
  }

  /** Tables whose rows belong to one pipeline id, by its first 4 key bytes. */
  ownedTables(): readonly Table[] {
    return [
      this.progress,
      this.groups,
      this.entries,
      this.alerts,
      this.pages,
      this.checkpoints,
      this.sinks,
      this.deadLetters,
      this.withheld,
      this.unheard,
      this.retold,
    ]
  }

  pipelineKey(pipelineId: number): Uint8Array {
    return this.#key.start().u32(pipelineId).view()
  }

  partitionKey(pipelineId: number, partition: number): Uint8Array {
    return this.#key.start().u32(pipelineId).u16(partition).view()
  }

  groupKey(pipelineId: number, partition: number, groupId: number): Uint8Array {
    return this.#key.start().u32(pipelineId).u16(partition).u32(groupId).view()
  }

  entryKey(pipelineId: number, partition: number, seq: number): Uint8Array {
    return this.#key.start().u32(pipelineId).u16(partition).u64(seq).view()
  }

  retoldKey(pipelineId: number, partition: number, seq: number, index: number): Uint8Array {
    return this.#key.start().u32(pipelineId).u16(partition).u64(seq).u32(index).view()
  }

  pageKey(pipelineId: number, partition: number, region: number, index: number): Uint8Array {
    return this.#key.start().u32(pipelineId).u16(partition).u16(region).u32(index).view()
  }

  namedKey(pipelineId: number, name: string): Uint8Array {
    return this.#key.start().u32(pipelineId).text(name).view()
  }

  readPipelines(): PipelineRecord[] {
    const records: PipelineRecord[] = []
    for (const { key, value } of this.env.rows(this.pipelines, pipelineStart(0), PAST_LAST)) {
      const id = readU32(key, 0)
      const record = unsealJson<Omit<PipelineRecord, 'id'>>(value, () => `the record of pipeline ${id}`)
      records.push({ id, ...record })
    }
    return records
  }

  /** One row a partition of a pipeline: its progress, or its checkpoints. */
  partitionRows<T>(table: Table, pipelineId: number): { readonly partition: number; readonly value: T }[] {
    const rows: { partition: number; value: T }[] = []
    const from = pipelineStart(pipelineId)
    for (const { key, value } of this.env.rows(table, from, pipelineStart(pipelineId + 1))) {
      const partition = readU16(key, 4)
      rows.push({ partition, value: unsealJson<T>(value, () => `progress of pipeline #${pipelineId}`) })
    }
    return rows
  }

  /** Rows and bytes of everything that belongs to a pipeline id, a few thousand rows a snapshot. */
  sizeOf(pipelineId: number): { readonly rows: number; readonly bytes: number } {
    let rows = 0
    let bytes = 0
    for (const table of this.ownedTables()) {
      let from: Uint8Array | null = pipelineStart(pipelineId)
      while (from !== null) {
        const start: Uint8Array = from
        from = this.env.read(() => {
          let next: Uint8Array | null = null
          let count = 0
          const end = pipelineStart(pipelineId + 1)
          for (const key of table.getKeys({ start, end, limit: SIZED_ROWS + 1 })) {
            if (count++ === SIZED_ROWS) {
              next = key.slice()
              break
            }
            rows++
            bytes += key.length + (this.env.peek(table, key)?.length ?? 0)
          }
          return next
        })
      }
    }
    return { rows, bytes }
  }

  /** For refusals: a pipeline's name where there is one. */
  placeOf(pipelineId: number, partition: number): string {
    const record = this.readPipelines().find((pipeline) => pipeline.id === pipelineId)
    return `pipeline ${record === undefined ? `#${pipelineId}` : JSON.stringify(record.name)}, partition ${partition}`
  }
}

/** Longest key: a pipeline id and a name or alert id. */
const KEY_CAPACITY = 1_978
/** Rows counted under one snapshot. */
const SIZED_ROWS = 4_096
const PAST_LAST = new Uint8Array(16).fill(0xff)

/** Bounds of a pipeline's rows, and of one partition's: [start, end). */
export function pipelineStart(pipelineId: number): Uint8Array {
  return new KeyBuffer().start().u32(pipelineId).view()
}

export function partitionStart(pipelineId: number, partition: number): Uint8Array {
  return new KeyBuffer().start().u32(pipelineId).u16(partition).view()
}

export function partitionEnd(pipelineId: number, partition: number): Uint8Array {
  return new KeyBuffer().start().u32(pipelineId).u16(partition).last().last().view()
}

/** The bytes of a page without its trailing zero cells: most pages then fit one 4 KB page of LMDB instead of two. */
export function pagePayload(cells: Float64Array): Uint8Array {
  const bits = new Uint8Array(cells.buffer, cells.byteOffset, cells.byteLength)
  let length = bits.length
  while (length > 0 && bits[length - 1] === 0) length--
  return bits.subarray(0, Math.ceil(length / 8) * 8)
}

export function pageCells(payload: Uint8Array, what: () => string): Float64Array {
  const cells = new Float64Array(PAGE_CELLS)
  readPageCells(payload, cells, what)
  return cells
}

/** `pageCells` into cells that are there. */
export function readPageCells(payload: Uint8Array, cells: Float64Array, what: () => string): void {
  if (payload.length > cells.byteLength) throw damaged(what(), 'wrong length')
  const bytes = new Uint8Array(cells.buffer, cells.byteOffset, cells.byteLength)
  bytes.set(payload)
  bytes.fill(0, payload.length)
}
