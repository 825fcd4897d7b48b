/** A thread that does nothing of use, for so many seconds or until it is told to stop. Entry of Disturber's threads. */
import type { BurnTask } from './disturbance.ts'

/** Between two looks at the clock. */
const ROUNDS = 100_000

export default function burn({ seconds, stop }: BurnTask): number {
  const word = new Int32Array(stop)
  const endMs = performance.now() + seconds * 1_000
  let x = 1
  // acquire: the word to stop; partner: Disturber.close.
  while (performance.now() < endMs && Atomics.load(word, 0) === 0) {
    for (let i = 0; i < ROUNDS; i++) x = Math.sqrt(x + i)
  }
  return x
}
