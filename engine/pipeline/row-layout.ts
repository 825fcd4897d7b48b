/**
 * What one row of one slice is made of: the fewest accumulators that serve every aggregate, side by side, the row a
 * power of two wide, so that a row is found by a shift. Pure; the same plan always gives the same layout, which checkpoints rely on.
 */
import type { AggregatePlan } from '../contract/plan.ts'
import type { Accumulator, AggregatePlugin, FinishRows, Registry } from '../contract/plugins.ts'
import { assert } from '../util/assert.ts'

/** Subsets of accumulators are tried one by one. */
const ACCUMULATORS_MAX = 12

export interface Column {
  readonly name: string
  /** Cell of the row where its accumulator starts. */
  readonly lane: number
  readonly finishRows: FinishRows
}

export interface RowLayout {
  readonly accumulators: readonly Accumulator[]
  /** First cell of each accumulator in a row. */
  readonly lanes: readonly number[]
  /** Cells a row, a power of two. Cell 0 is 0 exactly while the row has no sample. */
  readonly stride: number
  /** The aggregates, in plan order. */
  readonly columns: readonly Column[]
}

/** `exchange`: only of accumulators whose slices can be put together from several partitions. */
export function rowLayout(
  aggregates: readonly AggregatePlan[],
  registry: Registry,
  exchange = false,
): RowLayout {
  const plugins = aggregates.map(({ kind }) => {
    const plugin = registry.aggregates.get(kind) as AggregatePlugin | undefined
    assert(plugin !== undefined, 'a compiled plan names aggregates of the registry', kind)
    return plugin
  })
  const fits = (kind: string): boolean => !exchange || registry.accumulators.get(kind)?.ordered !== true
  const kinds = fewestAccumulators(plugins.map((plugin) => plugin.accumulators.filter(fits)))
  const accumulators = kinds.map((kind) => {
    const accumulator = registry.accumulators.get(kind)
    assert(accumulator !== undefined, 'an aggregate names accumulators of the registry', kind)
    return accumulator
  })
  const lanes: number[] = []
  let width = 0
  for (const accumulator of accumulators) {
    lanes.push(width)
    width += accumulator.width
  }
  const columns = aggregates.map(({ name, options }, i) => {
    const plugin = plugins[i]!
    const kind = plugin.accumulators.find((candidate) => kinds.includes(candidate))!
    const finishRows = plugin.finishRows?.(options, kind) ?? oneByOne(plugin.finish(options, kind))
    return { name, lane: lanes[kinds.indexOf(kind)]!, finishRows }
  })
  return { accumulators, lanes, stride: strideOf(width), columns }
}

/** For aggregates without a loop of their own: a call a row, which costs several times as much. */
function oneByOne(finish: (cells: Float64Array, at: number) => number): FinishRows {
  return (cells, base, strideShift, rows, from, to, into, intoAt) => {
    for (let j = from; j < to; j++) into[intoAt + j] = finish(cells, base + (rows[j]! << strideShift))
  }
}

/**
 * The smallest set of accumulators of which every aggregate finds one it can use; among equals the cheapest, judged by
 * the order in which the aggregates list them. Sorted by name.
 */
export function fewestAccumulators(wanted: readonly (readonly string[])[]): string[] {
  const candidates = [...new Set(wanted.flat())].sort()
  assert(candidates.length > 0, 'a window has aggregates, and each an accumulator')
  assert(candidates.length <= ACCUMULATORS_MAX, 'accumulators of a window are few', ...candidates)
  let best: string[] = []
  let bestRank = Infinity
  for (let set = 1; set < 1 << candidates.length; set++) {
    const chosen = candidates.filter((_, i) => (set & (1 << i)) !== 0)
    let rank = chosen.length * 1_000_000
    for (const accepted of wanted) {
      const preference = accepted.findIndex((kind) => chosen.includes(kind))
      rank += preference < 0 ? Infinity : preference
    }
    if (rank < bestRank) {
      bestRank = rank
      best = chosen
    }
  }
  return best
}

/** A power of two: rows start at cache lines where they can, and the hot loops shift instead of multiplying. */
function strideOf(width: number): number {
  let stride = 1
  while (stride < width) stride *= 2
  return stride
}
