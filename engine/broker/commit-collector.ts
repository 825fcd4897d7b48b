/**
 * Collects what shards send (commit-frames.ts) and writes it into one transaction of the state environment. Guarantee:
 * an entry is committed together with, or before, the progress that covers it; entries that were committed before a
 * crash and come again on replay are suppressed by their number; a gap in the numbers is a programmer error and stops
 * the thread. Bytes are copied out of the rings when taken: shared memory must not reach LMDB. Used by the committer.
 */
import type { Alert } from '../contract/alert.ts'
import { ENTRY_ALERT, ENTRY_RESULTS, type Ledger } from '../contract/entries.ts'
import { resultStreams, storedStreams } from '../contract/streams.ts'
import { PAGE_BYTES, PAGE_CELLS } from '../state/cells.ts'
import type { Progress, StateReader, StateTransaction } from '../store/state-contract.ts'
import { assert } from '../util/assert.ts'
import * as frames from './commit-frames.ts'
import type { BoardPipeline } from './node-board.ts'

type Operation =
  | { readonly op: 'group'; readonly stream: Stream; readonly groupId: number; readonly key: Uint8Array }
  | {
      readonly op: 'entry'
      readonly stream: Stream
      readonly kind: number
      readonly seq: number
      readonly causeOffset: number
      readonly eventTimeMs: number
      readonly bytes: Uint8Array
    }
  | { readonly op: 'progress'; readonly stream: Stream; readonly progress: Progress }
  | {
      readonly op: 'page'
      readonly stream: Stream
      readonly region: number
      readonly index: number
      readonly cells: Float64Array
    }
  | {
      readonly op: 'checkpoint'
      readonly stream: Stream
      readonly position: number
      readonly nextSeq: number
      readonly meta: string
    }

/** One stream of a pipeline (contract/streams.ts). */
interface Stream {
  readonly pipelineId: number
  readonly partition: number
  readonly slot: number
  /** Of the topic's partition it reads; -1: it belongs to an exchange, and its position is no offset. */
  readonly topicSlot: number
  /** From partitions to the owners of groups: nobody else is to see it. */
  readonly isInternal: boolean
  /** Of the next entry to commit: entries below it are there already. */
  nextSeq: number
  position: number
  checkpointPosition: number
}

interface Queue {
  readonly operations: Operation[]
  /** Operations up to here may be committed: the last of them is progress or a checkpoint. */
  committable: number
}

export interface Committed {
  readonly entries: number
  /** Result rows by pipeline. */
  readonly resultRows: ReadonlyMap<number, number>
  readonly alerts: { readonly pipelineId: number; readonly state: Alert['state'] }[]
  readonly suppressed: number
  readonly checkpoints: number
  readonly checkpointBytes: number
}

const decoder = new TextDecoder()

export class CommitCollector {
  readonly #streams = new Map<number, Stream>()
  readonly #queues: Queue[]
  /** Ids of alerts that fire now, by pipeline. */
  readonly #firing = new Map<number, Set<string>>()
  /** Bytes held. */
  pendingBytes = 0
  /** Shards that have said their last word. */
  doneCount = 0

  constructor(sources: number, pipelines: readonly BoardPipeline[], state: StateReader) {
    this.#queues = Array.from({ length: sources }, () => ({ operations: [], committable: 0 }))
    for (const { pipelineId, plan, topic, slot } of pipelines) {
      const alerts = state.alerts(pipelineId).map(({ json }) => JSON.parse(json) as Alert)
      const firing = alerts.filter((alert) => alert.state === 'firing').map((alert) => alert.id)
      this.#firing.set(pipelineId, new Set(firing))
      for (let partition = 0; partition < storedStreams(plan); partition++) {
        const progress = state.progress(pipelineId, partition)
        this.#streams.set(streamKey(pipelineId, partition), {
          pipelineId,
          partition,
          slot: slot + partition,
          topicSlot: partition < topic.partitions ? topic.slot + partition : -1,
          isInternal: partition >= resultStreams(plan),
          nextSeq: progress?.nextSeq ?? 0,
          position: progress?.position ?? 0,
          checkpointPosition: state.checkpoint(pipelineId, partition)?.position ?? 0,
        })
      }
    }
  }

  firing(pipelineId: number): number {
    return this.#firing.get(pipelineId)?.size ?? 0
  }

  get hasCommittable(): boolean {
    return this.#queues.some((queue) => queue.committable > 0)
  }

  /** Copies one frame. */
  take(source: number, kind: number, i32: Int32Array, f64: Float64Array, u8: Uint8Array, at: number): void {
    if (kind === frames.FRAME_DONE) {
      this.doneCount++
      return
    }
    const queue = this.#queues[source]!
    const stream = this.#streams.get(streamKey(i32[at >> 2]!, i32[(at + 4) >> 2]!))
    assert(stream !== undefined, 'a frame names a stream of this node', i32[at >> 2], i32[(at + 4) >> 2])
    const word = (offset: number): number => i32[(at + offset) >> 2]!
    const number = (offset: number): number => f64[(at + offset) >> 3]!
    const { operations } = queue
    switch (kind) {
      case frames.FRAME_GROUP: {
        const key = copy(u8, at + frames.GROUP_HEADER_BYTES, word(12))
        operations.push({ op: 'group', stream, groupId: word(8), key })
        this.pendingBytes += key.length
        return
      }
      case frames.FRAME_ENTRY: {
        const bytes = copy(u8, at + frames.ENTRY_HEADER_BYTES, word(12))
        operations.push({
          op: 'entry',
          stream,
          kind: word(8),
          seq: number(16),
          causeOffset: number(24),
          eventTimeMs: number(32),
          bytes,
        })
        this.pendingBytes += bytes.length
        return
      }
      case frames.FRAME_PROGRESS: {
        const ledger: Ledger = {
          in: number(24),
          windowed: number(32),
          filtered: number(40),
          late: number(48),
          nonFinite: number(56),
        }
        const logMs = number(64)
        operations.push({
          op: 'progress',
          stream,
          progress: {
            position: number(8),
            nextSeq: number(16),
            ledger,
            ...(Number.isNaN(logMs) ? {} : { logMs }),
          },
        })
        queue.committable = operations.length
        return
      }
      case frames.FRAME_PAGE: {
        const from = (at + frames.PAGE_HEADER_BYTES) >> 3
        const cells = new Float64Array(PAGE_CELLS)
        cells.set(f64.subarray(from, from + PAGE_CELLS))
        operations.push({ op: 'page', stream, region: word(8), index: word(12), cells })
        this.pendingBytes += PAGE_BYTES
        return
      }
      case frames.FRAME_CHECKPOINT: {
        const meta = decoder.decode(copy(u8, at + frames.CHECKPOINT_HEADER_BYTES, word(24)))
        operations.push({ op: 'checkpoint', stream, position: number(8), nextSeq: number(16), meta })
        queue.committable = operations.length
        return
      }
      default:
        assert(false, 'a frame kind is known', kind)
    }
  }

  /** Writes everything committable. Call inside a transaction; a throw undoes it and must end the process. */
  apply(txn: StateTransaction): Committed {
    const committed = {
      entries: 0,
      resultRows: new Map<number, number>(),
      alerts: [] as { pipelineId: number; state: Alert['state'] }[],
      suppressed: 0,
      checkpoints: 0,
      checkpointBytes: 0,
    }
    for (const queue of this.#queues) {
      for (let i = 0; i < queue.committable; i++) write(txn, queue.operations[i]!, this.#firing, committed)
    }
    return committed
  }

  /** After the transaction is durable: forgets what it wrote, and tells each stream's new marks. */
  settle(moved: (stream: Readonly<Stream>) => void): void {
    const streams = new Set<Stream>()
    for (const queue of this.#queues) {
      for (const operation of queue.operations.splice(0, queue.committable)) {
        streams.add(operation.stream)
        if (operation.op === 'entry') this.pendingBytes -= operation.bytes.length
        else if (operation.op === 'group') this.pendingBytes -= operation.key.length
        else if (operation.op === 'page') this.pendingBytes -= PAGE_BYTES
      }
      queue.committable = 0
    }
    for (const stream of streams) moved(stream)
  }

  streams(): IterableIterator<Readonly<Stream>> {
    return this.#streams.values()
  }
}

function write(
  txn: StateTransaction,
  operation: Operation,
  firing: Map<number, Set<string>>,
  committed: {
    entries: number
    resultRows: Map<number, number>
    alerts: { pipelineId: number; state: Alert['state'] }[]
    suppressed: number
    checkpoints: number
    checkpointBytes: number
  },
): void {
  const { stream } = operation
  const { pipelineId, partition } = stream
  switch (operation.op) {
    case 'group':
      txn.putGroup(pipelineId, partition, operation.groupId, operation.key)
      return
    case 'entry': {
      const { seq, kind, bytes } = operation
      if (seq < stream.nextSeq) {
        committed.suppressed++
        return
      }
      assert(
        seq === stream.nextSeq,
        'entries are numbered without a gap',
        pipelineId,
        partition,
        seq,
        stream.nextSeq,
      )
      txn.putEntry(pipelineId, partition, seq, kind, operation.causeOffset, operation.eventTimeMs, bytes)
      stream.nextSeq = seq + 1
      // Sinks are nudged for what they can see.
      if (!stream.isInternal) committed.entries++
      if (kind === ENTRY_ALERT)
        committed.alerts.push({ pipelineId, state: keepAlert(txn, pipelineId, bytes, firing) })
      else if (kind === ENTRY_RESULTS) {
        // rowCount is the first word of the entry (contract/entries.ts).
        const rows = new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true)
        committed.resultRows.set(pipelineId, (committed.resultRows.get(pipelineId) ?? 0) + rows)
      }
      return
    }
    case 'progress': {
      const { progress } = operation
      // On replay a chain is behind what was committed until it has caught up.
      if (progress.position <= stream.position) return
      assert(
        progress.nextSeq === stream.nextSeq,
        'progress covers the entries before it',
        progress.nextSeq,
        stream.nextSeq,
      )
      txn.putProgress(pipelineId, partition, progress)
      stream.position = progress.position
      return
    }
    case 'page':
      txn.putPage(pipelineId, partition, operation.region, operation.index, operation.cells)
      committed.checkpointBytes += PAGE_BYTES
      return
    case 'checkpoint': {
      const { position, nextSeq, meta } = operation
      assert(nextSeq <= stream.nextSeq, 'a checkpoint follows the entries it covers', nextSeq, stream.nextSeq)
      txn.putCheckpoint(pipelineId, partition, { position, nextSeq, meta })
      stream.checkpointPosition = position
      committed.checkpoints++
      return
    }
  }
}

/** The table of current alerts follows the stream: an alert that resolved is gone from it. */
function keepAlert(
  txn: StateTransaction,
  pipelineId: number,
  bytes: Uint8Array,
  firing: Map<number, Set<string>>,
): Alert['state'] {
  const json = decoder.decode(bytes)
  const alert = JSON.parse(json) as Alert
  const ids = firing.get(pipelineId)!
  if (alert.state === 'firing') ids.add(alert.id)
  else ids.delete(alert.id)
  if (alert.state === 'resolved') txn.removeAlert(pipelineId, alert.id)
  else txn.putAlert(pipelineId, alert.id, json)
  return alert.state
}

function streamKey(pipelineId: number, partition: number): number {
  return pipelineId * 65536 + partition
}

function copy(u8: Uint8Array, at: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  bytes.set(u8.subarray(at, at + length))
  return bytes
}
