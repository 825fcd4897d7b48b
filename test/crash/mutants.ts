/**
 * Loaded by `node --import` into the main thread and every worker of a child under test, before the engine: replaces
 * methods of its classes by broken ones. The engine does not know of this file. See mutant-names.ts.
 *
 *   offset-apart     entries are committed in a transaction after that of their progress
 *   ack-early        an append is acknowledged when it is on its way to the log writer
 *   sent-early       sinks are given entries before the transaction that commits them has ended
 *   not-suppressed   what a shard emits again on replay is committed again, under new numbers
 *
 * What is broken must show whenever the process is killed there, not only when a thread is slow: so the thread that does
 * things too early waits, before it goes on to the kill point, until what is too early has been seen outside: a hand is
 * given over shared memory.
 */
import { ServerResponse } from 'node:http'
import { BroadcastChannel, getEnvironmentData, setEnvironmentData, threadId } from 'node:worker_threads'
import { CommitCollector } from '../../engine/broker/commit-collector.ts'
import { FRAME_CHECKPOINT, FRAME_ENTRY, FRAME_PROGRESS } from '../../engine/broker/commit-frames.ts'
import { LogInput } from '../../engine/broker/log-input.ts'
import type { Sink, SinkPlugin, SinkRecord } from '../../engine/contract/plugins.ts'
import { OutboxRunner } from '../../engine/pipeline/outbox.ts'
import { LmdbLogWriter } from '../../engine/store/log-writer.ts'
import type { Entry, StateTransaction } from '../../engine/store/state-contract.ts'
import { LmdbStateReader } from '../../engine/store/state-reader.ts'
import { LmdbStateWriter } from '../../engine/store/state-writer.ts'
import { registry } from '../../operators/registry.ts'
import { MUTANT_VARIABLE, type Mutant } from './mutant-names.ts'

/** A hand that is never given must not hold the run for ever; it is then judged as it is. */
const HAND_MS_MAX = 10_000
/** Of one life of the node: as many as the hits at which it may be killed. The rest is fast. */
const HANDS_MAX = 16

/** Words that all threads of the child share: main makes them, before it starts any. */
const APPENDED = 0
const ANSWERED = 1
const DELIVERED = 2
const HANDS_KEY = 'millrace-test-hands'

const mutants: Readonly<Record<Mutant, () => void>> = {
  'offset-apart': offsetApart,
  'ack-early': ackEarly,
  'sent-early': sentEarly,
  'not-suppressed': notSuppressed,
}
mutants[process.env[MUTANT_VARIABLE] as Mutant]()

/** Kept back until other entries come: whenever the process is killed after a commit, entries of that commit are missing. */
function offsetApart(): void {
  const { transaction } = LmdbStateWriter.prototype
  let kept: ((txn: StateTransaction) => void)[] = []
  LmdbStateWriter.prototype.transaction = function apart<T>(
    this: LmdbStateWriter,
    body: (txn: StateTransaction) => T,
  ): T {
    const later: ((txn: StateTransaction) => void)[] = []
    const result = transaction.call(this, ((txn: StateTransaction) =>
      body({ ...txn, putEntry: (...entry) => later.push((next) => next.putEntry(...entry)) })) as never) as T
    if (later.length === 0) return result
    const due = kept
    kept = later
    transaction.call(this, ((txn: StateTransaction) => due.forEach((put) => void put(txn))) as never)
    return result
  }
}

/** Nothing is written to the log before the answers to everything that came so far are on their way. */
function ackEarly(): void {
  const hands = sharedHands()
  const { append } = LogInput.prototype
  LogInput.prototype.append = function early(topicId, series, builder) {
    const samples = builder.count
    // Counted before the log writer can see it.
    Atomics.add(hands, APPENDED, 1)
    // Its real answer is nobody's business any more, whether it comes or not.
    append.call(this, topicId, series, builder).catch(() => {})
    return Promise.resolve({ requestId: 0, samples, refusedSamples: 0, refusedLocalIds: [], once: null })
  }
  const { end } = ServerResponse.prototype
  ServerResponse.prototype.end = function answered(this: ServerResponse, ...args: unknown[]) {
    // A client that is gone gets none; nothing waits for it.
    if (this.req.method === 'POST') this.once('close', () => give(hands, ANSWERED, 1))
    return end.apply(this, args as never) as never
  }
  const { transaction } = LmdbLogWriter.prototype
  LmdbLogWriter.prototype.transaction = function late(body) {
    // Not while the node starts, on the main thread.
    if (threadId !== 0) awaitHand(hands, ANSWERED, Atomics.load(hands, APPENDED))
    return transaction.call(this, body as never) as never
  }
}

interface Uncommitted {
  readonly pipelineId: number
  readonly partition: number
  readonly entry: Entry | null
  readonly group: { readonly groupId: number; readonly key: Uint8Array } | null
  /** Of an entry: what is given back when a target has it. */
  readonly ticket: number
}

function sentEarly(): void {
  const hands = sharedHands()
  const channel = new BroadcastChannel('millrace-test-uncommitted')
  channel.unref()
  let ticket = 0
  const { transaction } = LmdbStateWriter.prototype
  LmdbStateWriter.prototype.transaction = function early<T>(
    this: LmdbStateWriter,
    body: (txn: StateTransaction) => T,
  ): T {
    return transaction.call(this, ((txn: StateTransaction) =>
      body({
        ...txn,
        putGroup: (pipelineId, partition, groupId, key) => {
          channel.postMessage({
            pipelineId,
            partition,
            entry: null,
            group: { groupId, key: key.slice() },
            ticket: 0,
          } satisfies Uncommitted)
          txn.putGroup(pipelineId, partition, groupId, key)
        },
        putEntry: (pipelineId, partition, seq, kind, causeOffset, eventTimeMs, bytes) => {
          const entry = { seq, kind, causeOffset, eventTimeMs, bytes: bytes.slice() }
          ticket++
          channel.postMessage({ pipelineId, partition, entry, group: null, ticket } satisfies Uncommitted)
          txn.putEntry(pipelineId, partition, seq, kind, causeOffset, eventTimeMs, bytes)
          // Some sink wants every kind of entry (pipelines.ts): one of them has it now.
          if (ticket <= HANDS_MAX) awaitHand(hands, DELIVERED, ticket)
        },
      })) as never) as T
  }
  const entriesOf = new Map<string, Entry[]>()
  const groups = new Map<string, Uint8Array>()
  const { entries, groupKey } = LmdbStateReader.prototype
  LmdbStateReader.prototype.entries = function withUncommitted(pipelineId, partition, fromSeq, limits) {
    if (namesOf.size === 0) for (const { id, name } of this.pipelines()) namesOf.set(id, name)
    const committed = entries.call(this, pipelineId, partition, fromSeq, limits)
    if (committed.length > 0) return committed
    const rest = entriesOf.get(`${pipelineId}/${partition}`)?.filter(({ seq }) => seq >= fromSeq) ?? []
    return rest[0]?.seq === fromSeq ? rest.slice(0, limits?.countMax ?? rest.length) : []
  }
  LmdbStateReader.prototype.groupKey = function withUncommitted(pipelineId, partition, groupId) {
    const committed = groupKey.call(this, pipelineId, partition, groupId)
    return committed ?? groups.get(`${pipelineId}/${partition}/${groupId}`) ?? null
  }
  /** `pipeline/partition/seq`, as in the ids of records, to the ticket of the entry. */
  const tickets = new Map<string, number>()
  const namesOf = new Map<number, string>()
  noteDeliveries(({ id }) => {
    const entry = id.slice(0, id.lastIndexOf('/'))
    const due = tickets.get(entry)
    if (due === undefined) return
    tickets.delete(entry)
    give(hands, DELIVERED, due - Atomics.load(hands, DELIVERED))
  })
  const { start } = OutboxRunner.prototype
  OutboxRunner.prototype.start = function listening(this: OutboxRunner) {
    channel.onmessage = (message: unknown) => {
      const { pipelineId, partition, entry, group, ticket: due } = (message as { data: Uncommitted }).data
      if (group !== null) groups.set(`${pipelineId}/${partition}/${group.groupId}`, group.key)
      if (entry === null) return
      const key = `${pipelineId}/${partition}`
      tickets.set(`${namesOf.get(pipelineId)}/${partition}/${entry.seq}`, due)
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

/** Each record that a target has taken, whatever the kind of sink. */
function noteDeliveries(note: (record: SinkRecord) => void): void {
  const sinks = registry.sinks as Map<string, SinkPlugin<never>>
  for (const [kind, plugin] of sinks) {
    const open: typeof plugin.open = async (options, context) => {
      const sink: Sink = await plugin.open(options, context)
      const noted =
        <T>(give: (records: readonly SinkRecord[]) => Promise<T>) =>
        async (records: readonly SinkRecord[]): Promise<T> => {
          const result = await give(records)
          for (const record of records) note(record)
          return result
        }
      if (sink.guarantee === 'transactional') sink.write = noted(sink.write.bind(sink))
      else if (sink.guarantee === 'idempotent') sink.upsert = noted(sink.upsert.bind(sink))
      else sink.send = noted(sink.send.bind(sink))
      return sink
    }
    sinks.set(kind, { ...plugin, open })
  }
}

function sharedHands(): Int32Array {
  if (threadId === 0) setEnvironmentData(HANDS_KEY, new SharedArrayBuffer(16))
  return new Int32Array(getEnvironmentData(HANDS_KEY) as unknown as SharedArrayBuffer)
}

function give(hands: Int32Array, word: number, by: number): void {
  Atomics.add(hands, word, by)
  Atomics.notify(hands, word)
}

function awaitHand(hands: Int32Array, word: number, wanted: number): void {
  const untilMs = performance.now() + HAND_MS_MAX
  for (;;) {
    const given = Atomics.load(hands, word)
    const leftMs = untilMs - performance.now()
    if (given >= wanted || leftMs <= 0) return
    Atomics.wait(hands, word, given, leftMs)
  }
}
