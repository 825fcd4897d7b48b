/**
 * Nodes that are broken on purpose, each in one of the ways in which a stream processor loses or doubles something. The
 * simulation must notice each of them; the breakage lives here, in wrappers, and nowhere in the node's own code.
 */
import type { BatchView } from '../../engine/batch/batch-view.ts'
import type { FeedbackRow } from '../../engine/contract/feedback.ts'
import { RECORD_SAMPLES } from '../../engine/contract/samples.ts'
import { Chain, type ChainOptions } from '../../engine/pipeline/chain.ts'
import type { LogWriter } from '../../engine/store/log-contract.ts'
import type { Progress, StateTransaction, StateWriter } from '../../engine/store/state-contract.ts'
import type { Clock } from '../../engine/util/clock.ts'
import type { Mutant } from './sim-node.ts'

/** The same object with some methods replaced. */
function changed<T extends object>(target: T, methods: Partial<T>): T {
  return new Proxy(target, {
    get(object, name) {
      const replaced: unknown = Reflect.get(methods, name)
      if (replaced !== undefined) return replaced
      const own: unknown = Reflect.get(object, name)
      return typeof own === 'function' ? own.bind(object) : own
    },
  })
}

/** Runs a transaction's body, its calls recorded, and makes two transactions of them: first those named, then the rest. */
function inTwo(writer: StateWriter, first: ReadonlySet<keyof StateTransaction>): StateWriter {
  return changed(writer, {
    transaction<T>(body: (txn: StateTransaction) => T): T {
      const early: ((txn: StateTransaction) => void)[] = []
      const late: ((txn: StateTransaction) => void)[] = []
      const result = writer.transaction((txn) => {
        const recorded = new Proxy(txn, {
          get(_target, name: keyof StateTransaction) {
            // Its answer is needed at once.
            if (name === 'takeSilenceId') return txn.takeSilenceId
            return (...args: never[]) => {
              const list = first.has(name) ? early : late
              list.push((to) => (to[name] as (...values: never[]) => unknown)(...args))
            }
          },
        })
        const told = body(recorded)
        for (const call of early) call(txn)
        return told
      })
      writer.transaction((txn) => {
        for (const call of late) call(txn)
      })
      return result
    },
  })
}

/** On replay the collector takes the last checkpoint for what was committed. */
function forgettingProgress(writer: StateWriter): StateWriter {
  return changed(writer, {
    progress(pipelineId: number, partition: number): Progress | null {
      const progress = writer.progress(pipelineId, partition)
      const checkpoint = writer.checkpoint(pipelineId, partition)
      if (progress === null || checkpoint === null) return null
      return { ...progress, position: checkpoint.position, nextSeq: checkpoint.nextSeq }
    },
  })
}

/** Once it is live, it takes what was skipped in its ring, and must be read from the log, for done. */
class ForgetfulChain extends Chain {
  #isLive = false

  override process(view: BatchView): void {
    if (view.values.buffer instanceof SharedArrayBuffer) this.#isLive = true
    else if (this.#isLive && view.kind === RECORD_SAMPLES) {
      this.position = view.endOffset
      return
    }
    super.process(view)
  }
}

/** Takes the time of the machine it runs on for log time. */
class WallClockChain extends Chain {
  readonly #clock: Clock

  constructor(options: ChainOptions, clock: Clock) {
    super(options)
    this.#clock = clock
  }

  override process(view: BatchView): void {
    view.appendedMs = Math.max(view.appendedMs, this.#clock.nowMs())
    super.process(view)
  }
}

/** Keeps back the last entry until another comes, and so cuts checkpoints that cover more than was sent. */
function holdingBack(options: ChainOptions): Chain {
  let held: (() => void) | null = null
  return new Chain({
    ...options,
    sink: {
      group: (groupId, key) => options.sink.group(groupId, key),
      entry: (kind, seq, causeOffset, eventTimeMs, bytes, length) => {
        held?.()
        const own = bytes.slice(0, length)
        held = () => options.sink.entry(kind, seq, causeOffset, eventTimeMs, own, length)
      },
    },
  })
}

function retainingTooLittle(writer: LogWriter): LogWriter {
  return changed(writer, {
    retain: (request) => writer.retain({ ...request, lowWater: () => Infinity }),
  })
}

/** A key is looked up, and never found. */
function forgettingKeys(writer: LogWriter): LogWriter {
  return changed(writer, {
    openDedupe: (options) => {
      const dedupe = writer.openDedupe(options)
      return changed(dedupe, { keys: changed(dedupe.keys, { find: () => null }) })
    },
  })
}

/** A sequence that was stored is taken for the next one. */
function forgettingSequences(writer: LogWriter): LogWriter {
  return changed(writer, {
    openDedupe: (options) => {
      const dedupe = writer.openDedupe(options)
      const check: typeof dedupe.producers.check = (...place) => {
        const verdict = dedupe.producers.check(...place)
        return verdict.verdict === 'duplicate' ? { verdict: 'new' } : verdict
      }
      return changed(dedupe, { producers: changed(dedupe.producers, { check, record: () => {} }) })
    },
  })
}

/** What was said before the node began is not asked for again. */
function forgettingStatements(options: ChainOptions): Chain {
  const known = options.feedback!.rows().length
  return new Chain({ ...options, feedback: { rows: () => options.feedback!.rows().slice(known) } })
}

/** Rows of what is said become durable after their records. */
function statementsLater(writer: LogWriter): LogWriter {
  return changed(writer, {
    transaction: (body) => {
      const rows: FeedbackRow[] = []
      const result = writer.transaction((txn) => body(changed(txn, { putFeedback: (row) => rows.push(row) })))
      if (rows.length > 0) {
        writer.transaction((txn) => {
          for (const row of rows) txn.putFeedback(row)
        })
      }
      return result
    },
  })
}

export const MUTANTS: readonly Mutant[] = [
  { name: 'progress-before-entries', stateWriter: (writer) => inTwo(writer, new Set(['putProgress'])) },
  { name: 'replay-not-suppressed', stateWriter: forgettingProgress },
  { name: 'skipped-batch-forgotten', chain: (options) => new ForgetfulChain(options) },
  { name: 'checkpoint-before-entries-are-sent', chain: holdingBack },
  {
    name: 'checkpoint-committed-before-entries',
    stateWriter: (writer) => inTwo(writer, new Set(['putPage', 'putCheckpoint'])),
  },
  { name: 'cursor-remembered-before-delivery', sinksAnswerEarly: true },
  { name: 'ack-before-sync', logDisk: 'acks-before-sync' },
  { name: 'commit-before-sync', stateDisk: 'acks-before-sync' },
  { name: 'torn-log', logDisk: 'tears' },
  { name: 'torn-state', stateDisk: 'tears' },
  { name: 'retention-past-the-checkpoint', logWriter: retainingTooLittle },
  { name: 'key-forgotten', logWriter: forgettingKeys },
  { name: 'sequence-forgotten', logWriter: forgettingSequences },
  { name: 'statements-forgotten-by-a-restart', chain: forgettingStatements },
  { name: 'statement-and-record-in-two-transactions', logWriter: statementsLater },
  { name: 'withheld-before-the-entry', stateWriter: (writer) => inTwo(writer, new Set(['putWithheld'])) },
  {
    name: 'unheard-forgotten-by-a-restart',
    stateWriter: (writer) => changed(writer, { unheard: () => [] }),
  },
  { name: 'ring-of-a-dead-shard-kept', keepsRings: true },
  { name: 'wall-clock-instead-of-log-time', chain: (options, clock) => new WallClockChain(options, clock) },
]
