/**
 * Targets that outlive the node, sinks that write to them, and the node's sink thread (workers/sinks.ts) without its
 * thread: a real OutboxRunner whose timers, answers and failures the scheduler hands out one by one. A call to a target is
 * open until the scheduler ends it; one that fails, or that a crash cuts off, may have reached the target all the same,
 * and a file may then hold a part of it.
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import type { BoardPipeline } from '../../engine/broker/node-board.ts'
import { MillraceError } from '../../engine/contract/errors.ts'
import type {
  Sink,
  SinkPlugin,
  SinkPositions,
  SinkProgress,
  SinkRecord,
} from '../../engine/contract/plugins.ts'
import { OutboxRunner, progressJson } from '../../engine/pipeline/outbox.ts'
import type { Doorbell } from '../../engine/ring/doorbell.ts'
import type { LogReader } from '../../engine/store/log-contract.ts'
import type { StateReader } from '../../engine/store/state-contract.ts'
import type { Clock } from '../../engine/util/clock.ts'
import type { Prng } from '../../engine/util/prng.ts'
import { positionAfter, recordJson } from '../../operators/sinks/record-json.ts'
import type { CommittedMessage, RememberMessage } from '../../workers/wiring.ts'
import { check, SimulationFailure } from './checker.ts'

/** What the targets need of the run. */
export interface SinkWorld {
  readonly prng: Prng
  readonly clock: Clock
  /** The scheduler may crash the node here. */
  pass(place: string): void
  callFails(): boolean
}

interface Line {
  readonly partition: number
  /** The record's JSON; shorter: torn. */
  text: string
  readonly isTorn: boolean
}

/** One sink's target. */
export class SimTarget {
  readonly guarantee: Sink['guarantee']
  readonly kind: string
  lines: Line[] = []
  readonly rows = new Map<string, Line>()
  /** A table stores these in the transaction that stores the records. */
  positions: SinkPositions = {}

  constructor(kind: string) {
    this.kind = kind
    this.guarantee = kind === 'upsert' ? 'idempotent' : kind === 'hook' ? 'at-least-once' : 'transactional'
  }

  received(): Map<number, string[]> {
    const byPartition = new Map<number, string[]>()
    for (const { partition, text } of [...this.lines, ...this.rows.values()]) {
      const list = byPartition.get(partition) ?? []
      byPartition.set(partition, list)
      list.push(text)
    }
    return byPartition
  }

  take(records: readonly SinkRecord[]): void {
    const positions: Record<string, SinkPositions[string]> = { ...this.positions }
    for (const record of records) {
      const line = { partition: record.partition, text: recordJson(record), isTorn: false }
      if (this.kind === 'upsert') {
        const known = this.rows.get(record.id)
        check(known === undefined || known.text === line.text, 'a repeat has the same content', line.text)
        this.rows.set(record.id, line)
      } else this.lines.push(line)
      positions[record.partition] = positionAfter(record)
    }
    this.positions = positions
  }
}

interface Call {
  /** What reaches the target; `part`: a crash or failure in the middle of it. */
  readonly apply: (part: boolean) => void
  readonly resolve: (token: unknown) => void
  readonly reject: (error: MillraceError) => void
  readonly token: unknown
}

/** Ends the calls of one life of the node. */
class Calls {
  readonly open: Call[] = []

  make(apply: (part: boolean) => void, token: unknown = null): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.open.push({ apply, resolve, reject, token })
    })
  }
}

/** A target in a database: records and positions in one transaction. A repeat after a lost answer is not applied. */
function tableSink(target: SimTarget, calls: Calls): Sink {
  return {
    guarantee: 'transactional',
    position: async (remembered) => {
      // The node may have passed over entries of other feeds beyond the target's last record.
      const positions: Record<string, SinkPositions[string]> = { ...remembered.positions }
      for (const [partition, position] of Object.entries(target.positions)) {
        const known = positions[partition]
        if (known === undefined || isBefore(known, position)) positions[partition] = position
      }
      return { positions, token: null }
    },
    write: (records) =>
      calls.make((part) => {
        if (!part) target.take(records.filter((record) => isNew(target.positions, record)))
      }),
    close: async () => {},
  }
}

function isNew(positions: SinkPositions, record: SinkRecord): boolean {
  const position = positions[record.partition]
  return position === undefined || !isBefore(record, position)
}

function isBefore(a: SinkPositions[string], b: SinkPositions[string]): boolean {
  return a.seq < b.seq || (a.seq === b.seq && a.row < b.row)
}

/** A file of lines: what is beyond the remembered length is compared with the stream; a torn last line is cut. */
function fileSink(target: SimTarget, calls: Calls): Sink {
  let length = 0
  return {
    guarantee: 'transactional',
    position: async (remembered, expected) => {
      length = (remembered.token as number | null) ?? 0
      check(
        target.lines.length >= length,
        'remembered progress is never ahead of the target',
        target.lines.length,
        length,
      )
      const positions: Record<string, SinkPositions[string]> = { ...remembered.positions }
      const streams = new Map<number, Iterator<SinkRecord>>()
      const tail = target.lines.slice(length).filter(({ isTorn }) => !isTorn)
      for (const { partition, text } of tail) {
        const stream =
          streams.get(partition) ??
          expected({ [partition]: remembered.positions[partition]! })[Symbol.iterator]()
        streams.set(partition, stream)
        const next = stream.next()
        const wanted = next.done === true ? 'nothing' : recordJson(next.value)
        check(wanted === text, 'what a file holds beyond the remembered length is the stream', text, wanted)
        if (next.done !== true) positions[partition] = positionAfter(next.value)
      }
      target.lines = [...target.lines.slice(0, length), ...tail]
      length = target.lines.length
      return { positions, token: length }
    },
    write: (records) => {
      // What a failed write left behind is written over.
      target.lines = target.lines.slice(0, length)
      const end = length + records.length
      return calls
        .make((part) => {
          const whole = part ? Math.floor(records.length / 2) : records.length
          target.take(records.slice(0, whole))
          const torn = records[whole]
          if (torn === undefined) return
          target.lines.push({ partition: torn.partition, text: recordJson(torn).slice(0, 9), isTorn: true })
        }, end)
        .then((token) => {
          length = end
          return token
        })
    },
    close: async () => {},
  }
}

function upsertSink(target: SimTarget, calls: Calls): Sink {
  return {
    guarantee: 'idempotent',
    upsert: async (records) => {
      await calls.make((part) => target.take(part ? records.slice(1) : records))
    },
    close: async () => {},
  }
}

function hookSink(target: SimTarget, calls: Calls): Sink {
  return {
    guarantee: 'at-least-once',
    send: async (records) => {
      await calls.make((part) => {
        if (!part) target.take(records)
      })
    },
    close: async () => {},
  }
}

function openSink(target: SimTarget, calls: Calls): Sink {
  if (target.kind === 'table') return tableSink(target, calls)
  if (target.kind === 'file') return fileSink(target, calls)
  return target.kind === 'upsert' ? upsertSink(target, calls) : hookSink(target, calls)
}

/** A broken node: sinks that answer before the target has the records, so that progress is remembered too early. */
function answeringEarly(sink: Sink): Sink {
  const early = (call: Promise<unknown>): Promise<void> => {
    call.catch(() => {})
    return Promise.resolve()
  }
  if (sink.guarantee === 'transactional') return sink
  if (sink.guarantee === 'idempotent') return { ...sink, upsert: (records) => early(sink.upsert(records)) }
  return { ...sink, send: (records) => early(sink.send(records)) }
}

export interface SimSinksOptions {
  readonly world: SinkWorld
  readonly pipelines: readonly BoardPipeline[]
  readonly targets: ReadonlyMap<string, SimTarget>
  readonly state: StateReader
  readonly log: LogReader
  /** To and from the committer. */
  readonly port: MessagePort
  readonly committerBell: Doorbell
  readonly answersEarly: boolean
}

export class SimSinks {
  readonly #options: SimSinksOptions
  readonly #outbox: OutboxRunner
  readonly #calls = new Calls()
  readonly #waiting = new Map<number, () => void>()
  #timers: { readonly dueMs: number; readonly run: () => void }[] = []
  #nextRequest = 1
  #failure: Error | null = null
  #inbox: CommittedMessage | null = null
  #started = false
  #stopping = false
  stopped = false

  constructor(options: SimSinksOptions) {
    this.#options = options
    const { pipelines, state, log } = options
    this.#outbox = new OutboxRunner({
      pipelines: pipelines.map(({ pipelineId, plan }) => ({ id: pipelineId, plan })),
      sinks: new Map(['table', 'file', 'upsert', 'hook'].map((kind) => [kind, this.#plugin(kind)])),
      state,
      seriesKey: (name, seriesId) => {
        const topic = pipelines.find((pipeline) => pipeline.topic.name === name)!.topic
        return log.seriesKey(topic.topicId, seriesId)
      },
      remember: (pipelineId, sink, progress) => this.#remember(pipelineId, sink, progress),
      warn: (error) => {
        if (!error.retryable) this.#fail(new SimulationFailure(`a sink failed: ${error.message}`))
      },
      clock: options.world.clock,
      sleep: (ms, signal) =>
        new Promise((resolve) => {
          const end = (): void => {
            clear()
            signal.removeEventListener('abort', end)
            resolve()
          }
          const clear = this.#setTimer(end, ms)
          signal.addEventListener('abort', end)
        }),
      setTimer: (run, ms) => this.#setTimer(run, ms),
    })
  }

  get nextMs(): number {
    if (!this.#started || this.#calls.open.length > 0 || this.#hasMail()) return 0
    return this.#timers.reduce((least, { dueMs }) => Math.min(least, dueMs), Infinity)
  }

  get isIdle(): boolean {
    return (
      this.#started &&
      this.#calls.open.length === 0 &&
      this.#outbox.status().every((sink) => sink.lagEntries === 0)
    )
  }

  /** One thing: an answer of a target, a timer, or word from the committer; then everything that follows from it. */
  async turn(): Promise<void> {
    const { prng } = this.#options.world
    if (!this.#started) {
      this.#started = true
      this.#outbox.start().catch((error: Error) => this.#fail(error))
    } else if (this.#calls.open.length > 0 && (prng.below(2) === 0 || !this.#hasMail())) this.#endCall()
    else if (this.#hasMail()) this.#takeMail()
    else this.#runTimer()
    await this.#settle()
  }

  /** Run `turn` until `stopped`. */
  stop(): void {
    if (this.#stopping) return
    this.#stopping = true
    this.#outbox.stop().then(
      () => {
        this.stopped = true
      },
      (error: Error) => this.#fail(error),
    )
  }

  /** The node is gone: calls that were open may have reached their target. */
  crash(): void {
    const { prng } = this.#options.world
    for (const { apply } of this.#calls.open) {
      const fate = prng.below(3)
      if (fate > 0) apply(fate === 1)
    }
    this.#options.port.close()
  }

  #endCall(): void {
    const { world } = this.#options
    const { open } = this.#calls
    world.pass('sink: before a target has the records')
    // Calls of one sink never overlap, so any order is one that could be.
    const [call] = open.splice(world.prng.below(open.length), 1)
    if (world.callFails()) {
      const fate = world.prng.below(3)
      if (fate > 0) call!.apply(fate === 1)
      call!.reject(new MillraceError('SINK_FAILED', 'a simulated failure', { retryable: true }))
    } else {
      call!.apply(false)
      world.pass('sink: after a target has the records')
      call!.resolve(call!.token)
    }
  }

  #runTimer(): void {
    const nowMs = this.#options.world.clock.monotonicMs()
    const due = this.#timers.find(({ dueMs }) => dueMs <= nowMs)
    if (due === undefined) return
    this.#timers = this.#timers.filter((timer) => timer !== due)
    due.run()
  }

  #hasMail(): boolean {
    this.#inbox ??=
      (receiveMessageOnPort(this.#options.port)?.message as CommittedMessage | undefined) ?? null
    return this.#inbox !== null
  }

  #takeMail(): void {
    const { remembered } = this.#inbox!
    this.#inbox = null
    for (const request of remembered) {
      this.#waiting.get(request)?.()
      this.#waiting.delete(request)
    }
    for (const { pipelineId } of this.#options.pipelines) this.#outbox.committed(pipelineId)
  }

  #remember(pipelineId: number, sink: string, progress: SinkProgress): Promise<void> {
    return new Promise((resolve) => {
      const request = this.#nextRequest++
      this.#waiting.set(request, resolve)
      const wanted = Object.fromEntries(
        Object.entries(progress.positions).map(([partition, { seq }]) => [partition, seq]),
      )
      const message: RememberMessage = { request, pipelineId, sink, json: progressJson(progress), wanted }
      this.#options.port.postMessage(message)
      this.#options.committerBell.ring()
    })
  }

  #plugin(kind: string): SinkPlugin<never> {
    const { targets, answersEarly } = this.#options
    return {
      kind,
      summary: 'simulated',
      guarantee: new SimTarget(kind).guarantee,
      options: { help: [], parse: () => undefined },
      open: async (_options, { pipeline, sink }) => {
        const opened = openSink(targets.get(`${pipeline}/${sink}`)!, this.#calls)
        return answersEarly ? answeringEarly(opened) : opened
      },
    }
  }

  #setTimer(run: () => void, ms: number): () => void {
    const timer = { dueMs: this.#options.world.clock.monotonicMs() + ms, run }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer)
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error
  }

  /** Promises run their course: an outbox waits for nothing but the calls, timers and mail above, and for two turns of the loop. */
  async #settle(): Promise<void> {
    for (let turn = 0; turn < 2; turn++) await new Promise(setImmediate)
    if (this.#failure !== null) throw this.#failure
  }
}
