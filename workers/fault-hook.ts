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

function orderOf(file: string): FaultOrder | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as FaultOrder
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
