/**
 * One simulated life of a node and its surroundings, all from one seed, on one thread: clients, the log writer, shards,
 * committer and sinks run turn by turn in an order that the seed decides, over simulated disks and a simulated clock, and
 * are crashed, paused and started again. The loops are those of workers/, the store code is that of engine/store/: what
 * is simulated is what lies below them.
 *
 * A thread runs until it sleeps, but not alone: at every sync and whenever it rings a bell, the scheduler may let others
 * run in between ("pass"), or crash the node. A thread that waits in the middle of its turn, for room in a ring or for the
 * rest of a request, lets the others run until it is rung. Threads that another one on the stack waits for are left out,
 * for they would have to return first (`isAllowed`).
 */
import { receiveMessageOnPort } from 'node:worker_threads'
import { PHASE_COMMITTER_ENDS, PHASE_SHARDS_END, PHASE_WRITER_ENDS } from '../../engine/broker/node-board.ts'
import { MillraceError } from '../../engine/contract/errors.ts'
import * as catalog from '../../engine/metrics/catalog.ts'
import { readMetric } from '../../engine/metrics/merge.ts'
import { Chain } from '../../engine/pipeline/chain.ts'
import { LmdbStateReader } from '../../engine/store/state-reader.ts'
import { StateTables } from '../../engine/store/state-tables.ts'
import { Prng } from '../../engine/util/prng.ts'
import type { Surroundings } from '../../workers/surroundings.ts'
import type { AckMessage } from '../../workers/wiring.ts'
import { Checker, check, SimulationFailure } from './checker.ts'
import { type Length, makeScenario, pick, type Scenario } from './scenario.ts'
import { type Counters, SimClient } from './sim-client.ts'
import { openSimEnv, SimDisk } from './sim-disk.ts'
import { type Actor, type Mutant, metrics, type Role, SimNode } from './sim-node.ts'
import { SimOperator } from './sim-operator.ts'
import { SimTarget } from './sim-sinks.ts'
import { SimBell, SimClock } from './sim-time.ts'

export interface SimulationOptions {
  readonly seed: number
  readonly mutant?: Mutant | null
  /** Default: short. */
  readonly length?: Length
  /** For tests that want something in particular of a run. */
  readonly change?: (scenario: Scenario) => Scenario
}

export interface SimulationReport {
  readonly seed: number
  /** Of everything that was done, in order: equal for equal seeds. */
  readonly digest: number
  readonly steps: number
  readonly simulatedMs: number
  readonly crashes: number
  /** Of single threads, each replaced while the others went on. */
  readonly deaths: number
  /** Requests that clients sent again. */
  readonly resent: number
  /** By kind, crashes by place among them. */
  readonly faults: Readonly<Record<string, number>>
  readonly faultCount: number
  readonly logOffsets: number
  readonly entries: number
  readonly transactions: number
  readonly skippedBatches: number
  readonly catchUpReads: number
}

/** Thrown through a thread's turn: the node is gone. */
class SimCrash extends Error {
  override readonly name = 'SimCrash'
}

/** Thrown through a shard's turn: the shard is gone, and nothing else. */
class SimDeath extends Error {
  override readonly name = 'SimDeath'
}

const CRASHES_MAX: Readonly<Record<Length, number>> = { short: 4, long: 12 }
const DEATHS_MAX = 20
/** Threads on the stack: one that runs, and those that wait for it to yield. */
const DEPTH_MAX = 4
/** A thread that waits this long in the middle of a turn waits for ever. */
const BLOCKED_STEPS_MAX = 5_000
const TIME_EVERY_STEPS = 4
const STEPS_MAX = 400_000
/** After everything was sent and nothing fails any more, all of it is in results and sinks within these. */
const QUIET_STEPS_MAX = 60_000
/** How long the node is watched without input: ticks, silences and idle partitions have their time. */
const QUIET_MS: Readonly<Record<Length, number>> = { short: 20_000, long: 70_000 }
const OVERSLEEP_MS_MAX = 5_000
const OVERSLEEP_QUIET_MS_MAX = 20_000
const SLOWNESS = 30
const HEARTBEAT_MS = 1_000

export class Simulation {
  readonly seed: number
  readonly clock = new SimClock()
  readonly scenario: Scenario
  readonly #mutant: Mutant | null
  readonly #schedule: Prng
  readonly #faultPrng: Prng
  readonly #targetPrng: Prng
  readonly #checker: Checker
  readonly #logDisk: SimDisk
  readonly #stateDisk: SimDisk
  readonly #clients: readonly SimClient[]
  readonly #operator: SimOperator
  readonly #targets = new Map<string, SimTarget>()
  readonly #surroundings: Surroundings
  #roomBells = new Set<SharedArrayBuffer>()
  readonly #length: Length
  #life: SimNode | null = null
  #stack: Actor[] = []
  #pipelines: SimNode['pipelines'] = []
  #fence = 0
  #lastHeartbeatMs = Number.NEGATIVE_INFINITY
  /** Passes do nothing: promises settle, or the run is being checked. */
  #isStill = true
  #isQuiet = false
  #isStopping = false
  #deaths = 0
  #digest = 0
  #steps = 0
  #crashes = 0
  readonly #faults: Record<string, number> = {}

  constructor(options: SimulationOptions) {
    const { seed, mutant = null, length = 'short', change = (scenario) => scenario } = options
    this.seed = seed
    this.#mutant = mutant
    this.#length = length
    this.scenario = change(makeScenario(new Prng(seed), length))
    this.#schedule = new Prng(seed ^ 0x51ed270b)
    this.#faultPrng = new Prng(seed ^ 0x2545f491)
    this.#targetPrng = new Prng(seed ^ 0x6c8e9cf5)
    this.#checker = new Checker(this.scenario.topics)
    this.#logDisk = new SimDisk('log', mutant?.logDisk ?? 'strict', this.#diskWorld())
    this.#stateDisk = new SimDisk('state', mutant?.stateDisk ?? 'strict', this.#diskWorld())
    this.#operator = new SimOperator(this.scenario, new Prng(seed ^ 0x3c6ef372), this.clock)
    const counters: Counters = { attempts: 0, samples: 0 }
    this.#clients = Array.from({ length: this.scenario.clients }, (_, i) => {
      return new SimClient(i, this.scenario, new Prng(seed + 7_919 * (i + 1)), this.clock, counters)
    })
    for (const plan of this.scenario.plans) {
      for (const { name, kind } of plan.sinks) this.#targets.set(`${plan.name}/${name}`, new SimTarget(kind))
    }
    this.#surroundings = {
      clock: this.clock,
      bell: (sab) => new SimBell(sab, this, this.#roomBells.has(sab)),
      chain: (chain) => mutant?.chain?.(chain, this.clock) ?? new Chain(chain),
      limit: (declared) => this.#limit(declared),
    }
  }

  async run(): Promise<SimulationReport> {
    const before = [readMetric(catalog.RING_SKIPPED_BATCHES, METRICS), catchUpReads()]
    for (let done = false; !done; ) {
      try {
        this.#isStill = false
        this.#isStopping = false
        this.#start()
        done = await this.#live()
      } catch (error) {
        if (!(error instanceof SimCrash) && !isInjected(error)) throw error
        this.#noteFault(error instanceof SimCrash ? `crash at ${error.message}` : 'sync failure')
        this.#crashes++
      }
      this.#down()
    }
    return {
      seed: this.seed,
      digest: this.#digest >>> 0,
      steps: this.#steps,
      simulatedMs: this.clock.monotonicMs(),
      crashes: this.#crashes,
      deaths: this.#deaths,
      resent: this.#clients.reduce((sum, client) => sum + client.resent, 0),
      faults: this.#faults,
      faultCount: Object.values(this.#faults).reduce((sum, count) => sum + count, 0),
      logOffsets: this.#checker.logOffsets,
      entries: this.#checker.committedEntries,
      transactions: this.#checker.transactions,
      skippedBatches: readMetric(catalog.RING_SKIPPED_BATCHES, METRICS) - before[0]!,
      catchUpReads: catchUpReads() - before[1]!,
    }
  }

  // ---- the scheduler's handles ---------------------------------------------------------------------------------

  /** A place where other threads may run, or the node may crash. */
  pass(place: string): void {
    if (this.#isStill) return
    const { crash, preempt } = this.scenario.oneIn
    if (this.#crashes < CRASHES_MAX[this.#length] && this.#fails(crash)) throw new SimCrash(place)
    if (this.#stack.at(-1)?.role === 'shard' && this.#mayDie(this.scenario.oneIn.shardDeath))
      throw new SimDeath(place)
    if (this.#stack.length > 0 && this.#stack.length < DEPTH_MAX && this.#schedule.float() * preempt < 1)
      this.#runOne()
  }

  /** A thread waits in its bell: at the end of its turn it is put to sleep, in the middle of it the others run. */
  waitIn(bell: SimBell, ticket: number, timeoutMs: number): boolean {
    const actor = this.#stack.at(-1)!
    const midTurn =
      bell.isForRoom || (actor.role === 'writer' && this.#clients.some((client) => client.isPushing))
    if (!midTurn) {
      const deep = actor.role === 'shard' && this.scenario.deepSleep
      actor.asleep = { bell, ticket, untilMs: deep ? Infinity : this.clock.monotonicMs() + timeoutMs }
      return true
    }
    for (let steps = 0; steps < BLOCKED_STEPS_MAX; steps++) {
      if (bell.isRungSince(ticket)) return true
      // Whoever only tries to push into a full ring runs for ever, and time passes all the same: who is stalled wakes up.
      if (!this.#runOne() || steps % TIME_EVERY_STEPS === 0) this.clock.advance(1 + this.#schedule.below(30))
    }
    throw new SimulationFailure(`deadlock: ${actor.role} ${actor.index} waits for ever`)
  }

  #diskWorld() {
    const fails = (): boolean => {
      if (this.#isStill || !this.#fails(this.scenario.oneIn.syncFailure)) return false
      return this.#crashes < CRASHES_MAX[this.#length]
    }
    return {
      prng: this.#faultPrng,
      pass: (place: string) => this.pass(place),
      spend: (ms: number) => this.clock.advance(ms),
      syncFails: fails,
      durable: (env: string, writes: Parameters<Checker['durable']>[1]) => {
        this.#note(writes.length)
        this.#checker.durable(env, writes)
      },
    }
  }

  /** A thread alone; the others are told of it, and must be able to answer. */
  #mayDie(oneIn: number): boolean {
    return !this.#isStopping && this.#deaths < DEATHS_MAX && this.#fails(oneIn)
  }

  /** One chance in `oneIn`, while things fail. */
  #fails(oneIn: number): boolean {
    return !this.#isQuiet && this.#faultPrng.float() * oneIn < 1
  }

  #limit(declared: number): number {
    if (!this.scenario.smallBounds) return declared
    if (declared <= 64) return 1 + this.#schedule.below(4)
    return declared > 1 << 20 ? 4_096 << this.#schedule.below(5) : 10 + this.#schedule.below(200)
  }

  #note(value: number): void {
    this.#digest = Math.imul(this.#digest ^ (value + this.clock.monotonicMs() * 31), 0x01000193) | 0
  }

  #noteFault(kind: string): void {
    this.#faults[kind] = (this.#faults[kind] ?? 0) + 1
  }

  /** True: somebody ran. */
  #runOne(): boolean {
    const { actors } = this.#life!
    const awake = actors.filter((actor) => this.#isAwake(actor) && this.#isAllowed(actor))
    if (awake.length === 0) return false
    this.#runActor(this.#choose(awake))
    return true
  }

  #choose(awake: readonly Actor[]): Actor {
    const actor = pick(this.#schedule, awake)
    return actor.isSlow && this.#schedule.below(SLOWNESS) > 0 ? pick(this.#schedule, awake) : actor
  }

  #isAwake({ asleep, ended, onStack, nextMs, stalledUntilMs }: Actor): boolean {
    const nowMs = this.clock.monotonicMs()
    if (ended || onStack || stalledUntilMs > nowMs) return false
    return asleep === null
      ? nextMs() <= nowMs
      : asleep.untilMs <= nowMs || asleep.bell.isRungSince(asleep.ticket)
  }

  /** Nobody may wait for a thread that is below it on the stack: shards wait for the committer, the writer for clients. */
  #isAllowed({ role }: Actor): boolean {
    const waitsFor = role === 'shard' ? 'committer' : role === 'writer' ? 'client' : null
    return !this.#stack.some((below) => below.role === waitsFor)
  }

  #runActor(actor: Actor): void {
    const { asleep } = actor
    if (asleep !== null && !asleep.bell.isRungSince(asleep.ticket)) asleep.bell.cancel()
    actor.asleep = null
    actor.onStack = true
    this.#stack.push(actor)
    this.#note(actor.index)
    let isDead = false
    try {
      // A crash leaves the stack as it is; the next life begins with an empty one.
      if (!actor.turn()) actor.ended = true
    } catch (error) {
      if (!(error instanceof SimDeath)) throw error
      isDead = true
    }
    this.#stack.pop()
    actor.onStack = false
    if (isDead) {
      actor.ended = true
      this.#replace('death of a shard', (life) => life.shardDied(actor))
    }
  }

  /** The supervisor, on a thread that is not simulated: nobody runs in between. */
  #replace(fault: string, begin: (life: SimNode) => void): void {
    this.#noteFault(fault)
    this.#deaths++
    this.#isStill = true
    begin(this.#life!)
    this.#isStill = false
  }

  // ---- a life of the node --------------------------------------------------------------------------------------

  #start(): void {
    this.#roomBells = new Set()
    const { scenario, clock } = this
    const life = new SimNode({
      scenario,
      clock,
      schedule: this.#schedule,
      fence: ++this.#fence,
      lastHeartbeatMs: this.#lastHeartbeatMs,
      logDisk: this.#logDisk,
      stateDisk: this.#stateDisk,
      mutant: this.#mutant,
      surroundings: this.#surroundings,
      clients: this.#clients,
      targets: this.#targets,
      sinkWorld: {
        prng: this.#targetPrng,
        clock,
        pass: (place) => this.pass(place),
        callFails: () => {
          const failed = this.#fails(scenario.oneIn.targetFailure)
          if (failed) this.#noteFault('target failure')
          return failed
        },
      },
      bell: (sab, isForRoom) => new SimBell(sab, this, isForRoom),
      roomBells: this.#roomBells,
    })
    this.#life = life
    this.#pipelines = life.pipelines
    this.#checker.prepared(life.pipelines)
  }

  /** True: the run is over; false: the node was stopped cleanly, to start again. A crash comes as a throw. */
  async #live(): Promise<boolean> {
    let quietSteps = 0
    let quietUntilMs = Infinity
    for (;;) {
      const isSent = this.#clients.every((client) => client.hasSent)
      if (isSent && !this.#isQuiet) {
        this.#isQuiet = true
        quietUntilMs = this.clock.monotonicMs() + QUIET_MS[this.#length]
      }
      if (this.#isQuiet) {
        quietUntilMs = Math.min(quietUntilMs, this.clock.monotonicMs() + QUIET_MS[this.#length])
        check(
          ++quietSteps < QUIET_STEPS_MAX,
          'what was sent is in committed results after a bounded time',
          () => this.#standing(),
        )
        for (const client of this.#clients) client.sendEnd()
        if (this.clock.monotonicMs() >= quietUntilMs && this.#isSettled()) {
          await this.#stop()
          this.#finish()
          return true
        }
      } else if (this.#fails(this.scenario.oneIn.cleanStop)) {
        this.#noteFault('clean stop')
        await this.#stop()
        return false
      }
      await this.#step()
    }
  }

  async #step(): Promise<void> {
    check(++this.#steps < STEPS_MAX, 'a run ends', () => this.#standing())
    this.#disturb()
    this.#receiveAcks()
    this.#life!.supervise()
    this.#operate()
    const { actors, sinks } = this.#life!
    const nowMs = this.clock.monotonicMs()
    const awake = actors.filter((actor) => this.#isAwake(actor) && this.#isAllowed(actor))
    const isSinkTurn = sinks !== null && sinks.nextMs <= nowMs && this.#schedule.below(awake.length + 1) === 0
    if (isSinkTurn) await this.#sinkTurn()
    else if (awake.length > 0) this.#runActor(this.#choose(awake))
    else this.#passTime()
  }

  #operate(): void {
    if (this.#isStopping) return
    const change = this.#operator.next(this.#isQuiet)
    if (change !== null) this.#life!.silence(change, (answer) => this.#operator.answered(change, answer))
  }

  async #sinkTurn(): Promise<void> {
    this.#note(-1)
    // What follows from a promise cannot be interrupted; targets are, before and after each call.
    const turn = this.#life!.sinks!.turn()
    this.#isStill = true
    await turn
    this.#isStill = false
  }

  #disturb(): void {
    const nowMs = this.clock.nowMs()
    if (Math.abs(nowMs - this.#lastHeartbeatMs) >= HEARTBEAT_MS) this.#lastHeartbeatMs = nowMs
    this.clock.advance(this.#schedule.below(3))
    const { pause, stall, clockStep } = this.scenario.oneIn
    if (this.#fails(stall)) {
      this.#noteFault('stall of a thread')
      const role = pick<Role>(this.#faultPrng, ['shard', 'shard', 'committer', 'writer'])
      const threads = this.#life!.actors.filter((actor) => actor.role === role)
      const stallMs = 100 << this.#faultPrng.below(8)
      // All shards may be dead just now.
      if (threads.length > 0)
        pick(this.#faultPrng, threads).stalledUntilMs = this.clock.monotonicMs() + stallMs
    }
    if (this.#life!.sinks !== null && this.#mayDie(this.scenario.oneIn.sinkDeath)) {
      this.#replace('death of the sink thread', (life) => life.sinksDied())
    }
    if (this.#fails(pause)) {
      this.#noteFault('pause of the machine')
      this.clock.advance(1_000 << this.#faultPrng.below(8))
    }
    if (this.#fails(clockStep)) {
      this.#noteFault('step of the clock')
      this.clock.step(this.#faultPrng.below(40_000) - 20_000)
    }
  }

  /** Everybody sleeps: time passes until somebody wakes, or a little longer. */
  #passTime(): void {
    const { actors, sinks } = this.#life!
    const nowMs = this.clock.monotonicMs()
    const wakes = actors
      .filter(({ ended }) => !ended)
      .map(({ asleep, nextMs, stalledUntilMs }) => Math.max(stalledUntilMs, asleep?.untilMs ?? nextMs()))
    wakes.push(sinks?.nextMs ?? Infinity)
    const coming = wakes.filter((ms) => Number.isFinite(ms) && ms > nowMs)
    // A timeout is a lower bound: on a busy machine a thread wakes later.
    const isLate = coming.length === 0 || this.#schedule.below(2) === 0
    const mostMs = this.#isQuiet ? OVERSLEEP_QUIET_MS_MAX : OVERSLEEP_MS_MAX
    const waitMs = isLate ? this.#schedule.below(mostMs) : pick(this.#schedule, coming) - nowMs
    this.clock.advance(Math.max(1, Math.min(mostMs, waitMs)))
  }

  #receiveAcks(): void {
    for (;;) {
      const received = receiveMessageOnPort(this.#life!.acks.port1)
      if (received === undefined) return
      for (const ack of (received.message as AckMessage).acks) {
        const taken = this.#clients.some((client) => client.acknowledge(ack))
        check(taken, 'an acknowledgement answers a request', ack.requestId)
      }
    }
  }

  #isSettled(): boolean {
    const isAsked = this.#clients.every((client) => client.isDone) && this.#operator.isDone
    return this.#checker.isCaughtUp && isAsked && this.#isDelivered
  }

  get #isDelivered(): boolean {
    return this.#life!.sinks?.isIdle ?? false
  }

  #standing(): string {
    const { actors, board, sinks } = this.#life!
    const asleep = actors.map(
      ({ role, asleep: sleep, ended }) => `${role}:${ended ? 'ended' : sleep === null ? 'awake' : 'asleep'}`,
    )
    const clients = this.#clients.map(({ isDone, hasSent }) => `${hasSent}/${isDone}`)
    return `${asleep} log ${board.logEnd} committed ${board.committed} clients ${clients} sinks ${sinks?.isIdle}`
  }

  /** As NodeThreads.stop: each kind of thread ends when everything that comes to it has come. */
  async #stop(): Promise<void> {
    const life = this.#life!
    const { board, bells, actors } = life
    const ended = (role: Role): boolean => actors.every((actor) => actor.role !== role || actor.ended)
    const until = async (condition: () => boolean, what: string): Promise<void> => {
      for (let steps = 0; !condition(); steps++) {
        check(steps < QUIET_STEPS_MAX, `a stop ends: ${what}`, () => this.#standing())
        await this.#step()
      }
    }
    this.#isStopping = true
    await until(() => !life.isRecovering, 'no thread is being replaced')
    await until(() => this.#clients.every((client) => !client.isPushing), 'clients')
    for (const actor of actors) if (actor.role === 'client') actor.ended = true
    board.enter(PHASE_WRITER_ENDS)
    bells.writer.ring()
    await until(() => ended('writer'), 'the log writer')
    // A stop leaves what shards and sinks have not reached yet to the next start, and the last stop of a run has none.
    if (this.#isQuiet)
      await until(() => this.#checker.isCaughtUp && this.#isDelivered, 'what is logged is delivered')
    board.enter(PHASE_SHARDS_END)
    for (const bell of bells.shards) bell.ring()
    await until(() => ended('shard'), 'the shards')
    // An outbox that is stopping sets a real timer, which only its end clears: it is not crashed.
    const wasQuiet = this.#isQuiet
    this.#isQuiet = true
    const sinks = life.sinks!
    sinks.stop()
    await until(() => sinks.stopped, 'the sinks')
    this.#isQuiet = wasQuiet
    board.enter(PHASE_COMMITTER_ENDS)
    bells.committer.ring()
    await until(() => ended('committer'), 'the committer')
    this.#receiveAcks()
  }

  /** The node is gone: what is not on the disk is lost, and it stays away for a while. */
  #down(): void {
    this.#isStill = true
    const life = this.#life
    this.#life = null
    this.#stack = []
    this.#logDisk.crash()
    this.#stateDisk.crash()
    life?.crash()
    for (const client of this.#clients) client.disconnect()
    this.#operator.disconnect()
    if (this.#pipelines.length > 0) this.#checker.compare()
    this.clock.advance(pick(this.#faultPrng, [0, 5, 500, 20_000, 3_600_000, 36_000_000]))
  }

  #finish(): void {
    this.#isStill = true
    const state = new LmdbStateReader(new StateTables(openSimEnv(this.#stateDisk, null)))
    const attempts = this.#clients.flatMap((client) => client.attempts).sort((a, b) => a.id - b.id)
    const said = this.#clients.flatMap((client) => client.said)
    this.#checker.finish(attempts, said, (pipelineId) => state.alerts(pipelineId).map(({ json }) => json))
    for (const pipeline of this.#pipelines) {
      for (const [i, { name }] of pipeline.plan.sinks.entries()) {
        this.#checker.checkTarget(pipeline, i, this.#targets.get(`${pipeline.plan.name}/${name}`)!)
      }
    }
  }
}

const METRICS = [new Float64Array(metrics)]
const PIPELINES_MAX = 3

function catchUpReads(): number {
  let reads = 0
  for (let row = 0; row < PIPELINES_MAX; row++) reads += readMetric(catalog.CATCH_UP_READS, METRICS, row)
  return reads
}

/** A failed sync ends the process; it is no finding. */
function isInjected(error: unknown): boolean {
  return error instanceof MillraceError && error.code === 'STORE_IO'
}

export async function simulate(
  seed: number,
  mutant: Mutant | null = null,
  length: Length = 'short',
): Promise<SimulationReport> {
  return new Simulation({ seed, mutant, length }).run()
}
