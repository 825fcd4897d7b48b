/**
 * Medians over rounds. A mean would let one pause of a shared machine decide the figure. tinybench times loops that are
 * short and repeatable (`medianSeconds`); work that needs set-up of its own, threads or a disk times itself (`rounds`).
 */
import { Bench } from 'tinybench'
import { assert } from '../../engine/util/assert.ts'

export function median(values: readonly number[]): number {
  assert(values.length > 0, 'a median needs a value')
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

export interface RoundsOptions {
  /** Measured rounds. */
  rounds: number
  /** Rounds before them that are not counted, so that the code is compiled. */
  warmup?: number
}

/** Runs `round` in sequence and gives the median of what it returns (a rate, or a time). */
export async function medianOf(
  options: RoundsOptions,
  round: (index: number) => number | Promise<number>,
): Promise<number> {
  for (let i = 0; i < (options.warmup ?? 1); i++) await round(i - (options.warmup ?? 1))
  const values: number[] = []
  for (let i = 0; i < options.rounds; i++) values.push(await round(i))
  return median(values)
}

/** Median seconds of one call of a synchronous loop, timed by tinybench. */
export async function medianSeconds(
  name: string,
  loop: () => void,
  options: { iterations?: number; timeMs?: number } = {},
): Promise<number> {
  const bench = new Bench({
    iterations: options.iterations ?? 8,
    time: options.timeMs ?? 500,
    warmupIterations: 3,
    warmupTime: 100,
    retainSamples: true,
    throws: true,
  })
  bench.add(name, loop)
  const [task] = await bench.run()
  const result = task?.result
  assert(result !== undefined && 'latency' in result, 'tinybench measured the loop', name)
  return result.latency.p50 / 1000
}

/** Elapsed seconds of one synchronous or asynchronous piece of work. */
export async function secondsOf(work: () => void | Promise<void>): Promise<number> {
  const start = performance.now()
  await work()
  return (performance.now() - start) / 1000
}
