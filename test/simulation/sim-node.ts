/**
 * One life of a simulated node, from its start to its crash or stop: made as openStore, prepareStore and NodeThreads make
 * it, over simulated disks, and supervised as supervisor.ts does it: a shard or a sink thread that dies alone gets a
 * successor, in the order that makes a replacement exact. Who runs when is the scheduler's affair (simulation.ts).
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import {
  Board,
  type BoardPipeline,
  type BoardTopic,
  createBoard,
  layOutPipelines,
  layOutTopics,
  slotCount,
} from '../../engine/broker/node-board.ts'
import { createShardActivity } from '../../engine/broker/shard-activity.ts'
import { createMetricsBlock } from '../../engine/metrics/thread-metrics.ts'
import type { Chain, ChainOptions } from '../../engine/pipeline/chain.ts'
import { planHash } from '../../engine/pipeline/plan-difference.ts'
import { createDoorbell } from '../../engine/ring/doorbell.ts'
import { createRing, RingProducer } from '../../engine/ring/spsc-ring.ts'
import type { LogWriter } from '../../engine/store/log-contract.ts'
import { LmdbLogReader } from '../../engine/store/log-reader.ts'
import { LogTables } from '../../engine/store/log-tables.ts'
import { LmdbLogWriter } from '../../engine/store/log-writer.ts'
import type { StateWriter } from '../../engine/store/state-contract.ts'
import { LmdbStateReader } from '../../engine/store/state-reader.ts'
import { StateTables } from '../../engine/store/state-tables.ts'
import { LmdbStateWriter } from '../../engine/store/state-writer.ts'
import { verifyOffsets } from '../../engine/store/store.ts'
import type { Clock } from '../../engine/util/clock.ts'
import type { Prng } from '../../engine/util/prng.ts'
import { CommitterThread } from '../../workers/committer.ts'
import { LogWriterThread } from '../../workers/log-writer.ts'
import { ShardThread } from '../../workers/shard.ts'
import type { Surroundings } from '../../workers/surroundings.ts'
import type {
  CommitterControl,
  ControlAnswer,
  LogWriterControl,
  SharedWiring,
  SilenceChange,
} from '../../workers/wiring.ts'
import { check } from './checker.ts'
import type { Scenario } from './scenario.ts'
import type { SimClient } from './sim-client.ts'
import { type DiskKind, openSimEnv, type SimDisk } from './sim-disk.ts'
import { SimSinks, type SimTarget, type SinkWorld } from './sim-sinks.ts'
import type { SimBell, SimClock } from './sim-time.ts'

/** A node that is broken on purpose: what the simulation must notice. */
export interface Mutant {
  readonly name: string
  readonly logDisk?: DiskKind
  readonly stateDisk?: DiskKind
  readonly chain?: (options: ChainOptions, clock: Clock) => Chain
  readonly logWriter?: (writer: LogWriter) => LogWriter
  readonly stateWriter?: (writer: StateWriter) => StateWriter
  readonly sinksAnswerEarly?: boolean
  /** The successor of a dead shard writes on in its ring. */
  readonly keepsRings?: boolean
}

export type Role = 'client' | 'writer' | 'shard' | 'committer'

export interface Sleep {
  readonly bell: SimBell
  readonly ticket: number
  readonly untilMs: number
}

export interface Actor {
  readonly index: number
  readonly role: Role
  /** Of a shard: its number; else 0. */
  readonly shard: number
  /** False: it has ended. */
  readonly turn: () => boolean
  /** Clients: when they want a turn. */
  readonly nextMs: () => number
  /** It gets few turns, so that others run far ahead of it. */
  readonly isSlow: boolean
  /** The machine gives it no time before this. */
  stalledUntilMs: number
  asleep: Sleep | null
  ended: boolean
  onStack: boolean
}

/** Sent again within their horizon, which no downtime here is longer than. */
const DEDUPE = { horizonMs: 86_400_000 * 7, keysMax: 10_000, producersMax: 10 }
/** Of a successor, after it was decided. */
const RESTART_MS_MAX = 3_000

/** Counters are not looked at, but for two; all threads of all runs share one block. */
export const metrics = createMetricsBlock()

export interface NodeWorld {
  readonly scenario: Scenario
  readonly clock: SimClock
  readonly schedule: Prng
  readonly fence: number
  readonly lastHeartbeatMs: number
  readonly logDisk: SimDisk
  readonly stateDisk: SimDisk
  readonly mutant: Mutant | null
  readonly surroundings: Surroundings
  readonly clients: readonly SimClient[]
  readonly targets: ReadonlyMap<string, SimTarget>
  readonly sinkWorld: SinkWorld
  readonly bell: (sab: SharedArrayBuffer, isForRoom: boolean) => SimBell
  /** Bells in which a producer waits for room. */
  readonly roomBells: Set<SharedArrayBuffer>
}

export class SimNode {
  readonly board: Board
  readonly topics: readonly BoardTopic[]
  readonly pipelines: readonly BoardPipeline[]
  readonly actors: Actor[] = []
  readonly acks = new MessageChannel()
  readonly bells: {
    readonly writer: SimBell
    readonly committer: SimBell
    readonly shards: readonly SimBell[]
  }
  /** Null: it died, and its successor is not there yet. */
  sinks: SimSinks | null
  readonly #world: NodeWorld
  readonly #shared: SharedWiring
  readonly #shardBells: readonly SharedArrayBuffer[]
  readonly #commitRoomBells: readonly SharedArrayBuffer[]
  readonly #commitRings: SharedArrayBuffer[]
  readonly #committerBell = createDoorbell()
  readonly #writerControl = new MessageChannel()
  readonly #committerControl = new MessageChannel()
  readonly #answers = new Map<number, (answer: ControlAnswer) => void>()
  #nextRequest = 1
  #recoveries = 0

  constructor(world: NodeWorld) {
    this.#world = world
    const { scenario, clock, schedule, logDisk, stateDisk, roomBells } = world
    const log = openSimEnv(logDisk, null)
    const state = openSimEnv(stateDisk, null)
    log.transaction(() => log.takeFence(world.fence))
    state.transaction(() => state.takeFence(world.fence))
    const newestMs = verifyOffsets(log, state, 'the simulated store')
    const aliveMs = Math.max(newestMs, world.lastHeartbeatMs)
    const downFromMs = Number.isFinite(aliveMs) ? Math.min(aliveMs, clock.nowMs()) : null
    this.topics = this.#prepareTopics()
    this.pipelines = this.#preparePipelines(this.topics)
    const rows = this.pipelines.map(({ slot, topic }) => ({ slot, partitions: topic.partitions }))
    const board = createBoard(slotCount(this.topics), slotCount(rows))
    this.board = new Board(board)
    this.#shared = {
      dir: '',
      fence: world.fence,
      board,
      topics: this.topics,
      pipelines: this.pipelines,
      metrics,
    }
    const shards = 1 + schedule.below(3)
    const each = <T>(count: number, make: () => T): T[] => Array.from({ length: count }, make)
    this.#shardBells = each(shards, createDoorbell)
    const shardRings = each(shards, () => createRing(scenario.shardRingBytes))
    this.#commitRings = each(shards, () => createRing(scenario.commitRingBytes))
    this.#commitRoomBells = each(shards, createDoorbell)
    for (const bell of this.#commitRoomBells) roomBells.add(bell)
    const writerBell = createDoorbell()
    const cursors = new MessageChannel()
    this.#addClientsAndWriter(writerBell, shardRings, downFromMs)
    for (let shard = 0; shard < shards; shard++) this.#addShard(shard, shardRings[shard]!)
    this.#addCommitter(cursors.port1)
    this.sinks = this.#newSinks(cursors.port2)
    this.bells = {
      writer: world.bell(writerBell, false),
      committer: world.bell(this.#committerBell, false),
      shards: this.#shardBells.map((sab) => world.bell(sab, false)),
    }
  }

  /** A dead thread has no successor yet. */
  get isRecovering(): boolean {
    return this.#recoveries > 0
  }

  /** A shard died alone: new rings, what the old one completed is committed, then its successor starts. */
  shardDied(actor: Actor): void {
    const { shard } = actor
    const { scenario, mutant } = this.#world
    this.actors.splice(this.actors.indexOf(actor), 1)
    this.#recoveries++
    const ring = createRing(scenario.shardRingBytes)
    let missing = 1
    const answered = (): void => {
      if (--missing > 0) return
      this.#recoveries--
      this.#addShard(shard, ring)
    }
    const toWriter = { request: this.#ask(answered), shard, ring } satisfies LogWriterControl
    this.#writerControl.port1.postMessage(toWriter)
    this.bells.writer.ring()
    if (mutant?.keepsRings === true) return
    missing++
    const commitRing = createRing(scenario.commitRingBytes)
    this.#commitRings[shard] = commitRing
    const toCommitter = { type: 'ring', request: this.#ask(answered), shard, ring: commitRing } as const
    this.#committerControl.port1.postMessage(toCommitter satisfies CommitterControl)
    this.bells.committer.ring()
  }

  /** The sink thread died alone: calls that were open may have reached their target. */
  sinksDied(): void {
    this.sinks!.crash()
    this.sinks = null
    this.#recoveries++
    const cursors = new MessageChannel()
    const request = this.#ask(() => {
      this.#recoveries--
      this.sinks = this.#newSinks(cursors.port2)
    })
    const message: CommitterControl = { type: 'sinks', request, port: cursors.port1 }
    this.#committerControl.port1.postMessage(message, [cursors.port1])
    this.bells.committer.ring()
  }

  /** What the log writer and the committer have answered. */
  supervise(): void {
    if (this.#answers.size === 0) return
    for (const { port1 } of [this.#writerControl, this.#committerControl]) {
      for (;;) {
        const received = receiveMessageOnPort(port1)
        if (received === undefined) break
        const answer = received.message as ControlAnswer
        this.#answers.get(answer.request)?.(answer)
        this.#answers.delete(answer.request)
      }
    }
  }

  /** The process is gone. */
  crash(): void {
    this.sinks?.crash()
    for (const { port1, port2 } of [this.acks, this.#writerControl, this.#committerControl]) {
      port1.close()
      port2.close()
    }
  }

  /** Somebody makes or ends a silence. */
  silence(change: SilenceChange, answered: (answer: ControlAnswer) => void): void {
    const request = this.#nextRequest++
    this.#answers.set(request, answered)
    this.#committerControl.port1.postMessage({
      type: 'silence',
      request,
      ...change,
    } satisfies CommitterControl)
    this.bells.committer.ring()
  }

  /** A replacement. */
  #ask(answered: () => void): number {
    const request = this.#nextRequest++
    this.#answers.set(request, ({ refusal }) => {
      check(refusal === null, 'a replacement is not refused', refusal)
      answered()
    })
    return request
  }

  #add(role: Role, turn: () => boolean, how: Partial<Actor> = {}): void {
    this.actors.push({
      index: this.actors.length,
      role,
      shard: 0,
      turn,
      nextMs: () => 0,
      isSlow: this.#world.schedule.below(4) === 0,
      stalledUntilMs: 0,
      asleep: null,
      ended: false,
      onStack: false,
      ...how,
    })
  }

  #addClientsAndWriter(
    writerBell: SharedArrayBuffer,
    shardRings: readonly SharedArrayBuffer[],
    downFromMs: number | null,
  ): void {
    const { scenario, clients, surroundings, mutant } = this.#world
    const { bell } = surroundings
    const ingestRings = clients.map(() => createRing(scenario.ingestRingBytes))
    const ingestRoomBells = clients.map(() => createDoorbell())
    for (const [i, client] of clients.entries()) {
      client.open(new RingProducer(ingestRings[i]!, bell(writerBell), bell(ingestRoomBells[i]!)), this.topics)
      const turn = (): boolean => {
        client.turn()
        return true
      }
      this.#add('client', turn, { nextMs: () => client.nextMs })
    }
    const thread = begun(() => {
      const writer = this.#openLogWriter()
      return new LogWriterThread(
        {
          ...this.#shared,
          ingestRings,
          ingestRoomBells,
          bell: writerBell,
          shardRings,
          shardBells: this.#shardBells,
          port: this.acks.port2,
          control: this.#writerControl.port2,
          seriesLimit: scenario.seriesLimit,
          dedupe: DEDUPE,
          retentionAgeMs: scenario.retentionAgeMs,
          retentionBytes: scenario.retentionBytes,
          downFromMs,
        },
        mutant?.logWriter?.(writer) ?? writer,
        surroundings,
      )
    })
    this.#add('writer', thread)
  }

  #addShard(shard: number, ring: SharedArrayBuffer): void {
    const { clock, schedule, surroundings } = this.#world
    const commitRing = this.#commitRings[shard]!
    const thread = begun(() => {
      const wiring = {
        ...this.#shared,
        shard,
        shardCount: this.#shardBells.length,
        ring,
        bell: this.#shardBells[shard]!,
        commitRing,
        commitRoomBell: this.#commitRoomBells[shard]!,
        committerBell: this.#committerBell,
        activity: createShardActivity(),
      }
      return new ShardThread(wiring, this.#openLogReader(), this.openStateReader(), surroundings)
    })
    const isSuccessor = this.actors.some(({ role }) => role === 'committer')
    const stalledUntilMs = isSuccessor ? clock.monotonicMs() + schedule.below(RESTART_MS_MAX) : 0
    this.#add('shard', thread, { shard, stalledUntilMs })
  }

  #addCommitter(port: MessagePort): void {
    const { scenario, stateDisk, fence, mutant, surroundings } = this.#world
    const thread = begun(() => {
      const writer = new LmdbStateWriter(new StateTables(openSimEnv(stateDisk, fence)))
      return new CommitterThread(
        {
          ...this.#shared,
          rings: [...this.#commitRings],
          roomBells: this.#commitRoomBells,
          bell: this.#committerBell,
          shardBells: this.#shardBells,
          port,
          control: this.#committerControl.port2,
          commitMs: scenario.commitMs,
          checkpointMs: scenario.checkpointMs,
          retentionAgeMs: scenario.retentionAgeMs,
          retentionBytes: scenario.retentionBytes,
        },
        mutant?.stateWriter?.(writer) ?? writer,
        surroundings,
      )
    })
    this.#add('committer', thread)
  }

  #newSinks(port: MessagePort): SimSinks {
    const { sinkWorld, targets, surroundings, mutant } = this.#world
    return new SimSinks({
      world: sinkWorld,
      pipelines: this.pipelines,
      targets,
      state: this.openStateReader(),
      log: this.#openLogReader(),
      port,
      committerBell: surroundings.bell(this.#committerBell),
      answersEarly: mutant?.sinksAnswerEarly ?? false,
    })
  }

  #prepareTopics(): BoardTopic[] {
    const writer = this.#openLogWriter()
    writer.transaction((txn) => {
      for (const topic of this.#world.scenario.topics) txn.createTopic(topic)
    })
    return layOutTopics(writer.topics().map(({ id, ...topic }) => ({ topicId: id, ...topic })))
  }

  #preparePipelines(topics: readonly BoardTopic[]): BoardPipeline[] {
    const writer = new LmdbStateWriter(new StateTables(openSimEnv(this.#world.stateDisk, this.#world.fence)))
    const records = writer.transaction((txn) =>
      this.#world.scenario.plans.map((plan) => {
        const { topicId } = topics.find(({ name }) => name === plan.topic.name)!
        const { id } = txn.putPipeline({
          name: plan.name,
          topicId,
          topic: plan.topic.name,
          planHash: planHash(plan),
          planJson: JSON.stringify(plan),
        })
        return { plan, pipelineId: id }
      }),
    )
    return layOutPipelines(records, topics)
  }

  #openLogWriter(): LmdbLogWriter {
    return new LmdbLogWriter(new LogTables(openSimEnv(this.#world.logDisk, this.#world.fence))).load()
  }

  #openLogReader(): LmdbLogReader {
    return new LmdbLogReader(new LogTables(openSimEnv(this.#world.logDisk, null)))
  }

  openStateReader(): LmdbStateReader {
    return new LmdbStateReader(new StateTables(openSimEnv(this.#world.stateDisk, null)))
  }
}

/** A thread's first turn makes and starts it. */
function begun(make: () => { start(): void; turn(): boolean }): () => boolean {
  let thread: { start(): void; turn(): boolean } | null = null
  return () => {
    if (thread !== null) return thread.turn()
    thread = make()
    thread.start()
    return true
  }
}
