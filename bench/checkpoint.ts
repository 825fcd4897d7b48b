/**
 * Checkpoints of a shard with a million series, of which a tenth, drawn at random, changes from one checkpoint to the next:
 * nearly every page of the window's cells. A real shard and a real committer over real stores; the bench is the log
 * writer, and goes on sending record batches while a checkpoint is made.
 *
 * `pauseMs…`: for how long a turn of the shard's loop kept it from taking a record batch, sleep and the batches themselves
 * taken off, over the turns that worked on a checkpoint. `…Running…`: less what the thread was ready and had no processor
 * (Linux; by /proc), for machines that others use too: a thread that is put aside is no work of ours. `worstPauseMsP50`: the longest such turn of each checkpoint, the
 * median of checkpoints. `batchMs…`: a record batch of about 3,000 samples, while pages of its partition are owed to a
 * checkpoint (they are copied before they are written to) and otherwise.
 * `recoveryMs`: the shard is gone, without a last checkpoint; from the opening of the stores until its successor has
 * restored every partition and taken what the log holds beyond the checkpoint (that tenth), and `restoreMs`: the first
 * part of it. Files are in the page cache.
 */
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { MessageChannel, Worker } from 'node:worker_threads'
import { crc32 } from 'node:zlib'
import {
  Board,
  createBoard,
  layOutPipelines,
  layOutTopics,
  PHASE_COMMITTER_ENDS,
  slotCount,
} from '../engine/broker/node-board.ts'
import { createShardActivity } from '../engine/broker/shard-activity.ts'
import { ENTRY_RESULTS } from '../engine/contract/entries.ts'
import { createMetricsBlock } from '../engine/metrics/thread-metrics.ts'
import { createDoorbell, Doorbell } from '../engine/ring/doorbell.ts'
import { createRing, RingProducer } from '../engine/ring/spsc-ring.ts'
import { openLogWriter } from '../engine/store/log-store.ts'
import { openStateReader, openStateWriter } from '../engine/store/state-store.ts'
import { openStore } from '../engine/store/store.ts'
import { assert } from '../engine/util/assert.ts'
import type { CommitterControl, SharedWiring } from '../workers/wiring.ts'
import type { BenchModule, Figure } from './lib/bench.ts'
import {
  type Batch,
  CheckpointTraffic,
  checkpointPlan,
  EPOCH_MS,
  WINDOW_MS,
} from './lib/checkpoint-traffic.ts'
import type { CheckpointRole, ShardReport } from './lib/checkpoint-worker.ts'
import { median } from './lib/measure.ts'
import { openScratch } from './lib/scratch.ts'

const WORKER = new URL('./lib/checkpoint-worker.js', import.meta.url)
const PARTITIONS = 16
const CHANGED_SHARE = 0.1
const SAMPLES_A_SERIES = 4
const RING_BYTES = 16 << 20
const COMMIT_MS = 20
/** Between record batches, so that the whole checkpoint is made under way. */
const BATCH_EVERY_MS = 3
const WAIT_MS_MAX = 120_000
/** The bench asks for checkpoints itself. */
const NEVER_MS = 1e12

export const bench: BenchModule = {
  name: 'checkpoint',
  figures: [
    'pauseMsP99',
    'pauseRunningMsP99',
    'pauseMsMax',
    'worstPauseMsP50',
    'batchMsP99Draining',
    'batchMsP99Quiet',
    'checkpointMsP50',
    'recoveryMs',
    'recoveryRunningMs',
    'restoreMs',
  ],
  async run({ smoke }) {
    const scratch = openScratch('checkpoint')
    try {
      const dir = join(scratch.path, 'data')
      // Few partitions, so that each has enough pages for some turns.
      return smoke ? await measure(dir, 20_000, 2, 3) : await measure(dir, 1_000_000, PARTITIONS, 26)
    } finally {
      scratch.remove()
    }
  },
}

async function measure(
  dir: string,
  series: number,
  partitions: number,
  epochs: number,
): Promise<readonly Figure[]> {
  const store = await openStore({ dir })
  const log = openLogWriter({ dir, fence: store.fence })
  const traffic = new CheckpointTraffic(log, series, partitions)
  const shared = await preparePipeline(dir, store.fence, partitions)
  const node = new BenchNode(shared, traffic)
  node.show(traffic.everySeries(), false)
  await node.start()
  await node.checkpoint([])
  // The first checkpoints warm up, and are not counted.
  const checkpointMs: number[] = []
  for (let epoch = 0; epoch < epochs; epoch++) {
    checkpointMs.push(await node.checkpoint(traffic.epoch(CHANGED_SHARE, SAMPLES_A_SERIES)))
  }
  // What recovery finds in the log beyond the checkpoint.
  node.show(traffic.epoch(CHANGED_SHARE, 1), true)
  await node.committed()
  const run = await node.stopShard()
  const recovery = await node.start()
  await node.committed()
  await node.stopShard()
  await node.stop()
  const checksum = checksumOf(dir, shared)
  await log.close()
  await store.close()

  const params = {
    series,
    changedShare: CHANGED_SHARE,
    changed: 'random',
    partitions,
    shards: 1,
    checkpoints: epochs,
    samplesACheckpoint: Math.round(series * CHANGED_SHARE * SAMPLES_A_SERIES),
    windowMs: WINDOW_MS,
    eventTimeACheckpointMs: EPOCH_MS,
    pauses: run.pausesMs.length,
  }
  const values = [
    quantile(run.pausesMs, 0.99),
    quantile(run.runningPausesMs, 0.99),
    Math.max(...run.pausesMs),
    median(run.worstMs),
    quantile(run.drainingBatchMs, 0.99),
    quantile(run.quietBatchMs, 0.99),
    median(checkpointMs),
    recovery.caughtUpMs,
    recovery.caughtUpMs - recovery.queuedMs,
    recovery.restoredMs,
  ]
  return bench.figures.map((figure, i) => ({
    figure,
    value: Math.round(values[i]! * 1_000) / 1_000,
    unit: 'ms',
    params,
    checksum,
  }))
}

type Shared = Omit<SharedWiring, 'metrics'>

async function preparePipeline(dir: string, fence: number, partitions: number): Promise<Shared> {
  const plan = checkpointPlan(partitions)
  const writer = openStateWriter({ dir, fence })
  const { id } = writer.transaction((txn) =>
    txn.putPipeline({
      name: plan.name,
      topicId: 0,
      topic: plan.topic.name,
      planHash: 'bench',
      planJson: JSON.stringify(plan),
    }),
  )
  await writer.close()
  const topics = layOutTopics([{ ...plan.topic, topicId: 0 }])
  const pipelines = layOutPipelines([{ plan, pipelineId: id }], topics)
  const board = createBoard(slotCount(topics), partitions)
  return { dir, fence, board, topics, pipelines }
}

/** A committer for the whole run, and one shard after another. */
class BenchNode {
  readonly #shared: Shared
  readonly #traffic: CheckpointTraffic
  readonly #board: Board
  readonly #bell = createDoorbell()
  readonly #committerBell = createDoorbell()
  readonly #roomBell = createDoorbell()
  readonly #committer: Worker
  readonly #control = new MessageChannel()
  readonly #sinks = new MessageChannel()
  readonly #stop = new Int32Array(new SharedArrayBuffer(4))
  #commitRing = createRing(RING_BYTES)
  #ring: RingProducer | null = null
  #shard: Worker | null = null

  constructor(shared: Shared, traffic: CheckpointTraffic) {
    this.#shared = shared
    this.#traffic = traffic
    this.#board = new Board(shared.board)
    const ports = [this.#control.port2, this.#sinks.port2]
    const role: CheckpointRole = {
      role: 'committer',
      wiring: {
        ...shared,
        metrics: createMetricsBlock(),
        rings: [this.#commitRing],
        roomBells: [this.#roomBell],
        bell: this.#committerBell,
        shardBells: [this.#bell],
        port: this.#sinks.port2,
        control: this.#control.port2,
        commitMs: COMMIT_MS,
        checkpointMs: NEVER_MS,
        retentionAgeMs: NEVER_MS,
        retentionBytes: Number.POSITIVE_INFINITY,
      },
    }
    this.#committer = new Worker(WORKER, { workerData: role, transferList: ports })
  }

  /** A new shard thread; resolves when it has caught up with the log. */
  async start(): Promise<Extract<ShardReport, { type: 'ready' }>> {
    const ring = createRing(RING_BYTES)
    this.#ring = new RingProducer(ring, new Doorbell(this.#bell))
    Atomics.store(this.#stop, 0, 0)
    this.#board.processed.fill(0)
    const role: CheckpointRole = {
      role: 'shard',
      stop: this.#stop.buffer as SharedArrayBuffer,
      wiring: {
        ...this.#shared,
        metrics: createMetricsBlock(),
        shard: 0,
        shardCount: 1,
        ring,
        bell: this.#bell,
        commitRing: this.#commitRing,
        commitRoomBell: this.#roomBell,
        committerBell: this.#committerBell,
        activity: createShardActivity(),
      },
    }
    this.#shard = new Worker(WORKER, { workerData: role })
    const [report] = (await once(this.#shard, 'message')) as [ShardReport]
    assert(report.type === 'ready', 'a shard catches up before it is stopped', report.type)
    return report
  }

  /** Makes batches durable and tells the shard, as the log writer does. */
  show(batches: readonly Batch[], live: boolean): void {
    this.#traffic.put(batches)
    for (const batch of batches) this.#showOne(batch, live)
  }

  #showOne({ partition, bytes, endOffset }: Batch, live: boolean): void {
    const at = live ? this.#ring!.claim(bytes.length) : -1
    if (at >= 0) {
      this.#ring!.u8.set(bytes, at)
      this.#ring!.commit(0)
    }
    this.#board.logEnd[partition] = endOffset
    this.#board.publish()
    new Doorbell(this.#bell).ring()
  }

  /** Asks for a checkpoint of all that was sent, sends `batches` meanwhile, and waits; resolves to how long it took. */
  async checkpoint(batches: readonly Batch[]): Promise<number> {
    const ends = this.#board.logEnd.slice()
    this.#traffic.put(batches)
    const startMs = performance.now()
    this.#board.askCheckpoint()
    new Doorbell(this.#bell).ring()
    let tookMs = Number.NaN
    const look = (): void => {
      const isWhole = ends.every((end, partition) => this.#board.lowWater[partition]! >= end)
      if (Number.isNaN(tookMs) && isWhole) tookMs = performance.now() - startMs
    }
    for (const batch of batches) {
      this.#showOne(batch, true)
      await sleep(BATCH_EVERY_MS)
      look()
    }
    await until('a checkpoint', () => {
      look()
      return !Number.isNaN(tookMs)
    })
    await this.committed()
    return tookMs
  }

  /** What was sent is in committed results. */
  committed(): Promise<void> {
    const { logEnd, committed } = this.#board
    return until('a commit', () => logEnd.every((end, partition) => committed[partition]! >= end))
  }

  /** As if it had died: no last checkpoint. The committer forgets what it has left open. */
  async stopShard(): Promise<Extract<ShardReport, { type: 'stopped' }>> {
    const shard = this.#shard!
    const stopped = once(shard, 'message')
    // publish: the shard is to end; partner: the load in runTimedShard().
    Atomics.store(this.#stop, 0, 1)
    new Doorbell(this.#bell).ring()
    const [report] = (await stopped) as [ShardReport]
    assert(report.type === 'stopped', 'a shard reports when it was stopped', report.type)
    await shard.terminate()
    this.#commitRing = createRing(RING_BYTES)
    await this.#tellCommitter({ type: 'ring', request: 0, shard: 0, ring: this.#commitRing })
    return report
  }

  async stop(): Promise<void> {
    await this.#tellCommitter({ type: 'ring', request: 1, shard: 0, ring: null })
    const ended = once(this.#committer, 'exit')
    this.#board.enter(PHASE_COMMITTER_ENDS)
    new Doorbell(this.#committerBell).ring()
    await ended
    this.#control.port1.close()
    this.#sinks.port1.close()
  }

  async #tellCommitter(message: CommitterControl): Promise<void> {
    const answered = once(this.#control.port1, 'message')
    this.#control.port1.postMessage(message)
    new Doorbell(this.#committerBell).ring()
    await answered
  }
}

async function until(what: string, condition: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + WAIT_MS_MAX
  while (!condition()) {
    assert(performance.now() < deadlineMs, `${what} comes in time`)
    await sleep(1)
  }
}

/** Over every result that was committed, before the recovery and after it. */
function checksumOf(dir: string, { pipelines }: Shared): string {
  const state = openStateReader({ dir })
  const { pipelineId, topic } = pipelines[0]!
  let checksum = 0
  let rows = 0
  for (let partition = 0; partition < topic.partitions; partition++) {
    for (let seq = 0; ; ) {
      const entries = state.entries(pipelineId, partition, seq)
      if (entries.length === 0) break
      for (const { kind, bytes } of entries) {
        checksum = crc32(bytes, checksum)
        if (kind === ENTRY_RESULTS) rows += new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true)
      }
      seq = entries.at(-1)!.seq + 1
    }
    const { ledger } = state.progress(pipelineId, partition)!
    checksum = crc32(Buffer.from(JSON.stringify(ledger)), checksum)
  }
  void state.close()
  return `${rows}:${(checksum >>> 0).toString(16)}`
}

function quantile(values: readonly number[], q: number): number {
  // So few pages that no batch came while some were owed.
  if (values.length === 0) return 0
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)]!
}
