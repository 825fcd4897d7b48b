/**
 * Several inputs as one stream in time order, so that none of them makes the samples of another late. Each input's own
 * order is kept; ties go to the input named first. Holds one chunk of each input; copies runs, not single samples.
 */
import type { SampleBuilder } from '../engine/batch/sample-builder.ts'

export interface MergeInput {
  readonly builder: SampleBuilder
  /** Refills the builder, which is empty; false: at the end. May leave it empty and be asked again. */
  fill(): Promise<boolean>
}

/** Samples handed on at once. */
export const MERGE_SAMPLES = 65_536

export async function mergeByTime(
  inputs: readonly MergeInput[],
  into: SampleBuilder,
  flush: () => Promise<void>,
): Promise<void> {
  const cursors = new Int32Array(inputs.length)
  let open = inputs.map((_, i) => i)
  for (;;) {
    for (const i of open) await refill(inputs[i]!, cursors, i)
    open = open.filter((i) => cursors[i]! < inputs[i]!.builder.count)
    if (open.length === 0) break
    let first = open[0]!
    for (const i of open) if (headMs(inputs, cursors, i) < headMs(inputs, cursors, first)) first = i
    // Everything of `first` that comes before any other's next sample, or with it where `first` was named earlier.
    let beforeMs = Number.POSITIVE_INFINITY
    let inclusive = true
    for (const i of open) {
      if (i === first) continue
      const otherMs = headMs(inputs, cursors, i)
      if (otherMs >= beforeMs) continue
      beforeMs = otherMs
      inclusive = first < i
    }
    const room = MERGE_SAMPLES - into.count
    cursors[first] = copyRun(inputs[first]!.builder, cursors[first]!, beforeMs, inclusive, into, room)
    if (into.count >= MERGE_SAMPLES) await flush()
  }
  if (into.count > 0) await flush()
}

async function refill(input: MergeInput, cursors: Int32Array, i: number): Promise<void> {
  while (cursors[i]! >= input.builder.count) {
    cursors[i] = 0
    input.builder.clear()
    if (!(await input.fill())) return
  }
}

function headMs(inputs: readonly MergeInput[], cursors: Int32Array, i: number): number {
  return inputs[i]!.builder.timestampsMs[cursors[i]!]!
}

/** Copies at least one sample, then those before `beforeMs` (or at it); returns the cursor after them. */
// hot:
function copyRun(
  from: SampleBuilder,
  cursor: number,
  beforeMs: number,
  inclusive: boolean,
  into: SampleBuilder,
  room: number,
): number {
  const { seriesIds, timestampsMs, values } = from
  const end = Math.min(from.count, cursor + room)
  let at = cursor
  do {
    into.push(seriesIds[at]!, timestampsMs[at]!, values[at]!)
    at++
  } while (at < end && (timestampsMs[at]! < beforeMs || (inclusive && timestampsMs[at]! === beforeMs)))
  return at
}
