/**
 * When a failed shard is started again, which record batch is given up, and when it is over. Pure bookkeeping over the
 * failures it is told of: no timer, no thread. One a group of shards that restart together.
 *
 * Each failure costs one restart; restarts older than the window are forgotten. A batch over which shards failed `tries`
 * times becomes a dead letter; its restarts still count, so that a pipeline that fails at every batch gives up instead
 * of skipping its way through the log.
 */
import type { BatchPlace } from '../engine/broker/shard-activity.ts'
import { type Backoff, backoffMs } from '../engine/util/backoff.ts'
import type { Prng } from '../engine/util/prng.ts'

export const RESTART_BACKOFF: Backoff = { firstMs: 100, maxMs: 10_000 }

export interface RestartLimits {
  readonly restartLimit: number
  readonly windowMs: number
  readonly poisonTries: number
}

export type RestartDecision =
  | { readonly type: 'give-up'; readonly failures: number }
  | {
      readonly type: 'restart'
      /** Restarts within the window, this one included. */
      readonly restarts: number
      readonly delayMs: number
      /** Failures over this batch so far; 0: no batch is to blame. */
      readonly tries: number
      /** The batch is given up. */
      readonly isPoison: boolean
    }

export class RestartPolicy {
  readonly #limits: RestartLimits
  readonly #prng: Prng
  /** Oldest first; at most restartLimit + 1. */
  #failures: { readonly atMs: number; readonly place: string | null }[] = []

  constructor(limits: RestartLimits, prng: Prng) {
    this.#limits = limits
    this.#prng = prng
  }

  failed(nowMs: number, batch: BatchPlace | null): RestartDecision {
    const { restartLimit, windowMs, poisonTries } = this.#limits
    const place = batch === null ? null : `${batch.pipelineId}/${batch.partition}/${batch.baseOffset}`
    this.#failures = this.#failures.filter(({ atMs }) => nowMs - atMs < windowMs)
    this.#failures.push({ atMs: nowMs, place })
    const restarts = this.#failures.length
    if (restarts > restartLimit) return { type: 'give-up', failures: restarts }
    const tries = place === null ? 0 : this.#failures.filter((failure) => failure.place === place).length
    return {
      type: 'restart',
      restarts,
      delayMs: backoffMs(RESTART_BACKOFF, restarts - 1, this.#prng),
      tries,
      isPoison: tries >= poisonTries,
    }
  }
}
