/**
 * What must be true of the state: every pipeline's entries are numbered without a gap up to its progress, progress and
 * checkpoints stand on record boundaries of the log, a checkpoint can be restored from its pages and groups, current
 * alerts are what the entries say, and no sink is ahead of its stream.
 */
import type { Alert } from '../../contract/alert.ts'
import { ENTRY_ALERT } from '../../contract/entries.ts'
import type { SinkProgress } from '../../contract/plugins.ts'
import { decodeEntry } from '../entry-codec.ts'
import { KeyBuffer, readU16, readU32, readU64 } from '../keys.ts'
import { TAIL_END, TAIL_START, TAIL_STRIDE } from '../log-tables.ts'
import { unseal, unsealJson } from '../sealed.ts'
import type { Checkpoint, PipelineRecord, Progress } from '../state-contract.ts'
import { LmdbStateReader } from '../state-reader.ts'
import { partitionEnd, partitionStart, pipelineStart } from '../state-tables.ts'
import {
  CHUNK_BYTES,
  CHUNK_ROWS,
  type Check,
  type CheckContext,
  eachRow,
  guarded,
  type PipelineVerifier,
  RECOMPUTE,
  type StreamNeed,
} from './context.ts'

const PAST_LAST = new Uint8Array(16).fill(0xff)
const SEQ_AT = 6
const textDecoder = new TextDecoder()

export const pipelinesCheck: Check = {
  name: 'pipelines',
  *run(context) {
    const { state, log } = context
    const seen = new Set<string>()
    guarded(context, 'state: pipelines', () => {
      const pipelines = state.env.read(() => state.readPipelines())
      // Read afterwards: a topic is made before the pipeline that reads it.
      const topics = log.env.read(() => log.readTopics())
      for (const record of pipelines) {
        const place = placeOf(record)
        if (seen.has(record.name)) context.damage(place, 'two pipelines have this name')
        seen.add(record.name)
        const topic = topics[record.topicId]
        if (topic?.name !== record.topic) {
          const found = topic === undefined ? 'is not there' : `is ${JSON.stringify(topic.name)}`
          context.damage(
            place,
            `it reads topic ${record.topicId} ${JSON.stringify(record.topic)}, which ${found}`,
          )
        }
        const verifier = context.pipeline(record)
        if (typeof verifier === 'string') context.damage(place, verifier, RECOMPUTE)
      }
      context.read(pipelines.length, 0)
    })
    yield
    yield* strays(context)
  },
}

export const entriesCheck: Check = {
  name: 'results',
  *run(context) {
    for (const record of pipelinesOf(context)) {
      const verifier = context.pipeline(record)
      if (typeof verifier === 'string') continue
      for (const partition of partitionsOf(context, record)) {
        yield* new EntriesCheck(context, record, partition, verifier).run()
      }
    }
  },
}

export const checkpointsCheck: Check = {
  name: 'checkpoints',
  *run(context) {
    for (const record of pipelinesOf(context)) {
      const verifier = context.pipeline(record)
      if (typeof verifier === 'string') continue
      for (const partition of partitionsOf(context, record)) {
        checkPositions(context, record, partition)
        yield
        checkCheckpoint(context, record, partition, verifier)
        yield
      }
    }
  },
}

export const sinksCheck: Check = {
  name: 'sinks',
  *run(context) {
    const { state } = context
    const reader = new LmdbStateReader(state)
    for (const record of pipelinesOf(context)) {
      guarded(context, placeOf(record), () => {
        // One snapshot: a sink never has what was not committed before.
        state.env.read(() => {
          const sinks = reader.sinks(record.id)
          context.read(sinks.length, 0)
          for (const { sink, json } of sinks) {
            const progress = JSON.parse(json) as SinkProgress
            for (const [partition, { seq, row }] of Object.entries(progress.positions)) {
              const nextSeq = reader.progress(record.id, Number(partition))?.nextSeq ?? 0
              // What is told late stands before an entry that may not be there yet.
              const late = (): number => reader.retold(record.id, Number(partition), seq, seq + 1).length
              if (seq < nextSeq || (seq === nextSeq && (row === 0 || row <= late()))) continue
              context.damage(
                `${placeOf(record)}, partition ${partition}, sink ${JSON.stringify(sink)}`,
                `it stands at entry ${seq}, row ${row}, but the stream ends at ${nextSeq}`,
                RECOMPUTE,
              )
            }
          }
        })
      })
      yield
    }
  },
}

export function pipelinesOf({ state }: CheckContext): readonly PipelineRecord[] {
  try {
    return state.env.read(() => state.readPipelines())
  } catch {
    // pipelinesCheck has named it.
    return []
  }
}

/** Those of the topic, and whatever else has rows. */
export function partitionsOf(context: CheckContext, record: PipelineRecord): readonly number[] {
  const { state, log } = context
  const partitions = new Set<number>()
  guarded(context, placeOf(record), () => {
    const tails = log.env.read(() => log.readTails(record.topicId))
    for (let partition = 0; partition < (tails?.length ?? 0) / TAIL_STRIDE; partition++)
      partitions.add(partition)
    state.env.read(() => {
      for (const table of [state.progress, state.groups, state.entries, state.pages, state.checkpoints]) {
        for (let from = partitionStart(record.id, 0); ; ) {
          const key = state.env.firstKey(table, from, pipelineStart(record.id + 1))
          if (key === null) break
          const partition = readU16(key, 4)
          partitions.add(partition)
          from = partitionEnd(record.id, partition)
        }
      }
    })
  })
  return [...partitions].sort((a, b) => a - b)
}

/** Where the log stands for a partition; null: it is not one of the log's (an owner of groups has none). */
function logBounds(
  { log }: CheckContext,
  record: PipelineRecord,
  partition: number,
): { readonly start: number; readonly end: number } | null {
  const tails = log.readTails(record.topicId)
  const at = partition * TAIL_STRIDE
  if (tails === null || at >= tails.length) return null
  return { start: tails[at + TAIL_START]!, end: tails[at + TAIL_END]! }
}

function checkPositions(context: CheckContext, record: PipelineRecord, partition: number): void {
  const { state, log } = context
  const place = `${placeOf(record)}, partition ${partition}`
  guarded(context, place, () => {
    const before = log.env.read(() => logBounds(context, record, partition))
    const [progress, checkpoint] = state.env.read(() => [
      rowOf<Progress>(context, state.progress, record.id, partition),
      rowOf<Checkpoint>(context, state.checkpoints, record.id, partition),
    ])
    if (before !== null && checkpoint !== null && checkpoint.position < before.start) {
      // Checkpoints only move on: one read after the log's start is at least what retention looked at.
      context.warn(
        place,
        `its checkpoint wants offset ${checkpoint.position}, but the log begins at ${before.start}: retention deleted ` +
          'what it needs while no node ran this pipeline',
        RECOMPUTE,
      )
    }
    if (checkpoint !== null && checkpoint.nextSeq > (progress?.nextSeq ?? 0)) {
      context.damage(
        place,
        `its checkpoint counts ${checkpoint.nextSeq} entries, its progress ${progress?.nextSeq ?? 0}`,
        RECOMPUTE,
      )
    }
    if (progress !== null) checkLedger(context, place, progress)
    log.env.read(() => {
      // Read after the state: what was committed was durable in the log before.
      const bounds = logBounds(context, record, partition)
      if (bounds === null) return
      for (const [what, position] of [
        ['progress', progress?.position],
        ['checkpoint', checkpoint?.position],
      ] as const) {
        if (position === undefined) continue
        if (position > bounds.end) {
          context.damage(place, `its ${what} stands at offset ${position}, but the log ends at ${bounds.end}`)
          continue
        }
        const key = log.batchKey(record.topicId, partition, position)
        // Below the start there is nothing left to compare with.
        const isBoundary =
          position < bounds.start || position === bounds.end || log.env.peek(log.batches, key) !== null
        if (!isBoundary) context.damage(place, `its ${what} stands at offset ${position}, inside a record`)
      }
    })
  })
}

function checkLedger(context: CheckContext, place: string, { ledger }: Progress): void {
  const sum = ledger.windowed + ledger.filtered + ledger.late + ledger.nonFinite + ledger.dead
  if (ledger.in === sum) return
  context.damage(place, `its ledger counts ${ledger.in} samples in and ${sum} accounted for`, RECOMPUTE)
}

/** Checkpoint, pages and groups in one snapshot, as a start of the node reads them. */
function checkCheckpoint(
  context: CheckContext,
  record: PipelineRecord,
  partition: number,
  verifier: PipelineVerifier,
): void {
  const { state } = context
  const reader = new LmdbStateReader(state)
  const place = `${placeOf(record)}, partition ${partition}`
  guarded(context, place, () => {
    state.env.read(() => {
      const groups = reader.groups(record.id, partition)
      for (const [i, { groupId }] of groups.entries()) {
        if (groupId === i) continue
        context.damage(place, `group ${i} is missing: the next one is ${groupId}`, RECOMPUTE)
        break
      }
      const pages = reader.pages(record.id, partition)
      const checkpoint = reader.checkpoint(record.id, partition)
      context.read(
        groups.length + pages.length,
        pages.reduce((sum, { cells }) => sum + cells.byteLength, 0),
      )
      if (checkpoint === null) {
        if (pages.length > 0)
          context.damage(place, `it has ${pages.length} state pages, but no checkpoint`, RECOMPUTE)
        return
      }
      const problem = verifier.checkpoint(partition, checkpoint, pages, (groupId) => {
        const group = groups[groupId]
        if (group?.groupId !== groupId) throw new RangeError(`group ${groupId} is missing`)
        return group.key
      })
      if (problem === null) {
        for (const needed of verifier.needs(partition, checkpoint)) {
          checkNeed(context, reader, record, place, needed)
        }
        return
      }
      context.damage(
        place,
        `its checkpoint at position ${checkpoint.position} cannot be restored: ${problem}`,
        RECOMPUTE,
      )
    })
  })
}

/** An owner of groups goes on from entries of other streams: those it wants again are kept, and it is not ahead of them. */
function checkNeed(
  context: CheckContext,
  reader: LmdbStateReader,
  { id }: PipelineRecord,
  place: string,
  { stream, fromSeq, takenSeq }: StreamNeed,
): void {
  const { firstSeq, endSeq } = reader.seqRange(id, stream)
  const nextSeq = reader.progress(id, stream)?.nextSeq ?? 0
  if (takenSeq > nextSeq) {
    context.damage(
      place,
      `its checkpoint has taken ${takenSeq} entries of stream ${stream}, whose progress counts ${nextSeq}`,
      RECOMPUTE,
    )
  } else if (fromSeq < nextSeq && (firstSeq > fromSeq || firstSeq === endSeq)) {
    const left = firstSeq === endSeq ? 'holds none' : `begins at ${firstSeq}`
    context.damage(
      place,
      `its checkpoint wants entry ${fromSeq} of stream ${stream}, which ${left}`,
      RECOMPUTE,
    )
  }
}

/** Walks the entries of one (pipeline, partition); as with the log, each chunk compares within its own snapshot. */
class EntriesCheck {
  readonly #context: CheckContext
  readonly #record: PipelineRecord
  readonly #partition: number
  readonly #verifier: PipelineVerifier
  readonly #alerts = new Map<string, string>()
  #next = -1
  /** Alerts that were raised by entries which are no longer kept cannot be compared. */
  #isWhole = false

  constructor(context: CheckContext, record: PipelineRecord, partition: number, verifier: PipelineVerifier) {
    this.#context = context
    this.#record = record
    this.#partition = partition
    this.#verifier = verifier
  }

  *run(): Generator<void, void, void> {
    let more = true
    while (more) {
      const ok = guarded(this.#context, this.#place(Math.max(0, this.#next)), () => {
        more = this.#context.state.env.read(() => this.#chunk())
      })
      yield
      if (!ok) return
    }
  }

  #chunk(): boolean {
    const { state } = this.#context
    const id = this.#record.id
    const to = partitionEnd(id, this.#partition)
    const first = state.env.firstKey(state.entries, partitionStart(id, this.#partition), to)
    const oldest = first === null ? -1 : readU64(first, SEQ_AT)
    if (this.#next < 0) {
      this.#next = Math.max(0, oldest)
      this.#isWhole = oldest <= 0
    }
    // Retention has passed by since the last chunk.
    if (oldest > this.#next) this.#next = oldest
    let rows = 0
    let bytes = 0
    for (const key of state.entries.getKeys({
      start: state.entryKey(id, this.#partition, this.#next).slice(),
      end: to,
      limit: CHUNK_ROWS,
    })) {
      bytes += this.#entry(key)
      rows++
      if (bytes >= CHUNK_BYTES) break
    }
    this.#context.read(rows, bytes)
    if (rows === CHUNK_ROWS || bytes >= CHUNK_BYTES) return true
    this.#end(first === null)
    return false
  }

  #entry(key: Uint8Array): number {
    const { state } = this.#context
    const seq = readU64(key, SEQ_AT)
    if (seq !== this.#next) this.#damage(this.#next, `entries ${this.#next} to ${seq - 1} are missing`)
    this.#next = seq + 1
    const bytes = state.env.peek(state.entries, key)
    if (bytes === null) {
      this.#damage(seq, 'the entry is listed, but not found by its key')
      return 0
    }
    const entry = decodeEntry(bytes, seq)
    if (entry === null) {
      this.#damage(seq, `the entry has a wrong CRC or another number (${bytes.length} bytes)`)
      return bytes.length
    }
    const problem = this.#verifier.entry(this.#partition, entry)
    if (problem !== null) this.#damage(seq, problem)
    if (entry.kind === ENTRY_ALERT) {
      const json = textDecoder.decode(entry.bytes)
      const alert = JSON.parse(json) as Alert
      if (alert.state === 'resolved') this.#alerts.delete(alert.id)
      else this.#alerts.set(alert.id, json)
    }
    return entry.bytes.length
  }

  #end(isEmpty: boolean): void {
    const { state } = this.#context
    const progress = rowOf<Progress>(this.#context, state.progress, this.#record.id, this.#partition)
    const nextSeq = progress?.nextSeq ?? 0
    // With no entry left, retention has deleted them all, or there were none.
    if (!isEmpty && this.#next !== nextSeq) {
      this.#damage(this.#next, `the stream ends here, but its progress counts ${nextSeq} entries`)
    }
    if (isEmpty && nextSeq > 0) this.#isWhole = false
    const reader = new LmdbStateReader(state)
    const current = new Map<string, string>()
    for (const { id, json } of reader.alerts(this.#record.id)) {
      if (partitionOfAlert(id) === this.#partition) current.set(id, json)
    }
    for (const [id, json] of this.#alerts) {
      const found = current.get(id)
      if (found === json) continue
      const problem = found === undefined ? 'is not among the current ones' : 'stands otherwise among them'
      this.#damage(this.#next, `alert ${id}, which its entries leave open, ${problem}`)
    }
    if (!this.#isWhole) return
    for (const id of current.keys()) {
      if (!this.#alerts.has(id)) this.#damage(this.#next, `alert ${id} is current, but no entry opened it`)
    }
  }

  #damage(seq: number, problem: string): void {
    this.#context.damage(this.#place(seq), problem, RECOMPUTE)
  }

  #place(seq: number): string {
    return `${placeOf(this.#record)}, partition ${this.#partition}, entry ${seq}`
  }
}

/** `pipeline/detector/partition/groupId/sinceMs` (contract/alert.ts); names hold no slash, and if they did, from the end. */
function partitionOfAlert(id: string): number {
  return Number(id.split('/').at(-3))
}

/** Rows that belong to no pipeline, neither to one that is there nor to one that waits to be collected. */
function* strays(context: CheckContext): Generator<void, void, void> {
  const { state } = context
  guarded(context, 'state: rows of no pipeline', () => {
    state.env.read(() => {
      const owners = new Set(state.readPipelines().map(({ id }) => id))
      for (const key of state.dropped.getKeys({ start: pipelineStart(0), end: PAST_LAST })) {
        const id = readU32(key, 0)
        if (owners.has(id)) context.damage(`state: pipeline #${id}`, 'it is in use and waits to be collected')
        owners.add(id)
      }
      for (const table of state.ownedTables()) {
        for (let from = pipelineStart(0); ; ) {
          const key = state.env.firstKey(table, from, PAST_LAST)
          if (key === null) break
          const id = readU32(key, 0)
          if (!owners.has(id)) context.damage(`state: pipeline #${id}`, 'it has rows, but no record')
          from = new KeyBuffer()
            .start()
            .u32(id + 1)
            .view()
        }
      }
    })
  })
  yield
  // Rows of the small tables that no other check reads one by one.
  for (const table of [
    state.pipelines,
    state.dropped,
    state.alerts,
    state.sinks,
    state.withheld,
    state.unheard,
    state.retold,
  ]) {
    const place = (key: Uint8Array): string =>
      key.length < 4 ? 'state' : `state: pipeline #${readU32(key, 0)}`
    yield* eachRow(context, state.env, table, pipelineStart(0), PAST_LAST, place, (key, value) => {
      guarded(context, place(key), () => {
        unseal(value, () => `the row ${JSON.stringify(textDecoder.decode(key.subarray(4)))}`)
      })
    })
  }
}

function rowOf<T>(
  { state }: CheckContext,
  table: CheckContext['state']['progress'],
  pipelineId: number,
  partition: number,
): T | null {
  const bytes = state.env.peek(table, state.partitionKey(pipelineId, partition))
  return bytes === null ? null : unsealJson<T>(bytes, () => 'its progress or checkpoint')
}

export function placeOf({ name }: PipelineRecord): string {
  return `state: pipeline ${JSON.stringify(name)}`
}
