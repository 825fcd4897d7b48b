/**
 * What a log remembers of requests, so that none is stored twice: idempotency keys and producers' sequences. Made by
 * LogWriter.openDedupe on the log writer thread; its rows are written in the transaction of the samples they belong to.
 */
import type { StoreEnv } from '../env.ts'
import { KeyStore } from './key-store.ts'
import { ProducerStore } from './producer-store.ts'

export interface DedupeOptions {
  /** How long a key is remembered, in log time. */
  readonly horizonMs: number
  /** Keys remembered at once, and producers. */
  readonly keysMax: number
  readonly producersMax: number
}

export class Dedupe {
  readonly keys: KeyStore
  readonly producers: ProducerStore
  readonly #env: StoreEnv

  /** `logMs`: newest log time of the log. Reads and checks everything that is remembered. */
  constructor(env: StoreEnv, options: DedupeOptions, logMs: number) {
    const { horizonMs, keysMax, producersMax } = options
    this.#env = env
    this.keys = new KeyStore(env, env.table('keys'), { horizonMs, keysMax, logMs })
    const tables = { producers: env.table('producers'), sequences: env.table('sequences') }
    this.producers = new ProducerStore(env, tables, producersMax)
  }

  /** Inside the transaction of the samples: everything that is new since the last one. */
  flush(): void {
    this.keys.flush()
    this.producers.flush()
  }

  /** That transaction is durable. */
  settle(): void {
    this.keys.settle()
    this.producers.settle()
  }

  /** That transaction failed, and its requests are given up. */
  discard(): void {
    this.keys.discard()
    this.producers.discard()
  }

  /** Log time moves on; what is forgotten is deleted, a bounded part of it in a transaction of its own. True: call again. */
  collect(logMs: number): boolean {
    this.keys.advance(logMs)
    const isShedding = this.keys.shed()
    if (!this.keys.hasForgotten) return isShedding
    this.#env.transaction(() => {
      this.keys.collect()
    })
    return this.keys.hasForgotten || isShedding
  }
}
