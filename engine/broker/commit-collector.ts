/**
 * Collects what shards send (commit-frames.ts) and writes it into one transaction of the state environment. Guarantee:
 * an entry is committed together with the progress that covers it, never before, however the streams of a shard mix in
 * its ring; entries that were committed before a crash and come again on replay are suppressed by their number; a gap in the numbers is a programmer error and stops
 * the thread. Bytes are copied out of the rings when taken: shared memory must not reach LMDB. Used by the committer.
 *
 * A shard may die between any two frames. What it sent is committable stream by stream: entries with the progress OF THEIR
 * STREAM that follows them, pages with their checkpoint only. `abandon` forgets the rest, which its
 * successor sends again from the last checkpoint; the numbers say what of it was committed already.
 */
import type { Alert } from '../contract/alert.ts'
import { ENTRY_ALERT, ENTRY_RESULTS, emptyLedger, type Ledger } from '../contract/entries.ts'
import { resultStreams, storedStreams } from '../contract/streams.ts'
import { PAGE_BYTES, PAGE_CELLS } from '../state/cells.ts'
import type { Progress, StateReader, StateTransaction } from '../store/state-contract.ts'
import { assert } from '../util/assert.ts'
import { killPoint } from '../util/kill-point.ts'
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
  | ProgressOperation
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

interface ProgressOperation {
  readonly op: 'progress'
  readonly stream: Stream
  /** Null: a later one of the same transaction covers more. */
  progress: Progress | null
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
  /** Owners of groups wait for where its partitions stand. */
  readonly isAwaited: boolean
  /** Of the next entry to commit: entries below it are there already. */
  nextSeq: number
  position: number
  checkpointPosition: number
  /** As of `position`. */
  ledger: Ledger
  /** The ring that its frames come by. */
  source: number
  /** Committable, and no checkpoint has followed it: what comes next may take its place. */
  progress: ProgressOperation | null
  /** Groups and entries that no progress covers yet. */
  uncovered: Operation[]
  /** Pages whose checkpoint has not come yet. */
  pages: Operation[]
}

export interface Committed {
  readonly entries: number
  /** Result rows by pipeline. */
  readonly resultRows: ReadonlyMap<number, number>
  /** Samples that came under committed progress, by pipeline. Replay counts none again. */
  readonly samples: ReadonlyMap<number, Ledger>
  readonly alerts: { readonly pipelineId: number; readonly state: Alert['state'] }[]
  readonly suppressed: number
  readonly checkpoints: number
  readonly checkpointBytes: number
}

/** Told of each transition inside the transaction that commits it. */
export interface AlertWatch {
  committed(txn: StateTransaction, pipelineId: number, partition: number, seq: number, alert: Alert): void
}

const decoder = new TextDecoder()

export class CommitCollector {
  readonly #streams = new Map<number, Stream>()
  /** In the order in which they came to be so. */
  readonly #committable: Operation[] = []
  readonly #done: boolean[]
  /** Ids of alerts that fire now, by pipeline. */
  readonly #firing = new Map<number, Set<string>>()
  /** Bytes held, but for those of `pages`. */
  pendingBytes = 0
  /** Bytes of pages that wait for their checkpoint: no commit can free them. */
  stagedBytes = 0
  /** Something committable is more than that samples were worked through without a result: somebody waits for it. */
  isUrgent = false

  constructor(sources: number, pipelines: readonly BoardPipeline[], state: StateReader) {
    this.#done = Array.from({ length: sources }, () => false)
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
          isAwaited: plan.exchange !== undefined,
          nextSeq: progress?.nextSeq ?? 0,
          position: progress?.position ?? 0,
          checkpointPosition: state.checkpoint(pipelineId, partition)?.position ?? 0,
          ledger: progress?.ledger ?? emptyLedger(),
          source: -1,
          progress: null,
          uncovered: [],
          pages: [],
        })
      }
    }
  }

  firing(pipelineId: number): number {
    return this.#firing.get(pipelineId)?.size ?? 0
  }

  get hasCommittable(): boolean {
    return this.#committable.length > 0
  }

  /** Every shard has said its last word. */
  get allDone(): boolean {
    return this.#done.every((done) => done)
  }

  /**
   * The shard behind a source is gone. Forgets what it left uncovered; commit what is committable before its successor
   * reads the state. `isLast`: it has no successor.
   */
  abandon(source: number, isLast: boolean): void {
    for (const stream of this.#streams.values()) {
      if (stream.source !== source) continue
      for (const operation of stream.uncovered) this.pendingBytes -= bytesOf(operation)
      this.stagedBytes -= stream.pages.length * PAGE_BYTES
      stream.uncovered = []
      stream.pages = []
    }
    if (isLast) this.#done[source] = true
  }

  /** Next offset wanted by a stream, as committed. */
  position(pipelineId: number, partition: number): number {
    return this.#streams.get(streamKey(pipelineId, partition))?.position ?? 0
  }

  /** Number of the next entry to commit. */
  nextSeq(pipelineId: number, partition: number): number {
    return this.#streams.get(streamKey(pipelineId, partition))?.nextSeq ?? 0
  }

  /** Copies one frame. */
  take(source: number, kind: number, i32: Int32Array, f64: Float64Array, u8: Uint8Array, at: number): void {
    if (kind === frames.FRAME_DONE) {
      this.#done[source] = true
      return
    }
    const stream = this.#streams.get(streamKey(i32[at >> 2]!, i32[(at + 4) >> 2]!))
    assert(stream !== undefined, 'a frame names a stream of this node', i32[at >> 2], i32[(at + 4) >> 2])
    const word = (offset: number): number => i32[(at + offset) >> 2]!
    const number = (offset: number): number => f64[(at + offset) >> 3]!
    stream.source = source
    const { uncovered, pages } = stream
    switch (kind) {
      case frames.FRAME_GROUP: {
        const key = copy(u8, at + frames.GROUP_HEADER_BYTES, word(12))
        uncovered.push({ op: 'group', stream, groupId: word(8), key })
        this.pendingBytes += key.length
        return
      }
      case frames.FRAME_ENTRY: {
        const bytes = copy(u8, at + frames.ENTRY_HEADER_BYTES, word(12))
        uncovered.push({
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
          dead: number(64),
        }
        const logMs = number(72)
        const progress: Progress = {
          position: number(8),
          nextSeq: number(16),
          ledger,
          ...(Number.isNaN(logMs) ? {} : { logMs }),
        }
        this.#advance(stream, progress)
        return
      }
      case frames.FRAME_PAGE: {
        const from = (at + frames.PAGE_HEADER_BYTES) >> 3
        const cells = new Float64Array(PAGE_CELLS)
        cells.set(f64.subarray(from, from + PAGE_CELLS))
        pages.push({ op: 'page', stream, region: word(8), index: word(12), cells })
        this.stagedBytes += PAGE_BYTES
        return
      }
      case frames.FRAME_CHECKPOINT: {
        const meta = decoder.decode(copy(u8, at + frames.CHECKPOINT_HEADER_BYTES, word(24)))
        for (const page of pages) this.#committable.push(page)
        this.stagedBytes -= pages.length * PAGE_BYTES
        this.pendingBytes += pages.length * PAGE_BYTES
        stream.pages = []
        // Stays where it is: the checkpoint is checked against it.
        stream.progress = null
        this.isUrgent = true
        this.#committable.push({ op: 'checkpoint', stream, position: number(8), nextSeq: number(16), meta })
        return
      }
      default:
        assert(false, 'a frame kind is known', kind)
    }
  }

  /** Writes everything committable. Call inside a transaction; a throw undoes it and must end the process. */
  apply(txn: StateTransaction, watch: AlertWatch | null = null): Committed {
    const committed = {
      entries: 0,
      resultRows: new Map<number, number>(),
      samples: new Map<number, Ledger>(),
      alerts: [] as { pipelineId: number; state: Alert['state'] }[],
      suppressed: 0,
      checkpoints: 0,
      checkpointBytes: 0,
    }
    for (const operation of this.#committable) write(txn, operation, this.#firing, watch, committed)
    return committed
  }

  /** After the transaction is durable: forgets what it wrote, and tells each stream's new marks. */
  settle(moved: (stream: Readonly<Stream>) => void): void {
    const streams = new Set<Stream>()
    for (const operation of this.#committable.splice(0)) {
      streams.add(operation.stream)
      operation.stream.progress = null
      this.pendingBytes -= bytesOf(operation)
    }
    this.isUrgent = false
    for (const stream of streams) moved(stream)
  }

  streams(): IterableIterator<Readonly<Stream>> {
    return this.#streams.values()
  }

  /** Of all progress that comes between two commits only the last is written. */
  #advance(stream: Stream, progress: Progress): void {
    const { uncovered, progress: earlier } = stream
    if (stream.isAwaited || uncovered.length > 0) this.isUrgent = true
    if (earlier !== null && uncovered.length === 0) {
      earlier.progress = progress
      return
    }
    if (earlier !== null) earlier.progress = null
    for (const operation of uncovered) this.#committable.push(operation)
    stream.uncovered = []
    stream.progress = { op: 'progress', stream, progress }
    this.#committable.push(stream.progress)
  }
}

function bytesOf(operation: Operation): number {
  if (operation.op === 'entry') return operation.bytes.length
  if (operation.op === 'group') return operation.key.length
  return operation.op === 'page' ? PAGE_BYTES : 0
}

function write(
  txn: StateTransaction,
  operation: Operation,
  firing: Map<number, Set<string>>,
  watch: AlertWatch | null,
  committed: {
    entries: number
    resultRows: Map<number, number>
    samples: Map<number, Ledger>
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
      killPoint('commit-entry')
      if (kind === ENTRY_ALERT) {
        const alert = keepAlert(txn, pipelineId, bytes, firing)
        watch?.committed(txn, pipelineId, partition, seq, alert)
        committed.alerts.push({ pipelineId, state: alert.state })
      } else if (kind === ENTRY_RESULTS) {
        // rowCount is the first word of the entry (contract/entries.ts).
        const rows = new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true)
        committed.resultRows.set(pipelineId, (committed.resultRows.get(pipelineId) ?? 0) + rows)
      }
      return
    }
    case 'progress': {
      const { progress } = operation
      if (progress === null) return
      // On replay a chain is behind what was committed until it has caught up.
      if (progress.position <= stream.position) return
      assert(
        progress.nextSeq === stream.nextSeq,
        'progress covers the entries before it',
        progress.nextSeq,
        stream.nextSeq,
      )
      txn.putProgress(pipelineId, partition, progress)
      killPoint('commit-progress')
      stream.position = progress.position
      addSamples(committed.samples, pipelineId, stream.ledger, progress.ledger)
      stream.ledger = progress.ledger
      return
    }
    case 'page':
      txn.putPage(pipelineId, partition, operation.region, operation.index, operation.cells)
      committed.checkpointBytes += PAGE_BYTES
      killPoint('commit-page')
      return
    case 'checkpoint': {
      const { position, nextSeq, meta } = operation
      killPoint('commit-checkpoint')
      assert(nextSeq <= stream.nextSeq, 'a checkpoint follows the entries it covers', nextSeq, stream.nextSeq)
      // One ahead of the progress would start a replay with numbers that were never committed.
      assert(position <= stream.position, 'a checkpoint follows its progress', position, stream.position)
      txn.putCheckpoint(pipelineId, partition, { position, nextSeq, meta })
      stream.checkpointPosition = position
      committed.checkpoints++
      return
    }
  }
}

function addSamples(samples: Map<number, Ledger>, pipelineId: number, from: Ledger, to: Ledger): void {
  const sum = samples.get(pipelineId) ?? emptyLedger()
  samples.set(pipelineId, sum)
  sum.in += to.in - from.in
  sum.windowed += to.windowed - from.windowed
  sum.filtered += to.filtered - from.filtered
  sum.late += to.late - from.late
  sum.nonFinite += to.nonFinite - from.nonFinite
  sum.dead += to.dead - from.dead
}

/** The table of current alerts follows the stream: an alert that resolved is gone from it. */
function keepAlert(
  txn: StateTransaction,
  pipelineId: number,
  bytes: Uint8Array,
  firing: Map<number, Set<string>>,
): Alert {
  const json = decoder.decode(bytes)
  const alert = JSON.parse(json) as Alert
  const ids = firing.get(pipelineId)!
  if (alert.state === 'firing') ids.add(alert.id)
  else ids.delete(alert.id)
  if (alert.state === 'resolved') txn.removeAlert(pipelineId, alert.id)
  else txn.putAlert(pipelineId, alert.id, json)
  return alert
}

function streamKey(pipelineId: number, partition: number): number {
  return pipelineId * 65536 + partition
}

function copy(u8: Uint8Array, at: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  bytes.set(u8.subarray(at, at + length))
  return bytes
}
