/**
 * How much a point displaces others: the last values make a point, and trees of random cuts hold points of late. A point that
 * lies apart is cut off near a root, and in its place whole subtrees move down by a level: the largest number displaced for
 * each point of what is cut off with it (collusive displacement) is how unlike the others it is.
 *
 * Guha, Mishra, Roy and Schrijvers, "Robust random cut forest based anomaly detection on streams", ICML 2016. Points are
 * inserted and deleted as there, so that a tree is distributed as one that is drawn anew over the points it holds. Of each
 * `trees` values in a row every tree takes one, in an order that is drawn for each such round: all trees together hold the
 * last `trees` times `sample` values, each a sample without a rhythm of its own. The score is the expected displacement over
 * the cuts that an insertion would draw, so that scoring needs no random number and changes nothing. It becomes a surprise by
 * a tail learned from the series (views/tail.ts).
 *
 * Boxes around subtrees are found anew on the way down, from points that are values kept once for all trees; random numbers
 * are a function of the seed and the number of the value. O(trees · sample · dimension) a value for trees that are not far out
 * of balance; the number of cells follows `trees` and `sample`: at most 1953 cells a group.
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
import { assert } from '../../engine/util/assert.ts'
import {
  drawAt,
  isApart,
  judgeNovelty,
  learnNovelty,
  NOVELTY_CELLS,
  noveltyCount,
  noveltyOptions,
  noveltyReason,
  TAIL_VALUES,
} from './novelty.ts'
import { abstain, bounded } from './verdicts.ts'

const options = optionSpec({
  dimension: {
    type: integer({ min: 1, max: 8 }),
    default: 4,
    meaning: 'how many values in a row make a point',
  },
  trees: {
    type: integer({ min: 1, max: 10 }),
    default: 10,
    meaning: 'how many trees the displacement is a mean over',
  },
  sample: {
    type: integer({ min: 8, max: 64 }),
    default: 48,
    meaning: 'how many points a tree holds; what is usual is what the last `trees` times as many values held',
  },
  seed: {
    type: integer({ min: 0, max: 0x7fff_ffff }),
    default: 1,
    meaning: 'of the random cuts; another seed, other trees',
  },
  ...noveltyOptions,
})

type Options = OptionsOf<typeof options>

/** Values that lie, with those before them, apart from all others of late.
 *
 *     .detect('load', randomCutForest())
 *     .detect('load', randomCutForest({ dimension: 8, odds: 1e-3 }))
 */
export function randomCutForest(written: OptionInputOf<typeof options> = {}): ValueDetector {
  return { [DEFINITION]: { what: 'detector', kind: 'random-cut-forest', subject: 'value', options: written } }
}

export const randomCutForestPlugin: DetectorPlugin<Options> = {
  kind: 'random-cut-forest',
  summary: 'points of the last values that lie apart, by what they displace in trees of random cuts',
  source: 'Guha et al. 2016; O(trees · sample · dimension) a value, at most 1953 cells a group',
  subject: 'value',
  options,
  create: (parsed) => new RandomCutForest(parsed),
}

/**
 * A tree's cells: its root, then two for each inner node. A child is a leaf by its place in the sample, or a node by its
 * number behind these. The root's cell is 1 + child + CHILD · mass, 0 for no tree. A node's first cell is its cut; the second is
 * left + CHILD · right + CHILD² · dimension + CHILD³ · (left's mass + CHILD · right's), 0 for a node that is free: a node's
 * children differ.
 */
const CHILD = 256
const FIRST_NODE = 128
const ROOT_CELLS = 1
const NODE_CELLS = 2

class RandomCutForest implements Detector {
  readonly subject = 'value'
  readonly width: number
  readonly #options: Options
  readonly #treeCells: number
  readonly #ring: number
  readonly #ringSize: number
  // Scratch of one call, never state.
  readonly #point: Float64Array
  /** Coordinates of one tree's points, by dimension, then by place in the sample. */
  readonly #points: Float64Array
  /** Places of a subtree's leaves. */
  readonly #leaves: Int32Array
  readonly #low: Float64Array
  readonly #high: Float64Array
  readonly #stack: Int32Array
  /** Turns that were worked out, and of which rounds. */
  readonly #turns = new Int32Array(TURNS)
  readonly #turnRounds = new Float64Array(TURNS).fill(NaN)

  constructor(parsed: Options) {
    this.#options = parsed
    const { dimension, trees, sample } = parsed
    this.#treeCells = ROOT_CELLS + NODE_CELLS * (sample - 1)
    this.#ring = NOVELTY_CELLS + trees * this.#treeCells
    this.#ringSize = (sample + 1) * trees + dimension - 1
    this.width = this.#ring + this.#ringSize
    this.#point = new Float64Array(dimension)
    this.#points = new Float64Array(sample * dimension)
    this.#leaves = new Int32Array(sample)
    this.#low = new Float64Array(dimension)
    this.#high = new Float64Array(dimension)
    this.#stack = new Int32Array(sample)
  }

  // hot: a call a (group, window).
  score(cells: Float64Array, at: number, _timeMs: number, value: number, verdict: Verdict): void {
    if (noveltyCount(cells, at) < this.#warmUp) {
      abstain(verdict)
      return
    }
    const x = bounded(value)
    const displaced = this.#displaced(cells, at, x)
    judgeNovelty(cells, at, x, displaced, this.#options, verdict)
    verdict.memo = displaced
  }

  // hot: a call a (group, window).
  learn(cells: Float64Array, at: number, _timeMs: number, value: number, verdict: Verdict): void {
    const x = bounded(value)
    const count = noveltyCount(cells, at)
    let displaced = NaN
    if (count >= this.#warmUp) displaced = verdict.memo!
    else if (count >= this.#full) displaced = this.#displaced(cells, at, x)
    learnNovelty(cells, at, x, displaced)
    const { trees, sample, dimension } = this.#options
    const round = Math.floor(count / trees)
    const tree = ((count % trees) + this.#turnOf(round)) % trees
    const treeAt = at + NOVELTY_CELLS + tree * this.#treeCells
    // The one leaves before its values make room.
    const gone = this.#countOf(tree, round - sample)
    if (gone >= dimension - 1) {
      this.#pointAt(cells, at, gone, this.#point)
      this.#remove(cells, treeAt)
    }
    cells[at + this.#ring + (count % this.#ringSize)] = x
    if (count < dimension - 1) return
    this.#gather(cells, at, tree, round)
    this.#pointAt(cells, at, count, this.#point)
    this.#insert(cells, treeAt, round % sample, count)
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    const { trees, sample } = this.#options
    return noveltyReason(subject, value, verdict, `apart from all of the last ${trees * sample}`)
  }

  health(cells: Float64Array, at: number): DetectorHealth {
    return noveltyCount(cells, at) < this.#warmUp ? 'warming' : 'ok'
  }

  explain(cells: Float64Array, at: number): Explanation {
    const count = noveltyCount(cells, at)
    const { trees } = this.#options
    let points = 0
    for (let tree = 0; tree < trees; tree++) {
      const root = cells[at + NOVELTY_CELLS + tree * this.#treeCells]!
      points += root === 0 ? 0 : Math.floor((root - 1) / CHILD)
    }
    return {
      facts: [
        {
          name: 'values',
          value: String(count),
          meaning: `seen so far; it judges once there are ${this.#warmUp}`,
        },
        { name: 'points', value: String(points), meaning: 'in all trees together' },
      ],
    }
  }

  /** Values after which every tree holds a whole sample. */
  get #full(): number {
    const { trees, sample, dimension } = this.#options
    return trees * sample + dimension - 1
  }

  get #warmUp(): number {
    return this.#full + TAIL_VALUES
  }

  /** By how much the trees are turned against the values of a round: the tree of its first value. Worked out once a round. */
  #turnOf(round: number): number {
    const { trees, seed } = this.#options
    const place = round & TURNS_MASK
    if (this.#turnRounds[place] !== round) {
      this.#turnRounds[place] = round
      this.#turns[place] = Math.floor(drawAt(seed, round, TURN_DRAW) * trees)
    }
    return this.#turns[place]!
  }

  /** Number of the value that a tree took in a round. */
  #countOf(tree: number, round: number): number {
    const { trees } = this.#options
    return round * trees + ((tree - this.#turnOf(round) + trees) % trees)
  }

  /** The point that ends with the value of that number, which is in the ring. */
  #pointAt(cells: Float64Array, at: number, count: number, into: Float64Array, first = 0, stride = 1): void {
    const { dimension } = this.#options
    let place = (count - dimension + 1) % this.#ringSize
    for (let j = 0; j < dimension; j++) {
      into[first + j * stride] = cells[at + this.#ring + place]!
      place = place + 1 === this.#ringSize ? 0 : place + 1
    }
  }

  /** Coordinates of the tree's points; `round` is the newest that it may have a point of. */
  #gather(cells: Float64Array, at: number, tree: number, round: number): void {
    const { sample, dimension } = this.#options
    const count = noveltyCount(cells, at)
    for (let back = 0; back <= sample && back <= round; back++) {
      const taken = this.#countOf(tree, round - back)
      // Not come yet: the place still holds the point of the sample's first round.
      if (taken >= count || (back === sample && this.#countOf(tree, round) < count)) continue
      if (taken < dimension - 1) continue
      this.#pointAt(cells, at, taken, this.#points, (round - back) % sample, sample)
    }
  }

  /** Expected collusive displacement by the point that `x` would end, a mean over the trees; 0 where it is as good as usual. */
  #displaced(cells: Float64Array, at: number, x: number): number {
    const { trees, dimension } = this.#options
    const count = noveltyCount(cells, at)
    const point = this.#point
    for (let j = 0; j < dimension - 1; j++) {
      point[j] = cells[at + this.#ring + ((count - dimension + 1 + j) % this.#ringSize)]!
    }
    point[dimension - 1] = x
    if (!isApart(cells, at, point, this.#options)) return 0
    let sum = 0
    for (let tree = 0; tree < trees; tree++) {
      this.#gather(cells, at, tree, Math.floor(count / trees))
      sum += this.#displacedIn(cells, at + NOVELTY_CELLS + tree * this.#treeCells)
    }
    return sum / trees
  }

  #displacedIn(cells: Float64Array, treeAt: number): number {
    const { dimension } = this.#options
    const root = cells[treeAt]! - 1
    if (root < 0) return 0
    const point = this.#point
    let child = root % CHILD
    let mass = Math.floor(root / CHILD)
    let leaves = this.#leavesOf(cells, treeAt, child)
    // Probability that it is not cut off further up; the largest displacement that its ancestors see.
    let kept = 1
    let above = 0
    let expected = 0
    for (;;) {
      this.#box(leaves)
      let added = 0
      let total = 0
      for (let j = 0; j < dimension; j++) {
        const before = this.#high[j]! - this.#low[j]!
        const beyond = Math.max(0, point[j]! - this.#high[j]!, this.#low[j]! - point[j]!)
        added += beyond
        total += before + beyond
      }
      const cutOff = total > 0 ? added / total : 0
      expected += kept * cutOff * Math.max(above, mass)
      kept *= 1 - cutOff
      if (child < FIRST_NODE || !(kept > KEPT_MIN)) break
      const nodeAt = nodeCell(treeAt, child)
      const node = cells[nodeAt + 1]!
      const j = dimensionOf(node)
      const isRight = point[j]! > cells[nodeAt]!
      leaves = this.#keepSide(leaves, j, cells[nodeAt]!, isRight)
      const sibling = isRight ? leftMass(node) : rightMass(node)
      mass = isRight ? rightMass(node) : leftMass(node)
      child = isRight ? rightChild(node) : leftChild(node)
      above = Math.max(above, sibling / (mass + 1))
    }
    return expected + kept * above
  }

  /** Puts #point into the tree, as the leaf of that place. */
  #insert(cells: Float64Array, treeAt: number, leaf: number, count: number): void {
    const { dimension, seed } = this.#options
    const root = cells[treeAt]! - 1
    if (root < 0) {
      cells[treeAt] = 1 + leaf + CHILD
      return
    }
    const point = this.#point
    let child = root % CHILD
    let mass = Math.floor(root / CHILD)
    let leaves = this.#leavesOf(cells, treeAt, child)
    // Of the node whose child is looked at: its second cell, or -1 for the root.
    let parentAt = -1
    let isRight = false
    for (let draw = FIRST_DRAW; ; draw++) {
      this.#box(leaves)
      let total = 0
      for (let j = 0; j < dimension; j++) {
        total += Math.max(this.#high[j]!, point[j]!) - Math.min(this.#low[j]!, point[j]!)
      }
      if (!(total > 0)) {
        // The same point again: its leaf is the newer one from here on.
        this.#setChild(cells, treeAt, parentAt, isRight, leaf, mass + 1)
        return
      }
      let left = drawAt(seed, count, draw) * total
      let j = 0
      let length = 0
      for (; j < dimension; j++) {
        length = Math.max(this.#high[j]!, point[j]!) - Math.min(this.#low[j]!, point[j]!)
        if (left < length || j === dimension - 1) break
        left -= length
      }
      // Rounding may end in a dimension without length.
      while (!(length > 0)) {
        j = j === 0 ? dimension - 1 : j - 1
        length = Math.max(this.#high[j]!, point[j]!) - Math.min(this.#low[j]!, point[j]!)
        left = 0
      }
      const from = Math.min(this.#low[j]!, point[j]!)
      const to = Math.max(this.#high[j]!, point[j]!)
      let cut = from + left
      if (!(cut < to)) cut = from
      if (cut >= this.#high[j]! || cut < this.#low[j]!) {
        const node = this.#freeNode(cells, treeAt)
        const isBelow = cut < this.#low[j]!
        const nodeAt = nodeCell(treeAt, node)
        cells[nodeAt] = cut
        cells[nodeAt + 1] = isBelow ? packed(leaf, child, j, 1, mass) : packed(child, leaf, j, mass, 1)
        this.#setChild(cells, treeAt, parentAt, isRight, node, mass + 1)
        return
      }
      this.#setChild(cells, treeAt, parentAt, isRight, child, mass + 1)
      parentAt = nodeCell(treeAt, child) + 1
      const node = cells[parentAt]!
      const d = dimensionOf(node)
      isRight = point[d]! > cells[parentAt - 1]!
      leaves = this.#keepSide(leaves, d, cells[parentAt - 1]!, isRight)
      mass = isRight ? rightMass(node) : leftMass(node)
      child = isRight ? rightChild(node) : leftChild(node)
    }
  }

  /** Takes #point out of the tree that holds it. */
  #remove(cells: Float64Array, treeAt: number): void {
    const root = cells[treeAt]! - 1
    let child = root % CHILD
    let mass = Math.floor(root / CHILD)
    let grandAt = -1
    let isParentRight = false
    let parentAt = -1
    let isRight = false
    for (;;) {
      if (child < FIRST_NODE) break
      this.#setChild(cells, treeAt, parentAt, isRight, child, mass - 1)
      grandAt = parentAt
      isParentRight = isRight
      parentAt = nodeCell(treeAt, child) + 1
      const node = cells[parentAt]!
      isRight = this.#point[dimensionOf(node)]! > cells[parentAt - 1]!
      mass = isRight ? rightMass(node) : leftMass(node)
      child = isRight ? rightChild(node) : leftChild(node)
    }
    if (mass > 1) {
      this.#setChild(cells, treeAt, parentAt, isRight, child, mass - 1)
      return
    }
    if (parentAt < 0) {
      cells[treeAt] = 0
      return
    }
    const node = cells[parentAt]!
    if (isRight) this.#setChild(cells, treeAt, grandAt, isParentRight, leftChild(node), leftMass(node))
    else this.#setChild(cells, treeAt, grandAt, isParentRight, rightChild(node), rightMass(node))
    cells[parentAt - 1] = 0
    cells[parentAt] = 0
  }

  #setChild(
    cells: Float64Array,
    treeAt: number,
    parentAt: number,
    isRight: boolean,
    child: number,
    mass: number,
  ): void {
    if (parentAt < 0) cells[treeAt] = 1 + child + CHILD * mass
    else {
      const node = cells[parentAt]!
      cells[parentAt] = isRight
        ? packed(leftChild(node), child, dimensionOf(node), leftMass(node), mass)
        : packed(child, rightChild(node), dimensionOf(node), mass, rightMass(node))
    }
  }

  #freeNode(cells: Float64Array, treeAt: number): number {
    const nodes = this.#options.sample - 1
    let free = 0
    while (free < nodes && cells[treeAt + ROOT_CELLS + NODE_CELLS * free + 1] !== 0) free++
    assert(free < nodes, 'a tree has one node less than points', nodes)
    return FIRST_NODE + free
  }

  /** Places of all leaves under a child; returns how many. */
  #leavesOf(cells: Float64Array, treeAt: number, child: number): number {
    const stack = this.#stack
    let depth = 0
    let count = 0
    let next = child
    for (;;) {
      if (next >= FIRST_NODE) {
        const node = cells[nodeCell(treeAt, next) + 1]!
        stack[depth++] = rightChild(node)
        next = leftChild(node)
        continue
      }
      this.#leaves[count++] = next
      if (depth === 0) return count
      next = stack[--depth]!
    }
  }

  /** Keeps those of the first `count` leaves that lie on one side of a cut; returns how many. */
  #keepSide(count: number, j: number, cut: number, isRight: boolean): number {
    const { sample } = this.#options
    const leaves = this.#leaves
    const first = j * sample
    let kept = 0
    for (let i = 0; i < count; i++) {
      const leaf = leaves[i]!
      if (this.#points[first + leaf]! > cut === isRight) leaves[kept++] = leaf
    }
    return kept
  }

  /** The box around the first `count` leaves. */
  #box(count: number): void {
    const { dimension, sample } = this.#options
    const points = this.#points
    const leaves = this.#leaves
    for (let j = 0; j < dimension; j++) {
      const first = j * sample
      let low = Infinity
      let high = -Infinity
      for (let i = 0; i < count; i++) {
        const x = points[first + leaves[i]!]!
        if (x < low) low = x
        if (x > high) high = x
      }
      this.#low[j] = low
      this.#high[j] = high
    }
  }
}

/** A power of two above the largest sample. */
const TURNS = 128
const TURNS_MASK = TURNS - 1
/** Cuts that come less often than this add nothing that shows. */
const KEPT_MIN = 1e-6

/** Draws of one value: the first is a round's turn. */
const TURN_DRAW = 0
const FIRST_DRAW = 1

function nodeCell(treeAt: number, child: number): number {
  return treeAt + ROOT_CELLS + NODE_CELLS * (child - FIRST_NODE)
}

function packed(left: number, right: number, j: number, leftMass: number, rightMass: number): number {
  return left + CHILD * (right + CHILD * (j + CHILD * (leftMass + CHILD * rightMass)))
}

function leftChild(node: number): number {
  return node % CHILD
}

function rightChild(node: number): number {
  return Math.floor(node / CHILD) % CHILD
}

function dimensionOf(node: number): number {
  return Math.floor(node / CHILD ** 2) % CHILD
}

function leftMass(node: number): number {
  return Math.floor(node / CHILD ** 3) % CHILD
}

function rightMass(node: number): number {
  return Math.floor(node / CHILD ** 4)
}
