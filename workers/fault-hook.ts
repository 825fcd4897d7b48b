/**
 * A seam for tests: makes a shard fail where a test says so. Without MILLRACE_FAULT_DIR in the environment there is no
 * hook, and a shard pays one comparison with null a batch. With it, the files of that directory are orders, one JSON
 * FaultOrder each: `*.once` is carried out by whichever shard first claims it (by renaming), `*.always` every time.
 *
 * Orders are looked for before each batch, so a test may give them at any time.
 */
import { readdirSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import type { BatchView } from '../engine/batch/batch-view.ts'
import type { EntrySink } from '../engine/contract/entries.ts'
import type { Sink, SinkPlugin, SinkRecord } from '../engine/contract/plugins.ts'
import { RECORD_SAMPLES } from '../engine/contract/samples.ts'

export interface FaultOrder {
  readonly how: 'throw' | 'exit' | 'memory' | 'hang'
  /** Of this pipeline only. */
  readonly pipeline?: string
  /** At a batch that holds a sample of this value only. */
  readonly value?: number
  /** Not before the batch but after its first entry: state has changed, frames are in the ring. */
  readonly afterEntry?: boolean
}

/** Orders for the sink thread: files `*.sink-once`, `*.sink-always`. */
export interface SinkFaultOrder {
  /** throw: in the sink's call. uncaught: beside it, on the thread. */
  readonly how: 'throw' | 'uncaught' | 'exit' | 'hang'
  /** Of the sink with this name only. */
  readonly sink?: string
  /** Where one of the records has this id only. */
  readonly id?: string
  /** Not before the target has the records, but after. */
  readonly after?: boolean
}

export class FaultHook {
  readonly #dir: string
  /** To be carried out after the next entry of this batch. */
  #pending: { readonly file: string; readonly order: FaultOrder } | null = null

  constructor(dir: string) {
    this.#dir = dir
  }

  batch(pipeline: string, view: BatchView): void {
    this.#pending = null
    for (const name of readdirSync(this.#dir)) {
      if (!name.endsWith('.once') && !name.endsWith('.always')) continue
      const file = join(this.#dir, name)
      const order = orderOf(file)
      if (order === null || !isMeant(order, pipeline, view)) continue
      // A batch may make no entry: then the order waits for one that does.
      if (order.afterEntry === true) this.#pending = { file, order }
      else carryOut(file, order)
    }
  }

  wrap(sink: EntrySink): EntrySink {
    return {
      group: (groupId, key) => sink.group(groupId, key),
      entry: (kind, seq, causeOffset, eventTimeMs, bytes, length) => {
        sink.entry(kind, seq, causeOffset, eventTimeMs, bytes, length)
        if (this.#pending !== null) carryOut(this.#pending.file, this.#pending.order)
      },
    }
  }
}

export function faultHook(): FaultHook | null {
  const dir = process.env.MILLRACE_FAULT_DIR
  return dir === undefined || dir === '' ? null : new FaultHook(dir)
}

export function sinkFaultHook(): SinkFaultHook | null {
  const dir = process.env.MILLRACE_FAULT_DIR
  return dir === undefined || dir === '' ? null : new SinkFaultHook(dir)
}

export class SinkFaultHook {
  readonly #dir: string

  constructor(dir: string) {
    this.#dir = dir
  }

  wrap(sinks: ReadonlyMap<string, SinkPlugin<never>>): ReadonlyMap<string, SinkPlugin<never>> {
    return new Map(
      [...sinks].map(([kind, plugin]) => {
        const open: typeof plugin.open = async (options, context) =>
          this.#wrapped(await plugin.open(options, context), context.sink)
        return [kind, { ...plugin, open }]
      }),
    )
  }

  #wrapped(sink: Sink, name: string): Sink {
    const around =
      <T>(call: (records: readonly SinkRecord[]) => Promise<T>) =>
      async (records: readonly SinkRecord[]): Promise<T> => {
        await this.#look(name, records, false)
        const result = await call(records)
        await this.#look(name, records, true)
        return result
      }
    const close = (): Promise<void> => sink.close()
    if (sink.guarantee === 'transactional') {
      const position: typeof sink.position = (...args) => sink.position(...args)
      return { guarantee: sink.guarantee, close, position, write: around((records) => sink.write(records)) }
    }
    return sink.guarantee === 'idempotent'
      ? { guarantee: sink.guarantee, close, upsert: around((records) => sink.upsert(records)) }
      : { guarantee: sink.guarantee, close, send: around((records) => sink.send(records)) }
  }

  async #look(name: string, records: readonly SinkRecord[], after: boolean): Promise<void> {
    for (const entry of readdirSync(this.#dir)) {
      if (!entry.endsWith('.sink-once') && !entry.endsWith('.sink-always')) continue
      const file = join(this.#dir, entry)
      const order = orderOf<SinkFaultOrder>(file)
      if (order === null || (order.after ?? false) !== after) continue
      if (order.sink !== undefined && order.sink !== name) continue
      if (order.id !== undefined && !records.some(({ id }) => id === order.id)) continue
      if (entry.endsWith('.sink-once') && !claimed(file)) continue
      if (order.how === 'throw') throw new Error('a fault of a sink was ordered')
      if (order.how === 'exit') process.exit(7)
      if (order.how === 'hang') for (;;);
      setImmediate(() => {
        throw new Error('a fault beside the sinks was ordered')
      })
      // Its thread ends while the call is under way.
      await new Promise(() => {})
    }
  }
}

function orderOf<T = FaultOrder>(file: string): T | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as T
  } catch {
    // Another shard has claimed it, or the test is still writing it.
    return null
  }
}

function isMeant(order: FaultOrder, pipeline: string, view: BatchView): boolean {
  if (order.pipeline !== undefined && order.pipeline !== pipeline) return false
  if (order.value === undefined) return true
  if (view.kind !== RECORD_SAMPLES) return false
  for (let i = 0; i < view.count; i++) {
    if (view.values[view.valuesAt + i] === order.value) return true
  }
  return false
}

function claimed(file: string): boolean {
  try {
    renameSync(file, `${file}.taken`)
    return true
  } catch {
    return false
  }
}

function carryOut(file: string, order: FaultOrder): void {
  if (file.endsWith('.once') && !claimed(file)) return
  if (order.how === 'throw') throw new Error('a fault was ordered')
  if (order.how === 'exit') process.exit(7)
  const kept: unknown[] = []
  for (;;) {
    if (order.how === 'memory') kept.push(new Array(1_000_000).fill(kept))
  }
}
