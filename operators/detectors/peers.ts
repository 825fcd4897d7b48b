/**
 * A group against the others like it, in the same window: the distance from the median of the others, in robust standard
 * deviations (their median absolute deviation, times 1.4826). Nothing is learned, so that what befalls all of them at once
 * is normal, and one that differs from the first window on is not. Judged are all groups that share the labels `by`, the
 * group itself left out of what it is held against.
 *
 * Robust z-score: B. Iglewicz and D. C. Hoaglin, "How to Detect and Handle Outliers", ASQC, 1993. The median absolute
 * deviation about any middle comes from two sorted halves by selection: O(log n) a value beside sorting the window's once.
 * 1 cell a group.
 */
import {
  integer,
  labelList,
  number,
  type OptionInputOf,
  type OptionsOf,
  oneOf,
  optionSpec,
} from '../../engine/config/options.ts'
import { type Branded, DEFINITION, type DetectorDefinition } from '../../engine/contract/definition.ts'
import type {
  DetectorHealth,
  DetectorPlugin,
  Explanation,
  PeersDetector,
  Verdict,
} from '../../engine/contract/plugins.ts'
import {
  abstain,
  bandText,
  bounded,
  clearAt,
  DIRECTIONS,
  type Direction,
  judgeBand,
  numberText,
  ROUNDING,
} from './verdicts.ts'

const options = optionSpec({
  by: {
    type: labelList(),
    default: [],
    meaning: 'groups with equal values of these labels are held against each other; none: all groups',
  },
  threshold: {
    type: number({ min: 1, max: 1_000 }),
    default: 6,
    meaning: 'where the band ends, in robust standard deviations of the others from their median',
  },
  minPeers: {
    type: integer({ min: 3, max: 1_000_000 }),
    default: 4,
    meaning: 'judges nothing in windows with fewer others than this',
  },
  minDeviation: {
    type: number({ min: 0, max: 1e100 }),
    default: 1e-9,
    meaning: 'a deviation up to this is normal, in units of the value',
  },
  minRelativeDeviation: {
    type: number({ min: 0, max: 1_000 }),
    default: 0.1,
    meaning: 'a deviation up to this share of the median is normal',
  },
  clear: clearAt(0.8),
  direction: { type: oneOf(...DIRECTIONS), default: 'both', meaning: 'which side is anomalous' },
})

type Options = OptionsOf<typeof options>

/** Unlike the other groups of the same window.
 *
 *     .groupBy('cluster', 'instance').window(tumbling('1m'), { cpu: mean() })
 *     .detect('cpu', peers({ by: ['cluster'] }))
 */
export function peers(written: OptionInputOf<typeof options> = {}): Branded<DetectorDefinition<'peers'>> {
  return { [DEFINITION]: { what: 'detector', kind: 'peers', subject: 'peers', options: written } }
}

export const peersPlugin: DetectorPlugin<Options> = {
  kind: 'peers',
  summary: 'unlike the other groups of the same window',
  source: 'Iglewicz and Hoaglin 1993 (robust z-score); O(log n) a value of n peers, 1 cell a group',
  subject: 'peers',
  options,
  create: (parsed) => new Peers(parsed),
  peersBy: ({ by }) => by,
}

/** Of a normal distribution, the median absolute deviation times this is the standard deviation. */
const NORMAL = 1.4826

/** Others in the newest window. */
const OTHERS = 0
const WIDTH = 1

class Peers implements PeersDetector {
  readonly subject = 'peers'
  readonly width = WIDTH
  peers = new Float64Array(0)
  readonly #threshold: number
  readonly #minPeers: number
  readonly #minDeviation: number
  readonly #minRelativeDeviation: number
  readonly #clear: number
  readonly #direction: Direction

  constructor(parsed: Options) {
    this.#threshold = parsed.threshold
    this.#minPeers = parsed.minPeers
    this.#minDeviation = parsed.minDeviation
    this.#minRelativeDeviation = Math.max(parsed.minRelativeDeviation, ROUNDING)
    this.#clear = parsed.clear
    this.#direction = parsed.direction
  }

  // hot: a call a (group, window).
  score(_cells: Float64Array, _at: number, _timeMs: number, value: number, verdict: Verdict): void {
    const { peers } = this
    const own = indexOf(peers, value)
    const others = own < 0 ? peers.length : peers.length - 1
    if (others < this.#minPeers) {
      abstain(verdict)
      verdict.peers = others
      return
    }
    const median = middleOf(peers, own, others)
    const deviation = deviationOf(peers, own, others, median)
    const relative = this.#minRelativeDeviation * Math.abs(median)
    const half = Math.max(this.#threshold * NORMAL * deviation, relative, this.#minDeviation)
    judgeBand(verdict, bounded(value), median, half, this.#direction, this.#clear)
    verdict.peers = others
  }

  learn(cells: Float64Array, at: number, _timeMs: number, _value: number, verdict: Verdict): void {
    cells[at + OTHERS] = verdict.peers ?? 0
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    const shown = `${subject} ${numberText(value)}`
    const others = `${verdict.peers ?? 0} peers`
    if (!(verdict.score > 1))
      return `${shown} is like that of its ${others} again (band ${bandText(verdict)})`
    const side = verdict.direction < 0 ? 'below' : 'above'
    const times = numberText(verdict.score)
    return `${shown} is ${times} times the normal deviation ${side} the median ${numberText(verdict.expected)} of its ${others} (band ${bandText(verdict)})`
  }

  health(cells: Float64Array, at: number): DetectorHealth {
    return cells[at + OTHERS]! < this.#minPeers ? 'starved' : 'ok'
  }

  explain(cells: Float64Array, at: number): Explanation {
    return {
      facts: [
        {
          name: 'peers',
          value: String(cells[at + OTHERS]!),
          meaning: `others in its last window; it is judged against ${this.#minPeers} or more`,
        },
      ],
    }
  }
}

/** Where the value lies in the ascending list; -1: it is not there. */
function indexOf(sorted: Float64Array, value: number): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (sorted[middle]! < value) low = middle + 1
    else high = middle
  }
  return low < sorted.length && sorted[low] === value ? low : -1
}

/** The i-th of the others, ascending. */
function other(sorted: Float64Array, own: number, i: number): number {
  return bounded(sorted[own >= 0 && i >= own ? i + 1 : i]!)
}

/** The median of the others. */
function middleOf(sorted: Float64Array, own: number, count: number): number {
  const upper = other(sorted, own, count >>> 1)
  if (count % 2 === 1) return upper
  return other(sorted, own, (count >>> 1) - 1) / 2 + upper / 2
}

/** The median of the others' distances from `middle`. */
function deviationOf(sorted: Float64Array, own: number, count: number, middle: number): number {
  const upper = nearest(sorted, own, count, middle, count >>> 1)
  if (count % 2 === 1) return upper
  return nearest(sorted, own, count, middle, (count >>> 1) - 1) / 2 + upper / 2
}

/**
 * The k-th smallest distance from `middle`, from 0: the others below, read downwards, and those above, read upwards, are two
 * ascending lists of distances. `below` of the k + 1 nearest are from the first, the rest from the second.
 */
function nearest(sorted: Float64Array, own: number, count: number, middle: number, k: number): number {
  let split = 0
  let end = count
  while (split < end) {
    const at = (split + end) >>> 1
    if (other(sorted, own, at) < middle) split = at + 1
    else end = at
  }
  const above = count - split
  let low = Math.max(0, k + 1 - above)
  let high = Math.min(k + 1, split)
  while (low < high) {
    const below = (low + high) >>> 1
    // Too few from below: the next one there is nearer than the last one taken from above.
    const next = middle - other(sorted, own, split - 1 - below)
    const last = other(sorted, own, split + k - below) - middle
    if (next < last) low = below + 1
    else high = below
  }
  const fromBelow = low > 0 ? middle - other(sorted, own, split - low) : 0
  const fromAbove = k + 1 - low > 0 ? other(sorted, own, split + k - low) - middle : 0
  return Math.max(fromBelow, fromAbove)
}
