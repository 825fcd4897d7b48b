/**
 * Keeps the shards running. A shard that throws, exits, runs out of memory or hangs is replaced: from the last checkpoint,
 * with new rings, after a pause that grows; a batch it failed over again and again is given up first. After too many
 * restarts it gives up loudly, once. On the main thread; knows shards by number and everything else through its host,
 * so that tests drive it without threads.
 *
 * The order of a replacement is what makes it exact:
 *   1. the old thread runs no more code (the pool says so),
 *   2. the log writer and the committer have new rings, and the committer has committed what the old one completed and
 *      forgotten the rest,
 *   3. the decision to skip a batch, if there is one, is durable,
 *   4. the successor reads checkpoint and dead letters, and replays from there.
 * A ring whose producer or consumer died is never used again: it may hold a claim that nobody will commit.
 */
import {
  type BatchPlace,
  SHARD_AWAITS_ROOM,
  SHARD_IDLE,
  SHARD_STARTING,
  type ShardActivity,
} from '../engine/broker/shard-activity.ts'
import { type ErrorCode, MillraceError } from '../engine/contract/errors.ts'
import type { Sleep } from '../engine/util/backoff.ts'
import type { Clock } from '../engine/util/clock.ts'
import type { Prng } from '../engine/util/prng.ts'
import type { ThreadFailure } from './pool.ts'
import { type RestartLimits, RestartPolicy } from './restart-policy.ts'

/** Importing the engine and restoring state; a machine that is short of everything takes long. */
export const START_MS_MAX = 120_000
/** Of a dead letter: the error and the top of its stack. */
const REASON_LENGTH_MAX = 2_000
const LOOKS_PER_HANG = 10
const LOOK_MS_MIN = 100
const LOOK_MS_MAX = 1_000
/** Nothing that starting again would mend: the next start of the process says what is wrong. */
const FINAL_CODES: readonly ErrorCode[] = [
  'OFFSET_GONE',
  'STORE_LOCKED',
  'STORE_FENCED',
  'STORE_DAMAGED',
  'STORE_VERSION',
  'STORE_MISMATCH',
  'STORE_IO',
]

/** What the supervisor asks of the node. */
export interface ShardHost {
  /** On a thread of its own, over the rings last made. */
  start(shard: number): void
  /** Ends its thread by force; `failed` is called when it has ended. */
  end(shard: number, reason: MillraceError): void
  /** Of the thread last started. */
  activity(shard: number): ShardActivity
  /** Resolves when the log writer and the committer use new rings, and the state is settled. */
  renewRings(shard: number): Promise<void>
  /** It has no successor: the committer waits for nothing more from it. */
  retire(shard: number): void
  /** Resolves when the decision is durable, or with the reason why it cannot be made. */
  giveUpBatch(batch: BatchPlace, reason: string, tries: number): Promise<string | null>
  /** `pipeline "cpu", partition 3, offset 812`. */
  placeOf(batch: BatchPlace): string
}

export interface SupervisorOptions {
  readonly shards: number
  /** Shards that exchange data restart together. Default: each for itself. */
  readonly units?: readonly (readonly number[])[]
  readonly limits: RestartLimits
  readonly hangMs: number
  /** Default: as shards. The thread of the sinks is supervised as a shard is that has no batches. */
  readonly nameOf?: (shard: number) => string
  /** What a successor goes on from, in words. Default: the last checkpoint. */
  readonly goesOnFrom?: string
  readonly host: ShardHost
  readonly clock: Clock
  readonly prng: Prng
  readonly sleep: Sleep
  /** A person should know; nothing stops for it. */
  readonly onWarning: (error: MillraceError) => void
  readonly onFailure: (shard: number) => void
  readonly onRestart: (shard: number) => void
  /** It is over: the process must end. Once. */
  readonly onGiveUp: (shard: number, error: MillraceError) => void
}

interface Unit {
  readonly shards: readonly number[]
  readonly policy: RestartPolicy
  recovery: Promise<void> | null
}

interface Shard {
  readonly unit: Unit
  isRunning: boolean
  /** It has gone round its loop in this process, in this or an earlier life. */
  hasRun: boolean
  beats: number
  /** Looks in a row at which it had work and had not moved. */
  stillLooks: number
  isEnding: boolean
  onEnded: (() => void) | null
}

export class Supervisor {
  readonly lookMs: number
  readonly #options: SupervisorOptions
  readonly #nameOf: (shard: number) => string
  readonly #shards: Shard[] = []
  readonly #stop = new AbortController()
  #timer: NodeJS.Timeout | null = null
  #isOver = false
  /** The newest failure, in words; null: none yet. */
  lastFailure: string | null = null

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.#nameOf = options.nameOf ?? nameOf
    this.lookMs = Math.min(LOOK_MS_MAX, Math.max(LOOK_MS_MIN, options.hangMs / LOOKS_PER_HANG))
    const units = options.units ?? Array.from({ length: options.shards }, (_, shard) => [shard])
    for (const shards of units) {
      const unit: Unit = { shards, policy: new RestartPolicy(options.limits, options.prng), recovery: null }
      for (const shard of shards) this.#shards[shard] = newShard(unit)
    }
  }

  start(): void {
    for (let shard = 0; shard < this.#shards.length; shard++) this.#run(shard)
    this.#timer = setInterval(() => this.look(), this.lookMs)
    this.#timer.unref()
  }

  /** Shards that are being replaced now. */
  get downCount(): number {
    return this.#shards.filter(({ unit }) => unit.recovery !== null).length
  }

  /** One look at every shard: ends those that hang. Counts looks, not time, so that a process that was stopped and went
   * on (SIGSTOP, a sleeping laptop) takes none of its threads for stuck. */
  look(): void {
    for (const [number, shard] of this.#shards.entries()) {
      if (!shard.isRunning || shard.isEnding) continue
      const activity = this.#options.host.activity(number)
      const { state, beats } = activity
      const moved = beats !== shard.beats || state === SHARD_IDLE || state === SHARD_AWAITS_ROOM
      shard.beats = beats
      shard.stillLooks = moved ? 0 : shard.stillLooks + 1
      const boundMs =
        state === SHARD_STARTING ? Math.max(START_MS_MAX, this.#options.hangMs) : this.#options.hangMs
      if (shard.stillLooks * this.lookMs < boundMs) continue
      this.#end(
        number,
        new MillraceError('WORKER_FAILED', `it has not moved for ${boundMs} ms (--hang-after)`),
      )
    }
  }

  /** The pool says that a shard's thread runs no more code, or that it cannot be ended. */
  failed(number: number, { error, hasEnded }: ThreadFailure): void {
    const { onFailure } = this.#options
    const shard = this.#shards[number]!
    const { unit, isEnding, onEnded } = shard
    shard.isRunning = false
    shard.isEnding = false
    if (this.#options.host.activity(number).state !== SHARD_STARTING) shard.hasRun = true
    shard.onEnded = null
    if (this.#isOver) return
    if (!hasEnded) {
      this.#giveUp(number, new MillraceError(error.code, `${error.message}; it cannot be ended either`))
      return
    }
    // Ended for the sake of another of its unit.
    if (isEnding && onEnded !== null) {
      onEnded()
      return
    }
    onFailure(number)
    this.lastFailure = `${this.#nameOf(number)}: ${firstLine(error)}`
    if (FINAL_CODES.includes(error.code) || this.#stop.signal.aborted) this.#giveUp(number, error)
    else if (unit.recovery !== null) {
      // It failed by itself while its unit was being ended.
      onEnded?.()
    } else {
      unit.recovery = this.#recover(unit, number, error).finally(() => {
        unit.recovery = null
      })
    }
  }

  /** No restart from here on. Resolves when none is under way; shards that are down stay so, and are retired. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await Promise.all(this.#shards.map(({ unit }) => unit.recovery))
  }

  /** After the threads have ended, or instead of `stop` when nothing is in order any more. */
  close(): void {
    this.#stop.abort()
    this.#isOver = true
    if (this.#timer !== null) clearInterval(this.#timer)
  }

  async #recover(unit: Unit, failed: number, error: MillraceError): Promise<void> {
    const { host, clock, onWarning, onRestart, sleep } = this.#options
    const activity = host.activity(failed)
    // What it cannot do at its first start, it will not do at the next.
    if (!this.#shards[failed]!.hasRun) {
      this.#giveUp(failed, error)
      return
    }
    const { batch } = activity
    const place = batch === null ? '' : `, over ${host.placeOf(batch)}`
    const decision = unit.policy.failed(clock.monotonicMs(), batch)
    if (decision.type === 'give-up') {
      const text = `failed ${decision.failures} times (--restart-limit), at last${place}: ${error.message}`
      this.#giveUp(failed, new MillraceError(error.code, text, { cause: error }))
      return
    }
    const { delayMs, restarts, tries } = decision
    onWarning(
      new MillraceError(
        'WORKER_FAILED',
        `${this.#nameOf(failed)} failed${place}: ${firstLine(error)}. Restart ${restarts} in ${Math.ceil(delayMs)} ms, from ` +
          (this.#options.goesOnFrom ?? 'the last checkpoint'),
        { retryable: true, cause: error },
      ),
    )
    await Promise.all(unit.shards.map((member) => this.#endMember(member, failed)))
    await Promise.all(unit.shards.map((member) => host.renewRings(member)))
    if (decision.isPoison && batch !== null) {
      const refusal = await host.giveUpBatch(batch, error.message.slice(0, REASON_LENGTH_MAX), tries)
      if (refusal !== null) {
        const text = `failed ${tries} times${place}, which cannot be skipped: ${refusal}. At last: ${error.message}`
        this.#giveUp(failed, new MillraceError(error.code, text, { cause: error }))
        return
      }
      const text =
        `gave up ${host.placeOf(batch)} after ${tries} tries: ${batch.samples} samples are skipped and kept as a dead ` +
        `letter. At last: ${firstLine(error)}`
      onWarning(new MillraceError('WORKER_FAILED', text))
    }
    await sleep(delayMs, this.#stop.signal)
    if (this.#isOver) return
    for (const member of unit.shards) {
      if (this.#stop.signal.aborted) host.retire(member)
      else {
        this.#run(member)
        onRestart(member)
      }
    }
  }

  #run(number: number): void {
    const { host } = this.#options
    const shard = this.#shards[number]!
    host.start(number)
    shard.isRunning = true
    shard.stillLooks = 0
    shard.beats = host.activity(number).beats
  }

  #end(number: number, reason: MillraceError): void {
    this.#shards[number]!.isEnding = true
    this.#options.host.end(number, reason)
  }

  #endMember(number: number, failed: number): Promise<void> {
    const shard = this.#shards[number]!
    if (!shard.isRunning) return Promise.resolve()
    return new Promise((resolve) => {
      shard.onEnded = resolve
      if (shard.isEnding) return
      this.#end(number, new MillraceError('WORKER_FAILED', `it starts again with ${this.#nameOf(failed)}`))
    })
  }

  #giveUp(number: number, error: MillraceError): void {
    if (this.#isOver) return
    const { host, onGiveUp, onWarning } = this.#options
    if (this.#stop.signal.aborted) {
      // The node ends anyhow, and must not wait for the last words of a shard that is gone.
      const text = `${this.#nameOf(number)}: ${error.message}. The node is stopping: the next start goes on from the last checkpoint`
      onWarning(new MillraceError(error.code, text))
      for (const member of this.#shards[number]!.unit.shards) {
        if (!this.#shards[member]!.isRunning) host.retire(member)
      }
      return
    }
    this.#isOver = true
    this.#stop.abort()
    onGiveUp(number, error)
  }
}

export function nameOf(shard: number): string {
  return `shard-${shard}`
}

/** A stack is for the one who looks into it; a line of the log says what happened. */
function firstLine({ message }: MillraceError): string {
  return message.split('\n', 1)[0]!
}

function newShard(unit: Unit): Shard {
  return {
    unit,
    isRunning: false,
    hasRun: false,
    beats: 0,
    stillLooks: 0,
    isEnding: false,
    onEnded: null,
  }
}
