/**
 * Points that lie where few others do: the last values make a point, trees of random half-spaces cut the space around the
 * series' range, and the mass that the last window of points left in the half-space of a point says how dense it is there.
 *
 * Tan, Ting and Liu, "Fast anomaly detection for streaming data", IJCAI 2011. As there, trees are made from a seed without
 * looking at data, with a work range per tree and dimension that is wider than the values'; masses are those of the window
 * before, swapped when one is full. Other than there, a window's points are kept and counted at the swap: so each window has a
 * scale of its own, and a level or spread that changes for good needs no new trees. And densities, mass times two to the power of
 * depth, are put together by the mean of their logarithms: a sum is that of the trees in which a far point shares an outer
 * half-space with usual ones. The density becomes a surprise by a tail learned from the series (views/tail.ts).
 *
 * O(trees · depth) a value, and as much for each value of a window when it is full; the number of cells follows `trees`, `depth`
 * and `values`: at most 1950 cells a group.
 */
import { integer, type OptionInputOf, type OptionsOf, optionSpec } from '../../engine/config/options.ts'
import { DEFINITION, type ValueDetector } from '../../engine/contract/definition.ts'
import type {
  Detector,
  DetectorHealth,
  DetectorPlugin,
  Explanation,
  Verdict,
} from '../../engine/contract/plugins.ts'
import {
  drawAt,
  isApart,
  judgeNovelty,
  learnNovelty,
  NOVELTY_CELLS,
  noveltyCount,
  noveltyFloor,
  noveltyOptions,
  noveltyReason,
  TAIL_VALUES,
} from './novelty.ts'
import { abstain, bounded, numberText } from './verdicts.ts'

const options = optionSpec({
  dimension: {
    type: integer({ min: 1, max: 8 }),
    default: 6,
    meaning: 'how many values in a row make a point',
  },
  values: {
    type: integer({ min: 32, max: 512 }),
    default: 256,
    meaning: 'how many values make a window; what is usual is what the last full one held',
  },
  trees: {
    type: integer({ min: 1, max: 22 }),
    default: 16,
    meaning: 'how many trees the density is a mean over',
  },
  depth: {
    type: integer({ min: 2, max: 7 }),
    default: 7,
    meaning: 'how often a tree halves its space',
  },
  seed: {
    type: integer({ min: 0, max: 0x7fff_ffff }),
    default: 1,
    meaning: 'of the random half-spaces; another seed, other trees',
  },
  ...noveltyOptions,
})

type Options = OptionsOf<typeof options>

/** Values that lie, with those before them, where few others do.
 *
 *     .detect('load', halfSpaceTrees())
 *     .detect('load', halfSpaceTrees({ dimension: 1, values: 512 }))
 */
export function halfSpaceTrees(written: OptionInputOf<typeof options> = {}): ValueDetector {
  return { [DEFINITION]: { what: 'detector', kind: 'half-space-trees', subject: 'value', options: written } }
}

export const halfSpaceTreesPlugin: DetectorPlugin<Options> = {
  kind: 'half-space-trees',
  summary: 'points of the last values that lie where few others do, by the mass of random half-spaces',
  source: 'Tan, Ting and Liu 2011; O(trees · depth) a value, at most 1950 cells a group',
  subject: 'value',
  options,
  create: (parsed) => new HalfSpaceTrees(parsed),
}

/** A half-space with no more than this share of the window is not looked into further, as in the paper. */
const SMALL_SHARE = 0.1
/** Work ranges reach this many times as far as the window's values from their random middle, as in the paper. */
const WORK_RANGE = 2
/** Masses share cells: below 2 ** 12 each. */
const MASSES_A_CELL = 4
const MASS_BASE = 4_096

/** Of the window that the masses are of: 0 while there is none. */
const POINTS = NOVELTY_CELLS
const LOW = POINTS + 1
const SPAN = POINTS + 2
const MASSES = POINTS + 3

class HalfSpaceTrees implements Detector {
  readonly subject = 'value'
  readonly width: number
  readonly #options: Options
  /** Nodes of a tree, in heap order; the last level's are leaves. */
  readonly #nodes: number
  readonly #ring: number
  readonly #ringSize: number
  /** By tree and inner node: which value of a point is looked at, and where the half-spaces meet, in spans of the window. */
  readonly #dimensionOf: Uint8Array
  readonly #cutAt: Float64Array
  // Scratch of one call, never state.
  readonly #point: Float64Array
  readonly #masses: Uint16Array

  constructor(parsed: Options) {
    this.#options = parsed
    const { dimension, values, trees, depth } = parsed
    this.#nodes = 2 ** (depth + 1) - 1
    this.#ring = MASSES + Math.ceil((trees * this.#nodes) / MASSES_A_CELL)
    this.#ringSize = values + dimension - 1
    this.width = this.#ring + this.#ringSize
    this.#dimensionOf = new Uint8Array(trees * this.#nodes)
    this.#cutAt = new Float64Array(trees * this.#nodes)
    this.#point = new Float64Array(dimension)
    this.#masses = new Uint16Array(trees * this.#nodes)
    for (let tree = 0; tree < trees; tree++) this.#plant(tree)
  }

  // hot: a call a (group, window).
  score(cells: Float64Array, at: number, _timeMs: number, value: number, verdict: Verdict): void {
    if (noveltyCount(cells, at) < this.#warmUp) {
      abstain(verdict)
      return
    }
    const x = bounded(value)
    const sparsity = this.#sparsity(cells, at, x)
    // Denser than values spread evenly over the work ranges is nothing to tell.
    const isSparse = sparsity > this.#options.depth
    judgeNovelty(cells, at, x, isSparse ? sparsity : 0, this.#options, verdict)
    verdict.memo = sparsity
  }

  // hot: a call a (group, window).
  learn(cells: Float64Array, at: number, _timeMs: number, value: number, verdict: Verdict): void {
    const { dimension, values } = this.#options
    const x = bounded(value)
    const count = noveltyCount(cells, at)
    const isJudged = !Number.isNaN(verdict.score)
    const sparsity = isJudged ? verdict.memo! : cells[at + POINTS]! > 0 ? this.#sparsity(cells, at, x) : NaN
    learnNovelty(cells, at, x, sparsity)
    cells[at + this.#ring + (count % this.#ringSize)] = x
    const points = count + 1 - (dimension - 1)
    if (points > 0 && points % values === 0) this.#swap(cells, at, count + 1)
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    return noveltyReason(subject, value, verdict, `where few of the last ${this.#options.values} or more are`)
  }

  health(cells: Float64Array, at: number): DetectorHealth {
    return noveltyCount(cells, at) < this.#warmUp ? 'warming' : 'ok'
  }

  explain(cells: Float64Array, at: number): Explanation {
    const facts = [
      {
        name: 'values',
        value: String(noveltyCount(cells, at)),
        meaning: `seen so far; it judges once there are ${this.#warmUp}`,
      },
    ]
    if (cells[at + POINTS]! > 0) {
      const low = cells[at + LOW]!
      facts.push({
        name: 'range',
        value: `${numberText(low)} … ${numberText(low + cells[at + SPAN]!)}`,
        meaning: 'of the window that a point is compared with',
      })
    }
    return { facts }
  }

  get #warmUp(): number {
    return this.#options.values + this.#options.dimension - 1 + TAIL_VALUES
  }

  /** Half-spaces of one tree. Each dimension has a work range about a random middle that holds [0, 1] with room on both sides. */
  #plant(tree: number): void {
    const { dimension, depth, seed } = this.#options
    let draws = 0
    const draw = (): number => drawAt(seed, tree, draws++)
    const low = new Float64Array(dimension)
    const high = new Float64Array(dimension)
    for (let d = 0; d < dimension; d++) {
      const middle = draw()
      const reach = WORK_RANGE * Math.max(middle, 1 - middle)
      low[d] = middle - reach
      high[d] = middle + reach
    }
    const cut = (node: number, level: number): void => {
      if (level === depth) return
      const place = tree * this.#nodes + node
      const d = Math.floor(draw() * dimension)
      const middle = (low[d]! + high[d]!) / 2
      this.#dimensionOf[place] = d
      this.#cutAt[place] = middle
      const [from, to] = [low[d]!, high[d]!]
      high[d] = middle
      cut(2 * node + 1, level + 1)
      high[d] = to
      low[d] = middle
      cut(2 * node + 2, level + 1)
      low[d] = from
    }
    cut(0, 0)
  }

  /**
   * How sparse it is where the point lies that `x` ends: depth minus the mean binary logarithm of its density; 0 and above. 0
   * too where all of it is as near the mean as is normal anyway.
   */
  #sparsity(cells: Float64Array, at: number, x: number): number {
    const { dimension, values, trees, depth } = this.#options
    const count = noveltyCount(cells, at)
    const point = this.#point
    for (let j = 0; j < dimension - 1; j++) {
      point[j] = cells[at + this.#ring + ((count - dimension + 1 + j) % this.#ringSize)]!
    }
    point[dimension - 1] = x
    if (!isApart(cells, at, point, this.#options)) return 0
    const low = cells[at + LOW]!
    const span = cells[at + SPAN]!
    const small = SMALL_SHARE * values
    let sum = 0
    for (let tree = 0; tree < trees; tree++) {
      let node = 0
      let mass = values
      let size = 1
      const first = tree * this.#nodes
      for (let level = 0; level < depth && mass > small; level++) {
        const place = first + node
        const isAbove = (point[this.#dimensionOf[place]!]! - low) / span >= this.#cutAt[place]!
        node = 2 * node + (isAbove ? 2 : 1)
        mass = massAt(cells, at + MASSES, first + node)
        size *= 2
      }
      // Half a point stands for none.
      sum += Math.log2((Math.max(mass, 0.5) * size) / values)
    }
    return depth - sum / trees
  }

  /** The window is full: its points are what is usual from here on. */
  #swap(cells: Float64Array, at: number, count: number): void {
    const { dimension, values, trees, depth } = this.#options
    const ring = at + this.#ring
    let low = Infinity
    let high = -Infinity
    for (let i = 0; i < this.#ringSize; i++) {
      const x = cells[ring + i]!
      if (x < low) low = x
      if (x > high) high = x
    }
    // A flat window has no span of its own: values about as far apart as is normal anyway.
    const least = Math.max(2 * noveltyFloor(cells, at, this.#options), SPAN_MIN)
    if (high - low < least) {
      low = (low + high) / 2 - least / 2
      high = low + least
    }
    const span = Math.max(high - low, SPAN_MIN)
    const masses = this.#masses.fill(0)
    const point = this.#point
    for (let i = 0; i < values; i++) {
      for (let j = 0; j < dimension; j++) {
        point[j] = (cells[ring + ((count + i + j) % this.#ringSize)]! - low) / span
      }
      for (let tree = 0; tree < trees; tree++) {
        const first = tree * this.#nodes
        let node = 0
        masses[first]!++
        for (let level = 0; level < depth; level++) {
          const place = first + node
          node = 2 * node + (point[this.#dimensionOf[place]!]! >= this.#cutAt[place]! ? 2 : 1)
          masses[first + node]!++
        }
      }
    }
    packMasses(masses, cells, at + MASSES)
    cells[at + LOW] = low
    cells[at + SPAN] = span
    cells[at + POINTS] = values
  }
}

const SPAN_MIN = 1e-150

function massAt(cells: Float64Array, at: number, index: number): number {
  const cell = cells[at + (index >> 2)]!
  // Twelve bits each, the first lowest; beyond 32 bits, so not by shifts alone.
  const half = index & 2 ? Math.floor(cell / (MASS_BASE * MASS_BASE)) : cell % (MASS_BASE * MASS_BASE)
  return index & 1 ? half >>> 12 : half & (MASS_BASE - 1)
}

function packMasses(masses: Uint16Array, cells: Float64Array, at: number): void {
  for (let i = 0; i < masses.length; i += MASSES_A_CELL) {
    let cell = 0
    for (let k = MASSES_A_CELL - 1; k >= 0; k--) cell = cell * MASS_BASE + (masses[i + k] ?? 0)
    cells[at + (i >> 2)] = cell
  }
}
