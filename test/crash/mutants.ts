/**
 * Loaded by `node --import` into the main thread and every worker of a child under test, before the engine: replaces
 * methods of its classes by broken ones. The engine does not know of this file. See mutant-names.ts.
 *
 *   offset-apart     entries are committed in a transaction after that of their progress
 *   ack-early        an append is acknowledged when it is on its way to the log writer, whose disk is slow
 *   sent-early       sinks are given entries before the transaction that commits them has ended
 *   not-suppressed   what a shard emits again on replay is committed again, under new numbers
 */
import { BroadcastChannel, threadId } from 'node:worker_threads'
import { CommitCollector } from '../../engine/broker/commit-collector.ts'
import { FRAME_CHECKPOINT, FRAME_ENTRY, FRAME_PROGRESS } from '../../engine/broker/commit-frames.ts'
import { LogInput } from '../../engine/broker/log-input.ts'
import { OutboxRunner } from '../../engine/pipeline/outbox.ts'
import { LmdbLogWriter } from '../../engine/store/log-writer.ts'
import type { Entry, StateTransaction } from '../../engine/store/state-contract.ts'
import { LmdbStateReader } from '../../engine/store/state-reader.ts'
import { LmdbStateWriter } from '../../engine/store/state-writer.ts'
import { MUTANT_VARIABLE, type Mutant } from './mutant-names.ts'

/** A slow disk: long enough for another thread to act. */
const SLOW_MS = 80

const mutants: Readonly<Record<Mutant, () => void>> = {
  'offset-apart': offsetApart,
  'ack-early': ackEarly,
  'sent-early': sentEarly,
  'not-suppressed': notSuppressed,
}
mutants[process.env[MUTANT_VARIABLE] as Mutant]()

function offsetApart(): void {
  const { transaction } = LmdbStateWriter.prototype
  LmdbStateWriter.prototype.transaction = function apart<T>(
    this: LmdbStateWriter,
    body: (txn: StateTransaction) => T,
  ): T {
    const later: ((txn: StateTransaction) => void)[] = []
    const run = <R>(inner: (txn: StateTransaction) => R): R => transaction.call(this, inner as never) as R
    const result = run((txn) =>
      body({ ...txn, putEntry: (...entry) => later.push((second) => second.putEntry(...entry)) }),
    )
    if (later.length > 0) run((txn) => later.forEach((put) => void put(txn)))
    return result
  }
}

function ackEarly(): void {
  const { append } = LogInput.prototype
  LogInput.prototype.append = function early(topicId, series, builder) {
    const samples = builder.count
    // Its real answer is nobody's business any more, whether it comes or not.
    append.call(this, topicId, series, builder).catch(() => {})
    return Promise.resolve({ requestId: 0, samples, refusedSamples: 0, refusedLocalIds: [], once: null })
  }
  const { transaction } = LmdbLogWriter.prototype
  LmdbLogWriter.prototype.transaction = function slow(body) {
    // Not while the node starts, on the main thread.
    if (threadId !== 0) sleep(SLOW_MS)
    return transaction.call(this, body as never) as never
  }
}

interface Uncommitted {
  readonly pipelineId: number
  readonly partition: number
  readonly entry: Entry | null
  readonly group: { readonly groupId: number; readonly key: Uint8Array } | null
}

function sentEarly(): void {
  const channel = new BroadcastChannel('millrace-test-uncommitted')
  channel.unref()
  const { transaction } = LmdbStateWriter.prototype
  LmdbStateWriter.prototype.transaction = function early<T>(
    this: LmdbStateWriter,
    body: (txn: StateTransaction) => T,
  ): T {
    return transaction.call(this, ((txn: StateTransaction) => {
      let sent = 0
      const send = (uncommitted: Uncommitted): void => {
        sent++
        channel.postMessage(uncommitted)
      }
      const result = body({
        ...txn,
        putGroup: (pipelineId, partition, groupId, key) => {
          send({ pipelineId, partition, entry: null, group: { groupId, key: key.slice() } })
          txn.putGroup(pipelineId, partition, groupId, key)
        },
        putEntry: (pipelineId, partition, seq, kind, causeOffset, eventTimeMs, bytes) => {
          const entry = { seq, kind, causeOffset, eventTimeMs, bytes: bytes.slice() }
          send({ pipelineId, partition, entry, group: null })
          txn.putEntry(pipelineId, partition, seq, kind, causeOffset, eventTimeMs, bytes)
        },
      })
      if (sent > 0) sleep(SLOW_MS)
      return result
    }) as never) as T
  }
  const entriesOf = new Map<string, Entry[]>()
  const groups = new Map<string, Uint8Array>()
  const { entries, groupKey } = LmdbStateReader.prototype
  LmdbStateReader.prototype.entries = function withUncommitted(pipelineId, partition, fromSeq, limits) {
    const committed = entries.call(this, pipelineId, partition, fromSeq, limits)
    if (committed.length > 0) return committed
    const rest = entriesOf.get(`${pipelineId}/${partition}`)?.filter(({ seq }) => seq >= fromSeq) ?? []
    return rest[0]?.seq === fromSeq ? rest.slice(0, limits?.countMax ?? rest.length) : []
  }
  LmdbStateReader.prototype.groupKey = function withUncommitted(pipelineId, partition, groupId) {
    const committed = groupKey.call(this, pipelineId, partition, groupId)
    return committed ?? groups.get(`${pipelineId}/${partition}/${groupId}`) ?? null
  }
  const { start } = OutboxRunner.prototype
  OutboxRunner.prototype.start = function listening(this: OutboxRunner) {
    channel.onmessage = (message: unknown) => {
      const { pipelineId, partition, entry, group } = (message as { data: Uncommitted }).data
      if (group !== null) groups.set(`${pipelineId}/${partition}/${group.groupId}`, group.key)
      if (entry === null) return
      const key = `${pipelineId}/${partition}`
      const there = entriesOf.get(key) ?? []
      there.push(entry)
      entriesOf.set(key, there)
      this.committed(pipelineId)
    }
    return start.call(this)
  }
}

function notSuppressed(): void {
  const { take } = CommitCollector.prototype
  const numbers = new Map<string, number>()
  CommitCollector.prototype.take = function renumbered(source, kind, i32, f64, u8, at) {
    const key = `${i32[at >> 2]}/${i32[(at + 4) >> 2]}`
    if (numbers.size === 0) {
      for (const { pipelineId, partition, nextSeq } of this.streams())
        numbers.set(`${pipelineId}/${partition}`, nextSeq)
    }
    const next = numbers.get(key) ?? 0
    // A seq, or the nextSeq of what covers it, stands at the same place in all three.
    if (kind === FRAME_ENTRY) {
      f64[(at + 16) >> 3] = next
      numbers.set(key, next + 1)
    } else if (kind === FRAME_PROGRESS || kind === FRAME_CHECKPOINT) f64[(at + 16) >> 3] = next
    take.call(this, source, kind, i32, f64, u8, at)
  }
}

function sleep(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}
