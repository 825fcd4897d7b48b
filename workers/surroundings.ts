/**
 * What a thread's loop takes from outside beside its wiring: time, sleep, chains and its bounds. A node gives every thread
 * `REAL_SURROUNDINGS`; the simulation (test/simulation/) gives others, so that it runs these very loops under a clock and
 * a scheduler of its own.
 */
import { Chain, type ChainOptions } from '../engine/pipeline/chain.ts'
import { Doorbell } from '../engine/ring/doorbell.ts'
import { type Clock, systemClock } from '../engine/util/clock.ts'

export interface Surroundings {
  readonly clock: Clock
  readonly bell: (sab: SharedArrayBuffer) => Doorbell
  readonly chain: (options: ChainOptions) => Chain
  /** A bound of the loop, as declared; the simulation makes it small, so that it is met. */
  readonly limit: (declared: number) => number
}

export const REAL_SURROUNDINGS: Surroundings = {
  clock: systemClock,
  bell: (sab) => new Doorbell(sab),
  chain: (options) => new Chain(options),
  limit: (declared) => declared,
}
