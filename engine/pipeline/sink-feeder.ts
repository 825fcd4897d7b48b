/**
 * Feeds one sink of one pipeline from its result streams: opens it, asks it (or the store) where it stands, and then hands
 * over every committed record in order, in bounded batches, one batch at a time. Progress is remembered after the sink
 * has taken a batch, never before. A retryable error is tried again with bounded back-off for as long as it takes; any
 * other that the sink declares stops this sink, loudly, and no other. What it throws without having declared it (a bug,
 * a record it cannot take) is tried SINK_TRIES times; then records are given one by one, and the one at fault becomes a
 * dead letter, unless the target counts on having every record (transactional). Started and stopped by the outbox.
 */
import { MillraceError } from '../contract/errors.ts'
import type { SinkPlan } from '../contract/plan.ts'
import type {
  Sink,
  SinkContext,
  SinkPlugin,
  SinkPositions,
  SinkProgress,
  SinkRecord,
} from '../contract/plugins.ts'
import { backoffMs, type SetTimer, type Sleep } from '../util/backoff.ts'
import type { Clock } from '../util/clock.ts'
import { killPoint } from '../util/kill-point.ts'
import type { Prng } from '../util/prng.ts'
import type { ResultCursor } from './result-cursor.ts'

export const BATCH_RECORDS_MAX = 1_000
/** How fast a target is shows with the first batches: they start small, and grow while they are quick. */
const BATCH_RECORDS_FIRST = 16
/** Of what a sink throws without declaring it: a batch, and then each of its records. */
export const SINK_TRIES = 3
/** A sink that throws over every record is broken, not the records: it stops instead of skipping its way through. */
export const SINK_DEAD_IN_A_ROW_MAX = 10
const BACKOFF = { firstMs: 100, maxMs: 30_000 }
/** How often progress is remembered while records are delivered, and while there are only others' entries to pass over. */
const REMEMBER_MS = 200
const REMEMBER_PASSED_MS = 5_000

export type SinkState = 'opening' | 'running' | 'retrying' | 'failed' | 'stopped'

export interface SinkStatus {
  readonly pipeline: string
  readonly sink: string
  readonly kind: string
  readonly guarantee: Sink['guarantee']
  readonly state: SinkState
  /** Records the sink has taken since the start of the process, without dead letters. */
  readonly delivered: number
  readonly retries: number
  readonly deadLetters: number
  /** Entries that retention deleted before this sink had them. */
  readonly lostEntries: number
  readonly lagEntries: number
  /** Why it retries or failed. */
  readonly problem: string | null
}

/** Where the numbers go; called on the sink thread. */
export interface SinkMetrics {
  delivered(pipeline: string, sink: string, records: number): void
  retried(pipeline: string, sink: string): void
  deadLetters(pipeline: string, sink: string, records: number): void
  failed(pipeline: string, sink: string): void
}

export interface FeederOptions {
  readonly pipeline: string
  readonly plan: SinkPlan
  readonly plugin: SinkPlugin<never>
  /** Positions and token as remembered, or null: a new sink. */
  readonly remembered: () => SinkProgress | null
  readonly cursor: ResultCursor
  readonly remember: (progress: SinkProgress) => Promise<void>
  /** Throws STORE_FENCED when a successor owns the store. */
  readonly checkOwner: () => void
  readonly takeover: number
  readonly warn: (error: MillraceError) => void
  readonly metrics: SinkMetrics
  readonly clock: Clock
  readonly sleep: Sleep
  readonly setTimer: SetTimer
  readonly prng: Prng
}

export class SinkFeeder {
  readonly #options: FeederOptions
  readonly #stop = new AbortController()
  readonly #context: SinkContext
  #state: SinkState = 'opening'
  #problem: string | null = null
  #delivered = 0
  #batchRecords = BATCH_RECORDS_FIRST
  #retries = 0
  #deadLetters = 0
  #deadInARow = 0
  #lostEntries = 0
  #token: unknown = null
  /** Delivered and not yet remembered: 'records', or only positions 'passed' over. */
  #unremembered: 'records' | 'passed' | null = null
  #rememberedAtMs = Number.NEGATIVE_INFINITY
  #remembering: Promise<void> | null = null
  #rememberFailure: unknown = null
  #nudged = false
  #wake: (() => void) | null = null
  #draining: (() => void)[] = []
  readonly #opened: Promise<void>
  #markOpened: () => void = () => {}

  constructor(options: FeederOptions) {
    this.#options = options
    this.#opened = new Promise((resolve) => {
      this.#markOpened = resolve
    })
    const { pipeline, plan, warn, metrics } = options
    this.#context = {
      pipeline,
      sink: plan.name,
      warn,
      deadLetter: (records, error) => {
        this.#deadLetters += records
        metrics.deadLetters(pipeline, plan.name, records)
        warn(error)
      },
      signal: this.#stop.signal,
      takeover: options.takeover,
    }
  }

  /** Resolves when the sink takes records or has failed. */
  opened(): Promise<void> {
    return this.#opened
  }

  /** There is more in the store. */
  nudge(): void {
    this.#nudged = true
    this.#wake?.()
  }

  /** Retention was faster than this sink. Called by the cursor. */
  lost(partition: number, fromSeq: number, toSeq: number): void {
    const { pipeline, plan, warn } = this.#options
    this.#lostEntries += toSeq - fromSeq
    const message =
      `Sink ${pipeline}/${plan.name} misses entries [${fromSeq}, ${toSeq}) of partition ${partition}: retention ` +
      'deleted them before the sink had them. Keep results longer than the sink may be away.'
    warn(new MillraceError('SINK_FAILED', message))
  }

  /** Everything committed before the call is in the sink and remembered, or the sink has failed or was stopped. */
  drained(): Promise<void> {
    if (this.#state === 'failed' || this.#state === 'stopped') return Promise.resolve()
    return new Promise((resolve) => {
      this.#draining.push(resolve)
      this.nudge()
    })
  }

  status(): SinkStatus {
    const { pipeline, plan, plugin, cursor } = this.#options
    return {
      pipeline,
      sink: plan.name,
      kind: plan.kind,
      guarantee: plugin.guarantee,
      state: this.#state,
      delivered: this.#delivered,
      retries: this.#retries,
      deadLetters: this.#deadLetters,
      lostEntries: this.#lostEntries,
      lagEntries: cursor.lagEntries(),
      problem: this.#problem,
    }
  }

  stop(): void {
    this.#stop.abort()
    this.nudge()
  }

  /** Resolves when stopped or failed, with the sink closed; never rejects. */
  async run(): Promise<void> {
    let sink: Sink | null = null
    try {
      const { plugin, plan } = this.#options
      sink = await this.#retrying(() => plugin.open(plan.options as never, this.#context))
      await this.#start(sink)
      this.#state = 'running'
      this.#markOpened()
      await this.#feed(sink)
      this.#state = 'stopped'
    } catch (error) {
      if (this.#stop.signal.aborted) this.#state = 'stopped'
      else this.#fail(error)
    }
    await this.#end(sink)
  }

  /** A new sink starts at the oldest retained record, and that is remembered before the first record is handed over. */
  async #start(sink: Sink): Promise<void> {
    const { cursor } = this.#options
    const remembered = this.#options.remembered()
    const positions: SinkPositions = { ...cursor.oldest(), ...remembered?.positions }
    const progress: SinkProgress = { positions, token: remembered?.token ?? null }
    this.#options.checkOwner()
    const start =
      sink.guarantee === 'transactional'
        ? await this.#retrying(() => sink.position(progress, (wanted) => cursor.from(wanted)))
        : progress
    cursor.seek(start.positions)
    this.#token = start.token
    killPoint('sink-positioned')
    this.#unremembered = 'records'
    await this.#flush()
  }

  async #feed(sink: Sink): Promise<void> {
    const { cursor } = this.#options
    while (!this.#stop.signal.aborted) {
      this.#nudged = false
      const { records, more } = cursor.read(this.#batchRecords)
      if (records.length > 0) await this.#deliverPaced(sink, records)
      else if (more) this.#pass()
      if (this.#dueInMs() === 0) this.#rememberInBackground()
      if (this.#rememberFailure !== null) throw this.#rememberFailure
      if (more) {
        if (records.length === 0) await new Promise(setImmediate)
        continue
      }
      await this.#idle()
    }
  }

  /** Entries of other feeds only. */
  #pass(): void {
    this.#options.cursor.settle()
    this.#unremembered ??= 'passed'
  }

  async #idle(): Promise<void> {
    if (this.#draining.length > 0) {
      const waiting = this.#draining
      this.#draining = []
      await this.#flush()
      for (const resolve of waiting) resolve()
    }
    if (this.#nudged || this.#stop.signal.aborted) return
    await new Promise<void>((resolve) => {
      const dueMs = this.#dueInMs()
      const clearTimer = dueMs === null ? null : this.#options.setTimer(resolve, dueMs)
      this.#wake = () => {
        clearTimer?.()
        resolve()
      }
    })
    this.#wake = null
  }

  /** A batch takes about as long as progress may go unremembered: what a crash repeats is bounded in time, not in records. */
  async #deliverPaced(sink: Sink, records: readonly SinkRecord[]): Promise<void> {
    const { clock } = this.#options
    const startedMs = clock.monotonicMs()
    await this.#deliver(sink, records)
    const tookMs = clock.monotonicMs() - startedMs
    if (tookMs > REMEMBER_MS) this.#batchRecords = Math.max(1, records.length >> 1)
    else if (tookMs < REMEMBER_MS / 4 && records.length === this.#batchRecords)
      this.#batchRecords = Math.min(BATCH_RECORDS_MAX, this.#batchRecords * 2)
  }

  async #deliver(sink: Sink, records: readonly SinkRecord[]): Promise<void> {
    const { pipeline, plan, metrics } = this.#options
    const deadBefore = this.#deadLetters
    try {
      await this.#retrying(() => this.#give(sink, records))
      this.#deadInARow = 0
    } catch (error) {
      if (this.#mustStop(sink, error)) throw error
      if (records.length === 1) this.#skip(records[0]!, error)
      else for (const record of records) await this.#giveOne(sink, record)
    }
    killPoint('sink-delivered')
    const delivered = records.length - (this.#deadLetters - deadBefore)
    this.#delivered += delivered
    this.#unremembered = 'records'
    this.#options.cursor.settle()
    metrics.delivered(pipeline, plan.name, delivered)
  }

  async #give(sink: Sink, records: readonly SinkRecord[]): Promise<void> {
    killPoint('sink-delivering')
    this.#options.checkOwner()
    if (sink.guarantee === 'transactional') this.#token = await sink.write(records)
    else if (sink.guarantee === 'idempotent') await sink.upsert(records)
    else await sink.send(records)
  }

  async #giveOne(sink: Sink, record: SinkRecord): Promise<void> {
    try {
      await this.#retrying(() => this.#give(sink, [record]))
      this.#deadInARow = 0
    } catch (error) {
      if (this.#mustStop(sink, error)) throw error
      this.#skip(record, error)
    }
  }

  /** A gap in a transactional target would be one that nobody is told of there. */
  #mustStop(sink: Sink, error: unknown): boolean {
    return this.#stop.signal.aborted || error instanceof MillraceError || sink.guarantee === 'transactional'
  }

  #skip({ id }: SinkRecord, error: unknown): void {
    const { pipeline, plan } = this.#options
    if (++this.#deadInARow > SINK_DEAD_IN_A_ROW_MAX) throw error
    const message =
      `Sink ${pipeline}/${plan.name} threw ${SINK_TRIES} times over record ${id}, which it is not given again; it is ` +
      `still in the results table. ${String(error)}`
    this.#context.deadLetter(1, new MillraceError('SINK_FAILED', message, { cause: error }))
  }

  async #retrying<T>(attempt: () => Promise<T>): Promise<T> {
    const { pipeline, plan, metrics, warn, sleep, prng } = this.#options
    const { signal } = this.#stop
    const before = this.#state
    let thrown = 0
    for (let tries = 0; ; tries++) {
      try {
        const result = await attempt()
        this.#state = before
        this.#problem = null
        return result
      } catch (error) {
        const isDeclared = error instanceof MillraceError
        if (signal.aborted || (isDeclared && !error.retryable)) throw error
        if (!isDeclared && ++thrown >= SINK_TRIES) {
          this.#state = before
          throw error
        }
        this.#state = 'retrying'
        const failure = isDeclared ? error : this.#thrown(error)
        this.#problem = failure.message
        this.#retries++
        metrics.retried(pipeline, plan.name)
        // The first, the second, the fourth … failure in a row: a long outage does not fill the log.
        if (((tries + 1) & tries) === 0) warn(failure)
        await sleep(backoffMs(BACKOFF, tries, prng), signal)
        if (signal.aborted) throw error
      }
    }
  }

  /** Null: nothing to remember. 0: now. */
  #dueInMs(): number | null {
    if (this.#unremembered === null) return null
    if (this.#remembering !== null) return REMEMBER_MS
    const everyMs = this.#unremembered === 'records' ? REMEMBER_MS : REMEMBER_PASSED_MS
    const sinceMs = this.#options.clock.monotonicMs() - this.#rememberedAtMs
    return Math.max(0, everyMs - sinceMs)
  }

  /** Never waits for the store, so that remembering costs no throughput; one at a time. */
  #rememberInBackground(): void {
    if (this.#remembering !== null) return
    const { remember, cursor, clock } = this.#options
    this.#unremembered = null
    this.#rememberedAtMs = clock.monotonicMs()
    killPoint('sink-remembering')
    this.#remembering = remember({ positions: cursor.positions(), token: this.#token }).then(
      () => {
        killPoint('sink-remembered')
        this.#remembering = null
      },
      (error: unknown) => {
        this.#remembering = null
        this.#rememberFailure = error
        this.nudge()
      },
    )
  }

  async #flush(): Promise<void> {
    await this.#remembering
    if (this.#unremembered !== null) {
      this.#rememberInBackground()
      await this.#remembering
    }
    if (this.#rememberFailure !== null) throw this.#rememberFailure
  }

  #fail(error: unknown): void {
    const { pipeline, plan, warn, metrics } = this.#options
    const failure = error instanceof MillraceError ? error : this.#thrown(error)
    this.#state = 'failed'
    this.#problem = failure.message
    metrics.failed(pipeline, plan.name)
    warn(failure)
  }

  #thrown(error: unknown): MillraceError {
    const { pipeline, plan } = this.#options
    const message = `Sink ${pipeline}/${plan.name} threw: ${String(error)}`
    return new MillraceError('SINK_FAILED', message, { cause: error })
  }

  async #end(sink: Sink | null): Promise<void> {
    try {
      await this.#flush()
    } catch (error) {
      this.#options.warn(asFailure(error, 'its progress was not remembered'))
    }
    try {
      await sink?.close()
    } catch (error) {
      this.#options.warn(asFailure(error, 'it did not close'))
    }
    this.#markOpened()
    for (const resolve of this.#draining) resolve()
    this.#draining = []
  }
}

function asFailure(error: unknown, what: string): MillraceError {
  return error instanceof MillraceError
    ? error
    : new MillraceError('SINK_FAILED', `A sink stopped, but ${what}: ${String(error)}`, { cause: error })
}
